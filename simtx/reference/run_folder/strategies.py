"""Storage of a run's strategy in its folder: ours by name and options, which is data; one of a user's own as a pickle, which is a program.

Whoever loads a pickle runs what is in it. So the processes of a run load the one that their launcher has just written. An operator who comes
later has to say that the folder is trusted.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any, Final

import cloudpickle

from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.codec import CodecError, register
from simtx.protocols.extras import extras
from simtx.reference.run_folder.folder import RunFolder, RunFolderError
from simtx.reference.run_folder.strategy_record import described, made

PICKLE: Final = "strategy.pickle"


def write(folder: RunFolder, strategy: Strategy) -> None:
    """Hand a strategy of a user's own to the processes; a class of a notebook or script travels by value."""
    if described(strategy):
        return
    name = type(strategy).__module__
    module = None if name == "__main__" or name.startswith("simtx.") else sys.modules.get(name)
    if module is not None:
        cloudpickle.register_pickle_by_value(module)
    try:
        (folder.path / PICKLE).write_bytes(cloudpickle.dumps(strategy))
    finally:
        if module is not None:
            cloudpickle.unregister_pickle_by_value(module)


def load(path: Path, raw: dict[str, Any]) -> Strategy:
    """Message of the launcher to the process of a node.

    Args:
        path: The run's folder, which the launcher trusts.
        raw: What `described` gave; empty: there is a pickle.
    """
    strategy = made(raw) if raw else resolve(_unpickled(path / PICKLE))
    register(*extras(strategy).wire_types)
    return strategy


def open_strategy(folder: RunFolder, *, trust: bool) -> Strategy:
    """The strategy of a run that was kept.

    Args:
        folder: The run's folder.
        trust: Whether what is in the folder may run as a program.

    Raises:
        RunFolderError: It is not there, cannot be made again, or is a program and not trusted.
    """
    record = folder.read()
    if record.strategy_made:
        try:
            return made(record.strategy_made)
        except CodecError as error:
            raise RunFolderError(f"'{folder.path / 'run.json'}' is damaged: {error}") from None
    file = folder.path / PICKLE
    if not file.exists():
        raise RunFolderError(f"'{folder.path}' holds a run that was never started: there is no strategy in it")
    if not trust:
        raise RunFolderError(
            f"the strategy '{record.strategy:.60}' of the run in '{folder.path}' is not one of simtx: loading it runs a program that is in the "
            "folder; say --trust if you have made the folder, and nobody else could write into it since"
        )
    try:
        return load(folder.path, {})
    except Exception as error:  # noqa: BLE001 - unpickling raises anything
        problem = " ".join(str(error).split())
        raise RunFolderError(f"'{file}' cannot be read by this version: {type(error).__name__}: {problem}") from None


def _unpickled(file: Path) -> Strategy:
    with file.open("rb") as opened:
        strategy: Strategy = pickle.load(opened)  # noqa: S301 - the launcher has written it, or the operator trusts the folder
    return strategy
