"""``simtx diff``: where two runs part first, and what led there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import echo_verdict, print_json
from simtx.cli.options import JsonOption


def diff(
    a: Annotated[
        Path, typer.Argument(help="A run that was saved, the folder of a real run, an event log, or a folder with one.")
    ],
    b: Annotated[Path, typer.Argument(help="Likewise.")],
    outcomes: Annotated[
        bool, typer.Option("--outcomes", help="Compare decisions and changed values only, as between two strategies.")
    ] = False,
    order: Annotated[
        bool, typer.Option("--order", help="Compare also in which order things happened on a node.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show where two event logs part first, and why.

    Clocks and ids do not count. Ends with 1 if the logs differ: the first difference is shown, with its causes.
    """
    import simtx
    from simtx.errors import ScenarioError

    if outcomes and order:
        raise ScenarioError("outcomes have no order; leave one of the two out", "--order")
    found = simtx.diff(a, b, what="outcomes" if outcomes else "entries", order=order)
    if json:
        print_json(found.to_dict())
    else:
        echo_verdict(found.same, str(found))
    if not found.same:
        raise typer.Exit(1)
