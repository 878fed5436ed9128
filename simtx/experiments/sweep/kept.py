"""What a sweep was about, beside its table in the results folder: enough for `simtx.read` to make the sweep of it again, without playing anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.experiments.saved import (
    FORMAT,
    SWEEP,
    StoredStrategy,
    decoded,
    document_of,
    encoded,
    restored_scenario,
    restored_strategy,
    strategy_document,
)
from simtx.files import LARGEST_DATA, read_text

if TYPE_CHECKING:
    from simtx.experiments.sweep.result import Sweep
    from simtx.experiments.sweep.study import Study

_FRAMES: Final = "frames"
FRONTIER: Final = "-frontier"
"""How the name of a table ends that has the sites of a frontier beside the cells of a sweep."""


def keep(study: Study, sweep: Sweep, folder: Path) -> None:
    """Write it, as a whole. A sweep of objects that no file can hold leaves nothing: it is still there for its own process.

    Args:
        study: What it is about.
        sweep: With its rows.
        folder: Where.

    Raises:
        OSError: It cannot be written.
    """
    runs: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for (cell, strategy), replications in sweep.asked().items():
        runs.setdefault((strategy, tuple(replications)), []).append(cell)
    try:
        document = document_of("sweep", sweep.provenance, study.scenario, folder) | {
            "strategies": {label: strategy_document(one, study.scenario) for label, one in study.strategies.items()},
            "seed": study.seed,
            "window": study.window,
            "parameters": encoded(list(study.parameters), "the sweep"),
            "cells": [encoded(dict(cell.values), "the sweep") for cell in study.cells],
            "runs": [[strategy, list(numbers), cells] for (strategy, numbers), cells in runs.items()],
        }
        text = json.dumps(document, indent=1, allow_nan=False)
    except ScenarioError:
        (folder / SWEEP).unlink(missing_ok=True)
        return
    new = folder / f".{SWEEP}.{os.getpid()}"
    try:
        new.write_text(f"{text}\n", encoding="utf-8")
        new.replace(folder / SWEEP)
    finally:
        new.unlink(missing_ok=True)


def read_sweep(place: Path) -> Sweep:
    """The sweep of a results folder, or of one of its tables.

    Args:
        place: The results folder, if it holds one sweep; or ``frames/NAME`` in it.

    Raises:
        ScenarioError: There is none, there are several, or it was made of objects that no file holds.
    """
    file = place / SWEEP
    if not file.is_file():
        found = sorted((place / _FRAMES).glob(f"*/{SWEEP}"))
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
    try:
        document = json.loads(read_text(file, LARGEST_DATA))
        if document.get("kind") != "simtx sweep":
            raise ScenarioError("it is not written by simtx.sweep", str(file))
        if document["format"] > FORMAT:
            raise ScenarioError(
                f"it has the format {document['format']} of a later version of simtx ({document['provenance']['version']}); this one reads {FORMAT}",
                str(file),
            )
        return _sweep(file, document)
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror or error}", str(error.filename or file)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ScenarioError):
            raise
        raise ScenarioError(f"is damaged: {type(error).__name__}: {error}".splitlines()[0], str(file)) from None


def _is_map(name: str, names: set[str]) -> bool:
    """Whether a table is that of a frontier, whose sweep is there as well."""
    return name.endswith(FRONTIER) and name.removesuffix(FRONTIER) in names


def _sweep(file: Path, document: Mapping[str, Any]) -> Sweep:
    from simtx.experiments.sweep.store import Store
    from simtx.experiments.sweep.study import Row, Study
    from simtx.experiments.sweep.sweep import found_again

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
