"""Failures by name that an explorer plays in its own scenario: what goes wrong, when, and for how long.

When it begins is a share of the time in which transactions arrive. It lasts for a share of the time of the *short* runs, which the picture shows first: it is as
long in the full runs and in a saved file, so that all of them are about the same failure.

Where one of the failure stories (`simtx.stories`) is about the same failure, it has the same name here. A story is played in a world of its own, which shows the
failure as clearly as can be; here it strikes the scenario that is explored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simtx.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure by name.

    Attributes:
        name: What it is known by.
        title: What happens, in a few words.
        lesson: What to look at, in a sentence.
        at: When it begins, as a share of the time in which transactions arrive.
        lasts: How long it lasts, as a share of the time in which transactions arrive in a short run.
        fault: What happens, as a fault of a scenario file, without its times.
    """

    name: str
    title: str
    lesson: str
    at: float
    lasts: float
    fault: dict[str, Any]

    def duration(self, short: Scenario) -> str:
        """Duration, with the unit.

        Args:
            short: The scenario of the short runs, as it is before anything was moved.
        """
        return _time(self.lasts * short.expected_length())

    def faults(self, scenario: Scenario, short: Scenario) -> list[dict[str, Any]]:
        """The faults of a run.

        Args:
            scenario: What is played.
            short: The scenario of the short runs: the failure lasts as long as it does there.
        """
        return [{**self.fault, "at": _time(self.at * scenario.expected_length()), "duration": self.duration(short)}]


def _time(seconds: float) -> str:
    return f"{float(f'{seconds:.3g}')!r}s"


def failures(scenario: Scenario) -> dict[str, Failure]:
    """The failures that can strike a scenario, by name."""
    first, last = scenario.transaction.steps[0].service, scenario.transaction.steps[-1].service
    listed = [
        Failure(
            "coordinator-dies",
            "coordinator dies",
            "The coordinator of 2PC, or the orchestrator of a saga, is down: prepared branches of 2PC keep their locks, a saga waits without any, an outbox has no such node.",
            0.3,
            0.2,
            {"kind": "crash", "node": "hub"},
        ),
        Failure(
            "participant-dies",
            f"{last} is down",
            "What it had not made durable is lost, and everybody who needs it asks again until it is back.",
            0.3,
            0.2,
            {"kind": "crash", "node": last},
        ),
        Failure(
            "slow-participant",
            f"{last} is slow",
            "It takes five times as long: a queue grows before it, and 2PC holds its locks elsewhere for as long.",
            0.3,
            0.3,
            {"kind": "slow", "node": last, "factor": 5.0},
        ),
        Failure(
            "broker-outage",
            "broker is away",
            "Events wait in the outbox and are late; a dual write gives up after some attempts, and what it could not publish is missing.",
            0.3,
            0.2,
            {"kind": "broker-outage"},
        ),
        Failure(
            "relay-stalls",
            "relay stalls",
            f"The way from {first} to the broker is cut: clients of the outbox are answered as ever, and outcomes are late.",
            0.3,
            0.2,
            {"kind": "partition", "a": [first], "b": ["broker"]},
        ),
        Failure(
            "lossy-network",
            "messages get lost",
            "Every tenth message is lost on top of what is always lost: timeouts repair it, and timeouts take long.",
            0.2,
            0.5,
            {"kind": "loss", "probability": 0.1},
        ),
    ]
    listed.extend(
        Failure(
            f"{outside}-provider-away",
            f"the provider of {outside} is away",
            "Nobody reaches it, and its answers are lost: each worker waits until the time for an answer is over, and nobody knows what was done.",
            0.3,
            0.2,
            {"kind": "provider-outage", "node": outside},
        )
        for outside in scenario.providers
    )
    here = scenario.node_zone(first) or ""
    if any(scenario.node_zone(name) != here for name in scenario.services):
        listed.append(
            Failure(
                "split-brain",
                f"{here} is cut off",
                f"Nothing gets from {here} to anywhere else, nor back: what needs both sides waits, whoever decides.",
                0.3,
                0.2,
                {"kind": "partition", "a": [here]},
            )
        )
    return {one.name: one for one in listed}
