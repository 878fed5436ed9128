"""The audit log of a node: who asked for what, what changed, and why; append-only, and tamper-evident by a chain of checksums.

A file of JSON Lines, one entry a line. The last two members of each line are ``prev``, the checksum of the line before, and ``hash``. That is the
SHA-256 of the line's own bytes up to there. So every byte counts, and nothing in the middle can be changed, removed, inserted or moved
without breaking the chain. What the chain alone cannot show is that its end is missing, or was written anew: that takes a **seal**, number
and checksum of the last line at some time, kept where whoever can write the file cannot.

Acts, as simtx writes them: ``request`` (a client or an operator asks), ``apply`` and ``compensate`` (a local transaction has changed keys),
``prepare``, ``commit``, ``rollback``, ``decide``, ``recovered``, ``alert``, ``stuck``, ``freed`` (what was stuck goes on by itself), ``given-up``
(nothing will be done any more), ``retry``, ``skip``, ``resolve``, ``refuse`` (something was not let in), ``stop`` and ``release`` (of a
partition), ``cut`` (a half-written line was removed from the end of the file).

A line reaches the operating system in one write before `AuditLog.append` returns, so it outlives the process, however that ends; `sync` makes
it outlive the machine. The line comes after the commit that it tells of: a process killed in between leaves a change without a line, which
`AuditLog.reconcile` adds from the store's own history.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from simtx.errors import SimtxError
from simtx.reference.stores.base import StoreDamaged

if TYPE_CHECKING:
    from simtx.reference.stores.base import Change

GENESIS: Final = "0" * 64
"""Zeros in place of the checksum of a line before the first."""
LONGEST_REASON: Final = 1000
"""Characters; what is longer is cut, since a reason may come from a peer."""
RECOVERY: Final = "recovery"
"""Actor of what was added from the store's history: who had asked is not known there."""

_HASH_TAIL: Final = len(',"hash":""}') + 64
_BLOCK: Final = 8192
_HISTORY: Final = re.compile(rb'"history":(\d+)')  # inside a JSON text the quote before the colon would be escaped
_TAIL: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}')


class AuditError(SimtxError, RuntimeError):
    """The audit log cannot be written or read; the text says which file, which line and why."""


class Head(NamedTuple):
    """The end of an audit log, and its seal if it is kept elsewhere.

    Attributes:
        number: Number of the last line, from 1; 0 if there is none.
        hash: Its checksum; `GENESIS` if there is none.
    """

    number: int
    hash: str


NO_LINES: Final = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line.

    Attributes:
        number: From 1, without gaps.
        time: UTC, ISO 8601, when it was written.
        node: The node whose log it is.
        tx: Business transaction, or -1.
        actor: Who asked: ``client``, the role of a machine, ``operator:<name>`` (a claim), a peer, ``recovery``.
        act: What was done.
        name: More about the act: the outcome of a decision, the kind of a request.
        steps: Steps of the transaction that it was about.
        changes: (old, new) by key of the store.
        reason: Why.
        history: Row of the store's history that holds the changes, or -1.
        recovered: Whether the line was added later, from the store's history.
        uid: Of a line about an operator: the system's number of the user whose process has written it; -1: not told.
        previous: Checksum of the line before.
        hash: Its own.
    """

    number: int
    time: str
    node: str
    tx: int
    actor: str
    act: str
    previous: str
    hash: str
    name: str = ""
    steps: tuple[int, ...] = ()
    changes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reason: str = ""
    history: int = -1
    recovered: bool = False
    uid: int = -1


class AuditLog:
    """Writes the audit log of one node; continues the one that is there.

    Only one process at a time may have it open. A kill in the middle of a write leaves a last line without its end. That line is cut off,
    and a line that says so takes its place. May be used by several threads.

    Args:
        path: The file; made if need be, readable by its owner alone.
        node: Name of the node.

    Raises:
        AuditError: Another process writes it, it cannot be written, its last line is damaged, or it is another node's.
    """

    def __init__(self, path: str | Path, node: str) -> None:
        self.path = Path(path)
        self.node = node
        self._lock = threading.Lock()
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditError(f"{self.path}: the audit log cannot be opened: {error.strerror}") from None
        try:
            self._open()
        except BaseException:
            os.close(self._file)
            raise

    def _open(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AuditError(f"{self.path}: another process is writing this audit log") from None
        with self.path.open("rb") as file:
            (self._number, self._hash), self._size = _last_line(file, self.path, self.node)
            rest = file.read()
        if rest:
            os.ftruncate(self._file, self._size)
            kept = rest[:200].decode("ascii", "backslashreplace")
            reason = f"{len(rest)} bytes of a line that was never finished were cut off: {kept}"
            self.append("cut", tx=-1, actor=RECOVERY, reason=reason)

    @property
    def head(self) -> Head:
        """Number and checksum of the last line."""
        return Head(self._number, self._hash)

    def append(
        self,
        act: str,
        *,
        tx: int,
        actor: str,
        name: str = "",
        steps: Sequence[int] = (),
        changes: Mapping[str, tuple[float, float]] | None = None,
        reason: str = "",
        history: int = -1,
        recovered: bool = False,
    ) -> Head:
        """Write one line; on return it outlives this process.

        Args:
            act: What was done.
            tx: Business transaction, or -1.
            actor: Who asked.
            name: More about the act.
            steps: Steps that it was about.
            changes: (old, new) by key.
            reason: Why; at most `LONGEST_REASON` characters are kept.
            history: Number of the row in the store's history (`simtx.reference.stores.base.Result.history`), or -1.
            recovered: Whether it is told later, from the store's history.

        Returns:
            Number and checksum of the line.

        Raises:
            AuditError: The line could not be written; the log is as it was before.
        """
        entry: dict[str, Any] = {"number": 0, "time": "", "node": self.node, "tx": tx, "actor": actor, "act": act}
        if actor.startswith("operator:"):  # a name that nobody has verified
            entry["uid"] = os.getuid()
        if name:
            entry["name"] = name
        if steps:
            entry["steps"] = list(steps)
        if changes:
            entry["changes"] = dict(changes)
        if history >= 0:
            entry["history"] = history
        if recovered:
            entry["recovered"] = True
        if reason:
            entry["reason"] = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
        with self._lock:
            entry["number"] = number = self._number + 1
            entry["time"] = datetime.now(UTC).isoformat(timespec="microseconds")
            entry["prev"] = self._hash
            text = _ENCODE(entry)[:-1].encode("ascii")
            digest = hashlib.sha256(text).hexdigest()
            self._write(b'%b,"hash":"%b"}\n' % (text, digest.encode("ascii")))
            self._number, self._hash = number, digest
            return Head(number, digest)

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise AuditError(f"{self.path}: the audit log cannot be written: {error.strerror}") from None
        if written != len(line):
            os.ftruncate(self._file, self._size)
            raise AuditError(f"{self.path}: the audit log cannot be written: no space for a whole line")
        self._size += written

    def reconcile(self, history: Iterable[Change]) -> int:
        """Add a line for each change that the store has and this log lacks, marked as recovered.

        A change that this log knows must be in the store.

        To be called after a restart, before the node works again.

        Args:
            history: The store's history.

        Returns:
            How many were added.

        Raises:
            StoreDamaged: The store lacks a change that this log knows; nothing was added.
            AuditError: They could not be written.
        """
        known = self._told()
        added = 0
        changes = sorted(history, key=lambda one: one.number)
        lost = known.difference(change.number for change in changes)
        if lost:
            raise StoreDamaged(_lost(self.node, len(lost), min(lost)))
        for change in changes:
            if change.number in known:
                continue
            self.append(
                "compensate" if change.compensation else "apply",
                tx=change.tx,
                actor=RECOVERY,
                steps=change.steps,
                changes=change.changes,
                reason="found in the store's history: the process ended between the commit and its line",
                history=change.number,
                recovered=True,
            )
            added += 1
        return added

    def _told(self) -> set[int]:
        """Numbers of the rows of the store's history that this log has lines about."""
        with self.path.open("rb") as file:
            return {int(found) for line in file for found in _HISTORY.findall(line)}

    def sync(self) -> None:
        """Return when all lines are on disk.

        Raises:
            AuditError: The disk refuses.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise AuditError(f"{self.path}: the audit log cannot be forced to disk: {error.strerror}") from None

    def close(self) -> None:
        """Force it to disk and let the file go."""
        with self._lock:
            if self._file >= 0:
                self.sync()
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode


# --- reading ------------------------------------------------------------------------------------------------------------------


def entries(path: str | Path) -> Iterator[Entry]:
    """The lines of an audit log, one by one; one that is still being written at the end is left out.

    This reads; whether the log is as it was written is for `verify` to say.

    Raises:
        AuditError: A line is none, or there is no such file.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                entry = _entry(line[:-1])
                if entry is None:
                    raise AuditError(f"{path}: line {number} is no line of an audit log")
                yield entry


def read(path: str | Path) -> list[Entry]:
    """All lines of an audit log, as `entries` gives them.

    Raises:
        AuditError: A line is none, or there is no such file.
    """
    return list(entries(path))


def read_folder(paths: Mapping[str, Path]) -> tuple[list[Entry], list[str]]:
    """The lines of several nodes' audit logs in the order of their times, as far as they can be read.

    Args:
        paths: Audit log by node.

    Returns:
        The lines; and the nodes of whose logs not all could be read.
    """
    found: list[Entry] = []
    broken = []
    for node, path in paths.items():
        try:
            for entry in entries(path):
                found.append(entry)  # noqa: PERF402 - those before a line that is none count
        except AuditError:
            broken.append(node)
    return sorted(found, key=lambda entry: (entry.time, entry.node, entry.number)), broken


def check_history(path: str | Path, history: Iterable[Change]) -> None:
    """Check that a node's store has every change that its audit log knows, as it is told there.

    Args:
        path: The audit log; if there is none, nothing is known.
        history: The store's history.

    Raises:
        StoreDamaged: One is missing, or is another one.
        AuditError: A line of the log is none.
    """
    if not Path(path).exists():
        return
    stored = {change.number: (change.tx, dict(change.changes)) for change in history}
    lost = []
    node = ""
    for entry in entries(path):
        if entry.history >= 0 and stored.get(entry.history) != (entry.tx, dict(entry.changes)):
            lost.append(entry.history)
            node = entry.node
    if lost:
        raise StoreDamaged(_lost(node, len(lost), lost[0]))


def _lost(node: str, count: int, first: int) -> str:
    what = f"the change that its audit log has as number {first} of the store's history"
    more = f", and {count - 1} more" if count > 1 else ""
    return f"the store of '{node}' lacks {what}{more}; put it back from a copy that holds all of it"


def read_head(path: str | Path) -> Head:
    """The seal of an audit log as it is now, to be kept elsewhere; it may be open for writing in another process.

    Raises:
        AuditError: Its last line is damaged, or there is no such file.
    """
    with _opened(path) as file:
        return _last_line(file, Path(path), None)[0]


def verify(path: str | Path, head: Head | tuple[int, str] | None = None, *, final: bool = False) -> list[str]:
    """Findings about an audit log, one line each; none if it is as it was written.

    Finds what was changed, removed, inserted or moved; lines missing at the end, or written anew from some line on, only with a seal.

    Args:
        path: The file.
        head: A seal that was kept elsewhere: `AuditLog.head` at some time; the log may have grown since.
        final: Whether the seal is of the end, so that nothing may stand behind it.

    Returns:
        Findings, in the order of the lines.

    Raises:
        AuditError: There is no such file, or it cannot be read.
    """
    checker = _Checker(None if head is None else Head(*head), final=final)
    with _opened(path) as file:
        for line in file:
            checker.line(line)
    return checker.findings()


class _Checker:
    """Follows the chain of a file; after a break it goes on from where the file does, so that each break is reported once."""

    def __init__(self, sealed: Head | None, *, final: bool) -> None:
        self._sealed = sealed
        self._final = final
        self._lines = 0
        self._expected = 1
        self._hash: str | None = GENESIS
        self._node: str | None = None
        self._found: list[str] = []
        self._seen_seal = sealed is None or sealed.number == 0

    def line(self, line: bytes) -> None:
        self._lines += 1
        where = f"line {self._lines}"
        if not line.endswith(b"\n"):
            self._found.append(f"{where} was never finished")
            return
        entry = _entry(line[:-1])
        if entry is None:
            self._found.append(f"{where} is no line of an audit log")
            self._expected += 1
            self._hash = None
            return
        if hashlib.sha256(line[: -_HASH_TAIL - 1]).hexdigest() != entry.hash:
            self._found.append(f"{where} was changed: its checksum is not that of its text")
        if entry.number != self._expected:
            self._found.append(
                f"{where} has number {entry.number}, not {self._expected}: removed, inserted or moved lines"
            )
        elif self._hash is not None and entry.previous != self._hash:
            self._found.append(
                f"{where} does not follow the line before it: one of them was changed, inserted or moved"
            )
        if self._node not in (None, entry.node):
            self._found.append(f"{where} is of node '{entry.node}', those before it of '{self._node}'")
        self._expected, self._hash, self._node = entry.number + 1, entry.hash, entry.node
        sealed = self._sealed
        if sealed is not None and entry.number == sealed.number:
            self._seen_seal = True
            if entry.hash != sealed.hash:
                self._found.append(f"{where} is not the line that was sealed as number {sealed.number}")

    def findings(self) -> list[str]:
        if not self._seen_seal and self._sealed is not None:
            self._found.append(
                f"the end is missing: line {self._sealed.number} was sealed, and there are {self._lines} lines"
            )
        if self._final and self._sealed is not None and self._lines > self._sealed.number:
            behind = self._lines - self._sealed.number
            self._found.append(
                f"{behind} line{'s' if behind > 1 else ''} behind the seal, which is of line {self._sealed.number}, the last one"
            )
        return self._found


def _entry(line: bytes) -> Entry | None:
    """The entry of a line without its end, or None if it is no line of an audit log."""
    tail = _TAIL.fullmatch(line[-_HASH_TAIL:])
    if tail is None:
        return None
    try:
        raw = json.loads(line)
        return Entry(
            number=_typed(raw["number"], int),
            time=_typed(raw["time"], str),
            node=_typed(raw["node"], str),
            tx=_typed(raw["tx"], int),
            actor=_typed(raw["actor"], str),
            act=_typed(raw["act"], str),
            previous=_typed(raw["prev"], str),
            hash=tail[1].decode("ascii"),
            name=_typed(raw.get("name", ""), str),
            steps=tuple(_typed(step, int) for step in raw.get("steps", ())),
            changes={key: (old, new) for key, (old, new) in raw.get("changes", {}).items()},
            reason=_typed(raw.get("reason", ""), str),
            history=_typed(raw.get("history", -1), int),
            recovered=raw.get("recovered", False) is True,
            uid=_typed(raw.get("uid", -1), int),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """The file, to be read.

    Raises:
        AuditError: It cannot be.
    """
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise AuditError(f"{path}: the audit log cannot be read: {error.strerror}") from None


def _last_line(file: BinaryIO, path: Path, node: str | None) -> tuple[Head, int]:
    """Find the last whole line, and leave the file's position behind it.

    Returns:
        The head there, and where it ends in the file.

    Raises:
        AuditError: That line is damaged, or another node's.
    """
    size = file.seek(0, os.SEEK_END)
    start, block = size, b""
    while start > 0 and block.count(b"\n") < 2:
        start = max(start - max(len(block), _BLOCK), 0)
        file.seek(start)
        block = file.read(size - start)
    end = start + block.rfind(b"\n") + 1 if b"\n" in block else 0
    file.seek(end)
    if end == 0:
        return NO_LINES, 0
    whole = block[: end - start - 1]
    line = whole[whole.rfind(b"\n") + 1 :]
    entry = _entry(line)
    if entry is None or hashlib.sha256(line[:-_HASH_TAIL]).hexdigest() != entry.hash:
        raise AuditError(
            f"{path}: the last line of this audit log was changed; keep it as evidence, and start a new run folder"
        )
    if node is not None and entry.node != node:
        raise AuditError(f"{path}: this is the audit log of node '{entry.node}', not of '{node}'")
    return Head(entry.number, entry.hash), end
