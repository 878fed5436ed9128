"""Tools for PostgreSQL beside its stores; `simtx.reference.stores.registry.ServerTools` says what each function is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simtx.reference.stores.postgres.server import PostgresServer

if TYPE_CHECKING:
    from pathlib import Path

    from simtx.reference.stores.postgres.votes import PostgresVotes


def own_server(folder: Path | None) -> PostgresServer:
    """A server that is not started yet, with its data in this folder."""
    return PostgresServer(folder)


def database(folder: Path) -> Path | None:
    """The databases that a server has left in this folder."""
    data = folder / "data"
    return data if (data / "PG_VERSION").is_file() else None


def check_address(address: str) -> None:
    """Refuse a DSN that leads nowhere."""
    # the driver is imported here and below: to find and start a server needs none
    from simtx.reference.stores.postgres.schema import check_dsn

    check_dsn(address)


def drop_run(address: str, run: str) -> None:
    """Leave nothing of a run."""
    from simtx.reference.stores.postgres import schema

    schema.drop_run(address, run)


def open_votes(address: str, run: str) -> PostgresVotes:
    """Open the vote store of a run."""
    from simtx.reference.stores.postgres.votes import PostgresVotes

    return PostgresVotes(address, run)
