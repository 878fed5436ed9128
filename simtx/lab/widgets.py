"""The explorer in a notebook: sliders, buttons and the picture, and nothing that thinks.

All that is decided is decided in `simtx.lab.exploring`; here its controls become widgets, and its answers one picture that stays where it is.
"""

from __future__ import annotations

import threading
from html import escape
from typing import TYPE_CHECKING, Any, Final

import ipywidgets  # type: ignore[import-untyped]

from simtx.errors import SimtxError
from simtx.experiments.stories import stories
from simtx.lab.answer import METRICS, Answer
from simtx.lab.controls import Control
from simtx.lab.telling import Told
from simtx.report.catalogue import axis_label

if TYPE_CHECKING:
    from simtx.lab.exploring import Explorer

_WIDE: Final = {"description_width": "110px"}
_SLIDERS: Final = "320px"
_HEIGHT: Final = "300px"
"""Least height of the picture: what stands below it does not jump while the first one is drawn."""
_TITLES: Final = {
    "load": "",
    "network": "",
    "failures": "",
    "service times": "Service times (means)",
    "options": "Options of the strategies",
}


class View:
    """The widgets of one explorer.

    Args:
        explorer: The explorer.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self._follower = 0  # the thread that is setting widgets to where the explorer stands
        self.inputs = {name: self._input(control) for name, control in explorer.controls.items()}
        self.failure = ipywidgets.ToggleButtons(
            options=[("no failure", ""), *((one.title, name) for name, one in explorer.failures.items())],
            style={"button_width": "auto"},
        )
        self.failure.observe(self._struck, "value")
        self.story = ipywidgets.ToggleButtons(
            options=[(one.title, name) for name, one in stories().items()], value=None, style={"button_width": "auto"}
        )
        self.story.observe(lambda change: self._tell(change["new"]), "value")
        self.again = ipywidgets.HTML(
            _said(
                "Ways to go wrong, each in a small world of its own that shows it best. Choose one: it is played now."
            )
        )
        self.told = ipywidgets.HTML(layout={"min_height": _HEIGHT})
        self.metric = ipywidgets.Dropdown(
            options=[(axis_label(name, explorer.scenario), name) for name in METRICS],
            description="curve",
            layout={"width": "480px"},
        )
        self.metric.observe(lambda change: self._do(lambda: explorer.draw(change["new"])), "value")
        self.picture = ipywidgets.HTML(layout={"min_height": _HEIGHT})
        self.status = ipywidgets.HTML()
        self.lesson = ipywidgets.HTML()
        self.link = ipywidgets.Text(description="as text", layout={"width": "480px"}, continuous_update=False)
        self.link.observe(lambda _: self._follow(explorer.answer), "value")  # what is typed into it is no request
        self.file = ipywidgets.Text(value=f"{explorer.scenario.name}-explored.toml", layout={"width": "260px"})
        self.save = ipywidgets.Button(description="save scenario", icon="save")
        self.save.on_click(lambda _: self._save())
        self.reset = ipywidgets.Button(description="reset", icon="undo")
        self.reset.on_click(lambda _: self._do(explorer.reset))
        self.box = self._tabs()
        explorer.on_answer(self._follow)
        self._follow(explorer.answer)

    def _input(self, control: Control) -> Any:
        options = [(control.text(value), value) for value in control.values]
        kind = ipywidgets.SelectionSlider if control.numeric else ipywidgets.Dropdown
        made = kind(
            options=options, value=control.base, description=control.label, style=_WIDE, layout={"width": _SLIDERS}
        )
        made.observe(lambda change: self._do(lambda: self.explorer.move({control.name: change["new"]})), "value")
        return made

    def _arranged(self) -> Any:
        groups: dict[str, list[Any]] = {}
        for name, control in self.explorer.controls.items():
            groups.setdefault(_TITLES[control.group], []).append(self.inputs[name])
        folded = {title: ipywidgets.VBox(inside) for title, inside in groups.items() if title}
        more = ipywidgets.Accordion(children=list(folded.values()), selected_index=None)
        for index, title in enumerate(folded):
            more.set_title(index, title)
        left = ipywidgets.VBox(
            [*groups.get("", []), more, self.reset], layout={"width": "340px", "flex": "0 0 auto", "overflow": "hidden"}
        )
        right = ipywidgets.VBox(
            [self.picture, self.status, self.metric], layout={"flex": "1 1 620px", "min_width": "420px"}
        )
        body = ipywidgets.HBox([left, right], layout={"flex_flow": "row wrap"})
        foot = ipywidgets.HBox([self.link, self.file, self.save], layout={"flex_flow": "row wrap"})
        return ipywidgets.VBox([self.failure, self.lesson, body, foot])

    def _tabs(self) -> Any:
        told = ipywidgets.VBox([self.story, self.again, self.told])
        box = ipywidgets.Tab(children=[self._arranged(), told], titles=["Explore", "Failure stories"])
        box.add_class("simtx-explorer")
        return box

    # --- from the reader --------------------------------------------------------------------------------------------------------

    def _struck(self, change: dict[str, Any]) -> None:
        self._do(lambda: self.explorer.strike(change["new"] or None))

    def _tell(self, name: str) -> None:
        """Play a failure story; the last one that was asked for is shown."""

        def show(told: Told) -> None:
            if self.story.value == name:
                self.told.value, self.again.value = told.picture, _said(f"{told.lesson} Again: {told.command}")

        self.again.value = _said("playing")
        self._do(lambda: self.explorer.tell(name, show))

    def _do(self, what: Any) -> None:
        """Do what was asked for; what is wrong with it is said below the picture."""
        if threading.get_ident() == self._follower:
            return
        try:
            what()
        except SimtxError as error:
            self.status.value = _said(str(error))

    def _save(self) -> None:
        try:
            self.status.value = _said(f"written: {self.explorer.save(self.file.value)}")
        except SimtxError as error:
            self.status.value = _said(str(error))

    # --- from the explorer ------------------------------------------------------------------------------------------------------

    def _follow(self, answer: Answer | None) -> None:
        """Show an answer, and where everything stands: it may have been moved by code."""
        if answer is None:
            self.status.value = _said("playing the scenario as it is")
            return
        from simtx.lab.picture import svg

        self.picture.value = svg(answer, self.explorer)
        self.status.value = _said(answer.status)
        state = self.explorer.state
        if state != answer.state:  # something newer is on its way, and the reader's hand is on it
            return
        self._follower = threading.get_ident()
        try:
            for name, control in self.explorer.controls.items():
                self._stand(self.inputs[name], control, state.values.get(name, control.base))
            self.failure.value = state.failure
            self.metric.value = state.metric
            self.lesson.value = _said(self.explorer.failures[state.failure].lesson) if state.failure else ""
            try:
                self.link.value = self.explorer.text
            except SimtxError as error:
                self.link.value, self.link.placeholder = "", str(error)
        finally:
            self._follower = 0

    @staticmethod
    def _stand(made: Any, control: Control, value: Any) -> None:
        """Put a widget where a control stands, which may be between the positions."""
        if all(one != value for _, one in made.options):
            values = sorted({*(one for _, one in made.options), value})
            made.options = [(control.text(one), one) for one in values]
        if made.value != value:
            made.value = value


def _said(text: str) -> str:
    return f'<span style="color:var(--jp-ui-font-color1, inherit)">{escape(text)}</span>'


def view(explorer: Explorer) -> Any:
    """The widget of an explorer."""
    return View(explorer).box
