"""Whatever stands anywhere in a file: it loads, or there is a ScenarioError whose every line begins with the file's name."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from simtx.errors import ScenarioError
from simtx.scenario import from_dict, load

ODD: list[Any] = [-1, 2.5, 1e308, float("nan"), True, "", "5ms", [], [1], {"a": 1}, {"distribution": 7}, None]


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


def _with(raw: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    table: Any = raw
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    return raw


@pytest.mark.slow
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.heavy)])
def test_odd_values_anywhere(every):
    """Each value at every so many places, and at each place some of the values."""
    raw = load("checkout-outages").to_dict()
    raw["network"] = {**raw.get("network", {}), "links": [{"between": ["frankfurt", "london"], "loss": 0.1}]}
    raw["faults"] = [
        *raw.get("faults", []),
        {"kind": "crash", "node": "hub", "duration": 1, "trigger": {"transaction": 1, "effect": "Append"}},
        {"kind": "partition", "a": ["frankfurt"], "at": 1, "duration": 1},
    ]
    lines: list[str] = []
    for place, path in enumerate(_paths(raw)):
        for value in ODD[place % every :: every]:
            try:
                str(from_dict(_with(raw, path, value), name="odd").warnings)
            except ScenarioError as error:
                lines += str(error).splitlines()
    assert len(lines) > 1000 / every
    assert [line for line in lines if not line.startswith("odd: ")] == []


def test_missing_entries_anywhere():
    raw = load("checkout-outages").to_dict()
    lines: list[str] = []
    for path in _paths(raw):
        if isinstance(path[-1], str):
            changed = _with(raw, path, None)
            table: Any = changed
            for part in path[:-1]:
                table = table[part]
            del table[path[-1]]
            try:
                from_dict(changed, name="odd")
            except ScenarioError as error:
                lines += str(error).splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("odd: ")] == []
