"""What a process has to do before it can play a run, and what runs of the same kind learn from each other."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

import simtx
from simtx.engine import Unavailable, load_library
from simtx.errors import ScenarioError
from simtx.experiments.work import Parcel, check_metric, metrics, play
from simtx.protocols import strategy
from simtx.simulator import engines
from simtx.simulator.engines import Batch, among
from simtx.simulator.remembered import memory


@pytest.fixture
def compiled() -> None:
    try:
        load_library()
    except Unavailable as reason:
        pytest.skip(str(reason))


def parcel(transactions: int = 700, runs: int = 1) -> Parcel:
    scenario = simtx.load("transfer").replace(**{"run.transactions": transactions, "run.warmup": 0})
    return Parcel(scenario, strategy("saga", scenario.policies), runs=runs)


def test_a_process_that_plays_runs_loads_neither_comparisons_nor_scipy() -> None:
    program = (
        "import sys\nfrom simtx.experiments.work import play\nimport simtx.simulator\n"
        "print([name for name in ('scipy', 'simtx.experiments.compare', 'simtx.experiments.comparison', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("compiled")
def test_short_runs_are_compiled_if_many_of_them_share_what_is_learned_and_come_to_the_same() -> None:
    scenario, chosen = parcel().open()
    alone = simtx.simulate(scenario, chosen)
    with among(Batch(runs=20)):
        one_of_many = simtx.simulate(scenario, chosen)
    assert (alone.engine, one_of_many.engine) == ("interpreted", "fast")
    assert alone.digest == one_of_many.digest
    assert alone.summary.equals(one_of_many.summary)


@pytest.mark.usefixtures("compiled")
def test_what_one_process_has_found_about_the_engines_is_not_found_out_again_on_that_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = parcel(runs=20)
    compared: list[str] = []
    known = engines._compared

    def counted(scenario: simtx.Scenario, *given: object, **named: object) -> str:
        compared.append(scenario.fingerprint)
        return known(scenario, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(engines, "_compared", counted)
    forgotten = memory(sent.open()[0]).agreed.clear
    forgotten()
    first = play(copy.copy(sent), 1, 0)
    assert (first.error, len(compared)) == ("", 1)
    sent.note(first)
    forgotten()  # as in another process
    assert play(copy.copy(sent), 1, 1).error == ""
    assert len(compared) == 1
    forgotten()
    sent = parcel(runs=20)
    sent.note(first._replace(host="another machine"))
    assert play(copy.copy(sent), 1, 1).error == ""
    assert len(compared) == 2


def test_of_a_few_cells_and_strategies_each_plays_a_first_run_before_the_others() -> None:
    from simtx.experiments.sweep.runner import _TOGETHER, _in_turn
    from simtx.experiments.sweep.study import Row

    rows = [Row(cell, "saga", replication) for cell in range(_TOGETHER + 2) for replication in range(3)]
    found = [row for _, row in _in_turn([(None, row) for row in rows])]  # type: ignore[misc]
    assert sorted(found, key=repr) == sorted(rows, key=repr)
    assert [row.replication for row in found[:_TOGETHER]] == [0] * _TOGETHER
    assert {row.cell for row in found[: 3 * _TOGETHER]} == set(range(_TOGETHER))


def test_every_run_has_the_same_metrics_so_that_a_wrong_name_is_seen_before_the_first_one() -> None:
    scenario = simtx.load("checkout-outages").replace(**{"run.transactions": 60, "run.warmup": 0})
    assert tuple(simtx.simulate(scenario, "outbox").summary.index) == metrics()
    with pytest.raises(ScenarioError, match=r"until: 'latency_p9_ms' is no metric; did you mean 'latency_p9\d_ms'"):
        check_metric("latency_p9_ms", scenario, "until")
