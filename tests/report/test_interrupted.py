"""What a killed process owes to its log: the effects that it did not come to, and the changes that it did not live to write down."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import simtx
from simtx.event_log.log import EventLog
from simtx.protocols import Answer, Append, Decided, Effect, Forget, Message, Prepare, SetTimer, Transact
from simtx.protocols.codec import encode
from simtx.report import diagram, sequence
from simtx.report.interrupted import completed


def _hand_written() -> ModuleType:
    spec = util.spec_from_file_location("traces", Path(__file__).with_name("traces.py"))
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


traces = _hand_written()


def _asks(*effects: Effect) -> str:
    """Detail of a ``handle``."""
    return json.dumps(
        {"role": "coordinator", "state": "voting", "event": None, "effects": [encode(e) for e in effects]}
    )


def _rebuilt_from(*records: tuple[Any, ...]) -> str:
    """Detail of a ``recover``."""
    return json.dumps({"role": "coordinator", "records": [encode(record) for record in records], "effects": []})


def _lost(trace: EventLog, tx: int = 7) -> list[tuple[str, str, str]]:
    return [(event.node, event.name, event.peer) for event in completed(tuple(trace.of(tx))) if event.kind == "lost"]


def _send(kind: str, to: str) -> Message:
    return Message(kind, 7, "hub", to, None)


COMMIT = ("commit", "a", "b")
DECIDING = (Append(COMMIT), Decided("committed"), Answer("committed"), _send("commit", "a"), SetTimer("ack", 1.0))


def killed_coordinator(*done: tuple[str, str, dict[str, Any]], records: tuple[tuple[Any, ...], ...] = ()) -> EventLog:
    """A coordinator that is killed after it has done so much of `DECIDING`, and rebuilt from these records."""
    log = traces.Log()
    log.add(0, "request", "hub", "begin", peer="client", actor="client")
    handler = log.add(5, "handle", "hub", "yes", actor="coordinator", detail=_asks(*DECIDING))
    for number, (kind, name, more) in enumerate(done):
        log.add(6 + number, kind, "hub", name, actor="coordinator", cause=handler, **more)
    log.add(10, "crash", "hub", actor="fault", detail="hub")
    log.add(900, "restart", "hub", actor="fault", detail="hub")
    log.add(901, "recover", "hub", "recover", actor="coordinator", detail=_rebuilt_from(*records))
    return log.trace()


FORCED = ("append", "commit", {"detail": "forced"})


def test_what_the_killed_handler_had_not_come_to_is_lost() -> None:
    """Behind the last effect with an entry; decisions and timers are nothing that anybody could have noticed."""
    assert _lost(killed_coordinator(FORCED)) == [("hub", "answer committed", "client"), ("hub", "send commit", "a")]
    answered = killed_coordinator(FORCED, ("decided", "committed", {}), ("answer", "committed", {"peer": "client"}))
    assert _lost(answered) == [("hub", "send commit", "a")]


def test_a_handler_that_was_done_has_lost_nothing() -> None:
    trace = killed_coordinator(FORCED, ("answer", "committed", {}), ("send", "commit", {"peer": "a"}))
    assert _lost(trace) == []


def test_a_record_that_is_found_after_the_restart_was_not_lost() -> None:
    """The process died while the record was being written: whether it survived, only the next incarnation knows."""
    assert _lost(killed_coordinator())[0] == ("hub", "append commit", "")
    assert _lost(killed_coordinator(records=(COMMIT,)))[0] == ("hub", "answer committed", "client")


def test_they_stand_at_the_crash_in_picture_and_text() -> None:
    trace = killed_coordinator(FORCED)
    built = sequence.build(trace, 7)
    crash = next(mark for mark in built.marks if mark.kind == "crash")
    restart = next(mark for mark in built.marks if mark.kind == "restart")
    struck = [mark for mark in built.marks if mark.kind == "lost"]
    assert [mark.label for mark in struck] == ["answer committed → client", "send commit → a"]
    assert all(crash.row < mark.row < restart.row for mark in struck)
    assert "      10.000  hub  lost in the crash: send commit → a" in diagram.render(trace, 7).splitlines()


def test_only_the_last_handler_of_a_machine_can_have_been_cut() -> None:
    """An earlier one has ended before the next event was handled, even if the log does not show all of it."""
    log = traces.Log()
    log.add(0, "handle", "hub", "begin", actor="coordinator", detail=_asks(_send("prepare", "a")))
    log.add(1, "handle", "hub", "yes", actor="coordinator", detail=_asks(SetTimer("vote", 1.0), Forget()))
    log.add(2, "crash", "hub", actor="fault", detail="hub")
    log.add(3, "send", "a", "yes", peer="hub")
    assert _lost(log.trace()) == []


def test_other_nodes_and_other_processes_of_the_node_have_not_died() -> None:
    log = traces.Log()
    log.add(0, "handle", "a", "do", actor="participant", detail=_asks(_send("done", "hub")))
    log.add(1, "handle", "b", "do", actor="participant", detail=_asks(_send("done", "hub")))
    log.add(2, "crash", "a", actor="fault", detail="a.relay")
    log.add(3, "crash", "b", actor="fault", detail="b")
    log.add(4, "send", "hub", "do", peer="a")
    assert _lost(log.trace()) == [("b", "send done", "hub")]


def test_the_crash_of_a_relay_says_so_and_the_node_stays_up() -> None:
    log = traces.Log()
    log.add(0, "transact", "a", "work", detail="action done forced")
    log.add(1, "crash", "a", actor="fault", detail="a.relay")
    log.add(2, "send", "b", "do", peer="a")
    log.add(9, "restart", "a", actor="fault", detail="a.relay")
    log.add(10, "answer", "a", "accepted", peer="client")
    built = sequence.build(log.trace(), 7)
    assert [mark.label for mark in built.marks][1:] == ["crash of a.relay", "restart of a.relay"]
    assert built.spans == []
    assert [(arrow.lost, arrow.under_way) for arrow in built.arrows if arrow.kind == "message"] == [(False, True)]
    assert "*** crash of a.relay ***" in diagram.render(log.trace(), 7)


def test_a_message_to_a_dead_process_ends_at_its_lane_without_anybody_saying_so() -> None:
    log = traces.Log()
    log.add(0, "request", "hub", "begin", peer="client", actor="client")
    log.add(1, "send", "a", "inquiry", peer="hub")
    log.add(2, "crash", "hub", actor="fault", detail="hub")
    log.add(3, "send", "a", "inquiry", peer="hub")
    log.add(4, "restart", "hub", actor="fault", detail="hub")
    log.add(5, "send", "a", "inquiry", peer="hub")
    arrows = [arrow for arrow in sequence.build(log.trace(), 7).arrows if arrow.kind == "message"]
    assert [(arrow.lost, arrow.at_target) for arrow in arrows] == [(True, False), (True, True), (False, False)]
    assert arrows[-1].under_way


@pytest.mark.parametrize("prepared", [False, True])
def test_a_change_that_only_the_store_knows_of_is_drawn(prepared: bool) -> None:
    """Committed, and the process died before it could log it: it was forced, it was done, and it is not lost."""
    log = traces.Log()
    work = Prepare("prepared", (), ("prepared",)) if prepared else Transact("work", (), steps=(0,))
    if prepared:
        log.add(0, "prepare", "a", "prepared", actor="participant", detail="action done forced")
    log.add(1, "handle", "a", "do", actor="participant", detail=_asks(work, _send("done", "hub")))
    values = json.dumps({"steps": [0], "values": {"balance:1": [500, 460]}, "history": 3})
    log.add(4, "apply", "a", "action", actor="store", detail=values)
    log.add(5, "crash", "a", actor="fault", detail="a")
    log.add(9, "send", "hub", "do", peer="a")
    marks = {mark.kind: mark.label for mark in sequence.build(log.trace(), 7).marks}
    assert marks["forced"] == ("commit balance:1 −40" if prepared else "balance:1 −40")
    assert [name for _, name, _ in _lost(log.trace())][-1] == "send done"
    assert prepared or [name for _, name, _ in _lost(log.trace())] == ["send done"]


def test_classes_that_are_not_known_here_make_no_difference() -> None:
    log = traces.Log()
    log.add(0, "handle", "a", "do", actor="participant", detail='{"effects":[{"$":"Unheard","x":1}]}')
    log.add(1, "crash", "a", actor="fault", detail="a")
    log.add(2, "send", "hub", "do", peer="a")
    assert _lost(log.trace()) == []
    assert [mark.kind for mark in sequence.build(log.trace(), 7).marks] == ["crash"]


PLACES = [
    ("2pc", "hub", "Append:commit", "before"),
    ("2pc", "hub", "Append:commit", "after"),
    ("2pc", "hub", "Message:prepare", "after"),
    ("2pc", "sender", "Message:yes", "before"),
    ("2pc", "receiver", "Commit", "after"),
    ("saga", "hub", "Append:done", "after"),
    ("saga", "sender", "Message", "before"),
    ("outbox", "sender", "Answer", "before"),
    ("dual-write", "sender", "Publish", "before"),
    ("dual-write", "receiver", "Acknowledge", "before"),
]


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_it_finds_what_the_simulator_writes_down(place: tuple[str, str, str, str]) -> None:
    """The log of a simulated crash, without what a killed process could not write: the same effects come out."""
    strategy, node, effect, when = place
    trigger = {"transaction": 1, "effect": effect, "when": when}
    crash = {"kind": "crash", "node": node, "duration": "1s", "trigger": trigger}
    quiet = simtx.load("transfer").replace(
        **{"workload.rate": 1, "run.transactions": 3, "run.warmup": 0, "faults": [crash]}
    )
    trace = simtx.simulate(quiet, strategy, trace="full").trace
    simulated = [(event.node, event.name, event.peer) for event in trace.of(1) if event.kind == "lost"]
    assert simulated
    mute = EventLog(
        event._replace(detail=event.node) if event.kind in ("crash", "restart") else event
        for event in trace
        if event.kind != "lost"
    )
    assert _lost(mute, 1) == simulated
