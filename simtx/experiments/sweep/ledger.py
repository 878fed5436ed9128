"""The ledger of a results folder: the state of every run, in one SQLite file.

A run is ``pending``, ``leased`` to somebody who plays it, ``done``, ``failed``, ``quarantined`` (it killed its worker process twice), or ``stale``: done
under other code than that of today, while a sweep that wanted it was played anew. A run that is done carries its figures until they are in a Parquet file.

Each change is one transaction, so a process that is killed at any moment leaves a ledger that is whole. It is kept in the mode WAL, in which
readers and a writer do not wait for each other; on a network file system, where that mode does not work, with a rollback journal.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simtx.errors import ScenarioError
from simtx.experiments.sweep.leases import LEASE, is_dead
from simtx.metrics.guarantees import GUARANTEE

if TYPE_CHECKING:
    from simtx.experiments.work import Outcome

NAME: Final = "ledger.sqlite"
VERSION: Final = 1
_PATIENCE: Final = 30.0  # seconds that a writer waits for another one
_NETWORK: Final = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "9p",
    "afs",
    "fuse.sshfs",
    "fuse.rclone",
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS codes (code TEXT PRIMARY KEY, modules TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (memo TEXT PRIMARY KEY, scenario TEXT NOT NULL, size REAL NOT NULL, warnings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metrics (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS parts (id INTEGER PRIMARY KEY AUTOINCREMENT, rows INTEGER NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY, identity TEXT NOT NULL, code TEXT NOT NULL, scenario TEXT NOT NULL, changes TEXT NOT NULL,
    strategy TEXT NOT NULL, seed INTEGER NOT NULL, replication INTEGER NOT NULL, size REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'leased', 'done', 'failed', 'quarantined', 'stale')),
    owner TEXT, until REAL, executions INTEGER NOT NULL DEFAULT 0, seconds REAL, finished REAL,
    digest TEXT, metrics INTEGER, figures TEXT, part INTEGER,
    stage TEXT, type TEXT, message TEXT, command TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_identity ON runs (identity);
CREATE INDEX IF NOT EXISTS by_state ON runs (state) WHERE state IN ('leased', 'pending');
CREATE INDEX IF NOT EXISTS unwritten ON runs (key) WHERE figures IS NOT NULL;
"""


_VIOLATED: Final = "CREATE TABLE IF NOT EXISTS violated (key TEXT NOT NULL, property TEXT NOT NULL, said TEXT NOT NULL, PRIMARY KEY (key, property)) WITHOUT ROWID"
"""Made with the first run that has violated anything: a ledger without it is also one of a version that did not look."""


class Wanted(NamedTuple):
    """A run that a sweep wants.

    Attributes:
        key: Its key.
        identity: Its key without the code.
        code: Fingerprint of the code.
        scenario: Name of the scenario.
        changes: What its cell changes in it, as JSON.
        strategy: Label of the strategy.
        seed: Of the sweep.
        replication: Its number.
        size: Expected number of transactions.
    """

    key: str
    identity: str
    code: str
    scenario: str
    changes: str
    strategy: str
    seed: int
    replication: int
    size: float


class Entry(NamedTuple):
    """Entry of the ledger about a run.

    Attributes:
        key: Its key.
        identity: Its key without the code.
        code: Fingerprint of the code.
        state: See the head of this module.
        owner: Who has leased it.
        digest: Of the run.
        metrics: Names of its metrics, by number.
        figures: Their values as JSON, until they are in a file.
        part: Number of the file.
        stage: Where it failed.
        type: Class of the error.
        message: Its first line.
        command: What repeats it.
        executions: How often it was really started.
    """

    key: str
    identity: str
    code: str
    state: str
    owner: str | None
    digest: str | None
    metrics: int | None
    figures: str | None
    part: int | None
    stage: str | None
    type: str | None
    message: str | None
    command: str | None
    executions: int

    @property
    def has_figures(self) -> bool:
        """Return whether it was finished, if perhaps under other code."""
        return self.digest is not None


class RunLedger:
    """An open ledger. One for each thread.

    Args:
        folder: The results folder; made if need be.
        make: Whether to make it.

    Raises:
        ScenarioError: It cannot be made, read or written to, or is none.
    """

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        self.path = folder / NAME
        if not make and not self.path.is_file():
            raise ScenarioError(f"there is no {NAME} in it", str(folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.OperationalError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ScenarioError(
                f"the folder cannot be used: {reason}; choose another one for the results", str(folder)
            ) from None
        try:
            with self._told():
                self._prepare(folder)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, folder: Path) -> None:
        db = self._db
        # WAL needs memory that the processes share, which no network file system gives them. Without it a COMMIT has to be forced in full;
        # with it, `NORMAL` loses the last runs in a power failure at most, and they are played again.
        db.execute(f"PRAGMA journal_mode = {'TRUNCATE' if on_network(folder) else 'WAL'}")
        db.execute(f"PRAGMA synchronous = {'FULL' if on_network(folder) else 'NORMAL'}")
        found = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if found and ("meta",) not in found:
            raise ScenarioError(
                "is a database of something else; choose another folder for the results", str(self.path)
            )
        if not found:
            with self._transaction():
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (str(VERSION),))
        version = db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
        if version != (str(VERSION),):
            raise ScenarioError(
                f"was written by another version of simtx (form {version and version[0]}, not {VERSION})",
                str(self.path),
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns errors of SQLite into one line that says what to do.

        Raises:
            ScenarioError: The file cannot be written to, or is none.
        """
        try:
            yield
        except UnicodeDecodeError as error:
            raise self.damaged(str(error)) from None
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "full" in text or "disk I/O" in text:
                text = f"{text}; every run that was finished is kept: make room, and do the same again"
            elif "not a database" in text or "malformed" in text:
                text = f"{text}; choose another folder for the results, or restore it"
            elif "locked" in text or "busy" in text:
                text = f"{text}: another process has been writing for {_PATIENCE:g} s"
            raise ScenarioError(text, str(self.path)) from None

    def damaged(self, why: str) -> ScenarioError:
        """SQLite reads it, and what is in it was not written by us."""
        return ScenarioError(
            f"is damaged ({why}); restore it, or choose another folder for the results", str(self.path)
        )

    def _read(self, text: Any, kind: type) -> Any:
        """Value that was written as JSON.

        Raises:
            ScenarioError: It was not.
        """
        try:
            found = json.loads(text)
        except (ValueError, TypeError):
            found = None
        if not isinstance(found, kind):
            raise self.damaged(f"{text!r:.40} is no JSON of a {kind.__name__}")
        return found

    def values(self, figures: Any, count: int) -> list[float]:
        """The figures of a run that are in no file yet.

        Args:
            figures: As they are in the ledger.
            count: How many there have to be.

        Raises:
            ScenarioError: They are not those of a run.
        """
        try:
            found = [float(value) for value in self._read(figures, list)]
        except (ValueError, TypeError, OverflowError) as error:
            if isinstance(error, ScenarioError):
                raise
            found = []
        if len(found) != count:
            raise self.damaged(f"a run has no {count} figures")
        return found

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._told():
            # The lock of a writer from the start: one that reads first and asks for it later can fail where it might have waited.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._commit()

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # --- reading ----------------------------------------------------------------------------------------------------------------------

    def entries(self, keys: Sequence[str], column: str = "key") -> Iterator[Entry]:
        """Entries of these runs, in no particular order.

        Args:
            keys: Keys; or identities, of which there may be several runs each.
            column: ``key`` or ``identity``.
        """
        fields = ", ".join(Entry._fields)
        with self._told():
            for start in range(0, len(keys), 10_000):
                wanted = json.dumps(list(keys[start : start + 10_000]))
                query = f"SELECT {fields} FROM runs WHERE {column} IN (SELECT value FROM json_each(?))"  # noqa: S608 - our own names
                yield from map(Entry._make, self._db.execute(query, (wanted,)))

    def violated(self, keys: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """Violations of what strategies guarantee, by key of the run: each property, and a line about it."""
        found: dict[str, list[tuple[str, str]]] = {}
        with self._told():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'violated'").fetchone():
                return found
            wanted = set(keys)
            for key, name, said in self._db.execute("SELECT key, property, said FROM violated ORDER BY key, property"):
                if key in wanted:
                    found.setdefault(key, []).append((name, said))
        return found

    def modules(self, code: str) -> dict[str, str]:
        """The parts of this code, by name."""
        with self._told():
            row = self._db.execute("SELECT modules FROM codes WHERE code = ?", (code,)).fetchone()
        return dict(self._read(row[0], dict)) if row else {}

    def metrics(self) -> dict[int, list[str]]:
        """Names of the metrics of runs, in order, by number."""
        with self._told():
            rows = self._db.execute("SELECT id, names FROM metrics").fetchall()
        return {number: self._read(names, list) for number, names in rows}

    def timings(self) -> list[tuple[str, float, float]]:
        """Strategy, expected transactions and seconds of runs that are done, the last thousands of them."""
        query = "SELECT strategy, size, seconds FROM runs WHERE seconds IS NOT NULL AND digest IS NOT NULL ORDER BY finished DESC LIMIT 5000"
        with self._told():
            return self._db.execute(query).fetchall()

    def table(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Everything about all runs but their figures: names of the columns, and rows."""
        query = (
            "SELECT key, scenario, changes, strategy, seed, replication, state, owner, executions, seconds, "
            "stage, type, message, command, digest, code FROM runs ORDER BY key"
        )
        with self._told():
            found = self._db.execute(query)
            return [name for name, *_ in found.description], found.fetchall()

    def changes(self, scenario: str, seed: int, most: int) -> list[str]:
        """Changes that cells make in a scenario, as JSON, of runs that are done; each once.

        Args:
            scenario: Its name.
            seed: Of the runs.
            most: How many, at most.
        """
        query = "SELECT DISTINCT changes FROM runs WHERE scenario = ? AND seed = ? AND digest IS NOT NULL LIMIT ?"
        with self._told():
            return [text for (text,) in self._db.execute(query, (scenario, seed, most))]

    def memo(self, keys: Sequence[str]) -> dict[str, tuple[str, float, list[str]]]:
        """Results about cells that were checked before: fingerprint, size, warnings."""
        query = "SELECT memo, scenario, size, warnings FROM cells WHERE memo IN (SELECT value FROM json_each(?))"
        with self._told():
            rows = self._db.execute(query, (json.dumps(list(keys)),)).fetchall()
        return {memo: (scenario, size, self._read(warnings, list)) for memo, scenario, size, warnings in rows}

    # --- writing ----------------------------------------------------------------------------------------------------------------------

    def remember(
        self, cells: Mapping[str, tuple[str, float, Sequence[str]]], codes: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Keep what was found out about cells, and the parts of codes."""
        with self._transaction() as db:
            rows = [(memo, scenario, size, json.dumps(list(notes))) for memo, (scenario, size, notes) in cells.items()]
            db.executemany("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?)", rows)
            db.executemany(
                "INSERT OR IGNORE INTO codes VALUES (?, ?)", [(one, json.dumps(dict(m))) for one, m in codes.items()]
            )

    def add(self, runs: Iterable[Wanted], stale: Iterable[str] = ()) -> None:
        """Enter runs that are not there yet as pending, and mark those that were done under other code.

        The same runs under other code that nobody has played are forgotten: nobody will, and they would wait for ever.
        """
        runs = list(runs)
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM runs WHERE identity = ? AND code <> ? AND state = 'pending'",
                [(one.identity, one.code) for one in runs],
            )
            marks = ", ".join("?" * len(Wanted._fields))
            db.executemany(f"INSERT OR IGNORE INTO runs ({', '.join(Wanted._fields)}) VALUES ({marks})", runs)  # noqa: S608
            db.executemany(
                "UPDATE runs SET state = 'stale' WHERE key = ? AND state = 'done'", [(key,) for key in stale]
            )

    def revive(self, keys: Iterable[str]) -> None:
        """Runs that were stale and are of the code of today again."""
        with self._transaction() as db:
            db.executemany("UPDATE runs SET state = 'done' WHERE key = ? AND state = 'stale'", [(key,) for key in keys])

    def again(self, keys: Iterable[str]) -> None:
        """Let runs that have failed be played again."""
        with self._transaction() as db:
            clear = "stage = NULL, type = NULL, message = NULL, command = NULL"
            query = f"UPDATE runs SET state = 'pending', {clear} WHERE key = ? AND state IN ('failed', 'quarantined')"  # noqa: S608
            db.executemany(query, [(key,) for key in keys])

    def lease(self, key: str, owner: str) -> bool:
        """Take a run for oneself; False if somebody else has it, or has finished it."""
        now = time.time()
        with self._transaction() as db:
            query = (
                "UPDATE runs SET state = 'leased', owner = ?, until = ?, executions = executions + 1 "
                "WHERE key = ? AND (state = 'pending' OR (state = 'leased' AND until < ?))"
            )
            # One statement looks and takes, so that of two processes that ask at once one gets the run.
            return db.execute(query, (owner, now + LEASE, key, now)).rowcount == 1

    def beat(self, owner: str) -> None:
        """Move the end of one's leases on."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET until = ? WHERE state = 'leased' AND owner = ?", (time.time() + LEASE, owner))

    def release(self, owner: str) -> None:
        """Give one's leases back."""
        with self._transaction() as db:
            db.execute(
                "UPDATE runs SET state = 'pending', owner = NULL, until = NULL WHERE state = 'leased' AND owner = ?",
                (owner,),
            )

    def reclaim(self) -> int:
        """Void the leases of those who have died, or whose time is over; returns how many."""
        with self._told():
            held = self._db.execute(
                "SELECT DISTINCT owner, until < ? FROM runs WHERE state = 'leased'", (time.time(),)
            ).fetchall()
        dead = [owner for owner, over in held if over or is_dead(owner)]
        if not dead:
            return 0
        with self._transaction() as db:
            # Asked again inside of the transaction: the owner may have moved its leases on since the look.
            query = "UPDATE runs SET state = 'pending', owner = NULL, until = NULL WHERE state = 'leased' AND owner = ? AND (until < ? OR ?)"
            return sum(db.execute(query, (owner, time.time(), is_dead(owner))).rowcount for owner in dead)

    def finish(self, key: str, outcome: Outcome, *, attempts: int = 1, command: str = "") -> None:
        """Enter the result of a run. A run that is done stays done, whoever comes later with the same."""
        now = time.time()
        with self._transaction() as db:
            more = max(attempts - 1, 0)
            if outcome.stage:
                state = "quarantined" if outcome.type == "WorkerDied" else "failed"
                query = (
                    "UPDATE runs SET state = ?, owner = NULL, until = NULL, executions = executions + ?, seconds = ?, finished = ?, "
                    "stage = ?, type = ?, message = ?, command = ? WHERE key = ? AND digest IS NULL"
                )
                failure = (outcome.stage, outcome.type, outcome.message, command)
                db.execute(query, (state, more, outcome.seconds, now, *failure, key))
                return
            names = json.dumps(list(outcome.summary))
            db.execute("INSERT OR IGNORE INTO metrics (names) VALUES (?)", (names,))
            query = (
                "UPDATE runs SET state = 'done', owner = NULL, until = NULL, executions = executions + ?, seconds = ?, finished = ?, digest = ?, "
                "metrics = (SELECT id FROM metrics WHERE names = ?), figures = ?, stage = NULL, type = NULL, message = NULL, command = NULL "
                "WHERE key = ? AND digest IS NULL"
            )
            figures = json.dumps(list(outcome.summary.values()))
            entered = db.execute(query, (more, outcome.seconds, now, outcome.digest, names, figures, key)).rowcount
            broken = [(key, one.place, one.text) for one in outcome.findings if one.law == GUARANTEE] if entered else []
            if broken:
                db.execute(_VIOLATED)
                db.executemany("INSERT OR REPLACE INTO violated VALUES (?, ?, ?)", broken)

    # --- files of figures ---------------------------------------------------------------------------------------------------------------

    def unwritten(self) -> list[tuple[Any, ...]]:
        """Runs whose figures are in no file yet: key, scenario, changes, strategy, seed, replication, digest, metrics, figures."""
        fields = "key, scenario, changes, strategy, seed, replication, digest, metrics, figures"
        with self._told():
            return self._db.execute(f"SELECT {fields} FROM runs WHERE figures IS NOT NULL ORDER BY key").fetchall()  # noqa: S608

    def parts(self) -> list[tuple[int, int, str]]:
        """Files of figures: number, rows, state (``writing`` or ``whole``)."""
        with self._told():
            return self._db.execute("SELECT id, rows, state FROM parts ORDER BY id").fetchall()

    def begin_part(self, owner: str) -> int | None:
        """The number of a new file, which nobody else gets; None while somebody else who lives is writing one."""
        now = time.time()
        with self._transaction() as db:
            for other, until in db.execute("SELECT owner, until FROM parts WHERE state = 'writing'").fetchall():
                if until > now and other != owner and not is_dead(other):
                    return None
            query = "INSERT INTO parts (rows, state, owner, until) VALUES (0, 'writing', ?, ?)"
            return db.execute(query, (owner, now + LEASE)).lastrowid

    def end_part(self, part: int, keys: Sequence[str], replaced: Sequence[int]) -> None:
        """A file is whole: these runs are in it, and those other files are no longer needed."""
        with self._transaction() as db:
            db.execute("UPDATE parts SET rows = ?, state = 'whole' WHERE id = ?", (len(keys), part))
            db.executemany("UPDATE runs SET part = ?, figures = NULL WHERE key = ?", [(part, key) for key in keys])
            db.executemany("DELETE FROM parts WHERE id = ?", [(one,) for one in replaced])

    def forget_part(self, part: int) -> int:
        """The file of these figures is gone: their runs are to be played again. Returns how many."""
        with self._transaction() as db:
            if not db.execute("DELETE FROM parts WHERE id = ? AND state = 'whole'", (part,)).rowcount:
                return 0  # somebody has put it together with others meanwhile
            query = "UPDATE runs SET state = 'pending', digest = NULL, metrics = NULL, part = NULL WHERE part = ?"
            return db.execute(query, (part,)).rowcount

    def drop_parts(self, owner: str) -> list[int]:
        """Forget the files that were never finished, by oneself or by others who have died; returns their numbers."""
        with self._transaction() as db:
            rows = db.execute("SELECT id, owner, until FROM parts WHERE state = 'writing'").fetchall()
            dead = [part for part, other, until in rows if other == owner or until < time.time() or is_dead(other)]
            db.executemany("DELETE FROM parts WHERE id = ?", [(part,) for part in dead])
        return dead


def on_network(folder: Path) -> bool:
    """Return whether a folder is on a file system of another machine, as far as this one knows."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return False
    path = folder.resolve()
    fitting = [mount for mount in mounts if path.is_relative_to(mount[1])]
    return bool(fitting) and max(fitting, key=lambda mount: len(mount[1]))[2].startswith(_NETWORK)
