"""The folder of a real run: where everything is, who may use it, and what is known of the run.

Layout::

    run.json                     what is played, by which versions, and how it went (`RunRecord`)
    secret                       32 random bytes that every process shows to the others; readable by its owner alone
    lock                         held by the process that plays the run; its number is inside
    reserve                      room for the last words of a run on a disk that fills up; gone when it is over
    schedule.jsonl, launcher.jsonl
    strategy.pickle              a strategy that is not one of ours
    ports/<process>              where a process listens: its socket, or host and port; its process id
    kills/<id>                   crash points that have struck
    nodes/<process>/             config.json, log.<incarnation>.jsonl; of a node: store.sqlite, audit.jsonl

The folder belongs to one user, and nobody else may write into it: the processes of the run trust what they find there. Files that others
read while they are written are replaced as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError, SimtxError
from simtx.protocols.extras import own_nodes
from simtx.protocols.names import CLIENT
from simtx.reference.addresses import without_password
from simtx.reference.run_folder.audit import AuditError, Head, read_head, verify
from simtx.reference.run_folder.record import LAYOUT, RunRecord, now, replace_file, versions
from simtx.reference.run_folder.sealing import Origin, origin, sealed

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.reference.wire.channel import Place
    from simtx.scenario import Scenario

SECRET_LENGTH: Final = 32
_RESERVE: Final = 1 << 17  # bytes that a run keeps free for its last words
_LONGEST_REASON: Final = 2000
_LARGEST_RECORD: Final = 1 << 26
_LONGEST_NAME: Final = 200


class RunFolderError(ScenarioError):
    """The folder of a run cannot be used; the text says which, why, and what would help."""


class RunFolder:
    """The folder of one run; making this object touches nothing.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._run = ""
        self._counted: set[str] = set()

    # --- making and opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: str | Path, scenario: Scenario, strategy: Strategy, *, seed: int, store: str, broker: str
    ) -> RunFolder:
        """Make the folder of a new run.

        Args:
            path: New or empty.
            scenario: What is to be played.
            strategy: By whom.
            seed: Seed of the transactions.
            store: Product or DSN; a password in it is not written down.
            broker: Product or URL; likewise.

        Raises:
            RunFolderError: It is in use, is not empty, or cannot be made.
        """
        import platform
        import secrets

        from simtx.reference.run_folder.strategy_record import described

        folder = cls(path)
        existed = folder.path.exists()
        record = RunRecord(
            run=secrets.token_hex(6),
            versions=versions(),
            platform=f"{platform.system()} {platform.release()} {platform.machine()}",
            scenario=scenario.to_dict(),
            scenario_name=scenario.name,
            scenario_folder=str(Path(scenario.path).absolute().parent) if scenario.path else "",
            scenario_fingerprint=scenario.fingerprint,
            strategy=strategy.name,
            strategy_options=repr(strategy),
            strategy_made=described(strategy),
            nodes=[*scenario.services, *own_nodes(strategy)],
            seed=seed,
            store=without_password(store),
            broker=without_password(broker),
            created=now(),
        )
        try:
            folder._make(secrets.token_bytes(SECRET_LENGTH))
            folder.write(record)
        except OSError as error:
            folder._unmake(existed=existed)
            raise RunFolderError(
                f"cannot make a run folder at '{path}': {error.strerror}; choose another one"
            ) from None
        return folder

    def _make(self, value: bytes) -> None:
        path = self.path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        holder = self.holder()
        if holder:
            raise RunFolderError(f"'{path}' is in use by process {holder}; choose another folder, or wait for its end")
        if (path / "run.json").exists():
            raise RunFolderError(f"'{path}' holds a run already; choose a new or empty folder")
        if any(path.iterdir()):
            raise RunFolderError(f"'{path}' is not empty; choose a new or empty folder")
        if path.stat().st_uid != os.geteuid():
            raise RunFolderError(f"'{path}' belongs to another user; choose a folder of your own")
        path.chmod(0o700)
        secret = os.open(path / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(secret, "wb") as opened:
            opened.write(value)
        for name in ("nodes", "ports", "kills"):
            (path / name).mkdir()
        self._reserve.write_bytes(bytes(_RESERVE))

    def _unmake(self, *, existed: bool) -> None:
        """Leave nothing of a folder that could not be made."""
        with contextlib.suppress(OSError):
            if not self.holder() and not (self.path / "run.json").exists():
                for name in ("nodes", "ports", "kills"):
                    (self.path / name).rmdir()
                self._reserve.unlink(missing_ok=True)
                (self.path / "secret").unlink()
                if not existed:
                    self.path.rmdir()

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The folder of a run that is there.

        Raises:
            RunFolderError: It is none, has another version, or is not safe to trust.
        """
        folder = cls(path)
        folder.read()
        folder.secret()
        return folder

    # --- what is known of the run -----------------------------------------------------------------------------------------------

    def read(self) -> RunRecord:
        """Content of ``run.json``.

        Raises:
            RunFolderError: There is none, it is damaged, or of another version.
        """
        raw = self._raw()
        layout = raw["layout"]
        if layout != LAYOUT:
            raise RunFolderError(
                f"'{self.path}' has version {layout!r:.20} of the run folder's layout; this simtx reads version {LAYOUT} only"
            )
        known = {one.name for one in fields(RunRecord)}
        record = RunRecord(**{name: value for name, value in raw.items() if name in known})
        problem = _misfit(record)
        if problem:
            raise RunFolderError(f"'{self.path / 'run.json'}' is damaged: {problem}")
        return record

    def _raw(self) -> dict[str, Any]:
        """Content of ``run.json``."""
        file = self.path / "run.json"
        try:
            with file.open("rb") as opened:
                text = opened.read(_LARGEST_RECORD + 1)
        except FileNotFoundError:
            raise RunFolderError(f"'{self.path}' holds no run: there is no run.json in it") from None
        except OSError as error:
            raise RunFolderError(f"'{file}' cannot be read: {error.strerror}") from None
        if len(text) > _LARGEST_RECORD:
            raise RunFolderError(f"'{file}' is damaged: it is larger than {_LARGEST_RECORD >> 20} MiB")
        raw = None
        with contextlib.suppress(ValueError, RecursionError):
            raw = json.loads(text)
        if not isinstance(raw, dict) or "layout" not in raw:
            raise RunFolderError(f"'{file}' is damaged: it is no record of a run")
        return raw

    def write(self, record: RunRecord) -> None:
        """Replace ``run.json`` as a whole; it is on disk when this returns."""
        raw = {one.name: getattr(record, one.name) for one in fields(record)}
        text = json.dumps(raw, default=repr)  # with surrogates, if there are any, as numbers
        text = json.dumps(sealed(json.loads(text)), indent=2)
        replace_file(self.path / "run.json", f"{text}\n".encode(), durable=True)

    def origin(self) -> Origin:
        """Find out whether ``run.json`` is this user's, and as it was written.

        Raises:
            RunFolderError: It cannot be read.
        """
        return origin(self._raw())

    def update(self, **changes: Any) -> RunRecord:
        """Change some fields of ``run.json``; for the holder of the lock.

        Raises:
            RunFolderError: It cannot be read, or was changed since this user has written it.
            TypeError: There is no such field.
        """
        record = self.read()
        if self.origin() == "changed":  # what is sealed anew would look as if it had always been so
            raise RunFolderError(f"'{self.path / 'run.json'}' was changed since it was written; keep it as evidence")
        for name, value in changes.items():
            if name not in RunRecord.__slots__:
                raise TypeError(f"a run's record has no field '{name}'")
            setattr(record, name, value)
        self.write(record)
        return record

    @property
    def run(self) -> str:
        """Name of the run, unique everywhere.

        Raises:
            RunFolderError: ``run.json`` cannot be read.
        """
        if not self._run:
            self._run = self.read().run
        return self._run

    def scenario(self) -> Scenario:
        """The scenario that is played, made anew.

        Raises:
            RunFolderError: It cannot be made from what is written: it had objects in it that no file holds, or was read by another version.
            ScenarioError: It is not valid.
        """
        from simtx.scenario import from_dict

        record = self.read()
        scenario = from_dict(record.scenario, name=record.scenario_name, folder=record.scenario_folder or ".")
        if scenario.fingerprint != record.scenario_fingerprint:
            raise RunFolderError(
                f"the scenario in '{self.path}' is not the one that was played: its fingerprint differs"
            )
        return scenario

    # --- places -----------------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Path:
        """Folder of a process.

        Raises:
            RunFolderError: A file cannot have this name.
        """
        return self.path / "nodes" / _safe(name)

    @property
    def _reserve(self) -> Path:
        return self.path / "reserve"

    def store(self, node: str) -> Path:
        """SQLite file of a node."""
        return self.node(node) / "store.sqlite"

    def audit(self, node: str) -> Path:
        """Audit log of a node."""
        return self.node(node) / "audit.jsonl"

    def log(self, name: str, incarnation: int) -> Path:
        """Event log of one incarnation of a process."""
        return self.node(name) / f"log.{incarnation}.jsonl"

    def logs(self) -> list[Path]:
        """All event logs that are there, the launcher's included."""
        return sorted([*self.path.glob("nodes/*/log.*.jsonl"), *self.path.glob("launcher*.jsonl")])

    def config(self, name: str) -> Path:
        """Configuration of a process, from the launcher."""
        return self.node(name) / "config.json"

    def transactions(self) -> int:
        """Number of transactions that the run may have, by its schedule.

        Raises:
            OSError: There is none.
        """
        with (self.path / "schedule.jsonl").open("rb") as lines:
            return sum(1 for _ in lines)

    def has_worked(self, node: str) -> bool:
        """Return whether a node must have its store: it has written an audit log or an event log, or the run came as far as its client.

        The client is started when all others listen. A run that failed before that may have nodes that never had a store.

        Raises:
            RunFolderError: ``run.json`` cannot be read, or a file cannot have this name.
        """
        told = [self.audit(node)]
        for name in (node, f"{node}.relay"):
            told += self.node(name).glob("log.*.jsonl")
        if any(file.stat().st_size for file in told if file.exists()):
            return True
        return self.read().status == "finished" or any(self.node(CLIENT).glob("log.*.jsonl"))

    @property
    def kills(self) -> Path:
        """Folder of the crash points that have struck."""
        return self.path / "kills"

    # --- processes --------------------------------------------------------------------------------------------------------------

    def secret(self) -> bytes:
        """Secret that a process of the run shows to the others.

        Raises:
            RunFolderError: It is missing or damaged, or others may have read it or may write into the folder.
        """
        file = self.path / "secret"
        try:
            with file.open("rb") as opened:
                value, about = opened.read(SECRET_LENGTH + 1), os.fstat(opened.fileno())
            folder = self.path.stat()
        except OSError as error:
            raise RunFolderError(f"the run's secret '{file}' cannot be read: {error.strerror}") from None
        user = os.geteuid()
        if about.st_uid != user or folder.st_uid != user:
            raise RunFolderError(
                f"'{self.path}' belongs to another user; a run is played by the user who made its folder"
            )
        if stat.S_IMODE(about.st_mode) & 0o077:
            raise RunFolderError(
                f"others may read the run's secret '{file}'; start a new run (a shared secret is none)"
            )
        if stat.S_IMODE(folder.st_mode) & 0o022:
            raise RunFolderError(
                f"others may write into '{self.path}'; start a new run (what is in there cannot be trusted)"
            )
        if len(value) != SECRET_LENGTH:
            raise RunFolderError(f"the run's secret '{file}' is damaged: it should have {SECRET_LENGTH} bytes")
        return value

    def announce(self, name: str, place: Place) -> None:
        """Say where this process listens.

        Raises:
            RunFolderError: It cannot be written.
        """
        try:
            text = json.dumps({"place": place, "process": os.getpid()})
            replace_file(self.path / "ports" / _safe(name), f"{text}\n".encode(), durable=False)
        except OSError as error:
            raise RunFolderError(f"cannot say in '{self.path}' where '{name}' listens: {error.strerror}") from None

    def withdraw(self, name: str) -> None:
        """Say that this process listens no longer."""
        (self.path / "ports" / _safe(name)).unlink(missing_ok=True)

    def locate(self, name: str) -> Place | None:
        """Place at which a process listens; None if it has not announced itself yet, or has ended since."""
        file = self.path / "ports" / _safe(name)
        try:
            said = json.loads(file.read_bytes())
            place, number = said["place"], int(said["process"])
            if not isinstance(place, str):
                host, port = place
                place = str(host), int(port)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return place if _alive(number) else None

    def downtime(self, name: str) -> tuple[float, bool] | None:
        """Time for which a process that was just killed stays away, if one of its crash points did it; each is told once.

        Returns:
            Seconds, and whether the other process of the node dies with it; None if no crash point has struck.
        """
        struck = sorted(mark for mark in self.kills.iterdir() if mark.name not in self._counted)
        if not struck:
            return None
        owners = self._owners()
        for mark in struck:
            if owners.get(mark.name, name) == name:
                self._counted.add(mark.name)
                seconds, _, twin = mark.read_text().partition(" ")
                return float(seconds or 0.0), bool(twin)
        return None

    def _owners(self) -> dict[str, str]:
        """Names of processes by the ids of the crash points in their configurations."""
        owners: dict[str, str] = {}
        for file in self.path.glob("nodes/*/config.json"):
            config = json.loads(file.read_bytes())
            owners.update((point["id"], file.parent.name) for point in config.get("kills", ()))
        return owners

    # --- the lock ---------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, *, playing: bool = True) -> Iterator[RunFolder]:
        """Use the folder alone, and keep its status in ``run.json``.

        The operating system holds the lock for this process and lets it go however the process ends; so a lock that is left over is
        known as such, and the run of who left it is marked as interrupted.

        Args:
            playing: Whether the run is played meanwhile: then it is ``running``, in the end ``finished``, ``interrupted`` or ``failed``
                with the reason, and the audit logs are sealed.

        Raises:
            RunFolderError: Another process uses it, or it is no run's folder.
            AuditError: An audit log was found damaged at the end.
        """
        self.read()  # refuses what is no run's folder before it leaves a lock there
        with self._alone() as abandoned:
            if self.read().status == "running":  # and we have the lock
                who = f"process {abandoned}" if abandoned else "the launcher"
                self.update(status="interrupted", reason=f"{who} ended without completing the run", ended=now())
            if not playing:
                yield self
                return
            try:
                self.update(status="running", started=now(), reason="", ended="")
                yield self
                self.seal()
            except BaseException as error:
                status = "failed" if isinstance(error, Exception) else "interrupted"
                reason = " ".join((str(error) or type(error).__name__).split())[:_LONGEST_REASON]
                with contextlib.suppress(OSError, SimtxError):  # the first error is the one to be seen
                    self._reserve.unlink(missing_ok=True)  # a full disk has room for this then
                    self.update(status=status, reason=reason, ended=now())
                    self.seal()
                raise
            self._reserve.unlink(missing_ok=True)
            self.update(status="finished", ended=now())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """Hold the lock; gives the number of a process that has died with it, or 0."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunFolderError(f"'{self.path}' cannot be locked: {error.strerror}") from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise RunFolderError(
                        f"'{self.path}' cannot be locked: {error.strerror}; choose a folder on a local disk"
                    ) from None
                holder = _number(os.pread(lock, 32, 0)) or "another process"
                raise RunFolderError(
                    f"'{self.path}' is in use by process {holder}; wait for its end, or end it"
                ) from None
            abandoned = _number(os.pread(lock, 32, 0))
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            try:
                yield abandoned
            finally:
                os.ftruncate(lock, 0)
        finally:
            os.close(lock)

    def holder(self) -> int:
        """Number of the process that uses the folder now, or 0."""
        try:
            lock = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _number(os.pread(lock, 32, 0)) or os.getpid()
        finally:
            os.close(lock)
        return 0

    # --- audit logs -------------------------------------------------------------------------------------------------------------

    def seal(self) -> dict[str, Head]:
        """Write down where every audit log ends now, so that a missing end is found later; for the holder of the lock.

        ``run.json`` itself is sealed with a key of this user's that is not in the folder (`simtx.reference.run_folder.sealing`).

        Raises:
            AuditError: One is damaged.
        """
        heads = {node: read_head(path) for node, path in self.audits().items()}
        self.update(audit={node: list(head) for node, head in heads.items()}, acting="")
        return heads

    def verify_audits(self) -> dict[str, list[str]]:
        """Findings about the audit logs, by node, with the seals of ``run.json``; a node without findings is left out.

        A run that has ended has a seal for each of its nodes. Behind it there is nothing but lines of an act that was killed. The name
        ``run.json`` stands for that file itself.

        Raises:
            RunFolderError: ``run.json`` cannot be read.
        """
        record = self.read()
        seals = {node: Head(*head) for node, head in record.audit.items()}
        over = record.status in ("finished", "failed", "interrupted")
        complete = record.status == "finished"
        found: dict[str, list[str]] = {}
        if self.origin() == "changed":
            found["run.json"] = ["it was changed since it was written: it does not fit to its code under your key"]
        for node in sorted({*seals, *self.audits(), *(record.nodes if complete else ())}):
            findings = [] if node in record.nodes or not record.nodes else ["there is no such node in this run"]
            try:
                findings += verify(self.audit(node), seals.get(node), final=over and not record.acting)
            except AuditError as error:
                findings.append(str(error))
            if node not in seals and over and (complete or seals):
                findings.append("its log has no seal, and a run that has ended has one for each of its nodes")
            if findings:
                found[node] = findings
        return found

    def audits(self) -> dict[str, Path]:
        """Audit logs that are there, by node."""
        return {path.parent.name: path for path in sorted(self.path.glob("nodes/*/audit.jsonl"))}


def _misfit(record: RunRecord) -> str:
    """Say what a field of a record cannot be; empty if nothing."""
    model = RunRecord()
    for one in fields(record):
        if type(getattr(record, one.name)) is not type(getattr(model, one.name)):
            return f"'{one.name}' is {type(getattr(record, one.name)).__name__}, not {type(getattr(model, one.name)).__name__}"
    seals = record.audit.values()
    if not all(type(seal) is list and [type(part) for part in seal] == [int, str] for seal in seals):
        return "a seal in 'audit' is not a number and a checksum"
    if not all(isinstance(node, str) for node in record.nodes):
        return "'nodes' are not names"
    return ""


def _safe(name: str) -> str:
    """A name that is one file's.

    Raises:
        RunFolderError: It is not.
    """
    if not name or name.startswith(".") or "/" in name or "\0" in name or len(name.encode()) > _LONGEST_NAME:
        raise RunFolderError(
            f"{name!r:.60} cannot be the name of a process: it becomes that of a file, "
            f"so no '/', no '.' at its start, and at most {_LONGEST_NAME} bytes"
        )
    return name


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _number(text: bytes) -> int:
    return int(text) if text.strip().isdigit() else 0
