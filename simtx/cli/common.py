"""Parts that several commands share: loading a scenario with changes, warnings, folders, pictures, JSON."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from simtx.errors import ScenarioError
from simtx.metrics.plain import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from simtx.engine.choices import Engine
    from simtx.experiments.sweep.study import Row
    from simtx.experiments.work import Outcome
    from simtx.scenario import Scenario
    from simtx.scenario.provenance import Provenance


def add_command(group: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Add a command; a list of commands shows the first line of its docstring whole, and does not cut it to the width of the terminal."""
    group.command(name, short_help=(function.__doc__ or "").partition("\n")[0])(function)


def engine_named(name: str | None) -> Engine | None:
    """The engine that an option names.

    Raises:
        ScenarioError: There is no such engine.
    """
    from simtx.engine.choices import ENGINES
    from simtx.scenario.units import hint

    for known in ENGINES:
        if name == known:
            return known
    if name is None:
        return None
    raise ScenarioError(f"there is no engine '{name}'; {hint(name, ENGINES)}", "--engine")


def played_by(name: str | None) -> AbstractContextManager[None]:
    """A block within which whatever is simulated in this process is played by the engine that an option names.

    Raises:
        ScenarioError: There is no such engine.
    """
    from simtx.engine.choices import preferring

    return preferring(engine_named(name))


def load(name: str, changes: Sequence[str]) -> Scenario:
    """A scenario by name or path, with ``key=value`` changes; its warnings go to standard error."""
    from simtx.scenario import load as load_scenario

    scenario = load_scenario(name)
    values = changed(changes)
    if values:
        scenario = scenario.replace(**values)
    warn(scenario.warnings)
    return scenario


def changed(changes: Sequence[str], option: str = "--set", example: str = "workload.rate=200") -> dict[str, Any]:
    """Values by path of ``key=value`` changes.

    Args:
        changes: What was written.
        option: Where.
        example: Of one that is right.

    Raises:
        ScenarioError: One is no change.
    """
    values: dict[str, Any] = {}
    for change in changes:
        key, found, text = change.partition("=")
        if not found or not key:
            raise ScenarioError(f"'{change}' is no change; write it as {example}", option)
        values[key.strip()] = _value(text.strip())
    return values


def knowing(metrics: Sequence[str], strategies: int) -> Callable[[Row, Outcome], None]:
    """Make a function that looks at each run of a sweep.

    The sweep ends as soon as a run of each strategy is finished and none has a metric, and not when all are.

    Args:
        metrics: What is asked for.
        strategies: How many there are.
    """
    names: dict[str, set[str]] = {}  # of metrics, by strategy

    def told(row: Row, outcome: Outcome) -> None:
        if outcome.stage or len(names) == strategies:
            return
        names.setdefault(row.strategy, set()).update(outcome.summary)
        known = sorted(set().union(*names.values()))
        missing = [one for one in metrics if one not in known]
        if len(names) == strategies and missing:
            from simtx.scenario.units import hint

            raise ScenarioError(f"'{missing[0]}' is no metric; {hint(missing[0], known)}", "--metric")

    return told


def go_on(kept: str = "interrupted; what is finished is kept") -> NoReturn:
    """End as interrupted, and say what is kept and how to go on."""
    warn([f"{kept}; go on with: {shlex.join(['simtx', *sys.argv[1:]])}"])
    raise typer.Exit(130)


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
        raise ScenarioError(
            f"cannot write to folder '{path}': {_reason(error)}; choose another with --out", "--out"
        ) from None
    for file in files:
        there = path / file
        if there.exists() and not (there.is_file() and os.access(there, os.W_OK)):
            reason = "the file is write-protected" if there.is_file() else "something that is no file has this name"
            raise ScenarioError(f"cannot write '{there}': {reason}; choose another folder with --out", "--out")
    return path


def claimed(
    out: Path | None, default: str, stem: str, origin: Provenance, *files: str, repeatable: bool = True
) -> Path:
    """A folder for results that writes over no others, with where they come from in ``STEM.json``.

    Args:
        out: The folder that is asked for; None: the first of `default`, `default`-2, ... that holds no other results.
        default: Its name otherwise.
        stem: Name of the results in it.
        origin: Where they come from. Results of the same question are replaced, as they are the same.
        files: What will be written into it.
        repeatable: Whether the same question has the same answer; that of a real run has not.

    Raises:
        ScenarioError: The folder that is asked for holds other results, or cannot be written to.
    """
    same = origin if repeatable else None
    if out is None:
        path = next(one for one in _numbered(default) if not _held(one, stem, same, files))
    elif held := _held(out, stem, same, files):
        raise ScenarioError(f"'{out}' holds {held}; choose another folder with --out", "--out")
    else:
        path = out
    folder(path, *files)
    with writing(path):
        document = {"provenance": origin.to_dict()}
        (path / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def fresh(default: str) -> Path:
    """The first of `default`, `default`-2, ... that is not there or is empty."""
    return next(path for path in _numbered(default) if not path.exists() or (path.is_dir() and not any(path.iterdir())))


def _numbered(default: str) -> Iterator[Path]:
    """`default`, `default`-2, `default`-3, and so on."""
    yield Path(default)
    yield from (Path(f"{default}-{number}") for number in itertools.count(2))


def _held(path: Path, stem: str, origin: Provenance | None, files: Sequence[str]) -> str:
    """Say what a folder holds that must not be written over; empty if nothing."""
    from simtx.scenario.provenance import Provenance

    try:
        there = Provenance.from_dict(json.loads((path / f"{stem}.json").read_text(encoding="utf-8"))["provenance"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or one of another program
        present = [file for file in (f"{stem}.json", *files) if (path / file).is_file()]
        return f"a file '{present[0]}' that does not say where it comes from" if present else ""
    if origin is not None and origin.same_question(there):
        return ""
    return f"the results of: {there.command}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while results are written into this folder (a full disk) into one line, too.

    Raises:
        ScenarioError: A file could not be written.
    """
    try:
        yield
    except OSError as error:
        raise ScenarioError(f"cannot write '{error.filename or path}': {_reason(error)}", "--out") from None


def _reason(error: OSError) -> str:
    """Reason why the system refuses, in its own words."""
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in place of another one, which stays as it is until the new one is whole.

    Raises:
        OSError: It cannot be written; it names the file that was to be replaced.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield new
        new.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        new.unlink(missing_ok=True)


def save_picture(picture: Figure | Axes, path: Path, **options: Any) -> None:
    """Write a figure, or that of some axes, into a file."""
    figure = picture if hasattr(picture, "savefig") else picture.get_figure(root=True)
    if figure is not None:
        figure.savefig(path, **options)


def save_pictures(store: Path, drawn: Mapping[str, Callable[[], Figure | Axes]]) -> list[str]:
    """Draw pictures, by their names, into a results folder; returns the files, as paths below it."""
    import matplotlib as mpl

    mpl.use("agg")
    files = []
    with writing(store):
        (store / "pictures").mkdir(parents=True, exist_ok=True)
        for name, plot in drawn.items():
            files.append(f"pictures/{name}.png")
            save_picture(plot(), store / files[-1])
    return files


def drawable(path: Path, option: str) -> None:
    """Look whether a picture can be drawn into a file, before anything takes time.

    Args:
        path: The file.
        option: That it was given by.

    Raises:
        ScenarioError: It cannot: the name has an ending of no known kind of picture, or there is no such folder.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.is_dir():
        reason = "it is a folder"
    elif not path.parent.is_dir():
        reason = f"there is no folder '{path.parent}'"
    elif path.suffix.removeprefix(".").lower() not in kinds:
        reason = f"its name has to end in a kind of picture, such as .png, .svg or .pdf (known are {', '.join(kinds)})"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "no permission to write"
    else:
        return
    raise ScenarioError(f"cannot draw into '{path}': {reason}", option)


def draw(picture: Figure | Axes, path: Path, option: str) -> None:
    """Draw a figure, or that of some axes, into the file of an option.

    Raises:
        ScenarioError: The file cannot be written.
    """
    try:
        save_picture(picture, path, bbox_inches="tight")
    except OSError as error:
        raise ScenarioError(f"cannot draw into '{path}': {error.strerror or error}", option) from None


def draw_out(plot: Callable[[], Figure | Axes], out: Path | None, *, json: bool) -> None:
    """Draw what ``--out`` asks for, if it does, and say where; beside a JSON document on standard error."""
    if out is not None:
        import matplotlib as mpl

        mpl.use("agg")
        draw(plot(), out, "--out")
        typer.echo(f"written: {out}", err=json)


def tell_repeats(violations: DataFrame, failures: DataFrame) -> None:
    """Name on standard error the commands that show a violation, and that repeat a failed run."""
    for line in violations.drop_duplicates(["strategy", "property"]).itertuples():
        typer.echo(f"simtx: {line.strategy} has violated '{line.property}'; its story: {line.see_with}", err=True)
    for row in failures.itertuples():
        typer.echo(f"simtx: repeat the failed run with: {row.repeat_with}", err=True)


def echo_verdict(good: bool | None, text: str) -> None:
    """Print a verdict; in a terminal its first line says by its colour what it is."""
    from simtx.banner import terminal_colour

    first, newline, rest = text.partition("\n")
    typer.secho(first, fg=terminal_colour(good), bold=True)
    if newline:
        typer.echo(rest)


def print_json(document: Any) -> None:
    """One JSON document on standard output; what is infinite becomes the text ``Infinity``, what is not a number null."""
    typer.echo(json.dumps(plain(document), indent=2))
