"""What the machines can do happens in some exploration: every state, row, outcome of a row, message and recovery."""

from __future__ import annotations

import linecache
import sys
from functools import cache
from typing import Any

import pytest

from simtx.checker import Verdict, verify
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import Scope
from simtx.checker.protocols.verify import coverage, machines, uncovered, undeclared
from simtx.protocols import Choreography, DualWrite, Machine, Outbox, Policies, Saga, TwoPhaseCommit
from simtx.protocols.saga import Orchestrator

PATIENT = Policies(attempts=2, publish_attempts=2)
HASTY = Policies(attempts=1, compensation_attempts=1, publish_attempts=2)
CALM: dict[str, Any] = {"crashes": 0, "duplicates": 0, "timeouts": 0}
FORK: dict[str, Any] = {**CALM, "participants": 3, "parallel": True}

COVER: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "2pc": [
        (TwoPhaseCommit(), {}),
        (TwoPhaseCommit(), {"reads": 1}),
        (TwoPhaseCommit(), {**CALM, "reads": 1, "duplicates": 1, "failures": 1}),
        (TwoPhaseCommit(), {**CALM, "reads": 2}),
    ],
    "2pc, work before the vote": [
        (TwoPhaseCommit(work="before"), {}),
        (TwoPhaseCommit(work="before"), {**CALM, "reads": 1, "losses": 1}),
        (TwoPhaseCommit(work="before", policies=PATIENT), {"crashes": 0, "participants": 1}),
        (TwoPhaseCommit(work="before"), {**CALM, "reads": 1, "duplicates": 1}),
        (TwoPhaseCommit(work="before"), {**CALM, "reads": 2}),
        (TwoPhaseCommit(work="before"), {"crashes": 0, "failures": 1}),
        (TwoPhaseCommit(work="before"), {**CALM, "revisit": True}),
    ],
    "saga": [
        (Saga(), {}),
        (Saga(), {"failures": 1, "crashes": 0}),
        (
            Saga(),
            {"participants": 3, "parallel": True, "failures": 1, "crashes": 0, "interventions": 1, "duplicates": 0},
        ),
        (Saga(policies=HASTY), {"unruly": True, "crashes": 0, "interventions": 1}),
        (Saga(policies=HASTY), {"unruly": True, "crashes": 1, "interventions": 1, "failures": 1, "duplicates": 0}),
        (Saga(policies=HASTY), {"unruly": True, "pivot": 0, "crashes": 0, "interventions": 1, "failures": 1}),
        (Saga(policies=HASTY), {**CALM, "unruly": True, "participants": 3, "parallel": True, "timeouts": 1}),
        (Saga(policies=PATIENT), {"pivot": 0, "failures": 1, "timeouts": 2, "crashes": 0}),
        (
            Saga(policies=HASTY),
            {**CALM, "unruly": True, "pivot": 0, "participants": 3, "interventions": 1, "duplicates": 1},
        ),
        (Saga(), {**CALM, "participants": 4, "parallel": True, "failures": 1}),
        (Saga(), {**CALM, "participants": 3, "parallel": True, "duplicates": 1}),
        (Saga(), {**CALM, "participants": 3, "parallel": True, "crashes": 1}),
        (
            Saga(policies=HASTY),
            {**CALM, "unruly": True, "pivot": 0, "participants": 3, "interventions": 1, "crashes": 1},
        ),
    ],
    "outbox": [
        (Outbox(), {"failures": 1, "crashes": 0}),
        (Outbox(closing=True, wake=True), {**CALM, "duplicates": 1}),
        (Outbox(policies=HASTY), {**CALM, "unruly": True, "pivot": 0, "interventions": 1, "crashes": 1, "failures": 1}),
        (Outbox(policies=HASTY), {**CALM, "unruly": True, "interventions": 2, "failures": 1, "duplicates": 1}),
        (Outbox(policies=HASTY), {**CALM, "failures": 2}),
    ],
    "choreography": [
        (Choreography(), {**FORK, "failures": 1, "duplicates": 1}),
        (Choreography(), {**FORK, "participants": 4}),
        (Choreography(wake=True), CALM),
        (Choreography(policies=HASTY), {**FORK, "unruly": True, "interventions": 1, "failures": 1}),
        (
            Choreography(policies=HASTY),
            {**CALM, "unruly": True, "pivot": 0, "interventions": 1, "crashes": 1, "failures": 1},
        ),
        (Choreography(policies=HASTY), {**CALM, "unruly": True, "interventions": 2, "failures": 1, "duplicates": 1}),
        (Choreography(policies=HASTY), {**CALM, "failures": 2}),
        (Choreography(monitor=True), FORK),
        (Choreography(monitor=True), {**CALM, "crashes": 1}),
        (Choreography(monitor=True), {**CALM, "participants": 3, "timeouts": 1}),
    ],
    "dual-write": [
        (DualWrite(), {"failures": 1, "interventions": 1, "crashes": 0}),
        (DualWrite(), {"participants": 3, "crashes": 0}),
        (DualWrite(order="broker-first"), {"losses": 1, "interventions": 1, "crashes": 0}),
        (DualWrite(order="broker-first"), {**CALM, "participants": 3, "losses": 1, "duplicates": 1}),
        (DualWrite(order="broker-first", acknowledge="before"), {**CALM, "participants": 3, "timeouts": 2}),
    ],
}

ATOMIC = "rule 3 of the contract: nothing arrives between a store operation and its answer; a guard against other hosts"
ONCE = "hosts deliver the client's request once"
EMPTY = "plans of a scope have at least one step"
TWO_STEPS = "plans of a scope have one step on each service"
SHORT = "a plan whose chain of events is longer than the policies allow is refused before it begins"
EVERY_TIME = "plans of a scope have no independent steps behind their pivot, and what is refused there once is refused every time"
UNREACHED: dict[str, dict[str, str]] = {
    "2pc": {"coordinator 'idle' on 'begin' to 'finished'": EMPTY},
    "2pc, work before the vote": {
        "coordinator 'idle' on 'begin' to 'finished'": EMPTY,
    },
    "saga": {
        **{
            f"participant 'working' on '{answer}' to 'working'": ATOMIC
            for answer in ("action", "compensation", "resolution")
        },
        "orchestrator 'stuck' on 'done' to 'running'": EVERY_TIME,
        "orchestrator 'stuck' on 'done' to 'committed'": EVERY_TIME,
        "orchestrator 'stuck' on 'skip' to 'stuck'": "operators give their reasons",
        "participant 'working' on 'do'": ATOMIC,
        "participant 'working' on 'undo'": ATOMIC,
        "participant 'working' on 'resolve'": ATOMIC,
        "orchestrator 'idle' on 'reply'": "timers go with their machine",
        "orchestrator 'idle' on 'backoff'": "timers go with their machine",
        "orchestrator 'halting' on 'backoff'": "the timer is cancelled when the saga halts",
        **{f"orchestrator '{state}' on 'begin'": ONCE for state in ("running", "halting", "compensating", "stuck")},
    },
    "outbox": {
        **{f"service 'idle' on '{event}' to 'parked'": SHORT for event in ("step-done", "step-refused")},
        **{f"service '{state}' on 'begin'": ONCE for state in ("waiting", "parked")},
        **{f"service '{state}' on 'completed'": TWO_STEPS for state in ("waiting", "parked")},
    },
    "choreography": {
        **{f"service '{state}' on 'begin'": ONCE for state in ("waiting", "parked")},
        "service 'parked' on 'step-cancelled'": "in the plans of a scope a compensation is refused before the refused step only, and nobody withdraws that",
    },
    "dual-write": {
        **{f"service 'idle' on '{event}' to 'finished'": SHORT for event in ("step-done", "step-refused")},
        **{f"service '{state}' on 'begin'": ONCE for state in ("announcing", "waiting", "publishing")},
    },
}


GROUPS = [pytest.param(group, marks=pytest.mark.heavy) if group == "choreography" else group for group in COVER]


@cache
def explored(group: str) -> tuple[Verdict, ...]:
    """The explorations of a group, done once."""
    return tuple(verify(strategy, **scope) for strategy, scope in COVER[group])


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.sample(3)
def test_every_state_row_and_outcome_of_a_row_has_a_witness(group: str) -> None:
    """What no exploration reaches is listed with its reason; a listed row that is reached is an error, too."""
    kinds = {kind: None for strategy, _ in COVER[group] for kind in machines(ProtocolModel(strategy, Scope()))}
    verdicts = explored(group)
    assert set(coverage(verdicts, kinds)) == set(UNREACHED.get(group, {}))
    assert undeclared(kinds, {row for verdict in verdicts for row in verdict.covered}) == []
    assert all(verdict.complete for verdict in verdicts)


COORDINATOR = {
    ("coordinator", "commit", "committing"),
    ("coordinator", "abort", "finished"),
    ("coordinator", "end", "finished"),
}
RECOVERED: dict[str, set[tuple[str, str, str]]] = {
    "2pc": {*COORDINATOR, ("participant", "prepared", "in-doubt")},
    "2pc, work before the vote": {*COORDINATOR, ("participant", "prepared", "in-doubt")},
    "saga": {
        *(("orchestrator", record, "running") for record in ("begin", "done", "retry", "skip")),
        *(("orchestrator", record, "committed") for record in ("done", "skip", "resolve")),
        *(
            ("orchestrator", record, "compensating")
            for record in ("refused", "unknown", "done", "undone", "retry", "skip")
        ),
        *(("orchestrator", record, "aborted") for record in ("refused", "undone", "skip", "resolve")),
    },
    "outbox": {("service", "parked", "parked")},
    "choreography": {("service", "parked", "parked"), ("monitor", "seen", "watching"), ("monitor", "seen", "finished")},
    "dual-write": set(),
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.sample(3)
def test_every_recovery_has_a_witness(group: str) -> None:
    """What a restart can find last in its records, and the state that it goes on in."""
    assert set().union(*(verdict.recovered for verdict in explored(group))) == RECOVERED[group]


def lines_of(function: Any) -> set[int]:
    """Numbers of the lines of a function that run, without its head."""
    code = function.__code__
    return {line for *_, line in code.co_lines() if line is not None and line > code.co_firstlineno}


@pytest.mark.heavy
def test_every_line_of_every_recovery_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the lines for a machine without records, which the checker's restarts do not bring back."""
    strategies = [strategy for cases in COVER.values() for strategy, _ in cases if not isinstance(strategy, str)]
    kinds = {kind for strategy in strategies for kind in machines(ProtocolModel(strategy, Scope()))}
    functions = {kind.recover: kind for kind in kinds if kind.recover is not Machine.recover}
    assert len(functions) == 4, "coordinator, participant, orchestrator, and a service with an outbox"
    ran: set[tuple[Any, int]] = set()
    watched = {function.__code__: function for function in (*functions, Orchestrator._replay)}

    def trace(frame: Any, event: str, _argument: Any) -> Any:
        if frame.f_code not in watched:
            return None
        if event == "line":
            ran.add((frame.f_code, frame.f_lineno))
        return trace

    def traced(function: Any) -> Any:
        def recover(machine: Any, records: Any) -> Any:
            before = sys.gettrace()
            sys.settrace(trace)
            try:
                return function(machine, records)
            finally:
                sys.settrace(before)

        return recover

    for function, kind in functions.items():
        owner = next(base for base in kind.__mro__ if base.__dict__.get("recover") is function)
        monkeypatch.setattr(owner, "recover", traced(function))
    for cases in COVER.values():
        for strategy, scope in cases:
            if scope.get("crashes", 1):
                verify(strategy, **scope)
    missed = {
        linecache.getline(code.co_filename, line).strip()
        for code, function in watched.items()
        for line in lines_of(function)
        if (code, line) not in ran
    }
    assert missed <= {"return []"}, missed
    assert len(ran) > 30


MESSAGES: dict[str, set[str]] = {
    "2pc": {"prepare", "yes", "no", "read", "commit", "abort", "ack", "inquiry"},
    "2pc, work before the vote": {
        *("execute", "executed", "refused"),
        *("prepare", "yes", "no", "read", "commit", "abort", "ack", "inquiry"),
    },
    "saga": {"do", "undo", "resolve", "done", "refused", "undone", "error"},
    "outbox": {"step-done", "step-refused", "completed"},
    "choreography": {
        *("step-done", "step-refused", "step-cancelled"),
        *("saga-done", "saga-refused", "saga-undone"),
    },
    "dual-write": {"step-done", "step-refused"},
}


@pytest.mark.parametrize("group", GROUPS)
def test_every_message_has_a_witness(group: str) -> None:
    """All kinds of messages that the protocol has are sent in some exploration, and no others."""
    assert set().union(*(verdict.messages for verdict in explored(group))) == MESSAGES[group]


def test_a_row_without_a_witness_is_reported() -> None:
    verdict = verify("2pc", **CALM)
    assert "coordinator 'voting' on 'vote'" in coverage([verdict], machines(ProtocolModel(TwoPhaseCommit(), Scope())))
    assert "coordinator 'voting' on 'vote'" in verdict.not_covered


def test_an_outcome_of_a_row_without_a_witness_is_reported() -> None:
    covered = verify("2pc", **CALM).covered
    row = ("coordinator", "voting", "no", "finished")
    assert row in covered
    kinds = machines(ProtocolModel(TwoPhaseCommit(), Scope()))
    assert "coordinator 'voting' on 'yes' to 'committing'" not in uncovered(kinds, covered)
    less = covered - {("coordinator", "voting", "yes", "committing")}
    assert "coordinator 'voting' on 'yes' to 'committing'" in uncovered(
        kinds, {*less, ("coordinator", "committing", "ack", "committing")}
    )


def test_a_transition_that_no_table_has_is_reported() -> None:
    kinds = machines(ProtocolModel(TwoPhaseCommit(), Scope()))
    assert undeclared(kinds, {("coordinator", "idle", "ack", "idle"), ("coordinator", "voting", "yes", "voting")}) == []
    assert undeclared(
        kinds, {("coordinator", "voting", "no", "committing"), ("participant", "idle", "yes", "in-doubt")}
    ) == [
        "coordinator 'voting' on 'no' to 'committing'",
        "participant 'idle' on 'yes' to 'in-doubt'",
    ]
