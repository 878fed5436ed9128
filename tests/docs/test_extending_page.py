"""The page on extensions: its Python runs, and the files that it names are there."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "extending.md"


@pytest.mark.parametrize("code", [block.text for block in blocks(PAGE) if block.language == "python"])
def test_its_python_runs(code: str) -> None:
    """Each block by itself."""
    exec(compile(code, PAGE.name, "exec"), {"__name__": "extending"})  # noqa: S102 - our own page


def test_the_files_that_it_names_are_there() -> None:
    named = set(re.findall(r"`((?:simtx|tests|docs)/[\w/.]+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
