#!/usr/bin/env bash
# pandas 2.3.3 writes, DuckDB 2.0.1 and polars 2.1.0 read: a column of durations in a Parquet file.
#
# Parquet has no type for a duration. Arrow, under pandas, stores the bare integer and puts the type "duration[ns]" into a schema of its own
# beside it. polars reads that and gives durations. DuckDB ignores it: the column is a BIGINT without a unit, and 12 ms is 12000000. The very
# same frame, queried by DuckDB from memory and not from the file, is an INTERVAL. So a query that was right on the frame
# (`WHERE latency < INTERVAL 1 SECOND`) fails or compares nanoseconds on the file, by the way in which the data came.
# Expected: one type in both. Seen on 2026-11-29, CPython 3.11.
#
# Where it touches simtx: its results hold times as floats in seconds, with the unit in the name of the column or in docs/metrics.md.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pandas==2.3.3 polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1
cat > "$folder/try.py" <<'PY'
import sys

import duckdb
import pandas as pd
import polars as pl

path = sys.argv[1]
frame = pd.DataFrame({"latency": pd.to_timedelta([12, 900], unit="ms")})
frame.to_parquet(path)
print("polars, file:", pl.read_parquet(path)["latency"].dtype, pl.read_parquet(path)["latency"].max())
print("duckdb, file:", *duckdb.sql(f"SELECT typeof(max(latency)), max(latency) FROM '{path}'").fetchall()[0])
print("duckdb, memory:", *duckdb.sql("SELECT typeof(max(latency)), max(latency) FROM frame").fetchall()[0])
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder/t.parquet" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
polars, file: Duration(time_unit='ns') 0:00:00.900000
duckdb, file: BIGINT 900000000
duckdb, memory: INTERVAL 0:00:00.900000
SEEN
echo "as stated"
