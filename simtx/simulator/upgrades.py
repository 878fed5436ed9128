"""A rolling upgrade: nodes that go away one by one and come back with another version of the events, and what those who lag behind do with them.

Upcasting, leaving out fields and refusing are what real processes do (`simtx.protocols.event_schema`). What that costs shows here: an event of the broker that its consumer cannot read
stops its lane until the consumer is upgraded, or becomes a dead letter; a message between nodes that cannot be read is refused, and is as good as lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from simtx.event_log.journal import of_message
from simtx.metrics.rundata import Struck
from simtx.protocols.names import HUB
from simtx.scenario.versions import EventVersion, Upgrade, readable

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from simtx.event_log.log import LogRecorder
    from simtx.protocols import Message, Strategy
    from simtx.scenario import Scenario
    from simtx.simulator.environment import Environment
    from simtx.workload.faults import Nesting


class Replaceable(Protocol):
    """A node, as an upgrade knows it."""

    def crash(self) -> None:
        """Go away with all that is in memory."""

    def restart(self) -> None:
        """Come back with what is on disk."""


class Around(Protocol):
    """A world, as an upgrade knows it."""

    scenario: Scenario
    strategy: Strategy
    env: Environment
    trace: LogRecorder | None
    nesting: Nesting
    struck: list[Struck]

    @property
    def nodes(self) -> Mapping[str, Replaceable]:
        """The nodes by name."""


class Versions:
    """Versions that nodes speak now.

    Args:
        world: What it lives in.

    Attributes:
        stopped: How often a lane was stopped.
        refused: Messages between nodes that could not be read.
    """

    def __init__(self, world: Around) -> None:
        self._world = world
        start = world.scenario.events.version
        self._reads: dict[str, EventVersion] = dict.fromkeys(world.nodes, start)
        self._writes: dict[str, EventVersion] = dict.fromkeys(world.nodes, start)
        self._since: dict[tuple[str, Hashable], float] = {}
        self._seconds = 0.0
        self.stopped = 0
        self.refused = 0
        for upgrade in world.scenario.upgrades:
            world.env.call_at(upgrade.at, self._begin, upgrade)

    def of(self, node: str) -> EventVersion:
        """The version that a node writes."""
        return self._writes[node]

    def reads(self, version: EventVersion, node: str) -> bool:
        """Return whether a node can read an event of a version."""
        return readable(version, self._reads[node])

    def accept(self, message: Message) -> bool:
        """Return whether a message from another node can be read; one that cannot is refused, and written down."""
        version = self._writes.get(message.sender)
        if version is None or self.reads(version, message.to):
            return True
        self.refused += 1
        why = f"the event has version {version}"
        of_message(self._world.trace, "refuse", message.to, message, actor="host", peer=message.sender, detail=why)
        return False

    def stop(self, message: Message, lane: Hashable, version: EventVersion) -> None:
        """A consumer cannot read an event: its lane is stopped, which is said once."""
        key = (message.to, lane)
        if key in self._since:
            return
        self._since[key] = self._world.env.now
        self.stopped += 1
        why = f"the event has version {version}; nothing is acknowledged"
        of_message(self._world.trace, "stop", message.to, message, actor="host", detail=why)

    def seconds(self) -> float:
        """Seconds for which lanes have been stopped, all together."""
        return self._seconds + sum(self._world.env.now - since for since in self._since.values())

    def _begin(self, upgrade: Upgrade) -> None:
        world = self._world
        name = world.strategy.hub if upgrade.node == HUB else upgrade.node
        if name is None or name not in world.nodes:
            return  # a strategy without a hub
        node = world.nodes[name]
        blow = Struck(-1, "upgrade", name, world.env.now)
        world.struck.append(blow)
        back = world.nesting.begin("crash", name, node.crash, node.restart)

        def end(_: object) -> None:
            self._reads[name], self._writes[name] = upgrade.to, upgrade.writes
            blow.end = world.env.now
            for key in [key for key in self._since if key[0] == name]:
                self._seconds += world.env.now - self._since.pop(key)
            back()

        world.env.call_in(upgrade.duration, end, None)
