"""Real databases: SQLite, embedded, and PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from simtx.reference.stores.base import Change, PreparedBranch, Result, Store, StoreDamaged, StoreFailed
from simtx.reference.stores.registry import PRODUCTS

__all__ = ["Change", "PreparedBranch", "Result", "Store", "StoreDamaged", "StoreFailed", "open_store"]


def open_store(spec: dict[str, Any], *, relay: bool = False) -> Store:
    """Open the database of a node.

    Args:
        spec: Its description, as `simtx.reference.processes.backends.Backends.store` gives it.
        relay: Whether it is for the relay, which only reads and marks outbox rows.

    Raises:
        StoreFailed: It cannot be opened; the text says what would help.
    """
    options = {name: value for name, value in spec.items() if name not in ("kind", "path", "dsn")}
    product = PRODUCTS[spec["kind"]]
    place = spec["dsn"] if product.server else Path(spec["path"])
    opened: Store = cast("Any", product.opened_by())(place, relay=relay, **options)
    return opened
