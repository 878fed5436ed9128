"""The page about the explorer: its script runs, and it names what there is."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest

import simtx
from simtx.lab.controls import controls
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "explorer.md"


def test_its_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    _, script = [one for one in blocks(PAGE) if one.language == "python"]
    exec(compile(script.text, PAGE.name, "exec"), {})  # noqa: S102 - our own page
    assert (tmp_path / "explored.png").exists()
    assert "coordinator dies" in capsys.readouterr().out


def test_it_names_every_kind_of_control() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = controls(simtx.load("checkout"), {name: simtx.strategies()[name] for name in ("2pc", "saga", "outbox")})
    for name in found:
        head = name.partition(":")[0]
        shown = {"service": "service:NAME"}.get(head, name if ":" not in name else head)
        assert f"`{shown}" in text, name
