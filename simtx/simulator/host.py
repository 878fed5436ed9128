"""Hosts: machines whose cores go round among the processes that have something to do.

A process takes up its events one after the other. Those that have something to do get the cores in the order in which they came. A process that has a core keeps it from
one event to the next until its time slice is over; then it goes to the end of the queue. What is being done is not interrupted: a slice of some milliseconds is longer than what a
process does at a time. So of five processes that wake up together the last one waits for the others. (Processor sharing, the limit of slices that get ever shorter, would let all five
end together.) Neighbours who never rest take their part of the cores, as if each of them was one more process.

An event or a local transaction makes other processes of the node work, such as a relay that marks what it has published. This takes cores *aside*: each such piece of work is a
process by itself, which begins when what has caused it is done. Nobody waits for its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from simtx.scenario import HostSpec
from simtx.simulator.environment import Environment

_ALMOST: Final = 1e-12  # seconds of processor time: less than what rounding loses


class _Job:
    """Something that a process has to do.

    Attributes:
        demand: Processor time in seconds that it still takes.
        size: What it takes in all.
        callback: Called with the argument when it is done.
        aside: Processor time that others take when it is done.
    """

    __slots__ = ("argument", "aside", "callback", "demand", "size")

    def __init__(self, demand: float, callback: Callable[[Any], object], argument: Any, aside: float = 0.0) -> None:
        self.demand = demand
        self.size = demand
        self.callback = callback
        self.argument = argument
        self.aside = aside


def _nothing(_: object) -> None:
    """Do nothing: no more than that follows from work aside."""


class Process:
    """Work of one node on its host, in the order of arrival.

    Args:
        host: Where it runs.
        spec: The host's description.
    """

    __slots__ = (
        "_busy_since",
        "_halted",
        "_keeps",
        "_running",
        "_sliced",
        "_waiting",
        "_width",
        "busy_time",
        "host",
        "spec",
    )

    def __init__(self, host: Host, spec: HostSpec) -> None:
        self.host = host
        self.spec = spec
        self._width = spec.cores if spec.parallel else 1
        self._running: list[_Job] = []
        self._waiting: deque[_Job] = deque()
        self._halted = False
        self._busy_since = 0.0
        self._sliced = 0.0  # processor time since it has had a core
        self._keeps = False  # whether what it starts now needs no new core
        self.busy_time = 0.0

    def run(self, demand: float, callback: Callable[[Any], object], argument: Any, aside: float = 0.0) -> None:
        """Take so much processor time, after what came before, then have others take some aside, and call back."""
        if demand <= 0 and not self._running and not self._waiting and not self._halted:
            self.aside(aside)
            callback(argument)
            return
        self._take(_Job(demand, callback, argument, aside), first=False)

    def handle(self, callback: Callable[[Any], object], argument: Any) -> None:
        """Take the time for an event."""
        self.run(self.spec.event, callback, argument, self.spec.event_aside)

    def transact(self, callback: Callable[[Any], object], argument: Any) -> None:
        """Take the time for a local transaction."""
        self.run(self.spec.transaction, callback, argument, self.spec.transaction_aside)

    def force(self, callback: Callable[[Any], object], argument: Any) -> None:
        """Take the time for a forced write."""
        self.run(self.spec.forced_write, callback, argument, self.spec.forced_write_aside)

    def aside(self, demand: float) -> None:
        """Have another process of the node take so much processor time, for which nobody waits."""
        if demand > 0:
            self.host.enter(_Job(demand, _nothing, None), self)

    def go_on_with(self, demand: float, callback: Callable[[Any], object], argument: Any) -> None:
        """Take so much processor time before whatever has been waiting, then call back: a part of what is being handled."""
        self._take(_Job(demand, callback, argument), first=True)

    def halt(self) -> None:
        """Stop getting time, as a process does that is paused; what it has to do stays."""
        if not self._halted:
            self._halted = True
            for job in self._running:
                self.host.leave(job)

    def go_on(self) -> None:
        """Get time again."""
        if self._halted:
            self._halted = False
            for job in self._running:
                self.host.enter(job, self)
            self._fill()

    def crash(self) -> None:
        """Forget everything, but for what others have to do."""
        if self._running and not self._halted:
            for job in self._running:
                self.host.leave(job)
        if self._running:
            self.busy_time += self.host.now - self._busy_since
        self._running.clear()
        self._waiting.clear()
        self._halted = False

    def account(self) -> float:
        """Seconds in which there was something to do, until now."""
        if self._running:
            now = self.host.now
            self.busy_time += now - self._busy_since
            self._busy_since = now
        return self.busy_time

    def _take(self, job: _Job, *, first: bool) -> None:
        behind = bool(self._waiting) and not first  # while a job calls back, those who came before it are still waiting
        if len(self._running) >= self._width or self._halted or behind:
            if first:
                self._waiting.appendleft(job)
            else:
                self._waiting.append(job)
            return
        self._start(job)

    def _start(self, job: _Job) -> None:
        if not self._running:
            self._busy_since = self.host.now
        self._running.append(job)
        if not self._keeps:
            self._sliced = 0.0
        self.host.enter(job, self, first=self._keeps)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._width:
            self._start(self._waiting.popleft())

    def finished(self, job: _Job) -> None:
        """The host has given a job its time; one that ends at the same moment may have crashed the process."""
        if job not in self._running:  # or which others have done
            return
        self._running.remove(job)
        if not self._running:
            self.busy_time += self.host.now - self._busy_since
        self._sliced += job.size
        self._keeps = self._sliced < self.spec.quantum
        self.aside(job.aside)
        job.callback(job.argument)
        if not self._halted:
            self._fill()
        self._keeps = False


class Start:
    """Start of processes of a node that was down, each of which takes the host's ``restart``, one time slice after the other.

    Args:
        processes: Those that start together.
        ready: Called when all of them have had their time.
    """

    __slots__ = ("_processes", "_ready", "_starting")

    def __init__(self, processes: Sequence[Process], ready: Callable[[], object]) -> None:
        self._processes = processes
        self._ready = ready
        self._starting = len(processes)
        for process in processes:
            self._go_on((process, process.spec.restart))

    def crash(self) -> None:
        """Forget it: what has not come back yet is hit again."""
        for process in self._processes:
            process.crash()

    def _go_on(self, start: tuple[Process, float]) -> None:
        process, left = start
        if left > 0:
            part = min(left, process.spec.quantum)
            process.run(part, self._go_on, (process, left - part))
        else:
            self._starting -= 1
            if not self._starting:
                self._ready()


class Host:
    """The cores of one machine, and who gets them.

    Args:
        env: The clock.
        spec: How many cores, how fast, and who else is there.
    """

    __slots__ = ("_env", "_jobs", "_moment", "_next", "_version", "spec")

    def __init__(self, env: Environment, spec: HostSpec) -> None:
        self._env = env
        self.spec = spec
        self._jobs: list[tuple[_Job, Process]] = []  # the first of them have the cores
        self._moment = 0.0  # until when their demands are up to date
        self._next: _Job | None = None
        self._version = 0

    @property
    def now(self) -> float:
        """The time in seconds."""
        return self._env.now

    def enter(self, job: _Job, process: Process, *, first: bool = False) -> None:
        """A job wants time from now on, behind all others, or before them."""
        self._advance()
        self._jobs.insert(0 if first else len(self._jobs), (job, process))
        self._schedule()

    def leave(self, job: _Job) -> None:
        """A job wants no more time for now; what it still needs is kept with it."""
        self._advance()
        self._jobs = [entry for entry in self._jobs if entry[0] is not job]
        self._schedule()

    def _cores(self) -> float:
        """Number of cores that our jobs have: neighbours take their part, job by job."""
        spec, count = self.spec, len(self._jobs)
        cores = spec.cores * count / (count + spec.neighbours) if spec.neighbours else float(spec.cores)
        return min(cores, float(count))

    def _advance(self) -> None:
        now = self._env.now
        span = now - self._moment
        self._moment = now
        left = self._cores() if span > 0 else 0.0
        for job, _ in self._jobs:
            if left <= 0:
                break
            job.demand -= span * (self.spec.speed * min(left, 1.0))
            left -= 1.0

    def _schedule(self) -> None:
        """Come back when the next job is done, unless somebody comes or leaves before."""
        self._version += 1
        self._next = None
        soonest, left = 0.0, self._cores()
        for job, _ in self._jobs:
            if left <= 0:
                break
            needs = job.demand / (self.spec.speed * min(left, 1.0))
            if self._next is None or needs < soonest:
                self._next, soonest = job, needs
            left -= 1.0
        if self._next is not None:
            self._env.call_in(max(soonest, 0.0), self._done, self._version)

    def _done(self, version: int) -> None:
        if version != self._version or self._next is None:
            return  # somebody has come or left meanwhile
        self._advance()
        self._next.demand = 0.0  # whatever rounding has left
        over = [entry for entry in self._jobs if entry[0].demand <= _ALMOST]
        self._jobs = [entry for entry in self._jobs if entry[0].demand > _ALMOST]
        self._schedule()
        for job, process in over:
            process.finished(job)
