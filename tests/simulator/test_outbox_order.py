"""The order of outbox rows in a simulated store: numbers at insertion, visible at commit, and what each reader of them loses or waits for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

import simtx
from simtx.protocols import Branch, Execute, Message, Operation, Outbox, Prepare, Transact
from simtx.scenario import Scenario
from simtx.scenario.distributions import Exponential
from simtx.simulator.outbox import OutboxTable
from simtx.simulator.work import Work
from tests.cursor import CursorOutbox
from tests.simulator.worlds import chain

READERS = ("marks", "horizon", "lock")


class Owner:
    """What a local transaction belongs to, as far as a table of rows is concerned."""

    tx = 0


def work(rows: int = 1, *, serial: bool = False) -> Work:
    messages = tuple(Message("step-done", 0, "a", "b", number) for number in range(rows))
    return Work(Owner(), Transact("t", (), ("k",), Branch("done", messages), serial_outbox=serial))  # type: ignore[arg-type]


def table(*, at_commit: bool = False) -> OutboxTable:
    return OutboxTable(at_commit=at_commit, buffered=lambda since: since >= 1.0)


def commit(outbox: OutboxTable, one: Work) -> None:
    assert isinstance(one.effect, Transact)
    assert one.effect.accepted is not None
    outbox.under_way.pop(one, None)
    outbox.commit(one, one.effect.accepted.outbox)


# --- the table --------------------------------------------------------------------------------------------------------------------


def test_a_row_appears_behind_one_with_a_higher_number() -> None:
    outbox, slow, fast = table(), work(2), work()
    for one in (slow, fast):
        outbox.begin(one)
    commit(outbox, fast)
    assert [row[0] for row in outbox.read(9)] == [2]
    assert outbox.read_below(9, ()) == ()
    commit(outbox, slow)
    assert [row[0] for row in outbox.read(9)] == [0, 1, 2]
    assert [(row[0], row[2]) for row in outbox.read_below(9, ())] == [(0, 0), (1, 0), (2, 2)]
    assert [row[0] for row in outbox.read(2)] == [0, 1]


def test_with_one_writer_or_under_the_lock_rows_are_numbered_in_the_order_of_commits() -> None:
    for outbox, slow, fast in (
        (table(at_commit=True), work(), work()),
        (table(), work(serial=True), work(serial=True)),
    ):
        for one in (slow, fast):
            outbox.begin(one)
        commit(outbox, fast)
        commit(outbox, slow)
        assert [row[0] for row in outbox.read(9)] == [0, 1]


def test_who_only_reads_does_not_stop_the_horizon_and_a_prepared_branch_does() -> None:
    outbox, row = table(), work()
    reading = Work(Owner(), Execute("e", (Operation("x", "read"),)))  # type: ignore[arg-type]
    branch = Work(Owner(), Prepare("p", (Operation("x", "read"),), ("prepared",)))  # type: ignore[arg-type]
    for one in (reading, branch, row):
        outbox.begin(one)
    outbox.under_way.pop(branch, None)  # its worker is free: from here on the store's list of branches has it
    commit(outbox, row)
    assert [one[0] for one in outbox.read_below(9, (reading,))] == [0]
    assert outbox.read_below(9, (reading, branch)) == ()


def test_a_crash_ends_what_was_under_way_and_brings_back_rows_whose_mark_was_lost() -> None:
    outbox, first, second, never = table(), work(), work(), work()
    for one in (first, second, never):
        outbox.begin(one)
    commit(outbox, first)
    commit(outbox, second)
    outbox.mark((0,), 0.5)
    outbox.mark((1,), 1.5)
    outbox.crash()
    assert [row[0] for row in outbox.read_below(9, ())] == [1]


@given(st.lists(st.tuples(st.sampled_from("bcr"), st.integers(0, 7)), max_size=60))
def test_below_the_horizon_nothing_ever_appears_before_a_place_that_was_read(steps: list[tuple[str, int]]) -> None:
    """The law behind the reader: whatever begins, commits and is read in whatever order, a reader that keeps its place misses nothing."""
    outbox, under_way, committed, found = table(), [], 0, []
    place = (-1, -1)
    for step, which in [*steps, *(("c", 0) for _ in steps), ("r", 0)]:
        if step == "b":
            one = work(1 + which % 2)
            outbox.begin(one)
            under_way.append(one)
        elif step == "c" and under_way:
            one = under_way.pop(which % len(under_way))
            commit(outbox, one)
            committed += 1 + (one.effect.outbox_rows() > 1)  # type: ignore[union-attr]
        elif step == "r":
            for number, _, writer in outbox.read_below(1000, ()):  # type: ignore[misc]
                if (writer, number) > place:
                    place = (writer, number)
                    found.append(number)
    assert len(found) == len(set(found)) == committed


# --- a relay that looks behind the highest number ---------------------------------------------------------------------------------


def overtaken(*, rate: float, mean: float, period: float, transactions: int, order: str = "insert") -> Scenario:
    """Arrivals at random, on any number of workers: local transactions of exponential length overlap and do not wait for each other."""
    return chain(
        2,
        transactions=transactions,
        write=0.0,
        service_time=Exponential(mean),
        workload={"kind": "poisson", "rate": rate},
        key="k{tx}",
        policies={"poll_interval": period, "poll_batch": 100_000},
        run={"transactions": transactions, "warmup": 0, "drain": 5},
        defaults={"store": {"outbox_order": order}},
    )


def lost_share(rate: float, mean: float, period: float) -> float:
    """Closed form of the share of rows that a relay loses which looks only behind the highest number that it has seen.

    A row is inserted at time 0 and visible at D. It is lost if a poll before D has seen a later row. Later rows come at the given rate, and one
    inserted at s is visible at t with probability F(t - s): visible ones at t are Poisson with mean rate * G(t), G(t) = integral of F from 0 to t.
    What counts is the last poll before D, which comes at D - V with V uniform over a period::

        P = E[(1 - exp(-rate * G(D - V))) * 1{V < D}]

    For D exponential with mean w and rare overlaps this is rate * w^2 / (2 * period), if w is short beside the period.
    """

    def seen(u: float) -> float:
        return 1 - math.exp(-rate * (u - mean * -math.expm1(-u / mean)))

    value, _ = integrate.quad(lambda u: seen(u) * (math.exp(-u / mean) - math.exp(-(u + period) / mean)), 0, math.inf)
    return float(value) / period


def test_the_closed_form_has_the_limit_that_it_should() -> None:
    assert lost_share(1e-3, 0.01, 1.0) == pytest.approx(1e-3 * 0.01**2 / 2, rel=1e-4)


def test_a_relay_that_looks_behind_the_highest_number_loses_as_much_as_theory_says() -> None:
    """The interval over runs contains the closed form, and is narrow: half a loss more or less would be seen."""
    rate, mean, period, count = 100.0, 0.02, 0.05, 1000
    scenario = overtaken(rate=rate, mean=mean, period=period, transactions=count)
    runs = [simtx.simulate(scenario, CursorOutbox(), seed=seed) for seed in range(12)]
    shares = [run.summary.missing_effects / count for run in runs]
    expected = lost_share(rate, mean, period)
    assert expected == pytest.approx(0.148, abs=0.001)
    half = stats.t.ppf(0.9995, len(shares) - 1) * stats.sem(shares)
    assert abs(np.mean(shares) - expected) < half < 0.15 * expected


def test_numbers_in_the_order_of_commits_lose_nothing() -> None:
    scenario = overtaken(rate=100.0, mean=0.02, period=0.05, transactions=400, order="commit")
    assert simtx.simulate(scenario, CursorOutbox()).summary.missing_effects == 0


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("wake", [False, True])
@pytest.mark.sample(4)
def test_no_reader_of_ours_loses_anything(reader: Any, wake: bool) -> None:
    scenario = overtaken(rate=100.0, mean=0.02, period=0.05, transactions=400)
    run = simtx.simulate(scenario, Outbox(reader=reader, wake=wake), trace="full")
    assert run.summary.committed_share == 1
    assert run.summary.duplicate_effects == run.summary.missing_effects == 0
    assert simtx.check_log(run.trace, run.strategy).ok


# --- what they cost ---------------------------------------------------------------------------------------------------------------


def publications(run: Any) -> dict[int, float]:
    return {event.tx: event.time for event in run.trace if event.kind == "publish"}


def test_a_long_local_transaction_holds_up_the_events_of_all_others_below_the_horizon_and_of_none_otherwise() -> None:
    """Transaction 0 works for a second; what the others have committed meanwhile is published once it is over."""
    base = chain(2, transactions=4, write=0.0, rate=100.0, key="k{tx}")
    slow = {"kind": "slow", "node": "s0", "at": 0.0, "duration": "0.012s", "factor": 100.0}
    scenario = base.replace(faults=[slow], **{"services.s0.service_time": "10ms"})
    commits: Callable[[Any], float] = lambda run: max(  # noqa: E731
        event.time for event in run.trace if event.kind == "transact" and event.node == "s0"
    )
    times = {}
    for reader in READERS[:2]:
        run = simtx.simulate(scenario, Outbox(reader=reader, wake=True), trace=True)
        assert run.summary.committed_share == 1
        times[reader] = publications(run), commits(run)
    marks, end = times["marks"]
    assert end > 1.0
    assert all(marks[tx] < 0.1 for tx in (1, 2, 3))
    held, end = times["horizon"]
    assert all(held[tx] >= end for tx in range(4))


def test_under_the_lock_local_transactions_with_events_commit_one_at_a_time() -> None:
    """Ten at once, a forced write of 2 ms: in one flush without the lock, in ten one after the other with it."""
    scenario = chain(2, transactions=10, write=0.002, flush="parallel", rate=1e6, key="k{tx}")
    together = simtx.simulate(scenario, Outbox())
    serial = simtx.simulate(scenario, Outbox(reader="lock"))
    assert together.summary.committed_share == serial.summary.committed_share == 1
    assert serial.transactions.latency_ms.max() == pytest.approx(20.0, abs=0.02)
    assert np.allclose(np.diff(np.sort(serial.transactions.latency_ms)), 2.0, atol=0.02)
