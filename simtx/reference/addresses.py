"""Addresses of servers as they may be shown: without passwords and tokens."""

from __future__ import annotations

import re
from typing import Final

_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
_SECRET: Final = re.compile(
    r"(\w*(?:password|passwd|pwd|token|secret)\w*)(\s*=\s*)(?:'(?:[^'\\]|\\.)*'?|\S*)", re.IGNORECASE
)


def without_password(address: str) -> str:
    """The address of a server, without what may let others in; of what cannot be read as one, nothing but its beginning is left."""
    if "://" not in address:
        return _SECRET.sub(r"\1\2***", address)
    from urllib.parse import urlsplit

    scheme = address.partition("://")[0]
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{scheme:.40}://***"
    user, at, place = parts.netloc.rpartition("@")
    strange = not all(_HOST.fullmatch(one) for one in place.split(","))
    if (
        strange or "@" in parts.path or "@" in parts.fragment
    ):  # a password with a '/' or '#' in it, or a slip of the finger
        return f"{scheme:.40}://***"
    name, colon, _ = user.partition(":")
    if at and parts.scheme.partition("+")[0] not in ("postgresql", "postgres") and not colon:
        name = "***"  # a token in place of a user's name
    shown = f"{name}{':***' if colon else ''}{at}{place}"
    given = [part.partition("=") for part in parts.query.split("&") if part]
    query = "&".join(
        f"{key}{sign}{'***' if _SECRET.match(f'{key}=') else value}" if sign else "***" for key, sign, value in given
    )
    return f"{parts.scheme}://{shown}{parts.path}{f'?{query}' if query else ''}"
