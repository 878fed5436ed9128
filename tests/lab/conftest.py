from __future__ import annotations

import pytest

import simtx

PATIENCE = 120.0


@pytest.fixture
def opened():
    """Explorers of small scenarios, played in this process; closed at the end."""
    made = []

    def explore(scenario="transfer", strategies=("2pc", "saga"), **options):
        settings = {"transactions": 40, "replications": 2, "ahead": 0, "executor": "serial", **options}
        made.append(simtx.explorer(scenario, list(strategies), **settings))
        return made[-1]

    yield explore
    for one in made:
        one.close()
