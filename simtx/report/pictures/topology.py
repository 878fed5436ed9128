"""Map of a scenario: zones, the services in them with what they do, and the links between zones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import networkx as nx
from matplotlib.patches import FancyBboxPatch

from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas
from simtx.scenario.units import duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.scenario import Scenario

_NODE: Final = 2.15  # inches
_HIGH: Final = 0.62
_GAP: Final = 0.16
_ASIDE: Final = 1.5  # inches between two zones
_MOST: Final = 3  # zones in one line


@footed
def topology(scenario: Scenario, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Services with their workers and steps, hub, broker and clients, in their zones; links with their mean delay one way and their loss."""
    graph = scenario.graph()
    zones = [zone for zone in scenario.network.zones if any(data["zone"] == zone for _, data in graph.nodes(data=True))]
    members = {zone: [name for name, data in graph.nodes(data=True) if data["zone"] == zone] for zone in zones}
    places = _places(zones, members)
    with style.context():
        right = max(x + _NODE for x, _ in places.values()) + 2 * _GAP
        low = max(y + _box(members[zone]) for zone, (_, y) in places.items()) + _GAP
        ax = canvas.axes(ax, figsize, (max(6.4, right + 0.5), low + 1.1))
        ax.set_axis_off()
        ax.set_xlim(-2 * _GAP, right)
        ax.set_ylim(low, -_GAP)
        shown = _links(ax, scenario, zones, places, members)
        for zone in zones:
            _zone(ax, scenario, zone, places[zone], members[zone])
        canvas.titled(ax, _finding(scenario, zones, shown), canvas.about(scenario), left=12)
    return ax


def _box(members: list[str]) -> float:
    """Height of the box of a zone."""
    return 0.34 + len(members) * (_HIGH + _GAP) + _GAP


def _places(zones: list[str], members: dict[str, list[str]]) -> dict[str, tuple[float, float]]:
    """Upper left corners: zones beside each other, in several lines if there are many."""
    columns = len(zones) if len(zones) <= _MOST else math.ceil(math.sqrt(len(zones)))
    found, top = {}, 0.0
    for first in range(0, len(zones), columns):
        line = zones[first : first + columns]
        for column, zone in enumerate(line):
            found[zone] = (column * (_NODE + 2 * _GAP + _ASIDE), top)
        top += max(_box(members[zone]) for zone in line) + 0.9
    return found


def _zone(ax: Axes, scenario: Scenario, zone: str, place: tuple[float, float], members: list[str]) -> None:
    theme, small = style.theme(), style.size(style.SMALL)
    x, y = place
    height = _box(members)
    ax.add_patch(
        FancyBboxPatch(
            (x - _GAP, y),
            _NODE + 2 * _GAP,
            height,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=theme.shade,
            edgecolor=theme.edge,
            linewidth=1,
            zorder=1,
        )
    )
    room = _NODE * _points(ax)
    inside = scenario.network.link(zone, zone).latency.mean()
    ax.text(
        x,
        y + 0.19,
        canvas.short(f"{zone}, {duration_text(_rounded(inside))} inside", room, small),
        fontsize=small,
        fontweight="bold",
        va="center",
        zorder=3,
    )
    for row, name in enumerate(members):
        top = y + 0.34 + row * (_HIGH + _GAP)
        service = name in scenario.services
        edge = theme.ink if service else theme.muted
        ax.add_patch(
            FancyBboxPatch(
                (x, top),
                _NODE,
                _HIGH,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=theme.paper,
                edgecolor=edge,
                linewidth=1.1,
                linestyle="-" if service else (0, (4, 2)),
                zorder=2,
            )
        )
        title, words = _words(scenario, name)
        ax.text(
            x + 0.08,
            top + 0.2,
            canvas.short(title, room - 12, small),
            fontsize=small,
            fontweight="bold",
            va="center",
            zorder=3,
        )
        ax.text(
            x + 0.08,
            top + 0.43,
            canvas.short(words, room - 12, small),
            fontsize=small,
            va="center",
            color=theme.muted,
            zorder=3,
        )


def _points(ax: Axes) -> float:
    """Points to an inch of the drawing, which a caller's axes may shrink."""
    if ax.get_gid() == canvas.OWN:
        return 68.0
    low, high = ax.get_xlim()
    return canvas.points(ax)[0] / (high - low)


def _words(scenario: Scenario, name: str) -> tuple[str, str]:
    if name in scenario.services:
        service = scenario.services[name]
        steps = [step.name for step in scenario.transaction.steps if step.service == name]
        title = f"{name}: {', '.join(steps)}" if steps and steps != [name] else name
        return (
            title,
            f"{service.workers} worker{'s' if service.workers != 1 else ''}, {duration_text(_rounded(service.service_time.mean()))}",
        )
    return {
        "hub": ("hub", "coordinator, orchestrator"),
        "broker": ("broker", f"acks from {scenario.broker.ack}"),
        "client": ("clients", canvas.load(scenario) or "as a trace says"),
    }[name]


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.3g}")


def _links(
    ax: Axes,
    scenario: Scenario,
    zones: list[str],
    places: dict[str, tuple[float, float]],
    members: dict[str, list[str]],
) -> list[tuple[float, str, str]]:
    """Lines between zones with what they take; with many zones only the lines that differ from most are labelled."""
    theme, small = style.theme(), style.size(style.SMALL)
    network: nx.Graph[str] = nx.Graph()
    network.add_nodes_from(zones)
    found: list[tuple[float, str, str]] = []
    texts: dict[tuple[str, str], str] = {}
    for number, a in enumerate(zones):
        for b in zones[number + 1 :]:
            there, back = scenario.network.link(a, b), scenario.network.link(b, a)
            found.append((max(there.latency.mean(), back.latency.mean()), a, b))
            texts[a, b] = _said(there) if _said(there) == _said(back) else f"→ {_said(there)}\n← {_said(back)}"
            network.add_edge(a, b)
    usual = max(texts.values(), key=list(texts.values()).count, default="")
    many = len(zones) > _MOST
    centres = {zone: (x + _NODE / 2, y + _box(members[zone]) / 2) for zone, (x, y) in places.items()}
    nx.draw_networkx_edges(network, centres, ax=ax, edge_color=theme.muted, width=1.4, node_size=0)
    box = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.5}
    for (a, b), text in texts.items():
        if many and text == usual:
            continue
        beside = not many and abs(zones.index(a) - zones.index(b)) == 1
        share = 0.5 if beside or many else 0.29
        (x, y), (u, v) = centres[a], centres[b]
        if beside:  # in the middle of the gap, whatever the sizes of the boxes are
            middle = (places[a][0] + places[b][0] + _NODE) / 2
            share = (middle - x) / (u - x)
        ax.text(
            x + share * (u - x), y + share * (v - y), text, ha="center", va="center", fontsize=small, bbox=box, zorder=5
        )
    if many and usual:
        ax.text(
            ax.get_xlim()[0],
            ax.get_ylim()[0],
            f"links without a label: {usual}",
            fontsize=small,
            color=theme.muted,
            va="bottom",
        )
    return found


def _said(link: Any) -> str:
    words = duration_text(_rounded(link.latency.mean()))
    return f"{words}\nloss {canvas.percent(link.loss)}" if link.loss else words


def _finding(scenario: Scenario, zones: list[str], links: list[tuple[float, str, str]]) -> str:
    count = len(scenario.services)
    said = f"{count} service{'s' if count != 1 else ''} in {len(zones)} zone{'s' if len(zones) != 1 else ''}"
    if links:
        slowest = max(links)
        said += f"; {slowest[1]} to {slowest[2]} takes {duration_text(_rounded(slowest[0]))} one way"
    busy = scenario.utilisation()
    if busy:
        name = max(busy, key=lambda one: busy[one])
        said += f"; {name} is busiest, {canvas.percent(busy[name])} of its workers"
    return said
