"""Views by which results draw themselves: upper layers register views, the data classes below look them up.

`simtx/__init__.py` registers the views of `simtx.report`, so that `run.trace.diagram(tx)` works although the layers below know no
plotting library.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")
_places: dict[str, tuple[str, str]] = {}


def register(name: str, module: str, function: str) -> None:
    """Register a view: a function by its module, which is imported only when the view is needed."""
    _places[name] = module, function


def view(name: str) -> Callable[..., Any]:
    """The function registered under this name.

    Raises:
        LookupError: No such view; `import simtx` registers all of them.
    """
    if name not in _places:
        raise LookupError(f"no view '{name}' is registered; import simtx first")
    module, function = _places[name]
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


class View(Generic[T]):
    """An attribute whose value is a view of the object: ``run.plot``.

    It is no `property`: IPython completes behind attributes of objects, but not behind properties, which might do anything.

    Args:
        name: Under which the view is registered.
        doc: What the attribute is, for `help`.
    """

    def __init__(self, name: str, doc: str) -> None:
        self._name = name
        self.__doc__ = doc

    @overload
    def __get__(self, owner: None, cls: type) -> Self: ...
    @overload
    def __get__(self, owner: object, cls: type | None = None) -> T: ...
    def __get__(self, owner: object | None, cls: type | None = None) -> Self | T:
        if owner is None:
            return self
        made: T = view(self._name)(owner)
        return made
