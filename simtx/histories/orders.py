"""Orders between transactions that the data does not show: sessions and real time; and the version orders of registers.

The values of a register say nothing about their order, so that it comes from what the caller grants: `wfr_keys` (inside a
transaction, a write follows what was read), `sequential_keys` (each process sees a key move forward only), `linearizable_keys`
(so does everybody, in real time), `commit_order` (the transactions in the order in which they committed), or `version_order` (the
values of each key in the order in which its store committed them). That the initial value comes before every other needs no grant.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simtx.errors import ScenarioError
from simtx.histories.findings import Findings, Step
from simtx.histories.observations import Observations
from simtx.histories.parsing import FAIL, OK, UNKNOWN, History

GRANTS = ("wfr_keys", "sequential_keys", "linearizable_keys", "commit_order", "version_order")

#: Why one version comes before another where somebody has read the other and seen the one (`simtx.histories.sight`).
SIGHT = "sight"

_NONE = object()


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Assumptions about the version orders of registers.

    Attributes:
        wfr_keys: Inside a transaction, writes follow reads.
        sequential_keys: Each key follows the order within every process.
        linearizable_keys: Each key follows real time.
        commit_order: Transactions in the order of their commits, by number; empty if not granted.
        version_order: For each key the values in the order of their commits.
    """

    wfr_keys: bool = False
    sequential_keys: bool = False
    linearizable_keys: bool = False
    commit_order: tuple[int, ...] = ()
    version_order: Mapping[Hashable, Sequence[Hashable]] = field(default_factory=dict)


def read_assumptions(assume: Mapping[str, Any] | Iterable[str], history: History) -> Assumptions:
    """Validate what the caller grants.

    Raises:
        ScenarioError: An unknown assumption, or a commit order that does not fit the history.
    """
    if isinstance(assume, str) or not isinstance(assume, Iterable):
        raise ScenarioError(f"expected a mapping such as {{'wfr_keys': True}}, got {assume!r}", "assume")
    given = assume.items() if isinstance(assume, Mapping) else [(name, True) for name in assume]
    orders: dict[str, Callable[[object, History], object]]
    orders = {"commit_order": _commit_order, "version_order": _version_order}
    granted: dict[str, Any] = {}
    for name, value in given:
        if name not in GRANTS:
            raise ScenarioError(f"{name!r} is no assumption; allowed are {', '.join(GRANTS)}", "assume")
        if name not in orders:
            if not isinstance(value, bool):
                raise ScenarioError(f"expected true or false, got {value!r}", f"assume, field {name!r}")
            granted[name] = value
        elif value is not None:
            granted[name] = orders[name](value, history)
    return Assumptions(**granted)


def _commit_order(order: object, history: History) -> tuple[int, ...]:
    where = "assume, field 'commit_order'"
    if not isinstance(order, (list, tuple)):
        raise ScenarioError("expected a list of transaction ids, the first to commit first", where)
    numbers = {identity: number for number, identity in enumerate(history.ids)}
    result: dict[int, None] = {}
    for identity in order:
        if not isinstance(identity, Hashable) or identity not in numbers:
            raise ScenarioError(f"{identity!r} is not the id of a transaction of the history", where)
        number = numbers[identity]
        if history.status[number] == FAIL:
            raise ScenarioError(f"transaction {identity!r} failed and cannot have committed", where)
        if number in result:
            raise ScenarioError(f"transaction {identity!r} stands there twice", where)
        result[number] = None
    return tuple(result)


def _version_order(order: object, history: History) -> Mapping[Hashable, Sequence[Hashable]]:
    where = "assume, field 'version_order'"
    if not isinstance(order, Mapping):
        raise ScenarioError("expected for each key the list of its values, the first to be committed first", where)
    for key, values in order.items():
        if not isinstance(values, (list, tuple)):
            raise ScenarioError(f"expected a list of the values of {key!r}, got {values!r}", where)
        written = history.writers.get(key, {}) if key in history.registers else {}
        seen: set[Hashable] = set()
        for value in values:
            if not isinstance(value, Hashable) or value not in written:
                raise ScenarioError(f"no transaction of the history writes {value!r} to a register {key!r}", where)
            if value in seen:
                raise ScenarioError(f"the value {value!r} of {key!r} stands there twice", where)
            seen.add(value)
    return order


def sessions(history: History, committed: Iterable[int], needed_by: str) -> dict[Hashable, list[int]]:
    """The committed transactions of each process in their order: by start where it is given, else as in the history.

    Raises:
        ScenarioError: A process is not given, or runs two transactions at a time.
    """
    by_process: dict[Hashable, list[int]] = {}
    for index in committed:
        process = history.process[index]
        if process is None:
            where = f"{history.source}, transaction {history.ids[index]!r}, field 'process'"
            raise ScenarioError(f"is missing; {needed_by} needs it", where)
        by_process.setdefault(process, []).append(index)
    for process, members in by_process.items():
        starts = [history.start[index] for index in members]
        if None in starts:
            continue
        place = {index: number for number, index in enumerate(members)}
        members.sort(key=lambda index: (history.start[index] or 0, _last_moment(history, index), place[index]))
        for earlier, later in itertools.pairwise(members):
            end, start = history.end[earlier], history.start[later]
            if history.status[earlier] == OK and end is not None and start is not None and start < end:
                where = f"{history.source}, transaction {history.ids[later]!r}, field 'start'"
                problem = f"process {process!r} is still busy with transaction {history.ids[earlier]!r}"
                raise ScenarioError(f"{problem}; a process runs one transaction at a time", where)
    return by_process


def _last_moment(history: History, index: int) -> int:
    end = history.end[index]
    return (history.start[index] or 0) if end is None else end


def session_pairs(history: History, by_process: Mapping[Hashable, list[int]]) -> Iterator[tuple[int, int]]:
    """Neighbours in session order. An unknown transaction may take effect after its session moved on: nothing follows it."""
    for members in by_process.values():
        last: int | None = None
        for index in members:
            if last is not None:
                yield last, index
            if history.status[index] == OK:
                last = index


def real_times(history: History, committed: Iterable[int], needed_by: str) -> dict[int, tuple[int, int | None]]:
    """Start and end of each committed transaction; no end for an unknown one, which may take effect at any later time.

    Raises:
        ScenarioError: A time is missing.
    """
    times: dict[int, tuple[int, int | None]] = {}
    for index in committed:
        start, end = history.start[index], history.end[index]
        known = history.status[index] == OK
        if start is None or (known and end is None):
            where = (
                f"{history.source}, transaction {history.ids[index]!r}, field {'start' if start is None else 'end'!r}"
            )
            raise ScenarioError(f"is missing; {needed_by} needs it", where)
        times[index] = (start, end if known else None)
    return times


@dataclass(slots=True)
class Touch:
    """Use of one register by one committed transaction.

    Attributes:
        transaction: Its number.
        read: What it read first, before any write.
        write: What it wrote last.
        reads: All that it read, each value once, in order.
    """

    transaction: int
    read: Any = _NONE
    write: Any = _NONE
    reads: dict[Any, None] = field(default_factory=dict)

    @property
    def first(self) -> Any:
        """The version that it met first."""
        return self.write if self.read is _NONE else self.read

    @property
    def last(self) -> Any:
        """The version that it left behind."""
        return self.read if self.write is _NONE else self.write

    @property
    def wrote(self) -> bool:
        """Return whether it wrote the key."""
        return self.write is not _NONE

    @property
    def updated(self) -> bool:
        """Return whether it wrote the key after it had read it."""
        return self.read is not _NONE and self.write is not _NONE


@dataclass(slots=True)
class RegisterOrder:
    """The version order of one register as far as it is granted.

    Attributes:
        after: For each version, the versions that come after it, and why: (assumption, transaction, transaction).
        touches: The committed transactions that met the key.
    """

    after: dict[Any, dict[Any, tuple[str, int, int]]] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)

    def writes(self) -> dict[Any, int]:
        """Each installed version (the last of its transaction) and its writer."""
        return {touch.write: touch.transaction for touch in self.touches if touch.wrote}

    def is_total(self) -> bool:
        """Return whether the order of all installed versions is known."""
        versions = self.writes()
        if len(versions) < 2:
            return True
        waiting: dict[Any, int] = dict.fromkeys(versions, 0)
        for version, later in self.after.items():
            if version in versions:
                for other in later:
                    if other in waiting:
                        waiting[other] += 1
        current = [version for version, count in waiting.items() if count == 0]
        placed = 0
        while len(current) == 1:
            version = current.pop()
            placed += 1
            for other in self.after.get(version, ()):
                if other in waiting:
                    waiting[other] -= 1
                    if waiting[other] == 0:
                        current.append(other)
        return placed == len(versions)


def register_orders(seen: Observations, assume: Assumptions) -> dict[Hashable, RegisterOrder]:
    """The version order of each register; `cyclic-versions` goes to the findings, and the assumption that closes it is dropped."""
    history = seen.history
    orders: dict[Hashable, RegisterOrder] = defaultdict(RegisterOrder)
    for index in seen.committed:
        touched: dict[Hashable, Touch] = {}
        for kind, key, value in history.ops[index]:
            if kind == "append" or key not in history.registers or value is UNKNOWN:
                continue
            touch = touched.get(key)
            if touch is None:
                touch = touched[key] = Touch(index)
                orders[key].touches.append(touch)
                if kind == "r":
                    touch.read = value
            if kind == "w":
                touch.write = value
            else:
                touch.reads[value] = None
    if assume.wfr_keys:
        for key, order in orders.items():
            _extend(history, key, order, "wfr_keys", _own(order), seen.findings)
    if assume.sequential_keys:
        position: dict[int, tuple[Hashable, int]] = {}
        for process, members in sessions(history, seen.committed, "'sequential_keys'").items():
            position.update({index: (process, place) for place, index in enumerate(members)})
        for key, order in orders.items():
            _extend(history, key, order, "sequential_keys", _by_session(history, order, position), seen.findings)
    if assume.linearizable_keys:
        times = real_times(history, seen.committed, "'linearizable_keys'")
        for key, order in orders.items():
            _extend(history, key, order, "linearizable_keys", _by_real_time(order, times), seen.findings)
    if assume.commit_order:
        place_of = {index: place for place, index in enumerate(assume.commit_order)}
        for key, order in orders.items():
            writers = sorted(
                (t for t in order.touches if t.wrote and t.transaction in place_of),
                key=lambda t: place_of[t.transaction],
            )
            pairs = itertools.pairwise(writers)
            _extend(history, key, order, "commit_order", [_edge(a, b) for a, b in pairs], seen.findings)
    for key, values in assume.version_order.items():
        if key in orders:
            _extend(
                history, key, orders[key], "version_order", _as_listed(seen, key, orders[key], values), seen.findings
            )
    return dict(orders)


def _as_listed(
    seen: Observations, key: Hashable, order: RegisterOrder, values: Iterable[Hashable]
) -> list[tuple[Any, Any, int, int]]:
    """The listed order of all versions that count; and once more that of the installed ones alone, between which others may stand."""
    writers = seen.history.writers[key]
    counting = [value for value in values if seen.counts(writers[value])]
    installed = order.writes()
    pairs = [*itertools.pairwise(counting), *itertools.pairwise(value for value in counting if value in installed)]
    return [(a, b, writers[a], writers[b]) for a, b in pairs]


def _edge(a: Touch, b: Touch) -> tuple[Any, Any, int, int]:
    return a.write, b.write, a.transaction, b.transaction


def _own(order: RegisterOrder) -> list[tuple[Any, Any, int, int]]:
    """Operations of one transaction follow each other as well, in its session and in time."""
    return [(t.read, t.write, t.transaction, t.transaction) for t in order.touches if t.updated]


def _by_session(
    history: History, order: RegisterOrder, position: Mapping[int, tuple[Hashable, int]]
) -> list[tuple[Any, Any, int, int]]:
    edges = _own(order)
    last: dict[Hashable, Touch] = {}
    for touch in sorted(order.touches, key=lambda t: position[t.transaction][1]):
        process = position[touch.transaction][0]
        if process in last:
            before = last[process]
            edges.append((before.last, touch.first, before.transaction, touch.transaction))
        if history.status[touch.transaction] == OK:
            last[process] = touch
    return edges


def _by_real_time(order: RegisterOrder, times: Mapping[int, tuple[int, int | None]]) -> list[tuple[Any, Any, int, int]]:
    """Only the nearest predecessors in real time: those that no third transaction on the key separates."""
    edges = _own(order)
    ended = [(end, touch) for touch in order.touches if (end := times[touch.transaction][1]) is not None]
    ended.sort(key=lambda pair: pair[0])
    nearest: list[tuple[int, Touch]] = []
    latest_start = -1
    place = 0
    for touch in sorted(order.touches, key=lambda t: times[t.transaction][0]):
        start = times[touch.transaction][0]
        while place < len(ended) and ended[place][0] < start:
            nearest.append(ended[place])
            latest_start = max(latest_start, times[ended[place][1].transaction][0])
            place += 1
        nearest = [pair for pair in nearest if pair[0] >= latest_start]
        edges.extend((before.last, touch.first, before.transaction, touch.transaction) for _, before in nearest)
    return edges


def _extend(
    history: History,
    key: Hashable,
    order: RegisterOrder,
    source: str,
    edges: Iterable[tuple[Any, Any, int, int]],
    findings: Findings,
) -> None:
    """Add the edges of one assumption, unless the order of the key would become cyclic with them."""
    new = {version: dict(later) for version, later in order.after.items()}
    for before, after, a, b in edges:
        if before != after:
            new.setdefault(before, {}).setdefault(after, (source, a, b))
    cycle = _cycle(new)
    if cycle is None:
        order.after = new
    elif not findings.seen("cyclic-versions"):
        steps = []
        pairs = list(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        for before, after in pairs:
            left, right = ("the initial value" if v is None else f"{key} = {v}" for v in (before, after))
            granted = new.get(before, {}).get(after)
            if granted is None:  # only the initial value precedes a version without a grant
                _, a, b = new[after][before]
                sentence = f"The initial value of {key} comes before {right}."
            else:
                why, a, b = granted
                sentence = f"{left} comes before {right} ({why}: {_reason(history, why, a, b)})."
            steps.append(Step(history.name(a), history.name(b), "version", key, sentence))
        findings.add("cyclic-versions", *steps)


def _reason(history: History, source: str, a: int, b: int) -> str:
    one, other = history.name(a), history.name(b)
    if a == b:
        return f"{one} read the first and then wrote the second"
    if source == "sequential_keys":
        return f"{one} met the first and then {other} the second, in process {history.process[a]}"
    if source == "linearizable_keys":
        return f"{one} met the first and had ended before {other} began and met the second"
    if source == "version_order":
        return f"the change by {one} was committed before that by {other}"
    return f"{one} committed before {other}"


def _cycle(after: Mapping[Any, Mapping[Any, object]]) -> list[Any] | None:
    """A cycle of versions, or None. That the initial value comes first is part of the order."""
    back = next((version for version, later in after.items() if None in later and version is not None), None)
    if back is not None:
        return [None, back]
    done: set[Any] = set()
    for root in after:
        if root in done:
            continue
        path: list[Any] = [root]
        on_path = {root}
        stack = [iter(after[root])]
        while stack:
            version = next(stack[-1], _NONE)
            if version is _NONE:
                stack.pop()
                last = path.pop()
                on_path.discard(last)
                done.add(last)
            elif version in on_path:
                return path[path.index(version) :]
            elif version not in done:
                path.append(version)
                on_path.add(version)
                stack.append(iter(after.get(version, ())))
    return None
