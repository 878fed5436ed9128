"""Every kind of violation is found when it is put into a run that has none; and a run that has none is clean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.event_log.log import EventLog, LogEntry
from simtx.metrics.run import Run
from simtx.protocols import Branch, Message, Prepare, Transact
from simtx.reference.run_folder.collect import histories
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.stores import open_store
from simtx.validation.transfers import busy, laboratory
from simtx.validation.violations import counted, down, findings, losses, violations


@cache
def clean(strategy: str = "saga") -> Run:
    """A run without faults, with refused transactions in it."""
    return simtx.simulate(busy(rate=20.0, seconds=3.0), strategy, trace="full")


def changed(run: Run, *, trace: Iterable[LogEntry] | None = None, warnings: Iterable[str] = (), **data: Any) -> Run:
    """The same run with other raw numbers, another log, more warnings."""
    log = run.trace if trace is None else EventLog(trace)
    return Run(run.scenario, run.strategy, run.seed, 0, replace(run.data, **data), log, [*run.warnings, *warnings])


def with_cell(run: Run, tx: int, **cells: object) -> Run:
    """The same run with other numbers of one transaction."""
    columns: dict[str, Any] = {name: list(values) for name, values in run.data.columns.items()}
    row = columns["tx"].index(tx)
    for name, value in cells.items():
        columns[name][row] = value
    return changed(run, columns=columns)


def with_entry(run: Run, kind: str, **fields: Any) -> Run:
    """The same run with a further entry at the end of its log."""
    last = run.trace[len(run.trace) - 1]
    entry = LogEntry(last.id + 1, last.time, kind, "payer", -1, None, "", "", "", "")._replace(**fields)
    return changed(run, trace=[*run.trace, entry])


def first(run: Run, outcome: str) -> int:
    """A transaction that ended so."""
    table = run.transactions
    return int(table[table["outcome"] == outcome]["tx"].iloc[0])


def laws(run: Run, tx: int = -1) -> set[str]:
    """Names of the laws that are violated, by a transaction if one is given."""
    return {finding.law for finding in findings(run) if tx in (-1, finding.tx)}


@pytest.mark.parametrize("strategy", ["2pc", "2pc:work=before", "saga", "outbox", "dual-write"])
def test_a_run_without_faults_has_none(strategy: str) -> None:
    run = clean(strategy)
    assert violations(run) == []
    assert not any(losses(run).values())
    assert {"committed"} < set(run.transactions["outcome"])


# --- transactions -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["stuck", "in-flight"])
def test_a_blocked_transaction_is_found_if_every_process_is_up(outcome: str) -> None:
    run = with_cell(clean(), 3, outcome=outcome)
    assert laws(run) == {"blocked"}
    assert violations(run) == [f"blocked: transaction 3: {outcome} at the end of the run, while every process is up"]


def test_it_may_wait_for_a_process_that_is_down() -> None:
    run = with_entry(with_cell(clean(), 3, outcome="in-flight"), "crash", detail="payer")
    assert down(run.trace) == {"payer"}
    assert laws(run) == set()
    again = with_entry(run, "restart", detail="payer")
    assert down(again.trace) == set()
    assert "blocked" in laws(again)


def test_a_relay_that_is_down_is_down() -> None:
    run = with_entry(clean(), "crash", detail="payer.relay")
    assert down(with_entry(run, "restart", detail="payer").trace) == {"payer.relay"}


@pytest.mark.parametrize("column", ["missing_effects", "duplicate_effects"])
def test_missing_and_duplicate_effects_are_found(column: str) -> None:
    run = with_cell(clean(), 5, **{column: 1})
    assert laws(run, 5) == {"effects"} == laws(run)
    assert sum(losses(run).values()) == 1


def test_a_transaction_that_ended_half_way_is_found() -> None:
    run = clean()
    tx = first(run, "compensated")
    broken = with_cell(run, tx, outcome="incomplete", answer="")
    assert laws(broken, tx) == {"effects", "truth"}  # its client was told that it was aborted


@pytest.mark.parametrize(
    ("before", "told"), [("committed", "aborted"), ("compensated", "committed"), ("aborted", "committed")]
)
@pytest.mark.parametrize("kind", ["answer", "reply"])
def test_a_client_who_was_told_something_untrue_is_found(before: str, told: str, kind: str) -> None:
    run = clean("2pc" if before == "aborted" else "saga")
    tx = first(run, before)
    broken = with_entry(run, kind, tx=tx, name=told)
    assert "truth" in laws(broken, tx)
    assert losses(broken)["clients told something untrue"] == 1


def test_a_client_who_was_told_of_effects_that_are_not_there_is_found() -> None:
    """'Accepted', and nothing has come of it."""
    run = with_cell(clean("outbox"), first(clean("outbox"), "committed"), outcome="lost")
    assert laws(run) == {"truth"}


def test_a_transaction_with_two_outcomes_is_found() -> None:
    run = clean("2pc")
    tx = first(run, "committed")
    assert "agreement" in laws(with_entry(run, "decided", node="coordinator", tx=tx, name="aborted"), tx)


# --- data -------------------------------------------------------------------------------------------------------------------------


def test_a_conserved_sum_that_is_off_is_found() -> None:
    run = clean()
    quantities = [replace(run.data.quantities[0], final=-3.0)]
    assert violations(changed(run, quantities=quantities)) == ["conservation: money: -3 EUR in the end, not 0"]


def test_values_that_are_not_what_the_outcomes_call_for_are_found() -> None:
    assert laws(changed(clean(), residual=2.0)) == {"divergence"}
    assert laws(changed(clean(), residual=1e-12)) == set()  # float sums


def test_a_broken_bound_is_found() -> None:
    assert violations(changed(clean(), bounds_violated=["no overdraft: payer.account:3 = -1"])) == [
        "bounds: no overdraft: payer.account:3 = -1"
    ]


def test_a_commit_that_the_store_does_not_have_is_found() -> None:
    """As it is told by what collects a real run: the log has a change that the store's history has not."""
    detail = json.dumps({"steps": [], "values": {}, "reads": [], "history": 7})
    row = [1, 0.0, "apply", "payer", 4, None, "", "", "action", detail]
    (problem,) = histories([row], {"payer": []})
    assert violations(changed(clean(), warnings=[problem])) == [f"durability: {problem}"]
    assert laws(changed(clean(), warnings=["something else"])) == set()


def test_a_log_that_does_not_replay_is_found() -> None:
    run = clean()
    record = next(entry.id for entry in run.trace if entry.kind == "append")
    assert laws(changed(run, trace=[entry for entry in run.trace if entry.id != record])) == {"replay"}


# --- a dual write -----------------------------------------------------------------------------------------------------------------


def test_losses_of_a_dual_write_are_counted_and_are_no_violations() -> None:
    run = clean("dual-write")
    lost = with_cell(run, first(run, "committed"), outcome="incomplete", missing_effects=2, duplicate_effects=1)
    lost = changed(lost, residual=5.0, quantities=[replace(run.data.quantities[0], final=1.0)])
    assert violations(lost) == []
    assert losses(lost) == {
        "transactions with missing effects": 1,
        "transactions with duplicate effects": 1,
        "transactions that ended half way": 1,
        "clients told something untrue": 1,
    }


def test_what_even_a_dual_write_must_not_do_is_found() -> None:
    run = clean("dual-write")
    assert laws(with_cell(run, 2, outcome="in-flight")) == {"blocked"}
    number = next(entry.id for entry in run.trace if entry.kind == "publish")
    assert laws(changed(run, trace=[entry for entry in run.trace if entry.id != number])) == {"replay"}


def test_violations_are_counted_by_law() -> None:
    run = with_cell(with_cell(clean(), 3, outcome="stuck"), 4, missing_effects=1)
    assert counted(findings(run)) == {"blocked": 1, "effects": 1}


# --- what is left in the folder of a real run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A short real run, and its folder."""
    folder = tmp_path_factory.mktemp("run") / "kept"
    scenario = laboratory().replace(**{"workload.rate": 20.0, "run.transactions": 4})
    return simtx.execute(scenario, "saga", folder=folder), folder


def alter_audit(folder: Path) -> None:
    path = RunFolder(folder).audit("payee")
    path.write_text(path.read_text().replace("account:1", "account:2", 1))


def prepare_branch(folder: Path) -> None:
    with_store(folder, lambda store: store.prepare(77, Prepare("prepared", (), ("prepared", "coordinator"))))


def leave_row(folder: Path) -> None:
    branch = Branch(outbox=(Message("step-done", 78, "payee", "fees"),))
    with_store(folder, lambda store: store.transact(78, Transact("action", (), accepted=branch)))


def with_store(folder: Path, act: Callable[[Any], object]) -> None:
    store = open_store(json.loads(RunFolder(folder).config("payee").read_text())["store"])
    try:
        act(store)
    finally:
        store.close()


@pytest.mark.slow
def test_audit_chains_and_what_is_left_in_stores_are_looked_at(real: tuple[Run, Path]) -> None:
    run, folder = real
    assert violations(run, folder) == []
    alter_audit(folder)
    prepare_branch(folder)
    leave_row(folder)
    found = findings(run, folder)
    assert counted(found).keys() == {"audit", "orphans"}
    assert all(finding.text.startswith("payee: ") for finding in found)
    assert {finding.tx: finding.text for finding in found if finding.law == "orphans"} == {
        77: "payee: its branch is still prepared",
        78: "payee: its outbox rows are not published",
    }
