"""Rules for derived data by name, with options as text: what the command line and `simtx.verify_derived("copy:check=version")` understand.

A name stands for the rule as it is by default. Options are the fields of its class, as those of a strategy are (`simtx.protocols.registry`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from simtx.errors import ScenarioError
from simtx.protocols.derived.aggregate import AggregateRule
from simtx.protocols.derived.copies import CopyRule
from simtx.protocols.derived.group import GroupRule
from simtx.protocols.derived.join import JoinRule
from simtx.protocols.derived.projection import ProjectionRule
from simtx.protocols.registry import options_in

Rule: TypeAlias = CopyRule | ProjectionRule | GroupRule | AggregateRule | JoinRule

RULES: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        "copy": CopyRule,
        "projection": ProjectionRule,
        "group": GroupRule,
        "aggregate": AggregateRule,
        "join": JoinRule,
    }
)
"""The kinds of rules, by name."""


def rule_named(text: str, where: str) -> Rule:
    """The rule that a text means: ``copy``, or ``copy:check=version,by=writer``.

    Args:
        text: What was written.
        where: What errors begin with.

    Raises:
        ScenarioError: There is no such kind of rule or option, or a value does not fit.
    """
    name, colon, options = text.partition(":")
    name = name.strip()
    kind = RULES.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, RULES, n=1)
        meant = f"did you mean '{near[0]}'?" if near else "one of " + ", ".join(f"'{one}'" for one in RULES)
        raise ScenarioError(f"there is no rule '{name}'; {meant}", where)
    made: Rule = kind(**options_in(text, name, options, kind, where)) if colon else kind()
    return made
