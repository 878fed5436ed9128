"""The figures of a run by name, which say what was meant when a name is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from simtx.errors import ScenarioError

if TYPE_CHECKING:
    _Series = pd.Series[float]
else:
    _Series = pd.Series  # it takes no parameter at run time

COMMITTED: Final = "committed_share"
MUCH_LESS: Final = 0.05
"""Share of transactions: if a strategy commits less by so much, its times say nothing, for what it aborts early also ends early."""
_OF_ALL: Final = ("latency_", "decision_", "settle_", "window_")
_SHOWN = 6  # names that contain what was asked for


def of_all(metric: str) -> bool:
    """Return whether a metric is a time of all transactions, also of those that were aborted."""
    return metric.startswith(_OF_ALL) and "_committed_" not in metric


def of_committed(metric: str, known: Iterable[str]) -> str:
    """The same time of committed transactions alone, if it is among the known metrics; else nothing."""
    moment, _, level = metric.partition("_")
    name = f"{moment}_committed_{level}"
    return name if name in known else ""


class UnknownMetric(ScenarioError, KeyError):
    """There is no metric of this name; also a `KeyError`, as of any mapping."""

    __str__ = Exception.__str__  # that of a KeyError puts the text in quotes


def unknown(name: object, known: Iterable[str], where: str = "metric") -> UnknownMetric:
    """The error that names the nearest metric, or those that contain what was asked for."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.7)
    inside = [one for one in names if str(name).lower() in one.lower()] if str(name) else []
    if near:
        guess = f"did you mean '{near[0]}'?"
    elif inside:
        listed = ", ".join(f"'{one}'" for one in inside[:_SHOWN])
        guess = f"did you mean {listed}{' or another one' if len(inside) > _SHOWN else ''}?"
    else:
        guess = f"there are {', '.join(names)}"
    return UnknownMetric(f"{name!r} is no {where}; {guess}", where)


BOOKKEEPING: Final = {
    "transactions": "says how many transactions were measured",
    "events": "says how much the simulator had to do",
    "watched_ms": "says for how long every transaction was watched",
    "faults": "says how many faults were injected",
}
"""Metrics of which neither more nor less is better: they say what a run was, and rank nobody."""


def ranking(name: object, where: str = "metric") -> None:
    """Refuse a metric that ranks nobody.

    Args:
        name: What is to rank strategies.
        where: What has asked for it.

    Raises:
        ScenarioError: It is one of `BOOKKEEPING`.
    """
    if isinstance(name, str) and name in BOOKKEEPING:
        raise ScenarioError(
            f"'{name}' {BOOKKEEPING[name]} and ranks no strategy; what is good or bad does, such as decision_p99_ms, "
            "latency_p99_ms, goodput_per_s, committed_share, drift_gross_mean or missing_effects",
            where,
        )


class Summary(_Series):
    """One number a metric, as a Series; a name that is not there is an `UnknownMetric`."""

    @property
    def _constructor(self) -> Any:
        return pd.Series  # what is made of it is a plain one

    def __getitem__(self, key: Any) -> Any:
        """The figure of this name, or whatever else pandas understands."""
        if isinstance(key, str) and key not in self.index:
            raise unknown(key, map(str, self.index))
        return super().__getitem__(key)
