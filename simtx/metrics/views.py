"""How results learn to draw themselves: upper layers register views, the data classes below look them up.

`simtx/__init__.py` registers the views of `simtx.report`, so that `run.trace.diagram(tx)` works although this layer knows no
plotting library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
