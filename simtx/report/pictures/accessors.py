"""`run.plot`, `comparison.plot` and their like: called they draw the usual picture, and completion lists the others.

Pictures are functions of `simtx.report` whose first parameter is what they draw. `picture` makes a method of such a function.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from simtx.arguments import require, whole
from simtx.report import frontier, plots, runs, sensitivity, sweeps, warmup
from simtx.report.given import told
from simtx.report.pictures.derived import derived as draw_derived
from simtx.report.pictures.differences import differences as draw_differences
from simtx.report.pictures.distribution import distribution as draw_distribution
from simtx.report.pictures.failures import failures as draw_failures
from simtx.report.pictures.groups import group as draw_group
from simtx.report.pictures.heat import heat_map as draw_heat_map
from simtx.report.pictures.load import load as draw_load
from simtx.report.pictures.machine import machine as draw_machine
from simtx.report.pictures.outcomes import outcomes as draw_outcomes
from simtx.report.pictures.over_time import over_time as draw_over_time
from simtx.report.pictures.queues import queues as draw_queues
from simtx.report.pictures.topology import topology as draw_topology
from simtx.report.pictures.waiting import lag as draw_lag

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.experiments import Comparison
    from simtx.metrics.run import Run

Size = tuple[float, float]
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_replayed: WeakKeyDictionary[Any, dict[int, list[Any]]] = WeakKeyDictionary()


def picture(function: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Pictures[Any], P], R]:
    """A method that draws its object by a function, whose signature and documentation it has, but for the first parameter: that is the object.

    Args:
        function: What draws.
    """
    signature = inspect.signature(function)
    what, *others = signature.parameters.values()
    shown = signature.replace(parameters=[what.replace(name="self", annotation=what.empty), *others])

    @functools.wraps(function)
    def drawn(self: Pictures[Any], /, *args: P.args, **options: P.kwargs) -> R:
        try:
            shown.bind(self, *args, **options)
        except TypeError as error:  # whose text does not say what was called
            raise TypeError(f"{drawn.__qualname__}() got {str(error).removeprefix('got ')}") from None
        return function(self._of, *args, **options)

    vars(drawn)["__signature__"] = shown
    drawn.__doc__ = re.sub(rf"\n    {what.name}: .*(\n {{8}}.*)*", "", told(function))
    return drawn


class Pictures(Generic[T]):
    """The pictures of one object; errors name what the user has called: ``run.plot.latency() got an unexpected keyword argument``.

    Args:
        of: The object.
    """

    _called = "plot"
    __slots__ = ("_of",)

    def __init__(self, of: T) -> None:
        self._of = of

    def __init_subclass__(cls, *, called: str) -> None:
        """Name the pictures of a class as users call them, and complete what is said of their parameters.

        Args:
            called: Where users find an object of the class: ``run.plot``.
        """
        super().__init_subclass__()
        cls._called = called
        for name, method in vars(cls).items():
            if inspect.isfunction(method) and (name == "__call__" or not name.startswith("_")):
                method.__qualname__ = called if name == "__call__" else f"{called}.{name}"
                method.__doc__ = told(method)

    def __dir__(self) -> list[str]:
        return [name for name in dir(type(self)) if not name.startswith("_")]

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is not there, and say what there is."""
        raise AttributeError(f"{self._called} has no picture '{name}'; there are {', '.join(dir(self))}")

    def __repr__(self) -> str:
        methods = [getattr(type(self), name) for name in ("__call__", *dir(self))]
        firsts = [(inspect.getdoc(one) or "").partition("\n")[0] for one in methods]
        return "\n".join(f"{one.__qualname__}(): {first}" for one, first in zip(methods, firsts, strict=True))


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


class RunPlots(Pictures["Run"], called="run.plot"):
    """Pictures of one run."""

    __slots__ = ()

    __call__ = picture(runs.timeline)
    timeline = picture(runs.timeline)
    outcomes = picture(draw_outcomes)
    over_time = picture(draw_over_time)
    failures = picture(draw_failures)
    heat_map = picture(draw_heat_map)
    queues = picture(draw_queues)
    derived = picture(draw_derived)
    group = picture(draw_group)
    lag = picture(draw_lag)
    start = picture(warmup.start)

    def latency(self, *, column: str = "latency_ms", ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Distribution of the time until the client is answered, with the tail spread out: 90, 99, 99.9 %."""
        return draw_distribution(self._of, column=column, ax=ax, figsize=figsize)

    def windows(self, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Distribution of the inconsistency window: from the first effect of a transaction to its last."""
        return self.latency(column="window_ms", ax=ax, figsize=figsize)

    def machine(self, role: str | None = None, *, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """The state machine of a role with the transitions that this run took; the run is played again if its log is not full.

        Args:
            role: ``coordinator``, ``participant``, ``orchestrator``, ``service``, ``relay``; None: that of the node which clients turn to.
            ax: Where to draw, as a frame; None: in a new figure.
            figsize: Inches of a new figure.
        """
        return draw_machine(self._of.strategy, role, of=self._of, ax=ax, figsize=figsize)


class ComparisonPlots(Pictures["Comparison"], called="comparison.plot"):
    """Pictures of a comparison. Those of single transactions and of the course of runs are of one replication, which is played again for them."""

    __slots__ = ()

    __call__ = picture(plots.overview)
    latency = picture(plots.latency)
    throughput = picture(plots.throughput)
    outcomes = picture(draw_outcomes)
    drift = picture(plots.drift)
    damage = picture(plots.damage)
    trade_off = picture(plots.trade_off)
    differences = picture(draw_differences)

    def distribution(
        self, *, column: str = "decision_ms", replication: int = 0, ax: Axes | None = None, figsize: Size | None = None
    ) -> Axes:
        """Distributions of a duration with the tail spread out; one replication is played again for it."""
        return draw_distribution(replayed(self._of, replication), column=column, ax=ax, figsize=figsize)

    def windows(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Distributions of the inconsistency window; one replication is played again for it."""
        return self.distribution(column="window_ms", replication=replication, ax=ax, figsize=figsize)

    def over_time(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Drift, transactions in flight and answers a second under each strategy; one replication is played again for it."""
        return draw_over_time(replayed(self._of, replication), ax=ax, figsize=figsize)

    def failures(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Draws outages over time, and how each strategy came back; one replication is played again for it."""
        return draw_failures(replayed(self._of, replication), ax=ax, figsize=figsize)

    def heat_map(
        self, *, column: str = "decision_ms", replication: int = 0, ax: Axes | None = None, figsize: Size | None = None
    ) -> Axes:
        """Draw how long every transaction took, over the time of its arrival, a panel a strategy. One replication is played again for it."""
        return draw_heat_map(replayed(self._of, replication), column=column, ax=ax, figsize=figsize)

    def queues(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Draw who waits for what and how busy workers are, over time, a column a strategy. One replication is played again for it."""
        return draw_queues(replayed(self._of, replication), ax=ax, figsize=figsize)

    def derived(self, *, replication: int = 0, ax: Axes | None = None, figsize: Size | None = None) -> Axes:
        """Stale reads of caches and search indexes, their age, and the copies that stay wrong; one replication is played again for it."""
        return draw_derived(replayed(self._of, replication), ax=ax, figsize=figsize)


class SweepPlots(Pictures[Any], called="sweep.plot"):
    """Pictures of a sweep."""

    __slots__ = ()

    __call__ = picture(sweeps.plot)
    lines = picture(sweeps.lines)
    load = picture(draw_load)


class ScenarioPlots(Pictures[Any], called="scenario.plot"):
    """Pictures of a scenario."""

    __slots__ = ()

    __call__ = picture(draw_topology)
    topology = picture(draw_topology)


class FrontierPlots(Pictures[Any], called="frontier.plot"):
    """Pictures of a frontier."""

    __slots__ = ()

    __call__ = picture(frontier.plot)
    map = picture(frontier.zones)
    curve = picture(frontier.curve)


class SensitivityPlots(Pictures[Any], called="sensitivity.plot"):
    """Pictures of a sensitivity study."""

    __slots__ = ()

    __call__ = picture(sensitivity.plot)
    tornado = picture(sensitivity.tornado)
    flips = picture(sensitivity.flips)
    morris = picture(sensitivity.morris)
    sobol = picture(sensitivity.sobol)
