"""Pictures of a sweep: lines with intervals over one parameter, heat maps over two, small multiples over three."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullFormatter

from simtx.errors import ScenarioError
from simtx.report import catalogue, style
from simtx.report import sweep_findings as findings
from simtx.report.footer import footed
from simtx.report.pictures import canvas
from simtx.report.sweep_tables import displayed, heading, held, plain, quantity
from simtx.scenario.units import hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST: Final = 12
"""Small multiples in one picture: more are not legible."""
_ACROSS: Final = 4
"""Heat maps beside each other; more of them go into a further row."""
_GAP: Final = "#EEEEEE"
_PANEL: Final = 9.0
"""Letters to an inch in the title of a panel."""


@footed
def plot(
    sweep: Any,
    metric: str = "latency_p99_ms",
    x: str | None = None,
    *,
    y: str | None = None,
    panels: str | None = None,
    at: Mapping[str, Any] | None = None,
    strategies: Sequence[str] | None = None,
    confidence: float = 0.95,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """One metric over the parameters that have more than one value.

    Over one: lines with intervals, one a strategy. Over two: a heat map for each strategy; with `x` alone, lines in a panel for each value of
    the other. Over three: small multiples of these.

    Args:
        sweep: A `simtx.Sweep`.
        metric: Name of the metric.
        x: Parameter of the horizontal axis; None: the first that varies.
        y: Parameter of the vertical axis of heat maps; None: the second, unless `x` is given.
        panels: Parameter of which each value has a row or panel of its own; None: the one that is left.
        at: Values of other parameters, which are held there.
        strategies: Labels; None: all.
        confidence: Coverage of the intervals.
        figsize: Inches of the figure; None: by the number of panels.

    Raises:
        ScenarioError: There is no such metric, parameter or value, or more parameters vary than a picture can show.
    """
    data = data_of(sweep, metric, at or {}, strategies, confidence)
    varied = [name for name in sweep.parameters if data[name].nunique() > 1] or sweep.parameters[:1]
    for given in (x, y, panels):
        if given is not None and given not in sweep.parameters:
            raise ScenarioError(f"'{given}' is no parameter; {hint(given, sweep.parameters)}", "plot")
    if not varied:
        raise ScenarioError("there is no parameter to draw over; sweep.compare().plot() draws the one cell", "plot")
    left = [name for name in varied if name not in (x, y, panels)]
    automatic = x is None and y is None
    x = x or left.pop(0)
    if y is None and automatic and left:
        y = left.pop(0)
    panels = panels or (left.pop(0) if left else None)
    if left:
        raise ScenarioError(
            f"a picture shows three parameters; hold {', '.join(left)}, as in at={{'{left[0]}': {data[left[0]].iloc[0]!r}}}",
            "plot",
        )
    if panels is not None and data[panels].nunique() > MOST:
        raise ScenarioError(
            f"'{panels}' has {data[panels].nunique()} values, too many for panels; hold it with at=, or draw it on an axis",
            "plot",
        )
    with style.context():
        figure = (
            _lines(sweep, data, metric, x, panels, confidence, figsize)
            if y is None
            else _maps(sweep, data, metric, x, y, panels, confidence, figsize)
        )
        lacking = sweep.lacking()
        if lacking:
            figure.supxlabel(
                f"incomplete: {lacking}"[:160],
                fontsize=style.size(style.SMALL),
                color=style.theme().fault,
                x=0.01,
                ha="left",
            )
    return figure


@footed
def lines(
    sweep: Any,
    metric: str = "latency_p99_ms",
    x: str | None = None,
    *,
    at: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """One metric over one parameter, a line with intervals for each strategy; the others are held `at` values.

    Args:
        sweep: A `simtx.Sweep`.
        metric: Name of the metric.
        x: Parameter of the horizontal axis; None: the first that varies.
        at: Values of other parameters, which are held there.
        ax: Where to draw; None: in a new figure.
        figsize: Inches of a new figure.
        confidence: Coverage of the intervals.

    Raises:
        ScenarioError: There is no such metric, parameter or value.
    """
    data = data_of(sweep, metric, at or {}, None, confidence)
    if x is not None and x not in sweep.parameters:
        raise ScenarioError(f"'{x}' is no parameter; {hint(x, sweep.parameters)}", "plot")
    x = x or next((name for name in sweep.parameters if data[name].nunique() > 1), sweep.parameters[0])
    with style.context():
        ax = canvas.axes(ax, figsize, (7.2, 4.2))
        _line_panel(sweep, data, metric, x, ax)
        _scale(ax, data)
        found = findings.over(sweep, data, x, ordered(data, x), metric)
        said = " · ".join(_about(sweep, data, metric, confidence, bars=True))
        early = findings.aborting(sweep, data, metric, confidence)
        found = "; ".join(filter(None, (found, early)))
        canvas.titled(ax, findings.titled(metric, found), said)
        canvas.legend(ax)
    return ax


# --- data ---------------------------------------------------------------------------------------------------------------------------


def data_of(
    sweep: Any, metric: str, at: Mapping[str, Any], strategies: Sequence[str] | None, confidence: float
) -> pd.DataFrame:
    """A row a cell and strategy: parameters, mean, low, high, n, in the unit of the picture."""
    for name in strategies or ():
        if name not in sweep.strategies:
            raise ScenarioError(f"'{name}' is no strategy of this sweep; {hint(name, sweep.strategies)}", "plot")
    table = sweep.table([metric], confidence)
    scale = catalogue.metric(metric).scale
    data = pd.DataFrame({name: table[name, ""] for name in [*sweep.parameters, "strategy"]})
    for field in ("mean", "low", "high"):
        data[field] = table[metric, field] * scale
    data["n"] = table[metric, "n"]
    asked = sweep.asked()
    numbers = {row[1:]: int(row[0]) for row in sweep.cells.itertuples(name=None)}
    data["cell"] = [numbers[values] for values in data[sweep.parameters].itertuples(index=False, name=None)]
    data["asked"] = [len(asked[place]) for place in zip(data["cell"], data["strategy"], strict=True)]
    if strategies is not None:
        data = data[data["strategy"].isin(list(strategies))]
    for name, value in at.items():
        if name not in sweep.parameters:
            raise ScenarioError(f"'{name}' is no parameter; {hint(name, sweep.parameters)}", "at")
        chosen = data[data[name] == sweep.shown(name, value)]
        if chosen.empty:
            known = ", ".join(quantity(sweep, name, one) for one in dict.fromkeys(data[name]))
            raise ScenarioError(f"no cell has {name}={value}; there are {known}", "at")
        data = chosen
    return findings.note(sweep, data, metric, confidence)


def ordered(data: pd.DataFrame, name: str) -> list[Any]:
    """The values of a parameter: numbers ascending, texts as they came."""
    values = list(dict.fromkeys(data[name]))
    return sorted(values) if pd.api.types.is_numeric_dtype(data[name]) else values


# --- lines --------------------------------------------------------------------------------------------------------------------------


def _lines(
    sweep: Any,
    data: pd.DataFrame,
    metric: str,
    x: str,
    panels: str | None,
    confidence: float,
    figsize: tuple[float, float] | None,
) -> Figure:
    values = ordered(data, panels) if panels is not None else [None]
    columns = min(len(values), 3)
    rows = math.ceil(len(values) / columns)
    width, height = figsize or (max(6.4, 3.9 * columns), 3.6 * rows + 0.8)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, sharex=True, sharey=True
    )
    for ax, value in zip(axes.flat, values, strict=False):
        part = data if panels is None else data[data[panels] == value]
        _line_panel(sweep, part, metric, x, ax)
        if panels is not None:
            found = findings.over(sweep, part, x, ordered(part, x), metric)
            title = f"{held(sweep, panels, value)}{f': {found}' if found else ''}"
            ax.set_title(findings.wrapped(title, width / columns - 0.3, _PANEL))
            ax.label_outer()
    for ax in list(axes.flat)[len(values) :]:
        ax.set_visible(False)
    _scale(axes[0, 0], data)
    canvas.legend_below(figure, *axes[0, 0].get_legend_handles_labels())
    found = (
        findings.over(sweep, data, x, ordered(data, x), metric) if panels is None else findings.counted(data, metric)
    )
    _titled(figure, findings.titled(metric, found), sweep, data, metric, confidence, bars=True)
    return figure


def _line_panel(sweep: Any, data: pd.DataFrame, metric: str, x: str, ax: Axes) -> None:
    order = ordered(data, x)
    numeric = pd.api.types.is_numeric_dtype(data[x]) and data[x].dtype != bool
    factor = displayed(sweep, x)[0]
    place = {value: factor * float(value) if numeric else float(position) for position, value in enumerate(order)}
    wide = numeric and len(order) > 2 and min(place.values()) > 0 and max(place.values()) >= 30 * min(place.values())
    names = [name for name in sweep.strategies if name in set(data["strategy"])]
    span = max(place.values()) - min(place.values()) or 1.0
    for position, (name, look) in enumerate(style.looks(names).items()):
        aside = 0.012 * (position - (len(names) - 1) / 2)  # so that no mark hides another
        rows = data[(data["strategy"] == name) & (data["n"] > 0)].sort_values(x, key=lambda column: column.map(place))
        where = rows[x].map(place).to_numpy(dtype=float)
        where = where * (1 + 3 * aside) if wide else where + span * aside
        finite = np.isfinite(rows["mean"].to_numpy())
        shown = rows[finite]
        ends = np.vstack([shown["mean"] - shown["low"], shown["high"] - shown["mean"]]).astype(float)
        ends = np.where(np.isfinite(ends), np.maximum(ends, 0.0), 0.0)
        ax.errorbar(
            where[finite],
            shown["mean"],
            yerr=ends,
            fmt=look.marker,
            linestyle=look.dashes,
            color=look.colour,
            label=name,
        )
        if not finite.all():  # beyond all that was watched: an arrow at the upper edge
            edge = np.full(int((~finite).sum()), 0.97)
            ax.plot(
                where[~finite],
                edge,
                marker="$\\uparrow$",
                linestyle="none",
                color=look.colour,
                transform=ax.get_xaxis_transform(),
            )
    if wide:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    if not numeric or (wide and len(order) <= 10):
        ax.set_xticks(list(place.values()), [quantity(sweep, x, value) for value in order])
    elif numeric:
        ax.xaxis.set_major_formatter(FuncFormatter(plain))
    ax.set_xlabel(heading(sweep, x))
    ax.set_ylabel(catalogue.axis_label(metric, sweep.scenario))


def _scale(ax: Axes, data: pd.DataFrame) -> None:
    """Logarithmic where values differ by more than 30 times; from zero otherwise."""
    means = data["mean"][np.isfinite(data["mean"])]
    if len(means) and means.min() > 0 and means.max() >= 30 * means.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(plain))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.yaxis.set_major_formatter(FuncFormatter(plain))
        if len(means) and means.min() >= 0:
            ax.set_ylim(bottom=0)


def _plain(value: float, _position: object = None) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# --- heat maps ----------------------------------------------------------------------------------------------------------------------


def _maps(
    sweep: Any,
    data: pd.DataFrame,
    metric: str,
    x: str,
    y: str,
    panels: str | None,
    confidence: float,
    figsize: tuple[float, float] | None,
) -> Figure:
    names = [name for name in sweep.strategies if name in set(data["strategy"])]
    values = ordered(data, panels) if panels is not None else [None]
    across = len(names) if panels is not None else min(len(names), _ACROSS)
    rows = len(values) if panels is not None else math.ceil(len(names) / across)
    width, height = figsize or (max(6.4, 3.3 * across + 1.2), 2.7 * rows + 1.2)
    figure, axes = plt.subplots(rows, across, figsize=(width, height), layout="constrained", squeeze=False)
    norm, endless = _norm(data), bool(np.isinf(data["mean"]).any())
    image = None
    places = [(value, name) for value in values for name in names]
    for number, (ax, (value, name)) in enumerate(zip(axes.flat, places, strict=False)):
        part = data[data["strategy"] == name]
        part = part if panels is None else part[part[panels] == value]
        image = _map_panel(sweep, part, x, y, ax, norm)
        if number < across or panels is None:
            size = style.size(1.1)
            ax.set_title(canvas.wrapped(name, 0.72 * 72 * width / across, size, "bold"), fontsize=size)
        if panels is not None:
            ax.set_ylabel(f"{findings.wrapped(held(sweep, panels, value), 2.9, _PANEL)}\n{heading(sweep, y)}")
        ax.label_outer()
    for ax in list(axes.flat)[len(places) :]:
        ax.set_visible(False)
    if image is not None:
        bar = figure.colorbar(
            image,
            ax=axes,
            label=catalogue.axis_label(metric, sweep.scenario),
            shrink=0.9,
            extend="max" if endless else "neither",
        )
        bar.ax.yaxis.set_major_formatter(FuncFormatter(plain))
        bar.ax.yaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: plain(value) if f"{value:e}"[0] in "25" else "")
        )
    _titled(figure, findings.titled(metric, findings.counted(data, metric)), sweep, data, metric, confidence)
    return figure


def _norm(data: pd.DataFrame) -> Any:
    """The scale of colours: the same in all maps of a picture, logarithmic where values differ by more than ten times."""
    from matplotlib.colors import LogNorm, Normalize

    finite = data["mean"][np.isfinite(data["mean"])]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if low > 0 and high >= 10 * low:
        return LogNorm(low, high)
    return Normalize(min(low, 0.0), high if high > min(low, 0.0) else min(low, 0.0) + 1.0)


def _map_panel(sweep: Any, data: pd.DataFrame, x: str, y: str, ax: Axes, norm: Any) -> Any:
    across, up = ordered(data, x), ordered(data, y)
    grid = data.pivot_table(index=y, columns=x, values="mean", aggfunc="mean", dropna=False)
    cells = grid.reindex(index=up, columns=across).to_numpy(dtype=float)
    ax.set_facecolor(_GAP)
    image = ax.imshow(
        np.ma.masked_invalid(cells), origin="lower", aspect="auto", cmap="cividis", norm=norm, interpolation="nearest"
    )
    if cells.size <= 80:
        for (row, column), value in np.ndenumerate(cells):
            dark = math.isfinite(value) and float(norm(value)) < 0.55
            text = _plain(float(value)) if math.isfinite(value) else "" if math.isnan(value) else "∞"
            ax.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=style.size(style.SMALL),
                color="white" if dark else "#111111",
            )
    ax.set_xticks(
        range(len(across)), [quantity(sweep, x, one) for one in across], rotation=45 if len(across) > 6 else 0
    )
    ax.set_yticks(range(len(up)), [quantity(sweep, y, one) for one in up])
    ax.grid(visible=False)
    ax.set_xlabel(heading(sweep, x))
    ax.set_ylabel(heading(sweep, y))
    return image


# --- words --------------------------------------------------------------------------------------------------------------------------


def _titled(
    figure: Figure, finding: str, sweep: Any, data: pd.DataFrame, metric: str, confidence: float, *, bars: bool = False
) -> None:
    """Finding of the picture, its subject, and how sure it is."""
    if early := findings.aborting(sweep, data, metric, confidence):
        finding = f"{finding}; {early}"
    if settings := findings.settings(sweep, data, metric):
        finding = f"{finding}; {settings}"
    if broken := findings.violated(sweep, data):
        finding = f"{finding}; {broken}" if finding else broken
    canvas.headed(figure, finding, " · ".join(_about(sweep, data, metric, confidence, bars=bars)))


def _about(sweep: Any, data: pd.DataFrame, metric: str, confidence: float, *, bars: bool) -> list[str]:
    """Subject of the picture, and how sure it is, in a few parts of a line."""
    most = int(data["n"].max()) if len(data) else 0
    varied = [target.path for one in sweep.study.parameters for target in one.targets]
    times = canvas.times(data["n"], data["asked"], within="cell")
    sure = f"{100 * confidence:g} %"
    said = [canvas.about(sweep.scenario, seed=sweep.seed, times=times, varied=varied)]
    if bars and most > 1:
        said.append(f"bars are {sure} intervals")
    if data["strategy"].nunique() > 1 and most > 1:
        said.append(f"told apart by pairs of runs, {sure} for all {data['cell'].nunique()} cells together")
    if meaning := findings.promises(sweep, data, metric):
        said.append(meaning)
    return said
