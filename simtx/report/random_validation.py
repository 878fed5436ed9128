"""A validation over drawn scenarios for people: how far predictions were off, each scenario, and one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.errors import ScenarioError
from simtx.listing import aligned
from simtx.report.footer import footed
from simtx.report.style import context, look
from simtx.report.validation import LABELS
from simtx.views import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN: Final = ("latency_mean_ms", "latency_p95_ms", "latency_p99_ms", "window_mean_ms", "drift_gross_mean")
_FAR: Final = 100  # per cent from which on the axis is partly logarithmic
_NEAR: Final = 20  # per cent up to which it is not
_MARKS: Final = {"2pc": "o", "saga": "s", "outbox": "^"}


def _percent(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−") if math.isfinite(value) else "-"


def _error(value: float, low: float, high: float) -> str:
    """An error and half the width of its interval."""
    half = (high - low) / 2
    return _percent(value) + (f" ± {100 * half:.1f}" if math.isfinite(half) else "")


def text(validation: Any) -> str:
    """The errors of each figure, then each scenario, the worst first."""
    frame = validation.frame
    count, apart = frame["number"].nunique(), frame[frame["disturbed"]]["number"].nunique()
    lines = [
        f"predicted beside measured: {count} drawn scenarios of seed {validation.seed}, {validation.store}, {validation.broker} broker",
        "errors of the prediction in %: predicted over measured, minus 1, with half the width of the 95 % interval (both sides have the same seeds)",
    ]
    if apart:
        lines.append(
            f"{apart} of them were disturbed: the machine stood still or its disk was slow; they are listed and do not count"
        )
    rows: list[tuple[str, ...]] = [
        ("figure", "target", "met", "undecided", "median size", "90 % below", "worst", "in", "")
    ]
    for one in validation.targets.itertuples():
        where = "" if one.point == "load" else ", at saturation"
        rows.append(
            (
                LABELS[one.metric] + where,
                f"inside {one.within} in {one.wanted:.0%}"
                if one.within[0] == "t"
                else f"{one.within} in {one.wanted:.0%}",
                f"{one.met} of {one.of}",
                str(one.undecided) if one.within[0] != "t" else "-",
                _percent(one.median).lstrip("+"),
                _percent(one.p90).lstrip("+"),
                _percent(one.worst),
                f"#{one.worst_number}" if one.worst_number >= 0 else "-",
                "met" if one.ok else "MISSED",
            )
        )
    lines += ["", *aligned(rows, indent="  "), "", "the scenarios, the worst first:"]
    worst = view("random-validation-worst")(frame, _SHOWN[:3])
    rows = [("#", "strategy", "load", "failure", "mean", "p95", "p99", "window", "drift", "saturation", "shape", "")]
    rows += [
        (
            str(one["number"]),
            one["strategy"],
            f"{one['load']:.0%}",
            one["failure"] or "-",
            *(_error(*(one.get(metric + end, math.nan) for end in ("", "_low", "_high"))) for metric in _SHOWN),
            _percent(one["saturation"]),
            one["shape"],
            "disturbed" if one["disturbed"] else "",
        )
        for one in worst.to_dict(orient="records")
    ]
    return "\n".join([*lines, *aligned(rows, indent="  ")])


@footed
def plot(validation: Any, *, ax: Axes | None = None) -> Axes:
    """Errors of each figure, one mark a scenario; the band of each target is shaded.

    Args:
        validation: A `simtx.RandomValidation`.
        ax: Where to draw; None: a new picture.

    Raises:
        ScenarioError: It has no scenarios.
    """
    import matplotlib.pyplot as plt

    frame = validation.frame
    if frame.empty:
        raise ScenarioError("nothing to draw: the validation has no scenarios", "scenarios")
    judged = validation.targets
    with context():
        if ax is None:
            _, ax = plt.subplots(figsize=(8.6, 4.4), layout="constrained")
        rng = np.random.default_rng(0)
        for place, target in enumerate(judged.itertuples()):
            rows = frame[(frame["metric"] == target.metric) & (frame["point"] == target.point)]
            if target.within[0] != "t":
                reach = float(target.within.rstrip("%"))
                ax.fill_between([place - 0.4, place + 0.4], -reach, reach, color="0.85", lw=0, zorder=0)
            for name, own in rows.groupby("strategy"):
                at = place + rng.uniform(-0.25, 0.25, len(own))
                ax.vlines(
                    at, 100 * own["error_low"], 100 * own["error_high"], color=look(str(name)).colour, lw=0.7, alpha=0.5
                )
                ax.scatter(
                    at,
                    100 * own["error"],
                    marker=_MARKS.get(str(name), "D"),
                    s=26,
                    facecolors=["none" if one else look(str(name)).colour for one in own["disturbed"]],
                    edgecolors=look(str(name)).colour,
                    label=str(name) if place == 0 else None,
                    zorder=3,
                )
            ax.annotate(
                f"{target.met} of {target.of}",
                (place, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=8,
            )
        ax.axhline(0, color="0.4", lw=0.8)
        ax.set_xticks(range(len(judged)), [_label(target) for target in judged.itertuples()], fontsize=8)
        ax.set_ylabel("error of the prediction [%]")
        if (100 * frame["error"].abs()).max() > _FAR:  # one that is far off leaves the others their room
            ax.set_yscale("symlog", linthresh=_NEAR, linscale=2)
            ax.set_yticks([-1000, -100, -_NEAR, -10, 0, 10, _NEAR, 100, 1000], minor=False)
            ax.yaxis.set_major_formatter(lambda value, _: f"{value:+,.0f}" if value else "0")
            far = 100 * frame["error"]
            ax.set_ylim(min(far.min(), -_NEAR) * 1.5, far.max() * 1.5)
            ax.set_ylabel(f"error [%], logarithmic beyond ± {_NEAR}")
        missed = int((~judged["ok"]).sum())
        said = "all targets met" if not missed else f"{missed} of {len(judged)} targets missed"
        ax.set_title(
            f"{frame['number'].nunique()} scenarios that nobody chose: {said}\n"
            f"shaded: target; above: how many meet it; lines: 95 %; hollow: disturbed; {validation.store}, seed {validation.seed}",
            loc="left",
            fontsize=10,
            pad=16,
        )
        ax.legend(loc="best", fontsize=8)
    return ax


def _label(target: Any) -> str:
    name = LABELS[target.metric].replace(", ", ",\n")
    return name + (
        "\nat saturation" if target.point == "saturation" else "\n(inside interval)" if target.within[0] == "t" else ""
    )
