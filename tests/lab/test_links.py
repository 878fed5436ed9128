"""Links of notebooks lead somewhere in JupyterLab, started in the folder of the project as the README says."""

from __future__ import annotations

import shutil

import pytest

from tests.docs.pages import ROOT
from tests.lab.jupyter import Page, browser, server

_CLICK = """
const link = Array.from(document.querySelectorAll('.jp-MarkdownOutput a')).find((one) => one.textContent === arguments[0]);
if (link === undefined) { return false; }
link.click();
return true;
"""
_OPEN = "return Array.from(window.jupyterapp.shell.widgets('main')).map((one) => one.title.label)"


@pytest.mark.heavy
def test_a_link_of_a_notebook_opens_a_page_of_the_documentation(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("images", "__pycache__"))
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "06-failure-stories.ipynb", tmp_path / "notebooks")
    with server(tmp_path) as address, browser(tmp_path / ".private" / "profile") as driver:
        page = Page(driver, address, "notebooks/06-failure-stories.ipynb")
        page.until(lambda: driver.execute_script(_CLICK, "how, and all ten on one page"), "the link is there")
        page.until(lambda: "stories.md" in driver.execute_script(_OPEN), "the page is open")
