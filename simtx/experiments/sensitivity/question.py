"""Question of a sensitivity study, and the answers of the runs of its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    """Question of a study: one strategy's figure, or two strategies side by side.

    Attributes:
        metric: Its name.
        strategies: One label, or two.
    """

    metric: str
    strategies: tuple[str, ...]

    @property
    def paired(self) -> bool:
        """Return whether two strategies are compared."""
        return len(self.strategies) == 2


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of the runs of some cells to a question, on one scale.

    Attributes:
        values: One row a cell, one column a replication.
        scale: ``log`` (of a figure, or of the ratio of two: differences are ratios), or ``plain``.
    """

    values: Floats
    scale: str

    @property
    def means(self) -> Floats:
        """Mean of each cell."""
        result: Floats = self.values.mean(axis=1)
        return result
