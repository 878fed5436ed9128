"""Columns of texts of which few differ: a list for whoever reads it, and numbers for whoever makes a table of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Texts", "coded"]


class Texts(list[str]):
    """Texts, each of them one of a few.

    Args:
        numbers: The number of each.
        names: The texts with these numbers.
    """

    __slots__ = ("names", "numbers")

    def __init__(self, numbers: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> None:
        super().__init__(np.array(names, dtype=object).take(numbers).tolist())
        self.numbers, self.names = numbers, names

    def __contains__(self, text: object) -> bool:
        return text in self.names and bool((self.numbers == self.names.index(str(text))).any())

    def __reduce__(self) -> tuple[type[Texts], tuple[Any, Sequence[str]]]:
        return Texts, (self.numbers, self.names)


def coded(column: Sequence[Any]) -> tuple[npt.NDArray[np.integer[Any]], Sequence[Any]]:
    """The number of each text, and the texts with these numbers."""
    if isinstance(column, Texts) and len(column) == len(column.numbers):
        return column.numbers, column.names
    names = dict.fromkeys(column)
    places = {name: place for place, name in enumerate(names)}
    return np.fromiter(map(places.__getitem__, column), dtype=np.intp, count=len(column)), list(names)
