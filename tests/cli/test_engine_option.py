"""Every command that simulates or searches can be told by which engine."""

from __future__ import annotations

import pytest
import typer

from simtx.cli import main
from simtx.cli.app import app
from simtx.engine.choices import preferring, wanted

SIMULATE = {"simulate", "saturation", "compare", "story", "sweep", "frontier", "sensitivity", "report", "validate"}
SEARCH = {"verify"}


def test_every_command_that_simulates_or_searches_has_the_same_option() -> None:
    group = typer.main.get_command(app)
    options = {
        name: next((one.help for one in command.params if one.name == "engine"), None)  # type: ignore[attr-defined]
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert {name for name, text in options.items() if text} == SIMULATE | SEARCH
    assert len({text for text in options.values() if text}) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("story", "broker-outage"),
        ("sensitivity", "transfer", "saga"),
        ("validate", "transfer-lab", "saga"),
        ("verify", "saga"),
    ],
)
def test_an_engine_that_there_is_not_is_refused_before_anything_is_played(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--engine", "interprted"]) == 2
    assert "did you mean 'interpreted'?" in capsys.readouterr().err


def test_an_engine_is_preferred_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMTX_ENGINE", "fast")
    with preferring("interpreted"):
        assert (wanted(None), wanted("auto")) == ("interpreted", "auto")
        with preferring(None):
            assert wanted(None) == "fast"
    assert wanted(None) == "fast"
