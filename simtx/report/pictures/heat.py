"""Heat map: how long transactions take, by when they arrive; the colour says how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults
from simtx.report.pictures.distribution import DURATIONS, having

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_ACROSS: Final = 80
_UP: Final = 32
_LEAST: Final = 0.01  # ms
_COUNTS: Final = [float(digit * 10**power) for power in range(7) for digit in (1, 2, 5)]


@footed
def heat_map(
    runs: Run | Sequence[Run],
    *,
    column: str = "decision_ms",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """A duration of every transaction over the time of its arrival, a panel a run; dark cells hold many, and a red line on top those that never ended.

    Two groups at one time, such as quick refusals beside commits that wait for a node, show as two bands. A quantile over time would show
    one line. Faults are outlined and numbered.

    Raises:
        ScenarioError: There is no such duration.
    """
    each = having(runs, column)
    names = canvas.labels(each)
    with style.context():
        ax = canvas.axes(ax, figsize, (8.6, 1.8 + 1.5 * len(each)))
        frames = [line[0] for line in canvas.panels(ax, len(each), 1, down=26)]
        data = [_data(run, column) for run in each]
        ended = np.concatenate([values[np.isfinite(values)] for _, values in data]) if data else np.zeros(0)
        end = faults.last_arrival(each)
        above = style.size(style.SMALL) * 1.3 + 4
        if not len(ended):
            for panel in frames:
                canvas.empty(panel, "no transaction had ended when the run ended")
        else:
            image = _draw(frames, data, ended, end)
            _decorate(frames, each, end)
            figure: Any = ax.get_figure(root=True)
            bar = figure.colorbar(image, ax=ax, label="transactions in a cell", shrink=0.9, pad=0.02)
            top = float(image.norm.vmax)
            bar.ax.yaxis.set_major_locator(FixedLocator([one for one in _COUNTS if one <= top]))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(canvas.tick))
            bar.ax.yaxis.set_minor_locator(NullLocator())
            bar.outline.set_visible(False)
        for panel, name, (_, values) in zip(frames, names, data, strict=True):
            never = int((~np.isfinite(values)).sum())
            said = f"{name}: {DURATIONS.get(column, column)}" if panel is frames[0] else name
            said += f"; {never:,} had not ended (red)" if never else ""
            panel.set_title(
                canvas.short(said, canvas.points(ax)[0] * 0.8, style.size(style.SMALL)),
                fontsize=style.size(style.SMALL),
                loc="left",
                pad=above if faults.blows(each) and panel is frames[0] else 3,
            )
        canvas.titled(
            ax, _finding(each, names, data), canvas.about_runs(each), above=above + style.size(style.SMALL) * 1.3
        )
    return ax


def _data(run: Run, column: str) -> tuple[Any, Any]:
    """Arrival in seconds and duration in milliseconds of each transaction, warm-up included."""
    rows = run.transactions
    return rows["arrival_s"].to_numpy(dtype=float), rows[column].to_numpy(dtype=float)


def _draw(frames: Sequence[Axes], data: Sequence[tuple[Any, Any]], ended: Any, end: float) -> Any:
    low, high = max(_LEAST, float(ended.min()) * 0.95), max(float(ended.max()) * 1.05, 2 * _LEAST)
    if high < 1.5 * low:
        low, high = low / 1.5, high * 1.5
    edges = np.geomspace(low, high, _UP + 1)
    across = np.linspace(0, end * (1 + 1e-9), _ACROSS + 1)
    counts = [
        np.histogram2d(at[np.isfinite(values)], np.clip(values[np.isfinite(values)], low, high), (across, edges))[0].T
        for at, values in data
    ]
    norm = LogNorm(0.6, max(2.0, *(float(one.max()) for one in counts)))
    colours = "cividis" if style.theme().dark else "cividis_r"
    image = None
    for panel, count, (at, values) in zip(frames, counts, data, strict=True):
        image = panel.pcolormesh(
            across, edges, np.ma.masked_equal(count, 0), norm=norm, cmap=colours, linewidth=0, rasterized=True
        )
        panel.set_yscale("log")
        panel.set_ylim(low, high * (high / low) ** 0.06)
        never = at[~np.isfinite(values)]
        panel.plot(
            never,
            np.full(len(never), 0.97),
            marker="|",
            color=style.theme().fault,
            markersize=5,
            linestyle="none",
            transform=panel.get_xaxis_transform(),
        )
    return image


def _decorate(frames: Sequence[Axes], runs: Sequence[Run], end: float) -> None:
    theme = style.theme()
    for number, panel in enumerate(frames):
        panel.set_xlim(0, end)
        panel.grid(visible=False)
        panel.yaxis.set_major_formatter(FuncFormatter(canvas.tick))
        panel.yaxis.set_minor_formatter(FuncFormatter(lambda _, __: ""))
        panel.xaxis.set_major_locator(MaxNLocator(8))
        if number < len(frames) - 1:
            panel.tick_params(labelbottom=False)
        for one in faults.blows(runs):
            for moment in (one.begin, one.end):
                if moment < end:
                    panel.axvline(moment, color=theme.fault, linewidth=0.9, linestyle=(0, (3, 1.5)))
    faults.numbered(frames[0], runs, end)
    said = faults.names(runs, shaded=False)
    label = "arrival of the transaction [s]"
    frames[-1].set_xlabel(
        canvas.wrapped(
            f"{label}\n{said}" if said else label,
            canvas.points(frames[0].figure.axes[0])[0] * 0.75,
            style.size(style.SMALL),
        )
    )


def _finding(runs: Sequence[Run], names: Sequence[str], data: Sequence[tuple[Any, Any]]) -> str:
    """Say how long the slowest hundredth of each takes, and when it comes."""
    parts = []
    for _, name, (at, values) in zip(runs, names, data, strict=True):
        finite = np.isfinite(values)
        if not finite.any():
            parts.append(f"{name} none had ended")
            continue
        worst = int(np.argmax(np.where(finite, values, -1)))
        parts.append(f"{name} {canvas.duration(float(values[worst]))} at {at[worst]:.3g} s")
    return f"The slowest that ended: {canvas.listed(parts)}"
