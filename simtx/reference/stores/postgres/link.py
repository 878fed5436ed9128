"""Connections to a PostgreSQL server: a small pool, and how the work of a lost connection has ended.

A connection that is lost while a statement runs leaves its result unknown. Before anybody looks for the truth, the session behind it must be
at an end: it might still wait for a lock, or be about to commit. Every connection has a name of its own (``application_name``); the
server is asked to terminate the session of that name, until it lists none. Bytes that a proxy still holds can do nothing after that.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from simtx.reference.addresses import without_password
from simtx.reference.stores.base import StoreDamaged, StoreFailed
from simtx.reference.stores.postgres.driver import conninfo, pq, psycopg
from simtx.reference.stores.postgres.sql import CHECK_CLIENT, TERMINATE

T = TypeVar("T")

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.5
_CONNECT_TIMEOUT: Final = "10"
_STARTING: Final = re.compile("the database system is|not yet accepting connections")
_NO_DATABASE: Final = re.compile('database "[^"]*" does not exist')
_LOOKS_FROM: Final = 140000  # version of the server
_FULL: Final = ("53100", "53200")
_BROKEN: Final = ("XX001", "XX002", "58P01")  # data or index corrupted, a file is missing


class Link(psycopg.Connection[tuple[Any, ...]]):
    """One connection, in autocommit mode between its uses."""

    title: str = ""
    watched: bool = False

    def watch(self) -> None:
        """Have the server look, ten times a second, whether this process still lives while it works for it.

        Otherwise it would go on with the work of a process that was killed, and commit it later, after the restart. PostgreSQL 13 cannot look.
        """
        if not self.watched and self.info.server_version >= _LOOKS_FROM:
            self.execute(CHECK_CLIENT)
        self.watched = True

    @property
    def lost(self) -> bool:
        """Return whether the session is gone, as far as one can see without waiting."""
        return bool(self.closed) or self.pgconn.status == pq.ConnStatus.BAD

    def quiet(self) -> bool:
        """Return whether an idle connection is fit for use: a server that goes away says so, and nothing else speaks unasked."""
        if self.lost:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        if not poll.poll(0):
            return True
        try:
            self.pgconn.consume_input()
        except psycopg.Error:
            return False
        return self.pgconn.status == pq.ConnStatus.OK and not poll.poll(0)


class Links:
    """A small pool of connections to one schema.

    Args:
        dsn: What to connect to.
        schema: Schema that names without one refer to.
        title: What the sessions are called in the server's list, cut to 40 bytes.
        size: Connections that work at a time; those of open local transactions come on top.
        lock_timeout: Milliseconds after which a wait for a lock fails.
        patience: Seconds for which a server that does not answer is asked again.

    Attributes:
        patience: Likewise; may be changed.
        place: To be held by whoever works on a connection, as many at a time as `size` says.
        where: What is told to users of the server: host, port, user, database.
    """

    def __init__(self, dsn: str, schema: str, *, title: str, size: int, lock_timeout: int, patience: float) -> None:
        try:
            given = conninfo.conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:  # its text may hold a part of the password
            given = None
        shown = without_password(dsn)
        if given is None or shown.endswith(
            "://***"
        ):  # the latter PostgreSQL would read, with a part of the password for a database
            raise StoreFailed(
                f"'{shown:.200}' is no DSN of PostgreSQL; it would look like postgresql://user@host:5432/database "
                "(signs like / ? # @ in a password are written %2F %3F %23 %40)"
            )
        settings = {
            "search_path": schema,
            "lock_timeout": lock_timeout,
            "synchronous_commit": "on",
            "default_transaction_isolation": "read\\ committed",
            "default_transaction_read_only": "off",
            "jit": "off",
            "client_min_messages": "warning",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._arguments = {
            "connect_timeout": _CONNECT_TIMEOUT,
            "keepalives_idle": "5",
            "keepalives_interval": "2",
            "keepalives_count": "3",
            **{name: str(value) for name, value in given.items() if value is not None},
            "options": f"{given.get('options') or ''} {options}".strip(),
            "client_encoding": "UTF8",  # else text of a SQL_ASCII database comes as bytes, and a branch's name cannot be read
        }
        self.where = " ".join(f"{name}={given[name]}" for name in ("host", "port", "user", "dbname") if name in given)
        self._title = title.encode()[:40].decode(errors="ignore")
        self.patience = patience
        self._idle: list[Link] = []
        self._mutex = threading.Lock()
        self.place = threading.BoundedSemaphore(size)
        self._closed = False

    # --- one connection -----------------------------------------------------------------------------------------------------------

    def connect(self, *, patience: float | None = None) -> Link:
        """A new connection.

        Args:
            patience: Seconds for which to try if nobody is there; None: as long as the pool does, and so it does if somebody is there
                who does not answer yet.

        Raises:
            StoreFailed: There is no server, or it does not let us in.
        """
        patient = time.monotonic() + self.patience
        deadline = patient if patience is None else time.monotonic() + patience
        pause = FIRST_PAUSE
        title = f"{self._title} {secrets.token_hex(8)}"
        while True:
            try:
                target = conninfo.make_conninfo(**{**self._arguments, "application_name": title})
                link = Link.connect(target, autocommit=True, prepare_threshold=0)
            except psycopg.Error as error:
                slow = isinstance(error, psycopg.errors.ConnectionTimeout) or _STARTING.search(str(error)) is not None
                left = (patient if slow else deadline) - time.monotonic()
                if left <= 0 or self._closed:
                    kind = StoreDamaged if _NO_DATABASE.search(str(error)) else StoreFailed
                    raise kind(
                        f"PostgreSQL server ({self.where or 'no host given'}) cannot be used: {line(error)}"
                    ) from None
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                link.title = title
                return link

    def take(self) -> Link:
        """An idle connection, or a new one."""
        while True:
            with self._mutex:
                link = self._idle.pop() if self._idle else None
            if link is None:
                return self.connect()
            if link.quiet():
                return link
            link.close()

    def give(self, link: Link) -> None:
        """Give a connection back that is not needed any more, whatever its state."""
        if not link.lost:
            with contextlib.suppress(psycopg.Error):
                if link.info.transaction_status != pq.TransactionStatus.IDLE:
                    link.rollback()
                link.autocommit = True
                with self._mutex:
                    if not self._closed:
                        self._idle.append(link)
                        return
        link.close()

    @contextlib.contextmanager
    def lent(self) -> Iterator[Link]:
        """A connection that is given back in the end; one whose user was interrupted in the middle of something is closed."""
        link = self.take()
        try:
            yield link
        except (psycopg.Error, StoreFailed):
            raise
        except BaseException:
            link.close()
            raise
        finally:
            self.give(link)

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are given back."""
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    # --- the unknown result ---------------------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Link], T]) -> T:
        """Ask the server something that may be asked twice; a lost connection means: ask again.

        Raises:
            StoreFailed: The server does not come back, or refuses.
        """
        deadline = time.monotonic() + self.patience
        while True:
            with self.lent() as link:
                try:
                    return question(link)
                except psycopg.Error as error:
                    if not link.lost:
                        raise failed(error) from error
                    if time.monotonic() > deadline:
                        raise StoreFailed(
                            f"PostgreSQL server ({self.where}) loses every connection: {line(error)}"
                        ) from None
                    time.sleep(FIRST_PAUSE)

    def settle(self, title: str, question: Callable[[Link], T]) -> T:
        """Make sure that the session of a lost connection is at an end, then ask how its work has ended.

        Raises:
            StoreFailed: The server does not come back, or the session does not end.
        """
        deadline = time.monotonic() + self.patience

        def fence(link: Link) -> T:
            pause = FIRST_PAUSE
            while link.execute(TERMINATE, (title,)).fetchone() is not None:
                if time.monotonic() > deadline:
                    raise StoreFailed(f"PostgreSQL session '{title}' was told to end, and does not")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            return question(link)

        return self.ask(fence)


def line(error: BaseException) -> str:
    """An error's text as one line."""
    return " ".join(str(error).split())


def failed(error: psycopg.Error) -> StoreFailed:
    """The error that says that the database cannot go on."""
    if error.sqlstate in _FULL:
        return StoreFailed(f"PostgreSQL has no room left; free some on its disk: {line(error)}")
    if error.sqlstate in _BROKEN:
        return StoreDamaged(f"the database of PostgreSQL is broken: {line(error)}")
    return StoreFailed(f"PostgreSQL refuses: {line(error)}")


def one(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """The row of a statement that always gives one."""
    if row is None:
        raise StoreFailed("PostgreSQL has answered without a row")
    return row
