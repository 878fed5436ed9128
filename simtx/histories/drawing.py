"""The picture of a finding: networkx places it, matplotlib draws it."""

import io
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import networkx as nx

from simtx.histories.findings import Finding, Step, show
from simtx.histories.parsing import UNKNOWN, Op

if TYPE_CHECKING:
    from matplotlib.axes import Axes


#: Colour of each kind of edge, readable for colour-blind eyes (Okabe and Ito); the label says the kind as well.
COLOURS = {
    "ww": "#d55e00",
    "wr": "#0072b2",
    "rw": "#cc79a7",
    "process": "#666666",
    "realtime": "#666666",
    "version": "#009e73",
}
_SHOWN_OPS = 4
_SHOWN_STEPS = 12
_FULL_BOXES = 6


def draw(
    finding: Finding | None,
    operations: Mapping[str, Sequence[Op]],
    ax: "Axes | None",
    *,
    consistency: str,
    valid: bool | None,
) -> "Axes":
    """Draw one finding on the axes (on new ones if None), and return them.

    Args:
        finding: The finding; None: there is none.
        operations: Operations by transaction.
        ax: The axes.
        consistency: The level.
        valid: Whether the history keeps it; None: unknown.
    """
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(7, 5))
    ax.set_axis_off()
    if finding is None:
        verdict = "no forbidden anomaly found" if valid else "unknown: no forbidden anomaly found, but no proof either"
        ax.set_title(consistency)
        ax.text(0.5, 0.5, verdict, ha="center", va="center", transform=ax.transAxes)
        return ax
    steps_shown = _shortened(finding.steps)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(name for step in steps_shown for name in (step.source, step.target))
    labels: dict[tuple[str, str], list[Step]] = {}
    for step in steps_shown:
        labels.setdefault((step.source, step.target), []).append(step)
    crowded = len(graph) > _FULL_BOXES
    # Boxes are wider than high: two of them leave room for the labels if one is above the other.
    positions = nx.circular_layout(graph) if len(graph) > 2 else {name: (0.0, -at) for at, name in enumerate(graph)}
    for (a, b), steps in labels.items():
        colour = COLOURS.get(steps[0].kind, "#333333")
        style = "dashed" if steps[0].kind in ("process", "realtime") else "solid"
        lonely = a != b and (b, a) not in labels
        curve = "arc3,rad=0.0" if lonely else "arc3,rad=0.25"
        edge = [(a, b)]
        drawn: nx.DiGraph[str] = nx.DiGraph(edge)
        nx.draw_networkx_edges(
            drawn,
            positions,
            edgelist=edge,
            ax=ax,
            edge_color=colour,
            style=style,
            width=2,
            arrowsize=12 if crowded else 18,
            node_size=500 if crowded else 5200,  # how far from a box its arrows end
            connectionstyle=curve,
        )
        nx.draw_networkx_edge_labels(
            drawn,
            positions,
            edge_labels={(a, b): "\n".join(dict.fromkeys(_edge_label(step) for step in steps))},
            ax=ax,
            font_color=colour,
            font_size=7 if crowded else 10,
            connectionstyle=curve,
            rotate=False,
            label_pos=0.5 if lonely else 0.35,  # of two opposite edges, each has its label near its source
            clip_on=False,
        )
    keys = {step.key for step in finding.steps}
    boxes = {name: name if crowded else f"{name}\n{_operations(operations.get(name, ()), keys)}" for name in graph}
    nx.draw_networkx_labels(
        graph,
        positions,
        labels=boxes,
        ax=ax,
        font_size=9,
        bbox={"boxstyle": "round,pad=0.5", "facecolor": "#f7f7f7", "edgecolor": "#333333"},
        clip_on=False,
    )
    for text in ax.texts:
        text.set_parse_math(False)  # a dollar sign in a key or a value is one
    ax.set_title(f"{finding.name} against {consistency}")
    ax.margins(0.1 if crowded else 0.3)
    if len(graph) <= 2:
        ax.set_xlim(-1.0, 1.0)
    return ax


def _shortened(steps: Sequence[Step]) -> list[Step]:
    """The steps, or where they are too many for a picture, both ends of them."""
    if len(steps) <= _SHOWN_STEPS:
        return list(steps)
    head, tail = steps[: _SHOWN_STEPS // 2 - 1], steps[-(_SHOWN_STEPS // 2 - 1) :]
    gap = f"… {len(steps) - len(head) - len(tail) - 1} more …"
    return [*head, Step(head[-1].target, gap, "", None, ""), Step(gap, tail[0].source, "", None, ""), *tail]


def _edge_label(step: Step) -> str:
    return step.kind if step.key is None else f"{step.kind} {step.key}"


def _operations(made: Sequence[Op], keys: set[Hashable | None]) -> str:
    """The operations of a transaction on the keys of the picture, shortened."""
    ops = [op for op in made if op[1] in keys] or made
    lines = [_operation(op) for op in ops[:_SHOWN_OPS]]
    return "\n".join([*lines, "…"] if len(ops) > _SHOWN_OPS else lines)


def _operation(op: Op) -> str:
    kind, key, value = op
    if kind == "append":
        return f"append {value} to {key}"
    if kind == "w":
        return f"write {key} = {value}"
    return f"read {key} = {'?' if value is UNKNOWN else ('nothing' if value is None else show(value))}"


def svg(plot: "Callable[[Axes], object]") -> str:
    """The picture that a function draws as SVG text, made without pyplot and its global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5))
    plot(figure.add_subplot())
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
