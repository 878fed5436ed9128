"""Result of a sensitivity study."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import pandas as pd

from simtx.experiments.said import unlike
from simtx.experiments.sensitivity.inputs import InputUncertainty
from simtx.listing import aligned
from simtx.metrics.intervals import Interval
from simtx.scenario.provenance import Provenance
from simtx.views import View

if TYPE_CHECKING:
    from simtx.experiments.sensitivity.question import Question
    from simtx.experiments.sweep.runs import Runs
    from simtx.report.pictures.accessors import SensitivityPlots

Method: TypeAlias = Literal["tornado", "morris", "sobol"]
_Columns: TypeAlias = dict[str, Callable[[Mapping[str, Any]], str]]


@dataclass(frozen=True)
class Sensitivity:
    """Factors that the answer depends on.

    Attributes:
        question: What is looked at: a metric of one strategy, or of two side by side.
        method: ``tornado``, ``morris`` or ``sobol``.
        scale: ``log``: effects in the data are natural logarithms of ratios, which texts and pictures show in percent; ``plain``: differences in the
            metric's unit.
        answer: The answer as it is, on that scale, with its interval over the replications; None if no cell is the scenario as it is.
        table: One row a factor, the most important first; columns as in the method's module.
        noise: The noise between replications, in the unit of the table: half the interval of the answer (tornado), the standard error of one effect
            (morris), the share of a single run's variance (sobol).
        flips: With two strategies and the tornado: one row a factor, the one that is nearest to flipping the answer first; else None.
        inputs: What a calibration's sample sizes leave open, if that was asked for.
        confidence: Of all intervals.
        replications: Of each cell.
        sweep: All runs.
        notations: How each factor is written: ``rate``, ``distribution of a duration``, ...
        command: The Python line that asks for it again.
        early: Why a time of all transactions ranks nobody in some cells: who leads there commits much less; empty if that is so in none.
        ranked: Whether it ranks the two as the scenario is.
    """

    question: Question
    method: Method
    scale: str
    answer: Interval | None
    table: pd.DataFrame
    noise: float
    flips: pd.DataFrame | None
    inputs: InputUncertainty | None
    confidence: float
    replications: int
    sweep: Runs
    notations: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    early: str = ""
    ranked: bool = True

    @property
    def provenance(self) -> Provenance:
        """Provenance, and the line that asks for it again."""
        made = dataclasses.replace(self.sweep.provenance, verb="sensitivity")
        return dataclasses.replace(made, command=self.command) if self.command else made

    @property
    def winner(self) -> str:
        """Better one of two strategies as the scenario is; empty if the replications do not tell, or one strategy is looked at."""
        from simtx.experiments.stopping import better_of

        one = self.answer
        if (
            not self.question.paired
            or self.unlike
            or not self.ranked
            or one is None
            or math.isnan(one.low)
            or one.low <= 0 <= one.high
        ):
            return ""
        more_loses = better_of(self.question.metric) == "lower"
        return self.question.strategies[int((one.mean > 0) == more_loses)]

    @property
    def unlike(self) -> str:
        """Reason why the two strategies are not to be compared by this metric; empty if they are."""
        strategies = self.sweep.study.strategies
        return unlike(self.question.metric, {name: strategies[name].promise for name in self.question.strategies})

    @property
    def caption(self) -> str:
        """The finding in one line."""
        if self.flips is not None:
            rest = "; in some cells who leads commits much less" if self.early and self.ranked else ""
            return self._flip() + rest
        first = self.table.iloc[0]
        if self.method == "sobol":
            return f"{first['factor']} explains {100 * first['total']:.0f} % of the variance, interactions included"
        if self.method == "morris":
            return f"{first['factor']} has the largest effect: {self.effect(float(first['mu_star']))} over its range"
        return f"{first['factor']} moves the answer most: from {self.effect(float(first['low']))} to {self.effect(float(first['high']))}"

    def _flip(self) -> str:
        flips = self.flips
        assert flips is not None  # noqa: S101 - the caller has looked
        first, second = self.question.strategies
        if self.unlike:
            return f"{first} and {second} do not compare by {self.question.metric}: their answers mean different things"
        if not self.ranked:
            return (
                f"{first} and {second} do not compare by {self.question.metric}: what is aborted early also ends early"
            )
        if not self.winner:
            return f"{first} and {second} are not told apart as the scenario is; more replications are needed"
        within = flips[flips["distance"].abs() <= 1]
        if not len(within):
            nearest = flips.iloc[0]
            rest = (
                f"; the nearest is {nearest['factor']}, at {abs(nearest['distance']):.1f} times its own"
                if math.isfinite(nearest["distance"])
                else ""
            )
            open_ones = flips[flips["nearest"] <= 1].sort_values("nearest", kind="stable")
            if len(open_ones):
                row = open_ones.iloc[0]
                sure = f"{100 * self.confidence:g} %: from {row['nearest']:.1f} times that on"
                return f"{self.winner} wins; the runs leave open whether {row['factor']} flips that within its uncertainty ({sure})"
            return f"{self.winner} wins, and no factor flips that within its uncertainty{rest}"
        row = within.iloc[0]
        return f"{self.winner} wins, unless {row['factor']} is {_percent(float(row['change']))} off ({self.value(str(row['factor']), float(row['value']))})"

    def effect(self, value: float) -> str:
        """An effect in words: ``+12 %`` on the scale of ratios, else a number with its unit."""
        if math.isnan(value):
            return "-"
        return _share(math.expm1(value)) if self.scale == "log" else f"{value:+.3g}{self._unit}"

    def size(self, value: float) -> str:
        """The size of an effect, or the distance of two answers, in words: ``12 %``; from a doubling on, ``2.4 times``."""
        if math.isnan(value):
            return "-"
        if self.scale != "log":
            return f"{value:.3g}{self._unit}"
        return _share(math.expm1(value)).lstrip("+") if value < math.log(2) else f"{math.exp(value):.3g} times"

    @property
    def _unit(self) -> str:
        return " ms" if self.question.metric.endswith("_ms") else ""

    @property
    def noise_text(self) -> str:
        """The noise between replications in words."""
        if self.method == "sobol":
            return f"{100 * self.noise:.0f} % of the variance of a single run"
        if self.scale == "log" and self.noise >= math.log(2):
            return f"a factor of {math.exp(self.noise):.3g} up or down"
        return f"± {self.size(self.noise)}"

    @property
    def support(self) -> str:
        """Say whether the runs support the answer, in one line that begins with ``supported`` or ``not supported``."""
        return _support(self)

    def value(self, factor: str, number: float) -> str:
        """A value of a factor with its unit: ``62/s``, ``18 ms``."""
        from simtx.scenario.units import duration_text

        notation = self.notations.get(factor, "")
        if "duration" in notation:
            return duration_text(float(f"{number:.3g}"))
        if notation == "probability":
            return f"{100 * number:.3g} %"
        return f"{number:.3g}{'/s' if notation == 'rate' else ''}"

    plot: ClassVar[View[SensitivityPlots]] = View(
        "sensitivity", "Pictures: `sensitivity.plot()` draws what its method gives; completion lists the others."
    )

    def as_dict(self) -> dict[str, Any]:
        """The finding for a machine."""
        inputs = self.inputs
        return {
            "caption": self.caption,
            "support": self.support,
            "metric": self.question.metric,
            "strategies": list(self.question.strategies),
            "method": self.method,
            "scale": self.scale,
            "effects_are": "natural logarithms of ratios"
            if self.scale == "log"
            else "differences in the unit of the metric",
            "answer": self.answer._asdict() if self.answer is not None else None,
            "winner": self.winner,
            "early": self.early,
            "factors": self.table.to_dict("records"),
            "noise": self.noise,
            "flips": self.flips.to_dict("records") if self.flips is not None else None,
            "inputs": None
            if inputs is None
            else {
                "inputs": inputs.inputs,
                "replications": inputs.replications,
                "draws": inputs.draws,
                "calibration": inputs.calibration,
            },
            "confidence": self.confidence,
            "replications": self.replications,
        }

    def __str__(self) -> str:
        """Say whether the answer is supported; then give the caption, the table, the noise, and the flips."""
        said = f"changes of {self.question.metric} ({' / '.join(self.question.strategies)})"
        what = {
            "tornado": f"{said}, one factor at a time:",
            "morris": f"{said}, over the whole range of each factor:",
            "sobol": f"shares of the variance of {self.question.metric} ({' / '.join(self.question.strategies)}):",
        }[self.method]
        early = [f"warning: {self.early}"] if self.early and self.ranked else []
        lines = [self.support, self.caption, *early, "", what, _table(self), self._noise()]
        if self.flips is not None:
            lines += ["", "distance to the flip, in units of the stated uncertainty:", _flips(self, self.flips)]
        if self.inputs is not None:
            lines += ["", self._inputs(self.inputs)]
        return "\n".join(lines)

    def _noise(self) -> str:
        what = {
            "tornado": f" (half the interval of the answer, {self.replications} replications)",
            "morris": f" (standard error of one effect, {self.replications} replications)",
        }.get(self.method, "")
        return f"noise between replications: {self.noise_text}{what}"

    def _inputs(self, inputs: InputUncertainty) -> str:
        """Say what is not known because the calibration is a sample, beside what replications leave open."""
        name, size = inputs.smallest
        return (
            f"standard deviation of the answer: {self.size(inputs.inputs)} from the calibration '{inputs.calibration}' (smallest sample: {size} of '{name}'), "
            f"which more replications do not shrink; {self.size(inputs.replications)} from replications"
        )


def _share(change: float) -> str:
    return f"{100 * change:+.3g} %"


def _percent(change: float) -> str:
    """A change as a share, with its sign: ``+18 %``."""
    return f"{100 * change:+.2g} %"


# --- words and tables -----------------------------------------------------------------------------------------------------------


def _support(found: Sensitivity) -> str:
    """Say whether the runs support the answer: one line that begins with ``supported`` or ``not supported``."""
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
            f"supported: {first['factor']} moves {about} by {found.size(float(first['swing']))} from end to end; "
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
    return f"supported: {first['factor']} explains {_part(first['total_low'])} to {_part(first['total_high'])} of the variance of {about}"


def _told(row: Mapping[Any, Any]) -> bool:
    """Return whether a factor moves the answer at one of its ends for sure."""
    return any(row[f"{end}_from"] > 0 or row[f"{end}_to"] < 0 for end in ("low", "high"))


def _table(found: Sensitivity) -> str:
    """The table of the method."""
    sure = f"{100 * found.confidence:g} %"
    columns: _Columns = {"factor": lambda row: str(row["factor"])}
    if found.method == "tornado":
        for end in ("low", "high"):
            columns |= _of_end(found, end, sure)
        columns["swing"] = lambda row: found.size(float(row["swing"]))
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
    return _lines(columns, found.table)


def _of_end(found: Sensitivity, end: str, sure: str) -> _Columns:
    """The columns of one end of the factors' ranges."""
    return {
        f"{end} end": lambda row: found.value(row["factor"], float(row[f"{end}_value"])),
        f"change there ({end})": lambda row: found.effect(row[end]),
        f"{sure} ({end})": lambda row: _range(found.effect, row[f"{end}_from"], row[f"{end}_to"]),
    }


def _of_share(which: str, said: str, sure: str) -> _Columns:
    """The columns of one share of the variance."""
    return {
        said: lambda row: _part(row[which]),
        f"{sure} ({said})": lambda row: _range(_part, row[f"{which}_low"], row[f"{which}_high"]),
    }


def _flips(found: Sensitivity, table: pd.DataFrame) -> str:
    """The table of flips."""
    columns: _Columns = {
        "factor": lambda row: str(row["factor"]),
        "flips at": lambda row: (
            found.value(row["factor"], row["value"]) if math.isfinite(row["distance"]) else "nowhere within reach"
        ),
        "off by": lambda row: _percent(row["change"]) if math.isfinite(row["change"]) else "-",
        "distance": lambda row: _distance(abs(row["distance"])),
        f"{100 * found.confidence:g} %": lambda row: _range(_distance, row["nearest"], row["furthest"]),
        "position": lambda row: (
            "simulated" if row["simulated"] else "extrapolated" if math.isfinite(row["distance"]) else "-"
        ),
    }
    return _lines(columns, table)


def _distance(size: float) -> str:
    return f"{size:.2g}" if math.isfinite(size) else "> 3"


def _part(share: float) -> str:
    return f"{100 * share:.0f} %"


def _range(said: Callable[[float], str], low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "-"
    return said(low) if said(low) == said(high) else f"{said(low)} to {said(high)}"


def _lines(columns: _Columns, table: pd.DataFrame) -> str:
    rows: list[dict[Any, Any]] = table.to_dict("records")
    cells = [list(columns), *([read(row) for read in columns.values()] for row in rows)]
    return "\n".join(aligned(cells, right=1))
