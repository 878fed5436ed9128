"""Surroundings of the parts of a simulated world: the world builds them, and they know it by this alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from simtx.event_log.log import LogRecorder
    from simtx.metrics.ledger import TransactionLedger
    from simtx.metrics.rundata import Struck
    from simtx.protocols import Policies, Strategy
    from simtx.protocols.extras import Extras
    from simtx.scenario import Scenario
    from simtx.simulator.environment import Environment
    from simtx.simulator.host import Process
    from simtx.simulator.network import Link
    from simtx.simulator.node import Node
    from simtx.simulator.timers import Timers
    from simtx.simulator.upgrades import Versions
    from simtx.simulator.window import Window
    from simtx.workload.by_transaction import TransactionStreams
    from simtx.workload.faults import Nesting
    from simtx.workload.planner import Planner
    from simtx.workload.streams import Streams


class Outages(Protocol):
    """A broker, as faults and samples know it."""

    up: bool

    def crash(self) -> None:
        """Stop answering."""

    def restart(self) -> None:
        """Answer again."""

    def waiting(self) -> Iterator[str]:
        """Consumer of each message that is stored and not yet acknowledged."""

    def lag(self, consumer: str) -> int | None:
        """The most events that wait in one partition of a consumer; None if there are no partitions."""


class Shared(Protocol):
    """A vote store, as faults know it."""

    def crash(self) -> None:
        """Stop answering."""

    def restart(self) -> None:
        """Answer again."""


class Copied(Protocol):
    """A derived store, as samples know it."""

    def wrong(self) -> float:
        """Number of its values that are not those of the store that it is derived from."""


class Followed(Protocol):
    """A consumer group, as samples know it."""

    @property
    def waiting(self) -> float:
        """Number of events that are stored and not applied."""


class Surroundings(Protocol):
    """A world, as its broker, clients, faults and samples know it; `World` says what its attributes are."""

    scenario: Scenario
    strategy: Strategy
    extras: Extras
    policies: Policies
    env: Environment
    streams: Streams
    by_transaction: TransactionStreams
    planner: Planner
    timers: Timers
    trace: LogRecorder | None
    ledger: TransactionLedger
    nesting: Nesting
    versions: Versions | None
    struck: list[Struck]
    window: Window
    processes: dict[str, Process]

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by name."""

    @property
    def broker(self) -> Outages | None:
        """The broker, if the strategy uses one."""

    @property
    def vote_store(self) -> Shared | None:
        """The vote store, if the strategy uses one."""

    @property
    def derived(self) -> Mapping[str, Copied]:
        """The derived stores by name."""

    @property
    def groups(self) -> Mapping[str, Followed]:
        """The consumer groups by name."""

    @property
    def arrivals_over(self) -> bool:
        """Return whether nobody asks for another transaction any more."""

    def link(self, source: str, destination: str) -> Link:
        """The link from one node to another."""
