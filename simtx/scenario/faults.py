"""Checks of the faults: when, where and how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, get_args

from simtx.protocols import contract
from simtx.protocols.names import BROKER, CLIENT, HUB, VOTE_STORE
from simtx.protocols.registry import FURTHER_NODES
from simtx.scenario import build, schema
from simtx.scenario.fault_kinds import FAULT_KINDS, Place
from simtx.scenario.problems import Path, Problem
from simtx.scenario.units import hint, shown

_EFFECTS = tuple(effect.__name__ for effect in get_args(contract.Effect))
_NODES: Final[Mapping[Place, str]] = {
    "node": "a service or 'hub'",
    "service": "a service",
    "provider": "a service with a provider",
}


def faults(file: schema.ScenarioFile) -> Iterator[Problem]:
    """A fault says when, where and how much, and names things that exist."""
    for position, fault in enumerate(file.faults):
        path: Path = ("faults", position)
        yield from _fault_time(fault, path)
        yield from _fault_place(file, fault, path)
        yield from _fault_size(fault, path)
        if fault.trigger is not None:
            effect = fault.trigger.effect.partition(":")[0]
            if effect not in _EFFECTS:
                yield (
                    (*path, "trigger", "effect"),
                    f"{shown(effect)} is no effect of a protocol; {hint(effect, _EFFECTS)}",
                )
            elif effect == contract.ReadOutbox.__name__:
                yield (
                    (*path, "trigger", "effect"),
                    "a relay reads the outbox for no transaction in particular; name 'Publish' or 'MarkOutbox'",
                )
            if file.run.transactions is not None and fault.trigger.transaction >= file.run.transactions:
                yield (
                    (*path, "trigger", "transaction"),
                    f"{fault.trigger.transaction} never arrives: the run has {file.run.transactions}, counted from 0",
                )


def _fault_time(fault: schema.FaultFile, path: Path) -> Iterator[Problem]:
    given = [key for key in ("at", "every", "trigger") if getattr(fault, key) is not None]
    if len(given) != 1:
        choice = "'at', 'every' or 'trigger'" if FAULT_KINDS[fault.kind].triggered else "'at' or 'every'"
        yield (
            path,
            f"give exactly one of {choice}" + (f", not {' and '.join(given)}" if given else " to say when it happens"),
        )
    elif fault.trigger is not None and not FAULT_KINDS[fault.kind].triggered:
        yield (*path, "trigger"), f"only a crash has a trigger, a {fault.kind} has none"
    if fault.until is not None and fault.every is None:
        yield (*path, "until"), "belongs to 'every'"
    if fault.every is not None and fault.every.mean() <= 0:
        yield (*path, "every"), "is zero; the fault would never end"


def _fault_place(file: schema.ScenarioFile, fault: schema.FaultFile, path: Path) -> Iterator[Problem]:
    placed = {**dict.fromkeys(file.services, ""), HUB: "", BROKER: "", VOTE_STORE: "", CLIENT: ""}
    kind = FAULT_KINDS[fault.kind]
    if kind.place in _NODES:
        whom = _NODES[kind.place]
        allowed = [*file.services, *([HUB] if kind.place == "node" else [])]
        if kind.place == "provider":
            allowed = [name for name, service in file.services.items() if service.provider is not None]
        each = "*" if kind.place != "provider" else None
        if not allowed:
            yield (*path, "kind"), f"a {fault.kind} happens to the provider of a service, and no service has one"
        elif fault.node is None:
            yield (*path, "node"), f"is missing: {whom}" + (", or '*'" if each else "")
        elif fault.node in (BROKER, VOTE_STORE):
            what = "broker" if fault.node == BROKER else "vote store"
            yield (
                (*path, "node"),
                f"a {fault.kind} happens to {whom}; for the {what} there is kind = '{fault.node}-outage'",
            )
        elif fault.node not in (*allowed, each) and not (kind.place == "node" and fault.node in FURTHER_NODES):
            yield (
                (*path, "node"),
                f"{shown(fault.node)} is no node that a {fault.kind} can happen to; {hint(fault.node, allowed)}",
            )
        elif fault.node == "*" and fault.trigger is not None:
            yield (*path, "node"), "a trigger needs one node, not '*'"
    elif fault.node is not None and not (kind.place in (BROKER, VOTE_STORE) and fault.node == kind.place):
        better = "'a' and 'b'" if kind.place == "links" else "nothing"
        yield (*path, "node"), f"a {fault.kind} has no node; give {better}"
    if kind.place != "links":
        for key in ("a", "b", "one_way"):
            if getattr(fault, key):
                yield (*path, key), f"belongs to faults of links, not to a {fault.kind}"
        return
    if fault.b and not fault.a:
        yield (*path, "a"), "is missing: 'b' is its other side"
    if fault.kind == "partition" and not fault.a:
        yield (*path, "a"), "is missing: a partition needs the nodes or zones on one side"
    if fault.one_way and not fault.a:
        yield (*path, "one_way"), "needs 'a', where the messages come from"
    used = build.zones(file).values()
    for key in ("a", "b"):
        for index, place in enumerate(getattr(fault, key)):
            if place not in placed and not any(build.covers(place, zone) for zone in used):
                yield (
                    (*path, key, index),
                    f"{shown(place)} is neither a node nor a zone with nodes; {hint(place, [*placed, *dict.fromkeys(used)])}",
                )


def _fault_size(fault: schema.FaultFile, path: Path) -> Iterator[Problem]:
    for key, value in (("factor", fault.factor), ("probability", fault.probability)):
        kind = FAULT_KINDS[fault.kind]
        needed = kind.strength == key
        if value is None and needed:
            yield (*path, key), f"is missing: a {fault.kind} needs it"
        elif value is not None and not needed and kind.further != key:
            yield (*path, key), f"does not belong to a {fault.kind}"
