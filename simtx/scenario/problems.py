"""Collects what is wrong with a scenario, and raises it as one error with a line for each problem."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from simtx.errors import ScenarioError
from simtx.scenario.distribution_files import Flaws
from simtx.scenario.units import hint, shown

Path: TypeAlias = tuple[str | int, ...]
Problem: TypeAlias = tuple[Path, str]


def path_text(path: Path) -> str:
    """A path as it is written: ``transaction.steps[2].service``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def unknown(path: Path, name: str, kind: str, known: Iterable[str]) -> Iterator[Problem]:
    """The problem with a name that is none of those of its kind; none if it is one."""
    names = list(known)
    if name not in names:
        yield path, f"{shown(name)} is no {kind}; {hint(name, names)}"


def failure(problems: Iterable[Problem], where: str) -> ScenarioError:
    """One error for all problems, each a line that begins with the file."""
    unique = list(dict.fromkeys((path_text(path), text) for path, text in problems))
    if len(unique) == 1:
        path, text = unique[0]
        return ScenarioError(text, f"{where}: {path}" if path else where)
    return ScenarioError("\n".join(f"{where}: {path}: {text}" if path else f"{where}: {text}" for path, text in unique))


def from_validation(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """The problems that pydantic found, in words of our own."""
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        path: Path = tuple(detail["loc"])
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Flaws):
            problems += [((*path, *below), text) for below, text in cause.flaws]
        else:
            problems.append((path, _words(detail, path, model)))
    return problems


def _words(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return f"unknown key; {hint(str(path[-1]), _keys(model, path[:-1]), otherwise='the keys here are ')}"
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"{shown(value)} is not allowed; {hint(str(value), allowed)}"
    if kind == "too_short":
        return "is empty; at least one is needed"
    words = {
        "string_type": "no text; put it in quotes",
        "bool_type": "neither true nor false",
        "list_type": "no list",
        "dict_type": "no table",
        "model_type": "no table",
        "model_attributes_type": "no table",
        "int_type": "no whole number",
        "int_from_float": "no whole number",
        "int_parsing": "no whole number",
    }
    return f"{shown(value)} is {words[kind]}" if kind in words else f"{shown(value)}: {detail['msg']}"


def _keys(model: type[BaseModel], path: Path) -> list[str]:
    """Names of the keys of the table at this path."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = inner(entries(current)[str(part)].annotation)
        else:
            current = inner(get_args(current)[-1])
    return list(entries(current))


def entries(table: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a table by their keys in a file."""
    return {field.alias or name: field for name, field in table.model_fields.items()}


def inner(annotation: Any) -> Any:
    """An annotation without ``Annotated`` and ``| None``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return next(inner(part) for part in get_args(annotation) if part is not type(None))
    return annotation


def at(raw: Any, path: Path) -> Any:
    """Value at this path, or None."""
    for part in path:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part] if part < len(raw) else None
        else:
            return None
    return raw
