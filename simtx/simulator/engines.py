"""Choice of the engine that plays a run: the interpreted one, which is the reference, or the compiled one where both have been seen to agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from simtx.engine import DIFFER, NotCompiled, Unavailable, load_library
from simtx.engine.choices import Engine
from simtx.errors import ScenarioError
from simtx.metrics.rundata import RunData
from simtx.protocols import Strategy
from simtx.simulator.compiled import CompiledLoop, why_interpreted
from simtx.simulator.outcome import outcome
from simtx.simulator.remembered import memory
from simtx.simulator.run_loop import InterpretedLoop
from simtx.simulator.world import World

if TYPE_CHECKING:
    from simtx.scenario import Scenario

WORTH: Final = 2000
"""Transactions of a single run from which on learning the automata is worth its time."""
EACH: Final = 300
"""Transactions below which an interpreted run is as quick as a compiled one whose agreement is shown already."""
MATTERS: Final = 50_000
"""Transactions from which on a run says by itself that it was interpreted."""

_ENDLESS: Final = 1_000_000
_SAMPLE: Final = 100  # transactions of the run in which the two engines have to agree
_SMALL: Final = f"it has fewer than {WORTH:,} transactions"


@dataclasses.dataclass
class Batch:
    """Facts about a run from others of its kind that are played, too: of the same scenario and strategy, with other random numbers.

    Attributes:
        runs: How many there are of them: what is learned for one is learned for all.
        agreed: By the fingerprint of a scenario: what another process has found when both engines played its first transactions; empty: they agree.
        found: The same, of what was played in this batch.
    """

    runs: int = 1
    agreed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    found: dict[str, str] = dataclasses.field(default_factory=dict)


_batch: ContextVar[Batch | None] = ContextVar("batch", default=None)


@contextmanager
def among(batch: Batch) -> Iterator[Batch]:
    """Runs that are played inside this block belong to a batch, all with the same strategy."""
    token = _batch.set(batch)
    try:
        yield batch
    finally:
        _batch.reset(token)


def worth_learning(scenario: Scenario) -> bool:
    """Return whether a run, with those of its batch, is long enough for the compiled engine to be the quicker one."""
    batch = _batch.get() or Batch()
    return (scenario.expected_transactions() - EACH) * batch.runs >= WORTH - EACH


def interpreted_because(
    engine: Engine,
    scenario: Scenario,
    strategy: Strategy,
    *,
    seed: int,
    replication: int,
    recorded: bool,
    processes: bool,
) -> str:
    """Reason why a run is interpreted, as the rest of a sentence; empty if it is to be compiled.

    Raises:
        ScenarioError: The fast engine was asked for, and cannot play it.
    """
    if engine == "interpreted":
        return "it was asked for"
    reason = ""
    if recorded:
        reason = "an event log is recorded"
    elif processes:
        reason = "SimPy processes run beside it"
    elif engine == "auto" and not worth_learning(scenario):
        return _SMALL
    reason = reason or why_interpreted(scenario, strategy) or _unavailable()
    if not reason and engine == "auto":
        reason = _disagreement(scenario, strategy, seed=seed, replication=replication)
    return gave_up(engine, reason) if reason else ""


def gave_up(engine: Engine, reason: str) -> str:
    """The reason, unless the fast engine was asked for.

    Raises:
        ScenarioError: It was.
    """
    if engine == "fast":
        raise ScenarioError(f"the fast engine cannot play this: {reason}; 'auto' plays it anyway", "engine")
    return reason


def learning_runs(engine: Engine) -> int:
    """Number of runs that go on with what one has learned; without end, if the fast engine was asked for: then learning may take as long as it likes."""
    return _ENDLESS if engine == "fast" else (_batch.get() or Batch()).runs


def remember(scenario: Scenario, strategy: Strategy, reason: str) -> None:
    """A run could not be played to its end by the compiled engine: the next one of its kind is not begun there."""
    memory(scenario).agreed[type(strategy), repr(strategy)] = reason


def told(scenario: Scenario, reason: str) -> list[str]:
    """Warning of a run about its engine: none, unless it would have mattered."""
    if not reason or reason == _SMALL or reason == "it was asked for":
        return []
    if not reason.startswith(DIFFER) and scenario.expected_transactions() < MATTERS:
        return []
    return [f"played by the interpreted engine, about ten times slower than the fast one: {reason}"]


def _unavailable() -> str:
    try:
        load_library()
    except Unavailable as error:
        return str(error)
    return ""


def _disagreement(scenario: Scenario, strategy: Strategy, *, seed: int, replication: int) -> str:
    """Reason why the compiled engine is not trusted with this scenario under this strategy: both play its first transactions, once in a process or a batch."""
    known = memory(scenario).agreed
    key = (type(strategy), repr(strategy))
    if key not in known:
        batch, fingerprint = _batch.get() or Batch(), scenario.fingerprint
        found = batch.agreed.get(fingerprint)
        if found is None:
            found = _compared(scenario, strategy, seed=seed, replication=replication)
        known[key] = batch.found[fingerprint] = found
    return known[key]


def _compared(scenario: Scenario, strategy: Strategy, *, seed: int, replication: int) -> str:
    """Difference between the two engines in the first transactions of a run, or why one cannot play them; empty if they agree."""
    short = dataclasses.replace(
        scenario, run=dataclasses.replace(scenario.run, transactions=_SAMPLE, duration=None, warmup=0.0)
    )
    try:
        longer = max(scenario.expected_transactions() / _SAMPLE, 1.0)
        fast = CompiledLoop(
            short, strategy, seed=seed, replication=replication, runs=round(longer * learning_runs("auto"))
        )
        fast.play()
    except NotCompiled as reason:
        return str(reason)
    reference = InterpretedLoop(World(short, strategy, seed=seed, replication=replication, traced=False))
    reference.play()
    part = difference(outcome(reference), outcome(fast))
    fast.release()
    memory(scenario).learners.update(memory(short).learners)
    return f"{DIFFER} in {part}; please report it" if part else ""


def difference(one: RunData, other: RunData) -> str:
    """The first part in which the numbers of two runs differ; empty if they are the same, down to the last bit."""
    for name in one.columns:
        if list(map(repr, one.columns[name])) != list(map(repr, other.columns[name])):
            return f"the column {name}"
    if one.timeline.without([]).tobytes() != other.timeline.without([]).tobytes():
        return "the timeline"
    for field in dataclasses.fields(RunData):
        if field.name not in ("columns", "timeline") and repr(getattr(one, field.name)) != repr(
            getattr(other, field.name)
        ):
            return field.name
    return ""
