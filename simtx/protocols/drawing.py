"""How strategies draw their machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simtx.views import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Drawn:
    """A strategy whose machines can be drawn; for strategies of users there is `simtx.report.pictures.machine.machine`."""

    def diagram(
        self,
        role: str | None = None,
        *,
        of: Any = None,
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Axes:
        """Draw the state machine of a role, as it stands in its transition table.

        Args:
            role: ``coordinator``, ``participant``, ``orchestrator``, ``service``, ``relay``; None: that of the node which clients turn to.
            of: What has taken transitions, a run, a full event log or a verdict of `simtx.verify`: what it has not taken is grey.
            ax: Where to draw, as a frame; None: in a new figure.
            figsize: Inches of a new figure.

        Raises:
            ScenarioError: The strategy has no such role, or the log does not say what machines did.
        """
        drawn: Axes = view("machine")(self, role, of=of, ax=ax, figsize=figsize)
        return drawn

    def automaton(
        self,
        scenario: Any,
        role: str | None = None,
        *,
        seed: int = 1,
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Axes:
        """Play a scenario on the fast engine, and draw what it has learned of a role: which transitions it has met, and how often each was taken.

        Args:
            scenario: A scenario, or the name or path of one.
            role: As for `diagram`.
            seed: Seed of all random streams.
            ax: Where to draw, as a frame; None: in a new figure.
            figsize: Inches of a new figure.

        Raises:
            ScenarioError: The fast engine cannot play this, or the strategy has no such role.
        """
        drawn: Axes = view("automaton")(self, scenario, role, seed=seed, ax=ax, figsize=figsize)
        return drawn
