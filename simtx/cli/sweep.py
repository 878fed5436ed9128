"""``simtx sweep``: strategies over the values of parameters, in a results folder that plays nothing twice."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simtx.cli.common import changed, engine_named, go_on, knowing, print_json, save_pictures, tell_repeats
from simtx.cli.options import ChangeOption, EngineOption, JsonOption, ReplicationsOption, ResultsOption, WorkersOption

if TYPE_CHECKING:
    from simtx.experiments.sweep import Plan, Sweep


def sweep(
    experiment: Annotated[Path, typer.Argument(help="A TOML file that says what is played; see docs/sweeps.md.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Play nothing; say what there is to do, and how long it takes.")
    ] = False,
    store: ResultsOption = None,
    replications: ReplicationsOption = None,
    workers: WorkersOption = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler that plays the runs: tcp://HOST:8786.")
    ] = None,
    accept_stale: Annotated[
        bool, typer.Option("--accept-stale", help="Keep figures that were made by other code.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Play runs again that have failed before.")
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric of the table and the picture; may be given several times.")
    ] = None,
    change: ChangeOption = None,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Simulate strategies over the values of parameters.

    Prints a table, and writes figures and pictures into the results folder.
    What is finished is kept: the same command goes on where it was interrupted. Ends with 0 when all runs are there, and with 1 when some
    have failed or are missing.
    """
    import simtx
    from simtx.experiments.said import usual_metric
    from simtx.experiments.sweep.experiment import load_experiment
    from simtx.experiments.sweep.runner import INTERRUPTED
    from simtx.experiments.work import check_metric
    from simtx.metrics.figures import ranking
    from simtx.protocols.registry import strategy

    chosen = load_experiment(experiment, changed(change or ()))
    arguments = dict(chosen.arguments)
    arguments["store"] = store or arguments["store"]
    arguments["replications"] = replications or arguments["replications"]
    options: dict[str, Any] = {
        "workers": workers,
        "executor": scheduler,
        "accept_stale": accept_stale,
        "retry_failed": retry_failed,
        "progress": False if json else None,
        "engine": engine_named(engine),
    }
    metrics = metric or [usual_metric(strategy(one).promise for one in arguments["strategies"])]
    for one in metrics:
        ranking(one, "--metric")
        check_metric(one, chosen.scenario, "--metric")
    if dry_run:
        plan: Plan = simtx.sweep(chosen.scenario, **arguments, **options, dry_run=True)
        if json:
            print_json(plan.as_dict())
        else:
            typer.echo(str(plan))
        return
    options |= {"on_plan": None if json else _announce, "on_result": knowing(metrics, len(arguments["strategies"]))}
    result: Sweep = simtx.sweep(chosen.scenario, **arguments, **options)
    metrics = metrics if result.metrics else []  # no run has figures: it was interrupted early, or all have failed
    name = arguments["name"]
    files = [f"frames/{name}.parquet"]
    if metrics and result.parameters:
        drawn = {f"{name}-{one}": functools.partial(result.plot, one) for one in metrics}
        files += save_pictures(Path(arguments["store"]), drawn)
    if json:
        print_json(_document(result, metrics, files))
    else:
        from simtx.report.sweep_tables import text

        typer.echo(text(result, metrics=metrics) if metrics else "no run has figures")
        typer.echo(f"\nwritten to {arguments['store']}/: {', '.join(files)}")
    tell_repeats(result.violations, result.failures.head(10))
    if result.stopped.startswith(INTERRUPTED):
        go_on(f"{len(result.missing)} of {len(result)} runs are missing")
    if result.lacking():
        raise typer.Exit(1)


def _announce(plan: Plan) -> None:
    """Announce what is about to happen, on standard error."""
    found = f"{plan.cached + plan.accepted:,} of {plan.runs:,} runs found"
    playing = f"playing {plan.to_play:,}" if plan.to_play else "nothing to play"
    because = f"; {plan.stale:,} are stale: {', '.join(plan.changed[:3])} changed" if plan.stale else ""
    failed = f"; {plan.failed:,} have failed before (--retry-failed plays them again)" if plan.failed else ""
    typer.echo(f"simtx: {found}, {playing}{because}{failed}", err=True)


def _document(result: Sweep, metrics: list[str], files: list[str]) -> dict[str, object]:
    cells = []
    if metrics:
        table = result.table(metrics)
        named: list[Any] = list(table.columns)
        table.columns = [f"{metric}_{field}" if field else metric for metric, field in named]
        cells = table.to_dict("records")
    return {
        "scenario": result.scenario.name,
        "parameters": result.parameters,
        "units": result.units,
        "strategies": result.strategies,
        "seed": result.seed,
        "plan": result.plan.as_dict(),
        "stopped": result.stopped,
        "warnings": result.warnings,
        "cells": cells,
        "violations": result.violations.to_dict("records"),
        "unwatched": result.unwatched,
        "failures": result.failures.to_dict("records"),
        "missing": len(result.missing),
        "files": files,
    }
