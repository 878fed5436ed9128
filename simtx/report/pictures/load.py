"""A system under load: latency and goodput over the offered rate, with the knee."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter

from simtx.errors import ScenarioError
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas
from simtx.report.sweeps import data_of, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.experiments.sweep import Sweep

_KEEPS_UP: Final = 0.95
"""Share of the offered load that is decided as it comes, below which a strategy does not keep up."""


@footed
def load(
    sweep: Sweep,
    metric: str = "decision_p99_ms",
    *,
    rate: str | None = None,
    at: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """A latency above, goodput below, over the offered rate; a line a strategy with a band for the interval of its mean.

    The dashed diagonal is what is offered. A vertical line marks the knee of a strategy: the highest rate of the sweep up to which
    95 % of what is offered is decided as it comes. Of a latency until the answer, strategies that tell the outcome and strategies that only say
    "accepted" have a panel each.

    Args:
        sweep: Over a rate of arrivals.
        metric: A latency.
        rate: The parameter that is the offered rate; None: the one that is counted per second.
        at: Values of other parameters, which are held there.
        ax: Where to draw, as a frame of the panels; None: in a new figure.
        figsize: Inches of a new figure.
        confidence: Coverage of the intervals, between 0 and 1.

    Raises:
        ScenarioError: The sweep has no such parameter, or other parameters vary and are not held.
    """
    x = _rate(sweep, rate)
    tables = {
        name: data_of(sweep, name, at or {}, None, confidence)
        for name in dict.fromkeys((metric, "goodput_per_s", "throughput_per_s"))
    }
    varied = [name for name in sweep.parameters if name != x and tables[metric][name].nunique() > 1]
    if varied:
        raise ScenarioError(f"{varied[0]} varies, too; hold it with at={{'{varied[0]}': ...}}", "at")
    names = [name for name in sweep.strategies if name in set(tables[metric]["strategy"])]
    knees = {name: _knee(tables["throughput_per_s"], name, x) for name in names}
    with style.context():
        looks = style.looks(names)
        groups = _groups(sweep, names, metric)
        ax = canvas.axes(ax, figsize, (7.8, 3.0 + 1.5 * len(groups)))
        frames = [line[0] for line in canvas.panels(ax, len(groups) + 1, 1, down=22)]
        for panel, (title, members) in zip(frames, groups, strict=False):
            _lines(panel, tables[metric], members, looks, x)
            panel.yaxis.set_major_formatter(FuncFormatter(canvas.tick))
            canvas.logarithmic(panel, tables[metric]["mean"].tolist())
            if panel.get_yscale() == "linear":
                panel.set_ylim(bottom=0)
            label = catalogue.metric(metric)
            canvas.panel_title(panel, f"{label.label} [{catalogue.unit(label, sweep.scenario)}]{title}")
        _goodput(frames[-1], tables["goodput_per_s"], names, looks, x)
        for panel in frames:
            for name, (knee, over) in knees.items():
                if over and np.isfinite(knee):
                    panel.axvline(
                        knee, color=looks[name].colour, linestyle=looks[name].dashes, linewidth=0.9, alpha=0.8
                    )
            panel.set_xlim(0, 1.04 * max(ordered(tables[metric], x)))
        for panel in frames[:-1]:
            panel.tick_params(labelbottom=False)
        frames[-1].set_xlabel("offered [1/s]; vertical lines: where a strategy stops to keep up")
        canvas.legend(ax, [canvas.handle(look, f"{name}: {_until(*knees[name])}") for name, look in looks.items()])
        canvas.titled(
            ax,
            _finding(knees, looks),
            _about(sweep, tables[metric], at, confidence),
            above=style.size(style.SMALL) * 1.3 + 3,
        )
    return ax


def _rate(sweep: Any, given: str | None) -> str:
    """The parameter of the offered rate."""
    if given is not None:
        if given not in sweep.parameters:
            raise ScenarioError(
                f"'{given}' is no parameter of this sweep; there are {', '.join(sweep.parameters)}", "rate"
            )
        return given
    if "workload.rate" in sweep.parameters:
        return "workload.rate"
    per_second = [name for name in sweep.parameters if sweep.units.get(name) == "1/s"]
    if not per_second:
        raise ScenarioError(
            f"the sweep has no rate of arrivals, only {', '.join(sweep.parameters)}; sweep over workload.rate", "rate"
        )
    return str(per_second[0])


def _groups(sweep: Any, names: list[str], metric: str) -> list[tuple[str, list[str]]]:
    """Strategies that may share an axis: all, or by what their answer promises."""
    promises = {name: sweep.study.strategies[name].promise for name in names} if metric.startswith("latency_") else {}
    kinds = list(dict.fromkeys(promises.values()))
    if len(kinds) < 2:
        return [("", names)]
    return [
        (f", answer = {catalogue.ANSWER_MEANS[kind]}", [name for name in names if promises[name] == kind])
        for kind in kinds
    ]


def _knee(throughput: pd.DataFrame, name: str, x: str) -> tuple[float, bool]:
    """The highest rate of the sweep up to which a strategy keeps up, and whether a higher one was played."""
    rows = throughput[(throughput["strategy"] == name) & (throughput["n"] > 0)].sort_values(x)
    kept = float("nan")
    for rate, mean, high in zip(rows[x].astype(float), rows["mean"], rows["high"], strict=True):
        if max(mean, high if np.isfinite(high) else mean) < _KEEPS_UP * rate:
            return kept, True
        kept = rate
    return kept, False


def _lines(ax: Axes, data: pd.DataFrame, names: list[str], looks: dict[str, style.Look], x: str) -> None:
    for name in names:
        look = looks[name]
        rows = data[(data["strategy"] == name) & (data["n"] > 0)].sort_values(x)
        rates, means = rows[x].to_numpy(dtype=float), rows["mean"].to_numpy(dtype=float)
        finite = np.isfinite(means)
        low, high = (np.where(np.isfinite(rows[end]), rows[end], rows["mean"]).astype(float) for end in ("low", "high"))
        ax.fill_between(rates[finite], low[finite], high[finite], color=look.colour, alpha=0.2, linewidth=0)
        ax.plot(
            rates[finite], means[finite], color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=5
        )
        endless = rates[~finite & np.isinf(means)]
        ax.plot(
            endless,
            np.full(len(endless), 0.96),
            marker=r"$\uparrow$",
            color=look.colour,
            linestyle="none",
            transform=ax.get_xaxis_transform(),
        )


def _goodput(ax: Axes, data: pd.DataFrame, names: list[str], looks: dict[str, style.Look], x: str) -> None:
    top = max(ordered(data, x))
    ax.plot([0, top], [0, top], color=style.theme().ink, linestyle=(0, (5, 3)), linewidth=1)
    _lines(ax, data, names, looks, x)
    ax.set_ylim(0, 1.05 * top)
    canvas.ticks(ax.yaxis, 4)
    canvas.panel_title(ax, "goodput: committed a second [1/s]; dashed: what is offered")


def _until(knee: float, over: bool) -> str:
    if not over:
        return "keeps up throughout" if np.isfinite(knee) else "not played"
    return f"keeps up until {knee:,.4g}/s" if np.isfinite(knee) else "never keeps up"


def _finding(knees: dict[str, tuple[float, bool]], looks: dict[str, style.Look]) -> str:
    told = [name for name, (_, over) in knees.items() if over]
    if not told:
        most = max((knee for knee, _ in knees.values() if np.isfinite(knee)), default=float("nan"))
        return (
            f"All keep up with the load until {most:,.4g}/s, the highest that was played"
            if np.isfinite(most)
            else "Nothing was measured"
        )
    order = sorted(
        looks,
        key=lambda name: (not knees[name][1], knees[name][0] if np.isfinite(knees[name][0]) else -1),
        reverse=True,
    )
    shown = order if len(order) <= 4 else [order[0], order[-1]]
    return "; ".join(f"{name} {_until(*knees[name])}" for name in shown)


def _about(sweep: Any, data: pd.DataFrame, at: Mapping[str, Any] | None, confidence: float) -> str:
    counts = sorted({int(one) for one in data["n"] if one > 0})
    runs = canvas.times(data["n"], data["asked"], within="cell")
    held = ", ".join(f"{name} = {value}" for name, value in (at or {}).items())
    bands = (
        f"bands: {100 * confidence:g} % intervals" if counts and counts[-1] > 1 else "one replication has no intervals"
    )
    words = [canvas.about(sweep.scenario, varied=["workload.rate"]), held, f"seed {sweep.seed}, {runs}", bands]
    return " · ".join(word for word in words if word)
