"""NOTICE names every package that simtx needs, with the licence that the package itself states."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]


def needed() -> dict[str, str]:
    """Packages by what needs them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = {"simtx": project["dependencies"]}
    parts |= {f"simtx[{name}]": rows for name, rows in project["optional-dependencies"].items() if name != "dev"}
    return {re.split(r"[\[<>=~! ]", row)[0]: part for part, rows in parts.items() for row in rows}


def listed() -> dict[str, tuple[str, str]]:
    rows = {}
    for line in (ROOT / "NOTICE").read_text().splitlines():
        found = re.fullmatch(r"(\S+)  +(.+?)  +(simtx(?:\[\w+\])?)", line)
        if found:
            rows[found[1]] = (found[2], found[3])
    return rows


def test_every_package_is_named_once_with_what_needs_it() -> None:
    assert {name: part for name, (_, part) in listed().items()} == needed()


def test_licences_are_those_that_the_packages_state() -> None:
    """As far as they are here and say it in one expression."""
    for name, (licence, _) in listed().items():
        try:
            said = metadata.metadata(name).get("License-Expression") or ""
        except metadata.PackageNotFoundError:
            continue
        if said:
            assert re.split(r" AND ", said)[0] in licence, name
