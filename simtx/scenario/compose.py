"""From the tables of a file to a checked scenario."""

from __future__ import annotations

import copy
import marshal
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from simtx.errors import ScenarioError
from simtx.protocols.names import BROKER, HUB, VOTE_STORE
from simtx.protocols.policies import Policies
from simtx.scenario import build, checks, notes, schema
from simtx.scenario.calibration import load_calibration
from simtx.scenario.infrastructure import CommonMode, HubSpec, VoteStoreSpec
from simtx.scenario.model import RunPlan, Scenario
from simtx.scenario.problems import Problem, at, failure, from_validation
from simtx.scenario.traces import Arrivals, read_trace
from simtx.scenario.uncertainty import uncertainties
from simtx.scenario.units import shown
from simtx.scenario.versions import EventsSpec

#: Of each pair, a later value drops an earlier other one: a run has a length in transactions or in time, not both.
EXCLUSIVE = {("run", "transactions"): "duration", ("run", "duration"): "transactions"}

_NAME: Final = re.compile(r"[^./\\\0][^/\\\0]*")
_LONGEST_NAME: Final = 100
_SHARED: Final = 512  # parts of scenarios that are kept

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Copies of tables and lists as dicts and lists, numbers of numpy as those of Python."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else copy.copy(value)


def of_kind(workload: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Keys of a workload that stay if it becomes one of this kind (None: of the same kind)."""
    if kind is None or kind not in schema.WORKLOAD_KEYS:
        return dict(workload)
    needed, optional = schema.WORKLOAD_KEYS[kind]
    return {key: value for key, value in workload.items() if key in (*needed, *optional)}


def merged(base: dict[str, Any], change: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Tables merged key by key; lists and distributions are replaced."""
    result = dict(base)
    for key, value in change.items():
        other = EXCLUSIVE.get((path[-1] if path else "", key))
        if other is not None:
            result.pop(other, None)
        old = result.get(key)
        if (
            isinstance(value, Mapping)
            and isinstance(old, Mapping)
            and "distribution" not in value
            and "distribution" not in old
        ):
            kept = of_kind(old, value.get("kind")) if not path and key == "workload" else dict(old)
            result[key] = merged(kept, value, (*path, key))
        else:
            result[key] = value
    return result


def compose(
    raw: dict[str, Any],
    name: str,
    where: str,
    *,
    path: Path | None,
    units_needed: bool,
    folder: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Scenario:
    """Check the tables and make a scenario of them.

    Args:
        raw: The tables, with those of `extends` merged in.
        name: The scenario's name.
        where: What errors begin with: the name of the file.
        path: The file.
        units_needed: Whether a duration that is a plain number is refused.
        folder: What the path of a trace file is relative to if there is no file.
        overrides: What was changed since it was read, for display.

    Raises:
        ScenarioError: Something is wrong; every problem has a line of its own.
    """
    problems: list[Problem] = []
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        problem = f"{shown(name)} cannot be the name of a scenario: it becomes a part of names of files, so no '/' or '\\', no '.' at its start"
        raise ScenarioError(f"{problem}, at most {_LONGEST_NAME} signs", f"{where}: name" if where != name else "name")
    tables = _with_defaults(raw, problems)
    file = _validated(tables, units_needed, problems)
    arrivals = Arrivals()
    trace_path: Path | None = None
    if file is not None:
        if file.workload.trace is not None:
            trace_path = (path.parent if path is not None else folder or Path()) / Path(
                file.workload.trace
            ).expanduser()
            arrivals = read_trace(trace_path, file.workload, file.transaction.parameters, problems)
        figures = notes.leaves(file, lambda key, make: _shared("figures", key, tables, units_needed, make))
        problems += checks.problems(file, figures, arrivals, spoiled={p for p, _ in problems})
        unsure = uncertainties(file, figures, problems, changed=bool(overrides))
    if problems or file is None:
        raise failure(_in_defaults(problems, raw), where)
    placed = build.zones(file)
    sources, assumptions = notes.noted_later(file, figures, raw, placed)
    around = (units_needed, *placed.items())

    def part(key: str, make: Callable[[], T]) -> T:
        return _shared("part", key, tables, around, make)

    scenario = Scenario(
        name=name,
        title=file.title,
        description=file.description.strip(),
        services=dict(part("services", lambda: build.services(file.services, placed))),
        hub=part("hub", lambda: build.spec(HubSpec, file.hub, zone=placed[HUB])),
        network=part("network", lambda: build.network(file.network, placed)),
        broker=part("broker", lambda: build.broker(file.broker, placed[BROKER])),
        vote_store=part("vote_store", lambda: build.spec(VoteStoreSpec, file.vote_store, zone=placed[VOTE_STORE])),
        transaction=part("transaction", lambda: build.transaction(file.transaction)),
        workload=build.workload(
            file.workload, str(trace_path) if trace_path else None, arrivals.times, arrivals.columns
        ),
        clients=part("clients", lambda: build.clients(file.clients)),
        events=build.spec(EventsSpec, file.events),
        upgrades=build.upgrades(file.upgrades, file.services),
        faults=part("faults", lambda: build.faults(file.faults, placed)),
        policies=part("policies", lambda: build.spec(Policies, file.policies)),
        invariants=part("invariants", lambda: build.invariants(file.invariants)),
        run=build.spec(RunPlan, file.run),
        deadlocks=file.deadlocks,
        common_mode=part(
            "common_mode", lambda: None if file.common_mode is None else build.spec(CommonMode, file.common_mode)
        ),
        hosts=dict(part("hosts", lambda: build.hosts(file.hosts, placed))),
        groups=dict(part("groups", lambda: build.groups(file.groups, file.broker))),
        derived=dict(part("derived", lambda: build.derived(file.derived))),
        aggregates=dict(part("aggregates", lambda: build.aggregates(file.aggregates))),
        sources=sources,
        assumptions=assumptions,
        uncertainty=unsure,
        path=str(path.resolve()) if path is not None else None,
        overrides=dict(overrides or {}),
        _raw=raw,
    )
    calibration = raw.get("calibration")
    if calibration is None:
        return scenario
    try:
        if not isinstance(calibration, str):
            raise ScenarioError(f"{shown(calibration)} is no text; put it in quotes")
        return load_calibration(calibration, path.parent if path is not None else folder).apply(scenario)
    except ScenarioError as error:
        raise ScenarioError(str(error), f"{where}: calibration") from None


_parts: dict[tuple[object, ...], Any] = {}


def _shared(what: str, key: str, tables: Mapping[str, Any], around: object, make: Callable[[], T]) -> T:
    """Part that is made of one table of a file. Scenarios that differ in other tables, as the cells of a sweep do, have it in common.

    Args:
        what: Is made of it.
        key: Of the table.
        tables: All tables.
        around: What else it depends on.
        make: Makes it; nobody changes it afterwards.
    """
    try:  # to the byte: True, 1 and 1.0 are not the same. What is no plain data has no such form, and is not shared
        mark = (what, key, marshal.dumps(tables.get(key), 2), around)
    except ValueError:
        return make()
    found: T | None = _parts.get(mark)
    if found is None:
        if len(_parts) >= _SHARED:
            _parts.clear()
        found = _parts[mark] = make()
    return found


def _with_defaults(raw: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """The tables with `[defaults]` put into every service."""
    tables = {key: value for key, value in raw.items() if key not in ("defaults", "calibration")}
    defaults = raw.get("defaults", {})
    if not isinstance(defaults, Mapping):
        problems.append((("defaults",), f"{shown(defaults)} is no table"))
        return tables
    services = tables.get("services")
    if isinstance(services, Mapping):
        tables["services"] = {
            name: merged(copy.deepcopy(dict(defaults)), table) if isinstance(table, Mapping) else table
            for name, table in services.items()
        }
    return tables


def _in_defaults(problems: list[Problem], raw: Mapping[str, Any]) -> list[Problem]:
    """Problems of services that come from `[defaults]`, reported there, once."""
    moved: list[Problem] = []
    for path, text in problems:
        if len(path) > 2 and path[0] == "services" and _holds(raw.get("defaults"), path[2:]) and not _holds(raw, path):
            moved.append((("defaults", *path[2:]), text))
        else:
            moved.append((path, text))
    return moved


def _holds(table: Any, path: tuple[str | int, ...]) -> bool:
    return at(table, path) is not None


def _validated(tables: dict[str, Any], units_needed: bool, problems: list[Problem]) -> schema.ScenarioFile | None:
    """The tables as a model. Wrong entries are reported and left out, so that the rest can be looked at too; None if it cannot."""
    context = {"units_needed": units_needed}
    for _ in range(3):
        try:
            return schema.ScenarioFile.model_validate(tables, context=context)
        except ValidationError as error:
            found = from_validation(error, schema.ScenarioFile)
            tables = copy.deepcopy(tables)
            wrong = [tuple(detail["loc"]) for detail in error.errors(include_url=False)]
            problems += [problem for problem in found if not any(_related(problem[0], path) for path, _ in problems)]
            if not all(_dropped(tables, path) for path in sorted(wrong, key=_last_first)):
                return None
    return None


def _related(path: tuple[str | int, ...], other: tuple[str | int, ...]) -> bool:
    """Return whether one is the other or something inside it: then the later problem is only what the earlier one left behind."""
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]


def _last_first(path: tuple[str | int, ...]) -> tuple[Any, ...]:
    return tuple(-part if isinstance(part, int) else 0 for part in path)


def _dropped(table: Any, path: tuple[str | int, ...]) -> bool:
    """Remove one entry; False if it is not there or a list would change, which would shift the paths of the others."""
    table = at(table, path[:-1])
    if isinstance(table, dict) and path and path[-1] in table:
        del table[path[-1]]
        return True
    return False
