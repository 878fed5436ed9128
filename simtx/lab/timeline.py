"""A transaction as a diagram that can be stepped through in a notebook: play, previous, next, zoom, and more about what is pointed at.

The picture is drawn once (`simtx.report.space_time`) and stays; a step only says which of its parts are seen, in the browser. So nothing flickers and nothing moves.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Final

from simtx.event_log.log import EventLog
from simtx.report.space_time import Drawing, drawing

_FOLDER: Final = Path(__file__).parent
_NO_WIDGETS: Final = "Stepping through it needs anywidget: pip install 'simtx[lab]', and start the kernel again."


class Page:
    """A diagram with its steps as a page, where there are no widgets.

    Attributes:
        drawing: The diagram.
    """

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing

    def _repr_html_(self) -> str:
        return f"<p>{escape(_NO_WIDGETS)}</p>{_html(self.drawing)}"

    def __repr__(self) -> str:
        return f"<{self.drawing.title}: {len(self.drawing.steps)} steps>"


def player(trace: EventLog, tx: int, *, told: tuple[str, ...] = (), title: str = "") -> Any:
    """A transaction to step through; without anywidget, a page.

    Args:
        trace: The event log.
        tx: Number of the transaction.
        told: The log tells a story, a millisecond a step: the lines of these steps.
        title: What stands above it.

    Returns:
        A widget with the traits `step`, `steps` and `svg`.

    Raises:
        ScenarioError: The log holds no such transaction.
    """
    drawn = drawing(trace, tx, told=told, title=title)
    try:
        kind = _widget()
    except ImportError:
        return Page(drawn)
    return kind(drawn)


def _html(drawn: Drawing) -> str:
    rows = "".join(f"<li>{escape(one.text)}</li>" for one in drawn.steps)
    return f"{drawn.svg}<ol>{rows}</ol>"


_made: list[Any] = []


def _widget() -> Any:
    """The class of the widget; made when the first one is asked for, so that nothing else needs anywidget.

    Raises:
        ImportError: It is not installed.
    """
    if _made:
        return _made[0]
    import anywidget
    import traitlets

    class Player(anywidget.AnyWidget):
        """A diagram that can be stepped through.

        Attributes:
            svg: The picture.
            steps: (row, text) of each step.
            step: The step that is shown, from 1.
        """

        _esm = _FOLDER / "timeline.js"
        _css = _FOLDER / "timeline.css"
        svg = traitlets.Unicode().tag(sync=True)
        steps: Any = traitlets.List().tag(sync=True)
        step = traitlets.Int(1).tag(sync=True)

        def __init__(self, drawn: Drawing) -> None:
            self._drawn = drawn
            steps = [[one.row, one.text] for one in drawn.steps]
            super().__init__(svg=drawn.svg, steps=steps, step=max(1, len(steps)))

        def _repr_mimebundle_(self, **options: Any) -> Any:
            """The widget, and the picture with its steps for pages that cannot have one."""
            shown = super()._repr_mimebundle_(**options)
            data, *more = shown if isinstance(shown, tuple) else (shown,)
            data = {**(data or {}), "text/html": _html(self._drawn), "text/plain": repr(self)}
            return (data, *more) if more else data

        def __repr__(self) -> str:
            return f"<{self._drawn.title}: step {self.step} of {len(self._drawn.steps)}>"

    _made.append(Player)
    return Player
