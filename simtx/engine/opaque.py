"""Values that a machine may store, pass on and compare for identity, and nothing else.

What belongs to one business transaction (its number, its keys, its amounts) is replaced by such values while an automaton is learned. A machine that
looks into one is found then and there, and its strategy is interpreted. So no transition depends on what it does not show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, NoReturn

from simtx.protocols import Plan, Policies, Step

NUMBER: Final = 7_777_777_777_777
"""The number of the transaction on which machines are learned: one that no text holds by chance."""

DIFFER: Final = "the two engines differ"
"""Beginning of the reason where a number of the compiled engine would have been wrong."""

_MARK: Final = "\0"


class NotCompiled(Exception):
    """This run has to be interpreted; the message says why, as the rest of a sentence."""


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    what = {
        "OpaqueTx": "number of its transaction",
        "OpaqueKey": "keys of its transaction",
        "OpaqueAmount": "amounts of its transaction",
        "OpaqueId": "id of a delivery",
    }
    raise NotCompiled(f"a machine looks into the {what[type(self).__name__]}")


def _identity(self: object, other: object) -> bool:
    return True if self is other else _refuse(self)


def _difference(self: object, other: object) -> bool:
    return not _identity(self, other)


def _marked(self: object, *_: object) -> str:
    """Give a mark as text, which is found if it gets into anything that counts."""
    return f"{_MARK}{type(self).__name__}{_MARK}"


def _sealed(base: type) -> dict[str, Callable[..., Any]]:
    """Every method of a base class, sealed, but for what objects need to exist."""
    kept = {
        "__new__",
        "__init__",
        "__init_subclass__",
        "__subclasshook__",
        "__class__",
        "__getattribute__",
        "__setattr__",
        "__delattr__",
        "__hash__",
        "__doc__",
        "__dir__",
        "__sizeof__",
        "__getstate__",
        "__reduce__",
        "__reduce_ex__",
        "__getnewargs__",
    }
    sealed: dict[str, Callable[..., Any]] = {
        name: _refuse for name in dir(base) if name not in kept and callable(getattr(base, name))
    }
    sealed.update(__eq__=_identity, __ne__=_difference, __repr__=_marked, __str__=_marked, __format__=_marked)
    sealed["__hash__"] = base.__hash__
    return sealed


OpaqueTx: Final = type("OpaqueTx", (int,), {**_sealed(int), "__doc__": "The number of a transaction."})
OpaqueKey: Final = type("OpaqueKey", (str,), {**_sealed(str), "__doc__": "A key of a store."})
OpaqueAmount: Final = type("OpaqueAmount", (float,), {**_sealed(float), "__doc__": "An amount."})


class OpaqueId(int):
    """The id of a delivery: a number from 0 on, of which a machine may ask whether it is one at all, and whether it is the same as another.

    Ids that differ are different objects, and the same id is the same object, so that a comparison of two is answered.
    """

    __hash__ = int.__hash__
    __repr__ = __str__ = __format__ = _marked

    def __eq__(self, other: object) -> bool:
        return self is other if type(other) is OpaqueId else self._above(other) and False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: object) -> bool:
        return self._above(other) and False

    def __le__(self, other: object) -> bool:
        return self._above(other) and False

    def __gt__(self, other: object) -> bool:
        return self._above(other)

    def __ge__(self, other: object) -> bool:
        return True if type(other) is int and other == 0 else self._above(other)

    def _above(self, other: object) -> bool:
        if type(other) is int and other < 0:
            return True
        raise NotCompiled("a machine computes with the id of a delivery")


for _name, _method in _sealed(int).items():
    if _name not in vars(OpaqueId):
        setattr(OpaqueId, _name, _method)


def check_clean(value: Any, known: dict[int, object] | None = None) -> None:
    """See that nothing opaque has got into a value as text or as a plain number.

    Args:
        value: What to look at.
        known: Plans, steps and policies that are clean, by their identity; it grows. They are never changed, and in every state of a machine.

    Raises:
        NotCompiled: It has.
    """
    kind = type(value)
    if kind is str:
        if _MARK in value or str(NUMBER) in value:
            raise NotCompiled("a machine makes a text of its transaction's number, keys or amounts")
    elif kind is int:
        if value == NUMBER:
            raise NotCompiled("a machine computes with its transaction's number")
    elif kind in (tuple, list, set, frozenset):
        for item in value:
            check_clean(item, known)
    elif kind is dict:
        for key, item in value.items():
            check_clean(key, known)
            check_clean(item, known)
    elif dataclasses.is_dataclass(value):
        kept = known is not None and kind in (Plan, Step, Policies)
        if kept and known is not None and known.get(id(value)) is value:
            return
        for field in dataclasses.fields(value):
            check_clean(getattr(value, field.name), known)
        if kept and known is not None:
            known[id(value)] = value
