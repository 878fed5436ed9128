"""Extras of a strategy: what it may say beside the members that it must have, and what holds if it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from simtx.protocols.contract import Strategy
from simtx.protocols.policies import Policies


@dataclass(frozen=True, slots=True)
class Extras:
    """Members that a strategy may have, by these names, with what holds for one that does not.

    Attributes:
        policies: Timeouts and retries of its own; None: those of the scenario.
        configured: A method that takes policies and gives the same strategy with these, if it has none of its own; None: it has nothing to fill in.
        uses_vote_store: Whether the machines ask for `LogOnce`: hosts then have a vote store.
        wake_on_commit: Whether hosts wake the long-running machines of a node (a `Timer` of kind ``wake``) after a commit that wrote outbox rows.
        wire_types: Classes of its own whose objects travel in messages and records (`simtx.protocols.codec.register`).
        recognises_requests: Whether a client's request that comes again, at any time, does not start the transaction again, and is answered.
            `simtx.verify` explores it with ``repeats``. Without it, hosts deliver a client's request to a machine once.
        may_lose_effects: Whether effects of a transaction may be lost or doubled by a crash, as under a dual write. A real run then reports no
            violation for them.
        timeouts: Names of the policies that end a wait under this strategy; None: any of them may.
        asks: Names of the effects that its machines at services ask for; empty: any.
        presumption: What the hub answers about a transaction of which it has no record. ``"abort"``: it was aborted; the figures count
            it so as soon as the hub is back after a crash. ``"commit"``: it was committed. None: neither. With these two the figures count as aborted only what
            the hub had begun and what has left no trace anywhere.
        exempt: Properties of `simtx.verify` that say nothing about it. Of one whose steps only reserve until the decision: ``undo-order``, as nobody builds on
            a reservation, so that they may be released in any order.
        further_nodes: Names of nodes that it has beside the services and its hub, such as acceptors. Each has a log like that of the hub and no rows, and is in the hub's zone.
        reserves: Whether its steps reserve what the plan changes, and change it with the decision: stores then do other operations than those of the plan.
        last_resource: The one service that need not prepare, though its machines ask services to; None: there is none.
        one_phase: Whether a transaction of one service needs no preparation.
        weaknesses: Properties of `simtx.verify` that it is known not to have, with the reason.
    """

    policies: Policies | None = None
    configured: Callable[[Policies], Strategy] | None = None
    uses_vote_store: bool = False
    wake_on_commit: bool = False
    wire_types: tuple[type, ...] = ()
    recognises_requests: bool = False
    may_lose_effects: bool = False
    timeouts: tuple[str, ...] | None = None
    asks: tuple[str, ...] = ()
    presumption: str | None = None
    exempt: tuple[str, ...] = ()
    further_nodes: tuple[str, ...] = ()
    reserves: bool = False
    last_resource: str | None = None
    one_phase: bool = False
    weaknesses: Mapping[str, str] = field(default_factory=dict)


_NAMES = tuple(one.name for one in fields(Extras))


def extras(strategy: Strategy) -> Extras:
    """Optional members of this strategy, with defaults for those that it does not have."""
    said: dict[str, Any] = {name: getattr(strategy, name) for name in _NAMES if hasattr(strategy, name)}
    return Extras(**said)


def own_nodes(strategy: Strategy) -> tuple[str, ...]:
    """Names of the nodes that a strategy has beside the services: its hub, if it has one, and what it has further."""
    hub = () if strategy.hub is None else (strategy.hub,)
    return (*hub, *extras(strategy).further_nodes)


def policies_in_force(strategy: Strategy, scenario: Policies) -> Policies:
    """The policies of a strategy, or those of the scenario for one that has none of its own."""
    return extras(strategy).policies or scenario


def configured(strategy: Strategy, policies: Policies) -> Strategy:
    """A strategy with the policies filled in: what its method ``configured(policies)`` gives; itself, if it has none."""
    fill = extras(strategy).configured
    return strategy if fill is None else fill(policies)
