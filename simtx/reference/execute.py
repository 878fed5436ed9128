"""`simtx.execute`: one run of a scenario for real, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtx.arguments import SEED, checked, choice, flag, instance, listed, optional, path, progress, table, text, whole
from simtx.errors import RunFailed, ScenarioError
from simtx.event_log.entries import Seconds
from simtx.progress import Phases, phases
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.event_schema import Schema, SchemaError
from simtx.protocols.extras import own_nodes
from simtx.protocols.names import HUB
from simtx.reference.addresses import without_password
from simtx.reference.node.crash_points import CrashPoint
from simtx.reference.processes.backends import Backends, check_broker, check_disk, check_faults, check_store
from simtx.reference.processes.faults import triggered
from simtx.reference.processes.launcher import Launcher, Options
from simtx.reference.processes.preflight import check, check_address, provider_of, store_of
from simtx.reference.processes.schedule import Schedule
from simtx.reference.run_folder import scratch, strategies
from simtx.reference.run_folder.collect import Left, gather
from simtx.reference.run_folder.derived import figures
from simtx.reference.run_folder.event_log import entries
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.stores import open_store
from simtx.reference.stores.sqlite.provider import BOOKS, ProviderBooks
from simtx.scenario.provenance import Provenance, provenance
from simtx.scenario.strata import refuse

if TYPE_CHECKING:
    from simtx.metrics.run import Run
    from simtx.reference.stores.base import Change
    from simtx.scenario import Scenario

Course = Callable[[Launcher], Awaitable[list[int]]]


@checked(
    store=text,
    broker=text,
    seed=SEED,
    folder=optional(path),
    network=choice("loopback", "scenario"),
    disk=choice("machine", "scenario"),
    kills=optional(table(text, listed(instance(CrashPoint, ""), ""), "lists of CrashPoint by node")),
    host=optional(text),
    port=whole(0, 65535),
    speaks=optional(table(text, text, "versions by node")),
    upgrades=listed(instance(tuple, ""), "triples (seconds, node, version)"),
    service_times=flag,
    progress=progress,
)
def execute(
    scenario: Scenario | str,
    strategy: Strategy | str,
    *,
    store: str = "sqlite",
    broker: str = "embedded",
    seed: int = 1,
    folder: str | Path | None = None,
    network: str = "loopback",
    disk: str = "machine",
    kills: Mapping[str, Sequence[CrashPoint]] | None = None,
    host: str | None = None,
    port: int = 0,
    speaks: Mapping[str, str] | None = None,
    upgrades: Sequence[tuple[float, str, str]] = (),
    service_times: bool = True,
    progress: bool | Phases | None = None,
) -> Run:
    """Execute one run: every service, the hub, the relays, the broker and the client are processes of their own, on this machine.

    Args:
        scenario: A scenario, or the name or path of one. Its network latencies, disks and broker are not imitated, unless `network` and `disk` say so: messages,
            forced writes and publications take what they take here. Its service times are slept; its faults are injected for real.
        strategy: A name, or an object with options, ours or your own.
        store: ``sqlite``, ``postgres`` (a server of its own for each node), or the DSN of a server of yours.
        broker: ``embedded``, ``nats``, or the URL of a server of yours; for strategies that publish.
        seed: Seed of the transactions: the same as in a simulated run.
        folder: Where the stores, logs and audit logs are kept; it must be new or empty. None: a temporary folder, deleted afterwards.
        network: ``loopback``: messages take the time that they need here; ``scenario``: they are delayed by the scenario's latencies.
        disk: ``machine``: forced writes take the time that they need here; ``scenario``: each takes as long as the scenario's `forced_write` at least (SQLite).
        kills: Places in the protocol at which a process kills itself with SIGKILL, by node.
        host: Address to listen on, of TCP; others can reach it, but do not have the run's secret. None: Unix sockets in a private folder, which
            nobody else can reach.
        port: First port to listen on at that address; 0: free ones.
        speaks: Version of the event schema by node, for those that have not been upgraded yet.
        upgrades: A rolling upgrade: (seconds since the start, node, version); the node is stopped then, and started again with that version.
        service_times: False: steps take no service time beside their real work.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none; or a function, called with the phase
            of the run and the share of it that is done.

    Returns:
        The finished run, of the same kind as that of `simtx.simulate`; `run.digest` is that of the measured numbers, which no seed repeats.

    Raises:
        ScenarioError: The input is wrong.
        RunFailed: A process, a database or the broker cannot go on; the text says which and why.
    """
    from simtx.scenario import load

    scenario = load(scenario)
    chosen = resolve(strategy, scenario.policies)
    check_store(store)
    check_broker(broker)
    refuse(scenario, "execute")
    check_faults(scenario, store, broker)
    if network not in ("loopback", "scenario"):
        raise ScenarioError(f"there is no network '{network}'; use 'loopback' or 'scenario'", "network")
    check_disk(disk, store)
    schedule = Schedule.draw(scenario, seed)
    check(scenario, chosen, schedule.plans)
    if host is not None:
        check_address(host, port, 8 + 4 * len(scenario.services) + len(scenario.derived))
    elif port:
        raise ScenarioError("a port belongs to an address: say host as well, such as 127.0.0.1", "port")
    nodes = [*scenario.services, *own_nodes(chosen)]
    _check_versions([*(speaks or {}).items(), *(upgrade[1:] for upgrade in upgrades)], nodes)
    spoken = dict.fromkeys(nodes, str(scenario.events.version))
    rolled = [(at, node, version, version) for at, node, version in upgrades]
    for one in scenario.upgrades:
        name = chosen.hub if one.node == HUB else one.node
        if name is not None:
            rolled.append((one.at, name, one.to, one.writes))
    points = triggered(scenario, chosen)
    for node, more in (kills or {}).items():
        points.setdefault(node, []).extend(more)
    options = Options(
        seed=seed,
        kills=points,
        network=network,
        disk=disk,
        host=host,
        port=port,
        speaks={**spoken, **(speaks or {})},
        upgrades=tuple(rolled),
        service_times=service_times,
    )
    others: dict[str, Any] = {"kills": kills, "speaks": speaks, "upgrades": upgrades}
    others |= {} if service_times else {"service_times": False}
    others |= {} if disk == "machine" else {"disk": disk}
    comes_from = origin(scenario, chosen, seed=seed, store=store, broker=broker, network=network, **others)
    with _folder(folder) as path, phases(progress) as show:
        keep = folder is not None
        run = played(schedule, scenario, chosen, options, path, store, broker, keep=keep, progress=show)
    return run.coming_from(comes_from)


def origin(
    scenario: Scenario,
    strategy: Strategy,
    *,
    seed: int,
    store: str,
    broker: str,
    network: str = "loopback",
    **others: Any,
) -> Provenance:
    """Provenance of a real run; no password of a server is in it.

    Args:
        scenario: What is played.
        strategy: By whom.
        seed: As for `execute`, like the rest.
        store: Likewise.
        broker: Likewise.
        network: Likewise.
        others: Further arguments; those that are empty are left out.
    """
    settings: dict[str, Any] = {"store": without_password(store)}
    if strategy.uses_broker:
        settings["broker"] = without_password(broker)
    if network != "loopback":
        settings["network"] = network
    settings |= {name: value for name, value in others.items() if value or value is False}
    return provenance("execute", scenario, {strategy.name: strategy}, seed=seed, replication=0, settings=settings)


def played(
    schedule: Schedule,
    scenario: Scenario,
    strategy: Strategy,
    options: Options,
    folder: Path,
    store: str,
    broker: str,
    *,
    keep: bool = True,
    course: Course | None = None,
    progress: Phases | None = None,
) -> Run:
    """Play a schedule in a new folder; what `execute` does with the one that it has drawn. Nothing is checked here.

    Args:
        schedule: The transactions.
        scenario: Services and all the rest.
        strategy: With its policies filled in.
        options: How.
        folder: New or empty.
        store: As for `execute`.
        broker: Likewise.
        keep: Whether databases are to outlive the run.
        course: How to play, once all processes are up; None: as the schedule says.
        progress: Called with the phase of the run and the share of it that is done.

    Raises:
        RunFailed: A process, a database or the broker cannot go on.
    """
    run_folder = RunFolder.create(folder, scenario, strategy, seed=options.seed, store=store, broker=broker)
    try:
        with run_folder.locked():
            strategies.write(run_folder, strategy)
            backends = Backends(store, broker, run_folder, scenario, strategy, keep=keep)
            return Session(run_folder, scenario, strategy, backends, options, progress).run(schedule, course)
    except OSError as error:
        where = error.filename or folder
        raise RunFailed(f"the run cannot go on: {error.strerror or error}: '{where}'") from None


class Session:
    """One execution, seen from the caller's thread: the launcher works on an event loop in a thread of its own.

    So it works inside a notebook, whose own loop is busy with the cell that calls us, and Ctrl-C reaches the caller at once.
    """

    def __init__(
        self,
        folder: RunFolder,
        scenario: Scenario,
        strategy: Strategy,
        backends: Backends,
        options: Options,
        progress: Phases | None = None,
    ) -> None:
        self.folder = folder
        self.scenario = scenario
        self.strategy = strategy
        self.backends = backends
        self.options = options
        self.progress = progress or _silent
        self.launcher: Launcher | None = None
        self._result: Any = None
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._private = contextlib.ExitStack()  # folders that are gone when the run is over

    def run(self, schedule: Schedule, course: Course | None = None) -> Run:
        """Play the schedule and collect the run.

        Args:
            schedule: What to play.
            course: How, once all processes are up; returns the transactions that are not through. None: `Launcher.play`.
        """
        before: dict[str, tuple[int, float]] = {}
        used: dict[str, float] = {}

        async def whole(launcher: Launcher) -> tuple[float, float, list[int], set[int], list[str]]:
            launcher.write(schedule)
            await launcher.start()
            before.update(await asyncio.to_thread(self.backends.used))
            unfinished = await (course or Launcher.play)(launcher)
            for node, (server, seconds) in (await asyncio.to_thread(self.backends.used)).items():
                if node in before and before[node][0] == server:  # otherwise it was killed, and is another one
                    used[node] = seconds - before[node][1]
            return launcher.origin, time.monotonic(), unfinished, launcher.waiting, launcher.notes

        origin, end, unfinished, waiting, notes = self.inside(whole)
        changes, values = {}, {}
        left: dict[str, Left] = {}
        for node in self.scenario.services:
            changes[node], values[node], left[node] = self._stored[node]
        rows = entries(self.folder.logs())
        rows += [
            [None, end, "used", node, -1, None, "host", "", store_of(node), Seconds(seconds).text()]
            for node, seconds in used.items()
        ]
        if short := schedule.used_up(self.scenario, rows, origin):
            notes = [*notes, short]
        return gather(
            self.scenario,
            self.strategy,
            self.options.seed,
            rows=rows,
            origin=origin,
            end=end,
            changes=changes,
            values=values,
            unfinished=unfinished,
            waiting=waiting,
            left=left,
            notes=notes,
            extra=figures(self.folder, self.scenario, changes, values, origin),
        )

    def _read(self, node: str) -> tuple[list[Change], dict[str, float], Left]:
        """Read what a service has in the end: history, values, and what is open. Of values that its provider changes, the provider has the books."""
        with contextlib.closing(open_store(self.backends.store(node))) as store:
            changes, values, left = list(store.history()), store.values(), Left.of(store)
        service = self.scenario.services[node]
        if service.provider is None:
            return changes, values, left
        file = self.folder.node(provider_of(node)) / BOOKS
        with contextlib.closing(ProviderBooks.of(file, service, create=False)) as books:
            return books.history(), books.values(), left

    def inside(self, work: Callable[[Launcher], Any]) -> Any:
        """Bring the backends up, do something with a launcher, stop its processes, read the stores, and bring everything down.

        Raises:
            KeyboardInterrupt: Of the caller; every process has ended by then.
        """
        self._stored: dict[str, Any] = {}

        async def main() -> Any:
            sockets = None if self.options.host else self._private.enter_context(scratch.sockets())
            launcher = self.launcher = Launcher(
                self.folder, self.scenario, self.strategy, self.backends, self.options, self.progress, sockets
            )
            try:
                result = await work(launcher)
            finally:
                await asyncio.shield(launcher.stop())
            for node in self.scenario.services:
                self._stored[node] = self._read(node)
            return result

        def thread() -> None:
            try:
                self.backends.start()
                with asyncio.Runner() as runner:
                    self._loop = runner.get_loop()
                    self._task = self._loop.create_task(main())
                    if self._interrupted:  # while the backends started, when there was nothing to cancel
                        self._task.cancel()
                    self._result = self._loop.run_until_complete(self._task)
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
                self._error = error
            finally:
                if self.launcher is not None:
                    self.launcher.destroy()
                self._private.close()
                try:
                    self.backends.stop()
                except BaseException as error:  # noqa: BLE001 - likewise; the first one is the cause of the others
                    self._error = self._error or error
                finally:
                    over.set()

        over = threading.Event()
        worker = threading.Thread(target=thread, name="simtx-launcher")
        try:
            worker.start()
            while not over.wait(0.2):  # a `join` that is interrupted takes the thread for ended (Python 3.11, 3.12)
                pass
        except BaseException:
            self._interrupted = True
            if self._loop is not None and self._task is not None:
                with contextlib.suppress(RuntimeError):  # it was closed at this moment
                    self._loop.call_soon_threadsafe(self._task.cancel)
            if worker.ident is not None:
                over.wait()
            raise
        worker.join()
        if self._error is not None:
            raise self._error
        return self._result


@contextlib.contextmanager
def _folder(folder: str | Path | None) -> Iterator[Path]:
    """The folder of the run: the given one, or one that is gone afterwards."""
    if folder is not None:
        yield Path(folder)
        return
    with scratch.folder() as path:
        yield path


def _check_versions(speaks: Iterable[tuple[str, str]], nodes: Collection[str]) -> None:
    """Refuse versions of events that do not exist, before anything is started.

    Args:
        speaks: Nodes, with the versions that they are to speak.
        nodes: All nodes.

    Raises:
        ScenarioError: There is no such node, or no such version.
    """
    for node, version in speaks:
        if node not in nodes:
            known = ", ".join(sorted(nodes))
            raise ScenarioError(f"there is no node '{node}' to speak it; the nodes are {known}", "speaks")
        try:
            Schema(version)
        except SchemaError as error:
            raise ScenarioError(str(error), f"speaks.{node}") from None


def _silent(phase: str, share: float) -> None:
    """Show no progress."""
