"""``simtx strategies``: what there is to choose from."""

from __future__ import annotations

import typer

from simtx.cli.common import JsonOption


def strategies(json: JsonOption = False) -> None:
    """List the built-in strategies: what each is, what its answer to the client means, and its options."""
    from simtx.cli.common import print_json
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
