"""The fault plan of a run: whom each fault of a scenario hits, and the name of its random stream, decided once for every world.

The simulator and the real execution both carry out this plan. So a fault strikes the same nodes and links at the same times in both, and under
every strategy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, assert_never

from simtx.protocols import Strategy
from simtx.protocols.extras import extras, own_nodes
from simtx.protocols.names import BROKER, HUB, VOTE_STORE
from simtx.protocols.registry import FURTHER_NODES
from simtx.scenario import Fault, Scenario
from simtx.scenario.fault_kinds import FAULT_KINDS


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of a scenario, under one strategy.

    Attributes:
        number: Its number in the scenario, from 0.
        fault: The fault.
        stream: Name of its random stream. It says what the fault hits, so that one fault more shifts no other.
        node: The node that it hits, or ``broker``; None: links, or a hub or broker that this strategy does not have.
        links: (from, to) of the links that it hits, in order; empty for faults of nodes.
    """

    number: int
    fault: Fault
    stream: str
    node: str | None
    links: tuple[tuple[str, str], ...]

    @property
    def hits(self) -> bool:
        """Return whether there is anything under this strategy that it could hit."""
        return self.node is not None or FAULT_KINDS[self.fault.kind].place == "links"


def fault_plan(scenario: Scenario, strategy: Strategy) -> tuple[PlannedFault, ...]:
    """All faults of a scenario, as they strike under a strategy."""
    numbers: Counter[str] = Counter()
    plan = []
    for number, fault in enumerate(scenario.faults):
        name = f"fault:{fault.kind}:{fault.node}:{','.join(fault.a)}>{','.join(fault.b)}"
        stream = f"{name}#{numbers[name]}"
        numbers[name] += 1
        links = _links(fault, scenario, strategy) if FAULT_KINDS[fault.kind].place == "links" else ()
        plan.append(PlannedFault(number, fault, stream, _node(fault, strategy), links))
    return tuple(plan)


def _node(fault: Fault, strategy: Strategy) -> str | None:
    match FAULT_KINDS[fault.kind].place:
        case "broker":
            wanted = BROKER
        case "vote-store":
            wanted = VOTE_STORE
        case "node" | "service" | "provider" | "links":
            wanted = fault.node
        case place:
            assert_never(place)
    if wanted == BROKER:
        return BROKER if strategy.uses_broker else None
    if wanted == VOTE_STORE:
        return VOTE_STORE if extras(strategy).uses_vote_store else None
    if wanted == HUB:
        return strategy.hub
    return None if wanted in FURTHER_NODES and wanted not in own_nodes(strategy) else wanted or None


def _links(fault: Fault, scenario: Scenario, strategy: Strategy) -> tuple[tuple[str, str], ...]:
    """All links from the nodes or zones `a` to the nodes or zones `b`, and back unless it is one-way.

    Without `b` it is all other nodes, without either it is every link.
    """
    zones = {name: scenario.node_zone(name) for name in scenario.services}
    zones |= dict.fromkeys(own_nodes(strategy), scenario.node_zone(HUB))
    if strategy.uses_broker:
        zones[BROKER] = scenario.node_zone(BROKER)
    if extras(strategy).uses_vote_store:
        zones[VOTE_STORE] = scenario.node_zone(VOTE_STORE)

    def members(names: Iterable[str]) -> set[str]:
        wanted = {strategy.hub if name == HUB else name for name in names}
        return {name for name, zone in zones.items() if not wanted or name in wanted or zone in wanted}

    first = members(fault.a)
    second = members(fault.b) if fault.b or not fault.a else set(zones) - first
    pairs = {(x, y) for x in first for y in second if x != y}
    if not fault.one_way:
        pairs |= {(y, x) for x, y in pairs}
    return tuple(sorted(pairs))


class Nesting:
    """Faults of one kind that overlap on one node: what they do ends with the last of them."""

    __slots__ = ("_depths",)

    def __init__(self) -> None:
        self._depths: Counter[tuple[str, str]] = Counter()

    def begin(self, kind: str, node: str, begin: Callable[[], Any], end: Callable[[], Any]) -> Callable[[], None]:
        """Begin something that lasts until the last of the faults that overlap is over.

        Args:
            kind: Kind of the fault.
            node: Whom it hits.
            begin: Carries it out; called for each fault, so that a node that came back in between is hit again.
            end: Takes it back.

        Returns:
            What is to be called when this fault is over.
        """
        key = (kind, node)
        self._depths[key] += 1
        begin()

        def undo() -> None:
            self._depths[key] -= 1
            if not self._depths[key]:
                end()

        return undo
