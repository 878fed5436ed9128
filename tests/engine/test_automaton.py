"""What the compiled engine has learned can be looked at."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text

from simtx.engine import Unavailable, load_library
from simtx.engine.library import compiler
from simtx.errors import ScenarioError
from simtx.protocols import Saga
from simtx.simulator.automaton import automaton, mermaid

sys.path.insert(0, str(Path(__file__).parent))
from worlds import shortened

try:
    load_library()
except Unavailable as error:
    if compiler():  # a loop that cannot be compiled or loaded where there is a compiler is a fault
        raise
    pytest.skip(f"no compiled engine: {error}", allow_module_level=True)


def test_the_automaton_of_a_saga() -> None:
    """Each transaction begins once, and the table of transitions of the machines allows every row."""
    table = automaton(shortened("transfer", 50), "saga")
    begun = table[(table["role"] == "orchestrator") & (table["event"] == "begin")]
    assert begun["taken"].sum() == 50
    assert (table["pairs"] >= 1).all()
    drawn = mermaid(table, "orchestrator")
    assert drawn.startswith("stateDiagram-v2")
    assert "idle --> running: begin 50" in drawn
    with pytest.raises(ScenarioError, match="orchestrator"):
        mermaid(table, "conductor")


def test_the_automaton_is_drawn_with_its_counts() -> None:
    scenario = shortened("transfer", 50)
    ax = Saga().automaton(scenario)
    drawn = "\n".join(text.get_text() for text in ax.get_figure(root=True).findobj(Text))
    plt.close("all")
    assert "pairs of state and event learned" in drawn
    assert "50" in drawn
    with pytest.raises(ScenarioError, match="orchestrator"):
        Saga().automaton(scenario, "orchestrater")
