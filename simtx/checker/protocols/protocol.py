"""The global model of a protocol in a scope, as a `Model` for the explorer: the steps, the properties, and a state in words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from simtx.checker.explorer.interning import SharedInternLog
from simtx.checker.explorer.model import Model
from simtx.checker.explorer.quiescence import Termination
from simtx.checker.protocols.admission import admit
from simtx.checker.protocols.compiled import searched
from simtx.checker.protocols.exchange import marked
from simtx.checker.protocols.layout import ENDED, MASK, OVER, State
from simtx.checker.protocols.local import Reaction
from simtx.checker.protocols.properties import Judge
from simtx.checker.protocols.reactions import DONE, LOGGED, NEW, STRAY, Action, GlobalReaction
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.checker.protocols.steps import Steps
from simtx.checker.protocols.symmetry import Symmetry
from simtx.checker.protocols.words import describe_event
from simtx.protocols import Machine, Policies, Strategy
from simtx.protocols.extras import configured, own_nodes

#: What the checker plays with when a strategy has no policies of its own: little patience, so that giving up is in reach.
POLICIES: Final = Policies(attempts=1, publish_attempts=2)


class ProtocolModel(Steps):
    """A strategy in a scope.

    Args:
        strategy: The strategy; without policies of its own it gets `POLICIES`.
        scope: Plans and budgets.
        fused: Where everything goes through a broker, let the last crash and the restart be one step: who is down then differs from
            who is slow in nothing. `direct` tells afterwards whether everything did.
        shared: Several processes will search.
        symmetry: Find out which participants are alike.
        deadline: When a search of this model is over, by the monotonic clock.

    Attributes:
        strategy: The strategy with its policies.
        scope: As given.
        variants: What is refused, and the plans.
        judge: The properties.
        symmetry: Which participants are alike, if any are.

    Raises:
        ScenarioError: The strategy cannot play the plans of this scope, or its members do not give what they should.
    """

    def __init__(
        self,
        strategy: Strategy,
        scope: Scope,
        *,
        fused: bool = True,
        shared: bool = False,
        symmetry: bool = False,
        deadline: float | None = None,
    ) -> None:
        strategy = configured(strategy, POLICIES)
        variants = scope.variants(alike=symmetry)
        if symmetry:
            variants = [(text, marked(plans)) for text, plans in variants]
        admit(strategy, scope.services(), [plans[0] for _, plans in variants])
        super().__init__(
            strategy,
            scope,
            variants,
            (*scope.services(), *own_nodes(strategy)),
            fused=fused and strategy.uses_broker and not strategy.hub,
            book=SharedInternLog() if shared else None,
        )
        self.judge = Judge(scope, self.locals, self.observations, variants[0][1])
        found = (
            Symmetry(self) if symmetry and not scope.repeats and scope.provider is None else None
        )  # a variant then matters to the end
        self.symmetry = found if found is not None and found.classes else None
        self._deadline = deadline
        self._checked: dict[tuple[int, int, int, int], tuple[Any, tuple[GlobalReaction, ...]]] = {}
        if self.symmetry is not None:
            self.crash_free = self._check

    @property
    def direct(self) -> bool:
        """Return whether any message went from node to node, and not through a broker."""
        return self.reactions.direct

    def always(self) -> dict[str, Callable[[State], bool]]:
        """Predicates of every state."""
        return {**self.judge.always(), "termination": self.termination()}

    def termination(self) -> Termination[State]:
        """The property that every run can still come to rest.

        While faults are in the budget nobody looks: the same trap is there, in a smaller scope, when they are spent.
        """
        return Termination(
            self.successors, lambda state: bool(state[5] & OVER), lambda state: bool(state[4]), self._deadline
        )

    def model(self, only: str | None = None) -> Model[State]:
        """The model for `explore`.

        Args:
            only: Name of the one property to check, without goals; None: all.
        """
        judge = self.judge
        always, at_rest = self.always(), judge.at_rest()
        goals = {"commit": judge.commits, "abort": judge.aborts}
        if self.scope.crashes and not self.scope.lasting and self._remembers():
            goals["recovery"] = judge.recovers
        if only is not None:
            goals = {}
            always = {name: holds for name, holds in always.items() if name == only}
            at_rest = {name: holds for name, holds in at_rest.items() if name == only}
        return Model(
            name=self.strategy.name,
            initial=self.initial(),
            successors=self.successors,
            invariants=always,
            terminal_invariants=at_rest,
            goals=goals,
            canonical=self.symmetry.canonical if self.symmetry is not None else None,
            catch_up=self.book.catch_up if self.book is not None else None,
            search=partial(searched, self, judge, self.termination()) if type(self) is ProtocolModel else None,
            show=self.show,
        )

    def _remembers(self) -> bool:
        """Return whether anything has to be done when a node restarts: a machine that recovers, or a daemon."""
        return any(
            type(self.strategy.machine(name, 0)).recover is not Machine.recover
            or any(True for _ in self.strategy.daemons(name))
            for name in self.nodes
        )

    def _check(self, node: int, local: int, event: Any, fail: int = -1) -> tuple[GlobalReaction, ...]:
        """Reactions to an event, after it was checked that identical participants may be permuted in it."""
        key = (node, local, id(event), fail)
        known = self._checked.get(key)
        if known is None:
            assert self.symmetry is not None  # noqa: S101 - nobody asks otherwise
            self.symmetry.check(node, local, event, fail)
            known = self._checked[key] = (event, self._digests(node, local, event, fail))
        return known[1]

    # --- words ------------------------------------------------------------------------------------------------------------------

    def outcome(self, state: State, action: Action) -> Reaction | None:
        """The reaction of the node in this step, if one reacted."""
        if action.event is None:
            return None
        return self.locals.outcomes(state[0][action.node], action.event, action.fail)[action.choice]

    def show(self, state: State) -> str:
        """A state on one line."""
        nodes, net, broker, _, budget, rest = state
        parts = []
        for name, local in zip(self.nodes, nodes, strict=True):
            busy = ", ".join(machine.state for _, machine in self.locals.busy(local))
            parts.append(
                f"{name} {'' if self._up(local) else 'down '}{busy or ('idle' if self._up(local) else '')}".strip()
            )
        if net:
            parts.append("in flight: " + ", ".join(self.words(number) for number in net))
        waiting = [self.words(item) for *_, entries in broker for _, item, _ in entries]
        if waiting:
            parts.append("at the broker: " + ", ".join(waiting))
        left = [
            f"{name} {budget >> 4 * position & MASK}"
            for position, name in enumerate(BUDGETS)
            if budget >> 4 * position & MASK
        ]
        parts.append("left: " + (", ".join(left) or "nothing"))
        if rest & ENDED:
            parts.append("at rest")
        return "; ".join(parts)

    def words(self, number: int) -> str:
        """Something in flight, in words."""
        item = self.items[number]
        message = item.message
        if item.request is not None:
            who = "" if item.kind == STRAY else f" of {self.nodes[item.node]}"
            return f"the request{who} to log once '{item.request.vote}' for {item.request.voter}"
        if item.kind == LOGGED:
            return f"the vote store's answer ({describe_event(item.event[2])}) to {self.nodes[item.node]}"
        assert message is not None  # noqa: S101 - all other kinds have one
        if item.kind == DONE:
            return f"the ack of {describe_event(message)} to {self.nodes[item.node]}"
        about = f" of transaction {message.tx}" if self.scope.messages > 1 else ""
        version = f" {NEW}" if item.tag == NEW else ""
        return f"{describe_event(message)}{about}{version} from {message.sender} to {message.to}"
