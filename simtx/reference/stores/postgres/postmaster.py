"""Owner of one PostgreSQL server: a process of its own, which ends the server and cleans up when its parent is gone, whatever ended it.

`simtx.reference.stores.postgres.server` runs this file as a program, and sends it lines of JSON over its standard input and output. It uses the
standard library alone, so that it starts in hundredths of a second. The end of its input, or of its parent, is the end of the server: that comes
when the parent closes the pipe, and also when it dies of SIGKILL. Should this process itself be killed, the server gets SIGQUIT from the kernel
(PR_SET_PDEATHSIG, Linux): it ends, and only its folder stays.

Why the processes of a server are listed one by one: every backend is the leader of a session of its own, so no signal to a process group
reaches them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
IPC_RMID: Final = 0
STOP_PATIENCE: Final = 20.0
"""Seconds for an orderly shutdown, then for an immediate one, then it is killed."""

RESCUED: Final = "simtx-kept-"
"""Beginning of the name of a folder that holds data which could not be put back."""

PARENT_WATCH: Final = 0.5
"""Seconds between two looks at whether the parent lives."""


class Postmaster:
    """One server, its private temporary folder, and what has to be put back or removed in the end.

    Args:
        uid: User that the server runs as; None: this one.
        gid: Group that it runs as.
        base: Folder in which the temporary folder is made.
        lock: File whose lock says that a server works on this folder; None: nobody else can.
    """

    def __init__(self, uid: int | None, gid: int | None, base: str, lock: str | None) -> None:
        self._identity: dict[str, Any] = {} if uid is None else {"user": uid, "group": gid, "extra_groups": []}
        self._server: subprocess.Popen[bytes] | None = None
        self._data = ""
        self._paused: list[int] = []
        self._return: tuple[str, str] | None = None
        self._lock = -1
        if lock is not None:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise OSError(f"another server works on {Path(lock).parent}") from None
        self.folder = tempfile.mkdtemp(prefix="simtx-pg-", dir=base)
        # As `simtx.temporary` knows it, which is not to be had here: the next start clears away what has no owner.
        self._mark = Path(self.folder, ".temporary")
        new = self._mark.with_suffix(".new")
        self._held = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        new.rename(self._mark)
        if uid is not None and gid is not None:
            os.chown(self.folder, uid, gid)

    # --- commands ---------------------------------------------------------------------------------------------------------------

    def run(self, argv: list[str]) -> str:
        """Run a program to its end; its output."""
        done = subprocess.run(  # noqa: S603 - the parent names the program
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
            preexec_fn=die_with_parent(signal.SIGKILL),
            **self._identity,
        )
        output: str = done.stdout.decode(errors="replace").strip()
        if done.returncode != 0:
            raise OSError(f"{Path(argv[0]).name} ended with {done.returncode}: {output[-400:]}")
        return output

    def start(self, argv: list[str], data: str, log: str, patience: float) -> int:
        """Start the server and wait until it takes connections; its process id."""
        if self._server is not None and self._server.poll() is None:
            return self._server.pid
        self._data = data
        self._paused.clear()
        status = Path(data, "postmaster.pid")
        with Path(log).open("ab") as output:
            begin = output.tell()
            self._server = subprocess.Popen(  # noqa: S603 - the parent names the program
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - this process has one thread
                **self._identity,
            )
        deadline = time.monotonic() + patience
        while self._server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                lines = status.read_text().splitlines()
                if len(lines) > 7 and lines[0] == str(self._server.pid) and lines[7].strip() == "ready":
                    return self._server.pid
            time.sleep(0.002)
        code = self._server.poll()
        self.kill()
        with Path(log).open("rb") as written:
            written.seek(begin)
            tail = " / ".join(written.read().decode(errors="replace").split("\n")[-6:]).strip(" /")
        what = f"is not ready after {patience:g} s" if code is None else f"ended with {code}"
        raise OSError(f"the PostgreSQL server {what}: {tail[-600:]}")

    def alive(self) -> bool:
        """Return whether the server runs."""
        return self._server is not None and self._server.poll() is None

    def stop(self) -> None:
        """Shut down in order; clients are disconnected."""
        self.resume()
        self._end(signal.SIGINT, signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL to every process of the server: a crash of the machine, as far as a database can tell."""
        server = self._server
        if server is not None and server.poll() is None:
            family = self._freeze(server.pid)
            for pid in family:
                _send(pid, signal.SIGKILL)
            server.wait()
            for pid in family[1:]:
                while _alive(pid):
                    time.sleep(0.001)
        self._paused.clear()
        self._server = None

    def pause(self) -> None:
        """Stop every process of the server (SIGSTOP): connections stay open, and nothing answers."""
        if self._server is not None and self._server.poll() is None:
            self._paused = self._freeze(self._server.pid)

    def resume(self) -> None:
        """Let a paused server go on."""
        for pid in reversed(self._paused):
            _send(pid, signal.SIGCONT)
        self._paused.clear()

    def used(self) -> list[float] | None:
        """Process id of the server, and the processor time in seconds that it and all its children have used, those that have ended included; None: not known here."""
        if self._server is None or self._server.poll() is not None:
            return None
        server = self._server.pid
        ticks = 0
        try:
            for pid in (*_children(server), server):
                with contextlib.suppress(
                    FileNotFoundError, ProcessLookupError
                ):  # it has ended just now, and is the server's to count
                    user, system, *of_children = map(
                        int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
                    )
                    ticks += user + system + sum(of_children)
            return [float(server), ticks / os.sysconf("SC_CLK_TCK")] if ticks else None
        except (OSError, ValueError):
            return None

    def put_back(self, source: str, target: str) -> None:
        """Copy the data from the temporary folder to where it belongs when all is over."""
        self._return = (source, target)
        self._mark.unlink(missing_ok=True)  # it holds what nothing else holds

    def close(self) -> str:
        """End the server, put back what is kept, and remove the temporary folder; what it holds stays there if it cannot be put back.

        Returns:
            Where it is then and why, in one line; empty if all is where it belongs.
        """
        self.resume()
        if self._return is None:
            try:
                self._end(signal.SIGINT if self._lock >= 0 else signal.SIGQUIT, signal.SIGQUIT)
                self._remove_segment()
            finally:
                shutil.rmtree(self.folder, ignore_errors=True)
            return ""
        self._end(signal.SIGINT, signal.SIGQUIT)
        self._remove_segment()
        source, target = self._return
        problem = _replace(source, target) if Path(source).is_dir() else ""
        if not problem:
            shutil.rmtree(self.folder, ignore_errors=True)
            return ""
        place = self._rescued(Path(source))
        return f"the databases could not be copied to '{target}' ({problem}); they are whole in '{place}': make room, and move them there"

    def _rescued(self, source: Path) -> Path:
        """Rename the folder of the data, so that no clearing away of temporary folders takes it for one, and return the place of the data."""
        folder = Path(self.folder)
        inside = source.relative_to(folder) if source.is_relative_to(folder) else None
        if inside is None:
            return source
        saved = folder.with_name(folder.name.replace("simtx-pg-", RESCUED, 1))
        try:
            folder.rename(saved)
        except OSError:
            return source
        return saved / inside

    # --- help -------------------------------------------------------------------------------------------------------------------

    def _end(self, *signals: signal.Signals) -> None:
        server = self._server
        if server is None:
            return
        for number in signals:
            if server.poll() is None:
                server.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(STOP_PATIENCE)
        self.kill()

    def _freeze(self, server: int) -> list[int]:
        """Stop the postmaster, then its children: it forks no others meanwhile."""
        _send(server, signal.SIGSTOP)
        family = [server, *_children(server)]
        for pid in family[1:]:
            _send(pid, signal.SIGSTOP)
        return family

    def _remove_segment(self) -> None:
        """Remove the small shared memory segment that a killed server has left; a restart would have done it."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            number = Path(self._data, "postmaster.pid").read_text().splitlines()[6].split()[1]
            ctypes.CDLL(None).shmctl(int(number), IPC_RMID, None)


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Function that a child runs before its program: it asks the kernel for this signal when its parent dies, where the kernel can (Linux).

    It comes after the change of the user, which would undo it.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl  # looked up here, since little is safe between fork and exec

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    except OSError:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _children(parent: int) -> list[int]:
    """Ids of the children of a process."""
    if Path("/proc/self/stat").exists():
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                        found.append(int(entry.name))
        return found
    listing = subprocess.run(["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    pairs = (line.split() for line in listing.splitlines())
    return [int(pid) for pid, ppid in pairs if int(ppid) == parent]


def _replace(source: str, target: str) -> str:
    """Copy a folder over another one, which stays whole until the copy is; why it could not be done, or an empty text."""
    fresh, old = f"{target}.new", f"{target}.old"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    try:
        shutil.copytree(source, fresh, symlinks=True)
        if Path(target).exists():
            Path(target).rename(old)
        Path(fresh).rename(target)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)  # half a copy helps nobody, and takes room
        return reason(error)
    shutil.rmtree(old, ignore_errors=True)
    return ""


def reason(error: OSError) -> str:
    """Reason why files could not be copied, in a few words: `shutil` tells one story a file."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        said = str(error.args[0][0][-1])
        return said.partition("] ")[2].partition(": '")[0] or said[:200]
    return error.strerror or str(error)[:200]


def _terminated(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _lines(parent: int) -> Iterator[bytes]:
    """Lines of the input, until it ends or the parent is gone: a forked child of the parent may hold the other end of the pipe open."""
    buffer = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], PARENT_WATCH)[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield from lines


def main() -> None:
    """Obey until the input ends."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        postmaster = Postmaster(**json.loads(sys.argv[1]))
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    try:
        print(json.dumps({"value": postmaster.folder}), flush=True)
        for line in _lines(parent):
            name, arguments = json.loads(line)
            try:
                answer = {"value": getattr(postmaster, name)(*arguments)}
            except OSError as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the parent is gone; what is left to say goes nowhere
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        left = postmaster.close()
        if left:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps({"error": left}), flush=True)


if __name__ == "__main__":
    main()
