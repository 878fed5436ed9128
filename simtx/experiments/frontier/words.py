"""A map in words: the few limits that describe it best, found as a decision tree of two levels.

``saga wins above 20 ms and 60/s, 2pc elsewhere; undecided 6 % of the area``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simtx.experiments.frontier.axes import Axis
from simtx.experiments.frontier.crossing import Crossing
from simtx.experiments.frontier.gp import Floats
from simtx.experiments.frontier.zones import UNDECIDED

_LEVELS: Final = 2
_ENOUGH: Final = 0.02
"""A further limit has to put right at least this share of the decided area."""
_ROUGH, _POOR = 0.95, 0.85

Winners = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of a split: values of an axis above or below a threshold."""

    axis: int
    above: bool
    value: float


@dataclass(frozen=True, slots=True)
class Leaf:
    """A box of the map and who wins in most of it."""

    limits: tuple[Limit, ...]
    winner: int
    area: int
    right: int


def caption(axes: Sequence[Axis], points: Floats, winners: Winners, names: Sequence[str]) -> str:
    """The finding in one line.

    Args:
        axes: Of the map.
        points: Points of the unit cube that cover the map evenly.
        winners: Who wins at each, or `UNDECIDED`.
        names: Of the strategies.
    """
    open_share = float(np.mean(winners == UNDECIDED))
    decided = winners != UNDECIDED
    if not decided.any():
        return f"undecided everywhere between {_listed(names)}"
    rest = f"; undecided {_percent(open_share)} of the area" if open_share > 0 else ""
    there = sorted(set(winners[decided].tolist()))
    if len(there) == 1:
        where = "everywhere" if not rest else "wherever the data decides"
        return f"{names[there[0]]} wins {where} {_spans(axes)}{rest}"
    values = np.column_stack([axis.value(points[decided, position]) for position, axis in enumerate(axes)])
    leaves = _tree(axes, values, winners[decided], _LEVELS, ())
    right = sum(leaf.right for leaf in leaves) / int(decided.sum())
    shares = {who: float(np.mean(winners == who)) for who in there}
    if right < _POOR:
        largest = sorted(shares.items(), key=lambda item: -item[1])
        parts = [f"{names[who]} wins on {_percent(share)}" for who, share in largest]
        return f"{_listed(parts)} of the area, in a shape that two limits do not describe{rest}"
    rough = f" (roughly: {_percent(right)} of the decided area)" if right < _ROUGH else ""
    return f"{_sentences(axes, leaves, names, shares)}{rough}{rest}"


def _sentences(axes: Sequence[Axis], leaves: Sequence[Leaf], names: Sequence[str], shares: dict[int, float]) -> str:
    """Say who wins where; the one with the most boxes, or the largest area, is ``elsewhere``."""
    boxes: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        boxes.setdefault(leaf.winner, []).append(leaf)
    order = sorted(boxes, key=lambda who: (len(boxes[who]), shares.get(who, 0.0)))
    said = [f"{names[who]} wins {', or '.join(_box(axes, leaf.limits) for leaf in boxes[who])}" for who in order[:-1]]
    last = order[-1]
    if len(order) == 2 and len(boxes[order[0]]) == 1 and len(boxes[last]) == 1:  # one limit
        said.append(f"{names[last]} {_box(axes, boxes[last][0].limits)}")
    else:
        said.append(f"{names[last]} elsewhere")
    return ", ".join(said)


def _box(axes: Sequence[Axis], limits: Sequence[Limit]) -> str:
    """``above 20 ms and 60/s``."""
    tightest: dict[tuple[int, bool], Limit] = {}
    for limit in limits:
        key = (limit.axis, limit.above)
        known = tightest.get(key)
        if known is None or (limit.value > known.value) == limit.above:
            tightest[key] = limit
    words: list[str] = []
    before = ""
    for limit in tightest.values():
        axis = axes[limit.axis]
        side = "above" if limit.above else "below"
        name = "" if axis.unit else f"{axis.name} "
        words.append(f"{name}{'' if side == before and not name else side + ' '}{axis.text(limit.value)}")
        before = side
    return " and ".join(words)


def _tree(axes: Sequence[Axis], values: Floats, winners: Winners, levels: int, limits: tuple[Limit, ...]) -> list[Leaf]:
    """Boxes that describe who wins."""
    here = _majority(winners, limits)
    best = [here]
    if levels == 0 or here.right == here.area:
        return best
    for axis in range(len(axes)):
        for threshold in _thresholds(axes[axis], values[:, axis]) if levels > 1 else _last(axes, axis, values, winners):
            above = values[:, axis] > threshold
            halves: list[Leaf] = []
            for side, part in ((True, above), (False, ~above)):
                halves += _tree(axes, values[part], winners[part], levels - 1, (*limits, Limit(axis, side, threshold)))
            best = _better(best, halves, len(winners))
    return best


def _majority(winners: Winners, limits: tuple[Limit, ...]) -> Leaf:
    count = np.bincount(winners)
    return Leaf(limits, int(count.argmax()), len(winners), int(count.max()))


def _better(best: list[Leaf], other: list[Leaf], area: int) -> list[Leaf]:
    """The one that is right more often, where every further box has to be worth it."""
    if len({leaf.winner for leaf in other}) == 1:
        return best

    def worth(leaves: list[Leaf]) -> float:
        return sum(leaf.right for leaf in leaves) / area - _ENOUGH * len(leaves)

    return other if worth(other) > worth(best) + 1e-9 else best


def _last(axes: Sequence[Axis], axis: int, values: Floats, winners: Winners) -> list[float]:
    """The one threshold of an axis after which the majorities of both sides are right most often."""
    thresholds = np.array(_thresholds(axes[axis], values[:, axis]))
    if not len(thresholds):
        return []
    order = np.argsort(values[:, axis])
    one_hot = np.eye(int(winners.max()) + 1)[winners[order]]
    below = np.vstack([np.zeros(one_hot.shape[1]), np.cumsum(one_hot, axis=0)])
    at = np.searchsorted(values[order, axis], thresholds, side="right")
    right = below[at].max(axis=1) + (below[-1] - below[at]).max(axis=1)
    return [float(thresholds[right.argmax()])]


def _thresholds(axis: Axis, values: Floats) -> list[float]:
    """Values of two significant digits that cut the axis; round ones first."""
    low, high = float(values.min()), float(values.max())
    found = {_rounded(float(cut)) for cut in axis.value(np.linspace(0.02, 0.98, 49))}
    return sorted((one for one in found if low < one < high), key=lambda one: (len(f"{one:g}".strip("0.")), one))


def _rounded(value: float) -> float:
    return float(f"{value:.2g}") if value else 0.0


def _percent(share: float) -> str:
    if 0 < share < 0.005:
        return "less than 1 %"
    return f"{100 * share:.0f} %" if share < 0.995 or share == 1 else "more than 99 %"


def _spans(axes: Sequence[Axis]) -> str:
    """Say how far a map goes, since nobody has looked beyond it: ``from 0.2 ms to 20 ms and from 60/s to 200/s``."""
    return " and ".join(
        f"{'' if axis.unit else f'{axis.name} '}from {axis.text(axis.low)} to {axis.text(axis.high)}" for axis in axes
    )


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def flip(axis: Axis, crossings: Sequence[Crossing], winners: Winners, names: Sequence[str]) -> str:
    """The finding on one axis in one line: ``2pc, unless rtt exceeds 18 [15, 22] ms; above that, saga``.

    Args:
        axis: The axis.
        crossings: From the lowest.
        winners: Who wins at places that cover the axis evenly, or `UNDECIDED`.
        names: Of the strategies.
    """
    decided = sorted(set(winners[winners != UNDECIDED].tolist()))
    if not decided:
        return f"undecided everywhere between {_listed(names)}"
    if not crossings:
        share = float(np.mean(winners == UNDECIDED))
        rest = f"; undecided on {_percent(share)} of {axis.name}" if share else ""
        where = "wherever the data decides" if share else "everywhere"
        return f"{names[decided[0]]} wins {where} {_spans((axis,))}{rest}"
    parts = [
        f"{'unless' if not position else 'and beyond that, unless'} {axis.name} exceeds {_interval(axis, one)}; above that, {one.above}"
        for position, one in enumerate(crossings)
    ]
    return f"{crossings[0].below}, {'; '.join(parts)}"


def _interval(axis: Axis, one: Crossing) -> str:
    """``18 [15, 22] ms``, with as many digits as the width of the interval calls for."""
    digits = max(1, min(6, 1 + math.ceil(math.log10(max(abs(one.high), 1e-300) / max(one.high - one.low, 1e-300)))))
    value, low, high = (f"{number:.{digits}g}" for number in (one.at, one.low, one.high))
    return f"{value} [{low}, {high}]{'' if axis.unit.startswith('/') else ' '}{axis.unit}".rstrip()
