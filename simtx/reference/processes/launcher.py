"""The launcher of a real run: databases, broker and processes up, faults injected, everything drained and down again."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from simtx.errors import RunFailed
from simtx.metrics.timeline import step
from simtx.protocols import Strategy
from simtx.protocols.codec import encode
from simtx.protocols.extras import extras, own_nodes, policies_in_force
from simtx.protocols.names import BROKER, CLIENT, HUB, VOTE_STORE
from simtx.reference.addresses import without_password
from simtx.reference.brokers import BrokerFailed
from simtx.reference.node.crash_points import CrashPoint
from simtx.reference.processes.calls import Calls
from simtx.reference.processes.faults import Injectors, link_chances, link_faults, proxied_links
from simtx.reference.processes.preflight import LAUNCHER, PROVIDER, PROXY, provider_of
from simtx.reference.processes.readers import description, plan
from simtx.reference.processes.schedule import Schedule
from simtx.reference.processes.supervisor import Child
from simtx.reference.run_folder.derived import process_of
from simtx.reference.run_folder.event_log import LogFile
from simtx.reference.run_folder.record import replace_file
from simtx.reference.run_folder.strategy_record import described
from simtx.reference.stores.base import StoreFailed
from simtx.workload import Streams
from simtx.workload.faults import fault_plan

if TYPE_CHECKING:
    from pathlib import Path

    from simtx.reference.brokers.registry import ServerWatcher
    from simtx.reference.processes.backends import Backends
    from simtx.reference.run_folder.folder import RunFolder
    from simtx.scenario import DerivedSpec, Scenario
    from simtx.scenario.infrastructure import ProviderSpec

T = TypeVar("T")

SCHEMA: Final = "2.0"
_SAMPLE_EVERY: Final = 0.1  # seconds at least between two looks at how much waits in a process
_POLL: Final = 0.1  # seconds between two looks at whether everything has come to rest
_START: Final = 20.0  # seconds until a process has to have announced itself
_PATIENCE: Final = 30.0  # seconds until a process that is there has to answer
_DELAYS: Final = 1000  # samples of a link's delays that the proxy is given, and of a disk's that a store is given
_WATCH: Final = 0.3  # seconds between two looks at whether our servers run
_FALLS: Final = 5  # of servers in one run, beyond which it is given up
_STILL: Final = 3  # looks in a row that have to find everything at rest

Frame = dict[str, Any]


@dataclass(slots=True)
class Options:
    """Settings of a real run, beside what is played.

    Attributes:
        seed: Of the transactions, the back-off's jitter and the faults' times.
        kills: Places at which processes kill themselves, by node.
        network: ``loopback``: messages travel as fast as this machine lets them; ``scenario``: they are held up by the scenario's
            latencies, too.
        disk: ``machine``: forced writes take what they take here; ``scenario``: as long as the scenario says at least.
        host: Address that the processes listen on; None: Unix sockets, which nobody else can reach.
        port: First of the ports that they listen on there; 0: whatever is free.
        speaks: Version of the event schema that a node writes and reads, where it is not the current one.
        upgrades: Rolling upgrade: (seconds, node, version, version that it writes): then this node is stopped in order and started with that version.
        restart: Seconds after which a killed process is started again.
        service_times: Whether the scenario's service times are slept.
        resumed: 0 for a new run. Otherwise the run goes on from what its stores hold, without a client, and this is the number of the
            first incarnation; the launcher's own log has it, too.
    """

    seed: int = 1
    kills: dict[str, list[CrashPoint]] = field(default_factory=dict)
    network: str = "loopback"
    disk: str = "machine"
    host: str | None = None
    port: int = 0
    speaks: dict[str, str] = field(default_factory=dict)
    upgrades: tuple[tuple[float, str, str, str], ...] = ()
    restart: float = 0.05
    service_times: bool = True
    resumed: int = 0


class Launcher:
    """One real run, from the folder to the last log line; used on an event loop of its own.

    Args:
        folder: The run's folder, made and locked.
        scenario: What is played.
        strategy: By whom, with its policies filled in.
        backends: The databases and the broker.
        options: How.
        progress: Told the phase that the run is in, and how much of it is done (0 to 1).
        sockets: Private folder for Unix sockets; needed if no host is given.

    Attributes:
        notes: What the user has to know of the run beside its numbers.
        waiting: At the last look, the transactions that no machine worked on, but of which messages or outbox rows waited.
    """

    def __init__(
        self,
        folder: RunFolder,
        scenario: Scenario,
        strategy: Strategy,
        backends: Backends,
        options: Options,
        progress: Callable[[str, float], None],
        sockets: Path | None = None,
    ) -> None:
        self.folder = folder
        self.scenario = scenario
        self.strategy = strategy
        self.backends = backends
        self.options = options
        self.children: dict[str, Child] = {}
        self.log: LogFile
        self.waiting: set[int] = set()
        self._progress = progress
        self._sockets = sockets
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._calls = Calls(LAUNCHER, folder)
        self._incarnations = itertools.count(options.resumed + 1)
        self.nodes = [*scenario.services, *own_nodes(strategy)]
        self.relays = [f"{name}.relay" for name in self.nodes if list(strategy.daemons(name))]
        self.providers = [provider_of(name) for name in scenario.providers]
        self.derived = {process_of(name): spec for name, spec in scenario.derived.items()}
        if options.resumed or not backends.followed:
            self.derived = {}
        self.proxied = options.network == "scenario" or link_faults(scenario)
        in_run = backends.broker_process is not None
        self.links = proxied_links(self.nodes, broker=in_run) if self.proxied else []
        self.injectors: Injectors | None = None
        self._watcher: ServerWatcher | None = None
        self._upgrades: list[asyncio.Task[None]] = []
        self._over = False  # whether all transactions have arrived
        self._watching: asyncio.Task[None] | None = None
        server = backends.broker_title
        self.notes = left_out(scenario, strategy, self.derived, resumed=bool(options.resumed), server=server)
        self._falls = 0  # of servers

    # --- configuration ----------------------------------------------------------------------------------------------------------

    @property
    def processes(self) -> list[str]:
        """Names of all child processes, in the order in which they start."""
        names = []
        if self.backends.broker_process is not None:
            names.append(BROKER)
        if self.proxied:
            names.append(PROXY)
        own = [*self.providers, *self.nodes, *self.relays, *self.derived]
        return [*names, *own, *([] if self.options.resumed else [CLIENT])]

    def write(self, schedule: Schedule) -> None:
        """Write what the processes of a new run read when they start."""
        scenario, options, folder = self.scenario, self.options, self.folder
        for name in self.processes:
            folder.node(name).mkdir(parents=True, exist_ok=True)
        if not options.service_times:
            schedule = replace(
                schedule,
                demands=[[0.0] * len(row) for row in schedule.demands],
                undo=[[0.0] * len(row) for row in schedule.undo],
            )
        schedule.write(folder, scenario, self.strategy)
        for name, spec in self.derived.items():
            readers = plan(
                spec,
                scenario,
                schedule,
                options.seed,
                lags=options.network == "scenario",
                fill_times=options.service_times,
            )
            (folder.node(name) / "plan.json").write_text(json.dumps(readers))
        run, workload, clients = scenario.run, scenario.workload, scenario.clients
        knows = extras(self.strategy).recognises_requests
        self.configure(
            {
                "entries": sorted({self.strategy.entry(plan) for plan in schedule.plans}),
                "warmup": run.warmup,
                "duration": run.duration,
                "ends_with_last": run.duration is None
                or (workload.kind == "trace" and len(schedule.times) == len(workload.trace_times)),
                "users": workload.users if workload.think_time is not None else 0,
                "think": schedule.think,
                "ask_again": clients.ask_again,
                "insists": clients.ask_again == "unanswered" and knows,
                "deadline": clients.deadline,
                "deadline_travels": clients.deadline_travels,
                "budget": None if clients.budget is None else [clients.budget, clients.budget_burst],
                "timeout": clients.timeout,
                "backoff": [clients.backoff.base, clients.backoff.factor, clients.backoff.cap],
            }
        )

    def configure(self, client: Frame | None = None) -> None:
        """Write the configuration of every process.

        Args:
            client: What the client's is to hold.
        """
        scenario, options, folder = self.scenario, self.options, self.folder
        policies = encode(policies_in_force(self.strategy, scenario.policies))
        common = {
            "host": options.host,
            "sockets": str(self._sockets),
            "seed": options.seed,
            "transactions": folder.transactions(),
            "nodes": self.nodes,
        }
        for position, name in enumerate(self.processes):
            config: dict[str, Any] = {
                **common,
                "node": name,
                "role": name,
                "port": options.port + position if options.port else 0,
            }
            if name in self.nodes or name in self.relays:
                config |= self._node_config(name, policies)
            elif name in self.derived:
                config |= self._derived_config(self.derived[name])
            elif name == CLIENT:
                config |= client or {}
            elif name == BROKER:
                config |= self.backends.broker_process or {}
            elif name in self.providers:
                config["node"] = name.removesuffix(PROVIDER)
                config["role"] = "provider"
            elif name == PROXY:
                config |= {"links": [[a, b, self._link_chances(a, b)] for a, b in self.links]}
            (folder.node(name) / "config.json").write_text(json.dumps(config))

    def _link_chances(self, a: str, b: str) -> Frame:
        """Settings of the link between two nodes in the scenario; its latency only if it is to be imitated."""
        known = (*self.scenario.services, BROKER)
        zones = [self.scenario.node_zone(node if node in known else HUB) for node in (a, b)]
        link = self.scenario.network.link(zones[0] or "", zones[1] or "")
        streams = Streams(self.options.seed)
        chances: Frame = {"loss": link.loss, "duplication": link.duplication, "reorder": link.reorder}
        # A hub is a hub to the random numbers, whatever the strategy calls it: as in the simulator.
        roles = (HUB if node == self.strategy.hub else node for node in (a, b))
        chances["component"] = "link:{}>{}".format(*roles)
        delay = streams.draws(link.reorder_delay, f"link:{a}>{b}", "reorder")
        chances["reorder_delay"] = [delay() for _ in range(_DELAYS)]
        if self.options.network == "scenario":
            draw = streams.draws(link.latency, f"link:{a}>{b}", "latency")
            chances["latency"] = [draw() for _ in range(_DELAYS)]
        return chances

    def _node_config(self, name: str, policies: Any) -> Frame:
        relay = name in self.relays
        node = name.removesuffix(".relay") if relay else name
        service = self.scenario.services.get(node)
        kills = self.options.kills.get(name, [])
        store, broker = self.backends.store(node), self.backends.broker
        if self.options.disk == "scenario":
            store = store | {"flushes": self._flushes(node)}
        private = self.backends.private
        if "store" in private:
            store = store | {"dsn": without_password(store["dsn"])}
        if broker is not None and "broker" in private:
            broker = broker | {"url": without_password(broker["url"])}
        if broker is not None and (node, BROKER) in self.links:
            broker = broker | {"through": f"{node}@{BROKER}"}
        return {
            "private": bool(private),
            "node": node,
            "role": "relay" if relay else "node",
            "strategy": described(self.strategy),
            "speaks": self.options.speaks.get(node, SCHEMA),
            "writes": None,
            "unread": self.scenario.events.unread,
            "store": store,
            "broker": broker,
            "votes": self.backends.votes,
            "policies": policies,
            "kills": [point.to_json() for point in kills],
            "workers": service.workers if service is not None and not relay else 0,
            "queue_limit": service.queue_limit if service is not None else None,
            "works_inside": service is not None and service.store.locks == "work" and service.provider is None,
            "provider": None if service is None or relay else _terms(node, service.provider),
            "retriable": self._retriable(),
            "derived": [
                description(spec) | {"process": process, "lags": self._lags(process)}
                for process, spec in self.derived.items()
                if spec.service == name and spec.rule.by != "event" and spec.rule.update != "none"
            ],
            "proxied": self.proxied,
            "sample_every": max(step(self.scenario), _SAMPLE_EVERY),
        }

    def _flushes(self, node: str) -> list[float]:
        """Seconds that forced writes of a node take at least, on the scenario's disk."""
        service = self.scenario.services.get(node)
        log = service.store.log if service is not None else self.scenario.hub.log
        draw = Streams(self.options.seed).draws(log.forced_write, f"disk:{node}", "forced-write")
        return [draw() for _ in range(_DELAYS)]

    def _retriable(self) -> list[int] | None:
        """Steps that are begun behind a client's deadline, too; None: deadlines do not travel."""
        if not self.scenario.clients.deadline_travels:
            return None
        return [step.index for step in self.scenario.transaction.steps if step.kind == "retriable"]

    def _lags(self, process: str) -> list[float]:
        """Seconds for which updates of a derived store are held up."""
        lags: list[float] = json.loads((self.folder.node(process) / "plan.json").read_text())["lags"]
        return lags

    def _derived_config(self, spec: DerivedSpec) -> Frame:
        return {
            "node": spec.service,
            "role": "derived",
            "derived": description(spec),
            "source": self.backends.store(spec.service),
            "sample_every": max(step(self.scenario), _SAMPLE_EVERY),
        }

    # --- up and down ------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start every process and wait until all of them listen.

        Raises:
            RunFailed: One of them cannot.
        """
        names = self.processes
        resumed = self.options.resumed
        own = f"launcher.{resumed}.jsonl" if resumed else "launcher.jsonl"
        self.log = LogFile(self.folder.path / own, resumed)
        for name in names:
            private = self.backends.private if name in self.nodes or name in self.relays else {}
            self.children[name] = Child(
                name,
                self.folder.path,
                lambda: next(self._incarnations),
                self._died,
                self.fail,
                private,
                again=name != CLIENT,
            )
        for group in ([BROKER], [PROXY], self.providers, self.nodes, self.relays, list(self.derived), [CLIENT]):
            members = [name for name in group if name in self.children]
            await asyncio.gather(*(self.children[name].start() for name in members))
            for name in members:
                await self._listening(name)
        self._watching = asyncio.create_task(self._watch_servers())
        self._watching.add_done_callback(self.done)
        self._progress("running", 0.0)

    async def _watch_servers(self) -> None:
        """Start a database or broker of ours again that has ended though no fault of the run has killed it, and say so.

        Raises:
            RunFailed: It does not come up, or falls again and again.
        """
        backends = self.backends
        while True:
            await asyncio.sleep(_WATCH)
            try:
                if backends.broker_fell:
                    self._fell(f"the {backends.broker_title} server")
                    backends.restart_broker()  # on this thread, with which it ends
                for node in await asyncio.to_thread(backends.fallen):
                    self._fell(f"the database server of '{node}'")
                    await asyncio.to_thread(backends.restart_store, node)
            except (StoreFailed, BrokerFailed) as error:
                raise RunFailed(f"a server that had ended cannot be started again: {error}") from None

    def _fell(self, what: str) -> None:
        self.notes.append(f"{what} ended by itself or was killed from outside, and was started again")
        self._falls += 1
        if self._falls > _FALLS:
            raise RunFailed(f"{what} ends again and again")

    async def _listening(self, name: str) -> None:
        for _ in range(int(_START / 0.01)):
            if self._failure is not None:
                raise self._failure
            if self.folder.locate(name) is not None:
                self.children[name].ready = True
                return
            await asyncio.sleep(0.01)
        raise RunFailed(f"process '{name}' did not start within {_START:g} seconds")

    def _died(self, child: Child) -> float | None:
        """A child was killed; how long it is to stay away."""
        name = child.name
        if name in self.derived:  # it takes no part in a transaction
            note = f"the process of the derived store '{self.derived[name].name}' was killed and started again: nobody read meanwhile"
            if note not in self.notes:
                self.notes.append(note)
            return self.options.restart
        node = name.removesuffix(".relay").removesuffix(PROVIDER)
        self.log.log("crash", node, -1, actor="fault", detail=name)
        if name == CLIENT:  # nobody else knows what was asked for, and when to begin
            self.fail(RunFailed(f"process '{name}' was killed; play the run again"))
            return None
        struck = self.folder.downtime(name)
        away = None if struck is None else struck[0]
        if struck is not None:
            self.log.log("fault", node, -1, actor="fault", name="crash")
            if struck[1] and self.injectors is not None:
                self.injectors.kill(node if name != node else f"{node}.relay", struck[0])
        if self.injectors is not None:
            held = self.injectors.away(name)
            if held is not None:
                return held
        return self.options.restart if away is None else max(away, self.options.restart)

    def fail(self, error: BaseException) -> None:
        """The run cannot go on, for this reason."""
        if self._failure is None:
            self._failure = error
            self._failed.set()

    def done(self, task: asyncio.Task[None]) -> None:
        """Note that a task beside has ended; if it has failed, so has the run."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    async def stop(self) -> None:
        """End all processes, in the opposite order of their starts: the client first."""
        if self._watching is not None:
            self._watching.cancel()
        if self.injectors is not None:
            await self.injectors.stop()
        await self._calls.close()
        if self._watcher is not None:
            await self._watcher.close()
        await asyncio.gather(*(child.stop() for child in reversed(self.children.values())))
        if hasattr(self, "log"):  # it was started
            self.log.close()

    def destroy(self) -> None:
        """Kill all processes now."""
        for child in self.children.values():
            child.destroy()

    # --- talking to the processes -----------------------------------------------------------------------------------------------

    async def ask(self, name: str, patience: float = 1.0, **frame: Any) -> Frame | None:
        """Ask a process for something; None if it does not answer in time."""
        return await self._calls.ask(name, patience, **frame)

    def scale(self, name: str, what: str, factor: float) -> None:
        """Have the service times (``slow``) or the timers (``clock``) of a process be longer, also those of its later incarnations."""
        self._reconfigure(name, **{what: factor})
        self.tell(name, type="control", do=what, factor=factor)

    def _reconfigure(self, name: str, /, **changes: Any) -> None:
        """Change the configuration of a process, for its later incarnations."""
        path = self.folder.config(name)
        config = json.loads(path.read_text()) | changes
        replace_file(path, json.dumps(config).encode(), durable=False)

    async def _cure(self, at: float) -> None:
        """Let consumers handle from this time on what was poison, also in their later incarnations."""
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        for name in self.nodes:
            self._reconfigure(name, cured=True)
            self.tell(name, type="control", do="cure")

    def tell(self, name: str, **frame: Any) -> None:
        """Send a frame to a process, whatever becomes of it."""
        self._calls.tell(name, **frame)

    # --- the run ----------------------------------------------------------------------------------------------------------------

    async def play(self) -> list[int]:
        """Play the whole workload and drain; returns the transactions that were still worked on in the end.

        Raises:
            RunFailed: A process cannot go on.
        """
        self.injectors = Injectors(self)
        await self.unless_failed(self._insist(do="state"))  # the clock starts when the client is there to keep to it
        origin = time.monotonic() + 0.2
        self.origin = origin
        if await self.unless_failed(self.ask(CLIENT, _PATIENCE, do="go", origin=origin)) is None:
            raise RunFailed(f"the client's process has not answered for {_PATIENCE:g} s")
        for name in self.derived:
            await self.unless_failed(self._begin_reading(name, origin))
        self.injectors.start(origin)
        self._upgrades = [
            asyncio.create_task(self._upgrade(origin + at, node, version, written))
            for at, node, version, written in self.options.upgrades
        ]
        cured = self.scenario.broker.poison_until
        if cured is not None and self.strategy.uses_broker:
            self._upgrades.append(asyncio.create_task(self._cure(origin + cured)))
        for upgrade in self._upgrades:
            upgrade.add_done_callback(self.done)
        return await self.unless_failed(self._until_drained())

    async def _begin_reading(self, name: str, origin: float) -> None:
        """Tell a derived store, and its later incarnations, when the run has begun."""
        self._reconfigure(name, origin=origin)
        await self._insist(name, do="go", origin=origin)

    async def arrive(self, tx: int) -> None:
        """Have the client ask for this transaction, whatever the schedule says of its time; once, however often the client is told.

        Args:
            tx: All before it have been asked for.

        Raises:
            RunFailed: The client does not answer, however often it is told.
        """
        await self._insist(do="next", tx=tx)

    async def _insist(self, who: str = CLIENT, /, **frame: Any) -> None:
        """Tell a process, the client unless it is said, something until it answers; for what may be said twice.

        On a busy machine an answer takes its time, and what is sent while a connection is still being made may be lost: no single question
        shows that a process is hung. One that has ended is noticed by its supervisor, not here.

        Raises:
            RunFailed: It does not answer, however often it is asked.
        """
        deadline = time.monotonic() + _PATIENCE
        while await self.ask(who, 1.0, **frame) is None:
            if time.monotonic() > deadline:
                raise RunFailed(f"process '{who}' has not answered for {_PATIENCE:g} s")

    async def unless_failed(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, but not for longer than all processes can go on.

        Raises:
            RunFailed: One of them cannot.
        """
        main = asyncio.create_task(work)
        failed = asyncio.create_task(self._failed.wait())
        await asyncio.wait({main, failed}, return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if self._failure is not None:
            main.cancel()
            raise self._failure
        return await main

    async def _upgrade(self, when: float, node: str, version: str, written: str) -> None:
        """Have a node, and its relay, speak another version of the event schema from then on."""
        await asyncio.sleep(max(when - time.monotonic(), 0.0))
        for name in (node, f"{node}.relay"):
            child = self.children.get(name)
            if child is not None:
                self._reconfigure(name, speaks=version, writes=written)
                child.replace()

    async def _until_drained(self) -> list[int]:
        expected = self.scenario.run.duration or 0.0
        while True:
            state = await self.ask(CLIENT, 2.0, do="state")
            if state is not None and state["over"]:
                break
            if expected:
                self._progress("running", min((time.monotonic() - self.origin) / expected, 1.0))
            await asyncio.sleep(_POLL)
        if self.injectors is not None:
            self.injectors.arrivals_over()
        self._progress("draining", 1.0)
        return await self.drain(self.scenario.run.drain)

    async def drain(self, patience: float) -> list[int]:
        """Wait until everything is at rest, but no longer than `patience` seconds; returns what is still being worked on."""
        self._over = True
        deadline = time.monotonic() + patience
        still = 0
        working: set[int] = set()
        while time.monotonic() < deadline and still < _STILL:
            quiet, working = await self.state()
            still = still + 1 if quiet else 0
            await asyncio.sleep(_POLL)
        return sorted(working)

    async def state(self, patience: float = 1.0, *, stuck_rests: bool = False) -> tuple[bool, set[int]]:
        """Return whether everything is at rest, and which transactions are being worked on. A process has so many seconds to say so.

        Args:
            patience: Seconds.
            stuck_rests: Whether what waits for an operator counts as being at rest.
        """
        word = "resting" if stuck_rests else "quiet"
        names = self.processes  # the client among them, whose requests may still have reached nobody
        replies = await asyncio.gather(*(self.ask(name, patience, do="state", over=self._over) for name in names))
        machines: set[int] = set()
        data: set[int] = set()
        quiet = (self.injectors is None or self.injectors.idle) and all(task.done() for task in self._upgrades)
        for name, reply in zip(names, replies, strict=True):
            if reply is None:
                quiet = False
                continue
            (data if name == BROKER else machines).update(reply.get("working", ()))
            data.update(reply.get("pending", ()))
            quiet = quiet and bool(reply.get(word, reply["quiet"])) and not reply.get("pending")
        waiting = await self._on_server(patience)
        data.update(waiting or ())
        self.waiting = data - machines
        return quiet and waiting == set(), machines | data

    async def _on_server(self, patience: float) -> set[int] | None:
        """Transactions with messages on a broker that is no process of ours to be asked; None: it does not say."""
        watcher = self._watcher or self.backends.broker_watcher(LAUNCHER)
        if watcher is None:
            return set()
        try:
            if self._watcher is None:
                await watcher.connect()
                self._watcher = watcher
            return await asyncio.wait_for(watcher.pending(), patience)
        except (TimeoutError, ConnectionError, BrokerFailed):
            return None


def _terms(service: str, spec: ProviderSpec | None) -> Frame | None:
    """Facts that a service needs about its provider, if it has one: the fields of `simtx.reference.node.outside.Terms`."""
    if spec is None:
        return None
    return {
        "process": provider_of(service),
        "timeout": spec.timeout,
        "retry_after": spec.retry_after,
        "status_query": spec.status_query,
        "remembers": spec.status_query or spec.idempotency is not None,
    }


def left_out(
    scenario: Scenario, strategy: Strategy, derived: Mapping[str, DerivedSpec], *, resumed: bool, server: str = ""
) -> list[str]:
    """Parts that the scenario has beside its transactions and a real run does not play, in words.

    Args:
        scenario: What is played.
        strategy: By whom.
        derived: Derived stores that are played.
        resumed: Whether the run goes on from what an earlier one has left.
        server: Name of the broker in sentences, if it is a server; empty: it is a process of the run, or there is none.
    """
    notes = []
    if not resumed:
        parts = {
            "derived stores are executed on SQLite alone": scenario.derived and not derived,
            "consumer groups are simulated and not executed": scenario.groups,
            "aggregates are simulated and not executed": scenario.aggregates,
        }
        notes += [f"{what}: this run is without those of the scenario" for what, there in parts.items() if there]
    hit = {end for planned in fault_plan(scenario, strategy) for ends in planned.links for end in ends}
    chances, bare = link_chances(scenario), []
    if strategy.uses_broker and server and (BROKER in hit or chances):
        bare.append(server)
    if extras(strategy).uses_vote_store and (VOTE_STORE in hit or chances):
        bare.append("the vote store")
    if scenario.network.client_zone is not None and chances:
        bare.append("the client")
    notes += [
        f"no proxy stands before {one}: faults of links hit those between nodes, and none of those to it"
        for one in bare
    ]
    return notes
