"""Failures by name that an explorer offers as buttons: what goes wrong, and when, as a share of the time in which transactions arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simtx.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Preset:
    """A failure by name.

    Attributes:
        name: What it is known by.
        title: On the button.
        lesson: One sentence: what to look at.
        at: When it begins, as a share of the time in which transactions arrive.
        lasts: How long it lasts, likewise.
        fault: What happens, as a fault of a scenario file; ``LAST`` as its node stands for the service of the last step.
    """

    name: str
    title: str
    lesson: str
    at: float
    lasts: float
    fault: Mapping[str, Any]

    def faults(self, scenario: Scenario) -> list[dict[str, Any]]:
        """The faults, at their times in this scenario."""
        length = scenario.expected_length()
        fault = dict(self.fault)
        if fault.get("node") == LAST:
            fault["node"] = scenario.transaction.steps[-1].service
        return [{**fault, "at": _time(self.at * length), "duration": _time(self.lasts * length)}]


def _time(seconds: float) -> str:
    return f"{float(f'{seconds:.3g}')!r}s"


LAST: Final = "LAST"

PRESETS: Final = (
    Preset(
        "hub-crash",
        "coordinator or orchestrator dies",
        "Who waits for it holds locks under 2PC; a saga goes on from its log; an outbox does not have one.",
        0.3,
        0.2,
        {"kind": "crash", "node": "hub"},
    ),
    Preset(
        "service-crash",
        "a service crashes",
        "What it had not made durable is lost, and everybody who needs it asks again.",
        0.3,
        0.2,
        {"kind": "crash", "node": LAST},
    ),
    Preset(
        "slow-service",
        "a slow participant",
        "A queue grows before it, and locks elsewhere are held for as long as it takes.",
        0.3,
        0.3,
        {"kind": "slow", "node": LAST, "factor": 4.0},
    ),
    Preset(
        "broker-outage",
        "the broker is away",
        "Events wait in the outbox; what a dual write could not publish is lost.",
        0.3,
        0.2,
        {"kind": "broker-outage"},
    ),
    Preset(
        "lossy-network",
        "every tenth message is lost",
        "Retries repair it, at the price of timeouts.",
        0.2,
        0.5,
        {"kind": "loss", "probability": 0.1},
    ),
)
"""All of them."""


def presets() -> dict[str, Preset]:
    """All of them, by name."""
    return {one.name: one for one in PRESETS}
