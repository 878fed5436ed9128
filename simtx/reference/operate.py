"""An operator's work on the folder of a run that was kept: what is not finished there, and what to do about it.

While the run is being played, its nodes are asked, where they have said that they listen. When it is over, its
stores are read; for an act the nodes are started again from them, without a client, do what their recovery says and what the operator
asks for, settle, and are stopped. That alone settles most: a recovered participant asks its coordinator, a recovered orchestrator sends its
commands again. Events of older versions are then read by this version: whoever starts the nodes again has upgraded them.

Nothing is done in a folder whose audit logs are not as they were written.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from simtx.printable import printable
from simtx.protocols.extras import extras
from simtx.protocols.names import BROKER
from simtx.reference.addresses import without_password
from simtx.reference.execute import Session
from simtx.reference.node.inspection import Holding, inspect, waiting
from simtx.reference.node.interventions import OUTCOMES, end_branch
from simtx.reference.operating.open_transactions import Evidence, OpenTransaction, open_transactions
from simtx.reference.operating.request import Choice, InterventionRequest, Kind, OperateError, check, choose
from simtx.reference.processes.backends import BROKERS, STORES, Backends
from simtx.reference.processes.calls import Calls
from simtx.reference.processes.launcher import Launcher, Options
from simtx.reference.run_folder.audit import AuditError, AuditLog, Entry, check_history, entries, read_head
from simtx.reference.run_folder.folder import RunFolder, RunFolderError
from simtx.reference.run_folder.strategies import open_strategy
from simtx.reference.stores import StoreDamaged, StoreFailed, open_store
from simtx.reference.stores.registry import PRODUCTS
from simtx.reference.stores.sqlite.tables import refuse_empty

Ask = Callable[..., Any]

NAME: Final = "operator"
_LONGEST_NAME: Final = 100
PATIENCE: Final = 30.0
"""Seconds until an act that has not settled the transaction is reported as it stands."""
_ANSWER: Final = 5.0  # seconds that a node may take to answer
_POLL: Final = 0.1
_STILL: Final = 3  # looks in a row that have to find everything at rest
_SETTLED: Final = ("heuristic",)


@dataclass(frozen=True, slots=True)
class Act:
    """Result of an operator's intervention.

    Attributes:
        transaction: Its number; -1 if it is not known.
        kind: What was asked for.
        said: Node and what it said to that.
        lines: What the audit logs have been told of the transaction since, in the order of their times.
        left: What is still open of it.
    """

    transaction: int
    kind: Kind
    said: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Entry] = field(default_factory=list)
    left: list[OpenTransaction] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Return whether nothing is open any more, but for the decision that a heuristic one has anticipated."""
        return all(row.problem in _SETTLED for row in self.left)


def list_transactions(
    folder: str | Path, *, store: str | None = None, broker: str | None = None, trust: bool = False
) -> list[OpenTransaction]:
    """Open transactions of a run, the gravest problem first; nothing is changed.

    Args:
        folder: The run's folder.
        store: DSN of the server that holds the databases, if it is one of yours: what the folder says of servers is shown, never connected to.
        broker: URL of the broker, likewise.
        trust: Whether the folder may run programs that are in it: a strategy that is not one of simtx, and PostgreSQL on its data. Say so of
            folders alone that you have made, and into which nobody else could write since.

    Raises:
        RunFolderError: It is no run's folder, another operator is using it, or it needs `trust` or the address of a server.
        AuditError: An audit log cannot be read.
        StoreFailed: A store cannot be read, though it is what it was.
    """
    run = _Run(Path(folder), store, broker, trust)
    if run.is_live:
        return asyncio.run(run.look_live())
    with run.folder.locked(playing=False), run.backends_up():
        return run.look()


def intervene(
    folder: str | Path,
    transaction: int | str,
    kind: Kind,
    *,
    reason: str,
    operator: str | None = None,
    node: str | None = None,
    outcome: str | None = None,
    heuristic: bool = False,
    store: str | None = None,
    broker: str | None = None,
    trust: bool = False,
    patience: float = PATIENCE,
) -> Act:
    """Do something about a transaction that is not finished, and write down who did it and why.

    Args:
        folder: The run's folder.
        transaction: Its number, or the database's name of an orphaned branch.
        kind: ``retry``: try again, ask again; ``skip``: the step that is stuck counts as dealt with; ``resolve``: the whole transaction does.
        reason: Why; it goes into the audit log.
        operator: Who; None: the user of this process.
        node: Where, if that is not clear.
        outcome: With ``resolve``, of a branch in doubt: ``commit`` or ``abort``, without its coordinator.
        heuristic: Whether such a decision is really meant: if the coordinator decides otherwise, the data is left inconsistent.
        store: As for `list_transactions`.
        broker: Likewise.
        trust: Likewise.
        patience: Seconds to wait until everything has settled.

    Raises:
        OperateError: It makes no sense there; nothing was done.
        RunFolderError: The folder is no run's, is in use by another operator, or needs `trust` or the address of a server.
        AuditError: An audit log is not as it was written; nothing was done.
        StoreDamaged: A store is not what it was; nothing was done.
        RunFailed: A node, a database or the broker does not start.
    """
    if not reason.strip():
        raise OperateError("an act needs a reason: it goes into the audit log")
    name = operator or getpass.getuser()
    if not name.isprintable() or len(name) > _LONGEST_NAME:
        raise OperateError(
            f"an operator's name is one line of at most {_LONGEST_NAME} printable signs, not '{printable(name[:_LONGEST_NAME])}'"
        )
    reason = " ".join(reason.split())
    if not reason.isprintable():
        raise OperateError(f"a reason is text of printable signs, not '{printable(reason[:200])}'")
    request = InterventionRequest(transaction, kind, reason, name, node, outcome, heuristic)
    run = _Run(Path(folder), store, broker, trust)
    check(request, run.nodes)
    if run.is_live:
        return asyncio.run(run.act_live(request, patience))
    with run.folder.locked(playing=False):
        run.verify()
        run.folder.update(acting=f"{request.who} in process {os.getpid()}")
        try:
            return run.act(request, patience)
        finally:
            run.folder.seal()


class _Run:
    """A run's folder, with what is needed to look into it."""

    def __init__(self, path: Path, store: str | None, broker: str | None, trust: bool) -> None:
        self.folder = RunFolder.open(path)
        self.record = record = self.folder.read()
        self.scenario = self.folder.scenario()
        self.strategy = open_strategy(self.folder, trust=trust)
        self.hub = self.strategy.hub
        store = _address(record.store, STORES, store, "store")
        broker = _address(record.broker, BROKERS, broker, "broker") if self.strategy.uses_broker else BROKERS[0]
        if store in STORES and PRODUCTS[store].server and not trust:
            raise RunFolderError(
                f"to look into the databases in '{path}', a server ({store}) has to be started on them, and does what is written there; "
                "say --trust if you have made the folder, and nobody else could write into it since"
            )
        self.backends = Backends(store, broker, self.folder, self.scenario, self.strategy)
        self.nodes = self.backends.nodes

    @property
    def is_live(self) -> bool:
        """Return whether the run is being played.

        Raises:
            RunFolderError: Something else is being done in the folder.
        """
        holder = self.folder.holder()
        if holder and self.folder.read().status != "running":
            raise RunFolderError(f"'{self.folder.path}' is in use by process {holder}; wait for its end")
        return bool(holder)

    @contextmanager
    def backends_up(self) -> Iterator[None]:
        try:
            self.backends.start()
            yield
        finally:
            self.backends.stop()

    def verify(self) -> None:
        """Refuse to build on audit logs that were changed: what is sealed anew would look as if it had always been so.

        Raises:
            AuditError: One was.
        """
        for node, findings in self.folder.verify_audits().items():
            grave = [finding for finding in findings if "was never finished" not in finding]  # a kill may do that
            if grave:
                what = f"'{node}'" if node == "run.json" else f"the audit log of '{node}'"
                raise AuditError(f"{what} is not as it was written ({grave[0]}); nothing was done")

    def heads(self) -> dict[str, int]:
        """Number of the last line of each audit log that is there."""
        return {node: read_head(path).number for node, path in self.folder.audits().items()}

    def since(self, heads: dict[str, int], tx: int) -> list[Entry]:
        """Lines about a transaction that were written since."""
        new = [
            entry
            for node, path in self.folder.audits().items()
            for entry in entries(path)
            if entry.number > heads.get(node, 0) and entry.tx == tx
        ]
        return sorted(new, key=lambda entry: (entry.time, entry.node, entry.number))

    # --- a run that is over -----------------------------------------------------------------------------------------------------

    def look(self) -> list[OpenTransaction]:
        """Open transactions, from the stores; nothing else may be using them."""
        evidence = Evidence()
        for node in self.nodes:
            try:
                spec = self.backends.store(node)
                if spec["create"]:
                    continue  # it was never started
                with closing(open_store(spec)) as store:
                    check_history(self.folder.audit(node), store.history())
                    evidence.add(inspect(node, self.strategy, store, None, {}))
            except StoreFailed as error:
                if not isinstance(error, StoreDamaged) and node not in self.backends.servers:
                    raise  # a server of somebody else's, which may be back soon
                evidence.damaged[node] = str(error)
        try:
            if self.backends.broker_process is not None and self.backends.broker_process["ack"] != "memory":
                file = self.folder.node(BROKER) / "broker.sqlite"
                if self.folder.has_worked(BROKER):
                    refuse_empty(file)
                evidence.waiting = list(waiting(file))
        except StoreDamaged as error:
            evidence.damaged[BROKER] = str(error)
        return open_transactions(
            self.folder, self.nodes, self.hub, evidence, presumption=extras(self.strategy).presumption
        )

    def act(self, request: InterventionRequest, patience: float) -> Act:
        """Do it."""
        number = _next_incarnation(self.folder)
        options = Options(seed=self.record.seed, resumed=number)
        session = Session(self.folder, self.scenario, self.strategy, self.backends, options)

        async def work(launcher: Launcher) -> Act:
            plan = choose(_sound(await asyncio.to_thread(self.look)), request, self.strategy)
            heads = self.heads()
            if plan.way == "ask":
                said = await self._resume(launcher, plan, request, patience)
            else:
                said = [await asyncio.to_thread(self._directly, row, plan.way, request) for row in plan.rows]
            await launcher.stop()
            left = _about(await asyncio.to_thread(self.look), plan)
            return Act(plan.tx, request.kind, said, self.since(heads, plan.tx), left)

        result: Act = session.inside(work)
        return result

    def _directly(self, row: OpenTransaction, way: str, request: InterventionRequest) -> tuple[str, str]:
        """Acts that need no machine."""
        tx, node = row.transaction, row.node
        with AuditLog(self.folder.audit(node), node) as audit:

            def tell(act: str, about: int, who: str, **details: Any) -> None:
                audit.append(act, tx=about, actor=who, **details)

            tell("request", tx, request.who, name=request.kind, reason=request.reason)
            if way == "close":
                tell(request.kind, tx, request.who, name="closed", reason=request.reason)
                return node, "what was noted of it counts as dealt with"
            with closing(open_store(self.backends.store(node))) as store:
                audit.reconcile(store.history())
                decision = OUTCOMES[request.outcome or ""]
                end_branch(store, row.branch, decision, tell, request.who, request.reason)
        return node, f"the branch was ended by a heuristic decision: {decision}"

    async def _resume(
        self, launcher: Launcher, plan: Choice, request: InterventionRequest, patience: float
    ) -> list[tuple[str, str]]:
        """Start the nodes again, ask, and wait until nothing moves any more."""
        deadline = time.monotonic() + patience
        said = []
        if request.kind == "retry" or any(row.branch for row in plan.rows):  # recovery does it
            for row in plan.rows:
                with AuditLog(self.folder.audit(row.node), row.node) as audit:
                    for act, name in (("request", request.kind), (request.kind, "restart")):
                        audit.append(act, tx=row.transaction, actor=request.who, name=name, reason=request.reason)
            await self._start(launcher)
            said = [(row.node, "started again from its store") for row in plan.rows]
        else:
            await self._start(launcher)
            for row in plan.rows:
                said.append((row.node, await _request(launcher.ask, row, request, deadline)))
        await _settle(launcher, deadline)
        return said

    async def _start(self, launcher: Launcher) -> None:
        for name in launcher.processes:
            self.folder.withdraw(name)
        launcher.configure()
        await launcher.start()

    # --- a run that is being played ---------------------------------------------------------------------------------------------

    async def look_live(self) -> list[OpenTransaction]:
        """Open transactions, from the nodes."""
        async with Calls(NAME, self.folder) as calls:
            return await self._look_live(calls)

    async def _look_live(self, calls: Calls) -> list[OpenTransaction]:
        evidence = Evidence(stopped={})
        evidence.damaged = {node: why for node in self.nodes if (why := self.backends.missing(node))}
        frames = await asyncio.gather(*(self._inspect(calls, node) for node in self.nodes))
        for node, frame in zip(self.nodes, frames, strict=True):
            if frame is None or frame.get("status") != "done" or evidence.stopped is None:
                evidence.silent.append(node)
                continue
            evidence.add(Holding.from_json(raw) for raw in frame["held"])
            evidence.stopped[node] = [(tx, reason) for tx, reason in frame["stopped"]]
            if frame["left_out"]:
                evidence.left_out[node] = frame["left_out"]
        return open_transactions(
            self.folder, self.nodes, self.hub, evidence, presumption=extras(self.strategy).presumption
        )

    async def _inspect(self, calls: Calls, node: str) -> dict[str, Any] | None:
        if self.folder.locate(node) is None:  # it is not running at this moment
            return None
        return await calls.ask(node, _ANSWER, type="operator", do="inspect")

    async def act_live(self, request: InterventionRequest, patience: float) -> Act:
        """Do it."""
        deadline = time.monotonic() + patience
        async with Calls(NAME, self.folder) as calls:
            plan = choose(_sound(await self._look_live(calls)), request, self.strategy)
            heads = self.heads()
            said = [
                (row.node, await _request(calls.ask, row, request, deadline, plan.way == "close")) for row in plan.rows
            ]
            while True:
                left = _about(await self._look_live(calls), plan)
                over = not left or plan.way != "ask" or all(row.problem in ("stuck", "parked") for row in left)
                if over or time.monotonic() > deadline:
                    return Act(plan.tx, request.kind, said, self.since(heads, plan.tx), left)
                await asyncio.sleep(_POLL)


def _sound(rows: list[OpenTransaction]) -> list[OpenTransaction]:
    """These rows, if every store is what it was; an act that builds on another one makes money from nothing.

    Raises:
        StoreDamaged: One is not.
    """
    for row in rows:
        if row.problem == "damaged":
            raise StoreDamaged(f"'{row.node}' is damaged ({row.reason}); nothing was done")
    return rows


def _about(rows: list[OpenTransaction], plan: Choice) -> list[OpenTransaction]:
    """Open parts of it."""
    if plan.way != "ask" and plan.tx >= 0:
        nodes = {row.node for row in plan.rows}
        return [row for row in rows if row.transaction == plan.tx and row.node in nodes]
    if plan.tx >= 0:
        return [row for row in rows if row.transaction == plan.tx]
    names = {row.branch for row in plan.rows}
    return [row for row in rows if row.branch in names]


# --- asking -------------------------------------------------------------------------------------------------------------------


async def _request(
    ask: Ask, row: OpenTransaction, request: InterventionRequest, deadline: float, close: bool = False
) -> str:
    """Ask a node until it has done it, has refused it, or time is over; what it said.

    A machine that has just been recovered is at work, and takes an operator's request only when it is stuck again, if it is.

    Raises:
        OperateError: The node refuses.
    """
    frame: dict[str, Any] = {
        "do": request.kind,
        "tx": row.transaction,
        "reason": request.reason,
        "operator": request.operator,
    }
    if close:
        frame["close"] = True
    elif row.branch and (request.outcome is not None or row.problem == "orphan"):
        frame |= {"branch": row.branch, "outcome": request.outcome}
    again = False
    while True:
        answer = await ask(row.node, _ANSWER, type="operator", **frame, again=again)
        if answer is not None:
            status, text = answer["status"], str(answer["text"])
            if status == "refused":
                raise OperateError(f"'{row.node}': {text}")
            if status == "unknown" and again:
                return "it went on by itself"
            if status in ("done", "unknown") or request.kind == "retry":
                return text
            again = True
        else:
            text = "it does not answer"
        if time.monotonic() > deadline:
            return text
        await asyncio.sleep(_POLL)


async def _settle(launcher: Launcher, deadline: float) -> None:
    """Wait until everything is at rest, but for what waits for an operator."""
    still = 0
    while still < _STILL and time.monotonic() < deadline:
        quiet, _ = await launcher.state(stuck_rests=True)
        still = still + 1 if quiet else 0
        await asyncio.sleep(_POLL)


# --- the folder ---------------------------------------------------------------------------------------------------------------


def _address(recorded: str, products: tuple[str, ...], given: str | None, option: str) -> str:
    """Address of databases or broker. Of a server that is not ours the operator gives it, since the folder may be somebody else's.

    Raises:
        RunFolderError: He does not, or says it of a product that is in the folder.
    """
    given = given or (None if recorded in products else os.environ.get(f"SIMTX_{option.upper()}"))
    if recorded in products:
        if given is not None and given != recorded:
            raise RunFolderError(f"the {option} of this run is '{recorded}', in the run's folder; leave --{option} out")
        return recorded
    if given is None:
        raise RunFolderError(
            f"the {option} of this run is the server '{without_password(recorded):.200}'; if that is yours, give its address: --{option} ADDRESS, or in SIMTX_{option.upper()}"
        )
    return given


def _next_incarnation(folder: RunFolder) -> int:
    """A number that no process of the run has had."""
    numbers = [0]
    for log in folder.logs():
        middle = log.name.removesuffix(".jsonl").partition(".")[2]
        numbers.append(int(middle) if middle.isdigit() else 0)
    return max(numbers) + 1
