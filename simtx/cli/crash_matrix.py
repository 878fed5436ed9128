"""``simtx crash-matrix``: kill -9 at every place of a protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import BrokerOption, JsonOption, StoreOption, StrategyArgument


def crash_matrix(
    strategy: StrategyArgument,
    store: StoreOption = "sqlite",
    broker: BrokerOption = "embedded",
    complete: Annotated[
        bool, typer.Option("--complete", help="Every place in every variant of the transaction; takes minutes.")
    ] = False,
    places: Annotated[
        int | None, typer.Option(min=1, help="How many places, evenly spread, if it is not complete. Default: 24.")
    ] = None,
    kills: Annotated[int, typer.Option(min=1, max=4, help="Kills in one transaction at most.")] = 2,
    process: Annotated[str | None, typer.Option(help="Kill this process only: payer, payee.relay, ...")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the folders of runs with violations here; default: they are deleted.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Kill real processes with SIGKILL before, between and behind the effects of every handler, and check the results.

    Ends with 0 when nothing is violated, and with 1 when something is. The losses of a dual write are expected, and counted. Ctrl-C ends
    every process and shows what was found until then (130).
    """
    from simtx.cli.common import conclude
    from simtx.validation.crash_matrix import crash_matrix as search

    matrix = search(
        strategy,
        store=store,
        broker=broker,
        complete=complete,
        limit=places,
        depth=kills,
        process=process,
        keep=keep,
        progress=False if json else None,
    )
    conclude(matrix, json=json)
