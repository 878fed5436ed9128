"""Options and arguments that several commands share, so that each is named and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ChangeOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the scenario: workload.rate=200")
]
ScenarioArgument: TypeAlias = Annotated[str, typer.Argument(help="A built-in scenario, or the path of a TOML file.")]
StrategyArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="2pc, paxos-commit, cornus, saga, tcc, outbox, choreography or dual-write; options as in '2pc:work=before'."
    ),
]
StrategiesArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(help="Strategies, options as in '2pc:work=before'; default: 2pc, saga, outbox, dual-write."),
]
StoreOption: TypeAlias = Annotated[
    str,
    typer.Option(
        envvar="SIMTX_STORE",
        help="sqlite, postgres, or the DSN of a server: postgresql://... An address with a password belongs into the variable, which 'ps' does not show.",
    ),
]
BrokerOption: TypeAlias = Annotated[
    str, typer.Option(envvar="SIMTX_BROKER", help="embedded, nats, or the URL of a server: nats://...; likewise.")
]
EngineOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="auto, interpreted or fast: what plays or searches; what comes out is the same. Default: auto."),
]
ReplicationsOption: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Runs of each strategy in each cell; default: those of the file.")
]
ResultsOption: TypeAlias = Annotated[Path | None, typer.Option(help="The results folder; default: that of the file.")]
RunFolderArgument: TypeAlias = Annotated[Path, typer.Argument(help="Folder of the run; it may be running or over.")]
SeedOption: TypeAlias = Annotated[int, typer.Option(min=0, help="Seed of all random streams.")]
WorkersOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Processes; default: one a processor.")]
PictureOption: TypeAlias = Annotated[
    Path | None, typer.Option("--out", metavar="PICTURE", help="Draw it into this file: .png, .svg or .pdf.")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
