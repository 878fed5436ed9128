"""Decisions: which strategy is the best, and whether the runs support it.

Thresholds come first: a strategy that misses one is out, however good it is, and so is one whose runs have violated what it guarantees. The metric ranks the rest, pair by pair over the replications that both
have met (common random numbers). All statements of a decision hold together with the stated confidence: each threshold of each strategy and each
comparison of two has its part of the permitted error (Bonferroni, which needs nothing to be independent; the measured error is in
docs/statistics.md). The intervals of means decide nothing: they are those of every table, so that one figure has one interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Protocol

import pandas as pd

from simtx.errors import ScenarioError
from simtx.experiments.pairs import Pair, compared
from simtx.experiments.said import FEW, unlike
from simtx.experiments.stopping import Best, Better, better_of, per_comparison
from simtx.experiments.thresholds import Threshold, Where, thresholds
from simtx.metrics.censored import instead, left_out
from simtx.metrics.figures import COMMITTED, of_all, of_committed, ranking
from simtx.metrics.intervals import Interval, check_confidence, kind_of
from simtx.metrics.laws import thin
from simtx.metrics.timeouts import marked, timeouts
from simtx.views import view

if TYPE_CHECKING:
    from simtx.experiments.stopping import Stopping
    from simtx.protocols import Promise, Strategy
    from simtx.scenario import Scenario

BEST, MAYBE, WORSE, OUT, UNKNOWN = "best", "may be the best", "worse", "not admissible", "not known"
SMALL: Final = 0.05
"""A share of the figure for which as many replications again are hardly worth it."""
_MANY: Final = 10  # times what was played: beyond that, a number of further replications is no advice by itself


@dataclass(slots=True)
class Decision:
    """Decision between strategies, by one metric and some thresholds. As a truth value, it is true if the runs support it.

    Attributes:
        metric: The metric that ranks.
        better: ``lower`` or ``higher``.
        confidence: With which all statements hold together, from 0 to 1; also that of the interval of each mean, as in tables.
        each: Confidence of each statement by itself: of a threshold, of a comparison of two.
        scenario: Title of the scenario.
        strategy: The best so far; None if none can be named.
        supported: Whether the runs support it: it meets all thresholds, and every other strategy is worse or misses one.
        guaranteed: Whether nothing ended the runs early: no failure, no interruption, no cap of a stopping rule.
        more: Further replications that would decide the open comparisons, if means and spreads stay as they are now; 0 if none is open, infinite if
            the strategies may well be equal.
        ranking: One row a strategy: ``standing`` (best, may be the best, worse, not admissible, not known), ``mean``, ``low``, ``high``, ``n``,
            ``infinite``, ``watched_ms`` (for how long every transaction was watched at least), ``timeout`` (the configured timeout that a quantile sits
            on, or nothing), and against the best one ``effect`` (a ratio or a difference), ``effect_low``, ``effect_high``, ``wins`` and ``losses``
            (replications in which it is lower, or higher), ``more``.
        thresholds: One row a strategy and threshold: ``mean``, ``low``, ``high``, ``standing`` (met, not met, undecided), ``note``, ``more``.
        ratio: Whether effects are ratios.
        aborting: Who would be the best by a time of all transactions, but commits much less than another one, so that nobody is named; else empty.
        violated: Strategies that are not admissible because their runs have violated what they guarantee: in how many runs, and what.
        thin: The quantile, such as ``99 %``, beyond which a run has so few transactions that a few slow ones make the figure; else empty.
        notes: Further remarks for the reader, one line each.
    """

    metric: str
    better: Better
    confidence: float
    scenario: str
    strategy: str | None = None
    supported: bool = False
    guaranteed: bool = True
    more: float = 0.0
    ranking: pd.DataFrame = field(default_factory=pd.DataFrame)
    thresholds: pd.DataFrame = field(default_factory=pd.DataFrame)
    ratio: bool = False
    aborting: str = ""
    violated: Mapping[str, str] = field(default_factory=dict)
    each: float = math.nan
    thin: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def candidates(self) -> list[str]:
        """Strategies that may be the best: they miss no threshold for sure, and are not worse than another one."""
        standing = self.ranking["standing"]
        return [str(name) for name in standing.index[standing.isin([BEST, MAYBE, UNKNOWN])]]

    @property
    def admitted(self) -> list[str]:
        """Strategies that are not turned away: by no threshold that they miss for sure, and by nothing that they have violated."""
        standing = self.ranking["standing"]
        return [str(name) for name in standing.index[standing != OUT]]

    @property
    def at_stake(self) -> float:
        """Lead, at most, of another strategy that may be the best over the one that is named: a share of the figure of that one.

        0 if no other one may be the best; not a number if nobody is named, or nobody knows.
        """
        others = self.ranking[self.ranking["standing"].isin([MAYBE, UNKNOWN])]
        if self.strategy is None or UNKNOWN in set(others["standing"]):
            return math.nan
        lower = self.better == "lower"
        gains = -others["effect_low"] if lower else others["effect_high"]
        if self.ratio:
            gains = gains + 1 if lower else gains - 1
        else:
            gains = gains / abs(float(self.ranking["mean"].to_dict()[self.strategy]))
        return float(gains.clip(lower=0.0).max(skipna=False)) if len(gains) else 0.0

    @property
    def doubted(self) -> pd.DataFrame:
        """The thresholds of which nobody knows whether a strategy that may be the best keeps to them."""
        judged = self.thresholds
        return judged[judged["strategy"].isin(self.candidates) & (judged["standing"] == "undecided")]

    @property
    def little_open(self) -> bool:
        """Return whether no other strategy is better than the one that is named by more than 5 %, and it takes as many replications again to tell."""
        played = int(self.ranking["n"].min())
        return self.more > played >= FEW and 0 < self.at_stake <= SMALL and not len(self.doubted)

    @property
    def advice(self) -> list[str]:
        """Advice on what would settle an open decision, and what that is worth; the first line stands by itself. Empty if nothing is open."""
        if self.strategy is None or self.supported or not self.more:
            return []
        played = int(self.ranking["n"].min())
        if played < 2:
            return ["one run of a strategy has no interval: make ten or more"]
        stake = self.at_stake
        better = (
            f"another one is better than {self.strategy} by {_digits(100 * stake)} % at most" if 0 < stake < 1 else ""
        )
        further = f"{_digits(self.more)} more replication{'s' if self.more > 1 else ''}"
        if self.little_open:
            return [f"{better}, and more replications are hardly worth it"]
        if math.isinf(self.more):
            said = "what is open may well be equal: no number of replications that anybody would make tells it apart"
        elif self.more < FEW - played:
            few = f"{FEW - played} more replication{'s' if FEW - played > 1 else ''}"
            said = f"make {few} of each: fewer than {FEW} in all are too few to rely on"
        elif self.more <= _MANY * played:
            said = f"about {further} of each would settle it, if means and spreads are as they are now"
        else:
            said = (
                f"about {further} of each would settle it, {_digits(self.more / played)} times those that were played"
            )
            said += (
                f"; make the runs longer first, which have too few transactions for {self.thin}" if self.thin else ""
            )
        return [said, better] if better else [said]

    def to_dict(self) -> dict[str, Any]:
        """Dictionary for machines: figures that are infinite mean that something may be equal, or never ended."""
        return {
            "metric": self.metric,
            "better": self.better,
            "confidence": self.confidence,
            "strategy": self.strategy,
            "supported": self.supported,
            "guaranteed": self.guaranteed,
            "candidates": self.candidates,
            "more_replications": self.more,
            "at_stake": self.at_stake,
            "advice": self.advice,
            "confidence_of_each": self.each,
            "ranking": self.ranking.reset_index().to_dict("records"),
            "thresholds": self.thresholds.to_dict("records"),
            "aborting": self.aborting,
            "violated": dict(self.violated),
            "notes": self.notes,
        }

    def __bool__(self) -> bool:
        return self.supported

    @property
    def text(self) -> str:
        """The decision in words, with its figures."""
        return str(view("decision-text")(self))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        found = f"{self.strategy}, {'supported' if self.supported else 'not supported'}" if self.strategy else "none"
        return f"<Decision by {self.metric} on {self.scenario}: {found}>"

    def _repr_html_(self) -> str:
        return str(view("decision-html")(self))


class Compared(Protocol):
    """Data of a decision (`simtx.experiments.comparison.Comparison`)."""

    scenario: Scenario
    strategies: list[str]
    objects: dict[str, Strategy]
    promises: dict[str, Promise]
    stopped: str
    stopping: Stopping | None

    @property
    def frame(self) -> pd.DataFrame:
        """One row a finished run."""

    @property
    def failures(self) -> pd.DataFrame:
        """One row a failed run."""

    def violated(self) -> dict[str, str]:
        """Strategies whose runs have violated what they guarantee."""

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""

    def interval(self, strategy: str, metric: str, confidence: float = 0.95) -> Interval:
        """Mean of a metric under a strategy."""

    def pairs(self, strategy: str, baseline: str, metric: str) -> tuple[list[float], list[float]]:
        """Values in the replications that both have finished."""

    def committing_less(self, among: Sequence[str] | None = None, confidence: float = 0.95) -> dict[str, str]:
        """Strategies that surely commit much less than another one, and the one that commits the most."""


def decide(
    comparison: Compared,
    metric: str,
    where: Where | None = None,
    *,
    better: Better | None = None,
    confidence: float = 0.95,
) -> Decision:
    """The decision that a comparison supports; see `simtx.Comparison.best`."""
    check_confidence(confidence)
    if better not in (None, "lower", "higher"):
        raise ScenarioError(f"must be 'lower' or 'higher', not {better!r}", "better")
    ranking(metric)
    limits = thresholds(where)
    for name in (metric, *(one.metric for one in limits)):
        comparison.interval(comparison.strategies[0], name)  # refuses what is no metric
    decision = Decision(metric, better or better_of(metric), confidence, comparison.scenario.title)
    decision.ratio = kind_of(metric) == "positive"
    trust = _Trust(comparison, metric, 1 - confidence, len(limits))
    decision.each = 1 - trust.comparison_of_two
    frame = comparison.frame
    decision.thin = thin(metric, float(frame["transactions"].min())) if "transactions" in frame else ""
    gaps = _gaps(comparison, metric, limits)
    decision.thresholds = _judged(comparison, limits, trust)
    decision.violated = comparison.violated()
    standings = _standings(comparison.strategies, decision.thresholds) | dict.fromkeys(decision.violated, "not met")
    _rank(decision, comparison, standings, gaps, trust)
    if decision.strategy is not None:
        _conclude(decision, standings, gaps)
    _promises(decision, comparison)
    _means(decision, comparison)
    _aborts(decision, comparison, limits)
    _settings(decision, comparison)
    decision.notes += [
        f"{name} is not admissible: {said}; comparison.violations has what tells the stories"
        for name, said in decision.violated.items()
    ]
    decision.notes += [f"{name}: {gap}" for name, gap in gaps.items()]
    stopping = comparison.stopping
    if stopping is not None and not stopping.guaranteed:
        reached = stopping.looks[-1].replications if stopping.looks else 0
        decision.notes.append(f"the rule of stopping was not met within {reached} replications")
    if comparison.stopped:
        decision.notes.append(f"the runs ended early: {comparison.stopped}")
    decision.guaranteed = not (comparison.stopped or gaps) and (stopping is None or stopping.guaranteed)
    return decision


class _Trust:
    """Error that each statement may have, so that all of them together have no more than alpha."""

    def __init__(self, comparison: Compared, metric: str, alpha: float, limits: int) -> None:
        self.comparison = comparison
        self.metric = metric
        m = len(comparison.strategies)
        self.threshold = alpha / max(1, m * limits + m * (m - 1) // 2)
        self.comparison_of_two = self.threshold
        stopping = comparison.stopping
        rule = stopping.rule if stopping is not None else None
        if isinstance(rule, Best) and rule.metric == metric and not limits:
            # as the rule itself has judged, so that both say the same
            self.comparison_of_two = alpha * per_comparison(m)

    def pair(self, one: str, other: str) -> Pair:
        """One strategy against another, over the replications of both."""
        ours, theirs = self.comparison.pairs(one, other, self.metric)
        stopping = self.comparison.stopping
        share = stopping.share(len(ours)) if stopping is not None else 1.0
        return compared(ours, theirs, kind_of(self.metric), self.comparison_of_two * share)


def _gaps(comparison: Compared, metric: str, limits: Sequence[Threshold]) -> dict[str, str]:
    """Strategies whose runs failed, or have no value: nobody knows what those runs would have shown."""
    failed = comparison.failures["strategy"].value_counts()
    frame = comparison.frame
    gaps = {}
    for name in comparison.strategies:
        rows = frame[frame["strategy"] == name]
        if name in failed.index:
            gaps[name] = (
                f"{failed[name]} of {failed[name] + len(rows)} runs failed, and nobody knows what they would have shown"
            )
            continue
        for column in dict.fromkeys([metric, *(one.metric for one in limits)]):
            missing = int(rows[column].isna().sum())
            if missing or not len(rows):
                gaps[name] = f"{missing} of {len(rows)} runs have no value of {column}"
                break
    return gaps


def _judged(comparison: Compared, limits: Sequence[Threshold], trust: _Trust) -> pd.DataFrame:
    """The table of thresholds."""
    rows = []
    for name in comparison.strategies:
        for limit in limits:
            one = comparison.interval(name, limit.metric, 1 - trust.threshold)
            standing, more, note = limit.judged(one, trust.threshold)
            rows.append((name, str(limit), *one[:3], standing, note, more))
    columns = ["strategy", "threshold", "mean", "low", "high", "standing", "note", "more"]
    return pd.DataFrame(rows, columns=columns)


def _standings(names: Sequence[str], judged: pd.DataFrame) -> dict[str, str]:
    """Standing of each strategy with all of its thresholds."""
    found = {name: set(judged.loc[judged["strategy"] == name, "standing"]) for name in names}
    return {name: next((one for one in ("not met", "undecided") if one in found[name]), "met") for name in names}


def _rank(
    decision: Decision, comparison: Compared, standings: dict[str, str], gaps: dict[str, str], trust: _Trust
) -> None:
    """Fill in the best one and the ranking."""
    names = comparison.strategies
    estimates = {name: comparison.interval(name, decision.metric, decision.confidence) for name in names}
    pairs = {(one, other): trust.pair(one, other) for one, other in combinations(names, 2)}
    pairs |= {(other, one): _turned(pair) for (one, other), pair in pairs.items()}
    known = [name for name in names if standings[name] != "not met" and name not in gaps and estimates[name].n]
    admitted = [name for name in known if standings[name] == "met"]
    wants_lower = decision.better == "lower"

    def worse(one: str, other: str) -> bool:
        lower = pairs[one, other].lower if one != other else None
        return lower is not None and lower != wants_lower

    rest = [name for name in known if not any(worse(name, other) for other in admitted)]
    rest.sort(key=lambda name: _key(estimates[name], wants_lower))
    # among those that remain, one that keeps to the thresholds for sure comes first
    decision.strategy = next((name for name in rest if name in admitted), rest[0] if rest else None)
    frame = comparison.frame
    watched = dict(frame.groupby("strategy")["watched_ms"].min()) if "watched_ms" in frame else {}
    rows = []
    for name in names:
        if standings[name] == "not met":
            standing = OUT
        elif name not in known:
            standing = UNKNOWN
        elif name == decision.strategy:
            standing = BEST
        else:
            standing = MAYBE if name in rest else WORSE
        one = estimates[name]
        known_timeouts = timeouts(comparison.scenario, comparison.objects[name])
        timeout = marked(decision.metric, frame.loc[frame["strategy"] == name, decision.metric], known_timeouts)
        beside = (float(watched.get(name, math.nan)), timeout)
        effect = _effect(pairs.get((name, decision.strategy or "")))
        rows.append((standing, *one[:3], one.n, one.infinite, *beside, *effect))
    columns = ["standing", "mean", "low", "high", "n", "infinite", "watched_ms", "timeout"]
    against = ["effect", "effect_low", "effect_high", "wins", "losses", "more"]
    decision.ranking = pd.DataFrame(rows, index=pd.Index(names, name="strategy"), columns=[*columns, *against])


def _key(one: Interval, wants_lower: bool) -> tuple[int, float]:
    """Order of the means; where they are infinite, the one that is so less often comes first."""
    return one.infinite, one.mean if wants_lower else -one.mean


def _digits(value: float) -> str:
    """A number to two digits: more are not known."""
    return f"{float(f'{value:.2g}'):,.12g}"


def _effect(pair: Pair | None) -> tuple[float, float, float, int, int, float]:
    if pair is None:
        return math.nan, math.nan, math.nan, 0, 0, 0.0
    mean, low, high = pair.effect[:3]
    return mean, low, high, pair.wins, pair.losses, pair.more


def _turned(pair: Pair) -> Pair:
    """The same pair, seen from the other side."""
    one = pair.effect
    if pair.ratio:
        mean, low, high = (1 / end if end else math.inf for end in (one.mean, one.high, one.low))
    else:
        mean, low, high = -one.mean, -one.high, -one.low
    lower = None if pair.lower is None else not pair.lower
    return Pair(one._replace(mean=mean, low=low, high=high), pair.ratio, lower, pair.losses, pair.wins, pair.more)


def _conclude(decision: Decision, standings: dict[str, str], gaps: dict[str, str]) -> None:
    """Say whether the runs support the best one, and what would settle the rest."""
    alive = decision.candidates
    named = decision.strategy or ""
    decision.supported = alive == [named] and standings.get(named) == "met" and not gaps
    if decision.supported:
        return
    rivals = decision.ranking.loc[[name for name in alive if name != named], "more"]
    decision.more = max([*map(float, rivals), *map(float, decision.doubted["more"])], default=0.0)


def _nobody(decision: Decision, why: str) -> None:
    """Name nobody."""
    decision.notes.append(why)
    decision.strategy, decision.supported, decision.more = None, False, 0.0
    decision.ranking.loc[decision.admitted, "standing"] = UNKNOWN


def _promises(decision: Decision, comparison: Compared) -> None:
    """The time to an answer is not one and the same thing for strategies whose answers promise different things."""
    promises = {name: comparison.promises[name] for name in decision.admitted}
    if why := unlike(decision.metric, promises, comparison.metrics):
        _nobody(decision, why)


def _means(decision: Decision, comparison: Compared) -> None:
    """A mean of those that ended is none of all of them: who leaves the most transactions without an end may have the lowest."""
    share = left_out(decision.metric)
    if share is None or share not in comparison.metrics:
        return
    open_shares = {name: comparison.interval(name, share).mean for name in decision.admitted}
    told = ", ".join(f"{100 * value:.2g} % of {name}" for name, value in open_shares.items() if value > 0)
    if told:
        _nobody(
            decision,
            f"means leave out what had not ended when the run ended ({share}: {told}), so they do not rank strategies; "
            f"{instead(decision.metric)}",
        )


def _aborts(decision: Decision, comparison: Compared, limits: Sequence[Threshold]) -> None:
    """Name nobody if the best one aborts much more than others.

    It ends most transactions early: by times of all of them it may well be the fastest, and be of no use.
    A threshold of what commits has said already how much is enough.
    """
    named, metric = decision.strategy, decision.metric
    if named is None or not of_all(metric) or {one.metric for one in limits} & {COMMITTED, "goodput_per_s"}:
        return
    most = comparison.committing_less(decision.admitted, decision.confidence).get(named)
    if most is None:
        return
    shares = [f"{100 * comparison.interval(name, COMMITTED).mean:.3g} %" for name in (named, most)]
    committed = of_committed(metric, comparison.metrics)
    also = f"ask for '{committed}', or " if committed else ""
    decision.aborting = named
    _nobody(
        decision,
        f"{named} commits {shares[0]} of the transactions, and {most} {shares[1]}: what is aborted early also ends early, so that times of all "
        f"transactions do not rank them; {also}set a threshold of '{COMMITTED}'",
    )


def _settings(decision: Decision, comparison: Compared) -> None:
    """A quantile that is a configured timeout ranks settings: who gives up soonest is the fastest."""
    sits = decision.ranking[(decision.ranking["timeout"] != "") & (decision.ranking["standing"] != OUT)]
    if not len(sits):
        return
    told = "; ".join(f"{row.Index} {row.timeout}" for row in sits.itertuples())
    moment, _, level = decision.metric.rpartition("_p")
    committed = f"{moment}_committed_p{level}"
    also = f"; '{committed}' leaves out who was aborted" if committed in comparison.metrics else ""
    decision.notes.append(f"the figure is a timeout of the configuration ({told}), and says nothing about speed{also}")
