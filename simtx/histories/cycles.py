"""Search for the forbidden cycles, the gravest first, each as short as can be found.

A strongly connected component settles whether there is a cycle of given kinds of edge at all; breadth-first search inside it
finds a short one. Three searches follow from what the names mean:

- `G0`, `G1c`, `G2-item`: a component of the admitted edges holds an edge of the required kind, and so a cycle through it.
- `G-single-item`: an anti-dependency from a to b, and a path from b back to a without another one.
- `G-nonadjacent-item`: a component of the graph of pairs (node, "came by an anti-dependency"), in which no anti-dependency may
  follow another. For `prefix-violation` it may not follow an overwrite either.
- `fractured-read`, `causality-violation`: a component with an overwrite that follows from what a transaction has seen.

A name is searched only if no anomaly found before implies it. Hence a cycle found with session edges needs them: without them it
would have had the name without suffix, which implies it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from simtx.histories.graph import (
    PROCESS,
    REALTIME,
    RW,
    SEEN,
    SEEN_CAUSALLY,
    SEEN_IN_SESSION,
    VIA,
    WR,
    WW,
    Graph,
    Ints,
)
from simtx.histories.levels import CAUSALITY, FRACTURED, PREFIX, Level, implied_by

#: How many edges the search for a shorter cycle may follow, per name. A first cycle is found without this limit.
EFFORT = 2_000_000

#: How many reachability questions are answered in one sweep; bounds the memory to this many bits a node.
_SWEEP = 4096

_LAYERS = {"": (), "-process": (PROCESS,), "-realtime": (PROCESS, REALTIME)}

Mask = npt.NDArray[np.bool_]


def find_cycles(graph: Graph, level: Level, found: Iterable[str]) -> Iterator[tuple[str, list[int]]]:
    """Forbidden cycles of the level: name and edges, beginning with the gravest.

    Args:
        graph: The dependencies.
        level: Decides which cycles are forbidden and which edges count.
        found: Anomalies that are known already; what they imply is not searched.
    """
    found = set(found)
    with_rw = not level.by_sight and level.cycles[-1] not in ("G0", "G1c")
    counted = np.ones(len(graph.kind), dtype=bool) if with_rw else graph.kind != RW
    if "G1c" not in level.cycles:
        counted &= graph.kind != WR
    inside = _inside_components(graph.nodes, graph.source, graph.target, counted)
    if not inside.any():
        return
    for suffix in level.suffixes:
        for name in level.cycles:
            if name + suffix in implied_by(found) or name + suffix not in level.forbidden:
                continue
            cycle = _find(graph, inside, name, _LAYERS[suffix])
            if cycle is not None:
                found.add(name + suffix)
                yield name + suffix, cycle


def circles(graph: Graph, *, session: bool) -> Iterator[tuple[str, list[int]]]:
    """Circles of demands that follow from what was seen: their names and edges.

    Args:
        graph: The dependencies, with the demands.
        session: Whether session order counts.
    """
    everything = np.ones(len(graph.kind), dtype=bool)
    for name in (FRACTURED, CAUSALITY):
        cycle = _find(graph, everything, name, (PROCESS,) if session else ())
        if cycle is not None:
            yield name, cycle


def _find(graph: Graph, inside: Mask, name: str, layers: Sequence[int]) -> list[int] | None:
    # Of each name: the kinds of edge that are admitted, and those of which there has to be one.
    kinds: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        "G0": ((WW,), (WW,)),
        "G1c": ((WW, WR), (WR,)),
        FRACTURED: ((WW, WR), (SEEN, SEEN_IN_SESSION) if layers else (SEEN,)),
        CAUSALITY: ((WW, WR, PROCESS), (SEEN, SEEN_CAUSALLY)),
    }
    admitted, required = kinds.get(name, ((WW, WR), (RW,)))
    mask = inside & np.isin(graph.kind, (VIA, *admitted, *required, *layers))
    if name == "G-single-item":
        return _single(graph, mask)
    if name in ("G-nonadjacent-item", PREFIX):
        return _apart(graph, mask, (RW, WW) if name == PREFIX else (RW,))
    return _through(graph, mask, *required)


def components(nodes: int, source: Ints, target: Ints) -> npt.NDArray[np.int32]:
    """The number of the strongly connected component of each node."""
    matrix = coo_array((np.ones(len(source), dtype=np.int8), (source, target)), shape=(nodes, nodes))
    _, labels = connected_components(matrix.tocsr(), directed=True, connection="strong")
    return np.asarray(labels, dtype=np.int32)


def in_order(nodes: int, edges: Iterable[tuple[int, int]]) -> tuple[list[list[int]], list[int]]:
    """Nodes that each node leads to; and all nodes, each behind those that lead to it, but for those on a cycle and behind one."""
    following: list[list[int]] = [[] for _ in range(nodes)]
    waits = [0] * nodes
    for a, b in edges:
        following[a].append(b)
        waits[b] += 1
    order = [node for node, count in enumerate(waits) if count == 0]
    for node in order:  # grows while it is read
        for other in following[node]:
            waits[other] -= 1
            if waits[other] == 0:
                order.append(other)
    return following, order


def _inside_components(nodes: int, source: Ints, target: Ints, mask: Mask) -> Mask:
    """Mask of the masked edges that lie on a cycle of masked edges."""
    labels = components(nodes, source[mask], target[mask])
    same: Mask = labels[source] == labels[target]
    return mask & same


class _Adjacency:
    """Edges out of each node, with breadth-first search in which edges of kind `VIA` have no length."""

    def __init__(self, source: Ints, target: Ints, kind: Ints, edges: Ints) -> None:
        self.out: dict[int, list[tuple[int, int, int]]] = {}
        self.followed = 0
        ends = zip(source[edges].tolist(), target[edges].tolist(), kind[edges].tolist(), edges.tolist(), strict=True)
        for a, b, how, edge in ends:
            self.out.setdefault(a, []).append((b, edge, 0 if how == VIA else 1))

    def path(self, start: int, goal: int, limit: int | None = None) -> list[int] | None:
        """The edges of a shortest path, or None if there is none, or none of at most `limit` edges."""
        came: dict[int, tuple[int, int]] = {}
        distance = {start: 0}
        queue = deque([(start, 0)])
        while queue:
            node, so_far = queue.popleft()
            if node == goal:
                edges = []
                while node != start:
                    node, edge = came[node]
                    edges.append(edge)
                return edges[::-1]
            if so_far > distance[node]:
                continue
            for following, edge, length in self.out.get(node, ()):
                self.followed += 1
                reached = so_far + length
                if (limit is None or reached <= limit) and reached < distance.get(following, reached + 1):
                    distance[following] = reached
                    came[following] = (node, edge)
                    if length:
                        queue.append((following, reached))
                    else:
                        queue.appendleft((following, reached))
        return None

    def length(self, edges: Iterable[int], kind: Ints) -> int:
        """Number of edges of a path that count."""
        return sum(1 for edge in edges if kind[edge] != VIA)


def _shortest(
    adjacency: _Adjacency, candidates: Sequence[tuple[int, int, int]], kind: Ints, *, certain: bool
) -> list[int] | None:
    """A shortest cycle through one of the candidate edges (source, target, edge), as far as the effort allows.

    Args:
        adjacency: The edges of the way back.
        candidates: Edges of which one must be on the cycle.
        kind: The kind of each edge.
        certain: Whether each candidate is known to be on a cycle, so that it pays to look without a limit at once.
    """
    best: list[int] | None = None
    limit: int | None = None
    if not certain:  # short ones first: most searches that find nothing would wander through the whole component
        for depth in (1, 2, 3):
            for source, target, edge in candidates:
                back = adjacency.path(target, source, depth)
                if back is not None:
                    return [edge, *back]
                if adjacency.followed > EFFORT:
                    break
        adjacency.followed = 0
    for source, target, edge in candidates:
        back = adjacency.path(target, source, limit)
        if back is not None:
            best = [edge, *back]
            limit = adjacency.length(best, kind) - 2
            if limit < 1:
                break
        if adjacency.followed > EFFORT:
            break
    return best


def _edges_of(source: Ints, target: Ints, chosen: Mask) -> list[tuple[int, int, int]]:
    edges = np.flatnonzero(chosen)
    return list(zip(source[edges].tolist(), target[edges].tolist(), edges.tolist(), strict=True))


def _through(graph: Graph, mask: Mask, *required: int) -> list[int] | None:
    """A cycle of masked edges with at least one of a required kind."""
    inside = _inside_components(graph.nodes, graph.source, graph.target, mask)
    candidates = _edges_of(graph.source, graph.target, inside & np.isin(graph.kind, required))
    if not candidates:
        return None
    adjacency = _Adjacency(graph.source, graph.target, graph.kind, np.flatnonzero(inside))
    return _shortest(adjacency, candidates, graph.kind, certain=True)


def _single(graph: Graph, mask: Mask) -> list[int] | None:
    """A cycle with exactly one anti-dependency."""
    inside = _inside_components(graph.nodes, graph.source, graph.target, mask)
    candidates = _edges_of(graph.source, graph.target, inside & (graph.kind == RW))
    if not candidates:
        return None
    back = inside & (graph.kind != RW)
    adjacency = _Adjacency(graph.source, graph.target, graph.kind, np.flatnonzero(back))
    cycle = _shortest(adjacency, candidates, graph.kind, certain=False)
    if cycle is not None or adjacency.followed <= EFFORT:
        return cycle
    # The effort ran out: settle by sweeps over the condensed graph whether there is one at all.
    for source, target, edge in _connected(graph, back, candidates):
        path = adjacency.path(target, source)
        if path is not None:
            return [edge, *path]
    return None


def _connected(graph: Graph, mask: Mask, candidates: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """The candidate edges whose target reaches their source over masked edges."""
    labels = components(graph.nodes, graph.source[mask], graph.target[mask])
    ends = zip(labels[graph.source[mask]].tolist(), labels[graph.target[mask]].tolist(), strict=True)
    following, order = in_order(int(labels.max()) + 1, {(a, b) for a, b in ends if a != b})
    pairs = [(int(labels[target]), int(labels[source])) for source, target, _ in candidates]
    starts = sorted({start for start, _ in pairs})
    for first in range(0, len(starts), _SWEEP):
        bits = {component: 1 << place for place, component in enumerate(starts[first : first + _SWEEP])}
        reached = dict(bits)
        for component in order:
            here = reached.get(component, 0)
            if here:
                for other in following[component]:
                    reached[other] = reached.get(other, 0) | here
        for candidate, (start, goal) in zip(candidates, pairs, strict=True):
            if start in bits and reached.get(goal, 0) & bits[start]:
                yield candidate


def _apart(graph: Graph, mask: Mask, late: Sequence[int]) -> list[int] | None:
    """A cycle with anti-dependencies of which none follows an edge of a late kind; with several, if only anti-dependencies are late.

    Node n becomes n (reached by another kind of edge) and n + nodes (reached by an edge of a late kind). An auxiliary node hands on
    how it was reached.
    """
    edges = np.flatnonzero(_inside_components(graph.nodes, graph.source, graph.target, mask))
    source, target, kind = graph.source[edges], graph.target[edges], graph.kind[edges]
    shift = np.where(np.isin(kind, late), graph.nodes, 0)
    second = kind != RW  # an anti-dependency leaves only the first copy
    doubled_source = np.concatenate([source, source[second] + graph.nodes])
    doubled_target = np.concatenate(
        [target + shift, target[second] + np.where(kind[second] == VIA, graph.nodes, shift[second])]
    )
    doubled_kind = np.concatenate([kind, kind[second]])
    original = np.concatenate([edges, edges[second]])
    everything = np.ones(len(original), dtype=bool)
    inside = _inside_components(2 * graph.nodes, doubled_source, doubled_target, everything)
    candidates = _edges_of(doubled_source, doubled_target, inside & (doubled_kind == RW))
    if not candidates:
        return None
    adjacency = _Adjacency(doubled_source, doubled_target, doubled_kind, np.flatnonzero(inside))
    cycle = _shortest(adjacency, candidates, doubled_kind, certain=True)
    if cycle is None:
        return None
    return _simple(graph, [int(original[edge]) for edge in cycle], late)


def _simple(graph: Graph, cycle: list[int], late: Sequence[int]) -> list[int] | None:
    """A cycle that meets a node at most once, cut out of a closed walk with anti-dependencies apart, if one is left.

    The search lets a node occur in both of its copies. Cutting there leaves a walk that begins and ends with the kind of edge that is
    not late; if it still holds the anti-dependencies that are asked for it is what is wanted, else it is a cycle of another name.
    """
    while True:
        place: dict[int, int] = {}
        for at, edge in enumerate(cycle):
            node = int(graph.source[edge])
            if node in place:
                parts = (cycle[place[node] : at], cycle[at:] + cycle[: place[node]])
                fitting = [part for part in parts if _are_apart(graph, part, late)]
                if not fitting:
                    return None
                cycle = min(fitting, key=len)
                break
            place[node] = at
        else:
            return cycle


def _are_apart(graph: Graph, cycle: Sequence[int], late: Sequence[int]) -> bool:
    kinds = [int(graph.kind[edge]) for edge in cycle if graph.kind[edge] != VIA]
    pairs = zip(kinds, kinds[1:] + kinds[:1], strict=True)
    fewest = 1 if WW in late else 2
    return kinds.count(RW) >= fewest and not any(b == RW and a in late for a, b in pairs)
