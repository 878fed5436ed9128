"""``simtx execute``: one run for real, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simtx.cli.common import load, print_json, warn
from simtx.cli.options import BrokerOption, ChangeOption, JsonOption, ScenarioArgument, StoreOption, StrategyArgument
from simtx.cli.results import EventsOption, SpansOption, TraceOption, TransactionOption, Wishes, finish, listed, show


def execute(
    scenario: ScenarioArgument,
    strategy: StrategyArgument,
    store: StoreOption = "sqlite",
    broker: BrokerOption = "embedded",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the transactions.")] = 1,
    change: ChangeOption = None,
    network: Annotated[
        str, typer.Option(help="loopback: as fast as this machine is; scenario: with the scenario's latencies.")
    ] = "loopback",
    disk: Annotated[
        str,
        typer.Option(
            help="machine: forced writes as fast as here; scenario: not faster than the scenario's forced_write."
        ),
    ] = "machine",
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep stores, logs and audit logs in this new folder; default: they are deleted."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address that the processes listen on; without it, Unix sockets that nobody else can reach."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65000, help="First port at that address; 0: free ones.")] = 0,
    trace: TraceOption = False,
    transaction: TransactionOption = None,
    spans: SpansOption = None,
    events: EventsOption = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for results; default: simtx-SCENARIO-real, with --trace, --spans or --events."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Execute one run for real, on this machine.

    Every service is a process, with a real database, a real broker and real kills.
    Its service times and faults are imitated, its network and disks if asked for, its broker is not. Ctrl-C ends every process.
    """
    import simtx
    from simtx.protocols import strategy as resolve
    from simtx.reference.execute import origin
    from simtx.scenario.advice import unreachable

    chosen = load(scenario, change or ())
    played = resolve(strategy, chosen.policies)
    wishes = Wishes(trace, transaction, spans, events, out)
    imitated = {} if disk == "machine" else {"disk": disk}
    comes_from = origin(chosen, played, seed=seed, store=store, broker=broker, network=network, **imitated)
    target = wishes.target(f"simtx-{chosen.name}-real", comes_from, repeatable=False)
    beforehand = unreachable(chosen, {played.name: played})
    warn(beforehand)
    run = simtx.execute(
        chosen,
        played,
        store=store,
        broker=broker,
        seed=seed,
        folder=keep,
        network=network,
        disk=disk,
        host=host,
        port=port,
        progress=False if json else None,
    )
    warn(note for note in run.warnings if note not in (*chosen.warnings, *beforehand))

    def shown(written: list[Path]) -> None:
        if not json:
            show(run, wishes, [*written, *([keep] if keep is not None else [])])
            return
        print_json(
            {
                "scenario": chosen.name,
                "strategy": repr(played),
                "promise": run.promise,
                "store": None,
                "broker": None,
                **comes_from.settings,
                "seed": seed,
                "provenance": comes_from.to_dict(modules=False),
                "digest": run.digest,
                "violations": listed(run),
                "warnings": run.warnings,
                "summary": dict(run.summary),
                "folder": str(keep) if keep is not None else None,
                "files": [str(path) for path in written],
            }
        )

    finish(run, wishes, target, shown)
