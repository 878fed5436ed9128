"""Same seed, same run, wherever and in whatever company it is played; and every strategy meets the same world."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.protocols import Acknowledge, Effect, Event, Message, Publish, Strategy
from simtx.scenario import Scenario
from simtx.scenario.changes import replaced
from simtx.scenario.distributions import Exponential, Lognormal, Uniform
from simtx.simulator import World
from tests.simulator.worlds import SAFE, STRATEGIES, chain

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
import simtx

scenario = simtx.load("checkout").replace(**{
    "run.transactions": 80, "run.warmup": 0,
    "faults": [
        {"kind": "crash", "node": "payments", "every": "500ms", "duration": "200ms"},
        {"kind": "loss", "every": "300ms", "duration": "1s", "probability": 0.1},
    ],
})
for name in sys.argv[1:]:
    print(name, simtx.simulate(scenario, name, seed=11, replication=2).digest)
"""
NAMES = ["2pc", "saga", "outbox", "dual-write"]


def digests(order: list[str], hash_seed: str) -> dict[str, str]:
    """Digests by strategy, of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *order],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split() for line in done.stdout.splitlines())


def digests_here(order: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same, of this process, under whatever its hash seed is."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["", *order])
    with contextlib.redirect_stdout(printed):
        exec(SCRIPT, {})  # noqa: S102 - ours
    return dict(line.split() for line in printed.getvalue().splitlines())


def test_a_digest_does_not_depend_on_the_process_the_hash_seed_or_the_order_of_the_strategies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process of its own: another value of PYTHONHASHSEED, another order, and a strategy played twice."""
    first = digests_here(NAMES, monkeypatch)
    assert len(set(first.values())) == 4
    assert digests(["outbox", "saga", "outbox", "dual-write", "2pc"], "4242") == first


# --- within one process ---------------------------------------------------------------------------------------------------------


def stormy(**options: Any) -> Scenario:
    """A scenario in which every kind of stream is drawn from."""
    popular = {"population": 10, "popularity": "zipf", "exponent": 1.0}
    prices = {"values": Lognormal(20.0, 0.5), "integer": True}
    steps = [
        {
            "name": f"step{index}",
            "service": f"s{index}",
            "operations": [{"key": "k:{key}", "parameter": "price"}],
            "compensation": [{"key": "k:{key}", "parameter": "price", "amount": -1}],
            "refusal": 0.1,
        }
        for index in range(3)
    ]
    return chain(
        3,
        **{
            "delay": Exponential(0.002),
            "write": Uniform(0.001, 0.003),
            "service_time": Exponential(0.004),
            "workers": 2,
            "transaction": {"parameters": {"key": popular, "price": prices}, "steps": steps},
            "broker": {"linger": Uniform(0.0, 0.002), "ack_latency": Exponential(0.001)},
            "workload": {"kind": "poisson", "rate": 40.0},
            "transactions": 120,
            "faults": [
                {"kind": "crash", "node": "s1", "every": Exponential(1.0), "duration": Uniform(0.0, 0.5)},
                {"kind": "duplication", "every": Exponential(0.5), "duration": Uniform(0.0, 0.5), "probability": 0.2},
            ],
            **options,
        },
    )


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_the_event_log_does_not_change_the_run(strategy: Strategy) -> None:
    """Recorded at once, or by playing the run again when it is asked for: the same digest, the same numbers, the same log."""
    plain = simtx.simulate(stormy(), strategy, seed=3)
    traced = simtx.simulate(stormy(), strategy, seed=3, trace=True)
    assert plain.digest == traced.digest
    assert plain.summary.equals(traced.summary)
    assert plain.transactions.equals(traced.transactions)
    assert plain.timeline.equals(traced.timeline)
    assert list(plain.trace) == list(traced.trace)


def test_runs_in_between_change_nothing() -> None:
    """Nothing is kept from one run to the next."""
    first = {s.name: simtx.simulate(stormy(), s, seed=5).digest for s in STRATEGIES}
    assert {s.name: simtx.simulate(stormy(), s, seed=5).digest for s in reversed(STRATEGIES)} == first


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_seeds_and_replications_differ(strategy: Strategy) -> None:
    """Every seed and every replication is another run."""
    runs = [(1, 0), (2, 0), (1, 1), (2, 1), (0, 1)]
    assert len({simtx.simulate(stormy(), strategy, seed=s, replication=r).digest for s, r in runs}) == len(runs)


def test_the_digest_sees_small_differences() -> None:
    """A latency that is longer by a microsecond, a value that is another by one."""
    base = chain(3, transactions=5)
    others = [
        base.replace(**{"network.latency": "0.001001s"}),
        base.replace(**{"services.s2.store.initial": {"k": 1}}),
        base.replace(**{"workload.rate": 1.001}),
    ]
    assert len({simtx.simulate(scenario, "saga").digest for scenario in (base, *others)}) == 4


def test_a_scenario_from_a_dict_plays_as_the_one_it_came_from() -> None:
    """`to_dict` and `from_dict` lose nothing that a run depends on."""
    scenario = simtx.load("checkout").replace(**{"run.transactions": 50, "run.warmup": 0})
    again = simtx.scenario.from_dict(scenario.to_dict(), name=scenario.name)
    assert simtx.simulate(scenario, "2pc").digest == simtx.simulate(again, "2pc").digest


# --- common random numbers ------------------------------------------------------------------------------------------------------


def world_of(scenario: Scenario, strategy: Strategy | str) -> dict[str, list[Any]]:
    """What a transaction brings with it: arrivals, demands, plans; as a SimPy process beside the model sees them."""
    met: dict[int, tuple[float, list[float], Any]] = {}

    def watch(world: World) -> Iterator[Any]:
        while True:
            for tx, record in world.ledger.active.items():
                met.setdefault(tx, (record.arrival, list(record.demands), record.plan))
            yield world.env.timeout(1.0)

    simtx.simulate(scenario, strategy, seed=9, processes=[watch])
    rows = [met[tx] for tx in sorted(met)]
    return {
        "arrivals": [arrival for arrival, _, _ in rows],
        "demands": [demands for _, demands, _ in rows],
        "plans": [plan for _, _, plan in rows],
    }


def test_strategies_meet_the_same_transactions() -> None:
    """Arrivals, service demands, keys, amounts and refusals are those of the seed, not of the strategy."""
    worlds = [world_of(stormy(), strategy) for strategy in STRATEGIES]
    assert len(worlds[0]["arrivals"]) == 120
    assert all(world == worlds[0] for world in worlds)


def test_strategies_meet_the_same_refusals_and_agree_on_outcomes() -> None:
    """Without faults and contention a transaction commits under all strategies or under none."""
    scenario = chain(
        3, refusals={0: 0.1, 1: 0.2, 2: 0.2}, key="k{tx}", workload={"kind": "poisson", "rate": 20.0}, transactions=200
    )
    outcomes = [(simtx.simulate(scenario, s).transactions.outcome == "committed").tolist() for s in STRATEGIES]
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert 0.5 < sum(outcomes[0]) / 200 < 0.7


def test_strategies_meet_the_same_faults() -> None:
    """Scheduled by streams of their own: crashes begin and end at the same times."""
    logs = [
        [
            (e.time, e.kind, e.node)
            for e in simtx.simulate(stormy(), s, trace=True).trace
            if e.kind in ("crash", "restart")
        ]
        for s in SAFE
    ]
    assert len(logs[0]) >= 4
    assert all(log == logs[0] for log in logs)


def test_a_fault_more_leaves_the_times_of_the_others_as_they_were() -> None:
    """Wherever it stands in the list: streams of faults are named by what they hit."""
    scenario = stormy()
    crash, noise = scenario.to_dict()["faults"]
    another = {**crash, "node": "s2", "every": Exponential(0.3)}
    logs = [
        [
            (e.time, e.kind)
            for e in simtx.simulate(scenario.replace(faults=faults), "saga", trace=True).trace
            if e.kind in ("crash", "restart") and e.node == "s1"
        ]
        for faults in ([crash, noise], [another, crash, noise], [noise, crash], [crash])
    ]
    assert logs[0]
    assert all(log == logs[0] for log in logs)


def another_service(scenario: Scenario) -> Scenario:
    extra = scenario.to_dict()["services"]["s0"]
    return replaced(
        scenario, {"services.extra": {**extra, "service_time": Exponential(0.1)}}, units_needed=False
    )  # its numbers are seconds


def another_fault(scenario: Scenario) -> Scenario:
    faults = scenario.to_dict()["faults"]
    return scenario.replace(
        faults=[*faults, {"kind": "pause", "node": "s2", "every": Exponential(0.3), "duration": "0.1s"}]
    )


def another_parameter(scenario: Scenario) -> Scenario:
    return scenario.replace(**{"transaction.parameters.colour": {"population": 7}})


def another_invariant(scenario: Scenario) -> Scenario:
    bounds = {"name": "few", "kind": "bounds", "service": "s0", "prefix": "k", "high": 1e9}
    return scenario.replace(invariants=[*scenario.to_dict()["invariants"], bounds])


@pytest.mark.parametrize("change", [another_service, another_fault, another_parameter, another_invariant])
def test_a_component_more_shifts_no_other_stream(change: Callable[[Scenario], Scenario]) -> None:
    """Streams are keyed by component and purpose: all transactions come at the same times with the same demands, keys and refusals."""
    assert world_of(change(stormy()), "saga") == world_of(stormy(), "saga")


def test_a_step_more_leaves_the_others_as_they_were() -> None:
    """The first three steps of four have the demands, keys, amounts and refusals that they had as three of three."""
    scenario = stormy()
    raw = scenario.to_dict()
    fourth = {**raw["transaction"]["steps"][0], "name": "fourth", "refusal": 0.0}
    longer = scenario.replace(**{"transaction.steps": [*raw["transaction"]["steps"], fourth], "invariants": []})
    before, after = world_of(scenario, "saga"), world_of(longer, "saga")
    assert after["arrivals"] == before["arrivals"]
    assert [demands[:3] for demands in after["demands"]] == before["demands"]
    assert [plan.steps[:3] for plan in after["plans"]] == [plan.steps for plan in before["plans"]]


def test_a_slower_network_leaves_demands_and_arrivals_as_they_were() -> None:
    """A parameter of one component is nothing to the streams of the others."""
    scenario = stormy()
    assert world_of(scenario.replace(**{"network.latency": "80ms"}), "saga") == world_of(scenario, "saga")


def test_a_process_beside_the_model_that_only_looks_changes_nothing() -> None:
    """A user's process may read what it likes: the digest stays."""

    def look(world: World) -> Iterator[Any]:
        while True:
            yield world.env.timeout(0.01)
            assert all(node.store is None or node.store.read("k:0") is not None for node in world.nodes.values())

    for strategy in STRATEGIES:
        assert simtx.simulate(stormy(), strategy, processes=[look]).digest == simtx.simulate(stormy(), strategy).digest


class Repeated:
    """A machine that says everything twice."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def handle(self, event: Event) -> list[Effect]:
        """What the machine asks for, with a copy behind all that goes to another node."""
        twice = (Message, Publish, Acknowledge)
        return [
            effect
            for asked in self._machine.handle(event)
            for effect in ([asked, asked] if isinstance(asked, twice) else [asked])
        ]


def talkative(strategy: Strategy, noisy: int) -> Strategy:
    """A strategy whose machines say everything twice for one transaction."""
    plain = type(strategy)

    def machine(self: Any, node: str, tx: int) -> Any:
        made = plain.machine(self, node, tx)
        return Repeated(made) if tx == noisy else made

    chatter: Strategy = type("Talkative", (plain,), {"machine": machine})()
    return chatter


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_more_messages_of_one_transaction_shift_no_time_of_another(strategy: Strategy) -> None:
    """Where transactions share nothing, all but one are as they were: delays, losses, retries, writes, the broker, compensations."""
    scenario = stormy(
        flush="parallel",
        workers=1000,
        faults=[{"kind": kind, "at": 0.5, "duration": 2.0, "probability": 0.2} for kind in ("loss", "duplication")],
        key="k{tx}",
    ).replace(**{"transaction.parameters": {}, "transaction.steps": lonely_steps()})
    before = simtx.simulate(scenario, strategy, seed=4).transactions.set_index("tx")
    after = simtx.simulate(scenario, talkative(strategy, 30), seed=4).transactions.set_index("tx")
    if strategy.name != "outbox":  # its relay publishes, and that works for all transactions
        assert after.loc[30, "messages"] + after.loc[30, "broker_messages"] > before.loc[30, "messages"]
    assert before.drop(30).equals(after.drop(30))
    assert before["retries"].sum() > 10


def lonely_steps() -> list[dict[str, Any]]:
    """Three steps on keys that only their transaction has."""
    return [
        {
            "name": f"step{index}",
            "service": f"s{index}",
            "operations": [{"key": "k{tx}", "amount": 1}],
            "compensation": [{"key": "k{tx}", "amount": -1}],
            "refusal": 0.1,
        }
        for index in range(3)
    ]
