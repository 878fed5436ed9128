"""Isolation is modelled, not assumed: what a reader sees of a transaction that is under way, under each strategy.

The readers are SimPy processes of the tests, which run beside the model and look into its stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

import simtx
from simtx.protocols import Strategy
from simtx.scenario import Scenario
from simtx.scenario.distributions import Exponential
from simtx.simulator import World
from tests.simulator.worlds import SAFE, STRATEGIES, chain

D = 2.0**-10
W = 2.0**-8
Process = Callable[[World], Iterator[Any]]


def watcher(seen: list[tuple[float, ...]], *, every: float, until: float, key: str = "k") -> Process:
    """A reader that looks at the committed values of all services at regular times, at one instant."""

    def look(world: World) -> Iterator[Any]:
        stores = [node.store for node in world.nodes.values() if node.store is not None]
        while world.env.now < until:
            yield world.env.timeout(every)
            seen.append((world.env.now, *(store.read(key) for store in stores)))

    return look


def changes(seen: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The distinct states, in the order in which they were seen."""
    states = [state[1:] for state in seen]
    return [state for position, state in enumerate(states) if position == 0 or state != states[position - 1]]


def zones(*delays: float) -> Scenario:
    """Services at different distances from the hub, so that they commit at different times."""
    near = {f"zone{index}": delay for index, delay in enumerate(delays)}
    return chain(
        len(delays),
        write=W,
        services={f"s{index}": {"zone": name} for index, name in enumerate(near)},
        network={
            "zones": ["here", *near],
            "latency": D,
            "links": [{"between": ["here", name], "latency": delay} for name, delay in near.items()],
        },
        transactions=9,
    )


def test_a_saga_shows_every_intermediate_state() -> None:
    """Step by step: after each local transaction everybody sees it, long before the saga is done."""
    seen: list[tuple[float, ...]] = []
    simtx.simulate(chain(3, transactions=1), "saga", processes=[watcher(seen, every=0.0005, until=2.0)])
    assert changes(seen) == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]


def test_a_saga_shows_what_it_then_takes_back() -> None:
    """A dirty read: the value of a step is seen, and later compensated, in reverse order."""
    seen: list[tuple[float, ...]] = []
    simtx.simulate(chain(3, refusing={2}, transactions=1), "saga", processes=[watcher(seen, every=0.0005, until=2.0)])
    assert changes(seen) == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize("strategy", ["outbox", "dual-write"])
def test_a_choreography_shows_as_much(strategy: str) -> None:
    """Events do not isolate either."""
    seen: list[tuple[float, ...]] = []
    simtx.simulate(chain(3, refusing={2}, transactions=1), strategy, processes=[watcher(seen, every=0.0005, until=2.0)])
    assert changes(seen) == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 0, 0), (0, 0, 0)]


def test_two_phase_commit_shows_nothing_that_is_taken_back() -> None:
    """Whatever votes no: no reader ever sees anything of the transaction."""
    for refusing in ({0}, {1}, {2}, {0, 1, 2}):
        seen: list[tuple[float, ...]] = []
        process = watcher(seen, every=0.0005, until=2.0)
        simtx.simulate(chain(3, refusing=refusing, transactions=1), "2pc", processes=[process])
        assert changes(seen) == [(0, 0, 0)]


def test_two_phase_commit_is_fractured_between_the_first_and_the_last_commit_and_at_no_other_time() -> None:
    """Commits arrive after d, 3d and 5d: for 4d readers see a part, in each transaction, and never otherwise."""
    scenario = zones(D, 3 * D, 5 * D)
    run = simtx.simulate(scenario, "2pc")
    assert set(run.transactions.window_ms) == {4 * D * 1e3}
    length = 9.0  # arrivals at 1, ..., 9 s; the last one's window lies behind the last arrival
    assert run.summary.fractured_reads_per_million == pytest.approx(1e6 * 8 * 4 * D / length, rel=1e-12)
    seen: list[tuple[float, ...]] = []
    simtx.simulate(scenario.replace(**{"run.transactions": 1}), "2pc", processes=[watcher(seen, every=D, until=2.0)])
    assert changes(seen) == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]


def test_two_phase_commit_at_equal_distances_is_never_fractured() -> None:
    """All branches commit at the same moment."""
    run = simtx.simulate(chain(4, delay=D, write=W, transactions=20), "2pc")
    assert run.summary.fractured_reads_per_million == 0
    assert run.summary.violation_time_share == 0


def test_a_saga_is_fractured_for_as_long_as_its_window() -> None:
    """From the first local transaction to the last: n - 1 round trips with their writes; between transactions nothing is fractured."""
    run = simtx.simulate(chain(3, delay=D, write=W, transactions=9), "saga")
    window = 2 * (2 * D + 2 * W)
    assert set(run.transactions.window_ms) == {window * 1e3}
    assert run.summary.fractured_reads_per_million == pytest.approx(1e6 * 8 * window / 9.0, rel=1e-12)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_readers_who_come_at_random_moments_see_the_share_that_is_reported(strategy: Strategy) -> None:
    """Poisson arrivals see time averages (Wolff, 1982): the share that is computed from the log is the one that readers count."""
    scenario = chain(2, delay=Exponential(0.02), write=0.0, key="k{tx}", rate=5.0, transactions=400)
    looks: list[bool] = []

    def reader(world: World) -> Iterator[Any]:
        rng = np.random.default_rng(1)
        first, second = (node.store for node in world.nodes.values() if node.store is not None)
        while not world.arrivals_over:
            yield world.env.timeout(rng.exponential(0.02))
            now = world.env.now
            recent = (f"k{tx}" for tx in range(max(0, int(5 * now) - 20), int(5 * now) + 1))
            looks.append(any(first.read(key) != second.read(key) for key in recent))

    run = simtx.simulate(scenario, strategy, processes=[reader])
    share = run.summary.fractured_reads_per_million / 1e6
    assert 0.02 < share < 0.9
    # Neighbouring looks see the same window: about as many independent ones as windows.
    half = 2.6 * np.sqrt(share * (1 - share) / (len(looks) / 4))
    assert abs(np.mean(looks) - share) < half


# --- locks and isolation levels -------------------------------------------------------------------------------------------------


def reading(isolation: str) -> Scenario:
    """Every transaction reads one hot key that nobody changes, beside changing a key of its own."""
    steps = [
        {
            "name": f"step{index}",
            "service": f"s{index}",
            "after": [],
            "operations": [{"key": "hot", "kind": "read"}, {"key": "k{tx}", "amount": 1}],
            "compensation": [{"key": "k{tx}", "amount": -1}],
        }
        for index in range(2)
    ]
    store = {"store": {"isolation": isolation}}
    return chain(
        2,
        delay=D,
        write=W,
        transaction={"steps": steps},
        services={"s0": store, "s1": store},
        flush="parallel",
        rate=256.0,
        transactions=100,
    )


@pytest.mark.parametrize("strategy", ["2pc", "saga"])
def test_reads_lock_only_if_serializable(strategy: str) -> None:
    """Read committed: nobody waits for a reader, and a reader for nobody. Serializable: rows that are read are locked as if written."""
    weak, strict = (simtx.simulate(reading(level), strategy) for level in ("read-committed", "serializable"))
    hold = (W + 2 * D + 2 * W) if strategy == "2pc" else W
    assert weak.summary.lock_wait_mean_ms == 0
    assert weak.summary.lock_hold_seconds == pytest.approx(100 * 2 * hold)  # a key of its own in each service
    assert strict.summary.lock_hold_seconds == pytest.approx(100 * 4 * hold)  # and the hot one
    assert (strict.summary.lock_wait_mean_ms > 0) == (hold > 1 / 256)


@pytest.mark.parametrize("strategy", SAFE, ids=lambda s: s.name)
def test_concurrent_changes_of_a_hot_key_are_never_lost(strategy: Strategy) -> None:
    """Row locks serialise them: in the end the value is the number of committed transactions."""
    kept: list[World] = []

    def keep(world: World) -> Iterator[Any]:
        kept.append(world)
        yield world.env.timeout(0)

    scenario = chain(3, delay=Exponential(0.005), workload={"kind": "poisson", "rate": 60.0}, transactions=300)
    run = simtx.simulate(scenario, strategy, processes=[keep])
    committed = int((run.transactions.outcome == "committed").sum())
    assert [node.store.read("k") for node in kept[0].nodes.values() if node.store is not None] == [committed] * 3
    assert committed > 30
    assert run.summary.lock_wait_mean_ms > 0


@pytest.mark.parametrize("strategy", SAFE, ids=lambda s: s.name)
def test_guards_hold_however_many_ask_at_once(strategy: Strategy) -> None:
    """Fifty in stock, a hundred buyers within a second: fifty commit, and the stock is never negative, not even for a moment."""
    least: list[float] = []

    def watch(world: World) -> Iterator[Any]:
        store = world.nodes["s0"].store
        assert store is not None
        while world.env.now < 60:
            yield world.env.timeout(0.001)
            least.append(store.read("stock"))

    steps = [
        {
            "name": "reserve",
            "service": "s0",
            "operations": [{"key": "stock", "amount": -1, "low": 0}],
            "compensation": [{"key": "stock", "amount": 1}],
        },
        {
            "name": "ship",
            "service": "s1",
            "operations": [{"key": "sent", "amount": 1}],
            "compensation": [{"key": "sent", "amount": -1}],
        },
    ]
    scenario = chain(
        2,
        transaction={"steps": steps},
        services={"s0": {"store": {"initial": {"stock": 50}}}},
        invariants=[{"name": "no oversale", "kind": "bounds", "service": "s0", "prefix": "stock", "low": 0}],
        workload={"kind": "poisson", "rate": 100.0},
        transactions=100,
        policies={"vote_timeout": 30.0},
        lock_timeout=60.0,
    )
    run = simtx.simulate(scenario, strategy, processes=[watch])
    assert int((run.transactions.outcome == "committed").sum()) == 50
    assert min(least) == 0
    assert run.data.bounds_violated == []


def test_locks_under_two_phase_commit_bound_the_throughput_of_a_hot_key() -> None:
    """One lock, held for w + 2d + 2w by each transaction: no more than one transaction in that time; a saga holds it for w only."""
    hold = W + 2 * D + 2 * W
    scenario = chain(
        2,
        delay=D,
        write=W,
        workload={"kind": "deterministic", "rate": 4 / hold},
        transactions=300,
        policies={"vote_timeout": 60.0, "idle_timeout": 60.0, "inquiry_timeout": 60.0},
        lock_timeout=60.0,
        flush="parallel",
    )
    run = simtx.simulate(scenario, "2pc")
    assert (run.transactions.outcome == "committed").all()
    ends = np.sort(run.transactions.arrival_s + run.transactions.settle_ms / 1e3)
    assert np.diff(ends).min() >= hold * (1 - 1e-9)
    assert np.diff(ends).mean() == pytest.approx(hold, rel=1e-6)
    assert stats.linregress(np.arange(300), run.transactions.lock_wait_ms).slope > 0  # the queue grows
    saga = simtx.simulate(scenario, "saga")
    assert saga.summary.latency_p99_ms < run.summary.latency_p50_ms
