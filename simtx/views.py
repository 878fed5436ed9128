"""How results learn to draw themselves: upper layers register views, the data classes below look them up.

`simtx/__init__.py` registers the views of `simtx.report`, so that `run.trace.diagram(tx)` works although the layers below know no
plotting library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")
_loaders: dict[str, Callable[[], Callable[..., Any]]] = {}


def register(name: str, loader: Callable[[], Callable[..., Any]]) -> None:
    """Register a view; `loader` imports and returns the function only when it is first needed."""
    _loaders[name] = loader


def view(name: str) -> Callable[..., Any]:
    """The function registered under this name.

    Raises:
        LookupError: No such view; `import simtx` registers all of them.
    """
    try:
        return _loaders[name]()
    except KeyError:
        raise LookupError(f"no view '{name}' is registered; import simtx first") from None


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
