"""Laws of a broker, which the machines rely on, and the check of them on a broker of your own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from simtx.protocols import Delivery, Message
from simtx.testing.laws import Law, expect, judge, law_in, same, select

__all__ = ["BROKER_LAWS", "BrokerUnderTest", "ClientUnderTest", "MakeBroker", "broker_laws", "check_broker"]

PATIENCE: Final = 30.0
"""Seconds of the broker's time within which what has to happen has to happen."""

_NEVER: Final = 60.0  # a redelivery time that no law waits for
_SOON: Final = 0.5
_DURABLE: Final = ("quorum", "fsync")


class ClientUnderTest(Protocol):
    """A node's connection to a broker, as `simtx.reference.brokers.base.BrokerClient` has it."""

    async def connect(self) -> None:
        """Connect, for a first time; after an outage it connects again by itself."""

    async def publish(self, message: Message, origin: int | None) -> None:
        """Hand over a message; returns on the acknowledgement.

        Raises:
            ConnectionError: There was none; the message may have been stored or not.
        """

    async def subscribe(self, node: str, consume: Callable[[Delivery, int | None, bool], None]) -> None:
        """Have the messages to this node delivered."""

    async def acknowledge(self, delivery: int) -> None:
        """Acknowledge a delivery, which needs not come again."""

    async def close(self) -> None:
        """Disconnect."""


class BrokerUnderTest(Protocol):
    """A broker that can be killed, and connections to it."""

    def client(self, name: str) -> ClientUnderTest:
        """A connection of the process of this name."""

    def kill(self) -> None:
        """Crash, as by SIGKILL or a loss of power, according to what its acknowledgement promises to survive."""

    def restart(self) -> None:
        """Come back with what was kept."""

    async def pending(self) -> Collection[int]:
        """Transactions with messages that wait for their consumer."""

    async def sleep(self, seconds: float) -> None:
        """Let so much of the broker's time pass."""


MakeBroker = Callable[..., AbstractContextManager[BrokerUnderTest]]
"""Starts a broker with these keyword arguments: ``ack``, ``redelivery`` (seconds), ``deduplication_window`` (seconds), ``deduplication_after_restart``,
``retention`` (seconds or None), ``ordered``, with the meaning that they have in the `[broker]` table of a scenario."""

_Body = Callable[["Stage"], Coroutine[Any, Any, None]]


class Consumer:
    """Writes down what comes, and acknowledges it if it should.

    Args:
        client: Its connection.
        answers: Whether it acknowledges.
    """

    def __init__(self, client: ClientUnderTest, *, answers: bool) -> None:
        self._client = client
        self.answers = answers
        self._tasks: set[asyncio.Future[None]] = set()
        self.got: list[Delivery] = []

    def __call__(self, delivery: Delivery, origin: int | None, again: bool) -> None:  # noqa: ARG002 - as a broker calls it
        self.got.append(delivery)
        if self.answers:
            task = asyncio.ensure_future(self._client.acknowledge(delivery.id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def bodies(self) -> list[Any]:
        """Bodies of the messages."""
        return [delivery.message.body for delivery in self.got]

    @property
    def ids(self) -> set[int]:
        """Ids of the deliveries: one for each time that a message was stored."""
        return {delivery.id for delivery in self.got}


class Stage:
    """A broker with a producer that is connected; consumers come as they are asked for."""

    def __init__(self, broker: BrokerUnderTest) -> None:
        self.broker = broker
        self._clients: list[ClientUnderTest] = []
        self._producer: ClientUnderTest | None = None

    async def connected(self, name: str) -> ClientUnderTest:
        """A connection."""
        client = self.broker.client(name)
        await client.connect()
        self._clients.append(client)
        return client

    async def consumer(self, node: str = "stock", *, answers: bool = True) -> Consumer:
        """A consumer of what is sent to a node."""
        client = await self.connected(node)
        consumer = Consumer(client, answers=answers)
        await client.subscribe(node, consumer)
        return consumer

    async def publish(self, tx: int, body: Any = None, to: str = "stock") -> None:
        """Publish until it is acknowledged."""
        if self._producer is None:
            self._producer = await self.connected("orders")
        while True:
            try:
                await self._producer.publish(message(tx, body, to), None)
            except ConnectionError:
                await self.broker.sleep(0.01)
            else:
                return

    async def crash(self) -> None:
        """The broker crashes and comes back."""
        self.broker.kill()
        self.broker.restart()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something has happened."""
        waited = 0.0
        while not condition():
            expect(waited < PATIENCE, f"within {PATIENCE:g} s it did not come that {what}")
            await self.broker.sleep(0.005)
            waited += 0.005

    async def settled(self) -> None:
        """Wait until nothing waits in the broker."""
        waited = 0.0
        while await self.broker.pending():
            expect(waited < PATIENCE, f"after {PATIENCE:g} s messages wait that were acknowledged")
            await self.broker.sleep(0.01)
            waited += 0.01

    async def close(self) -> None:
        """Disconnect all."""
        for client in self._clients:
            await client.close()


def message(tx: int, body: Any = None, to: str = "stock") -> Message:
    """A message of a transaction."""
    return Message("reserve", tx, "orders", to, body)


_LAWS: list[Law] = []
_PLAIN: Final[Mapping[str, Any]] = {
    "redelivery": _NEVER,
    "deduplication_window": 0.0,
    "deduplication_after_restart": "stored",
    "retention": None,
    "ordered": True,
}
"""Options that a law has to name only if it wants them otherwise."""


def _law(*levels: str, **options: Any) -> Callable[[_Body], _Body]:
    """Make a law of a check, one for each level of acknowledgement; the name of the function is that of the law."""

    def register(body: _Body) -> _Body:
        for level in levels:
            law_in(_LAWS, {"ack": level, **_PLAIN, **options}, suffix=f"-{level}")(body)
        return body

    return register


def broker_laws(*, deduplication_after_restart: Collection[str] = ("stored",)) -> list[Law]:
    """The laws of a broker that knows these ids after a restart, as the key of a scenario's `[broker]` says it."""
    return [law for law in BROKER_LAWS if law.options["deduplication_after_restart"] in deduplication_after_restart]


def check_broker(
    make_broker: MakeBroker,
    *,
    deduplication_after_restart: Collection[str] = ("stored",),
    only: Collection[str] | str | None = None,
) -> None:
    """Check that a broker keeps what the machines rely on; a new one is made for each law.

    Args:
        make_broker: Starts one.
        deduplication_after_restart: Which of these it offers: ``stored``, ``all``, ``none``.
        only: Names of laws, or one name; None: all of `broker_laws`.

    Raises:
        LawBroken: It does not; the text names the laws and what was seen.
        ScenarioError: There is no such law.
    """

    def attempt(law: Law) -> None:
        with make_broker(**law.options) as broker:
            asyncio.run(asyncio.wait_for(_play(law, broker), 6 * PATIENCE))

    laws = broker_laws(deduplication_after_restart=deduplication_after_restart)
    judge(select(laws, only), attempt)


async def _play(law: Law, broker: BrokerUnderTest) -> None:
    stage = Stage(broker)
    check: Callable[[Stage], Awaitable[None]] = law.check
    try:
        await check(stage)
    finally:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await stage.close()
        took = loop.time() - began
    expect(took < PATIENCE, f"to disconnect took {took:.0f} s")


# --- delivery -------------------------------------------------------------------------------------------------------------------


@_law("memory", *_DURABLE)
async def a_message_arrives_as_it_was_sent(stage: Stage) -> None:
    """A message that was acknowledged is delivered, with its content, and once the consumer has acknowledged it nothing is left."""
    consumer = await stage.consumer()
    await stage.publish(7, (("a", 1), (2.5, None), "text"))
    await stage.until(lambda: bool(consumer.got), "the message arrives")
    same(consumer.got[0].message, message(7, (("a", 1), (2.5, None), "text")), "what arrived")
    await stage.settled()
    same(len(consumer.got), 1, "deliveries of one message that was acknowledged")


@_law("quorum", redelivery=_SOON)
async def what_is_not_acknowledged_comes_again_under_its_id(stage: Stage) -> None:
    """A delivery comes again, with the same id, until it is acknowledged; then it does not."""
    consumer = await stage.consumer(answers=False)
    await stage.publish(1)
    await stage.until(lambda: len(consumer.got) >= 2, "an unacknowledged delivery comes again")
    same(len(consumer.ids), 1, "ids of one message")
    client = await stage.connected("other")
    await client.close()
    consumer.answers = True
    await stage.settled()
    await stage.broker.sleep(_SOON)  # what was on its way
    count = len(consumer.got)
    await stage.broker.sleep(3 * _SOON)
    same(len(consumer.got), count, "deliveries of what was acknowledged")


@_law("quorum")
async def a_consumer_that_comes_back_gets_at_once_what_waits(stage: Stage) -> None:
    """Messages stored while a consumer was away, and those that it had not acknowledged, come with its connection and not with the redelivery time."""
    client = await stage.connected("stock")
    away = Consumer(client, answers=False)
    await client.subscribe("stock", away)
    await stage.publish(1, "unacknowledged")
    await stage.until(lambda: bool(away.got), "the first message comes")
    await client.close()
    await stage.publish(2, "stored meanwhile")
    back = await stage.consumer()
    await stage.until(lambda: len(back.ids) >= 2, "both messages come")
    same(sorted(back.bodies), ["stored meanwhile", "unacknowledged"], "what was delivered")
    await stage.settled()


@_law("quorum", redelivery=_SOON)
async def messages_of_a_transaction_come_in_order_one_at_a_time(stage: Stage) -> None:
    """The next message of a transaction to a consumer comes only once the one before it is acknowledged, however often that one comes."""
    consumer = await stage.consumer(answers=False)
    for number in range(4):
        await stage.publish(1, number)
    await stage.until(lambda: len(consumer.got) >= 3, "the first message comes again")
    same(set(consumer.bodies), {0}, "messages that came before the first one was acknowledged")
    consumer.answers = True
    await stage.settled()
    order = [body for place, body in enumerate(consumer.bodies) if body not in consumer.bodies[:place]]
    same(order, [0, 1, 2, 3], "order of the first deliveries")


@_law("quorum")
async def transactions_do_not_hold_each_other_up(stage: Stage) -> None:
    """A message that waits for an acknowledgement holds up its own transaction alone, and its own consumer alone."""
    slow = await stage.consumer(answers=False)
    other = await stage.consumer("payment")
    for tx in range(5):
        await stage.publish(tx, "first")
        await stage.publish(tx, "second")
        await stage.publish(tx, to="payment")
    await stage.until(lambda: len(slow.got) >= 5 and len(other.got) >= 5, "every transaction's first message comes")
    same(sorted(d.message.tx for d in slow.got), list(range(5)), "transactions whose message was delivered")
    same(set(slow.bodies), {"first"}, "messages that came without an acknowledgement of the first")


@_law("quorum", ordered=False)
async def without_order_nobody_waits(stage: Stage) -> None:
    """A broker that is not `ordered` delivers messages of one transaction without waiting for acknowledgements."""
    consumer = await stage.consumer(answers=False)
    for number in range(4):
        await stage.publish(1, number)
    await stage.until(lambda: len(consumer.ids) >= 4, "all messages come at once")
    same(sorted(consumer.bodies), [0, 1, 2, 3], "what was delivered")


@_law("quorum", redelivery=_SOON, retention=1.0)
async def what_is_older_than_the_retention_never_comes(stage: Stage) -> None:
    """A message that nobody took within the retention is dropped; a newer one of its transaction is not held up by it."""
    await stage.publish(1, "old")
    await stage.broker.sleep(2.5)
    consumer = await stage.consumer()
    for _ in range(int(PATIENCE)):  # on a busy machine a newer message, too, may be too old before it is delivered
        await stage.publish(1, "new")
        for _ in range(50):
            if not consumer.got:
                await stage.broker.sleep(0.02)
        if consumer.got:
            break
    expect(bool(consumer.got), "no newer message comes")
    await stage.settled()
    same(set(consumer.bodies), {"new"}, "what was delivered after the retention")


# --- crashes of the broker ------------------------------------------------------------------------------------------------------


@_law(*_DURABLE, redelivery=_SOON)
async def what_was_acknowledged_survives_a_crash(stage: Stage) -> None:
    """A crash of the broker loses nothing that it has acknowledged, changes no id and no order."""
    consumer = await stage.consumer(answers=False)
    for number in range(3):
        for tx in range(10):
            await stage.publish(tx, number)
    await stage.until(lambda: len(consumer.ids) >= 10, "the first messages come")
    before = consumer.ids
    await stage.crash()
    await stage.until(lambda: len(consumer.got) >= 20, "they come again after the crash")
    same(consumer.ids, before, "ids after the crash")
    consumer.answers = True
    await stage.settled()
    for tx in range(10):
        bodies = [delivery.message.body for delivery in consumer.got if delivery.message.tx == tx]
        order = [body for place, body in enumerate(bodies) if body not in bodies[:place]]
        same(order, [0, 1, 2], f"messages of transaction {tx}, in order")


@_law("memory", deduplication_window=30.0, redelivery=_SOON)
async def what_was_in_memory_is_forgotten_with_its_id(stage: Stage) -> None:
    """A broker that acknowledges from memory loses message and id: what its producer repeats after the crash is stored, and delivered."""
    await stage.publish(1, "same")
    await stage.crash()
    await stage.publish(1, "same")
    consumer = await stage.consumer()
    await stage.until(lambda: bool(consumer.got), "what was repeated after the crash is delivered")
    await stage.settled()
    same(len(consumer.ids), 1, "messages that were there")


@_law("quorum")
async def a_broker_that_is_down_does_not_acknowledge(stage: Stage) -> None:
    """A publication while the broker is down fails; it never returns as if it were stored."""
    await stage.publish(1)
    producer = await stage.connected("orders")
    stage.broker.kill()
    try:
        await asyncio.wait_for(producer.publish(message(2), None), 2 * PATIENCE)
    except (ConnectionError, TimeoutError):
        pass
    else:
        raise AssertionError("it was acknowledged")
    finally:
        stage.broker.restart()


# --- repetitions of a producer --------------------------------------------------------------------------------------------------


@_law("memory", "quorum", deduplication_window=30.0)
async def a_repetition_within_the_window_is_stored_once(stage: Stage) -> None:
    """The same message again, before and after it was consumed, is acknowledged and not stored; another one is."""
    consumer = await stage.consumer()
    for _ in range(3):
        await stage.publish(1, "same")
    await stage.settled()
    await stage.publish(1, "same")
    await stage.publish(1, "other")
    await stage.until(lambda: "other" in consumer.bodies, "the other message comes")
    await stage.settled()
    same(consumer.bodies, ["same", "other"], "what was delivered")


@_law("quorum", deduplication_window=0.4)
async def a_repetition_after_the_window_is_stored_again(stage: Stage) -> None:
    """Ids are forgotten when the window is over."""
    consumer = await stage.consumer()
    await stage.publish(1)
    await stage.broker.sleep(1.0)
    await stage.publish(1)
    await stage.until(lambda: len(consumer.ids) >= 2, "it is stored again")
    await stage.settled()
    same(len(consumer.ids), 2, "messages that were stored")


@_law("quorum")
async def without_a_window_every_repetition_is_a_message(stage: Stage) -> None:
    """Nothing is recognised without a deduplication window."""
    consumer = await stage.consumer()
    await stage.publish(1)
    await stage.publish(1)
    await stage.until(lambda: len(consumer.ids) >= 2, "both come")


async def _repeated_over_a_crash(stage: Stage, *expected: int) -> None:
    """Check how many times a message is stored that was consumed before a crash, and one that was not; each is published before and after it."""
    taken = await stage.consumer("stock")
    waiting = await stage.consumer("payment", answers=False)
    await stage.publish(1, "taken")
    await stage.settled()
    await stage.publish(2, "waiting", "payment")
    await stage.crash()
    await stage.publish(1, "taken")
    await stage.publish(2, "waiting", "payment")
    await stage.publish(3, "last")
    await stage.publish(4, "last", "payment")
    waiting.answers = True
    await stage.until(lambda: "last" in taken.bodies and "last" in waiting.bodies, "what came last arrives")
    await stage.settled()

    def stored(consumer: Consumer, body: str) -> int:
        return len({delivery.id for delivery in consumer.got if delivery.message.body == body})

    found = (stored(taken, "taken"), stored(waiting, "waiting"))
    same(found, expected, "how often it was stored: consumed before the crash, not consumed")


@_law(*_DURABLE, deduplication_window=30.0, redelivery=_SOON)
async def after_a_crash_the_ids_of_what_is_stored_are_known(stage: Stage) -> None:
    """`stored`: what is still in the broker is not stored twice; of what was consumed the id is forgotten, inside the window, too."""
    await _repeated_over_a_crash(stage, 2, 1)


@_law(*_DURABLE, deduplication_window=30.0, redelivery=_SOON, deduplication_after_restart="all")
async def after_a_crash_all_ids_are_known(stage: Stage) -> None:
    """`all`: a repetition within the window is recognised, also after the message was acknowledged."""
    await _repeated_over_a_crash(stage, 1, 1)


@_law(*_DURABLE, deduplication_window=30.0, redelivery=_SOON, deduplication_after_restart="none")
async def after_a_crash_no_id_is_known(stage: Stage) -> None:
    """`none`: whatever a producer repeats after a crash is stored again."""
    await _repeated_over_a_crash(stage, 2, 2)


BROKER_LAWS: Final = tuple(_LAWS)
"""All laws of a broker."""
