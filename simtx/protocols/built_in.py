"""The members that the built-in strategies share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self, cast

from simtx.errors import ScenarioError
from simtx.protocols.contract import Machine, Plan, Strategy
from simtx.protocols.policies import Policies
from simtx.views import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFAULT_POLICIES: Final = Policies()


class BuiltIn:
    """A strategy of simtx. One of a user's own need not be one: see `simtx.protocols.contract.Strategy`, and `simtx.report.pictures.machine.machine` for drawing its machines."""

    policies: Policies | None

    def configured(self, policies: Policies) -> Self:
        """Return this strategy, with the scenario's policies if it has none of its own."""
        return self if self.policies is not None else cast("Self", replace(cast("Any", self), policies=policies))

    def entry(self: Strategy, plan: Plan) -> str:
        """The client turns to the hub; where there is none, to the service of the first step."""
        return self.hub or plan.steps[0].service

    def daemons(self, node: str) -> Iterable[Machine]:  # noqa: ARG002 - none on any node
        """Return nothing: no node runs anything beside its transactions."""
        return ()

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


def require_choice(value: object, choices: tuple[str, ...], name: str, where: str) -> None:
    """Refuse the value of an option that is none of its choices.

    Raises:
        ScenarioError: It is none of them.
    """
    if value not in choices:
        listed = " or ".join(f'"{one}"' for one in choices)
        raise ScenarioError(f"{name} = {value!r} is not available: use {listed}", where)
