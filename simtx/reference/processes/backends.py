"""The databases and the broker of a real run: which products, where, and what a node process has to be told of them."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, assert_never

from simtx.errors import ScenarioError
from simtx.protocols.extras import extras, own_nodes, policies_in_force
from simtx.protocols.names import BROKER, VOTE_STORE
from simtx.reference.addresses import without_password
from simtx.reference.brokers import registry as brokers
from simtx.reference.brokers.base import BrokerFailed
from simtx.reference.brokers.registry import BrokerKind
from simtx.reference.stores import registry as stores
from simtx.reference.stores.base import RESTORE, StoreDamaged, StoreFailed
from simtx.reference.stores.registry import StoreKind
from simtx.reference.stores.sqlite.tables import refuse_empty

if TYPE_CHECKING:
    from simtx.protocols import Policies, Strategy
    from simtx.reference.run_folder.folder import RunFolder
    from simtx.reference.stores.registry import OwnServer
    from simtx.scenario import Scenario
    from simtx.scenario.infrastructure import Remembered

STORES: Final = tuple(stores.PRODUCTS)
BROKERS: Final = tuple(brokers.PRODUCTS)
_NOT_IMITATED: Final = (
    "ack_latency",
    "linger",
)  # times of a scenario's broker, in whose place are those of the real one


class Backends:
    """Starts what is not a process of ours, and describes all of it to the nodes.

    Args:
        store: ``sqlite``; ``postgres`` (a server of its own for each node, from the wheel or from this machine); or the DSN of a server of
            yours, on which every node gets a schema of its own.
        broker: ``embedded``, ``nats`` (from the wheel), or the URL of a server of yours.
        folder: The run's folder.
        scenario: What is played.
        strategy: By whom.
        keep: Whether the databases are to outlive the run, in its folder.

    Attributes:
        damaged: By node: why the server of its database could not be started again.

    Raises:
        ScenarioError: There is no such product.
    """

    def __init__(
        self,
        store: str,
        broker: str,
        folder: RunFolder,
        scenario: Scenario,
        strategy: Strategy,
        *,
        keep: bool = True,
    ) -> None:
        self.address = store
        self._keep = keep
        self._scenario = scenario
        self._policies: Policies = policies_in_force(strategy, scenario.policies)
        self._folder = folder
        self._servers: dict[str, OwnServer] = {}
        self._broker_server: brokers.OwnServer | None = None
        self._down: set[str] = set()  # servers that a fault has killed
        self.damaged: dict[str, str] = {}
        self.nodes = [*scenario.services, *own_nodes(strategy)]
        self.kind = check_store(store)
        self._product = stores.PRODUCTS[self.kind]
        kind = check_broker(broker)
        self._broker = product = brokers.PRODUCTS[kind]
        self.broker: dict[str, Any] | None = None
        self.broker_process: dict[str, Any] | None = None
        self._votes = extras(strategy).uses_vote_store
        if strategy.uses_broker:
            spec = scenario.broker
            told = (one.name for one in fields(spec) if one.name not in _NOT_IMITATED)
            shared = {name: getattr(spec, name) for name in told} | {"counted": bool(spec.special)}
            if spec.kind not in product.kinds or (spec.partitions and not product.partitions):
                own = " or ".join(f"'{one}'" for one in product.kinds if one != "plain") or "'plain'"
                without = "" if product.partitions else ", without partitions"
                raise ScenarioError(
                    f"{product.title} cannot play {spec.special}; it is a broker of the kind {own}{without}. "
                    "broker='embedded' plays all kinds",
                    "broker",
                )
            playable = product.after_restart or (spec.deduplication_after_restart,)
            if spec.deduplication_window > 0 and spec.deduplication_after_restart not in playable:
                knows = " or ".join(map(_known, playable))
                values = " or ".join(f"'{one}'" for one in playable)
                raise ScenarioError(
                    f"{product.title}, as it is used here, knows {knows} after a restart, not "
                    f"'{spec.deduplication_after_restart}': say {values}, or use broker='embedded'",
                    "broker.deduplication_after_restart",
                )
            self.broker = {**shared, "kind": kind, "run": folder.run, "url": None if broker in BROKERS else broker}
            if not product.server:
                self.broker_process = shared | {"role": product.program}

    def start(self) -> None:
        """Start the servers.

        Raises:
            StoreFailed: There is no PostgreSQL, or it does not start.
            BrokerFailed: Likewise, of the broker.
        """
        if self._product.server and self.address == self.kind:  # its name: servers of our own
            for node in (*self.nodes, *([VOTE_STORE] if self._votes else [])):
                self._start_store(node)
        if self.broker is not None and self._broker.server and self.broker["url"] is None:
            folder, secret = self._folder.path / self.broker["kind"], self._folder.secret()
            forced = self.broker["ack"] == "fsync"
            self._broker_server = server = self._broker.server_tools().own_server(folder, secret, forced=forced)
            server.start()
            self.broker["url"] = server.url

    def _start_store(self, node: str) -> None:
        """Start the server of a node; one that has worked here is not made anew, and what is wrong with it is noted."""
        tools, folder = self._product.server_tools(), self._folder.node(node) / self.kind
        worked = self._keep and self._folder.has_worked(node)
        if worked and tools.database(folder) is None:
            self.damaged[node] = f"{folder}: the database is missing or empty; {RESTORE}"
            return
        self._servers[node] = server = tools.own_server(folder if self._keep else None)
        try:
            server.start()
        except StoreFailed as error:
            if not worked:
                raise
            self.damaged[node] = str(error)
            del self._servers[node]
            return
        if not worked:
            server.create_database("simtx")

    @property
    def followed(self) -> bool:
        """Return whether other processes can read the history of a node's commits."""
        return self._product.followed

    def missing(self, node: str) -> str:
        """Damage to the file of a node that is working, which the node itself may not find; empty: none."""
        if self._product.file and self._folder.has_worked(node):
            try:
                refuse_empty(self._folder.node(node) / self._product.file)
            except StoreDamaged as error:
                return str(error)
        return ""

    def store(self, node: str) -> dict[str, Any]:
        """Description of the database for its node.

        Raises:
            StoreDamaged: It is known not to be there any more.
        """
        if node in self.damaged:
            raise StoreDamaged(self.damaged[node])
        service = self._scenario.services.get(node)
        log = service.store.log if service is not None else self._scenario.hub.log
        spec = {
            "kind": self.kind,
            "run": self._folder.run,
            "service": node,
            "initial": dict(service.store.initial) if service is not None else {},
            "serializable": service is not None and service.store.isolation == "serializable",
            "lock_timeout": service.store.lock_timeout if service is not None else 1.0,
            "dedup_retention": self._policies.dedup_retention,
            "create": not self._folder.has_worked(node),
        }
        if not self._product.server:
            return spec | {
                "path": str(self._folder.node(node) / self._product.file),
                "lazy_flush": log.lazy_flush,
                "group": log.flush != "serial",
            }
        dsn = self._servers[node].dsn("simtx") if node in self._servers else self.address
        return spec | {"dsn": dsn, "connections": (service.workers if service is not None else 0) + 5}

    @property
    def votes(self) -> dict[str, Any] | None:
        """Description of the vote store for the nodes; None: the strategy has none."""
        if not self._votes:
            return None
        spec = {"kind": self.kind, "run": self._folder.run}
        if not self._product.server:
            folder = self._folder.node(VOTE_STORE)
            folder.mkdir(parents=True, exist_ok=True)
            return spec | {"path": str(folder / "votes.sqlite")}
        return spec | ({"dsn": self._servers[VOTE_STORE].dsn("simtx")} if VOTE_STORE in self._servers else {})

    @property
    def private(self) -> dict[str, dict[str, str]]:
        """Secrets that no file of the run may hold, by part of a node's configuration: addresses with credentials in them."""
        store = {"dsn": self.address} if without_password(self.address) != self.address else {}
        url = str(self.broker["url"]) if self.broker is not None else ""
        broker = {"url": url} if without_password(url) != url else {}
        return {part: given for part, given in (("store", store), ("broker", broker)) if given}

    def pause_store(self, node: str) -> None:
        """The database of a node stops answering."""
        self._servers[node].pause()

    def resume_store(self, node: str) -> None:
        """The database answers again."""
        self._servers[node].resume()

    @property
    def servers(self) -> list[str]:
        """Nodes whose database is a server of our own."""
        return list(self._servers)

    def used(self) -> dict[str, tuple[int, float]]:
        """Processor time of our own database servers by node: process id, and seconds."""
        found = {
            node: server.used()
            for node, server in self._servers.items()
            if node not in self._down and node != VOTE_STORE
        }
        return {node: one for node, one in found.items() if one is not None}

    @property
    def broker_title(self) -> str:
        """Name of the broker in sentences, if it is a server; empty: it is a process of the run, or there is none."""
        return self._broker.title if self.broker is not None and self._broker.server else ""

    def broker_watcher(self, name: str) -> brokers.ServerWatcher | None:
        """A connection that asks the broker's server what waits there; None: no such server is in the run.

        Args:
            name: Of the process that asks.
        """
        if self.broker is None or not self._broker.server:
            return None
        return self._broker.server_tools().watcher(self.broker, name, self._folder.secret())

    @property
    def owns_broker(self) -> bool:
        """Return whether the broker is a server of our own (the embedded one is a child process like the nodes)."""
        return self._broker_server is not None

    def kill_store(self, node: str) -> None:
        """SIGKILL to the database server of a node."""
        self._down.add(node)
        self._servers[node].kill()

    def restart_store(self, node: str) -> None:
        """Start it again; it recovers."""
        self._servers[node].start()
        self._down.discard(node)

    def fallen(self) -> list[str]:
        """Nodes whose database server has ended though no fault of the run has killed it; it asks each of them, and may wait.

        Raises:
            StoreFailed: The process that owns one is gone.
        """
        return [node for node, server in self._servers.items() if node not in self._down and not server.alive]

    @property
    def broker_fell(self) -> bool:
        """Return whether the broker's server has ended though no fault of the run has killed it."""
        server = self._broker_server
        return server is not None and BROKER not in self._down and not server.alive

    def kill_broker(self) -> None:
        """SIGKILL to the broker's server, if it is ours."""
        if self._broker_server is not None:
            self._down.add(BROKER)
            self._broker_server.kill()

    def restart_broker(self) -> None:
        """Start it again."""
        if self._broker_server is not None:
            self._broker_server.restart()
            self._down.discard(BROKER)

    def stop(self) -> None:
        """End all servers.

        Raises:
            StoreFailed: Databases could not be put where they are kept; the text says where they are.
        """
        problems: list[str] = []

        def end(work: Future[None]) -> None:
            try:
                work.result()
            except StoreFailed as error:
                problems.append(str(error))

        # each of them, whatever becomes of the others; all at once, since a last checkpoint takes its time
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(self._servers) or 1) as pool:
            for server in self._servers.values():
                stack.callback(end, pool.submit(server.stop))
            if not self._keep and self.address not in STORES:
                stack.callback(self._drop)
            if (
                not self._keep
                and self._broker_server is None
                and self.broker is not None
                and self.broker["url"] is not None
            ):
                stack.callback(pool.submit(self._drop_stream).result)
            if self._broker_server is not None:
                stack.callback(self._broker_server.stop)
        if problems:
            raise StoreFailed("; ".join(problems))

    def _drop(self) -> None:
        """Leave nothing of the run on a server that is not ours."""
        self._product.server_tools().drop_run(self.address, self._folder.run)

    def _drop_stream(self) -> None:
        """Likewise, of the broker."""
        asyncio.run(self._broker.server_tools().drop_run(self.broker or {}, self._folder.secret()))


def check_disk(disk: str, store: str) -> None:
    """Refuse to imitate the disk of a database server.

    Raises:
        ScenarioError: The store is one.
    """
    if disk == "scenario" and stores.PRODUCTS[check_store(store)].server:
        raise ScenarioError("only SQLite imitates the scenario's disks: use store='sqlite', or disk='machine'", "disk")


def can_stop(store: str) -> bool:
    """Return whether this store has servers that the run starts itself, so that it can play their outage."""
    kind = stores.kind_of(store)
    return kind is not None and store == kind and stores.PRODUCTS[kind].server


def check_faults(scenario: Scenario, store: str, broker: str) -> None:
    """Refuse faults of servers that are not ours to stop.

    Raises:
        ScenarioError: There is one; the text says what would be right.
    """
    ours = can_stop(store)
    for number, fault in enumerate(scenario.faults):
        if fault.kind in ("store-outage", "vote-store-outage") and not ours:
            raise ScenarioError(
                f"a {fault.kind.replace('store-', 'store ')} needs databases of our own: use store='postgres' (SQLite is a file inside the service)",
                f"faults[{number}]",
            )
        outage = fault.kind == "broker-outage" or (fault.kind == "crash" and fault.node == BROKER)
        if outage and broker not in BROKERS:
            names = " or ".join(f"'{name}'" for name in BROKERS)
            raise ScenarioError(f"a broker outage needs a broker of our own: use broker={names}", f"faults[{number}]")


def check_store(store: str) -> StoreKind:
    """The kind of a store. Refuse what is no store, and a server that is not there or cannot do what a store needs.

    Raises:
        ScenarioError: It is none; the text says what would help.
    """
    kind = stores.kind_of(store)
    if kind is None:
        names = ", ".join(f"'{name}'" for name in STORES)
        raise ScenarioError(
            f"there is no store '{without_password(store):.200}'; use {names}, or the DSN of a server (postgresql://user@host/database)",
            "store",
        )
    if store != kind:
        try:
            stores.PRODUCTS[kind].server_tools().check_address(store)
        except StoreFailed as error:
            raise ScenarioError(str(error), "store") from None
    return kind


def check_broker(broker: str) -> BrokerKind:
    """The kind of a broker. Refuse what is no broker, and a server that is not there.

    Raises:
        ScenarioError: It is none.
    """
    kind = brokers.kind_of(broker)
    if kind is None:
        names = ", ".join(f"'{name}'" for name in BROKERS)
        raise ScenarioError(
            f"there is no broker '{without_password(broker):.200}'; use {names}, or the URL of a server (nats://host:4222)",
            "broker",
        )
    if broker != kind:
        try:
            brokers.PRODUCTS[kind].server_tools().check_address(broker)
        except BrokerFailed as error:
            raise ScenarioError(str(error), "broker") from None
    return kind


def _known(which: Remembered) -> str:
    """Of which messages a broker knows the ids after a restart, in words."""
    match which:
        case "stored":
            return "the ids of messages that it still holds"
        case "all":
            return "all ids"
        case "none":
            return "no ids"
        case _:
            assert_never(which)
