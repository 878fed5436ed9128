"""Changing a scenario: values by dotted path, put into its tables, and the whole checked again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from simtx.errors import ScenarioError
from simtx.scenario import schema
from simtx.scenario.compose import EXCLUSIVE, compose, of_kind, plain
from simtx.scenario.fields import written_as
from simtx.scenario.model import Scenario
from simtx.scenario.problems import entries, inner
from simtx.scenario.units import bare, hint, shown, unmarked

_TOKEN = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def replaced(scenario: Scenario, changes: Mapping[str, Any], *, units_needed: bool = True) -> Scenario:
    """A changed copy of a scenario; see `Scenario.replace`.

    Args:
        scenario: The scenario.
        changes: New values by path.
        units_needed: Whether a duration among them needs a unit; without, a plain number is seconds, and noted as such.

    Raises:
        ScenarioError: A path or a value is wrong.
    """
    if not units_needed:
        changes = {path: in_seconds(path, value) for path, value in changes.items()}
    raw: dict[str, Any] = unmarked(dict(scenario._raw))  # noqa: SLF001 - a copy of its tables and lists
    if isinstance(raw.get("workload"), dict):
        raw["workload"] = {
            "kind": raw["workload"].get("kind", "poisson"),
            **of_kind(raw["workload"], changes.get("workload.kind")),
        }
    for path, value in changes.items():
        _put(raw, path, bare(plain(value)) if units_needed else plain(value), scenario.name)
    file = Path(scenario.path) if scenario.path is not None else None
    where = file.name if file is not None else scenario.name
    changed = compose(
        raw,
        scenario.name,
        where,
        path=file,
        folder=_folder(scenario),
        units_needed=False,
        overrides=_overrides(scenario, changes),
    )
    return dataclasses.replace(changed, _raw=unmarked(raw)) if units_needed else changed


def _overrides(scenario: Scenario, changes: Mapping[str, Any]) -> dict[str, Any]:
    """All that was changed, and is in force: a length in transactions ends one in time."""
    found = dict(scenario.overrides)
    for path, value in changes.items():
        table, _, key = path.rpartition(".")
        other = EXCLUSIVE.get((table, key))
        if other is not None and value is not None:
            found.pop(f"{table}.{other}", None)
        found[path] = value
    return found


def in_seconds(path: str, value: Any) -> Any:
    """A value; a number at the path of a duration gets its unit."""
    number = value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value
    if isinstance(number, bool) or not isinstance(number, int | float) or number == 0 or not is_duration(path):
        return value
    return f"{number!r}s"


@lru_cache(maxsize=4096)
def is_duration(path: str) -> bool:
    """Return whether a path leads to a duration, or a distribution of one."""
    tokens = [part or index for part, index in _TOKEN.findall(path)]
    current: Any = schema.ScenarioFile
    if tokens[:1] == ["defaults"]:
        current, tokens = schema.ServiceFile, tokens[1:]
    notation = ""
    for token in tokens:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = entries(current).get(token)
            if field is None:
                return False
            notation = written_as(field)
            current = inner(field.annotation)
        else:  # a member of a list or table
            notation, current = "", inner((get_args(current) or (None,))[-1])
    return "duration" in notation


def _folder(scenario: Scenario) -> Path:
    return Path(scenario.path).parent if scenario.path is not None else Path()


def _put(raw: dict[str, Any], path: str, value: Any, name: str) -> None:
    """Change one value in place; None removes it."""
    tokens: list[str | int] = [part or int(index) for part, index in _TOKEN.findall(path)]
    if not tokens or "".join(f"[{t}]" if isinstance(t, int) else f".{t}" for t in tokens).lstrip(".") != path:
        raise ScenarioError(
            f"{shown(path)} is no path; write it like 'workload.rate' or 'transaction.steps[0].refusal'", name
        )
    if tokens[0] not in {*schema.ScenarioFile.model_fields, *schema.MERGED}:
        known = [*schema.ScenarioFile.model_fields, *schema.MERGED]
        raise ScenarioError(
            f"unknown key; {hint(str(tokens[0]), known, otherwise='the keys here are ')}", f"{name}: {path}"
        )
    table: Any = raw
    for position, token in enumerate(tokens[:-1]):
        table = _descend(table, token, f"{name}: {path}", create=tokens[:position] != ["services"])
    last = tokens[-1]
    if isinstance(table, list):
        table[_index(table, last, f"{name}: {path}")] = value
        return
    if not isinstance(table, dict):
        raise ScenarioError(f"there is no table to put '{last}' into", f"{name}: {path}")
    if isinstance(last, int):
        raise _no_list(last, f"{name}: {path}")
    other = EXCLUSIVE.get((str(tokens[-2]), str(last))) if len(tokens) > 1 else None
    if other is not None and value is not None:
        table.pop(other, None)
    if value is None:
        table.pop(str(last), None)
    else:
        table[str(last)] = value


def _descend(table: Any, token: str | int, where: str, *, create: bool) -> Any:
    if isinstance(table, list):
        return table[_index(table, token, where)]
    if not isinstance(table, dict):
        raise ScenarioError(f"there is no table to look for '{token}' in", where)
    if isinstance(token, int):
        raise _no_list(token, where)
    if token not in table:
        if not create:
            raise ScenarioError(f"there is no '{token}'; {hint(str(token), map(str, table))}", where)
        table[str(token)] = {}
    return table[str(token)]


def _no_list(token: int, where: str) -> ScenarioError:
    return ScenarioError(f"there is no entry {token}, as the scenario has no such list", where)


def _index(entries: list[Any], token: str | int, where: str) -> int:
    if isinstance(token, int) or token.isdigit():
        if int(token) < len(entries):
            return int(token)
        raise ScenarioError(f"there is no entry {token}; the list has {len(entries)}, counted from 0", where)
    known = [str(entry.get("name", "")) for entry in entries if isinstance(entry, Mapping)]
    if token in known:
        return known.index(token)
    raise ScenarioError(f"there is no entry '{token}'; {hint(token, known)}", where)
