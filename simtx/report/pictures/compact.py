"""A message diagram for a slide: what is the same stands in one row, retries are counted, labels have a row for themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, assert_never

from matplotlib.patches import Rectangle

from simtx.report import style
from simtx.report.pictures import canvas
from simtx.report.sequence import Arrow, Mark, Sequence, Span, Symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW: Final = 0.27  # inches
_WIDE: Final = 13.3
_HIGH: Final = 7.5
_TICK: Final = 0.06
_QUIET: Final = frozenset({"volatile", "timer", "lost"})


@dataclass(slots=True)
class Group:
    """One row: equal messages that leave or reach one node, or equal marks on several nodes.

    Attributes:
        key: What they have in common.
        arrows: The messages.
        marks: The marks.
        first: Row of the first of them in the full diagram.
        last: Row of the last one.
    """

    key: tuple[Any, ...]
    arrows: list[Arrow] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    first: float = 0.0
    last: float = 0.0


def size(sequence: Sequence) -> tuple[float, float]:
    """Inches of a figure: a slide, or less if there is less to show."""
    rows = len(groups(sequence))
    return min(_WIDE, 1.8 + 1.9 * len(sequence.lanes)), min(_HIGH, 1.9 + _ROW * rows)


def groups(sequence: Sequence) -> list[Group]:
    """The rows of a compact diagram, from top to bottom."""
    items: list[tuple[float, Arrow | Mark]] = [(one.top, one) for one in sequence.arrows]
    items += [(one.row, one) for one in sequence.marks if one.kind not in _QUIET]
    items.sort(
        key=lambda one: (round(one[0], 9), isinstance(one[1], Arrow))
    )  # a record is written before the message that tells of it
    found: list[Group] = []
    for row, one in items:
        group = _joined(found, one)
        if group is None:
            group = Group(_key(one), first=row)
            found.append(group)
        if isinstance(one, Arrow):
            group.arrows.append(one)
            group.last = max(group.last, one.bottom)
        else:
            group.marks.append(one)
            group.last = max(group.last, row)
    return found


def _key(one: Arrow | Mark) -> tuple[Any, ...]:
    return (one.kind, one.label) if isinstance(one, Arrow) else ("mark", one.kind, _plain(one.label))


def _plain(label: str) -> str:
    """A label without what is particular to one service."""
    return (
        label.split("\n", maxsplit=1)[0].split(" ", maxsplit=1)[0].rstrip(":")
        if label.startswith(("commit", "rollback", "prepare", "execute"))
        else label.split("\n", maxsplit=1)[0]
    )


def _joined(found: list[Group], one: Arrow | Mark) -> Group | None:
    """The row that this one can stand in: the last of its kind, if nothing has happened since then where it happens or where all of its row meet.

    So what is sent at once or comes one after the other to one node shares a row, and steps that wait for each other do not. Alerts do not count:
    retries with alerts between them share a row.
    """
    key = _key(one)
    since: set[str] = set()
    for group in reversed(found):
        if group.key == key and (not isinstance(one, Arrow) or _bundle(group.arrows, one)):
            nodes = {one.source, one.target} | _meeting(group.arrows) if isinstance(one, Arrow) else {one.node}
            return None if nodes & since else group
        if not (group.marks and group.marks[0].kind == "alert"):
            since |= {name for each in group.arrows for name in (each.source, each.target)} | {
                each.node for each in group.marks
            }
    return None


def _meeting(arrows: list[Arrow]) -> set[str]:
    """The nodes that all arrows of a row have in common."""
    return set.intersection(*({each.source, each.target} for each in arrows))


def _bundle(arrows: list[Arrow], one: Arrow) -> bool:
    """Return whether an arrow leaves where all the others leave, or ends where they end."""
    return all(each.source == one.source for each in arrows) or all(each.target == one.target for each in arrows)


# --- drawing ----------------------------------------------------------------------------------------------------------------


class Pen:
    """Draws one sequence compactly; x is the number of the lane, y the row.

    Args:
        sequence: What is drawn.
        ax: Where.
        steps: Whether its times are numbers of steps.
    """

    def __init__(self, sequence: Sequence, ax: Axes, *, steps: bool) -> None:
        self.sequence = sequence
        self.ax = ax
        self.steps = steps
        self.groups = groups(sequence)
        self.x = {name: float(position) for position, name in enumerate(sequence.lanes)}
        self.theme = style.theme()
        self.small = style.size(style.SMALL)
        self.lane = canvas.points(ax)[0] / (len(self.x) + 0.5)

    def draw(self, title: str, said: str) -> None:
        """All of it."""
        ax, rows = self.ax, len(self.groups)
        ax.set_xlim(-0.5, len(self.x))
        ax.set_ylim(rows - 0.2, -1.7)
        ax.grid(visible=False)
        for side in ("left", "right", "top", "bottom"):
            ax.spines[side].set_visible(False)
        ax.set_xticks([])
        ax.set_yticks(range(rows), [self._time(group) for group in self.groups])
        ax.tick_params(axis="y", length=0)
        ax.set_ylabel("step" if self.steps else "ms since the request")
        for span in self.sequence.spans:
            self._span(span)
        for name, x in self.x.items():
            ax.plot([x, x], [-0.75, rows - 0.4], color=self.theme.muted, linewidth=1, zorder=1)
            box = {
                "boxstyle": "round,pad=0.4",
                "facecolor": self.theme.shade,
                "edgecolor": self.theme.edge,
                "linewidth": 0.8,
            }
            ax.text(
                x,
                -1.15,
                canvas.short(name, self.lane * 0.85, self.small),
                ha="center",
                va="center",
                fontsize=self.small,
                fontweight="bold",
                bbox=box,
            )
        for row, group in enumerate(self.groups):
            if group.arrows:
                self._arrows(row, group)
            else:
                self._marks(row, group)
        canvas.titled(ax, title, said)

    def _time(self, group: Group) -> str:
        times = [seconds for row, seconds in self.sequence.times if group.first - 1e-9 <= row <= group.last + 1e-9]
        if not times:
            return ""
        if self.steps:
            return f"{1000 * (self.sequence.origin + times[0]):.0f}"
        first, last = 1000 * times[0], 1000 * times[-1]
        if last - first < 0.05 * max(last, 1.0):
            return canvas.tick(first)
        return f"{canvas.tick(first)}–{canvas.tick(last)}"

    def _row(self, place: float, node: str) -> float:
        """The row of a compact diagram that a place of the full one has become, as this node sees it."""
        best = (float("inf"), 0.0)
        for row, group in enumerate(self.groups):
            if any(node in (one.source, one.target) for one in group.arrows) or any(
                one.node == node for one in group.marks
            ):
                own = [one.top for one in group.arrows if node in (one.source, one.target)] + [
                    one.row for one in group.marks if one.node == node
                ]
                best = min(best, (min(abs(one - place) for one in own), float(row)))
        return best[1]

    def _span(self, span: Span) -> None:
        top, bottom = self._row(span.top, span.node), self._row(span.bottom, span.node)
        colour, alpha = (style.IN_DOUBT, 0.8) if span.kind == "in-doubt" else (self.theme.fault, 0.25)
        self.ax.add_patch(
            Rectangle(
                (self.x[span.node] - 0.045, top),
                0.09,
                max(bottom - top, 0.3),
                facecolor=colour,
                alpha=alpha,
                edgecolor="none",
                zorder=0.6,
            )
        )

    def _arrows(self, row: int, group: Group) -> None:
        arrows = group.arrows
        pairs = Counter((one.source, one.target) for one in arrows)
        arrived = {(one.source, one.target) for one in arrows if not one.lost and not one.under_way}
        kind = arrows[0].kind
        colour = self.theme.ink
        if kind != "message":
            colour = style.arrow_colour("publish" if kind == "confirmation" else kind)
        fan_out = len({source for source, _ in pairs}) == 1
        meeting = arrows[0].source if fan_out else arrows[0].target
        for source, target in pairs:
            good = (source, target) in arrived
            self.ax.annotate(
                "",
                xy=(self.x[target], row),
                xytext=(self.x[source], row),
                zorder=2,
                arrowprops={
                    "arrowstyle": "-|>,head_width=0.17,head_length=0.4" if good else "-",
                    "color": colour if good else self.theme.fault,
                    "linewidth": 1.7 if kind in ("request", "answer") else 1.1,
                    "linestyle": "-" if good else (0, (4, 2)),
                    "shrinkA": 0,
                    "shrinkB": 1.5 if good else 6,
                },
            )
            other = target if fan_out else source
            if not good:
                before = self.x[target] + (0.07 if self.x[source] > self.x[target] else -0.07)
                self._point(before, row, marker="x", color=self.theme.fault, markersize=6, markeredgewidth=2, zorder=4)
            elif not fan_out or len(pairs) > 1:
                self._point(
                    self.x[meeting if fan_out else other], row, marker="o", markersize=3, color=colour, zorder=3
                )
        self._say(row, group, pairs, meeting, colour)

    def _say(self, row: int, group: Group, pairs: Counter[tuple[str, str]], meeting: str, colour: str) -> None:
        """The label in the gap beside the node where the arrows meet."""
        label = group.arrows[0].label or "message"
        words = label if len(pairs) == 1 else f"{len(pairs)} × {label}"
        most = max(pairs.values())
        if most > 1:
            words += f", {'up to ' if len(pairs) > 1 else ''}{most} times"
        lost = sum(one.lost for one in group.arrows)
        if lost:
            words += f" ({lost} lost)"
        others = [self.x[name] for pair in pairs for name in pair if name != meeting] or [self.x[meeting] + 1]
        right = sum(one > self.x[meeting] for one in others) >= len(others) / 2
        nearest = min((abs(one - self.x[meeting]) for one in others if (one > self.x[meeting]) == right), default=1.0)
        box = {"boxstyle": "square,pad=0.15", "facecolor": self.theme.paper, "edgecolor": "none"}
        room = self.lane * nearest
        at = self.x[meeting] + (0.5 if right else -0.5) * nearest
        self.ax.text(
            at,
            row,
            canvas.short(words, room * 0.86, self.small),
            ha="center",
            va="center",
            fontsize=self.small,
            color=colour,
            bbox=box,
            zorder=3,
            fontweight="bold" if group.arrows[0].kind in ("request", "answer") else "normal",
        )

    def _marks(self, row: int, group: Group) -> None:
        on = Counter(one.node for one in group.marks)
        labels = {one.node: one.label.split("\n")[0] for one in group.marks}
        for node, times in on.items():
            x, kind = self.x[node], group.marks[0].kind
            colour = self._mark(x, row, kind, labels[node])
            words = labels[node] + (f", {times} times" if times > 1 else "")
            following = [place for place in self.x.values() if place > x]
            room = self.lane * ((min(following) - x) if following else 0.95) - 16
            box = {"boxstyle": "square,pad=0.08", "facecolor": self.theme.paper, "edgecolor": "none", "alpha": 0.85}
            self.ax.text(
                x + 0.09,
                row,
                canvas.short(words, room, self.small),
                ha="left",
                va="center",
                fontsize=self.small,
                color=colour,
                bbox=box,
                zorder=4,
                fontweight="bold" if kind in ("decided", "crash") else "normal",
            )

    def _mark(self, x: float, row: float, kind: Symbol, label: str) -> str:
        ink, fault, paper = self.theme.ink, self.theme.fault, self.theme.paper
        match kind:
            case "forced":
                ends = [x - _TICK, x + _TICK]
                self.ax.plot(ends, [row, row], color=ink, linewidth=4, solid_capstyle="butt", zorder=4)
                return ink
            case "lazy":
                self._point(x, row, marker="s", markersize=6, markerfacecolor=paper, markeredgecolor=ink, zorder=4)
                return ink
            case "decided":
                refused = "#FFB870" if self.theme.dark else "#9A4A00"
                colour = self.theme.good if label.endswith("committed") else refused
                self._point(x, row, marker="D", markersize=7, color=colour, zorder=5)
                return colour
            case "crash" | "restart":
                self._point(x, row, marker="X" if kind == "crash" else "^", markersize=7, color=fault, zorder=5)
                return fault
            case "alert" | "volatile" | "timer" | "lost":
                self._point(x, row, marker="o", markersize=4, color=fault, zorder=5)
                return fault
            case _:
                assert_never(kind)

    def _point(self, x: float, row: float, **looks: Any) -> None:
        self.ax.plot([x], [row], **looks)
