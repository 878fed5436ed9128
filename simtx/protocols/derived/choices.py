"""Fields of a rule that have to be one of a few words."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from simtx.errors import ScenarioError


def refuse_unknown(rule: Any, where: str) -> None:
    """Refuse a word that is none of those of its field.

    Args:
        rule: A dataclass. The types of such fields are `Literal`.
        where: What errors call it.

    Raises:
        ScenarioError: One is none of those.
    """
    kind: Any = type(rule)
    for name, words in _words(kind).items():
        given = getattr(rule, name)
        if given not in words:
            raise ScenarioError(f"must be one of {', '.join(words)}, not {given!r}", f"{where}: {name}")


@cache
def _words(kind: type) -> dict[str, tuple[str, ...]]:
    return {name: get_args(one) for name, one in get_type_hints(kind).items() if get_origin(one) is Literal}
