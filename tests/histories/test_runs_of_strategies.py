"""The isolation of runs: what a strategy promises is kept, what it does not promise is seen to be missing, and a store that cheats is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.event_log.log import EventLog
from simtx.histories import RunHistory, from_trace
from simtx.metrics.run import Run
from simtx.scenario import Scenario
from simtx.scenario.distributions import Exponential
from simtx.simulator.store import Store
from simtx.simulator.work import Work
from tests.simulator.worlds import STRATEGIES, chain

BEFORE = "2pc:work=before"
EVERY = [BEFORE, *(one.name for one in STRATEGIES)]


def contended(
    isolation: str = "serializable",
    *,
    transactions: int = 150,
    rate: float = 40.0,
    lag: float | None = None,
    **tables: Any,
) -> Scenario:
    """Two services with three rows of each kind; every transaction reads one row and changes two others in each of them.

    Some are refused in the last step, so that a saga has to undo what others have seen.
    """

    def step(name: str, service: str, read: str, write: str, refusal: float) -> dict[str, Any]:
        return {
            "name": name,
            "service": service,
            "operations": [
                {"key": f"a:{{{read}}}", "kind": "read"},
                {"key": f"a:{{{write}}}", "amount": 1},
                {"key": f"last:{{{read}}}", "kind": "set", "parameter": "number"},
            ],
            "compensation": [{"key": f"a:{{{write}}}", "amount": -1}],
            "refusal": refusal,
        }

    delayed = {} if lag is None else {"replica_lag": lag}
    return chain(
        2,
        delay=Exponential(0.004),
        write=Exponential(0.003),
        lock_timeout=0.3,
        transaction={
            "parameters": {
                "one": {"population": 3},
                "two": {"population": 3},
                "number": {"values": {"distribution": "uniform", "low": 1, "high": 1e6}},
            },
            "steps": [step("first", "s0", "one", "two", 0.0), step("second", "s1", "two", "one", 0.2)],
        },
        services={"s0": {"store": {"isolation": isolation, **delayed}}, "s1": {"store": {"isolation": isolation}}},
        workload={"kind": "poisson", "rate": rate},
        transactions=transactions,
        **tables,
    )


FAULTS: dict[str, Any] = {
    "rate": 10.0,
    "transactions": 300,
    "faults": [
        {"kind": "crash", "node": "s1", "at": 7.0, "duration": 0.3},
        {"kind": "crash", "node": "hub", "at": 15.0, "duration": 0.3},
    ],
    "network": {"loss": 0.005, "duplication": 0.02, "reorder": 0.05},
}


def play(scenario: Scenario, strategy: str, seed: int = 1) -> Run:
    return simtx.simulate(scenario, strategy, seed=seed, trace=True)


def committed(history: RunHistory) -> int:
    return sum(entry["status"] == "ok" for entry in history)


# --- what is promised ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tables", [{}, FAULTS], ids=["calm", "faults"])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.sample(3)
def test_two_phase_commit_with_locks_through_its_execution_is_strictly_serializable(
    seed: int, tables: dict[str, Any]
) -> None:
    run = play(contended(**tables), BEFORE, seed)
    report = simtx.check_history(run, "strict-serializable")
    assert (report.valid, report.notes) == (True, ())
    history = from_trace(run)
    assert committed(history) > 100
    assert min(len(history.version_order[f"s{at}/a:{row}"]) for at in (0, 1) for row in (0, 1, 2)) > 5
    assert run.summary.lock_wait_mean_ms > 1


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.sample(3)
def test_every_store_is_strictly_serializable_by_itself(strategy: str) -> None:
    """Whatever the strategy: a local transaction holds its locks until it is durable."""
    run = play(contended(**FAULTS), strategy)
    report = simtx.check_history(run, "strict-serializable", transactions="local")
    assert (report.valid, report.notes) == (True, ())
    assert report.counts["ok"] > 100


# --- what is not ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["saga", "outbox", "dual-write"])
def test_sagas_are_not_isolated(strategy: str) -> None:
    """Others see what is later undone, and come between two steps; each finding is told edge by edge."""
    report = simtx.check_history(play(contended(), strategy))
    assert report.valid is False
    assert {"G1a", "G0"} <= report.anomalies
    cycle = report.finding("G0")
    assert cycle is not None
    assert cycle.is_cycle
    assert len(cycle.steps) == 2, "a minimal cycle has two edges"
    for step in cycle.steps:
        assert step.sentence.startswith(f"{step.source} comes before {step.target}: {step.source} wrote s")
    dirty = report.finding("G1a")
    assert dirty is not None
    assert dirty.steps[0].sentence.endswith("failed.")


def test_one_saga_after_the_other_is_isolated() -> None:
    """With a refusal in every fifth: what was undone before a transaction begins does not count against it."""
    run = play(contended(rate=0.5, transactions=60), "saga")
    history = from_trace(run)
    assert 5 < committed(history) < 58
    assert simtx.check_history(run, "strict-serializable").valid is True


def test_an_outbox_one_after_the_other_is_isolated_as_soon_as_it_is_through() -> None:
    """Its client hears `accepted` long before; that is not what a later transaction is measured against."""
    run = play(contended(rate=0.2, transactions=40), "outbox")
    assert simtx.check_history(run, "strict-serializable").valid is True


def test_reads_that_take_no_locks_show_in_two_phase_commit() -> None:
    """Read committed: atomic all the same, but not serializable; the stores by themselves are read committed, and no more."""
    runs = [play(contended("read-committed", rate=80.0, transactions=400), BEFORE, seed) for seed in (1, 2)]
    found = set().union(*(simtx.check_history(run).anomalies for run in runs))
    assert found
    assert all(name.startswith(("G-", "G2")) for name in found), found
    for run in runs:
        assert simtx.check_history(run, "read-committed").valid is True
        assert simtx.check_history(run, "read-committed", transactions="local").valid is True


def test_a_replica_that_lags_is_found_in_its_store() -> None:
    """Its reads are old: in real time at once, and without a clock where two rows are read or one is read and written."""
    scenario = contended(lag=0.2)
    report = simtx.check_history(play(scenario, "saga"), "strict-serializable", transactions="local")
    assert any(name.startswith("G-single-item") for name in report.anomalies)
    finding = report.finding()
    assert finding is not None
    assert all(step.key is None or str(step.key).startswith("s0/") for step in finding.steps)


@pytest.mark.parametrize("lag", [None, 0.2], ids=["store", "replica"])
@pytest.mark.parametrize("strategy", [BEFORE, "2pc", "saga"])
def test_the_number_of_a_version_is_that_of_the_value_that_was_read(strategy: str, lag: float | None) -> None:
    """Also on a replica, which is behind; and every local transaction that has to read has read."""
    run = play(contended(lag=lag), strategy)
    values: dict[tuple[str, str], list[float]] = {}
    found = [(event, json.loads(event.detail)) for event in run.trace if event.kind in ("apply", "query")]
    for event, detail in found:
        for key, (old, new) in detail["values"].items():
            values.setdefault((event.node, key), [old]).append(new)
    behind = 0
    changed: dict[tuple[str, str], int] = {}
    for event, detail in found:
        for key, value, version in detail["reads"]:
            assert values.get((event.node, key), [0])[version] == value
            behind += version < changed.get((event.node, key), 0)
        for key in detail["values"]:
            changed[event.node, key] = changed.get((event.node, key), 0) + 1
        added = {key for key in detail["values"] if key.startswith("a:")}
        assert added <= {key for key, _, _ in detail["reads"]}
        assert event.name != "action" or len(detail["reads"]) == 2
    assert (behind > 0) is (lag is not None)


def entries(strategy: str, write: float, *, refuse: bool = False) -> list[tuple[str, str, str, list[str]]]:
    """What one transaction of four steps writes down: two on one store, one that only reads, one with a guard."""
    steps: list[dict[str, Any]] = [
        {"name": "one", "service": "s0", "operations": [{"key": "p", "kind": "read"}, {"key": "q", "amount": 1}]},
        {"name": "two", "service": "s0", "operations": [{"key": "q", "amount": 1}, {"key": "r", "kind": "read"}]},
        {"name": "three", "service": "s1", "operations": [{"key": "u", "kind": "read"}, {"key": "u", "kind": "read"}]},
        {"name": "four", "service": "s2", "operations": [{"key": "v", "amount": 1, "high": 0 if refuse else 9}]},
    ]
    for step in steps:
        undone = [
            {**operation, "amount": -1, "high": None} for operation in step["operations"] if "amount" in operation
        ]
        step["compensation"] = [{name: v for name, v in one.items() if v is not None} for one in undone]
    run = play(chain(3, write=write, transactions=1, transaction={"steps": steps}), strategy)
    found = [event for event in run.trace if event.kind in ("apply", "query")]
    reads = [[key for key, _, _ in json.loads(event.detail)["reads"]] for event in found]
    return [(event.kind, event.node, event.name, keys) for event, keys in zip(found, reads, strict=True)]


@pytest.mark.parametrize("write", [0.0, 0.002])
@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (
            BEFORE,
            [("query", "s1", "action", ["u", "u"]), ("apply", "s0", "action", ["p", "q", "r"]), ("apply", "s2", "action", ["v"])],
        ),
        (
            "2pc",
            [("query", "s1", "action", ["u", "u"]), ("apply", "s0", "action", ["p", "q", "r"]), ("apply", "s2", "action", ["v"])],
        ),
        (
            "saga",
            [
                ("apply", "s0", "action", ["p", "q"]),
                ("apply", "s0", "action", ["q", "r"]),
                ("query", "s1", "action", ["u", "u"]),
                ("apply", "s2", "action", ["v"]),
            ],
        ),
    ],
)  # fmt: skip
def test_everything_that_a_local_transaction_read_is_written_down_when_it_ends(
    strategy: str, wanted: list[tuple[str, str, str, list[str]]], write: float
) -> None:
    """A branch with its steps together and once; what it changed itself is not read from the store again."""
    assert entries(strategy, write) == wanted


@pytest.mark.parametrize("write", [0.0, 0.002])
def test_a_refusal_has_read_as_well(write: float) -> None:
    """And so have compensations."""
    found = entries("saga", write, refuse=True)
    assert ("query", "s2", "refused", ["v"]) in found
    assert found.count(("apply", "s0", "compensation", ["q"])) == 2
    assert entries("2pc", write, refuse=True)[-1] == ("query", "s2", "refused", ["v"])


# --- stores that cheat ------------------------------------------------------------------------------------------------------------------


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "_lockable", lambda _self, _work: [])


def without_read_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Store._lockable

    def lockable(self: Store, work: Work) -> list[str]:
        reads = {operation.key for operation in work.operations if operation.kind == "read"}
        writes = {operation.key for operation in work.operations if operation.kind != "read"}
        return [key for key in before(self, work) if key not in reads - writes]

    monkeypatch.setattr(Store, "_lockable", lockable)


def with_old_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then a read returns what was there at the beginning, and does not know the version."""
    before = Store.read
    asked: list[str] = []

    def read(self: Store, key: str) -> float:
        asked.append(key)
        return self.first(key) if len(asked) % 50 == 0 else before(self, key)

    monkeypatch.setattr(Store, "read", read)


@pytest.mark.parametrize(
    ("cheat", "anomalies"),
    [
        (without_locks, {"lost-update"}),
        (without_read_locks, {"G2-item", "G-single-item", "G-nonadjacent-item"}),
        (with_old_reads, {"G-single-item", "G2-item"}),
    ],
    ids=["no locks", "no read locks", "old reads"],
)
def test_a_store_that_is_not_what_it_says_is_found_out(
    monkeypatch: pytest.MonkeyPatch, cheat: Callable[[pytest.MonkeyPatch], None], anomalies: set[str]
) -> None:
    """What was read is what the store returned, not what it should have."""
    cheat(monkeypatch)
    run = play(contended(rate=80.0, transactions=300), "saga")
    report = simtx.check_history(run, transactions="local")
    assert report.anomalies & anomalies, report.explain()


# --- the real thing ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [BEFORE, "saga"])
@pytest.mark.sample(2)
def test_a_real_run_is_checked_as_a_simulated_one_is(strategy: str) -> None:
    """Processes, files and sockets: the stores are strictly serializable, and so is two-phase commit; a saga is not isolated."""
    for rate in (60.0, 20.0, 5.0):  # slower, if the machine is so busy that nearly all of them wait for locks in vain
        scenario = contended(rate=rate, transactions=150)
        scenario = scenario.replace(**{"services.s0.workers": 8, "services.s1.workers": 8})
        run = simtx.execute(scenario, strategy)
        stores = simtx.check_history(run, "strict-serializable", transactions="local")
        assert (stores.valid, stores.notes) == (True, ())
        if stores.counts["ok"] > 50 and committed(from_trace(run)) > 20:
            break
    assert stores.counts["ok"] > 50
    report = simtx.check_history(run, "strict-serializable")
    if strategy == BEFORE:
        assert (report.valid, report.notes) == (True, ())
        assert committed(from_trace(run)) > 20
    else:
        assert "G1a" in report.anomalies


# --- runs, logs and files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", EVERY)
def test_without_the_numbers_of_versions_nothing_else_comes_out_than_less(strategy: str) -> None:
    """A database that gives values only: no verdict turns round, and no anomaly is found that is not there."""
    run = play(contended(), strategy)
    plain = []
    for event in run.trace:
        detail = event.detail
        if event.kind in ("apply", "query"):
            known = json.loads(detail)
            detail = json.dumps({**known, "reads": [[key, value] for key, value, _ in known["reads"]]})
        plain.append(event._replace(detail=detail))
    for transactions in ("business", "local"):
        with_numbers = simtx.check_history(run, transactions=transactions)
        with_values = simtx.check_history(EventLog(plain), transactions=transactions)
        assert with_values.valid in (with_numbers.valid, None)
        assert (from_trace(EventLog(plain), transactions).ambiguous > 0) is (not strategy.startswith("2pc"))


def test_a_run_its_log_and_its_file_are_the_same_history(tmp_path: Path) -> None:
    run = play(contended(), "saga")
    path = tmp_path / "log.jsonl"
    run.trace.save(path)
    told = simtx.check_history(run).explain()
    assert simtx.check_history(run.trace).explain() == told
    assert simtx.check_history(path).explain() == told
    assert simtx.check_history(str(path), transactions="local").counts["ok"] > run.data.columns["tx"][-1]


def test_the_history_of_a_run_is_one_in_the_documented_form(tmp_path: Path) -> None:
    """It can be written down as JSON and be checked like anybody's, with the order of versions granted or inferred."""
    history = from_trace(play(contended(), BEFORE))
    path = tmp_path / "history.json"
    path.write_text(json.dumps(history))
    assert simtx.check_history(path, assume={"version_order": history.version_order}).valid is True
    assert simtx.check_history(path, assume=["wfr_keys"]).valid is not False
    assert simtx.check_history(json.loads(path.read_text())).granted == ()


def test_every_transaction_that_arrived_is_in_the_history() -> None:
    run = play(contended(**FAULTS), "saga")
    history = from_trace(run)
    status = {"committed": "ok", "compensated": "fail", "aborted": "fail"}
    wanted = {f"t{row.tx}": status.get(row.outcome, "info") for row in run.transactions.itertuples()}
    assert {entry["id"]: entry["status"] for entry in history} == wanted


def test_recording_what_was_read_changes_nothing() -> None:
    """The digest is that of the same run without an event log."""
    scenario = contended(**FAULTS)
    for strategy in EVERY:
        assert play(scenario, strategy).digest == simtx.simulate(scenario, strategy).digest
