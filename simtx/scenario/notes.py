"""Notes on the figures of a scenario: its own, the sources of the named measurements, and what is assumed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, TypeAlias, TypeVar, cast

from pydantic import BaseModel

from simtx.scenario import schema
from simtx.scenario.build import Zones
from simtx.scenario.catalog import LOCAL, Measured, brokers, canonical, forced_writes, region, regions
from simtx.scenario.distributions import Distribution, duration_text
from simtx.scenario.fields import written_as
from simtx.scenario.model import Assumption
from simtx.scenario.problems import Path, at, path_text

#: Entries that shape the model instead of measuring something: they need no source.
_SHAPE = re.compile(
    r"run\..*|.*\.(amount|low|high|weight|initial|at|until|occurrence|transaction|probability|maximum_hops|poll_batch|queue_limit)"
)
_DEFAULT = "default of simtx"
_TABLES = (BaseModel, dict, list)


Leaf: TypeAlias = tuple[Path, str, bool, Any, str]
"""A figure: path, path with names instead of positions, whether it was given, value, and how such a value is written."""


def leaves(
    file: schema.ScenarioFile, kept: Callable[[str, Callable[[], list[Leaf]]], list[Leaf]] = lambda _, make: make()
) -> list[Leaf]:
    """All figures.

    Args:
        file: The tables.
        kept: Gets the key of one of them and what makes the list of its figures, and returns that list, made now or before.
    """
    found: list[Leaf] = []
    for entry in _entries(type(file)):
        found += kept(entry[1], lambda entry=entry: _walk([], file, (), "", given=True, entries=(entry,)))  # type: ignore[misc]
    return found


_Entry: TypeAlias = tuple[str, str, str | None]


@lru_cache(maxsize=256)
def _entries(table: type[BaseModel]) -> tuple[_Entry, ...]:
    """Attribute, key, and how its figure is written (None: it is none), of each entry that such a table may have."""
    written = {name: written_as(field) for name, field in table.model_fields.items()}
    figures = {name: text for name, text in written.items() if text.partition(",")[0] not in ("", "name", "moment")}
    return tuple((name, field.alias or name, figures.get(name)) for name, field in table.model_fields.items())


def _walk(
    found: list[Leaf],
    table: BaseModel,
    path: Path,
    text: str,
    *,
    given: bool,
    entries: Sequence[_Entry] | None = None,
) -> list[Leaf]:
    """Add the figures of a table to a list, which is returned."""
    stated, values = table.model_fields_set, vars(table)
    for name, key, notation in entries if entries is not None else _entries(type(table)):
        value = values[name]
        if notation is None and not isinstance(value, _TABLES):
            continue
        here, said, known = (*path, key), f"{text}.{key}" if text else key, given and name in stated
        if isinstance(value, BaseModel):
            _walk(found, value, here, said, given=known)
        elif isinstance(value, dict) and any(isinstance(item, BaseModel) for item in value.values()):
            for entry, item in value.items():
                _walk(found, item, (*here, entry), f"{said}.{entry}", given=known)
        elif isinstance(value, list) and any(isinstance(item, BaseModel) for item in value):
            for index, item in enumerate(value):
                label = getattr(item, "name", None)
                _walk(found, item, (*here, index), f"{said}.{label}" if label else f"{said}[{index}]", given=known)
        elif notation is not None:
            if key == "exponent" and getattr(table, "popularity", "") != "zipf":
                continue  # it has no meaning there
            found.append((here, said, known, value, notation))
    return found


@lru_cache(maxsize=1 << 14)
def _shapes(text: str) -> bool:
    """Return whether a figure shapes the model instead of measuring something."""
    return _SHAPE.fullmatch(text) is not None


@lru_cache(maxsize=1 << 16)  # the cells of a sweep ask the same again and again
def covers(pattern: str, path: Path, text: str) -> bool:
    """Return whether a note's path fits a figure: the path itself, that of a table around it, or one with ``*`` for any part."""
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*") + r"(?:[.\[].*)?")
    return any(expression.fullmatch(form) is not None for form in (text, path_text(path)))


@lru_cache(maxsize=1 << 14)
def _closest(patterns: tuple[str, ...], path: Path, text: str) -> str | None:
    """The longest of these patterns that fits a figure."""
    return max((pattern for pattern in patterns if covers(pattern, path, text)), key=len, default=None)


V = TypeVar("V")


class Later(Mapping[str, V]):
    """A mapping that is made when it is first looked at: of the thousands of scenarios of a sweep nobody reads the notes."""

    __slots__ = ("_found", "_make")

    def __init__(self, make: Callable[[], Mapping[str, V]]) -> None:
        self._make: Callable[[], Mapping[str, V]] | None = make
        self._found: Mapping[str, V] = {}

    def _there(self) -> Mapping[str, V]:
        make = self._make
        if make is not None:
            self._found = make()
            self._make = None
        return self._found

    def __getitem__(self, key: str) -> V:
        return self._there()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._there())

    def __len__(self) -> int:
        return len(self._there())

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict[str, V]], tuple[dict[str, V]]]:
        """A copy, also in another process, is a plain dictionary."""
        return dict, (dict(self),)


def noted_later(
    file: schema.ScenarioFile, figures: Sequence[Leaf], tables: Mapping[str, Any], placed: Zones
) -> tuple[Mapping[str, str], Mapping[str, Assumption]]:
    """Make what `noted` makes when somebody looks."""

    @cache
    def made() -> tuple[dict[str, str], dict[str, Assumption]]:
        return noted(file, figures, tables, placed)

    return Later(lambda: made()[0]), Later(lambda: made()[1])


def noted(
    file: schema.ScenarioFile, figures: Sequence[Leaf], tables: Mapping[str, Any], placed: Zones
) -> tuple[dict[str, str], dict[str, Assumption]]:
    """Sources and assumptions by path; what has neither is an assumption too.

    Args:
        file: The checked tables.
        figures: All that are in them.
        tables: The same as they were written, with the defaults of services filled in.
        placed: Zone by node.
    """
    sources: dict[str, str] = {}
    assumptions: dict[str, str] = {}
    values: dict[str, tuple[Any, str]] = {}
    books = [(file.sources, tuple(file.sources), sources), (file.assumptions, tuple(file.assumptions), assumptions)]
    for path, text, given, value, notation in figures:
        values[text] = value, notation
        if not given and value in (None, 0, 0.0, (), {}):
            continue
        noted = False
        for notes, patterns, result in books:
            closest = _closest(patterns, path, text)
            if closest is not None:
                result[text] = notes[closest]
                noted = True
        measured = _measured(tables, path, given=given)
        if measured is not None and (given or value == measured.latency):
            sources.setdefault(text, f"{measured.source} ({measured.evidence})")
            assumptions.setdefault(text, measured.assumption if given else f"{_DEFAULT}: {measured.assumption}")
        elif not noted and not _shapes(text):
            assumptions.setdefault(text, "no source given" if given else _DEFAULT)
    _latencies(file, placed, sources, assumptions)
    said = {text: value_text(*values[text]) for text in assumptions if text in values}
    if file.network.latency is None:
        said["network.latency"] = "by the round trips of regions.toml"
    names = list(file.services)
    found = {text: Assumption(why, said.get(text, "")) for text, why in assumptions.items()}
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


def _measured(tables: Mapping[str, Any], path: Path, *, given: bool) -> Measured | None:
    """The catalogue's entry for a figure that is named by it, or that it is the default of."""
    if path[-1] not in ("forced_write", "ack_latency"):
        return None
    disk = path[-1] == "forced_write"
    catalogue = forced_writes() if disk else brokers()
    written = at(tables, path) if given else None
    if written is None:
        return catalogue["ebs-gp3" if disk else "kafka"]
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
    one_policy = len({note for text, note in notes.items() if text.startswith("policies.")}) == 1
    of_services: dict[str, dict[str, N]] = {}  # by figure and service
    for text, note in notes.items():
        parts = text.split(".", 2)
        if parts[0] == "services":
            of_services.setdefault(parts[2], {})[parts[1]] = note
    same = {
        figure
        for figure, by_service in of_services.items()
        if len(services) > 1 and len(by_service) == len(services) and len(set(by_service.values())) == 1
    }
    for text, note in notes.items():
        parts = text.split(".", 2)
        kept, part = text, ""
        if parts[0] == "services" and parts[2] in same:
            kept, part = f"services.*.{parts[2]}", parts[1]
        elif parts[0] == "policies" and one_policy:
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
