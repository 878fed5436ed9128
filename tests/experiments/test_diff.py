"""Two event logs: what is the same is found to be the same, the first thing that is not is named, and its causes go back to the client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import simtx
from simtx.cli import main
from simtx.event_log.log import EventLog, LogEntry

CRASH = [{"kind": "crash", "node": "receiver", "at": "500ms", "duration": "300ms"}]


@pytest.fixture(scope="module")
def scenario() -> simtx.Scenario:
    return simtx.load("transfer").replace(
        **{"run.transactions": 100, "run.warmup": "0s", "workload.rate": "100/s", "policies.vote_timeout": "500ms"}
    )


@pytest.fixture(scope="module")
def run(scenario: simtx.Scenario) -> simtx.Run:
    return simtx.simulate(scenario, "2pc", trace=True)


@pytest.fixture(scope="module")
def struck(scenario: simtx.Scenario) -> simtx.Run:
    return simtx.simulate(scenario.replace(faults=CRASH), "2pc", trace=True)


def renumbered(trace: EventLog) -> EventLog:
    """The same log of a machine with another clock, on which entries of other kinds stand between, so that every id is another one."""
    number = {event.id: 2 * event.id + 1 for event in trace}
    events: list[LogEntry] = []
    for event in trace:
        cause = None if event.cause is None else number[event.cause]
        time = 3 * event.time + 7
        events += [
            LogEntry(2 * event.id, time, "level", "", -1, None, "", "", "", "{}"),
            event._replace(id=2 * event.id + 1, time=time, cause=cause),
        ]
    return EventLog(events)


def test_a_run_is_the_same_as_itself_whatever_clock_and_ids_say(run: simtx.Run) -> None:
    for order in (False, True):
        found = simtx.diff(run, renumbered(run.trace), order=order)
        assert found.same
        assert found.alike == 100
        assert "are the same: 100 transactions" in str(found)


def test_an_altered_entry_is_found_with_its_causes(run: simtx.Run) -> None:
    """One vote of one transaction says no where it said yes."""
    events = list(run.trace)
    vote = next(event for event in events if event.kind == "send" and event.name == "yes" and event.tx == 42)
    events[vote.id] = vote._replace(name="no")
    found = simtx.diff(run, EventLog(events))
    assert found.first is not None
    assert (found.first.tx, found.first.a, found.first.b) == (42, vote, events[vote.id])
    assert [event.kind for event in found.first.chain_b] == ["request", "send", "receive", "send"]
    assert found.alike == 99
    assert "send no to coordinator" in str(found)
    assert "every transaction has the same outcome in both" in str(found)


def test_what_happens_once_more_is_a_difference(run: simtx.Run) -> None:
    """Of things that are equal, the one too many is named."""
    events = list(run.trace)
    one = next(event for event in events if event.kind == "append" and event.name == "commit" and event.tx == 7)
    events.append(one._replace(id=len(events), time=events[-1].time))
    found = simtx.diff(EventLog(events), run.trace)
    assert found.first is not None
    assert (found.first.tx, found.first.a, found.first.b) == (7, events[-1], None)


def test_order_counts_only_if_asked_for(run: simtx.Run) -> None:
    """Two votes that change places are the same votes."""
    events = list(run.trace)
    first, second = (e for e in events if e.kind == "receive" and e.name == "yes" and e.tx == 3)
    events[first.id], events[second.id] = second._replace(id=first.id), first._replace(id=second.id)
    assert simtx.diff(run, EventLog(events)).same
    found = simtx.diff(run, EventLog(events), order=True)
    assert found.first is not None
    assert (found.first.tx, found.first.a) == (3, first)


def test_a_fault_is_named_and_then_the_first_transaction_that_felt_it(run: simtx.Run, struck: simtx.Run) -> None:
    found = simtx.diff(run, struck)
    assert found.first is not None
    assert found.first.tx == -1
    assert found.first.b is not None
    assert (found.first.b.kind, found.first.b.node, found.first.b.time) == ("fault", "receiver", 0.5)
    felt = found.partings[1]
    assert all(felt.time <= one.time for one in found.partings[1:])
    assert felt.chain_b[0].kind == "request"
    changed = {tx for tx, *_ in found.outcomes}
    assert changed
    assert changed <= {one.tx for one in found.partings}
    assert found.frame()["tx"].tolist() == [one.tx for one in found.partings]
    for shown in (str(found), found._repr_html_()):
        assert "fault crash" in shown
        assert f"transaction {felt.tx} parts" in shown
        assert "faults: as it was in A, [{" in shown


def test_parts_of_logs_can_be_compared(run: simtx.Run, struck: simtx.Run) -> None:
    """The entries of one transaction, whose ids are those of the whole log."""
    felt = simtx.diff(run, struck).partings[1]
    part = simtx.diff(run.trace.of(felt.tx), struck.trace.of(felt.tx)).partings[-1]
    assert (part.tx, part.chain_a, part.chain_b) == (felt.tx, felt.chain_a, felt.chain_b)


def test_two_strategies_agree_on_outcomes(run: simtx.Run, scenario: simtx.Scenario) -> None:
    """Without faults 2PC, saga and outbox decide alike and leave the same values, by other messages: a debit that was undone is none."""
    for other in ("saga", "outbox"):
        theirs = simtx.simulate(scenario, other, trace=True)
        assert any(event.name == "compensation" for event in theirs.trace)
        assert simtx.diff(run, theirs, what="outcomes").same
        assert not simtx.diff(run, theirs).same


def test_what_a_relay_publishes_leads_back_to_the_client(scenario: simtx.Scenario) -> None:
    ours = simtx.simulate(scenario, "outbox", trace=True).trace
    events = [event for event in ours if not (event.kind == "apply" and event.node == "receiver" and event.tx == 11)]
    gone = next(event for event in ours if event.kind == "apply" and event.node == "receiver" and event.tx == 11)
    found = simtx.diff(ours, EventLog(event for event in events))
    assert found.first is not None
    assert found.first.a == gone
    kinds = [event.kind for event in found.first.chain_a]
    assert kinds == ["request", "transact", "publish", "deliver", "apply"]


def test_runs_logs_and_folders_are_read(
    run: simtx.Run, struck: simtx.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.save(tmp_path / "saved")
    (tmp_path / "folder").mkdir()
    struck.trace.save(tmp_path / "folder" / "events-2pc-1-0.jsonl")
    run.trace.save(tmp_path / "log.jsonl")
    assert main(["diff", str(tmp_path / "saved"), str(tmp_path / "log.jsonl"), "--order"]) == 0
    assert "are the same" in capsys.readouterr().out
    assert main(["diff", str(tmp_path / "log.jsonl"), str(tmp_path / "folder")]) == 1
    assert "the faults part" in capsys.readouterr().out
    assert main(["diff", str(tmp_path / "saved"), str(tmp_path / "folder"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["first"]["chain_b"][-1]["kind"] == "fault"
    assert document["alike"] + len(document["transactions"]) == 101


def test_wrong_input_is_one_line(run: simtx.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        run.trace.save(tmp_path / "two" / f"events-{name}.jsonl")
    (tmp_path / "none.jsonl").write_text("")
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    log = str(tmp_path / "two" / "events-a.jsonl")
    for given, said in (
        ("nothing", "there is no such file or folder"),
        ("empty", "holds no event log"),
        ("two", "name one: events-a.jsonl, events-b.jsonl"),
        ("none.jsonl", "is empty"),
        ("other.jsonl", "is no entry of an event log"),
    ):
        assert main(["diff", log, str(tmp_path / given)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert main(["diff", log, log, "--order", "--outcomes"]) == 2
    with pytest.raises(simtx.ScenarioError, match="must be a run, an event log, or the path"):
        simtx.diff(run, 3)  # type: ignore[arg-type]


@pytest.mark.heavy
@pytest.mark.parametrize("strategy", ["2pc", "saga"])
def test_a_real_run_does_what_the_simulated_one_does(strategy: str, tmp_path: Path) -> None:
    """The folder of a real run against the simulation of the same: not one message, record or local transaction more or less."""
    small = simtx.load("transfer-lab").replace(**{"run.transactions": 20, "run.warmup": "0s", "workload.rate": "10/s"})
    simtx.execute(small, strategy, folder=tmp_path / "real", progress=False)
    found = simtx.diff(simtx.simulate(small, strategy), tmp_path / "real")
    assert found.same, str(found)
