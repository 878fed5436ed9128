"""`simtx.sweep`: strategies over the values of parameters, in a results folder that loses nothing."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack, overload

import pandas as pd

from simtx.arguments import (
    SEED,
    STRATEGIES,
    checked,
    choice,
    flag,
    function,
    instance,
    optional,
    path,
    shows,
    whole,
    with_fields,
)
from simtx.engine.choices import ENGINES, Engine
from simtx.errors import ScenarioError
from simtx.experiments.compare import DEFAULT, labelled
from simtx.experiments.executors import ExecutorLike, backend, processors
from simtx.experiments.executors import check as check_executor
from simtx.experiments.sweep import plan as plans
from simtx.experiments.sweep.axes import Named, parameters
from simtx.experiments.sweep.cells import Window
from simtx.experiments.sweep.design import Kind, Over, design
from simtx.experiments.sweep.kept import keep
from simtx.experiments.sweep.ledger import NAME as LEDGER
from simtx.experiments.sweep.plan import Plan
from simtx.experiments.sweep.result import Sweep
from simtx.experiments.sweep.runner import INTERRUPTED, Runner, Settings
from simtx.experiments.sweep.store import Store
from simtx.experiments.sweep.study import Row, Study
from simtx.experiments.work import Outcome, prepare, version
from simtx.scenario.canonical import canonical, digest
from simtx.scenario.units import shown
from simtx.temporary import folder as temporary_folder

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario


_RUNS: Final = 10_000_000  # of one sweep
_NAME: Final = 150  # signs of the name of a sweep


class Options(TypedDict, total=False):
    """Arguments of `sweep` that may be given by name, whatever it returns."""

    parameters: Named | None
    design: Kind
    points: int | None
    design_seed: int
    replications: int
    seed: int
    window: Window
    store: str | Path | None
    name: str
    executor: ExecutorLike
    workers: int | None
    progress: bool | None
    accept_stale: bool
    retry_failed: bool
    stop_after: int
    on_result: Callable[[Row, Outcome], None] | None
    on_plan: Callable[[Plan], None] | None
    engine: Engine | None


@overload
def sweep(
    scenario: Scenario | str,
    over: Over = None,
    strategies: Sequence[Strategy | str] = DEFAULT,
    *,
    dry_run: Literal[True],
    **options: Unpack[Options],
) -> Plan: ...


@overload
def sweep(
    scenario: Scenario | str,
    over: Over = None,
    strategies: Sequence[Strategy | str] = DEFAULT,
    *,
    dry_run: Literal[False] = False,
    **options: Unpack[Options],
) -> Sweep: ...


@checked(
    over=optional(
        instance((Mapping, list, tuple, pd.DataFrame, str, Path), "values by parameter, or a table of cells")
    ),
    strategies=STRATEGIES,
    parameters=optional(instance(Mapping, "fields by name")),
    design_seed=SEED,
    store=optional(path),
    name=instance(str, "a text"),
    workers=optional(whole(1), "None for one a processor"),
    progress=shows,
    accept_stale=flag,
    retry_failed=flag,
    stop_after=whole(1),
    on_result=optional(function),
    on_plan=optional(function),
    engine=choice(None, *ENGINES),
    dry_run=flag,
)
@with_fields(Settings, but="name", before="dry_run")
def sweep(
    scenario: Scenario | str,
    over: Over = None,
    strategies: Sequence[Strategy | str] = DEFAULT,
    *,
    parameters: Named | None = None,
    design: Kind = "grid",
    points: int | None = None,
    design_seed: int = 1,
    replications: int = 10,
    seed: int = 1,
    window: Window = "duration",
    store: str | Path | None = "results",
    name: str = "",
    dry_run: bool = False,
    **options: Any,
) -> Sweep | Plan:
    """Simulate strategies over the values of parameters, several times each.

    The unit is the run: one cell (a value for each parameter), one strategy, one replication. Whatever is finished is kept in a results folder; the same call
    plays only what is missing, more replications or values add to it, and nothing is played twice. In a replication all cells and
    strategies meet the same random numbers (common random numbers). Every cell is checked before the first run. Ctrl-C keeps what is finished.

    Args:
        scenario: A scenario, or the name or path of one.
        over: Values by parameter: the path of a field (``workload.rate``, ``network.links[2].latency``), an option of a strategy (``outbox:poll_interval``),
            or a name of your own (see `parameters`). Or a table of cells: a DataFrame, a list of mappings, the path of a CSV file.
        strategies: Names or objects.
        parameters: Names of your own, with the fields that each sets: ``{"rtt": ["network.latency"]}``, or with factors,
            ``{"rtt": {"network.latency": 0.5}}``.
        design: ``grid``: all combinations of lists; ``sobol`` or ``latin-hypercube``: `points` cells; their axes are lists or `Range`. A Sobol design can be
            extended by more points, a Latin hypercube cannot.
        points: Cells of a design that is no grid.
        design_seed: Of the random numbers of the design.
        replications: How often each strategy is run in each cell.
        seed: Seed of all random streams of the runs.
        window: If the load is varied and the scenario ends after a number of transactions: ``duration`` lets them arrive for equally
            long in every cell, ``transactions`` keeps their number, so that the measured time shrinks as the rate rises.
        store: The results folder. Several processes may use it at once, also on several machines. None: a temporary one.
        name: Of the table that is written to ``frames/`` in it; empty: made of the scenario and the design.
        options: See `Settings`.
        dry_run: Play nothing; say what there is to do.

    Returns:
        The sweep; with `dry_run`, a `Plan`.

    Raises:
        ScenarioError: An input is wrong, or the store cannot be used.
        RunFailed: The executor is broken for good.
    """
    settings = Settings(name=name, **options)
    check_executor(settings.executor, settings.workers)
    folder = Path(store) if store is not None else None
    if folder is not None:
        check_folder(folder)
    if name and (Path(name).name != name or "\\" in name or name in (".", "..") or "\0" in name or len(name) > _NAME):
        raise ScenarioError(f"{shown(name)} cannot be a part of names of files", "name")
    count = _count(replications, "replications")
    study, values = _study(scenario, over, strategies, parameters or {}, design, points, design_seed, seed, window)
    asked = len(values) * len(study.strategies) * count
    if asked > _RUNS:
        raise ScenarioError(f"{asked:,} runs are asked for; {_RUNS:,} is the most", "replications")
    numbers = study.add(values)
    rows = [Row(number, label, one) for number in numbers for label in study.strategies for one in range(count)]
    if folder is None or (dry_run and not (folder / LEDGER).is_file()):
        folder = _temporary()
    opened = Store(folder)
    if dry_run:
        try:
            plan = _sorted(study, opened, rows, settings)[0].plan
            if plan.to_play:
                study.check(numbers)
            return plan
        finally:
            opened.close()
    return _played(study, opened, rows, settings)


def _study(
    scenario: Scenario | str,
    over: Over,
    strategies: Sequence[Strategy | str],
    named: Named,
    kind: Kind,
    points: int | None,
    design_seed: int,
    seed: int,
    window: Window,
) -> tuple[Study, list[dict[str, Any]]]:
    from simtx.scenario import load
    from simtx.workload.streams import Streams

    Streams(seed)  # refuses what is no seed
    scenario = load(scenario)
    if isinstance(strategies, str) or not len(strategies):
        raise ScenarioError("give a list of at least one strategy", "strategies")
    given = labelled(strategies)
    names, values = design(over, kind, points, design_seed)
    found = parameters(
        names, named, list(dict.fromkeys(name for label, one in given.items() for name in (one.name, label)))
    )
    return Study(scenario, found, given, seed, window), values


def check_folder(folder: Path) -> None:
    """Refuse a results folder that cannot be one, before anything is played.

    Raises:
        ScenarioError: It, or what it would lie in, is a file.
    """
    there = next((one for one in (folder, *folder.parents) if one.exists()), None)
    if there is not None and not there.is_dir():
        raise ScenarioError(f"{shown(str(there))} is a file, and no folder", "store")


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ScenarioError(f"must be a whole number from 1, not {value!r}", what)
    return value


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _temporary() -> Path:
    """A folder that is there as long as this process."""
    _folders.append(temporary_folder("sweep"))
    return Path(_folders[-1].name)


def _sorted(
    study: Study, store: Store, rows: Sequence[Row], settings: Settings
) -> tuple[plans.Sorted, dict[str, Row], list[str]]:
    """Work that is to be done, the first row of each run, and the key of each row."""
    store.ledger.reclaim()
    wanted = study.wanted(rows, store.ledger)
    first: dict[str, Row] = {}
    for row, one in zip(rows, wanted, strict=True):
        first.setdefault(one.key, row)
    processes = settings.workers or processors()
    found = plans.sort(
        wanted,
        store.ledger,
        cells=len({row.cell for row in rows}),
        accept_stale=settings.accept_stale,
        retry_failed=settings.retry_failed,
        processes=processes,
    )
    return found, first, [found.keys[one.key] for one in wanted]


def _played(
    study: Study, store: Store, rows: Sequence[Row], settings: Settings, kept: Sequence[tuple[Row, str]] = ()
) -> Sweep:
    """Play what is missing of these rows; `kept` are rows of before, with their keys."""
    mended = store.mend()
    found, first, keys = _sorted(study, store, rows, settings)
    if found.play:
        study.check(row.cell for row in rows)
    ledger = store.ledger
    if settings.on_plan is not None:
        settings.on_plan(found.plan)
    store.tidy()
    if found.revived:
        ledger.revive(found.revived)
    runs = [(one, first[one.key]) for one in found.play]
    had = found.plan.cached + found.plan.accepted
    what = f"sweep ({had:,} found)" if had else "sweep"
    runner = Runner(study, store, runs, settings, what)
    notes = [f"{mended} runs are to be played again: their file of figures is gone"] if mended else []
    if found.play:
        ledger.add(found.play, found.replaced)
        if settings.retry_failed:
            ledger.again(one.key for one in found.play)
        if found.replaced:
            because = f" since {', '.join(found.plan.changed)} changed" if found.plan.changed else ""
            notes.append(f"{found.plan.stale} runs of other code are played again{because}")
        before = _failures(store, rows, keys)
        code = version(study.strategies.values())
        prepare()
        runner.run(backend(settings.executor, settings.workers, len(found.play), code), before)
    store.flush()
    order = [*kept, *((row, key) for row, key in zip(rows, keys, strict=True))]
    whole = sorted(dict(order).items(), key=lambda one: _place(study, one[0]))
    stopped = runner.stopped
    result = Sweep(
        study,
        store,
        [row for row, _ in whole],
        [key for _, key in whole],
        settings,
        found.plan,
        stopped=f"{stopped}; what is finished is kept in {store.folder}: do the same again to go on"
        if stopped == INTERRUPTED
        else stopped,
        skipped=runner.skipped,
        notes=notes,
    )
    store.keep(result.frame, settings.name or _name(study), lambda folder: keep(study, result, folder))
    return result


def found_again(study: Study, store: Store, rows: Sequence[Row], name: str) -> Sweep:
    """The sweep of these rows as its store has it: nothing is played, and figures of other code are taken as they are, and marked."""
    settings = Settings(accept_stale=True, name=name)
    found, _, keys = _sorted(study, store, rows, settings)
    why = "it is not in the results folder" if found.play else ""
    return Sweep(study, store, list(rows), keys, settings, found.plan, stopped=why)


def _place(study: Study, row: Row) -> tuple[int, int, int]:
    return row.cell, list(study.strategies).index(row.strategy), row.replication


def _failures(store: Store, rows: Sequence[Row], keys: Sequence[str]) -> Counter[tuple[int, str, str]]:
    """Number of times that each cell and strategy has failed before with the same error."""
    entries = store.entries(keys)
    return Counter(
        (row.cell, row.strategy, f"{entry.type}: {entry.message}")
        for row, key in zip(rows, keys, strict=True)
        if (entry := entries.get(key)) is not None and entry.state in ("failed", "quarantined")
    )


def _name(study: Study) -> str:
    """A name for the table of a sweep: the same for the same scenario, parameters, strategies and seed, however many cells and replications."""
    about = [study._base, [one.name for one in study.parameters], list(study.strategies), study.seed, study.window]  # noqa: SLF001
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", study.scenario.name) or "sweep"
    return f"{plain}-{digest(canonical(about))[:8]}"


def extended(
    before: Sweep, cells: pd.DataFrame | Sequence[Mapping[str, Any]], replications: int, settings: Settings
) -> Sweep:
    """A sweep with more runs; see `Sweep.extend`."""
    study = before.study
    count = _count(replications, "replications")
    table = cells if isinstance(cells, pd.DataFrame) else pd.DataFrame(list(cells))
    who = table["strategy"].tolist() if "strategy" in table else [None] * len(table)
    rest = table.drop(columns=["strategy"], errors="ignore")
    if set(rest.columns) != {one.name for one in study.parameters}:
        raise ScenarioError(
            f"must have the columns {', '.join(one.name for one in study.parameters)}, not {', '.join(map(str, rest.columns))}",
            "cells",
        )
    values = [
        {str(name): (one.item() if hasattr(one, "item") else one) for name, one in row.items()}
        for row in rest.to_dict("records")
    ]
    known = {label for label in who if label is not None} - set(study.strategies)
    if known:
        raise ScenarioError(
            f"'{min(known)}' is no strategy of this sweep; they are {', '.join(study.strategies)}",
            "cells: strategy",
        )
    numbers = study.add(values)
    rows = [
        Row(number, label, one)
        for number, chosen in zip(numbers, who, strict=True)
        for label in ([chosen] if chosen is not None else study.strategies)
        for one in range(count)
    ]
    kept = list(zip(before._rows, before._keys, strict=True))  # noqa: SLF001
    return _played(study, before.store, list(dict.fromkeys(rows)), settings, kept)
