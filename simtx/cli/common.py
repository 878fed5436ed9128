"""Parts that several commands share: loading a scenario with changes, warnings, folders, JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias

import typer

from simtx.errors import ScenarioError
from simtx.metrics.plain import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simtx.engine.choices import Engine
    from simtx.experiments.sweep.study import Row
    from simtx.experiments.work import Outcome
    from simtx.scenario import Scenario
    from simtx.scenario.provenance import Provenance
    from simtx.validation.crash_matrix import CrashMatrix
    from simtx.validation.soak import Soak


ChangeOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the scenario: workload.rate=200")
]
ScenarioArgument: TypeAlias = Annotated[str, typer.Argument(help="A built-in scenario, or the path of a TOML file.")]
StrategyArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="2pc, paxos-commit, cornus, saga, tcc, outbox, choreography or dual-write; options as in '2pc:work=before'."
    ),
]
StrategiesArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(help="Strategies, options as in '2pc:work=before'; default: 2pc, saga, outbox, dual-write."),
]
StoreOption: TypeAlias = Annotated[
    str,
    typer.Option(
        envvar="SIMTX_STORE",
        help="sqlite, postgres, or the DSN of a server: postgresql://... An address with a password belongs into the variable, which 'ps' does not show.",
    ),
]
BrokerOption: TypeAlias = Annotated[
    str, typer.Option(envvar="SIMTX_BROKER", help="embedded, nats, or the URL of a server: nats://...; likewise.")
]
EngineOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="auto, interpreted or fast: what plays or searches; what comes out is the same. Default: auto."),
]
SeedOption: TypeAlias = Annotated[int, typer.Option(min=0, help="Seed of all random streams.")]
WorkersOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Processes; default: one a processor.")]
PictureOption: TypeAlias = Annotated[
    Path | None, typer.Option("--out", metavar="PICTURE", help="Draw it into this file: .png, .svg or .pdf.")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


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


@contextmanager
def played_by(name: str | None) -> Iterator[None]:
    """What is simulated in this process inside this block is played by the engine that an option names.

    Raises:
        ScenarioError: There is no such engine.
    """
    from simtx.engine.choices import preferring

    with preferring(engine_named(name)):
        yield


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
    """What a sweep tells of each run: it ends as soon as a run of each strategy is finished and none has a metric, and not when all are.

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


def go_on() -> NoReturn:
    """End as interrupted, and say how to go on.

    Raises:
        Exit: Always.
    """
    warn([f"interrupted; what is finished is kept; go on with: {shlex.join(['simtx', *sys.argv[1:]])}"])
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
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ScenarioError(f"cannot write to folder '{path}': {reason}; choose another with --out", "--out") from None
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
    path = out if out is not None else Path(default)
    number = 1
    while held := _held(path, stem, origin if repeatable else None, files):
        if out is not None:
            raise ScenarioError(f"'{path}' holds {held}; choose another folder with --out", "--out")
        number += 1
        path = Path(f"{default}-{number}")
    folder(path, *files)
    with writing(path):
        document = {"provenance": origin.to_dict()}
        (path / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def fresh(default: str) -> Path:
    """The first of `default`, `default`-2, ... that is not there or is empty."""
    path, number = Path(default), 1
    while path.exists() and (not path.is_dir() or any(path.iterdir())):
        number += 1
        path = Path(f"{default}-{number}")
    return path


def _held(path: Path, stem: str, origin: Provenance | None, files: Sequence[str]) -> str:
    """What a folder holds that must not be written over, in words; empty if nothing."""
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
    """What goes wrong while results are written into this folder (a full disk) becomes one line, too.

    Raises:
        ScenarioError: A file could not be written.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ScenarioError(f"cannot write '{error.filename or path}': {reason}", "--out") from None


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


def save_picture(ax: Axes, path: Path, **options: Any) -> None:
    """Write the figure of some axes into a file."""
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.savefig(path, **options)


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
    """Draw a figure, or that of some axes, into a file.

    Raises:
        ScenarioError: The file cannot be written.
    """
    try:
        figure = picture if hasattr(picture, "savefig") else picture.get_figure(root=True)
        if figure is not None:
            figure.savefig(path, bbox_inches="tight")
    except OSError as error:
        raise ScenarioError(f"cannot draw into '{path}': {error.strerror or error}", option) from None


def draw_out(plot: Callable[[], Figure | Axes], out: Path | None, *, json: bool) -> None:
    """Draw what ``--out`` asks for, if it does, and say where; beside a JSON document on standard error."""
    if out is not None:
        import matplotlib as mpl

        mpl.use("agg")
        draw(plot(), out, "--out")
        typer.echo(f"written: {out}", err=json)


def conclude(result: CrashMatrix | Soak, *, json: bool) -> None:
    """Print the result of a check, and end as it did.

    Raises:
        Exit: It was interrupted (130), or something is violated (1).
    """
    if json:
        print_json(result.as_dict())
    else:
        typer.echo(result.text)
    if result.interrupted:
        raise typer.Exit(130)
    if not result.ok:
        raise typer.Exit(1)


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
