"""Picture of the events that wait for a consumer: a line a partition, or one for a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simtx.errors import ScenarioError
from simtx.event_log.entries import POISON
from simtx.metrics.waiting import Lane, waiting
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

BEHIND: Final = 1.12  # a little room behind the end, for what is left then


@footed
def lag(
    run: Run, service: str | None = None, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None
) -> Axes:
    """Events that were published for a service and that it has not done yet, over time: a line a partition, or one for a queue. Faults and poison are shaded.

    Args:
        run: A run of a strategy that publishes events.
        service: The consumer; None: that for which most events waited at once.
        ax: Where to draw; None: in a new figure.
        figsize: Inches of a new figure.

    Raises:
        ScenarioError: There is no such service, or it consumes no events.
    """
    service, lanes = _of(run, service)
    with style.context():
        ax = canvas.axes(ax, figsize, (8.8, 3.2))
        look = style.looks([run.strategy.name])[run.strategy.name]
        draw(ax, run, lanes, look.colour)
        faults.shade(ax, [run])
        shade_poison(ax, run)
        end = faults.end_of([run])
        most = max(lane.most for lane in lanes.values())
        ax.set_ylim(0, 1.15 * max(most, 1.0))
        ax.set_xlim(0, BEHIND * end)
        ax.set_xlabel(faults.time_label([run]))
        ax.set_ylabel(f"events for {service} [count]")
        canvas.ticks(ax.yaxis, 5, whole=True)
        if len(lanes) > 1:
            canvas.legend(ax)
        words = [faults.names([run], shaded=False), poison_words(run)]
        said = "; ".join([canvas.about_runs([run]), *(one for one in words if one)])
        canvas.titled(ax, _finding(run, service, lanes), said)
    return ax


def _of(run: Run, service: str | None) -> tuple[str, dict[int, Lane]]:
    """The consumer that is meant, and its lanes.

    Raises:
        ScenarioError: There is none.
    """
    scenario = run.scenario
    if service is not None and service not in scenario.services:
        known = ", ".join(scenario.services)
        raise ScenarioError(f"there is no service '{service}'; there are {known}", "lag")
    partitions = scenario.broker.partitions
    names = list(scenario.services) if service is None else [service]
    found = {name: lanes for name in names if (lanes := waiting(run.trace, name, partitions))}
    if not found:
        who = "no service consumes" if service is None else f"'{service}' consumes no"
        raise ScenarioError(f"{who} events in this run of '{run.strategy.name}'", "lag")
    name = max(found, key=lambda one: max(lane.most for lane in found[one].values()))
    return name, found[name]


def draw(ax: Axes, run: Run, lanes: dict[int, Lane], colour: str) -> None:
    """Draw the lanes: the one in which most events waited in colour and with its number, the others grey."""
    theme = style.theme()
    longest = max(lanes, key=lambda number: lanes[number].most)
    end = BEHIND * faults.end_of([run])
    others = [number for number in lanes if number != longest]
    for number in others:
        lane = lanes[number]
        label = "other partitions" if number == others[0] else None
        ax.plot(
            [*lane.times, end],
            [*lane.counts, lane.counts[-1]],
            drawstyle="steps-post",
            color=theme.muted,
            linewidth=0.8,
            alpha=0.8,
            label=label,
        )
    lane = lanes[longest]
    times, counts = [*lane.times, end], [*lane.counts, lane.counts[-1]]
    ax.fill_between(times, counts, step="post", color=colour, alpha=0.2, linewidth=0)
    name = f"partition {longest}" if run.scenario.broker.partitions else "queue"
    ax.plot(times, counts, drawstyle="steps-post", color=colour, linewidth=1.6, label=name)


def poison_times(run: Run) -> tuple[float, float] | None:
    """Times of the first and of the last failed attempt at an event that its consumer cannot handle; None: there was none."""
    if not run.scenario.broker.poisoned:
        return None
    times = [entry.time for entry in run.trace if entry.kind == "refuse" and entry.detail == POISON]
    return (times[0], times[-1]) if times else None


def shade_poison(ax: Axes, run: Run) -> None:
    """Shade the time in which attempts at poison failed, as a fault."""
    if struck := poison_times(run):
        faults.shade_fault(ax, *struck)


def poison_words(run: Run) -> str:
    """The same in a few words; empty: there was none."""
    struck = poison_times(run)
    if struck is None:
        return ""
    begin, end = struck
    return f"poison, attempts from {begin:.3g} to {end:.3g} s"


def _finding(run: Run, service: str, lanes: dict[int, Lane]) -> str:
    """Say what the picture shows, in a sentence."""
    longest = max(lanes, key=lambda number: lanes[number].most)
    most = lanes[longest].most
    if not run.scenario.broker.partitions:
        return f"Up to {most:,.0f} events wait in the queue of {service}"
    others = [lane.most for number, lane in lanes.items() if number != longest]
    if not others:
        return f"Up to {most:,.0f} events wait in the only partition of {service}"
    if most < 3 * max(others):
        return f"Up to {most:,.0f} events wait in a partition of {service}, and about as many in the others"
    return f"Up to {most:,.0f} events wait in partition {longest} of {service}, and never more than {max(others):,.0f} in any other"
