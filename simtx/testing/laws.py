"""A law: something that every product of a kind has to keep, with the check of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import getdoc
from typing import Any, TypeVar

from simtx.errors import ScenarioError

__all__ = ["Law", "LawBroken", "select"]

B = TypeVar("B", bound=Callable[..., Any])


class LawBroken(AssertionError):
    """A law is broken; the text names every law that is broken, and how."""


@dataclass(frozen=True, slots=True)
class Law:
    """One law.

    Attributes:
        name: What it is called.
        text: What it says, in one sentence.
        check: Raises an `AssertionError` if the law is broken.
        options: With what options it wants the thing that it checks.
    """

    name: str
    text: str
    check: Callable[..., Any] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def law_in(laws: list[Law], options: Mapping[str, Any] | None = None, *, suffix: str = "") -> Callable[[B], B]:
    """Make a law of a check, one more in this list; it is called as the function is, and says what the docstring does.

    Args:
        laws: The list.
        options: See `Law`.
        suffix: What to put behind the name.
    """

    def entered(body: B) -> B:
        name = f"{body.__name__}{suffix}".replace("_", "-")
        laws.append(Law(name, " ".join((getdoc(body) or "").split()), body, options or {}))
        return body

    return entered


def select(laws: Iterable[Law], only: Collection[str] | str | None) -> list[Law]:
    """Select the laws that are asked for.

    Args:
        laws: All of them.
        only: Names, or one name; None: all.

    Raises:
        ScenarioError: There is no law of this name.
    """
    laws = list(laws)
    if only is None:
        return laws
    wanted = [only] if isinstance(only, str) else list(only)
    names = [law.name for law in laws]
    for name in wanted:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
            raise ScenarioError(f"there is no law '{name}'; {hint}", "only")
    return [law for law in laws if law.name in wanted]


def judge(laws: Iterable[Law], try_it: Callable[[Law], None]) -> None:
    """Check laws one after the other, and report all that are broken at once. Any other error ends the check, with the name of its law as a note.

    Raises:
        LawBroken: At least one is.
    """
    broken = []
    cause: BaseException | None = None
    for law in laws:
        try:
            try_it(law)
        except (AssertionError, TimeoutError) as error:
            text = str(error) or "it took too long"
            broken.append(f"{law.name}: {law.text}\n    {text.strip()}")
            cause = cause or error
        except (
            Exception
        ) as error:  # no law says that a product may raise; the traceback alone would not say what was asked of it
            error.add_note(f"while the law {law.name} was checked: {law.text}")
            raise
    if broken:
        raise LawBroken(f"{len(broken)} broken:\n" + "\n".join(broken)) from cause


def expect(condition: object, what: str) -> None:
    """Raise an `AssertionError` that says what was found, unless the condition holds; works under `python -O`, too."""
    if not condition:
        raise AssertionError(what)


def same(found: object, expected: object, what: str) -> None:
    """Raise an `AssertionError` unless both are equal."""
    expect(found == expected, f"{what}: {found!r}, not {expected!r}")
