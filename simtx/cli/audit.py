"""``simtx audit``: who asked for what in a run, what changed and why; and whether that is what was written then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from simtx.cli.common import print_json
from simtx.cli.options import JsonOption, RunFolderArgument
from simtx.printable import printable
from simtx.protocols.names import CLIENT

if TYPE_CHECKING:
    from simtx.reference.run_folder.audit import Entry


_KEYS: Final = {
    "own": ", under your key",
    "other": "; the seals are under a key that is not yours, so whoever has that one has to say whether they are right",
    "none": "; the seals are under no key, so whoever can write the folder can have made them anew",
    "changed": "",
}


def audit(
    folder: RunFolderArgument,
    transaction: Annotated[int | None, typer.Option(min=0, help="Only what is about this transaction.")] = None,
    json: JsonOption = False,
) -> None:
    """Print and verify the audit logs of a real run.

    The lines of all nodes stand in the order of time. Ends with 1 if a log is not as it was written.
    """
    from simtx.reference.run_folder.audit import read_folder
    from simtx.reference.run_folder.folder import RunFolder

    run = RunFolder.open(folder)
    lines, unreadable = read_folder(run.audits())
    findings = run.verify_audits()
    shown = [entry for entry in lines if transaction is None or entry.tx == transaction]
    if json:
        print_json(
            {
                "run": run.run,
                "lines": [as_dict(entry) for entry in shown],
                "seals_under": run.origin(),
                "sealed": {node: seal[0] for node, seal in sorted(run.read().audit.items())},
                "findings": findings,
            }
        )
    else:
        for entry in shown:
            typer.echo(f"{printable(entry.time)}  {as_text(entry)}")
        for node in unreadable:
            typer.echo(f"simtx: warning: not all of the audit log of '{node}' could be read", err=True)
        typer.echo(_verdict(run, lines, findings))
    if findings:
        raise typer.Exit(1)


def _verdict(run: Any, lines: list[Entry], findings: dict[str, list[str]]) -> str:
    if findings:
        return "\n".join(
            printable(f"TAMPERED: {node}: {finding}") for node, found in findings.items() for finding in found
        )
    seals = run.read().audit
    nodes = sorted({entry.node for entry in lines} | set(seals))
    open_ = [node for node in nodes if node not in seals]
    sealed = f"; not sealed yet, so that a missing end would not show: {', '.join(open_)}" if open_ else " and seals"
    return f"{len(lines)} lines of {len(nodes)} nodes: the chain of checksums holds{sealed}{_KEYS[run.origin()]}"


def as_text(entry: Entry) -> str:
    """A line for people: transaction, node, who, what, which keys, why; nothing in it can look like another line."""
    tx = f"tx {entry.tx}" if entry.tx >= 0 else "-"
    actor = f"{entry.actor} (uid {entry.uid})" if entry.uid >= 0 else entry.actor
    parts = [f"{tx:<6} {entry.node:<14} {actor}: {entry.act}"]
    if entry.name:
        parts.append(entry.name)
    if entry.steps:
        parts.append(f"step {', '.join(str(step) for step in entry.steps)}")
    if entry.changes:
        changes = ", ".join(f"{key} {_number(old)} -> {_number(new)}" for key, (old, new) in entry.changes.items())
        parts.append(f"[{changes}]")
    if entry.recovered:
        parts.append("(found after a restart)")
    if entry.reason:
        parts.append(f"because: {entry.reason}" if entry.act != "request" or entry.actor != CLIENT else "")
    return printable(" ".join(part for part in parts if part))


def as_dict(entry: Entry) -> dict[str, Any]:
    """A line as plain data."""
    from dataclasses import asdict

    return asdict(entry)


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else repr(value)
