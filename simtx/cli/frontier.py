"""``simtx frontier``: where the winner changes, over one or two parameters of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from simtx.cli.common import changed, engine_named, go_on, knowing, print_json, save_pictures
from simtx.cli.options import ChangeOption, EngineOption, JsonOption, ReplicationsOption, ResultsOption, WorkersOption


def frontier(
    experiment: Annotated[Path, typer.Argument(help="The path of a TOML file, as for 'simtx sweep'.")],
    x: Annotated[str, typer.Option("--x", help="A parameter of the experiment; the map goes over all of its values.")],
    y: Annotated[str | None, typer.Option("--y", help="Another one; without it, the flip point on --x.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What the strategies are compared by; default: latency_p99_ms, or decision_p99_ms if their answers promise different things."
        ),
    ] = None,
    between: Annotated[
        str | None, typer.Option(help="Two or more strategies of the experiment, as in '2pc,saga'; default: all.")
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Runs that may be added.")] = 1000,
    undecided: Annotated[str, typer.Option(help="Share of the area that may stay undecided.")] = "5%",
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="NAME=VALUE", help="Hold another parameter at one of its values."),
    ] = None,
    replications: ReplicationsOption = None,
    workers: WorkersOption = None,
    change: ChangeOption = None,
    store: ResultsOption = None,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Find where the winner changes.

    Over two parameters that is a map with an undecided zone, over one the flip point with its interval.
    The runs that the results folder has are used; those that help most are added. Only strategies that are compared are played. Ends with 0 if the undecided area is as small as was asked for, with
    1 if the budget ended the search.
    """
    import simtx
    from simtx.experiments.said import usual_metric
    from simtx.experiments.sweep.experiment import load_experiment
    from simtx.experiments.sweep.kept import FRONTIER
    from simtx.experiments.work import check_metric
    from simtx.metrics.figures import ranking
    from simtx.protocols.registry import strategy

    if metric is not None:
        ranking(metric)
    chosen = load_experiment(experiment, changed(change or ()))
    share, held = _share(undecided), changed(at or (), "--at", "rtt=5ms")
    arguments: dict[str, Any] = {**chosen.arguments, "name": f"{chosen.arguments['name']}{FRONTIER}"}
    arguments["replications"] = replications or arguments["replications"]
    arguments["store"] = store or arguments["store"]
    options: dict[str, Any] = {"workers": workers, "progress": False if json else None, "engine": engine_named(engine)}
    if between is not None:
        arguments["strategies"] = _named(between, arguments["strategies"])
    metric = metric or usual_metric(strategy(one).promise for one in arguments["strategies"])
    check_metric(metric, chosen.scenario, "--metric")
    if not isinstance(arguments["over"], Path):  # of a table only the sweep knows the columns
        _check_axes((x, y), list(arguments["over"]))
    heard = knowing([metric], len(arguments["strategies"]))
    runs = simtx.sweep(chosen.scenario, **arguments, **options, on_result=heard)
    if runs.stopped.startswith("interrupted"):
        go_on()
    try:
        found = runs.frontier(
            x,
            y,
            metric,
            budget=budget,
            undecided_area=share,
            at=held,
            **options,
        )
    except KeyboardInterrupt:  # at its first sites: there is no map yet
        go_on()
    target = Path(arguments["store"])
    (drawn,) = save_pictures(target, {f"{arguments['name']}-{metric}": found.plot})
    picture = target / drawn
    if json:
        print_json({**found.as_dict(), "picture": str(picture)})
    else:
        typer.echo(str(found))
        typer.echo(f"\nwritten to {picture}")
    if found.stopped == "interrupted":
        go_on()
    if not found.guaranteed:
        raise typer.Exit(1)


def _check_axes(axes: Sequence[str | None], known: Sequence[str]) -> None:
    """Refuse an axis that is no parameter before anything is played."""
    from simtx.errors import ScenarioError
    from simtx.scenario.units import hint

    for option, name in zip(("--x", "--y"), axes, strict=True):
        if name is not None and name not in known:
            raise ScenarioError(f"'{name}' is no parameter of the experiment; {hint(name, known)}", option)


def _named(between: str, strategies: Sequence[str]) -> list[str]:
    """The strategies of the file that are named, in the order of the names."""
    from simtx.errors import ScenarioError
    from simtx.experiments.compare import labelled
    from simtx.scenario.units import hint

    known = dict(zip(labelled(strategies), strategies, strict=True))
    names = list(dict.fromkeys(name.strip() for name in between.split(",")))
    for name in names:
        if name not in known:
            raise ScenarioError(f"'{name}' is no strategy of the experiment; {hint(name, list(known))}", "--between")
    if len(names) < 2:
        raise ScenarioError("give two or more different strategies, as in '2pc,saga'", "--between")
    return [known[name] for name in names]


def _share(text: str) -> float:
    from simtx.errors import ScenarioError
    from simtx.scenario.units import probability

    try:
        return probability(text if text.strip().endswith("%") else float(text))
    except ValueError:
        raise ScenarioError(f"'{text}' is no share; write 0.05 or 5%", "--undecided") from None
