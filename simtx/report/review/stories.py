"""Failure stories: what each fault did under each strategy in one run, and the line that plays a transaction of it again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.errors import SimtxError
from simtx.report import catalogue, space_time
from simtx.report.review import pictures
from simtx.scenario.provenance import command

if TYPE_CHECKING:
    from simtx.experiments import Comparison
    from simtx.metrics.run import Run

_LOGGED: Final = 4_000
"""Transactions of a run whose log is made again for a diagram."""
MOST: Final = 3
"""Stories in a report; the others are counted."""
AFFORDABLE: Final = 15_000
"""Transactions that are played again for a report unless it is asked for: some seconds."""


@dataclass(frozen=True, slots=True)
class Played:
    """One run of each strategy, for what a comparison does not keep: distributions, timelines, transactions.

    Attributes:
        runs: By strategy; those that could not be played are missing.
        equal: By strategy: whether the run has the digest that the result has of it.
        why: What is missing and why, one line each.
    """

    runs: Mapping[str, Run]
    equal: Mapping[str, bool]
    why: tuple[str, ...]


def played(comparison: Comparison, known: Sequence[Run] = (), wanted: bool | None = None) -> Played:
    """Play one finished run of each strategy again: the same seed gives the same run, and its digest says whether it did.

    Args:
        comparison: The runs.
        known: Runs that need not be played.
        wanted: False: none is played; None: only if that takes some seconds at most; True: however long it takes.
    """
    runs: dict[str, Run] = {one.strategy.name: one for one in known}
    equal = dict.fromkeys(runs, True)
    missing = [name for name in comparison.strategies if name not in runs]
    if not missing:
        return Played(runs, equal, ())
    if wanted is False:
        return Played(runs, equal, ("no run was played again, as was asked for",))
    size = comparison.scenario.expected_transactions() * len(missing)
    if wanted is None and size > AFFORDABLE:
        return Played(
            runs,
            equal,
            (
                f"no run was played again: {size:,.0f} transactions take longer than a report should; ask for it with runs=True or --runs",
            ),
        )
    why = []
    for name in missing:
        first = next((one for one in comparison.results if one.strategy == name and not one.error), None)
        if first is None:
            why.append(f"{name}: no run is finished")
            continue
        try:
            run = _again(comparison, name, first.replication)
        except SimtxError as error:
            why.append(f"{name}: could not be played again: {error}")
            continue
        if first.digest and run.digest != first.digest:
            equal[name] = False
            why.append(
                f"{name}: this code plays replication {first.replication} otherwise than the code that made these figures (digest "
                f"{run.digest[:8]} against {first.digest[:8]}), so that it is not shown"
            )
            continue
        runs[name], equal[name] = run, True
    return Played({name: runs[name] for name in comparison.strategies if name in runs}, equal, tuple(why))


def _again(comparison: Comparison, name: str, replication: int) -> Run:
    from simtx.simulator import simulate

    return simulate(comparison.scenario, comparison.objects[name], seed=comparison.seed, replication=replication)


@dataclass(frozen=True, slots=True)
class Effect:
    """Consequences of a fault under one strategy, in words and figures."""

    strategy: str
    open_peak: str
    drift_peak: str
    recovery: str
    slowest: str
    replay: str


@dataclass(frozen=True, slots=True)
class Story:
    """One fault.

    Attributes:
        title: What happened.
        when: From when to when.
        picture: Around it.
        effects: A row a strategy.
        diagram: The messages of the slowest transaction; None: not of this one.
        timeline: The same with everything that happened; None: not of this one, or too long for a page.
    """

    title: str
    when: str
    picture: pictures.Picture | None
    effects: tuple[Effect, ...]
    diagram: pictures.Picture | None = None
    timeline: pictures.Picture | None = None


def stories(found: Played) -> tuple[tuple[Story, ...], tuple[str, ...]]:
    """The stories of the faults that struck, the most harmful kind first, and what was left out, one line each."""
    blows: dict[str, list[tuple[float, float]]] = {}
    for one in found.runs.values():
        for blow in one.data.struck:
            if blow.begin <= one.data.horizon:
                times = blows.setdefault(blow.name, [])
                if not any(abs(blow.begin - begin) < 1e-6 for begin, _ in times):
                    times.append((blow.begin, blow.end))
    if not found.runs:
        return (), ()
    if not blows:
        return (_drawn(_quiet(found), found, 0.0, math.inf),), ()
    harm = {name: max(_harm(found, begin, end) for begin, end in times) for name, times in blows.items()}
    order = sorted(blows, key=lambda name: -harm[name])
    told: list[Story] = []
    for name in order[:MOST]:
        begin, end = max(blows[name], key=lambda one: _harm(found, *one))
        story = _story(found, name, begin, end, len(blows[name]))
        told.append(story if told else _drawn(story, found, begin, end))
    left = [f"{name} (struck {len(blows[name])} time{'s' if len(blows[name]) > 1 else ''})" for name in order[MOST:]]
    return tuple(told), tuple([f"not told here: {', '.join(left)}"] if left else ())


def _harm(found: Played, begin: float, end: float) -> float:
    """Most that is open at once while a fault lasts and in the seconds behind it."""
    return max(_peak(one, "undecided", begin, end) for one in found.runs.values())


def _window(run: Run, begin: float, end: float) -> Any:
    time = run.timeline["time_s"].to_numpy()
    return (time >= begin) & (time <= min(end, float(time[-1])) + 1.0)


def _peak(run: Run, column: str, begin: float, end: float) -> float:
    values = run.timeline[column].to_numpy(dtype=float)[_window(run, begin, end)]
    return float(np.nanmax(values)) if len(values) else 0.0


def _story(found: Played, name: str, begin: float, end: float, times: int) -> Story:
    effects = []
    for strategy, run in found.runs.items():
        rows = run.recovery
        mine = rows[(rows["begin_s"] - begin).abs() < 1e-6]
        if not len(mine):
            effects.append(Effect(strategy, "did not strike", "", "", "", ""))
            continue
        row = mine.iloc[0]
        back = float(row["recovery_s"])
        watched = float(row["watched_s"])
        never = f"> {watched:,.3g} s, not recovered" if watched > 0 else "not seen, the run ends in the fault"
        recovery = f"{back:,.3g} s" if math.isfinite(back) else never
        effects.append(
            Effect(
                strategy,
                f"{_peak(run, 'undecided', begin, end):,.0f}",
                f"{catalogue.number(float(f'{row.drift_peak:.4g}'))} {run.drift_unit}".rstrip(),
                recovery,
                *_slowest(run, begin, end),
            )
        )
    until = f"for {end - begin:,.3g} s" if math.isfinite(end) else "until the run ends"
    often = f"; the worst of {times} in this run" if times > 1 else ""
    return Story(
        name, f"at {begin:,.4g} s, {until}{often}", pictures.story(found.runs, begin, end, name), tuple(effects)
    )


def _drawn(story: Story, found: Played, begin: float, end: float) -> Story:
    """A story with the messages of the transaction that waited longest of all that were open while a fault lasted, under whichever strategy."""
    slowest = [(took, strategy, tx) for strategy, run in found.runs.items() for tx, took in _waited(run, begin, end)]
    ended = [one for one in slowest if math.isfinite(one[0])] or slowest
    if not ended:
        return story
    _, strategy, tx = max(ended)
    run = found.runs[strategy]
    if len(run.transactions) > _LOGGED and not run.recorded:
        return story
    try:
        axes = run.trace.diagram(tx, compact=True)
        whole = space_time.svg(run.trace, tx)
    except SimtxError:  # its log is not there, and cannot be made again
        return story
    said = f"the slowest transaction that was open then, no. {tx} under {strategy}"
    diagram = pictures.of_figure(axes.get_figure(root=True), f"Messages of {said}", said)
    timeline = pictures.of_svg(
        whole, f"Timeline of {said}", f"Everything that happened to no. {tx} under {strategy}, message by message"
    )
    return replace(story, diagram=diagram, timeline=timeline)


def _waited(run: Run, begin: float, end: float) -> list[tuple[int, float]]:
    """The transaction that waited longest for its outcome of those that were open while a fault lasted, and for how long; nothing: none was."""
    rows = run.transactions
    arrival = rows["arrival_s"].to_numpy(dtype=float)
    took = rows["decision_ms"].to_numpy(dtype=float) / 1e3
    took = np.where(np.isnan(took), np.inf, took)
    touched = (arrival <= min(end, run.data.end)) & (arrival + took >= begin)
    if not touched.any():
        return []
    place = int(np.argmax(np.where(touched, took, -1.0)))
    return [(int(rows["tx"].iloc[place]), float(took[place]))]


def _slowest(run: Run, begin: float, end: float) -> tuple[str, str]:
    """The transaction that waited longest, in words, and the line that draws it."""
    found = _waited(run, begin, end)
    if not found:
        return "none was open", ""
    ((tx, took),) = found
    time = "no outcome" if math.isinf(took) else f"{took * 1e3:,.0f} ms"
    return f"no. {tx}: {time}", replay(run, tx)


def replay(run: Run, transaction: int) -> str:
    """The line that plays the run again and draws one of its transactions."""
    if run.provenance.verb != "simulate":
        return run.provenance.command
    options = {"seed": run.seed, "replication": run.replication}
    line = command("simulate", run.scenario, [run.strategy], options)
    if not line.startswith("simtx simulate "):
        return f"{line}.trace.diagram({transaction})"
    return f"{line} --transaction {transaction}"


def _quiet(found: Played) -> Story:
    """Story of a run without a fault: the slowest transaction of each strategy."""
    effects = tuple(Effect(strategy, "", "", "", *_slowest(run, 0.0, math.inf)) for strategy, run in found.runs.items())
    return Story("No fault struck", "the slowest transaction under each strategy", None, effects)
