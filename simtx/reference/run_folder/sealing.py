"""The key under which a user's run folders are sealed: outside every folder, so that who can write a folder cannot make its seals anew.

It lies in ``$XDG_STATE_HOME/simtx/seal.key`` (``~/.local/state`` without that variable), 32 random bytes that its owner alone can read, made at the first
run. Where it cannot be made or is not safe, folders are sealed without a key, and `simtx audit` says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Origin: TypeAlias = Literal["own", "other", "none", "changed"]
"""Origin of a record: sealed with this user's key; with another one; without a key; with this user's key, and changed since."""

_LENGTH: Final = 32
_OWN: Final = ("mac", "seal_key")


def place() -> Path:
    """Place of the key.

    Raises:
        RuntimeError: This user has no home folder.
    """
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "simtx" / "seal.key"


def sealed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the name of the key and the code of authentication; what it had of these is replaced.

    Args:
        raw: In terms of JSON.
    """
    key = _key(make=True)
    plain = {name: value for name, value in raw.items() if name not in _OWN} | {"seal_key": _name(key)}
    return plain | {"mac": _code(key, plain) if key is not None else ""}


def origin(raw: Mapping[str, Any]) -> Origin:
    """Origin of a record, and whether it is as it was written."""
    key = _key(make=False)
    named, code = raw.get("seal_key"), raw.get("mac")
    if not named or not isinstance(code, str) or not code:
        return "none"
    if key is None or named != _name(key):
        return "other"
    plain = {name: value for name, value in raw.items() if name != "mac"}
    return "own" if hmac.compare_digest(code.encode(), _code(key, plain).encode()) else "changed"


def _code(key: bytes, raw: Mapping[str, Any]) -> str:
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _name(key: bytes | None) -> str:
    """Name of a key, which may be told."""
    return "" if key is None else hashlib.sha256(b"simtx seal key " + key).hexdigest()[:12]


def _key(*, make: bool) -> bytes | None:
    try:
        file = place()
        if make and not file.exists():
            _make(file)
        with file.open("rb") as opened:
            about = os.fstat(opened.fileno())
            key = opened.read(_LENGTH + 1)
    except (OSError, RuntimeError):
        return None
    safe = about.st_uid == os.geteuid() and not stat.S_IMODE(about.st_mode) & 0o077
    return key if safe and len(key) == _LENGTH else None


def _make(file: Path) -> None:
    """Make it, whole at once; who comes second takes what is there."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(secrets.token_bytes(_LENGTH))
            opened.flush()
            os.fsync(opened.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, file)
    finally:
        new.unlink(missing_ok=True)
