"""What a hub had begun, and has no record of after a crash, is aborted from its restart on: where its strategy presumes so, in every world."""

import contextlib
import math

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.event_log.log import LogEntry
from simtx.metrics.replay import summary_from_trace
from simtx.protocols import TwoPhaseCommit
from simtx.protocols.names import PRESUMPTION
from simtx.reference.run_folder.collect import presumed

BACK = 4.0


def _world(duration="3.5s"):
    crash = {"kind": "crash", "node": "hub", "at": "0.5s", "duration": duration}
    return simtx.load("transfer").replace(
        **{
            "workload.rate": "200/s",
            "run.transactions": 200,
            "run.warmup": "0s",
            "run.drain": "20s",
            "faults": [crash],
            "services.receiver.service_time": "15ms",
        }
    )


@pytest.fixture(scope="module")
def run():
    return simtx.simulate(_world(), "2pc", trace="full")


def _presumed(trace):
    return [event for event in trace if event.actor == PRESUMPTION]


def test_it_is_decided_when_the_coordinator_is_back_and_its_client_stays_without_an_answer(run):
    said = _presumed(run.trace)
    assert len(said) > 1
    assert {(event.time, event.kind, event.name) for event in said} == {(BACK, "decided", "aborted")}
    table = run.transactions.set_index("tx").loc[[event.tx for event in said]]
    assert set(table["outcome"]) == {"aborted"}
    assert (table["arrival_s"] + table["decision_ms"] / 1e3).to_numpy() == pytest.approx(BACK)
    assert table["latency_ms"].isna().all()
    assert run.summary["undecided_share"] == run.summary["unsettled_share"] == 0
    assert run.summary["unanswered_share"] == pytest.approx(len(said) / 200)
    assert (run.recovery["recovery_s"] < 10).all()


def test_who_never_comes_back_has_presumed_nothing():
    never = simtx.simulate(_world("1h"), "2pc", trace=True)
    assert not _presumed(never.trace)
    assert never.summary["undecided_share"] > 0.2
    assert math.isinf(never.summary["decision_p99_ms"])


@pytest.mark.parametrize("strategy", ["saga", "outbox", "dual-write"])
def test_under_any_strategy_what_has_left_no_trace_is_aborted_when_its_node_is_back(strategy):
    """The conditions are the same for all: who has lost a request, and nobody else knew of it, will do nothing about it."""
    scenario = _world().replace(**{"hub.log.forced_write": "20ms"})
    if strategy != "saga":
        busy = {"services.sender.service_time": "15ms"}
        crash = {"kind": "crash", "node": "sender", "at": "0.5s", "duration": "3.5s"}
        scenario = scenario.replace(faults=[crash], **busy)
    played = simtx.simulate(scenario, strategy, trace="full")
    said = {event.tx for event in _presumed(played.trace)}
    assert said
    for event in played.trace:
        if event.tx in said and event.actor not in ("client", PRESUMPTION):
            assert event.kind in ("request", "handle", "serve", "free", "lost")
    assert simtx.check_log(played.trace, played.strategy).ok
    assert summary_from_trace(played.trace, scenario, played.strategy).equals(played.summary)
    assert set(played.transactions.set_index("tx").loc[sorted(said), "outcome"]) == {"aborted"}
    with contextlib.suppress(ScenarioError):
        fast = simtx.simulate(scenario, strategy, engine="fast")
        assert fast.data.digest == played.data.digest
        assert fast.summary.equals(played.summary)


def test_what_clients_ask_for_again_is_not_aborted():
    """The outbox recognises a request that comes again, and then it is begun."""
    crash = {"kind": "crash", "node": "sender", "at": "0.5s", "duration": "3.5s"}
    changes = {"clients.ask_again": "unanswered", "services.sender.service_time": "15ms", "faults": [crash]}
    played = simtx.simulate(_world().replace(**changes), "outbox")
    assert played.summary["unanswered_share"] == played.summary["undecided_share"] == 0
    with contextlib.suppress(ScenarioError):
        fast = simtx.simulate(_world().replace(**changes), "outbox", engine="fast")
        assert fast.data.digest == played.data.digest


def test_the_log_gives_the_same_numbers_and_conforms(run):
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)
    assert simtx.check_log(run.trace, run.strategy).ok


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"node": "sender"}, "was not restarted"),
        ({"name": "committed"}, "only an abort can be"),
        ({"time": 0.0}, "was not restarted"),
    ],
    ids=["elsewhere", "commit", "before"],
)
def test_a_presumption_without_ground_is_found(run, change, problem):
    events = [event._replace(**change) if event.actor == PRESUMPTION else event for event in run.trace]
    problems = simtx.check_log(sorted(events, key=lambda event: event.time), run.strategy).problems
    assert any(problem in one for one in problems)


def test_what_has_a_record_is_not_presumed(run):
    """The machine recovers, and decides by itself."""
    at = next(i for i, event in enumerate(run.trace) if event.kind == "restart")
    recovered = [event.tx for event in run.trace if event.kind == "recover" and event.node == "coordinator"]
    said = (LogEntry(-1, BACK, "decided", "coordinator", tx, None, PRESUMPTION, "", "aborted", "") for tx in recovered)
    problems = simtx.check_log([*run.trace[: at + 1], *said, *run.trace[at + 1 :]], run.strategy).problems
    assert any("has a record of it" in one for one in problems)


def test_both_engines_presume_the_same(run):
    try:
        fast = simtx.simulate(_world(), "2pc", engine="fast")
    except simtx.errors.ScenarioError as error:
        pytest.skip(str(error))
    assert fast.data.digest == run.data.digest
    assert fast.summary.equals(run.summary)
    assert fast.timeline.equals(run.timeline)


def _row(time, kind, tx, *, node="coordinator", name="", detail=""):
    return [None, time, kind, node, tx, None, "", "", name, detail]


def test_a_real_run_presumes_what_nothing_in_its_logs_contradicts():
    rows = [
        *(_row(1.0, "request", tx, name="begin") for tx in range(6)),
        _row(1.1, "decided", 0, name="committed"),
        _row(1.1, "append", 1, name="commit", detail="forced"),
        _row(1.1, "append", 2, name="abort", detail="lazy"),
        _row(1.1, "apply", 3, node="sender"),
        _row(2.0, "restart", -1),
        _row(2.1, "decided", 4, name="aborted"),
        _row(2.2, "request", 6, name="begin"),
        _row(3.0, "restart", -1, node="sender"),
    ]
    assert [(row[1], row[4], row[8]) for row in presumed(rows, TwoPhaseCommit())] == [
        (2.0, 2, "aborted"),
        (2.0, 5, "aborted"),
    ]
    rows = [
        *(_row(1.0, "request", tx, node="sender", name="begin") for tx in range(3)),
        _row(1.1, "serve", 0, node="sender"),
        _row(1.1, "send", 1, node="sender", name="debited"),
        _row(1.2, "restart", -1, node="sender", detail="sender-relay"),
        _row(2.0, "restart", -1, node="sender", detail="sender"),
    ]
    assert [(row[1], row[3], row[4]) for row in presumed(rows, simtx.Outbox())] == [
        (2.0, "sender", 0),
        (2.0, "sender", 2),
    ]
    assert presumed(rows, simtx.Outbox(), asked_again=True) == []
