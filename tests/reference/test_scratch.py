"""Folders of runs that nobody keeps are gone at the end, or at the next start."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from simtx.reference import scratch


def test_what_a_killed_launcher_has_left_is_swept_away_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kept = tmp_path / "simtx-checkout"  # a folder of the user's own
    kept.mkdir()
    code = "from simtx.reference import scratch; p = scratch.make(); p.mkdir(); (p / 'secret').touch(); print(p, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        scratch.sweep()
        assert (left / "secret").exists()  # its owner lives
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (left / "secret").exists()
    own = scratch.make()
    assert not left.parent.exists()
    assert kept.exists()
    own.mkdir()
    scratch.sweep()
    assert own.exists()
    scratch.remove(own)
    assert [path.name for path in tmp_path.iterdir()] == ["simtx-checkout"]
