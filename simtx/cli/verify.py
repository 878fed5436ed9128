"""``simtx verify``: everything that a strategy can do in a small scope."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

import typer


def verify(
    strategy: Annotated[str, typer.Argument(help="2pc, saga, outbox or dual-write; options as in '2pc:work=before'.")],
    participants: Annotated[int, typer.Option(help="Services, each with one step of the transaction.")] = 2,
    messages: Annotated[int, typer.Option(help="Transactions that the client asks for.")] = 1,
    crashes: Annotated[int, typer.Option(help="Crashes of any node between any two effects.")] = 1,
    losses: Annotated[int, typer.Option(help="Messages that get lost while both ends are up.")] = 0,
    duplicates: Annotated[int, typer.Option(help="Messages that arrive twice.")] = 1,
    timeouts: Annotated[int, typer.Option(help="Timers that fire early.")] = 1,
    failures: Annotated[int, typer.Option(help="Store operations that fail for a passing reason.")] = 0,
    interventions: Annotated[int, typer.Option(help="Requests of an operator.")] = 0,
    parallel: Annotated[bool, typer.Option("--parallel", help="The steps form a graph and not a chain.")] = False,
    pivot: Annotated[int | None, typer.Option(help="Index of the step that is the point of no return.")] = None,
    reads: Annotated[int, typer.Option(help="How many services, the last ones, only read.")] = 0,
    symmetry: Annotated[
        bool,
        typer.Option("--symmetry", help="Explore once what differs only in who of several like participants is who."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that search.")] = 1,
    max_states: Annotated[int | None, typer.Option(min=1, help="Stop rather than hold more states.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Stop after this time.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Explore every order of events and every crash point of a strategy in a small scope.

    Ends with 0 when every property holds, and with 1 when one is violated, the exploration was stopped, or something that must be
    possible never happens.
    """
    from simtx.checker.verify import verify as explore
    from simtx.cli.common import print_json

    signal.signal(signal.SIGTERM, _as_interrupt)
    verdict = explore(
        strategy,
        participants=participants,
        messages=messages,
        crashes=crashes,
        losses=losses,
        duplicates=duplicates,
        timeouts=timeouts,
        failures=failures,
        interventions=interventions,
        parallel=parallel,
        pivot=pivot,
        reads=reads,
        symmetry=symmetry,
        workers=workers,
        max_states=max_states,
        max_seconds=max_seconds,
        progress=not json,
    )
    if json:
        print_json(verdict.as_dict())
    else:
        typer.echo(verdict.text)
    if verdict.stopped == "interrupted":
        typer.echo("simtx: warning: interrupted; what was found until then is shown", err=True)
        sys.exit(130)  # it has said so itself
    if not verdict.ok:
        raise typer.Exit(1)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    """A polite kill ends as Ctrl-C does: the exploration stops and what it has found is shown."""
    signal.raise_signal(signal.SIGINT)
