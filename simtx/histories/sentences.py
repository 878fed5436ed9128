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


def steps_of(
    graph: Graph,
    cycle: Iterable[int],
    seen: Observations,
    registers: Mapping[Hashable, RegisterOrder],
    supposed: Mapping[tuple[int, int, int], Pair] = _NOTHING,
    sight: Sight | None = None,
) -> list[Step]:
    """The steps of a cycle with their sentences; an anti-dependency comes first where there is one, that of the earliest transaction.

    Args:
        graph: The dependencies.
        cycle: The edges of the cycle.
        seen: The observations.
        registers: The version order of each register.
        supposed: Edges (source, target, kind) that nothing shows, and the pair of writes from which they follow.
        sight: What the transactions have seen, where that orders versions.
    """
    links = [
        (source, target, kind, graph.keys[number] if number >= 0 else None)
        for source, target, kind, number in real_steps(graph, cycle)
    ]
    first = min(range(len(links)), key=lambda at: (links[at][2] != RW, links[at][0]))
    return told(links[first:] + links[:first], seen, registers, sight, supposed)


def told(
    links: Iterable[Link],
    seen: Observations,
    registers: Mapping[Hashable, RegisterOrder],
    sight: Sight | None = None,
    supposed: Mapping[tuple[int, int, int], Pair] = _NOTHING,
) -> list[Step]:
    """One step with its sentence for each of these."""
    result = []
    for link in links:
        source, target, kind, key = link
        a, b = seen.history.name(source), seen.history.name(target)
        pair = supposed.get((source, target, kind))
        if pair is not None and pair[0] == key:
            why = _if_supposed(seen, pair, source, kind)
        elif sight is not None and kind in (SEEN, SEEN_IN_SESSION, SEEN_CAUSALLY):
            forced = sight.edges[source, target, key]
            why = _if_seen(seen, registers, forced, sight)
        else:
            why = _why(seen, registers, link, sight)
        result.append(Step(a, b, KIND_NAMES[kind], key, f"{a} comes before {b}: {why}."))
    return result


def _why(
    seen: Observations, registers: Mapping[Hashable, RegisterOrder], link: Link, sight: Sight | None = None
) -> str:
    source, target, kind, key = link
    a, b = seen.history.name(source), seen.history.name(target)
    if kind == PROCESS:
        return f"both ran in process {seen.history.process[source]}, {a} first"
    if kind == REALTIME:
        return f"{a} had ended before {b} began"
    if key in seen.history.lists:
        return _in_list(seen, key, source, target, kind)
    return _in_register(seen, registers, key, source, target, kind, sight)


def _if_seen(seen: Observations, registers: Mapping[Hashable, RegisterOrder], forced: Forced, sight: Sight) -> str:
    how = "; ".join(_why(seen, registers, step) for step in sight.path(forced.source, forced.reader))
    one, other, reader = (seen.history.name(index) for index in (forced.source, forced.target, forced.reader))
    value = show(_writes(seen, forced.source, forced.key)[-1])
    written = _writes(seen, forced.target, forced.key)
    read = next(value for value in _reads(seen, forced.reader, forced.key) if value in written)
    return (
        f"{reader} read {forced.key} = {show(read)}, which {other} wrote, and had seen {one}, "
        f"which wrote {forced.key} = {value} ({how})"
    )


def _writes(seen: Observations, index: int, key: Hashable) -> list[Any]:
    return [value for kind, k, value in seen.history.ops[index] if kind != "r" and k == key]


def _reads(seen: Observations, index: int, key: Hashable) -> list[Any]:
    return [value for kind, k, value in seen.history.ops[index] if kind == "r" and k == key and value is not UNKNOWN]


def _if_supposed(seen: Observations, pair: Pair, source: int, kind: int) -> str:
    key, a, b = pair
    one, other, reader = (seen.history.name(index) for index in (a, b, source))
    value, overwriting = show(_writes(seen, a, key)[-1]), show(_writes(seen, b, key)[-1])
    if kind == RW:
        return f"{reader} read {key} = {value}, which {one} wrote and {other} overwrote with {overwriting}, as supposed"
    return f"{one} wrote {key} = {value} and {other} wrote {key} = {overwriting}, which came later, as supposed"


def _in_list(seen: Observations, key: Hashable, source: int, target: int, kind: int) -> str:
    a, b = seen.history.name(source), seen.history.name(target)
    if kind == WR:
        wrote = set(_writes(seen, source, key))
        for value in _reads(seen, target, key):
            read = [element for element in value or [] if element in wrote]
            if read:
                return f"{b} read {key} = {show(value)}, which holds the {read[-1]} that {a} appended"
    if kind == RW:
        for value in _reads(seen, source, key):
            for element in _writes(seen, target, key):
                if element not in (value or []):
                    return f"{a} read {key} = {show(value or [])}, without the {element} that {b} appended"
    if kind == WW:
        order = seen.lists[key]
        place = order.places()
        earlier = [element for element in _writes(seen, source, key) if element in place]
        for element in _writes(seen, target, key):
            before = [other for other in earlier if place[other] < place.get(element, len(place))]
            if not before:
                continue
            last = max(before, key=lambda other: place[other])
            if element in place:
                return f"{b} appended {element} to {key} after {a} had appended {last} (see the read by {seen.history.name(order.reader)})"
            # Where reads disagree, others may hold it; they agree that it came later.
            yet = "which no read holds yet that holds" if order.known is None else "which no read holds before"
            return f"{b} appended {element} to {key}, {yet} the {last} that {a} appended"
    raise AssertionError(f"no reason for {KIND_NAMES[kind]} from {a} to {b} on {key!r}")  # pragma: no cover


def _in_register(
    seen: Observations,
    registers: Mapping[Hashable, RegisterOrder],
    key: Hashable,
    source: int,
    target: int,
    kind: int,
    sight: Sight | None,
) -> str:
    order = registers[key]
    a, b = seen.history.name(source), seen.history.name(target)
    writers = seen.history.writers.get(key, {})
    if kind == WR:
        for value in _reads(seen, target, key):
            if value is not None and writers.get(value) == source:
                return f"{b} read {key} = {value}, which {a} wrote"
    if kind == WW:
        for version in _writes(seen, source, key):
            for following, (why, _, _) in order.after.get(version, {}).items():
                if writers.get(following) == target:
                    because = _because(seen, registers, key, source, target, why, sight)
                    return (
                        f"{a} wrote {key} = {version} and {b} wrote {key} = {following}, which came later ({because})"
                    )
    if kind == RW:
        for value in _reads(seen, source, key):
            for following, (why, _, _) in order.after.get(value, {}).items():
                if writers.get(following) == target:
                    because = _because(seen, registers, key, writers.get(value, -1), target, why, sight)
                    return f"{a} read {key} = {value} and {b} wrote {key} = {following}, which came later ({because})"
            if value is None:
                wrote = _writes(seen, target, key)[0]
                return f"{a} read {key} in its initial state, before {b} wrote {key} = {wrote}"
    raise AssertionError(f"no reason for {KIND_NAMES[kind]} from {a} to {b} on {key!r}")  # pragma: no cover


def _because(
    seen: Observations,
    registers: Mapping[Hashable, RegisterOrder],
    key: Hashable,
    before: int,
    after: int,
    why: str,
    sight: Sight | None,
) -> str:
    """Why the write of one transaction came before that of another: by what is granted, or by what was seen."""
    if why != SIGHT or sight is None:
        return why
    return _if_seen(seen, registers, sight.edges[before, after, key], sight)
