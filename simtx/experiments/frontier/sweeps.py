"""The frontier of a sweep: the search works from the runs that the sweep has, and adds those that help to its store."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from simtx.errors import ScenarioError
from simtx.experiments.frontier.axes import Axis, snap_all
from simtx.experiments.frontier.gp import Floats
from simtx.experiments.frontier.responses import Observed
from simtx.experiments.frontier.result import Frontier
from simtx.experiments.frontier.search import Plan, State, search
from simtx.experiments.frontier.zones import Surfaces
from simtx.experiments.pairs import much_less
from simtx.experiments.said import early, unlike
from simtx.experiments.stopping import better_of
from simtx.experiments.sweep.axes import measured
from simtx.experiments.sweep.cells import cells, check
from simtx.metrics.censored import instead, left_out
from simtx.metrics.figures import COMMITTED, of_all, ranking
from simtx.metrics.intervals import check_confidence
from simtx.progress import progress_bar
from simtx.scenario.units import hint, shown

if TYPE_CHECKING:
    from simtx.experiments.sweep.result import Sweep

_WIDE = 10.0
"""Ratio of the ends of an axis from which on it is logarithmic, unless told otherwise."""
_WATCHED = "watched_ms"


def frontier(
    sweep: Sweep,
    x: str,
    y: str | None = None,
    metric: str = "latency_p99_ms",
    *,
    between: Sequence[str] | None = None,
    budget: int = 1000,
    undecided_area: float = 0.05,
    at: Mapping[str, Any] | None = None,
    confidence: float = 0.95,
    better: Literal["lower", "higher"] | None = None,
    scales: Mapping[str, Literal["linear", "log"]] | None = None,
    batch: int = 4,
    sites: int = 1,
    seed: int = 1,
    **options: Any,
) -> Frontier:
    """Find where the winner changes; see `Sweep.frontier`."""
    names = _between(sweep, between)
    axes = [_axis(sweep, name, (scales or {}).get(name)) for name in ((x,) if y is None else (x, y))]
    if y == x:
        raise ScenarioError(f"both axes are '{x}'", "y")
    if better not in (None, "lower", "higher"):
        raise ScenarioError(f"{shown(better)} is neither 'lower' nor 'higher'", "better")
    unknown = [name for name in scales or {} if name not in (x, y)]
    if unknown:
        raise ScenarioError(f"'{unknown[0]}' is no axis of this map", "scales")
    ranking(metric)
    if metric not in sweep.metrics:
        raise ScenarioError(f"{shown(metric)} is no metric; {hint(str(metric), sweep.metrics)}", "metric")
    plan = Plan(
        _whole(budget, "budget") // len(names),
        _share(undecided_area, "undecided_area"),
        check_confidence(confidence),
        batch=_whole(batch, "batch"),
        sites=_whole(sites, "sites"),
        seed=seed,
    )
    origin = sweep.provenance.command  # of the sweep as it is before runs are added to it
    wanted = better or better_of(metric)
    held = _held(sweep, [axis.name for axis in axes], at)
    runs = _Runs(sweep, axes, names, metric, held, options, wanted == "lower", confidence)
    try:
        with progress_bar(budget, "run", what="frontier", wanted=options.get("progress")) as bar:

            def look(state: State, _: Surfaces) -> None:
                bar.say(note=f"undecided {100 * state.history[-1][1]:.0f} %")
                bar.to(state.spent * len(names))

            state, surfaces = search(
                runs.observe,
                dimensions=len(axes),
                strategies=len(names),
                plan=plan,
                better=wanted,
                known=runs.known(),
                snap=lambda points: snap_all(tuple(axes), points),
                on_look=look,
            )
    except ValueError as error:
        if isinstance(error, ScenarioError):
            raise
        if runs.note:
            raise ScenarioError(f"{error}: {runs.note}", "frontier") from None
        raise ScenarioError(f"{error}; a paired replication is {len(names)} runs", "frontier") from None
    asked = {"between": names, "budget": budget, "undecided_area": undecided_area, "at": at, "confidence": confidence}
    asked |= {"better": better, "scales": scales, "batch": batch, "sites": sites, "seed": seed}
    promises = {name: sweep.study.strategies[name].promise for name in names}
    return Frontier(
        axes,
        names,
        metric,
        state,
        surfaces,
        confidence=confidence,
        target=undecided_area,
        sweep=runs.sweep,
        aborting=tuple(dict.fromkeys(name for less in runs.early.values() for name in less)),
        command=f"{origin}.{_call((x,) if y is None else (x, y), metric, asked)}",
        unlike=unlike(metric, promises),
        warnings=[*(note for note in (unlike(metric, promises), runs.note) if note), *runs.sweep.warnings],
    )


def _call(axes: Sequence[str], metric: str, asked: Mapping[str, Any]) -> str:
    """The call of `Sweep.frontier`, without what it takes by itself."""
    usual = {name: one.default for name, one in inspect.signature(frontier).parameters.items()}
    given = {name: value for name, value in {"metric": metric, **asked}.items() if value != usual[name]}
    return f"frontier({', '.join([*map(repr, axes), *(f'{name}={value!r}' for name, value in given.items())])})"


@dataclass
class _Runs:
    """The runs of a sweep as the search sees them.

    Attributes:
        sweep: With all runs so far.
        axes: Of the map.
        names: Of the strategies.
        metric: What is compared.
        held: Values of the other parameters.
        options: Of `Sweep.extend`.
        lower: Whether the lower figure wins.
        confidence: Of each comparison of what two strategies commit.
        silent: Sites at which a mean leaves out what had not ended.
        early: Sites at which who leads by a time of all transactions commits much less than another strategy, with both names: nobody wins there.
    """

    sweep: Sweep
    axes: Sequence[Axis]
    names: Sequence[str]
    metric: str
    held: Mapping[str, Any]
    options: Mapping[str, Any]
    lower: bool = True
    confidence: float = 0.95
    silent: set[tuple[float, ...]] = field(default_factory=set)
    early: dict[tuple[float, ...], dict[str, str]] = field(default_factory=dict)

    @property
    def share(self) -> str | None:
        """The metric that says what a mean leaves out."""
        return left_out(self.metric)

    @property
    def note(self) -> str:
        """Places where the figures rank nobody, and why; empty if there are none."""
        told = []
        if self.silent:
            told.append(
                f"{self.metric} leaves out what had not ended ({self.share} at {_sites(self.silent)}) and says nothing there; {instead(self.metric)}"
            )
        if self.early:
            less = {name: most for one in self.early.values() for name, most in one.items()}
            told.append(early(self.metric, less, f"at {_sites(self.early)}", self.sweep.metrics))
        return "; ".join(told)

    def known(self) -> tuple[Floats, list[Observed]] | None:
        """Sites that have runs, and their figures."""
        figures = self._figures()
        if not figures:
            return None
        return np.array([list(place) for place in figures]), list(figures.values())

    def observe(self, sites: Floats, replications: Sequence[int]) -> list[Observed]:
        """Play what is missing of these replications, and give all that is known of the sites.

        Raises:
            KeyboardInterrupt: The sweep was interrupted; what is finished is in its store.
        """
        values = self._values(sites)
        for count in sorted(set(replications)):
            cells = [values[i] for i, wanted in enumerate(replications) if wanted == count]
            rows = [{**cell, "strategy": name} for cell in cells for name in self.names]
            self.sweep = self.sweep.extend(rows, count, **self.options)
            if self.sweep.stopped.startswith("interrupted"):
                raise KeyboardInterrupt
        figures = self._figures()
        found = []
        for place, count in zip(sites, replications, strict=True):
            one = figures.get(self._place(place), Observed(np.empty((0, len(self.names)))))
            missing = np.full((max(count - len(one.values), 0), len(self.names)), np.nan)  # all of them failed
            found.append(Observed(np.vstack([one.values, missing]), one.watched))
        return found

    def _values(self, sites: Floats) -> list[dict[str, Any]]:
        columns = [axis.value(sites[:, position]) * axis.factor for position, axis in enumerate(self.axes)]
        return [
            {
                **self.held,
                **{
                    axis.name: round(float(value)) if axis.whole else float(f"{value:.9g}")
                    for axis, value in zip(self.axes, row, strict=True)
                },
            }
            for row in zip(*columns, strict=True)
        ]

    def _place(self, place: Floats) -> tuple[float, ...]:
        return tuple(float(f"{value:.6f}") + 0.0 for value in place)

    def _figures(self) -> dict[tuple[float, ...], Observed]:
        """Data of each site, by its place."""
        frame = self.sweep.frame
        frame = frame[(frame["error"] == "") & frame["strategy"].isin(self.names)]
        for name, value in self.held.items():
            number = measured(value)[0]
            numeric = pd.api.types.is_numeric_dtype(frame[name]) and number is not None
            frame = frame[frame[name] == (number if numeric else value)]
        found: dict[tuple[float, ...], Observed] = {}
        self.early.clear()
        groups: Any = frame.groupby([axis.name for axis in self.axes], sort=False)
        for values, group in groups:
            pairs = zip(self.axes, values, strict=True)
            place = np.array([float(axis.place(np.array(float(value) / axis.factor))) for axis, value in pairs])
            if (place < -1e-6).any() or (place > 1 + 1e-6).any():
                continue
            table = group.pivot_table(index="replication", columns="strategy", values=self.metric, dropna=False)
            rows = range(int(group["replication"].max()) + 1)
            figures = table.reindex(index=rows, columns=list(self.names)).to_numpy(dtype=float)
            if self.share in group and (group[self.share] > 0).any():  # a mean of those that ended: it ranks nobody
                figures = np.full_like(figures, np.nan)
                self.silent.add(self._place(place))
            if less := self._early(group, figures):
                figures = np.full_like(figures, np.nan)
                self.early[self._place(place)] = less
            found[self._place(place)] = Observed(figures, self._watched(group))
        return found

    def _early(self, group: pd.DataFrame, figures: Floats) -> dict[str, str]:
        """Leader at a site, and the one that commits the most, if the former commits much less; else nothing."""
        if not of_all(self.metric) or COMMITTED not in group or np.isnan(figures).all():
            return {}
        seen = group[group[COMMITTED].notna()]
        groups = seen.groupby("strategy")
        shares = {str(name): dict(zip(rows["replication"], rows[COMMITTED], strict=True)) for name, rows in groups}
        less = much_less(shares, self.confidence)
        if not less:
            return {}
        worst = np.inf if self.lower else -np.inf
        means = [worst if np.isnan(one).all() else float(np.nanmean(one)) for one in figures.T]
        leader = self.names[int(np.argmin(means) if self.lower else np.argmax(means))]
        return {leader: less[leader]} if leader in less else {}

    def _watched(self, group: pd.DataFrame) -> float:
        """The time, in the unit of a latency, for which every transaction of these runs was watched."""
        if not self.metric.endswith("_ms") or _WATCHED not in group:
            return 0.0
        shortest = float(group[_WATCHED].min())
        return shortest if np.isfinite(shortest) else 0.0


def _sites(places: Sized) -> str:
    return f"{len(places)} site{'s' if len(places) > 1 else ''}"


def _between(sweep: Sweep, between: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(sweep.strategies if between is None else between)
    if isinstance(between, str) or len(set(names)) < 2 or len(set(names)) < len(names):
        raise ScenarioError("give two or more different strategies", "between")
    for name in names:
        if name not in sweep.strategies:
            raise ScenarioError(f"'{name}' is no strategy of this sweep; {hint(name, sweep.strategies)}", "between")
    return names


def _axis(sweep: Sweep, name: str, scale: Literal["linear", "log"] | None) -> Axis:
    """The axis of a parameter: from the lowest of its values in the sweep to the highest."""
    if name not in sweep.parameters:
        raise ScenarioError(f"'{name}' is no parameter of this sweep; {hint(name, sweep.parameters)}", "axis")
    if scale not in (None, "linear", "log"):
        raise ScenarioError(f"{shown(scale)} is neither 'linear' nor 'log'", f"scales: {name}")
    column = sweep.cells[name]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        raise ScenarioError("its values are no numbers, so that nothing is between them", name)
    low, high = float(column.min()), float(column.max())
    if low == high:
        raise ScenarioError(f"has one value in this sweep, {column.iloc[0]}; give the two ends of the axis", name)
    whole = bool(pd.api.types.is_integer_dtype(column)) and _whole_only(sweep, name)
    if scale is None:
        scale = "log" if low > 0 and high / low >= _WIDE else "linear"
    unit, factor = {"s": ("ms", 1e-3), "1/s": ("/s", 1.0)}.get(sweep.units.get(name, ""), ("", 1.0))
    if unit == "ms" and high >= 10:
        unit, factor = "s", 1.0
    return Axis(name, low / factor, high / factor, unit, scale, whole, factor)


def _whole_only(sweep: Sweep, name: str) -> bool:
    """Return whether the scenario takes only whole numbers for a parameter: half a worker is refused."""
    values = {one: sweep.cells[one].iloc[0] for one in sweep.parameters}
    between = float(sweep.cells[name].min()) + 0.5
    study = sweep.study
    try:
        made, _ = cells(study.scenario, [{**values, name: between}], study.parameters, study.window)
        check(made[0], study.scenario, study.strategies)
    except ScenarioError:
        return True
    return False


def _held(sweep: Sweep, axes: Sequence[str], at: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values of the parameters that are no axis."""
    held: dict[str, Any] = {}
    for name, value in (at or {}).items():
        if name not in sweep.parameters or name in axes:
            known = [one for one in sweep.parameters if one not in axes]
            raise ScenarioError(f"'{name}' is no parameter that could be held; {hint(name, known)}", "at")
        held[name] = value
    for name in sweep.parameters:
        if name in axes or name in held:
            continue
        values = list(dict.fromkeys(sweep.cells[name]))
        if len(values) > 1:
            listed = ", ".join(map(str, values[:5]))
            raise ScenarioError(f"'{name}' has several values ({listed}); hold one with at={{'{name}': ...}}", "at")
        held[name] = values[0]
    return held


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ScenarioError(f"must be a whole number from 1, not {shown(value)}", name)
    return int(value)


def _share(value: Any, name: str) -> float:
    number = measured(value)[0]
    if number is None or not 0 <= number < 1:
        raise ScenarioError(f"must be a share from 0 to below 1, not {shown(value)}", name)
    return number
