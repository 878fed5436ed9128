"""Rules for derived data on a real database: the very rule decides what SQLite is told, processes are killed between its local transactions."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from simtx.protocols.derived import AggregateRule, GroupRule, ProjectionRule
from simtx.protocols.derived.aggregate import Event
from simtx.protocols.derived.group import Partition
from simtx.protocols.derived.projection import Write

EVENTS = 3
KEYED = ProjectionRule(checkpoint="after", keyed=True)


def opened(file: Path) -> sqlite3.Connection:
    """A connection to the database of the projection."""
    store = sqlite3.connect(file, isolation_level=None, timeout=30)
    store.execute("PRAGMA synchronous = FULL")
    store.executescript(
        "CREATE TABLE IF NOT EXISTS applied (event INTEGER); CREATE TABLE IF NOT EXISTS sent (event INTEGER);"
        "CREATE TABLE IF NOT EXISTS done (checkpoint INTEGER); CREATE TABLE IF NOT EXISTS fence (epoch INTEGER);"
        "INSERT INTO done SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM done); INSERT INTO fence SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM fence);"
    )
    return store


def checkpoint(store: sqlite3.Connection) -> int:
    """The offset that is read next."""
    return int(store.execute("SELECT checkpoint FROM done").fetchone()[0])


def applied(store: sqlite3.Connection) -> list[int]:
    """The events in the table, in the order in which they were applied."""
    return [row[0] for row in store.execute("SELECT event FROM applied ORDER BY rowid")]


def write(store: sqlite3.Connection, rule: ProjectionRule, one: Write) -> None:
    """One local transaction of a projection."""
    store.execute("BEGIN IMMEDIATE")
    known = rule.keyed and store.execute("SELECT 1 FROM applied WHERE event = ?", (one.apply,)).fetchone()
    if one.apply is not None and not known:
        store.execute("INSERT INTO applied VALUES (?)", (one.apply,))
        if one.send:
            store.execute("INSERT INTO sent VALUES (?)", (one.apply,))
    if one.checkpoint is not None:
        store.execute("UPDATE done SET checkpoint = ?", (one.checkpoint,))
    store.execute("COMMIT")


def project(file: Path, rule: ProjectionRule, kill_after: int | None) -> None:
    """Work off what is left, in a process of its own, which is killed after so many local transactions, before the next one commits."""
    child = os.fork()
    if child == 0:
        try:
            store, count = opened(file), 0
            while checkpoint(store) < EVENTS:
                for one in rule.writes(checkpoint(store), replay=False):
                    if count == kill_after:
                        store.execute("BEGIN IMMEDIATE")
                        store.execute("INSERT INTO applied VALUES (99)")  # never committed
                        os.kill(os.getpid(), signal.SIGKILL)
                    write(store, rule, one)
                    count += 1
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) == (kill_after is not None)


@pytest.mark.parametrize("kill_after", range(3))
@pytest.mark.parametrize(
    "rule", [ProjectionRule(), KEYED, ProjectionRule(checkpoint="after"), ProjectionRule(checkpoint="before")]
)
def test_a_projection_that_is_killed_does_what_the_checker_says(
    tmp_path: Path, rule: ProjectionRule, kill_after: int
) -> None:
    """With the effect, or keyed: each event once. After it: the one between its two transactions twice. Before it: never."""
    file = tmp_path / "projection.db"
    project(file, rule, kill_after)
    project(file, rule, None)
    between = rule.checkpoint != "with" and kill_after % 2 == 1
    expected = list(range(EVENTS))
    if between and not rule.keyed:
        hit = kill_after // 2
        expected = sorted([*expected, hit]) if rule.checkpoint == "after" else [one for one in expected if one != hit]
    store = opened(file)
    assert (applied(store), checkpoint(store)) == (expected, EVENTS)
    assert [row[0] for row in store.execute("SELECT event FROM sent ORDER BY event")] == expected
    store.close()


@pytest.mark.parametrize("guard", ["epoch", "checkpoint", "none"])
def test_a_zombie_is_refused_where_the_effect_is_written(tmp_path: Path, guard: str) -> None:
    """Two owners with a connection each: the old one wakes up behind the new one."""
    rule = GroupRule(guard=guard)  # type: ignore[arg-type]
    old, new = opened(tmp_path / "group.db"), opened(tmp_path / "group.db")

    def apply(store: sqlite3.Connection, epoch: int, offset: int) -> bool:
        store.execute("BEGIN IMMEDIATE")
        fence = int(store.execute("SELECT epoch FROM fence").fetchone()[0])
        now = rule.applied(Partition(checkpoint(store), fence, tuple(applied(store))), epoch, offset)
        if now is None:
            store.execute("ROLLBACK")
            return False
        store.execute("INSERT INTO applied VALUES (?)", (now.applied[-1],))
        store.execute("UPDATE done SET checkpoint = ?", (now.checkpoint,))
        store.execute("COMMIT")
        return True

    assert apply(old, 1, 0)
    new.execute("UPDATE fence SET epoch = ?", (rule.fenced(Partition(), 2).fence,))
    begin = rule.first(Partition(checkpoint(new)), EVENTS)
    assert apply(new, 2, begin)
    assert apply(new, 2, begin + 1)
    assert apply(old, 1, 1) == (guard == "none")
    assert applied(new) == [0, 1, 2] + ([1] if guard == "none" else [])
    assert checkpoint(new) == (2 if guard == "none" else 3)
    old.close()
    new.close()


@pytest.mark.parametrize("append", ["expected", "any"])
def test_the_second_of_two_appends_at_a_version_is_refused_by_the_database(tmp_path: Path, append: str) -> None:
    """Two clients have decided on the same version; a unique row (stream, version) is the check, and one decides again."""
    rule = AggregateRule(append=append)  # type: ignore[arg-type]
    clients = [sqlite3.connect(tmp_path / "account.db", isolation_level=None, timeout=30) for _ in range(2)]
    clients[0].execute("CREATE TABLE stream (version INTEGER PRIMARY KEY, command INTEGER, amount INTEGER)")

    def load(store: sqlite3.Connection) -> tuple[Event, ...]:
        return tuple(Event(*row) for row in store.execute("SELECT command, amount FROM stream ORDER BY version"))

    def add(store: sqlite3.Connection, event: Event, expected: int) -> bool:
        version = expected if rule.append == "expected" else len(load(store))
        try:
            store.execute("INSERT INTO stream VALUES (?, ?, ?)", (version, event.command, event.amount))
        except sqlite3.IntegrityError:
            return False
        return True

    states = [rule.load(load(one), 1, None) for one in clients]
    events = [rule.decide(state, command, -1) for command, state in enumerate(states)]
    assert all(isinstance(one, Event) for one in events)
    taken = [add(clients[n], events[n], states[n].version) for n in range(2)]  # type: ignore[arg-type]
    assert taken == [True, append == "any"]
    assert rule.decide(rule.load(load(clients[1]), 1, None), 1, -1) == ("known" if append == "any" else "refused")
    assert rule.load(load(clients[0]), 1, None).balance == (-1 if append == "any" else 0)
    for one in clients:
        one.close()
