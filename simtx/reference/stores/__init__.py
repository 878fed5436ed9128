"""Real databases: SQLite, embedded, and PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simtx.reference.stores.base import Change, PreparedBranch, Result, Store, StoreDamaged, StoreFailed

__all__ = ["Change", "PreparedBranch", "Result", "Store", "StoreDamaged", "StoreFailed", "open_store"]


def open_store(spec: dict[str, Any], *, relay: bool = False) -> Store:
    """Open the database of a node.

    Args:
        spec: Its description, as `simtx.reference.backends.Backends.store` gives it.
        relay: Whether it is for the relay, which only reads and marks outbox rows.

    Raises:
        StoreFailed: It cannot be opened; the text says what would help.
    """
    options = {name: value for name, value in spec.items() if name not in ("kind", "path", "dsn")}
    if spec["kind"] == "sqlite":
        from simtx.reference.stores.sqlite import SqliteStore

        return SqliteStore(Path(spec["path"]), relay=relay, **options)
    from simtx.reference.stores.postgres import PostgresStore

    return PostgresStore(spec["dsn"], relay=relay, **options)
