"""The table of all strategies says what runs and explorations say."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

import simtx
from simtx.protocols import STRATEGIES, strategy
from simtx.workload.planner import template
from tests.docs.pages import ROOT


def maker() -> ModuleType:
    """`docs/make_strategies.py` as a module."""
    spec = importlib.util.spec_from_file_location("make_strategies", ROOT / "docs" / "make_strategies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_strategies"] = module
    spec.loader.exec_module(module)
    return module


MAKER = maker()
ROWS = {row.spec: row for row in MAKER.ROWS}
TEXT = MAKER.PAGE.read_text(encoding="utf-8")


def test_every_built_in_strategy_has_a_row_and_a_page() -> None:
    assert set(STRATEGIES) <= set(ROWS)
    for row in MAKER.ROWS:
        assert (MAKER.PAGE.parent / row.page.partition("#")[0]).is_file()


@pytest.mark.parametrize("spec", ROWS)
def test_a_row_says_what_runs_with_two_participants_say(spec: str) -> None:
    """Otherwise: python docs/make_strategies.py. All sizes, and the verdict, are the command's business and that of the heavy test."""
    assert MAKER.wrong(ROWS[spec], (max(2, ROWS[spec].least),)) == []
    begin, end = MAKER.line(ROWS[spec], "\0").split("\0")
    (said,) = [line for line in TEXT.splitlines() if line.startswith(begin) and line.endswith(end)]
    assert said[len(begin) : -len(end)].startswith("refuted on" if spec == "dual-write" else "holds; ")


def test_every_row_states_its_speed() -> None:
    stated = MAKER.speeds(TEXT)
    assert set(stated) == set(ROWS)
    assert float(stated["saga"]) == 1
    assert all(0.02 < float(speed) < 50 for speed in stated.values())


def test_a_wrong_claim_is_found() -> None:
    row = ROWS["saga"]._replace(messages="2N + 1")
    (problem,) = MAKER.wrong(row, (2,))
    assert problem == "saga, N = 2, committed: (5, 5) is claimed, (4, 5) was counted"


@pytest.mark.heavy
def test_the_page_is_the_one_that_the_command_writes() -> None:
    assert MAKER.page(MAKER.speeds(TEXT)) == TEXT


@pytest.mark.parametrize("name", simtx.scenarios())
def test_every_built_in_scenario_is_played_by_every_strategy(name: str) -> None:
    """Its plans, at least; where one cannot, the page has to say so."""
    scenario = simtx.load(name)
    last = list(scenario.services)[-1]
    for spec, row in ROWS.items():
        problem = strategy(spec.replace("=s0", f"={last}")).check(template(scenario))
        assert (problem is None) == (len(scenario.services) >= row.least), f"{spec}: {problem}"
