"""Child processes for tests: forked from one that has imported what they need, since imports take longer than what is played."""

from __future__ import annotations

import multiprocessing
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

PATIENCE = 300.0
"""Seconds until a child is taken for hung: how fast a machine is decides nothing."""

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["simtx.cli.app", "simtx.experiments.sweep", "simtx.simulator", "simtx.report.plots", "pyarrow.parquet"]
)


def started(code: str, **names: object) -> BaseProcess:
    """A child that runs this code, with these names."""
    process = SERVER.Process(target=exec, args=(code, {"__name__": "child", **names}))
    process.start()
    return process


def ended(process: BaseProcess) -> int | None:
    """Its exit code; one that does not end is killed, and has none."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def command(
    arguments: Sequence[str], folder: Path, code: str, meanwhile: Callable[[int], None] = lambda _: None
) -> subprocess.CompletedProcess[str]:
    """`simtx` with these arguments in a folder, behind this code, in a process of its own; `meanwhile` is told its number."""
    with tempfile.TemporaryDirectory() as where:
        process = started(_COMMAND, where=where, folder=str(folder), before=code, arguments=list(arguments))
        try:
            meanwhile(process.pid or 0)
        finally:
            exit_code = ended(process)
        out, err = (Path(where, name).read_text(encoding="utf-8") for name in ("out", "err"))
    return subprocess.CompletedProcess(arguments, -1000 if exit_code is None else exit_code, out, err)


_COMMAND = """
import os, sys
sys.stdout.flush()
sys.stderr.flush()
for number, name in ((1, "out"), (2, "err")):
    file = os.open(os.path.join(where, name), os.O_WRONLY | os.O_CREAT)
    os.dup2(file, number)
    os.close(file)
os.chdir(folder)
sys.argv[1:] = arguments
exec(before, {"__name__": "before"})
from simtx.cli import main
sys.exit(main(arguments))
"""
