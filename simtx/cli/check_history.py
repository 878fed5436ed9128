"""``simtx check-history``: whether a recorded history is possible at a consistency level; ``simtx convert``: one of another tool as a file of ours."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simtx.cli.common import draw, drawable, echo_verdict, print_json, replacing
from simtx.cli.options import JsonOption

if TYPE_CHECKING:
    from simtx.histories import HistoryReport


class _Transactions(StrEnum):
    business = "business"
    local = "local"


def check_history(
    file: Annotated[
        Path,
        typer.Argument(
            help="Transactions as JSON or JSON Lines, a history of Jepsen, of dbcop or in lines, or the event log of a run."
        ),
    ],
    consistency: Annotated[
        str, typer.Option(help="The level, such as snapshot-isolation, serializable or strong-session-serializable.")
    ] = "serializable",
    assume: Annotated[
        list[str] | None,
        typer.Option(
            help="What is known of the order of writes to registers: wfr_keys, sequential_keys, linearizable_keys; may be repeated."
        ),
    ] = None,
    transactions: Annotated[
        _Transactions | None,
        typer.Option(help="Of an event log: business transactions (the default), or the local ones of the stores."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="PICTURE", help="Draw the gravest cycle into this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Check a recorded history against a consistency level.

    Ends with 0 when it is possible at this level, and with 1 when it is not, or when that is unknown.
    """
    from simtx.histories import check_history as check

    if plot is not None:
        drawable(plot, "--plot")
    report = check(
        file, consistency, _granted(assume or ()), transactions=None if transactions is None else transactions.value
    )
    if plot is not None:
        _draw(report, plot)
    if json:
        print_json(report.to_dict())
    else:
        echo_verdict(report.valid, report.explain())
        if plot is not None:
            typer.echo(f"written: {plot}")
    if report.valid is not True:
        raise typer.Exit(1)


def convert(
    file: Annotated[
        Path,
        typer.Argument(
            help="A history of Jepsen (EDN or JSON), of dbcop, or lines such as w(key,value,session,transaction)."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write, with one transaction a line (JSON Lines).")
    ],
) -> None:
    """Write a history of another tool as a file of simtx.

    The page on histories describes its form. The content of the history says which tool has written it.
    """
    import json

    from simtx.errors import ScenarioError
    from simtx.histories.parsing import Entries, read_file, read_history

    entries = read_file(file)
    if not isinstance(entries, Entries):
        problem = "is the event log of a run, whose order of versions no list of transactions holds; check it as it is: simtx check-history"
        raise ScenarioError(problem, file.name)
    read_history(entries)
    with replacing(out) as path, path.open("w", encoding="utf-8") as written:
        for entry in entries:
            written.write(json.dumps(entry, ensure_ascii=False) + "\n")
    typer.echo(f"written: {out} ({len(entries)} transactions)")


def _granted(names: list[str] | tuple[str, ...]) -> list[str]:
    """The assumptions by name; those that need more than a name can be granted in Python only.

    Raises:
        ScenarioError: One needs more than a name.
    """
    from simtx.errors import ScenarioError

    for name in names:
        if name in ("commit_order", "version_order"):
            problem = f"'{name}' is a list; grant it in Python: simtx.check_history(file, assume={{'{name}': ...}})"
            raise ScenarioError(problem, "--assume")
    return list(names)


def _draw(report: HistoryReport, path: Path) -> None:
    """Draw into a file, before the text goes out.

    Raises:
        ScenarioError: The file cannot be written.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 5))
    report.plot(axes)
    draw(figure, path, "--plot")
