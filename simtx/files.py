"""Files of others, read within bounds: no device and no pipe, no more than a limit, no deeper than anybody writes, nothing that a terminal obeys."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

DEEPEST: Final = 30
"""Levels of tables and lists in one another."""
LARGEST_SCENARIO: Final = 4 << 20
"""Bytes of a file that people write."""
LARGEST_DATA: Final = 2 << 30
"""Bytes of a file that programs write: arrivals, histories, logs, results."""

_UNSEEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Unreadable(ValueError):
    """A file cannot be read; the text says why, in a few words."""


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        FileNotFoundError: There is none.
        Unreadable: It is no regular file, is too large, or the system does not let us.
    """
    try:
        number = os.open(
            path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # a pipe that nobody writes to would wait for ever
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise Unreadable((error.strerror if isinstance(error, OSError) else None) or str(error)) from None
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise Unreadable(
            os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is a device or a pipe, and not a file"
        )
    with os.fdopen(number, "rb") as opened:
        try:
            content = opened.read(most + 1)
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from None
    if len(content) > most:
        raise Unreadable(f"it is larger than {most >> 20:,} MiB")
    return content


def read_text(path: Path, most: int, *, encoding: str = "utf-8") -> str:
    """The text of a file.

    Args:
        path: The file.
        most: Bytes that it may have.
        encoding: ``utf-8`` or ``utf-8-sig``.

    Raises:
        FileNotFoundError: There is none.
        Unreadable: As for `read_bytes`, or it is not UTF-8.
    """
    return decoded(read_bytes(path, most), encoding=encoding)


def decoded(content: bytes, *, encoding: str = "utf-8") -> str:
    """The text that a file holds, its lines ended by line feeds.

    Raises:
        Unreadable: It is not UTF-8.
    """
    try:
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8 text") from None


def read_toml(path: Path, most: int = LARGEST_SCENARIO) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        FileNotFoundError: There is none.
        Unreadable: As for `read_text`, or it is not TOML, is nested too deep, or holds signs that are not to be seen.
    """
    return parse_toml(read_text(path, most))


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        Unreadable: It is none, is nested too deep, or holds signs that are not to be seen.
    """
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise Unreadable(f"it is nested deeper than {DEEPEST} levels") from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise Unreadable(f"this is not TOML: {message[:1].lower()}{message[1:]}") from None
    except ValueError:  # Python refuses to convert a number of thousands of digits
        raise Unreadable("it holds a number of thousands of digits") from None
    check(raw)
    return raw


def check(raw: object) -> None:
    """Refuse what is nested too deep, or holds signs that a terminal obeys.

    Args:
        raw: Tables, lists and values; other objects are let be.

    Raises:
        Unreadable: It does.
    """
    left: list[tuple[object, int]] = [(raw, 0)]
    while left:
        value, depth = left.pop()
        if depth > DEEPEST:
            raise Unreadable(f"it is nested deeper than {DEEPEST} levels")
        if isinstance(value, str):
            found = _UNSEEN.search(value)
            if found:
                sign = found.group().encode("unicode_escape").decode("ascii")
                raise Unreadable(f"a text holds the sign {sign}, which is not to be seen and which a terminal may obey")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                left += [(key, depth), (item, depth + 1)]
        elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            left += [(item, depth + 1) for item in value if isinstance(item, str | Mapping | list | tuple)]
