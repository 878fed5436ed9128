"""Whether a history without forbidden anomalies is proven to be of its level: an order of the versions that nobody saw is tried.

Where reads and assumptions leave the order of some versions open, an order is made up that agrees with everything known. If no
forbidden cycle arises, that order is the proof; if one does, another order might still have done, and the verdict is unknown.

- Registers: the writes of every key whose order is not granted throughout.
- Lists: appends that no read holds. Above snapshot isolation and below it their order does not matter, as the transactions can be put in
  a line along all edges that count, and the appends in the same order. Under snapshot isolation it does: two transactions that append to
  one key are never concurrent, so that one of them has seen what the other did to other keys.
"""

import heapq
import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simtx.checker.history.cycles import components, find_cycles
from simtx.checker.history.findings import show
from simtx.checker.history.graph import RW, VIA, WR, Graph, Ints, build_graph
from simtx.checker.history.levels import Level
from simtx.checker.history.observations import Observations
from simtx.checker.history.orders import RegisterOrder
from simtx.checker.history.parsing import OK

#: How many pairs of transactions that share a hub are looked at for what the order of their writes must be.
_PAIRS = 1_000_000


def doubts(seen: Observations, registers: Mapping[Hashable, RegisterOrder], graph: Graph, level: Level) -> list[str]:
    """Why a history without forbidden anomalies is not proven to be of the level; empty if it is.

    Args:
        seen: The observations.
        registers: The version order of each register as far as it is known.
        graph: The dependencies, without a forbidden cycle.
        level: The level.
    """
    if OK not in seen.history.status:
        return ["No transaction is known to have committed, so that there is nothing to judge."]
    if seen.unwritten:
        index, key, value = seen.unwritten[0]
        more = f" ({len(seen.unwritten)} such values)" if len(seen.unwritten) > 1 else ""
        text = f"{seen.history.name(index)} read {show(value)} from {key}, which no transaction of the history wrote{more}."
        return [f"{text} The history is not complete."]
    writers = {key: list(order.writes().values()) for key, order in registers.items() if not order.is_total()}
    unread: dict[Hashable, list[int]] = {}
    if _concurrent_writes_matter(level):
        unread = {key: members for key in seen.history.lists if len(members := seen.unread(key)) > 1}
    if not writers and not unread:
        return []
    rank = _some_order(graph, level, [*writers.values(), *unread.values()])
    completed = dict(registers)
    for key in writers:
        writes = sorted(registers[key].writes().items(), key=lambda pair: rank[pair[1]])
        after = {version: dict(later) for version, later in registers[key].after.items()}
        for (before, a), (following, b) in itertools.pairwise(writes):
            after.setdefault(before, {}).setdefault(following, ("tried", a, b))
        completed[key] = RegisterOrder(after, registers[key].touches)
    tried = {key: sorted(members, key=rank.__getitem__) for key, members in unread.items()}
    if next(find_cycles(build_graph(seen, completed, level, tried), level, ()), None) is None:
        return []
    if not writers:
        shown = _some(unread)
        return [
            f"No read holds the last appends to {shown}; their order is not known, and the one that was tried shows a forbidden anomaly."
        ]
    text = f"The order of the writes to {_some(writers)} is not known, and the one order that was tried shows a forbidden anomaly."
    return [
        f"{text} Grant an assumption that holds (wfr_keys, sequential_keys, linearizable_keys, commit_order, version_order)."
    ]


def _some(keys: Mapping[Hashable, object]) -> str:
    return ", ".join(str(key) for key in itertools.islice(keys, 5)) + (", …" if len(keys) > 5 else "")


def _concurrent_writes_matter(level: Level) -> bool:
    """Whether the level forbids anti-dependencies that are apart, and allows adjacent ones: snapshot isolation."""
    return "G-nonadjacent-item" in level.cycles and "G2-item" not in level.cycles


def _some_order(graph: Graph, level: Level, groups: Sequence[Sequence[int]]) -> list[int]:
    """A place for each transaction, along every edge whose cycles the level forbids, else as near to the history as can be.

    Args:
        graph: The dependencies.
        level: Decides which edges count.
        groups: Transactions that have written the same key, whose order is sought.
    """
    if _concurrent_writes_matter(level):
        return _order_of_snapshots(graph, groups)
    counted = np.ones(len(graph.kind), dtype=bool)
    if "G2-item" not in level.cycles:
        counted &= graph.kind != RW
    if "G1c" not in level.cycles:
        counted &= graph.kind != WR
    near = [node if node < graph.transactions else -1 for node in range(graph.nodes)]
    return _line(graph.nodes, graph.source[counted], graph.target[counted], near)


def _order_of_snapshots(graph: Graph, groups: Sequence[Sequence[int]]) -> list[int]:
    """The order under snapshot isolation, where an anti-dependency counts behind another kind of edge only.

    It counts as far as it can be followed elsewhere, too: between transactions that are on no cycle together.
    """
    nodes, kind = graph.nodes, graph.kind
    labels = components(nodes, graph.source, graph.target)
    between = labels[graph.source] != labels[graph.target]
    count = int(labels.max(initial=-1)) + 1
    place = _line(count, labels[graph.source[between]], labels[graph.target[between]], range(count))
    near = [(place[label], node if node < graph.transactions else -1) for node, label in enumerate(labels.tolist())]
    # The second copy of a node was reached by an edge that is no anti-dependency, and anti-dependencies leave only there.
    pairs = np.array([*_forced(graph, groups)], dtype=np.int64).reshape(-1, 2)
    plain = (kind != RW) & (kind != VIA)
    before, after = (
        np.concatenate([side[plain], pairs[:, at]]) for at, side in enumerate((graph.source, graph.target))
    )
    source = np.concatenate([before, before, graph.source[kind == RW] + nodes, graph.source[kind == VIA]])
    target = np.concatenate([after, after + nodes, graph.target[kind == RW], graph.target[kind == VIA]])
    return _line(2 * nodes, source, target, [*near, *near])


def _line(nodes: int, source: Ints, target: Ints, near: Sequence[Any]) -> list[int]:
    """A place for each node along the edges, the smaller in `near` first; nodes on a cycle all come last."""
    following: dict[int, list[int]] = {}
    waiting = [0] * nodes
    for a, b in zip(source.tolist(), target.tolist(), strict=True):
        following.setdefault(a, []).append(b)
        waiting[b] += 1
    ready = [(near[node], node) for node in range(nodes) if waiting[node] == 0]
    heapq.heapify(ready)
    rank = [nodes] * nodes
    placed = 0
    while ready:
        _, node = heapq.heappop(ready)
        rank[node] = placed
        placed += 1
        for later in following.get(node, ()):
            waiting[later] -= 1
            if waiting[later] == 0:
                heapq.heappush(ready, (near[later], later))
    return rank


def _forced(graph: Graph, groups: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Pairs of a group that an anti-dependency relates: the other order would close a cycle with a single one."""
    member: dict[int, set[int]] = {}
    for number, group in enumerate(groups):
        for transaction in group:
            member.setdefault(transaction, set()).add(number)
    readers: dict[int, list[int]] = {}
    left = _PAIRS
    for kind, reader_first in ((RW, True), (VIA, False)):
        chosen = graph.kind == kind
        for a, b in zip(graph.source[chosen].tolist(), graph.target[chosen].tolist(), strict=True):
            if reader_first and b >= graph.transactions:
                if a in member:
                    readers.setdefault(b, []).append(a)
                continue
            for reader in [a] if reader_first else readers.get(a, ()):
                left -= 1
                if left < 0:
                    return
                if reader != b and not member.get(reader, set()).isdisjoint(member.get(b, ())):
                    yield reader, b
