"""``simtx compare``: several strategies on one scenario, with intervals."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simtx.cli.common import claimed, engine_named, load, print_json, replacing, tell_repeats, warn, writing
from simtx.cli.options import (
    ChangeOption,
    EngineOption,
    JsonOption,
    ScenarioArgument,
    SeedOption,
    StrategiesArgument,
    WorkersOption,
)
from simtx.errors import ScenarioError, SimtxError

if TYPE_CHECKING:
    from simtx.experiments.comparison import Comparison, Result
    from simtx.scenario.provenance import Provenance


def compare(
    scenario: ScenarioArgument,
    strategies: StrategiesArgument = None,
    replications: Annotated[
        int | None, typer.Option(min=1, help="Runs of each strategy; default: 20, or at most 200 with --until.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Stop before: 'best METRIC', 'apart METRIC', 'METRIC within 5%' or 'METRIC within 2' (in its unit)."
        ),
    ] = None,
    best: Annotated[
        str | None,
        typer.Option("--best", help="Say which strategy is the best by this metric, and whether the runs support it."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Threshold for --best, such as 'latency_p99_ms < 200'; may be repeated.")
    ] = None,
    seed: SeedOption = 1,
    workers: WorkersOption = None,
    change: ChangeOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results; default: simtx-SCENARIO, or simtx-SCENARIO-2 and so on if that holds others."
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="A new folder for the whole result, as 'simtx report' and simtx.read take it.")
    ] = None,
    alerts: Annotated[
        bool,
        typer.Option(
            "--alerts", help="Say which faults a monitoring system would have noticed, and which nobody would."
        ),
    ] = False,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Compare strategies on one scenario, with intervals.

    Simulates each of them several times and prints a table; writes a picture and a CSV file.
    """
    import simtx
    from simtx.experiments.compare import DEFAULT, INTERRUPTED, REPLICATIONS, check_plans, labelled
    from simtx.experiments.stopping import CAP, parsed
    from simtx.experiments.thresholds import thresholds
    from simtx.metrics.figures import ranking
    from simtx.metrics.intervals import as_json
    from simtx.scenario.advice import unreachable
    from simtx.scenario.provenance import provenance
    from simtx.views import view

    wanted = engine_named(engine)
    chosen = load(scenario, change or ())
    played = labelled(strategies or list(DEFAULT), chosen)
    check_plans(chosen, played)  # before a folder is made
    rule = parsed(until) if until is not None else None
    thresholds(where)
    ranking(best, "--best")
    if where and best is None:
        raise ScenarioError("thresholds are for --best METRIC", "--where")
    if save is not None and save.exists() and not (save.is_dir() and not any(save.iterdir())):
        raise ScenarioError(f"'{save}' holds something; choose a new folder", "--save")
    most = replications or (REPLICATIONS if rule is None else CAP)
    settings = {} if until is None else {"until": until}
    origin = provenance("compare", chosen, played, seed=seed, replications=most, settings=settings)
    target = claimed(out, f"simtx-{chosen.name}", "comparison", origin, "comparison.csv", "comparison.png")
    beforehand = unreachable(chosen, played)
    warn(beforehand)
    comparison = simtx.compare(
        chosen,
        list(played.values()),
        replications=most,
        until=rule,
        seed=seed,
        workers=workers,
        progress=False if json else None,
        on_result=_Rows(target / "comparison.csv", origin),
        engine=wanted,
    )
    warn(note for note in comparison.warnings if note not in (*chosen.warnings, *beforehand))
    written: list[Path] = []
    problem: SimtxError | None = None
    if len(comparison.frame):
        try:  # files first: a reader of the table who goes away does not take them with it
            written = _written(comparison, target)
            written += [comparison.save(save)] if save is not None else []
        except SimtxError as error:  # a full disk costs the files, and not the table
            problem = error
        if not json:
            typer.echo(str(comparison))
    decision = comparison.best(best, where) if best is not None and len(comparison.frame) else None
    if decision is not None and not json:
        typer.echo(f"\n{decision}")
    noticed = comparison.alerts() if alerts and len(comparison.frame) else {}
    if noticed and not json:
        typer.echo("\n" + view("alerts-of-several")(noticed))
    failures = comparison.failures
    if json:
        print_json(
            {
                "scenario": chosen.name,
                "seed": seed,
                "replications": comparison.replications,
                "executions": comparison.executions,
                "stopping": None if comparison.stopping is None else comparison.stopping.to_dict(),
                "decision": None if decision is None else decision.to_dict(),
                "provenance": origin.to_dict(modules=False),
                "stopped": comparison.stopped,
                "warnings": comparison.warnings,
                "promises": comparison.promises,
                "alerts": {name: one.to_dict() for name, one in noticed.items()} if alerts else None,
                "strategies": {
                    name: {metric: as_json(comparison.interval(name, metric)) for metric in comparison.metrics}
                    for name in comparison.strategies
                },
                "violations": comparison.violations.to_dict("records"),
                "failures": failures.to_dict("records"),
                "files": [str(path) for path in written],
            }
        )
    elif written:
        typer.echo(f"\nwritten to {target}/: {', '.join(path.name for path in written if path != save)}")
        if save is not None:
            typer.echo(f"saved in {save}; simtx report {save} makes a report of it")
    tell_repeats(comparison.violations, failures)
    if problem is not None:
        raise problem
    if comparison.stopped == INTERRUPTED:
        raise typer.Exit(130)
    if len(failures) or comparison.stopped:
        raise typer.Exit(1)


def _written(comparison: Comparison, target: Path) -> list[Path]:
    """Write the table, whole and in order, and the picture; returns the files."""
    import matplotlib as mpl

    mpl.use("agg")
    table, picture = target / "comparison.csv", target / "comparison.png"
    with writing(target):
        with replacing(table) as new:
            comparison.frame.assign(**comparison.provenance.columns()).to_csv(new, index=False)
        with replacing(picture) as new:
            comparison.plot().savefig(new, format="png")
    return [table, target / "comparison.json", picture]


class _Rows:
    """Writes each run as it is finished, so that a process that is killed loses none; at the end the file is written once more, in order.

    Args:
        path: The file; what it holds of an earlier comparison stays until a run is finished.
        origin: Where the runs come from.
    """

    def __init__(self, path: Path, origin: Provenance) -> None:
        self._path = path
        self._origin = origin.columns()
        self._columns: list[str] = []
        self._full = False

    def __call__(self, result: Result) -> None:
        """Append one row, unless the run failed."""
        if result.error or self._full:
            return
        row = {
            "strategy": result.strategy,
            "replication": result.replication,
            **result.summary,
            "digest": result.digest,
            **self._origin,
        }
        try:
            with self._path.open("a" if self._columns else "w", newline="", encoding="utf-8") as file:
                if not self._columns:
                    self._columns = list(row)
                    csv.writer(file).writerow(self._columns)
                csv.writer(file).writerow(row.get(name, "") for name in self._columns)
        except OSError:  # the whole file is tried once more at the end, and then it is said
            self._full = True
