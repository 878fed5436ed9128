"""One transaction as a message sequence diagram, as a picture or in letters.

One lane a node, time downwards. A filled tick is a log record or a local commit that was forced to disk, an open one a record that
is written lazily; an arrow with a cross never arrived; a dotted lane is a node that is down, and struck-through words are what the
crash swallowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform

from simtx.event_log.entries import Dropped
from simtx.event_log.log import EventLog, LogEntry
from simtx.report import sequence as sequences
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas
from simtx.report.pictures import compact as compactly
from simtx.report.sequence import Arrow, Mark, Sequence, Shown, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

_LANE_INCHES: Final = 1.9
_ROW_INCHES: Final = 0.26
_TALLEST_INCHES: Final = 120.0  # beyond this matplotlib's pixel limit is near
_FONT: Final = 9.0
_TICK: Final = 0.055  # half a tick, in lanes
_BAND: Final = 0.05  # half a span, in lanes

_LEGEND: Final = {
    "forced": "forced to disk",
    "lazy": "written lazily",
    "volatile": "nothing written",
    "message": "message",
    "publish": "through the broker",
    "lost-message": "lost message",
    "under-way": "not arrived by then",
    "repeated": "arrived again",
    "decided": "outcome is final",
    "timer": "timer fired",
    "in-doubt": "in doubt (locks held)",
    "down": "node is down",
    "lost": "effect lost in the crash",
}


@footed
def draw(
    trace: EventLog,
    tx: int,
    *,
    ax: Axes | None = None,
    start: float | None = None,
    end: float | None = None,
    steps: bool = False,
    title: str = "",
    compact: bool = False,
) -> Axes:
    """Draw the messages, log writes and crashes of one transaction.

    Args:
        trace: The event log of a run (`Run.trace`).
        tx: Number of the transaction.
        ax: Axes to draw into; without, a figure of the right size is made.
        start: Leave out what happened earlier, in seconds since the first event of the transaction.
        end: Leave out what happened later.
        steps: The log tells a story, a millisecond a step (`simtx.checker.Story.trace`): its steps are numbered, not timed.
        title: What to write above it; without, the number of the transaction and its outcome.
        compact: For a slide: what is the same stands in one row ("3 × prepare"), retries are counted, no label covers another.

    Returns:
        The Axes; times on its left edge are milliseconds since the first event of the transaction, or numbers of steps.

    Raises:
        ScenarioError: The trace holds no such transaction, or nothing in this span of time.
    """
    import matplotlib.pyplot as plt

    sequence = sequences.build(trace, tx, start, end)
    with style.context():
        if compact:
            ax = canvas.axes(ax, None, compactly.size(sequence))
            compactly.Pen(sequence, ax, steps=steps).draw(title or _finding(trace, sequence), _said(trace))
            return ax
        if ax is None:
            width = _LANE_INCHES * (len(sequence.lanes) - 1 + _margin(sequence)) + 1.3
            height = min(_TALLEST_INCHES, _ROW_INCHES * (sequence.rows + 5.5) + 0.3)
            _, ax = plt.subplots(figsize=(width, height), layout="constrained")
        _Pen(sequence, ax, steps=steps).draw(title)
    return ax


def _said(trace: EventLog) -> str:
    """Subject of a compact diagram, if the log has it."""
    known = trace.provenance
    if known is None:
        return ""
    changed = ", ".join(f"{path} = {canvas.value(one)}" for path, one in known.changes.items())
    scenario = f"{known.scenario} with {changed}" if changed else known.scenario
    return f"{scenario} · seed {known.seed}, replication {known.replication or 0}"


def _finding(trace: EventLog, sequence: Sequence) -> str:
    """Say which transaction it is, how it ended, and when that was decided."""
    known = trace.provenance
    whose = f" under {', '.join(known.strategies)}" if known is not None else ""
    rows = [mark.row for mark in sequence.marks if mark.kind == "decided"]
    times = [seconds for row, seconds in sequence.times if rows and row <= rows[0]]
    outcome = f": {sequence.outcome}" if sequence.outcome else ""
    after = f" after {duration(times[-1])}" if outcome and times else ""
    return f"Transaction {sequence.tx}{whose}{outcome}{after}"


def _margin(sequence: Sequence) -> float:
    """Room right of the last lane, in lanes, for what is written there."""
    place = {name: position - len(sequence.lanes) + 1 for position, name in enumerate(sequence.lanes)}
    ends = [place[mark.node] + 0.12 + 0.04 * max(map(len, mark.label.split("\n"))) for mark in sequence.marks]
    return max([0.4, *ends])


class _Pen:
    """Draws one sequence into one Axes; x is the number of the lane, y the row."""

    def __init__(self, sequence: Sequence, ax: Axes, *, steps: bool) -> None:
        self.sequence = sequence
        self.ax = ax
        self.steps = steps
        self.x = {name: float(position) for position, name in enumerate(sequence.lanes)}
        self.used: set[str] = set()
        self.theme = style.theme()

    def draw(self, title: str) -> None:
        """All of it, from the back to the front."""
        sequence, ax = self.sequence, self.ax
        ax.set_xlim(-0.5, len(sequence.lanes) - 1 + _margin(sequence))
        ax.set_ylim(sequence.rows + 0.6, -2.3)
        ax.grid(visible=False)
        for side in ("left", "right", "top", "bottom"):
            ax.spines[side].set_visible(False)
        ax.set_xticks([])
        self._times()
        for span in sequence.spans:
            self._span(span)
        for name in sequence.lanes:
            self._lane(name)
        for arrow in sequence.arrows:
            self._arrow(arrow)
        for mark in sequence.marks:
            self._mark(mark)
        outcome = f": {sequence.outcome}" if sequence.outcome else ""
        ax.set_title(title or f"Transaction {sequence.tx}{outcome}")
        self._legend()

    def _times(self) -> None:
        places: list[float] = []
        labels: list[str] = []
        shown: str | None = None
        for row, seconds in self.sequence.times:
            text = f"{1000 * (self.sequence.origin + seconds):.0f}" if self.steps else milliseconds(seconds)
            if text != shown and (not places or row - places[-1] >= 0.85):
                places.append(row)
                labels.append(text)
                shown = text
        self.ax.set_yticks(places, labels, fontsize=_FONT)
        self.ax.tick_params(axis="y", length=0, pad=2)
        since = " since the request" if self.sequence.arrows and self.sequence.arrows[0].kind == "request" else ""
        self.ax.set_ylabel("step" if self.steps else f"ms{since}")
        for row, seconds in self.sequence.breaks:
            self.ax.axhline(row, color="#BBBBBB", linewidth=0.7, linestyle=(0, (1, 3)), zorder=0, gid="break")
            box = {"boxstyle": "square,pad=0.1", "facecolor": self.theme.paper, "edgecolor": "none"}
            note = f"{1000 * seconds:.0f} steps later" if self.steps else f"{duration(seconds)} later"
            self.ax.text(
                -0.47, row, note, fontsize=_FONT, color=self.theme.muted, style="italic", va="center", bbox=box
            )

    def _lane(self, name: str) -> None:
        x, bottom = self.x[name], self.sequence.rows + 0.3
        row = -0.7
        for span in sorted(
            (s for s in self.sequence.spans if s.kind == "down" and s.node == name), key=lambda s: s.top
        ):
            self.ax.plot([x, x], [row, span.top], color="#9A9A9A", linewidth=1.1, zorder=1, gid="lane")
            self.ax.plot(
                [x, x],
                [span.top, span.bottom],
                color=self.theme.fault,
                linewidth=1.1,
                linestyle=(0, (1, 2.5)),
                zorder=1,
                gid="down-lane",
            )
            row = span.bottom
        self.ax.plot([x, x], [row, bottom], color="#9A9A9A", linewidth=1.1, zorder=1, gid="lane")
        light = {"client": "#E3EEF7", "broker": "#EFE7F5", "vote-store": "#EFE7F5"}.get(name, "#F0F0F0")
        colour = self.theme.shade if self.theme.dark else light
        box = {"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": "#888888", "linewidth": 0.8}
        self.ax.text(
            x, -1.35, name, ha="center", va="center", fontsize=_FONT + 1, fontweight="bold", bbox=box, gid="lane-name"
        )

    def _span(self, span: Span) -> None:
        self.used.add(span.kind)
        colour, alpha = (style.IN_DOUBT, 0.85) if span.kind == "in-doubt" else (self.theme.fault, 0.12)
        corner, height = (self.x[span.node] - _BAND, span.top), span.bottom - span.top
        self.ax.add_patch(
            Rectangle(
                corner, 2 * _BAND, height, facecolor=colour, alpha=alpha, edgecolor="none", zorder=0.5, gid=span.kind
            )
        )

    def _arrow(self, arrow: Arrow) -> None:
        source, target = self.x[arrow.source], self.x[arrow.target]
        colour = (
            self.theme.fault if arrow.lost else self.theme.muted if arrow.under_way else style.arrow_colour(arrow.kind)
        )
        dotted = arrow.kind == "confirmation" or arrow.under_way
        dashes: Any = (0, (4, 2)) if arrow.repeated else (0, (1.5, 1.5)) if dotted else "-"
        width = 1.8 if arrow.kind in ("request", "answer") else 1.0
        self.used.add(
            "lost-message"
            if arrow.lost
            else "under-way"
            if arrow.under_way
            else "repeated"
            if arrow.repeated
            else "publish"
            if arrow.kind in ("publish", "delivery")
            else arrow.kind
        )
        short = arrow.under_way or (arrow.lost and not arrow.at_target)
        tip = source + 0.62 * (target - source) if short else target
        head = "-" if arrow.lost or arrow.under_way else "-|>"
        self.ax.annotate(
            "",
            xy=(tip, arrow.bottom),
            xytext=(source, arrow.top),
            arrowprops={
                "arrowstyle": f"{head},head_width=0.17,head_length=0.4" if head != "-" else "-",
                "color": colour,
                "linewidth": width,
                "linestyle": dashes,
                "shrinkA": 0,
                "shrinkB": 1.5,
            },
            zorder=2,
            gid="arrow",
        )
        if arrow.lost:
            self.ax.plot(
                [tip],
                [arrow.bottom],
                marker="x",
                color=self.theme.fault,
                markersize=7,
                markeredgewidth=2,
                zorder=4,
                gid="lost-message",
            )
        self._arrow_label(arrow, source, tip, colour)

    def _arrow_label(self, arrow: Arrow, source: float, tip: float, colour: str) -> None:
        """Write the label into the last space that the arrow crosses: arrows that leave one node together end on different lanes."""
        near = min(0.46, abs(tip - source) / 2)
        x = tip - near if tip > source else tip + near
        share = (x - source) / (tip - source) if tip != source else 1.0
        y = arrow.top + share * (arrow.bottom - arrow.top)
        weight = "bold" if arrow.kind in ("request", "answer") else "normal"
        box = {"boxstyle": "square,pad=0.12", "facecolor": self.theme.paper, "edgecolor": "none", "alpha": 0.9}
        self.ax.text(
            x,
            y,
            arrow.label,
            fontsize=_FONT,
            ha="center",
            va="center",
            color=colour,
            fontweight=weight,
            bbox=box,
            zorder=3,
            gid="arrow-label",
        )

    def _mark(self, mark: Mark) -> None:
        x, y = self.x[mark.node], mark.row
        self.used.add(mark.kind)
        theme = self.theme
        colour, weight, label = theme.ink, "normal", mark.label
        match mark.kind:
            case "forced":
                self.ax.plot(
                    [x - _TICK, x + _TICK],
                    [y, y],
                    color=theme.ink,
                    linewidth=4,
                    solid_capstyle="butt",
                    zorder=4,
                    gid="forced",
                )
            case "lazy":
                self._open_tick(x, y)
            case "volatile":
                colour = theme.muted
                self._point(mark, marker="o", markersize=3.2, color=colour, zorder=4)
            case "decided":
                colour, weight = (theme.good if label.endswith("committed") else style.REFUSED), "bold"
                self._point(mark, marker="D", markersize=7, color=colour, zorder=5)
            case "timer":
                colour = theme.muted
                self._point(mark, marker=r"$\circlearrowright$", markersize=9, color=colour, zorder=4)
            case "crash":
                colour, weight = theme.fault, "bold"
                for shift in (-0.16, 0.16):
                    self.ax.plot(
                        [x - 0.09, x + 0.09],
                        [y + shift + 0.14, y + shift - 0.14],
                        color=theme.fault,
                        linewidth=2.2,
                        zorder=5,
                        gid="cut",
                    )
            case "restart":
                colour = theme.fault
                self._point(
                    mark, marker="^", markersize=7, markerfacecolor=theme.paper, markeredgecolor=colour, zorder=5
                )
            case "alert" | "lost":
                colour = theme.fault
            case _:
                assert_never(mark.kind)
        box = {"boxstyle": "square,pad=0.1", "facecolor": theme.paper, "edgecolor": "none", "alpha": 0.85}
        words = _StruckText if mark.kind == "lost" else Text
        # what a crash leaves stands on the left of the node beside the client: its messages go to the right
        side = -1 if mark.kind in ("crash", "restart", "lost") and self.sequence.lanes.index(mark.node) == 1 else 1
        several = "\n" in label
        text = words(
            x + side * (0.12 if mark.kind == "crash" else 0.085),
            y - 0.32 if several else y,
            label,
            fontsize=_FONT,
            verticalalignment="top" if several else "center",
            horizontalalignment="left" if side > 0 else "right",
            color=colour,
            fontweight=weight,
            zorder=4,
        )
        text.set_bbox(box)
        text.set_gid(f"{mark.kind}-label")
        self.ax.add_artist(text)

    def _point(self, mark: Mark, **looks: Any) -> None:
        self.ax.plot([self.x[mark.node]], [mark.row], gid=mark.kind, **looks)

    def _open_tick(self, x: float, y: float) -> None:
        size = 0.13
        self.ax.add_patch(
            Rectangle(
                (x - _TICK, y - size),
                2 * _TICK,
                2 * size,
                facecolor=self.theme.paper,
                edgecolor=self.theme.ink,
                linewidth=1.1,
                zorder=4,
                gid="lazy",
            )
        )

    def _legend(self) -> None:
        def line(**options: Any) -> Line2D:
            return Line2D([], [], **{"linestyle": "none", "markersize": 7, "color": self.theme.ink, **options})

        proxies: dict[str, Any] = {
            "forced": line(linestyle="-", linewidth=4),
            "lazy": line(marker="s", markerfacecolor=self.theme.paper),
            "volatile": line(marker="o", markersize=3.2, color=self.theme.muted),
            "message": line(linestyle="-", marker=">", markersize=5, color=style.arrow_colour("message"), linewidth=1),
            "publish": line(linestyle="-", marker=">", markersize=5, color=style.arrow_colour("publish"), linewidth=1),
            "lost-message": line(marker="x", markeredgewidth=2, color=self.theme.fault),
            "under-way": line(linestyle=(0, (1.5, 1.5)), linewidth=1, color=self.theme.muted),
            "repeated": line(linestyle=(0, (4, 2)), linewidth=1, color=style.arrow_colour("message")),
            "decided": line(
                marker="D", color=self.theme.good if self.sequence.outcome == "committed" else style.REFUSED
            ),
            "timer": line(marker=r"$\circlearrowright$", color=self.theme.muted, markersize=9),
            "in-doubt": Patch(facecolor=style.IN_DOUBT, alpha=0.85),
            "down": line(linestyle=(0, (1, 2.5)), color=self.theme.fault, linewidth=1.4),
            "lost": line(marker=r"$\mathrm{abc}$", markersize=17, color=self.theme.fault),
        }
        chosen = [kind for kind in _LEGEND if kind in self.used]
        legend = self.ax.legend(
            [proxies[kind] for kind in chosen],
            [_LEGEND[kind] for kind in chosen],
            loc="upper left",
            bbox_to_anchor=(0.0, 0.0),
            ncols=max(1, min(len(chosen), round(1.1 * len(self.x)))),
            fontsize=_FONT,
            handletextpad=0.6,
            columnspacing=1.4,
            borderaxespad=0.2,
        )
        legend.set_gid("legend")


class _StruckText(Text):
    """Text with a line through it, whatever the size of the figure is when it is drawn."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the words, then the line."""
        super().draw(renderer)
        box = self.get_window_extent(renderer)
        middle = (box.y0 + box.y1) / 2
        line = Line2D(
            [box.x0 - 1, box.x1 + 1],
            [middle, middle],
            color=self.get_color(),
            linewidth=1.1,
            transform=IdentityTransform(),
        )
        line.draw(renderer)


def milliseconds(seconds: float) -> str:
    """A time on the left edge, such as ``12.3``: short, in milliseconds."""
    value = 1000 * seconds
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"


def duration(seconds: float) -> str:
    """A length of time with its unit, such as ``2.5 s``."""
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1000 * seconds:.3g} ms"


def render(trace: EventLog, tx: int, *, start: float | None = None, end: float | None = None) -> str:
    """The same diagram in letters, for a terminal: one line an event with its time, node and what happened.

    Args:
        trace: The event log of a run (`Run.trace`).
        tx: Number of the transaction.
        start: Leave out what happened earlier, in seconds since the first event of the transaction.
        end: Leave out what happened later.

    Raises:
        ScenarioError: The trace holds no such transaction, or nothing in this span of time.
    """
    events = sequences.events_of(trace, tx, start, end)
    origin = trace.of(tx)[0].time
    nodes = {event.node for event in events if event.tx >= 0}
    kinds = ((event, sequences.shown(event)) for event in events if event.tx >= 0 or event.node in nodes)
    shown = [(event, kind) for event, kind in kinds if kind is not None]
    changes = sequences.changes_of(events)
    width = max(len(event.node) for event, _ in shown)
    lines = [f"transaction {tx}; time in ms since its first event, {origin:.6f} s after the start of the run"]
    for event, kind in shown:
        words = _sentence(event, kind, changes.get(event.id, ""))
        lines.append(f"{1000 * (event.time - origin):>12.3f}  {event.node:<{width}}  {words}")
    return "\n".join(lines)


def _sentence(event: LogEntry, kind: Shown, change: str) -> str:
    label = sequences.label_of(event, kind, change)
    written = {"forced": " [forced]", "lazy": " [lazy]", "volatile": ""}
    match kind:
        case "request":
            return f"<-- client        {label}"
        case "answer":
            return f"--> client        answer: {event.name}"
        case "send":
            return f"--> {event.peer:<13} {label}"
        case "receive":
            return f"<-- {event.peer:<13} {label}"
        case "drop":
            why = f"{event.peer} is down" if Dropped.read(event).down else "lost in the network"
            return f"--x {event.peer:<13} {label} ({why})"
        case "publish":
            return f"==> broker        {label}"
        case "confirm":
            return f"<== broker        ack {event.name}".rstrip()
        case "deliver":
            return f"<== broker        {label}"
        case "logonce":
            return f"==> vote-store    log once {event.detail} of {event.name}"
        case "logged":
            return f"<== vote-store    {event.name}: {event.detail}"
        case "acknowledge":
            return f"==> broker        acknowledged {event.name}".rstrip()
        case "append":
            return f"log {label}{written[sequences.durability(event, kind)]}"
        case "transact" | "prepare" | "execute" | "commit" | "rollback":
            return f"store {label}{written[sequences.durability(event, kind)]}"
        case "crash" | "restart":
            return f"*** {label} ***"
        case "lost":
            return f"lost in the crash: {label}"
        case "decided" | "timer" | "suspect" | "alert" | "forget" | "reject" | "wait":
            return label
        case _:
            assert_never(kind)
