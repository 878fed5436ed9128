"""``simtx saturation``: the highest throughput that a scenario sustains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import draw_out, drawable, go_on, load, played_by, print_json
from simtx.cli.options import (
    ChangeOption,
    EngineOption,
    JsonOption,
    PictureOption,
    ScenarioArgument,
    SeedOption,
    StrategiesArgument,
)


def saturation(
    scenario: ScenarioArgument,
    strategies: StrategiesArgument = None,
    replications: Annotated[int, typer.Option(min=2, help="Runs of each number of users.")] = 5,
    transactions: Annotated[int, typer.Option(min=100, help="Transactions of each run at least.")] = 2_000,
    most_users: Annotated[int, typer.Option(min=1, help="Where the search ends at the latest.")] = 4096,
    seed: SeedOption = 1,
    change: ChangeOption = None,
    out: PictureOption = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep what is finished in this file; default: saturation.jsonl, which is removed when the search has come to its end.",
        ),
    ] = None,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Search the highest throughput that a scenario sustains.

    It is searched for each strategy, and has an interval.
    """
    from simtx.experiments.compare import DEFAULT
    from simtx.experiments.saturation import saturation as search

    chosen = load(scenario, change or ())
    if out is not None:
        drawable(out, "--out")
    kept = store or Path("saturation.jsonl")
    try:
        with played_by(engine):
            found = search(
                chosen,
                strategies or list(DEFAULT),
                replications=replications,
                transactions=transactions,
                most_users=most_users,
                seed=seed,
                store=kept,
                progress=False if json else None,
            )
    except KeyboardInterrupt:
        go_on()
    if store is None:
        kept.unlink(missing_ok=True)
    if json:
        print_json(found.to_dict())
    else:
        typer.echo(str(found))
    draw_out(found.plot, out, json=json)
