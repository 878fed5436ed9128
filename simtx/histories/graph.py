"""The graph of dependencies between committed transactions.

Edges, after Adya: `ww` (the target overwrote what the source wrote), `wr` (the target read what the source wrote), `rw` (the source
read what the target overwrote, an anti-dependency); and, where the level counts them, `process` and `realtime`.

Some levels are decided by what the transactions have seen. There an overwrite may also follow if somebody has read the one version and
seen the writer of the other. Three kinds say how it has seen it: by a read, by its session, or by way of others.

Two kinds of auxiliary node keep the graph small. A *hub* stands between many readers of one version and many writers that came
after it. A *moment* stands for the end of a transaction: moments form a chain, and each leads to the transactions that began before
the next end. So n transactions need about 3n edges where real time alone would have n² / 2. Edges out of auxiliary nodes
have the kind `VIA` and the length zero.
"""

from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simtx.histories.levels import PREFIX, Level
from simtx.histories.observations import Observations
from simtx.histories.orders import RegisterOrder, real_times, session_pairs, sessions
from simtx.histories.parsing import UNKNOWN

WW, WR, RW, PROCESS, REALTIME, VIA, SEEN, SEEN_IN_SESSION, SEEN_CAUSALLY = range(9)
KIND_NAMES = ("ww", "wr", "rw", "process", "realtime", "via", "ww", "ww", "ww")

#: The most edges between the readers of a version and those who overwrote it that are drawn one by one; beyond that, a hub.
HUB_FROM = 64

Ints = npt.NDArray[np.int64]


#: A step between two transactions: source, target, kind, key.
Link = tuple[int, int, int, Hashable | None]


@dataclass(frozen=True, slots=True)
class Forced:
    """Dependency: one transaction wrote a key before another did, because a third one has read the version of the other and seen the one.

    Attributes:
        source: The one.
        target: The other.
        kind: How the third has seen the one.
        key: The key.
        reader: The third.
    """

    source: int
    target: int
    kind: int
    key: Hashable
    reader: int


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges as parallel arrays; nodes below `transactions` are transactions, the others are auxiliary.

    Attributes:
        nodes: Number of nodes.
        transactions: Number of transactions of the history.
        source: Where each edge begins.
        target: Where each edge ends.
        kind: Its kind.
        key: The number of its key in `keys`, or -1.
        keys: The keys of the history.
    """

    nodes: int
    transactions: int
    source: Ints
    target: Ints
    kind: Ints
    key: Ints
    keys: Sequence[Hashable]


class _Builder:
    def __init__(self, transactions: int) -> None:
        self.nodes = transactions
        self.transactions = transactions
        self.source, self.target, self.kind, self.key = array("q"), array("q"), array("q"), array("q")
        self.keys: list[Hashable] = []

    def node(self) -> int:
        self.nodes += 1
        return self.nodes - 1

    def add(self, source: int, target: int, kind: int, key: int = -1) -> None:
        if source != target:
            self.source.append(source)
            self.target.append(target)
            self.kind.append(kind)
            self.key.append(key)

    def overwritten(self, readers: Iterable[int], writers: Iterable[int], key: int) -> None:
        """An anti-dependency from each reader to each writer but itself."""
        readers, writers = list(dict.fromkeys(readers)), list(dict.fromkeys(writers))
        if len(readers) * len(writers) <= HUB_FROM:
            for reader in readers:
                for writer in writers:
                    self.add(reader, writer, RW, key)
            return
        wrote = set(writers)
        both = [reader for reader in readers if reader in wrote]
        self._hub([reader for reader in readers if reader not in wrote], writers, key)
        if both:
            # Through a common hub each of these would seem to precede itself. Two of them do precede each other; a ring says so.
            also = set(both)
            self._hub(both, [writer for writer in writers if writer not in also], key)
            for reader, writer in zip(both, both[1:] + both[:1], strict=True):
                self.add(reader, writer, RW, key)

    def _hub(self, readers: Sequence[int], writers: Sequence[int], key: int) -> None:
        if readers and writers:
            hub = self.node()
            for reader in readers:
                self.add(reader, hub, RW, key)
            for writer in writers:
                self.add(hub, writer, VIA, key)

    def build(self) -> Graph:
        columns = (self.source, self.target, self.kind, self.key)
        source, target, kind, key = (np.array(column, dtype=np.int64) for column in columns)
        return Graph(self.nodes, self.transactions, source, target, kind, key, self.keys)


def build_graph(
    seen: Observations,
    registers: Mapping[Hashable, RegisterOrder],
    level: Level,
    forced: Iterable[Forced] = (),
) -> Graph:
    """The graph of what was observed, with the edges that count at this level.

    Args:
        seen: The observations.
        registers: The version order of each register as far as it is known.
        level: Decides which orders besides the data count.
        forced: Overwrites that follow from what others have seen.
    """
    builder = _Builder(len(seen.history))
    reads: dict[Hashable, list[tuple[int, list[Any]]]] = {key: [] for key in seen.history.lists}
    for index in seen.committed:
        for kind, key, value in seen.history.ops[index]:
            if kind == "r" and key in reads and value is not UNKNOWN:
                reads[key].append((index, value or []))
    for key, found in reads.items():
        _list_edges(builder, seen, key, found, own_too=PREFIX in level.cycles)
    for key, order in registers.items():
        _register_edges(builder, seen, key, order)
    numbers = {key: number for number, key in enumerate(builder.keys)}
    for edge in forced:
        builder.add(edge.source, edge.target, edge.kind, numbers[edge.key])
    if level.session:
        for earlier, later in session_pairs(seen.history, sessions(seen.history, seen.committed, f"{level.name!r}")):
            builder.add(earlier, later, PROCESS)
    if level.real_time:
        _moments(builder, real_times(seen.history, seen.committed, f"{level.name!r}"))
    return builder.build()


def _list_edges(
    builder: _Builder, seen: Observations, key: Hashable, reads: list[tuple[int, list[Any]]], *, own_too: bool
) -> None:
    """Edges of one list. Appends that are not in the known order come after all that are in it.

    Args:
        builder: Collects the edges.
        seen: The observations.
        key: The list.
        reads: Who read it, and what.
        own_too: Whether it matters that a read of an append of one's own has seen what is before it, beside that the append came later.
    """
    number = len(builder.keys)
    builder.keys.append(key)
    writers = seen.history.writers.get(key, {})
    known: list[Any] = seen.lists[key].order if key in seen.lists else []
    appended_by = [writers.get(element, -1) for element in known]
    appended_by = [writer if writer >= 0 and seen.counts(writer) else -1 for writer in appended_by]
    later = seen.unread(key)
    # The last committed append before each place, and the first at or after it.
    before, after = [-1], [-1]
    for writer in appended_by:
        if writer >= 0 and before[-1] >= 0:
            builder.add(before[-1], writer, WW, number)
        before.append(writer if writer >= 0 else before[-1])
    for writer in reversed(appended_by):
        after.append(writer if writer >= 0 else after[-1])
    after.reverse()
    if before[-1] >= 0:
        for writer in later:
            builder.add(before[-1], writer, WW, number)
    readers_at_end: list[int] = []
    for reader, value in reads:
        length = seen.is_prefix(key, value)
        if length is None:
            writer = writers.get(value[-1], -1)
            if writer >= 0 and seen.counts(writer):
                builder.add(writer, reader, WR, number)
            continue
        if length and before[length] == reader:
            if own_too:
                while before[length] == reader:
                    length -= 1
                if before[length] >= 0:
                    builder.add(before[length], reader, WR, number)
            continue  # it read its own append: the edges of that append say the rest
        if before[length] >= 0:
            builder.add(before[length], reader, WR, number)
        if after[length] >= 0:
            builder.add(reader, after[length], RW, number)
        else:
            readers_at_end.append(reader)
    builder.overwritten(readers_at_end, later, number)


def _register_edges(builder: _Builder, seen: Observations, key: Hashable, order: RegisterOrder) -> None:
    """Edges of one register."""
    number = len(builder.keys)
    builder.keys.append(key)
    writers = {value: writer for value, writer in seen.history.writers.get(key, {}).items() if seen.counts(writer)}
    readers: defaultdict[Any, list[int]] = defaultdict(list)
    for touch in order.touches:
        for value in touch.reads:
            writer = writers.get(value, -1)
            if writer == touch.transaction:
                continue
            readers[value].append(touch.transaction)
            if writer >= 0:
                builder.add(writer, touch.transaction, WR, number)
    preceded: set[Any] = set()
    for version, later in order.after.items():
        for following in later:
            writer = writers.get(following, -1)
            if writer < 0:
                continue
            if version is not None and version in writers:
                builder.add(writers[version], writer, WW, number)
                if writers[version] != writer:  # its own earlier write may be the first of all
                    preceded.add(following)
            if version is not None:
                for reader in readers.get(version, ()):
                    builder.add(reader, writer, RW, number)
    # Whatever has no known predecessor comes after the initial value; the rest does so by way of its predecessor.
    first = [writer for version, writer in order.writes().items() if version not in preceded]
    builder.overwritten(readers.get(None, ()), first, number)


def _moments(builder: _Builder, times: Mapping[int, tuple[int, int | None]]) -> None:
    """Real time: a transaction that ended before another began comes before it."""
    ended: defaultdict[int, list[int]] = defaultdict(list)
    for transaction, (_, end) in times.items():
        if end is not None:
            ended[end].append(transaction)
    ends = sorted(ended)
    nodes: list[int] = []
    for end in ends:
        node = builder.node()
        for transaction in ended[end]:
            builder.add(transaction, node, REALTIME)
        if nodes:
            builder.add(nodes[-1], node, VIA)
        nodes.append(node)
    starts = np.fromiter((start for start, _ in times.values()), dtype=np.int64, count=len(times))
    places = np.searchsorted(np.array(ends, dtype=np.int64), starts, side="left") - 1
    for transaction, place in zip(times, places.tolist(), strict=True):
        if place >= 0:
            builder.add(nodes[place], transaction, VIA)


def real_steps(graph: Graph, edges: Iterable[int]) -> Iterator[tuple[int, int, int, int]]:
    """A cycle of edges without its auxiliary nodes: (source, target, kind, key number), beginning at a transaction."""
    path = list(edges)
    while graph.source[path[0]] >= graph.transactions:
        path.append(path.pop(0))
    begun: int | None = None
    for edge in path:
        if begun is None:
            begun = edge
        if graph.target[edge] < graph.transactions:
            yield int(graph.source[begun]), int(graph.target[edge]), int(graph.kind[begun]), int(graph.key[begun])
            begun = None
