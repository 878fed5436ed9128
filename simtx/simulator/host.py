"""Hosts: machines whose cores go round among the processes that have something to do.

A process takes up its events one after the other. On a host with c cores, n processes that have something to do, and m neighbours that never rest, each
of them gets min(1, c / (n + m)) of a core at every moment: processor sharing, the limit of time slices that get ever shorter
(L. Kleinrock, "Time-shared systems: a theoretical treatment", Journal of the ACM 14(2), 1967). Whoever waits for cores, waits here; whoever waits behind another event
of the same process, waits here, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from simtx.scenario import HostSpec
from simtx.simulator.environment import Environment

_ALMOST: Final = 1e-12  # seconds of processor time: less than what rounding loses


class _Job:
    """Something that a process has to do.

    Attributes:
        demand: Processor time in seconds that it still takes.
        due: Processor time that each process of the host has got when it is done, counted from the start of the run.
        callback: Called with the argument when it is done.
    """

    __slots__ = ("argument", "callback", "demand", "due")

    def __init__(self, demand: float, callback: Callable[[Any], object], argument: Any) -> None:
        self.demand = demand
        self.due = 0.0
        self.callback = callback
        self.argument = argument


class Process:
    """Work of one node on its host, in the order of arrival.

    Args:
        host: Where it runs.
        spec: The host's description.
    """

    __slots__ = ("_busy_since", "_halted", "_running", "_waiting", "_width", "busy_time", "host", "spec")

    def __init__(self, host: Host, spec: HostSpec) -> None:
        self.host = host
        self.spec = spec
        self._width = spec.cores if spec.parallel else 1
        self._running: list[_Job] = []
        self._waiting: deque[_Job] = deque()
        self._halted = False
        self._busy_since = 0.0
        self.busy_time = 0.0

    def run(self, demand: float, callback: Callable[[Any], object], argument: Any) -> None:
        """Take so much processor time, after what came before, then call back."""
        if demand <= 0 and not self._running and not self._waiting and not self._halted:
            callback(argument)
            return
        self._take(_Job(demand, callback, argument), first=False)

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
        """Forget everything."""
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
        self.host.enter(job, self)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._width:
            self._start(self._waiting.popleft())

    def finished(self, job: _Job) -> None:
        """The host has given a job its time; one that ends at the same moment may have crashed the process."""
        if job not in self._running:
            return
        self._running.remove(job)
        if not self._running:
            self.busy_time += self.host.now - self._busy_since
        job.callback(job.argument)
        if not self._halted:
            self._fill()


class Host:
    """The cores of one machine, and who gets them.

    Args:
        env: The clock.
        spec: How many cores, how fast, and who else is there.
    """

    __slots__ = ("_env", "_given", "_jobs", "_moment", "_version", "spec")

    def __init__(self, env: Environment, spec: HostSpec) -> None:
        self._env = env
        self.spec = spec
        self._jobs: list[tuple[_Job, Process]] = []
        self._given = 0.0  # processor time that each running job has got since the start
        self._moment = 0.0  # until when that is counted
        self._version = 0

    @property
    def now(self) -> float:
        """The time in seconds."""
        return self._env.now

    def enter(self, job: _Job, process: Process) -> None:
        """A job wants time from now on."""
        self._advance()
        job.due = self._given + job.demand
        self._jobs.append((job, process))
        self._schedule()

    def leave(self, job: _Job) -> None:
        """A job wants no more time for now; what it still needs is kept with it."""
        self._advance()
        job.demand = max(job.due - self._given, 0.0)
        self._jobs = [entry for entry in self._jobs if entry[0] is not job]
        self._schedule()

    def _rate(self) -> float:
        spec = self.spec
        return spec.speed * min(1.0, spec.cores / (len(self._jobs) + spec.neighbours))

    def _advance(self) -> None:
        now = self._env.now
        if self._jobs:
            self._given += (now - self._moment) * self._rate()
        self._moment = now

    def _schedule(self) -> None:
        """Come back when the next job is done, unless somebody comes or leaves before."""
        self._version += 1
        if self._jobs:
            left = min(job.due for job, _ in self._jobs) - self._given
            self._env.call_in(max(left, 0.0) / self._rate(), self._done, self._version)

    def _done(self, version: int) -> None:
        if version != self._version:
            return  # somebody has come or left meanwhile
        self._advance()
        reached = max(self._given, min(job.due for job, _ in self._jobs))
        self._given = reached
        over = [entry for entry in self._jobs if entry[0].due <= reached + _ALMOST]
        self._jobs = [entry for entry in self._jobs if entry[0].due > reached + _ALMOST]
        self._schedule()
        for job, process in over:
            process.finished(job)
