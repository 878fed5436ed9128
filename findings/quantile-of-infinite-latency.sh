#!/usr/bin/env bash
# numpy 2.4.6 and pandas 2.3.3 against polars 2.1.0, DuckDB 2.0.1 and Arrow 26.0.1: a quantile of a column that holds one infinite value.
#
# A latency that had not ended is often written as infinite. All five interpolate linearly by default or on request. With the values 1, 2, ...,
# 100 and one infinite, p99 is the value 100 exactly (position 99 of 0 to 100): polars, DuckDB and Arrow say 100.0, numpy and pandas say NaN,
# with a RuntimeWarning that notebooks show once. Between 100 and infinite (p99.5) they say infinite, and numpy and pandas NaN again. groupby
# of pandas goes another way inside and does say infinite. So the same file gives "no value" in one tool and a value in another, and in pandas
# alone `frame.quantile` and `frame.groupby(...).quantile` differ. method="higher" and method="inverted_cdf" of numpy are safe.
# Expected: 100.0 and infinite, as from the sorted list. Seen on 2026-11-29, CPython 3.11.
#
# Where it touches simtx: the columns of its results hold infinite figures; docs/metrics.md says which calls read them as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 pandas==2.3.3 polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1
cat > "$folder/try.py" <<'PY'
import warnings

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

warnings.simplefilter("ignore")
values = [float(n) for n in range(1, 101)] + [float("inf")]
frame = pd.DataFrame({"strategy": "saga", "latency": values})
for q in (0.98, 0.99, 0.995):
    print(
        q,
        "numpy", np.quantile(values, q),
        "higher", np.quantile(values, q, method="higher"),
        "pandas", frame["latency"].quantile(q),
        "groupby", frame.groupby("strategy")["latency"].quantile(q).iloc[0],
        "polars", pl.Series(values).quantile(q, interpolation="linear"),
        "duckdb", duckdb.sql(f"SELECT quantile_cont(latency, {q}) FROM frame").fetchall()[0][0],
        "arrow", pc.quantile(pa.array(values), q=q)[0].as_py(),
    )
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
0.98 numpy 99.0 higher 99.0 pandas 99.0 groupby 99.0 polars 99.0 duckdb 99.0 arrow 99.0
0.99 numpy nan higher 100.0 pandas nan groupby 100.0 polars 100.0 duckdb 100.0 arrow 100.0
0.995 numpy nan higher inf pandas nan groupby inf polars inf duckdb inf arrow inf
SEEN
echo "as stated"
