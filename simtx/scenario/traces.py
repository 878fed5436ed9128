"""Arrivals from a file: a table with a column of times, or the access log of a web server.

Times may be numbers in any unit or date-times; what the run's time zero is, which column holds what, and which columns nobody needs is said in the
scenario, and never guessed. A guess that is wrong gives a run of years without an arrival, or one that leaves out a parameter.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from simtx.files import LARGEST_DATA, Unreadable, read_text
from simtx.scenario.problems import Problem
from simtx.scenario.units import duration_text, hint, shown

if TYPE_CHECKING:
    from simtx.scenario.schema import ParameterFile, WorkloadFile

UNITS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
DATETIME: Final = "datetime"
FIRST: Final = "first"
_TIME: Final = "time"
_NAME: Final = re.compile(r"[\w][\w .%/#()\[\]-]{0,60}")
_TABLES: Final = (".csv", ".tsv")
_LONGEST: Final = 30 * 366 * 86400.0
_LEAD: Final = 60.0  # seconds before the first arrival that need no reason
_SPARSE: Final = 60.0  # seconds between arrivals from which on it has to be said that they are seconds
_ENOUGH: Final = 10  # arrivals from which on their mean gap tells something
_FINER: Final = ("ms", "us", "ns")
_SINCE_1970: Final = (600_000_000, 4_200_000_000)  # seconds: 1989 to 2103

#: The formats of Apache's `mod_log_config`: common, and combined with two fields more. nginx writes the second one, too.
_COMMON: Final = r'(?P<host>\S+) (?P<ident>\S+) (?P<user>.*?) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}|-) (?P<size>\d+|-)'
_COMBINED: Final = _COMMON + r' "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"'
LOGS: Final = {"common": re.compile(_COMMON), "combined": re.compile(_COMBINED)}
_LOG_TIME: Final = "%d/%b/%Y:%H:%M:%S %z"

Moment: TypeAlias = Decimal | datetime
Row: TypeAlias = tuple[int, Mapping[str, str | None]]
"""Number of the line, and cells by column."""


class _Wrong(Exception):
    """The file cannot be used: the text is one line, and the key is what it is about."""

    def __init__(self, text: str, key: str = "trace") -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Content of a trace file.

    Attributes:
        times: Arrival times in seconds, ascending.
        columns: Values of parameters, one a transaction, by name.
    """

    times: tuple[float, ...] = ()
    columns: Mapping[str, tuple[str, ...] | tuple[float, ...]] = field(default_factory=dict)


def read_trace(
    path: Path, workload: WorkloadFile, parameters: Mapping[str, ParameterFile], problems: list[Problem]
) -> Arrivals:
    """Read a file of arrivals.

    Args:
        path: The file.
        workload: What is said of it: `column`, `ignore`, `unit`, `origin`, `format`, `sort`, `spread`.
        parameters: The transaction's parameters.
        problems: Problems found are added here.
    """
    try:
        return _read(path, workload, parameters)
    except _Wrong as wrong:
        problems.append((("workload", wrong.key), str(wrong)))
        return Arrivals()


def _read(path: Path, workload: WorkloadFile, parameters: Mapping[str, ParameterFile]) -> Arrivals:
    header, rows = _log(path, workload.format) if workload.format in LOGS else _table(path)
    wanted = _columns(path, workload, parameters, header)
    if not rows:
        raise _Wrong(f"'{path.name}' has no rows")
    parse, unit = _parser(workload)
    moments = [_moment(row.get(wanted[_TIME]), wanted[_TIME], parse, unit, path, line) for line, row in rows]
    if len({moment.tzinfo is None for moment in moments if isinstance(moment, datetime)}) > 1:
        raise _Wrong(f"'{path.name}' has date-times with a time zone and others without one")
    origin = _origin(workload, parse, min(moments))
    times = [_seconds(moment, origin, unit) for moment in moments]
    if (
        workload.sort or workload.format in LOGS
    ):  # a server writes a line when the request ends, with the time of its beginning
        order = sorted(range(len(times)), key=times.__getitem__)
        rows, times = [rows[i] for i in order], [times[i] for i in order]
    _check_unit(path, workload, moments, times)
    _check_order(path, rows, times)
    _check_start(path, workload, times, rows[0][1].get(wanted[_TIME]))
    if workload.spread is not None:
        times = _spread(times, workload.spread)
    columns: dict[str, tuple[str, ...] | tuple[float, ...]] = {}
    for name, parameter in parameters.items():
        if name not in wanted:
            continue
        if parameter.population is not None:
            columns[name] = tuple(row[wanted[name]] or "" for _, row in rows)
        else:
            columns[name] = tuple(_number(row[wanted[name]], wanted[name], path, line) for line, row in rows)
    return Arrivals(tuple(times), columns)


# --- files --------------------------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        return read_text(path, LARGEST_DATA, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise _Wrong(f"the trace file '{path}' cannot be read: {error.strerror}") from None
    except Unreadable as error:
        raise _Wrong(f"the trace file '{path}' cannot be read: {error}") from None


def _table(path: Path) -> tuple[list[str], list[Row]]:
    """Header and rows of a CSV file."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), skipinitialspace=True)
    try:
        header = list(reader.fieldnames or ())
        return header, [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise _Wrong(f"the trace file '{path}' cannot be read: {error}") from None


def _log(path: Path, form: str) -> tuple[list[str], list[Row]]:
    """The fields of an access log, by their names, and its lines."""
    pattern = LOGS[form]
    rows: list[Row] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        found = pattern.match(line)
        if found is None:
            other = next((name for name, one in LOGS.items() if name != form and one.match(line)), None)
            better = f"; write format = '{other}'" if other else ""
            raise _Wrong(
                f"'{path.name}' line {number} is not in the '{form}' log format: {shown(line)}{better}", "format"
            )
        rows.append((number, found.groupdict()))
    return list(pattern.groupindex), rows


def _columns(
    path: Path, workload: WorkloadFile, parameters: Mapping[str, ParameterFile], header: Sequence[str]
) -> dict[str, str]:
    """The column of the time and of each parameter that has one.

    Raises:
        _Wrong: One of them is not there, or a column is there that nobody uses.
    """
    if not all(_NAME.fullmatch(name) for name in header) or path.suffix.lower() not in _TABLES:
        header = []  # a file that is no table of arrivals is not shown, not even its first line: it may be anything
    there = ", ".join(f"'{name}'" for name in header) or "none that looks like one"
    wanted = dict(workload.column)
    for name, column in wanted.items():
        if name != _TIME and name not in parameters:
            raise _Wrong(f"'{name}' is no parameter; {hint(name, [_TIME, *parameters])}", "column")
        if column not in header:
            raise _Wrong(f"'{path.name}' has no column '{column}' for '{name}'; {hint(column, header)}", "column")
    if _TIME not in wanted and _TIME not in header:
        raise _Wrong(
            f"'{path.name}' has no column 'time'; its columns are {there}; say which one holds the times: column = {{ time = '...' }}"
        )
    wanted.setdefault(_TIME, _TIME)
    for name in parameters:
        if name in header and name != _TIME:
            wanted.setdefault(name, name)
    unknown = [name for name in workload.ignore if name not in (*header, "*")]
    if unknown:
        raise _Wrong(f"'{path.name}' has no column '{unknown[0]}'; {hint(unknown[0], header)}", "ignore")
    if workload.format not in LOGS and "*" not in workload.ignore:
        left = [name for name in header if name not in (*wanted.values(), *workload.ignore)]
        if left:
            near = hint(left[0], [name for name in parameters if name not in wanted], otherwise="")
            guess = f"; {near}" if near.startswith("did") else ""
            listed = ", ".join(f"'{name}'" for name in left)
            raise _Wrong(
                f"'{path.name}': nothing uses column{'s' if len(left) > 1 else ''} {listed}{guess} (a column is given to a parameter by `column`, "
                "or named in `ignore`)"
            )
    return wanted


# --- times --------------------------------------------------------------------------------------------------------------------


def _parser(workload: WorkloadFile) -> tuple[Callable[[str], Moment], str]:
    """Function that reads a time, and the unit of that time."""
    unit = workload.unit
    if unit is None:
        unit = _LOG_TIME if workload.format in LOGS else "s"
    if unit in UNITS:
        return _decimal, unit
    if unit == DATETIME:
        return datetime.fromisoformat, unit
    if "%" in unit:
        return lambda text: datetime.strptime(text, unit), unit  # noqa: DTZ007 - a format may have %z, and all rows have the same
    known = [*UNITS, DATETIME]
    raise _Wrong(
        f"{shown(unit)} is no unit of time; {hint(unit, known)}; or give the format of date-times, such as '%Y-%m-%d %H:%M:%S'",
        "unit",
    )


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite():
        raise ValueError(text)
    return value


def _moment(text: str | None, column: str, parse: Callable[[str], Moment], unit: str, path: Path, line: int) -> Moment:
    try:
        return parse((text or "").strip())
    except ValueError:
        pass
    if unit in UNITS:
        dated = "; for date-times write unit = 'datetime', or their format" if _is_date(text or "") else ""
        raise _Wrong(f"'{path.name}' line {line}: {shown(text)} in column '{column}' is no number{dated}")
    kind = "date-time in ISO 8601" if unit == DATETIME else f"date-time of the format {unit!r}"
    raise _Wrong(f"'{path.name}' line {line}: {shown(text)} in column '{column}' is no {kind}")


def _is_date(text: str) -> bool:
    return re.search(r"\d[-/:]\w+[-/:]\d", text) is not None


def _origin(workload: WorkloadFile, parse: Callable[[str], Moment], first: Moment) -> Moment | None:
    """The moment that is the run's time zero; None: that of the file."""
    given = workload.origin
    if given is None and workload.format in LOGS:
        given = FIRST
    if given == FIRST:
        return first
    if given is None:
        if isinstance(first, datetime):
            raise _Wrong(
                f"is missing: at which moment does the run begin? Write 'first' for the first arrival, or a moment such as '{first}'",
                "origin",
            )
        return None
    try:
        moment = parse(str(given).strip())
    except ValueError:
        raise _Wrong(
            f"{shown(given)} is no moment of this file; write 'first', or a moment as in the file, such as '{first}'",
            "origin",
        ) from None
    if (
        isinstance(moment, datetime)
        and isinstance(first, datetime)
        and (moment.tzinfo is None) != (first.tzinfo is None)
    ):
        zone = "no time zone, unlike" if moment.tzinfo is None else "a time zone, unlike"
        raise _Wrong(f"{shown(given)} has {zone} the times of the file, such as '{first}'", "origin")
    return moment


def _seconds(moment: Moment, origin: Moment | None, unit: str) -> float:
    if isinstance(moment, datetime):
        if not isinstance(origin, datetime):
            raise AssertionError("date-times have an origin of their kind")
        return (moment - origin) / timedelta(seconds=1)
    since = moment - origin if isinstance(origin, Decimal) else moment
    return float(since * UNITS[unit])


def _check_unit(path: Path, workload: WorkloadFile, moments: Sequence[Moment], times: Sequence[float]) -> None:
    """Numbers are seconds unless something else is said. What can hardly be seconds is refused: it would be a run of years with nothing in it."""
    numbers = [moment for moment in moments if isinstance(moment, Decimal)]
    if workload.unit is not None or not numbers:
        return
    first, (low, high) = min(numbers), _SINCE_1970
    for unit in _FINER:
        if low <= first * UNITS[unit] < high:
            raise _Wrong(
                f"is missing: '{path.name}' has times such as {first}, which look like {unit} since 1970; write unit = '{unit}'",
                "unit",
            )
    gap = mean_gap(times)
    if gap > _SPARSE:
        raise _Wrong(
            f"is missing: '{path.name}' has {len(times):,} arrivals; in seconds they take {duration_text(max(times) - min(times))}, one in "
            f"{duration_text(gap)}. Write unit = '{looks_like(gap)}' if that is what they look like, or unit = 's' if it is meant so",
            "unit",
        )


def mean_gap(times: Sequence[float]) -> float:
    """Seconds between two arrivals on average; 0 if there are too few to tell."""
    return (max(times) - min(times)) / (len(times) - 1) if len(times) >= _ENOUGH else 0.0


def looks_like(gap: float) -> str:
    """The coarsest finer unit with which arrivals that are so many seconds apart come once a second or more often."""
    return next((unit for unit in _FINER if gap * float(UNITS[unit]) <= 1), _FINER[-1])


def _check_order(path: Path, rows: Sequence[Row], times: Sequence[float]) -> None:
    for (earlier, later), (line, _) in zip(pairwise(times), rows[1:], strict=True):
        if later < earlier:
            raise _Wrong(
                f"'{path.name}' line {line}: time {later:g} is before that of the line above, {earlier:g}; write sort = true if that is meant"
            )
    if times[0] < 0:
        raise _Wrong(f"'{path.name}' line {rows[0][0]}: time {times[0]:g} is negative: before the origin")


def _check_start(path: Path, workload: WorkloadFile, times: Sequence[float], text: str | None) -> None:
    """A run begins at time 0. If the arrivals begin long after it, that must be meant: else every time average is one over nothing."""
    if times[-1] > _LONGEST:
        raise _Wrong(
            f"'{path.name}': {text} {workload.unit or 's'} is more than 30 years after the origin; write origin = 'first'",
            "origin",
        )
    length = times[-1] - times[0]
    if workload.origin is None and times[0] > max(_LEAD, length / 2):
        raise _Wrong(
            f"'{path.name}' begins {duration_text(times[0])} after time 0 and lasts {duration_text(length)}; write origin = 'first', or the "
            f"moment at which the run begins, such as {text}, or 0 if it is meant so",
            "origin",
        )


def _spread(times: Sequence[float], width: float) -> list[float]:
    """Arrivals with the same time, apart: evenly over the width of the clock's tick, or up to the next time if that is sooner."""
    groups: list[tuple[float, int]] = [(time, sum(1 for _ in same)) for time, same in groupby(times)]
    ends = [*(time for time, _ in groups[1:]), math.inf]
    return [
        time + (position + 0.5) / count * min(width, end - time)
        for (time, count), end in zip(groups, ends, strict=True)
        for position in range(count)
    ]


def _number(text: Any, column: str, path: Path, line: int) -> float:
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _Wrong(f"'{path.name}' line {line}: {shown(text)} in column '{column}' is no number")
    return number


def coarse(times: Iterable[float]) -> float:
    """Share of arrivals that have the same time as the one before: what a clock that ticks too slowly leaves."""
    known = list(times)
    return sum(later == earlier for earlier, later in pairwise(known)) / len(known) if known else 0.0
