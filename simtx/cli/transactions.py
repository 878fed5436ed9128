"""``simtx transactions``: what is not finished in a run, and what an operator does about it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from simtx.cli.common import add_command, print_json
from simtx.cli.options import JsonOption, RunFolderArgument
from simtx.listing import aligned
from simtx.printable import printable

if TYPE_CHECKING:
    from simtx.reference.operate import Act
    from simtx.reference.operating.open_transactions import OpenTransaction
    from simtx.reference.operating.request import Kind

transactions = typer.Typer(
    name="transactions",
    short_help="List and resolve what is not finished in a real run.",
    help="List and resolve what is stuck, in doubt or orphaned in the folder of a run (simtx execute --keep FOLDER).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Transaction: TypeAlias = Annotated[
    str, typer.Argument(metavar="TX", help="Number of the transaction, or the database's name of an orphaned branch.")
]
Reason: TypeAlias = Annotated[str, typer.Option(help="Why; it goes into the audit log.")]
Operator: TypeAlias = Annotated[str | None, typer.Option(help="Who; default: this user.")]
Node: TypeAlias = Annotated[str | None, typer.Option(help="Where, if it waits at several nodes.")]
Store: TypeAlias = Annotated[
    str | None, typer.Option(help="DSN of your database server, if the run was played on one.")
]
Broker: TypeAlias = Annotated[str | None, typer.Option(help="URL of your broker, if the run was played on one.")]
Trust: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Let programs run that are in the folder: a strategy of your own, and PostgreSQL on its data. For folders that you have made, "
        "and into which nobody else could write since.",
    ),
]
Patience: TypeAlias = Annotated[float, typer.Option(min=0, help="Seconds to wait until everything has settled.")]


class _Outcome(StrEnum):
    commit = "commit"
    abort = "abort"


def list_(
    folder: RunFolderArgument,
    store: Store = None,
    broker: Broker = None,
    trust: Trust = False,
    json: JsonOption = False,
) -> None:
    """List what is not finished, the gravest first.

    That is what is stuck, in doubt, orphaned, stopped or in flight. Nothing is changed. Ends with 1 if a store is damaged.
    """
    from simtx.reference.operate import list_transactions

    rows = list_transactions(folder, store=store, broker=broker, trust=trust)
    if json:
        print_json([row.to_dict() for row in rows])
    else:
        typer.echo(_table(rows) if rows else "nothing is open")
    if any(row.problem == "damaged" for row in rows):
        raise typer.Exit(1)


def _simple(kind: Kind, text: str) -> Callable[..., None]:
    """The command for an intervention that needs no more than a reason; the text says what it does."""

    def command(
        folder: RunFolderArgument,
        tx: Transaction,
        reason: Reason,
        operator: Operator = None,
        node: Node = None,
        store: Store = None,
        broker: Broker = None,
        trust: Trust = False,
        patience: Patience = 30.0,
        json: JsonOption = False,
    ) -> None:
        _act(**{**locals(), "kind": kind})

    command.__doc__ = f"{text}\n\nEnds with 1 if the transaction is still open then."
    return command


def resolve(
    folder: RunFolderArgument,
    tx: Transaction,
    reason: Reason,
    outcome: Annotated[
        _Outcome | None, typer.Option(help="Of a branch in doubt or of another run's, without its coordinator.")
    ] = None,
    heuristic: Annotated[
        bool,
        typer.Option("--heuristic", help="Mean it: a coordinator that decides otherwise leaves the data inconsistent."),
    ] = False,
    operator: Operator = None,
    node: Node = None,
    store: Store = None,
    broker: Broker = None,
    trust: Trust = False,
    patience: Patience = 30.0,
    json: JsonOption = False,
) -> None:
    """Count a transaction as dealt with by hand, or end a branch.

    Ends with 1 if it is still open then.
    """
    _act("resolve", **{**locals(), "outcome": None if outcome is None else outcome.value})


add_command(transactions, list_, "list")
add_command(transactions, _simple("retry", "Try again, or ask the coordinator again."), "retry")
add_command(transactions, _simple("skip", "Count the step that is stuck as dealt with, and go on."), "skip")
add_command(transactions, resolve)


def _act(kind: Kind, folder: Path, tx: str, json: bool, **options: Any) -> None:
    """Intervene, and print the result."""
    from simtx.reference.operate import intervene

    act = intervene(folder, int(tx) if tx.isascii() and tx.isdigit() else tx, kind, **options)
    if json:
        print_json(_document(act))
    else:
        typer.echo(_text(act))
    if not act.settled:
        raise typer.Exit(1)


def _document(act: Act) -> dict[str, object]:
    from simtx.cli.audit import as_dict

    return {
        "transaction": act.transaction,
        "kind": act.kind,
        "settled": act.settled,
        "said": [{"node": node, "text": text} for node, text in act.said],
        "audit": [as_dict(entry) for entry in act.lines],
        "left": [row.to_dict() for row in act.left],
    }


def _text(act: Act) -> str:
    from simtx.cli.audit import as_text

    lines = [printable(f"{node}: {text}") for node, text in act.said]
    lines += [f"  {as_text(entry)}" for entry in act.lines]
    if act.left:
        lines += ["settled, but for:" if act.settled else "still open:", _table(act.left)]
    else:
        lines.append("settled")
    return "\n".join(lines)


def _table(rows: list[OpenTransaction]) -> str:
    """One line a row, and what does not fit into it below."""
    head = ("tx", "node", "problem", "state", "age", "why")
    cells: list[tuple[str, ...]] = [
        (
            str(row.transaction) if row.transaction >= 0 else "-",
            printable(row.node),
            row.problem,
            printable(row.state) or "-",
            _age(row.age_s) if row.since else "-",
            printable(row.reason) or "-",
        )
        for row in rows
    ]
    first, *below = aligned([head, *cells])
    width = max(len(line[0]) for line in (head, *cells))
    lines = [first]
    for row, line in zip(rows, below, strict=True):
        lines.append(line)
        if row.locked:
            lines.append(f"{'':{width}}  locks {printable(', '.join(row.locked))}")
        if row.branch:
            lines.append(f"{'':{width}}  prepared as '{printable(row.branch)}'")
    return "\n".join(lines)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
