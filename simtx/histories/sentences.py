"""One sentence for each edge of a cycle: what in the history shows that one transaction comes before another."""

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from simtx.histories.findings import Step, show
from simtx.histories.graph import (
    KIND_NAMES,
    PROCESS,
    REALTIME,
    RW,
    SEEN,
    SEEN_CAUSALLY,
    SEEN_IN_SESSION,
    WR,
    WW,
    Forced,
    Graph,
    Link,
    real_steps,
)
from simtx.histories.observations import Observations
from simtx.histories.orders import SIGHT, RegisterOrder
from simtx.histories.parsing import UNKNOWN
from simtx.histories.sight import Sight

#: That one transaction's last write to a key comes before another's: (key, the one, the other).
Pair = tuple[Hashable, int, int]

_NOTHING: Mapping[tuple[int, int, int], Pair] = MappingProxyType({})


class Sentences:
    """Sentences about the edges of one history.

    Args:
        seen: The observations.
        registers: The version order of each register.
        sight: What the transactions have seen, where that orders versions.
    """

    def __init__(
        self, seen: Observations, registers: Mapping[Hashable, RegisterOrder], sight: Sight | None = None
    ) -> None:
        self._seen = seen
        self._history = seen.history
        self._registers = registers
        self._sight = sight

    def of_cycle(
        self, graph: Graph, cycle: Iterable[int], supposed: Mapping[tuple[int, int, int], Pair] = _NOTHING
    ) -> tuple[Step, ...]:
        """The steps of a cycle with their sentences; an anti-dependency comes first where there is one, that of the earliest transaction.

        Args:
            graph: The dependencies.
            cycle: The edges of the cycle.
            supposed: Edges (source, target, kind) that nothing shows, and the pair of writes from which they follow.
        """
        links = [
            (source, target, kind, graph.keys[number] if number >= 0 else None)
            for source, target, kind, number in real_steps(graph, cycle)
        ]
        first = min(range(len(links)), key=lambda at: (links[at][2] != RW, links[at][0]))
        return self.of(links[first:] + links[:first], supposed)

    def of(self, links: Iterable[Link], supposed: Mapping[tuple[int, int, int], Pair] = _NOTHING) -> tuple[Step, ...]:
        """One step with its sentence for each of these."""
        result = []
        for link in links:
            source, target, kind, key = link
            a, b = self._history.name(source), self._history.name(target)
            pair = supposed.get((source, target, kind))
            if pair is not None and pair[0] == key:
                why = self._if_supposed(pair, source, kind)
            elif self._sight is not None and kind in (SEEN, SEEN_IN_SESSION, SEEN_CAUSALLY):
                why = self._if_seen(self._sight, self._sight.edges[source, target, key])
            else:
                why = self._why(link)
            result.append(Step(a, b, KIND_NAMES[kind], key, f"{a} comes before {b}: {why}."))
        return tuple(result)

    def _why(self, link: Link) -> str:
        source, target, kind, key = link
        a, b = self._history.name(source), self._history.name(target)
        if kind == PROCESS:
            return f"both ran in process {self._history.process[source]}, {a} first"
        if kind == REALTIME:
            return f"{a} had ended before {b} began"
        if key in self._history.lists:
            return self._in_list(key, source, target, kind)
        return self._in_register(key, source, target, kind)

    def _if_seen(self, sight: Sight, forced: Forced) -> str:
        how = "; ".join(map(self._why, sight.path(forced.source, forced.reader)))
        one, other, reader = (self._history.name(index) for index in (forced.source, forced.target, forced.reader))
        value = show(self._writes(forced.source, forced.key)[-1])
        written = self._writes(forced.target, forced.key)
        read = next(value for value in self._reads(forced.reader, forced.key) if value in written)
        return (
            f"{reader} read {forced.key} = {show(read)}, which {other} wrote, and had seen {one}, "
            f"which wrote {forced.key} = {value} ({how})"
        )

    def _writes(self, index: int, key: Hashable) -> list[Any]:
        return [value for kind, k, value in self._history.ops[index] if kind != "r" and k == key]

    def _reads(self, index: int, key: Hashable) -> list[Any]:
        ops = self._history.ops[index]
        return [value for kind, k, value in ops if kind == "r" and k == key and value is not UNKNOWN]

    def _if_supposed(self, pair: Pair, source: int, kind: int) -> str:
        key, a, b = pair
        one, other, reader = (self._history.name(index) for index in (a, b, source))
        value, overwriting = show(self._writes(a, key)[-1]), show(self._writes(b, key)[-1])
        if kind == RW:
            return f"{reader} read {key} = {value}, which {one} wrote and {other} overwrote with {overwriting}, as supposed"
        return f"{one} wrote {key} = {value} and {other} wrote {key} = {overwriting}, which came later, as supposed"

    def _in_list(self, key: Hashable, source: int, target: int, kind: int) -> str:
        a, b = self._history.name(source), self._history.name(target)
        if kind == WR:
            wrote = set(self._writes(source, key))
            for value in self._reads(target, key):
                read = [element for element in value or [] if element in wrote]
                if read:
                    return f"{b} read {key} = {show(value)}, which holds the {read[-1]} that {a} appended"
        if kind == RW:
            for value in self._reads(source, key):
                for element in self._writes(target, key):
                    if element not in (value or []):
                        return f"{a} read {key} = {show(value or [])}, without the {element} that {b} appended"
        if kind == WW:
            order = self._seen.lists[key]
            place = order.places()
            earlier = [element for element in self._writes(source, key) if element in place]
            for element in self._writes(target, key):
                before = [other for other in earlier if place[other] < place.get(element, len(place))]
                if not before:
                    continue
                last = max(before, key=lambda other: place[other])
                if element in place:
                    reader = self._history.name(order.reader)
                    return f"{b} appended {element} to {key} after {a} had appended {last} (see the read by {reader})"
                # Where reads disagree, others may hold it; they agree that it came later.
                yet = "which no read holds yet that holds" if order.known is None else "which no read holds before"
                return f"{b} appended {element} to {key}, {yet} the {last} that {a} appended"
        raise AssertionError(f"no reason for {KIND_NAMES[kind]} from {a} to {b} on {key!r}")  # pragma: no cover

    def _in_register(self, key: Hashable, source: int, target: int, kind: int) -> str:
        order = self._registers[key]
        a, b = self._history.name(source), self._history.name(target)
        writers = self._history.writers.get(key, {})
        if kind == WR:
            for value in self._reads(target, key):
                if value is not None and writers.get(value) == source:
                    return f"{b} read {key} = {value}, which {a} wrote"
        if kind == WW:
            for version in self._writes(source, key):
                for following, (why, _, _) in order.after.get(version, {}).items():
                    if writers.get(following) == target:
                        because = self._because(key, source, target, why)
                        return f"{a} wrote {key} = {version} and {b} wrote {key} = {following}, which came later ({because})"
        if kind == RW:
            for value in self._reads(source, key):
                for following, (why, _, _) in order.after.get(value, {}).items():
                    if writers.get(following) == target:
                        because = self._because(key, writers.get(value, -1), target, why)
                        return (
                            f"{a} read {key} = {value} and {b} wrote {key} = {following}, which came later ({because})"
                        )
                if value is None:
                    wrote = self._writes(target, key)[0]
                    return f"{a} read {key} in its initial state, before {b} wrote {key} = {wrote}"
        raise AssertionError(f"no reason for {KIND_NAMES[kind]} from {a} to {b} on {key!r}")  # pragma: no cover

    def _because(self, key: Hashable, before: int, after: int, why: str) -> str:
        """Reason why the write of one transaction came before that of another: by what is granted, or by what was seen."""
        if why != SIGHT or self._sight is None:
            return why
        return self._if_seen(self._sight, self._sight.edges[before, after, key])
