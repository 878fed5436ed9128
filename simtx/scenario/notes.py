"""Where the figures of a scenario come from: its own notes, the sources of the named measurements, and what is assumed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from simtx.scenario import schema
from simtx.scenario.build import Zones
from simtx.scenario.catalog import LOCAL, Measured, brokers, canonical, forced_writes, region, regions
from simtx.scenario.distributions import Distribution, duration_text
from simtx.scenario.fields import Notation
from simtx.scenario.model import Assumption
from simtx.scenario.problems import Path, at, path_text

#: Entries that shape the model instead of measuring something: they need no source.
_SHAPE = re.compile(
    r"run\..*|.*\.(amount|low|high|weight|initial|at|until|occurrence|transaction|probability|maximum_hops|poll_batch|queue_limit)"
)
_DEFAULT = "default of simtx"


def leaves(file: schema.ScenarioFile) -> Iterator[tuple[Path, str, bool, Any, str]]:
    """All figures: path, path with names instead of positions, whether it was given, value, and how such a value is written."""
    yield from _walk(file, (), "", given=True)


def _walk(table: BaseModel, path: Path, text: str, *, given: bool) -> Iterator[tuple[Path, str, bool, Any, str]]:
    for name, field in type(table).model_fields.items():
        key = field.alias or name
        value = getattr(table, name)
        here, said, known = (*path, key), f"{text}.{key}" if text else key, given and name in table.model_fields_set
        if isinstance(value, BaseModel):
            yield from _walk(value, here, said, given=known)
        elif isinstance(value, dict) and any(isinstance(item, BaseModel) for item in value.values()):
            for entry, item in value.items():
                yield from _walk(item, (*here, entry), f"{said}.{entry}", given=known)
        elif isinstance(value, list) and any(isinstance(item, BaseModel) for item in value):
            for index, item in enumerate(value):
                label = getattr(item, "name", None)
                yield from _walk(item, (*here, index), f"{said}.{label}" if label else f"{said}[{index}]", given=known)
        elif any(
            isinstance(extra, Notation) and extra.text.partition(",")[0] not in ("name", "moment")
            for extra in field.metadata
        ):
            if key == "exponent" and getattr(table, "popularity", "") != "zipf":
                continue  # it has no meaning there
            yield here, said, known, value, next(one.text for one in field.metadata if isinstance(one, Notation))


@lru_cache(maxsize=1 << 16)  # the cells of a sweep ask the same again and again
def covers(pattern: str, path: Path, text: str) -> bool:
    """Whether a note's path fits a figure: the path itself, that of a table around it, or one with ``*`` for any part."""
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*") + r"(?:[.\[].*)?")
    return any(expression.fullmatch(form) is not None for form in (text, path_text(path)))


def noted(
    file: schema.ScenarioFile, tables: Mapping[str, Any], placed: Zones
) -> tuple[dict[str, str], dict[str, Assumption]]:
    """Sources and assumptions by path; what has neither is an assumption too.

    Args:
        file: The checked tables.
        tables: The same as they were written, with the defaults of services filled in.
        placed: Zone by node.
    """
    sources: dict[str, str] = {}
    assumptions: dict[str, str] = {}
    values: dict[str, str] = {}
    for path, text, given, value, notation in leaves(file):
        values[text] = value_text(value, notation)
        if not given and value in (None, 0, 0.0, (), {}):
            continue
        noted = False
        for notes, result in ((file.sources, sources), (file.assumptions, assumptions)):
            fitting = [pattern for pattern in notes if covers(pattern, path, text)]
            if fitting:
                result[text] = notes[max(fitting, key=len)]
                noted = True
        written = at(tables, path)
        measured = _measured(path, written if given else None)
        if measured is not None and (given or value == measured.latency):
            sources.setdefault(text, f"{measured.source} ({measured.evidence})")
            assumptions.setdefault(text, measured.assumption if given else f"{_DEFAULT}: {measured.assumption}")
        elif not noted and not _SHAPE.fullmatch(text):
            assumptions.setdefault(text, "no source given" if given else _DEFAULT)
    _latencies(file, placed, sources, assumptions)
    if file.network.latency is None:
        values["network.latency"] = "by the round trips of regions.toml"
    names = list(file.services)
    found = {text: Assumption(why, values.get(text, "")) for text, why in assumptions.items()}
    return _collapsed(sources, names), _collapsed(found, names)


def value_text(value: Any, notation: str) -> str:
    """A figure as people read it: ``2.5 ms``, ``60/s``, ``1 %``, ``lognormal, median 2 ms``."""
    if value is None:
        return "none"
    if isinstance(value, Distribution):
        return value.describe("s" if "duration" in notation else "")
    if isinstance(value, tuple):  # a profile
        return ", ".join(f"{rate:g}/s from {duration_text(time)}" for time, rate in value)
    if notation.startswith("duration"):
        return duration_text(value)
    if notation == "rate":
        return f"{value:g}/s"
    if notation == "probability":
        return f"{100 * value:g} %"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measured(path: Path, written: Any) -> Measured | None:
    catalogue = {"forced_write": forced_writes(), "ack_latency": brokers()}.get(str(path[-1]))
    if catalogue is None:
        return None
    if written is None:
        return catalogue["ebs-gp3" if path[-1] == "forced_write" else "kafka"]
    return catalogue.get(written) if isinstance(written, str) else None


def _latencies(file: schema.ScenarioFile, placed: Zones, sources: dict[str, str], assumptions: dict[str, str]) -> None:
    if file.network.latency is not None:
        return
    used = {canonical(zone) for zone in placed.values()}
    known = {zone for zone in used if region(zone) in (*regions().names, LOCAL)}
    if known:
        sources.setdefault("network.latency", regions().source)
        if file.network.tail:
            assumptions.setdefault("network.latency", regions().assumption)


N = TypeVar("N", bound=str)


def _collapsed(notes: dict[str, N], services: list[str]) -> dict[str, N]:
    """Notes that are the same for every service become one, and those of defaults that are the same in a table too."""
    result: dict[str, N] = {}
    alike: dict[str, dict[str, str]] = {}
    for text, note in notes.items():
        parts = text.split(".", 2)
        kept, part = text, ""
        if (
            parts[0] == "services"
            and len(services) > 1
            and all(notes.get(f"services.{s}.{parts[2]}") == note for s in services)
        ):
            kept, part = f"services.*.{parts[2]}", parts[1]
        elif parts[0] == "policies" and all(n == note for t, n in notes.items() if t.startswith("policies.")):
            kept, part = "policies", text.removeprefix("policies.")
        result.setdefault(kept, note)
        alike.setdefault(kept, {})[part] = getattr(note, "value", "")
    return {text: _of_all(note, alike[text]) for text, note in result.items()}


def _of_all(note: N, values: Mapping[str, str]) -> N:
    """A note for several figures: their value, if it is one, else each with what it belongs to."""
    if not isinstance(note, Assumption) or len(values) == 1:
        return note
    different = set(values.values())
    listed = "; ".join(f"{part} {value}" for part, value in values.items())
    value = listed if len(different) > 1 else different.pop()
    return cast("N", Assumption(note, value))
