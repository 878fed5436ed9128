"""The log of a run that kept the contract replays through the pure machines; a log with a seeded fault is rejected, with a finding that names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simtx
from simtx.conformance.check import Conformance, check_log
from simtx.conformance.programs import EFFECTS
from simtx.errors import ScenarioError
from simtx.event_log.log import LogEntry
from simtx.metrics.run import Run
from simtx.protocols import DualWrite, Outbox, Policies, Saga, Strategy, TwoPhaseCommit
from tests.amounts import HEAVY, many
from tests.checker.mutants import ALL
from tests.metrics.test_guarantees import TABLES
from tests.simulator.test_faults import FAULTS, contended, world
from tests.simulator.worlds import STRATEGIES, chain

VARIANTS: tuple[Strategy, ...] = (
    *STRATEGIES,
    TwoPhaseCommit(work="before"),
    Saga(completion="lazy"),
    Outbox(wake=True, closing=True),
    DualWrite(order="broker-first", acknowledge="before"),
)
Log = list[LogEntry]


def assert_conforms(run: Run) -> Conformance:
    found = check_log(run.trace, run.strategy)
    assert found.problems == [], found.problems[:5]
    assert found.handled == sum(entry.kind == "handle" for entry in run.trace) > 0
    assert found.recovered == sum(entry.kind == "recover" for entry in run.trace)
    return found


# --- logs of runs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("strategy", VARIANTS, ids=str)
@pytest.mark.sample(9)
def test_logs_under_each_fault_conform(strategy: Strategy, fault: str) -> None:
    """Crashes between any two effects, pauses, lost and doubled messages, outages, drifting clocks."""
    assert_conforms(simtx.simulate(world([FAULTS[fault]], transactions=40), strategy, trace="full"))


@pytest.mark.parametrize("strategy", VARIANTS, ids=str)
@pytest.mark.more
@pytest.mark.sample(3)
def test_logs_under_all_faults_together_conform(strategy: Strategy) -> None:
    """With a circuit breaker, short timeouts and a lossy network as well; the crashes do cut programs short."""
    policies = {"breaker": {"threshold": 3, "cooldown": 0.5}, "call_timeout": 0.05, "vote_timeout": 0.1}
    scenario = world(
        FAULTS.values(), transactions=many(40, 60), loss=0.05, policies=policies, broker={"redelivery": 0.3}
    )
    interrupts = strategy.hub or (
        HEAVY and not isinstance(strategy, DualWrite)
    )  # the others wait for a disk too seldom
    interrupted = recovered = 0
    for seed in range(40):
        if seed >= many(2, 6) and (interrupted or not interrupts) and (recovered or strategy.uses_broker):
            break  # how many seeds it takes until a crash cuts a program short is the scenario's affair
        found = assert_conforms(simtx.simulate(scenario, strategy, seed=seed, trace="full"))
        interrupted += found.interrupted
        recovered += found.recovered
    assert interrupted > 0 or not interrupts
    assert recovered > 0 or strategy.uses_broker


@pytest.mark.parametrize("rule", ["timeout", "detect", "wait-die"])
@pytest.mark.parametrize("strategy", [TwoPhaseCommit(), TwoPhaseCommit(work="before"), Saga()], ids=str)
@pytest.mark.sample(3)
def test_logs_under_contention_conform(strategy: Strategy, rule: str) -> None:
    """Local transactions that fail for want of locks."""
    assert_conforms(simtx.simulate(contended(rule, faults=[FAULTS["crash of a service"]]), strategy, trace="full"))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
@pytest.mark.sample(3)
def test_logs_of_a_built_in_scenario_conform(strategy: Strategy) -> None:
    """Branches, a pivot, keys drawn from distributions."""
    scenario = simtx.load("checkout").replace(**{"run.transactions": 150, "run.warmup": "500ms"})
    assert_conforms(simtx.simulate(scenario, strategy, trace="full"))


def test_a_full_log_is_of_the_same_run() -> None:
    """The digest is the same, and without what a replay needs the log is the usual one."""
    scenario = world([FAULTS["crash of a service"]], transactions=30)
    full, usual = (simtx.simulate(scenario, "saga", trace=how) for how in ("full", True))
    assert full.digest == usual.digest
    left = [entry for entry in full.trace if entry.kind not in ("handle", "recover")]
    assert [(e.time, e.kind, e.node, e.tx, e.name, e.detail) for e in left] == [
        (e.time, e.kind, e.node, e.tx, e.name, e.detail) for e in usual.trace
    ]


def test_a_log_that_is_not_full_is_refused() -> None:
    """There is nothing to replay, which must not pass for a log without faults."""
    run = simtx.simulate(chain(2), "saga", trace=True)
    with pytest.raises(ScenarioError, match="trace='full'"):
        check_log(run.trace, run.strategy)
    with pytest.raises(ScenarioError, match="'full'"):
        simtx.simulate(chain(2), "saga", trace="whole")  # type: ignore[arg-type]


def test_a_log_of_another_strategy_is_rejected() -> None:
    """Also of the same strategy with other options."""
    run = simtx.simulate(chain(2), Saga(), trace="full")
    lazy = Saga(completion="lazy").configured(run.scenario.policies)
    assert any("the log says for forced append of 'done'" in problem for problem in check_log(run.trace, lazy).problems)
    assert not check_log(run.trace, TwoPhaseCommit().configured(run.scenario.policies)).ok


@pytest.mark.parametrize("apart", [149, pytest.param(7, marks=pytest.mark.heavy)])
def test_the_tail_that_a_kill_has_cut_off_is_tolerated_and_reported(apart: int) -> None:
    """A log may end anywhere; what was under way there is named."""
    run = logged(TwoPhaseCommit())
    whole = list(run.trace)
    unfinished = 0
    for length in range(whole.index(first(whole, kind="handle")) + 1, len(whole), apart):
        found = check_log(whole[:length], run.strategy)
        assert found.ok, found.problems
        unfinished += len(found.unfinished)
    assert unfinished > 400 / apart
    cut = whole[: whole.index(first(whole, kind="append", name="commit"))]
    assert any("forced append of 'commit' is not done" in line for line in check_log(cut, run.strategy).unfinished)


# --- seeded faults --------------------------------------------------------------------------------------------------------------


@cache
def logged(strategy: Strategy) -> Run:
    """A run with crashes of a service and of the hub, losses and copies; its log conforms. Under this seed a hub of 2PC crashes with a commit to finish."""
    faults = [FAULTS[name] for name in ("crash of a service", "crash of the hub", "duplication", "loss")]
    run = simtx.simulate(world(faults, transactions=60), strategy, seed=156, trace="full")
    assert check_log(run.trace, run.strategy).ok
    return run


def first(log: Iterable[LogEntry], test: Callable[[LogEntry], bool] = lambda entry: True, **fields: Any) -> LogEntry:
    """The first entry with these fields that passes the test."""
    return next(e for e in log if all(getattr(e, name) == value for name, value in fields.items()) and test(e))


def detail(entry: LogEntry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(entry.detail)
    return found


def changed(log: Log, entry: LogEntry, change: Callable[[dict[str, Any]], object]) -> Log:
    """The log, with another detail of one entry."""
    content = detail(entry)
    change(content)
    return [e._replace(detail=json.dumps(content)) if e is entry else e for e in log]


def without(log: Log, *entries: LogEntry) -> Log:
    return [e for e in log if all(e is not one for one in entries)]


def swapped(log: Log, one: LogEntry, other: LogEntry) -> Log:
    """Two entries at each other's places."""
    places = {one.id: other._replace(time=one.time), other.id: one._replace(time=other.time)}
    return [places.get(e.id, e) for e in log]


def behind(log: Log, entry: LogEntry, **fields: Any) -> Log:
    """The log with another entry behind this one, like it but for these fields."""
    place = log.index(entry) + 1
    return [*log[:place], entry._replace(id=10**6, **fields), *log[place:]]


def effects_of(entry: LogEntry) -> list[str]:
    return [effect["$"] for effect in detail(entry)["effects"]]


def recovery(log: Log, node: str = "coordinator") -> LogEntry:
    """Of a machine that was not forgotten before: its records are no garbage."""
    forgotten = {(e.node, e.tx): e.id for e in reversed(log) if e.kind == "forget"}
    return first(log, lambda e: forgotten.get((node, e.tx), e.id) >= e.id, kind="recover", node=node)


def dropped_record(log: Log) -> Log:
    return changed(log, recovery(log), lambda d: d["records"].pop())


def dropped_record_and_what_follows(log: Log) -> Log:
    """A machine that really recovers from nothing: its effects are those that it asks for then."""
    entry = recovery(log, "s1")
    own = [e for e in log if e.cause == entry.id]
    return without(changed(log, entry, lambda d: d.update(records=[], effects=[])), *own)


def invented_record(log: Log) -> Log:
    return changed(log, recovery(log), lambda d: d["records"].append(["end"]))


def dropped_append(log: Log) -> Log:
    return without(log, first(log, kind="append", name="commit"))


def no_recovery(log: Log) -> Log:
    entry = recovery(log)
    return without(log, entry, *(e for e in log if e.cause == entry.id))


def swapped_effects(log: Log) -> Log:
    append = first(log, kind="append", name="commit")
    return swapped(log, append, first(log, kind="send", name="commit", tx=append.tx))


def answer_before_the_decision(log: Log) -> Log:
    append = first(log, kind="append", name="commit")
    return swapped(log, append, first(log, kind="answer", tx=append.tx))


def forged_vote(log: Log) -> Log:
    """The coordinator counts a NO as a YES, and everything after it is consistent with that."""
    vote = first(log, kind="handle", node="coordinator", name="no")
    index = log.index(vote)
    forged = changed(log, vote, lambda d: (d["event"].update(kind="yes", body=None), d.update(effects=[])))
    receive = next(e for e in reversed(log[:index]) if e.kind == "receive" and e.id == vote.cause)
    return [
        e._replace(name="yes") if e.id in (vote.id, receive.id) else e
        for e in forged
        if e.id <= vote.id or e.tx != vote.tx
    ]


def altered_message(log: Log) -> Log:
    """A participant prepares another amount than the coordinator has sent, and says so consistently."""
    entry = first(log, kind="handle", name="prepare", node="s1")

    def change(content: dict[str, Any]) -> None:
        for holder in (content["event"]["body"][0], content["effects"][0]["operations"]):
            holder[-1]["amount"] = 5.0

    return changed(log, entry, change)


def altered_sender(log: Log) -> Log:
    entry = first(log, kind="receive", name="yes")
    return [e._replace(peer="s2" if e.peer != "s2" else "s1") if e is entry else e for e in log]


def other_decision(log: Log) -> Log:
    entry = first(log, lambda e: "Decided" in effects_of(e), kind="handle", node="coordinator", name="yes")
    return changed(log, entry, lambda d: d["effects"].pop(0))


def other_state(log: Log) -> Log:
    return changed(log, first(log, kind="handle", name="yes"), lambda d: d.update(state="committing"))


def duplicated_forget(log: Log) -> Log:
    return behind(log, first(log, kind="forget"))


def dropped_forget(log: Log) -> Log:
    """Of a machine whose transaction is heard of again."""
    entry = first(log, lambda e: any(o.id > e.id and (o.node, o.tx) == (e.node, e.tx) for o in log), kind="forget")
    return without(log, entry)


def invented_result(log: Log) -> Log:
    """A participant that has voted is told once more that its branch is prepared."""
    entry = first(log, lambda e: detail(e)["event"].get("status") == "done", kind="handle", name="prepared")
    vote = first(log, lambda e: e.id > entry.id, kind="send", name="yes", node=entry.node, tx=entry.tx)
    place = log.index(vote) + 1
    return [*log[:place], entry._replace(id=10**6, time=vote.time), *log[place:]]


def other_result(log: Log) -> Log:
    """The store refuses to prepare, and the machine is told that it has."""
    entry = first(log, lambda e: detail(e)["event"].get("status") == "refused", kind="handle", name="prepared")
    return changed(log, entry, lambda d: d["event"].update(status="done"))


def invented_timer(log: Log) -> Log:
    """A timer of the past, after it was cancelled or without having been set."""
    timer = first(log, kind="timer", name="acknowledgement")
    handle = first(log, kind="handle", cause=timer.id)
    again = [timer._replace(id=10**6), handle._replace(id=10**6 + 1, cause=10**6)]
    place = next(n for n, e in enumerate(log) if e.id > handle.id and e.kind == "handle" and e.node != handle.node)
    return [*log[:place], *(e._replace(time=log[place].time) for e in again), *log[place:]]


def early_timer(log: Log) -> Log:
    """It fires at the very moment at which it is set."""
    timer = first(log, kind="timer", name="acknowledgement")
    armed = next(
        e
        for e in reversed(log[: log.index(timer)])
        if e.tx == timer.tx and e.node == timer.node and e.kind == "send" and e.name == "commit"
    )
    handle = first(log, kind="handle", cause=timer.id)
    rest = without(log, timer, handle, *(e for e in log if e.cause == timer.id))
    place = rest.index(armed) + 1
    return [*rest[:place], *(e._replace(time=armed.time) for e in (timer, handle)), *rest[place:]]


def unhandled_message(log: Log) -> Log:
    entry = first(log, lambda e: not effects_of(e), kind="handle", name="yes")
    return without(log, entry)


def unreceived_message(log: Log) -> Log:
    return without(log, first(log, kind="receive", name="yes"))


def dead_node(log: Log) -> Log:
    """Something is handled between a crash and the restart."""
    crash = first(log, kind="crash", node="s1")
    entry = next(e for e in log if e.id > crash.id and e.kind == "handle" and e.node == "s1")
    arrival = first(log, id=entry.cause)
    rest = without(log, entry, arrival)
    place = rest.index(crash) + 1
    return [*rest[:place], *(e._replace(time=crash.time) for e in (arrival, entry)), *rest[place:]]


def uncrashed_recovery(log: Log) -> Log:
    return without(log, *(e for e in log if e.kind in ("crash", "restart")))


def commit_without_a_branch(log: Log) -> Log:
    """The branch is committed a second time."""
    return behind(log, first(log, kind="commit"))


def lost_commit(log: Log) -> Log:
    return without(log, first(log, kind="commit"))


def wrong_cause(log: Log) -> Log:
    entry = first(log, kind="send", name="yes")
    return [e._replace(cause=entry.cause - 1) if e is entry and entry.cause else e for e in log]


def backwards(log: Log) -> Log:
    entry = log[len(log) // 2]
    return [e._replace(time=e.time - 0.5) if e is entry else e for e in log]


def same_number(log: Log) -> Log:
    return [e._replace(id=3) if e.id == 4 else e for e in log]


def unreadable(log: Log) -> Log:
    entry = first(log, kind="handle", name="yes")
    return [e._replace(detail=e.detail[:-5]) if e is entry else e for e in log]


def unknown_class(log: Log) -> Log:
    return changed(log, first(log, kind="handle", name="yes"), lambda d: d["event"].update({"$": "System"}))


def other_plan(log: Log) -> Log:
    entry = first(log, kind="handle", name="begin")
    return changed(log, entry, lambda d: d["event"]["plan"]["steps"][0]["operations"][0].update(amount=1e6))


def unasked(log: Log) -> Log:
    entry = first(log, kind="handle", name="begin")
    return without(log, first(log, kind="arrive", tx=entry.tx))


TWO_PHASE: dict[Callable[[Log], Log], str] = {
    dropped_record: "the record 'commit', forced by entry",
    dropped_record_and_what_follows: "the record 'prepared', forced by entry",
    invented_record: "the record 'end' is there, which nothing has written",
    dropped_append: "is done before forced append of 'commit', which comes first",
    no_recovery: "has not recovered from its records",
    swapped_effects: "send 'commit' to s0 is done before forced append of 'commit'",
    answer_before_the_decision: "answer 'committed' is done before forced append of 'commit'",
    forged_vote: "is handled, but was never sent like this",
    altered_message: "'prepare' from coordinator is handled, but was never sent like this",
    altered_sender: "'yes' came from",
    other_decision: "the machine asks for",
    other_state: "was handled in state 'committing', but the machine is in state 'voting'",
    duplicated_forget: "forget: its machine has not asked for it",
    dropped_forget: "forget",
    invented_result: "the result 'prepared' (done) is handled, but nothing has asked for it",
    other_result: "the result of prepare 'prepared' is 'done', but it was refused",
    invented_timer: "the timer 'acknowledgement' fired",
    early_timer: "the timer 'acknowledgement' fired 1 s too early",
    unhandled_message: "receive 'yes' came in, but no machine has handled it",
    unreceived_message: "'yes' is handled, but there is no entry before it that it came in",
    dead_node: "is handled while the node is down",
    uncrashed_recovery: "a machine recovers, but the node was not restarted",
    commit_without_a_branch: "commit: its machine has not asked for it",
    lost_commit: "send 'ack' to coordinator is done before commit, which comes first",
    wrong_cause: "send 'yes' to coordinator names entry",
    backwards: "before the entry in front of it",
    same_number: "there is another entry with this number",
    unreadable: "cannot be read",
    unknown_class: "'System' is no class that may travel",
    other_plan: "the request to begin holds another plan than that of the client",
    unasked: "no client has asked for this transaction",
}


def done(log: Log, name: str, test: Callable[[Any], bool] = lambda event: True) -> LogEntry:
    """The first entry of a machine that is told a result with this tag."""
    return first(
        log, lambda e: detail(e)["event"]["$"] == "Done" and test(detail(e)["event"]), kind="handle", name=name
    )


def unpublished(log: Log) -> Log:
    """A delivery that nobody has published: it tells of another step, and the machine acts on that."""
    entry = first(log, kind="handle", name="step-done")
    return changed(log, entry, lambda d: d["event"]["message"]["body"].update(hops=7))


def other_delivery(log: Log) -> Log:
    """The number of an earlier delivery."""
    one = first(log, kind="handle", name="step-done", node="s1")
    other = first(log, lambda e: e.id > one.id and e.tx != one.tx, kind="handle", name="step-done", node="s1")
    return changed(log, other, lambda d: d["event"].update(id=detail(one)["event"]["id"]))


def dropped_confirmation(log: Log) -> Log:
    return without(log, first(log, kind="confirm"))


def doubled_confirmation(log: Log) -> Log:
    return behind(log, first(log, kind="confirm"))


def invented_row(log: Log) -> Log:
    entry = done(log, "rows", lambda event: bool(event["value"]))
    return changed(log, entry, lambda d: d["event"]["value"][0][1].update(to="s2"))


def row_read_again(log: Log) -> Log:
    """The relay reads a row that it has marked, as if the mark had been lost without a crash."""
    entry = done(log, "rows", lambda event: bool(event["value"]))
    later = first(
        log,
        lambda e: e.id > entry.id and detail(e)["event"]["value"] == [],
        kind="handle",
        name="rows",
        node=entry.node,
    )
    return changed(log, later, lambda d: d["event"].update(value=detail(entry)["event"]["value"]))


def started_again(log: Log) -> Log:
    return behind(log, first(log, kind="handle", name="start"))


def invented_duplicate(log: Log) -> Log:
    """The row of a first execution is said to be there already."""
    entry = done(log, "action", lambda event: event["status"] == "done")
    work = next(e for e in reversed(log[: log.index(entry)]) if e.kind == "transact" and e.tx == entry.tx)
    log = [e._replace(detail="action duplicate forced") if e is work else e for e in log]
    return changed(log, entry, lambda d: d["event"].update(status="duplicate", value="done"))


def other_row(log: Log) -> Log:
    """The idempotency row holds something else than was written."""
    entry = done(log, "action", lambda event: event["status"] == "duplicate")
    return changed(log, entry, lambda d: d["event"].update(value="undone"))


def done_twice(log: Log) -> Log:
    """A copy of an event is worked on again, as if the idempotency row had been lost."""
    entry = done(log, "action", lambda event: event["status"] == "duplicate")
    work = next(e for e in reversed(log[: log.index(entry)]) if e.kind == "transact" and e.tx == entry.tx)
    log = [e._replace(detail="action done forced") if e is work else e for e in log]
    return changed(log, entry, lambda d: d["event"].update(status="done", value=None))


OUTBOX: dict[Callable[[Log], Log], str] = {
    unpublished: "'step-done' from s0 is handled, but was never published like this",
    other_delivery: "held another message before",
    dropped_confirmation: "said to be done, but the broker has not confirmed it",
    doubled_confirmation: "the broker confirms 'step-done', but nobody waits for that",
    invented_row: "which no local transaction has written",
    row_read_again: "was read again after it had been marked",
    started_again: "was started",
    invented_duplicate: "was found, which nothing has written",
    other_row: "was found with the value 'undone', which nothing has written",
    done_twice: "it was done although its key",
}


def assert_rejected(run: Run, log: Log, finding: str) -> None:
    problems = check_log(log, run.strategy).problems
    assert any(finding in problem for problem in problems), problems[:5] or "nothing was found"


@pytest.mark.parametrize("seed_fault", TWO_PHASE, ids=lambda fault: fault.__name__)
def test_a_seeded_fault_is_found_and_named(seed_fault: Callable[[Log], Log]) -> None:
    """In a log of two-phase commit, which has messages, votes, branches, forced and lazy records, timers and recoveries."""
    run = logged(TwoPhaseCommit())
    log = list(run.trace)
    damaged = seed_fault(log)
    assert damaged != log
    assert_rejected(run, damaged, TWO_PHASE[seed_fault])


@pytest.mark.parametrize("seed_fault", OUTBOX, ids=lambda fault: fault.__name__)
def test_a_seeded_fault_of_store_or_broker_is_found_and_named(seed_fault: Callable[[Log], Log]) -> None:
    """In a log of the outbox, which has idempotency rows, outbox rows, a relay, publications and deliveries."""
    run = logged(Outbox())
    log = list(run.trace)
    damaged = seed_fault(log)
    assert damaged != log
    assert_rejected(run, damaged, OUTBOX[seed_fault])


def test_a_reply_that_no_machine_gave_is_found() -> None:
    """Where clients are far away, the log holds what they were told."""
    network = {
        "zones": ["here", "there"],
        "client_zone": "there",
        "links": [{"between": ["here", "there"], "latency": 0.03}],
    }
    run = simtx.simulate(chain(2, network=network), "saga", trace="full")
    assert_conforms(run)
    reply = first(run.trace, kind="reply")
    log = [e._replace(name="aborted") if e is reply else e for e in run.trace]
    assert_rejected(run, log, "the client was told 'aborted', but no machine has answered so")


# --- any other damage -----------------------------------------------------------------------------------------------------------

CHECKED = EFFECTS | {"handle", "recover", "receive", "deliver", "request", "timer", "confirm"}
"""Entries about machines; the others measure, or tell of the run."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterable[tuple[Any, ...]]:
    """Paths to all values of a JSON document that hold no others."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [leaf for key, member in members for leaf in leaves(member, (*path, key))]
    return inner if isinstance(value, dict | list) else [path]


def altered(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return 1 if value is None else value + 1 if isinstance(value, int | float) else f"{value}x"


def damage(log: Log, how: str, number: int, choice: int) -> tuple[Log, bool]:
    """A log with one entry damaged, and whether the damage is known to mean nothing.

    Nothing is meant by those parts of a plan that the client's entry does not hold and that the machine made no use of: it has
    asked for the same effects with them as without.
    """
    places = [n for n, e in enumerate(log) if e.kind in (("handle", "recover") if how == "alter" else CHECKED)]
    place = places[number % len(places)]
    entry = log[place]
    if how == "drop":
        return without(log, entry), False
    if how == "copy":
        return behind(log, entry), False
    if how == "rename":
        return [e._replace(name=f"{e.name}x") if e is entry else e for e in log], entry.kind == "recover"
    if how == "swap":
        other = next(
            (e for e in log[place + 1 :] if (e.node, e.tx) == (entry.node, entry.tx) and e.kind in CHECKED), entry
        )
        return swapped(log, entry, other), entry._replace(id=0, time=0.0) == other._replace(id=0, time=0.0)
    paths = list(leaves(detail(entry)))
    path = paths[choice % len(paths)]

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = altered(content[path[-1]])

    return changed(log, entry, change), path[:2] == ("event", "plan")


@pytest.mark.more
@settings(max_examples=many(30, 120), deadline=None)
@given(
    strategy=st.sampled_from([TwoPhaseCommit(), TwoPhaseCommit(work="before"), Saga(), Outbox(), DualWrite()]),
    how=st.sampled_from(["drop", "copy", "rename", "swap", "alter"]),
    number=st.integers(0, 10**6),
    choice=st.integers(0, 10**6),
)
def test_any_damaged_entry_is_found(strategy: Strategy, how: str, number: int, choice: int) -> None:
    """Dropped, doubled, renamed, swapped with the next of its machine, or altered anywhere inside.

    What is dropped last, before a crash or the end of the log, is taken for a tail that was cut off, and reported as such.
    """
    run = small(strategy)
    log = list(run.trace)
    damaged, harmless = damage(log, how, number, choice)
    found = check_log(damaged, run.strategy)
    cut = how == "drop" and (found.unfinished != [] or found.interrupted > interrupted(strategy))
    assert harmless or cut or not found.ok


@cache
def interrupted(strategy: Strategy) -> int:
    """How many programs a crash has cut short in the whole log."""
    run = small(strategy)
    return check_log(run.trace, run.strategy).interrupted


@cache
def small(strategy: Strategy) -> Run:
    """As `logged`, with fewer transactions."""
    faults = [FAULTS[name] for name in ("crash of a service", "crash of the hub", "duplication", "loss")]
    run = simtx.simulate(world(faults, transactions=20), strategy, seed=3, trace="full")
    found = check_log(run.trace, run.strategy)
    assert found.ok
    assert not found.unfinished
    return run


def test_a_strategy_may_be_named() -> None:
    """With the policies that it has by default, as everywhere."""
    scenario = simtx.load("transfer").replace(**{"run.transactions": 30, "run.warmup": 0})
    run = simtx.simulate(scenario, Saga(policies=Policies()), seed=1, trace="full")
    assert check_log(run.trace, "saga").ok
    assert not check_log(run.trace, "2pc").ok
    with pytest.raises(ScenarioError, match="did you mean 'saga'"):
        check_log(run.trace, "sagas")


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("anothers-work", "is not what its plan calls for as step"),
        ("undoes-half", "is not what its plan calls for to undo step"),
        ("never-refuses", "its plan is to be refused there"),
    ],
)
def test_work_that_the_plan_does_not_call_for_is_found(name: str, finding: str) -> None:
    """Although the machines do what their strategy asks for, so that the log replays."""
    strategy = next(one.strategy for one in ALL if one.name == name)
    run = simtx.simulate(simtx.scenario.from_dict(TABLES), strategy, trace="full")
    problems = check_log(run.trace, strategy).problems
    assert problems
    assert all(finding in problem for problem in problems), problems[:3]


@pytest.mark.parametrize("by", ["old", "new"])
def test_a_store_that_does_something_else_is_found(by: str) -> None:
    """A value that is off by one before or after a change."""
    log = list(logged(Outbox()).trace)
    number = [place for place, entry in enumerate(log) if entry.kind == "apply"][20]
    detail = json.loads(log[number].detail)
    key, (old, new) = next(iter(detail["values"].items()))
    detail["values"][key] = [old + 1, new] if by == "old" else [old, new + 1]
    log[number] = log[number]._replace(detail=json.dumps(detail))
    found = check_log(log, Outbox()).problems
    assert any(f"entry {log[number].id}," in one and f"'{key}'" in one for one in found), found[:3]
