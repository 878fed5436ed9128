"""``simtx simulate``: one run of one strategy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simtx.metrics.run import Run


class Spans(StrEnum):
    """Formats of spans."""

    OTLP = "otlp"
    CHROME = "chrome"


def simulate(
    scenario: Annotated[str, typer.Argument(help="A built-in scenario, or the path of a TOML file.")],
    strategy: Annotated[str, typer.Argument(help="2pc, saga, outbox or dual-write; options as in '2pc:work=before'.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random streams.")] = 1,
    replication: Annotated[int, typer.Option(min=0, help="Replication under that seed.")] = 0,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the scenario: workload.rate=200")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Draw one transaction as a message diagram.")] = False,
    transaction: Annotated[
        int | None, typer.Option("--transaction", min=0, help="Which one; default: the slowest that was measured.")
    ] = None,
    spans: Annotated[
        Spans | None,
        typer.Option(
            help="Write the event log as spans: otlp for Jaeger, chrome for Perfetto; all, or of --transaction."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results; default: simtx-SCENARIO, with --trace or --spans.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Simulate one run and print its summary."""
    import simtx
    from simtx.cli.common import folder, load, print_json, warn, writing
    from simtx.protocols import strategy as resolve

    chosen = load(scenario, change or ())
    played = resolve(strategy, chosen.policies)
    wants_trace = trace or (transaction is not None and spans is None)
    recorded = wants_trace or spans is not None
    target = folder(out or Path(f"simtx-{chosen.name}")) if out is not None or recorded else None
    run = simtx.simulate(chosen, played, seed=seed, replication=replication, trace=recorded)
    warn(note for note in run.warnings if note not in chosen.warnings())
    with writing(target or Path()):
        written = _write(run, target, transaction, wants_trace=wants_trace)
        if target is not None and spans is not None:
            written.append(_write_spans(run, target, transaction, spans))
    if json:
        print_json(
            {
                "scenario": chosen.name,
                "strategy": repr(played),
                "promise": run.promise,
                "seed": seed,
                "replication": replication,
                "digest": run.digest,
                "warnings": run.warnings,
                "summary": dict(run.summary),
                "files": [str(path) for path in written],
            }
        )
        return
    from simtx.report.tables import run_text

    typer.echo(run_text(run))
    if wants_trace:
        tx = _choose(run, transaction)
        typer.echo(f"\n{run.trace.text(tx)}")
    for path in written:
        typer.echo(f"written: {path}")


def _choose(run: Run, transaction: int | None) -> int:
    from simtx.errors import ScenarioError

    rows = run.transactions
    if transaction is not None:
        if transaction not in set(rows["tx"]):
            raise ScenarioError(f"no transaction {transaction}; they are 0 to {len(rows) - 1}", "--transaction")
        return transaction
    measured = rows[rows["measured"]]
    ranked = (measured if len(measured) else rows).sort_values("decision_ms", ascending=False, kind="stable")
    return int(ranked["tx"].iloc[0])


def _write(run: Run, target: Path | None, transaction: int | None, *, wants_trace: bool) -> list[Path]:
    if target is None:
        return []
    name = f"{run.strategy.name}-{run.seed}-{run.replication}"
    written = [target / f"transactions-{name}.csv"]
    run.transactions.to_csv(written[0], index=False)
    if wants_trace:
        import matplotlib as mpl

        mpl.use("agg")
        tx = _choose(run, transaction)
        axes = run.trace.diagram(tx)
        written.append(target / f"transaction-{name}-{tx}.png")
        axes.figure.savefig(written[-1], bbox_inches="tight")
    return written


def _write_spans(run: Run, target: Path, transaction: int | None, spans: Spans) -> Path:
    trace, which = run.trace, ""
    if transaction is not None:
        tx = _choose(run, transaction)
        trace, which = run.trace.of(tx), f"-{tx}"
    path = target / f"spans-{run.strategy.name}-{run.seed}-{run.replication}{which}.{spans}.json"
    return trace.save_otlp(path) if spans is Spans.OTLP else trace.save_chrome(path)
