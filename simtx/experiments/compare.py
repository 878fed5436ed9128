"""The same scenario under several strategies: replications in parallel processes, on common random numbers, with intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from simtx.errors import RunFailed, ScenarioError, SimtxError
from simtx.experiments.intervals import Interval, check_confidence, interval, paired
from simtx.metrics import views
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve

if TYPE_CHECKING:
    from simtx.protocols import Promise
    from simtx.scenario import Scenario

_STOP_AFTER = 3  # equal failures of one strategy: more of them would say nothing new
DEFAULT = ("2pc", "saga", "outbox", "dual-write")


class Result(NamedTuple):
    """What came of one run.

    Attributes:
        strategy: Label of the strategy in this comparison.
        replication: Number of the replication.
        summary: The run's summary; empty if it failed.
        digest: The run's digest; empty if it failed.
        error: One line; empty if it did not fail.
    """

    strategy: str
    replication: int
    summary: dict[str, float]
    digest: str
    error: str


class Comparison:
    """Replications of several strategies on one scenario.

    Attributes:
        scenario: The scenario.
        strategies: Labels of the strategies, in the order in which they were given.
        promises: What the first answer to the client says, by strategy: ``decided`` or ``accepted``.
        seed: Seed of all streams.
        replications: Number of replications that were asked for.
        interrupted: Whether it was stopped before all of them were finished.
    """

    def __init__(
        self,
        scenario: Scenario,
        strategies: Mapping[str, Strategy],
        results: Sequence[Result],
        *,
        seed: int,
        replications: int,
        interrupted: bool,
    ) -> None:
        self.scenario = scenario
        self.strategies = list(strategies)
        self.objects = dict(strategies)
        self.promises: dict[str, Promise] = {name: one.promise for name, one in strategies.items()}
        self.seed = seed
        self.replications = replications
        self.interrupted = interrupted
        order = {name: position for position, name in enumerate(self.strategies)}
        self._results = sorted(results, key=lambda one: (order[one.strategy], one.replication))

    @property
    def frame(self) -> pd.DataFrame:
        """Tidy: one row for each finished run, with `strategy`, `replication`, all metrics and the `digest`."""
        rows = [
            {"strategy": one.strategy, "replication": one.replication, **one.summary, "digest": one.digest}
            for one in self._results
            if not one.error
        ]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["strategy", "replication", "digest"])

    @property
    def failures(self) -> pd.DataFrame:
        """One row for each failed run: what went wrong, and the command that repeats it."""
        rows = [(one.strategy, one.replication, one.error, self._command(one)) for one in self._results if one.error]
        return pd.DataFrame(rows, columns=["strategy", "replication", "error", "repeat_with"])

    def _command(self, one: Result) -> str:
        where = self.scenario.path or self.scenario.name
        changes = "".join(f" --set {key}={value}" for key, value in self.scenario.overrides.items())
        return f"simtx simulate {where} {one.strategy} --seed {self.seed} --replication {one.replication}{changes}"

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting the numbers."""
        notes = list(self.scenario.warnings())
        if self.interrupted:
            done = len(self._results)
            notes.append(f"interrupted: {done} of {self.replications * len(self.strategies)} runs are finished")
        notes += [
            f"{one.strategy}, replication {one.replication} failed: {one.error}" for one in self._results if one.error
        ]
        return notes

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics."""
        return [name for name in self.frame.columns if name not in ("strategy", "replication", "digest")]

    def interval(self, strategy: str, metric: str, confidence: float = 0.95) -> Interval:
        """Mean over the replications with its Student-t interval.

        Raises:
            ScenarioError: No such strategy or metric in this comparison.
        """
        return interval(self._column(strategy, metric), confidence)

    def _column(self, strategy: str, metric: str) -> list[float]:
        if strategy not in self.strategies:
            raise ScenarioError(f"'{strategy}' was not compared; there are {', '.join(self.strategies)}", "strategy")
        frame = self.frame
        if len(frame) and metric not in frame:
            raise ScenarioError(f"'{metric}' is no metric; there are {', '.join(self.metrics)}", "metric")
        rows = frame[frame["strategy"] == strategy]
        return [float(value) for value in rows[metric]] if len(rows) else []

    def table(self, metrics: Sequence[str] | None = None, confidence: float = 0.95) -> pd.DataFrame:
        """One row a strategy; for each metric the mean, the half-width of its interval, and the number of replications behind it."""
        check_confidence(confidence)
        columns: dict[tuple[str, str], list[float]] = {}
        for metric in self.metrics if metrics is None else metrics:
            estimates = [self.interval(name, metric, confidence) for name in self.strategies]
            columns[metric, "mean"] = [one.mean for one in estimates]
            columns[metric, "half_width"] = [one.half_width for one in estimates]
            columns[metric, "n"] = [one.n for one in estimates]
        frame = pd.DataFrame(columns, index=pd.Index(self.strategies, name="strategy"))
        frame.insert(0, ("promise", ""), [self.promises[name] for name in self.strategies])
        return frame

    def differences(
        self, baseline: str, metrics: Sequence[str] | None = None, confidence: float = 0.95
    ) -> pd.DataFrame:
        """Strategy minus baseline, paired by replication: both met the same transactions, demands and faults.

        Raises:
            ScenarioError: The baseline was not compared.
        """
        frame = self.frame
        if baseline not in self.strategies:
            raise ScenarioError(f"'{baseline}' was not compared; there are {', '.join(self.strategies)}", "baseline")
        columns: dict[tuple[str, str], list[float]] = {}
        others = [name for name in self.strategies if name != baseline]
        base = frame[frame["strategy"] == baseline].set_index("replication")
        for metric in self.metrics if metrics is None else metrics:
            estimates = []
            for name in others:
                rows = frame[frame["strategy"] == name].set_index("replication")
                common = rows.index.intersection(base.index)
                estimates.append(paired(rows.loc[common, metric], base.loc[common, metric], confidence))
            columns[metric, "mean"] = [one.mean for one in estimates]
            columns[metric, "half_width"] = [one.half_width for one in estimates]
            columns[metric, "n"] = [one.n for one in estimates]
        return pd.DataFrame(columns, index=pd.Index([f"{name} - {baseline}" for name in others], name="difference"))

    def plot(self, **options: Any) -> Any:
        """Draw the overview: latency, throughput, drift, and the trade-off between them. Returns a matplotlib Figure."""
        return views.view("comparison")(self, **options)

    def __repr__(self) -> str:
        done = len(self._results)
        return f"<Comparison of {', '.join(self.strategies)} on {self.scenario.name}: {done} runs, seed {self.seed}>"

    def __str__(self) -> str:
        return str(views.view("comparison-text")(self))

    def _repr_html_(self) -> str:
        return str(views.view("comparison-html")(self))


def compare(
    scenario: Scenario | str,
    strategies: Sequence[Strategy | str] = DEFAULT,
    *,
    replications: int = 20,
    seed: int = 1,
    workers: int | None = None,
    progress: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> Comparison:
    """Simulate a scenario under several strategies, several times each.

    Every replication of every strategy is one independent run. Within a replication all strategies meet the same transactions, service
    demands and faults (common random numbers), so that differences between them can be paired. The result does not depend on the
    number of workers. Ctrl-C keeps what is finished.

    Args:
        scenario: A scenario, or the name or path of one.
        strategies: Names or objects.
        replications: How often each strategy is run; intervals need at least two.
        seed: Seed of all random streams.
        workers: Processes; None: one a processor. With 1, everything runs in this process.
        progress: Show a bar on a terminal.
        on_result: Called in this process with each `Result` as it is finished, in no particular order.

    Raises:
        ScenarioError: An input is wrong.
        RunFailed: Not a single run could be finished.
    """
    if isinstance(scenario, str):
        from simtx.scenario import load

        scenario = load(scenario)
    if isinstance(replications, bool) or replications != int(replications) or replications < 1:
        raise ScenarioError(f"must be a whole number from 1, not {replications!r}", "replications")
    if workers is not None and (isinstance(workers, bool) or workers != int(workers) or workers < 1):
        raise ScenarioError(f"must be a whole number from 1, or None for one a processor, not {workers!r}", "workers")
    if isinstance(strategies, str) or not len(strategies):
        raise ScenarioError("give a list of at least one strategy", "strategies")
    chosen = _labelled([resolve(one, scenario.policies) for one in strategies])
    _check_plans(scenario, chosen)
    jobs = [(label, replication) for replication in range(replications) for label in chosen]
    results: list[Result] = []
    interrupted = False
    stop: dict[tuple[str, str], int] = {}
    processes = min(workers or os.cpu_count() or 1, len(jobs))
    try:
        with _bar(len(jobs), progress) as advance:
            for result in _run_all(scenario, chosen, jobs, seed, processes):
                results.append(result)
                advance()
                if on_result is not None:
                    on_result(result)
                if result.error:
                    key = (result.strategy, result.error)
                    stop[key] = stop.get(key, 0) + 1
                    if stop[key] >= _STOP_AFTER:
                        interrupted = len(results) < len(jobs)
                        break
    except KeyboardInterrupt:
        interrupted = True
    if results and all(one.error for one in results):
        raise RunFailed(
            f"no run could be finished; {results[0].strategy}, replication {results[0].replication}: {results[0].error}"
        )
    return Comparison(scenario, chosen, results, seed=seed, replications=replications, interrupted=interrupted)


def _labelled(strategies: Sequence[Strategy]) -> dict[str, Strategy]:
    """A label for each strategy: its name, or its options too where two of the same name are compared."""
    names = [one.name for one in strategies]
    labelled: dict[str, Strategy] = {}
    for one in strategies:
        label = one.name if names.count(one.name) == 1 else repr(one)
        if label in labelled:
            raise ScenarioError(f"{label} is there twice", "strategies")
        labelled[label] = one
    return labelled


def _check_plans(scenario: Scenario, strategies: Mapping[str, Strategy]) -> None:
    from simtx.simulator.workload import template

    plan = template(scenario)
    for label, one in strategies.items():
        problem = one.check(plan)
        if problem:
            raise ScenarioError(problem, f"{scenario.name}, strategy {label}")


def _one(scenario: Scenario, label: str, strategy: Strategy, seed: int, replication: int) -> Result:
    """One run, in whatever process; a failure is a result, too."""
    from simtx.simulator import simulate

    try:
        run = simulate(scenario, strategy, seed=seed, replication=replication)
        summary = {str(name): float(value) for name, value in run.summary.items()}
    except SimtxError as error:
        return Result(label, replication, {}, "", f"{type(error).__name__}: {error}".splitlines()[0])
    except Exception as error:  # noqa: BLE001 - a failing run must not take the finished ones with it
        return Result(label, replication, {}, "", f"{type(error).__name__}: {error}".splitlines()[0])
    return Result(label, replication, summary, run.digest, "")


def _run_all(
    scenario: Scenario, strategies: Mapping[str, Strategy], jobs: Sequence[tuple[str, int]], seed: int, processes: int
) -> Iterator[Result]:
    if processes == 1:
        for label, replication in jobs:
            yield _one(scenario, label, strategies[label], seed, replication)
        return
    from concurrent.futures import CancelledError, as_completed
    from concurrent.futures.process import BrokenProcessPool

    from loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(max_workers=processes)
    finished = False
    try:
        futures = {executor.submit(_one, scenario, label, strategies[label], seed, n): (label, n) for label, n in jobs}
        for future in as_completed(futures):
            label, replication = futures[future]
            try:
                yield future.result()
            except (BrokenProcessPool, CancelledError) as error:
                yield Result(label, replication, {}, "", f"the worker process died ({type(error).__name__})")
        finished = True
    finally:
        executor.shutdown(wait=True, kill_workers=not finished)


@contextmanager
def _bar(total: int, wanted: bool) -> Iterator[Callable[[], object]]:
    if not wanted:
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="run", disable=None, leave=False) as bar:
        yield lambda: bar.update(1)
