"""The page on extensions: its Python runs, the files that it names are there, and its edits do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.edits import Section, apply, changed, copy, files, plain, sections
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "extending.md"
SECTIONS = sections(PAGE)
REAL = ("A store",)  # starts processes

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
MOST = {"An effect": 10, "A metric": 4, "A kind of fault": 8, "A store": 3}
"""Files to edit, beside new ones."""

each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title.partition(":")[0])


@pytest.mark.parametrize("code", [block.text for block in plain(PAGE)])
def test_its_python_runs(code: str) -> None:
    """Each block by itself."""
    exec(compile(code, PAGE.name, "exec"), {"__name__": "extending"})  # noqa: S102 - our own page


def test_the_files_that_it_names_are_there() -> None:
    named = set(re.findall(r"`((?:simtx|tests|docs)/[\w/.]+)`", PAGE.read_text(encoding="utf-8")))
    named -= {name for section in SECTIONS for name in section.added}
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@each_section
def test_an_extension_takes_as_few_files_as_its_heading_says(section: Section) -> None:
    """And no more than the project has set itself: another one would be a list that is kept in two places."""
    what, _, words = section.title.partition(":")
    said = NUMBERS[words.split()[0]]
    assert len({name for edit in section.edits for name in files(edit)}) == said <= MOST[what]


@each_section
def test_its_edits_fit_the_files_of_today(section: Section) -> None:
    """Whoever changes such a line changes the page, too."""
    for edit in section.edits:
        assert list(changed(edit, ROOT))


@pytest.mark.heavy
def test_extensions_play(tmp_path: Path) -> None:
    """The Python behind the edits runs on a copy of the project with all of them, and its assertions hold."""
    _play([section for section in SECTIONS if not section.title.startswith(REAL)], tmp_path)


@pytest.mark.heavy
def test_an_extension_plays_for_real(tmp_path: Path) -> None:
    _play([section for section in SECTIONS if section.title.startswith(REAL)], tmp_path)


@pytest.mark.heavy
def test_what_is_forgotten_is_a_type_error(tmp_path: Path) -> None:
    """With their first blocks alone, a type checker names the files of the second ones; with all edits of the page it is content."""
    copy(tmp_path, *SECTIONS)
    lists = [section for section in SECTIONS if len(section.edits) > 1]
    assert len(lists) == 2
    for section in lists:
        apply(section.edits[:1], tmp_path)
    assert _named(tmp_path) - {name for section in SECTIONS for name in section.added} == {
        name for section in lists for name in files(section.edits[1])
    }
    for section in SECTIONS:
        apply(section.edits[1:] if section in lists else section.edits, tmp_path)
    assert _named(tmp_path) == set()


def _play(chosen: list[Section], folder: Path) -> None:
    """Everything in one interpreter, since to import the project takes longer than most examples."""
    assert chosen
    copy(folder, *chosen)
    for section in chosen:
        apply(section.edits, folder)
    code = [f"# {section.title}\n{code}" for section in chosen for code in section.code]
    (folder / "examples.py").write_text("\n".join(code), encoding="utf-8")
    done = _in(folder, "examples.py")
    assert done.returncode == 0, done.stderr


def _in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What an interpreter says that finds the copy, and not the project."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "MPLBACKEND": "agg"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )


def _named(folder: Path) -> set[str]:
    """Files in which a type checker finds an error."""
    done = _in(folder, "-m", "mypy", "simtx", "--no-error-summary", "--hide-error-context")
    assert done.returncode in (0, 1), done.stderr
    return set(re.findall(r"^(simtx/\S+?\.py):\d+: error", done.stdout, flags=re.MULTILINE))
