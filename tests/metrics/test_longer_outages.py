"""The longer an outage, the worse every figure: the quick form. 200 scenarios: python benchmarks/longer_outages.py."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from simtx.metrics import censored


def _load() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "longer_outages.py"
    spec = importlib.util.spec_from_file_location("longer_outages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


outages = _load()
IN_DOUBT = (0, 40)
"""Scenarios in which a crash keeps transactions of two-phase commit in doubt."""


@pytest.mark.parametrize("number", range(len(outages.KINDS)), ids=outages.KINDS)
@pytest.mark.sample(3)
def test_no_figure_gets_better_when_a_fault_lasts_longer(number: int) -> None:
    """One random scenario of each kind of fault, under all strategies: for a moment, and past the end of the run."""
    assert outages.violations(number, durations=(outages.DURATIONS[0], outages.DURATIONS[-1])) == []


def test_the_property_finds_quantiles_that_skip_what_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the quantiles of those that ended, a partition that never heals is faster than one that does."""

    def skipping(durations: object, levels: Sequence[float], weights: object = None) -> list[float]:
        values = np.asarray(durations, dtype=float)
        ended = values[np.isfinite(values)]
        return [float(np.quantile(ended, level)) if len(ended) else math.nan for level in levels]

    monkeypatch.setattr(censored, "quantiles", skipping)
    found = outages.violations(10, ("saga", "2pc"))
    assert any("_p99_ms was" in line for line in found)


def test_the_property_finds_what_is_in_doubt_for_ever_and_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from simtx.metrics.ledger import TransactionLedger

    monkeypatch.setattr(TransactionLedger, "still_in_doubt", lambda *_: None)
    found = [line for number in IN_DOUBT for line in outages.violations(number, ("2pc",))]
    assert any("longest_in_doubt_ms was" in line for line in found)
