"""A validation for people: the table of predicted beside measured, what was missed, what the model leaves out, and one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.errors import ScenarioError
from simtx.listing import aligned
from simtx.protocols.registry import label
from simtx.report import footer
from simtx.report.footer import footed
from simtx.report.pictures import canvas
from simtx.report.style import FAULT, FORCED, context, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
_MISSED: Final = "MISSED"
_READING: Final = "mean ± half-width of the 95 % interval over the runs; errors too, and both sides have the same seeds"
_HEAD: Final = ("figure", "predicted", "measured", "error", "target", "")


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def _signed(error: float) -> str:
    return f"{100 * error:+.1f} %".replace("-", "−") if math.isfinite(error) else "-"


def _cells(row: Any) -> tuple[str, ...]:
    scale = 100.0 if row.metric in _PERCENT else 1.0

    def estimate(name: str) -> str:
        mean, low = getattr(row, name) * scale, getattr(row, f"{name}_low") * scale
        return _number(mean) if math.isnan(low) else f"{_number(mean)} ± {_number(mean - low)}"

    half = (row.error_high - row.error_low) / 2
    error = _signed(row.error)
    if math.isfinite(half) and error != "-":
        error = error.replace(" %", f" ± {100 * half:.1f} %")
    target = "" if row.target is None else "inside" if row.target == "inside" else f"{100 * row.target:.0f} %"
    met = "" if row.met is None else "met" if row.met else _MISSED
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
            f"{_title(row.point, row.rate)}: {name}: {predicted} against {measured}, {f'{error} off, ' if error != '-' else ''}not {goal}"
        )
    return lines


def text(validation: Any) -> str:
    """The table in plain text."""
    lines = [f"predicted beside measured: {_where(validation)}", _READING]
    points = _points(validation.frame)
    table = iter(aligned([cells for _, rows in points for cells in (_HEAD, *rows)], indent="  ", right=1))
    for title, rows in points:
        lines += ["", title, *islice(table, 1 + len(rows))]
    lines.append("")
    for heading, below in _closing(validation):
        lines += [heading, *(f"- {line}" for line in below)]
    return "\n".join(lines)


def _closing(validation: Any) -> list[tuple[str, list[str]]]:
    """Headings and what stands below them: what was missed, what the model leaves out."""
    misses = missed(validation)
    count = f"{len(misses)} target{'s' * (len(misses) > 1)} missed:" if misses else "every target is met"
    repeated = [
        f"{row.run}: {_disturbance(row)}{'' if row.repeated else ', not repeated again'}"
        for row in validation.disturbed.itertuples()
    ]
    stalls = (
        [("runs that something else on the machine disturbed, and which were repeated:", repeated)] if repeated else []
    )
    return [
        (count, misses),
        *stalls,
        ("the model leaves out:", list(validation.left_out)),
        *([("where it comes from:", footer.lines(validation))] if validation.provenance is not None else []),
    ]


def _disturbance(row: Any) -> str:
    if math.isnan(row.slower):
        return f"it stood still for {1000 * row.stall:.0f} ms"
    return f"forced writes took {row.slower:.1f} times as long as in the quietest run"


def html(validation: Any) -> str:
    """The table for a notebook."""
    parts = [f"<h4>predicted beside measured: {escape(_where(validation))}</h4>", f"<p>{escape(_READING)}</p>"]
    for title, rows in _points(validation.frame):
        head = "".join(f"<th>{escape(cell)}</th>" for cell in _HEAD)
        body = "".join(_row(cells) for cells in rows)
        parts.append(f"<p><b>{escape(title)}</b></p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    for heading, lines in _closing(validation):
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(f"<p>{escape(heading)}</p>" + (f"<ul>{items}</ul>" if items else ""))
    return "".join(parts)


def _row(cells: Sequence[str]) -> str:
    shown = (f"<b>{escape(cell)}</b>" if cell == _MISSED else escape(cell) for cell in cells)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in shown)}</tr>"


@footed
def plot(validation: Any, metrics: Sequence[str] = ("latency_mean_ms", "latency_p95_ms", "latency_p99_ms")) -> Figure:
    """Figures over load, one panel each: lines and bands for the prediction, points and bars for the measurement.

    Args:
        validation: A `simtx.validation.Validation`.
        metrics: Which figures, names as in `Validation.frame`.

    Raises:
        ScenarioError: There is no such figure, or the validation has no loads.
    """
    import matplotlib.pyplot as plt

    for metric in metrics:
        if metric not in LABELS:
            raise ScenarioError(f"there is no figure '{metric}'; there are {', '.join(LABELS)}", "metrics")
    with context():
        figure, axes = plt.subplots(
            1, len(metrics), figsize=(3.5 * len(metrics) + 0.4, 3.9), layout="constrained", squeeze=False
        )
        for ax, metric in zip(axes[0], metrics, strict=True):
            panel(validation, metric, ax=ax)
        axes[0][len(metrics) // 2].set_xlabel("transactions a second, and their share of the predicted saturation")
        figure.suptitle(
            f"Predicted and measured: {_where(validation)}", fontsize=11, fontweight="bold", x=0.01, ha="left"
        )
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=2)
    return figure


@footed
def panel(validation: Any, metric: str, *, ax: Axes | None = None) -> Axes:
    """One figure over load; above each measurement the error of the prediction, with a cross where a target was missed.

    A bar or band that runs out of the picture belongs to an interval much wider than the figure is large: there were too few runs.

    Args:
        validation: A `simtx.validation.Validation`.
        metric: Which figure.
        ax: Where to draw; None: a new picture.

    Raises:
        ScenarioError: The validation has no loads.
    """
    import matplotlib.pyplot as plt

    frame = validation.frame
    rows = frame[(frame["metric"] == metric) & ~frame["point"].isin(["failure", "saturation"])].sort_values("rate")
    if rows.empty:
        raise ScenarioError("nothing to draw: the validation has no loads, only a failure or saturation", "loads")
    scale = 100.0 if metric in _PERCENT else 1.0
    with context():
        if ax is None:
            _, ax = plt.subplots(figsize=(3.9, 3.9), layout="constrained")
        _panel(ax, rows, scale, look(validation.strategy.name).colour)
        ax.set_title(LABELS[metric], pad=20)
    return ax


def _panel(ax: Axes, rows: Any, scale: float, colour: str) -> None:
    x = rows["rate"].to_numpy(float)
    known = {
        name: scale * rows[name].to_numpy(float)
        for side in ("predicted", "measured")
        for name in (side, f"{side}_low", f"{side}_high")
    }
    predicted, measured = known["predicted"], known["measured"]
    margin = 0.18 * (x[-1] - x[0]) if len(x) > 1 else 0.5 * x[0]
    # beyond the first and the last load the line goes on level, or a single load would show none
    wide = np.array([x[0] - margin / 2, *x, x[-1] + margin / 2])
    line, low, high = (np.pad(known[name], 1, mode="edge") for name in ("predicted", "predicted_low", "predicted_high"))
    ax.fill_between(wide, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(wide, line, color=colour, label="line and band: the simulator, mean and 95 % interval over the runs")
    spread = [measured - known["measured_low"], known["measured_high"] - measured]
    ax.errorbar(
        x,
        measured,
        yerr=np.nan_to_num(spread),
        fmt="o",
        color=FORCED,
        mfc="white",
        lw=1.2,
        label="point and bar: this machine, likewise; above it: error of the prediction",
    )
    top = 2.0 * float(np.nanmax([*predicted, *measured, 0.0])) or 1.0
    ends = [value for name in known for value in known[name] if value <= top]
    ax.set_ylim(0, min(top, 1.12 * max(ends, default=top)) or top)
    ax.set_xlim(x[0] - 1.2 * margin, x[-1] + 1.2 * margin)
    ax.set_xticks(x, [f"{rate:.3g}\n{100 * float(point):.0f} %" for rate, point in zip(x, rows["point"], strict=True)])
    for place, error, met in zip(x, rows["error"], rows["met"], strict=True):
        if math.isfinite(error):
            missing = met is not None and not met
            looks = {
                "fontsize": 8.5,
                "color": FAULT if missing else FORCED,
                "fontweight": "bold" if missing else "normal",
            }
            said, at = f"{_signed(error)}{' ✗' if missing else ''}", ax.get_xaxis_transform()
            canvas.beside(
                ax, said, (place, 1.0), (0, 4), at=at, ha="center", va="bottom", **looks
            )  # where no bar reaches
