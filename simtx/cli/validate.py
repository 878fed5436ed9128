"""``simtx validate``: predicted beside measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simtx.cli.common import engine_named, folder, fresh, played_by, print_json, writing
from simtx.cli.common import load as load_scenario
from simtx.cli.options import BrokerOption, ChangeOption, EngineOption, JsonOption, StoreOption

if TYPE_CHECKING:
    from simtx.validation.validate import Validation
    from simtx.validation.validate_random import RandomValidation


def validate(
    scenario: Annotated[
        str, typer.Argument(help="A built-in scenario, or the path of a TOML file; not with --random.")
    ] = "",
    strategy: Annotated[
        str,
        typer.Argument(help="By whom: a name, with options such as 'outbox:poll_interval=20ms'; not with --random."),
    ] = "",
    store: StoreOption = "sqlite",
    broker: BrokerOption = "embedded",
    load: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the throughput at saturation, 0 to 1; may be given several times. Default: 0.25, 0.5, 0.75."
        ),
    ] = None,
    transactions: Annotated[int, typer.Option(min=50, help="Of each run, after the warm-up.")] = 400,
    replications: Annotated[int, typer.Option(min=2, help="Real runs of each point at least.")] = 3,
    patience: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds for which a point gets more real runs, as long as the measured intervals are wider than the targets.",
        ),
    ] = 60.0,
    random: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Draw N scenarios and strategies instead, calibrate once, and judge the errors over all of them. The same folder goes on "
            "where it was interrupted.",
        ),
    ] = None,
    failure: Annotated[bool, typer.Option("--failure/--no-failure", help="Kill a node in a further run.")] = True,
    saturation: Annotated[
        bool, typer.Option("--saturation/--no-saturation", help="Measure the highest throughput.")
    ] = True,
    change: ChangeOption = None,
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
    """Compare predictions with real runs.

    Calibrates at low load, predicts, executes at several loads and under a failure, and compares.
    With --random N the scenarios are drawn by the seed. Ends with 0 when every target is met, and with 1 when one is missed.
    """
    shared: dict[str, Any] = {
        "store": store,
        "broker": broker,
        "transactions": transactions,
        "replications": replications,
        "patience": patience,
        "seed": seed,
        "progress": False if json else None,
    }
    if random is not None:
        given = {
            "SCENARIO": bool(scenario),
            "--load": bool(load),
            "--set": bool(change),
            "--no-failure": not failure,
            "--no-saturation": not saturation,
        }
        wrong = [name for name, there in given.items() if there]
        if wrong:
            raise typer.BadParameter(
                f"{', '.join(wrong)} cannot be combined with it: everything is drawn", param_hint="--random"
            )
        _drawn(random, out, engine, json, **shared)
        return
    if not scenario or not strategy:
        raise typer.BadParameter(
            "give a scenario and a strategy, such as 'transfer-lab 2pc', or --random 24", param_hint="SCENARIO STRATEGY"
        )
    import matplotlib as mpl

    import simtx
    from simtx.protocols import strategy as resolve
    from simtx.reference.addresses import without_password

    engine_named(engine)  # before anything is made
    chosen = load_scenario(scenario, change or ())
    played = resolve(strategy, chosen.policies)
    target = folder(out or fresh(f"simtx-validate-{chosen.name}-{played.name}-{_kind(store)}"))
    with writing(target), played_by(engine):
        validation = simtx.validate(
            chosen,
            played,
            loads=load or (0.25, 0.5, 0.75),
            failure=failure,
            saturation=saturation,
            folder=target,
            **shared,
        )
        mpl.use("agg")
        validation.plot().figure.savefig(target / "validation.png", bbox_inches="tight")
        (target / "validation.txt").write_text(validation.table() + "\n", encoding="utf-8")
    document = {
        "scenario": chosen.name,
        "strategy": repr(played),
        "store": without_password(store),
        "broker": without_password(broker) if played.uses_broker else None,
        "provenance": validation.provenance.to_dict(modules=False) if validation.provenance else None,
        "ok": validation.ok,
        "rows": validation.frame.to_dict(orient="records"),
        "disturbed": validation.disturbed.to_dict(orient="records"),
        "left_out": list(validation.left_out),
    }
    _tell(validation, document, target, json)


def _drawn(scenarios: int, out: Path | None, engine: str | None, json: bool, **shared: Any) -> None:
    """Judge predictions of drawn scenarios."""
    import matplotlib as mpl

    import simtx

    engine_named(engine)  # before anything is made
    target = folder(out or Path(f"simtx-validate-random-{_kind(shared['store'])}-{shared['seed']}"))
    with writing(target), played_by(engine):
        validation = simtx.validate_random(scenarios, folder=target, **shared)
        mpl.use("agg")
        validation.plot().figure.savefig(target / "random.png", bbox_inches="tight")
    document = {
        "scenarios": scenarios,
        "seed": shared["seed"],
        "store": validation.store,
        "broker": validation.broker,
        "provenance": validation.provenance.to_dict(modules=False) if validation.provenance else None,
        "ok": validation.ok,
        "targets": validation.targets.to_dict(orient="records"),
        "rows": validation.frame.to_dict(orient="records"),
    }
    _tell(validation, document, target, json)


def _kind(store: str) -> str:
    from simtx.reference.stores.registry import kind_of

    return kind_of(store) or store


def _tell(validation: Validation | RandomValidation, document: dict[str, Any], target: Path, json: bool) -> None:
    """Print what has come out, and end with 1 if a target is missed."""
    if json:
        print_json({**document, "folder": str(target)})
    else:
        typer.echo(validation.table())
        typer.echo(f"written: {target}")
    if not validation.ok:
        raise typer.Exit(1)
