"""Pictures of a frontier: the map with its undecided zone, or the curve over one axis with the interval of its crossing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from simtx.errors import ScenarioError
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.experiments.frontier import Axis, Frontier

_HATCHES: Final = ("", "..", "xx", "oo", "++")
_TINTS: Final = (0.62, 0.30, 0.45, 0.2, 0.55)
_UNDECIDED: Final = "#FFFFFF"
_FINE: Final = 161


def plot(frontier: Frontier, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """The map of a frontier over two axes, or the curve over one."""
    return (
        curve(frontier, ax=ax, figsize=figsize) if len(frontier.axes) == 1 else zones(frontier, ax=ax, figsize=figsize)
    )


@footed
def zones(frontier: Frontier, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Draw the winners: a shade and a name for each winner, stripes where the data does not say, sites by their replications.

    Raises:
        ScenarioError: The frontier has one parameter.
    """
    if len(frontier.axes) != 2:
        raise ScenarioError("has one parameter and no map; frontier.plot.curve() draws it", "map")
    x, y = frontier.axes
    with style.context():
        ax = canvas.axes(ax, figsize, (7.2, 5.0))
        side = (np.arange(_FINE) + 0.5) / _FINE
        points = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        across, along = x.value(side), y.value(side)
        won = frontier.winners(points).reshape(_FINE, _FINE).T
        contest = frontier.contest(points)
        looks = style.looks(frontier.strategies)
        handles: list[Patch | Line2D] = []
        for position, name in enumerate(frontier.strategies):
            there = (won == position).astype(float)
            if not there.any():
                continue
            colour = _tint(looks[name].colour, _TINTS[position % len(_TINTS)])
            hatch = _HATCHES[position % len(_HATCHES)]
            ax.contourf(across, along, there, levels=[0.5, 1.5], colors=[colour], hatches=[hatch])
            handles.append(Patch(facecolor=colour, hatch=hatch, edgecolor="#777777", label=f"{name} wins"))
            _name(ax, name, there, across, along)
        unknown = (won < 0).astype(float)
        if unknown.any():
            ax.contourf(across, along, unknown, levels=[0.5, 1.5], colors=[_UNDECIDED], hatches=["////"])
            share = f"undecided ({_percent(frontier.undecided)} of the area)"
            handles.append(Patch(facecolor=_UNDECIDED, hatch="////", edgecolor="#777777", label=share))
        for position in range(len(frontier.strategies) - (len(frontier.strategies) == 2)):
            lead = np.where(contest.leader == position, contest.lead, -contest.lead).reshape(_FINE, _FINE).T
            if lead.min() < 0 < lead.max():
                ax.contour(across, along, lead, levels=[0.0], colors=["#111111"], linewidths=1.6)
        handles.append(Line2D([], [], color=style.theme().ink, linewidth=1.6, label="most likely frontier"))
        sites = frontier.sites
        most = int(sites["replications"].max())
        ax.scatter(
            sites[x.name],
            sites[y.name],
            s=8 + 90 * sites["replications"] / most,
            facecolor="white",
            edgecolor="#111111",
            linewidth=0.9,
            zorder=5,
            clip_on=False,
        )
        fewest = int(sites["replications"].min())
        label = (
            f"site, {fewest} to {most} paired replications by size"
            if fewest < most
            else f"site, {most} paired replications"
        )
        handles.append(
            Line2D([], [], color="#111111", marker="o", markerfacecolor="white", linestyle="none", label=label)
        )
        _axis(ax, x, "x")
        _axis(ax, y, "y")
        ax.grid(visible=False)
        canvas.titled(ax, f"{catalogue.beginning(frontier.metric)}: {frontier.caption}", _about(frontier))
        _legend(ax, handles)
    return ax


@footed
def curve(frontier: Frontier, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """The paired ratio of two strategies over one axis with its band, sites with their errors, and the interval of each crossing.

    Raises:
        ScenarioError: The frontier has two parameters.
    """
    if len(frontier.axes) != 1:
        raise ScenarioError("has two parameters and no curve; frontier.plot.map() draws it", "curve")
    axis = frontier.axes[0]
    with style.context():
        ax = canvas.axes(ax, figsize, (7.2, 4.2))
        side = np.linspace(0, 1, 301)
        values = axis.value(side)
        scale = frontier.surfaces.scale
        turn = (lambda one: one) if scale == "difference" else np.exp
        quantile = frontier.quantile
        for (a, b), surface in frontier.surfaces.pairs.items():
            name = (
                f"{frontier.strategies[a]} / {frontier.strategies[b]}"
                if scale != "difference"
                else (f"{frontier.strategies[a]} - {frontier.strategies[b]}")
            )
            look = style.look(frontier.strategies[b if len(frontier.surfaces.pairs) > 1 else a])
            mean, error = surface.process.predict(side[:, None])
            ax.fill_between(
                values,
                turn(mean - quantile * error),
                turn(mean + quantile * error),
                color=look.colour,
                alpha=0.22,
                linewidth=0,
            )
            ax.plot(values, turn(mean), color=look.colour, linestyle=look.dashes, label=name)
            process = surface.process
            errors = np.sqrt(np.diag(process.noise))
            ax.errorbar(
                axis.value(process.sites[:, 0]),
                turn(process.means),
                yerr=np.abs(turn(process.means + np.array([[-1.0], [1.0]]) * 1.96 * errors) - turn(process.means)),
                fmt=look.marker,
                color=look.colour,
                markerfacecolor=style.theme().paper,
                markersize=4,
                elinewidth=0.8,
            )
        ax.axhline(0.0 if scale == "difference" else 1.0, color=style.theme().ink, linewidth=1)
        for one in frontier.crossings:
            ax.axvspan(
                one.low,
                one.high,
                facecolor=style.theme().shade,
                hatch="////",
                edgecolor=style.theme().muted,
                linewidth=0,
                zorder=0,
            )
            ax.axvline(one.at, color=style.theme().ink, linewidth=1, linestyle=(0, (3, 2)))
        _axis(ax, axis, "x")
        unit = "" if scale != "difference" else f" [{_unit(frontier)}]"
        ax.set_ylabel(
            f"{catalogue.beginning(frontier.metric)}: {'ratio' if scale != 'difference' else 'difference'}{unit}"
        )
        canvas.titled(ax, frontier.caption, _about(frontier))
        ax.legend(loc="best")
    return ax


def _name(ax: Axes, name: str, there: np.ndarray, across: np.ndarray, along: np.ndarray) -> None:
    """The winner's name where its zone is widest."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(there, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    ax.text(
        float(across[column]),
        float(along[row]),
        canvas.wrapped(name, 0.3 * canvas.points(ax)[0], style.size(1.2), "bold"),
        ha="center",
        va="center",
        fontsize=style.size(1.2),
        fontweight="bold",
        color="#111111",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.5},
        zorder=6,
    )


def _legend(ax: Axes, handles: Sequence[Patch | Line2D]) -> None:
    """Below the map: what it takes there depends on the names."""
    labels = [str(one.get_label()) for one in handles]
    if ax.get_gid() == canvas.OWN:
        canvas.legend_below(ax.get_figure(root=True), handles, labels)
        return
    small = style.size(style.SMALL)
    shown = [canvas.short(label, 0.42 * canvas.points(ax)[0], small) for label in labels]
    ax.legend(handles, shown, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)


def _axis(ax: Axes, axis: Axis, which: str) -> None:
    set_scale, set_limits, set_label, ticks = (
        (ax.set_xscale, ax.set_xlim, ax.set_xlabel, ax.xaxis)
        if which == "x"
        else (ax.set_yscale, ax.set_ylim, ax.set_ylabel, ax.yaxis)
    )
    if axis.scale == "log":
        set_scale("log")
        ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ticks.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
            if axis.high / axis.low < 200
            else NullFormatter()
        )
    set_limits(axis.low, axis.high)
    set_label(axis.label)


def _tint(colour: str, strength: float) -> tuple[float, float, float]:
    """A colour mixed with white."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def _unit(frontier: Frontier) -> str:
    shown = catalogue.metric(frontier.metric)
    return catalogue.unit(shown, frontier.sweep.scenario) if frontier.sweep is not None else shown.unit


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "less than 1 %"


def _about(frontier: Frontier) -> str:
    """Scenario, changes, seed and replications, as far as the frontier comes from a sweep."""
    if frontier.sweep is None:
        return ""
    fewest, most = (int(end(frontier.sites["replications"])) for end in (min, max))
    times = f"{fewest} to {most}" if fewest < most else f"{most}"
    varied = [target.path for one in frontier.sweep.study.parameters for target in one.targets]
    return canvas.about(
        frontier.sweep.scenario, seed=frontier.sweep.seed, times=f"{times} paired replications", varied=varied
    )
