"""A validation for people: the table of predicted beside measured, what was missed, what the model leaves out, and one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.protocols.registry import label
from simtx.report.style import MUTED, context, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS: Final[dict[str, str]] = {
    "latency_mean_ms": "latency, mean [ms]",
    "latency_p50_ms": "latency, p50 [ms]",
    "latency_p95_ms": "latency, p95 [ms]",
    "latency_p99_ms": "latency, p99 [ms]",
    "throughput_per_s": "throughput [1/s]",
    "undone_share": "aborted or compensated [%]",
    "window_mean_ms": "inconsistency window, mean [ms]",
    "drift_gross_mean": "drift in flight, mean",
}
_PERCENT: Final = frozenset({"undone_share"})
_HEAD: Final = ("figure", "predicted", "measured", "error", "target", "")


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def _cells(row: Any) -> tuple[str, ...]:
    scale = 100.0 if row.metric in _PERCENT else 1.0

    def estimate(name: str) -> str:
        mean, low = getattr(row, name) * scale, getattr(row, f"{name}_low") * scale
        return _number(mean) if math.isnan(low) else f"{_number(mean)} ± {_number(mean - low)}"

    error = "-" if not math.isfinite(row.error) else f"{100 * row.error:+.1f} %"
    target = "" if row.target is None else "inside" if row.target == "inside" else f"{100 * row.target:.0f} %"
    met = "" if row.met is None else "met" if row.met else "MISSED"
    return LABELS[row.metric], estimate("predicted"), estimate("measured"), error, target, met


def _title(point: str, rate: float) -> str:
    if point == "saturation":
        return "saturation: as many transactions as its users can ask for"
    if point == "failure":
        return f"one node killed for a second, at {rate:.3g} transactions a second"
    return f"{100 * float(point):.0f} % of saturation: {rate:.3g} transactions a second"


def _points(frame: Any) -> list[tuple[str, list[tuple[str, ...]]]]:
    found = []
    for point in dict.fromkeys(frame["point"]):
        rows = [row for row in frame.itertuples() if row.point == point]
        found.append((_title(point, rows[0].rate), [_cells(row) for row in rows]))
    return found


def _where(validation: Any) -> str:
    over = f", {validation.broker}" if validation.strategy.uses_broker else ""
    return f"{label(validation.strategy)} on {validation.scenario.name}, {validation.store}{over}"


def missed(validation: Any) -> list[str]:
    """One line for each target that was missed, and by how much."""
    lines = []
    for row in validation.missed.itertuples():
        name, predicted, measured, error, target, _ = _cells(row)
        goal = "inside the measured interval" if target == "inside" else f"within {target}"
        lines.append(
            f"{_title(row.point, row.rate)}: {name} is {error} off ({predicted} against {measured}), not {goal}"
        )
    return lines


def text(validation: Any) -> str:
    """The table in plain text."""
    lines = [f"predicted beside measured: {_where(validation)}", "mean ± half-width of the 95 % interval over the runs"]
    points = _points(validation.frame)
    widths = [max(len(cells[column]) for _, rows in points for cells in (*rows, _HEAD)) for column in range(6)]
    for title, rows in points:
        lines += ["", title]
        for cells in (_HEAD, *rows):
            first, *rest = (
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            lines.append("  ".join([f"  {first}", *rest]).rstrip())
    return "\n".join([*lines, "", *_closing(validation)])


def _closing(validation: Any) -> list[str]:
    failures = missed(validation)
    lines = (
        ["every target is met"]
        if not failures
        else [f"{len(failures)} targets missed:", *(f"- {one}" for one in failures)]
    )
    return [*lines, "the model leaves out:", *(f"- {one}" for one in validation.left_out)]


def html(validation: Any) -> str:
    """The table for a notebook."""
    parts = [f"<h4>predicted beside measured: {escape(_where(validation))}</h4>"]
    for title, rows in _points(validation.frame):
        head = "".join(f"<th>{escape(cell)}</th>" for cell in _HEAD)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows)
        parts.append(f"<p><b>{escape(title)}</b></p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return "".join([*parts, *(f"<p>{escape(line)}</p>" for line in _closing(validation))])


def plot(
    validation: Any,
    metrics: Sequence[str] = ("latency_mean_ms", "latency_p95_ms", "latency_p99_ms"),
    ax: Axes | None = None,
) -> Axes:
    """Latency over load: lines for the prediction, points with intervals for the measurement.

    Args:
        validation: A `simtx.validation.Validation`.
        metrics: Which figures.
        ax: Where to draw; None: a new figure.
    """
    import matplotlib.pyplot as plt

    with context():
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 4.0))
        frame = validation.frame[~validation.frame["point"].isin(["failure", "saturation"])]
        colour = look(validation.strategy.name).colour
        for position, metric in enumerate(metrics):
            rows = frame[frame["metric"] == metric].sort_values("rate")
            strength = 1.0 - 0.3 * position
            x = rows["rate"].to_numpy()
            ax.plot(x, rows["predicted"], color=colour, alpha=strength, label=f"{LABELS[metric]}: predicted")
            ax.fill_between(x, rows["predicted_low"], rows["predicted_high"], color=colour, alpha=0.12 * strength, lw=0)
            low = rows["measured"] - rows["measured_low"]
            high = rows["measured_high"] - rows["measured"]
            ax.errorbar(
                x,
                rows["measured"],
                yerr=np.nan_to_num([low, high]),
                fmt="osD"[position % 3],
                color=colour,
                alpha=strength,
                mfc="white",
                label=f"{LABELS[metric]}: measured",
            )
        ax.set_xlabel("transactions a second")
        ax.set_ylabel("latency, request to answer [ms]")
        ax.set_ylim(bottom=0)
        ax.set_title(_where(validation))
        ax.legend(title="line and band: simulator; points: this machine", title_fontsize=8, labelcolor=MUTED)
    return ax
