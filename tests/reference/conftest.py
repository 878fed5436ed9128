"""The products that keep the contract of a store: every test of the contract runs on each of them.

An entry of `STORES` prepares a database and describes it as `simtx.reference.stores.open_store` wants it, without the options that all share;
the test's request lets it use fixtures of its own, a server for example. The folder is new for each database.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest

from simtx.reference.stores import Store, open_store
from simtx.reference.stores.postgres.schema import drop_run
from simtx.reference.stores.postgres.server import PostgresServer

if TYPE_CHECKING:
    from simtx.reference.stores.sqlite.store import SqliteStore

ROOT = str(Path(__file__).parents[2])  # makes helpers importable as ``tests.reference.workload``
if ROOT not in sys.path:
    sys.path.append(ROOT)

Options = dict[str, Any]


def sqlite(request: pytest.FixtureRequest, folder: Path) -> Options:
    return {"kind": "sqlite", "path": str(folder / "store.sqlite"), "lazy_flush": 0.05}


def postgres(request: pytest.FixtureRequest, folder: Path) -> Options:
    return {"kind": "postgres", "dsn": request.getfixturevalue("postgres_dsn"), "connections": 12}


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Options]] = {"sqlite": sqlite, "postgres": postgres}

SHARED: Options = {
    "run": "run-1",
    "initial": {"a": 10, "b": 10, "p*": 5, "pp*": 7},
    "serializable": False,
    "lock_timeout": 0.05,
    "dedup_retention": 3600.0,
}


class MakeStore:
    """Opens stores of one product; the same service is the same database."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path) -> None:
        self.kind = kind
        self._request = request
        self._folder = folder
        self._databases: dict[str, Options] = {}
        self._opened = contextlib.ExitStack()

    def spec(self, service: str = "stock", **options: Any) -> Options:
        """What `open_store` wants to know; it is plain data."""
        if service not in self._databases:
            folder = self._folder / service
            folder.mkdir()
            self._databases[service] = STORES[self.kind](self._request, folder)
        return {**self._databases[service], **SHARED, "service": service, **options}

    def __call__(self, service: str = "stock", *, relay: bool = False, **options: Any) -> Store:
        """Open one; it is closed after the test if the test does not."""
        store = open_store(self.spec(service, **options), relay=relay)
        self._opened.callback(store.close)
        return store

    def waiting(self, store: Store) -> int:
        """How many operations wait for a lock of this store, as it says itself, or as its server does."""
        if self.kind == "sqlite":
            return sum(map(len, list(cast("SqliteStore", store)._locks._queues.values())))
        with psycopg.connect(self._databases["stock"]["dsn"], autocommit=True) as link:
            found = link.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
            assert found is not None
            return int(found[0])

    def close(self) -> None:
        """Close all."""
        self._opened.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> str:
    """A database from which what the test before has left was removed; all of them play the same run."""
    drop_run(postgres_server.dsn(), SHARED["run"])
    return postgres_server.dsn()


@pytest.fixture(params=list(STORES))
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    make = MakeStore(request.param, request, tmp_path)
    yield make
    make.close()
