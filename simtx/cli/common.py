"""What several commands need: loading a scenario with changes, warnings, folders, JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from simtx.errors import ScenarioError
from simtx.metrics.plain import plain

if TYPE_CHECKING:
    from simtx.scenario import Scenario


ChangeOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the scenario: workload.rate=200")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def load(name: str, changes: Sequence[str]) -> Scenario:
    """A scenario by name or path, with ``key=value`` changes; its warnings go to standard error."""
    from simtx.scenario import load as load_scenario

    scenario = load_scenario(name)
    values: dict[str, Any] = {}
    for change in changes:
        key, found, text = change.partition("=")
        if not found or not key:
            raise ScenarioError(f"'{change}' is no change; write it as workload.rate=200", "--set")
        values[key.strip()] = _value(text.strip())
    if values:
        scenario = scenario.replace(**values)
    warn(scenario.warnings())
    return scenario


def _value(text: str) -> Any:
    """Numbers, booleans, lists and tables as in TOML; everything else is text ('5ms')."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def warn(notes: Iterable[str]) -> None:
    """One line each on standard error."""
    for note in notes:
        typer.echo(f"simtx: warning: {note}", err=True)


def folder(path: Path, *files: str) -> Path:
    """Make the folder, before anything takes time.

    Args:
        path: The folder.
        files: What will be written into it.

    Raises:
        ScenarioError: It, or a file in it, cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".simtx-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ScenarioError(f"cannot write to folder '{path}': {reason}; choose another with --out", "--out") from None
    for file in files:
        there = path / file
        if there.exists() and not (there.is_file() and os.access(there, os.W_OK)):
            reason = "the file is write-protected" if there.is_file() else "something that is no file has this name"
            raise ScenarioError(f"cannot write '{there}': {reason}; choose another folder with --out", "--out")
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What goes wrong while results are written into this folder (a full disk) becomes one line, too.

    Raises:
        ScenarioError: A file could not be written.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ScenarioError(f"cannot write '{error.filename or path}': {reason}", "--out") from None


def print_json(document: Any) -> None:
    """One JSON document on standard output; what is infinite becomes the text ``Infinity``, what is not a number null."""
    typer.echo(json.dumps(plain(document), indent=2))
