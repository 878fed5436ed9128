"""The page of the failure stories says what their runs say."""

from __future__ import annotations

import matplotlib as mpl
import pytest

import simtx
from tests.docs.pages import ROOT, blocks, links

mpl.use("agg")
PAGE = ROOT / "docs" / "stories.md"


@pytest.mark.parametrize("name", simtx.stories())
@pytest.mark.sample(4)
def test_each_story_is_told_as_its_runs_tell_it(name):
    """Otherwise: python docs/make_pictures.py stories."""
    text = PAGE.read_text(encoding="utf-8")
    story = simtx.story(name)
    part = text[text.index(f"## `{name}`") :]
    part = part[: part.index("![")]
    assert story.run().finding in part
    assert (story.omits or "\n") in part
    assert ("Not in the model" in part) == bool(story.omits)
    assert f"images/stories/{name}.png" in links(PAGE)


def test_the_example_runs(capsys):
    (code,) = [block.text for block in blocks(PAGE) if block.language == "python"]
    exec(compile(code, "stories.md", "exec"), {})  # noqa: S102
    assert "effects are missing" in capsys.readouterr().out.replace("\n", " ")
    mpl.pyplot.close("all")
