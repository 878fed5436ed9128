"""``simtx report``: a design-review report of saved results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simtx.cli.common import changed, engine_named, go_on, played_by, warn
from simtx.cli.options import EngineOption
from simtx.errors import ScenarioError

if TYPE_CHECKING:
    from simtx.engine.choices import Engine
    from simtx.experiments.sweep import Sweep


def report(
    results: Annotated[
        Path,
        typer.Argument(
            help="A folder of 'simtx compare --save', comparison.save or run.save, or the results folder of a sweep."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page; the record and the CSV file stand beside it.")] = Path(
        "review.html"
    ),
    by: Annotated[str, typer.Option(help="The metric that ranks.")] = "decision_p99_ms",
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Threshold, such as 'latency_p99_ms < 200'; may be repeated; 'none' for none. "
            "Default: no effect missing and none doubled when a run is over."
        ),
    ] = None,
    since: Annotated[Path | None, typer.Option(help="The report before, or a folder with its result.")] = None,
    template: Annotated[
        Path | None, typer.Option(help="A Jinja2 template in place of ours; see docs/report.md.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print it on A4, too, by a Chromium that is installed.")] = False,
    runs: Annotated[
        bool | None,
        typer.Option(
            "--runs/--no-runs",
            help="Play one run of each strategy again, for distributions and stories; default: if that takes some seconds at most.",
        ),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Verify each strategy in its usual scope, too.")] = False,
    frontier: Annotated[
        str | None,
        typer.Option(
            metavar="X[,Y]", help="Of a sweep: find where the winner changes over these parameters; this plays runs."
        ),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Runs that --frontier may add.")] = 200,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="NAME=VALUE", help="Of a sweep: the cell that is shown in detail."),
    ] = None,
    engine: EngineOption = None,
) -> None:
    """Write a design-review report of saved results.

    It is one HTML page that needs nothing else, a decision record, and a CSV file.
    Ends with 0 whatever the decision is, and with 2 if an input is wrong or a file cannot be written.
    """
    import matplotlib as mpl

    import simtx
    from simtx.experiments.comparison import of_run
    from simtx.metrics.run import Run
    from simtx.report.review.pdf import browser
    from simtx.report.review.report import report as write

    player = engine_named(engine)
    if pdf:
        browser()  # before anything takes time
    mpl.use("agg")
    read = simtx.read(results)
    known: tuple[Any, ...] = ()
    result: Any = read
    if isinstance(read, Run):
        result, known = of_run(read), (read,)
    is_sweep = hasattr(result, "cells")
    if not is_sweep and (frontier or at):
        raise ScenarioError("is for the results folder of a sweep", "--frontier" if frontier else "--at")
    verdicts = {name: simtx.verify(one) for name, one in _objects(result).items()} if verify else {}
    found = _frontier(result, frontier, by, budget, player) if frontier else None
    with played_by(engine):
        written = write(
            result,
            out,
            by=by,
            where=where,
            since=since,
            template=template,
            pdf=pdf,
            runs=runs,
            verdicts=verdicts,
            frontier=found,
            at=changed(at) if at else None,
            known=known,
        )
    statement = written.review.statement
    typer.echo(statement.sentence)
    typer.echo(f"{statement.certainty}\nwritten: {', '.join(str(path) for path in written.files)}")
    warn(written.notes)


def _objects(result: Any) -> dict[str, Any]:
    """The strategies that can play, by label: one of the user's that was read from a file cannot."""
    from simtx.experiments.saved import StoredStrategy

    known = result.study.strategies if hasattr(result, "study") else result.objects
    return {label: one for label, one in known.items() if not isinstance(one, StoredStrategy)}


def _frontier(sweep: Sweep, axes: str, by: str, budget: int, engine: Engine | None) -> Any:
    from simtx.experiments.sweep.kept import FRONTIER

    x, _, y = (one.strip() for one in axes.partition(","))
    try:
        apart = f"{sweep.settings.name}{FRONTIER}"  # the table of the sweep itself stays what it is
        found = sweep.frontier(x, y or None, by, budget=budget, name=apart, engine=engine)
    except KeyboardInterrupt:  # at its first sites
        go_on()
    if found.stopped == "interrupted":  # no page is made of half a search
        go_on()
    return found
