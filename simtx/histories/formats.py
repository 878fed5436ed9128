"""Histories of others, recognised by their content: Jepsen's in EDN and in JSON, the text form of lines, and dbcop's binary one.

- **Jepsen and Elle**: operations in the order of their events, `{:type :invoke, :f :txn, :value [[:append 9 1] [:r 8 nil]], :process 0}` and
  later the same with `:type :ok`, `:fail` or `:info`. A place in the file is the time: an operation begins where it is invoked and ends
  where it completes. What never completes is unknown. Operations of no client (`:process :nemesis`) are no transactions.
- **Text**: `w(key,value,session,transaction)` and `r(...)`, one operation a line, as PolySI and other checkers of snapshot isolation read it.
- **dbcop**: what its Rust structures are in bincode, integers of 64 bits, the least byte first.

In the last two, the value 0 in a read is the initial state, and sessions run in the order of the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from simtx.errors import ScenarioError

_EDN: Final = re.compile(r"\s*(?:[;#(]|\{[\s,]*:|\[[\s,]*(?:\{[\s,]*:|[#(;]))")
_TAG: Final = re.compile(r"#([A-Za-z][\w.*+!?$%&=<>/-]*)")
_TEXT: Final = re.compile(r"\s*[rw]\s*\(")
_LOG: Final = re.compile(r"\s*INFO\s+jepsen\b")
_LINE: Final = re.compile(r"\s*([rw])\s*\(\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*\)\s*")
_EXPECTED_LINE: Final = "expected r(key,value,session,transaction) or w(...), of whole numbers"

_MICRO: Final = ("r", "w", "append")

#: What other tests of Jepsen record, and why it cannot be judged here.
_OTHERS: Final = {
    "add": "sets and counters: their reads do not say in which order the additions were made",
    "transfer": "bank totals: a total does not say which transfers a read has seen",
    "cas": "compare-and-set: an operation that is no transaction of reads and writes",
    "read": "sets, counters, bank totals and single objects: such a read does not say which writes it has seen, and in which order",
    "write": "single objects: the history holds no transactions",
    "enqueue": "queues",
    "dequeue": "queues",
}


def is_edn(text: str) -> bool:
    """Return whether a text is EDN rather than JSON: maps with keywords, tags, lists or comments."""
    return _EDN.match(text) is not None


def is_log(text: str) -> bool:
    """Return whether a text is what Jepsen logs while it runs, as the tests of checkers of linearizability have it."""
    return _LOG.match(text) is not None


def is_lines(text: str) -> bool:
    """Return whether a text has the form of lines."""
    return _TEXT.match(text) is not None


def is_dbcop(content: bytes) -> bool:
    """Return whether a file begins with five small integers of 64 bits, as no text does."""
    return len(content) >= 40 and all(content[at + 4 : at + 8] == b"\0\0\0\0" for at in range(0, 40, 8))


def is_jepsen(entries: Sequence[object]) -> bool:
    """Return whether the entries of a file are operations of Jepsen."""
    first = entries[0] if entries else None
    return isinstance(first, Mapping) and "type" in first and "status" not in first


# --- EDN ------------------------------------------------------------------------------------------------------------------------


def read_edn(text: str, name: str) -> list[object]:
    """The operations of an EDN file, with keywords as text: a vector of maps, or several maps in a row.

    Raises:
        ScenarioError: It is not EDN, or the library that reads it is missing.
    """
    try:
        import edn_format
    except ImportError:
        raise ScenarioError("EDN needs edn-format; install it with: pip install 'simtx[histories]'", name) from None
    tags = set(_TAG.findall(text)) - {"inst", "uuid"}
    for tag in tags:
        edn_format.add_tag(tag, _untagged)
    try:
        values = _plain(edn_format.loads_all(text), edn_format)
    except edn_format.EDNDecodeError as error:
        raise ScenarioError(f"is not valid EDN: {' '.join(str(error).split())[:200]}", name) from None
    except RecursionError:
        raise ScenarioError("is nested too deeply", name) from None
    except (NotImplementedError, ValueError) as error:
        raise ScenarioError(f"holds EDN that is not read: {' '.join(str(error).split())[:200]}", name) from None
    finally:
        for tag in tags:
            edn_format.remove_tag(tag)
    if len(values) == 1 and isinstance(values[0], list):
        (values,) = values
    if not values or not all(isinstance(value, dict) for value in values):
        raise ScenarioError("expected maps of operations, such as {:type :ok, :f :txn, :value [[:r 1 nil]]}", name)
    return [_field_names(value) for value in values]


def _untagged(value: object) -> object:
    return value


def _plain(value: Any, library: Any) -> Any:
    """A value of EDN as JSON would have it; a keyword keeps its colon, so that no text is taken for it."""
    if isinstance(value, Mapping):
        return {_plain(key, library): _plain(one, library) for key, one in value.items()}
    if isinstance(value, library.Keyword):
        return f":{value.name}"
    if isinstance(value, library.MetadataValue):
        return _plain(value.value, library)
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, (str, library.Symbol)) or not isinstance(value, Iterable):
        return str(value)
    return [_plain(one, library) for one in value]


def _field_names(entry: Mapping[Any, Any]) -> dict[Any, Any]:
    """A map with the names of its fields as Jepsen's JSON writes them."""
    return {key.removeprefix(":") if isinstance(key, str) else key: value for key, value in entry.items()}


# --- Jepsen ---------------------------------------------------------------------------------------------------------------------


def from_jepsen(entries: Sequence[object], name: str) -> list[dict[str, Any]]:
    """The transactions of a history of Jepsen, in the order of their completions.

    Raises:
        ScenarioError: An operation is none of Jepsen, or no transaction of reads, writes and appends.
    """
    result: list[dict[str, Any]] = []
    pending: dict[Hashable, tuple[int, list[list[Any]]]] = {}
    for place, entry in enumerate(entries):
        where = f"{name}, operation at position {place}"
        if not isinstance(entry, Mapping) or "type" not in entry:
            raise ScenarioError("expected a map with type, f, value and process, as Jepsen writes them", where)
        kind = _word(entry["type"])
        if kind not in ("invoke", "ok", "fail", "info"):
            raise ScenarioError(f"expected invoke, ok, fail or info, got {kind!r}", f"{where}, field 'type'")
        process = entry.get("process")
        if isinstance(process, bool) or not isinstance(process, (int, type(None))):
            continue  # the nemesis
        if kind == "invoke":
            if process in pending:
                raise ScenarioError(f"process {process!r} is still busy with an earlier operation", where)
            pending[process] = (place, _micro_operations(entry, where, done=False))
            continue
        begun = pending.pop(process, None)
        if kind != "ok" and entry.get("value") is None and begun is not None:
            ops = begun[1]
        else:
            ops = _micro_operations(entry, where, done=kind == "ok")
        transaction = {"id": entry.get("index", place), "process": process, "status": kind, "ops": ops}
        if begun is not None:
            transaction |= {"start": begun[0], "end": place}
        result.append(transaction)
    for process, (place, ops) in pending.items():
        result.append({"id": f"{place} (no answer)", "process": process, "status": "info", "start": place, "ops": ops})
    return result


def _word(value: object) -> str:
    return str(value).removeprefix(":")


def _micro_operations(entry: Mapping[Any, Any], where: str, *, done: bool) -> list[list[Any]]:
    """The reads, writes and appends of one operation; the results of reads count only where it is done."""
    value, function = entry.get("value"), _word(entry.get("f"))
    if not isinstance(value, (list, tuple)) or not all(isinstance(op, (list, tuple)) for op in value):
        why = _OTHERS.get(function, "what is read are lists of [:r key value], [:w key value] and [:append key value]")
        raise ScenarioError(f"f is {function!r}, and the value is no list of operations; {why}", where)
    result = []
    for number, op in enumerate(value):
        kind = _word(op[0]) if op else ""
        if kind not in _MICRO or len(op) not in (2, 3):
            hint = "; reads by a predicate are not read" if kind == "rp" else ""
            problem = f"expected [:r key value], [:w key value] or [:append key value], got {kind!r} with {len(op)} parts{hint}"
            raise ScenarioError(problem, f"{where}, field 'value[{number}]'")
        last = op[2] if len(op) == 3 else None
        result.append([kind, op[1]] if kind == "r" and not done else [kind, op[1], last])
    return result


# --- lines of text --------------------------------------------------------------------------------------------------------------


def read_lines(text: str, name: str) -> list[dict[str, Any]]:
    """The transactions of the form of lines.

    Raises:
        ScenarioError: A line has another form, or a transaction runs in two sessions.
    """
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ScenarioError(_EXPECTED_LINE, f"{name}, line {number}")
        try:
            key, value, session, transaction = (int(part) for part in match.groups()[1:])
        except ValueError:
            raise ScenarioError("holds a number of too many digits", f"{name}, line {number}") from None
        one = found.setdefault(transaction, {"id": transaction, "process": session, "status": "ok", "ops": []})
        if one["process"] != session:
            problem = f"transaction {transaction} runs in session {one['process']} and in session {session}"
            raise ScenarioError(problem, f"{name}, line {number}")
        one["ops"].append(_register(match[1] == "w", key, value))
    return list(found.values())


def _register(writes: bool, key: int, value: int) -> list[Any]:
    return ["w", key, value] if writes else ["r", key, None if value == 0 else value]


# --- dbcop ----------------------------------------------------------------------------------------------------------------------


class _Bytes:
    """Numbers and texts behind each other."""

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name, self.at = content, name, 0

    def take(self, size: int) -> bytes:
        part = self.content[self.at : self.at + size]
        if len(part) < size:
            raise ScenarioError(
                f"looks like a history of dbcop, but ends after {len(self.content)} bytes in the middle of it",
                self.name,
            )
        self.at += size
        return part

    def number(self) -> int:
        (value,) = struct.unpack("<Q", self.take(8))
        return int(value)

    def flag(self) -> bool:
        (value,) = self.take(1)
        if value > 1:
            raise ScenarioError(f"looks like a history of dbcop, but byte {self.at - 1} is neither 0 nor 1", self.name)
        return bool(value)

    def several(self) -> Iterator[int]:
        return iter(range(self.number()))


def read_dbcop(content: bytes, name: str) -> list[dict[str, Any]]:
    """The transactions of a binary history of dbcop; a transaction without success has failed, an operation without it did nothing.

    Raises:
        ScenarioError: The file ends too early, or goes on behind its end.
    """
    source = _Bytes(content, name)
    source.take(40)  # number of the history, of nodes, variables, transactions and events
    for _ in range(3):  # what it is, when it began and when it ended
        source.take(source.number())
    result: list[dict[str, Any]] = []
    for session in source.several():
        for number in source.several():
            ops = []
            for _ in source.several():
                writes, key, value, success = source.flag(), source.number(), source.number(), source.flag()
                if success:
                    ops.append(_register(writes, key, value))
            status = "ok" if source.flag() else "fail"
            result.append({"id": f"{session}.{number}", "process": session, "status": status, "ops": ops})
    if source.at != len(content):
        raise ScenarioError(
            f"looks like a history of dbcop, but goes on for {len(content) - source.at} bytes behind its end", name
        )
    return result
