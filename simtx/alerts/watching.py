"""Alerts that a run raises, with the fault of each and the time that it took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simtx.alerts.rules import DEFAULT, AlertRule
from simtx.alerts.signals import signals
from simtx.arguments import checked, number
from simtx.errors import ScenarioError
from simtx.metrics.plain import plain
from simtx.views import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.alerts.rules import Bools
    from simtx.alerts.signals import Signals
    from simtx.metrics.run import Run
    from simtx.metrics.rundata import Struck
    from simtx.scenario.provenance import Provenance


@dataclass(frozen=True, slots=True)
class Alert:
    """One time that a rule has fired.

    Attributes:
        rule: Which one.
        begin: When, in seconds of the run.
        end: When it ended; infinite: it was firing when nobody looked any more.
        fault: Position in `Alerts.struck` of the fault that it belongs to; None: a false alarm.
    """

    rule: AlertRule
    begin: float
    end: float
    fault: int | None


@dataclass(frozen=True, slots=True)
class Noticed:
    """The alerts of one strike of a fault.

    Attributes:
        fault: Which one.
        after: Seconds from its begin to the first alert that belongs to it; infinite if there is none.
        rules: Names of the rules that fired, the first one first.
    """

    fault: Struck
    after: float
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Alerts:
    """Alerts of one run: which faults the rules noticed, and which alerts were false.

    An alert belongs to the last fault that had struck when it fired, if it fired before the fault and its grace period were over. Any other is a false alarm.

    Attributes:
        run: The run.
        rules: The rules.
        signals: The signals that the rules evaluate.
        fired: The alerts, in the order of their times.
        struck: The faults of the run.
        grace: Seconds after the end of a fault in which an alert still belongs to it.
    """

    run: Run
    rules: tuple[AlertRule, ...]
    signals: Signals
    fired: tuple[Alert, ...]
    struck: tuple[Struck, ...]
    grace: float

    @property
    def provenance(self) -> Provenance:
        """Provenance of the run, and the command that repeats it."""
        return self.run.provenance

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each time that a rule fired: ``rule``, ``severity``, ``begin_s``, ``end_s`` and the ``fault`` that it belongs to (empty: a false alarm)."""
        rows = [
            (
                one.rule.name,
                one.rule.severity,
                one.begin,
                one.end,
                "" if one.fault is None else self.struck[one.fault].name,
            )
            for one in self.fired
        ]
        return pd.DataFrame(rows, columns=["rule", "severity", "begin_s", "end_s", "fault"])

    @property
    def noticed(self) -> tuple[Noticed, ...]:
        """The alerts of each strike of a fault, in the order of the strikes."""
        found = []
        for position, one in enumerate(self.struck):
            own = [alert for alert in self.fired if alert.fault == position]
            after = own[0].begin - one.begin if own else math.inf
            found.append(Noticed(one, after, tuple(dict.fromkeys(alert.rule.name for alert in own))))
        return tuple(found)

    @property
    def faults(self) -> pd.DataFrame:
        """One row for each time that a fault struck.

        Its columns: ``fault``, ``begin_s``, ``end_s``, ``noticed`` (whether any rule fired), ``after_s`` (time from its begin to the first alert; infinite if none
        fired), ``by`` (that rule) and ``rules`` (all that fired).
        """
        rows = [
            (
                one.fault.name,
                one.fault.begin,
                one.fault.end,
                bool(one.rules),
                one.after,
                one.rules[0] if one.rules else "",
                ", ".join(one.rules),
            )
            for one in self.noticed
        ]
        return pd.DataFrame(rows, columns=["fault", "begin_s", "end_s", "noticed", "after_s", "by", "rules"])

    @property
    def false(self) -> tuple[Alert, ...]:
        """Each time that a rule fired that no fault explains."""
        return tuple(one for one in self.fired if one.fault is None)

    @property
    def unnoticed(self) -> list[str]:
        """Names of the faults that no rule has noticed."""
        return [one.fault.name for one in self.noticed if not one.rules]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {
            "strategy": self.run.strategy.name,
            "seed": self.run.seed,
            "every_s": self.signals.every,
            "grace_s": self.grace,
            "rules": [rule.model_dump() for rule in self.rules],
            "faults": plain(self.faults.to_dict("records")),
            "alerts": plain(self.frame.to_dict("records")),
            "false_alarms": len(self.false),
            "unnoticed": self.unnoticed,
        }

    def __str__(self) -> str:
        return str(view("alerts-text")(self))

    __repr__ = __str__

    @property
    def plot(self) -> Callable[..., Axes]:
        """Draws the alerts over time, with the faults shaded: ``alerts.plot(ax=None)``."""
        drawn = view("alerts-plot")

        def draw(**options: Any) -> Axes:
            axes: Axes = drawn(self, **options)
            return axes

        return draw


def _is_run(value: Any) -> str:
    return "" if hasattr(value, "trace") and hasattr(value, "scenario") else "must be a run"


def _are_rules(value: Any) -> str:
    good = value is None or (isinstance(value, list | tuple) and all(isinstance(one, AlertRule) for one in value))
    return "" if good else "must be a list of rules, such as simtx.alerts.default_rules(), or None"


@checked(
    run=_is_run,
    rules=_are_rules,
    every=number(above=0),
    objective=number(above=0),
    after=number(above=0, zero=True),
    grace=number(above=0, zero=True),
)
def watch(
    run: Run,
    rules: Sequence[AlertRule] | None = None,
    *,
    every: float = 1.0,
    objective: float = 1.0,
    after: float = 30.0,
    grace: float = 30.0,
) -> Alerts:
    """Evaluate alert rules over a run, simulated or real, as a monitoring system would have done.

    Args:
        run: The run; if its event log was not recorded, it is played again.
        rules: The rules; None: `default_rules`.
        every: Seconds between two scrapes.
        objective: Seconds within which a request should have its answer; later ones are the signal ``slow``.
        after: Seconds for which scrapes go on when the run is over.
        grace: Seconds after the end of a fault in which an alert still belongs to it.

    Returns:
        The alerts; ``faults`` and ``frame`` are tables, ``plot()`` draws them.

    Raises:
        ScenarioError: There is no rule.
    """
    chosen = tuple(DEFAULT if rules is None else rules)
    if not chosen:
        raise ScenarioError("is empty; give at least one rule", "rules")
    seen = signals(run.trace, run.scenario, every=every, objective=objective, after=after)
    fired = [
        Alert(rule, begin, end, _belongs(begin, seen.struck, grace))
        for rule in chosen
        for begin, end in _firing(seen, rule.holds(seen), rule.hold)
    ]
    order = {rule.name: position for position, rule in enumerate(chosen)}
    fired.sort(key=lambda one: (one.begin, order[one.rule.name]))
    return Alerts(run, chosen, seen, tuple(fired), seen.struck, grace)


def _firing(seen: Signals, holds: Bools, hold: float) -> list[tuple[float, float]]:
    """Times from which to which a rule fires."""
    edges = np.diff(np.concatenate([[False], holds, [False]]).astype(int))
    found = []
    for first, last in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        begin = seen.times[first] + hold
        at = int(np.searchsorted(seen.times, begin - 1e-9))
        if at < last:
            found.append((float(seen.times[at]), float(seen.times[last]) if last < len(holds) else math.inf))
    return found


def _belongs(begin: float, struck: Sequence[Struck], grace: float) -> int | None:
    """The last fault that had struck, of those that are not long over."""
    near = [position for position, one in enumerate(struck) if one.begin <= begin <= one.end + grace]
    return near[-1] if near else None
