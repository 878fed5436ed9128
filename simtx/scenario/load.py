"""Loading scenarios: from a file, by a built-in name, or from a dict."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from simtx.arguments import named
from simtx.errors import ScenarioError
from simtx.files import LARGEST_SCENARIO, Unreadable, check, parse_toml, read_text
from simtx.listing import Listing
from simtx.scenario.catalog import data_path
from simtx.scenario.compose import compose, merged, plain
from simtx.scenario.model import Scenario
from simtx.scenario.units import hint, shown


def names() -> list[str]:
    """Names of the built-in scenarios, for `load`."""
    return sorted(path.stem for path in (data_path() / "scenarios").glob("*.toml"))


def titles() -> dict[str, str]:
    """One line on each built-in scenario, by name."""
    return {name: str(_read(_builtin(name)).get("title", "")) for name in names()}


@named
def scenarios() -> Listing[Scenario]:
    """List the built-in scenarios.

    Returns:
        A mapping by name that shows itself as a table; ``scenarios()["checkout"]`` is what ``load("checkout")`` gives.
    """
    rows = {name: (title,) for name, title in titles().items()}
    foot = "simtx.load(NAME) gives one, simtx.load(PATH) one of your own"
    return Listing("scenario", rows, ("name", "what it is"), load, foot)


@named
def load(scenario: str | Path | Scenario) -> Scenario:
    """Load and check a scenario.

    Args:
        scenario: Name of a built-in scenario (see `names`), path of a TOML file, or a scenario, which is returned as it is.

    Returns:
        The scenario as frozen data: durations in seconds, rates per second, shares from 0 to 1.

    Raises:
        ScenarioError: There is no such scenario, or it is wrong; every problem of the file has a line of its own.
    """
    if isinstance(scenario, Scenario):
        return scenario
    if isinstance(scenario, str) and not _is_path(scenario):
        if scenario not in names():
            raise ScenarioError(
                f"there is no scenario '{scenario}'; {hint(scenario, names())} (or give the path of a .toml file)"
            )
        return load(_builtin(scenario))
    if not isinstance(scenario, str | Path):
        raise ScenarioError(
            f"{shown(scenario)} is no scenario; give the name of a built-in one, the path of a .toml file, or a scenario",
            "scenario",
        )
    file = Path(scenario).expanduser()
    raw = _read(file)
    return compose(raw, str(raw.get("name") or file.stem), file.name, path=file, units_needed=True)


def from_dict(raw: Mapping[str, Any], *, name: str = "scenario", folder: str | Path = ".") -> Scenario:
    """Make a scenario of nested dicts and lists as they stand in a file; plain numbers are seconds, distributions may be objects.

    Args:
        raw: The tables.
        name: Its name, unless `raw` has one.
        folder: What the paths of ``extends`` and of a trace file are relative to.

    Raises:
        ScenarioError: Something is wrong; every problem has a line of its own.
    """
    if not isinstance(raw, Mapping):
        raise ScenarioError(f"{shown(raw)} is no table; give nested dicts as they stand in a file", name)
    try:
        check(raw)
    except (Unreadable, RecursionError) as error:
        raise ScenarioError(str(error), name) from None
    tables = plain(raw)
    if "extends" in tables:
        tables = _extended(tables, Path(folder) / "-", ())
    tables = _rooted(tables, Path(folder).resolve())
    name = str(tables.get("name") or name)
    return compose(tables, name, name, path=None, folder=Path(folder), units_needed=False)


_CHAIN: Final = 16  # files that extend one another

# --- files --------------------------------------------------------------------------------------------------------------------


def _is_path(text: str) -> bool:
    return text.endswith(".toml") or "/" in text or "\\" in text


def _builtin(name: str) -> Path:
    return data_path() / "scenarios" / f"{name}.toml"


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a file, with those that it extends."""
    path = path.resolve()
    if path in seen:
        chain = " -> ".join(p.name for p in (*seen[seen.index(path) :], path))
        raise ScenarioError(f"files extend one another in a circle: {chain}", f"{seen[-1].name}: extends")
    if len(seen) >= _CHAIN:
        raise ScenarioError(f"more than {_CHAIN} files extend one another", f"{seen[0].name}: extends")
    try:
        text = read_text(path, LARGEST_SCENARIO)
    except FileNotFoundError:
        raise ScenarioError(f"there is no such file{_near(path)}", str(path)) from None
    except Unreadable as error:
        raise ScenarioError(f"the file cannot be read: {error}", str(path)) from None
    try:
        raw = parse_toml(text)
    except Unreadable as error:
        raise ScenarioError(str(error), path.name) from None
    return _extended(raw, path, seen) if "extends" in raw else raw


def _near(path: Path) -> str:
    """Suggestion for a file that is not there: one beside it, or a built-in scenario, which has no ending."""
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.toml")], n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    near = difflib.get_close_matches(path.stem, names(), n=1)
    return f"; did you mean {near[0]!r}, which is built in?" if near else ""


def _extended(raw: dict[str, Any], path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    base = raw.pop("extends")
    where = f"{path.name}: extends" if path.name != "-" else "extends"
    if not isinstance(base, str):
        raise ScenarioError(f"{shown(base)} is no text; put it in quotes", where)
    if not _is_path(base) and base not in names():
        raise ScenarioError(f"there is no scenario '{base}'; {hint(base, names())}", where)
    file = path.parent / base if _is_path(base) else _builtin(base)
    parent = _rooted(_read(file, (*seen, path)), file.resolve().parent)
    parent.pop("name", None)
    return merged(parent, raw)


def _rooted(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tables with absolute paths of what lies in their folder, so that they mean the same elsewhere."""
    tables = dict(raw)
    workload, calibration = raw.get("workload"), raw.get("calibration")
    if isinstance(workload, Mapping) and isinstance(workload.get("trace"), str):
        tables["workload"] = {**workload, "trace": str(folder / Path(workload["trace"]).expanduser())}
    if isinstance(calibration, str):
        file = Path(calibration if calibration.endswith(".toml") else f"{calibration}.toml").expanduser()
        if calibration.endswith(".toml") or (folder / file).is_file():
            tables["calibration"] = str(folder / file)
    return tables
