"""Event-sourced aggregates in a simulated world: commands that load, decide, append at the version that they have seen, and meet conflicts.

Commands come in a Poisson stream of their own until the last transaction has arrived, and each is for one aggregate. Its rule is `simtx.protocols.derived.AggregateRule`, the one that
`simtx.verify_derived` explores. A store takes one append to a stream at a time, as a unique row (stream, version) makes it: who comes while another one is being written waits for that,
and then sees whether it has lost. Everything else of a command happens beside the others. It changes no transaction.

Take one aggregate, with commands at rate L that give up after a conflict. The time from load to append is a constant T, and an append takes no time. The share of conflicts is
then L·T / (1 + L·T): an append succeeds T after the first load behind the one before it. However long it is tried, one aggregate takes no more than 1 / T commands a second.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from simtx.metrics.censored import quantiles
from simtx.protocols.derived.aggregate import Event, State
from simtx.scenario.distributions import Exponential
from simtx.workload.planner import key_draws

if TYPE_CHECKING:
    from simtx.scenario import AggregateSpec
    from simtx.simulator.surroundings import Surroundings


class _Stream:
    """The events of one aggregate, as far as they matter.

    Attributes:
        version: How many events there are.
        balance: The fold of them.
        known: How often each command is in it.
        snapshot: The version of the last snapshot.
        writing: Whether an append is being written.
        queue: Commands whose append waits for that.
    """

    __slots__ = ("balance", "known", "queue", "snapshot", "version", "writing")

    def __init__(self, balance: int) -> None:
        self.version = self.snapshot = 0
        self.balance = balance
        self.known: dict[int, int] = {}
        self.writing = False
        self.queue: deque[_Command] = deque()


class _Command:
    """A command on its way.

    Attributes:
        number: Which it is.
        stream: For which aggregate.
        since: When it came.
        attempts: Appends that were tried.
        state: What it was decided on.
        event: What it wants to append.
    """

    __slots__ = ("attempts", "event", "number", "since", "state", "stream")

    def __init__(self, number: int, stream: _Stream, since: float) -> None:
        self.number = number
        self.stream = stream
        self.since = since
        self.attempts = 0
        self.state = State(0, 0, frozenset())
        self.event: Event | None = None


class Aggregates:
    """Aggregates of one kind.

    Args:
        world: What they live in.
        spec: What the scenario says of them.
    """

    def __init__(self, world: Surroundings, spec: AggregateSpec) -> None:
        self._env = world.env
        self._spec = spec
        self._rule = spec.rule
        self._over: Callable[[], bool] = lambda: world.arrivals_over
        self._warmup = world.scenario.run.warmup
        # Kinds that differ in their rules alone meet the same commands.
        component, streams = f"aggregate:{spec.key}", world.streams
        self._gap = streams.draws(Exponential(1 / spec.commands), component, "commands") if spec.commands else None
        self._key = key_draws(spec.key, world.scenario.transaction.parameters, streams, component)
        self._load_time = streams.draws(spec.load_time, component, "load")
        self._decide_time = streams.draws(spec.decide_time, component, "decide")
        self._append_time = streams.draws(spec.append_time, component, "append")
        self._pause = streams.draws(spec.retry_after, component, "retry")
        self._luck = streams.uniform(component, "loss")
        self._streams: dict[str, _Stream] = {}
        self._open = self._commands = self._asked = 0
        self._attempts = self._conflicts = self._given_up = self._refused = 0
        self._latencies: array[float] = array("d")

    # --- a command --------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The first command is on its way."""
        if self._gap is not None:
            self._env.call_in(self._gap(), self._arrive, None)

    def _arrive(self, _: object) -> None:
        if self._gap is None or self._over():
            return
        self._env.call_in(self._gap(), self._arrive, None)
        key = self._key()
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(self._spec.balance)
        self._asked += 1
        self._open += 1
        self._commands += self._env.now >= self._warmup
        self._load(_Command(self._asked, stream, self._env.now))

    def _load(self, command: _Command) -> None:
        """Read the stream, or its snapshot and what is behind it; what it is then is what the command is decided on."""
        stream = command.stream
        folded = stream.version - stream.snapshot
        self._env.call_in(self._load_time() + folded * self._spec.event_time, self._loaded, command)

    def _loaded(self, command: _Command) -> None:
        stream = command.stream
        known = frozenset({command.number}) if command.number in stream.known else frozenset()
        command.state = State(stream.version, stream.balance, known)
        self._env.call_in(self._decide_time(), self._decided, command)

    def _decided(self, command: _Command) -> None:
        decision = self._rule.decide(command.state, command.number, -1)
        if isinstance(decision, str):
            if decision == "refused":
                self._refused += 1
            self._end(command)
            return
        command.event = decision
        self._append(command)

    def _append(self, command: _Command) -> None:
        """Ask the store for an append."""
        stream = command.stream
        if stream.writing:
            stream.queue.append(command)
        else:
            self._write(command)

    def _write(self, command: _Command) -> None:
        stream = command.stream
        measured = command.since >= self._warmup
        command.attempts += 1
        self._attempts += measured
        if not self._rule.takes(command.state.version, stream.version):
            self._conflicts += measured
            self._conflict(command)
            return
        stream.writing = True
        self._env.call_in(self._append_time(), self._written, command)

    def _conflict(self, command: _Command) -> None:
        limit = self._spec.attempts
        if self._rule.conflict == "give-up" or (limit is not None and command.attempts >= limit):
            self._given_up += command.since >= self._warmup
            self._end(command)
        elif self._rule.conflict == "append":
            # The old decision, at the version of now.
            command.state = command.state._replace(version=command.stream.version)
            self._env.call_in(self._pause(), self._append, command)
        else:
            self._env.call_in(self._pause(), self._load, command)

    def _written(self, command: _Command) -> None:
        """The append is committed; its answer may be lost."""
        stream, event = command.stream, command.event
        if event is None:
            raise AssertionError("what is appended was decided")
        stream.version += 1
        stream.balance += event.amount
        stream.known[command.number] = stream.known.get(command.number, 0) + 1
        every = self._spec.snapshot_every
        if every is not None and stream.version - stream.snapshot >= every:
            stream.snapshot = self._rule.snapshot(
                State(stream.version, stream.balance, frozenset()), stream.version
            ).version
        stream.writing = False
        if self._spec.loss and self._luck() < self._spec.loss:
            self._env.call_in(self._spec.timeout, self._load, command)
        else:
            self._end(command)
        # Whoever waited for this append sees now whether it has lost; the first that has not is written.
        while stream.queue and not stream.writing:
            self._write(stream.queue.popleft())

    def _end(self, command: _Command) -> None:
        self._open -= 1
        if command.since >= self._warmup:
            self._latencies.append(self._env.now - command.since)

    # --- the end ----------------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Return whether all commands have ended."""
        return not self._open

    def figures(self) -> dict[str, float]:
        """Its metrics, at the end of the run; docs/metrics.md defines them."""
        latencies = np.array(self._latencies) * 1e3
        p50, p99 = quantiles(latencies, (0.5, 0.99))
        streams = self._streams.values()
        found = {
            "commands": self._commands,
            "conflict_share": self._conflicts / self._attempts if self._attempts else math.nan,
            "attempts_mean": self._attempts / self._commands if self._commands else math.nan,
            "latency_p50_ms": p50,
            "latency_p99_ms": p99,
            "given_up": self._given_up,
            "refused": self._refused,
            "unfinished": self._open,
            "twice": sum(count - 1 for stream in streams for count in stream.known.values()),
            "overdrawn": sum(stream.balance < 0 for stream in streams),
            "longest_stream": max((stream.version for stream in streams), default=0),
        }
        return {f"aggregate_{self._spec.name}_{name}": float(value) for name, value in found.items()}
