"""The page of promises speaks of every effect of the contract, and of no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from simtx.protocols import contract

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"


def test_the_page_of_promises_has_every_effect_in_its_tables() -> None:
    """Whoever adds an effect has to say what each host makes of it."""
    first = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    named = {name for cell in first for name in re.findall(r"`([A-Z][A-Za-z]+)`", cell)}
    assert named == {effect.__name__ for effect in get_args(contract.Effect)}


def test_the_tests_that_the_page_names_are_there() -> None:
    for name in re.findall(r"`(tests/[\w/]+\.py)`", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parents[1] / name).is_file(), name
