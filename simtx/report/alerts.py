"""Alerts as text and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from simtx.listing import aligned
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.alerts.watching import Alerts


def text(alerts: Alerts) -> str:
    """Report what was noticed of each fault, and when; then what fired without one."""
    lines = [finding(alerts)]
    if alerts.struck:
        rows = [("fault", "from", "to", "noticed after", "first by", "also")]
        for one in alerts.noticed:
            late = " (over by then)" if one.fault.begin + one.after > one.fault.end else ""
            rows.append(
                (
                    one.fault.name,
                    _at(one.fault.begin),
                    _at(one.fault.end),
                    f"{_at(one.after)}{late}" if one.rules else "never",
                    one.rules[0] if one.rules else "-",
                    ", ".join(one.rules[1:]) or "-",
                )
            )
        lines += ["", *aligned(rows, indent="  ")]
    if alerts.false:
        false = [(one.rule.name, _at(one.begin), _at(one.end)) for one in alerts.false]
        lines += ["", *aligned([("fired without a fault", "from", "to"), *false], indent="  ")]
    count, every = len(alerts.rules), alerts.signals.every
    lines += [
        "",
        f"{count} rule{'s' if count > 1 else ''}, scraped every {every:g} s, from one run of seed {alerts.run.seed}",
    ]
    return "\n".join(lines)


def several(noticed: Mapping[str, Alerts]) -> str:
    """Report what would have been noticed under each strategy, a line each, and which faults nobody would have noticed."""
    first = next(iter(noticed.values()))
    lines = [
        f"what a monitoring system would have said: {len(first.rules)} rules, scraped every {first.signals.every:g} s, first replication"
    ]
    for name, one in noticed.items():
        said = finding(one).partition(": ")[2]
        missed = list(dict.fromkeys(one.unnoticed))
        lines.append(
            f"  {name}: {said}" + (f"; unnoticed: {', '.join(missed)}" if len(one.struck) > 1 and missed else "")
        )
    return "\n".join(lines)


def _at(seconds: float) -> str:
    return "-" if math.isinf(seconds) else f"{seconds:.4g} s"


def finding(alerts: Alerts) -> str:
    """Finding of the run, in one line."""
    false = len(alerts.false)
    alarms = "no false alarm" if not false else f"{false} false alarm{'s' if false > 1 else ''}"
    name, noticed = alerts.run.strategy.name, alerts.noticed
    if not noticed:
        return f"{name}: nothing failed; {alarms}"
    seen = [one for one in noticed if one.rules]
    if not seen:
        what = f"the {noticed[0].fault.name}" if len(noticed) == 1 else f"any of {len(noticed)} faults"
        return f"{name}: nobody would have noticed {what}; {alarms}"
    slowest = max(seen, key=lambda one: one.after)
    after = f"after {slowest.after:.3g} s"
    if len(noticed) == 1:
        return f"{name}: the {slowest.fault.name} is noticed {after}, by {slowest.rules[0]}; {alarms}"
    missed = (
        f"{len(noticed) - len(seen)} of {len(noticed)} faults unnoticed"
        if len(seen) < len(noticed)
        else f"all {len(noticed)} faults noticed"
    )
    return f"{name}: {missed}, the slowest {after}; {alarms}"


@footed
def plot(alerts: Alerts, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Draw when each rule fired, with the faults of the run shaded.

    A bar is filled where the alert belongs to a fault, and hatched where it is a false alarm. Rules that never fired are named below.
    """
    rules = [rule for rule in alerts.rules if any(one.rule.name == rule.name for one in alerts.fired)]
    silent = [rule.name for rule in alerts.rules if rule not in rules]
    times = alerts.signals.times
    end = float(times[-1]) if len(times) else 1.0
    with style.context():
        ax = canvas.axes(ax, figsize, (8.0, 1.7 + 0.3 * max(len(rules), 2)))
        ax.set_xlim(0, end)
        for one in alerts.struck:
            faults.shade_fault(ax, one.begin, min(one.end, end))
        faults.shade_rest(ax, alerts.signals.ended, end)
        for row, rule in enumerate(rules):
            for alert in alerts.fired:
                if alert.rule.name == rule.name:
                    _bar(
                        ax,
                        row,
                        alert.begin,
                        min(alert.end, end),
                        false=alert.fault is None,
                        page=rule.severity == "page",
                    )
        ax.set_ylim(max(len(rules), 1) - 0.4, -0.6)
        ax.set_yticks(np.arange(len(rules)), [rule.name for rule in rules])
        ax.set_xlabel("time [s]")
        if not rules:
            canvas.empty(ax, "no rule fired")
        notes = [
            f"{number} {one.name} {one.begin:.3g}–{min(one.end, end):.3g} s"
            for number, one in enumerate(alerts.struck, 1)
        ]
        notes += ["hatched grey: the run is over"] if alerts.signals.ended < end else []
        notes += ["dark: page, light: ticket"] if rules else []
        notes += ["crossed: without a fault"] if alerts.false else []
        notes += [f"never fired: {', '.join(silent)}"] if silent else []
        about = canvas.about_runs([alerts.run])
        canvas.titled(ax, finding(alerts), " · ".join([about, f"scraped every {alerts.signals.every:g} s", *notes]))
    return ax


def _bar(ax: Axes, row: int, begin: float, end: float, *, false: bool, page: bool) -> None:
    theme = style.theme()
    ax.barh(
        row,
        end - begin,
        left=begin,
        height=0.55,
        facecolor="none" if false else theme.ink if page else theme.muted,
        edgecolor=theme.ink,
        hatch="xx" if false else None,
        linewidth=0.8,
        alpha=1.0 if page else 0.75,
    )
