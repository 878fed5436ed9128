"""Checks of the business transaction: the order of its steps, what can be undone, and what keys and amounts refer to."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from simtx.scenario import build, schema
from simtx.scenario.problems import Path, Problem, unknown
from simtx.scenario.units import hint, shown


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
    """Steps have names of their own, and an order without cycles."""
    entries = file.transaction.steps
    named = [step.name for step in entries]
    sound = True
    for position, step in enumerate(entries):
        path = ("transaction", "steps", position)
        if step.name in named[:position]:
            yield (*path, "name"), f"'{step.name}' is the name of steps[{named.index(step.name)}] too"
            sound = False
        for index, name in enumerate(step.after or ()):
            if name not in named:
                yield (*path, "after", index), f"{shown(name)} is no step; {hint(name, named)}"
                sound = False
    if sound and (cycle := _cycle(named, build.predecessors(entries))):
        yield ("transaction", "steps"), f"the steps wait for each other in a cycle: {' -> '.join(cycle)}"


def step_services(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Steps are on services that exist."""
    for position, step in enumerate(file.transaction.steps):
        yield from unknown(("transaction", "steps", position, "service"), step.service, "service", file.services)


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
    """Check the kinds of steps: before the pivot everything can be undone, after it nothing can be refused; there is at most one pivot."""
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
