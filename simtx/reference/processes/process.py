"""The main program of a child process: a service, its relay or its provider, the hub, the client, the broker, a derived store or the link proxy of a real run.

    python -m simtx.reference.processes.process RUN-FOLDER NAME INCARNATION [LAUNCHER]

It reads what it needs from the run's folder, and ends when its standard input does: when the launcher is gone, however it went. Errors that
end it are one line on standard error, which the launcher passes on; exit codes: 0 asked to stop, 3 the store or the broker cannot go on, 4 a
machine broke the contract.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from simtx.errors import ProtocolViolation, SimtxError
from simtx.reference.processes.program import Program

STOPPED: Final = 0
FAILED: Final = 3
BROKE_CONTRACT: Final = 4

_MODULES: Final = {"node": "service", "relay": "service"}
"""Modules of programs by role, where the two have not the same name."""
_PR_SET_PDEATHSIG: Final = 1
_SWITCH: Final = (
    0.0005  # seconds: a thread that has answered a local transaction should not wait long for the event loop
)


def die_with_parent(launcher: int) -> None:
    """Have the kernel kill this process when its launcher dies, where it can (Linux); elsewhere the end of standard input does it.

    Args:
        launcher: Its process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it has died while we started
            os._exit(STOPPED)


def main(arguments: list[str]) -> int:
    """Run one role until it is asked to stop."""
    folder, name, incarnation, *launcher = Path(arguments[0]), arguments[1], int(arguments[2]), *map(int, arguments[3:])
    die_with_parent(launcher[0] if launcher else os.getppid())
    config = json.loads((folder / "nodes" / name / "config.json").read_text())
    if config.get("private"):
        for part, values in _told().items():
            config[part] |= values
    gc.freeze()
    sys.setswitchinterval(_SWITCH)
    try:
        asyncio.run(_play(folder, name, incarnation, config))
    except ProtocolViolation as error:
        return _report(error, BROKE_CONTRACT)
    except OSError as error:
        return _report(OSError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"), FAILED)
    except (SimtxError, RuntimeError) as error:
        return _report(error, FAILED)
    return STOPPED


def _told() -> dict[str, dict[str, Any]]:
    """The line that the launcher writes to our standard input; nothing but its end comes behind."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(sys.stdin.fileno(), 4096)
        if not more:
            sys.exit(STOPPED)  # the launcher is gone
        line += more
    told: dict[str, dict[str, Any]] = json.loads(line)
    return told


async def _play(folder: Path, name: str, incarnation: int, config: dict[str, Any]) -> None:
    """Run the program of a role; its module alone is imported, since a restart should be quick."""
    role = config["role"]
    module = import_module(f"simtx.reference.processes.{_MODULES.get(role, role)}")
    await module.run(Program(folder, name, incarnation, config))


def _report(error: BaseException, code: int) -> int:
    text = str(error) or type(error).__name__
    print(" ".join(text.split()), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
