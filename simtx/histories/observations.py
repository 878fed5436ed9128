"""One pass over the transactions: who counts as committed, what each list's order is, and the anomalies that need no cycle.

A transaction that ended `info` may or may not have taken effect. It counts as committed exactly if a committed transaction saw one
of its writes; otherwise leaving it out is always possible, so nothing may be concluded from it.

The longest read of a list tells the order of its appends. Every other read must be a prefix of it; where reads disagree
(`incompatible-order`), only what all of them have in common is taken as known. The same name is used here for a read that holds the appends of one
transaction in another order than that in which they were made, or a later one without an earlier one. Elle does not look for it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simtx.histories.findings import Findings, Step, show
from simtx.histories.parsing import FAIL, INFO, OK, UNKNOWN, History


@dataclass(slots=True)
class ListOrder:
    """Order of the appends of one list key, as its reads show it.

    Attributes:
        longest: The longest read.
        reader: The transaction that read it.
        known: How many of its first elements no read contradicts; None as long as no two reads disagree.
        elements: Every element that was read so far.
        repeated: Whether some read holds an element twice.
        order: The appends in order, without repetitions, as far as they are known; set at the end of the pass.
    """

    longest: list[Any] = field(default_factory=list)
    reader: int = -1
    known: int | None = None
    elements: set[Hashable] = field(default_factory=set)
    repeated: bool = False
    order: list[Any] = field(default_factory=list)
    _places: dict[Hashable, int] = field(default_factory=dict)

    def places(self) -> Mapping[Hashable, int]:
        """The place of each element in the order."""
        if len(self._places) < len(self.order):
            self._places.update({element: at for at, element in enumerate(self.order)})
        return self._places


class Observations:
    """The pass itself; its attributes are the result.

    Attributes:
        committed: The transactions that count, in the order of the history.
        lists: The order of each list that was read.
        findings: Anomalies without a cycle.
        unwritten: Reads of values that no transaction of the history wrote: (transaction, key, value).
    """

    def __init__(self, history: History, *, resolve_info: bool, known_committed: Iterable[int] = ()) -> None:
        """Make the pass.

        Args:
            history: The history.
            resolve_info: Whether an unknown transaction counts once a committed one saw its writes. Read uncommitted allows to
                read what is rolled back later, so that there it tells nothing.
            known_committed: Unknown transactions of which the caller knows that they committed.
        """
        self.history = history
        self.findings = Findings()
        self.lists: dict[Hashable, ListOrder] = {}
        self.unwritten: list[tuple[int, Hashable, Any]] = []
        self._resolve_info = resolve_info
        self._counts = [status == OK for status in history.status]
        for transaction in known_committed:
            self._counts[transaction] = True
        self._queue = [index for index, counts in enumerate(self._counts) if counts]
        # Transactions that read a key before they wrote it, by what they read.
        self._updates: defaultdict[Hashable, defaultdict[Any, list[tuple[int, Any]]]]
        self._updates = defaultdict(lambda: defaultdict(list))
        for transaction in self._queue:  # grows while it is read
            self._walk(transaction)
        self.committed = sorted(self._queue)
        for order in self.lists.values():
            order.order = list(dict.fromkeys(order.longest[: order.known]))
        self._own_orders()
        self._lost_updates()
        self._dirty_updates()

    def counts(self, transaction: int) -> bool:
        """Return whether a transaction counts as committed."""
        return self._counts[transaction]

    def unread(self, key: Hashable) -> list[int]:
        """The committed transactions with appends to a list that come after everything that was read of it, each once."""
        read = set(self.lists[key].order) if key in self.lists else frozenset()
        appends = self.history.writers.get(key, {}).items()
        return list(dict.fromkeys(writer for value, writer in appends if value not in read and self._counts[writer]))

    def is_prefix(self, key: Hashable, value: list[Any]) -> int | None:
        """Number of appends of the known order that a read holds, or None where it strays from that order."""
        order = self.lists[key]
        if order.known is None and not order.repeated:
            return len(value)
        distinct = list(dict.fromkeys(value))
        return len(distinct) if order.order[: len(distinct)] == distinct else None

    def _walk(self, transaction: int) -> None:
        """Look at the operations of one committed transaction in order."""
        lists = self.history.lists
        # Of each key: what a read must return now (a list, None: unknown), then the transaction's appends since.
        content: dict[Hashable, tuple[list[Any] | None, list[Any]]] = {}
        single: dict[Hashable, Any] = {}
        first_read: dict[Hashable, Any] = {}
        ops = self.history.ops[transaction]
        read_keys = {key for kind, key, _ in ops if kind == "r"}
        # Of each key: what the transaction has yet to write.
        ahead: defaultdict[Hashable, set[Hashable]] = defaultdict(set)
        for kind, key, value in ops:
            if kind != "r" and key in read_keys:
                ahead[key].add(value)
        for kind, key, value in ops:
            if kind == "r":
                if value is UNKNOWN:
                    continue
                if key in lists:
                    elements: list[Any] = [] if value is None else value
                    self._read_list(transaction, key, elements)
                    if key in content:
                        self._check_list(transaction, key, elements, *content[key])
                    else:
                        first_read[key] = elements
                    content[key] = (elements, [])
                    if key in ahead and not ahead[key].isdisjoint(elements):
                        self._future_read(transaction, key, ahead[key].intersection(elements), ahead[key])
                else:
                    if value is not None:
                        self._saw(transaction, key, value, last=True)
                    if key in single:
                        if single[key] != value:
                            self._internal(transaction, key, show(value), show(single[key]))
                    else:
                        first_read[key] = value
                    single[key] = value
                    if key in ahead and value in ahead[key]:
                        self._future_read(transaction, key, {value}, ahead[key])
                continue
            if key in ahead:
                ahead[key].discard(value)
            if key in first_read:
                seen = first_read.pop(key)
                version = (len(seen), seen[-1] if seen else None) if kind == "append" else seen
                self._updates[key][version].append((transaction, seen))
            if kind == "append":
                if key in content:
                    content[key][1].append(value)
                else:
                    content[key] = (None, [value])
            else:
                single[key] = value

    def _read_list(self, transaction: int, key: Hashable, value: list[Any]) -> None:
        """Fit a read into the order of its list, and look at every element that was not read before."""
        order = self.lists.get(key)
        if order is None:
            order = self.lists[key] = ListOrder()
        longest = order.longest
        if len(value) <= len(longest):
            if longest[: len(value)] != value:
                self._disagree(order, transaction, key, value)
                self._new_elements(order, transaction, key, value)
        else:
            if value[: len(longest)] != longest:
                self._disagree(order, transaction, key, value)
                self._new_elements(order, transaction, key, value)
            else:
                self._new_elements(order, transaction, key, value[len(longest) :])
            if len(set(value)) < len(value):
                self._duplicates(order, transaction, key, value)
            order.longest, order.reader = value, transaction
        if value:
            writer = self.history.writers.get(key, {}).get(value[-1])
            if writer is not None and writer != transaction:
                self._intermediate(transaction, writer, key, value[-1], value)

    def _new_elements(self, order: ListOrder, transaction: int, key: Hashable, elements: list[Any]) -> None:
        for element in elements:
            if element not in order.elements:
                order.elements.add(element)
                self._saw(transaction, key, element, last=False)
        if order.known is not None and len(set(elements)) < len(elements):
            self._duplicates(order, transaction, key, elements)

    def _saw(self, transaction: int, key: Hashable, value: Any, *, last: bool) -> None:
        """A committed transaction saw a value: who wrote it, and may it be seen?"""
        writer = self.history.writers.get(key, {}).get(value)
        if writer is None:
            self.unwritten.append((transaction, key, value))
            return
        status = self.history.status[writer]
        if status == FAIL:
            if not self.findings.seen("G1a"):
                reader, source = self.history.name(transaction), self.history.name(writer)
                sentence = f"{reader} read {value} from {key}, which {source} wrote, and {source} failed."
                self.findings.add("G1a", Step(source, reader, "wr", key, sentence))
        elif status == INFO and self._resolve_info and not self._counts[writer]:
            self._counts[writer] = True
            self._queue.append(writer)
        if last and writer != transaction:
            self._intermediate(transaction, writer, key, value, value)

    def _intermediate(self, transaction: int, writer: int, key: Hashable, value: Any, read: Any) -> None:
        if value in self.history.overwritten.get(key, ()) and not self.findings.seen("G1b"):
            reader, source = self.history.name(transaction), self.history.name(writer)
            sentence = f"{reader} read {key} = {show(read)}; {value} was not the last that {source} wrote to {key}."
            self.findings.add("G1b", Step(source, reader, "wr", key, sentence))

    def _disagree(self, order: ListOrder, transaction: int, key: Hashable, value: list[Any]) -> None:
        longest = order.longest
        common = next((i for i, (a, b) in enumerate(zip(longest, value, strict=False)) if a != b), 0)
        if not self.findings.seen("incompatible-order"):
            one, other = self.history.name(order.reader), self.history.name(transaction)
            start = max(0, common - 2)
            a, b = show(longest[start : common + 3]), show(value[start : common + 3])
            part = f" from element {start + 1} on" if start else ""
            sentence = f"{one} read {key} = {a} and {other} read {key} = {b}{part}; neither begins with the other."
            self.findings.add("incompatible-order", Step(one, other, "version", key, sentence))
        order.known = common if order.known is None else min(order.known, common)

    def _duplicates(self, order: ListOrder, transaction: int, key: Hashable, value: list[Any]) -> None:
        order.repeated = True
        if not self.findings.seen("duplicate-elements"):
            name = self.history.name(transaction)
            twice = next(element for element, times in Counter(value).items() if times > 1)
            sentence = f"{name} read {key} = {show(value)}, where {twice} stands more than once."
            self.findings.add("duplicate-elements", Step(name, name, "version", key, sentence))

    def _check_list(
        self, transaction: int, key: Hashable, value: list[Any], before: list[Any] | None, appended: list[Any]
    ) -> None:
        """Compare a read with what the transaction itself read and appended before it."""
        if before is None:
            if value[max(0, len(value) - len(appended)) :] != appended:
                self._internal(transaction, key, show(value), f"a list that ends with {show(appended)}")
        elif len(value) != len(before) + len(appended) or value != before + appended:
            self._internal(transaction, key, show(value), show(before + appended))

    def _internal(self, transaction: int, key: Hashable, value: str, expected: str) -> None:
        if not self.findings.seen("internal"):
            name = self.history.name(transaction)
            sentence = f"{name} read {key} = {value}, but after its own operations it should read {expected}."
            self.findings.add("internal", Step(name, name, "wr", key, sentence))

    def _future_read(self, transaction: int, key: Hashable, values: set[Hashable], ahead: set[Hashable]) -> None:
        ahead -= values  # once each
        if "future-read" not in self.findings.by_name:
            value = next(v for kind, k, v in self.history.ops[transaction] if kind != "r" and k == key and v in values)
            name = self.history.name(transaction)
            sentence = f"{name} read {value} from {key} before it wrote it."
            self.findings.add("future-read", Step(name, name, "wr", key, sentence))
            self.findings.by_name["future-read"].count = 0
        self.findings.by_name["future-read"].count += len(values)

    def _own_orders(self) -> None:
        """Check that what one transaction appended is read in the order in which it appended it; no edge between two would show this."""
        place = {key: self.lists[key].places() for key in self.history.overwritten if key in self.lists}
        writers = {self.history.writers[key][element] for key in place for element in self.history.overwritten[key]}
        for writer in sorted(writers):
            if not self._counts[writer]:
                continue
            earlier: dict[Hashable, tuple[Any, float]] = {}
            for kind, key, value in self.history.ops[writer]:
                if kind != "append" or key not in place:
                    continue
                order = self.lists[key]
                # What nobody has read comes after everything that was read, but for reads that disagree.
                at = place[key].get(value, math.inf)
                if at == math.inf and order.known is not None:
                    continue
                before, stood = earlier.get(key, (None, -1))
                earlier[key] = (value, at)
                if at < stood and not self.findings.seen("incompatible-order"):
                    a, b = self.history.name(writer), self.history.name(order.reader)
                    saw = f"read {value} without {before}" if stood == math.inf else f"read {value} before {before}"
                    sentence = f"{a} appended {before} to {key} before {value}, but {b} {saw}."
                    self.findings.add("incompatible-order", Step(a, b, "version", key, sentence))

    def _lost_updates(self) -> None:
        """Two transactions that read the same version of a key, and both wrote the key, cannot both have built on the other."""
        for key, versions in self._updates.items():
            for candidates in versions.values():
                if len(candidates) < 2:
                    continue
                first, seen = candidates[0]
                # On a list whose reads disagree, two versions may be as long and end with the same element.
                others = [transaction for transaction, value in candidates[1:] if value == seen]
                if others and not self.findings.seen("lost-update"):
                    a, b = self.history.name(first), self.history.name(others[0])
                    text = "{} read {} = {} and wrote {}, without having seen what {} wrote to it."
                    steps = [
                        Step(p, q, "rw", key, text.format(p, key, show(seen), key, q)) for p, q in ((a, b), (b, a))
                    ]
                    self.findings.add("lost-update", *steps)

    def _dirty_updates(self) -> None:
        """A committed append right after one that failed; what lies between them and is unknown does not matter."""
        for key, order in self.lists.items():
            writers = self.history.writers.get(key, {})
            failed: int | None = None
            for element in order.order:
                writer = writers.get(element)
                status = INFO if writer is None else self.history.status[writer]
                if status == FAIL:
                    failed = writer
                elif status == OK and writer is not None:
                    if failed is not None and not self.findings.seen("dirty-update"):
                        a, b = self.history.name(failed), self.history.name(writer)
                        sentence = f"{b} appended {element} to {key} on top of what {a} appended, and {a} failed."
                        self.findings.add("dirty-update", Step(a, b, "ww", key, sentence))
                    failed = None
