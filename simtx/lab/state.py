"""State of an explorer, as plain data, as a text that fits into a link, and as a scenario file.

The text is ``simtx2.`` and then JSON, compressed (zlib) and in the URL-safe alphabet of Base64 without padding. It names a built-in scenario or
holds the tables of any other. The number is the version of the form; `MIGRATIONS` brings an older one up to date step by step.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.scenario.changes import in_seconds, is_duration
from simtx.scenario.distribution_files import PLAIN

if TYPE_CHECKING:
    from simtx.scenario import Scenario

VERSION: Final = 2
_TEXT: Final = re.compile(r"simtx(\d+)\.([A-Za-z0-9_-]+)")
_MOST: Final = 1_000_000
"""Bytes that a text may unpack to: a scenario has some thousands."""


@dataclass(frozen=True)
class State:
    """State of all controls.

    Attributes:
        values: Of the controls that were moved, by name.
        failure: Name of the failure that is played; empty: none.
        metric: What is drawn over the control that was moved last.
        moved: That control.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    metric: str = "decision_p99_ms"
    moved: str = ""


@dataclass(frozen=True)
class Saved:
    """Content of a text.

    Attributes:
        state: Where everything stands.
        scenario: Name of a built-in scenario; or its name with what is changed in it; or the tables of another one.
        name: Of the scenario.
        strategies: As the command line would name them.
        seed: Of all streams.
        transactions: How many a run has at the scenario's own rate; None: the scenario's own length.
        replications: How often each strategy is run.
    """

    state: State
    scenario: str | dict[str, Any]
    name: str
    strategies: tuple[str, ...]
    seed: int
    transactions: int | None
    replications: int


def is_text(value: object) -> bool:
    """Return whether something looks like the text of an explorer."""
    return isinstance(value, str) and re.match(r"simtx\d+\.", value.strip()) is not None


def write(saved: Saved) -> str:
    """The text."""
    state = saved.state
    content: dict[str, Any] = {"scenario": saved.scenario, "strategies": list(saved.strategies)}
    if not isinstance(saved.scenario, str):
        content["name"] = saved.name
    content |= {"values": dict(state.values), "failure": state.failure, "metric": state.metric, "moved": state.moved}
    content |= {"seed": saved.seed, "transactions": saved.transactions, "replications": saved.replications}
    packed = zlib.compress(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), 9)
    return f"simtx{VERSION}.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


def read(text: str) -> Saved:
    """Content of a text.

    Raises:
        ScenarioError: It is none, is damaged, or is of a version that this simtx does not know.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ScenarioError("is no text of an explorer, which begins with 'simtx' and a number; copy all of it", _WHERE)
    version = int(match[1])
    if version not in (VERSION, *MIGRATIONS):
        raise ScenarioError(
            f"is of version {version}, and this simtx knows those up to {VERSION}; update simtx", _WHERE
        )
    content = _unpacked(match[2])
    while version != VERSION:
        content = MIGRATIONS[version](content)
        version += 1
    try:
        scenario = content["scenario"]
        state = State(dict(content["values"]), str(content["failure"]), str(content["metric"]), str(content["moved"]))
        name = scenario if isinstance(scenario, str) else str(content["name"])
        strategies = tuple(str(one) for one in content["strategies"])
        length = content["transactions"]
        return Saved(
            state,
            scenario,
            name,
            strategies,
            int(content["seed"]),
            None if length is None else int(length),
            int(content["replications"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ScenarioError(f"lacks something that every explorer has ({error}); copy all of it", _WHERE) from None


_WHERE: Final = "explorer text"


def _unpacked(packed: str) -> dict[str, Any]:
    try:
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        unpacking = zlib.decompressobj()
        plain = unpacking.decompress(data, _MOST)
        if not unpacking.eof:
            raise ValueError("it does not end")
        content = json.loads(plain)
    except (binascii.Error, zlib.error, ValueError):
        raise ScenarioError("is damaged: a part of it is missing or was changed; copy all of it", _WHERE) from None
    if not isinstance(content, dict):
        raise ScenarioError("is damaged: it holds no explorer; copy all of it", _WHERE)
    return content


def _second(content: dict[str, Any]) -> dict[str, Any]:
    """Convert from version 1, in which a failure was called a story, and had another name than the failure story about the same."""
    names = {"hub-crash": "coordinator-dies", "service-crash": "participant-dies", "slow-service": "slow-participant"}
    changed = {key: one for key, one in content.items() if key != "story"}
    story = content.get("story", "")
    return {**changed, "failure": names.get(story, story)}


MIGRATIONS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _second}
"""Migrations by version: each makes the content of the next version of one of this version."""


BUILT_IN: Final = "built-in"
CHANGES: Final = "changes"


def _says(content: Any) -> bool:
    """Return whether JSON can say something, and says it back."""
    try:
        return bool(json.loads(json.dumps(content, allow_nan=False)) == content)
    except (TypeError, ValueError):
        return False


def opened(saved: Saved) -> Scenario:
    """The scenario of a text.

    Raises:
        ScenarioError: It is wrong.
    """
    from simtx.scenario import from_dict, load

    part = saved.scenario
    if isinstance(part, str):
        return load(part)
    if BUILT_IN in part:
        return load(str(part[BUILT_IN])).replace(**part[CHANGES])
    return from_dict(part, name=saved.name)


def scenario_part(scenario: Scenario) -> str | dict[str, Any]:
    """A built-in scenario by its name, with what was changed in it, if anything; any other by its tables.

    Raises:
        ScenarioError: It holds an object that no text can say.
    """
    from simtx.scenario import load, names

    if scenario.name in names():
        if load(scenario.name) == scenario:
            return scenario.name
        changed = {BUILT_IN: scenario.name, CHANGES: dict(scenario.overrides)}
        if _says(changed) and load(scenario.name).replace(**scenario.overrides) == scenario:
            return changed
    tables: dict[str, Any] = scenario.to_dict()
    try:
        again: dict[str, Any] = json.loads(json.dumps(tables, allow_nan=False))
    except (TypeError, ValueError):
        raise ScenarioError("holds an object that no text can say; write it as a file has it", scenario.name) from None
    return again


def toml(scenario: Scenario) -> str:
    """A scenario as a file.

    Raises:
        ScenarioError: It holds an object that no file can say.
    """
    import tomli_w

    tables = scenario.to_dict()
    tables.setdefault("name", scenario.name)
    try:
        return tomli_w.dumps(_as_in_files(tables, ""))
    except TypeError:
        raise ScenarioError("holds an object that no file can say; write it as a file has it", scenario.name) from None


def _as_in_files(value: Any, path: str) -> Any:
    """The same with a unit for each duration that is a plain number, without what is None."""
    if isinstance(value, Mapping):
        times = "distribution" in value and is_duration(path)
        return {
            key: f"{one!r}s"
            if times and key not in PLAIN and _is_number(one)
            else _as_in_files(one, f"{path}.{key}".lstrip("."))
            for key, one in value.items()
            if one is not None
        }
    if isinstance(value, list | tuple):
        return [_as_in_files(one, f"{path}[{index}]") for index, one in enumerate(value)]
    return in_seconds(path, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
