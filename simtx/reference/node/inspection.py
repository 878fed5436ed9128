"""Inspects what a node still holds: machines, records, prepared branches, outbox rows. For an operator who wants to know what is not finished.

The same for a node that is working and for one that has ended. The machines of the first are asked; those of the second are rebuilt from its
store, to see the state to which they would recover; nothing of that has any effect.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.protocols import Forget, Record, Strategy

if TYPE_CHECKING:
    from simtx.reference.stores.base import PreparedBranch, Store

RELAY: Final = "relay"
_LONGEST: Final = 60  # characters of a record as it is shown


@dataclass(slots=True)
class Holding:
    """Something that a node holds of one transaction.

    Attributes:
        tx: Business transaction; -1 if that is not known.
        node: The node.
        role: Role of the machine; ``relay`` for outbox rows; empty if there is no machine.
        state: Its state.
        stuck: Why it waits for an operator; empty if it does not, or if only the audit log can tell.
        records: Its durable records, shortened.
        branch: The database's name of the prepared branch; empty if there is none.
        age: Seconds since that was prepared; -1 without a branch.
        foreign: Whether the branch is not one of this run.
    """

    tx: int
    node: str
    role: str = ""
    state: str = ""
    stuck: str = ""
    records: tuple[str, ...] = ()
    branch: str = ""
    age: float = -1.0
    foreign: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data, to be sent."""
        return asdict(self)

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Holding:
        """Read one that was sent as JSON."""
        return Holding(**{**raw, "records": tuple(raw["records"])})


def inspect(
    node: str,
    strategy: Strategy,
    store: Store,
    working: Mapping[int, tuple[str, str]] | None,
    stuck: Mapping[int, str],
) -> list[Holding]:
    """Content of a node.

    Args:
        node: Its name.
        strategy: Which machines play there.
        store: Its store; it blocks.
        working: Role and state of its machines by transaction; None: it is not running.
        stuck: Why machines wait for an operator, by transaction.

    Raises:
        StoreFailed: The store cannot be read.
    """
    records = store.records()
    branches = {branch.tx: branch for branch in store.branches() if branch.record is not None}
    orphans = [branch for branch in store.branches() if branch.record is None]
    machines = dict(working) if working is not None else asleep(node, strategy, records)
    found = []
    for tx in sorted({*machines, *branches}):
        role, state = machines.get(tx, ("", ""))
        one = Holding(tx, node, role, state, stuck.get(tx, ""), _shown(records.get(tx, ())))
        found.append(_with(one, branches.get(tx)))
    found += [_with(Holding(branch.tx, node, foreign=True), branch) for branch in orphans]
    found += [Holding(tx, node, RELAY, "unpublished") for tx in sorted(store.pending_outbox())]
    return found


def asleep(node: str, strategy: Strategy, records: Mapping[int, Sequence[Record]]) -> dict[int, tuple[str, str]]:
    """Role and state in which each machine would wake up; without those that would find that they are finished."""
    found = {}
    for tx, own in records.items():
        machine = strategy.machine(node, tx)
        effects = machine.recover(own)
        if not any(isinstance(effect, Forget) for effect in effects):
            found[tx] = (machine.role, machine.state)
    return found


def waiting(file: Path) -> Iterable[tuple[str, int]]:
    """Consumer and transaction of every message that waits in the file of an embedded broker that has ended.

    Raises:
        StoreDamaged: It is not a broker's file.
    """
    import sqlite3

    from simtx.reference.stores.base import StoreDamaged

    if not file.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(file)) as db:
            return db.execute("SELECT DISTINCT node, tx FROM message ORDER BY tx, node").fetchall()
    except sqlite3.Error as error:
        raise StoreDamaged(f"{file}: the broker's file cannot be read ({error}); put it back from a copy") from None


def keys(schedule: Path, wanted: Iterable[int]) -> dict[tuple[int, str], tuple[str, ...]]:
    """Keys that a transaction touches on a service, by transaction and service, from the schedule of the run."""
    numbers = {tx for tx in wanted if tx >= 0}
    found: dict[tuple[int, str], tuple[str, ...]] = {}
    if not numbers or not schedule.exists():
        return found
    with schedule.open(encoding="utf-8") as file:
        for tx, line in enumerate(file):
            if tx in numbers:
                for service, operations in json.loads(json.loads(line)["detail"]):
                    own = (operation[0] for operation in operations)
                    found[tx, service] = tuple(dict.fromkeys((*found.get((tx, service), ()), *own)))
    return found


def _with(one: Holding, branch: PreparedBranch | None) -> Holding:
    if branch is not None:
        one.branch, one.age = branch.name, branch.age
    return one


def _shown(records: Iterable[Record]) -> tuple[str, ...]:
    """Records in a few words: their kind and what is short enough in them."""
    shown = []
    for record in records:
        words = [str(part) for part in record if isinstance(part, str | int)]
        text = " ".join(words)
        shown.append(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
    return tuple(shown)
