"""One simulated run in whatever process: what a pool sends to its workers, and what comes back."""

from __future__ import annotations

import copy
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import cloudpickle

from simtx.errors import ScenarioError
from simtx.metrics.laws import Finding, strikes
from simtx.progress import silent

if TYPE_CHECKING:
    from simtx.engine.choices import Engine
    from simtx.experiments.stratified import Stratified
    from simtx.metrics.run import Run
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario


class Outcome(NamedTuple):
    """Result of one run.

    Attributes:
        summary: The run's summary; empty if it failed.
        digest: The run's digest; empty if it failed.
        seconds: Wall-clock time that it took.
        stage: Where it failed: ``loading`` (scenario and strategy did not arrive), ``simulating``, ``summarising``, ``worker`` (its process
            died with it), ``sending`` (it could not be handed over); empty if it did not.
        type: Class of the error.
        message: Its first line.
        code: Fingerprint of the code that played it, in its own process; empty if it did not get so far.
        findings: What the laws of operation say about it.
        struck: How often each fault has struck, by `simtx.metrics.laws.fault_label`.
        host: Where it was played.
        agreed: What was found there when both engines played the same, as in `simtx.simulator.engines.Batch`.
    """

    summary: dict[str, float]
    digest: str
    seconds: float
    stage: str = ""
    type: str = ""
    message: str = ""
    code: str = ""
    findings: tuple[Finding, ...] = ()
    struck: Mapping[str, int] = {}
    host: str = ""
    agreed: Mapping[str, str] = {}

    @property
    def error(self) -> str:
        """One line; empty if it did not fail."""
        return f"{self.type}: {self.message}" if self.stage else ""


class Parcel:
    """A scenario with a strategy, on the way to where they are played.

    Other processes get them as bytes; classes that were defined in a notebook or a script travel by value. Inside this process the strategy is
    copied: unpickling a class by value would change the class that is there already.

    Args:
        scenario: The scenario.
        strategy: With its options.
        engine: What plays them, as for `simtx.simulate`: the figures are the same.
        runs: How many runs there will be of them.
    """

    __slots__ = ("_agreed", "_data", "_here", "engine", "runs")

    def __init__(self, scenario: Scenario, strategy: Strategy, engine: Engine | None = None, runs: int = 1) -> None:
        self._here: tuple[Scenario, Strategy] | None = (scenario, strategy)
        self.engine = engine
        self.runs = runs
        self._data = b""
        self._agreed: dict[str, dict[str, str]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave what is here behind."""
        if not self._data:
            self._data = cloudpickle.dumps(self._here)
        return _arrived, (self._data, self.engine, self.runs, self._agreed)

    def open(self) -> tuple[Scenario, Strategy]:
        """Both; the strategy anew each time, so that what a run does to it ends with the run."""
        scenario, strategy = self._here if self._here is not None else _unpacked(self._data)
        return scenario, copy.deepcopy(strategy)

    def note(self, outcome: Outcome) -> None:
        """Tell later runs of it what one of them has found out: engines that have agreed once on a machine need not show it in each of its processes."""
        if outcome.agreed:
            self._agreed.setdefault(outcome.host, {}).update(outcome.agreed)

    def agreed(self, host: str) -> Mapping[str, str]:
        """Agreements of both engines that runs have found on a machine."""
        return self._agreed.get(host, {})


@lru_cache(maxsize=32)
def _unpacked(data: bytes) -> tuple[Scenario, Strategy]:
    """Unpack what has arrived; runs of the same come one after the other, and share what is worked out of their scenario."""
    found: tuple[Scenario, Strategy] = cloudpickle.loads(data)
    return found


def _arrived(data: bytes, engine: Engine | None, runs: int, agreed: dict[str, dict[str, str]]) -> Parcel:
    parcel = Parcel.__new__(Parcel)
    parcel._here, parcel._data, parcel._agreed = None, data, agreed  # noqa: SLF001 - a constructor of this class
    parcel.engine, parcel.runs = engine, runs
    return parcel


def play(parcel: Parcel, seed: int, replication: int, attempt: int = 0) -> Outcome:  # noqa: ARG001 - see below
    """Simulate one run.

    Args:
        parcel: What to play.
        seed: Of all streams.
        replication: Number of the replication.
        attempt: Which attempt at this run it is: a scheduler that answers equal calls with the result of the first has to see another call.
    """
    start = perf_counter()
    stage, code = "loading", ""
    try:
        scenario, strategy = parcel.open()
        code = loaded_code()
        stage = "simulating"
        from simtx.simulator.engines import Batch, among

        host = socket.gethostname()
        with silent(), among(Batch(parcel.runs, parcel.agreed(host))) as batch:
            run = _simulated(scenario, strategy, seed, replication, parcel.engine)
        stage = "summarising"
        summary = {str(name): float(value) for name, value in run.summary.items()}
        found, struck = _found(run)
        return Outcome(
            summary,
            run.digest,
            perf_counter() - start,
            code=code,
            findings=found,
            struck=struck,
            host=host,
            agreed=batch.found,
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a failing run must not take the finished ones with it
        return failed(stage, error, perf_counter() - start, code)


def _found(run: Run | Stratified) -> tuple[tuple[Finding, ...], dict[str, int]]:
    """Findings of the laws of operation about a run, or about the parts of a divided one, and number of times that each fault has struck."""
    from simtx.metrics.run import Run

    runs = (run,) if isinstance(run, Run) else run.runs
    struck: Counter[str] = Counter()
    for one in runs:
        struck.update(strikes(one.scenario, one.data))
    return tuple(dict.fromkeys(finding for one in runs for finding in one.findings)), dict(struck)


def _simulated(
    scenario: Scenario, strategy: Strategy, seed: int, replication: int, engine: Engine | None
) -> Run | Stratified:
    """A run; of a scenario with rare faults, the weighted figures of its strata."""
    from simtx.experiments.stratified import simulate_strata
    from simtx.simulator import simulate

    if scenario.run.stratify:
        return simulate_strata(scenario, strategy, seed=seed, replication=replication, engine=engine)
    return simulate(scenario, strategy, seed=seed, replication=replication, engine=engine)


def failed(stage: str, error: BaseException, seconds: float = 0.0, code: str = "") -> Outcome:
    """The outcome of a run that an error has ended."""
    message = (str(error).splitlines() or [""])[0]
    return Outcome({}, "", seconds, stage, type(error).__name__, message, code)


def version(strategies: Iterable[Strategy]) -> str:
    """Stands for the code that runs of these strategies need: that of simtx, and the user's own; each time another one if that cannot be read."""
    from simtx.scenario.canonical import canonical, digest
    from simtx.scenario.fingerprints import code_fingerprint, strategy_sources

    try:
        return digest(canonical([str(code_fingerprint()), *(strategy_sources(one) for one in strategies)]))
    except ScenarioError:
        return uuid4().hex


@lru_cache(maxsize=1)
def metrics() -> tuple[str, ...]:
    """Names of the figures of a run: those of a short one, for every run has the same."""
    from simtx.scenario import load
    from simtx.simulator import simulate

    short = load("transfer").replace(**{"run.transactions": 20, "run.warmup": 0})
    return tuple(map(str, simulate(short, "saga", engine="interpreted").summary.index))


def check_metric(name: object, scenario: Scenario, where: str = "metric") -> None:
    """Refuse what is no metric before anything is played.

    Args:
        name: What was given.
        scenario: What is to be played. The weighted figures of strata (`simtx.experiments.stratified`) have names of their own, and are not judged here.
        where: What has asked for it.

    Raises:
        ScenarioError: There is no such metric; the nearest is named.
    """
    from simtx.scenario.units import hint, shown

    if not scenario.run.stratify and name not in metrics():
        raise ScenarioError(f"{shown(name)} is no metric; {hint(str(name), metrics())}", where)


def prepare() -> None:
    """Load what every run needs; copies of this process then have it."""
    from simtx.experiments import stratified  # noqa: F401
    from simtx.simulator import engines  # noqa: F401

    loaded_code()


@lru_cache(maxsize=1)
def loaded_code() -> str:
    """Fingerprint of the code when it was first used here: what is edited later is not what this process plays."""
    from simtx.scenario.fingerprints import code_fingerprint

    return str(code_fingerprint())
