"""Consumer groups in a simulated world: instances that share the partitions of a service's events, pause, are taken for dead, and come back as zombies.

A group follows the commits of a store, as a derived store does: each change of a covered key is an event, in the partition of its key. Its rule is `simtx.protocols.derived.GroupRule`, the one
that `simtx.verify_derived` explores. What it makes of the events is a table with the last version of each key. It changes no transaction.

An instance works off one event at a time. While it is paused, its coordinator does not hear its heartbeat: after the session timeout its partitions get other owners. When it wakes up, it
writes what it had in its hands, and goes on with what it takes for its own, until its next heartbeat says otherwise (a third of the session timeout later). Then it joins again.
"""

from __future__ import annotations

import math
import re
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simtx.protocols.derived.group import Partition, assigned
from simtx.simulator.replica import Lag

if TYPE_CHECKING:
    from simtx.scenario import GroupSpec
    from simtx.simulator.node import Node
    from simtx.simulator.surroundings import Surroundings


class _Event(NamedTuple):
    """A change of a key: which version it is, and when it was committed."""

    key: str
    version: int
    time: float


class _Work(NamedTuple):
    """An event in the hands of an instance."""

    instance: _Instance
    partition: int
    epoch: int
    offset: int


class _Instance:
    """An instance of the group.

    Attributes:
        name: Its name.
        own: By partition, the epoch in which it was given to it and the offset that it reads next; as far as it knows.
        busy: Whether it has an event in its hands.
        paused: Whether it stands still.
        held: What it had in its hands when it was paused.
        draw: Seconds that an event takes.
    """

    __slots__ = ("busy", "draw", "held", "name", "own", "paused", "turn")

    def __init__(self, name: str, draw: Callable[[], float]) -> None:
        self.name = name
        self.draw = draw
        self.own: dict[int, tuple[int, int]] = {}
        self.busy = False
        self.paused = False
        self.held: deque[_Work] = deque()
        self.turn = 0


class ConsumerGroup:
    """A consumer group.

    Args:
        world: What it lives in.
        spec: What the scenario says of it.
        node: The node of the service whose events it reads.
    """

    def __init__(self, world: Surroundings, spec: GroupSpec, node: Node) -> None:
        self._env = world.env
        self._spec = spec
        self._rule = spec.rule
        self._node = node
        self._over: Callable[[], bool] = lambda: world.arrivals_over
        self._warmup = world.scenario.run.warmup
        component, streams = f"group:{spec.service}:{spec.key}", world.streams
        self._lag = Lag(self._env, world.by_transaction.draws(spec.lag, component, "lag"))
        self._instances = {
            name: _Instance(name, streams.draws(spec.service_time, f"{component}:{name}", "service-time"))
            for name in (f"{number}" for number in range(spec.instances))
        }
        self._pauses = {
            name: (
                streams.draws(spec.pause_every, f"{component}:{name}", "pause-every"),
                streams.draws(spec.pause, f"{component}:{name}", "pause"),
            )
            for name in (self._instances if spec.pause_every is not None else ())
            if spec.pause_every is not None
        }
        self._commit_time = streams.draws(spec.commit_time, component, "commit-time")
        pattern = "".join(".+" if one.startswith("{") else re.escape(one) for one in re.split(r"({\w+})", spec.key))
        self._pattern = re.compile(pattern)
        self._latest: dict[str, int] = {}
        self._table: dict[str, int] = {}
        self._logs: list[list[_Event]] = [[] for _ in range(spec.partitions)]
        self._stored = [Partition() for _ in range(spec.partitions)]
        self._times: list[bytearray] = [bytearray() for _ in range(spec.partitions)]
        """By partition, how often each event was applied, up to 255."""
        self._highest = [-1] * spec.partitions
        self._epochs = [0] * spec.partitions
        self._owners: dict[int, str] = {}
        self._members = list(self._instances)
        self._on_their_way = 0
        self._rebalances = self._refused = self._again = self._late = 0
        self._lags: array[float] = array("d")

    # --- the events -------------------------------------------------------------------------------------------------------------

    def ship(self, tx: int, changes: Mapping[str, float], _versions: Mapping[str, int]) -> None:
        """A local transaction has committed these values: its events set out."""
        for key in changes:
            if self._pattern.fullmatch(key) is None:
                continue
            version = self._latest[key] = self._latest.get(key, 0) + 1
            self._on_their_way += 1
            self._env.call_at(self._lag.due(tx), self._append, _Event(key, version, self._env.now))

    def _append(self, event: _Event) -> None:
        self._on_their_way -= 1
        partition = zlib.crc32(event.key.encode()) % self._spec.partitions
        self._logs[partition].append(event)
        self._times[partition].append(0)
        for instance in self._instances.values():
            if partition in instance.own:  # a zombie reads as well
                self._go_on(instance)

    # --- the coordinator --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Give the partitions to the instances, and begin with the pauses."""
        self._assign()
        for name, (gap, _) in self._pauses.items():
            self._env.call_in(gap(), self._pause, self._instances[name])

    def _assign(self) -> None:
        """Give partitions to the members. Who loses one and is heard of knows it at once; a new owner fences the old one."""
        before, self._owners = self._owners, assigned(self._owners, self._spec.partitions, self._members)
        for number, owner in self._owners.items():
            if before.get(number) == owner:
                continue
            old = self._instances.get(before.get(number, ""))
            if old is not None and old.name in self._members:
                old.own.pop(number, None)
            epoch = self._epochs[number] = self._epochs[number] + 1
            stored = self._stored[number] = self._rule.fenced(self._stored[number], epoch)
            self._instances[owner].own[number] = epoch, self._rule.first(stored, len(self._logs[number]))
        for instance in self._instances.values():
            self._go_on(instance)

    def _pause(self, instance: _Instance) -> None:
        if self._over():
            return
        instance.paused = True
        length = self._pauses[instance.name][1]()
        if length > self._spec.session:
            self._env.call_in(self._spec.session, self._expire, instance)
        self._env.call_in(length, self._wake, instance)

    def _expire(self, instance: _Instance) -> None:
        """Nobody has heard of this member for too long. The last one keeps what it has: there is nobody else."""
        if len(self._members) > 1:
            self._members.remove(instance.name)
            self._rebalances += 1
            self._assign()

    def _wake(self, instance: _Instance) -> None:
        instance.paused = False
        while instance.held:
            self._done(instance.held.popleft())
        self._go_on(instance)
        if instance.name not in self._members:
            self._env.call_in(self._spec.session / 3, self._join, instance)
        self._env.call_in(self._pauses[instance.name][0](), self._pause, instance)

    def _join(self, instance: _Instance) -> None:
        """A heartbeat is answered: it is no member any more. It drops all that it has, and joins again."""
        if instance.name not in self._members:
            instance.own.clear()
            self._members.append(instance.name)
            self._rebalances += 1
            self._assign()

    # --- an instance ------------------------------------------------------------------------------------------------------------

    def _go_on(self, instance: _Instance) -> None:
        """Take the next event into its hands: of one partition after the other."""
        if instance.busy or instance.paused:
            return
        ready = [number for number, (_, cursor) in instance.own.items() if cursor < len(self._logs[number])]
        if ready:
            instance.turn += 1
            number = ready[instance.turn % len(ready)]
            epoch, cursor = instance.own[number]
            instance.busy = True
            self._env.call_in(instance.draw(), self._done, _Work(instance, number, epoch, cursor))

    def _done(self, work: _Work) -> None:
        instance, number = work.instance, work.partition
        if instance.paused:
            instance.held.append(work)
            return
        instance.busy = False
        if instance.own.get(number) == (
            work.epoch,
            work.offset,
        ):  # else it knows that the partition is no longer its own
            applied = self._rule.applied(self._stored[number], work.epoch, work.offset)
            if applied is None:
                self._refused += 1
                del instance.own[number]
            else:
                self._stored[number] = applied._replace(applied=())
                self._apply(number, work.offset)
                instance.own[number] = work.epoch, work.offset + 1
                if self._rule.checkpoint == "after":
                    self._on_their_way += 1
                    self._env.call_in(self._commit_time(), self._mark, work)
        self._go_on(instance)

    def _mark(self, work: _Work) -> None:
        self._on_their_way -= 1
        marked = self._rule.marked(self._stored[work.partition], work.epoch, work.offset)
        if marked is None:
            self._refused += 1
        else:
            self._stored[work.partition] = marked

    def _apply(self, number: int, offset: int) -> None:
        event = self._logs[number][offset]
        times = self._times[number]
        if times[offset]:
            self._again += 1
        elif event.time >= self._warmup:
            self._lags.append(self._env.now - event.time)
        times[offset] = min(times[offset] + 1, 255)
        self._late += offset < self._highest[number]
        self._highest[number] = max(self._highest[number], offset)
        self._table[event.key] = event.version

    # --- the end ----------------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether all events that will be applied are."""
        return not self._on_their_way and not any(
            one.busy
            or one.paused
            or one.name not in self._members
            or any(cursor < len(self._logs[number]) for number, (_, cursor) in one.own.items())
            for one in self._instances.values()
        )

    def figures(self) -> dict[str, float]:
        """Its metrics, at the end of the run; docs/metrics.md defines them."""
        lags = np.array(self._lags) * 1e3
        p50, p99 = np.quantile(lags, [0.5, 0.99]).tolist() if len(lags) else (math.nan, math.nan)
        found = {
            "events": sum(map(len, self._logs)),
            "lag_p50_ms": p50,
            "lag_p99_ms": p99,
            "lag_max_ms": float(lags.max()) if len(lags) else math.nan,
            "rebalances": self._rebalances,
            "refused": self._refused,
            "again": self._again,
            "late": self._late,
            "skipped": sum(one.count(0) for one in self._times),
            "wrong_at_end": sum(self._table.get(key) != version for key, version in self._latest.items()),
        }
        return {f"group_{self._spec.name}_{name}": float(value) for name, value in found.items()}
