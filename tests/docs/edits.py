"""Edits that a page shows as blocks of ``diff``, and what they make of the project's files.

A block names a file behind ``---``; its hunks begin with ``@@``. Lines that stay or go (a space, a minus) stand in the file once, in this
order and without others between them; they become the lines that stay or come (a space, a plus). There are no line numbers, which go stale.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs.pages import ROOT, Block, blocks

EXTENSIONS = ROOT / "docs" / "extensions"
NEW_FILES = {"A store": {"simtx/reference/stores/journal.py": EXTENSIONS / "journal.py"}}
"""By the first words of a section: files that it adds, and where they are."""


class Section(NamedTuple):
    """A chapter of a page that shows edits.

    Attributes:
        title: Its heading.
        edits: Its blocks of ``diff``, in their order.
        code: The Python behind them, which runs when all of them are made.
    """

    title: str
    edits: tuple[str, ...]
    code: tuple[str, ...]

    @property
    def added(self) -> dict[str, Path]:
        """Files that it adds."""
        return next((files for words, files in NEW_FILES.items() if self.title.startswith(words)), {})


def sections(page: Path) -> list[Section]:
    """The chapters of a page that show edits."""
    found = []
    for text in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        inside = [block for block in blocks(page) if block.text in text]
        edits = [place for place, block in enumerate(inside) if block.language == "diff"]
        if edits:
            code = (block.text for block in inside[edits[0] :] if block.language == "python")
            found.append(Section(text.splitlines()[0], tuple(inside[place].text for place in edits), tuple(code)))
    return found


def plain(page: Path) -> list[Block]:
    """Blocks of Python that need no edit."""
    later = {code for section in sections(page) for code in section.code}
    return [block for block in blocks(page) if block.language == "python" and block.text not in later]


def files(edit: str) -> list[str]:
    """The files that a block changes."""
    return re.findall(r"^--- (\S+)$", edit, flags=re.MULTILINE)


def changed(edit: str, root: Path) -> Iterator[tuple[str, str]]:
    """Name and new text of each file that a block changes.

    Raises:
        AssertionError: A hunk does not fit; the text says which.
    """
    for part in re.split(r"^--- ", edit, flags=re.MULTILINE)[1:]:
        name, _, hunks = part.partition("\n")
        text = (root / name).read_text(encoding="utf-8")
        for hunk in re.split(r"^@@.*\n", hunks, flags=re.MULTILINE)[1:]:
            before, behind = (
                "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in signs)
                for signs in (" -", " +")
            )
            times = f"\n{text}".count(f"\n{before}")
            assert times == 1, f"{name} has these lines {times} times, not once:\n{before}"
            text = f"\n{text}".replace(f"\n{before}", f"\n{behind}")[1:]
        yield name, text


def apply(edits: Iterable[str], root: Path) -> None:
    """Make edits in a copy of the project."""
    for edit in edits:
        for name, text in list(changed(edit, root)):
            (root / name).write_text(text, encoding="utf-8")


def copy(target: Path, *chosen: Section) -> Path:
    """A copy of the project without its tests and pictures, with the files that these sections add."""
    for folder in ("simtx", "data", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "images", "*.ipynb")
        shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", target)
    for section in chosen:
        for name, source in section.added.items():
            shutil.copy(source, target / name)
    return target
