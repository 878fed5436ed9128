"""``simtx soak``: random kills and pauses under load, for as long as asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import BrokerOption, JsonOption, StoreOption, StrategyArgument


def soak(
    strategy: StrategyArgument,
    minutes: Annotated[float, typer.Option(help="How long; at least one round is played.")] = 1.0,
    store: StoreOption = "sqlite",
    broker: BrokerOption = "embedded",
    rate: Annotated[float, typer.Option(help="Transactions a second.")] = 15.0,
    every: Annotated[float, typer.Option(help="Mean seconds between two faults.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of transactions and faults.")] = 1,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the folders of rounds with violations here; default: they are deleted.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run transactions while processes, databases and the broker are killed (SIGKILL) or stopped for a while (SIGSTOP) at random.

    Ends with 0 when nothing is violated, and with 1 when something is. Ctrl-C ends every process and shows what was found until then (130).
    """
    from simtx.cli.common import conclude
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
    conclude(result, json=json)
