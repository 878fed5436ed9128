"""The outbox relay: at least once, in order within a transaction, side by side across transactions, cheap when there is nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.errors import PeerFault
from simtx.protocols.contract import (
    Alert,
    Done,
    Effect,
    Forget,
    MarkOutbox,
    Message,
    Publish,
    ReadOutbox,
    SetTimer,
    Timer,
)
from simtx.protocols.outbox import Outbox
from simtx.protocols.policies import Policies
from simtx.protocols.relay import FULL, MINIMUM_POLL_INTERVAL, PART, Courier, Poller, Relay, Tell
from tests.amounts import many
from tests.protocols.helpers import Witness, World, chain

POLICIES = Policies(poll_interval=0.05, poll_batch=4, alert_after=3)


def message(tx: int, number: int = 0) -> Message:
    return Message("step-done", tx, "a", "b", number)


def row(id_: int, tx: int) -> tuple[int, Message]:
    return id_, message(tx, id_)


def running(policies: Policies = POLICIES) -> Relay:
    relay = Relay("a", policies)
    relay.handle(Timer("start"))
    return relay


def rows(relay: Relay, *batch: tuple[int, Message]) -> list[Effect]:
    return relay.handle(Done("rows", "done", batch))


def acked(relay: Relay, tx: int, status: str = "done") -> list[Effect]:
    return relay.handle(Done(f"published:{tx}", status))  # type: ignore[arg-type]


# --- polling ----------------------------------------------------------------------------------------------------------------------


def test_after_a_start_it_reads_at_once_and_polls_at_a_random_phase() -> None:
    effects = Relay("a", POLICIES).handle(Timer("start"))
    assert effects == [SetTimer("poll", 0.0, 0.05), ReadOutbox("rows", 4)]


def test_an_empty_poll_is_one_timer_and_one_read() -> None:
    relay = running()
    before = relay.key()
    assert relay.handle(Timer("poll")) == [SetTimer("poll", 0.05), ReadOutbox("rows", 4)]
    assert rows(relay) == []
    assert relay.key() == before


def test_a_poll_keeps_its_period_whatever_is_under_way() -> None:
    relay = running()
    rows(relay, row(1, 1))
    assert relay.handle(Timer("poll"))[0] == SetTimer("poll", 0.05)


def test_a_wake_up_reads_at_once_and_leaves_the_period_alone() -> None:
    assert running().handle(Timer("wake")) == [ReadOutbox("rows", 4)]


def test_polling_without_any_pause_is_not_possible() -> None:
    effects = running(Policies(poll_interval=1e-9)).handle(Timer("poll"))
    assert effects[0] == SetTimer("poll", MINIMUM_POLL_INTERVAL)


def test_a_read_that_failed_is_made_up_for_by_the_next_poll() -> None:
    relay = running()
    assert relay.handle(Done("rows", "failed")) == []
    assert rows(relay, row(1, 1)) == [Publish("published:1", message(1, 1))]


# --- order ------------------------------------------------------------------------------------------------------------------------


def test_the_next_row_of_a_transaction_is_published_after_the_acknowledgement_of_the_one_before() -> None:
    relay = running()
    assert rows(relay, row(1, 1), row(2, 2), row(3, 1)) == [
        Publish("published:1", message(1, 1)),
        Publish("published:2", message(2, 2)),
    ]
    assert acked(relay, 2) == [MarkOutbox((2,))]
    assert acked(relay, 1) == [MarkOutbox((1,)), Publish("published:1", message(1, 3))]
    assert acked(relay, 1) == [MarkOutbox((3,))]
    assert relay.key() == running().key(), "nothing is remembered of what is done"


def test_rows_on_their_way_are_not_published_again_by_the_next_poll() -> None:
    relay = running()
    rows(relay, row(1, 1), row(2, 1))
    assert rows(relay, row(1, 1), row(2, 1), row(3, 2)) == [Publish("published:2", message(2, 3))]


def test_a_failed_publication_is_never_skipped_and_does_not_hold_up_other_transactions() -> None:
    relay = running()
    rows(relay, row(1, 1), row(2, 1), row(3, 2))
    assert acked(relay, 1, "failed") == [SetTimer("backoff", 0.0, POLICIES.backoff.bound(0))]
    assert rows(relay, row(1, 1), row(2, 1), row(3, 2), row(4, 3)) == [Publish("published:3", message(3, 4))]
    assert acked(relay, 2) == [MarkOutbox((3,))]
    assert relay.handle(Timer("backoff")) == [Publish("published:1", message(1, 1))]
    assert acked(relay, 1) == [MarkOutbox((1,)), Publish("published:1", message(1, 2))]


def test_back_off_grows_while_the_broker_is_away_starts_anew_after_and_alerts_once() -> None:
    relay = running()
    rows(relay, row(1, 1), row(2, 2))
    bounds, alerts = [], 0
    for _ in range(8):
        (timer,) = acked(relay, 1, "failed")
        assert isinstance(timer, SetTimer)
        bounds.append(timer.jitter)
        assert acked(relay, 2, "failed") == [], "one back-off for all"
        effects = relay.handle(Timer("backoff"))
        assert [one for one in effects if isinstance(one, Publish)] == [
            Publish(f"published:{tx}", message(tx, tx)) for tx in (1, 2)
        ]
        alerts += sum(isinstance(one, Alert) for one in effects)
    assert bounds == [POLICIES.backoff.bound(i) for i in range(8)]
    assert alerts == 1
    acked(relay, 1)
    assert acked(relay, 2, "failed") == [SetTimer("backoff", 0.0, POLICIES.backoff.bound(0))]


def test_a_full_batch_is_followed_by_another_read_as_soon_as_it_is_published() -> None:
    relay = running()
    rows(relay, *(row(i, i) for i in range(1, 5)))
    for tx in (1, 2, 3):
        assert acked(relay, tx) == [MarkOutbox((tx,))]
    assert acked(relay, 4) == [MarkOutbox((4,)), ReadOutbox("rows", 4)]
    rows(relay, row(5, 5))
    assert acked(relay, 5) == [MarkOutbox((5,))], "a batch that was not full was the last"


@pytest.mark.parametrize("tag", ["published:9", "published", "unheard-of"])
def test_what_no_correct_host_reports_is_refused_and_changes_nothing(tag: str) -> None:
    relay = running()
    rows(relay, row(1, 1))
    before = relay.key()
    with pytest.raises(PeerFault, match="relay"):
        relay.handle(Done(tag, "done"))
    assert relay.key() == before


# --- its parts --------------------------------------------------------------------------------------------------------------------


def test_a_courier_belongs_to_the_transaction_of_its_row_and_forgets_itself() -> None:
    courier = Courier("a", row(4, 7))
    assert courier.tx == 7
    assert courier.handle(Timer("go")) == [Publish("published", message(7, 4))]
    assert courier.handle(Done("published", "failed")) == [Tell("held")]
    assert courier.handle(Timer("again")) == [Publish("published", message(7, 4))]
    assert courier.handle(Done("published", "done")) == [MarkOutbox((4,)), Tell("delivered"), Forget()]


def test_a_poller_knows_no_rows() -> None:
    """Whatever happens, it comes back to what it was: its states are few."""
    poller = Poller("a", POLICIES)
    poller.handle(Timer("start"))
    before = poller.key()
    poller.handle(Done("rows", "done", FULL))
    assert poller.handle(Timer("idle")) == [ReadOutbox("rows", 4)]
    poller.handle(Done("rows", "done", PART))
    assert poller.handle(Timer("idle")) == []
    assert poller.handle(Timer("held")) == [SetTimer("backoff", 0.0, POLICIES.backoff.bound(0))]
    assert poller.handle(Timer("held")) == []
    assert poller.handle(Timer("backoff")) == [Tell("again")]
    assert poller.handle(Timer("delivered")) == []
    assert poller.key() == before


def test_the_end_of_a_publication_that_was_never_begun_is_refused() -> None:
    relay = running()
    rows(relay, row(1, 1))
    acked(relay, 1, "failed")
    with pytest.raises(PeerFault, match="courier"):
        acked(relay, 1)


# --- against a broker that fails -------------------------------------------------------------------------------------------------------


@pytest.mark.more
@settings(max_examples=many(80, 200), deadline=None)
@given(
    batches=st.lists(st.lists(st.integers(1, 3), max_size=6), max_size=6),
    seed=st.integers(0, 2**32),
    crashes=st.integers(0, 2),
)
def test_whatever_fails_nothing_is_lost_and_first_copies_are_in_commit_order(
    batches: list[list[int]], seed: int, crashes: int
) -> None:
    """An outbox, its relay and a broker in miniature: publications fail with and without effect, marks are lost, the relay restarts."""
    choose = random.Random(seed)
    outbox: list[tuple[int, Message]] = []
    marked: set[int] = set()
    lazily: list[int] = []
    broker: list[Message] = []
    flying: list[Publish] = []
    relay = Relay("a", POLICIES)
    pending: list[Effect] = relay.handle(Timer("start"))
    timers: set[str] = set()
    waiting = [list(batch) for batch in batches]
    for _ in range(3000):
        while pending:
            match pending.pop(0):
                case SetTimer(kind=kind):
                    timers.add(kind)
                case ReadOutbox(limit=limit):
                    batch = tuple(one for one in outbox if one[0] not in marked)[:limit]
                    pending += relay.handle(Done("rows", "done", batch))
                case MarkOutbox(ids=ids):
                    assert all(any(copy.body == id_ for copy in broker) for id_ in ids), (
                        "marked before the broker had it"
                    )
                    marked.update(ids)
                    lazily += ids
                case Publish() as publication:
                    assert all(other.message.tx != publication.message.tx for other in flying), (
                        "two of one transaction on their way"
                    )
                    flying.append(publication)
        if not waiting and not flying and len(marked) == len(outbox):
            break
        draw = choose.random()
        if waiting and draw < 0.3:
            for tx in waiting.pop(0):
                outbox.append(row(len(outbox) + 1, tx))
        elif flying and draw < 0.8:
            publication = flying.pop(choose.randrange(len(flying)))
            fate = choose.random()
            if fate < 0.8:
                broker.append(publication.message)
            pending = relay.handle(Done(publication.tag, "done" if fate < 0.6 else "failed"))
        elif crashes and draw < 0.85:
            crashes -= 1
            marked.difference_update(lazily)
            relay, flying, timers, lazily = Relay("a", POLICIES), [], set(), []
            pending = relay.handle(Timer("start"))
        elif timers:
            kind = choose.choice(sorted(timers))
            timers.discard(kind)
            pending = relay.handle(Timer(kind))
    assert len(marked) == len(outbox), "does not come to rest"
    for tx in (1, 2, 3):
        first_copies = list(dict.fromkeys(one.body for one in broker if one.tx == tx))
        assert first_copies == [id_ for id_, one in outbox if one.tx == tx]


def test_every_row_of_the_table_happens() -> None:
    relay = Relay("a", POLICIES)
    for event in (
        Timer("start"),
        Timer("poll"),
        Timer("wake"),
        Done("rows", "done", (row(1, 1),)),
        Done("published:1", "failed"),
    ):
        relay.handle(event)
    relay.handle(Timer("backoff"))
    witness: Witness = set()
    World(Outbox(), chain("a", "b"), witness=witness).run()
    seen = {(state, kind.partition(":")[0]) for name, state, kind, _ in witness if name == "Relay"}
    assert seen >= {("stopped", "start"), ("running", "rows"), ("running", "poll"), ("running", "published")}
    assert {(one.state, one.event) for one in Relay.transitions} - seen == {("running", "wake"), ("running", "backoff")}


def test_a_copy_of_a_relay_is_independent() -> None:
    relay = running()
    rows(relay, row(1, 1), row(2, 1))
    twin = relay.clone()
    before = twin.key()
    acked(relay, 1)
    acked(relay, 1)
    assert twin.key() == before
