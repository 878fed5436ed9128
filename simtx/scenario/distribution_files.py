"""Distributions as they are written in files: ``"5ms"``, a name of a measured latency, or a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from simtx.errors import ScenarioError
from simtx.scenario.distributions import (
    Constant,
    Distribution,
    Empirical,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Mixture,
    Shifted,
    ShiftedLognormal,
    Uniform,
)
from simtx.scenario.units import count, duration, hint, is_quantity, number, shown

Read: TypeAlias = Callable[[Any], float]
T = TypeVar("T")
K = TypeVar("K", bound=str | int)

#: Keys of each distribution's table; of alternatives in one tuple exactly one is given.
FORMS: Mapping[str, tuple[str | tuple[str, ...], ...]] = {
    "constant": ("value",),
    "exponential": ("average",),
    "lognormal": (("median", "average", "p99"), "sigma"),
    "shifted-lognormal": ("shift", ("median", "average"), "sigma"),
    "uniform": ("low", "high"),
    "erlang": ("shape", "average"),
    "hyperexponential": ("average", "scv"),
    "empirical": ("values",),
    "quantiles": ("p50", "p99"),
    "shifted": ("shift", "base"),
    "mixture": ("weights", "parts"),
}


Flaw: TypeAlias = tuple[tuple[str | int, ...], str]
"""A path below a value, and what is wrong there."""


class Flaws(ValueError):
    """Problems inside one value."""

    def __init__(self, flaws: list[Flaw]) -> None:
        self.flaws = flaws
        super().__init__("; ".join(text for _, text in flaws))


def read_distribution(
    value: Any, *, durations: bool = True, unit_needed: bool = True, names: Mapping[str, Distribution] | None = None
) -> Distribution:
    """Make a distribution of what stands in a file.

    Args:
        value: ``"5ms"``, a number, a table with the key ``distribution``, one of `names`, or a `Distribution`.
        durations: Whether its values are durations; otherwise plain numbers.
        unit_needed: Whether a duration that is a plain number is refused.
        names: Measured distributions that can be referred to by name.

    Raises:
        Flaws: The value is wrong, somewhere.
    """
    if isinstance(value, Distribution):
        if durations and value.support()[0] < 0:
            raise Flaws([((), "a duration must not be negative")])
        return value
    read: Read = (lambda v: duration(v, unit_needed=unit_needed)) if durations else number
    if isinstance(value, Mapping):
        again = partial(read_distribution, durations=durations, unit_needed=unit_needed, names=names)
        return _table(value, read, again)
    if isinstance(value, str) and names is not None and not is_quantity(value):
        if value in names:
            return names[value]
        raise Flaws([((), f"{shown(value)} is neither a duration nor a known latency; {hint(value, names)}")])
    try:
        return Constant(read(value))
    except ValueError as error:
        raise Flaws([((), str(error))]) from None


def _table(table: Mapping[str, Any], read: Read, again: Callable[[Any], Distribution]) -> Distribution:
    kind = table.get("distribution")
    if kind is None and set(table) == set(FORMS["quantiles"]):
        kind = "quantiles"
    if kind is None:
        raise Flaws([(("distribution",), f"is missing; {hint('', FORMS)}")])
    if not isinstance(kind, str) or kind not in FORMS:
        raise Flaws([(("distribution",), f"{shown(kind)} is no distribution; {hint(str(kind), FORMS)}")])
    flaws = _keys(kind, table)
    left_out = {("distribution",), *(path for path, _ in flaws)}
    given = {key: value for key, value in table.items() if (key,) not in left_out}
    values = _read_all(given, lambda key: _member(key, given[key], read, again), flaws)
    if flaws:
        raise Flaws(flaws)
    try:
        return _build(kind, values)
    except ScenarioError as error:
        raise Flaws([((), str(error))]) from None


def _keys(kind: str, table: Mapping[str, Any]) -> list[Flaw]:
    flaws: list[Flaw] = []
    known = ["distribution"]
    for form in FORMS[kind]:
        alternatives = (form,) if isinstance(form, str) else form
        known += alternatives
        given = [key for key in alternatives if key in table]
        if not given:
            flaws.append(
                (
                    (alternatives[0],),
                    "is missing" + (f"; or give {' or '.join(alternatives[1:])}" if alternatives[1:] else ""),
                )
            )
        elif len(given) > 1:
            flaws.append(((given[1],), f"is one too many; give either {' or '.join(given)}"))
    flaws += [
        ((key,), f"unknown key of a distribution '{kind}'; {hint(key, known)}") for key in table if key not in known
    ]
    return flaws


def _member(key: str, value: Any, read: Read, again: Callable[[Any], Distribution]) -> Any:
    if key == "shape":
        return count(value, least=1)
    if key in ("sigma", "scv"):
        return number(value)
    if key == "base":
        return again(value)
    if key in ("values", "weights", "parts"):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{shown(value)} is no list")
        kinds: Mapping[str, Callable[[Any], Any]] = {"values": read, "weights": number, "parts": again}
        return each(value, kinds[key])
    return read(value)


def each(values: Sequence[Any], read: Callable[[Any], T]) -> tuple[T, ...]:
    """All values as they are read.

    Raises:
        Flaws: Some are wrong.
    """
    flaws: list[Flaw] = []
    done = _read_all(range(len(values)), lambda index: read(values[index]), flaws)
    if flaws:
        raise Flaws(flaws)
    return tuple(done.values())


def _read_all(keys: Iterable[K], read: Callable[[K], T], flaws: list[Flaw]) -> dict[K, T]:
    """Read the values of these keys; what is wrong becomes flaws below its key."""
    done: dict[K, T] = {}
    for key in keys:
        try:
            done[key] = read(key)
        except Flaws as inner:
            flaws += [((key, *path), text) for path, text in inner.flaws]
        except ValueError as error:
            flaws.append(((key,), str(error)))
    return done


_KINDS: Mapping[str, Callable[..., Distribution]] = {
    "constant": Constant,
    "exponential": Exponential,
    "lognormal": Lognormal,
    "shifted-lognormal": ShiftedLognormal,
    "uniform": Uniform,
    "erlang": Erlang,
    "hyperexponential": Hyperexponential,
    "empirical": Empirical,
    "shifted": Shifted,
    "mixture": Mixture,
}


def _build(kind: str, values: dict[str, Any]) -> Distribution:
    if kind == "quantiles":
        return Lognormal.of_quantiles(**values)
    if kind == "lognormal" and "average" in values:
        return Lognormal.of_mean(values["average"], values["sigma"])
    if kind == "lognormal" and "p99" in values:
        return Lognormal.of_quantile(0.99, values["p99"], values["sigma"])
    if kind == "shifted-lognormal" and "average" in values:
        shift, sigma = values["shift"], values["sigma"]
        if values["average"] <= shift:
            raise ScenarioError("average must be above shift")
        return ShiftedLognormal(shift, Lognormal.of_mean(values["average"] - shift, sigma).median, sigma)
    return _KINDS[kind](**values)


PLAIN = ("sigma", "shape", "scv", "weights")
"""Keys of tables of distributions that are no durations."""


def write_distribution(distribution: Distribution) -> Any:
    """A distribution of durations as it is written in a file: the inverse of `read_distribution`.

    Args:
        distribution: One of ours.

    Returns:
        A text with its unit for a constant, else a table.

    Raises:
        ScenarioError: It is a distribution of the user's own, which no file can name.
    """
    kind = next((name for name, one in _KINDS.items() if one is type(distribution)), None)
    if kind is None:
        raise ScenarioError(f"a {type(distribution).__name__} cannot be written to a file", "distribution")
    if isinstance(distribution, Constant):
        return _seconds(distribution.value)
    one: Any = distribution
    table = {field.name: _written(field.name, getattr(one, field.name)) for field in dataclasses.fields(one)}
    return {"distribution": kind, **table}


def _written(name: str, value: Any) -> Any:
    if isinstance(value, Distribution):
        return write_distribution(value)
    if isinstance(value, tuple | list):
        return [_written(name, one) for one in value]
    return value if name in PLAIN else _seconds(value)


def _seconds(value: float) -> str:
    return f"{value!r}s"
