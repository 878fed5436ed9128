"""An operator's acts on real runs: what is stuck, in doubt or orphaned is found and resolved, and every act is in the audit log."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import simtx
from simtx.errors import ProtocolViolation, RunFailed, ScenarioError
from simtx.metrics.run import Run
from simtx.protocols import Machine, Operation, Plan, Request, Saga, Strategy, Transact
from simtx.protocols.contract import Effect
from simtx.protocols.names import ORCHESTRATOR as HUB
from simtx.protocols.saga import Orchestrator
from simtx.protocols.saga_participant import Participant
from simtx.reference import operate
from simtx.reference.node.crash_points import CrashPoint
from simtx.reference.node.inspection import waiting
from simtx.reference.operate import Act, OpenTransaction
from simtx.reference.operating.request import OperateError
from simtx.reference.run_folder.audit import AuditError, Entry, read
from simtx.reference.run_folder.folder import RunFolder, RunFolderError
from simtx.reference.stores import StoreDamaged, open_store
from simtx.reference.stores.postgres.branches import branch_name
from simtx.reference.stores.postgres.schema import schema_name
from simtx.reference.stores.postgres.server import PostgresServer
from simtx.scenario import Scenario, from_dict

# strategies of our own, and PostgreSQL's data, are programs
intervene = functools.partial(operate.intervene, trust=True, patience=180.0)
list_transactions = functools.partial(operate.list_transactions, trust=True)

COORDINATOR = "coordinator"
LIMIT = 101  # of what has to be on an account after something was taken back from it


def lab(*, transactions: int = 1, refusal: float = 0.0, drain: float = 1.0, **policies: Any) -> Scenario:
    """Two services; the first gives 1 to the account of the transaction, the second takes 1; both accounts begin with 100."""
    steps = [
        {
            "name": "give",
            "service": "giver",
            "operations": [{"key": "k:{tx}", "amount": 1}],
            "compensation": [{"key": "k:{tx}", "amount": -1}],
        },
        {
            "name": "take",
            "service": "taker",
            "kind": "pivot",
            "operations": [{"key": "k:{tx}", "amount": -1}],
            "refusal": refusal,
        },
    ]
    service = {"service_time": 0.001, "store": {"initial": {"k:*": 100}}}
    raw = {
        "services": {"giver": service, "taker": service},
        "transaction": {"name": "gift", "steps": steps},
        "workload": {"kind": "deterministic", "rate": 50},
        "run": {"transactions": transactions, "drain": drain},
        "policies": {
            "call_timeout": 20.0,
            "vote_timeout": 60.0,
            "acknowledgement_timeout": 20.0,
            "idle_timeout": 60.0,
            "inquiry_timeout": 0.2,
            "poll_interval": 0.02,
            **policies,
        },
    }
    return from_dict(raw, name="lab")


class ClosedAccounts(Orchestrator):
    """What was given can only be taken back from an account that then still has `LIMIT`: a compensation that may be refused."""

    __slots__ = ()

    def _begin(self, request: Request) -> list[Effect]:
        assert request.plan is not None
        steps = tuple(
            replace(step, compensation=tuple(replace(one, low=LIMIT) for one in step.compensation))
            for step in request.plan.steps
        )
        return super()._begin(Request(request.tx, Plan(request.tx, steps)))


class CarelessSaga(Saga):
    """A saga whose author forgot that compensations must not be refused."""

    def machine(self, node: str, tx: int) -> Machine:
        return ClosedAccounts(node, tx, self) if node == HUB else super().machine(node, tx)


def played(
    folder: Path, strategy: str | Strategy, reached: Callable[[Run], bool], *, kills: Any = None, **options: Any
) -> Run:
    """Play a run that ends in the middle of something, in a state that a busy machine reaches later: it then has more time."""
    execution = {name: options.pop(name) for name in ("broker", "speaks") if name in options}
    for drain in (1.0, 10.0, 60.0):
        run = simtx.execute(lab(drain=drain, **options), strategy, folder=folder, kills=kills, **execution)
        if reached(run):
            return run
        shutil.rmtree(folder)
    raise AssertionError("the run does not come to where it should end")


def crashed(run: Run) -> bool:
    """Somebody was killed, after which nobody does anything any more."""
    return any(entry.kind == "crash" for entry in run.trace)


def stuck_saga(folder: Path, transactions: int = 1, **options: Any) -> None:
    """Play sagas that are refused and cannot be compensated."""
    options |= {"transactions": transactions, "refusal": 1.0, "compensation_attempts": 2}
    played(folder, CarelessSaga(), lambda run: bool(run.summary.stuck_count == transactions), **options)


def in_doubt(folder: Path, **options: Any) -> None:
    """Play a two-phase commit whose coordinator dies when its decision is on disk and nobody has heard of it, and stays away."""
    kills = {COORDINATOR: [CrashPoint("away", effect="Decided:committed", downtime=1000.0)]}
    run = played(folder, "2pc", crashed, kills=kills, **options)
    assert run.summary.in_flight_count == 1


def give(folder: Path, node: str, key: str, amount: float) -> None:
    """Change the data of a node that is not running, as its owner could."""
    with opened(folder, node) as store:
        assert store.transact(10**6, Transact("t", (Operation(key, "add", amount),))).status == "done"


class opened:  # noqa: N801 - a context manager
    """The store of a node that is not running."""

    def __init__(self, folder: Path, node: str) -> None:
        config = json.loads((folder / "nodes" / node / "config.json").read_text())
        self.store = open_store(config["store"])

    def __enter__(self) -> Any:
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


def value(folder: Path, node: str, key: str) -> float:
    with opened(folder, node) as store:
        found: float = store.values().get(key, 100)
        return found


def problems(rows: list[OpenTransaction]) -> list[tuple[int, str, str]]:
    return [(row.transaction, row.node, row.problem) for row in rows]


def acts(entries: list[Entry], who: str) -> list[tuple[str, str, str]]:
    return [(entry.act, entry.name, entry.reason) for entry in entries if entry.actor == who]


def audit(folder: Path, node: str) -> list[Entry]:
    return read(RunFolder(folder).audit(node))


def assert_verified(folder: Path) -> None:
    """The chains hold, and the seals in ``run.json`` are those of the ends, the operator's lines included."""
    run = RunFolder(folder)
    assert run.verify_audits() == {}
    seals = run.read().audit
    assert seals
    assert {node: seal[0] for node, seal in seals.items()} == {node: len(audit(folder, node)) for node in seals}


# --- sagas ----------------------------------------------------------------------------------------------------------------------


def test_a_stuck_saga_is_listed_and_retried_when_the_cause_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stuck_saga(folder)
    (row,) = list_transactions(folder)
    assert (row.transaction, row.node, row.problem, row.role) == (0, HUB, "stuck", "orchestrator")
    assert row.reason == "transaction 0: step 'give' on giver: its compensation was given up after 2 attempts"
    assert row.records == ("begin", "done 0", "refused 1")
    assert 0 < row.age_s < 60
    assert value(folder, "giver", "k:0") == 101

    again = intervene(folder, 0, "retry", reason="let us see", operator="ann")  # the cause is still there
    assert not again.settled
    assert problems(again.left) == [(0, HUB, "stuck")]

    give(folder, "giver", "k:0", 5)
    act = intervene(folder, 0, "retry", reason="the account has\nmoney again", operator="ann")
    assert act.settled
    assert act.left == []
    assert list_transactions(folder) == []
    assert value(folder, "giver", "k:0") == 105
    assert value(folder, "taker", "k:0") == 100
    asked = "the account has money again"
    assert acts(act.lines, "operator:ann") == [("request", "retry", asked), ("retry", "restart", asked)]
    undone = [entry for entry in act.lines if entry.act == "compensate"]
    assert [(entry.node, dict(entry.changes)) for entry in undone] == [("giver", {"k:0": (106, 105)})]
    assert_verified(folder)


def test_a_step_is_skipped_and_a_saga_resolved_by_hand(tmp_path: Path) -> None:
    """After a restart the saga tries by itself first; the operator's decision counts when it is stuck again."""
    folder = tmp_path / "run"
    stuck_saga(folder, transactions=2)
    assert problems(list_transactions(folder)) == [(0, HUB, "stuck"), (1, HUB, "stuck")]
    skipped = intervene(folder, 0, "skip", reason="forgiven", operator="ann")
    assert skipped.settled
    assert acts(skipped.lines, "operator:ann") == [
        ("request", "skip", "forgiven"),
        ("skip", "stuck -> aborted", "forgiven"),
    ]
    resolved = intervene(folder, 1, "resolve", reason="booked by hand", operator="bob", node=HUB)
    assert resolved.settled
    assert acts(resolved.lines, "operator:bob")[1:] == [("resolve", "stuck -> aborted", "booked by hand")]
    assert list_transactions(folder) == []
    assert value(folder, "giver", "k:0") == 101  # nobody has taken it back
    assert_verified(folder)


# --- two-phase commit -----------------------------------------------------------------------------------------------------------


def test_a_branch_in_doubt_is_listed_with_its_locks_and_resolved_by_starting_the_nodes_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    in_doubt(folder)
    rows = list_transactions(folder)
    assert problems(rows) == [(0, "giver", "in doubt"), (0, "taker", "in doubt"), (0, COORDINATOR, "in flight")]
    assert {row.locked for row in rows[:2]} == {("k:0",)}
    assert rows[0].reason == "'coordinator' is committing and has recorded 'commit giver taker'"
    assert rows[0].age_s >= 1  # it was prepared before the run was drained
    assert list_transactions(folder)[0].branch == rows[0].branch  # a look changes nothing
    act = intervene(folder, 0, "retry", reason="the coordinator is back", operator="ann")
    assert act.settled
    assert [entry.node for entry in act.lines if entry.act == "commit"] in (["giver", "taker"], ["taker", "giver"])
    assert (value(folder, "giver", "k:0"), value(folder, "taker", "k:0")) == (101, 99)
    assert list_transactions(folder) == []
    assert_verified(folder)


@pytest.mark.slow
def test_a_commit_that_its_coordinator_has_forgotten_is_presumed_and_no_damage(tmp_path: Path) -> None:
    """Under presumed commit the coordinator keeps no record until all have committed."""
    folder = tmp_path / "run"
    kills = {"giver": [CrashPoint("away", effect="Commit", downtime=1000.0)]}
    played(folder, "2pc:presumption=commit", lambda _: len(list_transactions(folder)) == 1, kills=kills)
    (row,) = list_transactions(folder)
    assert (row.node, row.problem) == ("giver", "in doubt")
    assert row.reason == f"'{COORDINATOR}' has no record of it: commit will be presumed"
    act = intervene(folder, 0, "retry", reason="the power is back", operator="ann")
    assert act.settled
    assert (value(folder, "giver", "k:0"), value(folder, "taker", "k:0")) == (101, 99)
    assert list_transactions(folder) == []
    assert_verified(folder)


@pytest.mark.slow
def test_a_coordinator_that_would_presume_a_commit_on_which_it_has_not_decided_is_damaged(tmp_path: Path) -> None:
    """Under presumed commit it has a record of every transaction that may still be aborted: without one its store is an old copy."""
    folder = tmp_path / "run"
    kills = {COORDINATOR: [CrashPoint("away", effect="Append:commit", downtime=1000.0)]}
    played(folder, "2pc:presumption=commit", crashed, kills=kills)
    rows = [row for row in list_transactions(folder) if row.node != COORDINATOR]
    assert problems(rows) == [(0, "giver", "in doubt"), (0, "taker", "in doubt")]
    assert rows[0].reason.endswith("and has recorded 'collecting giver taker'")
    with contextlib.closing(sqlite3.connect(RunFolder(folder).store(COORDINATOR))) as db, db:
        db.execute("DELETE FROM log")
    damaged, *doubted = list_transactions(folder)
    assert (damaged.node, damaged.problem) == (COORDINATOR, "damaged")
    assert "its store has no record of it, so that it would presume a commit" in damaged.reason
    assert {row.reason for row in doubted} == {f"'{COORDINATOR}' is damaged"}
    with pytest.raises(StoreDamaged, match="nothing was done"):
        intervene(folder, 0, "retry", reason="the power is back")


@pytest.mark.parametrize("outcome", ["abort", "commit"])
@pytest.mark.sample(2)
def test_a_heuristic_decision_is_remembered_until_the_coordinators_comes(tmp_path: Path, outcome: str) -> None:
    folder = tmp_path / "run"
    in_doubt(folder)
    wish: dict[str, Any] = {"reason": "the shop opens at nine", "operator": "ann", "outcome": outcome}
    with pytest.raises(OperateError, match="at several nodes: say which of giver, taker with --node"):
        intervene(folder, 0, "resolve", heuristic=True, **wish)
    with pytest.raises(OperateError, match="is a heuristic decision, which may leave the data inconsistent"):
        intervene(folder, 0, "resolve", node="giver", **wish)
    decision = {"abort": "rollback", "commit": "commit"}[outcome]
    assert not any(entry.actor == "operator:ann" for entry in audit(folder, "giver"))

    act = intervene(folder, 0, "resolve", node="giver", heuristic=True, **wish)
    assert act.settled
    assert problems(act.left) == [(0, "giver", "heuristic")]
    assert acts(act.lines, "operator:ann")[:2] == [
        ("request", "resolve", "the shop opens at nine"),
        ("resolve", f"heuristic-{decision}", "the shop opens at nine (branch 0)"),
    ]
    assert value(folder, "giver", "k:0") == (101 if outcome == "commit" else 100)
    assert "k:0" not in {key for row in list_transactions(folder) if row.node == "giver" for key in row.locked}

    late = intervene(folder, 0, "retry", reason="the coordinator is back", operator="bob")
    said = [(entry.node, entry.act, entry.name) for entry in late.lines if entry.name.startswith("heuristic")]
    assert value(folder, "taker", "k:0") == 99
    if outcome == "commit":
        assert late.settled
        assert said == [("giver", "commit", "heuristic-confirmed")]
    else:
        assert not late.settled
        assert said == [("giver", "alert", "heuristic-damage")]
        (row,) = list_transactions(folder)
        assert (row.transaction, row.node, row.problem) == (0, "giver", "damage")
        assert row.reason.endswith("the operator had decided rollback, the coordinator says commit")
        assert intervene(folder, 0, "resolve", reason="booked by hand", operator="bob").settled
    assert list_transactions(folder) == []
    assert_verified(folder)


def test_what_makes_no_sense_is_refused_with_one_line_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    in_doubt(folder)
    before = {node: len(audit(folder, node)) for node in ("giver", "taker", COORDINATOR)}
    asked: Callable[..., Act] = lambda *wish, **more: intervene(folder, *wish, reason="why not", **more)  # noqa: E731
    wrong: list[tuple[Callable[[], Act], str]] = [
        (lambda: asked(7, "retry"), r"transaction 7 is not open; 'simtx transactions list' shows what is"),
        (lambda: asked(0, "retry", node="hub"), "there is no node 'hub'; the nodes are giver, taker, coordinator"),
        (lambda: asked(0, "retry", outcome="commit"), "an outcome goes with 'resolve' only"),
        (lambda: asked(0, "resolve", heuristic=True), "a heuristic decision needs its outcome"),
        (lambda: asked(0, "resolve", outcome="maybe"), "an outcome is 'commit' or 'abort', not 'maybe'"),
        (lambda: asked(0, "skip"), "transaction 0 cannot be skipped at 'giver': a participant in state 'in-doubt'"),
        (lambda: asked(0, "resolve"), "'resolve' with an outcome and --heuristic decides without it"),
        (lambda: intervene(folder, 0, "retry", reason=" "), "an act needs a reason"),
    ]
    for wish, text in wrong:
        with pytest.raises(OperateError, match=text) as error:
            wish()
        assert "\n" not in str(error.value)
        assert isinstance(error.value, ScenarioError)
    with pytest.raises(RunFolderError, match="holds no run"):
        intervene(tmp_path, 0, "retry", reason="why not")
    assert {node: len(audit(folder, node)) for node in before} == before
    assert len(list_transactions(folder)) == 3


def test_nothing_is_done_on_top_of_an_audit_log_that_was_changed(tmp_path: Path) -> None:
    """It would be sealed anew, as if it had always been so."""
    folder = tmp_path / "run"
    in_doubt(folder)
    path = RunFolder(folder).audit("giver")
    path.write_text(path.read_text().replace('"participant"', '"nobody"', 1))
    with pytest.raises(AuditError, match=r"the audit log of 'giver' is not as it was written \(line 1 was"):
        intervene(folder, 0, "retry", reason="why not")
    assert problems(list_transactions(folder))[0] == (0, "giver", "in doubt")


# --- choreographies -------------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_an_event_that_was_parked_goes_on_when_an_operator_says_so(tmp_path: Path) -> None:
    """With one hop allowed, the refusal on its way back is one too many."""
    folder = tmp_path / "run"
    strategy = simtx.protocols.strategy("outbox", lab().policies)
    short = strategy_with_hops(strategy)
    played(folder, short, lambda run: bool(run.summary.stuck_count == 1), refusal=1.0, maximum_hops=1)
    (row,) = list_transactions(folder)
    assert (row.transaction, row.node, row.problem, row.state) == (0, "giver", "parked", "parked")
    assert "maximum_hops is 1" in row.reason
    act = intervene(folder, 0, "retry", reason="it is no cycle", operator="ann")
    assert problems(act.left) == [(0, "giver", "parked")]  # after a restart it is parked still
    act = intervene(folder, 0, "skip", reason="taken back by hand", operator="ann")
    assert act.settled
    assert acts(act.lines, "operator:ann")[1:] == [("skip", "parked -> settling", "taken back by hand")]
    assert list_transactions(folder) == []
    assert_verified(folder)


def strategy_with_hops(strategy: Strategy) -> Strategy:
    """The outbox with a limit of hops that its own check would refuse for this chain."""

    class Short(type(strategy)):  # type: ignore[misc]
        def check(self, plan: Plan) -> str | None:
            return None

    return Short(policies=replace(strategy.policies, maximum_hops=1))  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("broker", ["embedded", "nats"])
@pytest.mark.sample(2)
def test_a_stopped_partition_goes_on_after_the_upgrade(tmp_path: Path, broker: str) -> None:
    """The consumer could not read the event's version; whoever starts the nodes again has upgraded it."""
    folder = tmp_path / "run"
    stopped = [(0, "taker", "stopped")]
    speaks = {"taker": "1.0"}
    played(folder, "outbox", lambda _: problems(list_transactions(folder)[:1]) == stopped, broker=broker, speaks=speaks)
    rows = list_transactions(folder)
    assert problems(rows[:1]) == stopped
    assert rows[0].reason.endswith("the event has version 2.0; this process reads up to 1.x and has to be upgraded")
    in_file = (
        [(0, "taker", "in flight", "broker")] if broker == "embedded" else []
    )  # a server that is over tells nothing
    assert [(row.transaction, row.node, row.problem, row.role) for row in rows[1:]] == in_file
    assert value(folder, "taker", "k:0") == 100
    act = intervene(folder, 0, "retry", reason="upgraded", operator="ann")
    assert act.settled
    assert value(folder, "taker", "k:0") == 99
    assert list_transactions(folder) == []
    assert_verified(folder)


# --- a run that is being played -------------------------------------------------------------------------------------------------


@pytest.fixture
def live() -> Iterator[Callable[..., threading.Thread]]:
    """Plays a run in a thread, so that the test can be its operator."""
    threads: list[threading.Thread] = []

    def play(*arguments: Any, **options: Any) -> threading.Thread:
        thread = threading.Thread(target=simtx.execute, args=arguments, kwargs=options)
        thread.start()
        threads.append(thread)
        return thread

    yield play
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()


def eventually(folder: Path, wanted: Callable[[list[OpenTransaction]], bool]) -> list[OpenTransaction]:
    """The list, once it is as wanted."""
    deadline = time.monotonic() + 180
    rows: list[OpenTransaction] = []
    while time.monotonic() < deadline:
        if (folder / "ports" / "client").exists() and RunFolder(folder).read().status == "running":  # all are up
            rows = list_transactions(folder)
            if wanted(rows):
                return rows
        time.sleep(0.05)
    raise AssertionError(problems(rows))


def test_a_saga_is_skipped_while_the_run_is_being_played(tmp_path: Path, live: Callable[..., threading.Thread]) -> None:
    folder = tmp_path / "run"
    scenario = lab(refusal=1.0, compensation_attempts=2, drain=700.0)
    began = time.monotonic()
    thread = live(scenario, CarelessSaga(), folder=folder)
    (row,) = eventually(folder, lambda rows: problems(rows) == [(0, HUB, "stuck")])
    assert row.reason.endswith("its compensation was given up after 2 attempts")
    again = intervene(folder, 0, "retry", reason="let us see", operator="ann")
    assert not again.settled
    assert acts(again.lines, "operator:ann") == [
        ("request", "retry", "let us see"),
        ("retry", "stuck -> compensating", "let us see"),
    ]
    with pytest.raises(OperateError, match="transaction 5 is not open"):
        intervene(folder, 5, "retry", reason="a slip of the finger")
    act = intervene(folder, 0, "skip", reason="forgiven", operator="ann")
    assert act.settled
    assert act.said == [(HUB, "stuck -> aborted")]
    thread.join(600)
    assert not thread.is_alive()
    assert time.monotonic() - began < 600  # nothing was left to wait for
    assert list_transactions(folder) == []
    assert_verified(folder)


@pytest.mark.heavy
def test_a_branch_is_ended_heuristically_while_its_coordinator_is_away(
    tmp_path: Path, live: Callable[..., threading.Thread]
) -> None:
    folder = tmp_path / "run"
    kills = {COORDINATOR: [CrashPoint("away", effect="Decided:committed", downtime=60.0)]}
    thread = live(lab(drain=180.0), "2pc", folder=folder, kills=kills)
    wanted = ["in doubt", "in doubt", "unreachable"]
    rows = eventually(folder, lambda rows: [row.problem for row in rows] == wanted)
    assert problems(rows) == [(0, "giver", "in doubt"), (0, "taker", "in doubt"), (-1, COORDINATOR, "unreachable")]
    assert rows[0].reason == "'coordinator' does not answer"
    act = intervene(folder, 0, "resolve", reason="now", operator="ann", outcome="abort", heuristic=True, node="taker")
    assert act.settled
    assert problems(act.left) == [(0, "taker", "heuristic")]
    asked = intervene(folder, 0, "retry", reason="is it back?", operator="ann", node="giver", patience=0)
    assert asked.said == [("giver", "asked again now (inquiry)")]
    thread.join(400)
    assert not thread.is_alive()
    assert problems(list_transactions(folder)) == [(0, "taker", "damage")]
    assert (value(folder, "giver", "k:0"), value(folder, "taker", "k:0")) == (101, 100)
    assert_verified(folder)


# --- orphans --------------------------------------------------------------------------------------------------------------------


def prepare_by_hand(dsn: str, schema: str, key: str, name: str) -> None:
    """What a program leaves that dies between the two phases."""
    with psycopg.connect(dsn, autocommit=True) as link:
        link.execute("BEGIN")
        link.execute(f"INSERT INTO {schema}.data VALUES ('{key}', 7) ON CONFLICT (key) DO UPDATE SET value = 7")  # noqa: S608
        link.execute(f"PREPARE TRANSACTION '{name}'")


@pytest.mark.slow
@pytest.mark.heavy
def test_an_orphan_is_ended_while_the_run_goes_on(tmp_path: Path, live: Callable[..., threading.Thread]) -> None:
    """Its machine is made for it, asks the coordinator, hears of no commit, and rolls back."""
    folder = tmp_path / "run"
    play = from_dict({**lab(transactions=400).to_dict(), "workload": {"kind": "deterministic", "rate": 5}}, name="lab")
    thread = live(
        play.replace(**{"run.transactions": None, "run.duration": "15.0s"}), "2pc", store="postgres", folder=folder
    )
    deadline = time.monotonic() + 180
    while not (folder / "ports" / "client").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run = RunFolder(folder)
    own = branch_name(run.run, "giver", 999, ("prepared", COORDINATOR))
    config = json.loads(run.config("giver").read_text())
    prepare_by_hand(config["store"]["dsn"], schema_name(run.run, "giver"), "k:999", own)
    (row,) = [row for row in list_transactions(folder) if row.problem == "orphan"]
    assert (row.transaction, row.node, row.branch) == (999, "giver", own)
    act = intervene(folder, 999, "resolve", reason="nobody knows it", operator="ann")
    assert act.settled
    assert [(entry.actor, entry.act, entry.name) for entry in act.lines] == [
        ("operator:ann", "request", "resolve"),
        ("operator:ann", "resolve", "adopted"),
        ("participant", "recovered", ""),
        ("participant", "rollback", ""),
    ]
    thread.join(400)
    assert not thread.is_alive()
    assert list_transactions(folder) == []


@pytest.mark.slow
@pytest.mark.heavy
def test_orphans_in_postgres_are_found_and_resolved(tmp_path: Path) -> None:
    """One under this run's name, which its coordinator has never heard of; one of some other program, for which nobody can be asked."""
    folder = tmp_path / "run"
    simtx.execute(lab(), "2pc", store="postgres", folder=folder)
    run = RunFolder(folder)
    own = branch_name(run.run, "giver", 999, ("prepared", COORDINATOR))
    other = "nightly-report-17"
    schema = schema_name(run.run, "giver")
    with PostgresServer(run.node("giver") / "postgres") as server:
        for name, key in ((own, "k:0"), (other, "k:1")):
            prepare_by_hand(server.dsn("simtx"), schema, key, name)

    rows = list_transactions(folder)
    assert {(row.transaction, row.node, row.problem, row.branch) for row in rows} == {
        (999, "giver", "orphan", own),
        (-1, "giver", "orphan", other),
    }
    reasons = {row.branch: row.reason for row in rows}
    assert reasons[own] == "'coordinator' has no record of it: abort will be presumed"
    assert reasons[other] == "prepared by another program: no coordinator of this run knows it"

    act = intervene(folder, 999, "resolve", reason="nobody knows it", operator="ann")
    assert act.settled
    assert [(entry.node, entry.act) for entry in act.lines if entry.actor == "participant"] == [
        ("giver", "recovered"),
        ("giver", "rollback"),
    ]
    with pytest.raises(OperateError, match="no coordinator of this run knows it; if nobody will end it"):
        intervene(folder, other, "resolve", reason="it blocks an account", operator="ann")
    ended = intervene(
        folder, other, "resolve", reason="it blocks an account", operator="ann", outcome="abort", heuristic=True
    )
    assert ended.settled
    assert acts(ended.lines, "operator:ann") == [
        ("request", "resolve", "it blocks an account"),
        ("resolve", "heuristic-rollback", f"it blocks an account ({other})"),
    ]
    assert list_transactions(folder) == []
    assert_verified(folder)


# --- the audit log and the folder ---------------------------------------------------------------------------------------------------


class FullDisk(Saga):
    """On one node, no line of the audit log can be written from transaction 1 on, until somebody makes room, which a restart does here."""

    def machine(self, node: str, tx: int) -> Machine:
        if node == "giver" and tx == 1:
            from simtx.reference.run_folder import audit as module

            def refuse(*_: object, **__: object) -> None:
                raise module.AuditError("the audit log cannot be written: No space left on device")

            module.AuditLog.append = refuse  # type: ignore[method-assign,assignment]
        return super().machine(node, tx)


def test_a_node_that_cannot_write_its_audit_log_ends_and_its_successor_writes_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    apart = lab(transactions=2, drain=120.0, attempts=1000, call_timeout=0.2).replace(**{"workload.rate": 2})
    run = simtx.execute(apart, FullDisk(), folder=folder)
    assert list(run.transactions["outcome"]) == ["committed", "committed"]
    lines = {entry.tx: entry for entry in audit(folder, "giver") if entry.act == "apply"}
    assert lines[1].recovered  # the local transaction was committed when its line could not be written
    assert dict(lines[1].changes) == {"k:1": (100, 101)}
    assert len(list(RunFolder(folder).node("giver").glob("log.*.jsonl"))) > 1
    assert_verified(folder)


class BrokenSaga(Saga):
    """A participant of it breaks the contract at the second transaction."""

    def machine(self, node: str, tx: int) -> Machine:
        if node == "giver" and tx == 1:
            return BrokenParticipant(node, tx)
        return super().machine(node, tx)


class BrokenParticipant(Participant):
    """Asks for nothing that it should."""

    __slots__ = ()

    def handle(self, event: object) -> list[Effect]:
        raise ProtocolViolation("no participant does this")


def test_the_folder_of_a_run_that_fails_is_kept_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(RunFailed, match="process 'giver' cannot go on: no participant does this"):
        simtx.execute(lab(transactions=2), BrokenSaga(), folder=folder)
    record = RunFolder.open(folder).read()
    assert (record.status, record.reason) == ("failed", "process 'giver' cannot go on: no participant does this")
    assert {(row.transaction, row.problem) for row in list_transactions(folder)} >= {(1, "in flight")}
    assert_verified(folder)


def test_versions_of_events_that_do_not_exist_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"speaks.giver: there is no version '9.0' of the events; known are 1.0"):
        simtx.execute(lab(), "saga", speaks={"giver": "9.0"}, folder=tmp_path / "run")
    with pytest.raises(ScenarioError, match="there is no node 'given' to speak it; the nodes are giver, orch"):
        simtx.execute(lab(), "saga", speaks={"given": "2.0"}, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_broker_file_that_is_none_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "broker.sqlite"
    assert list(waiting(file)) == []  # a broker that keeps nothing on disk
    file.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="the broker's file cannot be read"):
        waiting(file)
    assert file.read_bytes() == b""
