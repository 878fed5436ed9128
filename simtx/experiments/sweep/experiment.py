"""An experiment as a file: what `simtx.sweep` is called with, in TOML.

scenario = "checkout"
strategies = ["2pc", "saga", "outbox"]
replications = 10

[parameters]
rtt = { "network.latency" = 0.5 }

[over]
"workload.rate" = [50, 100, 150]
rtt = ["2ms", "10ms", "40ms"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simtx.errors import ScenarioError
from simtx.experiments.compare import DEFAULT
from simtx.files import Unreadable, read_toml
from simtx.scenario import Scenario, load, names
from simtx.scenario.problems import failure, from_validation


class ExperimentFile(BaseModel):
    """The keys of an experiment file. Those that are arguments of `simtx.sweep` mean the same, and have the same defaults.

    Attributes:
        scenario: A built-in scenario, or the path of a TOML file, relative to this one.
        changes: What is changed in it in all cells, by path.
        over: Values by parameter: a list, or for a design that is no grid ``{ low = 50, high = 300, scale = "log", integer = true }``.
        table: A CSV file with a row for each cell and a column for each parameter, in place of `over`.
        store: The results folder, relative to this file.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    scenario: str
    changes: dict[str, Any] = {}
    strategies: list[str] = Field(list(DEFAULT), min_length=1)
    replications: int = 10
    seed: int = 1
    over: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    table: str | None = None
    design: str = "grid"
    points: int | None = None
    design_seed: int = 1
    window: str = "duration"
    stop_after: int = 3
    store: str = "results"


@dataclass(slots=True)
class Experiment:
    """A checked experiment file.

    Attributes:
        path: The file.
        scenario: With its changes.
        arguments: For `simtx.sweep`, but for the scenario.
    """

    path: Path
    scenario: Scenario
    arguments: dict[str, Any] = field(default_factory=dict)


def load_experiment(path: str | Path, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment file.

    Args:
        path: The file.
        changes: More changes of the scenario; they win over those of the file.

    Raises:
        ScenarioError: It is wrong; every problem has a line of its own.
    """
    file = Path(path).expanduser()
    try:
        raw = read_toml(file)
    except FileNotFoundError:
        problem = _no_experiment(str(path)) if str(path) in names() else "there is no such file"
        raise ScenarioError(problem, str(file)) from None
    except Unreadable as error:
        toml = str(error).startswith("this is not TOML")
        raise ScenarioError(
            str(error) if toml else f"the file cannot be read: {error}", file.name if toml else str(file)
        ) from None
    if "scenario" not in raw and raw.keys() & {"services", "transaction", "workload"}:
        raise ScenarioError(_no_experiment(file.name), file.name)
    try:
        read = ExperimentFile.model_validate(raw)
    except ValidationError as error:
        raise failure(from_validation(error, ExperimentFile), file.name) from None
    if read.table is not None and read.over:
        raise ScenarioError("give either 'table' or 'over'", file.name)
    where = read.scenario
    if where not in names() and not Path(where).is_absolute() and (file.parent / where).is_file():
        where = str(file.parent / where)
    scenario = load(where)
    wanted = {**read.changes, **(changes or {})}
    if wanted:
        scenario = scenario.replace(**wanted)
    arguments = read.model_dump(exclude={"scenario", "changes", "table", "store"})
    if read.table is not None:
        arguments["over"] = file.parent / read.table
    return Experiment(
        file, scenario, {**arguments, "store": file.parent / Path(read.store).expanduser(), "name": file.stem}
    )


def _no_experiment(scenario: str) -> str:
    """Say what is wrong with a scenario in place of an experiment."""
    return f'is a scenario; give an experiment: a TOML file that says scenario = "{scenario}" and, below [over], what is varied'
