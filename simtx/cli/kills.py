"""``simtx crash-matrix`` and ``simtx soak``: real processes are killed, at every place of a protocol or at random."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from simtx.cli.common import print_json
from simtx.cli.options import BrokerOption, JsonOption, StoreOption, StrategyArgument

if TYPE_CHECKING:
    from simtx.validation.crash_matrix import CrashMatrix
    from simtx.validation.soak import Soak

KeepOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Keep the folders of runs with violations here; default: they are deleted.")
]


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
    keep: KeepOption = None,
    json: JsonOption = False,
) -> None:
    """Kill real processes at every place of a protocol.

    They are killed (SIGKILL) before, between and behind the effects of every handler, and the results are checked.
    Ends with 0 when nothing is violated, and with 1 when something is. The losses of a dual write are expected, and counted. Ctrl-C ends
    every process and shows what was found until then (130).
    """
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
    _conclude(matrix, json=json)


def soak(
    strategy: StrategyArgument,
    minutes: Annotated[float, typer.Option(help="How long; at least one round is played.")] = 1.0,
    store: StoreOption = "sqlite",
    broker: BrokerOption = "embedded",
    rate: Annotated[float, typer.Option(help="Transactions a second.")] = 15.0,
    every: Annotated[float, typer.Option(help="Mean seconds between two faults.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of transactions and faults.")] = 1,
    keep: KeepOption = None,
    json: JsonOption = False,
) -> None:
    """Kill and pause processes at random under load.

    Processes, databases and the broker are killed (SIGKILL), or stopped for a while (SIGSTOP).
    Ends with 0 when nothing is violated, and with 1 when something is. Ctrl-C ends every process and shows what was found until then (130).
    """
    from simtx.validation.soak import soak as run

    result = run(
        strategy,
        minutes=minutes,
        store=store,
        broker=broker,
        rate=rate,
        every=every,
        seed=seed,
        keep=keep,
        progress=False if json else None,
    )
    _conclude(result, json=json)


def _conclude(result: CrashMatrix | Soak, *, json: bool) -> None:
    """Print the result of a check, and end as it did.

    Raises:
        Exit: It was interrupted (130), or something is violated (1).
    """
    if json:
        print_json(result.as_dict())
    else:
        typer.echo(result.text)
    if result.interrupted:
        raise typer.Exit(130)
    if not result.ok:
        raise typer.Exit(1)
