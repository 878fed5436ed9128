"""Pictures of queues over time: at workers, at row locks, in outboxes and at the broker, and how busy the workers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_ROWS: Final = (
    ("queue", "wait for a worker"),
    ("lock_queue", "wait for row locks"),
    ("busy", "workers in use, moving average [%]"),
    ("relay", "in the outbox"),
    ("broker", "at the broker"),
)


@footed
def queues(
    runs: Run | Sequence[Run],
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Local transactions that wait for a worker or for a lock, workers in use, outbox rows and messages at the broker: a line a service.

    Several runs stand side by side on the same axes. What a host does not know, such as queues of a real run, is left out.
    """
    each = [runs] if not isinstance(runs, Sequence) else list(runs)
    names = canvas.labels(each)
    with style.context():
        kinds = [(level, title) for level, title in _ROWS if any(_known(run, level) for run in each)]
        services = list(each[0].scenario.services)
        looks = style.series(services)
        ax = canvas.axes(ax, figsize, (max(7.6, 2.0 + 2.6 * len(each)), 2.0 + 1.15 * len(kinds)))
        if not kinds:
            canvas.empty(ax, "this run does not tell how long queues were")
            canvas.titled(ax, "Queues are not known", canvas.about_runs(each))
            return ax
        frames = canvas.panels(ax, len(kinds), len(each), across=34, down=24)
        _fill(frames, each, kinds, looks)
        _label(ax, frames, each, names, kinds)
        canvas.legend(ax, [_handle(service, look) for service, look in looks.items()], title="service")
        above = (
            style.size(style.SMALL) * (2.6 if len(each) > 1 else 1.3)
            + (style.size(style.SMALL) * 1.2 if faults.blows(each) else 0)
            + 4
        )
        canvas.titled(ax, _finding(each, names), canvas.about_runs(each), above=above)
    return ax


def _known(run: Run, level: str) -> bool:
    samples = run.timeline
    columns = [f"{level}_{service}" for service in run.scenario.services]
    return any(name in samples and np.isfinite(samples[name].to_numpy(dtype=float)).any() for name in columns)


def _values(run: Run, level: str, service: str) -> Any:
    samples = run.timeline
    column = f"{level}_{service}"
    if column not in samples:
        return None
    values = samples[column].to_numpy(dtype=float)
    return _smooth(100 * values / run.scenario.services[service].workers) if level == "busy" else values


def _smooth(values: Any) -> Any:
    """Means over a thirtieth of the samples: a service with one worker is either idle or busy at each of them."""
    window = max(1, len(values) // 30)
    weights = np.ones(window)
    return np.convolve(values, weights, mode="same") / np.convolve(np.ones(len(values)), weights, mode="same")


def _fill(
    frames: list[list[Axes]], runs: Sequence[Run], kinds: Sequence[tuple[str, str]], looks: dict[str, style.Look]
) -> None:
    end = faults.end_of(runs)
    for line, (level, _) in zip(frames, kinds, strict=True):
        top = 0.0
        for panel, run in zip(line, runs, strict=True):
            times = run.timeline["time_s"].to_numpy(dtype=float)
            for service, look in looks.items():
                values = _values(run, level, service) if service in run.scenario.services else None
                if values is None or not np.isfinite(values).any():
                    continue
                panel.plot(
                    times, values, drawstyle="steps-post", color=look.colour, linestyle=look.dashes, linewidth=1.3
                )
                top = max(top, float(np.nanmax(values)))
        for panel in line:
            panel.set_ylim(0, 105 if level == "busy" else 1.1 * max(top, 1.0))
            panel.set_xlim(0, end)
            canvas.ticks(panel.yaxis, 3, whole=True)
            panel.xaxis.set_major_locator(MaxNLocator(4))


def _label(
    ax: Axes, frames: list[list[Axes]], runs: Sequence[Run], names: Sequence[str], kinds: Sequence[tuple[str, str]]
) -> None:
    small = style.size(style.SMALL)
    room = canvas.points(ax)[0] / len(runs) - 20
    for row, (line, (_, title)) in enumerate(zip(frames, kinds, strict=True)):
        for column, panel in enumerate(line):
            faults.shade(panel, runs, numbers=row == 0)
            over = small * 1.2 if row == 0 and faults.blows(runs) else 0.0
            said = title if column == 0 else ""
            if row == 0 and len(runs) > 1:
                said = f"{canvas.short(names[column], room, small)}\n{said}"
            canvas.panel_title(panel, said, 3 + over)
            if row < len(kinds) - 1:
                panel.tick_params(labelbottom=False)
            if column:
                panel.tick_params(labelleft=False)
    said = "\n".join(filter(None, (faults.time_label(runs), faults.names(runs))))
    faults.below(frames[-1][0], said, canvas.points(ax)[0], 2.2)


def _handle(service: str, look: style.Look) -> Line2D:
    dashes: Any = look.dashes
    return Line2D([], [], color=look.colour, linestyle=dashes, linewidth=2, label=service)


def _finding(runs: Sequence[Run], names: Sequence[str]) -> str:
    """The longest queue, and of what it is."""
    worst = (0.0, "", "", "")
    for run, name in zip(runs, names, strict=True):
        for level, words in (
            ("queue", "wait for a worker of"),
            ("lock_queue", "wait for row locks at"),
            ("relay", "are in the outbox of"),
            ("broker", "wait at the broker for"),
        ):
            for service in run.scenario.services:
                values = _values(run, level, service)
                if values is not None and np.isfinite(values).any():
                    worst = max(worst, (float(np.nanmax(values)), words, service, name))
    if not worst[0]:
        return "Nobody waits at any sample"
    under = f" under {worst[3]}" if len(runs) > 1 else ""
    return f"At most {worst[0]:,.0f} {worst[1]} {worst[2]}{under}"
