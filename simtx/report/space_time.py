"""One transaction as a message diagram in SVG, made for a page: every part knows at which step it appears, and says more when it is pointed at.

It stands by itself in a report, without any script; `simtx.lab.timeline` lets a reader step through it. Places are those of `simtx.report.sequence`. Words and
lines take the colours of the page. A part that belongs to a step has `data-from`, the row at which it begins, and `data-to`, at which it is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Final, assert_never

from simtx.event_log.log import EventLog
from simtx.report import style
from simtx.report.sequence import Arrow, Mark, Sequence, Span, build

_LANE: Final = 190.0  # pixels between lanes
_ROW: Final = 23.0  # pixels of a row
_LEFT: Final = 96.0  # of the first lane: what is left of it is the time
_RIGHT: Final = 190.0  # right of the last lane: for what is written there
_TOP: Final = 58.0
_LETTER: Final = 6.4  # pixels of an average letter
_HEAD: Final = 5.0
_INK: Final = "var(--jp-content-font-color1, currentColor)"
_MUTED: Final = "var(--jp-content-font-color2, #777)"
_PAPER: Final = "var(--jp-layout-color0, Canvas)"
_COLOURS: Final = {
    "message": _INK,
    "publish": "#8E63B5",
    "delivery": "#8E63B5",
    "confirmation": "#8E63B5",
    "request": "#3A87C8",
    "answer": "#3A87C8",
}
_BAD: Final = f"var(--jp-error-color1, {style.FAULT})"
_GOOD: Final = "#2E9E77"
_SAID: Final = {
    "forced": "forced to disk",
    "lazy": "written lazily",
    "volatile": "nothing written",
    "decided": "the outcome is final",
    "timer": "a timer fired",
    "alert": "somebody has to know",
    "crash": "the process dies, and with it what is not on disk",
    "restart": "the process is back, with what is on disk",
    "lost": "an effect that the crash has swallowed",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a diagram.

    Attributes:
        row: Down to which row the diagram has come; below 0: nothing yet.
        text: What happens, in a line.
    """

    row: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A diagram for a page.

    Attributes:
        svg: The picture.
        steps: Its steps.
        title: What it shows.
    """

    svg: str
    steps: tuple[Step, ...]
    title: str


def drawing(trace: EventLog, tx: int, *, told: tuple[str, ...] = (), title: str = "") -> Drawing:
    """Draw one transaction.

    Args:
        trace: The event log.
        tx: Number of the transaction.
        told: The log tells a story, a millisecond a step: the lines of these steps.
        title: What stands above it; empty: the number of the transaction and its outcome.

    Raises:
        ScenarioError: The log holds no such transaction.
    """
    sequence = build(trace, tx)
    outcome = f": {sequence.outcome}" if sequence.outcome else ""
    title = title or f"Transaction {tx}{outcome}"
    pen = _Pen(sequence, numbered=bool(told))
    picture = pen.svg(title)
    return Drawing(picture, tuple(_told(sequence, told) if told else pen.steps()), title)


def svg(trace: EventLog, tx: int, *, title: str = "") -> str:
    """The diagram of one transaction, for a report.

    Raises:
        ScenarioError: The log holds no such transaction.
    """
    return drawing(trace, tx, title=title).svg


def _told(sequence: Sequence, told: tuple[str, ...]) -> list[Step]:
    """The steps of a story: the log has a millisecond for each."""
    found = []
    for number, text in enumerate(told, start=1):
        rows = [row for row, time in sequence.times if 1000 * (sequence.origin + time) <= number + 1e-6]
        found.append(Step(max(rows, default=-1.0), text))
    return found


class _Pen:
    """Draws one diagram."""

    def __init__(self, sequence: Sequence, *, numbered: bool) -> None:
        self.sequence = sequence
        self.numbered = numbered
        self._places = {name: _LEFT + _LANE * index for index, name in enumerate(sequence.lanes)}
        self._parts: list[str] = []
        self._known: list[tuple[float, str]] = []

    def svg(self, title: str) -> str:
        """The whole."""
        self._lanes()
        for span in self.sequence.spans:
            self._span(span)
        for arrow in sorted(self.sequence.arrows, key=lambda one: one.top):
            self._arrow(arrow)
        for mark in sorted(self.sequence.marks, key=lambda one: one.row):
            self._mark(mark)
        self._times()
        width = _LEFT + _LANE * (len(self.sequence.lanes) - 1) + _RIGHT
        height = self._y(self.sequence.rows) + 14
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
            f'role="img" font-family="system-ui, sans-serif" font-size="12" data-row="{_ROW:g}" style="max-width:100%;height:auto">'
            f"<title>{escape(title)}</title>{_text(8, 18, title, weight='bold', size=14)}{''.join(self._parts)}</svg>"
        )

    def steps(self) -> list[Step]:
        """One step for each row at which something begins or arrives."""
        rows: dict[float, list[str]] = {}
        for row, text in sorted(self._known, key=lambda one: one[0]):
            rows.setdefault(row, []).append(text)
        return [Step(row, f"{self._when(row)}: {'; '.join(texts)}") for row, texts in rows.items()]

    def _y(self, row: float) -> float:
        return _TOP + 26 + _ROW * row

    def _when(self, row: float) -> str:
        """The time at a row."""
        before = [time for at, time in self.sequence.times if at <= row + 1e-9]
        time = before[-1] if before else 0.0
        if self.numbered:
            return f"step {round(1000 * (self.sequence.origin + time))}"
        return _duration(time)

    def _part(self, inside: str, start: float, end: float, tip: str, kind: str = "") -> None:
        hint = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(
            f'<g class="part" data-kind="{kind}" data-from="{start:.3f}" data-to="{end:.3f}" data-tip="{escape(tip)}">{hint}{inside}</g>'
        )

    def _lanes(self) -> None:
        bottom = self._y(self.sequence.rows)
        for name, x in self._places.items():
            self._parts.append(_line(x, _TOP + 8, x, bottom, _MUTED, 1.0, opacity=0.6))
            self._parts.append(_text(x, _TOP, name, anchor="middle", weight="bold"))

    def _times(self) -> None:
        shown = -math.inf
        for row, _ in self.sequence.times:
            if row - shown >= 1.2:
                self._parts.append(_text(8, self._y(row) + 4, self._when(row), colour=_MUTED, size=10.5))
                shown = row
        for row, seconds in self.sequence.breaks:
            if not self.numbered:
                self._parts.append(_text(8, self._y(row) + 4, f"⋮ {_duration(seconds)}", colour=_MUTED, size=10.5))

    def _span(self, span: Span) -> None:
        x, top, bottom = self._places[span.node], self._y(span.top), self._y(span.bottom)
        doubt = span.kind == "in-doubt"
        until = f"from {self._when(span.top)} to {self._when(span.bottom)}"
        tip = f"{span.node}: {'in doubt, its locks are held' if doubt else 'down'}, {until}"
        fill = "#F5C55A" if doubt else _BAD
        self._part(
            f'<rect x="{x - 6:.1f}" y="{top:.1f}" width="12" height="{max(bottom - top, 2):.1f}" fill="{fill}" opacity="{0.75 if doubt else 0.3}"/>',
            span.top,
            span.bottom,
            tip,
            kind="span",
        )

    def _arrow(self, one: Arrow) -> None:
        x, end = self._places[one.source], self._places[one.target]
        top, bottom = self._y(one.top), self._y(one.bottom)
        colour = _BAD if one.lost else _COLOURS[one.kind]
        if one.lost and not one.at_target:
            end, bottom = x + 0.6 * (end - x), top + 0.6 * (bottom - top)
        dashes = "5 4" if one.lost or one.under_way else "2 3" if one.repeated else ""
        side = 1 if end > x else -1
        inside = _line(x, top, end - side * (0 if one.lost else 1), bottom, colour, 1.5, dashes=dashes)
        if one.lost:
            inside += _line(end - 5, bottom - 5, end + 5, bottom + 5, _BAD, 2) + _line(
                end - 5, bottom + 5, end + 5, bottom - 5, _BAD, 2
            )
        else:
            slope = math.atan2(bottom - top, end - x)
            reach = 1.7 * _HEAD
            points = [(end, bottom)] + [
                (end + reach * math.cos(slope + turn), bottom + reach * math.sin(slope + turn)) for turn in (2.7, -2.7)
            ]
            inside += f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" fill="{colour}"/>'
        words = one.label
        near = end - side * (8 + _LETTER * len(words) / 2)
        inside += _text(
            near, bottom - 5 if abs(bottom - top) < 3 else bottom - 3, words, anchor="middle", colour=colour, halo=True
        )
        fate = (
            "lost" + (", as its target was down" if one.at_target else "")
            if one.lost
            else "under way"
            if one.under_way
            else f"arrives at {self._when(one.bottom)}" + (", a second time" if one.repeated else "")
        )
        tip = f"{one.kind} '{one.label}' from {one.source} to {one.target}: leaves at {self._when(one.top)}, {fate}"
        self._part(inside, one.top, one.bottom, tip)
        self._known.append((one.top, f"{one.source} sends {one.label} to {one.target}"))
        if not one.under_way and one.bottom > one.top:
            self._known.append(
                (one.bottom, f"{one.label} from {one.source} {'is lost' if one.lost else f'reaches {one.target}'}")
            )

    def _mark(self, one: Mark) -> None:
        x, y = self._places[one.node], self._y(one.row)
        first, *more = one.label.split("\n")
        colour = {"decided": _GOOD, "crash": _BAD, "restart": _GOOD, "lost": _BAD, "alert": _BAD}.get(one.kind, _INK)
        match one.kind:
            case "crash" | "lost":
                shape = _line(x - 5, y - 5, x + 5, y + 5, _BAD, 2.2) + _line(x - 5, y + 5, x + 5, y - 5, _BAD, 2.2)
            case "decided" | "timer" | "alert" | "restart":
                fill = colour if one.kind == "decided" else _PAPER
                shape = (
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.6"/>'
                )
            case "forced" | "lazy" | "volatile":
                fill = _INK if one.kind == "forced" else _PAPER if one.kind == "lazy" else "none"
                shape = f'<rect x="{x - 8:.1f}" y="{y - 3:.1f}" width="16" height="6" fill="{fill}" stroke="{_INK}"/>'
            case _:
                assert_never(one.kind)
        weight = "bold" if one.kind in ("decided", "crash") else "normal"
        strike = one.kind == "lost"
        inside = shape + "".join(
            _text(x + 13, y + 4 + 14 * line, words, colour=colour, weight=weight, halo=True, strike=strike)
            for line, words in enumerate([first, *more])
        )
        tip = f"{one.node}, {self._when(one.row)}: {one.label} ({_SAID[one.kind]})".replace("\n", " ")
        self._part(inside, one.row, one.row, tip)
        self._known.append((one.row, f"{one.node}: {' '.join([first, *more])}"))


def _duration(seconds: float) -> str:
    return f"{seconds:.4g} s" if seconds >= 1 else f"{1000 * seconds:.4g} ms"


def _line(
    x: float, y: float, to_x: float, to_y: float, colour: str, width: float, *, dashes: str = "", opacity: float = 1.0
) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    pale = f' opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" stroke-width="{width:g}"{dashed}{pale}/>'


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    colour: str = _INK,
    weight: str = "normal",
    size: float = 12,
    halo: bool = False,
    strike: bool = False,
) -> str:
    around = f' stroke="{_PAPER}" stroke-width="3" paint-order="stroke" stroke-linejoin="round"' if halo else ""
    struck = ' text-decoration="line-through"' if strike else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}" font-size="{size:g}"{around}{struck}>'
        f"{escape(words)}</text>"
    )
