"""Picture of a consumer group: who owns which partition over time, who stands still, where it is rebalanced, and how much waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from simtx.errors import ScenarioError
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults
from simtx.scenario.units import hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.groups import GroupRecord
    from simtx.metrics.run import Run

_HATCHES: Final = ("", "////", "....", "\\\\\\\\", "xx", "++", "oo")
_ROW: Final = 0.24  # inches of a partition
_BAR: Final = 0.82  # of a row
_NUMBERED: Final = 12  # partitions, up to which each has its number


@footed
def group(
    run: Run, name: str | None = None, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None
) -> Axes:
    """Partitions of a consumer group over time, each with its owner, and below how many events wait.

    Pale: the owner stands still. Shaded: nobody works off what a silent instance had, from its last heartbeat until others have begun. A line: a rebalance.

    Args:
        run: A simulated run.
        name: Which group; None: the first one.
        ax: Where to draw, as a frame of the panels; None: in a new figure.
        figsize: Inches of a new figure.

    Raises:
        ScenarioError: The scenario has no such group, or the run was not simulated in this version.
    """
    record = _record(run, name)
    with style.context():
        looks = _looks(record)
        ax = canvas.axes(ax, figsize, (9.0, 3.4 + 2 * _ROW * record.partitions))
        above, below = (line[0] for line in canvas.panels(ax, 2, 1, down=26))
        end = _end(run, record)
        _owners(above, record, looks, end)
        _waiting(below, record, end)
        for panel in (above, below):
            faults.shade(panel, [run], numbers=panel is above)
            _rebalances(panel, record)
            panel.set_xlim(0, end)
        above.tick_params(labelbottom=False)
        said = "\n".join(filter(None, ("simulated time [s]", faults.names([run]))))
        faults.below(below, said, canvas.points(ax)[0], 2.2)
        canvas.legend(above, _handles(record, looks))
        over = style.size(style.SMALL) * 1.6 if faults.blows([run]) else 0.0
        canvas.titled(ax, _finding(run, record), canvas.about_runs([run]), above=over)
    return ax


def _record(run: Run, name: str | None) -> GroupRecord:
    groups = run.scenario.groups
    if not groups:
        raise ScenarioError("the scenario has no consumer groups; give it a table such as [groups.stock]", "group")
    wanted = next(iter(groups)) if name is None else name
    if wanted not in groups:
        raise ScenarioError(f"there is no consumer group '{wanted}'; {hint(str(wanted), groups)}", "name")
    record = run.data.groups.get(wanted)
    if record is None:
        raise ScenarioError(
            f"this run does not have the course of '{wanted}'; simulate it again (a real run has none)", "group"
        )
    return record


def _looks(record: GroupRecord) -> dict[str, tuple[str, str]]:
    """Colour and hatch of each instance."""
    looks = style.series(record.instances)
    return {
        name: (looks[name].colour, _HATCHES[position % len(_HATCHES)]) for position, name in enumerate(record.instances)
    }


def _end(run: Run, record: GroupRecord) -> float:
    """Time until which there is something to see."""
    last = [run.data.horizon, *record.times[-1:], *(one.end for one in record.rebalances[-1:])]
    return min(max(last), run.data.end) * 1.01


def _owners(panel: Axes, record: GroupRecord, looks: dict[str, tuple[str, str]], end: float) -> None:
    """A bar for each time that a partition had one owner, pale while that stood still; marks for what zombies did."""
    theme = style.theme()
    since: dict[int, tuple[float, str]] = {}
    owned: list[tuple[int, float, float, str]] = []
    for time, number, owner in [*record.owners, *((end, number, "") for number in range(record.partitions))]:
        begin, before = since.get(number, (0.0, ""))
        if before and time > begin:
            owned.append((number, begin, min(time, end), before))
        since[number] = time, owner
    for number, begin, until, owner in owned:
        colour, hatch = looks[owner]
        panel.barh(
            number,
            until - begin,
            left=begin,
            height=_BAR,
            color=colour,
            hatch=hatch,
            edgecolor=theme.paper,
            linewidth=0.0,
        )
        for name, still, awake in record.pauses:
            if name == owner and still < until and awake > begin:
                left = max(still, begin)
                panel.barh(
                    number,
                    min(awake, until) - left,
                    left=left,
                    height=_BAR,
                    color=theme.paper,
                    alpha=0.72,
                    linewidth=0.0,
                )
    for kind, marker, colour in (("refused", "x", theme.ink), ("again", "^", theme.fault)):
        found = [(time, number) for time, number, what in record.strange if what == kind]
        if found:
            panel.plot(*zip(*found, strict=True), marker, color=colour, markersize=5, markeredgewidth=1.4, zorder=5)
    panel.set_ylim(record.partitions - 0.4, -0.6)
    panel.set_ylabel("partition")
    if record.partitions <= _NUMBERED:
        panel.set_yticks(range(record.partitions))
    else:
        panel.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    panel.grid(visible=False, axis="y")


def _waiting(panel: Axes, record: GroupRecord, end: float) -> None:
    """Draw how many events are stored and not applied."""
    theme = style.theme()
    times, waiting = [0.0, *record.times, end], [0.0, *record.waiting]
    waiting.append(waiting[-1])
    panel.step(times, waiting, where="post", color=theme.ink, linewidth=1.1)
    panel.fill_between(times, waiting, step="post", color=theme.ink, alpha=0.12, linewidth=0)
    top = max(waiting)
    panel.set_ylim(0, 1.15 * max(top, 1.0))
    panel.set_ylabel("events that wait")
    canvas.ticks(panel.yaxis, 4, whole=True)


def _rebalances(panel: Axes, record: GroupRecord) -> None:
    theme = style.theme()
    pauses = {name: [(begin, end) for other, begin, end in record.pauses if other == name] for name in record.instances}
    for one in record.rebalances:
        panel.axvline(
            one.begin, color=theme.ink, linewidth=0.7, linestyle="-" if one.why == "silent" else ":", zorder=4
        )
        if one.why == "silent":
            still = next((begin for begin, end in pauses[one.instance] if begin <= one.begin < end), one.begin)
            panel.axvspan(
                still,
                max(one.end, one.begin),
                color=theme.fault,
                alpha=0.28 if theme.dark else 0.13,
                linewidth=0,
                zorder=0,
            )


def _handles(record: GroupRecord, looks: dict[str, tuple[str, str]]) -> list[Any]:
    theme = style.theme()
    handles: list[Any] = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=theme.paper, linewidth=0.0, label=f"instance {name}")
        for name, (colour, hatch) in looks.items()
    ]
    handles.append(Patch(facecolor=theme.paper, edgecolor=theme.edge, linewidth=0.6, label="pale: it stands still"))
    if record.rebalances:
        handles.append(
            Patch(facecolor=theme.fault, alpha=0.2, label="a silent instance, until others have its partitions")
        )
        handles.append(Line2D([], [], color=theme.ink, linewidth=0.8, label="rebalance: it was taken for dead"))
        handles.append(Line2D([], [], color=theme.ink, linewidth=0.8, linestyle=":", label="rebalance: it is back"))
    kinds = {kind for _, _, kind in record.strange}
    if "refused" in kinds:
        handles.append(Line2D([], [], color=theme.ink, marker="x", linestyle="", label="late write, refused"))
    if "again" in kinds:
        handles.append(Line2D([], [], color=theme.fault, marker="^", linestyle="", label="event applied again"))
    return handles


def _finding(run: Run, record: GroupRecord) -> str:
    """Say what the picture shows, in a sentence."""
    found = {
        kind: round(float(run.summary[f"group_{record.name}_{kind}"]))
        for kind in ("events", "rebalances", "refused", "again", "late", "skipped", "waiting_max")
    }
    times = _count(found["rebalances"], "rebalance")
    if found["skipped"]:
        return f"'{record.name}': {found['skipped']:,} of {found['events']:,} events were never applied, in {times}"
    if found["again"]:
        late = f", {found['late']:,} of them behind a later one" if found["late"] else ""
        return f"'{record.name}': {_count(found['again'], 'event')} applied again in {times}{late}"
    refused = f"; {_count(found['refused'], 'late write')} refused" if found["refused"] else ""
    return f"'{record.name}': no event lost or applied twice in {times}{refused}; up to {_count(found['waiting_max'], 'event')} waited"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
