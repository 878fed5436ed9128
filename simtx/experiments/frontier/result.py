"""The frontier: where the winner changes, how sure that is, and what it was found by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simtx.errors import ScenarioError
from simtx.experiments.frontier.axes import Axis
from simtx.experiments.frontier.crossing import Crossing, crossings
from simtx.experiments.frontier.gp import Floats
from simtx.experiments.frontier.search import State, grid_of, winners
from simtx.experiments.frontier.words import caption, flip
from simtx.experiments.frontier.zones import UNDECIDED, Contest, Surfaces
from simtx.scenario.provenance import Provenance
from simtx.views import View

if TYPE_CHECKING:
    from simtx.experiments.sweep.runs import Runs
    from simtx.report.pictures.accessors import FrontierPlots

_ENDED = {
    "decided": "the undecided area is as small as was asked for",
    "budget": "the budget is spent",
    "interrupted": "it was interrupted; what is finished is kept",
    "stuck": "no site is left where runs would say anything",
}


class Frontier:
    """The frontier: the line on which the winner changes, over one or two parameters.

    Attributes:
        axes: One or two.
        strategies: Names of the strategies.
        metric: What they are compared by.
        better: ``lower`` or ``higher``: which figure wins.
        confidence: Of a winner at a point.
        target: Undecided share of the area at which the search was to stop.
        stopped: Why it ended: ``decided``, ``budget``, ``interrupted`` or ``stuck``.
        spent: Runs that were added.
        sweep: All runs, with those that were added; None if it was not found by a sweep.
        command: The Python line that asks for it again; empty if it was not found by a sweep.
        state: Sites and figures, in the unit cube.
        surfaces: The fitted surfaces.
        aborting: Strategies that lead at some sites by a time of all transactions, but commit much less than another one: nobody wins there.
        unlike: Why the strategies are not to be compared by this metric; empty if they are.
        warnings: What a reader should know before trusting it.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        strategies: Sequence[str],
        metric: str,
        state: State,
        surfaces: Surfaces,
        *,
        confidence: float = 0.95,
        target: float = 0.05,
        sweep: Runs | None = None,
        command: str = "",
        aborting: Sequence[str] = (),
        unlike: str = "",
        warnings: Sequence[str] = (),
    ) -> None:
        self.axes = tuple(axes)
        self.strategies = tuple(strategies)
        self.metric = metric
        self.better = surfaces.better
        self.confidence = confidence
        self.target = target
        self.state = state
        self.surfaces = surfaces
        self.stopped = state.stopped
        self.spent = state.spent * len(self.strategies)
        self.sweep = sweep
        self.command = command
        self.aborting = tuple(aborting)
        self.unlike = unlike
        self.warnings = list(warnings)
        self._points = grid_of(len(self.axes), 1001 if len(self.axes) == 1 else 81)
        self._winners = winners(state, surfaces, self._points, confidence)

    @property
    def provenance(self) -> Provenance | None:
        """Provenance, and the line that asks for it again; None if it was not found by a sweep."""
        if self.sweep is None:
            return None
        return dataclasses.replace(self.sweep.provenance, verb="frontier", command=self.command)

    # --- the finding --------------------------------------------------------------------------------------------------------------

    @property
    def guaranteed(self) -> bool:
        """Return whether the undecided area is as small as was asked for, and no cap or interruption ended the search."""
        return self.stopped == "decided"

    @property
    def support(self) -> str:
        """The runs that it rests on, and the end of the search, in a few words."""
        replications = int(self.state.counts.sum())
        ended = _ENDED[self.stopped] if self.guaranteed else f"not guaranteed: {_ENDED[self.stopped]}"
        return f"{replications:,} paired replications at {len(self.state.sites)} sites; {ended}"

    @property
    def undecided(self) -> float:
        """Share of the area in which the data does not say who wins."""
        return float(np.mean(self._winners == UNDECIDED))

    @property
    def areas(self) -> dict[str, float]:
        """Share of the area that each strategy wins for certain."""
        return {name: float(np.mean(self._winners == position)) for position, name in enumerate(self.strategies)}

    @property
    def crossings(self) -> list[Crossing]:
        """Points on one axis at which the winner changes, each with its interval.

        Raises:
            ScenarioError: There are two axes.
        """
        if len(self.axes) != 1:
            raise ScenarioError("has two axes: its frontier is a line, not a value", "frontier")
        return crossings(self.state, self.surfaces, self.axes[0], self.strategies, self.confidence)

    @property
    def caption(self) -> str:
        """The finding in one line: ``saga wins above 20 ms and 60/s, 2pc elsewhere; undecided 6 % of the area``."""
        lead = "not like with like: " if self.unlike else ""
        early = f"; nobody where {' or '.join(self.aborting)} ends early by aborting" if self.aborting else ""
        if len(self.axes) == 1:
            return f"{lead}{flip(self.axes[0], self.crossings, self._winners, self.strategies)}{early}"
        mute = float(np.mean(self.state.mute_at(self._points)))
        beyond = f"; on {100 * mute:.0f} % no run has a figure to compare" if mute > 0.005 and not early else ""
        return f"{lead}{caption(self.axes, self._points, self._winners, self.strategies)}{early or beyond}"

    def winner(self, **values: float) -> tuple[str, float]:
        """The winner at a point, or an empty text if the data does not say; and the probability that the leader there is not the best.

        Args:
            values: Of every axis by name, in the units of the axes. A name with dots goes as ``**{"workload.rate": 60}``.

        Raises:
            ScenarioError: A value is missing, or outside of the map.
        """
        point = self._point(values)
        won = winners(self.state, self.surfaces, point, self.confidence)[0]
        return self.strategies[won] if won != UNDECIDED else "", float(self.contest(point).doubt()[0])

    def contest(self, points: Floats) -> Contest:
        """Leaders at points of the unit cube."""
        return self.surfaces.contest(points)

    def winners(self, points: Floats) -> NDArray[np.intp]:
        """Winners at points of the unit cube: positions of strategies, or -1 where the data does not say."""
        return winners(self.state, self.surfaces, points, self.confidence)

    @property
    def quantile(self) -> float:
        """Number of standard deviations that a lead needs to count as decided."""
        return self.surfaces.contest(self._points[:1]).quantile(self.confidence)

    def _point(self, values: Mapping[str, float]) -> Floats:
        names = [axis.name for axis in self.axes]
        if set(values) != set(names):
            raise ScenarioError(f"needs values for {' and '.join(names)}, not {', '.join(values) or 'none'}", "winner")
        for axis in self.axes:
            if not axis.low <= values[axis.name] <= axis.high:
                raise ScenarioError(
                    f"{axis.text(values[axis.name])} is outside of the map, which goes from {axis.text(axis.low)} to {axis.text(axis.high)}",
                    axis.name,
                )
        return np.array([[float(axis.place(np.array(values[axis.name]))) for axis in self.axes]])

    # --- tables -------------------------------------------------------------------------------------------------------------------

    @property
    def sites(self) -> pd.DataFrame:
        """One row a site: its values, its replications, and who wins there (empty: undecided)."""
        order = np.lexsort(self.state.sites.T[::-1])
        won = winners(self.state, self.surfaces, self.state.sites, self.confidence)
        data: dict[str, Any] = {
            axis.name: axis.value(self.state.sites[order, position]) for position, axis in enumerate(self.axes)
        }
        data["replications"] = self.state.counts[order]
        data["winner"] = [self._name(int(won[position])) for position in order]
        return pd.DataFrame(data)

    @property
    def frame(self) -> pd.DataFrame:
        """The map, one row a cell of equal area: its values, the winner (empty: undecided), who leads, and the doubt about it."""
        contest = self.contest(self._points)
        data: dict[str, Any] = {
            axis.name: axis.value(self._points[:, position]) for position, axis in enumerate(self.axes)
        }
        data["winner"] = [self._name(int(one)) for one in self._winners]
        data["leader"] = [self.strategies[one] for one in contest.leader]
        data["doubt"] = contest.doubt()
        return pd.DataFrame(data)

    @property
    def map(self) -> tuple[Floats, NDArray[np.intp]]:
        """Points of the unit cube, and who wins at each."""
        return self._points, self._winners

    def _name(self, position: int) -> str:
        return self.strategies[position] if position != UNDECIDED else ""

    plot: View[FrontierPlots] = View(
        "frontier", "Pictures: `frontier.plot()` draws the map or the curve; completion lists the others."
    )

    def as_dict(self) -> dict[str, Any]:
        """The finding for a machine."""
        found = {
            "caption": self.caption,
            "metric": self.metric,
            "better": self.better,
            "strategies": list(self.strategies),
            "axes": [
                {"name": a.name, "low": a.low, "high": a.high, "unit": a.unit, "scale": a.scale} for a in self.axes
            ],
            "confidence": self.confidence,
            "guaranteed": self.guaranteed,
            "stopped": self.stopped,
            "undecided_area": self.undecided,
            "areas": self.areas,
            "runs_added": self.spent,
            "sites": self.sites.to_dict("records"),
            "aborting": list(self.aborting),
            "warnings": self.warnings,
        }
        if len(self.axes) == 1:
            found["crossings"] = [
                {"at": one.at, "low": one.low, "high": one.high, "below": one.below, "above": one.above}
                for one in self.crossings
            ]
        return found

    def __str__(self) -> str:
        """The caption, how sure it is, what it was found by, and what to know before trusting it."""
        replications = int(self.state.counts.sum())
        sure = "guaranteed" if self.guaranteed else "not guaranteed"
        return (
            f"{self.caption}\n"
            f"{self.metric}, {self.better} is better; {100 * self.confidence:g} % at each point; {sure}: {_ENDED[self.stopped]}\n"
            f"{replications:,} paired replications at {len(self.state.sites)} sites, {self.spent:,} runs of them new"
            + "".join(f"\nwarning: {note}" for note in self.warnings)
        )

    def __repr__(self) -> str:
        axes = " and ".join(axis.name for axis in self.axes)
        return f"<Frontier of {', '.join(self.strategies)} over {axes} by {self.metric}: {self.caption}>"
