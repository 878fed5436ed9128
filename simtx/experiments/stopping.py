"""Rules of stopping: they look at the results several times and still keep their promise.

Some look again and again, and stop as soon as an interval excludes zero. They find a difference between equal strategies in one study of six
(doubling five times, 95 %). So the permitted error alpha is **spent over the looks**: with looks after n_1 < n_2 < ... < n_K replications, look k has
alpha (n_k - n_(k-1)) / n_K (Kim and DeMets, "Design and analysis of group sequential tests based on the type I error spending rate function",
Biometrika 74, 1987, with the linear function). Whatever the looks have to do with each other, the probability that one of them
errs is at most the sum, alpha (Bonferroni).

- `Apart`: every pair of strategies; each has alpha / pairs. Equal strategies are told apart with a probability of at most alpha.
- `Best`: a strategy drops out as soon as another one is lower (or higher) on its look's alpha / (m - 1), one-sided. The truly best one drops out
  only if one of m - 1 comparisons errs at one of the looks. So it remains with a probability of at least 1 - alpha, whatever the variances and
  correlations are.
- `Precision`: an interval of a width. Here the error is not a false difference, but that the rule stops where the spread looks small by
  chance. Thirty replications at least, and intervals at alpha times 0.8, keep it: chosen by coverage (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Final, Literal, Protocol, TypeAlias

from simtx.arguments import choice, number, optional, require, text, whole
from simtx.errors import ScenarioError
from simtx.experiments.pairs import Pair, compared
from simtx.metrics.figures import ranking
from simtx.metrics.intervals import HIGHER_IS_BETTER, interval, kind_of

Better = Literal["lower", "higher"]
Values: TypeAlias = Mapping[str, Sequence[float]]
"""Values by strategy: one a replication, in the order of the replications; NaN where a run failed or has none."""

CAP: Final = 200
"""Replications at most, unless told otherwise."""
_GROWTH: Final = 1.5
_PRICE: Final = 0.8


def better_of(metric: str) -> Better:
    """Say whether lower or higher values of a metric are better."""
    return "higher" if metric in HIGHER_IS_BETTER else "lower"


def looks(minimum: int, cap: int) -> list[int]:
    """Numbers of replications after which a rule looks: from the minimum, half as many more each time, to the cap."""
    numbers = [min(minimum, cap)]
    while numbers[-1] < cap:
        numbers.append(min(cap, math.ceil(numbers[-1] * _GROWTH)))
    return numbers


def spent(numbers: Sequence[int], k: int) -> float:
    """The share of alpha that look k of these has."""
    return (numbers[k] - (numbers[k - 1] if k else 0)) / numbers[-1]


@dataclass(frozen=True, slots=True)
class Look:
    """Verdict of a rule after a number of replications.

    Attributes:
        replications: After how many.
        done: Whether the question is answered.
        strategies: Those that have to go on if it is not.
        found: What was found, in a few words.
    """

    replications: int
    done: bool
    strategies: tuple[str, ...]
    found: str


class Rule(Protocol):
    """A rule of stopping; `Precision`, `Apart` and `Best` are such rules."""

    @property
    def metric(self) -> str:
        """Metric that it looks at."""
        ...

    @property
    def minimum(self) -> int:
        """Replications before the first look."""
        ...

    @property
    def confidence(self) -> float:
        """Promise of the rule, in words."""
        ...

    def look(self, values: Values, numbers: Sequence[int], k: int) -> Look:
        """Look k of `numbers`, at the values so far."""
        ...

    def share(self, numbers: Sequence[int], k: int) -> float:
        """The share of alpha that is there for what is read after it stopped at look k."""
        ...


@dataclass(frozen=True, slots=True)
class Precision:
    """Stop when the interval of a metric is short enough under every strategy.

    Args:
        metric: Its name.
        relative: Half the interval is at most this share of the size of the mean; None: only `absolute` counts.
        absolute: Or half the interval is at most this, in the unit of the metric: for figures that may be zero.
        minimum: Replications before the first look.
        confidence: Of the interval, from 0 to 1.
    """

    metric: str
    relative: float | None = 0.05
    absolute: float | None = None
    minimum: int = 30
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check(self)
        if self.relative is None and self.absolute is None:
            raise ScenarioError("says neither relative nor absolute precision", "until")

    def look(self, values: Values, numbers: Sequence[int], k: int) -> Look:
        """Look whether every interval is short enough."""
        wide = []
        for name, column in values.items():
            one = interval(column, 1 - _PRICE * (1 - self.confidence), kind=kind_of(self.metric))
            half = max(one.high - one.low, 0.0) / 2 if one.n >= 2 else math.nan
            if one.never:
                half = one.high if not one.mean else 1 - one.low
            wanted = max((self.relative or 0.0) * abs(one.mean), self.absolute or 0.0)
            if not half <= wanted:  # NaN is no precision
                wide.append(name)
        found = f"not precise enough: {', '.join(wide)}" if wide else "precise enough"
        return Look(numbers[k], not wide, tuple(values), found)

    def share(self, numbers: Sequence[int], k: int) -> float:  # noqa: ARG002 - the same at every look
        """The price of looking, which was found by coverage."""
        return _PRICE


@dataclass(frozen=True, slots=True)
class Apart:
    """Stop when every pair of strategies is told apart.

    Args:
        metric: Its name.
        within: A pair whose ratio is surely nearer to 1 than this share counts as equal, and is done, too; None: no pair counts as equal.
        minimum: Replications before the first look.
        confidence: Probability, from 0 to 1, that no difference is found where there is none.
    """

    metric: str
    within: float | None = None
    minimum: int = 10
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check(self)

    def look(self, values: Values, numbers: Sequence[int], k: int) -> Look:
        """Look whether every pair is told apart, or equal."""
        names = list(values)
        alpha = (1 - self.confidence) * spent(numbers, k) / max(1, len(names) * (len(names) - 1) // 2)
        open_pairs = []
        for one, other in combinations(names, 2):
            pair = compared(values[one], values[other], kind_of(self.metric), alpha)
            if pair.lower is None and not _equal(pair, self.within):
                open_pairs.append(f"{one} and {other}")
        found = f"not told apart: {'; '.join(open_pairs)}" if open_pairs else "all told apart"
        return Look(numbers[k], not open_pairs, tuple(names), found)

    def share(self, numbers: Sequence[int], k: int) -> float:
        """Share of look k."""
        return spent(numbers, k)


@dataclass(frozen=True, slots=True)
class Best:
    """Stop when all strategies but one are worse; worse strategies drop out and run no more.

    Args:
        metric: Its name.
        better: ``lower`` or ``higher``; None: the better direction of this metric.
        within: Also stop when the remaining strategies are surely nearer to each other than this share; None: never.
        minimum: Replications before the first look.
        confidence: Probability, from 0 to 1, that the remaining strategy is the best.
    """

    metric: str
    better: Better | None = None
    within: float | None = None
    minimum: int = 10
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check(self)
        require(choice(None, "lower", "higher"), self.better, "better", "until")

    def look(self, values: Values, numbers: Sequence[int], k: int) -> Look:
        """Say which strategies remain. Those that dropped out earlier have fewer values than `numbers` says, and stay out."""
        names = [name for name, column in values.items() if len(column) >= numbers[k]]
        everyone = len(values)
        alpha = (1 - self.confidence) * spent(numbers, k) * per_comparison(everyone)
        wants_lower = (self.better or better_of(self.metric)) == "lower"
        out: set[str] = set()
        unlike = []
        for one, other in combinations(names, 2):
            pair = compared(values[one], values[other], kind_of(self.metric), alpha)
            if pair.lower is not None:
                out.add(other if pair.lower == wants_lower else one)
            if not _equal(pair, self.within):
                unlike.append((one, other))
        rest = tuple(name for name in names if name not in out)
        alike = not any(one in rest and other in rest for one, other in unlike)
        found = f"the best: {rest[0]}" if len(rest) == 1 else f"the best may be {', '.join(rest)}"
        if len(rest) > 1 and alike:
            found += f", within {100 * (self.within or 0):g} % of each other"
        return Look(numbers[k], len(rest) == 1 or alike, rest, found)

    def share(self, numbers: Sequence[int], k: int) -> float:
        """Share of look k."""
        return spent(numbers, k)


def per_comparison(strategies: int) -> float:
    """The share of alpha that each comparison of two has, both sides together, where one of several strategies is to be named the best.

    The best one is wrongly called worse in one of its m - 1 comparisons, on one side of each: alpha / (m - 1) a side.
    """
    return 2 / max(1, strategies - 1) if strategies > 2 else 1.0


def _equal(pair: Pair, within: float | None) -> bool:
    return within is not None and pair.within(within)


def _check(rule: Precision | Apart | Best) -> None:
    require(text, rule.metric, "metric", "until")
    require(number(above=0, below=1), rule.confidence, "confidence", "until")
    require(whole(2), rule.minimum, "minimum", "until")
    if not isinstance(rule, Precision):
        ranking(rule.metric, "until")
    for name in ("within", "relative", "absolute"):
        require(optional(number(above=0)), getattr(rule, name, None), name, "until")


@dataclass(slots=True)
class Stopping:
    """Course of a comparison that looks at its results.

    Attributes:
        rule: The rule.
        numbers: Replications after which it may look; the last one is the cap.
        looks: What it said each time.
    """

    rule: Rule
    numbers: list[int]
    looks: list[Look] = field(default_factory=list)

    @property
    def guaranteed(self) -> bool:
        """Return whether the rule itself ended it: not the cap, a failure or an interruption."""
        return bool(self.looks) and self.looks[-1].done

    def share(self, replications: int) -> float:
        """The share of alpha that is there for an interval over so many replications."""
        reached = [k for k, number in enumerate(self.numbers) if number <= replications]
        return self.rule.share(self.numbers, reached[-1] if reached else 0)

    def to_dict(self) -> dict[str, Any]:
        """Dictionary for machines."""
        return {
            "rule": str(written(self.rule)),
            "guaranteed": self.guaranteed,
            "looks": [asdict(one) for one in self.looks],
        }

    def __str__(self) -> str:
        if not self.looks:
            return f"{self.rule}: no look yet"
        last = self.looks[-1]
        ended = "" if last.done else f" (ended before the rule was met; at most {self.numbers[-1]} replications)"
        return f"after {last.replications} replications and {len(self.looks)} looks: {last.found}{ended}"


def written(rule: Rule) -> str | Rule:
    """The rule as `parsed` reads it, or itself if it has options that no text has."""
    texts = [f"best {rule.metric}", f"apart {rule.metric}"]
    if isinstance(rule, Precision):
        amount = f"{100 * rule.relative:g}%" if rule.relative is not None else f"{rule.absolute:g}"
        texts = [f"{rule.metric} within {amount}"]
    return next((text for text in texts if parsed(text) == rule), rule)


def rule_like(value: object) -> str:
    """Values that a rule may have; see `simtx.arguments`."""
    good = isinstance(value, str) or (
        not isinstance(value, type) and hasattr(value, "metric") and hasattr(value, "minimum")
    )
    return "" if good else "must be a rule such as simtx.experiments.Best, or a text such as 'best latency_p99_ms'"


def parsed(text: str) -> Rule:
    """A rule as the command line writes it: ``best latency_p99_ms``, ``apart latency_p99_ms``, ``latency_p99_ms within 5%`` (or ``within 2``).

    Raises:
        ScenarioError: It is none.
    """
    words = text.split()
    if len(words) == 2 and words[0] == "best":
        return Best(words[1])
    if len(words) == 2 and words[0] == "apart":
        return Apart(words[1])
    if len(words) == 3 and words[1] == "within":
        amount, percent = words[2].removesuffix("%"), words[2].endswith("%")
        try:
            value = float(amount)
        except ValueError:
            value = math.nan
        if value > 0:
            return Precision(words[0], value / 100) if percent else Precision(words[0], None, value)
    raise ScenarioError(
        f"'{text}' is no rule; write 'best METRIC', 'apart METRIC', 'METRIC within 5%' or 'METRIC within 2' (in its unit)",
        "until",
    )
