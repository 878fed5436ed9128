"""``simtx alerts``: which faults a monitoring system would have noticed, and after how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import draw_out, drawable, load, print_json
from simtx.cli.options import ChangeOption, JsonOption, SeedOption, StrategiesArgument


def alerts(
    scenario: Annotated[
        str | None,
        typer.Argument(help="A built-in scenario, a TOML file, or a run that was saved; not with --prometheus."),
    ] = None,
    strategies: StrategiesArgument = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules of your own, a TOML file; default: those that are built in."),
    ] = None,
    every: Annotated[str, typer.Option(help="Time between two scrapes.")] = "1s",
    objective: Annotated[str, typer.Option(help="Time within which a request should have its answer.")] = "1s",
    grace: Annotated[str, typer.Option(help="Time after a fault in which what fires still belongs to it.")] = "30s",
    seed: SeedOption = 1,
    change: ChangeOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PICTURE", help="Draw the alerts of one strategy into this file: .png, .svg or .pdf."),
    ] = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print the rules as a rule file for Prometheus, and do nothing else.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Say which faults monitoring would have noticed.

    Prints after how long, and what fired for nothing. Ends with 1 if a fault was not noticed.
    """
    import simtx
    from simtx.alerts import prometheus as rule_file
    from simtx.alerts import read_rules
    from simtx.alerts.rules import DEFAULT
    from simtx.errors import ScenarioError
    from simtx.experiments.compare import DEFAULT as PLAIN
    from simtx.experiments.compare import labelled
    from simtx.metrics.run import Run
    from simtx.scenario.units import duration

    chosen = DEFAULT if rules is None else read_rules(rules)
    if prometheus:
        if scenario is not None or json or out is not None:
            raise ScenarioError("prints rules, and takes nothing but --rules", "--prometheus")
        typer.echo(rule_file(chosen), nl=False)
        return
    if scenario is None:
        raise ScenarioError("is missing; name a scenario, such as transfer", "scenario")
    times = {}
    for name, value in (("every", every), ("objective", objective), ("grace", grace)):
        try:
            times[name] = duration(value, zero=name == "grace")
        except ValueError as error:
            raise ScenarioError(str(error), f"--{name}") from None
    if out is not None:
        drawable(out, "--out")
    if Path(scenario).is_dir():
        if strategies or change:
            raise ScenarioError("a run that was saved has its strategy and its scenario", "scenario")
        saved = simtx.read(scenario)
        if not isinstance(saved, Run):
            raise ScenarioError(f"'{scenario}' holds no single run", "scenario")
        runs = [saved]
    else:
        loaded = load(scenario, change or ())
        played = labelled(strategies or list(PLAIN), loaded)
        if out is not None and len(played) > 1:
            raise ScenarioError("is the picture of one strategy; name it behind the scenario", "--out")
        runs = [simtx.simulate(loaded, strategy, seed=seed, trace=True) for strategy in played.values()]
    found = [simtx.watch(run, chosen, **times) for run in runs]
    if json:
        print_json({"scenario": runs[0].scenario.name, "runs": [one.to_dict() for one in found]})
    else:
        typer.echo("\n\n".join(str(one) for one in found))
    draw_out(found[0].plot, out, json=json)
    if any(one.unnoticed for one in found):
        raise typer.Exit(1)
