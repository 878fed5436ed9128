"""What is known of a real run before it begins: its transactions, and what of the scenario it does not play."""

from __future__ import annotations

import pytest

import simtx
from simtx.protocols import strategy
from simtx.reference.processes import schedule
from simtx.reference.processes.launcher import left_out
from simtx.reference.processes.schedule import Schedule
from simtx.scenario import Scenario, from_dict


def closed(first: float, second: float, *, users: int = 10, duration: float | None = 6.0) -> Scenario:
    """Users who never think, and a chain of two services whose steps take so many seconds; one worker each."""
    steps = [
        {
            "name": f"step{i}",
            "service": f"s{i}",
            "operations": [{"key": f"k{i}", "amount": 1}],
            "compensation": [{"key": f"k{i}", "amount": -1}],
        }
        for i in range(2)
    ]
    return from_dict(
        {
            "services": {f"s{i}": {"workers": 1, "service_time": work} for i, work in enumerate((first, second))},
            "transaction": {"name": "chain", "steps": steps},
            "workload": {"kind": "closed", "users": users, "think_time": 0.0},
            "run": {"duration": duration} if duration is not None else {"transactions": 30},
        },
        name="closed",
    )


def test_users_whose_answer_comes_early_do_not_wait_for_slow_services_behind() -> None:
    """Under an outbox, one worker for 10 ms answers 100 transactions a second, however slow the second service is."""
    assert len(Schedule.draw(closed(0.01, 0.5), 1).plans) >= 100 * 6


def test_a_slow_first_service_and_few_users_need_few_transactions() -> None:
    assert len(Schedule.draw(closed(0.5, 0.01), 1).plans) < 200
    assert len(Schedule.draw(closed(0.0001, 0.01, users=2), 1).plans) <= 2 * 6 * 1000 + 20


def test_a_long_run_of_fast_users_is_played_with_as_many_transactions_as_there_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule, "MAXIMUM", 300)
    assert len(Schedule.draw(closed(0.0001, 0.01, duration=600.0), 1).plans) == 300


def test_who_reads_a_run_is_told_when_its_transactions_were_used_up() -> None:
    scenario = closed(0.01, 0.01)
    schedule = Schedule.draw(scenario, 1)
    rows = [[number, 100.0 + 0.004 * number, "arrive"] for number in range(len(schedule.plans))]
    told = schedule.used_up(scenario, rows, 100.0)
    assert told is not None
    assert f"all {len(rows):,} transactions" in told
    assert "of 6 s" in told
    assert schedule.used_up(scenario, rows[:-1], 100.0) is None


def test_a_run_that_is_to_end_with_its_last_transaction_has_used_up_nothing() -> None:
    scenario = closed(0.01, 0.01, duration=None)
    schedule = Schedule.draw(scenario, 1)
    assert schedule.used_up(scenario, [[0, 0.0, "arrive"]] * 30, 0.0) is None


@pytest.mark.parametrize(
    ("name", "links", "embedded", "told"),
    [
        ("outbox", {"a": ["receiver"]}, True, ""),
        ("outbox", {"a": ["receiver"]}, False, "no proxy stands before NATS"),
        ("outbox", {"a": ["receiver"], "b": ["broker"]}, False, "no proxy stands before NATS"),
        ("outbox", {"a": ["receiver"], "b": ["sender"]}, False, ""),
        ("2pc", {"a": ["receiver"]}, False, ""),
        ("cornus", {"a": ["receiver"]}, False, "no proxy stands before the vote store"),
        ("cornus", {"a": ["receiver"], "b": ["sender"]}, False, ""),
    ],
)
def test_who_reads_a_run_is_told_of_links_that_are_not_cut(
    name: str, links: dict[str, list[str]], embedded: bool, told: str
) -> None:
    fault = {"kind": "partition", "at": "1s", "duration": "1s", **links}
    scenario = simtx.load("transfer-lab").replace(faults=[fault])
    notes = left_out(scenario, strategy(name, scenario.policies), {}, resumed=False, server="" if embedded else "NATS")
    assert [note.partition(":")[0] for note in notes] == [told] * bool(told)


def test_who_reads_a_run_is_told_which_links_lose_nothing_although_the_network_does() -> None:
    scenario = simtx.load("transfer-lab").replace(**{"network.loss": 0.1})
    chosen = strategy("outbox", scenario.policies)
    assert left_out(scenario, chosen, {}, resumed=False) == []
    assert len(left_out(scenario, chosen, {}, resumed=False, server="NATS")) == 1
    away = scenario.replace(**{"network.client_zone": "frankfurt/a"})
    (note,) = left_out(away, chosen, {}, resumed=False)
    assert note.startswith("no proxy stands before the client:")
