"""Consumer groups in a simulated world: instances that share the partitions of a service's events, pause, are taken for dead, and come back as zombies.

A group follows the commits of a store, as a derived store does: each change of a covered key is an event, in the partition of its key in a topic of the broker's log
(`simtx.simulator.topic`). Its rule is `simtx.protocols.derived.GroupRule`, the one that `simtx.verify_derived` explores. What it makes of the events is a table with the last version of each
key. It changes no transaction.

An instance works off one event at a time, of those that it has fetched. While it is paused, its coordinator, which is the broker, gets no heartbeat: after the session timeout its partitions get other
owners. A partition that is moved has no owner until the new one knows of it and has looked for the checkpoint. When an instance wakes up, it first
writes what it had in its hands. It goes on with what it takes for its own until its next heartbeat says otherwise (a third of the session timeout later). Then it joins again.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from simtx.metrics.censored import quantiles
from simtx.metrics.groups import GroupRecord, Rebalance
from simtx.protocols.derived.group import Partition, assigned
from simtx.scenario.infrastructure import pattern_of
from simtx.simulator.replica import Lag
from simtx.simulator.topic import AGAIN, Event, Request, Topic

if TYPE_CHECKING:
    from simtx.scenario import GroupSpec
    from simtx.simulator.surroundings import Surroundings


class _Work(NamedTuple):
    """An event in the hands of an instance."""

    instance: _Instance
    partition: int
    epoch: int
    offset: int


class _Owned:
    """A partition that an instance takes for its own.

    Attributes:
        epoch: In which it was given to it.
        cursor: The offset that it works off next.
        fetched: Up to which offset it has the events in its memory.
        asking: Whether it has asked for more.
        committing: Whether a word of how far it is is on its way, or due.
        done: What it has done and not committed, where the checkpoint comes after the effect.
    """

    __slots__ = ("asking", "committing", "cursor", "done", "epoch", "fetched")

    def __init__(self, epoch: int, cursor: int) -> None:
        self.epoch = epoch
        self.cursor = self.fetched = cursor
        self.asking = False
        self.committing = False
        self.done: list[_Work] = []


class _Instance:
    """An instance of the group.

    Attributes:
        name: Its name.
        draw: Seconds that an event takes.
        own: By partition, what it takes for its own.
        busy: Whether it has an event in its hands.
        paused: Whether it stands still.
        held: What was to happen in it while it stood still.
        turn: How many events it has begun with.
    """

    __slots__ = ("busy", "draw", "held", "name", "own", "paused", "turn")

    def __init__(self, name: str, draw: Callable[[], float]) -> None:
        self.name = name
        self.draw = draw
        self.own: dict[int, _Owned] = {}
        self.busy = False
        self.paused = False
        self.held: deque[Callable[[], None]] = deque()
        self.turn = 0


class ConsumerGroup:
    """A consumer group.

    Args:
        world: What it lives in.
        spec: What the scenario says of it.

    Attributes:
        record: What happens in it.
    """

    def __init__(self, world: Surroundings, spec: GroupSpec) -> None:
        self._env = world.env
        self._spec = spec
        self._rule = spec.rule
        self._over: Callable[[], bool] = lambda: world.arrivals_over
        self._warmup = world.scenario.run.warmup
        component, streams = f"group:{spec.service}:{spec.key}", world.streams
        self._lag = Lag(self._env, world.by_transaction.draws(spec.lag, component, "lag"))
        broker = world.scenario.broker
        latency = world.scenario.network.link(world.scenario.services[spec.service].zone, broker.zone).latency
        # A stream of its own: on that of the link, a group would shift the latencies of the transactions' messages.
        way = streams.draws(latency, component, "way")
        self._topic = Topic(world, broker, spec.partitions, way, self._given)
        self._way = streams.draws(latency, component, "coordinator")
        self._commit_every = broker.commit_every
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
        self._pattern = pattern_of(spec.key)
        self._latest: dict[str, int] = {}
        self._table: dict[str, int] = {}
        self._stored = [Partition() for _ in range(spec.partitions)]
        self._times: list[bytearray] = [bytearray() for _ in range(spec.partitions)]
        """Times that each event was applied, up to 255, by partition."""
        self._highest = [-1] * spec.partitions
        self._epochs = [0] * spec.partitions
        self._owners: dict[int, str] = {}
        self._shown = [""] * spec.partitions
        self._members = list(self._instances)
        self._on_their_way = self._moving = 0
        self._refused = self._again = self._late = 0
        self._lags: array[float] = array("d")
        self.record = GroupRecord(spec.name, spec.partitions, tuple(self._instances))

    # --- the events -------------------------------------------------------------------------------------------------------------

    def ship(self, tx: int, changes: Mapping[str, float], _versions: Mapping[str, int]) -> None:
        """A local transaction has committed these values: its events set out."""
        for key in changes:
            if self._pattern.fullmatch(key) is None:
                continue
            version = self._latest[key] = self._latest.get(key, 0) + 1
            self._on_their_way += 1
            self._env.call_at(self._lag.due(tx), self._append, (key, version, self._env.now))

    def _append(self, change: tuple[str, int, float]) -> None:
        if not self._topic.up:
            self._env.call_in(AGAIN, self._append, change)
            return
        self._on_their_way -= 1
        key, version, time = change
        number = zlib.crc32(key.encode()) % self._spec.partitions
        self._times[number].append(0)
        self.record.waits(self._env.now, 1)
        self._topic.store(number, Event(key, version, time, self._env.now))

    # --- the coordinator --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Give the partitions to the instances, and begin with the pauses."""
        self._owners = assigned(self._owners, self._spec.partitions, self._members)
        for number, owner in self._owners.items():
            self._epochs[number] = 1
            self._begin((self._instances[owner], number, 1))
        for name, (gap, _) in self._pauses.items():
            self._env.call_in(gap(), self._pause, self._instances[name])

    def _rebalance(self, instance: _Instance, why: Literal["silent", "back"]) -> None:
        """Give partitions to the members. Who loses one and sends heartbeats knows it at once; a new owner knows it after a round trip."""
        now = self._env.now
        self.record.rebalances.append(Rebalance(now, now, instance.name, why))
        before, self._owners = self._owners, assigned(self._owners, self._spec.partitions, self._members)
        for number, owner in self._owners.items():
            if before.get(number) == owner:
                continue
            old = self._instances.get(before.get(number, ""))
            if old is not None and old.name in self._members:
                if old.paused:  # it learns so when it wakes up, after it has done what is in its hands
                    old.held.append(partial(self._let_go, old, number))
                else:
                    self._let_go(old, number)
            epoch = self._epochs[number] = self._epochs[number] + 1
            self._owns(number, "")
            self._moving += 1
            self._env.call_in(self._way() + self._way(), self._told_of, (self._instances[owner], number, epoch))

    def _let_go(self, instance: _Instance, number: int) -> None:
        """A member learns that a partition is not its own any more: it commits how far it is, and drops it."""
        lost = instance.own.pop(number, None)
        if lost is not None:
            self._mark_all(lost, len(lost.done))

    def _told_of(self, given: tuple[_Instance, int, int]) -> None:
        """An instance learns that a partition is its own."""
        instance = given[0]
        if instance.paused:
            instance.held.append(lambda: self._told_of(given))
            return
        self._moving -= 1
        self._begin(given)
        last = self.record.rebalances[-1]
        self.record.rebalances[-1] = last._replace(end=self._env.now)

    def _begin(self, given: tuple[_Instance, int, int]) -> None:
        """A new owner fences the old one, and looks for the checkpoint; unless the partition has been given to somebody else since."""
        instance, number, epoch = given
        if self._epochs[number] != epoch:
            return
        stored = self._stored[number] = self._rule.fenced(self._stored[number], epoch)
        instance.own[number] = _Owned(epoch, self._rule.first(stored, len(self._topic.logs[number])))
        self._owns(number, instance.name)
        self._go_on(instance)

    def _owns(self, number: int, name: str) -> None:
        """Write down that a partition has another owner, or none."""
        if self._shown[number] != name:
            self._shown[number] = name
            self.record.owners.append((self._env.now, number, name))

    def _pause(self, instance: _Instance) -> None:
        if self._over():
            return
        instance.paused = True
        length = self._pauses[instance.name][1]()
        self.record.pauses.append((instance.name, self._env.now, self._env.now + length))
        if length > self._spec.session:
            self._env.call_in(self._spec.session, self._expire, (instance, len(self.record.pauses)))
        self._env.call_in(length, self._wake, instance)

    def _expire(self, silent: tuple[_Instance, int]) -> None:
        """Expire a member of which no heartbeat has come for too long. The last one keeps what it has: there is nobody else."""
        instance, pause = silent
        name, _, until = self.record.pauses[pause - 1]
        if self._env.now >= until:  # its heartbeat came before the broker was back
            return
        if not self._topic.up:
            self._env.call_in(self._spec.session, self._expire, silent)
        elif name in self._members and len(self._members) > 1:  # else it had not joined again before it stood still
            self._members.remove(name)
            self._rebalance(instance, "silent")

    def _wake(self, instance: _Instance) -> None:
        instance.paused = False
        held, instance.held = instance.held, deque()
        for one in held:
            one()
        self._go_on(instance)
        if instance.name not in self._members:
            self._env.call_in(self._spec.session / 3, self._join, instance)
        self._env.call_in(self._pauses[instance.name][0](), self._pause, instance)

    def _join(self, instance: _Instance) -> None:
        """A heartbeat is answered: it is no member any more. It drops all that it has, and joins again."""
        if instance.name in self._members:
            return
        if instance.paused:
            instance.held.append(lambda: self._join(instance))
            return
        if not self._topic.up:
            self._env.call_in(AGAIN, self._join, instance)
            return
        instance.own.clear()
        self._members.append(instance.name)
        self._rebalance(instance, "back")

    # --- an instance ------------------------------------------------------------------------------------------------------------

    def _go_on(self, instance: _Instance) -> None:
        """Ask for more of what is empty, and take the next event into its hands: of one partition after the other."""
        if instance.paused:
            return
        for number, one in instance.own.items():
            if one.cursor >= one.fetched and not one.asking:
                one.asking = True
                self._topic.fetch(Request(instance.name, number, one.epoch, one.cursor))
        ready = [number for number, one in instance.own.items() if one.cursor < one.fetched]
        if ready and not instance.busy:
            instance.turn += 1
            number = ready[instance.turn % len(ready)]
            one = instance.own[number]
            instance.busy = True
            self._env.call_in(instance.draw(), self._done, _Work(instance, number, one.epoch, one.cursor))

    def _given(self, answer: tuple[Request, int, int]) -> None:
        """Events arrive at an instance, if it still takes their partition for its own."""
        request, begin, end = answer
        instance, number = self._instances[request.instance], request.partition
        one = instance.own.get(number)
        if one is None or one.epoch != request.epoch:
            return
        one.asking = False
        if begin > one.cursor:  # what it wanted is too old: it goes on, and says so
            one.cursor = begin
            stored = self._stored[number]
            self._stored[number] = stored._replace(checkpoint=max(stored.checkpoint, begin))
        one.fetched = max(one.fetched, end)
        self._go_on(instance)

    def _done(self, work: _Work) -> None:
        instance, number = work.instance, work.partition
        if instance.paused:
            instance.held.append(lambda: self._done(work))
            return
        instance.busy = False
        one = instance.own.get(number)
        if one is not None and (one.epoch, one.cursor) == (work.epoch, work.offset):
            # else it knows that the partition is no longer its own
            applied = self._rule.applied(self._stored[number], work.epoch, work.offset)
            if applied is None:
                self._refuse(number)
                self._refused_to(instance, number, work.epoch)
            else:
                self._stored[number] = applied._replace(applied=())
                self._apply(number, work.offset)
                one.cursor += 1
                if self._rule.checkpoint == "after":
                    one.done.append(work)
                    self._commit_later(one, instance)
        self._go_on(instance)

    def _refused_to(self, instance: _Instance, number: int, epoch: int) -> None:
        """Let an instance that was refused ask the coordinator: a former owner lets go, and the owner looks for the checkpoint again."""
        del instance.own[number]
        if self._epochs[number] == epoch:
            instance.own[number] = _Owned(epoch, self._stored[number].checkpoint)

    def _commit_later(self, one: _Owned, instance: _Instance) -> None:
        """Say how far it is: after each event, or every so often; one word is on its way at a time."""
        if one.done and not one.committing:
            one.committing = True
            self._on_their_way += 1
            self._env.call_in(self._commit_every, self._commit, (one, instance))

    def _commit(self, own: tuple[_Owned, _Instance]) -> None:
        one, instance = own
        if instance.paused:
            instance.held.append(lambda: self._commit(own))
            return
        self._env.call_in(self._commit_time(), self._mark, (one, instance, len(one.done)))

    def _mark(self, word: tuple[_Owned, _Instance, int]) -> None:
        """A checkpoint arrives."""
        if not self._topic.up:
            self._env.call_in(AGAIN, self._mark, word)
            return
        one, instance, count = word
        self._on_their_way -= 1
        one.committing = False
        self._mark_all(one, count)
        self._commit_later(one, instance)

    def _mark_all(self, one: _Owned, count: int) -> None:
        """Write that the first events of those that were done are done."""
        works, one.done = one.done[:count], one.done[count:]
        for work in works:
            marked = self._rule.marked(self._stored[work.partition], work.epoch, work.offset)
            if marked is None:
                self._refuse(work.partition)
                return
            self._stored[work.partition] = marked

    def _refuse(self, number: int) -> None:
        self._refused += 1
        self.record.strange.append((self._env.now, number, "refused"))

    def _apply(self, number: int, offset: int) -> None:
        event = self._topic.logs[number][offset]
        times, now = self._times[number], self._env.now
        if times[offset]:
            self._again += 1
            self.record.strange.append((now, number, "again"))
        else:
            self.record.waits(now, -1)
            if event.time >= self._warmup:
                self._lags.append(now - event.time)
        times[offset] = min(times[offset] + 1, 255)
        if offset < self._highest[number]:
            self._late += 1
            self.record.strange.append((now, number, "late"))
        self._highest[number] = max(self._highest[number], offset)
        self._table[event.key] = event.version

    # --- the end ----------------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> float:
        """Number of events that are stored and not applied."""
        return self.record.waiting[-1] if self.record.waiting else 0.0

    @property
    def idle(self) -> bool:
        """Return whether all events that will be applied are."""
        return not (self._on_their_way or self._moving) and not any(
            instance.busy
            or instance.paused
            or instance.name not in self._members
            or any(one.cursor < len(self._topic.logs[number]) for number, one in instance.own.items())
            for instance in self._instances.values()
        )

    def figures(self) -> dict[str, float]:
        """Its metrics, at the end of the run; docs/metrics.md defines them."""
        lags = np.array(self._lags) * 1e3
        p50, p99 = quantiles(lags, (0.5, 0.99))
        found = {
            "events": sum(map(len, self._topic.logs)),
            "lag_p50_ms": p50,
            "lag_p99_ms": p99,
            "lag_max_ms": float(lags.max()) if len(lags) else math.nan,
            "waiting_max": max(self.record.waiting, default=0.0),
            "rebalances": len(self.record.rebalances),
            "refused": self._refused,
            "again": self._again,
            "late": self._late,
            "skipped": sum(one.count(0) for one in self._times),
            "wrong_at_end": sum(self._table.get(key) != version for key, version in self._latest.items()),
        }
        return {f"group_{self._spec.name}_{name}": float(value) for name, value in found.items()}
