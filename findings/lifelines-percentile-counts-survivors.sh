#!/usr/bin/env bash
# lifelines 0.30.3: percentile(0.99) of a Kaplan-Meier curve is the first hundredth of the latencies, not the last.
#
# Latencies with unfinished ones are right-censored, and Kaplan-Meier is the textbook estimate. lifelines' `percentile(p)` gives the time at
# which the SURVIVAL is p: with 1,000 latencies of 1 ms to 1,000 ms, percentile(0.99) is 11 ms, and what everybody calls p99 is
# percentile(0.01) = 991 ms. No name, warning or unit tells; the median is the same both ways, so a first check passes. Where more than the
# asked share is censored the answer is infinite, as it should be.
# Expected: percentile(0.99) near 990 ms, as numpy, pandas and scipy name it. Seen on 2026-11-29, CPython 3.11.
#
# Where it touches simtx: its own quantiles put the unfinished above all finished ones; docs/metrics.md says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q lifelines==0.30.3 "pandas==2.3.3" "numpy==2.4.6" "scipy==1.17.1"
cat > "$folder/try.py" <<'PY'
import warnings

import numpy as np
from lifelines import KaplanMeierFitter

warnings.simplefilter("ignore")
latency = np.arange(1, 1001)
whole = KaplanMeierFitter().fit(latency, np.ones(1000))
print("numpy p99", np.quantile(latency, 0.99, method="inverted_cdf"))
print("percentile(0.99)", whole.percentile(0.99), "percentile(0.01)", whole.percentile(0.01))
print("median both ways", whole.percentile(0.5), whole.median_survival_time_)
cut = KaplanMeierFitter().fit(np.minimum(latency, 950), latency <= 950)  # 5 % had not ended
print("5 % unfinished:", cut.percentile(0.01), cut.percentile(0.10))
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
numpy p99 990
percentile(0.99) 11.0 percentile(0.01) 991.0
median both ways 500.0 500.0
5 % unfinished: inf 901.0
SEEN
echo "as stated"
