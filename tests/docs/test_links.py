"""Every relative link of every page leads somewhere, and nothing that belongs to an overview is missing from it."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.pages import NOTEBOOKS, PAGES, ROOT, anchors, links, name

REMOTE = ("http://", "https://", "mailto:")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page):
    broken = []
    for target in links(page):
        if target.startswith(REMOTE):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_a_broken_link_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title, and more\n[x](other.md) `[no](link.md)` ![p](p.png)\n```\n[no](code.md)\n```\n")
    assert links(page) == ["other.md", "p.png"]
    assert anchors(page) == {"a-title-and-more"}


def test_the_architecture_lists_every_decision():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert len(decisions) > 5
    assert [path.name for path in decisions if path.name not in text] == []


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in links(page):
            file = (page.parent / target.partition("#")[0]).resolve()
            if not target.startswith(REMOTE) and file.suffix == ".md" and file.exists():
                waiting.append(file)
    assert [name(page) for page in PAGES if page not in seen] == []


def test_the_index_lists_every_page():
    """Decisions are listed by ARCHITECTURE.md."""
    docs = ROOT / "docs"
    listed = {(docs / target.partition("#")[0]).resolve() for target in links(docs / "README.md")}
    pages = [*docs.glob("*.md"), *docs.glob("protocols/*.md")]
    assert [name(page) for page in pages if page not in (docs / "README.md", *listed)] == []


def test_every_notebook_is_linked_from_the_readme():
    targets = links(ROOT / "README.md")
    assert [name(path) for path in NOTEBOOKS if name(path) not in targets] == []


def test_the_map_of_tests_names_every_folder_of_tests():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    folders = [path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and list(path.rglob("test_*.py"))]
    assert len(folders) > 5
    assert [folder for folder in folders if f"{folder}/" not in text] == []


def lab_folder():
    """The folder in which the README starts JupyterLab, the root of its server: nothing above it can be opened."""
    command = re.search(
        r"`\.venv/bin/jupyter lab(?: (?P<folder>[^`]+))?`", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert command is not None, "the README says how JupyterLab is started"
    return ROOT / (command["folder"] or "")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_links_of_notebooks_work_in_jupyterlab_as_the_readme_starts_it(notebook, tmp_path):
    """Each leads to a file, to a heading in it if it says so, and never out of the folder in which the server was started."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    page = tmp_path / "cells.md"
    page.write_text("\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"))
    broken = []
    for target in links(page):
        if target.startswith(REMOTE):
            continue
        path, _, anchor = target.partition("#")
        file = (notebook.parent / path).resolve() if path else notebook
        inside = file.is_relative_to(lab_folder().resolve())
        if not (inside and file.exists()) or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []
