"""Faults of links between a node and the embedded broker: words get lost, come again, and nothing is skipped or believed that is not so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import simtx
from simtx.conformance.check import check_log
from simtx.protocols import Delivery, strategy
from simtx.protocols.extras import own_nodes
from simtx.reference.brokers.embedded import EmbeddedClient
from simtx.reference.brokers.reading import PartitionReader
from simtx.reference.processes.faults import Injectors, Stage, proxied_links
from simtx.reference.processes.proxy import FaultyLink, LinkProxy, _ToBroker, transaction
from simtx.reference.run_folder import scratch
from simtx.reference.wire.connection import Frame
from simtx.workload.faults import fault_plan
from tests.reference.test_brokers import (
    SECRET,
    Consumer,
    Embedded,
    insist,
    message,
    play,
    running,
    until,
    until_settled,
    until_settled_partition,
)
from tests.reference.test_execute import assert_sound, lab, outcomes

NODES = ["orders", "stock"]
SOON = 0.2  # seconds until the broker delivers again


class Between:
    """A proxy between two nodes and a broker, and what it has lost."""

    def __init__(self, broker: Embedded) -> None:
        self.broker = broker
        self.lost: list[tuple[str, str, int]] = []
        links = proxied_links(NODES, broker=True)
        self.proxy = LinkProxy(SECRET, links, broker.run.locate, lost=self._note)

    def _note(self, link: FaultyLink, frame: Frame, why: str) -> None:
        self.lost.append((link.source, frame["type"], transaction(frame)))

    def cut(self, source: str, destination: str) -> None:
        self.lost.clear()
        self.proxy.set_fault((source, destination), "partition")

    def connections(self, name: str) -> int:
        """How many of a node's connections to the broker there are in the proxy."""
        return len(cast("_ToBroker", self.proxy._passages[name, "broker"])._pairs)

    def heal(self) -> None:
        self.proxy.control({"do": "clear"})

    @contextlib.asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[EmbeddedClient]:
        where = f"{name}@broker"
        client = EmbeddedClient(name, SECRET, lambda: self.broker.run.locate(where), self.broker.spec, expect=where)
        await client.connect()
        try:
            yield client
        finally:
            await client.close()


@contextlib.asynccontextmanager
async def between(broker: Embedded) -> AsyncIterator[Between]:
    it = Between(broker)
    await broker.pending()  # it is there, as in a run before any node is
    with scratch.sockets() as sockets:
        places = await it.proxy.start_as({"host": None, "sockets": str(sockets)})
        assert set(places) == {link for link in proxied_links(NODES, broker=True) if link[0] != "broker"}
        for (source, destination), place in places.items():
            broker.run.announce(f"{source}@{destination}", place)
        try:
            yield it
        finally:
            await it.proxy.close()


def test_what_is_lost_on_the_way_to_or_from_the_broker_comes_again(tmp_path: Path) -> None:
    """A confirmation, a delivery, an acknowledgement: each is lost once, with the transaction that it is about."""

    async def go(broker: Embedded) -> None:
        async with between(broker) as it, it.client("orders") as producer, it.client("stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)

            it.cut("broker", "orders")
            publishing = asyncio.ensure_future(producer.publish(message(1), None))
            await until(lambda: consumer.got and it.lost)
            assert it.lost == [("broker", "published", 1)]
            assert not publishing.done()
            publishing.cancel()
            it.heal()
            await producer.publish(message(1), None)  # the broker has it already
            consumer.answer(consumer.got[0][0])
            await until_settled(broker, set())
            assert {one.message.tx for one, _, _ in consumer.got} == {1}

            def second() -> list[tuple[Delivery, int | None, bool]]:
                return [one for one in consumer.got if one[0].message.tx == 2]  # copies of 1 may still be on their way

            it.cut("broker", "stock")
            await producer.publish(message(2), None)
            await until(lambda: ("broker", "deliver", 2) in it.lost)
            assert second() == []
            it.heal()
            await until(second)

            it.cut("stock", "broker")
            consumer.answer(second()[0][0])
            await until(lambda: it.lost)
            assert it.lost == [("stock", "acknowledge", 2)]
            count = len(second())
            await until(lambda: len(second()) > count)
            assert second()[-1][2]  # it comes again, and says so
            it.heal()
            consumer.answer(second()[-1][0])
            await until_settled(broker, set())

    with running("embedded-quorum", tmp_path, redelivery=SOON, deduplication_window=600.0) as broker:
        play(go(broker))


def test_a_copy_of_a_delivery_is_no_second_delivery(tmp_path: Path) -> None:
    async def go(broker: Embedded) -> None:
        async with between(broker) as it, it.client("orders") as producer, it.client("stock") as client:
            consumer = Consumer(client, acknowledge=False)
            await client.subscribe("stock", consumer)
            it.proxy.set_fault(("broker", "stock"), "duplication", probability=1.0)
            await producer.publish(message(1), None)
            await until(lambda: len(consumer.got) == 2)
            assert [again for _, _, again in consumer.got] == [False, False]
            it.heal()
            consumer.answer(consumer.got[0][0])
            await until_settled(broker, set())

    with running("embedded-quorum", tmp_path) as broker:
        play(go(broker))


def test_each_side_learns_at_once_that_the_other_one_is_gone(tmp_path: Path) -> None:
    """Although a proxy stands in between: of a killed broker its producers, and of a consumer that is away the broker, which counts nothing as delivered to it."""

    async def go(broker: Embedded) -> None:
        async with between(broker) as it, it.client("orders") as producer:
            async with it.client("stock") as client:
                await client.subscribe("stock", Consumer(client))
                assert it.connections("stock") >= 1
                await insist(producer, message(1))
                await until_settled(broker, set())
            await until(lambda: it.connections("stock") == 0)  # nothing of it is left
            await producer.publish(message(2), None)
            broker.pause()
            waiting = asyncio.ensure_future(producer.publish(message(3), None))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            broker.kill()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(waiting, 180)
            broker.restart()
            await broker.pending()
            await insist(producer, message(4))
            async with it.client("stock") as client:
                consumer = Consumer(client)
                await client.subscribe("stock", consumer)
                await until_settled(broker, set())
            assert [(one.message.tx, again) for one, _, again in consumer.got] == [(2, False), (4, False)]

    with running("embedded-quorum", tmp_path) as broker:
        play(go(broker))


@pytest.mark.parametrize("moved", [False, True])
def test_no_event_of_a_partition_is_skipped_because_it_was_lost_or_overtaken(moved: bool, tmp_path: Path) -> None:
    async def go(broker: Embedded) -> None:
        async with between(broker) as it, it.client("orders") as producer, it.client("stock") as client:
            consumer = Consumer(client)
            await client.subscribe("stock", consumer)
            await producer.publish(message(0), None)
            await until_settled_partition(consumer, [0])
            if moved:
                it.proxy.set_fault(("broker", "stock"), "delay", delay=0.5)
            else:
                it.cut("broker", "stock")
            await producer.publish(message(1), None)
            await until(lambda: (it.proxy.in_flight or len(consumer.got) > 1) if moved else it.lost)
            it.heal()
            for tx in (2, 3):
                await producer.publish(message(tx), None)
            await until_settled_partition(consumer, [0, 1, 2, 3])
            await until_settled(broker, set())

    spec = {"partitions": 1, "fetch": 4, "commit_every": 0.0, "delivery_limit": None, "backoff": [], "nack": False}
    with running("embedded-quorum", tmp_path, **spec, redelivery=60.0 if moved else SOON) as broker:
        play(go(broker))


def test_a_whole_fetch_may_overtake_its_first_event() -> None:
    """However many wait for the one before them: they are taken one after the other, and not one inside of another."""
    handled: list[int] = []
    reader = PartitionReader(
        {"partitions": 1}, lambda delivery, origin, again: handled.append(delivery.id), lambda _: None, lambda *_: None
    )
    for number in range(1, 3000):
        reader.take(Delivery(message(1), number), None, again=False, after=number - 1)
    assert not reader._where
    reader.take(Delivery(message(1), 0), None, again=False)
    assert handled == [0]  # the others come when it is done
    assert list(reader._where) == list(range(3000))


def test_a_service_that_was_cut_off_gets_its_events_afterwards_in_both_worlds() -> None:
    fault = {"kind": "partition", "a": ["s1"], "at": "0s", "duration": "1.2s"}
    scenario = lab(faults=[fault], broker={"redelivery": "300ms"}).replace(**{"policies.publish_timeout": "400ms"})
    real = simtx.execute(scenario, "outbox", seed=3)
    simulated = simtx.simulate(scenario, "outbox", seed=3, trace="full")
    assert_sound(real)
    assert set(outcomes(real)) == {"committed"}
    assert outcomes(simulated) == outcomes(real)
    assert check_log(simulated.trace, simulated.strategy).ok
    for run in (real, simulated):
        cut = {(entry.node, entry.peer) for entry in run.trace if entry.kind == "drop"}
        if run is real:
            cut.discard(("s1", "broker"))  # on a busy machine the fault may come behind the first event
        assert cut == {("broker", "s1")}  # s1 has nothing to say before it has heard something
        assert any(entry.kind == "redeliver" for entry in run.trace)


@pytest.mark.parametrize(("name", "broker"), [("outbox", True), ("outbox", False), ("cornus", False)])
def test_what_has_no_proxy_before_it_does_not_keep_a_fault_from_the_other_links(name: str, broker: bool) -> None:
    scenario = lab(faults=[{"kind": "partition", "a": ["s1"], "at": "0s", "duration": "1s"}])
    chosen = strategy(name, scenario.policies)
    links = proxied_links(["s0", "s1", *own_nodes(chosen)], broker=broker)
    proxy = LinkProxy(SECRET, links, lambda name: None)
    answers = []
    stage = SimpleNamespace(
        options=SimpleNamespace(seed=1), links=links, tell=lambda name, **frame: answers.append(proxy.control(frame))
    )
    (planned,) = fault_plan(scenario, chosen)
    Injectors(cast("Stage", stage))._links(planned)
    assert [answer["type"] for answer in answers] == ["state"]
    cut = {link for link, passage in proxy._passages.items() if passage.link.fates() == ()}
    assert cut == {link for link in links if "s1" in link}
