"""The page on dependencies has every package that is needed, with the bound that is tried."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_has_every_package_with_its_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [row for name, rows in project["optional-dependencies"].items() if name != "dev" for row in rows]
    needed = {}
    for row in (*project["dependencies"], *extras):
        found = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?>=(\d[\w.]*)", row)
        assert found, f"{row} has no lower bound"
        needed[found[1]] = found[2]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    listed = dict(re.findall(r"^\| ([\w.-]+) \| (\d[\w.]*) \|", page, re.MULTILINE))
    assert {name: tried.startswith(needed.get(name, "none")) for name, tried in listed.items()} == dict.fromkeys(
        needed, True
    )
