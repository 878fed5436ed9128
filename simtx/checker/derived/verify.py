"""`simtx.verify_derived`: every interleaving of a rule for derived data in a small scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from simtx.arguments import named
from simtx.checker.derived.aggregate import AggregateScope, aggregate_model
from simtx.checker.derived.copies import CopyScope, copy_model
from simtx.checker.derived.group import GroupScope, group_model
from simtx.checker.derived.join import JoinScope, join_model
from simtx.checker.derived.projection import ProjectionScope, projection_model
from simtx.checker.explorer.exploration import Exploration
from simtx.checker.explorer.explore import arguments_of, explore
from simtx.errors import ScenarioError
from simtx.protocols.derived import AggregateRule, CopyRule, GroupRule, JoinRule, ProjectionRule
from simtx.protocols.derived.named import RULES, Rule, rule_named
from simtx.scenario.units import hint

_KINDS: Final[dict[type[Any], tuple[type[Any], Any]]] = {
    CopyRule: (CopyScope, copy_model),
    ProjectionRule: (ProjectionScope, projection_model),
    GroupRule: (GroupScope, group_model),
    AggregateRule: (AggregateScope, aggregate_model),
    JoinRule: (JoinScope, join_model),
}


@named
def verify_derived(
    rule: Rule | str,
    scope: Mapping[str, Any] | None = None,
    *,
    max_states: int | None = None,
    max_seconds: float | None = None,
) -> Exploration:
    """Explore every interleaving of a rule, and say which of its properties hold.

    Args:
        rule: What to explore: a `CopyRule`, `ProjectionRule`, `GroupRule`, `AggregateRule` or `JoinRule` of `simtx.protocols.derived`; or a text that names one,
            as the command line does: ``"copy:check=version"``.
        scope: How much may happen: ``{"writes": 3, "crashes": 1}``; the fields of the `CopyScope`, `ProjectionScope`, `GroupScope`, `AggregateScope` or `JoinScope` of `simtx.checker.derived`. What is not given has its default.
        max_states: Stop rather than hold more states.
        max_seconds: Stop after this wall-clock time.

    Returns:
        Properties, and for each that is violated a shortest story. Only a complete exploration proves something, for this scope.

    Raises:
        ScenarioError: There is no such kind of rule, or a number is none.
    """
    chosen = _rule(rule)
    made = _KINDS[type(chosen)][1](chosen, _scope(chosen, scope))
    with arguments_of("verify_derived"):
        return explore(made, max_states=max_states, max_seconds=max_seconds, progress=False)


def scope_of(rule: Rule, scope: Mapping[str, Any] | None) -> dict[str, int]:
    """Bounds of an exploration, all of them: those that are given, and the defaults.

    Raises:
        ScenarioError: A number is none.
    """
    return asdict(_scope(rule, scope))


def _rule(rule: Any) -> Rule:
    if isinstance(rule, str):
        return rule_named(rule, "verify_derived: rule")
    if type(rule) not in _KINDS:
        raise ScenarioError(
            f"takes a rule ({', '.join(one.__name__ for one in _KINDS)}) or the name of one ({', '.join(RULES)}), got {type(rule).__name__}",
            "verify_derived: rule",
        )
    chosen: Rule = rule
    return chosen


def _scope(rule: Rule, scope: Mapping[str, Any] | None) -> Any:
    """The scope of the rule's kind with these numbers."""
    scope_type = _KINDS[type(rule)][0]
    known = {field.name: field.type for field in fields(scope_type)}
    if scope is not None and not isinstance(scope, Mapping):
        raise ScenarioError(
            f"must be numbers by name, such as {{'crashes': 1}}, got {scope!r}", "verify_derived: scope"
        )
    given = {} if scope is None else dict(scope)
    for name, value in given.items():
        where = f"verify_derived: scope: {name}"
        if name not in known:
            raise ScenarioError(f"there is no such number; {hint(str(name), known)}", where)
        if known[name] == "bool":
            if not isinstance(value, bool):
                raise ScenarioError(f"must be True or False, got {value!r}", where)
        elif not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ScenarioError(f"must be a whole number of at least 0, got {value!r}", where)
    return scope_type(**given)
