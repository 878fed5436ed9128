"""The picture of the start of a run: its title says what was found."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

import simtx
from simtx.report.warmup import start
from tests.metrics.test_laws import busy


@pytest.mark.parametrize(
    ("growing", "warmup", "title"),
    [
        (600, 1.0, "MSER-5 would cut "),
        (600, 15.0, "The warm-up covers the start of the run"),
        (10**6, 1.0, "No steady state was found in the first half of the run"),
    ],
)
def test_the_title_says_whether_the_warm_up_is_long_enough(growing: int, warmup: float, title: str) -> None:
    """Times that grow tenfold over so many transactions, of which a hundred arrive a second."""
    run = simtx.simulate(busy(100.0).replace(**{"run.warmup": f"{warmup}s"}), "saga")
    columns = dict(run.data.columns)
    arrivals = np.sort(np.asarray(columns["arrival_s"]))
    order = np.argsort(np.asarray(columns["tx"]))
    slowly = np.minimum(0.1 + np.arange(len(arrivals)) * 0.9 / min(growing, len(arrivals)), 1.0)
    noise = np.random.default_rng(1).gamma(16.0, 1 / 16, len(arrivals))
    decided = np.empty(len(arrivals))
    decided[order] = arrivals + 0.1 * slowly * noise
    columns["decided_s"] = array("d", decided)
    run.data.columns = columns
    run._transactions = None
    axes = start(run)
    assert axes.get_title(loc="left").startswith(title)
    assert "MSER-5 cuts" in " ".join(text.get_text() for text in axes.get_legend().get_texts())
    assert axes.get_ylabel() == "request to final outcome [ms]"
