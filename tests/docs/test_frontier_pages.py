"""The pages about frontiers and sensitivity: the first Python block of each runs, in short, and what they show of scenarios can be read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import simtx
from tests.docs.pages import ROOT, blocks

PAGES = ("frontier.md", "sensitivity.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_first_python_block_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 25 transactions a run, and no more runs than it needs to begin."""
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    code = next(one.text for one in blocks(ROOT / "docs" / page) if one.language == "python")
    assert code.count('"checkout"') == 1
    code = (
        code.replace('"checkout"', "SHORT")
        .replace("budget=600", "budget=90")
        .replace("replications=10", "replications=2")
    )
    short = simtx.load("checkout").replace(**{"run.transactions": 25, "run.warmup": "0s"})
    names: dict[str, Any] = {"SHORT": short}
    code = code.replace("    replications=", "    workers=1,\n    replications=")
    try:
        exec(compile(code, page, "exec"), names)  # noqa: S102 - our own page
    finally:
        plt.close("all")
    if page == "frontier.md":
        assert names["frontier"].spent <= 90
    else:
        assert len(names["study"].table) == 3


@pytest.mark.parametrize("page", PAGES)
def test_what_they_show_of_scenarios_can_be_read(page: str) -> None:
    for one in blocks(ROOT / "docs" / page):
        if one.language == "toml":
            changes = tomllib.loads(one.text)
            assert simtx.load("transfer").replace(**changes).uncertainty.keys() == changes["uncertainty"].keys()
