"""Distributions as they are written in files: ``"5ms"``, a name of a measured latency, or a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

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


class Flaws(ValueError):
    """Problems inside one value: pairs of a path below the value and a text."""

    def __init__(self, flaws: list[tuple[tuple[str | int, ...], str]]) -> None:
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
        return _table(value, read, durations=durations, unit_needed=unit_needed, names=names)
    if isinstance(value, str) and names is not None and not is_quantity(value):
        if value in names:
            return names[value]
        raise Flaws([((), f"{shown(value)} is neither a duration nor a known latency; {hint(value, names)}")])
    try:
        return Constant(read(value))
    except ValueError as error:
        raise Flaws([((), str(error))]) from None


def _table(
    table: Mapping[str, Any],
    read: Read,
    *,
    durations: bool,
    unit_needed: bool,
    names: Mapping[str, Distribution] | None,
) -> Distribution:
    kind = table.get("distribution")
    if kind is None and set(table) == set(FORMS["quantiles"]):
        kind = "quantiles"
    if kind is None:
        raise Flaws([(("distribution",), f"is missing; {hint('', FORMS)}")])
    if not isinstance(kind, str) or kind not in FORMS:
        raise Flaws([(("distribution",), f"{shown(kind)} is no distribution; {hint(str(kind), FORMS)}")])
    flaws = _keys(kind, table)
    values: dict[str, Any] = {}
    for key in table:
        if key == "distribution" or any(path == (key,) for path, _ in flaws):
            continue
        try:
            values[key] = _member(key, table[key], read, durations, unit_needed, names)
        except Flaws as inner:
            flaws += [((key, *path), text) for path, text in inner.flaws]
        except ValueError as error:
            flaws.append(((key,), str(error)))
    if flaws:
        raise Flaws(flaws)
    try:
        return _build(kind, values)
    except ScenarioError as error:
        raise Flaws([((), str(error))]) from None


def _keys(kind: str, table: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    flaws: list[tuple[tuple[str | int, ...], str]] = []
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


def _member(
    key: str,
    value: Any,
    read: Read,
    durations: bool,
    unit_needed: bool,
    names: Mapping[str, Distribution] | None,
) -> Any:
    if key == "shape":
        return count(value, least=1)
    if key in ("sigma", "scv"):
        return number(value)
    if key == "base":
        return read_distribution(value, durations=durations, unit_needed=unit_needed, names=names)
    if key in ("values", "weights", "parts"):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{shown(value)} is no list")
        if key == "parts":
            return tuple(
                _each(
                    value,
                    lambda v: read_distribution(v, durations=durations, unit_needed=unit_needed, names=names),
                )
            )
        return tuple(_each(value, number if key == "weights" else read))
    return read(value)


def _each(values: list[Any] | tuple[Any, ...], read: Callable[[Any], Any]) -> list[Any]:
    done: list[Any] = []
    flaws: list[tuple[tuple[str | int, ...], str]] = []
    for index, value in enumerate(values):
        try:
            done.append(read(value))
        except Flaws as inner:
            flaws += [((index, *path), text) for path, text in inner.flaws]
        except ValueError as error:
            flaws.append(((index,), str(error)))
    if flaws:
        raise Flaws(flaws)
    return done


def _build(kind: str, values: dict[str, Any]) -> Distribution:
    if kind == "lognormal":
        sigma = values["sigma"]
        if "average" in values:
            return Lognormal.of_mean(values["average"], sigma)
        if "p99" in values:
            return Lognormal.of_quantile(0.99, values["p99"], sigma)
        return Lognormal(values["median"], sigma)
    if kind == "quantiles":
        return Lognormal.of_quantiles(values["p50"], values["p99"])
    if kind == "shifted-lognormal":
        shift, sigma = values["shift"], values["sigma"]
        if "average" in values:
            if values["average"] <= shift:
                raise ScenarioError("average must be above shift")
            return ShiftedLognormal(shift, Lognormal.of_mean(values["average"] - shift, sigma).median, sigma)
        return ShiftedLognormal(shift, values["median"], sigma)
    simple: dict[str, Callable[..., Distribution]] = {
        "constant": Constant,
        "exponential": Exponential,
        "uniform": Uniform,
        "erlang": Erlang,
        "hyperexponential": Hyperexponential,
        "empirical": Empirical,
        "shifted": Shifted,
        "mixture": Mixture,
    }
    return simple[kind](**values)


_KINDS: Mapping[type[Distribution], str] = {
    Constant: "constant",
    Exponential: "exponential",
    Lognormal: "lognormal",
    ShiftedLognormal: "shifted-lognormal",
    Uniform: "uniform",
    Erlang: "erlang",
    Hyperexponential: "hyperexponential",
    Empirical: "empirical",
    Shifted: "shifted",
    Mixture: "mixture",
}
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
    kind = _KINDS.get(type(distribution))
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
