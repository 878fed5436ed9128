"""The search in several processes: each owns a part of the states, and levels are explored in step.

The search begins in one process and forks workers once a level has taken long enough to be worth it; they inherit what is known
by then. From there on, one level takes three rounds between the coordinator and its workers, and a fourth (`lend`) when their
shares of the level are uneven:

1. `expand`: each worker expands its states of the level, and sends each new state that another worker owns to that owner, as one
   batch an owner. What a worker has once sent or found it does not send again.
2. `merge`: each worker joins its own new states with those it was sent, keeps what is new, and reports their keys. A key orders
   states as the search in one process finds them: by the rank of the first parent, then by the order of its steps.
3. `settle`: the coordinator has merged the keys into ranks; each worker now learns the ranks of its states in the new level and
   checks the properties on them.

Since ranks are the same as in one process, so are counterexamples and the cut that `max_states` makes. Workers are forked, so
that models may hold lambdas, and so that all workers agree on `hash()`. A path is rebuilt by asking the workers for parents.
"""

import multiprocessing as mp
import sys
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic

import numpy as np

from simtx.checker.explorer.engine import Guard
from simtx.checker.explorer.exploration import DEADLOCKS_KEPT
from simtx.checker.explorer.model import S
from simtx.checker.explorer.partition import Ints, Partition, choose
from simtx.checker.explorer.tally import Tally
from simtx.checker.explorer.worker import COUNTER, SEQUENCE_BITS, Batch, Findings, Hit, Worker, catch_up, pack, serve

_LEND_SHARE = 0.2  # of the mean load; to lend less costs more than to wait: what a lent state leads to is sent back
_LEND_MIN = 32


class _WorkerDied(Exception):
    """A worker process ended while it was needed."""


def search(ledger: Tally[S], parents: dict[S, Any], states: list[S], guard: Guard) -> None:
    """Go on with several processes, into the ledger.

    Args:
        ledger: The account so far; its last level is that of `states`.
        parents: All visited states.
        states: Those of the last level, settled and not expanded.
        guard: Of the search so far; its flag is in memory that a fork shares.
    """
    compiled, count = ledger.compiled, ledger.options.workers
    pack(compiled.model, states[:1])  # refuses states that cannot travel before anything is started
    partition = choose(compiled.plain, states, count)

    def worker_of(index: int) -> Worker[S]:
        compiled.counts.clear()  # what was counted before the fork is counted by the coordinator
        return Worker(index, compiled, partition, guard.for_worker(count), parents, states)

    crew = _Crew(count, worker_of)
    try:
        _Coordinator(ledger, crew, guard, partition).run()
    except _WorkerDied as death:
        ledger.stopped = str(death)
    finally:
        crew.close()
        catch_up(compiled.model)


class _Crew:
    """The workers, as the coordinator sees them.

    Args:
        count: How many.
        worker_of: Makes the worker of an index; called in its process.
    """

    def __init__(self, count: int, worker_of: Callable[[int], Worker[Any]]) -> None:
        context = mp.get_context("fork")
        self.pipes: list[Connection[Any, Any]] = []
        self.processes: list[BaseProcess] = []
        for index in range(count):
            ours, theirs = context.Pipe()
            self.pipes.append(ours)
            process = context.Process(target=serve, args=(worker_of, index, theirs, tuple(self.pipes)), daemon=True)
            with warnings.catch_warnings():
                # Python 3.12 warns of forking with threads; a worker touches no lock that another thread may hold.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            self.processes.append(process)

    def call(
        self, name: str, arguments: Sequence[tuple[Any, ...]], tick: Callable[[], None] | None = None
    ) -> list[Any]:
        """Call a method of every worker, with the arguments for each; return the answers in order.

        Raises:
            _WorkerDied: A worker ended.
        """
        for index, given in enumerate(arguments):
            self._send(index, name, given)
        answers: dict[int, Any] = {}
        while len(answers) < len(self.pipes):
            pending = [index for index in range(len(self.pipes)) if index not in answers]
            ready = wait([self.pipes[index] for index in pending], timeout=0.25)
            if tick is not None:
                tick()
            for index in pending:
                if self.pipes[index] in ready:
                    answers[index] = self._receive(index)
        return [answers[index] for index in range(len(self.pipes))]

    def ask(self, index: int, name: str, *arguments: Any) -> Any:
        """Call a method of one worker."""
        self._send(index, name, arguments)
        return self._receive(index)

    def _send(self, index: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            self.pipes[index].send((name, arguments))
        except ConnectionError as error:
            raise self._died(index) from error

    def _receive(self, index: int) -> Any:
        try:
            fine, answer = self.pipes[index].recv()
        except (EOFError, ConnectionError) as error:
            raise self._died(index) from error
        if not fine:
            raise answer
        return answer

    def _died(self, index: int) -> _WorkerDied:
        process = self.processes[index]
        process.join(1)
        code = process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return _WorkerDied(f"worker {index + 1} of {len(self.processes)} died, {how}")

    def close(self) -> None:
        """End all workers at once; they hold nothing that is still wanted."""
        for process in self.processes:
            process.kill()
        for process, pipe in zip(self.processes, self.pipes, strict=True):
            process.join()
            pipe.close()


class _Coordinator(Generic[S]):
    """Leads the workers through the levels."""

    def __init__(self, ledger: Tally[S], crew: _Crew, guard: Guard, partition: Partition) -> None:
        self.ledger = ledger
        self.crew = crew
        self.shared = guard.flag
        self.partition = partition
        self.workers = range(ledger.options.workers)
        self.max_states = ledger.options.max_states or sys.maxsize

    def run(self) -> None:
        """Explore level by level until nothing is new or something stops the search."""
        ledger, crew = self.ledger, self.crew
        loads = crew.call("load", [()] * len(self.workers))
        while any(loads) and not ledger.stopped:
            room = self.max_states - ledger.states
            for worker in self.workers:
                COUNTER.pack_into(self.shared, COUNTER.size * (worker + 1), 0)
            answers = crew.call("expand", [(room, loans) for loans in self._even_out(loads)], self._tick)
            reason = next((reason for _, reason in answers if reason), "")
            batches = _route([batches for batches, _ in answers])
            del answers
            loads = self._settle(crew.call("merge", [(received,) for received in batches]), reason)
        if ledger.options.coverage:
            for counts in crew.call("coverage", [()] * len(self.workers)):
                for label, count in counts.items():
                    total = ledger.compiled.counts.setdefault(label, [0, 0])
                    total[0] += count[0]
                    total[1] += count[1]

    def _even_out(self, loads: list[int]) -> list[list[tuple[int, Batch]]]:
        """Let workers with many states of the level lend some to those with few; return the loans to each worker."""
        mean = sum(loads) / len(loads)
        spare = [int(load - mean) for load in loads]
        if max(spare) < max(_LEND_MIN, _LEND_SHARE * mean):
            return [[] for _ in loads]
        plan = [[0 for _ in loads] for _ in loads]
        for giver in self.workers:
            for taker in self.workers:
                amount = min(spare[giver], -spare[taker])
                if amount > 0:
                    plan[giver][taker] = amount
                    spare[giver] -= amount
                    spare[taker] += amount
        return _route(self.crew.call("lend", [(counts,) for counts in plan]))

    def _tick(self) -> None:
        done = sum(COUNTER.unpack_from(self.shared, COUNTER.size * (worker + 1))[0] for worker in self.workers)
        ledger = self.ledger
        ledger.tell(len(ledger.levels), done, ledger.levels[-1], ledger.states)

    def _settle(self, keys: list[Ints], reason: str) -> list[int]:
        """Rank the new level, close the one before, and record what was found; return each worker's load of the new level."""
        ledger = self.ledger
        everything = np.concatenate(keys)
        order = np.argsort(everything, kind="stable")
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        keep = min(len(order), self.max_states - ledger.states)
        cut = None
        if keep < len(order):
            reason = f"max_states={self.max_states} reached"
            cut = int(everything[order[keep]]) >> SEQUENCE_BITS
        parts = [part[part < keep] for part in np.split(ranks, np.cumsum([len(part) for part in keys])[:-1])]
        properties, terminal = ledger.open_properties(), ledger.open_terminal()
        answers: list[Findings] = self.crew.call("settle", [(part, cut, properties, terminal) for part in parts])
        ledger.transitions += sum(answer.transitions for answer in answers)
        ledger.expanded += sum(answer.expanded for answer in answers)
        ledger.terminal += sum(answer.terminal for answer in answers)
        if keep:
            ledger.levels.append(keep)
        self._record_terminal(answers, terminal)
        for kind, name in properties:
            self._record(kind, name, [answer.hits.get((kind, name)) for answer in answers])
        ledger.stopped = reason or ("stop_at_violation" if ledger.must_stop and keep else "")
        return [len(part) for part in parts]

    def _record_terminal(self, answers: list[Findings], names: list[str]) -> None:
        ledger = self.ledger
        for name in names:
            self._record("terminal", name, [answer.terminal_hits.get(name) for answer in answers])
        ledger.deadlock_count += sum(answer.deadlock_count for answer in answers)
        deadlocks = sorted((hit for answer in answers for hit in answer.deadlocks), key=lambda hit: hit.rank)
        for hit in deadlocks[: DEADLOCKS_KEPT - len(ledger.deadlocks)]:
            ledger.record("deadlock", "deadlock", self._lineage(hit))

    def _record(self, kind: str, name: str, hits: list[Hit | None]) -> None:
        """Record the hit of least rank, given one or none of each worker.

        Its path is fetched at once, so that a worker that dies later cannot take it along.
        """
        present = [hit for hit in hits if hit is not None]
        if present:
            self.ledger.record(kind, name, self._lineage(min(present, key=lambda hit: hit.rank)))

    def _lineage(self, hit: Hit) -> list[S]:
        """The states from an initial one to a hit, asked for from the workers that know."""
        states = [hit.state]
        worker: int | None = self.partition.owner(hit.state)
        while worker is not None:
            before, worker = self.crew.ask(worker, "trace", states[-1])
            states += before
        catch_up(self.ledger.compiled.model)
        return states[::-1]


def _route(outgoing: list[list[Batch | None]]) -> list[list[tuple[int, Batch]]]:
    """Turn what each worker sends to each into what each receives: (sender, batch)."""
    return [
        [(sender, batch) for sender, batches in enumerate(outgoing) if (batch := batches[owner]) is not None]
        for owner in range(len(outgoing))
    ]
