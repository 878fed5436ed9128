"""Folders of runs that nobody keeps are gone at the end, or at the next start."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from simtx import temporary
from simtx.reference.run_folder import scratch


def test_what_a_killed_launcher_has_left_is_swept_away_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kept = tmp_path / "simtx-checkout"  # a folder of the user's own
    kept.mkdir()
    lines = (
        "from simtx.reference.run_folder import scratch",
        "with scratch.folder() as path:",
        "    path.mkdir(); (path / 'secret').touch(); print(path, flush=True); input()",
    )
    code = "\n".join(lines)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        temporary.sweep()
        assert (left / "secret").exists()  # its owner lives
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (left / "secret").exists()
    with scratch.folder() as own:
        assert not left.parent.exists()
        assert kept.exists()
        own.mkdir()
        temporary.sweep()
        assert own.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["simtx-checkout"]


def test_the_temporary_folder_of_a_killed_sweep_is_gone_when_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps without a results folder and explorers make theirs like this."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = "from simtx import temporary; one = temporary.folder('sweep'); print(one.name, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        one = temporary.folder("explorer")
        assert left.exists()  # its owner lives
        other.send_signal(signal.SIGKILL)
        other.wait()
    two = temporary.folder("sweep")
    assert not left.exists()
    assert Path(one.name).exists()  # two of one process do not sweep each other away
    one.cleanup()
    two.cleanup()
    assert not list(tmp_path.iterdir())
