"""What the documentation says of the catalogue of defects is what the catalogue holds."""

from __future__ import annotations

import re
from pathlib import Path

from .mutants import ALL, HARMLESS

TEXT = (Path(__file__).parents[2] / "docs" / "verification.md").read_text(encoding="utf-8")


def test_the_table_of_harmless_changes_is_the_catalogue() -> None:
    """The same names, in the same order, with the same words."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (2PC|Saga|Outbox|Dual write): (.+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert [(name, change, reason) for name, _, change, reason in rows] == [
        (one.name, one.change, one.reason) for one in HARMLESS
    ]


def test_the_number_of_seeded_defects_is_the_true_one() -> None:
    (number,) = re.findall(r"`tests/checker/mutants` holds (\d+) defects", TEXT)
    assert int(number) == len(ALL)


def test_only_the_named_defects_take_more_than_two_participants() -> None:
    larger = [one.name for one in ALL if one.scope.get("participants", 2) > 2]
    assert sorted(larger) == sorted(re.findall(r"^\| `([a-z-]+)` \| (?:three|four) \|", TEXT, re.MULTILINE))
