"""MSER-5: it cuts what a start adds, and next to nothing of what has none."""

from __future__ import annotations

import numpy as np
import pytest

from simtx.metrics.warmup import batch_means, mser5


def test_batch_means_are_means_of_five() -> None:
    assert batch_means([1, 2, 3, 4, 5, 10, 10, 10, 10, 10, 99]).tolist() == [3.0, 10.0]


def test_the_cut_is_the_one_of_the_definition() -> None:
    """The least of the sums of squares over the squared number of batches, computed the slow way."""
    rng = np.random.default_rng(3)
    values = rng.exponential(size=400) * np.minimum(0.2 + np.arange(400) / 100, 1.0)
    means = batch_means(values)
    slow = [((means[d:] - means[d:].mean()) ** 2).sum() / (len(means) - d) ** 2 for d in range(len(means) - 5)]
    cut = mser5(values)
    assert cut is not None
    assert cut.observations == 5 * int(np.argmin(slow))
    assert cut.after == pytest.approx(means[cut.observations // 5 :].mean())


def test_a_start_is_cut_where_it_ends() -> None:
    rng = np.random.default_rng(5)
    values = np.r_[rng.normal(1.0, 1.0, 500), rng.normal(10.0, 1.0, 4500)]
    cut = mser5(values)
    assert cut is not None
    assert 500 <= cut.observations <= 600
    assert cut.settled
    assert cut.after == pytest.approx(10.0, abs=0.1)


def test_without_a_start_little_is_cut() -> None:
    """Of 200 series without any, MSER-5 leaves at least half of nearly all."""
    cuts = [mser5(np.random.default_rng(seed).normal(size=1000)) for seed in range(200)]
    kept = [cut for cut in cuts if cut is not None and cut.settled]
    assert len(kept) > 190
    assert np.median([cut.observations for cut in kept]) < 100


def test_a_trend_without_end_has_no_steady_state() -> None:
    cut = mser5(np.arange(1000.0))
    assert cut is not None
    assert not cut.settled


def test_of_a_few_observations_nothing_is_said() -> None:
    assert mser5(np.ones(49)) is None
