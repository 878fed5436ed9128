"""Writes a run into a folder, simulated or real: tables, pictures, spans, the event log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from simtx.cli.common import claimed, save_picture, writing
from simtx.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simtx.metrics.run import Run
    from simtx.scenario.provenance import Provenance


class Spans(StrEnum):
    """Formats of spans."""

    OTLP = "otlp"
    CHROME = "chrome"


TraceOption: TypeAlias = Annotated[bool, typer.Option("--trace", help="Draw one transaction as a message diagram.")]
TransactionOption: TypeAlias = Annotated[
    int | None, typer.Option("--transaction", min=0, help="Which one; default: the slowest that was measured.")
]
SpansOption: TypeAlias = Annotated[
    Spans | None,
    typer.Option(help="Write the event log as spans: otlp for Jaeger, chrome for Perfetto; all, or of --transaction."),
]
EventsOption: TypeAlias = Annotated[
    bool, typer.Option("--events", help="Write the event log, as `simtx check-history` reads it.")
]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Output that is wanted of a run's event log.

    Attributes:
        trace: One transaction as a message diagram.
        transaction: Which one; None: the slowest that was measured.
        spans: The log as spans, in this format; all transactions, or the one.
        events: The log itself.
        out: Folder; None: one by the name of the scenario, if anything is wanted.
    """

    trace: bool = False
    transaction: int | None = None
    spans: Spans | None = None
    events: bool = False
    out: Path | None = None

    @property
    def diagram(self) -> bool:
        """Return whether a diagram is wanted: asked for, or meant by the number of a transaction."""
        return self.trace or (self.transaction is not None and self.spans is None)

    @property
    def recorded(self) -> bool:
        """Return whether the event log is needed."""
        return self.diagram or self.spans is not None or self.events

    def target(self, default: str, origin: Provenance, *, repeatable: bool = True) -> Path | None:
        """The folder, made before anything takes time; None: nothing is to be written. Arguments as in `claimed`.

        Raises:
            ScenarioError: It holds other results, or cannot be written to.
        """
        if self.out is None and not self.recorded:
            return None
        stem = f"transactions-{_name(origin)}"
        return claimed(self.out, default, stem, origin, f"{stem}.csv", repeatable=repeatable)


def _name(origin: Provenance) -> str:
    """Name that the files of a run begin with: strategy, seed, replication."""
    return f"{next(iter(origin.strategies))}-{origin.seed}-{origin.replication}"


def write(run: Run, wishes: Wishes, target: Path | None) -> list[Path]:
    """Write what is wanted; returns the files.

    Raises:
        ScenarioError: A file cannot be written, or there is no such transaction.
    """
    if target is None:
        return []
    name = _name(run.provenance)
    stem = target / f"transactions-{name}"
    written = [stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.json")]
    with writing(target):
        run.transactions.assign(**run.provenance.columns()).to_csv(
            written[0], index=False
        )  # a file that is passed on alone says it all
        if wishes.diagram:
            import matplotlib as mpl

            mpl.use("agg")
            tx = choose(run, wishes.transaction)
            axes = run.trace.diagram(tx)
            written.append(target / f"transaction-{name}-{tx}.png")
            save_picture(axes, written[-1], bbox_inches="tight")
        if wishes.spans is not None:
            written.append(_write_spans(run, target / f"spans-{name}", wishes.transaction, wishes.spans))
        if wishes.events:
            written.append(target / f"events-{name}.jsonl")
            run.trace.save(written[-1])
    return written


def finish(run: Run, wishes: Wishes, target: Path | None, show: Callable[[list[Path]], None]) -> None:
    """Write what is wanted and print what has come out: files that cannot be written take nothing else with them.

    Args:
        run: The run.
        wishes: What is wanted.
        target: The folder.
        show: Prints; it is told the files.

    Raises:
        ScenarioError: As in `write`, after the printing.
    """
    try:
        written = write(run, wishes, target)
    except ScenarioError as error:
        if error.where != "--transaction":  # bad input has one answer
            show([])
        raise
    show(written)


def show(run: Run, wishes: Wishes, written: list[Path]) -> None:
    """Print the summary, the diagram in letters if it is wanted, and the files."""
    from simtx.report.tables import run_text

    typer.echo(run_text(run))
    if wishes.diagram:
        typer.echo(f"\n{run.trace.text(choose(run, wishes.transaction))}")
    for path in written:
        typer.echo(f"written: {path}")


def listed(run: Run) -> list[dict[str, object]]:
    """The violations of a run, for JSON."""
    return [{"property": one.property, "transaction": one.transaction, "text": one.text} for one in run.violations]


def stories(run: Run) -> str:
    """Stories of the first violation of each property."""
    firsts: dict[str, str] = {}
    for one in run.violations:
        if one.property not in firsts:
            firsts[one.property] = one.story()
    if not firsts:
        looked = ", ".join(run.watched)
        return f"nothing is violated that the strategy guarantees; looked at: {looked or 'nothing'}"
    return "\n\n".join(firsts.values())


def choose(run: Run, transaction: int | None) -> int:
    """The transaction that is meant: this one, or the slowest that was measured.

    Raises:
        ScenarioError: There is no such transaction.
    """
    rows = run.transactions
    if transaction is not None:
        if transaction not in set(rows["tx"]):
            raise ScenarioError(f"no transaction {transaction}; they are 0 to {len(rows) - 1}", "--transaction")
        return transaction
    measured = rows[rows["measured"]]
    ranked = (measured if len(measured) else rows).sort_values("decision_ms", ascending=False, kind="stable")
    return int(ranked["tx"].iloc[0])


def _write_spans(run: Run, stem: Path, transaction: int | None, spans: Spans) -> Path:
    trace, which = run.trace, ""
    if transaction is not None:
        tx = choose(run, transaction)
        trace, which = run.trace.of(tx), f"-{tx}"
    path = stem.with_name(f"{stem.name}{which}.{spans}.json")
    return trace.save_otlp(path) if spans is Spans.OTLP else trace.save_chrome(path)
