"""`sensitivity`: which factors an answer depends on, and which assumption flips it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from simtx.arguments import SEED, anything, checked, instance, listed, number, optional, path, whole
from simtx.errors import ScenarioError
from simtx.experiments.said import early
from simtx.experiments.sensitivity import flips as flip
from simtx.experiments.sensitivity import indices
from simtx.experiments.sensitivity.design import answers, cell_values, cells_of, factors_of, figures
from simtx.experiments.sensitivity.inputs import InputUncertainty, calibration_of, taken_apart, written
from simtx.experiments.sensitivity.question import Answers, Question
from simtx.experiments.sensitivity.result import Method, Sensitivity
from simtx.experiments.sensitivity.tornado import noise, positions, tornado
from simtx.experiments.sweep import sweep
from simtx.experiments.sweep.runner import INTERRUPTED, Settings
from simtx.experiments.work import check_metric
from simtx.metrics.figures import ranking
from simtx.metrics.intervals import check_confidence, interval
from simtx.scenario.provenance import command
from simtx.scenario.units import hint, shown

if TYPE_CHECKING:
    from simtx.experiments.sweep import Sweep
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario
    from simtx.scenario.uncertain import Uncertainty

_OPTIONS = tuple(one.name for one in dataclasses.fields(Settings))
_TRAJECTORIES = 10
_CELLS_A_FACTOR = 10


@checked(
    strategies=listed(anything, "one strategy, or two that are compared", least=1),
    metric=instance(str, "the name of a metric"),
    factors=optional(instance(Mapping, "uncertainties by path"), "None for those that the scenario states"),
    replications=whole(1),
    confidence=number(above=0, below=1),
    calibrations=whole(0),
    seed=SEED,
    store=optional(path),
)
def sensitivity(
    scenario: Scenario | str,
    strategies: Sequence[Strategy | str],
    metric: str = "latency_p99_ms",
    *,
    factors: Mapping[str, Any] | None = None,
    method: Method = "tornado",
    replications: int = 10,
    confidence: float = 0.95,
    calibrations: int = 0,
    seed: int = 1,
    store: str | Path | None = "results",
    **options: Any,
) -> Sensitivity:
    """Vary uncertain figures of a scenario, under common random numbers, and find those on which the answer depends.

    Args:
        scenario: A scenario, or the name or path of one.
        strategies: One: its figure is the answer. Two: the answer compares the figure of the first with that of the second.
        metric: Name of the figure.
        factors: How far figures may be off, by path (``{"workload.rate": "20%", "services.*.service_time": "30%"}``); None: what the scenario states.
        method: ``tornado``: one factor at a time; with two strategies, also which factor flips the answer. ``morris``: elementary effects, all
            factors together (needs the extra `sensitivity`). ``sobol``: shares of the variance.
        replications: Of each cell.
        confidence: Of all intervals, from 0 to 1.
        calibrations: If the scenario refers to a calibration: how many are drawn again from its samples, to show the uncertainty from their sizes; 0: none.
        seed: Of the runs and of all draws.
        store: As in `simtx.sweep`.
        options: `executor`, `workers`, `progress` and others of `simtx.sweep`.

    Returns:
        The study: effects with intervals (``table``), and with two strategies the distance of each factor from a flip.

    Raises:
        ScenarioError: An input is wrong, or a run has failed or has no figure: it is named.
        KeyboardInterrupt: It was interrupted; the same call goes on from the finished runs, which are in the store.
    """
    from simtx.scenario import load

    scenario = load(scenario)
    for name in options:
        if name not in _OPTIONS:
            raise ScenarioError(f"{shown(name)} is no option of sensitivity; {hint(name, _OPTIONS)}", "sensitivity")
    check_confidence(confidence)
    ranking(metric)
    if method not in get_args(Method):
        raise ScenarioError(f"{shown(method)} is no method; {hint(str(method), get_args(Method))}", "method")
    if isinstance(strategies, str) or len(strategies) not in (1, 2):
        raise ScenarioError("give a list of one strategy, or of two that are compared", "strategies")
    check_metric(metric, scenario)  # last: it plays a few transactions
    bare, chosen = factors_of(scenario, factors)
    if calibrations:
        _check_inputs(scenario, calibrations, replications)
    settings = {"seed": seed, "store": store, **options}
    if method == "tornado":
        found = _tornado(bare, strategies, metric, chosen, replications, confidence, seed, settings)
    else:
        found = _global(bare, strategies, metric, chosen, method, replications, confidence, seed, settings)
    inputs = None
    if calibrations:
        inputs = _inputs(scenario, strategies, found.question, calibrations, replications, seed, settings)
    asked: dict[str, Any] = {"metric": metric, "factors": factors, "method": method, "replications": replications}
    asked |= {"confidence": confidence, "calibrations": calibrations, "seed": seed}
    usual = {name: one.default for name, one in inspect.signature(sensitivity).parameters.items()}
    line = command(
        "sensitivity",
        scenario,
        list(found.sweep.study.strategies.values()),
        {name: value for name, value in asked.items() if value != usual[name]},
    )
    return dataclasses.replace(found, inputs=inputs, command=line)


def _early(found: Sensitivity, runs: Sweep) -> Sensitivity:
    """The study, which says in how many cells a time of all transactions ranks nobody since who leads there commits much less."""
    metric, names = found.question.metric, found.question.strategies
    less = runs.committing_less(metric, names, found.confidence)
    lost = {cell for cell, _ in less if not runs.leading(metric, [cell], names, confidence=found.confidence).iloc[0]}
    cells = list(runs.cells.index)
    who = {name: most for (cell, name), most in less.items() if cell in lost}
    said = early(metric, who, f"in {len(lost)} of {len(cells)} cells", runs.metrics)
    as_it_is = found.answer is not None  # the first cell is the scenario as it is
    return dataclasses.replace(found, early=said, ranked=not (as_it_is and cells[0] in lost))


def _tornado(
    scenario: Scenario,
    strategies: Sequence[Strategy | str],
    metric: str,
    factors: Mapping[str, Uncertainty],
    replications: int,
    confidence: float,
    seed: int,
    settings: Mapping[str, Any],
) -> Sensitivity:
    wanted = positions(list(factors))
    runs = play(scenario, strategies, factors, wanted, replications, settings)
    question = Question(metric, tuple(runs.strategies))
    found = answers(figures(runs, question, cells_of(runs, factors, wanted)), question)
    table, left = tornado(factors, found, confidence), noise(found, confidence)
    flipped: pd.DataFrame | None = None
    if question.paired:
        flipped = _flips(found, factors, confidence, seed)
        check = flip.to_check(factors, flipped)
        if check:
            wanted = [*wanted, *({name: place} for name, place in check.items())]
            runs = play(scenario, strategies, factors, wanted, replications, settings)
            found = answers(figures(runs, question, cells_of(runs, factors, wanted)), question)
            flipped = _flips(found, factors, confidence, seed, check)
    study = Sensitivity(
        question,
        "tornado",
        found.scale,
        interval(found.values[0], confidence),
        table,
        left,
        flipped,
        None,
        confidence,
        replications,
        runs,
        {name: one.notation for name, one in factors.items()},
    )
    return _early(study, runs)


def _flips(
    found: Answers,
    factors: Mapping[str, Uncertainty],
    confidence: float,
    seed: int,
    check: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    places: dict[str, list[float]] = {}
    values = {}
    checked = {name: 1 + 2 * len(factors) + index for index, name in enumerate(check or {})}
    for index, name in enumerate(factors):
        rows = [0, 1 + 2 * index, 2 + 2 * index]
        places[name] = [0.0, -1.0, 1.0]
        if check is not None and name in checked and check[name] not in places[name]:
            places[name].append(check[name])
            rows.append(checked[name])
        values[name] = found.values[rows]
    return flip.flips(factors, places, values, confidence, seed)


def _global(
    scenario: Scenario,
    strategies: Sequence[Strategy | str],
    metric: str,
    factors: Mapping[str, Uncertainty],
    method: Method,
    replications: int,
    confidence: float,
    seed: int,
    settings: Mapping[str, Any],
) -> Sensitivity:
    names = list(factors)
    if method == "morris":
        places = indices.morris_positions(names, _TRAJECTORIES, seed)
    else:
        from scipy.stats import qmc

        count = int(2 ** np.ceil(np.log2(_CELLS_A_FACTOR * len(names))))
        places = 2 * np.asarray(qmc.Sobol(len(names), seed=np.random.default_rng(seed)).random(count)) - 1
    wanted = [dict(zip(names, (float(f"{value:.4g}") for value in row), strict=True)) for row in places]
    runs = play(scenario, strategies, factors, wanted, replications, settings)
    question = Question(metric, tuple(runs.strategies))
    found = answers(figures(runs, question, cells_of(runs, factors, wanted)), question)
    if method == "morris":
        table, left = indices.morris(names, places, found, confidence, seed)
    else:
        table, left = indices.sobol(names, (places + 1) / 2, found, confidence, seed)
    notations = {name: one.notation for name, one in factors.items()}
    study = Sensitivity(
        question, method, found.scale, None, table, left, None, None, confidence, replications, runs, notations
    )
    return _early(study, runs)


def _check_inputs(scenario: Scenario, draws: int, replications: int) -> None:
    if isinstance(draws, bool) or draws != int(draws) or draws < 2:
        raise ScenarioError(f"must be a whole number from 2, or 0 for none, not {draws!r}", "calibrations")
    if replications < 2:
        raise ScenarioError("needs two replications or more, to tell the two parts apart", "calibrations")
    calibration_of(scenario)


def _inputs(
    scenario: Scenario,
    strategies: Sequence[Strategy | str],
    question: Question,
    draws: int,
    replications: int,
    seed: int,
    settings: Mapping[str, Any],
) -> InputUncertainty:
    calibration = calibration_of(scenario)
    folder = Path(settings["store"] if settings["store"] is not None else ".") / "calibrations"
    files = written(calibration, draws, seed, folder)
    bare = scenario.replace(uncertainty=None) if scenario.uncertainty else scenario
    runs = sweep(bare, {"calibration": files[1:]}, strategies, replications=replications, **settings)
    return taken_apart(calibration, answers(figures(runs, question, list(runs.cells.index)), question))


def of_sweep(
    runs: Sweep, metric: str, strategies: Sequence[str], *, confidence: float = 0.95, seed: int = 1
) -> Sensitivity:
    """Sobol indices of the parameters of a sweep, at no further run; see `Sweep.sensitivity`."""
    check_confidence(confidence)
    if isinstance(strategies, str) or len(strategies) not in (1, 2):
        raise ScenarioError("give one strategy, or two that are compared", "between")
    columns = runs.cells
    varied = [name for name in runs.parameters if columns[name].nunique() > 1]
    for name in varied:
        if not pd.api.types.is_numeric_dtype(columns[name]) or pd.api.types.is_bool_dtype(columns[name]):
            raise ScenarioError("its values are no numbers, so that nothing is between them", name)
    if not varied:
        raise ScenarioError("no parameter of this sweep has two values", "sensitivity")
    question = Question(metric, tuple(strategies))
    table = columns[varied].astype(float)
    places = ((table - table.min()) / (table.max() - table.min())).to_numpy()
    found = answers(figures(runs, question, list(columns.index)), question)
    indexed, left = indices.sobol(varied, places, found, confidence, seed)
    notations = {name: {"s": "duration", "1/s": "rate"}.get(runs.units.get(name, ""), "") for name in varied}
    study = Sensitivity(
        question,
        "sobol",
        found.scale,
        None,
        indexed,
        left,
        None,
        None,
        confidence,
        found.values.shape[1],
        runs,
        notations,
    )
    return _early(study, runs)


def play(
    scenario: Scenario,
    strategies: Sequence[Strategy | str],
    factors: Mapping[str, Uncertainty],
    positions: Sequence[Mapping[str, float]],
    replications: int,
    options: Mapping[str, Any],
) -> Sweep:
    """Play one cell for each of these positions of the factors; what is not mentioned stays as it is.

    All cells meet the same random numbers, replication by replication.

    Raises:
        KeyboardInterrupt: It was interrupted; what is finished is in the store.
    """
    cells = [cell_values(factors, position) for position in positions]
    found: Sweep = sweep(scenario, cells, strategies, replications=replications, **options)
    if found.stopped.startswith(INTERRUPTED):
        raise KeyboardInterrupt(found.stopped)
    return found
