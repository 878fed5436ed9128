"""Design of a sensitivity study: factors, cells, and the figures of the runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.errors import ScenarioError
from simtx.experiments.frontier.responses import Observed, response, scale_of
from simtx.experiments.sensitivity.question import Answers, Question
from simtx.metrics.censored import instead
from simtx.metrics.figures import ranking
from simtx.scenario.units import hint, shown

if TYPE_CHECKING:
    from simtx.experiments.sweep.result import Sweep
    from simtx.scenario import Scenario
    from simtx.scenario.uncertain import Uncertainty

_PLACE: Final = re.compile(r"^.*?uncertainty\.")


def factors_of(scenario: Scenario, given: Mapping[str, Any] | None) -> tuple[Scenario, dict[str, Uncertainty]]:
    """The scenario without its uncertainty, and what is varied in it.

    Args:
        scenario: The scenario.
        given: Uncertainty by path, in place of what the scenario states.

    Raises:
        ScenarioError: Nothing is stated, or something is wrong.
    """
    if given is not None and not isinstance(given, Mapping):
        raise ScenarioError("give a mapping from paths to uncertainties, such as {'workload.rate': '20%'}", "factors")
    try:
        chosen = scenario if given is None else scenario.replace(uncertainty=dict(given))
    except ScenarioError as error:
        raise _as_given(error) from None
    if not chosen.uncertainty:
        raise ScenarioError(
            'states no uncertainty: put [uncertainty] with lines such as "workload.rate" = "20%" into it, or give factors',
            scenario.name,
        )
    bare = scenario.replace(uncertainty=None) if "uncertainty" in scenario.to_dict() else scenario
    return bare, dict(chosen.uncertainty)


def _as_given(error: ScenarioError) -> ScenarioError:
    """Say what is wrong with factors, under the name by which they were given, and not under that of the scenario's table."""
    lines = [_PLACE.sub("", line) for line in str(error).splitlines()]
    return (
        ScenarioError("\n".join(lines), "factors")
        if len(lines) == 1
        else ScenarioError("\n".join(f"factors: {line}" for line in lines))
    )


def cell_values(factors: Mapping[str, Uncertainty], position: Mapping[str, float]) -> dict[str, Any]:
    """The values of one cell."""
    values = {path: value for one in factors.values() for path, value in one.changes(0.0).items()}
    for name, place in position.items():
        values |= factors[name].changes(place)
    return values


def figures(runs: Sweep, question: Question, cells: Sequence[int]) -> list[Observed]:
    """The metric in each of these cells: a row a replication, a column a strategy.

    Raises:
        ScenarioError: A run has failed or is missing, or has no figure: it is named. An index made of such runs would be wrong without a word.
    """
    ranking(question.metric)
    for name in question.strategies:
        if name not in runs.strategies:
            raise ScenarioError(f"'{name}' was not simulated; {hint(name, runs.strategies)}", "strategy")
    lacking = runs.lacking()
    if lacking:
        raise ScenarioError(f"{lacking}; sensitivity needs all of them", "sensitivity")
    if question.metric not in runs.metrics:
        raise ScenarioError(f"{shown(question.metric)} is no metric; {hint(question.metric, runs.metrics)}", "metric")
    partial = [
        one for one in sorted(runs.leaving_out(question.metric)) if one[0] in cells and one[1] in question.strategies
    ]
    if partial:
        cell, name = partial[0]
        raise ScenarioError(
            f"{question.metric} of {name} leaves out what had not ended in cell {cell}; {instead(question.metric)}: {runs.study.cells[cell].name}",
            "sensitivity",
        )
    tables = {cell: runs.compare(cell).frame for cell in dict.fromkeys(cells)}
    found = []
    for cell in cells:
        table = tables[cell].pivot(index="replication", columns="strategy", values=question.metric)
        values = table[list(question.strategies)].to_numpy(dtype=float)
        for column, name in enumerate(question.strategies):
            empty = np.flatnonzero(np.isnan(values[:, column]))
            if len(empty):
                raise ScenarioError(
                    f"{question.metric} of {name}, replication {table.index[empty[0]]} in cell {cell} is no number: {runs.study.cells[cell].name}",
                    "sensitivity",
                )
            beyond = np.flatnonzero(np.isinf(values[:, column]))
            if len(beyond) and not question.paired:
                raise ScenarioError(
                    f"{question.metric} of {name}, replication {table.index[beyond[0]]} in cell {cell} lies beyond the time that was watched; "
                    f"make run.drain longer: {runs.study.cells[cell].name}",
                    "sensitivity",
                )
        watched = tables[cell].get("watched_ms")
        found.append(Observed(values, float(watched.min()) if watched is not None and len(watched) else 0.0))
    return found


def answers(observed: Sequence[Observed], question: Question) -> Answers:
    """Answer of each replication of each cell; of two strategies, above 0 if the first has more of the metric."""
    if not question.paired:
        values = np.array([one.values[:, 0] for one in observed])
        return Answers(np.log(values), "log") if (values > 0).all() else Answers(values, "plain")
    scale = scale_of(observed)
    if scale == "rate-ratio":  # zeros have no ratio
        return Answers(np.array([one.values[:, 0] - one.values[:, 1] for one in observed]), "plain")
    found = response(observed, (0, 1), scale)
    if len(found.used) < len(observed) or any(np.isnan(one).any() for one in found.residuals):
        raise ScenarioError(
            f"{question.metric} of both strategies lies beyond the time that was watched in some runs; make run.drain longer",
            "sensitivity",
        )
    values = np.array([mean + one for mean, one in zip(found.means, found.residuals, strict=True)])
    return Answers(values, "log" if scale == "log-ratio" else "plain")


def cells_of(runs: Sweep, factors: Mapping[str, Uncertainty], positions: Sequence[Mapping[str, float]]) -> list[int]:
    """The numbers of the cells of these positions."""
    return runs.study.add([cell_values(factors, position) for position in positions])
