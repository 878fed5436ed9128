"""Contract of a service's real database, whatever product it is.

A store is used by the threads of one process at a time (and by its relay's process beside it); every method blocks until what it says is
true. The rules are those of `simtx.protocols.contract`: a local transaction is atomic and durable when `transact` returns. A branch is durable
and keeps its locks when `prepare` returns. A forced record is durable when `append` returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, Protocol

from simtx.errors import SimtxError
from simtx.protocols import Execute, OutboxRow, Prepare, Record, Status, Transact

STORE_VERSION: Final = 1
"""Version of the tables; a store of another version is refused."""
RESTORE: Final = "it has worked here: put it back from a copy that holds all of it"
"""Advice if a database is gone."""


class StoreFailed(SimtxError, RuntimeError):
    """The database cannot go on (a full disk, a lost server, a file of another version); the text says what would help."""


class StoreDamaged(StoreFailed):
    """The database is not the one that has worked here: missing, empty, broken, another one's, or without what the audit log knows."""


@dataclass(slots=True)
class Result:
    """Result of one operation on the store.

    Attributes:
        status: As in `simtx.protocols.Done`.
        value: Value of the idempotency row if ``duplicate``, else None.
        forced: Whether something was forced to disk.
        reads: Values that the local transaction has read, by key: what the database returned, not what it should have.
        changes: (old, new) by key of what is now committed; empty if it was refused, or is only prepared.
        steps: Steps whose changes those are (of `commit`: those of the branch).
        waited: Seconds of waiting for row locks.
        wait_end: How that ended: ``granted``, ``timeout`` or ``deadlock``; empty if it did not wait.
        unlocked: Keys whose locks were let go.
        held: Sum over those of the seconds for which they were held; 0 for a branch of before a restart.
        in_doubt: Of a second phase: seconds since the branch was prepared. -1: there was no branch.
        broken: Of a second phase: what somebody else has made of the prepared branch, against what is asked for now, ``commit`` or ``rollback``; empty if
            nobody has. The promise of its vote is broken then, and nothing that this store can do repairs it.
        outbox: Whether outbox rows were written.
        history: Number of the row in the store's history that holds the changes; -1 if there is none.
    """

    status: Status = "done"
    value: object = None
    forced: bool = False
    reads: dict[str, float] = field(default_factory=dict)
    changes: dict[str, tuple[float, float]] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    waited: float = 0.0
    wait_end: str = ""
    unlocked: tuple[str, ...] = ()
    held: float = 0.0
    in_doubt: float = -1.0
    broken: Literal["", "commit", "rollback"] = ""
    outbox: bool = False
    history: int = -1


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the store's own history: a local transaction that was committed, in commit order as far as the database knows it.

    Attributes:
        number: Unique, ascending; -1 never occurs.
        tx: Business transaction.
        steps: Steps whose work it was.
        compensation: Whether it undid them.
        changes: (old, new) by key.
        time: When it was committed, in seconds of `time.monotonic` of this machine, as exactly as the database can tell.
    """

    number: int
    tx: int
    steps: tuple[int, ...]
    compensation: bool
    changes: Mapping[str, tuple[float, float]]
    time: float


@dataclass(frozen=True, slots=True)
class PreparedBranch:
    """A branch that is in doubt in the database.

    Attributes:
        tx: Business transaction.
        record: What was forced with it, or None if it does not belong to this run's machines (an orphan).
        age: Seconds since it was prepared.
        name: The database's own name of it.
    """

    tx: int
    record: Record | None
    age: float
    name: str


class VoteStore(Protocol):
    """Votes of all transactions of a run; its methods may be called from several threads."""

    def log_once(self, tx: int, voter: str, vote: str) -> tuple[str, bool]:
        """Write a vote, unless there is one.

        Args:
            tx: Number of the transaction.
            voter: Whose vote it is.
            vote: The vote.

        Returns:
            The vote that is there now, durably, and whether it was written just now.

        Raises:
            StoreFailed: The store could not tell; the vote may be there or not.
        """

    def close(self) -> None:
        """Close it."""


class Store(ABC):
    """The database of one node. A hub has one, too, for its log.

    Attributes:
        buffers: Whether `forget`, `mark_outbox` and an `append` that is not forced return at once, without any input or output, so
            that they may be called on an event loop.
    """

    buffers: ClassVar[bool] = False

    def reserve(self, effect: Transact) -> Sequence[int]:  # noqa: ARG002 - a store with one writer numbers rows when it commits
        """Numbers for the outbox rows of a local transaction that begins now; empty: they are numbered when it commits.

        Numbers that are never used leave a gap.
        """
        return ()

    @abstractmethod
    def transact(self, tx: int, effect: Transact, rows: Sequence[int] = (), work: float = 0.0) -> Result:
        """Run one local transaction, as `simtx.protocols.Transact` says: atomic, isolated, durable.

        ``failed`` means that nothing was applied: a lock timeout, a deadlock, a lost connection after which the database says so. A
        connection that is lost at the commit is never an answer: the store finds out how its local transaction has ended.

        Args:
            tx: The business transaction.
            effect: What is to be done.
            rows: Numbers of its outbox rows, from `reserve`; empty: none were drawn.
            work: Seconds for which it works between its row locks and its changes; a duplicate does not.

        Raises:
            StoreFailed: The database cannot go on.
        """

    @abstractmethod
    def execute(self, tx: int, effect: Execute, work: float = 0.0) -> Result:
        """Run operations in the open local transaction of `tx`, opening it if need be; nothing is durable, locks are kept. `work`: as in `transact`."""

    @abstractmethod
    def prepare(self, tx: int, effect: Prepare, work: float = 0.0) -> Result:
        """Run operations (beside those of an open local transaction) and prepare the branch, with its record and idempotency row. `work`: as in `transact`."""

    @abstractmethod
    def commit(self, tx: int) -> Result:
        """Commit the prepared branch; `in_doubt` is -1 if there is none. Idempotent."""

    @abstractmethod
    def rollback(self, tx: int, *, forced: bool) -> Result:
        """Roll back the prepared or open branch; `in_doubt` is -1 if none was prepared. Idempotent."""

    @abstractmethod
    def append(self, tx: int, record: Record, *, forced: bool) -> None:
        """Append a record to the log of a transaction; on return it is durable if `forced`, else it will be some time."""

    @abstractmethod
    def forget(self, tx: int) -> None:
        """The records of this transaction are garbage; they may survive for a while."""

    @abstractmethod
    def records(self) -> dict[int, list[Record]]:
        """Records that recovery starts from: log records by transaction, oldest first; that of a prepared branch comes last."""

    @abstractmethod
    def read_outbox(self, limit: int, *, below_horizon: bool = False) -> tuple[OutboxRow, ...]:
        """Up to `limit` outbox rows that are visible and not marked, as `simtx.protocols.ReadOutbox` says.

        Args:
            limit: Rows at most.
            below_horizon: Only those that none can come before any more, each with the number of its local transaction, in that order.
        """

    @abstractmethod
    def mark_outbox(self, ids: Sequence[int]) -> None:
        """Mark rows as published, without forcing the log; this process never reads them again, unless the database crashes."""

    @abstractmethod
    def values(self) -> dict[str, float]:
        """Committed values of all keys that the store has."""

    @abstractmethod
    def history(self) -> Iterable[Change]:
        """The store's own history of committed changes."""

    @abstractmethod
    def branches(self) -> list[PreparedBranch]:
        """Prepared branches, orphans of other runs included as far as the database knows them."""

    def resolve(self, name: str, *, commit: bool) -> bool:
        """End a prepared branch by the database's name of it, an orphan of another run for example; False if there is none.

        Raises:
            StoreFailed: The database refuses.
        """
        for branch in self.branches():
            if branch.name == name:
                return (self.commit(branch.tx) if commit else self.rollback(branch.tx, forced=True)).in_doubt >= 0
        return False

    def adopt(self, name: str) -> None:  # noqa: B027 - most stores know all their branches
        """Take a prepared branch of this run for one's own that appeared without this process; `commit` and `rollback` then find it."""

    @abstractmethod
    def pending_outbox(self) -> set[int]:
        """Transactions with outbox rows that are not marked."""

    @abstractmethod
    def close(self) -> None:
        """Let the database go; open local transactions are rolled back, prepared branches stay."""
