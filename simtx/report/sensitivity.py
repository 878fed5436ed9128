"""Pictures of a sensitivity study: tornado, distances to the flip, effects, indices; the noise always as a bar of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Patch

from simtx.errors import ScenarioError
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from simtx.experiments.sensitivity import Sensitivity
    from simtx.experiments.sweep.runs import Runs

_LOW, _HIGH, _NOISE, _INPUTS = "#56B4E9", "#0072B2", "#BBBBBB", "#E69F00"
_NAMES: Final = 165.0  # points for the names of factors
_NOISE_NAME: Final = "noise between\nreplications"


def plot(
    found: Sensitivity, which: str | None = None, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None
) -> Axes:
    """One picture of a study.

    Args:
        found: The study.
        which: ``tornado``, ``flips``, ``morris`` or ``sobol``; None: the method's own.
        ax: Where to draw; None: a new figure.
        figsize: Inches of a new figure.

    Raises:
        ScenarioError: The study has no such picture.
    """
    name = str(which or found.method)
    pictures = {"tornado": tornado, "flips": flips, "morris": morris, "sobol": sobol}
    if name not in pictures:
        raise _no(found, name)
    return pictures[name](found, ax=ax, figsize=figsize)


def _no(found: Sensitivity, which: str) -> ScenarioError:
    return ScenarioError(f"has no picture '{which}'; its method is '{found.method}'", "plot")


def _table(found: Sensitivity, method: str) -> pd.DataFrame:
    """Factors of a study by this method.

    Raises:
        ScenarioError: Its method is another one.
    """
    if found.method != method:
        raise _no(found, method)
    return found.table


@footed
def tornado(found: Sensitivity, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Draws by how much the answer changes at the low and the high end of each factor, with intervals; below, noise and inputs."""
    table = _table(found, "tornado")
    with style.context():
        ax = canvas.axes(ax, figsize, _size(len(table) + 1 + (found.inputs is not None)))
        turn = _percent if found.scale == "log" else _plain
        for position, row in enumerate(table.to_dict("records")):
            for end, colour, hatch in (("low", _LOW, "////"), ("high", _HIGH, "")):
                value = turn(row[end])
                spread = [[value - turn(row[f"{end}_from"])], [turn(row[f"{end}_to"]) - value]]
                ax.barh(position, value, height=0.62, color=colour, hatch=hatch, edgecolor="white", alpha=0.95)
                if all(math.isfinite(one[0]) for one in spread):
                    ax.errorbar(
                        value, position, xerr=spread, fmt="none", color=style.theme().ink, capsize=2, elinewidth=1
                    )
        labels = [
            f"{row['factor']}\n{found.value(row['factor'], row['low_value'])} to {found.value(row['factor'], row['high_value'])}"
            for row in table.to_dict("records")
        ]
        extra = [(_NOISE_NAME, found.noise, _NOISE)]
        if found.inputs is not None:
            extra.append((f"calibration\n'{found.inputs.calibration}'", 1.96 * found.inputs.inputs, _INPUTS))
        for offset, (label, half, colour) in enumerate(extra):
            position = len(table) + offset
            low, high = turn(-half), turn(half)
            ax.barh(position, high - low, left=low, height=0.4, color=colour, edgecolor="#555555")
            labels.append(label)
        _rows(ax, labels)
        ax.axvline(0, color=style.theme().ink, linewidth=1)
        ax.set_xlabel(f"change of {_answer(found)} [{'%' if found.scale == 'log' else _unit(found)}]")
        canvas.titled(
            ax,
            found.caption if found.flips is None else f"What moves {_answer(found)}",
            _about(found),
            left=15 * style.size(),
        )
        handles = [
            Patch(facecolor=_LOW, hatch="////", edgecolor="white", label="factor at its low end"),
            Patch(facecolor=_HIGH, label="factor at its high end"),
        ]
        _legend(ax, handles)
    return ax


@footed
def flips(found: Sensitivity, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Draw how far each factor is from flipping the answer, in units of its stated uncertainty: a bar that ends before the line at 1 is a risk.

    Raises:
        ScenarioError: The study has none.
    """
    table = found.flips
    if table is None:
        raise ScenarioError("has no flips: they need two strategies and the method 'tornado'", "plot")
    reach = 3.0
    with style.context():
        ax = canvas.axes(ax, figsize, _size(len(table)))
        labels = []
        for position, row in enumerate(table.to_dict("records")):
            size = abs(row["distance"])
            flipped = math.isfinite(size)
            risk = flipped and size <= 1
            ax.barh(
                position,
                min(size, reach),
                height=0.6,
                color="#D55E00" if risk else "#DDDDDD",
                hatch="" if risk else "////",
                edgecolor="#777777",
            )
            low, high = min(row["nearest"], reach), min(row["furthest"], reach)
            if flipped:
                ax.plot([low, high], [position, position], color=style.theme().ink, linewidth=1.4)
                note = f"{100 * row['change']:+.2g} %" + ("" if row["simulated"] else " (extrapolated)")
            else:
                note = f"no flip within {reach:g} times"
            at = max(min(size, reach), high if flipped else 0.0)
            inside = at > 0.8 * reach
            place, aside, ha = (min(size, reach), -5, "right") if inside else (at, 5, "left")
            box = {"facecolor": style.theme().paper, "edgecolor": "none", "alpha": 0.85, "pad": 1.0}
            canvas.beside(ax, note, (place, position), (aside, 0), ha=ha, va="center", bbox=box)
            value = found.value(row["factor"], row["value"]) if flipped else ""
            labels.append(f"{row['factor']}\nflips at {value}" if flipped else str(row["factor"]))
        _rows(ax, labels)
        ax.axvline(1, color=style.theme().ink, linewidth=1.4, linestyle=(0, (4, 2)))
        ax.set_xlim(0, reach)
        ax.set_xlabel("distance to the flip, in units of the stated uncertainty")
        canvas.titled(ax, found.caption, _about(found), left=15 * style.size())
    return ax


@footed
def morris(found: Sensitivity, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Mean size of the effect of each factor over its range, and how much it depends on the others; below, the noise of one effect."""
    table = _table(found, "morris")
    with style.context():
        ax = canvas.axes(ax, figsize, _size(len(table) + 1))
        places = np.arange(len(table))
        ax.barh(places - 0.18, table["mu_star"], xerr=table["mu_star_half_width"], height=0.34, color=_HIGH)
        ax.barh(places + 0.2, table["sigma"], height=0.3, color=style.theme().paper, edgecolor=_HIGH, hatch="////")
        _rows_and_noise(ax, found)
        unit = "logarithm of a ratio" if found.scale == "log" else _unit(found)
        ax.set_xlabel(f"effect on {_answer(found)} [{unit}]")
        canvas.titled(ax, found.caption, _about(found), left=15 * style.size())
        handles = [
            Patch(facecolor=_HIGH, label="mean size of the effect (mu*)"),
            Patch(
                facecolor=style.theme().paper,
                edgecolor=_HIGH,
                hatch="////",
                label="spread: interactions, curvature (sigma)",
            ),
        ]
        _legend(ax, handles)
    return ax


@footed
def sobol(found: Sensitivity, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Shares of the variance: alone, and with all interactions; below, the share of a single run's variance that is noise."""
    table = _table(found, "sobol")
    with style.context():
        ax = canvas.axes(ax, figsize, _size(len(table) + 1))
        places = np.arange(len(table))
        for title, offset, colour, hatch in (("first", -0.18, _HIGH, ""), ("total", 0.18, "white", "////")):
            value = table[title].clip(0, 1)
            spread = np.abs(np.vstack([value - table[f"{title}_low"], table[f"{title}_high"] - value]))
            ax.barh(places + offset, value, xerr=spread, height=0.33, color=colour, edgecolor=_HIGH, hatch=hatch)
        _rows_and_noise(ax, found)
        ax.set_xlim(0, 1)
        ax.set_xlabel(f"share of the variance of {_answer(found)}")
        canvas.titled(ax, found.caption, _about(found), left=15 * style.size())
        handles = [
            Patch(facecolor=_HIGH, label="alone"),
            Patch(facecolor=style.theme().paper, edgecolor=_HIGH, hatch="////", label="with all interactions"),
            Patch(facecolor=_NOISE, edgecolor="#555555", label="of a single run's variance"),
        ]
        _legend(ax, handles)
    return ax


def _size(rows: int) -> tuple[float, float]:
    return 7.6, 1.6 + 0.52 * rows


def _rows(ax: Axes, labels: list[str]) -> None:
    small = style.size(style.SMALL)
    ax.set_yticks(range(len(labels)), [canvas.wrapped(one, _NAMES, small) for one in labels], fontsize=small)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")


def _rows_and_noise(ax: Axes, found: Sensitivity) -> None:
    """A row for each factor, and below them the noise."""
    ax.barh(len(found.table), found.noise, height=0.4, color=_NOISE, edgecolor="#555555")
    _rows(ax, [*(str(one) for one in found.table["factor"]), _NOISE_NAME])


def _legend(ax: Axes, handles: list[Patch]) -> None:
    if ax.get_gid() == canvas.OWN:
        canvas.figure_of(ax).legend(handles=handles, loc="outside lower center", ncols=len(handles))
    else:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)


def _answer(found: Sensitivity) -> str:
    label = catalogue.metric(found.question.metric).label
    names = found.question.strategies
    relation = "/" if found.scale == "log" else "-"
    return f"{label} ({f' {relation} '.join(names)})"


def _unit(found: Sensitivity) -> str:
    return catalogue.unit(catalogue.metric(found.question.metric), found.sweep.scenario) or "1"


def _percent(value: float) -> float:
    return 100 * math.expm1(value) if math.isfinite(value) else math.nan


def _plain(value: float) -> float:
    return value


def _about(found: Sensitivity) -> str:
    """Scenario, changes, load, seed and replications; nothing of a study that was put together by hand."""
    sweep: Runs | None = found.sweep or None
    times = canvas.replications(found.replications)
    return canvas.about(sweep.scenario, seed=sweep.seed, times=times) if sweep is not None else ""
