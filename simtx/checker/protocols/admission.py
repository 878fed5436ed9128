"""Refuses a strategy that cannot be explored: what a beginner gets wrong is told in one line, before the search begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from simtx.errors import ScenarioError
from simtx.protocols import Machine, Plan, Strategy
from simtx.protocols.extras import own_nodes

T = TypeVar("T")
_CONTAINERS: Final = (list, dict, set)


class UnfitStateError(ScenarioError):
    """The fields of a machine cannot be copied and compared, so no verdict on it would be worth anything."""


def admit(strategy: Strategy, services: Sequence[str], plans: Iterable[Plan]) -> None:
    """Make sure that the members of a strategy give what `simtx.protocols.Strategy` says, as far as it shows at once.

    Raises:
        ScenarioError: One of them does not, or the strategy cannot play one of the plans.
    """
    for own in own_nodes(strategy):
        if own in services:
            what = "hub" if own == strategy.hub else "a node"
            raise ScenarioError(f"{what} is '{own}', which is the name of a service; name it otherwise", "verify")
    nodes = (*services, *own_nodes(strategy))
    for name in nodes:
        machine = _call(f"machine('{name}', 0)", lambda: strategy.machine(name, 0))  # noqa: B023 - called at once
        twin = _call(f"machine('{name}', 0)", lambda: strategy.machine(name, 0))  # noqa: B023
        _admit_machine(f"machine('{name}', 0)", machine, twin)
        daemons = _call(f"daemons('{name}')", lambda: strategy.daemons(name))  # noqa: B023
        if not isinstance(daemons, Iterable):
            raise ScenarioError(f"daemons('{name}') gives {daemons!r}; it has to give machines, or ()", "verify")
        for one, other in zip(daemons, strategy.daemons(name), strict=True):
            _admit_machine(f"daemons('{name}')", one, other)
    for plan in plans:
        problem = _call("check(plan)", lambda: strategy.check(plan))  # noqa: B023
        if problem is not None and not isinstance(problem, str):
            raise ScenarioError(f"check(plan) gives {problem!r}; it has to give a line of text, or None", "verify")
        if problem:
            raise ScenarioError(problem, "verify")
        entry = _call("entry(plan)", lambda: strategy.entry(plan))  # noqa: B023
        if entry not in nodes:
            raise ScenarioError(f"entry(plan) is {entry!r}, which is no node; there are {', '.join(nodes)}", "verify")


def _call(what: str, function: Callable[[], T]) -> T:
    """Return what a member gives. What it raises is the strategy's mistake, and is reported as such."""
    try:
        return function()
    except ScenarioError:
        raise
    except Exception as error:
        raise ScenarioError(f"{what} raises {type(error).__name__}: {error}", "verify") from error


def _admit_machine(what: str, machine: Any, twin: Any) -> None:
    if not isinstance(machine, Machine):
        raise ScenarioError(f"{what} gives {machine!r}; it has to give a simtx.protocols.Machine", "verify")
    kind = type(machine).__name__
    unset = [name for name in slots(machine) if not hasattr(machine, name)]
    if unset:
        fields = ", ".join(unset)
        raise UnfitStateError(f"{kind} does not set {fields}: __init__ gives a value to every field", "verify")
    check_fields(machine)
    for name in slots(machine):
        one, other = getattr(machine, name), getattr(twin, name)
        if isinstance(one, Machine) and isinstance(other, Machine):
            check_fields(one)
            one, other = one.key(), other.key()
        if one != other:
            raise UnfitStateError(
                f"two blank machines of {kind} differ in '{name}': a field holds a plain value, compared by content",
                "verify",
            )


def slots(machine: Machine) -> list[str]:
    """Names of a machine's fields."""
    return [name for base in reversed(type(machine).__mro__) for name in getattr(base, "__slots__", ())]


def check_fields(machine: Machine) -> None:
    """Make sure that a machine can be copied and compared.

    Raises:
        UnfitStateError: It has fields outside its slots; a field cannot be hashed; a container holds containers that can be changed,
            which a copy of the machine would share.
    """
    kind = type(machine).__name__
    if getattr(machine, "__dict__", None):
        fields = ", ".join(machine.__dict__)
        raise UnfitStateError(f"{kind} has fields that are not in __slots__: {fields}; declare them", "verify")
    for name in slots(machine):
        value = getattr(machine, name)
        inner = _inside(value)
        if inner:
            raise UnfitStateError(
                f"field '{name}' of {kind} holds a {inner} inside a {type(value).__name__}, and a copy of the machine would share it: "
                "hold a tuple there",
                "verify",
            )
        for one in _leaves(value):
            try:
                hash(one)
            except TypeError:
                raise UnfitStateError(
                    f"field '{name}' of {kind} holds a {type(one).__name__}, which is no plain value: it cannot be hashed",
                    "verify",
                ) from None


def _inside(value: Any) -> str:
    """The type of a container that can be changed and is inside another one, or nothing."""
    if not isinstance(value, list | dict | set | tuple):
        return ""
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, _CONTAINERS):
            return type(one).__name__
        if isinstance(one, tuple) and (inner := _inside(one)):
            return inner
    return ""


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | set) else (value,)
