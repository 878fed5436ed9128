#!/usr/bin/env bash
# pybreaker 1.4.1: a closed breaker holds its lock during the call that it protects, so all threads call one after the other.
#
# Eight threads call a function of 0.2 s through one breaker that is closed and has seen no failure. Never are two calls under way at once, and
# the eight take 1.6 s in place of 0.2 s: the throughput of a pool of threads is that of one thread. There is no error and no warning, and a test
# with one caller sees nothing. A slow service then makes the breaker itself the queue, before anything is counted as a failure.
# Expected by a good engineer: the lock guards the counters, and calls run side by side, as with circuitbreaker 2.1.3 (eight at once).
# Seen on 2026-11-30, CPython 3.11, Linux.
#
# Where it touches simtx: a breaker costs no concurrency in a simulation, and does not in simtx's own real runs. docs/scenarios.md says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pybreaker==1.4.1 circuitbreaker==2.1.3
cat > "$folder/try.py" <<'PY'
import threading
import time

import circuitbreaker
import pybreaker


def at_once(call):
    """How many of eight calls are under way at the same time at most."""
    lock, now, most = threading.Lock(), 0, 0

    def work():
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.2)
        with lock:
            now -= 1

    threads = [threading.Thread(target=call, args=(work,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


breaker = pybreaker.CircuitBreaker(fail_max=3)
print("pybreaker", at_once(breaker.call), breaker.current_state)
other = circuitbreaker.CircuitBreaker(failure_threshold=3)
print("circuitbreaker", at_once(lambda work: other(work)()))
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
pybreaker 1 closed
circuitbreaker 8
SEEN
echo "as stated"
