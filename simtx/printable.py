"""Text of others on a terminal: a title, a name or a path can hold signs that move the cursor, begin a new line or turn the reading direction."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text as one line in which every sign that is not to be seen is written as its number: ``\x1b``, ``\n``, ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)
