"""The client library of PostgreSQL, which is optional: whoever chooses PostgreSQL without it is told what to install."""

from __future__ import annotations

from simtx.reference.stores.base import StoreFailed

try:
    import psycopg
    from psycopg import conninfo, pq, sql
except ImportError as error:
    raise StoreFailed(f"PostgreSQL needs psycopg ({error}): pip install 'simtx[reference]'") from None

__all__ = ["conninfo", "pq", "psycopg", "sql"]
