"""``simtx story``: what is printed and written, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simtx.cli import main


def test_without_a_name_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["story"]) == 0
    assert "broker-outage The broker is away" in " ".join(capsys.readouterr().out.split())


def test_a_story_prints_what_it_teaches_and_draws_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "outage.png"
    assert main(["story", "broker-outage", "--out", str(picture)]) == 0
    output = capsys.readouterr().out
    assert "effects are missing" in output.replace("\n", " ")
    assert "again: simtx story broker-outage" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["outage.png"]


def test_json_has_the_figures_and_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["story", "hot-key", "--seed", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["holds"], document["seed"]) == ("hot-key", True, 2)
    assert document["cases"]["2pc"]["committed_share"] < document["cases"]["saga"]["committed_share"]
    assert document["cases"]["saga"]["command"].startswith("simtx simulate transfer-regions saga ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["broker-outge"], "did you mean 'broker-outage'?"),
        (["hot-key", "--out", "picture.bmp"], "its name has to end in a kind of picture, such as .png"),
        (["hot-key", "--out", "nowhere/picture.png"], "there is no folder 'nowhere'"),
        (["--out", "picture.png"], "name it"),
        (["hot-key", "--seed", "-1"], "seed"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["story", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
