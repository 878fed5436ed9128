"""The audit log: every line counts, none can be changed without a trace, and none is lost when its process is."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simtx.errors import SimtxError
from simtx.reference.run_folder.audit import (
    GENESIS,
    LONGEST_REASON,
    AuditError,
    AuditLog,
    Head,
    read,
    read_head,
    verify,
)
from simtx.reference.stores.base import Change

SLOW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


def written(path: Path, lines: int = 6) -> Head:
    """An audit log of a few lines."""
    with AuditLog(path, "stock") as log:
        for tx in range(lines):
            log.append("apply", tx=tx, actor="participant", steps=(1,), changes={"a": (tx, tx + 1.0)}, history=tx)
        return log.head


def rechained(lines: list[bytes], start: int) -> list[bytes]:
    """The lines with all checksums from `start` on made anew, as one would who knows how they are made."""
    done = list(lines[:start])
    for line in lines[start:]:
        entry = json.loads(line)
        del entry["hash"]
        entry["prev"] = json.loads(done[-1])["hash"] if done else GENESIS
        text = json.dumps(entry, separators=(",", ":"))[:-1].encode()
        done.append(text + f',"hash":"{hashlib.sha256(text).hexdigest()}"}}\n'.encode())
    return done


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    """Every field comes back, the time is UTC, and the numbers have no gaps."""
    path = tmp_path / "audit.jsonl"
    with AuditLog(path, "stock") as log:
        log.append("request", tx=7, actor="client", name="begin")
        log.append(
            "compensate",
            tx=7,
            actor="operator:ada",
            steps=(0, 2),
            changes={"ключ": (3.0, 5.5), 'quoted "history":9': (0, -1)},
            reason="refund\nby hand \u2028",
            history=12,
        )
        head = log.head
    first, second = read(path)
    assert (first.number, first.node, first.tx, first.actor, first.act, first.name) == (
        1,
        "stock",
        7,
        "client",
        "request",
        "begin",
    )
    assert (first.steps, first.changes, first.reason, first.history, first.recovered) == ((), {}, "", -1, False)
    assert (second.steps, second.history, second.reason) == ((0, 2), 12, "refund\nby hand \u2028")
    assert second.changes == {"ключ": (3.0, 5.5), 'quoted "history":9': (0, -1)}
    assert second.previous == first.hash
    assert first.previous == GENESIS
    assert head == (2, second.hash) == read_head(path)
    assert datetime.fromisoformat(first.time).utcoffset() == timedelta(0)
    assert verify(path, head) == []


def test_each_line_is_one_line_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """A reason with line breaks stays in its line, an endless one is cut; the file is private."""
    path = tmp_path / "audit.jsonl"
    with AuditLog(path, "stock") as log:
        log.append("refuse", tx=-1, actor="?", reason="\n\r\u0085" * 2000)
    assert path.read_bytes().count(b"\n") == 1
    assert len(read(path)[0].reason) == LONGEST_REASON + 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_is_with_the_operating_system_when_append_returns(tmp_path: Path) -> None:
    """Another reader sees it at once, without any flush or close."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, "stock")
    for number in range(1, 4):
        seal = log.append("decide", tx=1, actor="coordinator", name="committed")
        assert read_head(path) == seal == (number, read(path)[-1].hash)
    log.close()


def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The first line of the second incarnation follows the last of the first, also behind a line longer than a block."""
    path = tmp_path / "audit.jsonl"
    written(path, 3)
    with AuditLog(path, "stock") as log:
        log.append("apply", tx=3, actor="participant", changes={f"key {n}": (0, n) for n in range(5000)})
    with AuditLog(path, "stock") as log:
        assert log.head.number == 4
        log.append("decide", tx=3, actor="coordinator")
        head = log.head
    assert [entry.number for entry in read(path)] == [1, 2, 3, 4, 5]
    assert verify(path, head) == []


# --- tampering ----------------------------------------------------------------------------------------------------------------


@SLOW
@given(data=st.data())
def test_any_change_of_one_line_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of a line are replaced, left out or put in, and wherever: verification says so, without a seal."""
    path = tmp_path / "audit.jsonl"
    path.unlink(missing_ok=True)
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    index = data.draw(st.integers(0, len(lines) - 1))
    line = lines[index]
    start = data.draw(st.integers(0, len(line) - 1))
    end = data.draw(st.integers(start, min(start + 4, len(line))))
    new = line[:start] + data.draw(st.binary(max_size=4)) + line[end:]
    lines[index] = new
    path.write_bytes(b"".join(lines))
    assert bool(verify(path)) == (new != line)


@SLOW
@given(data=st.data())
def test_a_field_with_its_checksum_made_anew_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """Who changes a line and knows how checksums are made is betrayed by the line behind it, or by the seal."""
    path = tmp_path / "audit.jsonl"
    path.unlink(missing_ok=True)
    head = written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    index = data.draw(st.integers(0, len(lines) - 1))
    entry = json.loads(lines[index])
    change: dict[str, object] = data.draw(
        st.sampled_from([{"tx": 99}, {"actor": "operator:eve"}, {"act": "skip"}, {"reason": "!"}, {"number": 3.0}])
    )
    forged = list(lines)
    forged[index] = (json.dumps({**entry, **change}) + "\n").encode()
    forged[index] = rechained(forged, index)[index]
    path.write_bytes(b"".join(forged))
    assert verify(path, head)
    if index < len(lines) - 1 or "number" in change:
        assert verify(path)


@pytest.mark.parametrize("index", range(5))
def test_a_missing_line_is_found(tmp_path: Path, index: int) -> None:
    """A line taken out of the middle breaks the chain at its place."""
    path = tmp_path / "audit.jsonl"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[index]
    path.write_bytes(b"".join(lines))
    [finding] = verify(path)
    assert finding.startswith(f"line {index + 1} has number {index + 2}")


@pytest.mark.parametrize("index", range(6))
def test_an_inserted_or_repeated_line_is_found(tmp_path: Path, index: int) -> None:
    """A copy of a line, behind itself or at the end, is no part of the chain; neither is an empty line."""
    path = tmp_path / "audit.jsonl"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for extra, place in ((lines[index], index + 1), (lines[index], len(lines)), (b"\n", index)):
        path.write_bytes(b"".join([*lines[:place], extra, *lines[place:]]))
        assert any(f"line {place + 1} " in finding for finding in verify(path))


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 4), (4, 5)])
def test_exchanged_lines_are_found(tmp_path: Path, a: int, b: int) -> None:
    """Two lines that change places break the chain."""
    path = tmp_path / "audit.jsonl"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[a], lines[b] = lines[b], lines[a]
    path.write_bytes(b"".join(lines))
    assert verify(path)


def test_a_missing_end_is_found_with_a_seal_only(tmp_path: Path) -> None:
    """The chain alone cannot show that its end is missing; the seal does, also where everything is missing."""
    path = tmp_path / "audit.jsonl"
    head = written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        assert verify(path) == []
        assert verify(path, head) == [f"the end is missing: line 6 was sealed, and there are {kept} lines"]


def test_an_end_that_was_written_anew_is_found_with_a_seal_only(tmp_path: Path) -> None:
    """Who makes all checksums from some line on anew leaves a perfect chain, which does not hold the sealed line."""
    path = tmp_path / "audit.jsonl"
    head = written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"tx":2', b'"tx":5')
    path.write_bytes(b"".join(rechained(lines, 2)))
    assert verify(path) == []
    assert verify(path, head) == ["line 6 is not the line that was sealed as number 6"]


def test_an_old_seal_fits_a_log_that_has_grown(tmp_path: Path) -> None:
    """Seals stay true, and so does that of an empty log."""
    path = tmp_path / "audit.jsonl"
    early = written(path, 2)
    with AuditLog(path, "stock") as log:
        log.append("decide", tx=9, actor="coordinator")
    assert verify(path, early) == []
    assert verify(path, Head(0, GENESIS)) == []
    assert verify(path, (2, "f" * 64)) == ["line 2 is not the line that was sealed as number 2"]


def test_a_damaged_last_line_is_not_built_upon(tmp_path: Path) -> None:
    """A log whose last line was changed is refused in one line, and left as it is."""
    path = tmp_path / "audit.jsonl"
    written(path)
    forged = path.read_bytes().replace(b'"tx":5', b'"tx":6')
    path.write_bytes(forged)
    with pytest.raises(AuditError, match=r"audit\.jsonl: the last line of this audit log was changed"):
        AuditLog(path, "stock")
    assert path.read_bytes() == forged


def test_the_log_of_another_node_is_refused(tmp_path: Path) -> None:
    """Files that were exchanged are noticed when they are continued, and lines of another node when they are verified."""
    path, other = tmp_path / "audit.jsonl", tmp_path / "other.jsonl"
    written(path, 2)
    with pytest.raises(AuditError, match="audit log of node 'stock', not of 'orders'"):
        AuditLog(path, "orders")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"stock"', b'"orders"')
    other.write_bytes(b"".join(rechained(lines, 1)))
    assert verify(other) == ["line 2 is of node 'orders', those before it of 'stock'"]


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    """No traceback of the operating system's, and no audit log that is silently empty."""
    for look in (read, read_head, verify):
        with pytest.raises(SimtxError, match=r"none\.jsonl: the audit log cannot be read: No such file"):
            look(tmp_path / "none.jsonl")
    with pytest.raises(AuditError, match="the audit log cannot be opened"):
        AuditLog(tmp_path / "no" / "audit.jsonl", "stock")
    (tmp_path / "text.jsonl").write_text("hello\n")
    with pytest.raises(AuditError, match="line 1 is no line of an audit log"):
        read(tmp_path / "text.jsonl")


# --- crashes ------------------------------------------------------------------------------------------------------------------


@SLOW
@given(cut=st.integers(1, 200))
def test_a_half_written_line_is_cut_off_and_recorded(tmp_path: Path, cut: int) -> None:
    """However much of the last line is missing, the chain goes on without it, and a line says what was there."""
    path = tmp_path / "audit.jsonl"
    path.unlink(missing_ok=True)
    written(path, 3)
    whole = path.read_bytes()
    rest = whole.splitlines(keepends=True)[2][:-cut]
    path.write_bytes(whole[:-cut])
    assert verify(path) == ["line 3 was never finished"]
    assert len(read(path)) == 2
    with AuditLog(path, "stock") as log:
        head = log.head
    assert verify(path, head) == []
    last = read(path)[-1]
    assert (last.number, last.act, last.actor) == (3, "cut", "recovery")
    assert last.reason.startswith(
        f"{len(rest)} bytes of a line that was never finished were cut off: {rest[:80].decode()}"
    )


def test_a_file_with_half_a_line_only(tmp_path: Path) -> None:
    """The very first line can be cut off, too; so can a block of what never was text."""
    path = tmp_path / "audit.jsonl"
    for rest in (b'{"number":1,', b"\0" * 100_000):
        path.write_bytes(rest)
        AuditLog(path, "stock").close()
        [entry] = read(path)
        assert entry.act == "cut"
        assert verify(path) == []


def test_two_processes_do_not_write_one_log(tmp_path: Path) -> None:
    """The second is refused, and may when the first has let go."""
    path = tmp_path / "audit.jsonl"
    first = AuditLog(path, "stock")
    with pytest.raises(AuditError, match="another process is writing this audit log"):
        AuditLog(path, "stock")
    first.append("decide", tx=1, actor="coordinator")
    first.close()
    with AuditLog(path, "stock") as second:
        assert second.head.number == 1


def test_a_full_disk_is_one_clear_line_and_no_broken_chain(tmp_path: Path) -> None:
    """A line that has no room leaves nothing behind, and the next one that has some continues the chain."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, "stock")
    log.append("apply", tx=1, actor="participant")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for room in (0, 50):
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, limits[1]))
            with pytest.raises(AuditError, match=r"audit\.jsonl: the audit log cannot be written"):
                log.append("apply", tx=2, actor="participant")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    log.append("apply", tx=3, actor="participant")
    log.close()
    assert [entry.tx for entry in read(path)] == [1, 3]
    assert verify(path, log.head) == []


_CHILD = """
import sys
from simtx.reference.run_folder.audit import AuditLog
log = AuditLog(sys.argv[1], "stock")
number = 0
while True:
    log.append("apply", tx=number, actor="participant", changes={"k" * 500: (number, number + 1)}, history=number)
    print(number, flush=True)
    number += 1
"""


def test_a_process_that_is_killed_while_it_appends_loses_nothing_that_was_told(tmp_path: Path) -> None:
    """After SIGKILL at any moment, each line that `append` had returned for is there, and the chain goes on."""
    path = tmp_path / "audit.jsonl"
    for incarnation in range(4):
        before = len(read(path)) if path.exists() else 0
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        try:
            for _ in range(20):
                child.stdout.readline()
            time.sleep(0.003 * incarnation)
        finally:
            os.kill(child.pid, signal.SIGKILL)
            told = len(child.stdout.read().splitlines()) + 20
            child.stdout.close()
            child.wait()
        with AuditLog(path, "stock") as log:
            head = log.head
        entries = [entry for entry in read(path)[before:] if entry.act == "apply"]
        assert [entry.tx for entry in entries] == list(range(len(entries)))
        assert told <= len(entries) <= told + 1
        assert verify(path, head) == []


# --- the store's history ------------------------------------------------------------------------------------------------------


def test_changes_that_only_the_store_knows_are_added(tmp_path: Path) -> None:
    """A process killed between the commit and its line: the line comes after the restart, marked, and comes once."""
    path = tmp_path / "audit.jsonl"
    history = [
        Change(4, 1, (0,), compensation=False, changes={"a": (5.0, 4.0)}, time=1.0),
        Change(9, 2, (1, 2), compensation=True, changes={"b": (1.0, 3.0)}, time=3.0),
        Change(7, 2, (1, 2), compensation=False, changes={"b": (3.0, 1.0)}, time=2.0),
    ]
    with AuditLog(path, "stock") as log:
        log.append("apply", tx=1, actor="participant", steps=(0,), changes={"a": (5.0, 4.0)}, history=4)
        log.append("refuse", tx=-1, actor="peer", reason='"history":7 and \\"history\\":9, they said')
    with AuditLog(path, "stock") as log:
        assert log.reconcile(history) == 2
        assert log.reconcile(history) == 0
    with AuditLog(path, "stock") as log:
        assert log.reconcile(iter(history)) == 0
        head = log.head
    added = read(path)[2:]
    assert [(one.act, one.tx, one.steps, dict(one.changes), one.history) for one in added] == [
        ("apply", 2, (1, 2), {"b": (3.0, 1.0)}, 7),
        ("compensate", 2, (1, 2), {"b": (1.0, 3.0)}, 9),
    ]
    assert all(one.recovered and one.actor == "recovery" for one in added)
    assert not any(one.recovered for one in read(path)[:2])
    assert verify(path, head) == []


def test_a_change_whose_line_was_cut_off_is_added(tmp_path: Path) -> None:
    """The half of a line does not count as having been told."""
    path = tmp_path / "audit.jsonl"
    written(path, 2)
    path.write_bytes(path.read_bytes()[:-30])
    history = [Change(n, n, (1,), compensation=False, changes={"a": (n, n + 1.0)}, time=0.0) for n in range(2)]
    with AuditLog(path, "stock") as log:
        assert log.reconcile(history) == 1
    assert [(one.act, one.history) for one in read(path)] == [("apply", 0), ("cut", -1), ("apply", 1)]
