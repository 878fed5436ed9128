"""``simtx scenarios`` and ``simtx strategies``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from simtx.cli.common import load, print_json
from simtx.cli.options import JsonOption


def scenarios(
    name: Annotated[
        str | None, typer.Argument(help="Describe this scenario: a name, or the path of a TOML file.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the built-in scenarios, or describe one."""
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


def strategies(json: JsonOption = False) -> None:
    """List the built-in strategies and their options.

    Of each it prints what it is, and what its answer to the client means.
    """
    from simtx.protocols import strategies as known
    from simtx.protocols.registry import LABELS, options_of

    listing = known()
    if not json:
        typer.echo(str(listing))
        return
    print_json(
        [
            {"name": name, "title": LABELS[name], "promise": one.promise, "options": options_of(one)}
            for name, one in listing.items()
        ]
    )
