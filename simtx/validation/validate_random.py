"""`simtx.validate_random`: predictions of scenarios that were drawn, beside real runs of them.

The building blocks are measured once, on a scenario of their own. Then each drawn scenario (`simtx.validation.drawn`) is predicted from them and executed, and
what comes out is the distribution of the errors of each figure, disturbed runs told apart. What was finished stays in the folder: called again, it goes on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from simtx.arguments import SEED, checked, number, optional, path, progress, text, whole
from simtx.errors import ScenarioError
from simtx.progress import Phases, phases
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.reference.addresses import without_password
from simtx.reference.processes.backends import check_broker, check_store
from simtx.scenario.calibration import Block, Calibration
from simtx.scenario.provenance import Provenance, provenance
from simtx.simulator import simulate
from simtx.validation.calibrate import Legs, at_rate, at_utilisation, calibrated, measured, processor_times
from simtx.validation.drawn import STRATEGIES, Drawn, drawn, fault
from simtx.validation.validate import (
    PATIENCE,
    Pace,
    Work,
    figures,
    restarts,
    rows_of,
    saturated,
    slow,
    to_kill,
    with_kills,
)
from simtx.views import view

if TYPE_CHECKING:
    from simtx.metrics.run import Run
    from simtx.scenario import Scenario

CALIBRATED_ON: Final = "transfer-lab"
"""The scenario on which the building blocks are measured."""
_UTILISATION: Final = 0.2
_IDLE: Final = "seconds of a forced write while the machine is idle"
_FAILS_AFTER: Final = 2.0 + 2.0  # seconds: the warm-up, and some time behind it


@dataclass(frozen=True, slots=True)
class Target:
    """Targets for the errors of a figure.

    Attributes:
        metric: Of which.
        where: ``load`` (at a share of saturation) or ``saturation``.
        within: Relative error; None: the prediction should be inside the measured interval.
        share: Share of the scenarios in which it should be so.
        never: Relative error that no scenario should exceed.
    """

    metric: str
    where: str
    within: float | None
    share: float
    never: float = math.inf


TARGETS: Final = (
    Target("latency_mean_ms", "load", 0.05, 0.9, 0.15),
    Target("latency_p95_ms", "load", 0.10, 0.9),
    Target("latency_p99_ms", "load", 0.10, 0.9),
    Target("throughput_per_s", "saturation", 0.10, 1.0),
    Target("window_mean_ms", "load", None, 0.9),
    Target("drift_gross_mean", "load", None, 0.9),
)


@dataclass(slots=True)
class RandomValidation:
    """Predicted beside measured, over scenarios that were drawn.

    Attributes:
        frame: One row a scenario, point and metric: ``number``, ``strategy``, ``shape``, ``load``, ``failure``, ``runs`` (real ones), ``disturbed``
            (the machine stood still or its disk was slow again and again, so that fewer than two undisturbed runs are left), and the columns of
            `simtx.Validation.frame`; ``point`` is ``load`` or ``saturation``.
        calibration: The building blocks, measured once.
        seed: Seed of the draws.
        store: The database of the real runs.
        broker: The broker of the real runs.
        folder: Where results and raw runs are kept, or None.
        provenance: Where it comes from.
    """

    frame: pd.DataFrame
    calibration: Calibration
    seed: int
    store: str
    broker: str
    folder: Path | None = None
    provenance: Provenance | None = None

    @property
    def targets(self) -> pd.DataFrame:
        """One row a target; disturbed scenarios do not count.

        Its columns: in how many scenarios it was ``met`` of how many (``of``), the ``share``, for how many it is ``undecided`` (the interval of the error
        reaches across the target, so that luck may have decided), the ``median`` and the 90 % quantile (``p90``) of the size of the error, the ``worst``
        error and its scenario's number, and whether that is ``ok``. Undecided ones count by what was seen.
        """
        return pd.DataFrame([self._judged(target) for target in TARGETS])

    @property
    def ok(self) -> bool:
        """Return whether every target is met."""
        return bool(self.targets["ok"].all())

    def _judged(self, target: Target) -> dict[str, Any]:
        frame = self.frame
        rows = frame[(frame["metric"] == target.metric) & (frame["point"] == target.where) & ~frame["disturbed"]]
        sizes = rows["error"].abs()
        inside = (rows["measured_low"] - 1e-9 <= rows["predicted"]) & (
            rows["predicted"] <= rows["measured_high"] + 1e-9
        )
        met = inside if target.within is None else sizes <= target.within
        undecided = 0
        if target.within is not None:
            least = np.maximum(
                np.maximum(rows["error_low"], -rows["error_high"]), 0.0
            )  # of the size, within the interval
            most = np.maximum(rows["error_high"], -rows["error_low"])
            undecided = int((~((most <= target.within) | (least > target.within))).sum())
        worst = rows.iloc[int(sizes.to_numpy().argmax())] if len(rows) else None
        share = float(met.mean()) if len(rows) else math.nan
        return {
            "metric": target.metric,
            "point": target.where,
            "within": "the measured interval" if target.within is None else f"{target.within:.0%}",
            "wanted": target.share,
            "met": int(met.sum()),
            "of": len(rows),
            "share": share,
            "undecided": undecided,
            "median": float(sizes.median()) if len(rows) else math.nan,
            "p90": float(np.quantile(sizes, 0.9)) if len(rows) else math.nan,
            "worst": float(worst["error"]) if worst is not None else math.nan,
            "worst_number": int(worst["number"]) if worst is not None else -1,
            "ok": bool(len(rows)) and share >= target.share and bool((sizes <= target.never).all()),
        }

    def table(self) -> str:
        """The errors of each figure in plain text, then every scenario, the worst first."""
        return str(view("random-validation-text")(self))

    def plot(self, **options: Any) -> Any:
        """Draw the errors of each figure; returns the Axes. Options are those of `simtx.report.random_validation.plot`."""
        return view("random-validation")(self, **options)

    def __repr__(self) -> str:
        judged = self.targets
        return f"<RandomValidation of {self.frame['number'].nunique()} scenarios, {self.store}: {int((~judged['ok']).sum())} of {len(judged)} targets missed>"


@dataclass(slots=True)
class _Study:
    """Settings of one call, the same for all scenarios."""

    seed: int
    store: str
    broker: str
    transactions: int
    replications: int
    patience: float
    folder: Path | None
    show: Phases
    total: int
    done: int = 0
    calibration: Calibration | None = field(default=None)
    pace: Pace = field(default_factory=Pace)

    def work(self, strategy: Strategy, name: str) -> Work:
        """Runs of one scenario, kept in a folder of its own."""
        folder = self.folder / name if self.folder is not None else None

        def show(what: str, _share: float) -> None:
            self.show(f"{name}: {what}", self.done / self.total)

        return Work(strategy, self.store, self.broker, folder, show, self.pace)


@checked(
    scenarios=whole(1),
    store=text,
    broker=text,
    transactions=whole(1),
    replications=whole(2),
    patience=number(above=0, zero=True),
    seed=SEED,
    folder=optional(path),
    progress=progress,
)
def validate_random(
    scenarios: int = 24,
    *,
    store: str = "sqlite",
    broker: str = "embedded",
    transactions: int = 300,
    replications: int = 3,
    patience: float = PATIENCE,
    seed: int = 1,
    folder: str | Path | None = None,
    progress: bool | Phases | None = None,
) -> RandomValidation:
    """Draw scenarios, calibrate once, predict all, execute all, and compare.

    Args:
        scenarios: How many; scenario k of a seed is the same whatever this is.
        store: As in `simtx.execute`.
        broker: As in `simtx.execute`.
        transactions: Of each run, after the warm-up.
        replications: Real runs of each point at least, and as many simulated ones.
        patience: Seconds for which more of them are made for a point, as long as the intervals of the errors are wider than the targets.
        seed: Of the draws, and of the runs.
        folder: Where the calibration, the rows of each scenario and the raw runs are kept. Called again with the same settings, it goes on where it was
            interrupted. None: nowhere.
        progress: As in `simtx.validate`.

    Returns:
        Predicted and measured figures of all drawn scenarios (``frame``).

    Raises:
        ScenarioError: The input is wrong, or the folder holds a validation with other settings.
        RunFailed: A run could not be completed.
    """
    check_store(store)
    check_broker(broker)
    kept = Path(folder) if folder is not None else None
    settings = {
        "store": without_password(store),
        "broker": without_password(broker),
        "transactions": transactions,
        "replications": replications,
        "patience": patience,
        "seed": seed,
    }
    _same_settings(kept, settings)
    with phases(progress) as show:
        study = _Study(seed, store, broker, transactions, replications, patience, kept, show, scenarios + 1)
        calibration = study.calibration = _calibration(study)
        study.done = 1
        rows: list[dict[str, Any]] = []
        for position in range(scenarios):
            rows += _scenario(study, calibration, drawn(position, seed, study.store))
            study.done += 1
        found = RandomValidation(
            pd.DataFrame(rows), calibration, seed, without_password(store), without_password(broker), kept
        )
        first = drawn(0, seed)
        origin = provenance(
            "validate_random",
            first.scenario,
            {first.strategy.name: first.strategy},
            seed=seed,
            replications=replications,
            settings={**settings, "scenarios": scenarios},
        )
        # The scenario of the first draw stands for all; the command is one of its own.
        options = f"--random {scenarios} --seed {seed} --transactions {transactions} --replications {replications}"
        command = f"simtx validate {options} --patience {patience:g} --store {settings['store']} --broker {settings['broker']}"
        found.provenance = dataclasses.replace(origin, command=command)
        if kept is not None:
            _write(kept / "random.csv", found.frame.to_csv(index=False))
            _write(kept / "random.txt", found.table() + "\n")
        return found


def _same_settings(folder: Path | None, settings: dict[str, Any]) -> None:
    """Make the folder, or see that what it holds was made with these settings."""
    if folder is None:
        return
    file = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    except (OSError, ValueError) as error:
        raise ScenarioError(f"cannot use '{folder}': {getattr(error, 'strerror', None) or error}", "folder") from None
    if held is None:
        if any(folder.iterdir()):
            raise ScenarioError(f"'{folder}' holds something else; choose a new or empty folder", "folder")
        _write(file, json.dumps(settings, indent=1) + "\n")
    elif held != settings:
        other = ", ".join(
            f"{key} = {held.get(key)}"
            for key in settings
            if not isinstance(held, dict) or held.get(key) != settings[key]
        )
        raise ScenarioError(
            f"'{folder}' holds a validation with other settings ({other}); choose another folder", "folder"
        )


def _write(file: Path, written: str) -> None:
    """Write a whole file, or none of it."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(written, encoding="utf-8")
    beside.replace(file)


# --- calibration --------------------------------------------------------------------------------------------------------------


def _calibration(study: _Study) -> Calibration:
    """The building blocks, measured at low load under each strategy, or those that were measured before."""
    from simtx.scenario import load

    file = study.folder / "calibration.toml" if study.folder is not None else None
    if file is not None and file.exists():
        before = Calibration.parse(file.read_text(encoding="utf-8"), str(file))
        study.pace.best = float(before.subject.get(_IDLE, math.inf))
        return before
    scenario = load(CALIBRATED_ON)
    low = at_utilisation(scenario, _UTILISATION, max(study.transactions // 2, 100))
    taken: list[Legs] = []
    quiet: list[Run] = []
    killed: list[str] = []  # under one strategy is enough
    again: dict[str, Block] = {}
    for position, name in enumerate(STRATEGIES):
        strategy = resolve(name, scenario.policies)
        work = study.work(strategy, "calibration")
        # Twice each, so that one can be slower than the other; all of them count that are not.
        both = {key: (low, f"{name}-{key}", study.seed + 1000 + 10 * position + key) for key in range(2)}
        runs = work.quietest(both)
        left_out = slow(runs)
        for key, one in runs.items():
            if key not in left_out:
                quiet.append(one.run)
                taken.append(measured(one.run, one.stalls))
        nodes = [one for one in to_kill(low, strategy, study.broker) if one not in killed]
        killed += nodes
        if nodes:
            run = work.execute(with_kills(low, nodes), f"{name}-restart", study.seed + 1000)
            again |= restarts(run, strategy)
    subject = {
        "store": study.store,
        "broker": study.broker,
        "scenario": scenario.name,
        "strategies": ", ".join(STRATEGIES),
    }
    subject |= {"utilisation": f"{_UTILISATION:g}", _IDLE: f"{study.pace.best:.6g}"}
    made = calibrated(
        taken, "drawn", {key: without_password(one) for key, one in subject.items()}, processor_times(quiet)
    )
    made = dataclasses.replace(made, blocks={**made.blocks, **again})
    if file is not None:
        _write(file, made.toml())
    return made


# --- one scenario -------------------------------------------------------------------------------------------------------------


def _scenario(study: _Study, calibration: Calibration, one: Drawn) -> list[dict[str, Any]]:
    """The rows of one scenario: those of before, if there are any."""
    file = study.folder / f"{one.number:03d}.json" if study.folder is not None else None
    if file is not None and file.exists():
        before: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return [row | {end: row.get(end, math.nan) for end in ("error_low", "error_high")} for row in before]
    work = study.work(one.strategy, f"{one.number:03d}")
    full = saturated(one.scenario)
    highest = simulate(calibration.apply(full), one.strategy, seed=study.seed)
    rate = one.load * float(highest.summary["throughput_per_s"])
    calm = at_rate(one.scenario, rate, study.transactions)
    played = calm
    if one.failure is not None:
        played = calm.replace(faults=[fault(one.failure, calm, _FAILS_AFTER, study.seed + one.number)])
    rows: list[dict[str, Any]] = []
    for point, scenario, patience in (("load", played, study.patience), ("saturation", full, 0.0)):
        expected = calibration.apply(scenario)

        def predict(seed: int, expected: Scenario = expected) -> dict[str, float]:
            return figures(simulate(expected, one.strategy, seed=seed))

        replications = study.replications if point == "load" else 2
        real = work.measure(scenario, point, study.seed, replications, patience, predict)
        rows += [
            {
                "number": one.number,
                "strategy": one.strategy.name,
                "shape": one.shape,
                "load": one.load,
                "failure": one.failure or "",
                "runs": len(real.seeds),
                "disturbed": real.disturbed,
                **row,
            }
            for row in rows_of(point, scenario, real.predicted, real.figures, judged=False)
        ]
    if file is not None:
        _write(file, json.dumps(rows, indent=1) + "\n")
    return rows


def worst_first(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row a scenario, by the size of its largest error of these metrics at its load, the largest first."""
    rows = frame[frame["point"] == "load"]
    errors = rows.pivot(index="number", columns="metric", values="error")
    ends = [
        rows.pivot(index="number", columns="metric", values=f"error_{end}").add_suffix(f"_{end}")
        for end in ("low", "high")
    ]
    saturation = frame[(frame["point"] == "saturation") & (frame["metric"] == "throughput_per_s")].set_index("number")
    table = frame.drop_duplicates("number").set_index("number")[["strategy", "shape", "load", "failure", "disturbed"]]
    table = table.join([errors, *ends]).join(saturation["error"].rename("saturation"))
    size = errors[[metric for metric in metrics if metric in errors]].abs().max(axis=1)
    return table.loc[size.sort_values(ascending=False).index].reset_index()
