"""The page about conformance checks: its Python runs, and its table is that of the package."""

from __future__ import annotations

import pytest

import simtx.testing
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "testing.md"


@pytest.mark.parametrize("code", [block.text for block in blocks(PAGE) if block.language == "python"])
def test_its_python_runs(code: str) -> None:
    """Each block by itself; what is simulated keeps all laws."""
    exec(compile(code, PAGE.name, "exec"), {})  # noqa: S102 - our own page


def test_it_names_every_check_and_every_list_of_laws() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in simtx.testing.__all__:
        if name.startswith("check_") or name.endswith("_LAWS"):
            assert f"`{name}`" in text
