"""The skin of the explorer: widgets move controls, answers set widgets, and without widgets there is a picture."""

from __future__ import annotations

import html
import sys

import pytest

import simtx
from tests.lab.conftest import PATIENCE
from tests.lab.test_explorer import Held


def test_a_widget_moves_its_control_and_the_picture_is_drawn(opened):
    from simtx.lab.widgets import View

    explorer = opened(replications=1)
    explorer.wait(PATIENCE)
    view = View(explorer)
    before = view.picture.value
    view.inputs["rtt"].value = explorer.controls["rtt"].values[-1]
    explorer.wait(PATIENCE)
    explorer.close()  # the thread has shown its last answer
    assert explorer.state.values == {"rtt": explorer.controls["rtt"].values[-1]}
    assert view.picture.value != before
    assert "played: 1 run" in view.status.value
    assert view.link.value == explorer.text


def test_what_code_moves_the_widgets_follow_also_between_their_positions(opened):
    from simtx.lab.widgets import View

    explorer = opened(replications=1)
    view = View(explorer)
    explorer.move({"rtt": 0.0123, "2pc:work": "before"})
    explorer.strike("broker-outage")
    explorer.wait(PATIENCE)
    explorer.close()
    assert view.inputs["rtt"].value == 0.0123
    assert view.inputs["2pc:work"].value == "before"
    assert view.failure.value == "broker-outage"
    assert "broker" in view.lesson.value.lower() or "outbox" in view.lesson.value


def test_the_picture_takes_its_colours_from_the_page(opened):
    explorer = opened(replications=1)
    explorer.wait(PATIENCE)
    svg = explorer.svg()
    assert svg.startswith("<svg")
    assert "var(--jp-content-font-color1, currentColor)" in svg
    assert "#010203" not in svg
    assert "#fefefd" not in svg.lower()
    assert "<title>Final outcome after (median)" in svg


def test_without_ipywidgets_there_is_one_line_and_the_picture(opened, monkeypatch):
    explorer = opened(replications=1)
    explorer.wait(PATIENCE)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.delitem(sys.modules, "simtx.lab.widgets", raising=False)
    shown = explorer._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert "pip install 'simtx[lab]'" in shown["text/html"].replace("&#x27;", "'")
    assert "<svg" in shown["text/html"]


def test_a_file_that_cannot_be_written_is_said_below_the_picture(opened):
    from simtx.lab.widgets import View

    view = View(opened(executor=Held()))
    view.file.value = "nowhere/at/all.toml"
    view.save.click()
    assert "cannot be written" in view.status.value


@pytest.mark.parametrize("name", ["broker-outage"])
def test_a_failure_story_is_played_and_shown(opened, name):
    from simtx.lab.widgets import View

    explorer = opened(replications=1)
    explorer.wait(PATIENCE)
    view = View(explorer)
    view.story.value = name
    assert f"simtx story {name}" in view.again.value
    assert simtx.story(name).lesson in html.unescape(view.again.value)
    assert view.told.value.startswith("<svg")
