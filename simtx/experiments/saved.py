"""Saving runs and comparisons in a folder, and reading them back: Parquet for figures, JSON for all else.

Layout of a run's folder::

    run.json               kind, provenance, scenario, strategy, seed, replication, warnings, the rest of the raw numbers
    summary.parquet        metric, value
    transactions.parquet   `run.transactions`
    timeline.parquet       `run.timeline`
    quantities.parquet     `run.quantities`
    ledger.parquet         the columns that the transactions were made of, in seconds
    events.parquet         the event log, if it was recorded

and of a comparison's: ``comparison.json`` and ``runs.parquet`` (`comparison.frame`). Pandas, Polars and DuckDB read the Parquet files without simtx; each has the
provenance in its metadata, under the key ``simtx``. What the scenario refers to, such as a file of arrivals, is copied into the folder. A folder appears whole or
not at all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from simtx.arguments import checked, flag, path
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog, LogEntry
from simtx.experiments.comparison import Comparison, Result
from simtx.files import LARGEST_DATA, read_text
from simtx.metrics.counters import COUNTERS
from simtx.metrics.figures import Summary
from simtx.metrics.run import Run
from simtx.metrics.rundata import RunData
from simtx.metrics.timeline import Timeline, beside
from simtx.protocols import strategy as resolve
from simtx.scenario import Scenario, from_dict
from simtx.scenario.fingerprints import strategy_sources
from simtx.scenario.provenance import Provenance, strategy_text
from simtx.views import view

if TYPE_CHECKING:
    from simtx.experiments.sweep.result import Sweep
    from simtx.protocols import Plan, Promise, Strategy

FORMAT: Final = 1
"""Version of the layout; a later one is refused."""
_VALUES: Final = ("simtx.metrics.", "simtx.scenario.", "simtx.protocols.", "simtx.experiments.")
"""Packages whose classes of plain values may be made of what a file says; importing them does nothing else."""
LEDGER: Final = "ledger.sqlite"
SWEEP: Final = "sweep.json"
_TABLES: Final = ("transactions", "timeline", "quantities")
_ARRIVALS: Final = "arrivals.csv"
_CALIBRATION: Final = "calibration.toml"


@dataclasses.dataclass(frozen=True)
class StoredStrategy:
    """A strategy of a user's that was read from a file: what it was called and made of. It plays nothing.

    Attributes:
        name: Its name.
        promise: What its first answer says.
        uses_broker: Whether it published events.
        hub: Its hub, or None.
        shown: Its `repr`, with its options.
        sources: Source text of its class and of all that this used, by name.
    """

    name: str
    promise: Promise
    uses_broker: bool
    hub: str | None
    shown: str
    sources: Mapping[str, str]

    def _absent(self, *_: object) -> Any:
        raise ScenarioError(
            f"the strategy '{self.name}' was read from a file and cannot play; make an object of its class, whose text is in .sources",
            "strategy",
        )

    entry = machine = daemons = _absent

    def check(self, plan: Plan) -> str | None:  # noqa: ARG002 - whatever the plan
        """Reason why it cannot be played."""
        return f"it was read from a file; make an object of its class again, {self.shown}"

    def __repr__(self) -> str:
        return self.shown


# --- writing ------------------------------------------------------------------------------------------------------------------


@checked(folder=path, overwrite=flag)
def save_run(run: Run, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a run into a folder; see `Run.save`."""
    with _made(Path(folder), overwrite=overwrite) as new:
        document = document_of("run", run.provenance, run.scenario, new)
        data = {one.name: getattr(run.data, one.name) for one in dataclasses.fields(run.data)}
        columns = data.pop("columns")
        del data["timeline"]
        data |= data.pop("counts")  # each by its name
        document |= {
            "strategy": strategy_document(run.strategy, run.scenario),
            "seed": run.seed,
            "replication": run.replication,
            "warnings": list(run.warnings),
            "data": encoded(data, "the run"),
        }
        summary = run.summary.rename_axis("metric").reset_index()
        _write(new / "summary.parquet", summary, run.provenance)
        for name in _TABLES:
            _write(new / f"{name}.parquet", getattr(run, name), run.provenance)
        _write(
            new / "ledger.parquet",
            pd.DataFrame({name: list(values) for name, values in columns.items()}),
            run.provenance,
        )
        if run.recorded:
            _write(new / "events.parquet", run.trace.frame(), run.provenance)
        _json(new / "run.json", document)
    return Path(folder)


@checked(folder=path, overwrite=flag)
def save_comparison(comparison: Comparison, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a comparison into a folder; see `Comparison.save`."""
    with _made(Path(folder), overwrite=overwrite) as new:
        document = document_of("comparison", comparison.provenance, comparison.scenario, new)
        results = comparison.results
        document |= {
            "strategies": {
                name: strategy_document(one, comparison.scenario) for name, one in comparison.objects.items()
            },
            "seed": comparison.seed,
            "replications": comparison.replications,
            "stopped": comparison.stopped,
            "stopping": encoded(comparison.stopping, "the comparison"),
            "notes": comparison.notes,
            "failures": [one._asdict() | {"summary": {}, "findings": [], "struck": {}} for one in results if one.error],
            "findings": [
                [one.strategy, one.replication, encoded(one.findings, "the comparison"), dict(one.struck)]
                for one in results
                if one.findings or one.struck
            ],
            "executions": [[one.strategy, one.replication, one.executions] for one in results if one.executions != 1],
        }
        _write(new / "runs.parquet", comparison.frame, comparison.provenance)
        _json(new / "comparison.json", document)
    return Path(folder)


def document_of(kind: str, origin: Provenance, scenario: Scenario, folder: Path) -> dict[str, Any]:
    """Head of every saved result. Files that the scenario refers to are copied into the folder."""
    raw = scenario.to_dict()
    if scenario.workload.trace is not None:
        # as it was read: the file itself may have changed since
        arrivals = {"time": scenario.workload.trace_times, **scenario.workload.trace_parameters}
        pd.DataFrame({name: list(values) for name, values in arrivals.items()}).to_csv(folder / _ARRIVALS, index=False)
        raw["workload"] = {"kind": "trace", "trace": _ARRIVALS, "origin": 0}
    if isinstance(raw.get("calibration"), str):
        from simtx.scenario.calibration import load_calibration

        beside = Path(scenario.path).parent if scenario.path else None
        (folder / _CALIBRATION).write_text(load_calibration(raw["calibration"], beside).toml(), encoding="utf-8")
        raw["calibration"] = _CALIBRATION
    tables = {"name": scenario.name, "path": scenario.path, "overrides": scenario.overrides, "tables": raw}
    return {
        "kind": f"simtx {kind}",
        "format": FORMAT,
        "provenance": origin.to_dict(),
        "scenario": encoded(tables, "the scenario"),
    }


def strategy_document(strategy: Strategy, scenario: Scenario) -> dict[str, Any]:
    """A strategy as a file can hold it."""
    text = strategy_text(strategy, scenario.policies)
    if text is not None:
        return {"text": text}
    one: Any = strategy
    if type(one).__module__.startswith("simtx.") and dataclasses.is_dataclass(one):
        return {"object": encoded(strategy, "the strategy")}
    try:
        sources = strategy_sources(strategy)
    except ScenarioError:  # it holds what has no text
        sources = {}
    known = {name: getattr(strategy, name) for name in ("name", "promise", "uses_broker", "hub")}
    return {"stored": {**known, "shown": repr(strategy), "sources": sources}}


def _write(file: Path, frame: pd.DataFrame, origin: Provenance) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame)
    note = json.dumps(origin.to_dict(modules=False))
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"simtx": note.encode()}), file)


def _json(file: Path, document: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def _made(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside the one that is meant, which takes its place when all is written."""
    folder = folder.expanduser()
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        what = (
            "is not empty; choose another folder, or overwrite=True"
            if folder.is_dir()
            else "is a file; choose a folder"
        )
        raise ScenarioError(f"'{folder}' {what}", "save")
    if folder.is_dir() and any(folder.iterdir()) and _kind(folder) is None:
        raise ScenarioError(f"'{folder}' holds something else than a result of simtx, and is not overwritten", "save")
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        new.mkdir(parents=True)
        yield new
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    except OSError as error:
        raise ScenarioError(f"cannot write '{folder}': {error.strerror or error}", "save") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


# --- reading ------------------------------------------------------------------------------------------------------------------


def _kind(folder: Path) -> str | None:
    return next((name for name in ("run", "comparison") if (folder / f"{name}.json").is_file()), None)


@checked(folder=path)
def read(folder: str | Path) -> Run | Comparison | Sweep:
    """Read a run or a comparison that `save` has written, or the sweep of a results folder.

    Args:
        folder: The folder; of several sweeps in one results folder, that of one of them: ``results/frames/NAME``.

    Returns:
        The same, with equal figures, warnings and provenance. A strategy of simtx is itself again; one of the user's is a
        `StoredStrategy` with its name and its source text.

    Raises:
        ScenarioError: There is no such folder, or it holds nothing of the kind.
    """
    place = Path(folder).expanduser()
    kind = _kind(place)
    if kind is None and ((place / LEDGER).is_file() or (place / SWEEP).is_file()):
        swept: Sweep = view("read-sweep")(place)
        return swept
    if kind is None:
        raise ScenarioError(_no_result(place), str(place))
    with opened(place / f"{kind}.json", "Run.save" if kind == "run" else "Comparison.save") as document:
        return (_run if kind == "run" else _comparison)(place, document)


@contextmanager
def opened(file: Path, writer: str) -> Iterator[dict[str, Any]]:
    """The document of a result that `writer` has saved, to be restored in this block.

    Raises:
        ScenarioError: It cannot be read, is of something else or of a later version, or is damaged.
    """
    kind = file.stem
    try:
        document = json.loads(read_text(file, LARGEST_DATA))
        if document.get("kind") is None and "provenance" in document and kind != "sweep":
            command = document["provenance"].get("command", "") if isinstance(document["provenance"], dict) else ""
            again = f": {command} --save FOLDER" if command.startswith("simtx compare") else ""
            raise ScenarioError(
                "it holds the table of 'simtx compare --out', without the runs; play them again with --save and give that folder"
                + again
                if kind == "comparison"
                else "it holds the table of a run, without its event log; write it with run.save in Python",
                str(file),
            )
        if document.get("kind") != f"simtx {kind}":
            raise ScenarioError(f"it is not written by {writer}", str(file))
        if document["format"] > FORMAT:
            raise ScenarioError(
                f"it has the format {document['format']} of a later version of simtx ({document['provenance']['version']}); this one reads {FORMAT}",
                str(file),
            )
        yield document
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror or error}", str(error.filename or file)) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ScenarioError):
            raise
        raise ScenarioError(f"is damaged: {type(error).__name__}: {error}".splitlines()[0], str(file)) from None


def _no_result(place: Path) -> str:
    """Reason why nothing can be read at a place."""
    if place.is_dir():
        return "holds no run, comparison or sweep that was saved"
    if not place.exists():
        return "there is no such folder"
    beside = place.parent
    if _kind(beside) or any((beside / name).is_file() for name in (LEDGER, SWEEP)):
        return f"is a file; give the folder that it is in, '{beside}'"
    return "is a file; give a folder: of a run or comparison that was saved, as by simtx compare --save, or the results folder of a sweep"


def _run(folder: Path, document: Mapping[str, Any]) -> Run:
    scenario, notes = restored_scenario(folder, document)
    strategy = restored_strategy(document["strategy"], scenario)
    values = decoded(document["data"])
    ledger = _table(folder / "ledger.parquet")
    values["columns"] = {str(name): ledger[name].to_numpy() for name in ledger}
    # The samples are in a table of their own.
    values["timeline"] = Timeline(
        values["services"],
        broker=strategy.uses_broker,
        partitions=scenario.broker.partitions > 0,
        beside=beside(scenario),
    )
    values["counts"] = {name: values.get(name, 0) for name in COUNTERS}
    known = {one.name for one in dataclasses.fields(RunData)}
    data = RunData(**{name: value for name, value in values.items() if name in known})
    origin = Provenance.from_dict(document["provenance"])
    log = folder / "events.parquet"
    trace = EventLog(_events(log), origin) if log.is_file() else _played_again(scenario, strategy, origin, document)
    run = Run(scenario, strategy, document["seed"], document["replication"], data, trace, provenance=origin)
    summary = _table(folder / "summary.parquet").set_index("metric")["value"]
    run.restore(
        Summary(summary.to_numpy(), index=list(summary.index), dtype=float, name="value"),
        *(_table(folder / f"{name}.parquet") for name in _TABLES),
        warnings=[*document["warnings"], *notes],
    )
    return run


def _comparison(folder: Path, document: Mapping[str, Any]) -> Comparison:
    scenario, notes = restored_scenario(folder, document)
    strategies = {name: restored_strategy(one, scenario) for name, one in document["strategies"].items()}
    frame = _table(folder / "runs.parquet")
    metrics = [name for name in frame if name not in ("strategy", "replication", "digest")]
    again = {(name, number): count for name, number, count in document["executions"]}
    said = {(name, number): (decoded(found), struck) for name, number, found, struck in document.get("findings", ())}
    results = []
    for row in frame.to_dict("records"):
        run = row["strategy"], int(row["replication"])
        summary = {str(name): row[name] for name in metrics}
        found, struck = said.get(run, ((), {}))
        results.append(Result(*run, summary, row["digest"], "", again.get(run, 1), found, struck))
    results += [Result(**one) for one in document["failures"]]
    comparison = Comparison(
        scenario,
        strategies,
        results,
        seed=document["seed"],
        replications=document["replications"],
        stopped=document["stopped"],
        notes=[*document["notes"], *notes],
        stopping=decoded(document["stopping"]),
    )
    return comparison.coming_from(Provenance.from_dict(document["provenance"]))


def restored_scenario(folder: Path, document: Mapping[str, Any]) -> tuple[Scenario, list[str]]:
    """The scenario, and what is to be said of it."""
    saved = decoded(document["scenario"])
    found = from_dict(saved["tables"], name=saved["name"], folder=folder)
    found = dataclasses.replace(found, name=saved["name"], path=saved["path"], overrides=saved["overrides"])
    if found.fingerprint == document["provenance"]["scenario_fingerprint"]:
        return found, []
    old = document["provenance"]["version"]
    return found, [f"this version of simtx reads the scenario otherwise than simtx {old}, which made these figures"]


def restored_strategy(saved: Mapping[str, Any], scenario: Scenario | None) -> Strategy:
    """Strategy that `strategy_document` was made of; without a scenario, it has no policies but its own."""
    if "text" in saved:
        return resolve(saved["text"], None if scenario is None else scenario.policies)
    if "object" in saved:
        found: Strategy = decoded(saved["object"])
        return found
    return StoredStrategy(**saved["stored"])


def _table(file: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        return pd.read_parquet(file)
    except FileNotFoundError:
        raise ScenarioError("is missing", str(file)) from None
    except pa.ArrowInvalid as error:
        raise ScenarioError(f"is no Parquet file: {error}".splitlines()[0], str(file)) from None


def _events(file: Path) -> Iterator[LogEntry]:
    frame = _table(file)
    frame["cause"] = frame["cause"].astype(object).where(frame["cause"].notna(), None)
    columns = [frame[name].tolist() for name in LogEntry._fields]
    return (LogEntry(*row) for row in zip(*columns, strict=True))


def _played_again(
    scenario: Scenario, strategy: Strategy, origin: Provenance, document: Mapping[str, Any]
) -> Callable[[], EventLog]:
    def played() -> EventLog:
        from simtx.simulator import simulate

        if origin.verb != "simulate" or origin.settings:
            raise ScenarioError(
                f"its event log was not recorded and cannot be made anew; repeat the run: {origin.command}", "trace"
            )
        run = simulate(scenario, strategy, seed=document["seed"], replication=document["replication"], trace=True)
        if run.digest != decoded(document["data"])["digest"]:
            raise ScenarioError(
                "its event log was not recorded, and this version of simtx plays the run otherwise", "trace"
            )
        return run.trace

    return played


# --- values -------------------------------------------------------------------------------------------------------------------


def encoded(value: Any, where: str) -> Any:
    """A value as standard JSON can hold it; objects of simtx by their class and fields.

    Raises:
        ScenarioError: It holds an object of another class.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else {"$": "float", "is": repr(value)}
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return encoded(value.tolist(), where)
    kind = type(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict") and kind.__module__.startswith("simtx."):
        return {"$": f"{kind.__module__}:{kind.__qualname__}", "is": encoded(value._asdict(), where)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and "$" not in value:
            return {key: encoded(one, where) for key, one in value.items()}
        return {"$": "dict", "is": [[encoded(key, where), encoded(one, where)] for key, one in value.items()]}
    if isinstance(value, list):
        return [encoded(one, where) for one in value]
    if isinstance(value, tuple):
        return {"$": "tuple", "is": [encoded(one, where) for one in value]}
    if hasattr(value, "isoformat"):  # date-times of TOML
        return value.isoformat(" ")
    if dataclasses.is_dataclass(value) and kind.__module__.startswith("simtx."):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
        return {"$": f"{kind.__module__}:{kind.__qualname__}", "is": encoded(fields, where)}
    raise ScenarioError(f"{where} holds an object of type {kind.__name__}, which no file can hold", "save")


def decoded(value: Any) -> Any:
    """Decode what `encoded` has written."""
    if isinstance(value, list):
        return [decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$")
    if kind is None:
        return {key: decoded(one) for key, one in value.items()}
    inside = value["is"]
    if kind == "float":
        return float(inside)
    if kind == "tuple":
        return tuple(decoded(one) for one in inside)
    if kind == "dict":
        return {decoded(key): decoded(one) for key, one in inside}
    module, _, name = kind.partition(":")
    if not module.startswith(_VALUES) or not name.isidentifier():
        raise ScenarioError(f"{kind!r:.80} is no class of simtx", "read")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise ScenarioError(f"there is no class {kind!r:.80}", "read") from None
    if not isinstance(found, type) or not (dataclasses.is_dataclass(found) or issubclass(found, tuple)):
        raise ScenarioError(f"{kind!r} is no class of values", "read")
    return found(**decoded(inside))
