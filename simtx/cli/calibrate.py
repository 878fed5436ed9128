"""``simtx calibrate``: what the building blocks of a run take on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import folder, load, print_json, writing
from simtx.cli.options import BrokerOption, JsonOption, StoreOption
from simtx.errors import ScenarioError


def calibrate(
    name: Annotated[str, typer.Argument(help='What scenarios will call it: calibration = "NAME".')] = "this-machine",
    scenario: Annotated[str, typer.Option(help="Scenario that is executed for it.")] = "transfer",
    strategy: Annotated[
        list[str] | None, typer.Option(help="By whom; may be given several times. Default: 2pc, saga, outbox.")
    ] = None,
    store: StoreOption = "sqlite",
    broker: BrokerOption = "embedded",
    transactions: Annotated[int, typer.Option(min=100, help="Of each strategy.")] = 400,
    out: Annotated[Path, typer.Option(help="Folder for the file NAME.toml.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Measure the building blocks of runs on this machine.

    These are messages, forced writes, local transactions and publications; they are written into a calibration file.
    """
    import simtx
    from simtx.scenario.calibration import BLOCKS

    chosen = load(scenario, ())
    path = folder(out, f"{name}.toml") / f"{name}.toml"
    if path.exists():
        raise ScenarioError(
            f"'{path}' is there already; choose another name, another folder with --out, or delete it", "NAME"
        )
    calibration = simtx.calibrate(
        name,
        scenario=chosen,
        strategies=strategy or ("2pc", "saga", "outbox"),
        store=store,
        broker=broker,
        transactions=transactions,
        progress=False if json else None,
    )
    with writing(path):
        calibration.write(path)
    if json:
        print_json(
            {
                "name": name,
                "machine": dict(calibration.machine),
                "subject": dict(calibration.subject),
                "blocks": {
                    key: {"samples": block.samples, "mean_ms": 1e3 * block.mean}
                    for key, block in calibration.blocks.items()
                },
                "curves": calibration.curves,
                "file": str(path),
            }
        )
        return
    typer.echo(f"{name}: {', '.join(f'{key} {value}' for key, value in calibration.machine.items())}")
    for key, block in calibration.blocks.items():
        typer.echo(f"  {key:22s} {1e3 * block.mean:8.3f} ms  ({block.samples} samples: {BLOCKS[key]})")
    for key, curve in calibration.curves.items():
        for level, figures in curve.items():
            numbers = f"mean {1e3 * figures['mean']:.3f} ms, p99 {1e3 * figures['p99']:.3f} ms"
            rate = f", {figures['rate']:.0f}/s" if "rate" in figures else ""
            typer.echo(f"  {key}, {level} at a time: {numbers}{rate}")
    typer.echo(f"written: {path}")
