"""The state machine of a protocol as it stands in its transition table, with the rows that a run or an exploration has taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import networkx as nx
from matplotlib.patches import FancyArrowPatch

from simtx.errors import ScenarioError
from simtx.event_log.entries import Handled
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas
from simtx.scenario.units import hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.checker.protocols.verify import Verdict
    from simtx.event_log.log import EventLog
    from simtx.metrics.run import Run
    from simtx.protocols import Machine, Strategy, Transition
    from simtx.scenario import Scenario

_MANY: Final = 4  # states in a column
_ASIDE: Final = 0.45  # of a column
_SHARE: Final = 0.58  # of the width, for states; the rest is the table
_SERVICE: Final = "service"
_LINE: Final = 1.25  # height of a line, in font sizes


class Taken(NamedTuple):
    """Rows that were taken.

    Attributes:
        rows: How often, by (state, event); of an exploration only whether.
        steps: The same by (state, event, state afterwards), as far as the state afterwards is known.
        counted: Whether the numbers are counts.
        words: By what, for the line below the title.
    """

    rows: Mapping[tuple[str, str], int]
    steps: Mapping[tuple[str, str, str], int]
    counted: bool
    words: str


def roles(strategy: Strategy) -> dict[str, type[Machine]]:
    """The machines of a strategy by their role: the hub's first, then that of a service, then what runs on its node all the time."""
    nodes = [strategy.hub, _SERVICE] if strategy.hub else [_SERVICE]
    made = [strategy.machine(node, 0) for node in nodes] + list(strategy.daemons(_SERVICE))
    return {one.role or type(one).__name__: type(one) for one in made}


@footed
def machine(
    strategy: Strategy,
    role: str | None = None,
    *,
    of: Run | EventLog | Verdict | Taken | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """States and transitions of one role of a strategy; numbers at the arrows are those of the table beside it.

    Args:
        strategy: The strategy.
        role: ``coordinator``, ``participant``, ``orchestrator``, ``service``, ``relay``; None: that of the node which clients turn to.
        of: What has taken transitions: a run, which is played again if its log is not full, a full event log (``trace="full"``), or a verdict of
            `simtx.verify`, or these rows. Rows that it has not taken are dashed and grey.
        ax: Where to draw, as a frame; None: in a new figure.
        figsize: Inches of a new figure.

    Raises:
        ScenarioError: The strategy has no such role, the log is not full, or nothing of this strategy is in it.
    """
    known = roles(strategy)
    name = role or next(iter(known))
    if name not in known:
        raise ScenarioError(f"{strategy.name} has no role '{name}'; {hint(name, known)}", "diagram")
    kind = known[name]
    taken = of if of is None or isinstance(of, Taken) else _taken(of, name)
    rows = _merged(kind.transitions)
    with style.context():
        small = style.size(style.SMALL)
        ax = canvas.axes(ax, figsize, (12.0, _height(rows, taken, small)))
        ax.set_axis_off()
        _states(
            ax.inset_axes((0.0, 0.0, _SHARE, 1.0)),
            kind,
            rows,
            taken,
            (canvas.points(ax)[0] * _SHARE * 1.1, canvas.points(ax)[1]),
        )
        _table(
            ax.inset_axes((_SHARE + 0.03, 0.0, 1 - _SHARE - 0.03, 1.0)), rows, taken, _table_room(canvas.points(ax)[0])
        )
        canvas.titled(
            ax,
            _finding(strategy.name, name, rows, taken),
            taken.words if taken else f"transition table of {kind.__name__}",
            left=12,
        )
    return ax


def automaton(
    strategy: Strategy,
    scenario: Scenario | str,
    role: str | None = None,
    *,
    seed: int = 1,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draws the automaton that the fast engine has learned of a role while it played a scenario: see `BuiltIn.automaton`."""
    from simtx.scenario import load
    from simtx.simulator.automaton import automaton as learned

    played = load(scenario)
    known = roles(strategy)
    name = role or next(iter(known))
    if name not in known:
        raise ScenarioError(f"{strategy.name} has no role '{name}'; {hint(name, known)}", "automaton")
    table = learned(played, strategy, seed=seed)
    mine = table[table["role"] == name]
    if mine.empty:
        raise ScenarioError(f"the fast engine has learned nothing of the role '{name}'", "automaton")
    steps = {(state, event, then): int(n) for state, event, then, n in mine[["state", "event", "then", "taken"]].values}
    rows: Counter[tuple[str, str]] = Counter()
    for (state, event, _), count in steps.items():
        rows[state, event] += count
    words = f"{canvas.about(played, seed=seed)} · {mine['pairs'].sum():,} pairs of state and event learned"
    return machine(strategy, name, of=Taken(rows, steps, counted=True, words=words), ax=ax, figsize=figsize)


class Row(NamedTuple):
    """Transitions of one state that do the same: one line of the table.

    Attributes:
        state: The state before.
        events: What happens.
        to: The states afterwards.
        note: What is done.
    """

    state: str
    events: tuple[str, ...]
    to: tuple[str, ...]
    note: str


def _merged(table: tuple[Transition, ...]) -> list[Row]:
    found: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for row in table:
        found.setdefault((row.state, row.to, row.note), []).append(row.event)
    return [Row(state, tuple(events), to, note) for (state, to, note), events in found.items()]


def _table_room(width: float) -> float:
    """Points for the words of the table."""
    return width * (1 - _SHARE - 0.03) * 1.1 - 26


def _height(rows: list[Row], taken: Taken | None, small: float) -> float:
    """Inches that the table needs, with what stands above and below."""
    room = _table_room(12.0 * 72 * 0.775)
    return max(4.2, 1.2 + sum(_needs(_words(row, taken, room, small)) for row in rows) * small * _LINE / 72)


def _needs(text: str) -> float:
    """Lines of the table that a text takes."""
    return text.count("\n") + 1.3


# --- what was taken -----------------------------------------------------------------------------------------------------------------


def _taken(of: Any, role: str) -> Taken:
    if hasattr(of, "covered"):
        steps = Counter({(state, event, after): 1 for played, state, event, after in of.covered if played == role})
        rows = Counter({(state, event): 1 for state, event, _ in steps})
        return Taken(rows, steps, counted=False, words=f"explored: {of.bounds}")
    trace = of
    words = ""
    if hasattr(of, "strategy") and hasattr(of, "scenario"):
        words = canvas.about_runs([of])
        trace = _full(of)
    entries = [event for event in trace if event.kind == "handle" and event.actor == role]
    if not any(event.kind == "handle" for event in trace):
        raise ScenarioError("the event log does not say what machines did; record it with trace='full'", "diagram")
    if not entries:
        raise ScenarioError(f"no machine of the role '{role}' is in this event log", "diagram")
    return _counted(entries, words)


def _full(run: Any) -> Any:
    """The full event log of a run: the one it has, or that of the run played again."""
    if run.recorded and any(event.kind == "handle" for event in run.trace):
        return run.trace
    if run.data.origin is not None:
        return run.trace
    from simtx.simulator import simulate

    return simulate(
        run.scenario, run.strategy, seed=run.seed, replication=run.replication, trace="full", progress=False
    ).trace


def _counted(entries: Iterable[Any], words: str) -> Taken:
    rows: Counter[tuple[str, str]] = Counter()
    steps: Counter[tuple[str, str, str]] = Counter()
    before: dict[tuple[str, int], tuple[str, str]] = {}
    for entry in entries:
        state, key = Handled.read(entry).state, (entry.node, entry.tx)
        if key in before:
            steps[(*before[key], state)] += 1
        before[key] = (state, entry.name)
        rows[state, entry.name] += 1
    return Taken(rows, steps, counted=True, words=words)


# --- drawing ------------------------------------------------------------------------------------------------------------------------


def _states(ax: Axes, kind: type[Machine], rows: list[Row], taken: Taken | None, room: tuple[float, float]) -> None:
    ax.set_axis_off()
    theme, small = style.theme(), style.size(style.SMALL)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_node(kind.initial)
    arrows: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for number, row in enumerate(rows, 1):
        for target in row.to:
            graph.add_edge(row.state, target)
            arrows.setdefault((row.state, target), []).append((number, row))
    places = _places(graph, kind.initial)
    last, top = max(x for x, _ in places.values()), max(y for _, y in places.values())
    ax.set_xlim(-0.5, last + 0.5)
    ax.set_ylim(-0.75, top + 0.75)
    words = _Labels(ax, (room[0] / (last + 1), room[1] / (top + 1.5)))
    left = {row.state for row in rows}
    visited = (
        None
        if taken is None
        else {kind.initial, *(state for state, _ in taken.rows), *(after for *_, after in taken.steps)}
    )
    for state, (x, y) in places.items():
        seen = visited is None or state in visited
        frame = {
            "boxstyle": "round,pad=0.5",
            "facecolor": theme.shade,
            "edgecolor": theme.ink if seen else theme.muted,
            "linewidth": 2.4 if state not in left else 1.0,
            "linestyle": "-" if seen else ":",
        }
        ax.text(
            x,
            y,
            state,
            ha="center",
            va="center",
            fontsize=small,
            zorder=4,
            color=theme.ink if seen else theme.muted,
            bbox=frame,
        )
        words.taken(x, y, canvas.width(state, small) + 1.2 * small, 2.2 * small)
        if (state, state) in arrows:
            stays = arrows.pop((state, state))
            went = taken is None or any(_went(taken, row, state) for _, row in stays)
            said = f"↻ {_ranges([number for number, _ in stays])}"
            colour = theme.ink if went else theme.muted
            canvas.beside(ax, said, (x, y), (0, -1.35 * small), ha="center", va="top", color=colour, zorder=3)
            words.taken(x, y - 1.95 * small / words.scale[1], canvas.width(said, small), 1.3 * small)
    for (source, target), moves in arrows.items():
        went = taken is None or any(_went(taken, row, target) for _, row in moves)
        _arrow(ax, places[source], places[target], _ranges([number for number, _ in moves]), went, words)


class _Labels:
    """Places of words, so that others are put elsewhere.

    Args:
        ax: The axes.
        scale: Points to a unit of its axes, across and up.
    """

    def __init__(self, ax: Axes, scale: tuple[float, float]) -> None:
        self.ax = ax
        self.scale = scale
        self._boxes: list[tuple[float, float, float, float]] = []

    def taken(self, x: float, y: float, width: float, height: float) -> None:
        """Words stand here, around their centre; their size is in points."""
        self._boxes.append((x * self.scale[0], y * self.scale[1], width, height))

    def free(self, candidates: list[tuple[float, float]], width: float, height: float) -> tuple[float, float]:
        """The first of these places where words of this size cover no others; the one where they cover least if there is none."""

        def covered(one: tuple[float, float]) -> float:
            x, y = one[0] * self.scale[0], one[1] * self.scale[1]
            across = (max(0.0, (width + w) / 2 - abs(x - u)) for u, _, w, _ in self._boxes)
            up = (max(0.0, (height + h) / 2 - abs(y - v)) for _, v, _, h in self._boxes)
            return sum(a * b for a, b in zip(across, up, strict=True))

        best = min(candidates, key=lambda one: round(covered(one), 6))
        self.taken(*best, width, height)
        return best


def _ranges(numbers: list[int]) -> str:
    """``2, 5–9``."""
    parts: list[list[int]] = []
    for one in sorted(numbers):
        if parts and one == parts[-1][-1] + 1:
            parts[-1].append(one)
        else:
            parts.append([one])
    return ", ".join(
        str(part[0]) if len(part) == 1 else f"{part[0]}, {part[1]}" if len(part) == 2 else f"{part[0]}–{part[-1]}"
        for part in parts
    )


def _went(taken: Taken, row: Row, target: str) -> bool:
    """Return whether a row led to a state; a last step, of which the state afterwards is not known, counts for the last state of its row."""
    for event in row.events:
        if taken.steps.get((row.state, event, target)):
            return True
        known = sum(count for (state, what, _), count in taken.steps.items() if (state, what) == (row.state, event))
        if taken.rows.get((row.state, event), 0) > known and target == row.to[-1]:
            return True
    return False


def _places(graph: nx.DiGraph[str], initial: str) -> dict[str, tuple[float, float]]:
    """Columns by the distance from the initial state; within a column by the order of the table, spread around the middle.

    A column of many goes to and fro, so that arrows between its states do not lie on each other.
    """
    depth = nx.single_source_shortest_path_length(graph, initial)
    columns: dict[int, list[str]] = {}
    for state in graph:
        columns.setdefault(int(depth.get(state, 0)), []).append(state)
    most = max(len(one) for one in columns.values())
    found: dict[str, tuple[float, float]] = {}
    for column, states in columns.items():
        for position, state in enumerate(states):
            spread = most / len(states)
            shift = 0.18 if column % 2 and len(states) == most and most > 1 else 0.0
            aside = _ASIDE if len(states) >= _MANY and position % 2 else 0.0
            found[state] = (column + aside, (position + 0.5) * spread - 0.5 + shift)
    return found


def _arrow(
    ax: Axes,
    place: tuple[float, float],
    end: tuple[float, float],
    label: str,
    went: bool,
    words: _Labels,
) -> None:
    theme, small = style.theme(), style.size(style.SMALL)
    (x, y), (u, v) = place, end
    looks: dict[str, Any] = {
        "color": theme.ink if went else theme.muted,
        "linewidth": 1.3 if went else 0.9,
        "linestyle": "-" if went else (0, (4, 2)),
    }
    bend = 0.14 if abs(u - x) <= 1 and not (u == x and abs(v - y) > 1.01) else 0.32
    ax.add_patch(
        FancyArrowPatch(
            place,
            end,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=11,
            shrinkA=22,
            shrinkB=24,
            zorder=1.5,
            **looks,
        )
    )
    across, up = words.scale  # the curve is bent on paper: a turn by a right angle is none in units of the axes
    control = ((x + u) / 2 + bend * (v - y) * up / across, (y + v) / 2 - bend * (u - x) * across / up)
    steps = (0.5, 0.44, 0.56, 0.38, 0.62, 0.32, 0.68, 0.26, 0.74)
    free = words.free([_on_curve(place, control, end, t) for t in steps], canvas.width(label, small) + 3, 1.3 * small)
    box = {"facecolor": theme.paper, "edgecolor": "none", "alpha": 0.9, "pad": 0.8}
    ax.text(
        *free,
        label,
        ha="center",
        va="center",
        fontsize=small,
        color=theme.ink if went else theme.muted,
        bbox=box,
        zorder=3,
    )


def _on_curve(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], t: float) -> tuple[float, float]:
    p = [(1 - t) ** 2 * i + 2 * t * (1 - t) * j + t**2 * k for i, j, k in zip(a, b, c, strict=True)]
    return p[0], p[1]


def _words(row: Row, taken: Taken | None, room: float, small: float) -> str:
    """One line of the table."""
    told = ""
    if taken is not None:
        count = sum(taken.rows.get((row.state, event), 0) for event in row.events)
        told = " (not taken)" if not count else f" ({count:,} time{'s' if count != 1 else ''})" if taken.counted else ""
    note = f": {row.note}" if row.note else ""
    return canvas.wrapped(f"{', '.join(row.events)}{note}{told}", room, small)


def _table(ax: Axes, rows: list[Row], taken: Taken | None, room: float) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    theme, small = style.theme(), style.size(style.SMALL)
    texts = [_words(row, taken, room, small) for row in rows]
    ax.set_ylim(sum(_needs(text) for text in texts), 0)
    line = 0.0
    for number, (row, text) in enumerate(zip(rows, texts, strict=True), 1):
        went = taken is None or any(taken.rows.get((row.state, event)) for event in row.events)
        looks = {"va": "top", "ha": "left", "color": theme.ink if went else theme.muted}
        canvas.beside(ax, f"{number}", (0, line), (0, 0), fontweight="bold", **looks)
        canvas.beside(ax, text, (0, line), (20, 0), linespacing=1.1, **looks)
        line += _needs(text)


def _finding(strategy: str, role: str, rows: list[Row], taken: Taken | None) -> str:
    """Say how many of the rows of the picture were taken."""
    if taken is None:
        states = {row.state for row in rows} | {target for row in rows for target in row.to}
        return f"{strategy}, {role}: {len(states)} states, {len(rows)} transitions"
    went = sum(any(taken.rows.get((row.state, event)) for event in row.events) for row in rows)
    share = f"all {len(rows)}" if went == len(rows) else f"{went} of {len(rows)}"
    return f"{strategy}, {role}: {share} transitions were taken"
