"""A sensitivity study in words: whether the answer is supported, and tables that people read: changes in percent, values with units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from simtx.listing import aligned

if TYPE_CHECKING:
    import pandas as pd

    from simtx.experiments.sensitivity.question import Question
    from simtx.metrics.intervals import Interval

_WITHIN = "distance"
_Columns: TypeAlias = dict[str, Callable[[Mapping[str, Any]], str]]


class Found(Protocol):
    """Result of a sensitivity study, as far as it is put into words (`simtx.experiments.sensitivity.result.Sensitivity`)."""

    @property
    def question(self) -> Question:
        """The question."""

    @property
    def method(self) -> str:
        """By which method."""

    @property
    def answer(self) -> Interval | None:
        """The answer as it is."""

    @property
    def table(self) -> pd.DataFrame:
        """One row a factor."""

    @property
    def flips(self) -> pd.DataFrame | None:
        """Factors that flip the answer."""

    @property
    def noise(self) -> float:
        """The noise between replications."""

    @property
    def noise_text(self) -> str:
        """The same in words."""

    @property
    def confidence(self) -> float:
        """Of all intervals."""

    @property
    def replications(self) -> int:
        """Of each cell."""

    @property
    def winner(self) -> str:
        """The better strategy of two."""

    @property
    def unlike(self) -> str:
        """Why two strategies do not compare."""

    @property
    def early(self) -> str:
        """Why a time of all transactions ranks nobody in some cells."""

    @property
    def ranked(self) -> bool:
        """Whether it ranks the two as the scenario is."""

    def effect(self, value: float) -> str:
        """An effect in words."""

    def size(self, value: float) -> str:
        """The size of an effect in words."""

    def value(self, factor: str, value: float) -> str:
        """A value of a factor in words."""


def support(found: Found) -> str:
    """Whether the runs support the answer: one line that begins with ``supported`` or ``not supported``."""
    metric, names = found.question.metric, found.question.strategies
    if found.unlike:
        return f"not supported: {found.unlike}"
    if not found.ranked:
        return f"not supported: {found.early}"
    sure, runs = f"{100 * found.confidence:g} %", f"{found.replications} replications"
    if found.replications < 2:
        return "not supported: one replication of each cell has no interval, so that nothing is told from noise"
    if found.question.paired and found.answer is not None:
        one = found.answer
        size = f"{metric} of {names[0]} against {names[1]}: {found.effect(one.mean)} ({sure}: {found.effect(one.low)} to {found.effect(one.high)}, {runs})"
        return f"supported: {size}" if found.winner else f"not supported: {size}; the two are not told apart"
    about = metric + (f" of {names[0]}" if len(names) == 1 else f" of {' against '.join(names)}")
    if found.method == "tornado":
        told = [row for row in found.table.to_dict("records") if _told(row)]
        if not told:
            return f"not supported: no factor moves {about} by more than {runs} tell from noise"
        first = told[0]
        return (
            f"supported: {first['factor']} moves {about} by {swing(found, float(first['swing']))} from end to end; "
            f"the noise between {runs} leaves {found.noise_text} open"
        )
    if found.method == "morris":
        top = float(found.table.iloc[0]["mu_star"])
        if top <= found.noise:
            return f"not supported: no effect on {about} is larger than its noise ({found.noise_text}, {runs})"
        return f"supported: the largest effect on {about} is {found.size(top)}, its noise {found.noise_text} ({runs})"
    first = found.table.to_dict("records")[0]
    if float(first["total_low"]) <= 0:
        return f"not supported: no factor is sure to explain any of the variance of {about} ({runs})"
    return f"supported: {first['factor']} explains {_percent(first['total_low'])} to {_percent(first['total_high'])} of the variance of {about}"


def _told(row: Mapping[Any, Any]) -> bool:
    """Whether a factor moves the answer at one of its ends for sure."""
    return any(row[f"{end}_from"] > 0 or row[f"{end}_to"] < 0 for end in ("low", "high"))


def swing(found: Found, value: float) -> str:
    """The distance of two answers."""
    return found.size(value)


def table(found: Found) -> str:
    """The table of the method."""
    sure = f"{100 * found.confidence:g} %"
    columns: _Columns = {"factor": lambda row: str(row["factor"])}
    if found.method == "tornado":
        for end in ("low", "high"):
            columns |= _of_end(found, end, sure)
        columns["swing"] = lambda row: swing(found, float(row["swing"]))
    elif found.method == "morris":
        columns["mean size of the effect"] = lambda row: found.size(row["mu_star"])
        columns[sure] = lambda row: _range(
            found.size, max(row["mu_star"] - row["mu_star_half_width"], 0.0), row["mu_star"] + row["mu_star_half_width"]
        )
        columns["mean effect"] = lambda row: found.effect(row["mu"])
        columns["spread"] = lambda row: found.size(row["sigma"])
    else:
        for which, said in (("first", "alone"), ("total", "with interactions")):
            columns |= _of_share(which, said, sure)
    return _lines(columns, found.table.to_dict("records"))


def _of_end(found: Found, end: str, sure: str) -> _Columns:
    """The columns of one end of the factors' ranges."""
    return {
        f"{end} end": lambda row: found.value(row["factor"], float(row[f"{end}_value"])),
        f"change there ({end})": lambda row: found.effect(row[end]),
        f"{sure} ({end})": lambda row: _range(found.effect, row[f"{end}_from"], row[f"{end}_to"]),
    }


def _of_share(which: str, said: str, sure: str) -> _Columns:
    """The columns of one share of the variance."""
    return {
        said: lambda row: _percent(row[which]),
        f"{sure} ({said})": lambda row: _range(_percent, row[f"{which}_low"], row[f"{which}_high"]),
    }


def flips(found: Found) -> str:
    """The table of flips."""
    assert found.flips is not None  # noqa: S101 - the caller has looked
    sure = f"{100 * found.confidence:g} %"

    def value(row: Mapping[str, Any]) -> str:
        return found.value(row["factor"], row["value"]) if math.isfinite(row[_WITHIN]) else "nowhere within reach"

    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "factor": lambda row: str(row["factor"]),
        "flips at": value,
        "off by": lambda row: f"{100 * row['change']:+.2g} %" if math.isfinite(row["change"]) else "-",
        "distance": lambda row: _distance(abs(row[_WITHIN])),
        sure: lambda row: _range(_distance, row["nearest"], row["furthest"]),
        "position": lambda row: (
            "simulated" if row["simulated"] else "extrapolated" if math.isfinite(row[_WITHIN]) else "-"
        ),
    }
    return _lines(columns, found.flips.to_dict("records"))


def _distance(size: float) -> str:
    return f"{size:.2g}" if math.isfinite(size) else "> 3"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _range(said: Callable[[float], str], low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "-"
    return said(low) if said(low) == said(high) else f"{said(low)} to {said(high)}"


def _lines(columns: Mapping[str, Callable[[Mapping[str, Any]], str]], rows: list[dict[Any, Any]]) -> str:
    cells = [list(columns), *([read(row) for read in columns.values()] for row in rows)]
    return "\n".join(aligned(cells, right=1))
