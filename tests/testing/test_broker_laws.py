"""The laws of a broker: the simulated one keeps them all, and each of them is broken by a broker that breaks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from simtx.errors import ScenarioError
from simtx.simulator.broker import Broker
from simtx.testing import BROKER_LAWS, LawBroken, broker_laws, check_broker, simulated_broker
from simtx.testing.brokers import message

ALL = ("stored", "all", "none")


@pytest.mark.parametrize("law", [law.name for law in BROKER_LAWS])
def test_the_simulated_broker_keeps_the_law(law: str) -> None:
    check_broker(simulated_broker, deduplication_after_restart=ALL, only=law)


def test_a_law_has_a_sentence_and_laws_of_what_is_not_offered_are_left_out() -> None:
    assert all(law.text.endswith(".") for law in BROKER_LAWS)
    assert len({law.name for law in BROKER_LAWS}) == len(BROKER_LAWS)
    assert len(broker_laws()) == len(broker_laws(deduplication_after_restart=ALL)) - 4
    with pytest.raises(
        ScenarioError,
        match=r"there is no law 'a-message-arives-as-it-was-sent-memory'; did you mean 'a-message-arrives-as-it-was-sent-memory'",
    ):
        check_broker(simulated_broker, only="a-message-arives-as-it-was-sent-memory")


# --- broken brokers -------------------------------------------------------------------------------------------------------------


def ids_outlive_messages(patch: pytest.MonkeyPatch) -> None:
    """What the simulated broker did once: an ack from memory, whose id survives the crash that has cost the message."""
    crash = Broker.crash

    def forgetful(self: Broker) -> None:
        seen = dict(self._seen)
        crash(self)
        self._seen = seen

    patch.setattr(Broker, "crash", forgetful)


def keeps_what_was_in_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Broker, "crash", lambda self: setattr(self, "up", False))


def loses_what_it_holds(patch: pytest.MonkeyPatch) -> None:
    crash = Broker.crash

    def forgetful(self: Broker) -> None:
        crash(self)
        self._parcels.clear()
        self._lanes.clear()

    patch.setattr(Broker, "crash", forgetful)


def acknowledges_while_it_is_down(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Broker, "_taken", lambda self, publication: self._confirm(publication))


def never_redelivers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Broker, "_redeliver", lambda self, token: None)


def redelivers_what_was_acknowledged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Broker, "_acknowledged", lambda self, number: None)


def delivers_all_at_once(patch: pytest.MonkeyPatch) -> None:
    init = Broker.__init__

    def unordered(self: Broker, world: Any, spec: Any, *rest: Any) -> None:
        from dataclasses import replace

        init(self, world, replace(spec, ordered=False), *rest)

    patch.setattr(Broker, "__init__", unordered)


def one_queue_for_all(patch: pytest.MonkeyPatch) -> None:
    store = Broker._store

    def lump(self: Broker, publication: Any) -> None:
        sent = publication.effect.message
        publication.effect.message = type(sent)(sent.kind, 0, sent.sender, sent.to, sent.body)
        store(self, publication)
        publication.effect.message = sent

    patch.setattr(Broker, "_store", lump)


def recognises_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Broker, "_duplicate", lambda self, sent: False)


def recognises_for_ever(patch: pytest.MonkeyPatch) -> None:
    def known(self: Broker, sent: Any) -> bool:
        found = sent.effect.message in self._seen
        self._seen[sent.effect.message] = 0.0
        return found

    patch.setattr(Broker, "_duplicate", known)


BROKEN: dict[Callable[[pytest.MonkeyPatch], None], set[str]] = {
    ids_outlive_messages: {
        "what-was-in-memory-is-forgotten-with-its-id-memory",
        "after-a-crash-the-ids-of-what-is-stored-are-known-quorum",
        "after-a-crash-no-id-is-known-fsync",
    },
    keeps_what_was_in_memory: {"after-a-crash-no-id-is-known-quorum"},
    loses_what_it_holds: {"what-was-acknowledged-survives-a-crash-fsync"},
    acknowledges_while_it_is_down: {
        "a-broker-that-is-down-does-not-acknowledge-quorum",
        "a-message-arrives-as-it-was-sent-quorum",
    },
    never_redelivers: {"what-is-not-acknowledged-comes-again-under-its-id-quorum"},
    redelivers_what_was_acknowledged: {
        "a-message-arrives-as-it-was-sent-memory",
        "messages-of-a-transaction-come-in-order-one-at-a-time-quorum",
    },
    delivers_all_at_once: {"messages-of-a-transaction-come-in-order-one-at-a-time-quorum"},
    one_queue_for_all: {"transactions-do-not-hold-each-other-up-quorum"},
    recognises_nothing: {
        "a-repetition-within-the-window-is-stored-once-quorum",
        "after-a-crash-all-ids-are-known-quorum",
    },
    recognises_for_ever: {
        "without-a-window-every-repetition-is-a-message-quorum",
        "a-repetition-after-the-window-is-stored-again-quorum",
    },
}


@pytest.mark.parametrize("sabotage", BROKEN, ids=lambda one: one.__name__)
def test_a_broker_that_breaks_a_law_is_found_by_its_name(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    for name in BROKEN[sabotage]:
        (law,) = [law for law in BROKER_LAWS if law.name == name]
        with pytest.raises(LawBroken, match=f"1 broken:\n{name}: ") as found:
            check_broker(simulated_broker, deduplication_after_restart=ALL, only=name)
        assert law.text in str(found.value)


def test_all_that_is_broken_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    recognises_nothing(monkeypatch)
    names = [
        "a-repetition-within-the-window-is-stored-once-memory",
        "a-repetition-within-the-window-is-stored-once-quorum",
    ]
    with pytest.raises(LawBroken, match="2 broken") as found:
        check_broker(simulated_broker, only=[*names, "without-order-nobody-waits-quorum"])
    assert all(name in str(found.value) for name in names)


def test_the_simulated_broker_can_be_used_by_hand() -> None:
    async def go() -> None:
        with simulated_broker(redelivery=1.0) as broker:
            client = broker.client("stock")
            got: list[Any] = []
            await client.subscribe("stock", lambda delivery, origin, again: got.append((delivery.message.body, again)))
            await broker.client("orders").publish(message(1, "hello"), None)
            await broker.sleep(1.5)
            assert got == [("hello", False), ("hello", True)]

    asyncio.run(go())
