"""The members that the built-in strategies share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self, cast

from simtx.protocols.drawing import Drawn
from simtx.protocols.policies import Policies

if TYPE_CHECKING:
    from simtx.protocols.contract import Machine

DEFAULT_POLICIES: Final = Policies()


class BuiltIn(Drawn):
    """A strategy of simtx. One of a user's own need not be one: see `simtx.protocols.contract.Strategy`."""

    policies: Policies | None

    def configured(self, policies: Policies) -> Self:
        """This strategy, with the scenario's policies if it has none of its own."""
        return self if self.policies is not None else cast("Self", replace(cast("Any", self), policies=policies))

    def daemons(self, node: str) -> Iterable[Machine]:  # noqa: ARG002 - none on any node
        """No node runs anything beside its transactions."""
        return ()
