"""Plays the runs of a sweep that are missing: leases them, gives them to an executor, and enters what comes back, one by one.

A run is in the ledger the moment that it is finished. So a killed process loses only the runs under way. The same call of the sweep, here or on
another machine that shares the folder, plays only the missing runs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from simtx.engine.choices import Engine
from simtx.errors import RunFailed, ScenarioError
from simtx.experiments.executors import Backend, ExecutorLike
from simtx.experiments.interrupts import Interrupts
from simtx.experiments.pool import Call, Pool, opened
from simtx.experiments.sweep.leases import HEARTBEAT, active, host
from simtx.experiments.sweep.ledger import RunLedger, Wanted
from simtx.experiments.sweep.plan import Plan
from simtx.experiments.sweep.store import Store
from simtx.experiments.sweep.study import Row, Study
from simtx.experiments.work import Outcome, Parcel, failed, play
from simtx.progress import Bar, progress_bar

INTERRUPTED: Final = "interrupted"
_LOOK: Final = 0.25  # seconds between two looks at what another process is playing
_TOGETHER: Final = 16  # cells and strategies of which each plays a first run before the others of them
_FLUSH: Final = 2000  # finished runs after which figures move to a file


@dataclass(frozen=True)
class Settings:
    """Arguments of `simtx.sweep` that say how it is played, and change no figure.

    Attributes:
        executor: Who plays the runs: None: worker processes; ``loky``: worker processes that start anew, also where copies of this one can be made;
            ``serial``: this process; the address of a Dask scheduler (``tcp://...``); any `concurrent.futures.Executor`, as ``client.get_executor()``; or
            a function that makes one.
        workers: Number of processes; None: one a processor.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none.
        accept_stale: Take figures that were made by other code as they are, in place of playing these runs again.
        retry_failed: Play runs again that have failed before.
        stop_after: Equal failures of a strategy in a cell after which its other runs there are not played.
        on_result: Called in this process with the row and outcome of each run that is played, in no particular order.
        on_plan: Called with what there is to do, before the first run.
        engine: As for `simtx.simulate`; the figures are the same. None: what ``SIMTX_ENGINE`` says where a run is played, else ``auto``.
        name: Of the table of figures.
    """

    executor: ExecutorLike = None
    workers: int | None = None
    progress: bool | None = None
    accept_stale: bool = False
    retry_failed: bool = False
    stop_after: int = 3
    name: str = ""
    on_result: Callable[[Row, Outcome], None] | None = None
    on_plan: Callable[[Plan], None] | None = None
    engine: Engine | None = None


@dataclass
class Runner:
    """Plays runs of a study.

    Attributes:
        study: What they are of.
        store: Where they are kept.
        runs: What is to be played; each with the first row that wants it.
        settings: How.
        what: In front of the progress bar.
        stopped: Why it ended early, or nothing.
        skipped: Cells and strategies that were given up: the reason by cell and label.
    """

    study: Study
    store: Store
    runs: Sequence[tuple[Wanted, Row]]
    settings: Settings
    what: str = "sweep"
    stopped: str = ""
    skipped: dict[tuple[int, str], str] = field(default_factory=dict)
    _equal: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    _queue: deque[tuple[Wanted, Row]] = field(default_factory=deque)
    _elsewhere: dict[str, tuple[Wanted, Row]] = field(default_factory=dict)
    _parcels: dict[tuple[int, str], Parcel] = field(default_factory=dict)
    _counts: Counter[tuple[int, str]] = field(default_factory=Counter)
    _played: int = 0
    _failed: int = 0

    def run(self, backend: Backend, before: Mapping[tuple[int, str, str], int]) -> None:
        """Play them.

        Args:
            backend: Where.
            before: How often a cell and strategy has failed before with the same error.

        Raises:
            ScenarioError: The store cannot be written to.
            RunFailed: The executor is broken for good, or its workers have other code.
        """
        self._queue.extend(_in_turn(self.runs))
        self._counts.update((row.cell, row.strategy) for _, row in self.runs)
        self._equal.update(before)
        for (cell, label, error), count in before.items():
            self._judge(cell, label, error, count)
        owner = self.store.owner
        with (
            progress_bar(len(self.runs), "runs", what=self.what, wanted=self.settings.progress) as bar,
            opened(backend),
            beating(self.store.folder, owner),
        ):
            try:
                with Interrupts() as interrupts:
                    pool: Pool[tuple[Wanted, Row]] = Pool(
                        backend, play, self._next, interrupts, lambda: self._look(bar)
                    )
                    with closing(pool.results()) as finished:
                        for call, outcome in finished:
                            self._enter(call, outcome)
                            self._show(bar)
            except KeyboardInterrupt:
                self.stopped = INTERRUPTED
                backend.close(kill=True)
            finally:
                with contextlib.suppress(ScenarioError):  # if it cannot be written to, they are void when this ends
                    self.store.ledger.release(owner)

    # --- out ------------------------------------------------------------------------------------------------------------------------

    def _next(self) -> Call[tuple[Wanted, Row]] | None:
        """The next run that is ours to play, leased; None if there is none at present."""
        while self._queue:
            wanted, row = self._queue.popleft()
            if (row.cell, row.strategy) in self.skipped:
                continue
            if self.store.ledger.lease(wanted.key, self.store.owner):
                parcel = self._parcel(row.cell, row.strategy)
                return Call((wanted, row), (parcel, wanted.seed, wanted.replication))
            self._elsewhere[wanted.key] = (wanted, row)
        return None

    def _parcel(self, cell: int, label: str) -> Parcel:
        if (cell, label) not in self._parcels:
            if len(self._parcels) > 64:  # runs of a cell come one after the other
                self._parcels.clear()
            one = self.study.cells[cell]
            self._parcels[cell, label] = Parcel(
                self.study.scenario_of(cell),
                self.study.variant(one, label)[0],
                self.settings.engine,
                self._counts[cell, label],
            )
        return self._parcels[cell, label]

    def _look(self, bar: Bar) -> bool:
        """Return whether there may be something to do later: runs that another process plays are waited for, and taken over if it dies."""
        ledger = self.store.ledger
        ledger.reclaim()
        waiting = False
        entries = list(ledger.entries(list(self._elsewhere)))
        for key in self._elsewhere.keys() - {
            entry.key for entry in entries
        }:  # a process with other code wants the same
            one = self._elsewhere.pop(key)
            ledger.add([one[0]])
            self._queue.append(one)
        for entry in entries:
            if entry.state == "leased":
                waiting = True
                bar.say(note=f"waiting for {len(self._elsewhere)} of {host(entry.owner or '')}")
            else:
                wanted, row = self._elsewhere.pop(entry.key)
                if entry.state == "pending":
                    self._queue.append((wanted, row))
                else:
                    self._played += 1
                    if entry.state in ("failed", "quarantined"):
                        self._count(row, f"{entry.type}: {entry.message}")
        self._show(bar)
        if waiting and not self._queue:
            time.sleep(_LOOK)
        return waiting or bool(self._queue)

    # --- back -----------------------------------------------------------------------------------------------------------------------

    def _enter(self, call: Call[tuple[Wanted, Row]], result: Any) -> None:
        wanted, row = call.key
        if isinstance(result, Exception):
            outcome = failed("worker" if type(result).__name__ == "WorkerDied" else "sending", result)
        else:
            outcome = result
            if (row.cell, row.strategy) in self._parcels:
                self._parcels[row.cell, row.strategy].note(outcome)
        self._check_code(outcome)
        command = self.study.command(row) if outcome.stage else ""
        self.store.ledger.finish(wanted.key, outcome, attempts=call.attempts, command=command)
        self._played += 1
        if outcome.stage:
            self._count(row, outcome.error)
        if self._played % _FLUSH == 0:
            self.store.flush()
        if self.settings.on_result is not None:
            self.settings.on_result(row, outcome)

    def _check_code(self, outcome: Outcome) -> None:
        from simtx.scenario.fingerprints import code_fingerprint

        if outcome.code and outcome.code != code_fingerprint().text:
            where = "this process" if outcome.code == _here() else "the worker processes"
            raise RunFailed(
                f"the sources of simtx on disk are not those that {where} has loaded, so nobody could say which of them a figure is from; "
                "start again what has the older ones"
            )

    def _count(self, row: Row, error: str) -> None:
        self._failed += 1
        self._equal[row.cell, row.strategy, error] += 1
        self._judge(row.cell, row.strategy, error, self._equal[row.cell, row.strategy, error])

    def _judge(self, cell: int, label: str, error: str, count: int) -> None:
        if count >= self.settings.stop_after:
            self.skipped.setdefault((cell, label), f"{count} runs have failed with {error}")

    def _show(self, bar: Bar) -> None:
        if self._failed:
            bar.say(note=f"{self._failed} failed")
        bar.to(self._played)


def _in_turn(runs: Sequence[tuple[Wanted, Row]]) -> Iterator[tuple[Wanted, Row]]:
    """The order in which runs are played: some cells and strategies after others, and of these first one replication of each.

    What the first run of a cell and strategy finds out can then be told to the others (`Parcel.note`), whichever process plays them.
    """
    groups: dict[tuple[int, str], deque[tuple[Wanted, Row]]] = {}
    for one in runs:
        groups.setdefault((one[1].cell, one[1].strategy), deque()).append(one)
    waiting = list(groups.values())
    for start in range(0, len(waiting), _TOGETHER):
        block = waiting[start : start + _TOGETHER]
        for group in block:
            yield group.popleft()
        for group in block:
            yield from group


def _here() -> str:
    from simtx.experiments.work import loaded_code

    return loaded_code()


@contextmanager
def beating(folder: Path, owner: str) -> Iterator[None]:
    """Move the end of one's leases on while this block is under way, whatever the main thread does."""
    over = threading.Event()

    def beat() -> None:
        ledger: RunLedger | None = None
        while not over.wait(HEARTBEAT):
            with contextlib.suppress(ScenarioError):  # the main thread meets the same, and says it
                ledger = ledger or RunLedger(folder, make=False)
                ledger.beat(owner)
        if ledger is not None:
            ledger.close()

    thread = threading.Thread(target=beat, name="simtx-heartbeat", daemon=True)
    thread.start()
    try:
        with active(owner):
            yield
    finally:
        over.set()
        thread.join()
