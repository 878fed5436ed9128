"""Control variates: what chance has given to a run, and theory knows, explains a part of what the run shows.

A run with more arrivals than are to be expected is slower than expected. The expectation of some quantities has a closed form: the arrival rate,
the mean of the service demands, a utilisation without faults. A regression over the replications takes out what such a quantity explains.
(Lavenberg and Welch, "A perspective
on the use of control variables to increase the efficiency of Monte Carlo simulations", Management Science 27(3), 1981; Law, 5th ed., 11.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simtx.errors import ScenarioError
from simtx.metrics.intervals import Interval, check_confidence, t_quantile


def controlled(
    values: Sequence[float],
    controls: Sequence[Sequence[float]],
    expected: Sequence[float],
    confidence: float = 0.95,
) -> Interval:
    """Mean with the interval of the regression on controls.

    Each control costs a degree of freedom. With n replications and q of them, the variance that is left is multiplied by about
    (n - 2) / (n - q - 2): one that explains little makes it worse.

    Args:
        values: One a replication.
        controls: For each control, one value a replication.
        expected: The known expectation of each control.
        confidence: Coverage, between 0 and 1.

    Raises:
        ScenarioError: Lengths do not fit, or there are fewer than three replications more than controls.
    """
    check_confidence(confidence)
    y = np.asarray(values, dtype=float)
    known = np.asarray(expected, dtype=float)
    if len(controls) != len(known) or any(len(one) != len(y) for one in controls):
        raise ScenarioError("each control needs a value for each replication, and an expectation", "controls")
    n, q = len(y), len(known)
    if n < q + 3:
        raise ScenarioError(f"{q} controls need at least {q + 3} replications, there are {n}", "controls")
    if not (np.isfinite(y).all() and np.isfinite(np.asarray(controls, dtype=float)).all()):
        raise ScenarioError("a value is infinite or not a number", "controls")
    design = np.column_stack(
        [np.ones(n), *(np.asarray(one, dtype=float) - mu for one, mu in zip(controls, known, strict=True))]
    )
    found, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    if rank < q + 1:
        raise ScenarioError("a control is the same in every replication, or the sum of others", "controls")
    left = y - design @ found
    inverse = np.linalg.inv(design.T @ design)
    error = math.sqrt(float(left @ left) / (n - q - 1) * float(inverse[0, 0]))
    half = t_quantile(n - q - 1, 0.5 + confidence / 2) * error
    mean = float(found[0])
    return Interval(mean, mean - half, mean + half, n, f"Student t, {q} control variate{'s' if q > 1 else ''}")
