"""`run.plot`, `comparison.plot` and their like: called they draw the usual picture, and completion lists the others.

Nothing here imports matplotlib: that happens when a picture is drawn.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from simtx.arguments import require, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simtx.experiments import Comparison
    from simtx.experiments.frontier import Frontier
    from simtx.experiments.sensitivity import Sensitivity
    from simtx.experiments.sweep import Sweep
    from simtx.metrics.run import Run
    from simtx.scenario import Scenario

Size = tuple[float, float]
C = TypeVar("C", bound="type[Pictures]")
_replayed: WeakKeyDictionary[Any, dict[int, list[Any]]] = WeakKeyDictionary()


def called(owner: str) -> Callable[[C], C]:
    """A class of pictures whose errors name what the user has called: ``run.plot.latency() got an unexpected keyword argument``.

    Args:
        owner: Where users find an object of the class: ``run.plot``.
    """

    def named(cls: C) -> C:
        for name, method in vars(cls).items():
            if inspect.isfunction(method) and (name == "__call__" or not name.startswith("_")):
                method.__qualname__ = owner if name == "__call__" else f"{owner}.{name}"
        cls._owner = owner
        return cls

    return named


class Pictures:
    """The pictures of one object."""

    _owner = "plot"
    __slots__ = ()

    def __dir__(self) -> list[str]:
        return [name for name in dir(type(self)) if not name.startswith("_")]

    def __getattr__(self, name: str) -> NoReturn:
        """Of what is not there: what there is."""
        raise AttributeError(f"{self._owner} has no picture '{name}'; there are {', '.join(dir(self))}")

    def __repr__(self) -> str:
        lines = [f"{self._owner}(): {_first_line(type(self).__call__)}"] if hasattr(type(self), "__call__") else []  # noqa: B004 - the text of the method
        return "\n".join(
            [*lines, *(f"{self._owner}.{name}(): {_first_line(getattr(type(self), name))}" for name in dir(self))]
        )


def _first_line(method: Any) -> str:
    return (inspect.getdoc(method) or "").partition("\n")[0]


def replayed(comparison: Comparison, replication: int = 0) -> list[Run]:
    """The runs of one replication of a comparison, played again: the same seed gives the same runs. They are kept as long as the comparison is.

    Args:
        comparison: With finished runs.
        replication: Which one.

    Returns:
        A run for each strategy, in the order of the comparison; those that failed are left out.

    Raises:
        ScenarioError: There was no such replication.
    """
    from simtx.errors import ScenarioError
    from simtx.simulator import simulate

    require(whole(0), replication, "replication")
    finished = [one for one in comparison.results if one.replication == replication and not one.error]
    if not finished:
        raise ScenarioError(
            f"no run of replication {replication} was finished; the first replication is 0", "replication"
        )
    kept = _replayed.setdefault(comparison, {})
    if replication not in kept:
        kept[replication] = [
            simulate(
                comparison.scenario, comparison.objects[one.strategy], seed=comparison.seed, replication=replication
            )
            for one in finished
        ]
    return kept[replication]


@called("run.plot")
class RunPlots(Pictures):
    """Pictures of one run."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, *, column: str = "drift_gross", ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """One column of the timeline, from the start until everything is drained, with faults shaded and named.

        Args:
            column: A column of `Run.timeline`, or ``backlog``: all that waits.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.runs import timeline

        return timeline(self._run, column=column, ax=ax, figsize=figsize)

    def timeline(self, *, column: str = "drift_gross", ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """The same as `run.plot()`: one column of the timeline, with faults shaded and named.

        Args:
            column: A column of `Run.timeline`, or ``backlog``: all that waits.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return self(column=column, ax=ax, figsize=figsize)

    def latency(self, *, column: str = "latency_ms", ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Distribution of the time until the client is answered, with the tail spread out: 90, 99, 99.9 %.

        Args:
            column: ``latency_ms``, or another duration: ``decision_ms``, ``settle_ms``, ``window_ms``, ``lock_wait_ms``.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.distribution import distribution

        return distribution(self._run, column=column, ax=ax, figsize=figsize)

    def windows(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Distribution of the inconsistency window: from the first effect of a transaction to its last.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.distribution import distribution

        return distribution(self._run, column="window_ms", ax=ax, figsize=figsize)

    def outcomes(self, *, ax: Axes | None = None, figsize: Size | None = None, confidence: float = 0.95) -> Axes:
        """Share of each outcome, and of those without an answer, with intervals.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.pictures.outcomes import outcomes

        return outcomes(self._run, ax=ax, figsize=figsize, confidence=confidence)

    def over_time(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Drift, transactions in flight and answers a second, with faults shaded and named, until all is drained.

        Args:
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.over_time import over_time

        return over_time(self._run, ax=ax, figsize=figsize)

    def failures(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Draws outages, branches in doubt and stuck transactions over time, and how long it took until all was as before.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.failures import failures

        return failures(self._run, ax=ax, figsize=figsize)

    def heat_map(self, *, column: str = "decision_ms", ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """How long every transaction took, over the time of its arrival; the colour says how many.

        Args:
            column: ``decision_ms``, ``latency_ms``, ``settle_ms``, ``window_ms`` or another duration of `Run.transactions`.
            ax: Where to draw, as a frame; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.heat import heat_map

        return heat_map(self._run, column=column, ax=ax, figsize=figsize)

    def queues(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Who waits for workers, for row locks, in outboxes and at the broker, and how busy workers are, over time.

        Args:
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.queues import queues

        return queues(self._run, ax=ax, figsize=figsize)

    def derived(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Stale reads of caches and search indexes, their age, and the copies that stay wrong.

        Args:
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.derived import derived

        return derived(self._run, ax=ax, figsize=figsize)

    def group(self, name: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Who owned which partition of a consumer group over time, who stood still, rebalances, and how many events waited.

        Args:
            name: Which group; None: the first one.
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.groups import group

        return group(self._run, name, ax=ax, figsize=figsize)

    def lag(self, service: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Events that wait for a consumer over time: a line a partition of the broker, or one for a queue.

        Args:
            service: The consumer; None: that for which most events waited at once.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.waiting import lag

        return lag(self._run, service, ax=ax, figsize=figsize)

    def machine(self, role: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """The state machine of a role with the transitions that this run took; the run is played again if its log is not full.

        Args:
            role: ``coordinator``, ``participant``, ``orchestrator``, ``service``, ``relay``; None: that of the node which clients turn to.
            ax: Where to draw, as a frame; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.machine import machine

        return machine(self._run.strategy, role, of=self._run, ax=ax, figsize=figsize)

    def start(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """The start of the run beside the warm-up and the cut of MSER-5.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.warmup import start

        return start(self._run, ax=ax, figsize=figsize)


@called("comparison.plot")
class ComparisonPlots(Pictures):
    """Pictures of a comparison."""

    __slots__ = ("_comparison",)

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def __call__(self, *, confidence: float = 0.95, figsize: Size | None = None) -> Figure:
        """The overview on one page: how long it takes, how much is done, how inconsistent it is, and what that leaves behind.

        Args:
            confidence: Coverage of the intervals, between 0 and 1.
            figsize: Inches of the figure.
        """
        from simtx.report.plots import overview

        return overview(self._comparison, confidence=confidence, figsize=figsize)

    def latency(self, *, ax: Axes | None = None, figsize: Size | None = None, confidence: float = 0.95) -> Axes:
        """Medians and 99 % quantiles until the answer, the final outcome and the last effect.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.plots import latency

        return latency(self._comparison, ax=ax, figsize=figsize, confidence=confidence)

    def throughput(self, *, ax: Axes | None = None, figsize: Size | None = None, confidence: float = 0.95) -> Axes:
        """Committed transactions a second beside those decided in any way, and what is offered.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.plots import throughput

        return throughput(self._comparison, ax=ax, figsize=figsize, confidence=confidence)

    def outcomes(self, *, ax: Axes | None = None, figsize: Size | None = None, confidence: float = 0.95) -> Axes:
        """Share of each outcome, and of those without an answer, with intervals.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.pictures.outcomes import outcomes

        return outcomes(self._comparison, ax=ax, figsize=figsize, confidence=confidence)

    def drift(self, *, ax: Axes | None = None, figsize: Size | None = None, confidence: float = 0.95) -> Axes:
        """Draws the drift of an average moment.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.plots import drift

        return drift(self._comparison, ax=ax, figsize=figsize, confidence=confidence)

    def damage(self, *, ax: Axes | None = None, figsize: Size | None = None, confidence: float = 0.95) -> Axes:
        """Draws effects missing and effects doubled at the end, per 1,000 transactions.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.plots import damage

        return damage(self._comparison, ax=ax, figsize=figsize, confidence=confidence)

    def trade_off(self, *, ax: Axes | None = None, figsize: Size | None = None, confidence: float = 0.95) -> Axes:
        """Time until the outcome is final against the inconsistency window; the lower left corner is the best.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.plots import trade_off

        return trade_off(self._comparison, ax=ax, figsize=figsize, confidence=confidence)

    def differences(
        self,
        baseline: str | None = None,
        *,
        metrics: Sequence[str] | None = None,
        ax: Axes | None = None,
        figsize: Size | None = None,
        confidence: float = 0.95,
    ) -> Axes:
        """Forest plot: strategy minus baseline, paired by replication, a panel for each metric.

        Args:
            baseline: What is subtracted; None: the first strategy.
            metrics: Names of metrics; None: time to the outcome, goodput and drift.
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of each interval, between 0 and 1.
        """
        from simtx.report.pictures.differences import differences

        return differences(self._comparison, baseline, metrics=metrics, ax=ax, figsize=figsize, confidence=confidence)

    def distribution(
        self, *, column: str = "decision_ms", replication: int = 0, ax: Axes | None = None, figsize: Size | None = None
    ) -> Axes:
        """Distributions of a duration with the tail spread out; one replication is played again for it.

        Args:
            column: ``decision_ms``, ``latency_ms``, ``settle_ms``, ``window_ms`` or another duration of `Run.transactions`.
            replication: Which one.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.distribution import distribution

        return distribution(replayed(self._comparison, replication), column=column, ax=ax, figsize=figsize)

    def windows(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Distributions of the inconsistency window; one replication is played again for it.

        Args:
            replication: Which one.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return self.distribution(column="window_ms", replication=replication, ax=ax, figsize=figsize)

    def over_time(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Drift, transactions in flight and answers a second under each strategy; one replication is played again for it.

        Args:
            replication: Which one.
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.over_time import over_time

        return over_time(replayed(self._comparison, replication), ax=ax, figsize=figsize)

    def failures(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Draws outages over time, and how each strategy came back; one replication is played again for it.

        Args:
            replication: Which one.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.failures import failures

        return failures(replayed(self._comparison, replication), ax=ax, figsize=figsize)

    def heat_map(
        self, *, column: str = "decision_ms", replication: int = 0, ax: Axes | None = None, figsize: Size | None = None
    ) -> Axes:
        """How long every transaction took, over the time of its arrival, a panel a strategy; one replication is played again for it.

        Args:
            column: ``decision_ms``, ``latency_ms``, ``settle_ms``, ``window_ms`` or another duration of `Run.transactions`.
            replication: Which one.
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.heat import heat_map

        return heat_map(replayed(self._comparison, replication), column=column, ax=ax, figsize=figsize)

    def queues(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Who waits for what and how busy workers are, over time, a column a strategy; one replication is played again for it.

        Args:
            replication: Which one.
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.queues import queues

        return queues(replayed(self._comparison, replication), ax=ax, figsize=figsize)

    def derived(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Stale reads of caches and search indexes, their age, and the copies that stay wrong; one replication is played again for it.

        Args:
            replication: Which one.
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.derived import derived

        return derived(replayed(self._comparison, replication), ax=ax, figsize=figsize)


@called("sweep.plot")
class SweepPlots(Pictures):
    """Pictures of a sweep."""

    __slots__ = ("_sweep",)

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def __call__(
        self,
        metric: str = "latency_p99_ms",
        x: str | None = None,
        *,
        y: str | None = None,
        panels: str | None = None,
        at: Mapping[str, Any] | None = None,
        strategies: Sequence[str] | None = None,
        confidence: float = 0.95,
        figsize: Size | None = None,
    ) -> Figure:
        """One metric over the parameters: lines with intervals over one, heat maps over two, small multiples over three.

        Args:
            metric: Name of the metric.
            x: Parameter of the horizontal axis; None: the first that varies.
            y: Parameter of the vertical axis of heat maps; None: the second, unless `x` is given.
            panels: Parameter of which each value has a row or panel of its own; None: the one that is left.
            at: Values of other parameters, which are held there.
            strategies: Labels; None: all.
            confidence: Coverage of the intervals, between 0 and 1.
            figsize: Inches of the figure.
        """
        from simtx.report.sweeps import plot

        held: dict[str, Any] = {"panels": panels, "at": at, "strategies": strategies}
        return plot(self._sweep, metric, x, y=y, **held, confidence=confidence, figsize=figsize)

    def lines(
        self,
        metric: str = "latency_p99_ms",
        x: str | None = None,
        *,
        at: Mapping[str, Any] | None = None,
        ax: Axes | None = None,
        figsize: Size | None = None,
        confidence: float = 0.95,
    ) -> Axes:
        """One metric over one parameter: a line with intervals for each strategy.

        Args:
            metric: Name of the metric.
            x: Parameter of the horizontal axis; None: the first that varies.
            at: Values of other parameters, which are held there.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.sweeps import lines

        return lines(self._sweep, metric, x, at=at, ax=ax, figsize=figsize, confidence=confidence)

    def load(
        self,
        metric: str = "decision_p99_ms",
        *,
        rate: str | None = None,
        at: Mapping[str, Any] | None = None,
        ax: Axes | None = None,
        figsize: Size | None = None,
        confidence: float = 0.95,
    ) -> Axes:
        """A latency and the goodput over the offered rate, with the knee of each strategy and the line of what is offered.

        Args:
            metric: A latency.
            rate: The parameter that is the offered rate; None: the one that is counted per second.
            at: Values of other parameters, which are held there.
            ax: Where to draw, as a frame of the panels; None: in a new figure.
            figsize: Inches of a new figure.
            confidence: Coverage of the intervals, between 0 and 1.
        """
        from simtx.report.pictures.load import load

        return load(self._sweep, metric, rate=rate, at=at, ax=ax, figsize=figsize, confidence=confidence)


@called("scenario.plot")
class ScenarioPlots(Pictures):
    """Pictures of a scenario."""

    __slots__ = ("_scenario",)

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def __call__(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Services, hub, broker and clients in their zones, and the links between these.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.pictures.topology import topology

        return topology(self._scenario, ax=ax, figsize=figsize)

    def topology(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """The same as `scenario.plot()`: services in their zones, and the links between these.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return self(ax=ax, figsize=figsize)


@called("frontier.plot")
class FrontierPlots(Pictures):
    """Pictures of a frontier."""

    __slots__ = ("_frontier",)

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier

    def __call__(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """The map over two parameters, or the curve over one.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        from simtx.report.frontier import plot

        return plot(self._frontier, ax=ax, figsize=figsize)

    def map(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Who wins where, over two parameters; stripes where the data does not say.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.

        Raises:
            ScenarioError: The frontier has one parameter.
        """
        from simtx.report.frontier import zones

        return zones(self._frontier, ax=ax, figsize=figsize)

    def curve(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """The paired ratio of two strategies over one parameter, with the interval of each crossing.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.

        Raises:
            ScenarioError: The frontier has two parameters.
        """
        from simtx.report.frontier import curve

        return curve(self._frontier, ax=ax, figsize=figsize)


@called("sensitivity.plot")
class SensitivityPlots(Pictures):
    """Pictures of a sensitivity study."""

    __slots__ = ("_found",)

    def __init__(self, found: Sensitivity) -> None:
        self._found = found

    def __call__(
        self,
        which: str | None = None,
        *,
        ax: Axes | None = None,
        figsize: Size | None = None,
    ) -> Axes:
        """One picture of the study.

        Args:
            which: ``tornado``, ``flips``, ``morris`` or ``sobol``; None: the method's own.
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.

        Raises:
            ScenarioError: The study has no such picture.
        """
        from simtx.report.sensitivity import plot

        return plot(self._found, which or self._found.method, ax=ax, figsize=figsize)

    def tornado(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Draws by how much the answer changes at the ends of each factor, with intervals and the noise.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return self("tornado", ax=ax, figsize=figsize)

    def flips(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """How far each factor is from flipping the answer, in units of its stated uncertainty.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return self("flips", ax=ax, figsize=figsize)

    def morris(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Mean size of the effect of each factor over its range, and how much it depends on the others.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return self("morris", ax=ax, figsize=figsize)

    def sobol(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Shares of the variance: alone, and with all interactions.

        Args:
            ax: Where to draw; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return self("sobol", ax=ax, figsize=figsize)
