"""Rules: when a signal means that somebody has to look.

Four kinds, each with the Prometheus expression that says the same: a threshold on a gauge; a rate or a share of counters; a share that has risen against its
own past; and the rate at which an error budget burns, over a long and a short window (B. Beyer and others, *The Site Reliability Workbook*, 2018,
chapter 5: the short window ends the alert soon after its reason).

A rule fires once its condition has held at every scrape for its `hold`, as with ``for`` in Prometheus. It ends at the first scrape at which the condition does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator

from simtx.alerts.signals import SIGNALS, Floats, Signals
from simtx.errors import ScenarioError
from simtx.files import LARGEST_SCENARIO, Unreadable, parse_toml, read_text
from simtx.scenario import units
from simtx.scenario.problems import Path as Location
from simtx.scenario.problems import Problem, failure, from_validation

Bools: TypeAlias = NDArray[np.bool_]
Severity: TypeAlias = Literal["page", "ticket"]


def _seconds(value: Any) -> float:
    return units.duration(value, unit_needed=False)


def _window(value: Any) -> float:
    return units.duration(value, unit_needed=False, zero=False)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.isidentifier() or not value.isascii():
        raise ValueError(f"{units.shown(value)} is no name of a rule; write letters and digits, such as 'InDoubt'")
    return value


def _of(kind: str) -> Any:
    known = [one.name for one in SIGNALS.values() if one.kind == kind]

    def found(value: Any) -> str:
        if value not in known:
            raise ValueError(f"{units.shown(value)} is no {kind}; {units.hint(str(value), known)}")
        return str(value)

    return PlainValidator(found)


Gauge: TypeAlias = Annotated[str, _of("gauge")]
Counter: TypeAlias = Annotated[str, _of("counter")]
Duration: TypeAlias = Annotated[float, PlainValidator(_seconds)]
Window: TypeAlias = Annotated[float, PlainValidator(_window)]
Level: TypeAlias = Annotated[float, PlainValidator(units.number)]
Share: TypeAlias = Annotated[float, PlainValidator(units.probability)]


class _Rule(BaseModel):
    """Members of all rules.

    Attributes:
        name: As the alert is called.
        summary: What somebody should know who is woken by it.
        severity: ``page`` (now) or ``ticket`` (in the morning).
        hold: Time for which the condition holds before the rule fires: a duration, or seconds.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, PlainValidator(_name)]
    summary: str = ""
    severity: Severity = "page"
    hold: Duration = 0.0


class Threshold(_Rule):
    """A gauge is above a level.

    Attributes:
        signal: Which gauge.
        above: The level, in the gauge's unit.
    """

    kind: Literal["threshold"] = "threshold"
    signal: Gauge
    above: Level

    def holds(self, seen: Signals) -> Bools:
        """Return whether the condition holds, scrape by scrape."""
        found: Bools = seen.values[self.signal] > self.above
        return found

    def expression(self) -> str:
        """The condition in PromQL."""
        return f"max({_metric(self.signal)}) > {self.above:g}"


class Rate(_Rule):
    """A counter grows fast: a second, or for each one that another counter grows by.

    Attributes:
        signal: Which counter.
        above: Growth a second, or share of the growth of `per`.
        window: Over which time.
        per: The other counter; None: per second.
        least: Growth of the signal below which nothing is said: one of one is no pattern.
    """

    kind: Literal["rate"] = "rate"
    signal: Counter
    above: Level
    window: Window
    per: Counter | None = None
    least: Level = 0.0

    def holds(self, seen: Signals) -> Bools:
        """Return whether the condition holds, scrape by scrape."""
        grown = seen.increase(self.signal, self.window)
        compared = _share(seen, self.signal, self.per, self.window) if self.per else grown / self.window
        found: Bools = (compared > self.above) & (grown >= self.least)
        return found

    def expression(self) -> str:
        """The condition in PromQL."""
        asked = f"{_share_text(self.signal, self.per, self.window) if self.per else _grown('rate', self.signal, self.window)} > {self.above:g}"
        return asked + (f" and {_grown('increase', self.signal, self.window)} >= {self.least:g}" if self.least else "")


class Change(_Rule):
    """A share is many times what it was.

    Attributes:
        signal: The counter that is a part.
        per: The counter that is the whole.
        times: By which factor the share has grown.
        above: Share below which nothing is said.
        window: Over which time it is taken.
        baseline: Over which time what it was before is taken; that time ends where the window begins.
        least: Growth of `per` in the baseline below which nothing is said: who has just started has no past.
    """

    kind: Literal["change"] = "change"
    signal: Counter
    per: Counter
    times: Level
    above: Share
    window: Window
    baseline: Window
    least: Level = 20.0

    @model_validator(mode="after")
    def _longer(self) -> Self:
        if self.baseline <= self.window:
            raise ValueError("the baseline must be longer than the window")
        return self

    def holds(self, seen: Signals) -> Bools:
        """Return whether the condition holds, scrape by scrape."""
        before = _earlier(_share(seen, self.signal, self.per, self.baseline), self.window, seen.every)
        known = _earlier(seen.increase(self.per, self.baseline), self.window, seen.every) >= self.least
        now = _share(seen, self.signal, self.per, self.window)
        found: Bools = known & (now > self.above) & (now > self.times * before)
        return found

    def expression(self) -> str:
        """The condition in PromQL."""
        now = _share_text(self.signal, self.per, self.window)
        before = _share_text(self.signal, self.per, self.baseline, f" offset {_span(self.window)}")
        known = f"{_grown('increase', self.per, self.baseline, f' offset {_span(self.window)}')} >= {self.least:g}"
        return f"{now} > {self.above:g} and {now} > {self.times:g} * {before} and {known}"


class BurnRate(_Rule):
    """An error budget is used up too fast, over a long and over a short window.

    Attributes:
        bad: Counter of what uses it up.
        total: Counter of all.
        objective: Share that should be good, such as 0.99.
        factor: How many times as fast as the budget allows.
        long: The window that has to see it.
        short: The window that has to see it still.
    """

    kind: Literal["burn-rate"] = "burn-rate"
    bad: Counter = "slow"
    total: Counter = "requests"
    objective: Share
    factor: Level
    long: Window
    short: Window

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.short >= self.long:
            raise ValueError("the short window must be shorter than the long one")
        if not 0 < self.objective < 1:
            raise ValueError("the objective must be above 0 and below 1")
        if self.factor * (1 - self.objective) >= 1:
            raise ValueError(
                f"it could never fire: {self.factor:g} times the budget of {1 - self.objective:g} is more than all"
            )
        return self

    def holds(self, seen: Signals) -> Bools:
        """Return whether the condition holds, scrape by scrape."""
        most = self.factor * (1 - self.objective)
        found: Bools = (_share(seen, self.bad, self.total, self.long) > most) & (
            _share(seen, self.bad, self.total, self.short) > most
        )
        return found

    def expression(self) -> str:
        """The condition in PromQL."""
        most = f"{self.factor:g} * {1 - self.objective:g}"
        return " and ".join(
            f"{_share_text(self.bad, self.total, window)} > {most}" for window in (self.long, self.short)
        )


AlertRule: TypeAlias = Threshold | Rate | Change | BurnRate


def _share(seen: Signals, part: str, whole: str, window: float) -> Floats:
    """Growth of one counter for each one that another grows by; where that does not grow, infinite if the first does, else 0, of which PromQL says nothing either."""
    grown, of = seen.increase(part, window), seen.increase(whole, window)
    found: Floats = np.divide(grown, of, out=np.where(grown > 0, np.inf, 0.0), where=of > 0)
    return found


def _earlier(values: Floats, by: float, every: float) -> Floats:
    """Values so many seconds before; 0 before the run."""
    back = max(round(by / every), 1)
    found: Floats = np.concatenate([np.zeros(min(back, len(values))), values[:-back]])[: len(values)]
    return found


# --- PromQL -------------------------------------------------------------------------------------------------------------------


def _metric(name: str) -> str:
    return SIGNALS[name].metric


def _span(seconds: float) -> str:
    """A duration as PromQL writes it: whole seconds, or milliseconds."""
    return f"{seconds:.0f}s" if seconds == round(seconds) else f"{seconds * 1000:.0f}ms"


def _grown(how: str, name: str, window: float, offset: str = "") -> str:
    return f"sum({how}({_metric(name)}[{_span(window)}]{offset}))"


def _share_text(part: str, whole: str, window: float, offset: str = "") -> str:
    return f"{_grown('increase', part, window, offset)} / {_grown('increase', whole, window, offset)}"


def prometheus(rules: Sequence[AlertRule], *, group: str = "simtx") -> str:
    """The text of a rule file that Prometheus reads.

    The services have to export the metrics that `SIGNALS` names; comments at the top say which, and what they mean.

    Args:
        rules: Which ones.
        group: Name of the group.
    """
    listed = [
        {
            "alert": rule.name,
            "expr": rule.expression(),
            "for": f"{rule.hold * 1000:.0f}ms",
            "labels": {"severity": rule.severity},
            "annotations": {"summary": rule.summary or rule.name},
        }
        for rule in rules
    ]
    body = {"groups": [{"name": group, "rules": listed}]}
    used = [one for one in SIGNALS.values() if any(one.metric in rule.expression() for rule in rules)]
    head = "".join(f"# {one.metric} ({one.kind}): {one.meaning}\n" for one in used)
    return f"# Metrics that the services export:\n{head}{yaml.safe_dump(body, sort_keys=False, width=1000)}"


# --- rules of files, and those that are there -----------------------------------------------------------------------------------


_KINDS: Final[dict[str, type[AlertRule]]] = {
    "threshold": Threshold,
    "rate": Rate,
    "change": Change,
    "burn-rate": BurnRate,
}


def read_rules(path: str | Path) -> tuple[AlertRule, ...]:
    """Rules of a TOML file: one ``[[rules]]`` table each, with a ``kind`` and the attributes of its class.

    Raises:
        ScenarioError: The file cannot be read, or a rule in it is wrong; every problem has a line of its own.
    """
    file = Path(path).expanduser()
    try:
        raw = parse_toml(read_text(file, LARGEST_SCENARIO))
    except FileNotFoundError:
        raise ScenarioError("there is no such file", str(file)) from None
    except Unreadable as error:
        raise ScenarioError(str(error), str(file)) from None
    tables = raw.get("rules")
    if list(raw) != ["rules"] or not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ScenarioError("must hold [[rules]] tables and nothing else", file.name)
    found: list[AlertRule] = []
    problems: list[Problem] = []
    for position, table in enumerate(tables):
        where: Location = ("rules", position)
        kind = table.get("kind")
        model = _KINDS.get(str(kind))
        if model is None:
            problems.append(
                ((*where, "kind"), f"{units.shown(kind)} is no kind of rule; {units.hint(str(kind), _KINDS)}")
            )
            continue
        try:
            rule = model.model_validate(table)
        except ValidationError as error:
            problems += [((*where, *below), text) for below, text in from_validation(error, model)]
            continue
        if any(one.name == rule.name for one in found):
            problems.append(((*where, "name"), f"two rules are called '{rule.name}'"))
        found.append(rule)
    if problems:
        raise failure(problems, file.name)
    return tuple(found)


DEFAULT: Final[tuple[AlertRule, ...]] = (
    Threshold(
        name="InDoubt",
        signal="in_doubt_age",
        above=2.0,
        summary="A prepared branch waits for its coordinator, and holds its locks.",
    ),
    Threshold(
        name="NoAnswer",
        signal="unanswered_age",
        above=5.0,
        summary="A client has waited for its answer for long.",
    ),
    Threshold(
        name="NoOutcome",
        signal="undecided_age",
        above=10.0,
        severity="ticket",
        summary="A transaction goes neither forth nor back.",
    ),
    Threshold(
        name="EventLag",
        signal="event_lag",
        above=2.0,
        summary="Events are not published, or not consumed.",
    ),
    Threshold(
        name="HalfDone",
        signal="half_done_age",
        above=5.0,
        summary="A transaction is in force in some stores and not in others.",
    ),
    Rate(
        name="Stuck",
        signal="stuck",
        above=0.0,
        window=60.0,
        summary="A service waits for an operator.",
    ),
    Rate(
        name="StoodStill",
        signal="stood_still",
        above=0.0,
        window=60.0,
        summary="A choreographed saga has not moved for longer than its monitor is patient.",
    ),
    Rate(
        name="Retries",
        signal="retries",
        per="requests",
        above=0.5,
        window=10.0,
        least=5.0,
        severity="ticket",
        summary="Calls time out and are repeated.",
    ),
    Rate(
        name="Rejections",
        signal="rejections",
        above=0.0,
        window=10.0,
        severity="ticket",
        summary="A circuit breaker is open.",
    ),
    Change(
        name="Rollbacks",
        signal="aborts",
        per="decisions",
        times=3.0,
        above=0.1,
        window=5.0,
        baseline=60.0,
        severity="ticket",
        summary="Far more transactions than before are rolled back.",
    ),
    Change(
        name="Compensations",
        signal="compensations",
        per="requests",
        times=3.0,
        above=0.1,
        window=5.0,
        baseline=60.0,
        severity="ticket",
        summary="Far more steps than before are undone.",
    ),
    BurnRate(
        name="SlowAnswers",
        objective=0.99,
        factor=14.4,
        long=60.0,
        short=5.0,
        summary="Answers are late, and the error budget of a month would be gone in two days.",
    ),
)
"""The rules that hold if nobody says otherwise: for services whose transactions take well below a second, scraped every second."""


def default_rules() -> tuple[AlertRule, ...]:
    """The rules that hold if nobody says otherwise; their thresholds are for transactions that take well below a second."""
    return DEFAULT
