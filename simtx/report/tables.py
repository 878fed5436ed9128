"""Results as tables that a person can read, on a terminal or in a notebook: units, intervals, and what an answer promises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from simtx.banner import banner
from simtx.banner import marked as marked_html
from simtx.metrics.censored import longer_than
from simtx.metrics.intervals import EQUAL, Interval
from simtx.metrics.timeouts import marked, timeouts
from simtx.protocols.extras import extras
from simtx.report import catalogue, style
from simtx.report.catalogue import Metric

MEANS: Final = "an answer to the client means"
RELIABLE: Final = 10
"""Runs from which on intervals of skewed figures were found to contain the true mean as often as they say; docs/statistics.md."""
FEW_RUNS: Final = (
    f"fewer than {RELIABLE} runs: intervals of skewed figures contain the true mean less often than they say"
)


@dataclass(slots=True)
class Row:
    """One line of a table.

    Attributes:
        metric: What it shows.
        label: Label with the unit.
        cells: Mean and interval as text, and the interval, by column.
        marks: By column: the timeout that the figure sits on, if it does.
    """

    metric: Metric
    label: str
    cells: list[tuple[str, str, Interval]]
    marks: list[str]


def rows(comparison: Any, metrics: Sequence[str] | None = None, confidence: float = 0.95) -> list[Row]:
    """The lines of a comparison's table, in the order of the catalogue.

    Args:
        comparison: A `simtx.Comparison`.
        metrics: Names of metrics; None: all that have something to show.
        confidence: Coverage of the intervals.
    """
    unasked = [name for name, one in catalogue.METRICS.items() if one.listed and name in comparison.metrics]
    unasked += [name for name in comparison.metrics if catalogue.of_beside(name)]
    chosen = unasked if metrics is None else list(metrics)
    frame = comparison.frame
    known = {name: timeouts(comparison.scenario, one) for name, one in comparison.objects.items()}
    watched = [watched_ms(comparison, strategy) for strategy in comparison.strategies]
    lines = []
    for name in chosen:
        shown = catalogue.metric(name)
        estimates = [comparison.interval(strategy, name, confidence) for strategy in comparison.strategies]
        if metrics is None and not shown.always and not any(one.mean for one in estimates if one.n):
            continue
        cells = [
            (*catalogue.estimate(one, shown.scale, longest, shown.endless), one)
            for one, longest in zip(estimates, watched, strict=True)
        ]
        marks = [
            marked(name, frame.loc[frame["strategy"] == strategy, name], known[strategy]) if one.n else ""
            for strategy, one in zip(comparison.strategies, estimates, strict=True)
        ]
        text = catalogue.unit(shown, comparison.scenario)
        lines.append(Row(shown, f"{shown.label} [{text}]" if text else shown.label, cells, marks))
    return lines


def watched_ms(comparison: Any, strategy: str) -> float:
    """Time for which every measured transaction of every run of a strategy was watched, in milliseconds; NaN if that is not known."""
    frame = comparison.frame
    frame = frame[frame["strategy"] == strategy]
    return float(frame["watched_ms"].min()) if "watched_ms" in frame and len(frame) else math.nan


def notes(comparison: Any, lines: Sequence[Row], confidence: float = 0.95) -> list[str]:
    """Notes under the table."""
    finished = {name: int((comparison.frame["strategy"] == name).sum()) for name in comparison.strategies}
    sizes = sorted(set(finished.values()))
    count = (
        f"{sizes[0]} runs" if len(sizes) == 1 else ", ".join(f"{name} {n}" for name, n in finished.items()) + " runs"
    )
    said = [f"mean [{100 * confidence:g} % confidence interval] over {count} of each strategy"]
    if len(sizes) > 1:
        said[0] = f"mean [{100 * confidence:g} % confidence interval] over independent runs: {count}"
    if max(sizes, default=0) < 2:
        said[0] = "one run of each strategy: no intervals; an interval needs at least two runs, and ten to be relied on"
    elif min(sizes) < RELIABLE:
        said.append(FEW_RUNS)
    if comparison.stopping is not None:
        said.append(
            f"intervals hold although the runs were looked at before they ended ({comparison.stopping.rule}): {comparison.stopping}"
        )
    estimates = [one for row in lines for _, _, one in row.cells]
    if any(one.never and not one.mean for one in estimates):
        said.append(
            f"[≤ k in n runs]: seen in no run; with {100 * confidence:g} % confidence no more than k of n runs have any"
        )
    if any(one.never and one.mean for one in estimates):
        said.append(
            f"[≥ k in n runs]: all of it in every run; with {100 * confidence:g} % confidence so it is in at least k of n runs"
        )
    if any(one.method == EQUAL for one in estimates):
        said.append("no brackets: the same in every run")
    if any(one.infinite for one in estimates):
        said.append(
            "> t: had not ended when the run ended, in so many of the runs; every measured transaction of that strategy was watched for t at least, "
            "so that it may lie above larger figures of others"
        )
    if any(mark for row in lines for mark in row.marks):
        said.append("= or ≈ NAME: the figure is this timeout of the configuration, and says nothing about speed")
    if len(set(comparison.promises.values())) > 1:
        said.append(
            "strategies that only accept answer before the outcome is known: compare 'request to final outcome' with the others' answers"
        )
    unanswered = comparison.frame.get("unanswered_share", ())
    said.append(clients(comparison.scenario, comparison.objects, unanswered))
    gaps: dict[str, list[str]] = {}
    empty = _empty(comparison)
    said += [
        f"{k} of {finished[name]} runs of {name} measured no transaction: its figures are those of the others"
        for name, k in empty.items()
    ]
    for row in lines:
        for name, (_, _, one) in zip(comparison.strategies, row.cells, strict=True):
            n = one.n
            if n == 0 and finished[name]:
                gaps.setdefault(row.metric.absent, []).append(f"{row.metric.label} ({name})")
            elif n < finished[name] - empty.get(name, 0):
                said.append(
                    f"{row.metric.label} of {name}: over the {n} of {finished[name]} runs that have a value ({row.metric.absent} in the others)"
                )
    for reason, names in gaps.items():
        every = len(comparison.strategies)
        labels = list(dict.fromkeys(name.rsplit(" (", 1)[0] for name in names))
        listed = "; ".join(labels if len(names) == every * len(labels) else names)
        said.append(f"–: {reason}: {listed}")
    return [*said, *comparison.provenance.lines()]


def _empty(comparison: Any) -> dict[str, int]:
    """Number of the runs of each strategy that measured nothing, where any did."""
    frame = comparison.frame
    if "transactions" not in frame:
        return {}
    counts = frame[frame["transactions"] == 0]["strategy"].value_counts()
    return {name: int(counts[name]) for name in comparison.strategies if name in counts}


def clients(scenario: Any, strategies: Mapping[str, Any], unanswered: Iterable[float]) -> str:
    """Behaviour of clients without an answer, in one line; by name, the strategies under which they could not do all of it.

    Args:
        scenario: What was played.
        strategies: Strategies by label.
        unanswered: Shares of transactions without an answer: if any is there, the line says which requests nobody has repeated.
    """
    said: str = scenario.clients.describe()
    if scenario.clients.ask_again == "unanswered":
        careful = [name for name, one in strategies.items() if not extras(one).recognises_requests]
        if careful:
            said += f"; under {', '.join(careful)}, which may start a transaction again, only when their request has reached nobody"
    else:
        careful = list(strategies) if scenario.clients.ask_again == "unreached" else []
    crashes = any(fault.kind == "crash" for fault in scenario.faults)
    if careful and crashes and any(share > 0 for share in unanswered):
        said += f"; a request that a node {'there ' if len(careful) < len(strategies) else ''}has received, and lost in a crash, stays unanswered"
    return said


def text(comparison: Any, *, metrics: Sequence[str] | None = None, confidence: float = 0.95) -> str:
    """The table of a comparison for a terminal; see `rows`."""
    lines = rows(comparison, metrics, confidence)
    scenario, names = comparison.scenario, comparison.strategies
    label = max([len(row.label) + 2 for row in lines] + [len(MEANS)])
    halves = [
        (
            max((len(row.cells[i][0]) for row in lines), default=1),
            max((len(row.cells[i][1]) for row in lines), default=1),
        )
        for i in range(len(names))
    ]
    promises = [catalogue.ANSWER_MEANS[comparison.promises[name]] for name in names]
    marks = [max((len(row.marks[i]) + 1 for row in lines if row.marks[i]), default=0) for i in range(len(names))]
    widths = [
        max(left + 1 + right + mark, len(name), len(promise))
        for (left, right), mark, name, promise in zip(halves, marks, names, promises, strict=True)
    ]

    def line(first: str, cells: Sequence[str]) -> str:
        return "  ".join(
            [f"{first:<{label}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))]
        ).rstrip()

    def cell(row: Row, position: int) -> str:
        left, right = halves[position]
        mean, ends, _ = row.cells[position]
        beside = f" {row.marks[position]}" if row.marks[position] else ""
        return f"{mean:>{left}} {ends:<{right}}{beside:<{marks[position]}}"

    out = [f"{scenario.title} ({scenario.name})", "", line("", names), line(MEANS, promises)]
    group = ""
    for row in lines:
        if row.metric.group != group:
            group = row.metric.group
            out += ["", group]
        out.append(line(f"  {row.label}", [cell(row, position) for position in range(len(row.cells))]))
    return "\n".join([*out, "", *notes(comparison, lines, confidence)])


def html(comparison: Any, *, metrics: Sequence[str] | None = None, confidence: float = 0.95) -> str:
    """The table of a comparison for a notebook: one line a strategy first says what an answer promises; see `rows`."""
    lines = rows(comparison, metrics, confidence)
    looks = style.looks(comparison.strategies)
    right = "text-align:right;padding:1px 10px;white-space:nowrap"
    left = "text-align:left;padding:1px 10px 1px 18px;white-space:nowrap"
    heads = "".join(
        f"<th style='{right}'><span style='color:{looks[name].colour}'>&#9632;</span> {escape(name)}</th>"
        for name in comparison.strategies
    )
    promises = "".join(
        f"<td style='{right}'><i>{catalogue.ANSWER_MEANS[comparison.promises[name]]}</i></td>"
        for name in comparison.strategies
    )
    body = [f"<tr><td style='{left}'><i>{MEANS}</i></td>{promises}</tr>"]
    group = ""
    for row in lines:
        if row.metric.group != group:
            group = row.metric.group
            body.append(
                f"<tr><th colspan='{1 + len(row.cells)}' style='text-align:left;padding:6px 10px 1px'>{escape(group)}</th></tr>"
            )
        cells = "".join(
            f"<td style='{right}'>{escape(mean)}"
            + (f" <span style='opacity:.65'>{ends}</span>" if ends else "")
            + (f" <i>{escape(mark)}</i>" if mark else "")
            + "</td>"
            for (mean, ends, _), mark in zip(row.cells, row.marks, strict=True)
        )
        body.append(f"<tr><td style='{left}'>{escape(row.label)}</td>{cells}</tr>")
    warnings = "".join(f"<p><b>Warning:</b> {escape(note)}</p>" for note in comparison.warnings)
    said = "".join(f"<br>{escape(note)}" for note in notes(comparison, lines, confidence))
    return (
        f"<h4>{escape(comparison.scenario.title)}</h4>{warnings}"
        f"<table style='border-collapse:collapse'><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"<p style='opacity:.75;font-size:smaller'>{said.removeprefix('<br>')}</p>"
    )


def run_text(run: Any) -> str:
    """The summary of one run for a terminal: one number a metric, with its unit, and what an answer promises."""
    listed, absent = _listed(run)
    lines = [(shown.group, shown.label, *figure(run, shown)) for shown, _ in listed]
    label = max(len(line[1]) for line in lines) + 2
    values = max(len(line[2]) for line in lines)
    out = [
        f"{run.scenario.title} ({run.scenario.name}) under {run.strategy.name}, seed {run.seed}, replication {run.replication}",
        *_measured(run),
        *([f"VIOLATED: {violated(run)}"] if run.violations else []),
        *(f"WRONG at the end: {'; '.join(bad)}" for bad in [wrong(run)] if bad),
    ]
    group = ""
    for heading, name, number, unit in lines:
        if heading != group:
            group = heading
            out += ["", group]
        out.append(f"  {name:<{label}}{number:>{values}} {unit}".rstrip())
    return "\n".join([*out, "", *_foot(run, absent)])


def _measured(run: Any) -> list[str]:
    """Say how many transactions were measured, what an answer means, and what clients do without one."""
    summary = run.summary
    return [
        f"{int(summary['transactions']):,} transactions measured; {MEANS}: {catalogue.ANSWER_MEANS[run.promise]}",
        clients(run.scenario, {run.strategy.name: run.strategy}, [summary["unanswered_share"]]),
    ]


def _listed(run: Any) -> tuple[list[tuple[Metric, float]], list[str]]:
    """Metrics that the summary of a run shows, with their values; and those of them without a value, a line for each reason."""
    found: list[tuple[Metric, float]] = []
    absent: dict[str, list[str]] = {}
    for name, shown in catalogue.METRICS.items():
        if name not in run.summary or not shown.listed:
            continue
        value = float(run.summary[name])
        if not shown.always and (not value or math.isnan(value)):
            continue
        if math.isnan(value):
            absent.setdefault(shown.absent, []).append(shown.label)
        found.append((shown, value))
    return found, [f"–: {reason}: {'; '.join(names)}" for reason, names in absent.items()]


def _foot(run: Any, absent: Sequence[str]) -> list[str]:
    """Lines below the figures of a run: what they leave out, and where they come from."""
    return [*absent, *_killed(run), f"digest {run.digest}", *run.provenance.lines()]


def _killed(run: Any) -> list[str]:
    """Say what a figure of a real run leaves out whose processes were killed."""
    killed = run.data.origin is not None and any(one.kind == "crash" for one in run.data.struck)
    return (
        ["row locks held: without those of a process that was killed, which can no longer say for how long"]
        if killed
        else []
    )


def violated(run: Any) -> str:
    """Violations of the strategy's guarantees by a run, in one line."""
    counts = run.data.broken_counts
    names = dict.fromkeys(one.property for one in run.violations)
    told = ", ".join(f"{name} ({counts.get(name, 1):,})" for name in names)
    return f"although {run.strategy.name} guarantees them: {told}; run.violations and --violations tell the stories"


def wrong(run: Any) -> list[str]:
    """Damage at the end of a run, in a few words each; empty if there is none."""
    summary = run.summary
    found = []
    for name, words in _WRONG.items():
        value = float(summary[name])
        if value > 0:
            unit = run.drift_unit if name == "residual_divergence" else ""
            found.append(f"{words}: {catalogue.number(value)} {unit}".rstrip())
    return [*found, *run.data.bounds_violated]


_WRONG: Final = {
    "missing_effects": "effects missing",
    "duplicate_effects": "effects doubled",
    "residual_divergence": "divergence",
    "stuck_count": "stuck, waiting for an operator",
    "incomplete_count": "ended half done",
}


def run_html(run: Any) -> str:
    """The summary of one run for a notebook: what is wrong first, then one number a metric, in groups, with its unit."""
    bad = wrong(run)
    head = f"{run.scenario.title or run.scenario.name}: {run.strategy.name}"
    parts = [f"<h4>{escape(head)}</h4>", f"<p>{escape('; '.join(_measured(run)))}</p>"]
    if run.violations:
        parts.append(banner(False, f"VIOLATED: {violated(run)}"))
    if bad:
        parts.append(banner(False, f"wrong at the end: {'; '.join(bad)}"))
    parts += [f"<p><b>Warning:</b> {escape(note)}</p>" for note in run.warnings if note not in run.data.bounds_violated]
    left, right = (
        f"text-align:{side};padding:1px 10px 1px {pad}px;white-space:nowrap"
        for side, pad in (("left", 18), ("right", 0))
    )
    body, group = [], ""
    listed, absent = _listed(run)
    for shown, value in listed:
        if shown.group != group:
            group = shown.group
            body.append(f"<tr><th colspan='3' style='text-align:left;padding:6px 10px 1px'>{escape(group)}</th></tr>")
        number, unit = figure(run, shown)
        cell = marked_html(False, number) if shown.name in _WRONG and value > 0 else escape(number)
        body.append(
            f"<tr><td style='{left}'>{escape(shown.label)}</td><td style='{right}'>{cell}</td><td style='text-align:left'>{escape(unit)}</td></tr>"
        )
    return "".join(
        [
            *parts,
            f"<table style='border-collapse:collapse'><tbody>{''.join(body)}</tbody></table>",
            f"<p style='opacity:.75;font-size:smaller'>{'<br>'.join(map(escape, _foot(run, absent)))}</p>",
        ]
    )


_TRANSACTIONS: Final = 12  # rows of an event log's table


def trace_html(trace: Any) -> str:
    """An event log for a notebook: its transactions, those that are undecided first, then the slowest; and how to draw one."""
    rows = trace.overview()
    if rows.empty:
        return f"<p>{len(trace):,} entries, of no transaction</p>"
    shown = rows.head(_TRANSACTIONS)
    right = "text-align:right;padding:1px 12px 1px 0"
    heads = ("transaction", "arrival [s]", "outcome", "decided after [ms]", "entries", "messages", "timeouts", "lost")
    head = "".join(f"<th style='{right}'>{one}</th>" for one in heads)
    body = []
    for row in shown.itertuples(index=False):
        outcome = escape(row.outcome) if row.outcome else marked_html(False, "undecided")
        cells = (
            row.tx,
            f"{row.arrival_s:,.3f}",
            outcome,
            catalogue.number(row.decision_ms),
            row.entries,
            row.messages,
            row.timeouts,
            row.lost,
        )
        body.append(f"<tr>{''.join(f'<td style={right!r}>{cell}</td>' for cell in cells)}</tr>")
    undecided = int((rows["outcome"] == "").sum())
    which = f"the {undecided:,} undecided first, then the slowest" if undecided else "the slowest first"
    rest = f"; {len(rows) - len(shown):,} more in .overview()" if len(rows) > len(shown) else ""
    return (
        f"<p>{len(trace):,} entries of {len(rows):,} transactions, {which}{rest}; "
        f'draw: <code>.diagram({int(shown["tx"].iloc[0])})</code>, or <code>.diagram("slowest")</code></p>'
        f"<table style='border-collapse:collapse'><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def figure(run: Any, shown: Metric) -> tuple[str, str]:
    """One number of a run's summary as (figure, unit); the unit has the name of the timeout that the figure sits on."""
    summary = run.summary
    value = float(summary[shown.name])
    if math.isinf(value) and shown.endless:
        return shown.endless, ""
    if math.isinf(value) and shown.unit == "ms":
        number, _, unit = longer_than(float(summary["watched_ms"])).rpartition(" ")
        return number, unit
    unit = catalogue.unit(shown, run.scenario)
    sits = marked(shown.name, [value], timeouts(run.scenario, run.strategy))
    return catalogue.number(value * shown.scale), f"{unit} {sits}".rstrip()
