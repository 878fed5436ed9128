"""Finds the compiled loop, or compiles it: on first use, into a folder of the user's, if there is a C compiler.

Order: the library that the wheel brings (`simtx/engine/_loop.so`), then the user's cache, then a compiler. Each library says which source it was compiled
from; one of another source is not used. A library in the cache is written under another name and renamed, so that nobody loads half of one. Its name tells its
content, and nothing is loaded from a place that somebody else can write to.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("loop") / "loop.c"
SHIPPED: Final = Path(__file__).with_name("_loop.so")
FLAGS: Final = ("-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")
HOW: Final = "install a C compiler (gcc or clang, or `pip install ziglang`)"
_SAY_WHERE: Final = "name a folder of your own in SIMTX_CACHE"


class Unavailable(Exception):
    """There is no compiled loop here; the message says why, as the rest of a sentence."""


def source_hash() -> str:
    """Names the source and how it is compiled."""
    parts = [part.read_bytes() for part in sorted(SOURCE.parent.iterdir()) if part.suffix in (".c", ".h")]
    text = b"\0".join([*parts, " ".join(FLAGS).encode(), platform.machine().encode(), sys.platform.encode()])
    return hashlib.blake2b(text, digest_size=10).hexdigest()


def compiler() -> list[str]:
    """The command of a C compiler; empty if there is none."""
    named = os.environ.get("CC", "").split()
    if named and shutil.which(named[0]):
        return named
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else []


def compile_library(target: Path, *extra: str) -> Path:
    """Compile the loop.

    Args:
        target: Where to put the library; its folder is made if need be.
        extra: Further options of the compiler.

    Raises:
        Unavailable: There is no compiler, it fails, or the place cannot be written to.
    """
    command = compiler()
    if not command:
        raise Unavailable(f"there is no compiled engine and no C compiler; {HOW}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix=".so", dir=target.parent)
        os.close(descriptor)
        try:
            options = [*FLAGS, *extra, f'-DSOURCE="{source_hash()}"', "-o", name, str(SOURCE), "-lm"]
            done = subprocess.run(  # noqa: S603 - the user's own compiler on our own source
                [*command, *options], capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode:
                first = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
                raise Unavailable(f"the C compiler `{' '.join(command)}` failed: {first}")
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"the compiled engine could not be made in {target.parent}: {error}") from error
    return target


def cache_folder() -> Path:
    """Folder of libraries that were compiled on first use: ``$SIMTX_CACHE``, or the user's cache folder.

    Raises:
        Unavailable: The user has no home.
    """
    named = os.environ.get("SIMTX_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base).absolute() if base else Path.home() / ".cache") / "simtx"
    except RuntimeError as error:
        raise Unavailable(f"there is no place for the compiled engine: {error}; {_SAY_WHERE}") from error


def load_library() -> ctypes.CDLL:
    """The compiled loop; what comes out is kept for this process.

    Raises:
        Unavailable: There is none, and none can be compiled.
    """
    found = _found()
    if isinstance(found, str):
        raise Unavailable(found)
    return found


@functools.cache
def _found() -> ctypes.CDLL | str:
    """The compiled loop, or why there is none."""
    try:
        return _searched()
    except Unavailable as reason:
        return str(reason)


def _searched() -> ctypes.CDLL:
    if os.name != "posix":
        raise Unavailable("the compiled engine is there for Linux and macOS only")
    named = os.environ.get("SIMTX_ENGINE_LIBRARY")
    if named:
        return _opened(Path(named), checked=False)
    try:
        wanted = source_hash()
    except OSError as error:
        raise Unavailable(f"the engine's source is not there: {error}") from error
    if SHIPPED.exists():
        try:
            return _opened(SHIPPED)
        except Unavailable:
            pass  # of another version, or of another machine
    folder = cache_folder()
    return _cached(folder, wanted) or _opened(_compiled_into(folder, wanted))


def _cached(folder: Path, wanted: str) -> ctypes.CDLL | None:
    """A library from the cache: one that is whole, and that nobody else can have placed there."""
    try:
        names = sorted(folder.glob(f"loop-{wanted}-*.so")) if folder.is_dir() else []
        for place in names:
            _refuse_strangers(folder)
            _refuse_strangers(place)
            if place.name == _name(wanted, place):
                return _opened(place)
    except (OSError, Unavailable) as error:
        if isinstance(error, _Stranger):
            raise
    return None


def _compiled_into(folder: Path, wanted: str) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_strangers(folder)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            made = compile_library(Path(own) / "loop.so")
            made.chmod(0o700)
            return made.replace(folder / _name(wanted, made))
    except OSError as error:
        raise Unavailable(f"the compiled engine could not be kept in {folder}: {error}; {_SAY_WHERE}") from error


def _name(wanted: str, place: Path) -> str:
    """The name that a library has in the cache. It tells its content: what is cut off or damaged has another one, and is never loaded."""
    return f"loop-{wanted}-{hashlib.blake2b(place.read_bytes(), digest_size=10).hexdigest()}.so"


class _Stranger(Unavailable):
    """Somebody else could have placed a library there."""


def _refuse_strangers(path: Path) -> None:
    """See that nobody else can write to a path, nor to a folder above it.

    Folders like ``/tmp`` are allowed, where each user can replace only files of its own.

    Raises:
        _Stranger: Somebody can.
    """
    mine = (os.geteuid(), 0)
    for place in (path, *path.resolve().parents):
        found = place.stat()
        shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        own_group = found.st_gid == os.getegid() and not shared & stat.S_IWOTH and place != path
        if found.st_uid not in mine or (shared and not own_group and not found.st_mode & stat.S_ISVTX):
            raise _Stranger(f"others than you can write to {place}, so no library is loaded from {path}; {_SAY_WHERE}")


def _opened(place: Path, *, checked: bool = True) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(place))
        library.engine_source.restype = ctypes.c_char_p
        made_from = library.engine_source().decode()
    except (OSError, AttributeError) as error:
        raise Unavailable(f"{place} cannot be loaded: {error}") from error
    if checked and made_from != source_hash():
        raise Unavailable(f"{place} was compiled from another source")
    return library
