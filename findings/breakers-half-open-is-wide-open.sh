#!/usr/bin/env bash
# circuitbreaker 2.1.3, aiobreaker 1.2.0, purgatory 3.0.1: a half-open breaker lets every caller through, not one trial.
#
# A breaker has opened after three failures, and its time is over. Twenty callers come in the same tenth of a second, and the service is still dead:
# all twenty calls reach it, in each of the three libraries. None of them counts trials, or holds callers back while one is under way. So the
# service that begins to recover meets its whole load at once, which is what the state half-open was invented against.
# Expected by a good engineer: one trial (Nygard, Release It!), or as many as a setting says, as permittedNumberOfCallsInHalfOpenState of
# resilience4j. Seen on 2026-11-30, CPython 3.11, Linux.
#
# Where it touches simtx: the breaker of its policies lets exactly one trial through in a cooldown. Who uses one of these libraries should not
# expect the recovery that a simulation shows; docs/scenarios.md says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q circuitbreaker==2.1.3 aiobreaker==1.2.0 purgatory==3.0.1
cat > "$folder/try.py" <<'PY'
import asyncio
from datetime import timedelta

import aiobreaker
import circuitbreaker
import purgatory

CALLERS = 20


async def trials(call):
    """How many of twenty callers reach a dead service when the time of an open breaker is over."""
    reached = 0

    async def dead():
        nonlocal reached
        reached += 1
        await asyncio.sleep(0.1)
        raise OSError

    for _ in range(3):
        await asyncio.gather(call(dead), return_exceptions=True)
    opened = reached
    await asyncio.gather(call(dead), return_exceptions=True)
    assert reached == opened, "it is open"
    await asyncio.sleep(0.8)
    await asyncio.gather(*(call(dead) for _ in range(CALLERS)), return_exceptions=True)
    return reached - opened


async def main():
    one = circuitbreaker.CircuitBreaker(failure_threshold=3, recovery_timeout=0.6)
    print("circuitbreaker", await trials(lambda call: one(call)()))  # as the decorator does
    two = aiobreaker.CircuitBreaker(fail_max=3, timeout_duration=timedelta(seconds=0.6))
    print("aiobreaker", await trials(two.call_async))
    breakers = purgatory.AsyncCircuitBreakerFactory(default_threshold=3, default_ttl=0.6)

    async def three(call):
        async with await breakers.get_breaker("service"):
            await call()

    print("purgatory", await trials(three))


asyncio.run(main())
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
circuitbreaker 20
aiobreaker 20
purgatory 20
SEEN
echo "as stated"
