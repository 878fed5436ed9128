"""Changing a scenario: values by dotted path, put into its tables, and the whole checked again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simtx.errors import ScenarioError
from simtx.scenario import schema
from simtx.scenario.compose import EXCLUSIVE, compose, of_kind, plain
from simtx.scenario.model import Scenario
from simtx.scenario.units import hint, shown

_TOKEN = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def replaced(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """A changed copy of a scenario; see `Scenario.replace`."""
    raw = scenario.to_dict()
    if isinstance(raw.get("workload"), dict):
        raw["workload"] = {
            "kind": raw["workload"].get("kind", "poisson"),
            **of_kind(raw["workload"], changes.get("workload.kind")),
        }
    for path, value in changes.items():
        _put(raw, path, plain(value), scenario.name)
    file = Path(scenario.path) if scenario.path is not None else None
    where = file.name if file is not None else scenario.name
    overrides = {**scenario.overrides, **changes}
    return compose(
        raw, scenario.name, where, path=file, folder=_folder(scenario), units_needed=False, overrides=overrides
    )


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
    if token not in table:
        if not create:
            raise ScenarioError(f"there is no '{token}'; {hint(str(token), map(str, table))}", where)
        table[str(token)] = {}
    return table[str(token)]


def _index(entries: list[Any], token: str | int, where: str) -> int:
    if isinstance(token, int) or token.isdigit():
        if int(token) < len(entries):
            return int(token)
        raise ScenarioError(f"there is no entry {token}; the list has {len(entries)}, counted from 0", where)
    known = [str(entry.get("name", "")) for entry in entries if isinstance(entry, Mapping)]
    if token in known:
        return known.index(token)
    raise ScenarioError(f"there is no entry '{token}'; {hint(token, known)}", where)
