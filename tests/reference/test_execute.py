"""Real runs: the same outcomes and costs as the simulated ones, a log that replays, and nothing left behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import simtx
from simtx.conformance.check import check_log
from simtx.metrics.run import Run
from simtx.protocols import Policies, Saga, TwoPhaseCommit
from simtx.reference.node.crash_points import CrashPoint
from simtx.reference.run_folder.folder import RunFolder
from simtx.scenario import Scenario, from_dict
from tests.cursor import CursorOutbox

STRATEGIES = [
    "2pc",
    "2pc:work=before",
    "saga",
    "outbox",
    "2pc:termination=cooperative",
    "dual-write",
    "2pc:last_resource=s1",
    "2pc:presumption=commit",
    "tcc",
    "paxos-commit",
    "choreography",
]
ON_SERVERS = [
    "2pc",
    "2pc:work=before",
    "outbox",
]  # on PostgreSQL and NATS; saga and dual write ask nothing else of them


HASTY = {"poll_interval": 0.02, "call_timeout": 0.5, "vote_timeout": 1.0, "inquiry_timeout": 0.3}
"""Timeouts of runs in which something gets lost."""
PATIENT = {
    "poll_interval": 0.02,
    "call_timeout": 60.0,
    "vote_timeout": 60.0,
    "acknowledgement_timeout": 60.0,
    "inquiry_timeout": 60.0,
    "idle_timeout": 60.0,
    "publish_timeout": 60.0,
}
"""Timeouts of runs in which nothing gets lost: on a busy machine answers may come late, and none of them is taken for lost."""
RESTARTED = {**PATIENT, "call_timeout": 0.5, "acknowledgement_timeout": 1.0, "inquiry_timeout": 0.3}
"""Timeouts of runs in which processes are killed and all votes are waited for."""


def lab(n: int = 2, *, transactions: int = 20, refusal: float = 0.0, rate: float = 25.0, **more: object) -> Scenario:
    """A chain of n services, each of which takes something; service times of 2 ms. Its timeouts are those of `HASTY` if there are faults."""
    services = {f"s{i}": {"workers": 2, "service_time": 0.002, "store": {"initial": {"k:*": 100}}} for i in range(n)}
    steps = [
        {
            "name": f"step{i}",
            "service": f"s{i}",
            "operations": [{"key": "k:{account}", "amount": -1 if i % 2 else 1}],
            **(
                {"refusal": refusal, "kind": "pivot"}
                if i == n - 1
                else {"compensation": [{"key": "k:{account}", "amount": 1 if i % 2 else -1}]}
            ),
        }
        for i in range(n)
    ]
    raw = {
        "title": "A chain",
        "services": services,
        "transaction": {"name": "chain", "parameters": {"account": {"population": 50}}, "steps": steps},
        "workload": {"kind": "deterministic", "rate": rate},
        "run": {"transactions": transactions, "drain": 30.0},
        "policies": HASTY if "faults" in more else PATIENT,
        "invariants": [
            {
                "name": "sum",
                "kind": "conserved",
                "terms": [{"service": f"s{i}", "prefix": "k:"} for i in range(n)],
            }
        ]
        if n % 2 == 0
        else [],
        **more,
    }
    return from_dict(raw, name="lab")


def outcomes(run: Run) -> list[str]:
    return [str(outcome) for outcome in run.transactions["outcome"]]


def assert_sound(run: Run) -> None:
    """What holds of every run of a correct protocol, whatever went wrong on the way."""
    rows = run.transactions
    assert not rows["duplicate_effects"].any()
    assert not rows["missing_effects"].any()
    assert run.summary.residual_divergence == 0
    assert not run.summary.stuck_count
    assert set(outcomes(run)) <= {"committed", "aborted", "compensated", "lost"}
    told = rows[rows["answer"] != ""]
    for answer, outcome in zip(told["answer"], told["outcome"], strict=True):
        assert answer == "accepted" or (answer == "committed") == (outcome == "committed")
    said = [one for one in run.warnings if one not in {law.text for law in run.findings}]
    assert len(said) == 1  # nothing but that, and what the laws of operation say of so short a run
    assert said[0].startswith("not measured in a real run: lock_queue_*")
    killed = any(one.kind == "crash" for one in run.trace)
    for one in run.findings:
        # Work that died in a crash is no miscount, and the finding says so; how much of it there is, the machine decides.
        explained = killed and one.law == "utilisation" and "died in a crash" in one.text
        assert one.law not in ("flow", "utilisation") or explained, one.text
    conformance = check_log(run.trace, run.strategy)
    assert conformance.ok, conformance.problems[:5]
    assert conformance.handled > len(rows)


@pytest.mark.parametrize(
    ("strategy", "store", "broker"),
    [(one, "sqlite", "embedded") for one in STRATEGIES] + [(one, "postgres", "nats") for one in ON_SERVERS],
)
@pytest.mark.sample(10)
def test_a_real_run_has_the_outcomes_of_the_simulated_one(strategy: str, store: str, broker: str) -> None:
    """Same seed, same transactions, same refusals: the same outcome for each, by the same machines."""
    scenario = lab(refusal=0.2)
    run = simtx.execute(scenario, strategy, store=store, broker=broker, seed=3)
    simulated = simtx.simulate(scenario, strategy, seed=3)
    assert outcomes(run) == outcomes(simulated)
    assert {"committed"} < set(outcomes(run))
    assert_sound(run)
    assert run.summary.index.tolist() == simulated.summary.index.tolist()
    assert (run.transactions["latency_ms"] > 2).all()


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    ("strategy", "costs"),
    [
        ("2pc", lambda n: (4 * n, 0, 2 * n + 1)),  # Mohan, Lindsay, Obermarck 1986: presumed abort
        ("saga", lambda n: (2 * n, 0, 2 * n + 1)),
        ("tcc", lambda n: (4 * n, 0, 2 * n + 2)),
        ("paxos-commit:faults=0", lambda n: (4 * n, 0, 2 * n + 1)),
        ("paxos-commit:acceptors=nodes", lambda n: (5 * n + 4, 0, 2 * n + 2)),
        ("outbox", lambda n: (0, n - 1, n)),
        ("choreography", lambda n: (0, n - 1, n)),
        ("dual-write", lambda n: (0, n - 1, n)),
    ],
)
@pytest.mark.sample(5)
def test_costs_in_the_real_world_are_the_exact_ones(strategy: str, costs: object, n: int) -> None:
    run = simtx.execute(lab(n, transactions=6), strategy)
    simulated = simtx.simulate(lab(n, transactions=6), strategy)
    expected = costs(n)  # type: ignore[operator]
    for one in (run, simulated):
        columns = one.transactions[["messages", "broker_messages", "forced_writes"]]
        assert {tuple(row) for row in columns.to_numpy().tolist()} == {expected}


@pytest.mark.heavy
def test_an_abort_by_one_of_three_costs_two_forced_writes_and_eight_messages() -> None:
    """Presumed abort, K = 1 of N = 3 refuses: 3N - K messages and N - K forced writes, in a real run too."""
    run = simtx.execute(lab(3, transactions=5, refusal=1.0), "2pc")
    assert set(outcomes(run)) == {"aborted"}
    assert {(m, f) for m, f in zip(run.transactions["messages"], run.transactions["forced_writes"], strict=True)} == {
        (8, 2)
    }


@pytest.mark.parametrize("effect", ["Publish:step-done", "MarkOutbox"])
@pytest.mark.sample(2)
def test_a_trigger_strikes_the_relay_of_its_transaction_for_real_as_in_the_simulation(effect: str) -> None:
    """The process that publishes the event of transaction 5 kills itself there, and the node's other process goes with it, once."""
    trigger = {"transaction": 5, "effect": effect, "when": "after"}
    scenario = lab(faults=[{"kind": "crash", "node": "s0", "duration": "0.2s", "trigger": trigger}])
    assert simtx.simulate(scenario, "outbox").data.counts["faults"] == 1
    run = simtx.execute(scenario, "outbox")
    assert run.data.counts["faults"] == 1
    crashes = [(event.node, event.detail) for event in run.trace if event.kind == "crash"]
    assert sorted(crashes) == [("s0", "s0"), ("s0", "s0.relay")]
    first = next(event.time for event in run.trace if event.kind == "crash")
    assert 5 in {event.tx for event in run.trace if event.kind == "publish" and event.time <= first}
    assert_sound(run)


def crowded(drain: float) -> Scenario:
    """Local transactions of 5 to 45 ms, eight at a time: many of them commit in another order than they began."""
    scenario = lab(transactions=150, rate=150.0, policies={"poll_interval": 0.01})
    changes: dict[str, object] = {"run.drain": f"{drain:g}s"}
    for i in range(2):
        changes[f"services.s{i}.workers"] = 8
        changes[f"services.s{i}.service_time"] = {"distribution": "uniform", "low": "5ms", "high": "45ms"}
    return scenario.replace(**changes)


@pytest.mark.heavy
def test_a_relay_that_looks_behind_the_highest_number_loses_events_for_real_and_on_one_writer_none() -> None:
    """PostgreSQL numbers rows when they are inserted, SQLite when they are committed; the simulation says the same of both."""
    lost = {
        store: simtx.execute(crowded(3.0), CursorOutbox(), store=store).summary.missing_effects
        for store in ("postgres", "sqlite")
    }
    assert lost["postgres"] >= 10
    assert lost["sqlite"] == 0
    order = {f"services.s{i}.store.outbox_order": "commit" for i in range(2)}
    assert simtx.simulate(crowded(3.0), CursorOutbox()).summary.missing_effects >= 10
    assert simtx.simulate(crowded(3.0).replace(**order), CursorOutbox()).summary.missing_effects == 0


@pytest.mark.heavy
@pytest.mark.parametrize("reader", ["marks", "horizon", "lock"])
def test_no_reader_of_ours_loses_an_event_for_real(reader: str) -> None:
    assert_sound(simtx.execute(crowded(30.0), f"outbox:reader={reader}", store="postgres"))


def test_a_coordinator_killed_after_its_decision_goes_on_with_it(tmp_path: Path) -> None:
    """SIGKILL between the forced commit record and COMMIT: the participants in doubt learn the outcome after the restart."""
    point = CrashPoint("commit", tx=5, effect="Append:commit", before=False, downtime=0.3)
    scenario = lab(policies=RESTARTED)
    run = simtx.execute(scenario, "2pc", kills={"coordinator": [point]}, folder=tmp_path / "run")
    assert outcomes(run)[5] == "committed"
    assert_sound(run)
    kinds = Counter(event.kind for event in run.trace)
    assert kinds["crash"] == kinds["restart"] == 1
    assert kinds["recover"] >= 1
    folder = RunFolder.open(tmp_path / "run")
    assert all(not problems for problems in folder.verify_audits().values())
    assert folder.read().status == "finished"


def test_a_coordinator_killed_before_its_decision_has_aborted_when_it_is_back() -> None:
    """By presumption: it has no record, and tells the participants in doubt to roll back. Its client hears nothing."""
    point = CrashPoint("commit", tx=5, effect="Append:commit", before=True, downtime=0.3)
    run = simtx.execute(lab(policies=RESTARTED), "2pc", kills={"coordinator": [point]})
    said = [event for event in run.trace if event.actor == "presumption"]
    back = next(event.time for event in run.trace if event.kind == "restart")
    assert 5 in {event.tx for event in said}  # and others, if the machine is so busy that they overlap with it
    assert {(event.name, event.time) for event in said} == {("aborted", back)}
    assert {outcomes(run)[event.tx] for event in said} == {"aborted"}
    prepared = {event.tx for event in run.trace if event.kind == "prepare"}
    lost = {tx for tx, outcome in enumerate(outcomes(run)) if outcome == "lost"}
    assert not lost & prepared  # a request that died with the coordinator has begun nothing
    assert run.summary.unanswered_share > 0
    assert_sound(run)
    assert simtx.check_log(run.trace, run.strategy).ok


@pytest.mark.parametrize("strategy", ["2pc", "saga", "outbox"])
@pytest.mark.sample(3)
def test_faults_of_the_scenario_are_injected_for_real(strategy: str) -> None:
    """Kills, pauses, lost and copied messages: nothing is lost and nothing is done twice."""
    node = "s0" if strategy == "outbox" else "hub"
    faults = [
        {"kind": "crash", "node": node, "at": "0.3s", "duration": "0.2s"},
        {"kind": "crash", "node": "s1", "at": "0.7s", "duration": "0.2s"},
        {"kind": "pause", "node": "s0", "at": "1.2s", "duration": "0.3s"},
        {"kind": "loss", "probability": 0.2, "at": "0.2s", "duration": "1.5s"},
        {"kind": "duplication", "probability": 0.3, "at": "0.2s", "duration": "1.5s"},
        {"kind": "partition", "a": ["s1"], "at": "1.0s", "duration": "0.3s"},
    ]
    if strategy == "outbox":
        faults.append({"kind": "broker-outage", "at": "0.5s", "duration": "0.3s"})
    # What gets lost between a service and the broker comes again soon, and not behind the end of the run.
    run = simtx.execute(lab(transactions=40, faults=faults, broker={"redelivery": 0.5}), strategy)
    kinds = Counter(event.kind for event in run.trace)
    assert kinds["fault"] == len(faults)
    assert kinds["crash"] == kinds["restart"] == (5 if strategy == "outbox" else 2)  # a relay dies with its service
    assert_sound(run)


def test_the_network_of_the_scenario_can_be_imitated() -> None:
    """Two one-way delays of 30 ms each way lie between the request and the answer of a 2PC transaction: PREPARE and YES."""
    scenario = lab(transactions=8, network={"latency": 0.03})
    run = simtx.execute(scenario, "2pc", network="scenario")
    assert run.transactions["latency_ms"].min() >= 62  # what more it is, the machine decides


def test_the_disk_of_the_scenario_can_be_imitated() -> None:
    """Two-phase commit answers after two forced writes, one after the other: the participants' at the same time, and the coordinator's."""
    disks = {f"services.s{index}.store.log.forced_write": "30ms" for index in range(2)}
    scenario = lab(2, transactions=8).replace(**disks, **{"hub.log.forced_write": "50ms"})
    run = simtx.execute(scenario, "2pc", disk="scenario")
    assert run.transactions["latency_ms"].min() >= 80  # what more it is, the machine decides
    assert run.provenance.settings["disk"] == "scenario"
    assert_sound(run)


def test_users_of_a_closed_workload_wait_for_their_answers() -> None:
    scenario = lab(workload={"kind": "closed", "users": 2, "think_time": 0.01}, transactions=30)
    run = simtx.execute(scenario, "saga")
    assert len(run.transactions) == 30
    begins = run.transactions["arrival_s"].to_numpy()
    ends = begins + run.transactions["latency_ms"].to_numpy() / 1e3
    assert all(sum(begins[: i + 1] <= t) - sum(ends < t) <= 2 for i, t in enumerate(begins))
    assert_sound(run)


class Patient(Saga):
    """A strategy of a user's own, defined outside of the package."""

    name = "patient"


def test_a_strategy_of_your_own_is_executed_like_ours() -> None:
    run = simtx.execute(lab(transactions=5), Patient(policies=Policies(call_timeout=3.0)))
    assert set(outcomes(run)) == {"committed"}
    assert run.strategy.name == "patient"


@pytest.mark.heavy
def test_transactions_of_a_seed_are_the_same_in_both_worlds() -> None:
    scenario = lab(transactions=10)
    real = [e.detail for e in simtx.execute(scenario, TwoPhaseCommit(), seed=7).trace if e.kind == "arrive"]
    simulated = [e.detail for e in simtx.simulate(scenario, "2pc", seed=7).trace if e.kind == "arrive"]
    assert real == simulated


@pytest.mark.heavy
def test_a_rolling_upgrade_with_mixed_versions_in_flight_loses_nothing() -> None:
    """Old and new versions side by side: what an old consumer cannot read stops its lane, unread, until the consumer is upgraded."""
    for slower in (1.0, 4.0, 16.0):  # if the machine is so busy that hardly anybody comes between the two upgrades
        run = simtx.execute(
            lab(transactions=100, rate=14.0 / slower, refusal=0.2, broker={"redelivery": 0.5}),
            "outbox",
            speaks={"s0": "1.0", "s1": "1.0"},
            upgrades=[(0.5, "s0", "2.0"), (6.0 * slower, "s1", "2.0")],
        )
        assert_sound(run)
        stopped = [event for event in run.trace if event.kind == "stop"]
        assert all("version 2.0" in event.detail for event in stopped)
        unanswered = run.transactions["answer"] == ""  # a client cannot reach a node that is being replaced
        assert "lost" not in set(run.transactions["outcome"][~unanswered])
        if len(stopped) >= 3 and (~unanswered).sum() >= 25:
            break
    assert {"committed", "compensated"} <= set(outcomes(run))
    assert len(stopped) >= 3  # the new version met an old consumer
    assert (~unanswered).sum() >= 25


@pytest.mark.parametrize("broker", ["embedded", "nats"])
def test_poison_is_the_same_in_a_real_run_and_becomes_dead_letters(broker: str) -> None:
    """The same events as in the simulation, and as often; the simulated run counts what its replay counts."""
    more = {"kind": "jetstream-workqueue", "poison": 0.1, "nack": True, "delivery_limit": 3, "redelivery": 120.0}
    scenario = lab(3, transactions=30, rate=60.0, broker=more)
    run = simtx.execute(scenario, "outbox", broker=broker)
    simulated = simtx.simulate(scenario, "outbox", trace=True)

    def dead(trace: simtx.EventLog) -> set[tuple[int, str]]:
        return {(event.tx, event.peer) for event in trace if event.kind == "drop" and event.detail == "dead letter"}

    assert dead(run.trace) == dead(simulated.trace) != set()
    for name in ("dead_letters", "failed_deliveries", "redeliveries"):
        assert run.summary[name] == simulated.summary[name] > 0
    assert any("dead letter" in line for line in run.warnings)


def test_a_log_with_partitions_is_played_for_real() -> None:
    """All is done once, and what is poison holds up no more than its partition."""
    more = {"kind": "kafka", "commit_every": 0.1, "poison": 0.02}
    for drain in (2.0, 20.0, 120.0):  # a busy machine needs more for what is behind no poison
        scenario = lab(transactions=40, rate=80.0, broker=more, run={"transactions": 40, "drain": drain})
        simulated = simtx.simulate(scenario, "outbox")
        run = simtx.execute(scenario, "outbox")
        assert run.summary.duplicate_effects == 0
        if run.summary.committed_share > 0.5 and set(outcomes(run)) == set(outcomes(simulated)):
            break
    assert run.summary.committed_share > 0.5
    assert set(outcomes(run)) == set(outcomes(simulated))
    assert run.summary.index.tolist() == simulated.summary.index.tolist()
    assert run.summary.stored_again == simulated.summary.stored_again == 0
    stuck = {event.tx for event in run.trace if event.kind == "refuse" and event.detail == "poison"}
    assert run.summary.partition_lag_max >= (2 if stuck else 1)


def test_poison_is_handled_for_real_once_a_fixed_consumer_is_there() -> None:
    more = {"partitions": 2, "nack": True, "nack_delay": 0.05, "poison_transactions": [3]}
    for until in (1.0, 5.0, 25.0):  # later, if the machine is so busy that hardly anything is tried before
        run = simtx.execute(lab(transactions=20, rate=40.0, broker={**more, "poison_until": until}), "outbox")
        assert set(outcomes(run)) == {"committed"}
        failed = [event.time for event in run.trace if event.kind == "refuse" and event.detail == "poison"]
        if len(failed) > 2:
            break
    assert len(failed) == run.summary.failed_deliveries > 2
    assert run.summary.missing_effects == run.summary.dead_letters == 0


def test_a_rolling_upgrade_of_the_scenario_is_played_for_real() -> None:
    """An old consumer takes what it cannot read for a dead letter, if the scenario says so: in a real run as in a simulated one."""
    upgrades = [{"node": "s0", "at": 0.6, "to": "2.0"}]
    events = {"version": "1.0", "unread": "dead-letter"}
    for rate in (15.0, 3.0, 0.6):  # slower, if the machine is so busy that hardly anybody comes behind the upgrade
        scenario = lab(transactions=30, rate=rate, events=events, upgrades=upgrades)
        run, simulated = simtx.execute(scenario, "outbox"), simtx.simulate(scenario, "outbox")
        if run.summary.dead_letters > 5:
            break
    for one in (run, simulated):
        assert one.summary.dead_letters > 5
        assert one.summary.committed_share < 1
        assert one.summary.duplicate_effects == 0


def test_nats_refuses_to_be_another_broker() -> None:
    with pytest.raises(simtx.ScenarioError, match="NATS cannot play a broker of the kind 'kafka'"):
        simtx.execute(lab(broker={"kind": "kafka"}), "outbox", broker="nats")


def test_a_version_that_nobody_knows_is_refused_before_anything_starts() -> None:
    with pytest.raises(simtx.ScenarioError, match=r"version '7\.0'"):
        simtx.execute(lab(), "outbox", speaks={"s0": "7.0"})


def test_an_outage_of_what_is_not_ours_is_refused_before_anything_starts() -> None:
    scenario = lab(faults=[{"kind": "store-outage", "node": "s0", "at": "0.2s", "duration": "0.2s"}])
    with pytest.raises(simtx.ScenarioError, match=r"faults\[0\]: a store outage needs databases of our own"):
        simtx.execute(scenario, "saga")


def test_a_database_that_stops_answering_for_a_while_costs_time_and_nothing_else() -> None:
    faults = [{"kind": "store-outage", "node": "s0", "at": "0.3s", "duration": "0.5s"}]
    run = simtx.execute(lab(faults=faults, policies=PATIENT), "saga", store="postgres")
    assert set(outcomes(run)) == {"committed"}
    assert_sound(run)
    assert run.transactions["latency_ms"].max() > 200


@pytest.mark.heavy
def test_a_killed_leader_leaves_nobody_in_doubt_for_real() -> None:
    """The process of the leader is killed for twenty seconds before it has accepted; the participants end the transaction without it, with a commit."""
    trigger = {"transaction": 5, "effect": "Append", "when": "before"}
    fault = {"kind": "crash", "node": "hub", "duration": "20s", "trigger": trigger}
    scenario = lab(3, faults=[fault], policies={"inquiry_timeout": "200ms", "vote_timeout": "3s"})
    run = simtx.execute(scenario, "paxos-commit", seed=3)
    assert_sound(run)
    assert outcomes(run)[5] == "committed"
    restarted = next(entry.time for entry in run.trace if entry.kind == "restart")
    ended = [entry.time for entry in run.trace if entry.tx == 5 and entry.kind == "commit"]
    assert len(ended) == 3
    assert max(ended) < restarted
