"""Messages, records, events and effects as JSON, and back, without loss: what travels between processes and what lies on disk.

Tuples, which the machines use throughout, are JSON arrays. Whatever JSON has no form for is an object with the member ``$``: a class of
the contract (``{"$": "Step", "index": 0, ...}``), a ``list``, ``dict`` or ``set``. Only classes that were registered are ever made, from
fields of their own, so that a hostile message can make nothing else.

Evolution: a field that a class does not know is ignored, one that is missing has its default. What changes the meaning is a matter of
versions: an older form is brought up to date before it is decoded.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from simtx.errors import SimtxError
from simtx.protocols import contract
from simtx.protocols.choreographed_plan import BranchEvent
from simtx.protocols.choreography import StepEvent
from simtx.protocols.policies import Backoff, BreakerPolicy, Policies

T = TypeVar("T")

TAG: Final = "$"
MAXIMUM_DEPTH: Final = 40
"""Nesting beyond this is refused; a plan needs about eight levels."""


class CodecError(SimtxError, ValueError):
    """This is no encoded value, or one of a class that is not known."""


class _Form:
    """Written form of a class: its fields, which of them may be missing, and what each of them may be."""

    __slots__ = ("cls", "fields", "kinds", "needed")

    def __init__(self, cls: type) -> None:
        self.cls = cls
        hints = get_type_hints(cls)
        if dataclasses.is_dataclass(cls):
            fields = [field for field in dataclasses.fields(cls) if field.init]
            self.fields = tuple(field.name for field in fields)
            missing = dataclasses.MISSING
            self.needed = frozenset(
                field.name for field in fields if field.default is missing and field.default_factory is missing
            )
        else:
            self.fields = tuple(getattr(cls, "_fields"))  # noqa: B009 - a named tuple
            self.needed = frozenset(self.fields) - frozenset(getattr(cls, "_field_defaults", {}))
        self.kinds = {name: _kinds(hints[name]) for name in self.fields}


_FORMS: dict[str, _Form] = {}
_NAMES: dict[type, str] = {}


def register(*classes: type) -> None:
    """Let objects of these classes travel: dataclasses or named tuples with fields that can.

    A strategy of your own that sends such objects names their classes in an attribute ``wire_types``.

    Raises:
        TypeError: It is neither.
        ValueError: Another class has the same name.
    """
    for cls in classes:
        if not (dataclasses.is_dataclass(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields"))):
            raise TypeError(f"{cls.__name__} is neither a dataclass nor a named tuple")
        known = _FORMS.get(cls.__name__)
        if known is not None and known.cls is not cls:
            raise ValueError(f"another class named {cls.__name__} is registered")
        _FORMS[cls.__name__] = _Form(cls)
        _NAMES[cls] = cls.__name__


# --- to JSON ------------------------------------------------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """The value in terms of JSON.

    Raises:
        CodecError: It holds something that was not registered.
    """
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return value
    if kind is tuple:
        return [encode(item) for item in value]
    name = _NAMES.get(kind)
    if name is not None:
        form = _FORMS[name]
        coded = {TAG: name}
        for field in form.fields:
            coded[field] = encode(getattr(value, field))
        return coded
    if kind is list:
        return {TAG: "list", "items": [encode(item) for item in value]}
    if kind is dict:
        return {TAG: "dict", "items": [[encode(key), encode(item)] for key, item in value.items()]}
    if kind is set or kind is frozenset:
        return {TAG: kind.__name__, "items": sorted((encode(item) for item in value), key=json.dumps)}
    raise CodecError(f"a {kind.__name__} cannot travel; register its class (simtx.protocols.codec.register)")


def dumps(value: Any) -> str:
    """The value as JSON text, in one line and in one spelling."""
    return json.dumps(encode(value), separators=(",", ":"), ensure_ascii=False)


# --- from JSON ----------------------------------------------------------------------------------------------------------------


def decode(coded: Any, depth: int = MAXIMUM_DEPTH) -> Any:
    """The value that was encoded.

    Raises:
        CodecError: It is no such thing; the text says where it went wrong.
    """
    if depth == 0:
        raise CodecError(f"nested deeper than {MAXIMUM_DEPTH} levels")
    kind = type(coded)
    if kind is str or kind is int or kind is float or kind is bool or coded is None:
        return coded
    if kind is list:
        return tuple([decode(item, depth - 1) for item in coded])
    if kind is not dict:
        raise CodecError(f"a {kind.__name__} is no JSON value")
    name = coded.get(TAG)
    form = _FORMS.get(name) if isinstance(name, str) else None
    if form is None:
        return _container(name, coded, depth)
    values: dict[str, Any] = {}
    for field in form.fields:
        if field in coded:
            value = values[field] = decode(coded[field], depth - 1)
            kinds = form.kinds[field]
            if kinds is not None and not isinstance(value, kinds):
                raise CodecError(f"{name}.{field} is {type(value).__name__}, not {_named(kinds)}")
        elif field in form.needed:
            raise CodecError(f"{name} without '{field}'")
    return form.cls(**values)


def decode_as(cls: type[T], coded: Any) -> T:
    """The value that was encoded, which has to be of this class.

    Raises:
        CodecError: It is not.
    """
    value = decode(coded)
    if not isinstance(value, cls):
        raise CodecError(f"expected {cls.__name__}, found {type(value).__name__}")
    return value


def loads(text: str | bytes) -> Any:
    """The value that this JSON text stands for.

    Raises:
        CodecError: It is no JSON, or not ours.
    """
    try:
        coded = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"no JSON: {error}") from None
    return decode(coded)


_CONTAINERS: Final[dict[str, Callable[[Iterable[Any]], Any]]] = {"list": list, "set": set, "frozenset": frozenset}


def _container(name: object, coded: dict[str, Any], depth: int) -> Any:
    items = coded.get("items")
    if not isinstance(name, str) or (name != "dict" and name not in _CONTAINERS):
        raise CodecError(f"'{name}' is no class that may travel")
    if not isinstance(items, list):
        raise CodecError(f"a {name} without items")
    try:
        if name == "dict":
            return {decode(key, depth - 1): decode(item, depth - 1) for key, item in items}
        return _CONTAINERS[name](decode(item, depth - 1) for item in items)
    except (TypeError, ValueError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"a {name} that holds what it cannot: {error}") from None


# --- what a field may be ------------------------------------------------------------------------------------------------------


def _kinds(hint: Any) -> tuple[type, ...] | None:
    """Classes that a value of this annotation may have, at its outermost; None: any."""
    origin = get_origin(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return None
    if origin in (Union, types.UnionType):
        parts = [_kinds(one) for one in get_args(hint)]
        if any(part is None for part in parts):
            return None
        return tuple({kind for part in parts if part is not None for kind in part})
    if origin is Literal:
        return tuple({type(one) for one in get_args(hint)})
    if isinstance(origin, type):
        return (origin,)
    if hint is float:
        return (float, int)
    return (hint,) if isinstance(hint, type) and hint is not object else None


def _named(kinds: tuple[type, ...]) -> str:
    return " or ".join(sorted(kind.__name__ for kind in kinds))


register(
    *(
        cls
        for cls in vars(contract).values()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls is not contract.Transition
    ),
    StepEvent,
    BranchEvent,
    Backoff,
    BreakerPolicy,
    Policies,
)
