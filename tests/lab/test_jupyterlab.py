"""The explorer in a real JupyterLab: a slider is moved with the keyboard, as a reader would, and the picture follows."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from tests.lab.jupyter import opened

CELL = """
import simtx
explorer = simtx.explorer("transfer-lab", ["2pc", "saga"], transactions=40, replications=1, ahead=0, workers=1)
explorer
"""
PICTURE = ".simtx-explorer svg"
HANDLE = ".simtx-explorer .noUi-handle"


def test_the_picture_follows_a_slider_in_jupyterlab(tmp_path):
    with opened(tmp_path, [CELL]) as page:
        page.run_all()
        page.until(
            lambda: page.text(f"{PICTURE} title").endswith("played: 1 run of each strategy"), "the first picture"
        )
        before = page.text(PICTURE)
        assert "transfer-lab: as it is" in before
        handle = page.find(HANDLE)
        assert handle.get_attribute("aria-valuenow") is not None
        handle.send_keys(Keys.ARROW_RIGHT)
        page.until(lambda: page.text(PICTURE) != before, "another picture")
        page.until(
            lambda: page.text(f"{PICTURE} title").endswith("played: 1 run of each strategy"), "what was played there"
        )
        after = page.text(PICTURE)
        assert "transfer-lab: rate" in after
        assert page.text(f"{PICTURE} title").startswith("Final outcome after (median)")
