"""Arrivals from a trace file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from simtx.scenario.problems import Problem
from simtx.scenario.schema import ParameterFile
from simtx.scenario.units import shown

_PLACE = ("workload", "trace")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a trace file says.

    Attributes:
        times: Arrival times in seconds, ascending.
        columns: Values of parameters, one a transaction, by name.
    """

    times: tuple[float, ...] = ()
    columns: Mapping[str, tuple[str, ...] | tuple[float, ...]] = field(default_factory=dict)


def read_trace(path: Path, parameters: Mapping[str, ParameterFile], problems: list[Problem]) -> Arrivals:
    """Read a CSV file with a header; columns that are no parameters are left alone.

    Args:
        path: The file.
        parameters: The transaction's parameters.
        problems: Problems found are added here.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problems.append((_PLACE, f"the trace file '{path}' cannot be read: {reason}"))
        return Arrivals()
    if "time" not in header:
        there = ", ".join(f"'{name}'" for name in header) or "none"
        problems.append((_PLACE, f"'{path.name}' has no column 'time'; its columns are {there}"))
        return Arrivals()
    if not rows:
        problems.append((_PLACE, f"'{path.name}' has no rows"))
        return Arrivals()
    times = _numbers(rows, "time", path, problems)
    for line, (earlier, later) in enumerate(pairwise(times), start=3):
        if later < earlier:
            problems.append(
                (_PLACE, f"'{path.name}' line {line}: time {later:g} is before that of the line above, {earlier:g}")
            )
            break
    if times and times[0] < 0:
        problems.append((_PLACE, f"'{path.name}' line 2: time {times[0]:g} is negative"))
    columns: dict[str, tuple[str, ...] | tuple[float, ...]] = {}
    for name, parameter in parameters.items():
        if name not in header:
            continue
        if parameter.population is not None:
            columns[name] = tuple(str(row[name] or "") for row in rows)
        else:
            columns[name] = _numbers(rows, name, path, problems)
    return Arrivals(times, columns)


def _numbers(rows: list[dict[str, str]], column: str, path: Path, problems: list[Problem]) -> tuple[float, ...]:
    numbers: list[float] = []
    for line, row in enumerate(rows, start=2):
        try:
            number = float(row[column])
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            problems.append(
                (_PLACE, f"'{path.name}' line {line}: {shown(row[column])} in column '{column}' is no number")
            )
            return ()
        numbers.append(number)
    return tuple(numbers)
