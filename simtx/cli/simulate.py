"""``simtx simulate``: one run of one strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import engine_named, load, print_json, warn
from simtx.cli.options import ChangeOption, EngineOption, JsonOption, ScenarioArgument, SeedOption, StrategyArgument
from simtx.cli.results import (
    EventsOption,
    SpansOption,
    TraceOption,
    TransactionOption,
    Wishes,
    finish,
    listed,
    show,
    stories,
)


def simulate(
    scenario: ScenarioArgument,
    strategy: StrategyArgument,
    seed: SeedOption = 1,
    replication: Annotated[int, typer.Option(min=0, help="Replication under that seed.")] = 0,
    change: ChangeOption = None,
    trace: TraceOption = False,
    transaction: TransactionOption = None,
    spans: SpansOption = None,
    events: EventsOption = False,
    violations: Annotated[
        bool,
        typer.Option("--violations", help="Tell the story of the first violation of each property that is guaranteed."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for results; default: simtx-SCENARIO, with --trace, --spans or --events."),
    ] = None,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Simulate one run and print its summary."""
    import simtx
    from simtx.protocols import strategy as resolve
    from simtx.scenario.advice import unreachable
    from simtx.scenario.provenance import provenance

    wanted = engine_named(engine)
    chosen = load(scenario, change or ())
    played = resolve(strategy, chosen.policies)
    wishes = Wishes(trace, transaction, spans, events, out)
    origin = provenance("simulate", chosen, {played.name: played}, seed=seed, replication=replication)
    target = wishes.target(f"simtx-{chosen.name}", origin)
    beforehand = unreachable(chosen, {played.name: played})
    warn(beforehand)
    run = simtx.simulate(chosen, played, seed=seed, replication=replication, trace=wishes.recorded, engine=wanted)
    warn(note for note in run.warnings if note not in (*chosen.warnings, *beforehand))

    def shown(written: list[Path]) -> None:
        if not json:
            show(run, wishes, written)
            if violations:
                typer.echo(f"\n{stories(run)}")
            return
        print_json(
            {
                "scenario": chosen.name,
                "strategy": repr(played),
                "promise": run.promise,
                "seed": seed,
                "replication": replication,
                "provenance": origin.to_dict(modules=False),
                "digest": run.digest,
                "engine": run.engine,
                "engine_reason": run.engine_reason,
                "violations": listed(run),
                "warnings": run.warnings,
                "summary": dict(run.summary),
                "files": [str(path) for path in written],
            }
        )

    finish(run, wishes, target, shown)
