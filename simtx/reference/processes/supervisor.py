"""Child processes: started, watched, killed, paused, started again, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from simtx.errors import RunFailed

KILLED: Final = -signal.SIGKILL
_RESTARTS: Final = 2  # in a row, each within this time of its start, of a process that ends by itself
_TOO_SOON: Final = 30.0


def _paths() -> list[str]:
    """Folders in which this process looks for modules: a strategy may need more than what is installed."""
    return list(dict.fromkeys(str(Path(entry).absolute()) for entry in sys.path))


class Child:
    """One child process through its incarnations.

    Args:
        name: Name of the process.
        folder: The run's folder.
        number: Hands out numbers of incarnations.
        died: Called when it was killed, with the time for which it is to stay away as an answer, in seconds; None: for good.
        failed: Called with the reason when it has ended by itself and cannot go on.
        private: What it is told on its standard input, since no file may hold it; empty: nothing.
        again: Whether it can be started again when it has ended by itself.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        number: Callable[[], int],
        died: Callable[[Child], float | None],
        failed: Callable[[BaseException], None],
        private: Mapping[str, Any] | None = None,
        *,
        again: bool = True,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.paused = False
        self.ready = False  # once it has listened, a failure may pass
        self._folder = folder
        self._number = number
        self._died = died
        self._failed = failed
        self._private = private
        self._again = again
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False
        self._replacing = False
        self._started = 0.0
        self._failures = 0
        self._errors = bytearray()

    async def start(self) -> None:
        """Start an incarnation."""
        self._errors.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "simtx.reference.processes.process",
            str(self._folder),
            self.name,
            str(self._number()),
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_paths())},
            start_new_session=True,  # Ctrl-C is for the launcher, which ends them in order
        )
        if self._private and self._process.stdin is not None:
            self._process.stdin.write(f"{json.dumps(self._private)}\n".encode())
        self._started = asyncio.get_running_loop().time()
        self._watch = asyncio.create_task(self._supervise(self._process))
        self._watch.add_done_callback(self._watched)

    def _watched(self, task: asyncio.Task[None]) -> None:
        """Supervision has gone over to the next incarnation, or there is none."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(RunFailed(f"process '{self.name}' cannot be started again: {error}"))

    async def _supervise(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is not None:
            # Read all the time, since a process whose pipe is full stops; only the end is kept, which says why it has ended.
            while chunk := await process.stderr.read(4096):
                self._errors += chunk
                del self._errors[:-4096]
        code = await process.wait()
        if self._stopping:
            return
        self.paused = False
        if self._replacing:
            self._replacing = False
            away: float | None = 0.0
        elif code == KILLED:
            away = self._died(self)
            if away is None:
                return
            # A kill is no error of the process: it starts again however often that happens.
            self.restarts += 1
        else:
            text = self._errors.decode(errors="replace").strip().splitlines()
            reason = text[-1] if text else f"it ended with exit code {code}"
            soon = asyncio.get_running_loop().time() - self._started < _TOO_SOON
            self._failures = self._failures + 1 if soon else 1
            if (
                not (self.ready and self._again) or code == 4 or self._failures > _RESTARTS
            ):  # a broken contract will be broken again
                self._failed(RunFailed(f"process '{self.name}' cannot go on: {reason}"))
                return
            # An error may pass, such as a port that is still taken; a few growing pauses give it time.
            away = 0.1 * 2**self._failures
        if away:
            await asyncio.sleep(away)
        if not self._stopping:
            await self.start()

    @property
    def alive(self) -> bool:
        """Return whether an incarnation is running (a paused one is)."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """Process id of the incarnation that is running."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def kill(self) -> bool:
        """SIGKILL; False if nothing is running."""
        return self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self.paused:
            self.paused = False
            self._signal(signal.SIGCONT)

    def replace(self) -> None:
        """Have it end in order and start again, with the configuration that is there by then."""
        if self._process is not None and self._process.returncode is None and self._process.stdin is not None:
            self._replacing = True
            self._process.stdin.close()

    def _signal(self, number: int) -> bool:
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    async def stop(self, patience: float = 5.0) -> None:
        """Ask it to end, and kill it if it does not."""
        self._stopping = True
        process, watch = self._process, self._watch
        if process is None:
            return
        # A stopped process cannot read the end of its input.
        self.resume()
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await process.wait()
        if watch is not None:
            watch.cancel()

    def destroy(self) -> None:
        """Kill it now, without waiting: the last resort of a launcher that is itself being torn down."""
        self._stopping = True
        self._signal(signal.SIGKILL)
