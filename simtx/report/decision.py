"""Decisions for people: first which strategy and whether the runs support it, then the figures behind it."""

from __future__ import annotations

import math
from html import escape
from typing import Any, Final

from simtx.listing import aligned
from simtx.metrics.intervals import EQUAL, NEVER, Interval, kind_of
from simtx.report import catalogue, style

_COLOURS: Final = {"yes": style.GOOD, "open": style.REFUSED, "no": style.FAULT}
_MARKS: Final = {"yes": "✓", "open": "?", "no": "✗"}

_SENSELESS: Final = 1000  # times as large: a ratio above says no more than that


def verdict(decision: Any) -> tuple[str, str]:
    """``yes``, ``open`` or ``no``, and the first line: what is known."""
    words = catalogue.metric(decision.metric).words
    better = catalogue.noted(decision.metric, f"{decision.better} is better")
    sure = f"{100 * decision.confidence:g} % for all statements together"
    candidates = decision.candidates
    if sits := ranks_settings(decision):
        would = f"by the {better} {decision.strategy} would be the best"
        why = f"the figure of {', '.join(sits)} is a timeout of the configuration"
        return "open", f"{would}, but {why}: settings were ranked, and not speed"
    if decision.supported:
        limits = " that keeps to the thresholds" if len(decision.thresholds) else ""
        limits = limits or (" that has kept what it guarantees" if decision.violated else "")
        alone = len(decision.ranking) > 1 and set(decision.ranking["standing"]) <= {"best", "not admissible"}
        first = "is the only one" if limits and alone else "is the best one" if limits else "is the best"
        return (
            "yes",
            f"{decision.strategy} {first}{limits}, by the {better}: the runs support it ({sure})",
        )
    if not candidates:
        kept = "keeps to the thresholds" if len(decision.thresholds) else "has kept what it guarantees"
        return "no", f"no strategy {kept} ({sure})"
    if decision.strategy is None:
        return "open", f"no strategy can be named the best by the {words}"
    if alike := _alike(decision):
        return "open", f"nothing tells {alike} apart by the {words}: they have the same in every run"
    others = decision.ranking["standing"].drop(decision.strategy)
    if len(others) and set(others) == {"not admissible"}:  # what is open are its own thresholds
        return (
            "open",
            f"{decision.strategy} alone may keep to the thresholds, and the runs do not say whether it does ({sure})",
        )
    return (
        "open",
        f"{decision.strategy} looks best by the {better}, but the runs do not support it ({sure})",
    )


def ranks_settings(decision: Any) -> list[str]:
    """Name strategies whose figures are a timeout, ``2pc (vote_timeout)``, if the runs support a strategy beside others that are admissible.

    The metric then ranks who gives up soonest.
    """
    table = decision.ranking[decision.ranking["standing"] != "not admissible"]
    if not decision.supported or len(table) < 2:
        return []
    return [f"{name} ({str(mark).lstrip('=≈ ')})" for name, mark in table["timeout"].items() if mark]


def _alike(decision: Any) -> str:
    """Strategies that may be the best, if no replication tells any of them from the one that is named; else nothing."""
    others = [
        row
        for row in decision.ranking.itertuples()
        if row.Index in decision.candidates and row.Index != decision.strategy
    ]
    if not others or any(row.wins or row.losses or row.effect != (1 if decision.ratio else 0) for row in others):
        return ""
    names = [decision.strategy, *(str(row.Index) for row in others)]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def remarks(decision: Any) -> list[str]:
    """Say what is open, what would settle it, and what else there is to remark."""
    said = []
    open_ones = [name for name in decision.candidates if name != decision.strategy]
    if decision.strategy is not None and not decision.supported:
        if open_ones:
            said.append(f"open: {', '.join(open_ones)} may be the best as well")
        undecided = decision.thresholds[decision.thresholds["standing"] == "undecided"]
        said += [f"open: {row.strategy} and {row.threshold}" for row in undecided.itertuples()]
        said += decision.advice
    if not decision.guaranteed:
        said.append("not guaranteed: see below" if decision.notes else "not guaranteed")
    return [*said, *decision.notes]


def text(decision: Any) -> str:
    """The decision for a terminal."""
    kind, first = verdict(decision)
    lines = [f"{_MARKS[kind]} {first}", *(f"  {line}" for line in remarks(decision)), ""]
    table = aligned(rows(decision), indent="  ")
    return "\n".join([*lines, *table, *(f"  {row}" for row in [*_limits(decision), _intervals(decision)])])


def html(decision: Any) -> str:
    """The decision for a notebook: its colour, its mark and its first line say what is known."""
    kind, first = verdict(decision)
    said = "".join(f"<li>{escape(line)}</li>" for line in remarks(decision))
    left = "text-align:left;padding:1px 14px 1px 0;white-space:nowrap"
    lines = "".join(
        "<tr>" + "".join(f"<td style='{left}'>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(decision)
    )
    limits = "".join(f"<br>{escape(line)}" for line in [*_limits(decision), _intervals(decision)])
    return (
        f"<p style='border-left:6px solid {_COLOURS[kind]};padding:2px 10px;margin:4px 0'>"
        f"<b style='color:{_COLOURS[kind]}'>{_MARKS[kind]} {escape(first)}</b></p>"
        f"<ul style='margin:2px 0 6px'>{said}</ul><table style='border-collapse:collapse'>{lines}</table>"
        f"<p style='opacity:.75;font-size:smaller'>{limits.removeprefix('<br>')}</p>"
    )


def rows(decision: Any) -> list[tuple[str, str, str, str]]:
    """Strategy, standing, mean with interval, and what it is against the best one."""
    shown = catalogue.metric(decision.metric)
    unit = "" if shown.unit == "{value}" else f" {shown.unit}"
    rows = []
    order = ["best", "may be the best", "not known", "worse", "not admissible"]
    for row in sorted(decision.ranking.itertuples(), key=lambda one: order.index(one.standing)):
        one = _interval(row.mean, row.low, row.high, row.n, decision.metric, row.infinite)
        mean, ends = catalogue.estimate(one, shown.scale, row.watched_ms, shown.endless)
        figure = mean if one.infinite else f"{mean}{unit}"
        figure = " ".join(filter(None, (figure, ends, row.timeout)))
        rows.append((row.Index, row.standing, figure, _against(decision, row, shown)))
    return rows


def _against(decision: Any, row: Any, shown: catalogue.Metric) -> str:
    if decision.strategy is None or row.Index == decision.strategy:
        return ""
    lower = f"lower in {row.wins} of {row.wins + row.losses} runs"
    if not math.isfinite(row.effect_low):
        return lower
    scale = 1.0 if decision.ratio else shown.scale
    effect, ends = catalogue.estimate(Interval(row.effect, row.effect_low, row.effect_high, row.n), scale)
    if decision.ratio and row.effect_high > _SENSELESS:  # of two runs an interval has any number of digits
        effect, ends = catalogue.number(float(f"{row.effect:.2g}")), f"[{row.effect_low:.2g}, more than {_SENSELESS:,}]"
    words = f"times {decision.strategy}" if decision.ratio else f"more than {decision.strategy}"
    return f"{effect} {ends}".rstrip() + f" {words}, {lower}"


def _intervals(decision: Any) -> str:
    """Confidence of the intervals: those of means are the ones of every table, the others hold together."""
    means, each = (f"{100 * share:.4g} %" for share in (decision.confidence, decision.each))
    if means == each:
        return f"intervals: {means}"
    others = " and ".join(
        [*(["comparisons"] if len(decision.ranking) > 1 else []), *(["thresholds"] if len(decision.thresholds) else [])]
    )
    return f"intervals: {means} of each mean, as in tables; {each} of {others}, so that all of these hold together with {means}"


def _limits(decision: Any) -> list[str]:
    """One line a strategy and threshold."""
    lines = []
    for row in decision.thresholds.itertuples():
        metric = str(row.threshold).split(" ", 1)[0]
        one = _interval(row.mean, row.low, row.high, 2, metric, int(math.isinf(row.mean)))
        ends = "" if one.method == NEVER or one.infinite else f" {catalogue.estimate(one)[1]}".rstrip()
        note = f" ({row.note})" if row.note else ""
        lines.append(f"{row.standing}: {row.strategy}, {row.threshold}: {catalogue.number(row.mean)}{ends}{note}")
    return lines


def _interval(mean: float, low: float, high: float, n: int, metric: str, infinite: int) -> Interval:
    """The interval again, of which a table holds the figures alone."""
    kind = kind_of(metric)
    never = (
        kind in ("count", "share") and low != high and ((mean == 0 == low) or (kind == "share" and mean == 1 == high))
    )
    return Interval(mean, low, high, n, NEVER if never else EQUAL if low == high else "", infinite)
