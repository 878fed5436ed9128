"""Derives from what each transaction has seen of the others the order of the versions.

Read atomicity and causal consistency ask one thing of the order of commits. Let a transaction read a version of a key, and see somebody else who has
written the key: this one comes before the writer of that version. Both sides are known, so that every such demand is an edge
of its own. The history is of the level exactly if these edges, the reads and the session order form no cycle (Biswas and Enea, OOPSLA 2019,
sections 3 and 4). No order need be made up.

Two kinds of demand can never be met and are told as they are: the reader has found the initial state of a key, or a list without an append, whose
writer it has seen. A read of a list has seen every append that it holds.

What a transaction has seen by way of others is computed in blocks of columns: one bit for each writer of a block, in a number for each transaction.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from simtx.histories.cycles import in_order
from simtx.histories.graph import PROCESS, RW, SEEN, SEEN_CAUSALLY, SEEN_IN_SESSION, WR, Forced, Link
from simtx.histories.levels import CAUSALITY, FRACTURED, Level
from simtx.histories.observations import Observations
from simtx.histories.orders import SIGHT, RegisterOrder, session_pairs, sessions
from simtx.histories.parsing import OK, UNKNOWN

#: How many writers are looked at in one sweep; bounds the memory to this many bits a transaction.
_WIDTH = 4096

_NOBODY = -1


@dataclass(slots=True)
class _Access:
    """Reads and writes of one committed transaction.

    Attributes:
        registers: For each register that it read, whose versions; `_NOBODY` for the initial state. Its own do not count.
        lists: For each list that it read, how many appends of the known order the read holds.
        wrote: What it wrote, by key.
    """

    registers: dict[Hashable, list[int]] = field(default_factory=dict)
    lists: dict[Hashable, int] = field(default_factory=dict)
    wrote: dict[Hashable, list[Hashable]] = field(default_factory=dict)


class Sight:
    """Relation of sight between the transactions of a history.

    Attributes:
        edges: The demands on the order of versions.
        missed: By name of the anomaly, a cycle that shows a demand that cannot be met.
    """

    def __init__(self, seen: Observations, level: Level) -> None:
        """Collect the demands of a level.

        Args:
            seen: The observations.
            level: One that forbids fractured reads, under whatever name. Sessions count if it counts them.

        Raises:
            ScenarioError: The level counts sessions, and a process is missing.
        """
        self.seen = seen
        self.edges: dict[tuple[int, int, Hashable], Forced] = {}
        self.missed: dict[str, list[Link]] = {}
        self._accesses = _accesses(seen)
        self._before: _Before | None = None
        self._fractured()
        by_process = sessions(seen.history, seen.committed, f"{level.name!r}") if level.session else {}
        if level.skews:
            self._before = _Before(seen, self._accesses, by_process)
            self._causal(self._before)
        else:
            self._in_sessions(by_process)

    def path(self, first: int, last: int) -> list[Link]:
        """Path by which a transaction came to be seen by another one."""
        passed = [first, last] if self._before is None else self._before.path(first, last)
        result: list[Link] = []
        for a, b in itertools.pairwise(passed):
            key = self._read_from(a, b)
            if key is not None:
                result.append((a, b, WR, key))
            elif result and result[-1][2] == PROCESS:
                result[-1] = (result[-1][0], b, PROCESS, None)
            else:
                result.append((a, b, PROCESS, None))
        return result

    def _read_from(self, writer: int, reader: int) -> Hashable | None:
        """A key by which one transaction has seen another directly."""
        access = self._accesses[reader]
        for key, writers in access.registers.items():
            if writer in writers:
                return key
        for key, length in access.lists.items():
            places = self.seen.lists[key].places()
            if any(places.get(value, math.inf) < length for value in self._accesses[writer].wrote.get(key, ())):
                return key
        return None

    def _demand(self, writer: int, other: int, kind: int, key: Hashable, reader: int) -> None:
        self.edges.setdefault((writer, other, key), Forced(writer, other, kind, key, reader))

    def _lacks(self, writer: int, key: Hashable, length: int) -> bool:
        """Return whether a read of so many appends of a list is without one of this writer's."""
        places = self.seen.lists[key].places()
        return any(places.get(value, math.inf) >= length for value in self._accesses[writer].wrote[key])

    def _fractured(self) -> None:
        """The demands from what the readers of a transaction have read of its other writes."""
        several = _appended_with_others(self.seen, self._accesses)
        for reader, access in self._accesses.items():
            if len(access.registers) + len(access.lists) < 2:
                continue
            met = {writer: key for key, writers in access.registers.items() for writer in writers if writer >= 0}
            for key, length in access.lists.items():
                places, writers = several.get(key, ((), ()))
                met.update(dict.fromkeys(writers[: bisect_left(places, length)], key))
            for writer, met_by in met.items():
                wrote = self._accesses[writer].wrote
                if len(wrote) > 1 and writer != reader:
                    self._compare(reader, writer, SEEN, [(writer, reader, WR, met_by)])

    def _compare(self, reader: int, writer: int, kind: int, how: list[Link]) -> None:
        """The demands from one transaction's having seen another in one step."""
        access, wrote = self._accesses[reader], self._accesses[writer].wrote
        name = FRACTURED + ("-process" if kind == SEEN_IN_SESSION else "")
        for key in _common(access.registers, wrote):
            for other in access.registers[key]:
                if other == _NOBODY:
                    self.missed.setdefault(name, [(reader, writer, RW, key), *how])
                elif other != writer:
                    self._demand(writer, other, kind, key, reader)
        for key in _common(access.lists, wrote):
            if key != how[0][3] and name not in self.missed and self._lacks(writer, key, access.lists[key]):
                self.missed[name] = [(reader, writer, RW, key), *how]

    def _in_sessions(self, by_process: Mapping[Hashable, Sequence[int]]) -> None:
        """The demands from what came before in the same session: of each key, the last write counts."""
        for members in by_process.values():
            last: dict[Hashable, int] = {}
            for reader in members:
                access = self._accesses[reader]
                for writer in {last[key] for key in (*access.registers, *access.lists) if key in last}:
                    self._compare(reader, writer, SEEN_IN_SESSION, [(writer, reader, PROCESS, None)])
                if self.seen.history.status[reader] == OK:
                    last.update(dict.fromkeys(access.wrote, reader))

    def _causal(self, before: _Before) -> None:
        """The demands from all that came before, by reads and sessions."""
        for reader, writer, other, key in before.demands():
            if other != _NOBODY:
                self._demand(writer, other, SEEN_CAUSALLY, key, reader)
            elif CAUSALITY not in self.missed:
                self.missed[CAUSALITY] = [(reader, writer, RW, key), *self.path(writer, reader)]


def extended(registers: Mapping[Hashable, RegisterOrder], demands: Iterable[Forced]) -> dict[Hashable, RegisterOrder]:
    """The version orders with demands that run in no circle."""
    result = dict(registers)
    versions: dict[Hashable, dict[int, Hashable]] = {}
    for demand in demands:
        key = demand.key
        if key not in versions:
            order = registers[key]
            versions[key] = {writer: version for version, writer in order.writes().items()}
            result[key] = replace(order, after={version: dict(later) for version, later in order.after.items()})
        before, after = versions[key][demand.source], versions[key][demand.target]
        result[key].after.setdefault(before, {}).setdefault(after, (SIGHT, demand.source, demand.target))
    return result


def _accesses(seen: Observations) -> dict[int, _Access]:
    """Reads and writes of each committed transaction, without reads that tell nothing or are an anomaly by themselves."""
    history = seen.history
    result: dict[int, _Access] = {}
    for index in seen.committed:
        access = result[index] = _Access()
        for kind, key, value in history.ops[index]:
            if kind != "r":
                access.wrote.setdefault(key, []).append(value)
            elif value is UNKNOWN:
                continue
            elif key in history.lists:
                length = seen.is_prefix(key, value or [])
                if length is not None:
                    access.lists[key] = length
            elif value is None:
                if key not in access.wrote:
                    access.registers.setdefault(key, []).append(_NOBODY)
            else:
                writer = history.writers.get(key, {}).get(value, index)
                if writer != index and seen.counts(writer):
                    access.registers.setdefault(key, []).append(writer)
    return result


def _common(read: Mapping[Hashable, object], wrote: Mapping[Hashable, object]) -> list[Hashable]:
    """The keys of both, found by way of the shorter one."""
    return [key for key in read if key in wrote] if len(read) < len(wrote) else [key for key in wrote if key in read]


def _appended_with_others(
    seen: Observations, accesses: Mapping[int, _Access]
) -> dict[Hashable, tuple[list[int], list[int]]]:
    """Places of the appends of each list whose transactions have written other keys as well, and these transactions."""
    result: dict[Hashable, tuple[list[int], list[int]]] = {}
    for key, order in seen.lists.items():
        writers = seen.history.writers.get(key, {})
        places, found = result[key] = ([], [])
        for place, element in enumerate(order.order):
            writer = writers.get(element, _NOBODY)
            if writer in accesses and len(accesses[writer].wrote) > 1:
                places.append(place)
                found.append(writer)
    return result


class _Before:
    """The order of transactions by reads and sessions, in any number of steps.

    A node below the number of transactions is one. The others stand for a list at a length at which somebody has read it.
    """

    def __init__(
        self, seen: Observations, accesses: Mapping[int, _Access], by_process: dict[Hashable, list[int]]
    ) -> None:
        self.seen, self.accesses = seen, accesses
        self.preceding: list[list[int]] = [[] for _ in range(len(seen.history))]
        for earlier, later in session_pairs(seen.history, by_process):
            self.preceding[later].append(earlier)
        lengths: defaultdict[Hashable, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for reader, access in accesses.items():
            for writers in access.registers.values():
                self.preceding[reader].extend(writer for writer in writers if writer >= 0)
            for key, length in access.lists.items():
                places = seen.lists[key].places()
                own = (places.get(value, math.inf) for value in access.wrote.get(key, ()))
                lengths[key][int(min(length, *own, length))].append(reader)
        for key, readers in lengths.items():
            self._list(key, readers)
        steps = ((other, node) for node, nodes in enumerate(self.preceding) for other in nodes)
        _, order = in_order(len(self.preceding), steps)
        # Where reads and sessions run in a circle, which is a `G1c`, there is none.
        self.order = order if len(order) == len(self.preceding) else []

    def _list(self, key: Hashable, readers: Mapping[int, Sequence[int]]) -> None:
        """A node for each length of a list: what was appended up to there."""
        writers = self.seen.history.writers.get(key, {})
        elements = self.seen.lists[key].order
        begin = 0
        for length in sorted(readers):
            appended = {writers.get(element, _NOBODY) for element in elements[begin:length]}
            node = len(self.preceding)
            self.preceding.append([writer for writer in appended if writer in self.accesses])
            if begin:
                self.preceding[node].append(node - 1)
            for reader in readers[length]:
                if length:
                    self.preceding[reader].append(node)
            begin = length

    def demands(self) -> Iterator[tuple[int, int, int, Hashable]]:
        """(reader, writer, other, key): the writer comes before the other one, whose version the reader has read; `_NOBODY`: it cannot."""
        count = len(self.seen.history)
        at = {node: place for place, node in enumerate(self.order) if node < count and node in self.accesses}
        writers = [node for node in at if self.accesses[node].wrote]
        last_read = {
            key: place
            for node, place in at.items()
            for key in (*self.accesses[node].registers, *self.accesses[node].lists)
        }
        for first in range(0, len(writers), _WIDTH):
            block = writers[first : first + _WIDTH]
            keys = {key for writer in block for key in self.accesses[writer].wrote}
            end = max((last_read.get(key, -1) for key in keys), default=-1)
            yield from self._sweep(block, self.order[at[block[0]] : end + 1])  # nobody reads these keys later

    def _sweep(self, block: Sequence[int], order: Sequence[int]) -> Iterator[tuple[int, int, int, Hashable]]:
        """The demands on a block of writers: bit n of a number stands for the n-th of them."""
        bits = {writer: 1 << place for place, writer in enumerate(block)}
        registers, appends = self._writers(bits)
        count = len(self.seen.history)
        reached = [0] * len(self.preceding)  # with the node itself
        for node in order:
            past = 0
            for other in self.preceding[node]:
                past |= reached[other]
            if node >= count:
                reached[node] = past
                continue
            reached[node] = past | bits.get(node, 0)
            if not past or node not in self.accesses:
                continue
            access = self.accesses[node]
            for key, others in access.registers.items():
                known = past & registers.get(key, 0)
                if not known:
                    continue
                for other in others:
                    left = known if other == _NOBODY else known & ~reached[other]
                    while left:  # the last ones only: who comes before these does so all the more
                        writer = block[left.bit_length() - 1]
                        yield node, writer, other, key
                        left &= ~reached[writer]
            for key, length in access.lists.items():
                if key in appends:
                    places, masks = appends[key]
                    missing = past & masks[bisect_left(places, length)]
                    if missing:
                        yield node, block[missing.bit_length() - 1], _NOBODY, key

    def _writers(
        self, bits: Mapping[int, int]
    ) -> tuple[dict[Hashable, int], dict[Hashable, tuple[list[float], list[int]]]]:
        """Writer of each register; and of each list the places of the appends, and who made the appends from each of them on."""
        registers: defaultdict[Hashable, int] = defaultdict(int)
        found: defaultdict[Hashable, list[tuple[float, int]]] = defaultdict(list)
        for writer, bit in bits.items():
            for key, values in self.accesses[writer].wrote.items():
                if key not in self.seen.history.lists:
                    registers[key] |= bit
                elif key in self.seen.lists:
                    places = self.seen.lists[key].places()
                    found[key].extend((places.get(value, math.inf), bit) for value in values)
        appends: dict[Hashable, tuple[list[float], list[int]]] = {}
        for key, pairs in found.items():
            pairs.sort()
            masks = [0]
            for _, bit in reversed(pairs):
                masks.append(masks[-1] | bit)
            appends[key] = ([place for place, _ in pairs], masks[::-1])
        return registers, appends

    def path(self, first: int, last: int) -> list[int]:
        """The transactions on a shortest way from one to another that it precedes."""
        count = len(self.seen.history)
        came: dict[int, int] = {last: last}
        queue = deque([last])
        while queue:
            node = queue.popleft()
            if node == first:
                break
            for other in self.preceding[node]:
                if other not in came:
                    came[other] = node
                    # A list is no step of its own.
                    (queue.append if other < count else queue.appendleft)(other)
        passed = [first]
        while passed[-1] != last:
            passed.append(came[passed[-1]])
        return [node for node in passed if node < count]
