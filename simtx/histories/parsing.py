"""Reading a recorded history: from Python, from a JSON file or from a JSON Lines file, with one-line errors.

A history is a list of transactions::

    {"id": "t1", "process": 0, "status": "ok", "start": 0.0, "end": 1.5, "ops": [["append", "x", 1], ["r", "x", [1]], ["w", "y", 2]]}

A key is a list (`append`, and reads that return lists) or a register (`w`, and reads that return one value), never both. Each
value is written to a key at most once in the whole history: this is what makes it possible to say who wrote what was read.
`null` is the empty list or the initial value of a register; in a transaction that did not end `ok`, a read of `null` (or without
a value) is a read whose result nobody knows. `process`, `start` and `end` may be left out where the level does not need them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtx.errors import ScenarioError
from simtx.files import LARGEST_DATA, Unreadable, decoded, read_bytes
from simtx.histories import formats

if TYPE_CHECKING:
    from simtx.event_log.log import EventLog

#: A read without a known result.
UNKNOWN = object()

Op = tuple[str, Hashable, Any]

OK, FAIL, INFO = "ok", "fail", "info"
_PLAIN = frozenset({int, str, float, bool})
_REQUIRED = ("id", "status", "ops")

#: Integers of more bits have no decimal form that Python would write.
_MOST_BITS = 10_000

#: The most characters of a wrong value that a message shows.
_SHOWN_WRONG = 200

#: JSON can write one half of a character outside the basic plane, which is no text.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(slots=True)
class History:
    """A validated history; transactions are numbered by their place in it.

    Attributes:
        ids: The identifier of each transaction.
        status: `ok`, `fail` or `info`.
        process: The process of each, None where it is not given.
        start: Rank of the time of the request among all times of the history; None where it is not given.
        end: Rank of the time of the answer; None where it is not given. Equal times have equal ranks.
        ops: The operations of each; a read without a known result holds `UNKNOWN`.
        lists: The keys that hold lists.
        registers: The keys that hold single values.
        writers: For each key the transaction that wrote each value.
        overwritten: For each key the values that their own transaction replaced or extended later.
        source: What to call the history in messages.
        alike: The texts that stand for several identifiers, as 1 does for 1 and for "1".
    """

    ids: list[Hashable] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    process: list[Hashable | None] = field(default_factory=list)
    start: list[int | None] = field(default_factory=list)
    end: list[int | None] = field(default_factory=list)
    ops: list[list[Op]] = field(default_factory=list)
    lists: set[Hashable] = field(default_factory=set)
    registers: set[Hashable] = field(default_factory=set)
    writers: dict[Hashable, dict[Hashable, int]] = field(default_factory=dict)
    overwritten: dict[Hashable, set[Hashable]] = field(default_factory=dict)
    source: str = "history"
    alike: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, index: int) -> str:
        """The identifier of a transaction as text."""
        identity = self.ids[index]
        text = str(identity)
        return repr(identity) if text in self.alike else text


def read_history(source: object) -> History:
    """Read and validate a history.

    Args:
        source: A list (or another iterable) of transactions, such as those of a file.

    Raises:
        ScenarioError: A transaction is not as described in this module.
    """
    if isinstance(source, Entries):
        return _build(source, source.name)
    if isinstance(source, Iterable) and not isinstance(source, (Mapping, bytes)):
        return _build(source, "history")
    problem = f"expected a list of transactions or the path of a file, not {type(source).__name__}"
    raise ScenarioError(problem, "history")


class Entries(list[object]):
    """The entries of a file, before they are looked at, and what to call the file in messages."""

    def __init__(self, entries: Iterable[object], name: str) -> None:
        super().__init__(entries)
        self.name = name


def read_file(path: Path) -> Entries | EventLog:
    """The entries of a JSON array, of a file with one JSON object a line, or of a history of others; or the event log of a run.

    Raises:
        ScenarioError: The file cannot be read, is none of these, or holds no transactions.
    """
    found = _content(path)
    if not (found if isinstance(found, Entries) else found.transactions):
        raise ScenarioError("holds no transactions, so that there is nothing to check", path.name)
    return found


def _content(path: Path) -> Entries | EventLog:
    try:
        content = read_bytes(path, LARGEST_DATA)
        if formats.is_dbcop(content):
            return Entries(formats.read_dbcop(content, path.name), path.name)
        text = decoded(content, encoding="utf-8-sig")
    except FileNotFoundError:
        raise ScenarioError("there is no such file", str(path)) from None
    except Unreadable as error:
        raise ScenarioError(f"cannot be read: {error}", repr(str(path)) if "\0" in str(path) else str(path)) from None
    if _is_event_log(text):
        from simtx.event_log.log import EventLog

        return EventLog.parse(text, path.name)
    if formats.is_log(text):
        problem = "is a log of Jepsen's, of operations on single objects; what is read are its histories of transactions, in EDN or JSON"
        raise ScenarioError(problem, path.name)
    if formats.is_lines(text):
        return Entries(formats.read_lines(text, path.name), path.name)
    entries = formats.read_edn(text, path.name) if formats.is_edn(text) else _json(text, path.name)
    if formats.is_jepsen(entries):
        entries = [*formats.from_jepsen(entries, path.name)]
    return Entries(entries, path.name)


def _json(text: str, name: str) -> list[object]:
    if text.lstrip()[:1] == "[":
        return list(_parsed(text, name))
    lines: list[object] = []
    # Only a line feed ends a line here: other separators may stand in a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            lines.append(_parsed(line, name, number))
    return lines


def _parsed(text: str, name: str, line: int | None = None) -> Any:
    """The value of a JSON text; `line` is its line in the file if it is one of several.

    Raises:
        ScenarioError: It is not valid JSON, or a field stands twice in one object.
    """
    where = f"{name}, line {line}" if line else name
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        expected = "; expected a JSON array, or one JSON object a line" if line else ""
        raise ScenarioError(
            f"is not valid JSON: {error.msg}{expected}", f"{name}, line {line or error.lineno}"
        ) from None
    except RecursionError:
        raise ScenarioError("is nested too deeply", where) from None
    except UnicodeEncodeError:
        raise ScenarioError("holds half a character (a lone surrogate), which is no text", where) from None
    except ScenarioError:
        raise
    except ValueError:  # of a number, the only part that JSON allows and Python does not
        raise ScenarioError("holds a number of too many digits", where) from None
    return value


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        transaction = f", transaction {_shown(result['id'])}" if "id" in result else ""
        raise ScenarioError("stands twice in one object", f"{where}{transaction}, field {_shown(twice)}")
    return result


def _is_event_log(text: str) -> bool:
    """Return whether the first line is an array of plain values: transactions are objects."""
    start = text.lstrip()
    if not start.startswith("[") or start[1:].lstrip()[:1] in ("{", "]", ""):
        return False
    try:
        first = json.loads(start.partition("\n")[0])
    except (ValueError, RecursionError):  # it is told when the text is read as transactions
        return False
    return isinstance(first, list) and not any(isinstance(value, (dict, list)) for value in first)


def _build(entries: Iterable[object], source: str) -> History:
    history = History(source=source)
    # First place where a key is used as a list, and as a register: (transaction, operation).
    as_list: dict[Hashable, tuple[int, int]] = {}
    as_register: dict[Hashable, tuple[int, int]] = {}
    ids: set[Hashable] = set()
    starts: list[Any] = []
    ends: list[Any] = []
    for position, entry in enumerate(entries):
        where = f"{source}, transaction at position {position}"
        if not isinstance(entry, Mapping):
            raise ScenarioError(f"expected an object with {', '.join(_REQUIRED)}, got {type(entry).__name__}", where)
        identity = entry.get("id")
        if identity is None or not _is_scalar(identity):
            raise ScenarioError("expected a text or a number that no other transaction has", f"{where}, field 'id'")
        where = f"{source}, transaction {_shown(identity)}"
        if identity in ids:
            raise ScenarioError("is the id of an earlier transaction too; ids must differ", f"{where}, field 'id'")
        ids.add(identity)
        status = entry.get("status")
        if status not in (OK, FAIL, INFO):
            raise ScenarioError(f"expected 'ok', 'fail' or 'info', got {_shown(status)}", f"{where}, field 'status'")
        process = entry.get("process")
        if process is not None and not _is_scalar(process):
            raise ScenarioError(f"expected a text or a number, got {_shown(process)}", f"{where}, field 'process'")
        start, end = _time(entry, "start", where), _time(entry, "end", where)
        if start is not None and end is not None and end < start:
            raise ScenarioError(f"{_shown(end)} is before the start, {_shown(start)}", f"{where}, field 'end'")
        history.ids.append(identity)
        history.status.append(str(status))
        history.process.append(process)
        starts.append(start)
        ends.append(end)
        history.ops.append(_ops(history, entry.get("ops"), position, where, as_list, as_register))
    for key in as_list.keys() & as_register.keys():
        transaction, op = max(as_list[key], as_register[key])
        problem = f"key {_shown(key)} is used as a list and as a register; use 'append' or 'w' for it, not both"
        raise ScenarioError(problem, f"{source}, transaction {_shown(history.ids[transaction])}, field 'ops[{op}]'")
    history.lists, history.registers = set(as_list), set(as_register)
    names: set[str] = set()
    for text in map(str, history.ids):
        (history.alike if text in names else names).add(text)
    _rank_times(history, starts, ends)
    return history


def _shown(value: object) -> str:
    """A wrong value in a message, on one line and not too long."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of too many digits"
    return text if len(text) <= _SHOWN_WRONG else f"{text[:_SHOWN_WRONG]}…"


def _is_scalar(value: object) -> bool:
    """Return whether a value may be a key, an id or an element: comparable, hashable, and not a container."""
    if type(value) in _PLAIN:
        if isinstance(value, float):
            return not math.isnan(value)
        return not isinstance(value, int) or value.bit_length() <= _MOST_BITS
    return value is not None and not isinstance(value, (tuple, frozenset)) and isinstance(value, Hashable)


def _time(entry: Mapping[Any, Any], name: str, where: str) -> Any:
    value = entry.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
        raise ScenarioError(f"expected a finite number, got {_shown(value)}", f"{where}, field {name!r}")
    return value


def _rank_times(history: History, starts: list[Any], ends: list[Any]) -> None:
    """Replace times by ranks: integers in nanoseconds do not fit a float, and all that matters is the order."""
    times = sorted({time for time in (*starts, *ends) if time is not None})
    rank = {time: place for place, time in enumerate(times)}
    history.start = [None if time is None else rank[time] for time in starts]
    history.end = [None if time is None else rank[time] for time in ends]


def _ops(
    history: History,
    ops: object,
    transaction: int,
    where: str,
    as_list: dict[Hashable, tuple[int, int]],
    as_register: dict[Hashable, tuple[int, int]],
) -> list[Op]:
    """The operations of one transaction, validated, with the writers of the history brought up to date."""
    if not isinstance(ops, (list, tuple)):
        raise ScenarioError("expected a list of operations such as ['r', 'x', [1]]", f"{where}, field 'ops'")
    finished = history.status[transaction] == OK
    result: list[Op] = []
    last_write: dict[Hashable, Hashable] = {}
    for number, op in enumerate(ops):
        if not isinstance(op, (list, tuple)) or len(op) not in (2, 3):
            problem = f"expected [operation, key, value], got {_shown(op)}"
            raise ScenarioError(problem, f"{where}, field 'ops[{number}]'")
        kind, key = op[0], op[1]
        value = op[2] if len(op) == 3 else UNKNOWN
        if not _is_scalar(key):
            raise ScenarioError(f"the key {_shown(key)} is not a text or a number", f"{where}, field 'ops[{number}]'")
        if kind == "r":
            if value is UNKNOWN or value is None:
                if finished and value is UNKNOWN:
                    problem = f"the read of {_shown(key)} has no value; in an 'ok' transaction it needs one (null: nothing there yet)"
                    raise ScenarioError(problem, f"{where}, field 'ops[{number}]'")
                value = None if finished else UNKNOWN
            elif isinstance(value, (list, tuple)):
                kinds = set(map(type, value))
                if (not kinds <= _PLAIN or float in kinds) and not all(map(_is_scalar, value)):
                    problem = f"the read of {_shown(key)} holds an element that is not a text or a number"
                    raise ScenarioError(problem, f"{where}, field 'ops[{number}]'")
                as_list.setdefault(key, (transaction, number))
                value = value if type(value) is list else list(value)
            else:
                _check_value(value, key, where, number)
                as_register.setdefault(key, (transaction, number))
        elif kind in ("append", "w"):
            _check_value(value, key, where, number)
            (as_list if kind == "append" else as_register).setdefault(key, (transaction, number))
            known = history.writers.setdefault(key, {})
            if value in known:
                problem = (
                    f"{_shown(value)} was written to {_shown(key)} by transaction {_shown(history.ids[known[value]])} too; "
                    "every write to a key needs a value of its own"
                )
                raise ScenarioError(problem, f"{where}, field 'ops[{number}]'")
            known[value] = transaction
            if key in last_write:
                history.overwritten.setdefault(key, set()).add(last_write[key])
            last_write[key] = value
        else:
            problem = f"expected 'append', 'r' or 'w', got {_shown(kind)}"
            raise ScenarioError(problem, f"{where}, field 'ops[{number}]'")
        result.append((kind, key, value))
    return result


def _check_value(value: object, key: Hashable, where: str, number: int) -> None:
    if value is UNKNOWN or not _is_scalar(value):
        shown = "nothing" if value is UNKNOWN else _shown(value)
        problem = f"expected a text or a number as the value of {_shown(key)}, got {shown}"
        raise ScenarioError(problem, f"{where}, field 'ops[{number}]'")
