"""``simtx convert``: a history of another tool as a file of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    """Write a history of another tool in the form that the page on histories describes; what it is, is told by its content."""
    import json

    from simtx.cli.common import replacing
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
