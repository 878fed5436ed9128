"""Keeps what a sweep was about beside its table in the results folder: enough for `simtx.read` to make the sweep of it again (`found`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simtx.errors import ScenarioError
from simtx.experiments.saved import SWEEP, document_of, encoded, strategy_document

if TYPE_CHECKING:
    from simtx.experiments.sweep.result import Sweep
    from simtx.experiments.sweep.study import Study

FRONTIER: Final = "-frontier"
"""End of the name of a table that has the sites of a frontier beside the cells of a sweep."""


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
