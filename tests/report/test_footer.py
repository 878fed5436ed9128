"""Every picture and every table says where it comes from."""

from __future__ import annotations

import inspect
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import pytest

import simtx
from simtx.report import diagram, footer, plots, tables, validation

SMALL = {"run.transactions": 60, "run.warmup": "0.1s", "workload.rate": 30}


@pytest.fixture(scope="module")
def comparison() -> simtx.Comparison:
    return simtx.compare(simtx.load("transfer").replace(**SMALL), ["saga", "2pc"], replications=2, workers=1)


@pytest.fixture(scope="module")
def run() -> simtx.Run:
    return simtx.simulate(simtx.load("transfer").replace(**SMALL), "saga", trace=True)


def foot(figure: Any) -> str:
    """The words below a figure, as one line."""
    return " ".join(" ".join(one.get_text() for one in figure.texts if one.get_gid() == footer.GID).split())


def pictures() -> list[str]:
    """Every function of the plots that draws a result."""
    own = [one for _, one in inspect.getmembers(plots, inspect.isfunction) if one.__module__ == plots.__name__]
    return [one.__name__ for one in own if not one.__name__.startswith("_")]


@pytest.mark.parametrize("name", pictures())
def test_every_picture_says_what_was_changed_and_what_repeats_it(
    name: str, comparison: simtx.Comparison, run: simtx.Run
) -> None:
    function = getattr(plots, name)
    first = next(iter(inspect.signature(function).parameters.values()))
    result: Any = {"comparison": comparison, "runs": [run], "run": run}[first.name]
    drawn = function(result)
    figure = drawn if hasattr(drawn, "savefig") else drawn.figure
    origin = run.provenance if first.name in ("run", "runs") else comparison.provenance
    for line in origin.lines():
        assert " ".join(line.split()) in foot(figure)
    assert "workload.rate = 30" in foot(figure)
    plt.close("all")


def test_a_message_diagram_says_it_too_and_a_figure_of_the_callers_is_left_alone(run: simtx.Run) -> None:
    axes = diagram.draw(run.trace, 20)
    assert " ".join(run.provenance.lines()[0].split()) in foot(axes.figure)
    figure, axes = plt.subplots()
    run.plot(ax=axes)
    assert foot(figure) == ""
    footer.stamp(figure, footer.lines(run))
    assert "repeat with: simtx simulate transfer saga" in foot(figure)
    plt.close("all")


def test_several_runs_say_once_what_is_the_same(run: simtx.Run) -> None:
    other = simtx.simulate(run.scenario, "2pc")
    assert len(footer.lines([run, other])) == 3  # the same scenario, code and seed; a command each


def test_pictures_of_a_validation_are_footed() -> None:
    assert all(hasattr(function, "__wrapped__") for function in (validation.plot, validation.panel))


def test_a_long_command_is_broken_and_stays_inside(comparison: simtx.Comparison) -> None:
    figure = plt.figure(figsize=(4, 3), layout="constrained")
    figure.add_subplot()
    footer.stamp(figure, ["x" * 20 + " words of a long command" * 12])
    figure.canvas.draw()
    box = figure.texts[-1].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    plt.close(figure)


def test_the_foot_lies_over_nothing_else(comparison: simtx.Comparison) -> None:
    figure = comparison.plot()
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    mine = figure.texts[-1].get_window_extent()
    others = [*figure.axes, *figure.legends]
    boxes = [mine, *(one.get_tightbbox(renderer) for one in others)]
    assert len(boxes) == 6
    for number, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:number]), number
    plt.close(figure)


def test_every_table_says_it(comparison: simtx.Comparison, run: simtx.Run) -> None:
    for line in comparison.provenance.lines():
        assert line in tables.text(comparison)
        assert line.replace("'", "&#x27;") in tables.html(comparison)
    for line in run.provenance.lines():
        assert line in tables.run_text(run)
        assert line.replace("'", "&#x27;") in run._repr_html_()
