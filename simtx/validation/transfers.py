"""The transaction that the crash matrix plays: a transfer with a fee, over three services, that ends in every way it can.

It has accounts of its own every time, so that transactions never wait for each other and what happens to one shows in its data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simtx.protocols import Operation, Plan, Step
from simtx.workload.planner import REFUSE

if TYPE_CHECKING:
    from simtx.protocols.contract import StepKind
    from simtx.scenario import Scenario

SERVICES: Final = ("payer", "payee", "fees")
_KINDS: Final[tuple[StepKind, ...]] = ("compensatable", "pivot", "retriable")
_LATE: Final[tuple[StepKind, ...]] = ("compensatable", "compensatable", "pivot")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which the transaction goes.

    Attributes:
        amounts: What each step adds to its account; 0: it only reads it.
        kinds: Kinds of the steps.
        refused: The step that the business refuses, or None.
    """

    amounts: tuple[int, int, int] = (-3, 2, 1)
    kinds: tuple[StepKind, ...] = _KINDS
    refused: int | None = None


VARIANTS: Final = {
    "that succeeds": Variant(),
    "refused at step 1": Variant(refused=0),
    "refused at step 2": Variant(refused=1),
    "refused at step 3": Variant(kinds=_LATE, refused=2),
    "with a step that reads": Variant(amounts=(-1, 0, 1)),
    "that only reads": Variant(amounts=(0, 0, 0)),
}
"""All ways, by name."""


def plan(tx: int, name: str) -> Plan:
    """The plan of a transaction that goes this way."""
    variant = VARIANTS[name]
    key = f"account:{tx}"
    steps = []
    for index, (service, amount, kind) in enumerate(zip(SERVICES, variant.amounts, variant.kinds, strict=True)):
        operations: tuple[Operation, ...] = (Operation(key, "add", amount) if amount else Operation(key, "read"),)
        undo = (Operation(key, "add", -amount),) if amount and kind == "compensatable" else ()
        if variant.refused == index:
            operations = (*operations, REFUSE)
        steps.append(Step(index, f"{service}-part", service, operations, undo, kind, (index - 1,) if index else ()))
    return Plan(tx, tuple(steps))


def laboratory() -> Scenario:
    """The scenario around it: no service times, and timeouts that are short beside a restart, so that each of them is met."""
    from simtx.scenario import from_dict

    return from_dict(_tables("account:{tx}"), name="crash-matrix")


def busy(rate: float, seconds: float) -> Scenario:
    """The same between accounts that many want at the same time, with refusals: what a soak runs on.

    Args:
        rate: Transactions a second.
        seconds: How long they arrive.
    """
    from simtx.scenario import from_dict

    tables = _tables("account:{account}")
    payer, payee, _ = tables["transaction"]["steps"]
    payer["operations"][0]["low"] = 0
    payee["refusal"] = 0.1
    tables["transaction"]["parameters"] = {"account": {"population": 40, "popularity": "zipf"}}
    tables["defaults"]["service_time"] = {"distribution": "exponential", "average": 0.002}
    tables["workload"] = {"kind": "poisson", "rate": rate}
    tables["run"] = {"duration": seconds, "drain": 30.0}
    return from_dict(tables, name="soak")


def _tables(key: str) -> dict[str, Any]:
    """The scenario as it stands in a file, on the accounts with this key."""
    steps = [
        {
            "name": f"{service}-part",
            "service": service,
            "kind": kind,
            "operations": [{"key": key, "amount": amount}],
            "compensation": [{"key": key, "amount": -amount}] if kind == "compensatable" else [],
        }
        for service, amount, kind in zip(SERVICES, (-3, 2, 1), _KINDS, strict=True)
    ]
    terms = [{"service": name, "prefix": "account:"} for name in SERVICES]
    return {
        "title": "A transfer with a fee",
        "defaults": {"workers": 4, "service_time": 0.0, "store": {"initial": {"account:*": 100}}},
        "services": {name: {} for name in SERVICES},
        "transaction": {"name": "transfer", "steps": steps},
        "workload": {"kind": "deterministic", "rate": 1.0},
        "run": {"transactions": 1, "drain": 10.0},
        "broker": {"redelivery": 0.5, "ack": "fsync"},
        "policies": {
            "call_timeout": 0.2,
            "vote_timeout": 0.4,
            "acknowledgement_timeout": 0.2,
            "inquiry_timeout": 0.2,
            "idle_timeout": 0.5,
            "publish_timeout": 0.3,
            "poll_interval": 0.02,
            "backoff": {"base": 0.02, "cap": 0.1},
        },
        "invariants": [
            {"name": "money", "kind": "conserved", "unit": "EUR", "terms": terms},
            {"name": "no overdraft", "kind": "bounds", "service": "payer", "prefix": "account:", "low": 0},
        ],
    }
