"""The page about sweeps: its Python runs, its example is the file, and it names every key of experiment files."""

from __future__ import annotations

import tomllib
from inspect import signature
from pathlib import Path

import matplotlib as mpl
import pytest

import simtx
from simtx.experiments.sweep.experiment import ExperimentFile, load_experiment
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "sweeps.md"
EXAMPLE = ROOT / "data" / "experiments" / "checkout-distance.toml"


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    (block,) = [one for one in blocks(PAGE) if one.language == "python"]
    exec(compile(block.text, PAGE.name, "exec"), {})  # noqa: S102 - our own page
    assert (tmp_path / "latency.png").exists()
    assert len(list((tmp_path / "results" / "frames").glob("*.parquet"))) == 1


def test_its_example_is_the_file() -> None:
    (block,) = [one for one in blocks(PAGE) if one.language == "toml"]
    assert tomllib.loads(block.text) == tomllib.loads(EXAMPLE.read_text())
    assert load_experiment(EXAMPLE).scenario.run.duration == 20


def test_it_names_every_key_of_an_experiment_file() -> None:
    text = PAGE.read_text()
    for key in ExperimentFile.model_fields:
        assert f"`{key}`" in text or f"\n{key} = " in text or f"\n[{key}]" in text, key


def test_a_key_that_an_experiment_file_leaves_out_has_the_default_of_the_argument() -> None:
    arguments = signature(simtx.sweep).parameters
    keys = {name: field for name, field in ExperimentFile.model_fields.items() if name in arguments}
    assert len(keys) == 12
    for name, field in keys.items():
        usual = arguments[name].default
        if name != "scenario":
            assert (field.default or None) == (list(usual) if isinstance(usual, tuple) else usual), name
