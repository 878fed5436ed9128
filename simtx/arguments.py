"""Arguments of public functions: each is checked when it is given, and what is wrong with it is said in one line.

Without this, a wrong argument travels on until something far away fails, or, worse, until nothing does.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

from simtx.errors import ScenarioError

P = ParamSpec("P")
R = TypeVar("R")
Check: TypeAlias = Callable[[Any], str]
"""Error of a value, as ``must be ...``; empty if there is none."""


def checked(**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose arguments are checked before it runs.

    Args:
        checks: By parameter. An argument that is not given is not checked.
    """

    def wrapped(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        unknown = set(checks) - set(signature.parameters)
        if unknown:
            raise TypeError(f"{function.__name__} has no parameter '{unknown.pop()}'")

        @functools.wraps(function)
        def called(*args: P.args, **options: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **options).arguments
            except TypeError as error:
                raise _misfit(function.__name__, signature, options, error) from None
            for name, check in checks.items():
                if name in given:
                    require(check, given[name], name)
            return function(*args, **options)

        called.__checks__ = checks  # type: ignore[attr-defined]
        return called

    return wrapped


def named(function: Callable[P, R]) -> Callable[P, R]:
    """A function of whose arguments only the names are checked here: the values are checked where they are read."""
    return checked()(function)


def with_fields(kind: type, *, but: str, before: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that shows the fields of a dataclass as arguments of its own, in its signature and its documentation; its last parameter takes them by name.

    Args:
        kind: The dataclass. The documentation of its fields takes the place of the line that says to see there, as in ``options: See `Scope`.``
        but: The field that is none of them; the last one in the documentation.
        before: The parameter that they come before; empty: they are the last ones.
    """

    def wrapped(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        *own, last = signature.parameters.values()
        place = [one.name for one in own].index(before) if before else len(own)
        own[place:place] = [
            inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
            for one in dataclasses.fields(kind)
            if one.name != but
        ]
        vars(function)["__signature__"] = signature.replace(parameters=own)
        said = (kind.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
        said = re.split(rf"\n +{but}: ", said)[0].strip()
        function.__doc__ = (function.__doc__ or "").replace(f"{last.name}: See `{kind.__name__}`.", said)
        return function

    return wrapped


def _misfit(name: str, signature: inspect.Signature, options: Mapping[str, Any], error: TypeError) -> ScenarioError:
    """Arguments that a function does not take: which one, and what was meant."""
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    known = [one.name for one in signature.parameters.values() if one.kind not in several and one.name != "self"]
    unknown = next((one for one in options if one not in known), None)
    if unknown is None or any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values()):
        return ScenarioError(f"{error}; the arguments are {', '.join(known)}", name)
    near = difflib.get_close_matches(unknown, known, n=1)
    meant = f"did you mean '{near[0]}'?" if near else f"the arguments are {', '.join(known)}"
    return ScenarioError(f"there is no argument '{unknown}'; {meant}", name)


def require(check: Check, value: Any, name: str, where: str = "") -> None:
    """Refuse a value that a check finds wrong.

    Args:
        check: What it must be.
        value: What it is.
        name: Of the parameter.
        where: Whose parameter it is; empty: it speaks for itself.

    Raises:
        ScenarioError: It is wrong.
    """
    problem = check(value)
    if problem:
        raise ScenarioError(f"{problem}, not {shown(value)}", f"{where}: {name}" if where else name)


def shown(value: Any) -> str:
    """A value in an error: never long, never more than one line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - a broken `repr` is not what is wrong
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- checks -------------------------------------------------------------------------------------------------------------------


def optional(check: Check, said: str = "None") -> Check:
    """The same, or None."""

    def found(value: Any) -> str:
        problem = "" if value is None else check(value)
        return f"{problem}, or {said}" if problem else ""

    return found


def whole(least: int = 0, most: int | None = None) -> Check:
    """A whole number in a range."""
    until = f" to {most}" if most is not None else ""

    def found(value: Any) -> str:
        try:
            good = (
                not isinstance(value, bool | str | bytes)
                and int(value) == value
                and least <= value
                and (most is None or value <= most)
            )
        except (TypeError, ValueError, OverflowError):
            good = False
        return "" if good else f"must be a whole number from {least}{until}"

    return found


def number(*, above: float = -math.inf, below: float = math.inf, zero: bool = False, infinite: bool = False) -> Check:
    """A number in a range whose ends do not belong to it, but for zero if that is said."""
    parts = [f"above {above:g}"] if above > -math.inf and not (zero and above == 0) else []
    parts += ["of at least 0"] if zero and above == 0 else []
    parts += [f"below {below:g}"] if below < math.inf else []
    said = " and ".join(parts)

    def found(value: Any) -> str:
        real = isinstance(value, int | float) or (hasattr(value, "dtype") and not getattr(value, "shape", (1,)))
        try:
            good = real and not isinstance(value, bool) and (infinite or math.isfinite(value))
            good = good and (above < value < below or (zero and value == 0) or (infinite and value == math.inf))
        except (TypeError, ValueError):
            good = False
        return "" if good else f"must be a number{f' {said}' if said else ''}"

    return found


def flag(value: Any) -> str:
    """True or False."""
    return "" if isinstance(value, bool) else "must be True or False"


def text(value: Any) -> str:
    """A text that is not empty."""
    return "" if isinstance(value, str) and value else "must be a text"


def path(value: Any) -> str:
    """The path of a file or folder."""
    return "" if isinstance(value, str | PathLike) and str(value) else "must be a path"


def function(value: Any) -> str:
    """Something that can be called."""
    return "" if callable(value) and not isinstance(value, type) else "must be a function"


def progress(value: Any) -> str:
    """Choice whether to show a bar, or a function that shows something else."""
    good = value is None or isinstance(value, bool) or not function(value)
    return "" if good else "must be True, False, None or a function"


def shows(value: Any) -> str:
    """Choice whether to show a bar."""
    return "" if value is None or isinstance(value, bool) else "must be True, False or None"


def choice(*options: Any) -> Check:
    """One of these."""
    quoted = [repr(option) for option in options]
    said = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"

    def found(value: Any) -> str:
        good = any(type(value) is type(option) and value == option for option in options)
        return "" if good else f"must be {said}"

    return found


def listed(check: Check, said: str, *, least: int = 0) -> Check:
    """A list of what a check allows, in words."""
    what = f"must be a list of {said}" + (f", at least {least}" if least else "")

    def found(value: Any) -> str:
        items = (
            not isinstance(value, str | bytes | Mapping) and isinstance(value, Iterable) and hasattr(value, "__len__")
        )
        if not items or len(value) < least:
            return what
        wrong = next((one for one in value if check(one)), None)
        return "" if wrong is None and not any(one is None and check(one) for one in value) else what

    return found


def table(keys: Check, values: Check, said: str) -> Check:
    """A mapping of what two checks allow, in words."""

    def found(value: Any) -> str:
        good = (
            isinstance(value, Mapping)
            and not any(keys(one) for one in value)
            and not any(values(one) for one in value.values())
        )
        return "" if good else f"must be {said}"

    return found


def instance(kind: type | tuple[type, ...], said: str) -> Check:
    """An object of a class, in words."""
    return lambda value: "" if isinstance(value, kind) else f"must be {said}"


def has(*members: str, said: str) -> Check:
    """An object with these members, in words: for classes that this layer does not know."""
    return lambda value: (
        "" if not isinstance(value, type) and all(hasattr(value, name) for name in members) else f"must be {said}"
    )


def anything(_value: Any) -> str:
    """Checked elsewhere."""
    return ""


STRATEGIES: Final = listed(anything, "strategies, names or objects", least=1)
"""Strategies to compare; each of them is checked where it is looked up."""
SEED: Final = whole(0)

# --- sizes --------------------------------------------------------------------------------------------------------------------

_UNITS: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def in_bytes(size: int | str | None, where: str) -> int | None:
    """A size as a number of bytes.

    Args:
        size: A number of bytes, or a number with a decimal unit, such as ``500MB`` or ``4GB``; None stays None.
        where: Whose argument it is, for the error.

    Raises:
        ScenarioError: It is no size.
    """
    given: Any = size
    if given is None:
        return None
    if not isinstance(given, str):
        if not isinstance(given, int) or isinstance(given, bool) or given < 1:
            raise ScenarioError(f"must be a whole number of at least 1, or a size such as '4GB', got {size!r}", where)
        return given
    text = given.strip().upper()
    number, factor = text, 0
    for unit, value in _UNITS.items():  # the longer units come later
        if text.endswith(unit):
            number, factor = text.removesuffix(unit), value
    try:
        amount = float(number) * factor
    except ValueError:
        amount = 0.0
    if not 1 <= amount < math.inf:
        raise ScenarioError(f"'{size}' is no size; write a number and a unit, such as 500MB or 4GB", where)
    return int(amount)
