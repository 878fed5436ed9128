"""``simtx story``: one way in which distributed transactions go wrong, and the lesson of it."""

from __future__ import annotations

from typing import Annotated

import typer

from simtx.cli.common import draw_out, drawable, played_by, print_json
from simtx.cli.options import EngineOption, JsonOption, PictureOption, SeedOption


def story(
    name: Annotated[str | None, typer.Argument(help="Name of the story; without one, all are listed.")] = None,
    seed: SeedOption = 1,
    out: PictureOption = None,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Play a failure story, and show its lesson.

    Prints a table, the lesson, and what the runs show. Ends with 1 if the runs do not show what the story says.
    """
    import simtx
    from simtx.errors import ScenarioError

    if name is None:
        if out is not None:
            raise ScenarioError(
                "is the picture of one story; name it: simtx story broker-outage --out PICTURE", "--out"
            )
        known = simtx.stories()
        if json:
            print_json([{"name": one.name, "title": one.title, "cases": one.labels} for one in known.values()])
        else:
            typer.echo(str(known))
        return
    chosen = simtx.story(name)
    if out is not None:
        drawable(out, "--out")
    with played_by(engine):
        told = chosen.run(seed)
    if json:
        print_json(
            {
                "name": chosen.name,
                "title": chosen.title,
                "lesson": told.lesson,
                "finding": told.finding,
                "holds": told.holds,
                "omits": chosen.omits,
                "seed": seed,
                "cases": {
                    label: {
                        "strategy": chosen.cases[label].strategy,
                        "command": run.provenance.command,
                        **told.table()[label],
                    }
                    for label, run in told.runs.items()
                },
            }
        )
    else:
        typer.echo(str(told))
    draw_out(told.plot, out, json=json)
    if not told.holds:
        raise typer.Exit(1)
