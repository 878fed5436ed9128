"""The simulated store and broker behind the interfaces that real ones have, so that one suite of laws checks both.

Nothing is imitated here: nodes, interpreter, store, log device and broker are those of a simulated run, played by hand instead of by a
protocol. What blocks for a real product lets simulated time pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from simtx.protocols import contract as c
from simtx.scenario import from_dict
from simtx.simulator import World
from simtx.simulator.node import Node
from simtx.simulator.running_machine import IDLE

__all__ = ["SimulatedBroker", "SimulatedStore", "SimulatedStores", "simulated_broker", "simulated_stores"]

_RELAY: Final = 1 << 30  # the transaction in whose name the outbox is read and marked
_NODES: Final = ("orders", "stock", "payment")

Hear = Callable[[str, int, c.Event], None]


class _Hand(c.Machine):
    """A machine whose effects and events are in the hands of a caller."""

    role = "hand"
    initial = "new"

    __slots__ = ("hands", "node", "state", "tx")

    def __init__(self, hands: _Hands, node: str, tx: int) -> None:
        self.hands = hands
        self.node = node
        self.tx = tx
        self.state = "at work"  # never that of a machine that may be dropped

    def handle(self, event: c.Event) -> list[c.Effect]:
        """Do the next thing, or tell."""
        if isinstance(event, c.Request):
            return self.hands.programs[self.node, self.tx].popleft()
        self.hands.hear(self.node, self.tx, event)
        return []

    def recover(self, records: Sequence[c.Record]) -> list[c.Effect]:  # noqa: ARG002 - the disk is looked at from outside
        """Come back."""
        return []


class _Hands:
    """A strategy whose machines are `_Hand`s."""

    name = "hands"
    promise: ClassVar[c.Promise] = "decided"
    uses_broker = True
    hub = None

    def __init__(self) -> None:
        self.hear: Hear = _deaf
        self.programs: defaultdict[tuple[str, int], deque[list[c.Effect]]] = defaultdict(deque)

    def entry(self, plan: c.Plan) -> str:
        """The first node."""
        return plan.steps[0].service

    def machine(self, node: str, tx: int) -> _Hand:
        """A machine that does what it is told."""
        return _Hand(self, node, tx)

    def daemons(self, node: str) -> Iterable[c.Machine]:  # noqa: ARG002
        """None."""
        return ()

    def check(self, plan: c.Plan) -> str | None:  # noqa: ARG002
        """Find nothing wrong."""
        return None

    def tell(self, node: Node, tx: int, *effects: c.Effect) -> None:
        """Give the machine of a transaction effects to play; it comes to them once it is idle."""
        self.programs[node.name, tx].append(list(effects))
        node.request(c.Request(tx, c.Plan(tx, ())))


def _deaf(node: str, tx: int, event: c.Event) -> None:
    """Do nothing: nobody listens yet."""


def _world(services: Sequence[str], store: dict[str, Any], broker: dict[str, Any]) -> tuple[World, _Hands]:
    """A world with these services, in which nothing happens by itself."""
    scenario = from_dict(
        {
            "services": {
                name: {"zone": "here", "workers": 100, "service_time": 0.0, "store": store} for name in services
            },
            "network": {"zones": ["here"], "latency": 0.0005},
            "broker": {"zone": "here", "ack_latency": 0.0005, **broker},
            "transaction": {
                "steps": [{"name": "step", "service": services[0], "operations": [{"key": "k", "kind": "read"}]}]
            },
            "workload": {"kind": "deterministic", "rate": 1.0},
            "run": {"transactions": 1},
            "policies": {"publish_timeout": 0.2},
        },
        name="hands",
    )
    hands = _Hands()
    return World(scenario, hands, seed=1, replication=0, traced=False), hands


# --- a store --------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """Result of one operation: as `simtx.reference.stores.base.Result`, as far as a machine depends on it.

    Attributes:
        status: As in `simtx.protocols.Done`.
        value: Value of the idempotency row if ``duplicate``.
        in_doubt: Of a second phase: seconds since the branch was prepared. -1: there was no branch.
    """

    status: c.Status = "done"
    value: object = None
    in_doubt: float = -1.0


class Pending:
    """An operation under way; `result` lets time pass until it has ended."""

    def __init__(self, store: SimulatedStore, tx: int) -> None:
        self._store = store
        self._tx = tx
        self.outcome: Outcome | None = None

    def is_alive(self) -> bool:
        """Return whether it has not ended."""
        return self.outcome is None

    def result(self) -> Outcome:
        """Result of it."""
        while self.outcome is None:
            self._store.world.env.step()
        return self.outcome


class SimulatedStore:
    """The store and the log of one simulated node.

    Args:
        world: Where the node is.
        hands: Its strategy.
        name: The node.
    """

    def __init__(self, world: World, hands: _Hands, name: str) -> None:
        self.world = world
        self.node = world.nodes[name]
        self._hands = hands
        self._pending: dict[int, Pending] = {}
        self._heard: dict[str, c.Done] = {}
        hands.hear = self._hear
        self.node.restart()

    def _hear(self, node: str, tx: int, event: c.Event) -> None:  # noqa: ARG002 - there is one node
        if not isinstance(event, c.Done):
            return
        pending = self._pending.pop(tx, None)
        if pending is not None:
            pending.outcome = Outcome(event.status, event.value)
        self._heard[event.kind] = event

    def begin(self, tx: int, effect: c.Transact | c.Execute | c.Prepare) -> Pending:
        """Begin an operation, without waiting for its end."""
        pending = self._pending[tx] = Pending(self, tx)
        self._hands.tell(self.node, tx, effect)
        return pending

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.world.env.run(until=self.world.env.now + seconds)

    def transact(self, tx: int, effect: c.Transact | c.Execute | c.Prepare) -> Outcome:
        """Run one local transaction, operations in the open one, or the preparation of a branch."""
        return self.begin(tx, effect).result()

    execute = prepare = transact

    def _play(self, tx: int, *effects: c.Effect) -> None:
        """Play effects to their end."""
        self._hands.tell(self.node, tx, *effects)
        while (actor := self.node.actors.get(tx)) is not None and actor.phase != IDLE:
            self.world.env.step()

    def _end(self, tx: int, effect: c.Commit | c.Rollback) -> Outcome:
        branch = self._own().prepared.get(tx)
        in_doubt = -1.0 if branch is None else self.world.env.now - branch.prepared_since
        self._play(tx, effect)
        return Outcome("done", None, in_doubt)

    def commit(self, tx: int) -> Outcome:
        """Commit the prepared branch."""
        return self._end(tx, c.Commit())

    def rollback(self, tx: int, *, forced: bool) -> Outcome:
        """Roll back the prepared or open branch."""
        return self._end(tx, c.Rollback(forced))

    def append(self, tx: int, record: c.Record, *, forced: bool) -> None:
        """Append a record to the log."""
        self._play(tx, c.Append(record, forced))

    def forget(self, tx: int) -> None:
        """The records of this transaction are garbage."""
        self._play(tx, c.Forget())

    def records(self) -> dict[int, list[c.Record]]:
        """Records that recovery starts from."""
        store, durable = self._own(), self.node.durable
        found = {tx: list(durable.get(tx, ())) for tx in sorted({*durable, *store.prepared})}
        for tx, records in found.items():
            prepared = store.record_of(tx)
            if prepared is not None:
                records.append(prepared)
        return found

    def read_outbox(self, limit: int, *, below_horizon: bool = False) -> tuple[c.OutboxRow, ...]:
        """Outbox rows that are not marked."""
        self._play(_RELAY, c.ReadOutbox("read", limit, below_horizon))
        rows: tuple[c.OutboxRow, ...] = self._heard["read"].value
        return rows

    def mark_outbox(self, ids: Sequence[int]) -> None:
        """Mark rows as published."""
        self._play(_RELAY, c.MarkOutbox(tuple(ids)))

    def values(self) -> dict[str, float]:
        """Committed values."""
        return dict(self._own().values)

    def close(self) -> None:
        """The process of the node ends, as by a kill."""
        self.node.crash()

    def _own(self) -> Any:
        return self.node.store


class SimulatedStores:
    """Opens simulated stores; the same service is the same database, and opening it again restarts its node."""

    def __init__(self) -> None:
        self._worlds: dict[str, tuple[World, _Hands]] = {}

    def __call__(
        self,
        service: str = "stock",
        *,
        initial: dict[str, float] | None = None,
        serializable: bool = False,
        lock_timeout: float = 0.05,
    ) -> SimulatedStore:
        """Open one."""
        if service not in self._worlds:
            store = {
                "initial": initial or {},
                "isolation": "serializable" if serializable else "read-committed",
                "lock_timeout": lock_timeout,
                "log": {"forced_write": 0.001, "lazy_flush": 0.05},
            }
            self._worlds[service] = _world([service], store, {})
        return SimulatedStore(*self._worlds[service], service)


def simulated_stores() -> SimulatedStores:
    """Make stores of the simulated world, for `simtx.testing.check_store`."""
    return SimulatedStores()


# --- a broker -------------------------------------------------------------------------------------------------------------------


class SimulatedBroker:
    """The broker of a simulated world with three nodes."""

    def __init__(self, options: dict[str, Any]) -> None:
        retention = options.pop("retention", None)
        given = {**options, **({} if retention is None else {"retention": retention})}
        self._world, self._hands = _world(_NODES, {"log": {"forced_write": 0.0}}, given)
        self._hands.hear = self._hear
        self._broker = self._world.broker_or_refuse()
        self._consumers: dict[str, Callable[[c.Delivery, int | None, bool], None]] = {}
        self._seen: set[int] = set()
        self.confirmed: dict[str, c.Status] = {}
        for name in _NODES[1:]:
            self._world.nodes[name].crash()  # nobody is there before it subscribes

    def _hear(self, node: str, tx: int, event: c.Event) -> None:  # noqa: ARG002
        if isinstance(event, c.Done):
            self.confirmed[event.kind] = event.status
        elif isinstance(event, c.Delivery) and node in self._consumers:
            again = event.id in self._seen
            self._seen.add(event.id)
            self._consumers[node](event, None, again)

    def client(self, name: str) -> SimulatedClient:
        """A connection of a node; one that is none of the nodes of this world can do nothing but connect."""
        return SimulatedClient(self, name)

    def kill(self) -> None:
        """The broker crashes."""
        self._broker.crash()

    def restart(self) -> None:
        """The broker is back."""
        self._broker.restart()

    async def pending(self) -> set[int]:
        """Transactions with messages that wait."""
        return set(self._broker.working())

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(0)
        self._world.env.run(until=self._world.env.now + seconds)
        await asyncio.sleep(0)

    def tell(self, node: str, tx: int, effect: c.Effect) -> None:
        """Have a node play an effect."""
        self._hands.tell(self._world.nodes[node], tx, effect)

    def attach(self, node: str, consume: Callable[[c.Delivery, int | None, bool], None] | None) -> None:
        """Pass on what is delivered to a node, which is up from now on; None: it is down."""
        if consume is not None:
            self._consumers[node] = consume
            self._world.nodes[node].restart()
        elif self._consumers.pop(node, None) is not None:
            self._world.nodes[node].crash()


class SimulatedClient:
    """A node's connection to the simulated broker."""

    _numbers = iter(range(1 << 62))

    def __init__(self, broker: SimulatedBroker, name: str) -> None:
        self._broker = broker
        self._name = name
        self._transactions: dict[int, int] = {}  # by delivery

    async def connect(self) -> None:
        """Do nothing: it is there."""

    async def publish(self, message: c.Message, origin: int | None) -> None:  # noqa: ARG002 - the simulated log knows it
        """Hand over a message; returns on the acknowledgement.

        Raises:
            ConnectionError: There was none in time.
        """
        tag = f"publication {next(self._numbers)}"
        self._broker.tell(self._name, message.tx, c.Publish(tag, message))
        while tag not in self._broker.confirmed:
            await self._broker.sleep(0.0005)
        if self._broker.confirmed.pop(tag) != "done":
            raise ConnectionError("the broker did not acknowledge in time")

    async def subscribe(self, node: str, consume: Callable[[c.Delivery, int | None, bool], None]) -> None:
        """Have the messages to this node delivered."""

        def take(delivery: c.Delivery, origin: int | None, again: bool) -> None:
            self._transactions[delivery.id] = delivery.message.tx
            consume(delivery, origin, again)

        self._broker.attach(node, take)

    async def acknowledge(self, delivery: int) -> None:
        """Acknowledge a delivery, which needs not come again."""
        self._broker.tell(self._name, self._transactions[delivery], c.Acknowledge(delivery))

    async def close(self) -> None:
        """Disconnect."""
        self._broker.attach(self._name, None)


@contextlib.contextmanager
def simulated_broker(**options: Any) -> Iterator[SimulatedBroker]:
    """Make a broker of the simulated world, for `simtx.testing.check_broker`."""
    yield SimulatedBroker(options)
