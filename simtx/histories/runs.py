"""From the event log of a run to a history.

There are two questions, and a history for each of them:

- ``local``: does every store keep its isolation level? Each local transaction on one store is a transaction.
- ``business``: how isolated are the transactions that clients ask for? All local transactions of one business transaction are one
  transaction over the keys of all services. It is `ok` if it committed, `fail` if it aborted, `info` if the log ends before. What a
  compensation does is explained in `simtx.histories.versions`.

Keys are registers named ``service/key``. A value is written as ``8 (#3)``: the third change of that key, which left an 8. The order of the
versions is that of the commits in the store, and is part of the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog
from simtx.histories.local import BusinessTransaction, LocalTransaction, RunLog, read_log
from simtx.histories.parsing import FAIL, OK
from simtx.histories.versions import Key, versions_of

if TYPE_CHECKING:
    from simtx.metrics.run import Run

Transactions = Literal["business", "local"]

_DROPPED: Final = object()

Transaction = dict[str, Any]


class RunHistory(list[Transaction]):
    """The history of a run: a list of transactions in the form that `check_history` takes, and what else is known.

    Attributes:
        version_order: The versions of each key in the order in which its store committed them: `assume={"version_order": ...}`.
        ambiguous: Reads whose value fits several versions of their key. They are left out; what is found without them is certain.
        likely: The same history with each of these reads at its likeliest version; itself if there are none.
    """

    def __init__(self, transactions: Iterable[Transaction], version_order: dict[Hashable, list[str]]) -> None:
        super().__init__(transactions)
        self.version_order = version_order
        self.ambiguous = 0
        self.likely: RunHistory = self


def from_trace(trace: EventLog | Run, transactions: Transactions = "business") -> RunHistory:
    """The history of a run, simulated or real, from its event log.

    Args:
        trace: The event log, or the run.
        transactions: ``business`` or ``local``: what counts as one transaction.

    Raises:
        ScenarioError: `transactions` is neither, or the log is not in the form that `simtx.event_log.log` describes.
    """
    if transactions not in get_args(Transactions):
        choice = " or ".join(repr(one) for one in get_args(Transactions))
        raise ScenarioError(f"expected {choice}, got {transactions!r}", "transactions")
    log = read_log(trace if isinstance(trace, EventLog) else trace.trace)
    history, ambiguous = _build(log, transactions, guess=False)
    history.ambiguous = ambiguous
    if ambiguous:
        history.likely, _ = _build(log, transactions, guess=True)
    return history


def _build(log: RunLog, transactions: Transactions, *, guess: bool) -> tuple[RunHistory, int]:
    business = transactions == "business"
    keys = versions_of(log.locals, compensated=business)
    reader = _Reader(keys, guess=guess)
    found = _business(log, keys, reader) if business else _local(log, reader)
    order: dict[Hashable, list[str]] = {
        name: [version.label for version in key.versions if version.visible == version.number]
        for name, key in keys.items()
    }
    return RunHistory(found, {name: labels for name, labels in order.items() if labels}), reader.ambiguous


class _Reader:
    """Puts the reads and changes of local transactions into the form of a history.

    Args:
        keys: All versions.
        guess: What to do with a read that fits several versions: take the likeliest, or leave it out.
    """

    def __init__(self, keys: dict[str, Key], *, guess: bool) -> None:
        self.keys = keys
        self.guess = guess
        self.ambiguous = 0
        self._made: dict[int, dict[str, list[int]]] = {}
        for name, key in keys.items():
            for version in key.versions:
                self._made.setdefault(id(version.local), {}).setdefault(name, []).append(version.number)

    def reads(self, local: LocalTransaction) -> list[tuple[str, Any]]:
        """Reads of a local transaction: (key, the label of the version or None), without what cannot be told."""
        found = [(f"{local.node}/{read.key}", self._version(local, read)) for read in local.reads or ()]
        return [(name, label) for name, label in found if label is not _DROPPED]

    def _version(self, local: LocalTransaction, read: Any) -> Any:
        name = f"{local.node}/{read.key}"
        key = self.keys.setdefault(name, Key())
        own = self._made.get(id(local), {}).get(name)
        fitting, likeliest = key.find(local, read, own[0] if own else None)
        if not fitting:
            return f"{read.value:.10g} (of no known change)"
        if len({key.shown(number) for number in fitting}) > 1:
            self.ambiguous += 1
            if not self.guess:
                return _DROPPED
        return key.shown(likeliest)

    def writes(self, local: LocalTransaction, *, stays: bool = False) -> list[list[Any]]:
        """Writes of a local transaction, without what a compensation only takes back; `stays`: only what a compensation has left for good, or all but that."""
        written: list[list[Any]] = []
        for name, numbers in self._made.get(id(local), {}).items():
            versions = [self.keys[name].versions[number - 1] for number in numbers]
            written += [
                ["w", name, version.label]
                for version in versions
                if version.visible == version.number and version.stays is stays
            ]
        return written


# --- the stores -------------------------------------------------------------------------------------------------------------------


def _local(log: RunLog, reader: _Reader) -> list[Transaction]:
    names: Counter[str] = Counter()
    found = []
    for local in log.locals:
        name = f"t{local.tx}@{local.node}" + (" undo" if local.phase == "compensation" else "")
        names[name] += 1
        if names[name] > 1:
            name = f"{name} #{names[name]}"
        ops = [["r", key, label] for key, label in reader.reads(local)] + reader.writes(local)
        found.append({"id": name, "status": OK, "start": local.start, "end": local.end, "ops": ops})
    return found


# --- business transactions -----------------------------------------------------------------------------------------------------------


def _business(log: RunLog, keys: dict[str, Key], reader: _Reader) -> list[Transaction]:
    undone = {id(v.local) for key in keys.values() for v in key.versions if v.local.phase == "compensation" and v.stays}
    found = []
    for one in log.business.values():
        entry: Transaction = {"id": f"t{one.tx}", "status": one.status, "start": one.start}
        if one.status == OK:
            entry["end"] = max(log.known_at(one), one.start)
        elif one.status == FAIL:
            entry["end"] = max(one.decided, one.start)
        entry["ops"] = _ops(one, reader)
        found.append(entry)
        traces = [local for local in one.locals if id(local) in undone]
        if traces:
            found.append(_undo(one, traces, reader))
    return found


def _ops(one: BusinessTransaction, reader: _Reader) -> list[list[Any]]:
    """Reads and writes of its actions. The compensations read for themselves, and what they write is in place of what was there."""
    ops: list[list[Any]] = []
    queries = _queries(one, reader)
    for local in one.locals:
        if local.phase == "compensation":
            ops += reader.writes(local)
        elif local.changes:
            ops += [["r", key, label] for key, label in reader.reads(local)]
            ops += reader.writes(local)
        else:
            ops += [["r", key, label] for key, label in queries.pop(id(local), ())]
    return ops


def _queries(one: BusinessTransaction, reader: _Reader) -> dict[int, list[tuple[str, Any]]]:
    """The reads of its local transactions that changed nothing, at the first of those that did the work of the same steps.

    A late copy of a message can have a step evaluated once more, and nobody takes the answer. Which of several evaluations the outcome
    rests on is not said, so that only what all of them have read counts; if one of them took effect, that one does. A refusal that did not
    abort the transaction was repeated.
    """
    effective = {(local.node, step) for local in one.locals if local.changes for step in local.steps}
    groups: dict[tuple[str, tuple[int, ...]], list[LocalTransaction]] = {}
    for local in one.locals:
        effectless = not any((local.node, step) in effective for step in local.steps)
        if effectless and not local.changes and local.phase == "action":
            groups.setdefault((local.node, local.steps), []).append(local)
    found: dict[int, list[tuple[str, Any]]] = {}
    for members in groups.values():
        first, *others = [reader.reads(member) for member in members]
        found[id(members[0])] = [read for read in first if all(read in other for other in others)]
    return found


def _undo(one: BusinessTransaction, traces: list[LocalTransaction], reader: _Reader) -> Transaction:
    """Writes that the compensations of a transaction have left for good, as a transaction that has committed."""
    ops = [op for local in traces for op in reader.writes(local, stays=True)]
    start, end = min(local.start for local in traces), max(local.end for local in traces)
    return {"id": f"t{one.tx} undo", "status": OK, "start": start, "end": end, "ops": ops}
