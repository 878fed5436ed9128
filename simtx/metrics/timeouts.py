"""Quantiles of durations that are in truth a configured timeout: such a figure shows a setting, not how fast anything is.

With a vote timeout of 3 s and enough lost votes, the 99 % quantile of two-phase commit is 3,000 ms in every run, whatever the network does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Final

from simtx.protocols import Strategy
from simtx.protocols.extras import extras, policies_in_force
from simtx.scenario import Scenario

_EXACT: Final = 1e-3
_NEAR: Final = 2e-2  # what a request takes to get there, and the answer to come back
_QUANTILE: Final = re.compile(r".*_p\d+_ms")


def timeouts(scenario: Scenario, strategy: Strategy) -> dict[str, float]:
    """Every configured time, in seconds, after which somebody stops waiting, by name.

    Args:
        scenario: With its policies, stores and broker.
        strategy: The strategy that was played; its policies come before those of the scenario.
    """
    policies = policies_in_force(strategy, scenario.policies)
    own = extras(strategy).timeouts
    names = [field.name for field in fields(policies) if field.name.endswith("_timeout")]
    found = {name: float(getattr(policies, name)) for name in (names if own is None else own)}
    for name, service in scenario.services.items():
        found[f"lock_timeout of {name}"] = service.store.lock_timeout
    if len({service.store.lock_timeout for service in scenario.services.values()}) == 1:
        found = {name: value for name, value in found.items() if not name.startswith("lock_timeout")}
        found["lock_timeout"] = next(iter(scenario.services.values())).store.lock_timeout
    if strategy.uses_broker:
        found["redelivery"] = scenario.broker.redelivery
    return {name: seconds for name, seconds in found.items() if seconds > 0}


def mark(milliseconds: float, known: Mapping[str, float]) -> str:
    """``= vote_timeout`` if a duration is this timeout, ``≈ vote_timeout`` if it is little above it, else nothing.

    Args:
        milliseconds: The duration.
        known: Timeouts in seconds, by name.
    """
    for sign, low, high in (("=", 1 - _EXACT, 1 + _EXACT), ("≈", 1, 1 + _NEAR)):
        names = [name for name, seconds in known.items() if low * seconds <= milliseconds / 1e3 <= high * seconds]
        if names:
            return f"{sign} {' or '.join(names)}"
    return ""


def is_quantile(metric: str) -> bool:
    """Return whether a metric is a quantile of a duration in milliseconds."""
    return _QUANTILE.fullmatch(metric) is not None


def marked(metric: str, values: Iterable[float], known: Mapping[str, float]) -> str:
    """Text beside the quantile of a duration that sits on a timeout in at least half of the runs; empty if it does not.

    Args:
        metric: Name of the metric; what is no quantile of a duration in milliseconds is never marked.
        values: Its value in each run.
        known: Timeouts in seconds, by name.
    """
    if not is_quantile(metric):
        return ""
    marks = [mark(value, known) for value in values]
    text, times = Counter(marks).most_common(1)[0] if marks else ("", 0)
    if not text or 2 * times < len(marks):
        return ""
    return text if times == len(marks) else f"{text} in {times} of {len(marks)} runs"
