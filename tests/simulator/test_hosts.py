"""Hosts: cores go round among processes, a process takes up one event after the other, and a run on a host is as true as one without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.scenario import HostSpec, Scenario, from_dict
from simtx.simulator.environment import Environment
from simtx.simulator.host import Host, Process, Start
from tests.simulator.worlds import chain

STRATEGIES = ("2pc", "saga", "outbox", "dual-write")


def spec(
    cores: int = 1, *, neighbours: int = 0, speed: float = 1.0, parallel: bool = False, quantum: float = 0.003
) -> HostSpec:
    return HostSpec(cores, speed, (), neighbours, parallel, 0.0, 0.0, 0.0, 0.0, quantum)


def finished(cores: int, jobs: list[tuple[float, int, float]], processes: int = 3, **host: Any) -> list[float]:
    """When jobs (time, process, demand) are done."""
    env = Environment()
    described = spec(cores, **host)
    machine = Host(env, described)
    running = [Process(machine, described) for _ in range(processes)]
    done = [0.0] * len(jobs)

    def over(number: int) -> None:
        done[number] = env.now

    for number, (time, process, demand) in enumerate(jobs):
        env.call_at(time, lambda given: running[given[0]].run(given[1], over, given[2]), (process, demand, number))
    env.run()
    return done


@pytest.mark.parametrize(
    ("cores", "jobs", "host", "expected"),
    [
        (1, [(0, 0, 1)], {}, [1]),
        (1, [(0, 0, 1), (0, 1, 1)], {}, [1, 2]),
        (2, [(0, 0, 1), (0, 1, 1)], {}, [1, 1]),
        (2, [(0, 0, 1), (0, 1, 1), (0, 2, 1)], {}, [1, 1, 2]),
        (1, [(0, 0, 1), (0.5, 1, 1)], {}, [1, 2]),
        (1, [(0, 0, 1), (0, 1, 3)], {}, [1, 4]),
        (1, [(0, 0, 1), (0, 1, 1), (0, 0, 1), (0, 0, 1)], {}, [1, 2, 3, 4]),
        (1, [(0, 0, 1), (0, 1, 1), (0, 0, 1), (0, 0, 1)], {"quantum": 1.5}, [1, 3, 2, 4]),
        (1, [(0, 0, 1), (0, 1, 1), (0, 0, 1), (0, 0, 1)], {"quantum": 9.0}, [1, 4, 2, 3]),
        (2, [(0, 0, 2), (0, 1, 1), (0, 2, 1)], {"neighbours": 1}, [2, 2, 3]),
        (2, [(0, 0, 1), (0, 0, 1)], {}, [1, 2]),
        (2, [(0, 0, 1), (0, 0, 1)], {"parallel": True}, [1, 1]),
        (1, [(0, 0, 1), (0, 0, 1)], {"parallel": True}, [1, 2]),
        (1, [(0, 0, 1)], {"neighbours": 1}, [2]),
        (2, [(0, 0, 1)], {"neighbours": 1}, [1]),
        (2, [(0, 0, 1)], {"neighbours": 3}, [2]),
        (1, [(0, 0, 1)], {"speed": 4.0}, [0.25]),
        (1, [(0, 0, 0), (0, 1, 1), (1, 1, 0)], {}, [0, 1, 1]),
    ],
)
def test_cores_are_shared_and_a_process_does_one_thing_after_the_other(
    cores: int, jobs: list[tuple[float, int, float]], host: dict[str, Any], expected: list[float]
) -> None:
    assert finished(cores, jobs, **host) == pytest.approx(expected)


@pytest.mark.parametrize("sizes", ["exponential", "constant", "two-point"])
@pytest.mark.sample(2)
def test_one_core_with_many_processes_is_an_m_g_1_queue(sizes: str) -> None:
    """The mean time is E[S] + load E[S^2] / (2 E[S] (1 - load)) (Pollaczek 1930, Khinchine 1932)."""
    rng = np.random.default_rng(5)
    n, load = 40_000, 0.6
    drawn = {
        "exponential": rng.exponential(1.0, n),
        "constant": np.ones(n),
        "two-point": rng.choice([0.2, 4.2], n, p=[0.8, 0.2]),
    }[sizes]
    arrivals = np.cumsum(rng.exponential(1.0 / load, n))
    jobs = [
        (float(time), number % 400, float(size))
        for number, (time, size) in enumerate(zip(arrivals, drawn, strict=True))
    ]
    stayed = np.array(finished(1, jobs, processes=400)) - arrivals
    batches = stayed[n % 40 :].reshape(40, -1).mean(axis=1)
    error = batches.std(ddof=1) / np.sqrt(len(batches))
    expected = drawn.mean() + load * (drawn**2).mean() / (2 * drawn.mean() * (1 - load))
    assert stayed.mean() == pytest.approx(expected, abs=4 * error)
    assert error < 0.15


def test_what_an_event_goes_on_with_comes_before_the_next_and_a_crash_forgets_all() -> None:
    env = Environment()
    described = spec()
    process = Process(Host(env, described), described)
    seen: list[tuple[str, float]] = []

    def first(_: object) -> None:
        seen.append(("first", env.now))
        process.go_on_with(2.0, lambda _: seen.append(("rest", env.now)), None)

    process.run(1.0, first, None)
    process.run(1.0, lambda _: seen.append(("second", env.now)), None)
    env.run(until=10)
    assert seen == [("first", 1.0), ("rest", 3.0), ("second", 4.0)]
    assert process.account() == pytest.approx(4.0)
    process.run(1.0, lambda _: seen.append(("lost", env.now)), None)
    env.call_in(0.5, lambda _: process.crash())
    env.call_in(0.7, lambda _: process.run(1.0, lambda _: seen.append(("new", env.now)), None))
    env.run(until=20)
    assert seen[3:] == [("new", pytest.approx(11.7))]
    assert process.account() == pytest.approx(5.5)


@pytest.mark.parametrize(("cores", "expected"), [(1, [1.0, 4.5]), (2, [1.0, 2.0])])
def test_nobody_waits_for_what_is_done_aside_but_for_its_core(cores: int, expected: list[float]) -> None:
    env = Environment()
    described = replace(spec(cores), event=1.0, event_aside=3.0)
    host = Host(env, described)
    process, other = Process(host, described), Process(host, described)
    done: list[float] = []
    process.handle(lambda _: done.append(env.now), None)
    env.call_in(1.5, lambda _: other.run(0.5, lambda _: done.append(env.now), None))
    env.call_in(2.0, lambda _: process.crash())  # what others do goes on
    env.run()
    assert done == pytest.approx(expected)
    assert process.account() == pytest.approx(1.0)


def test_what_comes_in_while_an_event_is_handled_waits_behind_what_came_before() -> None:
    env = Environment()
    described = spec()
    process = Process(Host(env, described), described)
    seen: list[str] = []

    def first(_: object) -> None:
        process.run(0.0, lambda _: seen.append("no time"), None)
        process.run(1.0, lambda _: seen.append("some time"), None)

    process.run(1.0, first, None)
    process.run(1.0, lambda _: seen.append("before"), None)
    env.run()
    assert seen == ["before", "no time", "some time"]


def test_of_two_events_that_end_at_once_the_first_may_crash_the_process() -> None:
    env = Environment()
    described = spec(2, parallel=True)
    process = Process(Host(env, described), described)
    seen: list[str] = []
    process.run(1.0, lambda _: process.crash(), None)
    process.run(1.0, lambda _: seen.append("lost"), None)
    env.run()
    assert seen == []
    assert process.account() == pytest.approx(1.0)


def test_a_paused_process_gets_no_time_and_keeps_what_it_has_to_do() -> None:
    env = Environment()
    described = spec(2)
    host = Host(env, described)
    paused, other = Process(host, described), Process(host, described)
    seen: list[tuple[str, float]] = []
    paused.run(1.0, lambda _: seen.append(("paused", env.now)), None)
    other.run(2.0, lambda _: seen.append(("other", env.now)), None)
    env.call_at(0.5, lambda _: paused.halt())
    env.call_at(1.0, lambda _: paused.run(1.0, lambda _: seen.append(("behind", env.now)), None))
    env.call_at(3.0, lambda _: paused.go_on())
    env.run(until=10)
    assert seen == [("other", 2.0), ("paused", 3.5), ("behind", 4.5)]


# --- runs ---------------------------------------------------------------------------------------------------------------------


def hosted(
    transactions: int = 300, rate: float = 40.0, faults: tuple[dict[str, Any], ...] = (), **host: Any
) -> Scenario:
    tables = chain(2, transactions=transactions, rate=rate).to_dict()
    if host:
        tables["hosts"] = {"machine": {"nodes": ["*"], **host}}
    tables["faults"] = list(faults)
    return from_dict(tables, name="hosted")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.sample(3)
def test_less_processor_is_never_faster(strategy: str) -> None:
    """The same transactions on ample, on two, and on one core, and beside neighbours."""
    times = {"event": "1ms", "effect": "0.2ms", "transaction": "2ms"}
    runs = [
        simtx.simulate(scenario, strategy, seed=4)
        for scenario in (
            hosted(),
            hosted(cores=8, **times),
            hosted(cores=1, **times),
            hosted(cores=1, neighbours=2, **times),
        )
    ]
    means = [float(run.summary["latency_mean_ms"]) for run in runs]
    assert means == sorted(means)
    assert means[1] > means[0] + 2
    assert "process_utilisation_max" not in runs[0].summary
    shares = [round(float(run.summary["process_utilisation_max"]), 9) for run in runs[1:]]
    assert shares == sorted(shares)
    assert all(0 < share <= 1 for share in shares)


def test_what_a_process_sends_leaves_one_after_the_other() -> None:
    """The last of four participants hears of the decision three effects after the first, and a prepared branch ends after the time for its write."""
    tables = chain(4, transactions=20, rate=1.0).to_dict()
    tables["hosts"] = {"machine": {"nodes": ["*"], "cores": 8, "event": "1ms", "effect": "2ms", "forced_write": "5ms"}}
    run = simtx.simulate(from_dict(tables, name="hosted"), "2pc", seed=1, trace=True)
    sent = [one.time for one in run.trace if one.kind == "send" and one.name == "commit" and one.tx == 3]
    assert np.diff(sent) == pytest.approx([0.002] * 3)
    handled = {
        one.node: one.time for one in run.trace if one.kind == "receive" and one.name == "commit" and one.tx == 3
    }
    ended = {one.node: one.time for one in run.trace if one.kind == "commit" and one.tx == 3}
    assert sorted(handled) == sorted(ended)
    assert min(ended[node] - handled[node] for node in ended) >= 0.005


def test_a_full_processor_bounds_the_throughput_and_a_warning_says_so() -> None:
    """The saga's hub handles a known number of events for each transaction, one at a time."""
    scenario = hosted(300, 200.0, cores=2, event="3ms")
    run = simtx.simulate(scenario, "saga", seed=1)
    assert any("the process of hub has something to do" in one for one in run.warnings)
    handled = (
        float(run.transactions["messages"].mean()) / 2 + 1
    )  # replies and the request; every other message is a reply
    assert float(run.summary["throughput_per_s"]) < 1.05 / (handled * 0.003)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "kind", ["crash", "pause", "slow", "store-outage", "partition", "broker-outage", "clock-drift"]
)
@pytest.mark.sample(8)
def test_faults_on_a_host(strategy: str, kind: str) -> None:
    """What a strategy guarantees it guarantees on a host, too; the same seed gives the same run; the log keeps the contract."""
    fault: dict[str, Any] = {"kind": kind, "at": "1s", "duration": "2s"}
    if kind == "partition":
        fault |= {"a": ["s1"]}
    elif kind != "broker-outage":
        fault |= {"node": "s1"}
    if kind in ("slow", "clock-drift"):
        fault |= {"factor": 3.0}
    scenario = hosted(120, 30.0, (fault,), cores=1, event="0.5ms", effect="0.1ms", transaction="1ms")
    run = simtx.simulate(scenario, strategy, seed=2, trace="full")
    again = simtx.simulate(scenario, strategy, seed=2)
    assert run.digest == again.digest
    assert float(run.summary["unanswered_share"]) < 0.2
    if strategy != "dual-write":
        assert float(run.summary["residual_divergence"]) == 0
        assert float(run.summary["in_doubt_open"]) == 0
    assert simtx.check_log(run.trace, run.strategy).ok


def test_the_scenario_says_so() -> None:
    scenario = hosted(cores=2, event="150us", transaction="0.3ms", neighbours=1)
    assert scenario.hosts["machine"].nodes == ("s0", "s1", "hub", "broker", "client")
    text = scenario.describe()
    assert "machine: 2 cores for s0, s1, hub, broker, client, 1 neighbour; processor time 150 us an event" in text
    assert scenario.fingerprint != hosted().fingerprint
    assert from_dict(scenario.to_dict(), name="hosted").fingerprint == scenario.fingerprint
    assert hosted(mark_aside="1ms").hosts["machine"].mark_aside == 0.001  # nothing else has to take time


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ({"m": {"nodes": ["nobody"], "event": "1ms"}}, r"hosts.m.nodes\[0\].*'nobody' is no node"),
        ({"m": {"nodes": ["hub"]}}, r"hosts.m.*takes no processor time"),
        ({"m": {"nodes": [], "event": "1ms"}}, "hosts.m.nodes"),
        ({"m": {"nodes": ["hub"], "event": "1ms", "cores": 0}}, "hosts.m.cores"),
        ({"m": {"nodes": ["hub"], "event": "1ms", "speed": 0}}, "hosts.m.speed"),
        (
            {"m": {"nodes": ["hub"], "event": "1ms"}, "n": {"nodes": ["hub"], "event": "1ms"}},
            r"hosts.n.nodes\[0\].*'hub' is on host 'm' already",
        ),
        (
            {"m": {"nodes": ["*"], "event": "1ms"}, "n": {"nodes": ["*"], "event": "1ms"}},
            r"the rest of the nodes is on host 'm' already",
        ),
    ],
)
def test_nonsense_is_refused_by_name(hosts: dict[str, Any], said: str) -> None:
    tables = chain(2, transactions=10).to_dict()
    tables["hosts"] = hosts
    with pytest.raises(ScenarioError, match=said):
        from_dict(tables, name="hosted")


# --- restarts -----------------------------------------------------------------------------------------------------------------


def started(cores: int, *, processes: int = 1, hit: float | None = None) -> tuple[list[float], float]:
    """When processes are back of which each takes a second to start, and when others are done that want half a second together, all at once."""
    env = Environment()
    described = replace(spec(cores, quantum=0.01), restart=1.0)
    machine = Host(env, described)
    back: list[float] = []
    other: list[float] = []
    start = Start([Process(machine, described) for _ in range(processes)], lambda: back.append(env.now))
    for _ in range(50):
        Process(machine, described).run(0.01, lambda _: other.append(env.now), None)
    if hit is not None:
        env.call_at(hit, lambda _: start.crash(), None)
    env.run()
    return back, max(other)


@pytest.mark.parametrize(
    ("cores", "processes", "back", "others"),
    [
        (1, 1, 1.5, 0.51),  # the others wait for one slice, and the restart for all of them
        (2, 1, 1.25, 0.26),
        (1, 2, 2.5, 0.52),  # a relay beside it: two processes start at once
        (2, 2, 1.25, 0.26),
    ],
)
def test_a_restart_shares_the_cores_by_time_slices(cores: int, processes: int, back: float, others: float) -> None:
    (again,), done = started(cores, processes=processes)
    assert again == pytest.approx(back, abs=0.03)
    assert done == pytest.approx(others, abs=0.03)


def test_who_crashes_while_it_starts_does_not_come_back_from_that_start() -> None:
    assert started(2, processes=2, hit=0.7)[0] == []


@pytest.mark.parametrize(
    ("strategy", "cores", "least", "most"),
    [("saga", 8, 0.99, 1.01), ("saga", 1, 1.1, 1.7), ("outbox", 8, 0.99, 1.01), ("outbox", 1, 2.1, 3.4)],
)
def test_a_node_comes_back_behind_its_downtime_and_its_restart(
    strategy: str, cores: int, least: float, most: float
) -> None:
    """A second of processor time: with ample cores no more, on one core it shares with the others and with the start of a relay."""
    crash = {"kind": "crash", "node": "s1", "at": "1s", "duration": "500ms"}
    scenario = hosted(120, 40.0, (crash,), cores=cores, event="1ms", transaction="2ms", restart="1s")
    times = {
        entry.kind: entry.time
        for entry in simtx.simulate(scenario, strategy, seed=4, trace=True).trace
        if entry.kind in ("crash", "restart")
    }
    assert times["crash"] == 1.0
    assert least <= times["restart"] - 1.5 <= most
