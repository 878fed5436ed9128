"""Finds the compiled loop, or compiles it: on first use, into a folder of the user's, if there is a C compiler.

Order: the library that the wheel brings (`simtx/engine/_loop.so`), then the user's cache, then a compiler. Each library says which source it was compiled
from; one of another source is not used. A library is written under a name of its own and renamed, so that nobody loads half of one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("loop.c")
SHIPPED: Final = Path(__file__).with_name("_loop.so")
FLAGS: Final = ("-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")
HOW: Final = "install a C compiler (gcc or clang, or `pip install ziglang`)"


class Unavailable(Exception):
    """There is no compiled loop here; the message says why, as the rest of a sentence."""


def source_hash() -> str:
    """Names the source and how it is compiled."""
    text = SOURCE.read_bytes() + " ".join(FLAGS).encode() + platform.machine().encode() + sys.platform.encode()
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
    """Where a library that was compiled on first use is kept: ``$SIMTX_CACHE``, or the user's cache folder."""
    named = os.environ.get("SIMTX_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "simtx"


@functools.cache
def load_library() -> ctypes.CDLL:
    """The compiled loop.

    Raises:
        Unavailable: There is none, and none can be compiled.
    """
    if os.name != "posix":
        raise Unavailable("the compiled engine is there for Linux and macOS only")
    named = os.environ.get("SIMTX_ENGINE_LIBRARY")
    if named:
        return _opened(Path(named), checked=False)
    try:
        wanted = source_hash()
    except OSError as error:
        raise Unavailable(f"the engine's source is not there: {error}") from error
    cached = cache_folder() / f"loop-{wanted}.so"
    for place in (SHIPPED, cached):
        if place.exists():
            try:
                return _opened(place)
            except Unavailable:
                continue  # of another version, or of another machine
    return _opened(compile_library(cached))


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
