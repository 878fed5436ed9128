"""What has to fit together in a scenario: names, zones, the shape of the transaction, workload, faults and the length of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from string import Formatter
from typing import get_args

from simtx.protocols import contract
from simtx.scenario import build, schema
from simtx.scenario.catalog import LOCAL, region, regions
from simtx.scenario.conservation import conservation
from simtx.scenario.model import BROKER, CLIENT, HUB
from simtx.scenario.problems import Path, Problem
from simtx.scenario.traces import Arrivals
from simtx.scenario.units import duration_text, hint, shown

RESERVED = (HUB, BROKER, CLIENT, "coordinator", "orchestrator", "network")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)?")
_EFFECTS = tuple(effect.__name__ for effect in get_args(contract.Effect))

_WORKLOAD_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # needed, optional
    "poisson": (("rate",), ()),
    "deterministic": (("rate",), ()),
    "bursty": (("burst_rate", "burst_on", "burst_off"), ("rate",)),
    "profile": (("profile",), ()),
    "trace": (("trace",), ()),
    "closed": (("users", "think_time"), ()),
}
_LINK_FAULTS = ("partition", "loss", "duplication", "reorder")
_FAULT_NODES: Mapping[str, str] = {  # which nodes a fault can happen to, in words
    "crash": "a service or 'hub'",
    "pause": "a service or 'hub'",
    "clock-drift": "a service or 'hub'",
    "slow": "a service",
    "store-outage": "a service",
}


def problems(file: schema.ScenarioFile, arrivals: Arrivals, spoiled: set[Path]) -> list[Problem]:
    """All problems that span entries.

    Args:
        file: The tables, each of them valid by itself.
        arrivals: The trace file, if there is one.
        spoiled: Paths of problems found before; what they touch is not judged again.
    """
    checks: Iterable[Callable[[schema.ScenarioFile], Iterator[Problem]]] = (
        services,
        zones,
        parameters,
        steps,
        step_kinds,
        operations,
        workload,
        faults,
        policies,
        invariants,
    )
    touched = {_entity(path) for path in spoiled}
    found = [problem for check in checks for problem in check(file) if _entity(problem[0]) not in touched]
    found += [problem for problem in run(file, arrivals) if not {("run",), ("workload",)} & touched]
    if not found and not any(path[0] in ("transaction", "invariants") for path in touched if path):
        found += conservation(file)
    return found


def _entity(path: Path) -> Path:
    if path[:2] == ("transaction", "steps"):
        return path[:3]
    return path[:2] if path[:1] and path[0] in ("services", "faults", "invariants", "transaction") else path[:1]


# --- nodes and zones ----------------------------------------------------------------------------------------------------------


def services(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Names of services can be told from those of other nodes."""
    for name in file.services:
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) is None:
            yield ("services", name), f"{shown(name)} is no name; use letters, digits, '-' and '_', a letter first"
        elif name in RESERVED:
            yield ("services", name), f"'{name}' is the name of another node; call the service something else"


def zones(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Every zone is known, and every two nodes are linked."""
    known = (*regions().names, LOCAL, *file.network.zones)
    unknown = False
    places: list[tuple[Path, str | None]] = [(("services", name, "zone"), s.zone) for name, s in file.services.items()]
    places += [(("hub", "zone"), file.hub.zone), (("broker", "zone"), file.broker.zone)]
    places += [(("network", "client_zone"), file.network.client_zone)]
    for position, link in enumerate(file.network.links):
        path: Path = ("network", "links", position)
        if (link.between is None) == (link.from_ is None and link.to is None):
            yield path, "a link is given by 'between', or by 'from' and 'to'"
            unknown = True
        elif link.between is not None and len(link.between) != 2:
            yield (*path, "between"), f"two zones are needed, not {len(link.between)}"
            unknown = True
        elif link.between is None and (link.from_ is None or link.to is None):
            yield path, f"'{'from' if link.from_ is None else 'to'}' is missing"
            unknown = True
        else:
            places += [((*path, "between", index), end) for index, end in enumerate(link.between or ())]
            places += [((*path, "from"), link.from_), ((*path, "to"), link.to)]
    for path, zone in places:
        if zone is not None and not (_ZONE.fullmatch(zone) and (region(zone) in known or zone in known)):
            yield path, f"{shown(zone)} is no known zone; {hint(region(zone), known)}"
            unknown = True
    if unknown:
        return
    placed = build.zones(file)
    missing: dict[tuple[str, ...], tuple[str, str]] = {}
    for node, zone in placed.items():
        for other, other_zone in placed.items():
            if build.latency(file.network, zone, other_zone) is None:
                missing.setdefault(tuple(sorted((zone, other_zone))), (node, other))
    for (a, b), (node, other) in missing.items():
        yield (
            ("network", "links"),
            f"no latency between '{a}' and '{b}', which '{node}' and '{other}' need; add a link with between = ['{a}', '{b}']",
        )


# --- the business transaction -------------------------------------------------------------------------------------------------


def parameters(file: schema.ScenarioFile) -> Iterator[Problem]:
    """A parameter is a key or a number."""
    for name, parameter in file.transaction.parameters.items():
        path = ("transaction", "parameters", name)
        if name == "tx":
            yield path, "'tx' is the transaction's number; call the parameter something else"
        elif not name.isidentifier():
            yield path, f"{shown(name)} is no name; use letters, digits and '_', a letter first"
        if parameter.population is None and parameter.values is None:
            yield path, "give 'population' (a key) or 'values' (a number)"
        elif parameter.population is not None and parameter.values is not None:
            yield path, "give either 'population' (a key) or 'values' (a number), not both"


def steps(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Steps have names of their own, services that exist, and an order without cycles."""
    entries = file.transaction.steps
    named = [step.name for step in entries]
    sound = True
    for position, step in enumerate(entries):
        path = ("transaction", "steps", position)
        if step.name in named[:position]:
            yield (*path, "name"), f"'{step.name}' is the name of steps[{named.index(step.name)}] too"
            sound = False
        if step.service not in file.services:
            yield (*path, "service"), f"{shown(step.service)} is no service; {hint(step.service, file.services)}"
        for index, name in enumerate(step.after or ()):
            if name not in named:
                yield (*path, "after", index), f"{shown(name)} is no step; {hint(name, named)}"
                sound = False
    if sound and (cycle := _cycle(named, build.predecessors(entries))):
        yield ("transaction", "steps"), f"the steps wait for each other in a cycle: {' -> '.join(cycle)}"


def _cycle(names: list[str], before: list[list[str]]) -> list[str]:
    """One cycle, in the direction of time, its first step repeated at the end; empty if there is none."""
    if build.topological(names, before) is not None:
        return []
    predecessors = dict(zip(names, before, strict=True))
    alive = set(names)
    while gone := {name for name in alive if not alive & set(predecessors[name])}:
        alive -= gone
    walk = [next(name for name in names if name in alive)]
    while walk[-1] not in walk[:-1]:
        walk.append(next(name for name in predecessors[walk[-1]] if name in alive))
    cycle = walk[walk.index(walk[-1]) :][::-1]
    first = min(range(len(cycle) - 1), key=lambda i: names.index(cycle[i]))
    return [*cycle[first:-1], *cycle[:first], cycle[first]]


def step_kinds(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Before the pivot everything can be undone, after it nothing can be refused; there is at most one pivot."""
    entries = file.transaction.steps
    where = ("transaction", "steps")
    pivots = [position for position, step in enumerate(entries) if step.kind == "pivot"]
    if len(pivots) > 1:
        said = " and ".join(f"'{entries[p].name}'" for p in pivots)
        yield (*where, pivots[1], "kind"), f"there can be one pivot only, not {said}"
    for position, step in enumerate(entries):
        if step.kind == "compensatable" and not step.compensation and any(o.kind != "read" for o in step.operations):
            yield (
                (*where, position, "compensation"),
                f"is missing: '{step.name}' writes and can be undone until the pivot; say how, or make it the pivot",
            )
        if step.kind == "retriable":
            yield from _retriable(step, (*where, position), pivot=bool(pivots))
        for index, operation in enumerate(step.compensation):
            if operation.low is not None or operation.high is not None:
                guard = "low" if operation.low is not None else "high"
                yield (
                    (*where, position, "compensation", index, guard),
                    "a compensation must not be refused; drop the guard",
                )
    if len(pivots) == 1:
        yield from _around(entries, pivots[0])


def _retriable(step: schema.StepFile, path: Path, *, pivot: bool) -> Iterator[Problem]:
    if not pivot:
        yield (
            (*path, "kind"),
            f"'{step.name}' is retriable, but there is no pivot before it; make the last step that may be refused the pivot",
        )
    if step.refusal > 0:
        yield (
            (*path, "refusal"),
            f"'{step.name}' is retriable and comes after the pivot: it must not be refused; drop it, or move the step",
        )
    for index, operation in enumerate(step.operations):
        for guard in ("low", "high"):
            if getattr(operation, guard) is not None:
                yield (
                    (*path, "operations", index, guard),
                    f"'{step.name}' is retriable and comes after the pivot: it must not be refused; drop the guard, or move the step",
                )


def _around(entries: list[schema.StepFile], pivot: int) -> Iterator[Problem]:
    names = [step.name for step in entries]
    before = dict(zip(names, build.predecessors(entries), strict=True))

    def ancestors(name: str, seen: set[str]) -> set[str]:
        for other in before.get(name, ()):
            if other in before and other not in seen:
                seen.add(other)
                ancestors(other, seen)
        return seen

    center = entries[pivot].name
    earlier = ancestors(center, set())
    for position, step in enumerate(entries):
        path = ("transaction", "steps", position, "kind")
        if step.kind == "compensatable" and step.name not in earlier:
            yield (
                path,
                f"'{step.name}' does not come before the pivot '{center}', so it cannot be undone; make it retriable, or move it",
            )
        if step.kind == "retriable" and center not in ancestors(step.name, set()):
            yield (
                path,
                f"'{step.name}' does not come after the pivot '{center}', so it is not retriable; make it compensatable, or move it",
            )


def operations(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Templates and amounts refer to parameters that exist and are of the right kind."""
    for position, step in enumerate(file.transaction.steps):
        for part in ("operations", "compensation"):
            for index, operation in enumerate(getattr(step, part)):
                path = ("transaction", "steps", position, part, index)
                yield from _template(file, operation, path)
                yield from _amount(file, operation, path)


def _template(file: schema.ScenarioFile, operation: schema.OperationFile, path: Path) -> Iterator[Problem]:
    path = (*path, "key")
    if not operation.key:
        yield path, "is empty"
    known = {name for name, parameter in file.transaction.parameters.items() if parameter.population is not None}
    try:
        fields = [
            (name, form, conversion)
            for _, name, form, conversion in Formatter().parse(operation.key)
            if name is not None
        ]
    except ValueError:
        yield path, f"{shown(operation.key)} has a brace without its other half; write '{{name}}'"
        return
    for name, form, conversion in fields:
        if form or conversion:
            yield path, f"{shown(operation.key)}: write '{{name}}', without anything after the name"
        elif name not in known and name != "tx":
            if name in file.transaction.parameters:
                yield (
                    path,
                    f"{shown(operation.key)}: '{name}' is a number, not a key; give it 'population' instead of 'values'",
                )
            else:
                yield path, f"{shown(operation.key)}: '{name}' is no parameter; {hint(name, [*known, 'tx'])}"


def _amount(file: schema.ScenarioFile, operation: schema.OperationFile, path: Path) -> Iterator[Problem]:
    if operation.kind == "read":
        for key in ("amount", "parameter"):
            if getattr(operation, key) is not None:
                yield (*path, key), "a read has no amount"
    elif operation.amount is None and operation.parameter is None:
        yield path, f"'{operation.kind}' needs an 'amount', a 'parameter', or both"
    numbers = {name: p for name, p in file.transaction.parameters.items() if p.values is not None}
    if operation.parameter is not None and operation.parameter not in numbers:
        if operation.parameter in file.transaction.parameters:
            yield (
                (*path, "parameter"),
                f"'{operation.parameter}' is a key, not a number; give it 'values' instead of 'population'",
            )
        else:
            yield (
                (*path, "parameter"),
                f"{shown(operation.parameter)} is no parameter; {hint(operation.parameter, numbers)}",
            )
    if operation.low is not None and operation.high is not None and operation.low > operation.high:
        yield (*path, "low"), f"{operation.low:g} is above high = {operation.high:g}"


# --- workload and run ---------------------------------------------------------------------------------------------------------


def workload(file: schema.ScenarioFile) -> Iterator[Problem]:
    """A workload has what its kind needs, and nothing of another kind."""
    load = file.workload
    needed, optional = _WORKLOAD_KEYS[load.kind]
    given = load.model_fields_set - {"kind"}
    for key in needed:
        if key not in given:
            yield ("workload", key), f"is missing: a {load.kind} workload needs it"
    for key in type(load).model_fields:
        if key in given and key not in (*needed, *optional):
            yield ("workload", key), f"does not belong to a {load.kind} workload; drop it, or change the kind"
    for key in ("rate", "burst_rate"):
        if key in needed and getattr(load, key) == 0:
            yield ("workload", key), "is zero; nothing would ever arrive"
    if "profile" in given and load.kind == "profile":
        times = [time for time, _ in load.profile]
        if not times:
            yield ("workload", "profile"), "is empty; write pairs such as ['0s', '100/s']"
        elif any(later <= earlier for earlier, later in pairwise(times)):
            yield ("workload", "profile"), "the times must ascend"
        elif load.profile[-1][1] == 0 and file.run.transactions is not None:
            yield (
                ("workload", "profile"),
                "the last rate holds for ever and is zero; give the run a 'duration' instead of 'transactions'",
            )


def run(file: schema.ScenarioFile, arrivals: Arrivals) -> Iterator[Problem]:
    """A run has one length, and its warm-up is shorter."""
    plan = file.run
    rows = len(arrivals.times)
    if plan.transactions is not None and plan.duration is not None:
        yield ("run",), "give either 'transactions' or 'duration', not both"
        return
    if plan.transactions is None and plan.duration is None and file.workload.kind != "trace":
        yield ("run",), "give 'transactions' or 'duration'"
        return
    if file.workload.kind == "trace" and rows and plan.transactions is not None and plan.transactions > rows:
        yield ("run", "transactions"), f"{plan.transactions} is more than the trace has: {rows}"
        return
    length = plan.duration
    said = "lasts"
    if length is None:
        if file.workload.kind == "trace":
            length = arrivals.times[(plan.transactions or rows) - 1] if rows else None
        else:
            rate = build.workload(file.workload, None, (), {}).mean_rate() if file.workload.kind != "closed" else None
            length = plan.transactions / rate if rate and plan.transactions is not None else None
        said = "is expected to last"
    if length is not None and plan.warmup >= length > 0:
        yield (
            ("run", "warmup"),
            f"{duration_text(plan.warmup)} is not shorter than the run, which {said} {duration_text(length)}",
        )


# --- faults and policies ------------------------------------------------------------------------------------------------------


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
            if file.run.transactions is not None and fault.trigger.transaction >= file.run.transactions:
                yield (
                    (*path, "trigger", "transaction"),
                    f"{fault.trigger.transaction} never arrives: the run has {file.run.transactions}, counted from 0",
                )


def _fault_time(fault: schema.FaultFile, path: Path) -> Iterator[Problem]:
    given = [key for key in ("at", "every", "trigger") if getattr(fault, key) is not None]
    if len(given) != 1:
        choice = "'at', 'every' or 'trigger'" if fault.kind == "crash" else "'at' or 'every'"
        yield (
            path,
            f"give exactly one of {choice}" + (f", not {' and '.join(given)}" if given else " to say when it happens"),
        )
    elif fault.trigger is not None and fault.kind != "crash":
        yield (*path, "trigger"), f"only a crash has a trigger, a {fault.kind} has none"
    if fault.until is not None and fault.every is None:
        yield (*path, "until"), "belongs to 'every'"
    if fault.every is not None and fault.every.mean() <= 0:
        yield (*path, "every"), "is zero; the fault would never end"


def _fault_place(file: schema.ScenarioFile, fault: schema.FaultFile, path: Path) -> Iterator[Problem]:
    placed = {**dict.fromkeys(file.services, ""), HUB: "", BROKER: "", CLIENT: ""}
    if fault.kind in _FAULT_NODES:
        allowed = [*file.services, *([HUB] if "hub" in _FAULT_NODES[fault.kind] else [])]
        if fault.node is None:
            yield (*path, "node"), f"is missing: {_FAULT_NODES[fault.kind]}, or '*'"
        elif fault.node == BROKER:
            yield (
                (*path, "node"),
                f"a {fault.kind} happens to {_FAULT_NODES[fault.kind]}; for the broker there is kind = 'broker-outage'",
            )
        elif fault.node not in (*allowed, "*"):
            yield (
                (*path, "node"),
                f"{shown(fault.node)} is no node that a {fault.kind} can happen to; {hint(fault.node, allowed)}",
            )
        elif fault.node == "*" and fault.trigger is not None:
            yield (*path, "node"), "a trigger needs one node, not '*'"
    elif fault.node is not None and not (fault.kind == "broker-outage" and fault.node == BROKER):
        better = "'a' and 'b'" if fault.kind in _LINK_FAULTS else "nothing"
        yield (*path, "node"), f"a {fault.kind} has no node; give {better}"
    if fault.kind not in _LINK_FAULTS:
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
    used = [service.zone for service in file.services.values()]
    used += [zone for zone in (file.hub.zone, file.broker.zone, file.network.client_zone) if zone is not None]
    for key in ("a", "b"):
        for index, place in enumerate(getattr(fault, key)):
            if place not in placed and not any(build.covers(place, zone) for zone in used):
                yield (
                    (*path, key, index),
                    f"{shown(place)} is neither a node nor a zone with nodes; {hint(place, [*placed, *dict.fromkeys(used)])}",
                )


def _fault_size(fault: schema.FaultFile, path: Path) -> Iterator[Problem]:
    for key, kinds in (("factor", ("slow", "clock-drift")), ("probability", ("loss", "duplication", "reorder"))):
        value = getattr(fault, key)
        if value is None and fault.kind in kinds:
            yield (*path, key), f"is missing: a {fault.kind} needs it"
        elif value is not None and fault.kind not in kinds:
            yield (*path, key), f"does not belong to a {fault.kind}"


def policies(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Back-off does not start above its cap."""
    backoff = file.policies.backoff
    if backoff.cap < backoff.base:
        yield (
            ("policies", "backoff", "cap"),
            f"{duration_text(backoff.cap)} is below base = {duration_text(backoff.base)}",
        )


# --- invariants ---------------------------------------------------------------------------------------------------------------


def invariants(file: schema.ScenarioFile) -> Iterator[Problem]:
    """An invariant has what its kind needs, and speaks of services that exist."""
    named = [entry.name for entry in file.invariants]
    for position, entry in enumerate(file.invariants):
        path: Path = ("invariants", position)
        if entry.name in named[:position]:
            yield (*path, "name"), f"'{entry.name}' is the name of invariants[{named.index(entry.name)}] too"
        for index, term in enumerate(entry.terms):
            if term.service not in file.services:
                yield (
                    (*path, "terms", index, "service"),
                    f"{shown(term.service)} is no service; {hint(term.service, file.services)}",
                )
        if entry.service is not None and entry.service not in file.services:
            yield (*path, "service"), f"{shown(entry.service)} is no service; {hint(entry.service, file.services)}"
        other = ("service", "prefix", "low", "high") if entry.kind == "conserved" else ("terms",)
        for key in other:
            if getattr(entry, key) not in (None, []):
                yield (*path, key), f"does not belong to an invariant of kind '{entry.kind}'"
        if entry.kind == "conserved" and not entry.terms:
            yield (*path, "terms"), "is missing: a conserved sum needs terms"
        if entry.kind == "bounds":
            yield from _bounds(file, entry, path)


def _bounds(file: schema.ScenarioFile, entry: schema.InvariantFile, path: Path) -> Iterator[Problem]:
    for key in ("service", "prefix"):
        if getattr(entry, key) is None:
            yield (*path, key), "is missing: bounds need it"
    if entry.low is None and entry.high is None:
        yield path, "bounds need 'low', 'high', or both"
    low = entry.low if entry.low is not None else float("-inf")
    high = entry.high if entry.high is not None else float("inf")
    if low > high:
        yield (*path, "low"), f"{low:g} is above high = {high:g}"
    elif entry.service in file.services and entry.prefix is not None:
        for key, value in file.services[entry.service].store.initial.items():
            if key.rstrip("*").startswith(entry.prefix) and not low <= value <= high:
                yield path, f"'{key}' of '{entry.service}' starts at {value:g}, outside of the bounds"
