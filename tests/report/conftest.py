from __future__ import annotations

import pytest

import simtx


@pytest.fixture(scope="session")
def small() -> simtx.Scenario:
    """Money transfers, few enough for a run in a tenth of a second."""
    return simtx.load("transfer").replace(**{"run.transactions": 150, "run.warmup": "0.1s"})
