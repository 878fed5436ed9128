"""The documentation as data: pages, their code blocks and their links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md"))
    if ".venv" not in path.parts
)
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
COMMANDS = ("sh", "bash", "console")

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(?P<command>(?:simtx \w+|python) [^`\n…<]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def name(path: Path) -> str:
    """The path of a page from the root, as tests show it."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    text = path.read_text(encoding="utf-8")
    return [Block(name(path), found["language"], found["text"]) for found in _BLOCK.finditer(text)]


def commands(path: Path) -> Iterator[str]:
    """Every command of every block of shell commands, and those in the text, without comments; ``a && b`` are two."""
    for block in blocks(path):
        if block.language in COMMANDS:
            for line in block.text.splitlines():
                for command in line.split("  #")[0].split(" && "):
                    if command.strip() and not command.startswith("#"):
                        yield command.strip()
    prose = _FENCED.sub("", path.read_text(encoding="utf-8"))
    yield from (found["command"] for found in _INLINE.finditer(prose))


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a page, outside of code."""
    return [found["target"] for found in _LINK.finditer(_CODE.sub("", path.read_text(encoding="utf-8")))]


def anchors(path: Path) -> set[str]:
    """The anchors that a code host makes of the headings of a page."""
    headings = [found["text"] for found in _HEADING.finditer(_CODE.sub("", path.read_text(encoding="utf-8")))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
