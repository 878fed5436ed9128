"""Names of what is built in: a mapping that shows itself as a table, and that says what was meant when a name is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Generic, TypeVar

from simtx.errors import ScenarioError

T = TypeVar("T")


def aligned(rows: Sequence[Sequence[str]], *, indent: str = "", right: int | None = None) -> list[str]:
    """Rows of a table as lines for a terminal, in which the cells of a column stand below each other.

    Args:
        rows: Cells of each row.
        indent: What each line begins with.
        right: The first column whose cells stand at its right end; None: all stand at the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust if right is None or place < right else str.rjust for place in range(len(widths))]
    return [
        indent + "  ".join(side(cell, width) for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


class UnknownName(ScenarioError, KeyError):
    """Error: there is nothing of this name; also a `KeyError`, as of any mapping."""

    __str__ = Exception.__str__  # that of a KeyError puts the text in quotes


class Listing(Mapping[str, T], Generic[T]):
    """Things of one kind, by name.

    Args:
        kind: What one of them is called: ``scenario``.
        rows: By name, the cells of its line in the table.
        heads: Headings of the columns, that of the name first.
        make: Makes or loads one, by its name, when it is asked for.
        foot: One line below the table.
    """

    def __init__(
        self,
        kind: str,
        rows: Mapping[str, Sequence[str]],
        heads: Sequence[str],
        make: Callable[[str], T],
        foot: str = "",
    ) -> None:
        self._kind = kind
        self._rows = dict(rows)
        self._heads = tuple(heads)
        self._make = make
        self._foot = foot

    def __getitem__(self, name: str) -> T:
        if name not in self._rows:
            near = difflib.get_close_matches(str(name), self._rows, n=1, cutoff=0.5)
            guess = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(self._rows)}"
            raise UnknownName(f"there is no {self._kind} '{name}'; {guess}", self._kind)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __str__(self) -> str:
        lines = [self._heads, *((name, *cells) for name, cells in self._rows.items())]
        return "\n".join([*aligned(lines), *(["", self._foot] if self._foot else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cell = "text-align:left;padding:1px 14px 1px 0;vertical-align:top"
        head = "".join(f"<th style='{cell}'>{escape(text)}</th>" for text in self._heads)
        body = "".join(
            f"<tr><td style='{cell};white-space:nowrap'><code>{escape(name)}</code></td>"
            + "".join(f"<td style='{cell}'>{escape(text)}</td>" for text in cells)
            + "</tr>"
            for name, cells in self._rows.items()
        )
        foot = f"<p style='opacity:.75;font-size:smaller'>{escape(self._foot)}</p>" if self._foot else ""
        return (
            f"<table style='border-collapse:collapse'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"
        )
