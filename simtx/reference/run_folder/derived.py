"""File of a derived store's process in the run's folder, and the figures made of it: those of the simulator, by its code."""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from simtx.metrics.derived import CopyMeasure
from simtx.protocols.operations import FirstValues
from simtx.reference.run_folder.event_log import entries
from simtx.reference.stores.sqlite.copies import FILE, CopyFile
from simtx.scenario.infrastructure import pattern_of

if TYPE_CHECKING:
    from simtx.reference.run_folder.folder import RunFolder
    from simtx.reference.stores.base import Change
    from simtx.scenario import DerivedSpec, Scenario

Happening: TypeAlias = Literal["read", "update", "lost", "refused"]


def process_of(store: str) -> str:
    """Name of the process of a derived store."""
    return f"derived.{store}"


class ReadsFile:
    """Writes down what readers see, and what becomes of updates: one line each, with the operating system before anything else happens.

    A line holds what it is, the time as `time.monotonic`, the key, and a position in the history of the service: of a read that of the copy, none if there was
    no copy; of an update by the writer that has come, or of one by event that was lost, that of its commit.

    Args:
        path: The file; it must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, kind: Happening, key: str, position: int | None) -> None:
        """Write a line, at the current time."""
        os.write(self._file, f"{json.dumps([kind, time.monotonic(), key, position])}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def figures(
    folder: RunFolder,
    scenario: Scenario,
    changes: Mapping[str, Iterable[Change]],
    values: Mapping[str, Mapping[str, float]],
    origin: float,
) -> dict[str, float]:
    """The metrics of all derived stores that were played.

    Args:
        folder: Of the run, whose processes have ended.
        scenario: What was played.
        changes: The stores' histories by service.
        values: Last committed values by service and key.
        origin: The run's zero, in seconds of `time.monotonic`.
    """
    found: dict[str, float] = {}
    for name, spec in scenario.derived.items():
        place = folder.node(process_of(name))
        if (place / FILE).exists():
            first = FirstValues(scenario.services[spec.service].store.initial)
            warmup = origin + scenario.run.warmup
            found |= _figures(place, spec, list(changes[spec.service]), values[spec.service], first, warmup)
    return found


def _figures(
    place: Path,
    spec: DerivedSpec,
    history: list[Change],
    values: Mapping[str, float],
    first: FirstValues,
    warmup: float,
) -> dict[str, float]:
    """The metrics of one of them; times are those of `time.monotonic`."""
    measure = CopyMeasure(spec.name, expires=spec.ttl is not None, warmup=warmup)
    pattern = pattern_of(spec.key)
    commits = [(one.time, one.number + 1, key) for one in history for key in one.changes if pattern.fullmatch(key)]
    positions: dict[str, list[int]] = {}
    for _, position, key in commits:
        positions.setdefault(key, []).append(position)

    def version(key: str, position: int) -> int:
        """Version of a key in the state of the store at a position."""
        return bisect_right(positions.get(key, ()), position)

    told = sorted(entries(sorted(place.glob("reads.*.jsonl"))), key=lambda row: row[1])
    came: set[tuple[str, int]] = set()
    gone: set[tuple[str, int]] = set()
    after = iter(sorted(commits))
    due = next(after, None)
    for kind, moment, key, position in told:
        while due is not None and due[0] <= moment:
            measure.committed(due[2], due[0])
            due = next(after, None)
        if kind == "read":
            measure.read(key, None if position is None else version(key, position), moment)
        elif kind == "refused":
            measure.refused += 1
        else:
            (came if kind == "update" else gone).add((key, position))
    while due is not None:
        measure.committed(due[2], due[0])
        due = next(after, None)
    if spec.rule.update != "none" and spec.rule.by == "writer":
        gone = {(key, position) for _, position, key in commits} - came
    measure.lost = len(gone)
    wrong, drift = _wrong(place, spec, measure, values, first, version)
    return measure.figures(wrong, drift)


def _wrong(
    place: Path,
    spec: DerivedSpec,
    measure: CopyMeasure,
    values: Mapping[str, float],
    first: FirstValues,
    version: Callable[[str, int], int],
) -> tuple[int, float]:
    """Number of copies that are not that of the last commit now, and the sum of the distances of their values from those of the store."""
    with closing(CopyFile(place / FILE)) as file:
        copies = dict(file.all())
    now, wrong, drift = time.monotonic(), 0, 0.0
    for key in measure.commits:
        kept = copies.get(key)
        if kept is None:
            if spec.rule.fill:
                continue
            shown, value = 0, first(key)  # nothing has come for what was there at the start
        elif kept.copy.version is None or (spec.ttl is not None and now - kept.since >= spec.ttl):
            continue
        else:
            shown, value = version(key, kept.copy.version), kept.value
        if shown != measure.latest(key):
            wrong += 1
            drift += abs(values.get(key, first(key)) - value)
    return wrong, drift
