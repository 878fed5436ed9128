"""`saturation`: the highest throughput that a scenario sustains under each strategy.

Users who never think ask one after the other; how many there are is doubled until more of them decide no more transactions a second. What is reported is the
throughput at the best number of users, over replications that the search has not seen: the largest of several noisy means is too large.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pandas as pd

from simtx.arguments import SEED, STRATEGIES, checked, number, optional, path, progress, whole
from simtx.errors import ScenarioError
from simtx.experiments.compare import DEFAULT, labelled
from simtx.experiments.work import version
from simtx.files import LARGEST_SCENARIO, Unreadable, read_text
from simtx.metrics.intervals import Interval, check_confidence, interval, ratio
from simtx.progress import Phases, phases
from simtx.scenario.canonical import digest
from simtx.scenario.fingerprints import scenario_fingerprint, strategy_fingerprint
from simtx.scenario.provenance import Provenance, provenance
from simtx.simulator import simulate
from simtx.views import View, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from simtx.protocols import Strategy
    from simtx.scenario import Scenario

_WARMUP: Final = 0.25  # share of a run that is not measured
_GAIN: Final = 1.02  # doubling the users has to bring so many times the throughput, or the search ends
_PATIENCE: Final = 2  # doublings without that gain
_A_USER: Final = 20  # transactions that each user asks for at least


@dataclass(frozen=True, slots=True)
class Load:
    """One number of users under one strategy.

    Attributes:
        strategy: Which one.
        users: How many there were.
        throughput: Decisions a second in each replication.
    """

    strategy: str
    users: int
    throughput: tuple[float, ...]


@dataclass(repr=False, eq=False)
class Saturation:
    """The highest sustained throughput of a scenario under each strategy.

    Attributes:
        scenario: The scenario.
        searched: Each number of users that was tried.
        best: By strategy, the number of users with the highest throughput, and the throughput there in fresh replications.
        confidence: Of all intervals.
        seed: Of all runs.
        provenance: Where it comes from, and the command that repeats it.
    """

    scenario: Scenario
    searched: tuple[Load, ...]
    best: dict[str, Load]
    confidence: float
    seed: int
    provenance: Provenance

    @property
    def strategies(self) -> list[str]:
        """Labels of the strategies."""
        return list(self.best)

    def interval(self, strategy: str) -> Interval:
        """Mean and interval of the highest sustained throughput, in transactions a second.

        Raises:
            ScenarioError: The strategy was not there.
        """
        return interval(self._of(strategy).throughput, self.confidence, kind="positive")

    def ratio(self, strategy: str, baseline: str) -> Interval:
        """Ratio of the highest throughput of a strategy to that of another one, paired by replication.

        Raises:
            ScenarioError: A strategy was not there.
        """
        return ratio(self._of(strategy).throughput, self._of(baseline).throughput, self.confidence)

    def _of(self, strategy: str) -> Load:
        if strategy not in self.best:
            raise ScenarioError(f"'{strategy}' was not measured; there are {', '.join(self.best)}", "strategy")
        return self.best[strategy]

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each number of users that was tried: ``strategy``, ``users``, ``mean``, ``low``, ``high`` (transactions a second), and whether it is the ``best``."""
        rows = []
        for one in self.searched:
            found = interval(one.throughput, self.confidence, kind="positive")
            best = self.best[one.strategy].users == one.users
            rows.append((one.strategy, one.users, found.mean, found.low, found.high, best))
        return pd.DataFrame(rows, columns=["strategy", "users", "mean", "low", "high", "best"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        found = {name: self.interval(name) for name in self.strategies}
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            "confidence": self.confidence,
            "strategies": {
                name: {
                    "users": self.best[name].users,
                    "throughput_per_s": {"mean": one.mean, "low": one.low, "high": one.high, "n": one.n},
                }
                for name, one in found.items()
            },
            "searched": self.frame.to_dict("records"),
        }

    def __str__(self) -> str:
        return str(view("saturation-text")(self))

    __repr__ = __str__

    plot: ClassVar[View[Callable[..., Axes]]] = View(
        "saturation", "Throughput over the number of users, with intervals: `saturation.plot()`."
    )


@checked(
    strategies=STRATEGIES,
    replications=whole(2),
    transactions=whole(100),
    most_users=whole(1),
    confidence=number(above=0, below=1),
    seed=SEED,
    store=optional(path),
    progress=progress,
)
def saturation(
    scenario: Scenario | str,
    strategies: Sequence[Strategy | str] = DEFAULT,
    *,
    replications: int = 5,
    transactions: int = 2_000,
    most_users: int = 4096,
    confidence: float = 0.95,
    seed: int = 1,
    store: str | Path | None = None,
    progress: bool | Phases | None = None,
) -> Saturation:
    """Search the highest throughput that a scenario sustains under each strategy, without faults.

    Args:
        scenario: A scenario, or the name or path of one. Its workload is replaced by users who send the next request at once, its faults are left out.
        strategies: Names or objects.
        replications: Runs of each number of users, and again as many at the best number.
        transactions: Of each run at least; more where there are many users.
        most_users: The largest number of users that is tried.
        confidence: Of all intervals, from 0 to 1.
        seed: Seed of all runs. Strategies get the same transactions.
        store: File that keeps finished numbers of users, one line each; the same call goes on from there, also with other
            strategies. None: an interrupted search begins anew.
        progress: As in `simtx.validate`.

    Returns:
        The highest throughput of each strategy, in decisions a second, with its interval and its number of users.

    Raises:
        ScenarioError: An input is wrong, or a strategy cannot play the scenario.
    """
    from simtx.scenario import load

    played = load(scenario)
    check_confidence(confidence)
    chosen = labelled(strategies, played)
    searched: list[Load] = []
    best: dict[str, Load] = {}
    probes = _Probes(None if store is None else Path(store))
    with phases(progress) as show:
        for position, (name, strategy) in enumerate(chosen.items()):
            own: list[Load] = []
            probe = _Probe(probes, played, strategy, transactions, seed)
            users, dull, highest = 1, 0, 0.0
            while users <= most_users and dull < _PATIENCE:
                show(f"{name}, {users} users", position / len(chosen))
                own.append(Load(name, users, probe.throughput(users, range(replications))))
                mean = float(np.mean(own[-1].throughput))
                dull = 0 if mean > _GAIN * highest else dull + 1
                highest = max(highest, mean)
                users *= 2
            searched += own
            top = max(own, key=lambda one: float(np.mean(one.throughput)))
            best[name] = Load(name, top.users, probe.throughput(top.users, range(replications, 2 * replications)))
    settings = {"transactions": transactions, "most_users": most_users}
    origin = provenance("saturation", played, chosen, seed=seed, replications=replications, settings=settings)
    return Saturation(played, tuple(searched), best, confidence, seed, origin)


class _Probes:
    """Finished probes, one line of a file each, so that a search that was interrupted goes on.

    A line is written when its probe is finished. One that was cut off by the end of a process is taken away; lines of other searches stay.

    Args:
        path: The file; made with the first probe. None: nothing is kept.

    Raises:
        ScenarioError: It cannot be read, or is no such file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, tuple[float, ...]] = {}
        self._cut = ""
        if path is None:
            return
        try:
            text = read_text(path, LARGEST_SCENARIO)
        except FileNotFoundError:
            return
        except Unreadable as error:
            raise ScenarioError(f"cannot be read: {error}", str(path)) from None
        whole, _, self._cut = text.rpartition("\n")
        for line in whole.splitlines():
            if not line:
                continue
            try:
                probe = json.loads(line)
                self._known[probe["key"]] = tuple(float(one) for one in probe["throughput"])
            except (ValueError, TypeError, KeyError):
                raise ScenarioError("is no file of a saturation's probes; choose another name", str(path)) from None

    def known(self, key: str) -> tuple[float, ...] | None:
        """The throughput of a probe in each replication; None: it has not been finished."""
        return self._known.get(key)

    def keep(self, key: str, throughput: tuple[float, ...]) -> None:
        """A probe is finished.

        Raises:
            ScenarioError: The file cannot be written.
        """
        self._known[key] = throughput
        if self.path is None:
            return
        line = json.dumps({"key": key, "throughput": throughput}) + "\n"
        try:
            if self._cut:  # a process ended in the middle of this line
                content = self.path.read_text(encoding="utf-8")
                self.path.write_text(content[: len(content) - len(self._cut)], encoding="utf-8")
                self._cut = ""
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise ScenarioError(f"cannot be written: {error.strerror or error}", str(self.path)) from None


class _Probe:
    """Probes of one strategy.

    Args:
        probes: Those that are known.
        scenario: The scenario.
        strategy: The strategy.
        transactions: As in `saturation`.
        seed: Of all runs.
    """

    def __init__(self, probes: _Probes, scenario: Scenario, strategy: Strategy, transactions: int, seed: int) -> None:
        self._probes = probes
        self._scenario = scenario
        self._strategy = strategy
        self._transactions = transactions
        self._seed = seed
        self._key = ""
        if probes.path is not None:
            names = scenario_fingerprint(scenario), strategy_fingerprint(strategy), version([strategy])
            self._key = " ".join((*names, str(transactions), str(seed)))

    def throughput(self, users: int, replications: range) -> tuple[float, ...]:
        """Decisions a second in each of these replications."""
        key = digest(f"{self._key} {users} {replications}") if self._key else ""
        known = self._probes.known(key) if key else None
        if known is None:
            closed = _closed(self._scenario, self._strategy, users, self._transactions, self._seed)
            known = _throughput(closed, self._strategy, replications, self._seed)
            if key:
                self._probes.keep(key, known)
        return known


def _throughput(scenario: Scenario, strategy: Strategy, replications: range, seed: int) -> tuple[float, ...]:
    return tuple(
        float(simulate(scenario, strategy, seed=seed, replication=one, progress=False).summary["throughput_per_s"])
        for one in replications
    )


def _closed(scenario: Scenario, strategy: Strategy, users: int, transactions: int, seed: int) -> Scenario:
    """The scenario with so many users who never think; its warm-up is a share of what a short run says that it will last."""
    most = max(transactions, _A_USER * users)
    short = scenario.replace(
        workload={"kind": "closed", "users": users, "think_time": "0s"},
        run={"transactions": max(most // 10, 2 * users)},
        faults=[],
    )
    tried = simulate(short, strategy, seed=seed, progress=False)
    length = tried.data.horizon * most / len(tried.transactions)
    return short.replace(**{"run.transactions": most, "run.warmup": f"{_WARMUP * length:.9g}s"})
