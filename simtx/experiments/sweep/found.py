"""The sweep of a results folder, made again from what was kept beside its table; nothing is played."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simtx.errors import ScenarioError
from simtx.experiments.saved import SWEEP, StoredStrategy, decoded, opened, restored_scenario, restored_strategy
from simtx.experiments.sweep.kept import FRONTIER
from simtx.experiments.sweep.result import Sweep
from simtx.experiments.sweep.store import FRAMES, Store
from simtx.experiments.sweep.study import Row, Study
from simtx.experiments.sweep.sweep import found_again


def read_sweep(place: Path) -> Sweep:
    """The sweep of a results folder, or of one of its tables.

    Args:
        place: The results folder, if it holds one sweep; or ``frames/NAME`` in it.

    Raises:
        ScenarioError: There is none, there are several, or it was made of objects that no file holds.
    """
    file = place / SWEEP
    if not file.is_file():
        found = sorted((place / FRAMES).glob(f"*/{SWEEP}"))
        names = {one.parent.name for one in found}
        found = [one for one in found if not _is_map(one.parent.name, names)]
        if not found:
            raise ScenarioError(
                "holds runs, and no description of a sweep: its objects have no form as text; call report of the sweep itself",
                str(place),
            )
        if len(found) > 1:
            listed = ", ".join(str(one.parent) for one in found)
            raise ScenarioError(f"holds {len(found)} sweeps; name one of {listed}", str(place))
        file = found[0]
    with opened(file, "simtx.sweep") as document:
        return _sweep(file, document)


def _is_map(name: str, names: set[str]) -> bool:
    """Return whether a table is that of a frontier, whose sweep is there as well."""
    return name.endswith(FRONTIER) and name.removesuffix(FRONTIER) in names


def _sweep(file: Path, document: Mapping[str, Any]) -> Sweep:
    folder = file.parent
    scenario, notes = restored_scenario(folder, document)
    strategies = {label: restored_strategy(one, None) for label, one in document["strategies"].items()}
    own = [label for label, one in strategies.items() if isinstance(one, StoredStrategy)]
    if own:
        raise ScenarioError(
            f"has a strategy of your own, '{own[0]}', whose runs are found by its code; call report of the sweep itself",
            str(file),
        )
    study = Study(scenario, tuple(decoded(document["parameters"])), strategies, document["seed"], document["window"])
    study.add([decoded(one) for one in document["cells"]])
    study.notes += [note for note in notes if note not in study.notes]
    order = {label: position for position, label in enumerate(strategies)}
    rows = [
        Row(cell, label, number) for label, numbers, cells in document["runs"] for cell in cells for number in numbers
    ]
    rows.sort(key=lambda row: (row.cell, order[row.strategy], row.replication))
    return found_again(study, Store(folder.parent.parent), rows, folder.name)
