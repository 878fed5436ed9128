"""Answer of an explorer: a figure of each strategy with where it is from, and how it changes with the control that was moved last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np

from simtx.lab.controls import Control
from simtx.lab.memory import Known, Memory
from simtx.lab.state import State
from simtx.lab.surface import Guess, Surface
from simtx.metrics.intervals import interval, kind_of
from simtx.metrics.timeouts import marked, timeouts

Origin: TypeAlias = Literal["stored", "played", "interpolated", "nothing"]

TIMES: Final = ("decision_p50_ms", "decision_p99_ms")
OUTCOMES: Final = ("committed_share", "compensated_share", "aborted_share", "undecided_share")
METRICS: Final = (
    "decision_p50_ms",
    "decision_p99_ms",
    "latency_p50_ms",
    "latency_p99_ms",
    "goodput_per_s",
    "committed_share",
    "drift_gross_mean",
    "window_p99_ms",
    "missing_effects",
    "duplicate_effects",
    "in_doubt_seconds",
    "utilisation_max",
)
"""Columns that can be drawn over the control that was moved last."""
_POINTS: Final = 33
"""Points at which a surface is drawn."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of one strategy.

    Attributes:
        origin: Where it is from.
        mean: The mean over runs, or the middle of the surface; infinite: had not ended with the run.
        low: Lower end of its interval, or of the band of the surface; NaN: there is none.
        high: Upper end.
        n: Runs behind it; of a surface: points.
        watched: For how long every transaction was watched, in milliseconds.
    """

    origin: Origin
    mean: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    watched: float = math.nan


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric of one strategy over the control that was moved last.

    Attributes:
        played: Values of the control at which something was played, with the estimate there.
        line: Values of the control, with what the surface says there.
    """

    played: tuple[tuple[float, Estimate], ...]
    line: tuple[tuple[float, Guess], ...]


@dataclass(frozen=True)
class Answer:
    """Answer for the position of all controls.

    Attributes:
        state: Where everything stands.
        estimates: By strategy and metric.
        curves: By strategy.
        control: What the curves are drawn over; None: nothing can be moved.
        said: What stands elsewhere than in the scenario, in words.
        errors: What could not be played, by strategy.
        timeouts: Where a median is a configured timeout and says nothing about speed: which one, by strategy.
        problem: What is wrong with the state as a whole; empty: nothing.
        wanted: How many runs of each strategy there will be.
        finished: Whether all of them are there.
        whole: Whether the runs are as long as the scenario says.
        transactions: How many a run has, about.
    """

    state: State
    estimates: Mapping[str, Mapping[str, Estimate]]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    control: Control | None = None
    said: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    timeouts: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    wanted: int = 0
    finished: bool = False
    whole: bool = False
    transactions: int = 0

    @property
    def origin(self) -> Origin:
        """Origin of the figures: of several, the least reliable one."""
        order: tuple[Origin, ...] = ("nothing", "interpolated", "played", "stored")
        origins = {one[TIMES[0]].origin for one in self.estimates.values() if TIMES[0] in one}
        return next((one for one in order if one in origins), "nothing")

    @property
    def status(self) -> str:
        """Origin of the figures, in a line."""
        if self.problem:
            return self.problem
        runs = [one[TIMES[0]].n for one in self.estimates.values() if one[TIMES[0]].origin in ("played", "stored")]
        origin = self.origin
        if origin == "stored":
            text = f"from the results folder: {_runs(min(runs))} of each strategy"
        elif origin == "played" and self.finished:
            text = f"played: {_runs(min(runs))} of each strategy"
        elif origin == "played":
            text = f"played: {min(runs)} of {self.wanted} runs of each strategy; refining"
        elif origin == "interpolated":
            points = min(one[TIMES[0]].n for one in self.estimates.values() if one[TIMES[0]].origin == origin)
            text = f"INTERPOLATED between {points} points; {'not played' if self.finished else 'playing'}"
        else:
            text = "nothing played here" if self.finished else "nothing known near here; playing"
        for label, error in self.errors.items():
            text += f"; {label} failed: {error}"
        return text


def answer(memory: Memory, state: State, *, wanted: int, finished: bool) -> Answer:
    """Answer for a state, at once.

    Args:
        memory: What is known.
        state: Where everything stands.
        wanted: How many runs of each strategy there will be.
        finished: Whether nothing more will come.

    Raises:
        ScenarioError: A value does not fit, or the results folder cannot be read.
    """
    known = memory.look(state)
    points = memory.around(state, whole=known.whole)
    if not known.figures and memory.given:
        longer = memory.around(state, whole=True)
        points = longer if len(longer) > len(points) else points
    surface = Surface(memory.controls, points, state.values, memory.shapes)
    metrics = tuple(dict.fromkeys((*TIMES, *OUTCOMES, state.metric)))
    estimates = {
        label: {metric: _estimate(known, surface, state, label, metric) for metric in metrics}
        for label in memory.strategies
    }
    control = memory.controls.get(state.moved)
    control = control if control is not None and control.numeric else _first_numeric(memory.controls)
    curves = {}
    if control is not None:
        curves = {label: _curve(points, surface, state, control, label) for label in memory.strategies}
    return Answer(
        state,
        estimates,
        curves,
        control,
        said(memory, state),
        dict(known.errors),
        _timeouts(memory, state, known),
        wanted=wanted,
        finished=finished,
        whole=known.whole and bool(known.figures),
        transactions=round((memory.scenario if known.whole else memory.short).expected_transactions()),
    )


def _timeouts(memory: Memory, state: State, known: Known) -> dict[str, str]:
    """Medians that are a configured timeout, by strategy."""
    found = {}
    for label, strategy in memory.variants(state).items():
        column = known.column(label, TIMES[0])
        told = (
            marked(TIMES[0], column, timeouts(memory.scenario_of(state, whole=known.whole), strategy)) if column else ""
        )
        if told:
            found[label] = told.split(" in ")[0]
    return found


def fit(memory: Memory, state: State, go_on: Callable[[], bool]) -> None:
    """Fit the surfaces around a state, so that the next answer need not.

    Args:
        memory: What is known.
        state: Where everything stands.
        go_on: Asked before each fit.
    """
    points = memory.around(state, whole=memory.look(state).whole)
    surface = Surface(memory.controls, points, state.values, memory.shapes, again=True)
    for metric in dict.fromkeys((*TIMES, *OUTCOMES, state.metric)):
        for label in memory.strategies:
            if not go_on():
                return
            surface.at(state.values, label, metric)


def said(memory: Memory, state: State) -> str:
    """Controls that differ from the scenario, in words."""
    parts = [
        f"{memory.controls[name].label} {memory.controls[name].text(one)}"
        for name, one in state.values.items()
        if one != memory.controls[name].base
    ]
    if state.failure:
        failure = memory.failures[state.failure]
        seconds = float(failure.duration(memory.short).removesuffix("s"))
        parts.append(f"{failure.title} for {seconds:g} s")
    return ", ".join(parts)


def _first_numeric(controls: Mapping[str, Control]) -> Control | None:
    return next((one for one in controls.values() if one.numeric), None)


def _estimate(known: Known, surface: Surface, state: State, label: str, metric: str) -> Estimate:
    values = known.column(label, metric)
    if values:
        return _of_runs(known, values, label, metric)
    guess = surface.at(state.values, label, metric) if label not in known.errors else None
    if guess is None:
        return Estimate("nothing", math.nan)
    return Estimate("interpolated", guess.mean, guess.low, guess.high, guess.points)


def _of_runs(known: Known, values: Sequence[float], label: str, metric: str) -> Estimate:
    one = interval(values, kind=kind_of(metric))
    watched = known.column(label, "watched_ms")
    ends = (math.nan, math.nan) if one.never else (one.low, one.high)
    return Estimate("stored" if known.whole else "played", one.mean, *ends, one.n, min(watched, default=math.nan))


def _curve(points: Sequence[Known], surface: Surface, state: State, control: Control, label: str) -> Curve:
    here = {name: value for name, value in state.values.items() if name != control.name}
    on_it = [one for one in points if {n: v for n, v in one.values.items() if n != control.name} == here]
    played = sorted(
        (
            (float(one.values.get(control.name, control.base)), _of_runs(one, values, label, state.metric))
            for one in on_it
            if (values := one.column(label, state.metric))
        ),
        key=lambda pair: pair[0],
    )
    low, high = control.place(control.values[0]), control.place(control.values[-1])
    grid = np.interp(
        np.linspace(low, high, _POINTS),
        [control.place(one) for one in control.values],
        [float(v) for v in control.values],
    )
    guesses = surface.along([{**here, control.name: float(one)} for one in grid], label, state.metric)
    line = tuple((float(x), guess) for x, guess in zip(grid, guesses, strict=True) if guess is not None)
    return Curve(tuple(played), line)


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"
