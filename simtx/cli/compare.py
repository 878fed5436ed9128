"""``simtx compare``: several strategies on one scenario, with intervals."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simtx.cli.common import ChangeOption, JsonOption

if TYPE_CHECKING:
    from simtx.experiments.compare import Result


def compare(
    scenario: Annotated[str, typer.Argument(help="A built-in scenario, or the path of a TOML file.")],
    strategies: Annotated[
        list[str] | None, typer.Argument(help="Strategies, options as in '2pc:work=before'; default: all four.")
    ] = None,
    replications: Annotated[int, typer.Option(min=1, help="Runs of each strategy.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random streams.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a processor.")] = None,
    change: ChangeOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: simtx-SCENARIO.")] = None,
    json: JsonOption = False,
) -> None:
    """Simulate a scenario under several strategies and print a table with intervals; write a picture and a CSV file."""
    import simtx
    from simtx.cli.common import folder, load, print_json, warn, writing
    from simtx.experiments.compare import DEFAULT, INTERRUPTED
    from simtx.metrics.intervals import as_json

    chosen = load(scenario, change or ())
    target = folder(out or Path(f"simtx-{chosen.name}"), "comparison.csv", "comparison.png")
    with writing(target):
        comparison = simtx.compare(
            chosen,
            strategies or list(DEFAULT),
            replications=replications,
            seed=seed,
            workers=workers,
            progress=False if json else None,
            on_result=_Rows(target / "comparison.csv"),
        )
    warn(note for note in comparison.warnings if note not in chosen.warnings())
    written: list[Path] = []
    if len(comparison.frame):
        written = [target / "comparison.csv", target / "comparison.png"]
        import matplotlib as mpl

        mpl.use("agg")
        try:  # files first: a reader of the table who goes away does not take them with it
            with writing(target):
                comparison.frame.to_csv(written[0], index=False)
                comparison.plot().savefig(written[1])
        finally:
            if not json:
                typer.echo(str(comparison))
    failures = comparison.failures
    if json:
        print_json(
            {
                "scenario": chosen.name,
                "seed": seed,
                "replications": replications,
                "stopped": comparison.stopped,
                "promises": comparison.promises,
                "strategies": {
                    name: {metric: as_json(comparison.interval(name, metric)) for metric in comparison.metrics}
                    for name in comparison.strategies
                },
                "failures": failures.to_dict("records"),
                "files": [str(path) for path in written],
            }
        )
    elif written:
        typer.echo(f"\nwritten to {target}/: {', '.join(path.name for path in written)}")
    for row in failures.itertuples():
        typer.echo(f"simtx: repeat the failed run with: {row.repeat_with}", err=True)
    if comparison.stopped == INTERRUPTED:
        raise typer.Exit(130)
    if len(failures) or comparison.stopped:
        raise typer.Exit(1)


class _Rows:
    """Writes each run as it is finished, so that a process that is killed loses none; at the end the file is written once more, in order.

    Args:
        path: The file; what it holds of an earlier comparison stays until a run is finished.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns: list[str] = []

    def __call__(self, result: Result) -> None:
        """Append one row, unless the run failed."""
        if result.error:
            return
        row = {
            "strategy": result.strategy,
            "replication": result.replication,
            **result.summary,
            "digest": result.digest,
        }
        with self._path.open("a" if self._columns else "w", newline="", encoding="utf-8") as file:
            if not self._columns:
                self._columns = list(row)
                csv.writer(file).writerow(self._columns)
            csv.writer(file).writerow(row.get(name, "") for name in self._columns)
