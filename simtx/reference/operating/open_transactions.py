"""Lists open transactions of a run: its nodes' holdings and what their audit logs say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from simtx.reference.node.inspection import RELAY, Holding, keys
from simtx.reference.node.interventions import HEURISTIC
from simtx.reference.node.local_work import CONFIRMED, DAMAGE
from simtx.reference.run_folder.audit import Entry, entries

if TYPE_CHECKING:
    from simtx.reference.run_folder.folder import RunFolder

Problem: TypeAlias = Literal[
    "damaged",
    "stuck",
    "parked",
    "in doubt",
    "orphan",
    "heuristic",
    "damage",
    "given up",
    "stopped",
    "in flight",
    "unreachable",
    "left out",
]
NOTED: Final = ("given up", "damage", "stopped")
"""Problems that only the audit log knows; an operator who has dealt with one says so."""
_ORDER: Final = {name: position for position, name in enumerate(get_args(Problem))}


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that is not finished, or not as it should be, at one node.

    Attributes:
        transaction: Its number; -1 if that is not known.
        node: Where.
        problem: ``damaged`` (the node's store is not what it was: no act is done in this folder); ``stuck`` (waits for an operator); ``parked`` (likewise, a choreographed event); ``in doubt`` (prepared, without a decision);
            ``orphan`` (prepared, and no coordinator knows it); ``heuristic`` (an operator has ended the branch, the coordinator's decision
            is awaited); ``damage`` (that decision was another one); ``given up`` (nothing will be done any more); ``stopped`` (an event that
            cannot be read holds it up); ``in flight`` (goes on by itself); ``unreachable`` (the node does not answer); ``left out`` (there
            are more than were told).
        role: Role of the machine; empty if there is none.
        state: Its state; of a run that is over, the one in which it would wake up.
        since: UTC, ISO 8601; empty if that is not known.
        age_s: Seconds since then.
        reason: Why, as far as is known.
        records: Durable records, shortened.
        locked: Keys that a prepared branch keeps locked.
        branch: The database's name of the prepared branch.
    """

    transaction: int
    node: str
    problem: Problem
    role: str = ""
    state: str = ""
    since: str = ""
    age_s: float = 0.0
    reason: str = ""
    records: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    branch: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(slots=True)
class Evidence:
    """Findings of nodes, broker and audit logs.

    Attributes:
        held: Holdings of the nodes that have answered.
        stopped: Transaction (None: all of them) and reason by node, of partitions that are stopped now; None: nobody can be asked.
        waiting: Consumer and transaction of events that wait in the broker.
        silent: Nodes that do not answer.
        left_out: How many holdings a node has not told.
        damaged: By node: what is wrong with its store.
    """

    held: list[Holding] = field(default_factory=list)
    stopped: dict[str, list[tuple[int | None, str]]] | None = None
    waiting: list[tuple[str, int]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    def add(self, held: Iterable[Holding]) -> None:
        """Holdings of one more node; nodes that share a server see the same orphans, and each is to be there once."""
        seen = {one.branch for one in self.held if one.foreign}
        self.held += [one for one in held if not (one.foreign and one.branch in seen)]


@dataclass(slots=True)
class Note:
    """Note in the audit log of a node on one transaction: whether it was decided to commit it; each of the pairs is a time and a reason."""

    first: str = ""
    committed: bool = False
    stuck: tuple[str, str] | None = None
    given_up: tuple[str, str] | None = None
    stopped: tuple[str, str] | None = None
    damage: tuple[str, str] | None = None
    heuristic: tuple[str, str] | None = None

    def take(self, entry: Entry) -> None:
        """The next line about it."""
        self.first = self.first or entry.time
        said = (entry.time, entry.reason)
        act = entry.act
        if act == "stuck":
            self.stuck = said
        elif act == "decide":
            self.committed = entry.name == "committed"
        elif act == "given-up":
            self.given_up = said
        elif act == "stop":
            self.stopped = said
        elif entry.name == DAMAGE:
            self.damage, self.heuristic = said, None
        elif entry.name == CONFIRMED:
            self.heuristic = None
        elif act in ("retry", "skip", "resolve"):
            self._operator(entry)
        elif act in ("recovered", "freed"):
            self.stuck = None
        elif act in ("release", "apply", "compensate"):
            self.stopped = None

    def _operator(self, entry: Entry) -> None:
        if entry.name.startswith(HEURISTIC):
            decision = entry.name.removeprefix(HEURISTIC)
            self.heuristic = (entry.time, f"{entry.actor} has decided {decision}: {entry.reason}")
            return
        self.stuck = None
        if entry.name == "closed":
            self.given_up = self.stopped = self.damage = None


Notes: TypeAlias = dict[tuple[str, int], Note]


def read_notes(folder: RunFolder, nodes: Iterable[str]) -> Notes:
    """Facts of the audit logs, by node and transaction.

    Raises:
        AuditError: A line of one of them is none.
    """
    notes: Notes = {}
    for node in nodes:
        path = folder.audit(node)
        if path.exists():
            for entry in entries(path):
                note = notes.get((node, entry.tx))
                if note is None:
                    note = notes[node, entry.tx] = Note()
                note.take(entry)
    return notes


def open_transactions(
    folder: RunFolder, nodes: list[str], hub: str | None, evidence: Evidence, *, presumption: str | None = "abort"
) -> list[OpenTransaction]:
    """Everything that is not finished, the gravest first.

    Args:
        folder: The run's folder.
        nodes: Its nodes.
        hub: The one that coordinates, or None.
        evidence: What nodes and broker say.
        presumption: What the hub says of a transaction that it does not know: ``abort`` or ``commit``; None: it does not know either.

    Raises:
        AuditError: An audit log cannot be read.
    """
    notes = read_notes(folder, nodes)
    judge = _Judge(notes, hub, evidence, presumption)
    rows = [judge.held(one) for one in evidence.held]
    rows += [OpenTransaction(-1, node, "damaged", reason=why) for node, why in judge.damaged().items()]
    rows += judge.noted()
    waiting = "an event waits for the broker's consumer"
    rows += [
        judge.row(tx, node, "in flight", judge.first(node, tx), reason=waiting, role="broker")
        for node, tx in evidence.waiting
    ]
    rows += [OpenTransaction(-1, node, "unreachable", reason="does not answer") for node in evidence.silent]
    rows += [
        OpenTransaction(-1, node, "left out", reason=f"{count} more that were not told")
        for node, count in evidence.left_out.items()
    ]
    touched = keys(folder.path / "schedule.jsonl", {row.transaction for row in rows if row.branch})
    rows = [_locking(row, touched) for row in rows]
    return sorted(rows, key=lambda row: (_ORDER[row.problem], row.transaction, row.node))


class _Judge:
    """Puts what a node holds and what was noted about it together."""

    def __init__(self, notes: Notes, hub: str | None, evidence: Evidence, presumption: str | None) -> None:
        self._notes = notes
        self._hub = hub
        self._evidence = evidence
        self._presumption = presumption
        self._at_hub = {one.tx: one for one in evidence.held if one.node == hub and one.role != RELAY}
        self._now = datetime.now(UTC)

    def row(self, tx: int, node: str, problem: Problem, since: str, **more: Any) -> OpenTransaction:
        age = (self._now - datetime.fromisoformat(since)).total_seconds() if since else 0.0
        return OpenTransaction(tx, node, problem, since=since, age_s=max(age, 0.0), **more)

    def first(self, node: str, tx: int) -> str:
        """The first time at which the transaction is mentioned, there or anywhere."""
        own = self._notes.get((node, tx))
        if own is not None:
            return own.first
        times = [note.first for (_, other), note in self._notes.items() if other == tx]
        return min(times, default="")

    def held(self, one: Holding) -> OpenTransaction:
        note = self._notes.get((one.node, one.tx), Note())
        more: dict[str, Any] = {"role": one.role, "state": one.state, "records": one.records, "branch": one.branch}
        if one.branch:
            since = (self._now - timedelta(seconds=one.age)).isoformat(timespec="milliseconds")
            problem, reason = self._branch(one)
            return self.row(one.tx, one.node, problem, since, reason=reason, **more)
        stuck = note.stuck or (("", one.stuck) if one.stuck else None)
        if stuck is not None and one.role != RELAY and (one.stuck or self._evidence.stopped is None):
            problem = "parked" if one.state == "parked" else "stuck"
            return self.row(one.tx, one.node, problem, stuck[0], reason=one.stuck or stuck[1], **more)
        if note.heuristic is not None and one.role != RELAY:
            return self.row(one.tx, one.node, "heuristic", note.heuristic[0], reason=note.heuristic[1], **more)
        reason = "an event waits for the relay" if one.role == RELAY else ""
        return self.row(one.tx, one.node, "in flight", self.first(one.node, one.tx), reason=reason, **more)

    def damaged(self) -> dict[str, str]:
        """Damage to stores, by node: also a coordinator's that has no record for which a prepared branch still waits, and would presume the wrong outcome."""
        found = dict(self._evidence.damaged)
        hub = self._hub
        if hub is not None and hub not in found and self._evidence.stopped is None:  # of a run that is over
            for one in self._evidence.held:
                if one.branch and not one.foreign and one.tx not in self._at_hub and (lost := self._lost(hub, one.tx)):
                    found[hub] = f"{lost}; put it back from a copy that holds all of it"
        return found

    def _lost(self, hub: str, tx: int) -> str:
        """Say what a coordinator lacks that has no record of a transaction with a prepared branch; empty: it need not have one any more."""
        note = self._notes.get((hub, tx))
        committed = note is not None and note.committed
        if (
            self._presumption == "commit"
        ):  # it has a record until it commits, and forgets an abort when no branch is left
            says = f"its audit log does not say that it has decided to commit transaction {tx}, and its store has no record of it"
            return "" if committed else f"{says}, so that it would presume a commit"
        says = f"its audit log says that it has decided to commit transaction {tx}, and its store has no record of that"
        return says if committed else ""

    def _branch(self, one: Holding) -> tuple[Problem, str]:
        """Reason why a prepared branch is still there."""
        hub = self._hub
        if one.foreign:
            whose = "another run" if one.branch.startswith("simtx:") else "another program"
            return "orphan", f"prepared by {whose}: no coordinator of this run knows it"
        if hub in self._evidence.silent:
            return "in doubt", f"'{hub}' does not answer"
        if hub in self.damaged():
            return "in doubt", f"'{hub}' is damaged"
        theirs = self._at_hub.get(one.tx)
        if theirs is not None:
            recorded = f" and has recorded '{theirs.records[-1]}'" if theirs.records else ""
            return "in doubt", f"'{hub}' is {theirs.state}{recorded}"
        presumed = f": {self._presumption} will be presumed" if self._presumption else ""
        if (hub, one.tx) in self._notes:
            return "in doubt", f"'{hub}' has no record of it{presumed}"
        return "orphan", f"'{hub}' has no record of it{presumed}"

    def noted(self) -> list[OpenTransaction]:
        """Findings from the audit logs alone."""
        rows = []
        stopped = self._evidence.stopped
        for (node, tx), note in self._notes.items():
            if note.given_up is not None:
                rows.append(self.row(tx, node, "given up", note.given_up[0], reason=note.given_up[1]))
            if note.damage is not None:
                rows.append(self.row(tx, node, "damage", note.damage[0], reason=note.damage[1]))
            if note.stopped is not None and stopped is None:
                rows.append(self.row(tx, node, "stopped", note.stopped[0], reason=note.stopped[1]))
        for node, partitions in (stopped or {}).items():
            for lane, reason in partitions:
                tx = -1 if lane is None else lane
                since = self._notes.get((node, tx), Note()).stopped
                rows.append(self.row(tx, node, "stopped", since[0] if since else "", reason=reason))
        return rows


def _locking(row: OpenTransaction, touched: Mapping[tuple[int, str], tuple[str, ...]]) -> OpenTransaction:
    """The row with the keys that its branch locks."""
    own = touched.get((row.transaction, row.node), ()) if row.branch else ()
    if not own:
        return row
    return OpenTransaction(**{**asdict(row), "records": row.records, "locked": own})
