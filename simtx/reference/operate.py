"""An operator's work on the folder of a run that was kept: what is not finished there, and what to do about it.

While the run is being played, its nodes are asked, through the ports that they have announced and with the run's secret. When it is over, its
stores are read; for an act the nodes are started again from them, without a client, do what their recovery says and what the operator
asks for, settle, and are stopped. That alone settles most: a recovered participant asks its coordinator, a recovered orchestrator sends its
commands again. Events of older versions are then read by this version: whoever starts the nodes again has upgraded them.

Nothing is done in a folder whose audit logs are not as they were written.
"""

from __future__ import annotations

import asyncio
import getpass
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from simtx.errors import ScenarioError
from simtx.protocols import Strategy
from simtx.protocols.codec import register
from simtx.reference.audit import AuditError, AuditLog, Entry, entries
from simtx.reference.backends import Backends
from simtx.reference.calls import Calls
from simtx.reference.execute import Session
from simtx.reference.inspection import Holding, inspect, waiting
from simtx.reference.interventions import OUTCOMES, end_branch
from simtx.reference.launcher import Launcher, Options
from simtx.reference.runfolder import RunFolder, RunFolderError
from simtx.reference.stores import Store, open_store
from simtx.reference.survey import NOTED, Evidence, OpenTransaction, survey

Kind: TypeAlias = Literal["retry", "skip", "resolve"]
Ask = Callable[..., Any]

NAME: Final = "operator"
PATIENCE: Final = 30.0
"""Seconds until an act that has not settled the transaction is reported as it stands."""
_ANSWER: Final = 5.0  # seconds that a node may take to answer
_POLL: Final = 0.1
_STILL: Final = 3  # looks in a row that have to find everything at rest
_SETTLED: Final = ("heuristic",)


class OperateError(ScenarioError):
    """What the operator asks for makes no sense there; the text says why, and what would."""


@dataclass(frozen=True, slots=True)
class Act:
    """What has come of an operator's act.

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
        """Whether nothing is open any more, but for the decision that a heuristic one has anticipated."""
        return all(row.problem in _SETTLED for row in self.left)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the operator wants.

    Attributes:
        target: Number of a transaction, or a database's name of a branch.
        kind: ``retry``, ``skip`` or ``resolve``.
        reason: Why.
        operator: Who.
        node: Where; None: wherever it fits.
        outcome: Of a heuristic decision, ``commit`` or ``abort``.
        heuristic: Whether he knows what that means.
    """

    target: int | str
    kind: Kind
    reason: str
    operator: str
    node: str | None
    outcome: str | None
    heuristic: bool

    @property
    def who(self) -> str:
        return f"operator:{self.operator}"


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to do it: the rows that it is about, and in which of three ways.

    Attributes:
        rows: One for each node.
        way: ``ask`` the machines; ``branch``: end it in the store; ``close``: note that it was dealt with.
    """

    rows: list[OpenTransaction]
    way: Literal["ask", "branch", "close"]

    @property
    def tx(self) -> int:
        return self.rows[0].transaction


def list_transactions(
    folder: str | Path, *, store: str | None = None, broker: str | None = None
) -> list[OpenTransaction]:
    """What is not finished in a run, the gravest first; nothing of it is changed.

    Args:
        folder: The run's folder.
        store: DSN of the database's server, if it takes a password, which is not kept in the folder.
        broker: URL of the broker, likewise.

    Raises:
        RunFolderError: It is no run's folder, or another operator is using it.
        AuditError: An audit log cannot be read.
        StoreFailed: A store cannot be read.
    """
    run = _Run(Path(folder), store, broker)
    if run.is_live:
        return asyncio.run(run.look_live())
    with run.alone(), run.backends_up():
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
        store: DSN of the database's server, if it takes a password, which is not kept in the folder.
        broker: URL of the broker, likewise.
        patience: Seconds to wait until everything has settled.

    Raises:
        OperateError: It makes no sense there; nothing was done.
        RunFolderError: The folder is no run's, or in use by another operator.
        AuditError: An audit log is not as it was written; nothing was done.
        RunFailed: A node, a database or the broker does not start.
    """
    if not reason.strip():
        raise OperateError("an act needs a reason: it goes into the audit log")
    name = operator or getpass.getuser()
    wish = _Wish(transaction, kind, " ".join(reason.split()), name, node, outcome, heuristic)
    run = _Run(Path(folder), store, broker)
    _check(wish, run.nodes)
    if run.is_live:
        return asyncio.run(run.act_live(wish, patience))
    with run.alone():
        run.verify()
        try:
            return run.act(wish, patience)
        finally:
            run.folder.seal()


class _Run:
    """A run's folder, with what is needed to look into it."""

    def __init__(self, path: Path, store: str | None, broker: str | None) -> None:
        self.folder = RunFolder.open(path)
        self.record = record = self.folder.read()
        self.scenario = self.folder.scenario()
        self.strategy = _strategy(path)
        self.hub = self.strategy.hub
        store, broker = store or record.store, broker or record.broker
        self.backends = Backends(store, broker, self.folder, self.scenario, self.strategy)
        self.nodes = self.backends.nodes

    @property
    def is_live(self) -> bool:
        """Whether the run is being played.

        Raises:
            RunFolderError: Something else is being done in the folder.
        """
        holder = self.folder.holder()
        if holder and self.folder.read().status != "running":
            raise RunFolderError(f"'{self.folder.path}' is in use by process {holder}; wait for its end")
        return bool(holder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self.folder.locked(playing=False):
            yield

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
                raise AuditError(f"the audit log of '{node}' is not as it was written ({grave[0]}); nothing was done")

    def heads(self) -> dict[str, int]:
        """Number of the last line of each audit log."""
        found = {}
        for node in self.nodes:
            path = self.folder.audit(node)
            found[node] = max((entry.number for entry in entries(path)), default=0) if path.exists() else 0
        return found

    def since(self, heads: dict[str, int], tx: int) -> list[Entry]:
        """Lines about a transaction that were written since."""
        new: list[Entry] = []
        for node, head in heads.items():
            path = self.folder.audit(node)
            if path.exists():
                new += [entry for entry in entries(path) if entry.number > head and entry.tx == tx]
        return sorted(new, key=lambda entry: (entry.time, entry.node, entry.number))

    # --- a run that is over -----------------------------------------------------------------------------------------------------

    def look(self) -> list[OpenTransaction]:
        """What is not finished, from the stores; nothing else may be using them."""
        evidence = Evidence()
        seen: set[str] = set()
        for node in self.nodes:
            spec = self.backends.store(node)
            if spec["kind"] == "sqlite" and not Path(spec["path"]).exists():
                continue  # it was never started
            with _opened(spec) as store:
                held = inspect(node, self.strategy, store, None, {})
            # nodes that share a server see the same orphans
            evidence.held += [one for one in held if not (one.foreign and one.branch in seen)]
            seen.update(one.branch for one in held if one.foreign)
        evidence.waiting = list(waiting(self.folder.path / "nodes" / "broker"))
        return survey(self.folder, self.nodes, self.hub, evidence)

    def act(self, wish: _Wish, patience: float) -> Act:
        """Do it."""
        number = _next_incarnation(self.folder)
        options = Options(seed=self.record.seed, resumed=number)
        session = Session(
            self.folder, self.scenario, self.strategy, self.backends, options, lambda _phase, _share: None
        )

        async def work(launcher: Launcher) -> Act:
            plan = choose(await asyncio.to_thread(self.look), wish, self.strategy)
            heads = self.heads()
            if plan.way == "ask":
                said = await self._resume(launcher, plan, wish, patience)
            else:
                said = [await asyncio.to_thread(self._directly, row, plan.way, wish) for row in plan.rows]
            await launcher.stop()
            left = _about(await asyncio.to_thread(self.look), plan)
            return Act(plan.tx, wish.kind, said, self.since(heads, plan.tx), left)

        result: Act = session.inside(work)
        return result

    def _directly(self, row: OpenTransaction, way: str, wish: _Wish) -> tuple[str, str]:
        """What needs no machine."""
        tx, node = row.transaction, row.node
        with AuditLog(self.folder.audit(node), node) as audit:

            def tell(act: str, about: int, who: str, **details: Any) -> None:
                audit.append(act, tx=about, actor=who, **details)

            tell("request", tx, wish.who, name=wish.kind, reason=wish.reason)
            if way == "close":
                tell(wish.kind, tx, wish.who, name="closed", reason=wish.reason)
                return node, "what was noted of it counts as dealt with"
            with _opened(self.backends.store(node)) as store:
                audit.reconcile(store.history())
                decision = OUTCOMES[wish.outcome or ""]
                end_branch(store, row.branch, decision, tell, wish.who, wish.reason)
        return node, f"the branch was ended by a heuristic decision: {decision}"

    async def _resume(self, launcher: Launcher, plan: _Plan, wish: _Wish, patience: float) -> list[tuple[str, str]]:
        """Start the nodes again, ask, and wait until nothing moves any more."""
        deadline = time.monotonic() + patience
        said = []
        if wish.kind == "retry" or any(row.branch for row in plan.rows):  # recovery does it
            for row in plan.rows:
                with AuditLog(self.folder.audit(row.node), row.node) as audit:
                    for act, name in (("request", wish.kind), (wish.kind, "restart")):
                        audit.append(act, tx=row.transaction, actor=wish.who, name=name, reason=wish.reason)
            await self._start(launcher)
            said = [(row.node, "started again from its store") for row in plan.rows]
        else:
            await self._start(launcher)
            for row in plan.rows:
                said.append((row.node, await _request(launcher.ask, row, wish, deadline)))
        await _settle(launcher, deadline)
        return said

    async def _start(self, launcher: Launcher) -> None:
        for name in launcher.processes:
            self.folder.withdraw(name)
        launcher.configure()
        await launcher.start()

    # --- a run that is being played ---------------------------------------------------------------------------------------------

    async def look_live(self) -> list[OpenTransaction]:
        """What is not finished, as the nodes say."""
        calls = Calls(NAME, self.folder)
        try:
            return await self._look_live(calls)
        finally:
            await calls.close()

    async def _look_live(self, calls: Calls) -> list[OpenTransaction]:
        evidence = Evidence(stopped={})
        frames = await asyncio.gather(*(self._inspect(calls, node) for node in self.nodes))
        seen: set[str] = set()
        for node, frame in zip(self.nodes, frames, strict=True):
            if frame is None or frame.get("status") != "done" or evidence.stopped is None:
                evidence.silent.append(node)
                continue
            held = [Holding.from_json(raw) for raw in frame["held"]]
            evidence.held += [one for one in held if not (one.foreign and one.branch in seen)]
            seen.update(one.branch for one in held if one.foreign)
            evidence.stopped[node] = [(tx, reason) for tx, reason in frame["stopped"]]
            if frame["left_out"]:
                evidence.left_out[node] = frame["left_out"]
        return survey(self.folder, self.nodes, self.hub, evidence)

    async def _inspect(self, calls: Calls, node: str) -> dict[str, Any] | None:
        if self.folder.locate(node) is None:  # it is not running at this moment
            return None
        return await calls.ask(node, _ANSWER, type="operator", do="inspect")

    async def act_live(self, wish: _Wish, patience: float) -> Act:
        """Do it."""
        calls = Calls(NAME, self.folder)
        deadline = time.monotonic() + patience
        try:
            plan = choose(await self._look_live(calls), wish, self.strategy)
            heads = self.heads()
            said = [
                (row.node, await _request(calls.ask, row, wish, deadline, plan.way == "close")) for row in plan.rows
            ]
            while True:
                left = _about(await self._look_live(calls), plan)
                over = not left or plan.way != "ask" or all(row.problem in ("stuck", "parked") for row in left)
                if over or time.monotonic() > deadline:
                    return Act(plan.tx, wish.kind, said, self.since(heads, plan.tx), left)
                await asyncio.sleep(_POLL)
        finally:
            await calls.close()


# --- what fits ----------------------------------------------------------------------------------------------------------------


def _check(wish: _Wish, nodes: list[str]) -> None:
    """Refuse what can never be right.

    Raises:
        OperateError: It is so.
    """
    if wish.kind not in ("retry", "skip", "resolve"):
        raise OperateError(f"an operator can retry, skip or resolve, not '{wish.kind}'")
    if wish.node is not None and wish.node not in nodes:
        raise OperateError(f"there is no node '{wish.node}'; the nodes are {', '.join(nodes)}")
    if wish.outcome is not None and wish.outcome not in OUTCOMES:
        raise OperateError(f"an outcome is 'commit' or 'abort', not '{wish.outcome}'")
    if (wish.outcome is not None or wish.heuristic) and wish.kind != "resolve":
        raise OperateError("an outcome goes with 'resolve' only")
    if wish.heuristic and wish.outcome is None:
        raise OperateError("a heuristic decision needs its outcome: commit or abort")


def choose(rows: list[OpenTransaction], wish: _Wish, strategy: Strategy) -> _Plan:
    """What can be done about it.

    Raises:
        OperateError: Nothing like that; the text says what can.
    """
    named = isinstance(wish.target, str)
    what = f"branch '{wish.target}'" if named else f"transaction {wish.target}"
    mine = [row for row in rows if (row.branch if named else row.transaction) == wish.target]
    mine = [row for row in mine if wish.node in (None, row.node) and (named or row.transaction >= 0)]
    if not mine:
        where = f" at '{wish.node}'" if wish.node else ""
        silent = ", ".join(f"'{row.node}'" for row in rows if row.problem == "unreachable")
        but = f" (but {silent} cannot be asked)" if silent else ""
        raise OperateError(f"{what} is not open{where}{but}; 'simtx transactions list' shows what is")
    if wish.outcome is not None:
        return _Plan([_decidable(mine, what, wish, strategy)], "branch")
    orphan = next((row for row in mine if row.problem == "orphan" and row.transaction < 0), None) or next(
        (row for row in mine if row.reason.startswith("prepared by another")), None
    )
    if orphan is not None:
        raise OperateError(
            f"{what} was {orphan.reason}; if nobody will end it, 'resolve' with an outcome and --heuristic does"
        )
    if wish.kind == "resolve" and (noted := [row for row in mine if row.problem in NOTED]):
        return _Plan(noted, "close")
    if wish.kind == "retry" or all(row.problem == "orphan" for row in mine):
        return _Plan(_one_a_node(mine), "ask")
    able = _one_a_node([row for row in mine if _can_be_asked(row, strategy)])
    if not able:
        row = mine[0]
        does = (
            f"a {row.role} in state '{row.state}' does what is decided elsewhere" if row.role else "no machine is left"
        )
        decide = "; 'resolve' with an outcome and --heuristic decides without it" if row.branch else ""
        raise OperateError(f"{what} cannot be {_DONE[wish.kind]} at '{row.node}': {does}; 'retry' asks again{decide}")
    waiting_ = [row for row in able if row.problem in ("stuck", "parked")] or able
    if len(waiting_) > 1:
        nodes = ", ".join(row.node for row in waiting_)
        raise OperateError(f"{what} waits at several nodes: say which of {nodes} with --node")
    return _Plan(waiting_, "ask")


_DONE: Final = {"retry": "retried", "skip": "skipped", "resolve": "resolved"}


def _decidable(mine: list[OpenTransaction], what: str, wish: _Wish, strategy: Strategy) -> OpenTransaction:
    """The branch that a heuristic decision is about.

    Raises:
        OperateError: There is none, or several, or it is not really meant.
    """
    branches = [row for row in mine if row.branch]
    if not branches:
        raise OperateError(f"{what} has no prepared branch: under '{strategy.name}' it is resolved without an outcome")
    if len(branches) > 1:
        nodes = ", ".join(row.node for row in branches)
        raise OperateError(f"{what} is prepared at several nodes: say which of {nodes} with --node")
    row = branches[0]
    if not wish.heuristic:
        raise OperateError(
            f"to {wish.outcome} {what} at '{row.node}' without its coordinator ({row.reason}) is a heuristic decision, which may leave"
            " the data inconsistent for good; 'retry' asks the coordinator, --heuristic says that it is meant"
        )
    return row


def _can_be_asked(row: OpenTransaction, strategy: Strategy) -> bool:
    """Whether the machine there has rows for an operator's requests."""
    if row.transaction < 0 or not row.role:
        return False
    machine = strategy.machine(row.node, row.transaction)
    return machine.role == row.role and any(one.event == "retry" for one in machine.transitions)


def _one_a_node(rows: list[OpenTransaction]) -> list[OpenTransaction]:
    return list({row.node: row for row in reversed(rows)}.values())[::-1]


def _about(rows: list[OpenTransaction], plan: _Plan) -> list[OpenTransaction]:
    """What is still open of it."""
    if plan.way != "ask" and plan.tx >= 0:
        nodes = {row.node for row in plan.rows}
        return [row for row in rows if row.transaction == plan.tx and row.node in nodes]
    if plan.tx >= 0:
        return [row for row in rows if row.transaction == plan.tx]
    names = {row.branch for row in plan.rows}
    return [row for row in rows if row.branch in names]


# --- asking -------------------------------------------------------------------------------------------------------------------


async def _request(ask: Ask, row: OpenTransaction, wish: _Wish, deadline: float, close: bool = False) -> str:
    """Ask a node until it has done it, has refused it, or time is over; what it said.

    A machine that has just been recovered is at work, and takes an operator's request only when it is stuck again, if it is.

    Raises:
        OperateError: The node refuses.
    """
    frame: dict[str, Any] = {"do": wish.kind, "tx": row.transaction, "reason": wish.reason, "operator": wish.operator}
    if close:
        frame["close"] = True
    elif row.branch and (wish.outcome is not None or row.problem == "orphan"):
        frame |= {"branch": row.branch, "outcome": wish.outcome}
    again = False
    while True:
        answer = await ask(row.node, _ANSWER, type="operator", **frame, again=again)
        if answer is not None:
            status, text = answer["status"], str(answer["text"])
            if status == "refused":
                raise OperateError(f"'{row.node}': {text}")
            if status == "unknown" and again:
                return "it went on by itself"
            if status in ("done", "unknown") or wish.kind == "retry":
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


@contextmanager
def _opened(spec: dict[str, Any]) -> Iterator[Store]:
    """The store of a node, to be used while nobody else does."""
    store = open_store(spec)
    try:
        yield store
    finally:
        store.close()


def _strategy(path: Path) -> Strategy:
    """The strategy as the launcher has handed it to its processes; the folder is known to be ours by now.

    Raises:
        RunFolderError: It is not there, or cannot be made again.
    """
    file = path / "strategy.pickle"
    try:
        strategy: Strategy = pickle.loads(file.read_bytes())  # noqa: S301 - ours, in a private folder
    except FileNotFoundError:
        raise RunFolderError(f"'{path}' holds a run that was never started: there is no strategy in it") from None
    except Exception as error:  # noqa: BLE001 - unpickling raises anything
        problem = " ".join(str(error).split())
        raise RunFolderError(f"'{file}' cannot be read by this version: {type(error).__name__}: {problem}") from None
    register(*getattr(strategy, "wire_types", ()))
    return strategy


def _next_incarnation(folder: RunFolder) -> int:
    """A number that no process of the run has had."""
    numbers = [0]
    for log in folder.logs():
        middle = log.name.removesuffix(".jsonl").partition(".")[2]
        numbers.append(int(middle) if middle.isdigit() else 0)
    return max(numbers) + 1
