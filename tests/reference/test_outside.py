"""The service's side of a provider: what its workers ask, what they write down, and what they conclude from an answer that never came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from simtx.protocols import Branch, Message, Operation, Transact
from simtx.protocols.codec import dumps
from simtx.protocols.names import TOMBSTONE
from simtx.reference.node.outside import Outside, Terms
from simtx.reference.node.running_machine import RunningMachine
from simtx.reference.stores import Store, open_store
from tests.reference.conftest import SHARED

EVENT = Message("charged", 1, "s1", "s2")
CHARGE = Transact(
    "charge",
    (Operation("k:1", "add", 5),),
    key=("charge", 1),
    accepted=Branch("done", (EVENT,)),
    refused=Branch("refused"),
    steps=(1,),
)
REFUND = Transact(
    "refund",
    (Operation("k:1", "add", -5),),
    key=("refund", 1),
    undoes=("charge", 1),
    steps=(1,),
    compensation=True,
)
DONE = {"type": "answer", "answer": "done"}
REFUSED = {"type": "answer", "answer": "refused"}
LIMITED = {"type": "limited"}
SILENCE = None


def known(answer: str | None, branch: Branch | None = None) -> dict[str, Any]:
    return {"type": "known", "answer": answer, "branch": None if branch is None else dumps(branch)}


class Worker:
    """A worker of a service whose provider answers as a script says."""

    def __init__(self, store: Store, *, query: bool = False, remembers: bool = True) -> None:
        terms = Terms("s1.provider", timeout=60.0, retry_after=0.001, status_query=query, remembers=remembers)
        self.store = store
        self.asked: list[str] = []
        self.noted: list[str] = []
        self.script: list[dict[str, Any] | None] = []
        self.outside = Outside(store, terms, self._ask, lambda _actor, what, _when: self.noted.append(what))

    def _ask(self, frame: dict[str, Any], patience: float) -> dict[str, Any] | None:
        assert patience == 60.0
        self.asked.append(frame["type"])
        return self.script.pop(0)

    def work(self, effect: Transact, *script: dict[str, Any] | None) -> tuple[str, object]:
        """Status and value of one attempt, which asks for no more and no less than what the script answers."""
        self.script = list(script)
        actor = SimpleNamespace(tx=1, cause=None, machine=SimpleNamespace(role="participant"))
        result = self.outside.transact(cast("RunningMachine", actor), effect, 1.0)
        assert self.script == []
        assert result.changes == {}  # the provider's values are none of ours
        self.outbox = result.outbox
        return result.status, result.value


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store({"kind": "sqlite", "path": str(tmp_path / "store.sqlite"), "service": "s1", **SHARED})
    yield opened
    opened.close()


def test_an_answer_is_written_down_and_a_repetition_asks_nobody(store: Store) -> None:
    worker = Worker(store)
    assert worker.work(CHARGE, DONE) == ("done", None)
    assert worker.outbox
    assert worker.work(CHARGE) == ("duplicate", "done")
    assert [row[1] for row in store.read_outbox(9)] == [EVENT]
    assert worker.noted == ["done"]


def test_a_refusal_is_written_down_too(store: Store) -> None:
    worker = Worker(store)
    assert worker.work(CHARGE, REFUSED) == ("refused", None)
    assert worker.work(CHARGE) == ("duplicate", "refused")
    assert not store.read_outbox(9)
    assert worker.noted == ["refused"]


def test_without_an_answer_nothing_is_written_and_the_request_comes_again(store: Store) -> None:
    worker = Worker(store)
    assert worker.work(CHARGE, SILENCE) == ("failed", None)
    assert worker.work(CHARGE, DONE) == ("done", None)
    assert worker.noted == ["unknown", "done"]
    assert worker.asked == ["do", "do"]


def test_who_can_ask_forces_a_note_first_and_asks_before_a_repetition(store: Store) -> None:
    """Whoever has noted it: a service that was killed meanwhile finds its note."""
    assert Worker(store, query=True).work(CHARGE, SILENCE) == ("failed", None)
    worker = Worker(store, query=True)
    assert worker.work(CHARGE, SILENCE) == ("failed", None)
    assert worker.work(CHARGE, known("pending")) == ("failed", None)
    assert worker.work(CHARGE, known(None), SILENCE) == ("failed", None)
    assert worker.work(CHARGE, known("done")) == ("done", None)
    assert worker.asked == ["query", "query", "query", "do", "query"]
    assert worker.noted == ["query", "unknown", "query", "query", "unknown", "query"]
    assert worker.work(CHARGE) == ("duplicate", "done")


def test_a_compensation_learns_what_was_done_behind_a_lost_answer(store: Store) -> None:
    """The charge gets its row and its event after all, and then it is undone."""
    worker = Worker(store)
    assert worker.work(CHARGE, SILENCE) == ("failed", None)
    assert worker.work(REFUND, SILENCE) == ("failed", None)
    assert worker.work(REFUND, known("pending")) == ("failed", None)
    assert worker.work(REFUND, known("done", CHARGE.accepted), DONE) == ("done", None)
    assert worker.outbox
    assert [row[1] for row in store.read_outbox(9)] == [EVENT]
    assert worker.work(CHARGE) == ("duplicate", "done")
    assert worker.work(REFUND) == ("duplicate", "done")
    assert worker.noted == ["unknown", "unknown", "adopt", "done"]


@pytest.mark.parametrize("remembers", [True, False])
def test_what_nobody_knows_of_is_not_undone_and_will_not_be_done(store: Store, remembers: bool) -> None:
    """A provider that remembers nothing is not asked at all."""
    worker = Worker(store, remembers=remembers)
    assert worker.work(REFUND, *([known(None)] if remembers else [])) == ("done", None)
    assert worker.work(CHARGE) == ("duplicate", TOMBSTONE)
    assert "do" not in worker.asked


def test_what_was_refused_is_not_undone(store: Store) -> None:
    worker = Worker(store)
    assert worker.work(REFUND, known("refused", CHARGE.refused)) == ("done", None)
    assert worker.work(CHARGE) == ("duplicate", "refused")


def test_a_request_over_the_limit_comes_again_until_its_time_is_over(store: Store) -> None:
    worker = Worker(store)
    assert worker.work(CHARGE, LIMITED, LIMITED, DONE) == ("done", None)
    assert worker.noted == ["limited", "limited", "done"]
    impatient = Outside(
        store,
        Terms("s1.provider", timeout=0.001, retry_after=0.002, status_query=False, remembers=True),
        lambda _frame, _patience: dict(LIMITED),
        lambda *_: None,
    )
    actor = SimpleNamespace(tx=2, cause=None, machine=SimpleNamespace(role="participant"))
    other = Transact("charge", CHARGE.operations, key=("charge", 2))
    assert impatient.transact(cast("RunningMachine", actor), other, 1.0).status == "failed"


def test_what_asks_for_no_work_is_the_service_s_own(store: Store) -> None:
    """A read of nothing with a key, such as the end of a reservation that was never made: it looks whether the provider knows of it, and no more."""
    worker = Worker(store)
    note = Transact("note", (), key=("note", 1))
    assert worker.work(note, known(None)) == ("done", None)
    assert worker.work(note) == ("duplicate", "done")
    assert worker.asked == ["recall"]
