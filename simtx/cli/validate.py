"""``simtx validate``: predicted beside measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import BrokerOption, EngineOption, JsonOption, StoreOption, StrategyArgument


def validate(
    scenario: Annotated[str, typer.Argument(help="A built-in scenario, or the path of a TOML file.")],
    strategy: StrategyArgument,
    store: StoreOption = "sqlite",
    broker: BrokerOption = "embedded",
    load: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the throughput at saturation, 0 to 1; may be given several times. Default: 0.25, 0.5, 0.75."
        ),
    ] = None,
    transactions: Annotated[int, typer.Option(min=50, help="Of each run, after the warm-up.")] = 400,
    replications: Annotated[int, typer.Option(min=2, help="Real runs of each point.")] = 3,
    failure: Annotated[bool, typer.Option("--failure/--no-failure", help="Kill a node in a further run.")] = True,
    saturation: Annotated[
        bool, typer.Option("--saturation/--no-saturation", help="Measure the highest throughput.")
    ] = True,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the scenario first.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="First of the seeds.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the raw runs; default: simtx-validate-SCENARIO-STRATEGY-STORE, with a number behind it if that is there."
        ),
    ] = None,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Calibrate at low load, predict, execute at several loads and under a failure, and compare.

    Ends with 0 when every target is met, and with 1 when one is missed.
    """
    import matplotlib as mpl

    import simtx
    from simtx.cli.common import engine_named, folder, fresh, played_by, print_json, writing
    from simtx.cli.common import load as load_scenario
    from simtx.protocols import strategy as resolve
    from simtx.reference.addresses import without_password

    engine_named(engine)  # before anything is made
    chosen = load_scenario(scenario, change or ())
    played = resolve(strategy, chosen.policies)
    kind = store if "://" not in store else "postgres"
    target = folder(out or fresh(f"simtx-validate-{chosen.name}-{played.name}-{kind}"))
    with writing(target), played_by(engine):
        validation = simtx.validate(
            chosen,
            played,
            store=store,
            broker=broker,
            loads=load or (0.25, 0.5, 0.75),
            transactions=transactions,
            replications=replications,
            failure=failure,
            saturation=saturation,
            seed=seed,
            folder=target,
            progress=False if json else None,
        )
        mpl.use("agg")
        validation.plot().figure.savefig(target / "validation.png", bbox_inches="tight")
        (target / "validation.txt").write_text(validation.table() + "\n", encoding="utf-8")
    if json:
        print_json(
            {
                "scenario": chosen.name,
                "strategy": repr(played),
                "store": without_password(store),
                "broker": without_password(broker) if played.uses_broker else None,
                "provenance": validation.provenance.to_dict(modules=False) if validation.provenance else None,
                "ok": validation.ok,
                "rows": validation.frame.to_dict(orient="records"),
                "disturbed": validation.disturbed.to_dict(orient="records"),
                "left_out": list(validation.left_out),
                "folder": str(target),
            }
        )
    else:
        typer.echo(validation.table())
        typer.echo(f"written: {target}")
    if not validation.ok:
        raise typer.Exit(1)
