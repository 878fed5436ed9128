"""A real JupyterLab: a slider of the explorer is moved with the keyboard, as a reader would, and a transaction is stepped through."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.lab.jupyter import opened

pytestmark = (
    pytest.mark.heavy
)  # `test_widgets.py` and `test_explorer.py` hold the same laws without a server and a browser

CELLS = (
    """import simtx
explorer = simtx.explorer("transfer-lab", ["2pc", "saga"], transactions=40, replications=1, ahead=0, workers=1)
explorer""",
    """scenario = simtx.load("transfer").replace(**{"run.transactions": 20, "run.warmup": "0s"})
simtx.simulate(scenario, "2pc", trace=True).trace.player(3)""",
)
PICTURE = ".simtx-explorer svg"
HANDLE = ".simtx-explorer .noUi-handle"
PLAYED = "played: 1 run of each strategy"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A notebook of which all cells were run."""
    with opened(tmp_path_factory.mktemp("lab"), CELLS) as found:
        found.run_all()
        yield found


def test_the_picture_follows_a_slider(page):
    page.until(lambda: page.text(f"{PICTURE} title").endswith(PLAYED), "the first picture")
    before = page.text(PICTURE)
    assert "transfer-lab: as it is" in before
    page.find(HANDLE).send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: page.text(PICTURE) != before, "another picture")
    page.until(lambda: page.text(f"{PICTURE} title").endswith(PLAYED), "what was played there")
    assert "transfer-lab: rate" in page.text(PICTURE)
    assert page.text(f"{PICTURE} title").startswith("Final outcome after (median)")


def test_a_transaction_can_be_stepped_through_and_the_picture_stays(page):
    picture = page.find(".simtx-timeline svg")
    last = page.text(".simtx-count")
    everything = seen(page)
    page.find(".simtx-timeline button[aria-label='first step']").click()
    page.until(lambda: page.text(".simtx-count").startswith("1 of"), "the first step")
    first = seen(page)
    assert first < everything
    page.find(".simtx-timeline button[aria-label='next step']").click()
    page.until(lambda: page.text(".simtx-count").startswith("2 of"), "the second step")
    assert first <= seen(page) < everything
    page.find(".simtx-timeline button[aria-label='play or pause']").click()
    page.until(lambda: not page.text(".simtx-count").startswith("2 of"), "it plays")
    page.find(".simtx-timeline button[aria-label='last step']").click()
    page.until(lambda: page.text(".simtx-count") == last, "the last step")
    assert seen(page) == everything
    assert page.find(".simtx-timeline svg") == picture  # the same element: nothing was drawn again


def seen(page):
    """How many parts of the diagram are seen."""
    parts = page.driver.find_elements(By.CSS_SELECTOR, ".simtx-timeline .part")
    return sum(float(one.value_of_css_property("opacity")) > 0.4 for one in parts)
