"""Controls of an explorer: load, distance, service times, failures and options of strategies, each with its positions.

A control says where it can stand and what it then changes. Positions are few, so that a slider that comes back to a place finds what was played
there. The scenario's own value is always one of them, and changes nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, assert_never, get_args, get_origin, get_type_hints

from simtx.errors import ScenarioError
from simtx.protocols.extras import policies_in_force
from simtx.protocols.policies import Policies
from simtx.scenario.distribution_files import write_distribution
from simtx.scenario.units import hint, shown

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario

Group: TypeAlias = Literal["load", "network", "service times", "failures", "options"]
Kind: TypeAlias = Literal["rate", "users", "seconds", "share", "choice"]
Value: TypeAlias = float | str | bool

RATE: Final = "rate"
RTT: Final = "rtt"
LOSS: Final = "loss"
DOWN: Final = "down"
_ROUND_TRIPS: Final = (2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)
_LOSSES: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
_DOWNS: Final = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
_CRASH_SECONDS: Final = 0.5
"""Seconds for which a service is away for each crash of the control `down`."""
_PERIODS: Final = {
    "2pc": ("vote_timeout",),
    "tcc": ("vote_timeout",),
    "saga": ("call_timeout",),
    "outbox": ("poll_interval",),
    "choreography": ("poll_interval",),
}
"""Policies of the built-in strategies that have a slider."""


@dataclass(frozen=True, slots=True)
class Control:
    """Something that can be moved.

    Attributes:
        name: What it is known by: ``rate``, ``rtt``, ``loss``, ``down``, ``service:NAME``, ``STRATEGY:OPTION``.
        label: A few words, for people.
        group: Where it stands among the others.
        kind: What its values are.
        values: Where it can stand: numbers ascending, in 1/s, seconds or as shares of 1; or the choices.
        base: Where the scenario has it.
    """

    name: str
    label: str
    group: Group
    kind: Kind
    values: tuple[Any, ...]
    base: Any

    @property
    def numeric(self) -> bool:
        """Return whether there is anything between two of its values."""
        return self.kind != "choice"

    def text(self, value: Any) -> str:
        """A value with its unit."""
        match self.kind:
            case "rate":
                return f"{value:,.4g}/s"
            case "users":
                return f"{value:,.0f} users"
            case "seconds":
                return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
            case "share":
                return f"{100 * value:.3g} %"
            case "choice":
                return str(value).lower() if isinstance(value, bool) else str(value)
            case _:
                assert_never(self.kind)

    def place(self, value: Any) -> float:
        """Place of a number between the lowest (0) and the highest (1): equal ratios are equally far apart, and zero is near the lowest other one."""
        low, high = self.values[0], self.values[-1]
        least = next((one for one in self.values if one > 0), 1.0)
        bottom, at, top = (math.asinh(2 * one / least) for one in (low, value, high))
        return (at - bottom) / (top - bottom) if top > bottom else 0.0

    def checked(self, value: Any) -> Any:
        """A value that it may have: one of the choices, or any number between the lowest and the highest position.

        Raises:
            ScenarioError: It may not.
        """
        if not self.numeric:
            found = [one for one in self.values if one == value and type(one) is type(value)]
            if not found:
                raise ScenarioError(
                    f"{shown(value)} is none of its choices; {hint(str(value), map(str, self.values))}", self.name
                )
            return found[0]
        number = value.item() if hasattr(value, "item") else value
        low, high = self.values[0], self.values[-1]
        good = isinstance(number, int | float) and not isinstance(number, bool) and low <= number <= high
        if not good:
            raise ScenarioError(
                f"{shown(value)} is not between {self.text(low)} and {self.text(high)}; give a number in {UNITS[self.kind]}",
                self.name,
            )
        return float(number)

    def with_values(self, more: Sequence[float]) -> Control:
        """The same with more positions."""
        return dataclasses.replace(self, values=tuple(sorted({*self.values, *more})))


UNITS: Final[Mapping[str, str]] = {
    "rate": "transactions a second",
    "users": "users",
    "seconds": "seconds",
    "share": "shares of 1",
    "choice": "",
}
"""Unit of the numbers of a control, by its kind."""


# --- which there are ------------------------------------------------------------------------------------------------------------


def controls(scenario: Scenario, strategies: Mapping[str, Strategy]) -> dict[str, Control]:
    """Controls of a scenario, by name.

    Args:
        scenario: The scenario.
        strategies: By label.
    """
    found = [
        *_load(scenario),
        *_network(scenario),
        *_services(scenario),
        *_failures(scenario),
        *_options(scenario, strategies),
    ]
    return {one.name: one for one in found}


def _load(scenario: Scenario) -> list[Control]:
    workload = scenario.workload
    if workload.kind in ("poisson", "deterministic", "bursty"):
        label = "rate" if workload.kind != "bursty" else "rate outside bursts"
        return [Control(RATE, label, "load", "rate", _around(workload.rate, 4.0, 12), float(workload.rate))]
    if workload.kind == "closed":
        values = sorted({float(max(1, round(one))) for one in _around(float(workload.users), 4.0, 6)})
        return [Control(RATE, "users", "load", "users", tuple(values), float(workload.users))]
    return []


def _network(scenario: Scenario) -> list[Control]:
    base = round_trip(scenario)
    if base <= 0:
        return []
    values = tuple(sorted({*(one for one in _ROUND_TRIPS if abs(one / base - 1) > 0.02), base}))
    return [Control(RTT, "round trip", "network", "seconds", values, base)]


def round_trip(scenario: Scenario) -> float:
    """Mean round trip in seconds between the two zones that are furthest apart; of a single zone, inside it."""
    links = scenario.network.links
    pairs = [(a, b) for a, b in links if a != b] or list(links)
    return max((links[a, b].latency.mean() + links[b, a].latency.mean() for a, b in pairs), default=0.0)


def _services(scenario: Scenario) -> list[Control]:
    found = []
    for name, service in scenario.services.items():
        mean = service.service_time.mean()
        if mean > 0:
            found.append(Control(f"service:{name}", name, "service times", "seconds", _around(mean, 4.0, 6), mean))
    return found


def _failures(scenario: Scenario) -> list[Control]:
    loss = scenario.network.loss
    values = tuple(sorted({*_LOSSES, loss}))
    return [
        Control(LOSS, "messages lost", "failures", "share", values, float(loss)),
        Control(DOWN, "services down", "failures", "share", _DOWNS, 0.0),
    ]


def _options(scenario: Scenario, strategies: Mapping[str, Strategy]) -> list[Control]:
    found = []
    for label, one in strategies.items():
        strategy: Any = one
        if not dataclasses.is_dataclass(strategy):
            continue
        kinds = get_type_hints(type(strategy))
        for option in dataclasses.fields(strategy):
            choices = _choices(kinds.get(option.name)) if option.init else ()
            if len(choices) > 1:
                name, value = f"{label}:{option.name}", getattr(strategy, option.name)
                found.append(
                    Control(name, f"{label}: {option.name.replace('_', ' ')}", "options", "choice", choices, value)
                )
        policies: Policies = policies_in_force(one, scenario.policies)
        for period in _PERIODS.get(label, ()):
            base = float(getattr(policies, period))
            title = f"{label}: {period.replace('_', ' ')}"
            found.append(Control(f"{label}:{period}", title, "options", "seconds", _around(base, 10.0, 6), base))
    return found


def _choices(kind: Any) -> tuple[Any, ...]:
    if kind is bool:
        return (False, True)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _around(base: float, factor: float, steps: int) -> tuple[float, ...]:
    """Positions from a `factor` below a value to a `factor` above it, in equal ratios; two digits, so that they read well."""
    others = {float(f"{base * factor ** (step / steps):.2g}") for step in range(-steps, steps + 1) if step}
    near = min((abs(one / base - 1) for one in others), default=1.0)
    return tuple(sorted({*(one for one in others if near > 0 and one != base), base}))


# --- what they change -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes by the controls.

    Attributes:
        scenario: New values by path.
        options: Of strategies: new values by option, by label.
    """

    scenario: dict[str, Any]
    options: dict[str, dict[str, Any]]


def changes(scenario: Scenario, known: Mapping[str, Control], values: Mapping[str, Any]) -> Changes:
    """Changes that controls make in a scenario; those that stand where the scenario has them change nothing.

    Args:
        scenario: As it is without them.
        known: All controls.
        values: Where they stand, by name; absent: where the scenario has it.
    """
    found = Changes({}, {})
    for name, value in values.items():
        control = known[name]
        if value == control.base:
            continue
        head, _, rest = name.partition(":")
        if name == RATE:
            if control.kind == "users":
                found.scenario["workload.users"] = int(value)
            else:
                found.scenario["workload.rate"] = value
        elif name == RTT:
            found.scenario.update(_links(scenario, value))
        elif head == "service":
            time = scenario.services[rest].service_time
            found.scenario[f"services.{rest}.service_time"] = write_distribution(time.scaled(value / control.base))
        elif name == LOSS:
            found.scenario["network.loss"] = value
        elif name == DOWN:
            found.scenario["faults"] = [*scenario.to_dict().get("faults", []), _crashes(value)]
        else:
            found.options.setdefault(head, {})[rest] = value if not control.numeric else f"{value!r}s"
    return found


def _links(scenario: Scenario, rtt: float) -> dict[str, Any]:
    """Links between zones whose longest round trip is this one; all of them keep their proportion, and what else was said of them."""
    network = scenario.network
    factor = rtt / round_trip(scenario)
    between = [(a, b) for a, b in network.links if a != b]
    if not between:
        (zone, _), *_ = network.links
        return {"network.latency": write_distribution(network.links[zone, zone].latency.scaled(factor))}
    raw = scenario.to_dict().get("network", {}).get("links", [])
    longer = [
        {"from": a, "to": b, "latency": write_distribution(network.links[a, b].latency.scaled(factor))}
        for a, b in between
    ]
    return {"network.links": [*raw, *longer]}


def _crashes(share: float) -> dict[str, Any]:
    """Crashes of every service and of the hub that keep each of them down for a share of the time."""
    average = _CRASH_SECONDS * (1 - share) / share
    return {
        "kind": "crash",
        "node": "*",
        "every": {"distribution": "exponential", "average": f"{average:.4g}s"},
        "duration": f"{_CRASH_SECONDS}s",
    }
