"""`simtx.calibrate`: what the building blocks of a run take on this machine, measured at low load."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import sqlite3
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import nnls

from simtx.arguments import SEED, STRATEGIES, checked, flag, number, progress, text, whole
from simtx.errors import ScenarioError
from simtx.event_log.entries import BranchEnded, Durability, Seconds
from simtx.progress import Phases, phases
from simtx.protocols import Operation, Strategy, Transact
from simtx.protocols import strategy as resolve
from simtx.protocols.names import BROKER, CLIENT, HUB
from simtx.reference.execute import execute
from simtx.reference.processes.backends import Backends, check_broker, check_store
from simtx.reference.processes.preflight import relay_of, store_of
from simtx.reference.run_folder import scratch
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.stores import open_store
from simtx.scenario.calibration import BLOCKS, SERVICE, Block, Calibration, ProcessorTimes
from simtx.validation.blocks import Leg, legs
from simtx.validation.correlation import common_mode
from simtx.validation.stalls import Stall, Watcher

if TYPE_CHECKING:
    from simtx.event_log.log import LogEntry
    from simtx.metrics.run import Run
    from simtx.reference.stores import Store
    from simtx.scenario import Scenario

LEAST: Final = 30
"""Samples below which a block is left out."""
_WARMUP: Final = 2.0
_LEVELS: Final = (1, 2, 4, 8, 16)
_SECONDS: Final = 1.0  # of each level of a curve
_BESIDE: Final = 4  # local transactions that work inside at once
_WORK: Final = 0.005  # seconds for which each does

_HANDLED: Final = frozenset(("request", "receive", "deliver", "timer", "confirm"))
"""Entries about an event that a process has handled."""
_SENT: Final = frozenset(("send", "publish", "acknowledge", "answer"))
"""Entries about what a process has sent."""
_LOCAL: Final = frozenset(("transact", "execute", "prepare"))
_DOES: Final = ("event", "transaction", "forced_write", "mark")
"""Work that takes a process time, beside what it sends."""
_FORCED: Final[Mapping[str, type[Durability] | type[BranchEnded]]] = {
    "append": Durability,
    "commit": BranchEnded,
    "rollback": BranchEnded,
}

Legs = dict[str, list[Leg]]
"""The legs of one run by block."""


@checked(
    name=text,
    strategies=STRATEGIES,
    store=text,
    broker=text,
    transactions=whole(1),
    utilisation=number(above=0, below=1),
    curves=flag,
    seed=SEED,
    progress=progress,
)
def calibrate(
    name: str = "this-machine",
    *,
    scenario: Scenario | str = "transfer",
    strategies: Sequence[Strategy | str] = ("2pc", "saga", "outbox"),
    store: str = "sqlite",
    broker: str = "embedded",
    transactions: int = 400,
    utilisation: float = 0.1,
    curves: bool = True,
    seed: int = 1,
    progress: bool | Phases | None = None,
) -> Calibration:
    """Measure the building blocks of real runs on this machine, at a load so low that hardly anything waits.

    Args:
        name: The name of the calibration, by which scenarios refer to it.
        scenario: The scenario that is executed for it.
        strategies: The strategies that play it; their samples are pooled, since messages and local transactions of all of them are alike.
        store: As in `simtx.execute`.
        broker: As in `simtx.execute`.
        transactions: Transactions of each strategy, after the warm-up.
        utilisation: Of the busiest service, between 0 and 1.
        curves: Whether forced writes, local transactions and sleeps are also measured on their own, at several concurrencies.
        seed: Seed of the transactions.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none; or a function, called with what is
            being measured and the share that is done.

    Returns:
        The calibration: distributions of durations, in seconds.

    Raises:
        ScenarioError: The input is wrong.
        RunFailed: A run could not be completed.
    """
    from simtx.scenario import load

    scenario = load(scenario)
    store_kind, broker_kind = check_store(store), check_broker(broker)
    quiet = at_utilisation(scenario, utilisation, transactions)
    taken: list[Legs] = []
    runs: list[Run] = []
    chosen = [resolve(one, scenario.policies) for one in strategies]
    with phases(progress) as show:
        for position, one in enumerate(chosen):
            show(f"executing {one.name}", position / (len(chosen) + 1))
            with Watcher() as watcher:
                run = execute(quiet, one, store=store, broker=broker, seed=seed)
            runs.append(run)
            taken.append(measured(run, watcher.after(run.data.origin or 0.0)))
        show("forced writes", len(chosen) / (len(chosen) + 1))
        calibration = calibrated(
            taken,
            name,
            {
                "store": store if store == store_kind else f"{store_kind} (a server of one's own)",
                "broker": broker if broker == broker_kind else f"{broker_kind} (a server of one's own)",
                "scenario": scenario.name,
                "strategies": ", ".join(one.name for one in chosen),
                "utilisation": f"{utilisation:g}",
            },
            processor_times(runs),
        )
        return dataclasses.replace(calibration, curves=curves_of(scenario, store)) if curves else calibration


def found(samples: Mapping[str, Sequence[float]]) -> dict[str, Block]:
    """The blocks of which there are samples enough, in the order of `BLOCKS`."""
    return {name: Block.of(samples[name]) for name in BLOCKS if len(samples.get(name, ())) >= LEAST}


def measured(run: Run, stalls: Iterable[Stall] = ()) -> Legs:
    """The legs of a run, but for those under way while the machine stood still.

    A stall comes once in a while, however much there is to do: one that falls into a run at low load would count for far too many legs.

    Args:
        run: At low load.
        stalls: Their begins in seconds of the run.
    """
    workers = {name: service.workers for name, service in run.scenario.services.items()}
    taken = legs(run.trace, run.strategy.hub, since=run.data.warmup, workers=workers)
    pauses = [(stall.begin, stall.begin + stall.seconds) for stall in stalls]
    return {
        block: [
            leg
            for leg in found_legs
            if not any(leg.begin < end and leg.begin + leg.seconds > begin for begin, end in pauses)
        ]
        for block, found_legs in taken.items()
    }


def calibrated(
    taken: Sequence[Legs], name: str, subject: Mapping[str, str], processor: ProcessorTimes | None = None
) -> Calibration:
    """The calibration that the legs of some runs give, all of them together."""
    samples: dict[str, list[float]] = defaultdict(list)
    for one in taken:
        for block, found_legs in one.items():
            samples[block] += [leg.seconds for leg in found_legs]
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    known = found(samples)
    times = None if processor is None else within_legs(processor, known)
    return Calibration(name, date, machine(), subject, known, common_mode=common_mode(taken), processor=times)


def within_legs(times: ProcessorTimes, known: Mapping[str, Block]) -> ProcessorTimes:
    """Processor times that are no longer than the legs which they are parts of; what a leg cannot hold is taken aside.

    A process also works for what nobody waits for, such as its own log: a fit over all that it has used takes that for work on the way.
    """
    mean = {name: block.mean for name, block in known.items()}
    links = [mean[name] - times.effect for name in ("link.hub>service", "link.service>hub") if name in mean]
    links += [mean[name] / 2 for name in ("link.client>hub", "link.client>service") if name in mean]  # two events
    event = min([times.event, *(max(one, 0.0) for one in links)])
    write = min([times.forced_write, *(mean[name] for name in ("second-phase", "forced") if name in mean)])
    transaction = times.transaction
    if "local" in mean:
        bare = mean.get("second-phase", write) - write  # until a commit is durable, beside the processor time
        transaction = min(transaction, max(mean["local"] - bare, 0.0))
    return dataclasses.replace(
        times,
        event=event,
        transaction=transaction,
        forced_write=write,
        event_aside=times.event_aside + times.event - event,
        transaction_aside=times.transaction_aside + times.transaction - transaction,
        forced_write_aside=times.forced_write_aside + times.forced_write - write,
    )


def processor_times(runs: Iterable[Run]) -> ProcessorTimes | None:
    """Costs of an event, an effect, a local transaction and a forced write, from what all processes of some runs have used.

    What a process sends, it sends one after the other: an effect costs the median time between two messages of one transaction that follow each other in the log.
    The rest of a process's time is taken as a x events + b x local transactions + c x other forced writes + d x events of an outbox that its relay marks as published +
    e x seconds; all but the first are fitted over all processes of all runs (non-negative least squares; D. Chen, R. Plemmons, "Nonnegativity constraints in numerical
    analysis", 2009). Hubs have no local transactions, services of a saga no other forced writes, and relays neither, so that they are told apart. What a process uses while
    nothing happens, e, is in no processor time. Where there are too few kinds of processes to tell it from events, it is taken for 0.

    Nobody waits for a mark: it is an aside. So is what database servers of our own have used for a local transaction and so on, which is fitted likewise over the servers.

    Args:
        runs: Real runs, at low load.

    Returns:
        The times, or None if no process has said what it has used.
    """
    own, servers = _Fit(), _Fit()
    gaps: list[float] = []
    for run in runs:
        used, done, end = _done(run, gaps)
        nodes = {CLIENT: CLIENT, BROKER: BROKER, run.strategy.hub: HUB}
        for process, (node, seconds) in used.items():
            strategy = run.strategy.name
            if process == store_of(node):
                did = done[node] + done[relay_of(node)]
                del did["event"], did["sent"]  # which are no work of a database
                servers.add((strategy, *sorted(did)), did, seconds, end)
            else:
                kind = process == relay_of(node) or nodes.get(node, SERVICE)
                own.add((strategy, kind), done[process], seconds, end)
    if not own.used:
        return None
    effect = float(np.median(gaps)) if gaps else 0.0
    time, aside = own.times(effect), servers.times(0.0)
    return ProcessorTimes(
        time["event"],
        effect,
        time["transaction"],
        time["forced_write"],
        transaction_aside=aside["transaction"],
        forced_write_aside=aside["forced_write"],
        mark_aside=time["mark"] + aside["mark"],
    )


def _done(run: Run, gaps: list[float]) -> tuple[dict[str, tuple[str, float]], dict[str, Counter[str]], float]:
    """Processes of a run with their nodes and the seconds that each has used, how often each has done what, and how long the run was.

    To `gaps` come the times between two messages of one transaction.
    """
    used: dict[str, tuple[str, float]] = {}
    done: dict[str, Counter[str]] = defaultdict(Counter)
    last: dict[str, LogEntry] = {}
    end = 0.0
    relays = {event.node for event in run.trace if event.kind == "used" and event.name == relay_of(event.node)}
    for entry in run.trace:
        kind, process, end = entry.kind, entry.node, max(end, entry.time)
        polls = kind == "handle" and entry.tx < 0 and entry.name == "poll"
        if process in relays and (polls or kind in ("publish", "confirm")):
            process = relay_of(process)
            done[process]["mark"] += kind == "confirm"
        if kind == "used" and entry.actor == "fault":
            continue  # a start after a crash
        if kind == "used":
            before = used.get(entry.name, (process, 0.0))[1]
            used[entry.name] = process, before + Seconds.read(entry).seconds
        elif kind in _HANDLED or polls:
            done[process]["event"] += 1
            done[BROKER]["sent"] += kind == "deliver"
        elif kind == "arrive":
            done[CLIENT]["event"] += 1
        elif kind in _LOCAL:
            done[process]["transaction"] += 1
        elif kind in _SENT:
            done[process]["sent"] += 1
            done[BROKER]["event"] += kind == "publish"
            previous = last.get(entry.node)
            if previous is not None and previous.kind == kind == "send" and previous.cause == entry.cause:
                gaps.append(entry.time - previous.time)
        reader = _FORCED.get(kind)
        if reader is not None and reader.read(entry).forced:
            done[process]["forced_write"] += 1
        last[entry.node] = entry
    return used, done, end


class _Fit:
    """Processor time as so much for each thing that was done.

    Attributes:
        used: Of each process of each run, in seconds.
    """

    def __init__(self) -> None:
        self.used: list[float] = []
        self._counted: list[tuple[float, ...]] = []
        self._sent: list[int] = []
        self._kinds: set[object] = set()

    def add(self, kind: object, done: Counter[str], seconds: float, end: float) -> None:
        """One more process, which lived until the end of its run; those of a kind do the same things in the same proportions."""
        self.used.append(seconds)
        self._counted.append((*(float(done[what]) for what in _DOES), end))
        self._sent.append(done["sent"])
        self._kinds.add(kind)

    def times(self, effect: float) -> dict[str, float]:
        """Seconds for each thing, beside `effect` for each that was sent."""
        if not self.used:
            return dict.fromkeys(_DOES, 0.0)
        numbers = np.array(self._counted)
        happens = np.count_nonzero(numbers[:, :-1].any(axis=0))
        if len(self._kinds) <= happens:  # too few to tell what is used while nothing happens
            numbers[:, -1] = 0.0
        found, _ = nnls(numbers, np.maximum(np.array(self.used) - effect * np.array(self._sent), 0.0))
        return {what: float(seconds) for what, seconds in zip(_DOES, found[:-1], strict=True)}


def at_utilisation(scenario: Scenario, utilisation: float, transactions: int) -> Scenario:
    """The scenario with Poisson arrivals at a rate at which its busiest service has this utilisation, and without faults.

    Raises:
        ScenarioError: No service of it does any work.
    """
    return at_rate(scenario, rate_at(scenario, utilisation), transactions)


def at_rate(scenario: Scenario, rate: float, transactions: int) -> Scenario:
    """The scenario with Poisson arrivals at this rate, so many of them after a warm-up, and without faults."""
    return scenario.replace(
        **{
            "workload": {"kind": "poisson", "rate": rate},
            "run.transactions": transactions + round(_WARMUP * rate),
            "run.warmup": f"{_WARMUP:g}s",
            "faults": [],
        }
    )


def rate_at(scenario: Scenario, utilisation: float) -> float:
    """Transactions a second at which the busiest service has this utilisation."""
    work = dict.fromkeys(scenario.services, 0.0)
    for step in scenario.transaction.steps:
        work[step.service] += scenario.service_time(step).mean()
    busiest = max(work[name] / service.workers for name, service in scenario.services.items())
    if busiest <= 0:
        raise ScenarioError("no service of it takes any service time, so that no rate is its saturation", scenario.name)
    return utilisation / busiest


# --- on their own -------------------------------------------------------------------------------------------------------------


def curves_of(scenario: Scenario, store: str) -> dict[str, dict[str, dict[str, float]]]:
    """Forced writes, local transactions and sleeps, each alone, at several concurrencies: mean and p99 in seconds, and rate."""
    with scratch.folder() as path:
        chosen = resolve("saga", scenario.policies)
        folder = RunFolder.create(path / "r", scenario, chosen, seed=1, store=store, broker="embedded")
        backends = Backends(store, "embedded", folder, scenario, chosen)
        service = next(iter(scenario.services))
        folder.node(service).mkdir(parents=True, exist_ok=True)
        backends.start()
        try:
            spec = backends.store(service)
            opened = open_store(spec | {"connections": max(_LEVELS) + 2} if "dsn" in spec else spec)
            try:
                forced = {str(n): _level(n, lambda tx: opened.append(tx, ("begin", tx), forced=True)) for n in _LEVELS}
                local = {str(n): _level(n, lambda tx: _transact(opened, tx)) for n in _LEVELS}
                inside = {
                    f"local transaction that works 5 ms inside, {rows}": {str(_BESIDE): _level(_BESIDE, work)}
                    for rows, work in (
                        ("all on one row", lambda tx: _work_inside(opened, tx, "row")),
                        ("each on its own row", lambda tx: _work_inside(opened, tx, f"{tx}")),
                    )
                }
            finally:
                opened.close()
        finally:
            backends.stop()
        if store == "sqlite":
            inside["a program's own BEGIN IMMEDIATE that works 5 ms, each on its own row"] = {
                str(_BESIDE): _immediate(path / "own.sqlite")
            }
    return {"forced write": forced, "local transaction": local, **inside, "sleep of 5 ms, beyond": {"1": _sleeps()}}


def _transact(store: Store, tx: int) -> None:
    store.transact(tx, Transact("action", (Operation(f"calibration:{tx}", "add", 1),), (tx, 0, "action")))


def _work_inside(store: Store, tx: int, row: str) -> None:
    """A local transaction that works with its row lock in hand, as under ``locks = "work"``."""
    effect = Transact("action", (Operation(f"calibration:inside:{row}", "add", 1),), (tx, 0, "inside"))
    store.transact(tx, effect, work=_WORK)


def _immediate(path: Path) -> dict[str, float]:
    """Transactions of SQLite itself that work between ``BEGIN IMMEDIATE`` and ``COMMIT``, each on a row of its own."""
    own = threading.local()
    opened: list[sqlite3.Connection] = []

    def connected() -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        opened.append(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db

    connected().execute("CREATE TABLE data (key INTEGER PRIMARY KEY, value REAL)")

    def work(tx: int) -> None:
        if not hasattr(own, "db"):
            own.db = connected()
        db = own.db
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO data VALUES (?, 1)", (tx,))
        time.sleep(_WORK)
        db.execute("COMMIT")

    try:
        return _level(_BESIDE, work)
    finally:
        for db in opened:
            db.close()


def _level(threads: int, work: Callable[[int], object]) -> dict[str, float]:
    taken: list[float] = []
    end = time.monotonic() + _SECONDS

    def worker(number: int) -> None:
        tx = 1_000_000 * threads + 10_000_000 * number
        while True:  # once at least, also on a machine that has stood still until the end
            begun = time.monotonic()
            work(tx)
            tx += 1
            taken.append((now := time.monotonic()) - begun)
            if now >= end:
                return

    workers = [threading.Thread(target=worker, args=(number,)) for number in range(threads)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    sample = np.array(taken)
    return {
        "samples": len(sample),
        "mean": float(sample.mean()),
        "p99": float(np.quantile(sample, 0.99)),
        "rate": len(sample) / _SECONDS,
    }


def _sleeps() -> dict[str, float]:
    taken = []
    for _ in range(100):
        begun = time.monotonic()
        time.sleep(0.005)
        taken.append(time.monotonic() - begun - 0.005)
    return {"samples": len(taken), "mean": float(np.mean(taken)), "p99": float(np.quantile(taken, 0.99))}


# --- the machine --------------------------------------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """Facts about this machine that the measurements depend on."""
    facts = {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "file system": _file_system(Path(tempfile.gettempdir())),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(folder: Path) -> str:
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    path = folder.resolve()
    fitting: list[list[Any]] = [mount for mount in mounts if path.is_relative_to(mount[1])]
    return max(fitting, key=lambda mount: len(mount[1]))[2] if fitting else "unknown"
