"""A service's store in PostgreSQL: real row locks, native two-phase commit, and the truth about a commit whose connection was lost.

Every service of every run has a schema of its own, so that any database will do. A local transaction is one call of a function on the
server (`simtx.reference.stores.postgres.sql`). A branch is a prepared transaction of PostgreSQL; its global identifier says whose it
is, and carries the machine's record. Reads under serializable lock their rows exclusively, as in the simulator; under read-committed they are plain.

A lost connection. Every local transaction and every log record carries a token that was never used before. If the connection is lost, the session
is terminated (`Links.settle`), and then the row with the token is there or it is not: also after a crash of the server, because
a commit that was acknowledged by nobody is nevertheless on disk or not. A branch has its global identifier for a token.

What PostgreSQL does otherwise than the contract allows to hope: ROLLBACK PREPARED is always forced, a lazy one as well.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Final

from simtx.protocols import Execute, OutboxRow, Prepare, Record, Transact, codec
from simtx.protocols.operations import FirstValues
from simtx.reference.stores.base import Change, PreparedBranch, Result, Store
from simtx.reference.stores.postgres import sql as statements
from simtx.reference.stores.postgres.branches import (
    branch_name,
    finish_branch,
    is_prepared,
    parse_branch,
    prepare_branch,
)
from simtx.reference.stores.postgres.driver import psycopg
from simtx.reference.stores.postgres.link import Link, Links, failed, one
from simtx.reference.stores.postgres.schema import check_server, create_schema, schema_name
from simtx.reference.stores.postgres.tidy import Tidier
from simtx.reference.stores.postgres.work import Work, array, changes_of, finish, milliseconds, reads_of, texts

_WAITS: Final = {"55P03": "timeout", "40P01": "deadlock"}
_TRANSIENT: Final = frozenset(("55P03", "40P01", "40001", "57014", "25P03"))
_NO_SLOT: Final = "53200"  # of a PREPARE TRANSACTION: max_prepared_transactions of them are there
_LAST_PATIENCE: Final = 1.0  # seconds for a server that is not there when the store is closed
_EVERYTHING: Final = 2**31 - 1


@dataclass(slots=True)
class _Branch:
    """A local transaction that outlives one call: open on a connection of its own, then prepared."""

    gid: str = ""
    link: Link | None = None
    locks: dict[str, float] = field(default_factory=dict)  # by key: when it was locked
    changes: dict[str, tuple[float, float]] = field(default_factory=dict)
    reads: dict[str, float] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    since: float = 0.0  # when it was prepared
    number: int = -1
    recovered: bool = False


class PostgresStore(Store):
    """The store of one service, or of its relay, in PostgreSQL.

    Args:
        dsn: Database; the schema in it is made if it is new.
        run: Name of the run.
        service: Name of the service.
        initial: First values by key; a key that ends in ``*`` stands for every key with that prefix.
        serializable: Whether reads lock.
        lock_timeout: Seconds that one local transaction waits for row locks before it fails.
        dedup_retention: Seconds for which idempotency rows are kept at least; infinite: for ever.
        connections: Local transactions that run at a time; those that stay open between calls come on top.
        relay: Whether this is the relay's view: it reads and marks the outbox, and prunes nothing.
        patience: Seconds for which a server that was lost is asked again.
        wait_for_server: Seconds for which a server that is not there at the start is asked again.
        create: Whether the schema may be new. Otherwise one that is missing is refused, and nothing is made in its place.

    Raises:
        StoreDamaged: The schema is missing or another one's.
        StoreFailed: The DSN leads nowhere, or the server is not fit.
    """

    buffers: ClassVar[bool] = True

    def __init__(
        self,
        dsn: str,
        *,
        run: str,
        service: str,
        initial: Mapping[str, float],
        serializable: bool,
        lock_timeout: float,
        dedup_retention: float,
        connections: int,
        relay: bool = False,
        patience: float = 30.0,
        wait_for_server: float = 0.0,
        create: bool = True,
    ) -> None:
        self._run, self._service = run, service
        self._initial = FirstValues({key: float(value) for key, value in initial.items()})
        self._serializable = serializable
        self._patience = milliseconds(lock_timeout)
        # A token finds the row of a local transaction whose connection was lost. Random above, so that an earlier process of this service never had the
        # same.
        self._tokens = count(secrets.randbits(31) << 31)
        self._open: dict[int, _Branch] = {}
        self._prepared: dict[int, _Branch] = {}
        self._links = Links(
            dsn,
            schema_name(run, service),
            title=f"simtx {service}{'.relay' if relay else ''}",
            size=connections,
            lock_timeout=self._patience,
            patience=patience,
        )
        self._links.give(self._links.connect(patience=wait_for_server))
        try:
            self._links.ask(check_server)
            self._clock = self._links.ask(
                lambda link: create_schema(link, run, service, self._initial.exact, create=create)
            )
            if not relay:
                self._recover()
        except BaseException:
            self._links.close()
            raise
        self._tidier = Tidier(self._links, None if relay else dedup_retention)

    # --- start --------------------------------------------------------------------------------------------------------------------

    def _recover(self, name: str | None = None) -> None:
        """Take prepared transactions of this service for one's own that this process has not prepared: all, or that of this name."""
        for branch in self.branches():
            if branch.record is not None and branch.tx not in self._prepared and name in (None, branch.name):
                since = time.monotonic() - branch.age
                self._prepared[branch.tx] = _Branch(branch.name, since=since, recovered=True)

    # --- local transactions -------------------------------------------------------------------------------------------------------

    def reserve(self, effect: Transact) -> Sequence[int]:
        """Numbers from the sequence of the outbox, unless they are to be drawn under its lock; see `Store.reserve`."""
        count = 0 if effect.serial_outbox else effect.outbox_rows()
        if not count:
            return ()
        rows = self._links.ask(lambda link: link.execute(statements.ROWS, (str(count),)).fetchall())
        return [number for (number,) in rows]

    def transact(self, tx: int, effect: Transact, rows: Sequence[int] = (), work: float = 0.0) -> Result:
        """Run one local transaction in one round trip; see `Store.transact`."""
        token = next(self._tokens)
        call = self._work(tx, token, effect, rows=rows, work=work)
        with self._links.place, self._links.lent() as link:
            started = time.monotonic()
            try:
                if work > 0:
                    link.watch()
                row = one(link.execute(call.statement, call.arguments, binary=True).fetchone())
            except psycopg.Error as error:
                # An error on a living connection means that nothing was applied. A lost one means nothing: the COMMIT may have been done.
                if not link.lost:
                    return self._failure(error, started, call)
                return self._fate(link.title, token, effect, call)
        now = time.monotonic()
        status, value, number, waited, got, was, becomes, *reads = row
        if status == "duplicate":
            return Result(status, codec.loads(value))
        result = Result(status, reads=reads_of(*reads))
        if number is not None:
            result.forced = True
            result.outbox = _writes_outbox(effect, status)
        if status == "done":
            result.changes = call.changes(was, becomes)
            if result.changes:
                result.steps, result.history = effect.steps, number
        return finish(result, waited, call.locks(started, got), now)

    def execute(self, tx: int, effect: Execute, work: float = 0.0) -> Result:
        """Run operations in the open local transaction, on a connection of its own; see `Store.execute`."""
        if tx in self._prepared:
            return Result("failed")
        return self._join(tx, effect, "", work)

    def prepare(self, tx: int, effect: Prepare, work: float = 0.0) -> Result:
        """Run operations, and prepare the branch under an identifier that carries its record; see `Store.prepare`."""
        if tx in self._prepared:
            return Result("failed")
        return self._join(tx, effect, branch_name(self._run, self._service, tx, effect.record), work)

    def _join(self, tx: int, effect: Execute | Prepare, gid: str, seconds: float) -> Result:
        """Operations of a branch; `gid` if it is to be prepared then."""
        with self._links.place:
            earlier = self._open.get(tx)
            branch = earlier or _Branch()
            branch.steps = tuple(dict.fromkeys((*branch.steps, *effect.steps)))
            work = self._work(tx, next(self._tokens), effect, branch, work=seconds)
            # An open branch keeps its connection: its local transaction lives in that session.
            link = branch.link = branch.link or self._links.take()
            self._open.pop(tx, None)
            started = time.monotonic()
            keep = False
            try:
                if earlier is None:
                    if seconds > 0:
                        link.watch()
                    link.autocommit = False
                row = one(link.execute(work.statement, work.arguments, binary=True).fetchone())
                number, waited, got, was, becomes, *reads = row[2:]
                branch.locks = {**work.locks(started, got), **branch.locks}
                for key, (old, new) in work.changes(was, becomes).items():
                    branch.changes[key] = (branch.changes.get(key, (old, new))[0], new)
                seen = reads_of(*reads)
                branch.reads = {**branch.reads, **seen}
                if gid and not prepare_branch(link, gid):
                    return finish(Result("failed"), 0.0, branch.locks, time.monotonic())
                keep = not gid
            except psycopg.Error as error:
                if not link.lost:
                    _abandon(link)
                    return self._failure(error, started, work, branch)
                # The old session has to be gone before the question: it may still be preparing.
                if not (gid and self._links.settle(link.title, lambda other: is_prepared(other, gid))):
                    return self._lost(link, branch)
                number, waited, seen = -1, 0.0, branch.reads
            except BaseException:
                link.close()
                raise
            finally:
                if not keep:
                    self._links.give(link)
        result = Result(waited=waited, wait_end="granted" if waited else "", reads=seen)
        if keep:
            self._open[tx] = branch
            return result
        branch.gid, branch.link, branch.since, branch.number = gid, None, time.monotonic(), number
        branch.recovered = number < 0
        self._prepared[tx] = branch
        result.forced, result.steps = True, branch.steps
        return result

    def _work(
        self,
        tx: int,
        token: int,
        effect: Transact | Execute | Prepare,
        branch: _Branch | None = None,
        rows: Sequence[int] = (),
        work: float = 0.0,
    ) -> Work:
        return Work(
            tx,
            token,
            effect,
            steps=effect.steps if branch is None else branch.steps,
            initial=self._initial,
            serializable=self._serializable,
            patience=self._patience,
            prior={} if branch is None else branch.changes,
            prior_reads=branch.reads if branch is not None and isinstance(effect, Prepare) else {},
            rows=rows,
            work=work,
        )

    # --- what has gone wrong --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _failure(error: psycopg.Error, started: float, work: Work, branch: _Branch | None = None) -> Result:
        """Status that an error of the server means; the connection is well, and everything was rolled back."""
        now = time.monotonic()
        state = error.sqlstate or ""
        detail = error.diag.message_detail or ""
        held = {} if branch is None else branch.locks
        end = _WAITS.get(state, "")
        if state == statements.REFUSED or error.diag.message_primary == statements.IN_VAIN:
            waited, got, *reads = json.loads(detail)
            result = Result("failed" if end else "refused", reads=reads_of(*reads), wait_end=end)
            return finish(result, waited, {**work.locks(started, got), **held}, now)
        if state == statements.DUPLICATE:
            return finish(Result("duplicate", codec.loads(detail)), 0.0, held, now)
        if state in _TRANSIENT or (state == _NO_SLOT and branch is not None):
            return finish(Result("failed", wait_end=end), now - started if end else 0.0, held, now)
        raise failed(error) from error

    def _fate(self, title: str, token: int, effect: Transact, work: Work) -> Result:
        """The truth about a local transaction whose connection was lost: its row is in the history, or it never happened."""
        row = self._links.settle(title, lambda link: link.execute(statements.FATE, (token,)).fetchone())
        if row is None:
            return Result("failed")
        number, status = row[:2]
        changes = changes_of(row[4:])
        return Result(
            status,
            forced=True,
            reads=reads_of(*row[2:4]),
            changes=changes,
            steps=effect.steps if changes else (),
            unlocked=tuple(work.keys[: work.locked]),
            outbox=_writes_outbox(effect, status),
            history=number if changes else -1,
        )

    def _lost(self, link: Link, branch: _Branch) -> Result:
        """The connection of an open branch was lost, and the branch with it."""
        self._links.settle(link.title, lambda _: None)
        return finish(Result("failed"), 0.0, branch.locks, time.monotonic())

    # --- second phase ---------------------------------------------------------------------------------------------------------------

    def commit(self, tx: int) -> Result:
        """COMMIT PREPARED, asked again until it is so; see `Store.commit`."""
        branch = self._prepared.get(tx)
        if branch is None:
            return Result()
        ended = finish_branch(self._links, branch.gid, commit=True) == "done"
        row = self._committed(tx) if branch.recovered or not ended else None
        del self._prepared[tx]
        if not ended and row is None:  # neither the server nor our own history has it
            return finish(Result(broken="rollback"), 0.0, branch.locks, time.monotonic())
        result = _finished(branch, forced=True)
        if row is not None:
            branch.number, branch.steps = row[0], tuple(row[1])
            branch.reads, branch.changes = reads_of(*row[2:4]), changes_of(row[4:])
            result.unlocked = result.unlocked or tuple(branch.changes)
        result.reads, result.changes = branch.reads, branch.changes
        result.history, result.steps = branch.number if branch.changes else -1, branch.steps
        return result

    def rollback(self, tx: int, *, forced: bool) -> Result:
        """ROLLBACK PREPARED, or ROLLBACK of an open branch, which if it has changed nothing says what it has read; see `Store.rollback`."""
        branch = self._open.pop(tx, None)
        if branch is not None and branch.link is not None:
            _abandon(branch.link)
            self._links.give(branch.link)
            reads = {} if branch.changes else branch.reads
            return finish(Result(reads=reads, steps=branch.steps), 0.0, branch.locks, time.monotonic())
        branch = self._prepared.get(tx)
        if branch is None:
            return Result()
        ended = finish_branch(self._links, branch.gid, commit=False) == "done"
        row = None if ended else self._committed(tx)
        del self._prepared[tx]
        if row is not None:
            return finish(Result(broken="commit"), 0.0, branch.locks, time.monotonic())
        return _finished(branch, forced=forced)

    def _committed(self, tx: int) -> tuple[Any, ...] | None:
        """The history's row of a branch of this transaction; it commits with the branch, and so it is our own log of its end."""
        return self._links.ask(lambda link: link.execute(statements.BRANCH, (tx,)).fetchone())

    def resolve(self, name: str, *, commit: bool) -> bool:
        """End any prepared transaction of this database by its name, such as an orphan; False if there is none.

        Raises:
            StoreFailed: The server refuses, or does not come back.
        """
        for tx, branch in self._prepared.items():
            if branch.gid == name:
                return (self.commit(tx) if commit else self.rollback(tx, forced=True)).in_doubt >= 0
        return finish_branch(self._links, name, commit=commit) != "absent"

    def adopt(self, name: str) -> None:
        """Look for a prepared transaction of this service that this process has not prepared; see `Store.adopt`."""
        self._recover(name)

    # --- the log --------------------------------------------------------------------------------------------------------------------

    def append(self, tx: int, record: Record, *, forced: bool) -> None:
        """Append to the log, at once if `forced`, else soon; see `Store.append`."""
        token = next(self._tokens)
        coded = codec.dumps(record)
        if not forced:
            self._tidier.append(tx, coded, token)
            return
        arguments = (str(tx), str(token), texts([*self._tidier.take(tx), coded]))
        while not self._append(token, arguments):
            pass

    def _append(self, token: int, arguments: tuple[str, str, str]) -> bool:
        """Write records; False if the connection was lost, and they were not written."""
        with self._links.place, self._links.lent() as link:
            try:
                link.execute(statements.APPEND, arguments)
            except psycopg.Error as error:
                if not link.lost:
                    raise failed(error) from error
                return self._links.settle(
                    link.title, lambda other: other.execute(statements.APPENDED, (token,)).fetchone() is not None
                )
        return True

    def forget(self, tx: int) -> None:
        """Have the records deleted soon."""
        self._tidier.forget(tx)

    def records(self) -> dict[int, list[Record]]:
        """Log records, then those of the prepared branches."""
        self._tidier.flush()
        found: dict[int, list[Record]] = {}
        for tx, record in self._links.ask(lambda link: link.execute(statements.RECORDS).fetchall()):
            found.setdefault(tx, []).append(codec.loads(record))
        for branch in self.branches():
            if branch.record is not None:
                found.setdefault(branch.tx, []).append(branch.record)
        return found

    # --- outbox, values, history ------------------------------------------------------------------------------------------------------

    def read_outbox(self, limit: int, *, below_horizon: bool = False) -> tuple[OutboxRow, ...]:
        """Rows in the order of their numbers, or of (transaction id, number) below ``pg_snapshot_xmin``; none that this process has marked."""
        arguments = (array(self._tidier.marked()), str(limit))
        query = statements.OUTBOX_BELOW if below_horizon else statements.OUTBOX
        rows = self._links.ask(lambda link: link.execute(query, arguments).fetchall())
        return tuple([(number, codec.loads(message), *writer) for number, message, *writer in rows])

    def mark_outbox(self, ids: Sequence[int]) -> None:
        """Have the rows deleted soon, without forcing the log."""
        self._tidier.mark(ids)

    def pending_outbox(self) -> set[int]:
        """Transactions of the rows that are there."""
        return {row[1].tx for row in self.read_outbox(_EVERYTHING)}

    def values(self) -> dict[str, float]:
        """Committed values."""
        return dict(self._links.ask(lambda link: link.execute(statements.VALUES).fetchall()))

    def history(self) -> Iterable[Change]:
        """Committed changes in the order of their commits, with the server's own times of commit if it keeps them."""
        rows = self._links.ask(lambda link: link.execute(statements.HISTORY).fetchall())
        return [
            Change(
                number,
                tx,
                tuple(steps),
                compensation,
                {key: (a, b) for key, a, b in zip(keys, old, new, strict=True)},
                at + self._clock,
            )
            for number, tx, steps, compensation, keys, old, new, at in rows
        ]

    def branches(self) -> list[PreparedBranch]:
        """Prepared transactions of this database: ours, and orphans of other runs or programs."""

        def read(link: Link) -> tuple[float, list[psycopg.Xid], str]:
            return one(link.execute(statements.CLOCK).fetchone())[0], link.tpc_recover(), link.info.dbname

        now, found, database = self._links.ask(read)
        result = []
        for xid in found:
            if xid.database != database:
                continue
            name = parse_branch(str(xid))
            mine = name is not None and name.run == self._run
            if name is not None and mine and name.service != self._service:
                continue
            age = 0.0 if xid.prepared is None else max(0.0, now - xid.prepared.timestamp())
            tx, record = (-1, None) if name is None else (name.tx, name.record if mine else None)
            result.append(PreparedBranch(tx, record, age, str(xid)))
        return result

    def close(self) -> None:
        """Roll back what is open, write what is buffered, and disconnect."""
        for tx in list(self._open):
            self.rollback(tx, forced=False)
        self._links.patience = min(self._links.patience, _LAST_PATIENCE)
        self._tidier.close()
        self._links.close()


def _writes_outbox(effect: Transact, status: str) -> bool:
    branch = effect.refused if status == "refused" else effect.accepted
    return branch is not None and bool(branch.outbox)


def _abandon(link: Link) -> None:
    """Roll back what a branch has left open on its connection."""
    with contextlib.suppress(psycopg.Error):
        link.rollback()


def _finished(branch: _Branch, *, forced: bool) -> Result:
    """The end of a branch that was prepared."""
    now = time.monotonic()
    return finish(Result(forced=forced, in_doubt=max(0.0, now - branch.since)), 0.0, branch.locks, now)
