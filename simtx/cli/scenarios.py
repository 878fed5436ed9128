"""``simtx scenarios``: what there is to be played."""

from __future__ import annotations

from typing import Annotated

import typer

from simtx.cli.common import JsonOption


def scenarios(
    name: Annotated[
        str | None, typer.Argument(help="Describe this scenario: a name, or the path of a TOML file.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the built-in scenarios, or describe one."""
    from simtx.cli.common import load, print_json
    from simtx.scenario import load as load_scenario
    from simtx.scenario import names

    if name is not None:
        scenario = load(name, ())
        if json:
            print_json(scenario.to_dict())
        else:
            typer.echo(scenario.describe())
        return
    known = [load_scenario(one) for one in names()]
    if json:
        print_json(
            [
                {
                    "name": one.name,
                    "title": one.title,
                    "services": list(one.services),
                    "steps": [step.name for step in one.transaction.steps],
                    "path": one.path,
                }
                for one in known
            ]
        )
        return
    width = max(len(one.name) for one in known)
    for one in known:
        typer.echo(f"{one.name:<{width}}  {one.title}")
        steps = ", ".join(f"{step.name} ({step.service})" for step in one.transaction.steps)
        typer.echo(f"{'':<{width}}  steps: {steps}")
