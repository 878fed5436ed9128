"""The pictures of a report, as data URIs: the one place that knows which functions draw them and how they go into a page.

SVG where it is small, else PNG. Letters become outlines, so that a page looks the same wherever it is opened.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from simtx.report import catalogue, plots, style
from simtx.report.pictures import canvas, faults
from simtx.report.pictures.differences import differences
from simtx.report.pictures.distribution import distribution
from simtx.report.pictures.failures import failures
from simtx.report.pictures.over_time import over_time
from simtx.report.review.sentence import supports
from simtx.report.sweep_tables import heading, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.experiments import Comparison, Decision
    from simtx.experiments.sweep import Sweep
    from simtx.metrics.run import Run

_LARGE: Final = 120_000  # bytes of an SVG; a larger one is drawn as dots
_LARGEST: Final = 400_000  # bytes of a timeline
_WIDE: Final = 8.0  # inches
_UNIT: Final = re.compile(r"\s*\n\s*")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a page.

    Attributes:
        src: A data URI.
        alt: What is seen, for those who do not see it.
        caption: What stands below it.
        wide: Whether it needs the width of the page.
    """

    src: str
    alt: str
    caption: str = ""
    wide: bool = False


def embedded(figure: Figure) -> str:
    """A figure as a data URI."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "simtx"}):
        vector = io.BytesIO()
        figure.savefig(vector, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    if vector.tell() <= _LARGE:
        return f"data:image/svg+xml;base64,{base64.b64encode(vector.getvalue()).decode()}"
    dots = io.BytesIO()
    figure.savefig(dots, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(dots.getvalue()).decode()}"


def drawn(draw: Callable[[Axes], Any], size: tuple[float, float], caption: str = "") -> Picture:
    """A picture of one axes.

    Args:
        draw: Draws on it.
        size: Width and height, in inches.
        caption: What stands below it.
    """
    with style.context():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_gid(canvas.OWN)  # the page says where the figures come from
        draw(axes)
        title = _UNIT.sub(" ", axes.get_title(loc="left") or axes.get_title())
        return Picture(embedded(figure), f"{title}. {caption}".strip(), caption, size[0] > _WIDE)


def of_figure(figure: Any, alt: str, caption: str = "") -> Picture:
    """A picture of a figure that a function of ours has made; the figure is closed."""
    import matplotlib.pyplot as plt

    try:
        return Picture(embedded(figure), alt, caption, figure.get_figwidth() > _WIDE)
    finally:
        plt.close(figure)


def of_svg(text: str, alt: str, caption: str) -> Picture | None:
    """A picture that is SVG already; None: too large for a page."""
    if len(text) > _LARGEST:
        return None
    plain = (
        text
        if "xmlns=" in text[: text.index(">")]
        else text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    )
    return Picture(f"data:image/svg+xml;base64,{base64.b64encode(plain.encode()).decode()}", alt, caption)


# --- of a comparison ----------------------------------------------------------------------------------------------------------------


def key(comparison: Comparison, baseline: str) -> list[Picture]:
    """Pictures that a comparison without a sweep shows first: how strategies differ in pairs, and how long it takes.

    Args:
        comparison: The runs.
        baseline: Whom the others are compared with; empty with one strategy.
    """
    found = [drawn(lambda ax: plots.latency(comparison, ax=ax), (7.0, 4.4))]
    if baseline and int(comparison.frame["strategy"].value_counts().min()) > 1:
        height = 1.3 + 4 * (0.62 + 0.22 * (len(comparison.strategies) - 1))
        found.insert(0, drawn(lambda ax: differences(comparison, baseline, ax=ax), (7.0, min(height, 9.0))))
    elif comparison.frame[["missing_effects", "duplicate_effects"]].to_numpy().any():
        found.append(drawn(lambda ax: plots.damage(comparison, ax=ax), (6.0, 3.6)))
    return found


def distributions(played: Sequence[Run]) -> list[Picture]:
    """Draw how long transactions take in one run of each strategy."""
    return [drawn(lambda ax: distribution(played, ax=ax), (7.2, 4.2), "one run of each strategy")]


def over(played: Sequence[Run]) -> list[Picture]:
    """Consistency drift, transactions in flight and answers over time in one run of each strategy."""
    said = "one run of each strategy; shaded: faults; hatched: the time behind the last arrival"
    return [drawn(lambda ax: over_time(played, ax=ax), (9.6, 1.9 + 1.05 * len(played)), said)]


def outages(played: Sequence[Run]) -> list[Picture]:
    """Draw what was down and when, and how each strategy came back; nothing without faults."""
    if not any(run.data.struck for run in played):
        return []
    return [drawn(lambda ax: failures(played, ax=ax), (9.0, 1.6 + 0.75 * len(played)), "one run of each strategy")]


def story(played: Mapping[str, Run], begin: float, end: float, name: str) -> Picture:
    """Draws the time around a fault: transactions without an outcome, and drift, under each strategy.

    Args:
        played: A run by strategy.
        begin: When the fault strikes, in seconds.
        end: When it ends.
        name: What it is called.
    """
    last = max(float(one.timeline["time_s"].iloc[-1]) for one in played.values())
    over = min(end, last)
    room = max(1.0, 0.6 * (over - begin))
    until = min(last, max([over + room, *(_calm(one, over) for one in played.values())]))
    until = min(until, over + 6 * room)  # a recovery that takes much longer is in the table beside it
    with style.context():
        figure = Figure(figsize=(7.6, 2.5), layout="constrained")
        axes = figure.subplots(1, 2)
        looks = style.looks(played)
        for ax, column, label in zip(
            axes, ("undecided", "drift_gross"), ("without an outcome", "gross drift"), strict=True
        ):
            top = 0.0
            for position, (strategy, one) in enumerate(played.items()):
                samples = one.timeline
                time = samples["time_s"].to_numpy()
                values = samples[column].to_numpy(dtype=float)
                inside = (time >= begin - room) & (time <= until)
                look = looks[strategy]
                width = max(1.0, 2.0 - 0.3 * position)
                ax.plot(
                    time[inside], values[inside], color=look.colour, linestyle=look.dashes, lw=width, label=strategy
                )
                top = max(top, float(values[inside].max(initial=0.0)))
            ax.axvspan(begin, over, color=style.FAULT, alpha=0.12, linewidth=0)
            ax.set_xlim(max(0.0, begin - room), until)
            ax.set_ylim(0, 1.08 * top or 1.0)
            ax.set_xlabel(faults.time_label(list(played.values())))
            ax.yaxis.set_major_formatter(FuncFormatter(canvas.tick))
            unit = next(iter(played.values())).drift_unit if column == "drift_gross" else "count"
            ax.set_ylabel(f"{label} [{unit or 'units'}]", fontsize=8.5)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5)
        alt = f"{name}, from {begin:.3g} s to {over:.3g} s: transactions without an outcome and gross drift under each strategy"
        return Picture(embedded(figure), alt)


def _calm(run: Run, end: float) -> float:
    """Time from which nothing is out of balance any more behind a fault."""
    samples = run.timeline
    time = samples["time_s"].to_numpy()
    quiet = (time >= end) & (samples["drift_gross"].to_numpy() <= 1e-9)
    return float(time[int(np.argmax(quiet))]) if quiet.any() else end


# --- of a sweep ---------------------------------------------------------------------------------------------------------------------


def figures(sweep: Sweep, metric: str) -> list[Picture]:
    """The metric over the parameters; none if more of them vary than a picture shows."""
    from simtx.errors import ScenarioError

    label = catalogue.axis_label(metric, sweep.scenario)
    try:
        figure = sweep.plot(metric)
    except ScenarioError:
        return []
    return [
        of_figure(
            figure,
            f"{label} over {', '.join(sweep.parameters)}",
            f"{label}, with 95 % intervals where they are drawn; the picture looks at this metric alone, the decision at the thresholds as well",
        )
    ]


def winners(sweep: Sweep, decisions: Mapping[int, Decision]) -> list[Picture]:
    """Draw who is supported in which cell, over two parameters; none for other numbers of them."""
    varied = [name for name in sweep.parameters if sweep.cells[name].map(str).nunique() > 1]
    if len(varied) != 2:
        return []
    x, y = varied
    cells = sweep.cells
    across, along = _ordered(cells[x].tolist()), _ordered(cells[y].tolist())
    if len(across) > 16 or len(along) > 16:
        return []
    looks = style.looks(sweep.strategies)

    def draw(ax: Axes) -> None:
        done: set[tuple[int, int]] = set()
        for number, one in decisions.items():
            place = across.index(cells.at[number, x]), along.index(cells.at[number, y])
            if place in done:
                continue
            done.add(place)
            known = supports(one)
            colour = looks[one.strategy or ""].colour if known else "white"
            box: dict[str, Any] = {
                "facecolor": colour,
                "alpha": 0.45 if known else 1.0,
                "edgecolor": "#777777",
                "linewidth": 0.5,
            }
            if not known:
                box["hatch"] = "xxxx" if not one.candidates else "////"
            ax.bar(place[0], 1, width=1, bottom=place[1] - 0.5, **box)
            if known and len(across) <= 10:
                ax.text(*place, str(one.strategy), ha="center", va="center", fontsize=8.5)
        ax.set_xticks(range(len(across)), [with_unit(sweep, x, value) for value in across], fontsize=8.5)
        ax.set_yticks(range(len(along)), [with_unit(sweep, y, value) for value in along], fontsize=8.5)
        if len(across) > 7:
            ax.tick_params(axis="x", rotation=45)
        ax.set_xlim(-0.5, len(across) - 0.5)
        ax.set_ylim(-0.5, len(along) - 0.5)
        ax.set_xlabel(heading(sweep, x))
        ax.set_ylabel(heading(sweep, y))
        ax.grid(visible=False)
        ax.set_title("Who the runs support")

    hatched = "striped: undecided; crossed: nobody keeps to the thresholds"
    size = (min(7.6, 2.6 + 0.62 * len(across)), min(6.0, 1.6 + 0.42 * len(along)))
    return [drawn(draw, size, hatched)]


def _ordered(values: Sequence[Any]) -> list[Any]:
    found = list(dict.fromkeys(values))
    numbers = all(isinstance(one, int | float) and math.isfinite(one) for one in found)
    return sorted(found) if numbers else found


def frontier(found: Any) -> Picture:
    """The map of a frontier, or its curve."""
    return drawn(lambda ax: found.plot(ax=ax), (7.2, 4.6))


def sensitivity(found: Any) -> Picture:
    """Distances to the flip if there are any, else the picture of the study's method."""
    axes = found.plot("flips" if found.flips is not None else None)
    return of_figure(axes.get_figure(root=True), found.caption)
