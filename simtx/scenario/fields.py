"""Types of the entries of a scenario file: how each is written, and how it is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar, cast, get_args

from pydantic import GetCoreSchemaHandler, PlainValidator, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from simtx.scenario import units
from simtx.scenario.catalog import brokers, forced_writes
from simtx.scenario.distribution_files import each, read_distribution
from simtx.scenario.distributions import Distribution

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Notation:
    """Notation of a value, for the tables of the documentation."""

    text: str


@dataclass(frozen=True, slots=True)
class _Absent:
    """Reads what is there as if it had to be there: an entry that is left out is None, but nobody can write None."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        nullable: Any = handler(source)
        return cast("CoreSchema", nullable["schema"])


def written_as(field: FieldInfo) -> str:
    """Notation of the value of a field; empty if the field names none."""
    parts = get_args(field.annotation)
    inside = getattr(parts[0], "__metadata__", ()) if type(None) in parts else ()
    return next((one.text for one in (*field.metadata, *inside) if isinstance(one, Notation)), "")


def _units_needed(info: ValidationInfo) -> bool:
    return bool((info.context or {}).get("units_needed", True))


def _seconds(value: Any, info: ValidationInfo) -> float:
    return units.duration(value, unit_needed=_units_needed(info))


def _period(value: Any, info: ValidationInfo) -> float:
    return units.duration(value, unit_needed=_units_needed(info), zero=False)


def _waits(value: Any, info: ValidationInfo) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f'{units.shown(value)} is no list of durations, such as ["1s", "5s"]')
    return tuple(_period(one, info) for one in value)


def _latency(value: Any, info: ValidationInfo) -> Distribution:
    return read_distribution(value, unit_needed=_units_needed(info))


def _forced_write(value: Any, info: ValidationInfo) -> Distribution:
    known = {name: entry.latency for name, entry in forced_writes().items()}
    return read_distribution(value, unit_needed=_units_needed(info), names=known)


def _ack_latency(value: Any, info: ValidationInfo) -> Distribution:
    known = {name: entry.latency for name, entry in brokers().items()}
    return read_distribution(value, unit_needed=_units_needed(info), names=known)


def _numbers(value: Any) -> Distribution:
    return read_distribution(value, durations=False)


def _profile(value: Any, info: ValidationInfo) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{units.shown(value)} is no list of pairs [time, rate]")

    def pair(one: Any) -> tuple[float, float]:
        if not isinstance(one, list | tuple) or len(one) != 2:
            raise ValueError(f"{units.shown(one)} is no pair [time, rate]")
        return _seconds(one[0], info), units.rate(one[1], zero=True)

    return each(value, pair)


def _name(value: Any) -> str:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError(f"{units.shown(value)} is no name; use letters, digits, '-' and '_', a letter first")
    return value


def _factor(value: Any) -> float:
    factor = units.number(value)
    if factor <= 0:
        raise ValueError(f"{units.shown(value)} is no factor; it must be above 0")
    return factor


def _moment(value: Any) -> str:
    if isinstance(value, datetime):  # TOML has date-times of its own
        return value.isoformat(" ")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{units.shown(value)} is no moment; write 'first', or a time as in the file")
    return str(value)


def _counts(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{units.shown(value)} is no list of whole numbers")
    return tuple(map(units.count, value))


Seconds: TypeAlias = Annotated[float, PlainValidator(_seconds), Notation("duration")]
Period: TypeAlias = Annotated[float, PlainValidator(_period), Notation("duration above 0")]
Waits: TypeAlias = Annotated[tuple[float, ...], PlainValidator(_waits), Notation("list of durations above 0")]
Counts: TypeAlias = Annotated[tuple[int, ...], PlainValidator(_counts), Notation("list of whole numbers")]
Latency: TypeAlias = Annotated[Distribution, PlainValidator(_latency), Notation("distribution of a duration")]
ForcedWrite: TypeAlias = Annotated[
    Distribution, PlainValidator(_forced_write), Notation("distribution of a duration, or a name from latencies.toml")
]
AckLatency: TypeAlias = Annotated[
    Distribution, PlainValidator(_ack_latency), Notation("distribution of a duration, or a name from latencies.toml")
]
Numbers: TypeAlias = Annotated[Distribution, PlainValidator(_numbers), Notation("distribution of a number")]
Profile: TypeAlias = Annotated[
    tuple[tuple[float, float], ...], PlainValidator(_profile), Notation("list of pairs [duration, rate]")
]
Rate: TypeAlias = Annotated[float, PlainValidator(lambda v: units.rate(v, zero=True)), Notation("rate")]
Chance: TypeAlias = Annotated[float, PlainValidator(units.probability), Notation("probability")]
Number: TypeAlias = Annotated[float, PlainValidator(units.number), Notation("number")]
Factor: TypeAlias = Annotated[float, PlainValidator(_factor), Notation("number above 0")]
Whole: TypeAlias = Annotated[int, PlainValidator(units.count), Notation("whole number")]
Positive: TypeAlias = Annotated[
    int, PlainValidator(lambda v: units.count(v, least=1)), Notation("whole number of at least 1")
]
Moment: TypeAlias = Annotated[str, PlainValidator(_moment), Notation("moment, or `first`")]
Name: TypeAlias = Annotated[str, PlainValidator(_name), Notation("name")]
Maybe: TypeAlias = Annotated[T | None, _Absent()]
"""An entry that may be left out: ``Maybe[Latency] = None``."""
