"""`simtx.validate`: what the simulator predicts beside what is measured, on the same transactions.

The building blocks are measured at low load (`simtx.validation.calibrate`), before and after each point, as a machine changes its pace; with them the simulator predicts the run at several loads, at
saturation and under a failure; then each of these is executed for real. Both sides meet the same keys, amounts, refusals, arrivals and
service times, several times with different seeds, and each figure has its interval over those.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from simtx.arguments import SEED, checked, flag, instance, listed, number, optional, path, progress, text, whole
from simtx.errors import ScenarioError
from simtx.metrics import censored
from simtx.metrics.intervals import Interval, interval, ratio_of_means
from simtx.metrics.plain import plain
from simtx.progress import Phases, phases
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.names import BROKER, HUB
from simtx.reference.addresses import without_password
from simtx.reference.brokers import registry as brokers
from simtx.reference.execute import execute
from simtx.reference.processes.backends import check_broker, check_store
from simtx.reference.wire.connection import PAUSES
from simtx.scenario.calibration import Block, Calibration
from simtx.scenario.provenance import Provenance, provenance
from simtx.simulator import simulate
from simtx.validation.blocks import blocks
from simtx.validation.calibrate import Legs, at_rate, at_utilisation, calibrated, measured, processor_times
from simtx.validation.stalls import Stall, Watcher, idle_forced_write
from simtx.views import view

if TYPE_CHECKING:
    from simtx.metrics.run import Run
    from simtx.scenario import Scenario

LOADS: Final = (0.25, 0.5, 0.75)
FAILURE: Final = "failure"
SATURATION: Final = "saturation"
DOWNTIME: Final = 1.0
"""Seconds for which the killed process stays away in the run with a failure."""
_WARMUP: Final = 2.0
_BETWEEN: Final = (
    4.0  # seconds from one kill to the next of a calibration: downtime, restart, and what has waited meanwhile
)
_KILLS: Final = 2  # of each process that a calibration kills
_CALIBRATION: Final = 0.2  # utilisation at which the blocks are measured
_FAILURE_LOAD: Final = 0.4
_SATURATED: Final = 10.0  # seconds
DISTURBED: Final = 0.1
"""Seconds: a run during which the machine stands still for longer is repeated."""
SLOWER: Final = 1.5
"""Factor by which the watcher's own forced writes may take longer than in the quietest run of the same point; a run beyond is repeated."""
_REPEATS: Final = 2
_REST: Final = 30.0  # seconds for which a run waits at most for a disk that is as fast as it was
PATIENCE: Final = 60.0
"""Seconds for which a point gets more real runs than asked for, while the intervals of its errors are wider than the targets."""
_MOST: Final = 30  # real runs of one point

METRICS: Final[dict[str, tuple[str, float | None]]] = {
    "latency_mean_ms": ("mean latency", 0.05),
    "latency_p50_ms": ("p50 latency", None),
    "latency_p95_ms": ("p95 latency", 0.10),
    "latency_p99_ms": ("p99 latency", 0.10),
    "throughput_per_s": ("throughput", None),
    "undone_share": ("aborted or compensated", None),
    "window_mean_ms": ("inconsistency window, mean", None),
    "drift_gross_mean": ("drift in flight, mean", None),
}
"""Metrics that are compared: name, and the relative error that is aimed at below 80 % of saturation; None: the measured interval, or nothing."""
INSIDE: Final = frozenset({"undone_share", "window_mean_ms", "drift_gross_mean"})
"""Metrics of which the prediction should be inside the measured interval."""
SATURATION_TARGET: Final = 0.10

LEFT_OUT: Final = (
    "the processor time of databases and brokers that are processes of their own (PostgreSQL, NATS), and of the system",
    "that building blocks get slower under load, or faster when caches and clocks are warm",
    "the operating system's scheduler and the interpreter's lock, beyond what the building blocks hold of them",
    "that forced writes of several processes on one disk end together: the file system commits them as a group, where the model only makes them alike",
)
"""Facts that the model leaves out."""


@dataclass(slots=True)
class Validation:
    """Predicted beside measured.

    Attributes:
        scenario: The scenario.
        strategy: The strategy.
        store: The database of the real runs.
        broker: The broker of the real runs.
        calibration: The building blocks of all calibrations together.
        calibrations: Those that each point was predicted from, by its name.
        frame: One row a point and metric: ``point`` (a share of saturation, ``failure`` or ``saturation``), ``rate`` in transactions a second, ``metric``,
            ``predicted``, ``measured`` and the ends of their 95 % intervals, ``error`` (predicted over measured, minus 1) and the ends ``error_low``
            and ``error_high`` of its own (both sides have the same seeds, so that it is narrower than theirs), ``target`` (a relative error, or
            ``inside``) and ``met`` (None: no target).
        folder: Where the raw runs are kept, or None.
        disturbed: Runs during which the machine stood still or its disk was slow, one row each: ``run``, the longest ``stall`` in seconds, how many times
            ``slower`` the watcher's forced writes were than in the quietest run of the point, and whether it was ``repeated``.
        provenance: Where it comes from: scenario, changes, seed, replications, version, fingerprints, and the command that repeats it.
    """

    scenario: Scenario
    strategy: Strategy
    store: str
    broker: str
    calibration: Calibration
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    folder: Path | None = None
    disturbed: pd.DataFrame = field(default_factory=pd.DataFrame)
    provenance: Provenance | None = None

    @property
    def left_out(self) -> tuple[str, ...]:
        """Facts that the model leaves out, one line each."""
        return LEFT_OUT

    @property
    def missed(self) -> pd.DataFrame:
        """The rows whose target was missed."""
        return self.frame[self.frame["met"] == False]  # noqa: E712 - a column of True, False and None

    @property
    def ok(self) -> bool:
        """Return whether every target was met."""
        return self.missed.empty

    def table(self) -> str:
        """The frame in plain text, with what was missed and what the model leaves out."""
        return str(view("validation-text")(self))

    def plot(self, **options: Any) -> Any:
        """Draw predicted beside measured over load; returns a matplotlib Figure. Options are those of `simtx.report.validation.plot`."""
        return view("validation")(self, **options)

    def __repr__(self) -> str:
        return f"<Validation of {self.strategy.name} on {self.scenario.name}, {self.store}: {len(self.missed)} of {int(self.frame['met'].notna().sum())} targets missed>"

    def _repr_html_(self) -> str:
        return str(view("validation-html")(self))


@checked(
    store=text,
    broker=text,
    loads=listed(number(above=0, below=1), "shares of saturation, numbers strictly between 0 and 1"),
    transactions=whole(1),
    replications=whole(2),
    patience=number(above=0, zero=True),
    failure=flag,
    saturation=flag,
    calibration=optional(instance(Calibration, "a Calibration, as simtx.calibrate makes it")),
    seed=SEED,
    folder=optional(path),
    progress=progress,
)
def validate(
    scenario: Scenario | str,
    strategy: Strategy | str,
    *,
    store: str = "sqlite",
    broker: str = "embedded",
    loads: Sequence[float] = LOADS,
    transactions: int = 400,
    replications: int = 3,
    patience: float = PATIENCE,
    failure: bool = True,
    saturation: bool = True,
    calibration: Calibration | None = None,
    seed: int = 1,
    folder: str | Path | None = None,
    progress: bool | Phases | None = None,
) -> Validation:
    """Predict a scenario by simulation, execute it for real, and compare the figures.

    Args:
        scenario: A scenario, or the name or path of one; its arrivals are made Poisson, and its faults are left out.
        strategy: A name, or an object with options.
        store: As in `simtx.execute`.
        broker: As in `simtx.execute`.
        loads: Shares of the throughput at saturation that is predicted, between 0 and 1.
        transactions: Of each run, after the warm-up.
        replications: Real runs of each point at least, and as many simulated ones.
        patience: Seconds for which more of them are made for a point, as long as the intervals of the errors are wider than the targets.
        failure: Whether to kill the coordinator (or the first service, if there is none) for a second in a further run.
        saturation: Whether to measure the throughput with more users than workers, too.
        calibration: Building blocks; None: they are measured at low load, before and after each point.
        seed: First of the seeds.
        folder: Where the raw runs are kept: event logs, transactions, the calibration, the frame so far. None: nowhere. It must
            not hold an earlier validation.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none; or a function, called with what is
            going on and the share that is done.

    Returns:
        Predicted and measured figures with intervals and errors (``frame``).

    Raises:
        ScenarioError: The input is wrong.
        RunFailed: A run could not be completed.
    """
    from simtx.scenario import load

    scenario = load(scenario)
    chosen = resolve(strategy, scenario.policies)
    check_store(store)
    check_broker(broker)
    settings: dict[str, Any] = {"store": without_password(store)}
    settings |= {"broker": without_password(broker)} if chosen.uses_broker else {}
    settings |= {"loads": list(loads)} if tuple(loads) != LOADS else {}
    settings |= {"transactions": transactions} if transactions != 400 else {}
    settings |= {"patience": patience} if patience != PATIENCE else {}
    settings |= {name: False for name, wanted in (("failure", failure), ("saturation", saturation)) if not wanted}
    settings |= {"calibration": calibration.name} if calibration is not None else {}
    known = {chosen.name: chosen}
    origin = provenance("validate", scenario, known, seed=seed, replications=replications, settings=settings)
    with phases(progress) as show:
        work = Work(chosen, store, broker, Path(folder) if folder is not None else None, show)
        work.given = calibration
        work.keep("provenance.json", json.dumps({"provenance": origin.to_dict()}, indent=1) + "\n")
        points = len(loads) + failure + saturation
        work.total = points * replications + (points + 2 if calibration is None else 0)
        work.calibrate(scenario, transactions, seed + 1000, restart=True)
        calibration = work.calibration(work.taken)
        highest = float(simulate(calibration.apply(saturated(scenario)), chosen, seed=seed).summary["throughput_per_s"])
        work.keep("calibration.toml", calibration.toml())
        validation = Validation(scenario, chosen, store, broker, calibration, folder=work.folder, provenance=origin)
        rows: list[dict[str, Any]] = []
        for name, played in _points(
            scenario, chosen, loads, highest, transactions, failure=failure, saturation=saturation
        ):
            so_far = work.calibration(work.taken).apply(played)

            def predict(one: int, expected: Scenario = so_far) -> dict[str, float]:
                return figures(simulate(expected, chosen, seed=one))

            real = work.measure(played, name, seed, replications, patience, predict)
            work.calibrate(scenario, transactions, seed + 1000 + len(work.taken))
            around = validation.calibrations[name] = work.calibration(work.taken[-2:])
            predicted = [figures(simulate(around.apply(played), chosen, seed=one)) for one in real.seeds]
            rows += rows_of(name, played, predicted, real.figures)
            validation.frame = pd.DataFrame(rows)
            work.keep(f"calibration-{name}.toml", around.toml())
            work.keep("validation.csv", validation.frame.assign(**origin.columns()).to_csv(index=False))
        validation.calibration = work.calibration(work.taken)
        work.keep("calibration.toml", validation.calibration.toml())
        validation.disturbed = work.disturbances()
        work.keep("disturbed.csv", validation.disturbed.assign(**origin.columns()).to_csv(index=False))
        return validation


class Executed(NamedTuple):
    """A real run, and what the watcher beside it has seen.

    Attributes:
        run: The run.
        title: What it is called.
        stall: The longest time in seconds for which the machine stood still.
        forced_write: What a forced write of the watcher took on average, in seconds; NaN: not known.
        stalls: When the machine stood still, in seconds of the run.
    """

    run: Run
    title: str
    stall: float = 0.0
    forced_write: float = math.nan
    stalls: Sequence[Stall] = ()


@dataclass(slots=True)
class Measured:
    """The runs of one point that count.

    Attributes:
        seeds: Of each run.
        figures: Of each run.
        predicted: Of the same seeds, as `Work.measure` was told to predict them.
        disturbed: Whether fewer than two runs were undisturbed, so that all of them count.
    """

    seeds: list[int]
    figures: list[dict[str, float]]
    predicted: list[dict[str, float]]
    disturbed: bool = False


def slow(runs: Mapping[int, Executed]) -> dict[int, float]:
    """Runs of one point during which the disk was slow, and how many times slower than in the quietest of them.

    The load is the same in all runs of a point, so that what differs is the machine. The measure is the watcher's own, not a figure that is predicted.
    """
    known = {key: one.forced_write for key, one in runs.items() if math.isfinite(one.forced_write)}
    least = min(known.values(), default=0.0)
    return {key: value / least for key, value in known.items() if least and value > SLOWER * least}


@dataclass(slots=True)
class Pace:
    """Pace of the disk of an idle machine, now and at its best.

    Attributes:
        best: What a forced write took at least on average, in seconds; infinite: not known yet.
    """

    best: float = math.inf

    def rest(self) -> None:
        """Wait until the disk is as fast as it was, for half a minute at most: others on a shared machine may be at work."""
        begun = time.monotonic()
        while True:
            now = idle_forced_write()
            self.best = min(self.best, now)
            if now <= SLOWER * self.best or time.monotonic() - begun > _REST:
                return
            time.sleep(1.0)


@dataclass
class Work:
    """Runs for real, keeps what they leave, and says how far it is."""

    strategy: Strategy
    store: str
    broker: str
    folder: Path | None
    progress: Phases
    pace: Pace = field(default_factory=Pace)
    total: int = 1
    disturbed: list[tuple[str, float, float, bool]] = field(default_factory=list)
    given: Calibration | None = None
    taken: list[Legs] = field(default_factory=list)  # of each calibration
    quiet: list[Run] = field(default_factory=list)  # of all calibrations
    restarts: dict[str, Block] = field(default_factory=dict)
    subject: dict[str, str] = field(default_factory=dict)
    _done: int = 0

    def __post_init__(self) -> None:
        folder = self.folder
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held = [name for name in ("provenance.json", "validation.csv") if (folder / name).exists()]
            except OSError as error:
                raise ScenarioError(f"cannot write to folder '{folder}': {error.strerror}", "folder") from None
            if held:
                raise ScenarioError(f"'{folder}' holds a validation already; choose a new or empty folder", "folder")

    def execute(self, scenario: Scenario, name: str, seed: int) -> Executed:
        """A run, and what the watcher has seen beside it.

        If the machine stood still for long, the run is repeated, and the least disturbed one counts. All are kept.
        """
        runs: list[Executed] = []
        for attempt in range(_REPEATS + 1):
            title = name if attempt == 0 else f"{name}-again-{attempt}"
            self.progress(f"executing {title}", self._done / self.total)
            self.pace.rest()
            with Watcher() as watcher:
                run = execute(scenario, self.strategy, store=self.store, broker=self.broker, seed=seed)
            self._keep_run(run, title)
            begin = run.data.origin or 0.0
            end = begin + run.data.horizon
            stall = watcher.longest(begin, end)
            runs.append(Executed(run, title, stall, watcher.forced_write(begin, end), watcher.after(begin)))
            if stall <= DISTURBED:
                break
            self._disturbed(title, stall, math.nan, again=attempt < _REPEATS)
        self._done += 1
        return min(runs, key=lambda one: one.stall)

    def quietest(self, played: Mapping[int, tuple[Scenario, str, int]]) -> dict[int, Executed]:
        """Runs at the same load, those again during which the disk was slow; scenario, name and seed of each."""
        runs = {key: self.execute(*one) for key, one in played.items()}
        for attempt in range(1, _REPEATS + 1):
            for key, factor in slow(runs).items():
                self._disturbed(runs[key].title, runs[key].stall, factor, again=True)
                scenario, name, seed = played[key]
                runs[key] = self._quieter(runs[key], self.execute(scenario, f"{name}-slow-{attempt}", seed))
        return runs

    def measure(
        self,
        scenario: Scenario,
        name: str,
        seed: int,
        replications: int,
        patience: float,
        predict: Callable[[int], dict[str, float]],
    ) -> Measured:
        """Real runs of a point: so many, and more while they decide nothing and there is time.

        A run during which the disk was slow is repeated, as one is during which the machine stood still. If it stays so, it does not count, and another seed takes its place.

        Args:
            scenario: What is executed.
            name: What the runs are called.
            seed: Of the first run; the next ones have the next seeds.
            replications: How many runs at least.
            patience: Seconds for the runs beyond.
            predict: The figures that are predicted for a seed.
        """
        runs: dict[int, Executed] = {}
        by_seed: dict[int, dict[str, float]] = {}  # figures of each run
        predicted: dict[int, dict[str, float]] = {}
        attempts: dict[int, int] = {}
        begun = math.nan
        while True:
            found = slow(runs)
            again = next((one for one in found if attempts[one] < _REPEATS), None)
            if again is not None:
                attempts[again] += 1
                self._disturbed(runs[again].title, runs[again].stall, found[again], again=True)
                title = f"{name}-{again - seed}-slow-{attempts[again]}"
                runs[again] = self._quieter(runs[again], self.execute(scenario, title, again))
                by_seed[again] = figures(runs[again].run)
                continue
            left_out = [key for key, one in runs.items() if key in found or one.stall > DISTURBED]
            counted = [key for key in runs if key not in left_out]
            if len(counted) >= replications and math.isnan(begun):
                begun = time.monotonic()
            few = len(counted) < replications and len(runs) < 2 * replications
            if not few:
                predicted |= {key: predict(key) for key in counted if key not in predicted}
                known = decisive([predicted[key] for key in counted], [by_seed[key] for key in counted])
                if known or time.monotonic() - begun >= patience or len(runs) >= _MOST:
                    break
            if len(runs) >= replications:
                self.total += 1
            new = seed + len(runs)
            attempts[new] = 0
            runs[new] = self.execute(scenario, f"{name}-{len(runs)}", new)
            by_seed[new] = figures(runs[new].run)
        for key, factor in found.items():
            self._disturbed(runs[key].title, runs[key].stall, factor, again=False)
        disturbed = len(counted) < 2
        kept = list(runs) if disturbed else counted
        predicted |= {key: predict(key) for key in kept if key not in predicted}
        return Measured(kept, [by_seed[key] for key in kept], [predicted[key] for key in kept], disturbed)

    def _quieter(self, one: Executed, other: Executed) -> Executed:
        return min((one, other), key=lambda run: (run.stall > DISTURBED, run.forced_write))

    def _disturbed(self, title: str, stall: float, slower: float, *, again: bool) -> None:
        self.disturbed.append((title, stall, slower, again))
        self.keep("disturbed.csv", self.disturbances().to_csv(index=False))

    def disturbances(self) -> pd.DataFrame:
        """The runs during which the machine stood still or its disk was slow."""
        return pd.DataFrame(self.disturbed, columns=["run", "stall", "slower", "repeated"])

    def _keep_run(self, run: Run, name: str) -> None:
        if self.folder is not None:
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            run.trace.save(folder / "events.jsonl")
            run.transactions.assign(**run.provenance.columns()).to_csv(folder / "transactions.csv", index=False)
            (folder / "summary.json").write_text(json.dumps(plain(dict(run.summary)), indent=1))

    def calibrate(self, scenario: Scenario, transactions: int, seed: int, *, restart: bool = False) -> None:
        """Measure the building blocks at low load, and what a restart takes; nothing if they are given."""
        if self.given is not None:
            return
        quiet = at_utilisation(scenario, _CALIBRATION, max(transactions // 2, 100))
        one = self.execute(quiet, f"calibration-{len(self.taken)}", seed)
        self.quiet.append(one.run)
        self.taken.append(measured(one.run, one.stalls))
        if restart:
            killed = with_kills(quiet, to_kill(quiet, self.strategy, self.broker))
            self.restarts = restarts(self.execute(killed, "calibration-restart", seed), self.strategy)
        self.subject = {
            "store": self.store,
            "broker": self.broker,
            "scenario": scenario.name,
            "strategy": self.strategy.name,
        }

    def calibration(self, taken: Sequence[Legs]) -> Calibration:
        """The building blocks of some calibrations, or those that are given."""
        if self.given is not None:
            return self.given
        made = calibrated(
            taken, f"{self.subject['scenario']}-{self.subject['strategy']}", self.subject, processor_times(self.quiet)
        )
        return dataclasses.replace(made, blocks={**made.blocks, **self.restarts})

    def keep(self, name: str, text: str) -> None:
        """Write a file into the folder, if there is one."""
        if self.folder is not None:
            (self.folder / name).write_text(text, encoding="utf-8")


def _points(
    scenario: Scenario,
    strategy: Strategy,
    loads: Sequence[float],
    highest: float,
    transactions: int,
    *,
    failure: bool,
    saturation: bool,
) -> list[tuple[str, Scenario]]:
    """Points that are compared; `highest` is the predicted throughput at saturation."""
    points = [(f"{load:g}", at_rate(scenario, load * highest, transactions)) for load in loads]
    if failure:
        calm = at_rate(scenario, _FAILURE_LOAD * highest, transactions)
        points.append((FAILURE, with_failure(calm, strategy, DOWNTIME)))
    if saturation:
        points.append((SATURATION, saturated(scenario)))
    return points


def saturated(scenario: Scenario) -> Scenario:
    """The scenario with more users than workers, none of whom ever thinks."""
    users = 4 * max(service.workers for service in scenario.services.values()) + 4
    closed = {"kind": "closed", "users": users, "think_time": 0.0}
    return scenario.replace(
        **{
            "workload": closed,
            "run.duration": f"{_SATURATED + _WARMUP:g}s",
            "run.warmup": f"{_WARMUP:g}s",
            "faults": [],
        }
    )


def with_failure(scenario: Scenario, strategy: Strategy, downtime: float) -> Scenario:
    """The scenario with its hub, or its first service, killed in the middle of the measured time."""
    rate = scenario.workload.mean_rate() or 1.0
    middle = _WARMUP + (scenario.run.transactions or 0) / rate * 0.4
    node = "hub" if strategy.hub is not None else next(iter(scenario.services))
    return scenario.replace(
        faults=[{"kind": "crash", "node": node, "at": f"{middle:.9g}s", "duration": f"{downtime:.9g}s"}]
    )


def to_kill(scenario: Scenario, strategy: Strategy, broker: str) -> list[str]:
    """Processes that a calibration kills: the hub, if there is one, the first two services, and a broker that is a process of ours."""
    kind = brokers.kind_of(broker)
    own_broker = strategy.uses_broker and kind is not None and not brokers.PRODUCTS[kind].server
    hub = [HUB] if strategy.hub is not None else []
    return [*hub, *list(scenario.services)[:2], *([BROKER] if own_broker else [])]


def with_kills(scenario: Scenario, nodes: Sequence[str]) -> Scenario:
    """The scenario with these nodes killed one after the other, twice each, while transactions come."""
    nodes = [*nodes] * _KILLS
    rate = scenario.workload.mean_rate() or 1.0
    faults = []
    for position, node in enumerate(nodes):
        what = {"kind": "broker-outage"} if node == BROKER else {"kind": "crash", "node": node}
        faults.append({**what, "at": f"{_WARMUP + position * _BETWEEN:g}s", "duration": f"{DOWNTIME:g}s"})
    return at_rate(scenario, rate, max(math.ceil(rate * _BETWEEN * len(nodes)), 1)).replace(faults=faults)


def restarts(executed: Executed, strategy: Strategy) -> dict[str, Block]:
    """The blocks of restarts of a run `with_kills`: what each took beyond its downtime until the others reach it, and the processor time in it.

    Whoever has lost a process tries to connect in growing pauses. After a downtime it is half of the longest one, on average, until it does.
    """
    found = blocks(executed.run.trace, strategy.hub)
    more = PAUSES[1] / 2 - DOWNTIME
    beyond = {"restart": more, "restart.service": more, "restart.broker": more, "restart.processor": 0.0}
    return {
        name: Block.of([max(one + more, 0.0) for one in found[name]]) for name, more in beyond.items() if name in found
    }


def decisive(predicted: list[dict[str, float]], measured: list[dict[str, float]]) -> bool:
    """Return whether the intervals of the errors are narrower than the targets, so that an error of the prediction can be told from luck."""
    for metric, (_, target) in METRICS.items():
        if target is not None:
            found = error_of(predicted, measured, metric)
            if not found.half_width <= target:
                return False
    return True


def error_of(predicted: list[dict[str, float]], measured: list[dict[str, float]], metric: str) -> Interval:
    """Error of the prediction of a metric, predicted over measured, minus 1, with its interval; both sides have the same seeds."""
    found = ratio_of_means((one[metric] for one in predicted), (one[metric] for one in measured))
    return found._replace(mean=found.mean - 1, low=found.low - 1, high=found.high - 1)


def figures(run: Run) -> dict[str, float]:
    """The metrics of one run."""
    rows = run.transactions[run.transactions["measured"]]
    summary = run.summary
    return {
        "latency_mean_ms": float(summary["latency_mean_ms"]),
        **{f"latency_p{q}_ms": censored.quantile(rows["latency_ms"], q / 100) for q in (50, 95, 99)},
        "throughput_per_s": float(summary["throughput_per_s"]),
        "undone_share": float(summary["aborted_share"] + summary["compensated_share"]),
        "window_mean_ms": float(summary["window_mean_ms"]),
        "drift_gross_mean": float(summary["drift_gross_mean"]),
    }


def rows_of(
    point: str,
    scenario: Scenario,
    predicted: list[dict[str, float]],
    measured: list[dict[str, float]],
    *,
    judged: bool = True,
) -> list[dict[str, Any]]:
    """One row a metric; `judged`: with its target, and whether it is met."""
    rate = scenario.workload.mean_rate() or float("nan")
    rows = []
    for metric in METRICS:
        ours = interval(one[metric] for one in predicted)
        real = interval(one[metric] for one in measured)
        off = error_of(predicted, measured, metric)
        error = off.mean if real.mean else (0.0 if not ours.mean else math.inf)
        target, met = _verdict(point, metric, ours, real, error) if judged else (None, None)
        rows.append(
            {
                "point": point,
                "rate": rate,
                "metric": metric,
                "predicted": ours.mean,
                "predicted_low": ours.low,
                "predicted_high": ours.high,
                "measured": real.mean,
                "measured_low": real.low,
                "measured_high": real.high,
                "error": error,
                "error_low": off.low,
                "error_high": off.high,
                "target": target,
                "met": met,
            }
        )
    return rows


def _verdict(
    point: str, metric: str, ours: Interval, real: Interval, error: float
) -> tuple[float | str | None, bool | None]:
    """The target of a figure, and whether it is met; None: there is none."""
    if metric in INSIDE:
        return "inside", bool(real.low - 1e-9 <= ours.mean <= real.high + 1e-9)
    if point == SATURATION:
        return (SATURATION_TARGET, abs(error) <= SATURATION_TARGET) if metric == "throughput_per_s" else (None, None)
    target = METRICS[metric][1]
    if target is None or point == FAILURE or float(point) >= 0.8:
        return None, None
    return target, bool(abs(error) <= target)
