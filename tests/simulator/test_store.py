"""Laws of the parts of a node: log device, workers, timers, row locks, deadlock rules, idempotency rows, lazy records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.metrics.run import Run
from simtx.protocols import Saga, Strategy, TwoPhaseCommit
from simtx.scenario import Scenario, from_dict
from simtx.scenario.distributions import Exponential
from simtx.simulator import Environment, World
from simtx.simulator.disk import Disk
from simtx.simulator.timers import Timers, Token
from tests.simulator.worlds import chain

# --- the log device -----------------------------------------------------------------------------------------------------------------

FLUSH = 2.0


class Writer:
    """Asks for forced writes at given times and notes when they are durable."""

    def __init__(self, flush: str, times: list[float]) -> None:
        self.env = Environment()
        self.disk = Disk(self.env, lambda _: FLUSH, flush, instant=False)
        self.durable: dict[float, float] = {}
        for time in times:
            self.env.call_at(time, self._write, time)

    def _write(self, asked: float) -> None:
        self.disk.force(lambda time: self.durable.update({time: self.env.now}), asked, -1)

    def at(self, time: float, action: Callable[[], None]) -> Writer:
        self.env.call_at(time, lambda _: action())
        return self

    def run(self) -> list[float]:
        self.env.run()
        return [self.durable[time] for time in sorted(self.durable)]


def test_group_commit_writes_that_arrive_during_a_flush_share_the_next() -> None:
    """The first flushes alone; those that come meanwhile wait for its end and go together: two flushes for four writes."""
    writer = Writer("group", [0.0, 0.5, 1.0, 1.9])
    assert writer.run() == [2.0, 4.0, 4.0, 4.0]
    assert writer.disk.flushes == 2


def test_a_serial_log_flushes_one_after_the_other() -> None:
    """First come, first served; every write pays for itself."""
    writer = Writer("serial", [0.0, 0.5, 1.0, 9.0])
    assert writer.run() == [2.0, 4.0, 6.0, 11.0]
    assert writer.disk.flushes == 4


def test_a_parallel_log_is_a_plain_delay() -> None:
    """No write waits for another."""
    writer = Writer("parallel", [0.0, 0.5, 1.0])
    assert writer.run() == [2.0, 2.5, 3.0]


@pytest.mark.parametrize("flush", ["group", "serial", "parallel"])
def test_an_outage_of_the_device_delays_what_was_not_yet_written(flush: str) -> None:
    """A flush under way completes; writes during the outage begin when it is over; nothing is lost."""
    writer = Writer(flush, [0.0, 1.5])
    writer.at(1.0, writer.disk.stall).at(10.0, writer.disk.resume)
    assert writer.run() == [2.0, 12.0]


@pytest.mark.parametrize("flush", ["group", "serial", "parallel"])
def test_a_crash_forgets_what_was_not_durable(flush: str) -> None:
    """Neither the flush under way nor what waits for it comes back; a write after the restart is on its own."""
    writer = Writer(flush, [0.0, 0.5, 3.0])
    writer.at(1.0, writer.disk.crash)
    assert writer.run() == [5.0]


def test_group_commit_carries_any_load_and_a_serial_log_does_not() -> None:
    """At four writes a flush time, group commit waits less than two flushes; a serial log falls behind without end."""
    times = [0.5 * number for number in range(200)]
    group, serial = (Writer(flush, times).run() for flush in ("group", "serial"))
    assert max(done - asked for done, asked in zip(group, times, strict=True)) <= 2 * FLUSH
    assert serial[-1] == 200 * FLUSH


# --- timers -------------------------------------------------------------------------------------------------------------------------


def test_timers_fire_when_they_are_due_and_only_then() -> None:
    """Many delays, with and without a random part, many cancelled: each of the others fires once, at its time."""
    env = Environment()
    timers = Timers(env)
    fired: list[tuple[float, str]] = []
    expected = []
    numbers = count()

    def start(delay_and_extra: tuple[float, float, bool]) -> None:
        delay, extra, cancelled = delay_and_extra
        token = Token(object(), str(next(numbers)), lambda token: fired.append((env.now, token.kind)))
        timers.start(token, delay, extra)
        if cancelled:
            env.call_in(0.4 * (delay + extra), lambda _: setattr(token, "owner", None))
        else:
            expected.append((env.now + delay + extra, token.kind))

    for number in range(200):
        plan = ((0.0, 0.5, 1.0, 3.0)[number % 4], (0.125, 0.25, 1.5)[number % 3], number % 5 == 0)
        env.call_at(0.125 * number, start, plan)
    env.run()
    assert sorted(fired) == sorted(expected)
    assert len(fired) == 160


def test_a_timer_that_is_set_anew_fires_at_its_new_time() -> None:
    """Moved to later as often as one likes, it fires once, at the last time that it was given."""
    env = Environment()
    timers = Timers(env)
    fired: list[float] = []
    token = Token(object(), "reply", lambda _: fired.append(env.now))
    timers.start(token, 1.0)
    for time in (0.5, 0.9, 1.75, 2.5):
        env.call_at(time, lambda _: setattr(token, "due", env.now + 1.0))
    env.run()
    assert fired == [3.5]


def test_cancelled_timers_do_not_crowd_the_event_heap() -> None:
    """A thousand timers of one delay, nearly all cancelled: the heap holds one entry for them."""
    env = Environment()
    timers = Timers(env)
    for number in range(1000):
        token = Token(object(), "reply", lambda _: None)
        timers.start(token, 5.0)
        if number % 100:
            token.owner = None
    assert len(env.queue) == 1


# --- row locks ----------------------------------------------------------------------------------------------------------------------

W = 2.0**-6


def played(tmp_path: Path, rows: list[tuple[float, str, str]], **tables: Any) -> Scenario:
    """One service; transaction i arrives at `time` and changes two keys, the same one twice or two different ones."""
    text = "time,one,two\n" + "".join(f"{time},{one},{two}\n" for time, one, two in rows)
    rows_file = tmp_path / "rows.csv"
    rows_file.write_text(text)
    names = ("one", "two")
    raw = chain(
        1,
        delay=0.0,
        write=W,
        flush="parallel",
        transaction={
            "parameters": {name: {"population": 9} for name in names},
            "steps": [
                {
                    "name": "change",
                    "service": "s0",
                    "operations": [{"key": "k:{" + name + "}", "amount": 1} for name in names],
                    "compensation": [{"key": "k:{" + name + "}", "amount": -1} for name in names],
                }
            ],
        },
        transactions=len(rows),
        **tables,
    ).to_dict()
    raw["workload"] = {"kind": "trace", "trace": str(rows_file)}
    raw["run"] = {"transactions": len(rows)}
    return from_dict(raw)


def durable(run: Run) -> list[float]:
    """When each transaction's local transaction became visible, in units of a forced write after 1 s."""
    times = {event.tx: (event.time - 1) / W for event in run.trace if event.kind == "apply"}
    return [times[tx] for tx in sorted(times)]


def test_a_lock_is_held_until_durable_and_handed_over_in_the_order_of_asking(tmp_path: Path) -> None:
    """Five transactions on one key at once: one forced write after the other, first come, first served."""
    scenario = played(tmp_path, [(1 + number * W / 16, "a", "a") for number in range(5)])
    run = simtx.simulate(scenario, "outbox", trace=True)
    assert durable(run) == [1, 2, 3, 4, 5]
    assert run.transactions.lock_hold_ms.tolist() == [W * 1e3] * 5
    waits = [max(0, number - number / 16) * W * 1e3 for number in range(5)]
    assert run.transactions.lock_wait_ms.tolist() == pytest.approx(waits)


def test_no_key_of_several_is_lost_to_a_third_when_they_are_handed_over(tmp_path: Path) -> None:
    """The first holds a and b; the second waits for a, and needs b too; the third waits for b: nobody gets a key that another one has."""
    scenario = played(tmp_path, [(1.0, "a", "b"), (1 + W / 4, "a", "b"), (1 + W / 2, "b", "b")])
    run = simtx.simulate(scenario, "outbox", trace=True)
    assert durable(run) == [1, 3, 2]
    assert run.summary.residual_divergence == 0
    # The second gets a after one write and b after two, and has both until the third: 2 + 1 writes.
    assert run.transactions.lock_hold_ms.tolist() == [2 * W * 1e3, 3 * W * 1e3, W * 1e3]


def test_different_keys_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Row locks, not table locks."""
    scenario = played(tmp_path, [(1.0, "a", "b"), (1.0, "c", "d"), (1.0, "e", "e")])
    assert durable(simtx.simulate(scenario, "outbox", trace=True)) == [1, 1, 1]


def test_two_keys_asked_for_in_opposite_orders_never_deadlock_inside_one_store(tmp_path: Path) -> None:
    """Locks of one local transaction are taken in the order of the keys."""
    scenario = played(tmp_path, [(1 + n * W / 64, *(("a", "b") if n % 2 else ("b", "a"))) for n in range(20)])
    run = simtx.simulate(scenario, "outbox", trace=True)
    assert durable(run) == list(range(1, 21))
    assert run.data.counts["lock_timeouts"] == run.data.counts["deadlocks"] == 0


def test_a_lock_timeout_fails_the_waiter_and_it_tries_again(tmp_path: Path) -> None:
    """A waiter gives up after `lock_timeout`, keeps nothing, and its protocol repeats the local transaction."""
    slow = {"kind": "store-outage", "node": "s0", "at": 1 + W / 2, "duration": 1.0}
    scenario = played(tmp_path, [(1.0, "a", "a"), (1 + W / 4, "a", "a")], lock_timeout=W / 2, faults=[slow]).replace(
        **{"services.s0.store.log.forced_write": "0.2s"}
    )
    run = simtx.simulate(scenario, "outbox", trace=True)
    assert run.data.counts["lock_timeouts"] >= 1
    assert run.summary.residual_divergence == 0
    assert run.summary.committed_share == 1


# --- deadlocks of distributed transactions --------------------------------------------------------------------------------------------


def crossing(tmp_path: Path, rule: str, rows: list[tuple[float, str, str]]) -> Scenario:
    """Two services; a transaction executes first on key `one` in s0, then on key `two` there: two of them may cross."""
    text = "time,one,two\n" + "".join(f"{time},{one},{two}\n" for time, one, two in rows)
    (tmp_path / "rows.csv").write_text(text)
    raw = chain(2, lock_timeout=0.5, deadlocks=rule, invariants=[]).to_dict()
    raw["transaction"] = {
        "parameters": {name: {"population": 9} for name in ("one", "two")},
        "steps": [
            {
                "name": name,
                "service": "s0",
                "operations": [{"key": "k:{" + name + "}", "amount": 1}],
                "compensation": [{"key": "k:{" + name + "}", "amount": -1}],
            }
            for name in ("one", "two")
        ],
    }
    raw["workload"] = {"kind": "trace", "trace": "rows.csv"}
    raw["run"] = {"transactions": len(rows)}
    return from_dict(raw, folder=tmp_path)


RING = [(1.0, "a", "b"), (1.0005, "b", "a")]


@pytest.mark.parametrize(
    ("rule", "committed", "deadlocks", "timeouts"),
    [("timeout", None, 0, 1), ("detect", [True, False], 1, 0), ("wait-die", [True, False], 1, 0)],
)
def test_a_ring_of_two_is_resolved_as_the_rule_says(
    tmp_path: Path, rule: str, committed: list[bool] | None, deadlocks: int, timeouts: int
) -> None:
    """Each holds what the other one asks for. Detection fails the one that closes the ring, wait-die the younger, timeout the first to wait."""
    run = simtx.simulate(crossing(tmp_path, rule, RING), TwoPhaseCommit(work="before"))
    assert run.data.counts["deadlocks"] == deadlocks
    assert (run.data.counts["lock_timeouts"] > 0) == (timeouts > 0)
    outcome = (run.transactions.outcome == "committed").tolist()
    assert sum(outcome) <= 1 if committed is None else outcome == committed
    assert (run.transactions.latency_ms.max() > 500) == (rule == "timeout")
    assert run.summary.residual_divergence == 0


def test_waiting_for_an_older_one_without_a_ring_is_refused_by_wait_die_only(tmp_path: Path) -> None:
    """The younger asks for a key of the older, nobody for one of its own: there is no ring, but wait-die prevents what might become one."""
    rows = [(1.0, "a", "b"), (1.0005, "a", "c")]
    for rule, committed in (("timeout", 2), ("detect", 2), ("wait-die", 1)):
        run = simtx.simulate(crossing(tmp_path, rule, rows), TwoPhaseCommit(work="before"))
        assert (run.transactions.outcome == "committed").sum() == committed, rule
        assert run.data.counts["lock_timeouts"] == 0


def test_the_older_may_wait_for_the_younger_under_wait_die(tmp_path: Path) -> None:
    """Only the direction from old to young is allowed to wait, so that no ring can close."""
    rows = [(1.0, "a", "b"), (1.0005, "b", "c")]  # the older one's second key is the younger one's first
    run = simtx.simulate(crossing(tmp_path, "wait-die", rows), TwoPhaseCommit(work="before"))
    assert (run.transactions.outcome == "committed").all()
    assert run.transactions.lock_wait_ms.iloc[0] > 0


# --- what is kept, and for how long ---------------------------------------------------------------------------------------------------


def test_initial_values_come_from_the_longest_pattern_that_fits() -> None:
    """An exact key before any pattern, a longer prefix before a shorter one, and 0 for the rest."""
    initial = {"stock:*": 10, "stock:hot:*": 3, "stock:7": 99}
    seen: list[float] = []

    def look(world: World) -> Iterator[Any]:
        store = world.nodes["s0"].store
        assert store is not None
        seen.extend(store.read(key) for key in ("stock:1", "stock:hot:1", "stock:7", "other"))
        yield world.env.timeout(0)

    simtx.simulate(chain(1, services={"s0": {"store": {"initial": initial}}}), "saga", processes=[look])
    assert seen == [10, 3, 99, 0]


@pytest.mark.parametrize(("retention", "doubled"), [(60.0, False), (1.0, True)])
def test_idempotency_rows_protect_for_as_long_as_they_are_kept(retention: float, doubled: bool) -> None:
    """Each command arrives once more, three seconds late: after their retention rows are gone, and it takes effect again."""
    scenario = chain(
        2,
        rate=2.0,
        transactions=20,
        network={"duplication": 1.0, "reorder_delay": 3.0},
    )
    policies = simtx.protocols.Policies(dedup_retention=retention)
    run = simtx.simulate(scenario, Saga(policies=policies))
    assert (run.summary.duplicate_effects > 0) == doubled
    assert (run.summary.residual_divergence > 0) == doubled


@pytest.mark.parametrize(
    ("after", "another", "lost"),
    [(0.1, False, True), (0.3, False, False), (0.1, True, True)],
    ids=["soon", "after the background flush", "after a forced write of another transaction"],
)
def test_a_lazy_record_survives_if_it_was_flushed_since(
    tmp_path: Path, after: float, another: bool, lost: bool
) -> None:
    """The saga's last record is lazy here. A crash loses it unless the period of the background flush is over."""
    times = [1.0, 1.06] if another else [1.0]  # answered at 1.012 s; the second forces its first record at 1.062 s
    (tmp_path / "rows.csv").write_text("time\n" + "".join(f"{time}\n" for time in times))
    crash = {"kind": "crash", "node": "hub", "at": 1.012 + after, "duration": 0.5}
    raw = chain(2, delay=0.001, write=0.002, key="k{tx}", faults=[crash]).to_dict()
    raw["workload"] = {"kind": "trace", "trace": "rows.csv"}
    raw["run"] = {"transactions": len(times)}
    run = simtx.simulate(from_dict(raw, folder=tmp_path), Saga(completion="lazy"))
    table = run.transactions
    assert table.latency_ms.iloc[0] == pytest.approx(12)
    assert (table.outcome == "committed").all()
    assert run.summary.residual_divergence == 0
    assert (table.messages.iloc[0] > 4) == lost  # it asks the last participant again, which answers as before


@pytest.mark.parametrize(("after", "again"), [(0.1, True), (0.3, False)], ids=["soon", "after the background flush"])
def test_that_a_machine_forgot_itself_is_lazy_too(after: float, again: bool) -> None:
    """All of the saga's records are forced. That they are garbage is not: a crash soon after brings the machine back, and it has nothing left to do."""
    crash = {"kind": "crash", "node": "hub", "at": 1.012 + after, "duration": 0.5}
    scenario = chain(2, delay=0.001, write=0.002, transactions=1, faults=[crash])
    quiet = chain(2, delay=0.001, write=0.002, transactions=1)
    run = simtx.simulate(scenario, Saga(), trace="full")
    assert [event.tx for event in run.trace if event.kind == "recover"] == ([0] if again else [])
    assert run.transactions.messages.tolist() == simtx.simulate(quiet, Saga()).transactions.messages.tolist()
    assert run.transactions.outcome.tolist() == ["committed"]
    assert simtx.check_log(run.trace, run.strategy).ok


@pytest.mark.parametrize("strategy", [TwoPhaseCommit(), Saga()], ids=lambda s: s.name)
def test_crashes_between_flushes_never_resurrect_or_lose_a_decision(strategy: Strategy) -> None:
    """Slow logs and frequent crashes: what was told to the client is what the stores hold."""
    faults = [
        {"kind": "crash", "node": node, "every": Exponential(0.3), "duration": 0.05} for node in ("s0", "s1", "hub")
    ]
    for seed in range(15):
        scenario = chain(2, write=0.03, rate=20.0, transactions=60, key="k{tx}", faults=faults)
        run = simtx.simulate(scenario, strategy, seed=seed)
        told = run.transactions[run.transactions.answer != ""]
        assert ((told.answer == "committed") == (told.outcome == "committed")).all()
        assert run.summary.residual_divergence == 0
