"""Notes of a scenario are made when somebody looks: they are those of a scenario that was read from a file, also behind a copy."""

from __future__ import annotations

import copy
import dataclasses

import pytest

import simtx
from simtx.scenario import notes


def test_a_changed_scenario_makes_its_notes_when_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    known = notes.noted

    def counted(*given: object) -> object:
        made.append(1)
        return known(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(notes, "noted", counted)
    changed = simtx.load("transfer").replace(**{"workload.rate": 77})
    assert changed.fingerprint
    assert made == []
    assert changed.assumptions["workload.rate"].value == "77/s"
    assert len(changed.sources) == len(list(changed.sources))
    assert made == [1]


def test_notes_of_a_copy_are_the_same() -> None:
    changed = simtx.load("transfer").replace(**{"workload.rate": 77})
    copied = copy.deepcopy(changed)
    assert dict(copied.assumptions) == dict(changed.assumptions) == copied.assumptions
    assert type(copied.sources) is dict
    other = dataclasses.replace(changed, sources={**changed.sources, "workload.rate": "a measurement"})
    assert other.sources["workload.rate"] == "a measurement"
