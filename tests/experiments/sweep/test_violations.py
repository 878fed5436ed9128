"""What runs of a sweep have violated of what their strategy guarantees is kept, told first, and admits nobody."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
import pytest

import simtx
from simtx.experiments.said import stories_with
from simtx.experiments.sweep.store import Store
from simtx.report import sweep_tables
from tests.checker.mutants import ALL

#: A saga that compensates its first step first: the property `undo-order`.
WRONG: Any = next(one.strategy for one in ALL if one.name == "undoes-from-the-first")
STEPS = [
    {
        "name": f"step-{number}",
        "service": service,
        "operations": [{"key": "x{tx}", "amount": 1}],
        "compensation": [{"key": "x{tx}", "amount": -1}],
        "refusal": 0.3 * (service == "c"),
    }
    for number, service in enumerate("abc")
]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> simtx.Sweep:
    scenario = simtx.scenario.from_dict(
        {
            "name": "watched",
            "workload": {"kind": "poisson", "rate": 50.0},
            "run": {"transactions": 30, "warmup": 0},
            "services": {name: {"workers": 4, "service_time": "2 ms"} for name in "abc"},
            "transaction": {"steps": STEPS},
        }
    )
    return simtx.sweep(
        scenario,
        {"refused": [0.0, 0.5]},
        ["2pc", WRONG],
        parameters={"refused": {"transaction.steps[2].refusal": 1.0}},
        replications=2,
        executor="serial",
        store=tmp_path_factory.mktemp("results"),
    )


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


def test_the_table_has_how_often_and_the_list_what(sweep: simtx.Sweep) -> None:
    frame = sweep.frame
    assert set(frame.loc[frame["violations"] > 0, "strategy"]) == {"saga"}
    assert set(frame.loc[frame["violations"] > 0, "refused"]) == {0.5}
    assert sweep.unwatched == 0
    listed = sweep.violations
    assert list(listed["property"]) == ["undo-order"] * 2
    assert list(listed["replication"]) == [0, 1]
    assert all("VIOLATED" in text and "transaction" in text for text in listed["text"])
    assert all(line.startswith("[one.story() for one in simtx.simulate(scenario, ") for line in listed["see_with"])
    assert stories_with("simtx simulate transfer saga") == "simtx simulate transfer saga --violations"
    assert "VIOLATED: saga" in repr(sweep)


def test_a_cell_with_a_violation_is_named_first(sweep: simtx.Sweep) -> None:
    told = sweep_tables.text(sweep).splitlines()
    assert told[0].startswith("VIOLATED, although saga guarantees it: undo-order, in 2 runs at refused = 0.5")
    assert sum("VIOLATED in 2" in line for line in told) == 1
    assert "VIOLATED" in sweep_tables.html(sweep).split("<table")[0]
    assert "VIOLATED" in sweep.warnings[0]
    figure = sweep.plot("latency_p50_ms")
    assert "VIOLATED what it guarantees: saga in 1 of 2 cells" in " ".join(
        text.get_text().replace("\n", " ")
        for text in [*figure.texts, *([figure._suptitle] if figure._suptitle else [])]
    )


def test_nobody_is_the_best_who_has_violated_anything(sweep: simtx.Sweep) -> None:
    table = sweep.best("decision_p50_ms")
    sound, broken = table.to_dict("records")
    assert not sound["violated"]
    assert broken["violated"] == "saga: 2 of 2 runs have violated what it guarantees (undo-order)"
    assert broken["candidates"] == ["2pc"]
    decision = sweep.compare({"refused": 0.5}).best("decision_p50_ms", better="higher")
    assert decision.ranking.loc["saga", "standing"] == "not admissible"
    assert "saga is not admissible" in decision.text
    assert decision.to_dict()["violated"]
    comparison = sweep.compare({"refused": 0.5})
    assert list(comparison.violations["strategy"]) == ["saga", "saga"]
    assert "VIOLATED" in comparison.warnings[0]


def test_the_first_lines_of_a_report_say_so(sweep: simtx.Sweep) -> None:
    from simtx.report.review.sentence import Statement, broken

    results = sweep.compare({"refused": 0.5}).results
    named = Statement("yes", "saga", "saga: the lowest.", "", ())
    assert broken(named, results).strategy == ""
    assert "violated what is guaranteed: saga (undo-order)" in broken(named, results).sentence
    other = Statement("yes", "2pc", "2pc: the lowest.", "", ())
    assert broken(other, results).strategy == "2pc"
    assert broken(other, results).sentence.endswith("guaranteed: saga (undo-order).")
    assert broken(other, sweep.compare({"refused": 0.0}).results) is other


def test_runs_of_a_version_that_did_not_look_are_not_said_to_be_sound(sweep: simtx.Sweep, tmp_path: Path) -> None:
    """A ledger and figures as they were before: no table, no column."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(sweep.store.ledger.path)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        copy.execute("DROP TABLE violated")
        copy.commit()
    (tmp_path / "figures").mkdir()
    for file in (sweep.store.folder / "figures").glob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.drop_columns(["violations"]), tmp_path / "figures" / file.name)
    old = Store(tmp_path)
    entries, frame = old.figures(list(sweep._keys))
    assert len(entries) == 8
    assert bool(np.isnan(frame["violations"]).all())
    assert old.ledger.violated(list(entries)) == {}
    elsewhere = simtx.Sweep(sweep.study, old, sweep._rows, sweep._keys, sweep.settings, sweep.plan)
    assert elsewhere.unwatched == 8
    assert "did not look" in elsewhere.warnings[0]
    old.close()
