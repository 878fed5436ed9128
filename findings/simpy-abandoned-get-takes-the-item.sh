#!/usr/bin/env bash
# simpy 4.1.2: a process that stops waiting for an item of a store, by a timeout or an interrupt, still gets the next item, and it is gone.
#
# A consumer waits for `store.get() | env.timeout(1)`, gives up, and asks again later. An item that comes in between belongs to the first get,
# which nobody looks at any more: the store is empty, and the second get waits for ever. The same happens to a consumer that is interrupted
# while it waits, which is how most models let a worker crash. In a model of a queue with timeouts that is one lost message for each timeout
# (and, with a Container, an amount that leaks). With a Resource it is a slot that stays taken. No error, and no count shows it.
# The condition could know that one side has won, and a PriorityResource used in a `with` block does give its request back; a get has no such
# block in its examples. `get.cancel()` before going on is what it takes. Expected: who has gone away gets nothing.
# Seen on 2026-11-30, CPython 3.11, Linux.
#
# Where it touches simtx: processes of users that share its clock (docs/engine.md says so). Its own engine cancels what a crash leaves behind.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q simpy==4.1.2
cat > "$folder/try.py" <<'PY'
import simpy


def play(cancels, interrupted):
    env = simpy.Environment()
    store = simpy.Store(env)
    got = []

    def consumer():
        get = store.get()
        try:
            yield get | env.timeout(50 if interrupted else 1)
        except simpy.Interrupt:
            pass
        if cancels:
            get.cancel()
        yield env.timeout(5)
        again = store.get()
        result = yield again | env.timeout(10)
        got.append(result[again] if again in result else "nothing")

    def producer():
        yield env.timeout(2)
        yield store.put("item")

    def crash(process):
        yield env.timeout(1)
        process.interrupt()

    env.process(producer())
    process = env.process(consumer())
    if interrupted:
        env.process(crash(process))
    env.run()
    return got[0], store.items


for interrupted in (False, True):
    print("interrupt" if interrupted else "timeout", "then", *play(cancels=False, interrupted=interrupted))
    print("  with cancel()", *play(cancels=True, interrupted=interrupted))
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
timeout then nothing []
  with cancel() item []
interrupt then nothing []
  with cancel() item []
SEEN
echo "as stated"
