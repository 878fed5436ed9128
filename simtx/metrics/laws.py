"""Laws of operation: what must hold of every run, whatever was played, and what a run is too short, too full or too unlucky to say.

They are computed after every run, simulated or executed, as far as its host has counted what they are about. Each finding is one line with the
figures; `Run.warnings` and `Comparison.warnings` show them.

- ``utilisation``: workers are busy for throughput x time at a worker (utilisation law).
- ``little``: on average as many are there as throughput x time there (Little's law): of the system, of each service's queue and
  workers, of those that wait for row locks. It holds of any steady state; where it fails, a queue grew or shrank, or the window is
  too short for what it holds.
- ``flow``: every transaction that clients have asked for is there once, and is decided or open.
- ``censored``: more than 1 % had not ended when they were last looked at.
- ``capacity``: something is in use for 90 % of the time or more, or would be: workers, a serial log device, the process of a node on a host, the most popular key.
- ``start``: what was measured begins before a steady state (MSER-5, `simtx.metrics.warmup`).
- ``quantile``: fewer than ten observations lie beyond a quantile.
- ``fault``: a fault of the scenario has never struck.

Sources: P. J. Denning, J. P. Buzen, "The operational analysis of queueing network models", ACM Computing Surveys 10(3), 1978; J. D. C. Little, "A proof
for the queuing formula L = lambda W", Operations Research 9(3), 1961.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from simtx.metrics.recovery import target
from simtx.metrics.stations import Counts, Stations
from simtx.metrics.warmup import mser5
from simtx.protocols.names import BROKER, HUB, VOTE_STORE
from simtx.protocols.registry import FURTHER_NODES
from simtx.scenario.popularity import hottest

if TYPE_CHECKING:
    import pandas as pd

    from simtx.metrics.rundata import RunData
    from simtx.scenario import Fault, Scenario

TOLERANCE: Final = 0.1
"""Relative difference of the two sides of a law that is not said."""
FULL: Final = 0.9
"""Share of a capacity from which on it is said."""
CENSORED: Final = 0.01
"""Share of observations that had not ended from which on it is said."""
BEYOND: Final = 10
"""Observations beyond a quantile that it takes."""

_LEAST: Final = 1.0  # customer-seconds below which a difference says nothing
_BIAS: Final = 0.05  # of the mean: a start that matters less is not said
_ERRORS: Final = 3.0  # standard errors by which a start has to differ, since MSER-5 cuts noise, too
_LEVELS: Final = (0.5, 0.9, 0.99)


class Finding(NamedTuple):
    """Something that a reader of the figures has to know.

    Attributes:
        law: Which law says so, by the names above.
        place: What it is about: ``system``, ``workers of payments``, ``latency``.
        text: One line, with the figures.
    """

    law: str
    place: str
    text: str


class Finished(Protocol):
    """A run, as far as the laws look at it (`simtx.metrics.run.Run`)."""

    @property
    def data(self) -> RunData:
        """All its numbers."""

    @property
    def scenario(self) -> Scenario:
        """The scenario that was played."""

    @property
    def summary(self) -> pd.Series:
        """One number a metric."""

    @property
    def transactions(self) -> pd.DataFrame:
        """One row a transaction."""


def findings(run: Finished) -> list[Finding]:
    """All that the laws say about a run; nothing about a run of which nothing was measured."""
    data, scenario = run.data, run.scenario
    window = data.horizon - data.warmup
    found = [*flow(data)]
    if window > 0:
        found += little("system", "transactions were undecided", _system(data), window)
        if data.stations is not None:
            found += _stations(scenario, data, data.stations, window)
    if len(run.transactions):
        found += [*censored(run.summary), *few(run.summary)]
        if not data.counts["faults"]:
            found += start(run.transactions, data.warmup)
    found += unstruck(strikes(scenario, data))
    return found


# --- the laws ---------------------------------------------------------------------------------------------------------------------


def flow(data: RunData) -> Iterator[Finding]:
    """Arrivals = decided + open, each once."""
    numbers = np.asarray(data.columns["tx"])
    decided = ~np.isnan(np.asarray(data.columns["decided_s"], dtype=float))
    outcomes = np.asarray(data.columns["outcome"], dtype=object)
    undecided = ~decided & np.isin(outcomes, ("committed", "aborted", "compensated"))
    arrivals = len(numbers) if data.stations is None else data.stations.arrivals
    twice = len(numbers) - len(np.unique(numbers))
    if arrivals != len(numbers) or twice or undecided.any():
        count = int(decided.sum())
        yield Finding(
            "flow",
            "system",
            f"conservation of flow is violated: clients have asked for {arrivals:,} transactions, {count:,} are decided and "
            f"{len(numbers) - count - int(undecided.sum()):,} open"
            + (f", {int(undecided.sum()):,} have an outcome and no decision" if undecided.any() else "")
            + (f", {twice:,} are there twice" if twice else ""),
        )


def little(place: str, what: str, counts: Counts, window: float) -> Iterator[Finding]:
    """Mean number = throughput x mean time.

    Args:
        place: Where.
        what: What was counted there, in words that follow "on average 12.3".
        counts: Of the window.
        window: Its length, in seconds.
    """
    larger = max(counts.presence, counts.stayed)
    if abs(counts.presence - counts.stayed) <= max(TOLERANCE * larger, _LEAST):
        return
    began = counts.present - counts.arrivals + counts.departures
    yield Finding(
        "little",
        place,
        f"{place}: no steady state: on average {counts.presence / window:,.3g} {what}, but throughput x time there is "
        f"{counts.stayed / window:,.3g} (Little's law); {began:,} at the start of the measured window, {counts.present:,} at its end",
    )


def utilisation(place: str, busy: float, counts: Counts, workers: int, window: float) -> Iterator[Finding]:
    """Busy share = throughput x time at a worker / workers.

    If those who were there had kept workers busy for so long, all was counted: work was under way at an end of the window, or died in a crash.
    """
    whole = workers * window
    told = counts.stayed / whole
    if abs(busy - told) * whole > max(TOLERANCE * max(busy, told) * whole, _LEAST):
        counted = abs(busy * whole - counts.presence) <= max(TOLERANCE * max(busy * whole, counts.presence), _LEAST)
        why = "; the rest began or ended outside the measured window, or died in a crash" if counted else ""
        yield Finding(
            "utilisation",
            place,
            f"{place}: busy {busy:.0%} of the time, but throughput x time at a worker gives {told:.0%} (utilisation law){why}",
        )


def censored(summary: pd.Series[float]) -> Iterator[Finding]:
    """More than 1 % had not ended."""
    for name, words in (
        ("unanswered_share", "have no answer"),
        ("undecided_share", "have no outcome"),
        ("unsettled_share", "are not settled"),
    ):
        share = float(summary.get(name, math.nan))
        if share > CENSORED:
            yield Finding(
                "censored",
                name,
                f"censored: {share:.1%} of the measured transactions {words}: quantiles above {1 - share:.0%} are not known, means are of the others",
            )


def few(summary: pd.Series[float]) -> Iterator[Finding]:
    """Fewer than ten observations beyond a quantile; the largest number of them that is needed is said."""
    count = int(summary["transactions"])
    short = [level for level in _LEVELS if round(count * (1 - level), 9) < BEYOND]
    if short:
        least = math.ceil(round(BEYOND / (1 - max(short)), 6))
        names = ", ".join(f"{level:.0%}" for level in short)
        yield Finding(
            "quantile",
            "latency",
            f"few observations: of {count:,} measured transactions fewer than {BEYOND} lie beyond the quantile{'s' if len(short) > 1 else ''} {names}; "
            f"{least:,} are needed",
        )


def thin(metric: str, transactions: float) -> str:
    """Beyond what fewer than ten of the transactions of a run lie, as ``99 %``; empty if the metric is no quantile, or there are more.

    Args:
        metric: Its name.
        transactions: How many a run has measured.
    """
    found = re.search(r"_p(\d+)_ms$", metric)
    if found is None or not round(transactions * (1 - int(found[1]) / 100), 9) < BEYOND:
        return ""
    return f"{found[1]} %"


def start(transactions: pd.DataFrame, warmup: float) -> Iterator[Finding]:
    """Warn if what was measured begins before a steady state, by more than noise and by more than matters."""
    times = transactions["decision_ms"].to_numpy(dtype=float)
    arrivals = transactions["arrival_s"].to_numpy(dtype=float)
    kept = np.isfinite(times)
    times, arrivals = times[kept], arrivals[kept]
    cut = mser5(times)
    if cut is None or not cut.observations:
        return
    until = float(arrivals[cut.observations])
    biased = (arrivals >= warmup) & (arrivals < until)
    measured = arrivals >= warmup
    if not biased.any() or not (measured & ~biased).any():
        return
    mean, steady = float(times[measured].mean()), float(times[measured & ~biased].mean())
    if abs(mean - steady) <= max(_BIAS * steady, _ERRORS * cut.error):
        return
    if cut.settled:
        words = (
            f"initial bias: the mean time to the outcome is {mean:,.4g} ms with the warm-up of {warmup:g} s and {steady:,.4g} ms from {until:.3g} s "
            f"on (MSER-5); set run.warmup to {until:.3g} s or more"
        )
    else:
        words = (
            f"no steady state: the time to the outcome still changes when half of the run is over (MSER-5 would cut {until:.3g} of "
            f"{arrivals[-1]:.3g} s): the run is too short for its load"
        )
    yield Finding("start", "decision", words)


def strikes(scenario: Scenario, data: RunData) -> dict[str, int]:
    """Number of strikes of each fault of the scenario, by `fault_label`.

    A process of a real run that ended at a trigger does not say whose it was: it counts for all triggers of its node.
    """
    counts = Counter(one.fault for one in data.struck)
    places = {
        *scenario.services,
        BROKER,
        VOTE_STORE,
        *FURTHER_NODES,
    }  # what is none of them is the hub, which each strategy calls by a name of its own
    nameless = Counter(one.target if one.target in places else HUB for one in data.struck if one.fault < 0)
    found: dict[str, int] = {}
    for number, fault in enumerate(scenario.faults):
        label = fault_label(fault)
        here = counts[number] + (nameless[fault.node] if fault.trigger is not None else 0)
        found[label] = found.get(label, 0) + here
    return found


def fault_label(fault: Fault) -> str:
    """Name of a fault in a warning: ``crash of payments``, ``partition of hub - payments``."""
    label = f"{fault.kind} of {target(fault, votes=False)}"
    if fault.trigger is None:
        return label
    return f"{label} {fault.trigger.when} {fault.trigger.effect} of transaction {fault.trigger.transaction}"


def unstruck(struck: Mapping[str, int]) -> Iterator[Finding]:
    """A fault that has never struck: the run says nothing about it."""
    for label, count in struck.items():
        if not count:
            yield Finding("fault", label, f"never struck in this run: {label}")


# --- stations and capacities ------------------------------------------------------------------------------------------------------


def _system(data: RunData) -> Counts:
    """Transactions from their arrival to their outcome, in the measured window."""
    begin, end = data.warmup, data.horizon
    arrival = np.asarray(data.columns["arrival_s"], dtype=float)
    decided = np.asarray(data.columns["decided_s"], dtype=float)
    outcome = np.asarray(data.columns["outcome"], dtype=object)
    # What nobody remembers is in no queue: it does not wait for anything.
    there = ~(np.isnan(decided) & (outcome == "lost"))
    arrival, decided = arrival[there], np.where(np.isnan(decided), np.inf, decided)[there]
    left = (decided >= begin) & (decided <= end)
    presence = np.clip(np.minimum(decided, end) - np.maximum(arrival, begin), 0.0, None).sum()
    return Counts(
        arrivals=int(((arrival >= begin) & (arrival <= end)).sum()),
        departures=int(left.sum()),
        present=int(((arrival <= end) & (decided > end)).sum()),
        presence=float(presence),
        stayed=float((decided[left] - arrival[left]).sum()),
    )


def _stations(scenario: Scenario, data: RunData, stations: Stations, window: float) -> Iterator[Finding]:
    for name, counts in stations.queues.items():
        yield from little(f"queue of {name}", "local transactions waited for a worker", counts, window)
    for name, counts in stations.waits.items():
        yield from little(f"row locks of {name}", "local transactions waited for a row lock", counts, window)
    for name, counts in stations.workers.items():
        workers = scenario.services[name].workers
        yield from utilisation(f"workers of {name}", data.utilisation[name], counts, workers, window)
    yield from capacity(scenario, data, stations, window)


def capacity(scenario: Scenario, data: RunData, stations: Stations, window: float) -> Iterator[Finding]:
    """Workers, serial log devices and the most popular keys that are in use for 90 % of the time, or would be."""
    offered = scenario.utilisation()
    for name, busy in data.utilisation.items():
        if busy >= FULL > offered.get(name, 0.0):  # else the scenario has said so already
            alone = ""
            if name in stations.work:
                at_work = stations.work[name] / (scenario.services[name].workers * window)
                outside = "the provider, " if name in scenario.providers else ""
                alone = f"; service times alone make {at_work:.0%}, the rest waits for {outside}row locks and disks"
            yield _near(f"workers of {name}", f"the workers of {name} are busy {busy:.0%} of the time{alone}")
    for name, busy in stations.logs.items():
        if busy >= FULL:
            what = f"the log device of {name}, one flush a record, is busy {busy:.0%} of the time"
            yield _near(f"log of {name}", what)
    for name, busy in stations.processes.items():
        if busy >= FULL:
            what = f"the process of {name} has something to do {busy:.0%} of the time, waiting for a core included"
            yield _near(f"process of {name}", what)
    arrival = np.asarray(data.columns["arrival_s"], dtype=float)
    rate = float(((arrival >= data.warmup) & (arrival <= data.horizon)).sum()) / window
    for service, (template, share) in hottest(scenario).items():
        locks = stations.locks.get(service)
        if locks is None or not locks.taken:
            continue
        hold = locks.held / locks.taken
        load = rate * share * hold
        if load >= FULL:
            yield _near(
                f"hottest key of {service}",
                f"the most popular key '{template}' of {service} is wanted {rate * share:.3g} times a second and is locked for "
                f"{hold * 1e3:,.3g} ms each time, {load:.0%} of the time",
            )


def _near(place: str, what: str) -> Finding:
    return Finding(
        "capacity", place, f"near capacity: {what}; a little more load, or bad luck, multiplies the waiting times"
    )
