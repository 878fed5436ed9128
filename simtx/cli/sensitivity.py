"""``simtx sensitivity``: what an answer depends on, and which assumption flips it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from simtx.cli.common import changed, engine_named, go_on, knowing, load, print_json, save_pictures
from simtx.cli.options import ChangeOption, EngineOption, JsonOption, ScenarioArgument, SeedOption, WorkersOption


def sensitivity(
    scenario: ScenarioArgument,
    strategies: Annotated[list[str], typer.Argument(help="One strategy, or two that are compared.")],
    metric: Annotated[
        str | None,
        typer.Option(
            help="The figure that is looked at; default: latency_p99_ms, or decision_p99_ms if answers of two strategies promise different things."
        ),
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(
            "--factor",
            metavar="PATH=SHARE",
            help="What may be off: workload.rate=20%; default: what the scenario states.",
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="'tornado', 'morris' or 'sobol'.")] = "tornado",
    replications: Annotated[int, typer.Option(min=1, help="Of each cell.")] = 10,
    calibrations: Annotated[
        int, typer.Option(min=0, help="Calibrations to draw again from their samples; 0: none.")
    ] = 0,
    seed: SeedOption = 1,
    workers: WorkersOption = None,
    change: ChangeOption = None,
    store: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Find what the answer depends on.

    What is not known is varied under common random numbers. Names the assumptions that flip the answer.
    """
    from simtx.errors import ScenarioError
    from simtx.experiments.said import usual_metric
    from simtx.experiments.sensitivity import sensitivity as study
    from simtx.protocols.registry import strategy

    chosen = load(scenario, change or ())
    wanted: Any = method
    player = engine_named(engine)
    metric = metric or usual_metric(strategy(one).promise for one in strategies)
    factors = changed(factor, "--factor", "workload.rate=20%") if factor else None
    try:
        found = study(
            chosen,
            strategies,
            metric,
            factors=factors,
            method=wanted,
            replications=replications,
            calibrations=calibrations,
            seed=seed,
            store=store,
            workers=workers,
            progress=False if json else None,
            engine=player,
            on_result=knowing([metric], len(strategies)),
        )
    except KeyboardInterrupt:
        go_on()
    except ScenarioError as error:
        raise ScenarioError("\n".join(_optional(line) for line in str(error).splitlines())) from None
    kinds = (method, *(["flips"] if found.flips is not None else []))
    drawn = {f"{chosen.name}-{kind}-{metric}": functools.partial(found.plot, kind) for kind in kinds}
    files = save_pictures(store, drawn)
    if json:
        print_json({**found.as_dict(), "files": files})
    else:
        typer.echo(str(found))
        typer.echo(f"\nwritten to {store}/: {', '.join(files)}")


def _optional(line: str) -> str:
    """An error as the command line writes its options."""
    return f"--factor {line.removeprefix('factors: ')}" if line.startswith("factors: ") else line
