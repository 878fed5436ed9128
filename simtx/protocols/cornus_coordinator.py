"""The coordinator of log-once votes; theory and sources are in `simtx.protocols.cornus`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, text
from simtx.protocols.commit_machine import work_of
from simtx.protocols.contract import (
    Answer,
    Decided,
    Effect,
    Message,
    Outcome,
    Request,
    SetTimer,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.cornus_member import ABORTED, COMMITTED, Voter, outcome
from simtx.protocols.policies import Policies


class CornusCoordinator(Voter):
    """Asks for votes, counts them, and sends the outcome. It writes nothing to any disk: the votes in the store are the decision.

    Attributes:
        pending: Participants whose vote has not come.
        refused: Participants that have said NO.
    """

    __slots__ = ("pending", "refused")

    role: ClassVar[str] = "coordinator"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("voting",), "PREPARE to all"),
        on.message("idle", "yes", "nudge", ("finished",), "knows nothing: LOOK"),
        on.message("idle", "outcome", "pass_on", ("finished",), "answer, HEARD"),
        *(
            row
            for state in ("voting", "asking")
            for row in (
                on.message(state, "yes", "take_yes", (state, "finished"), "count; the last one: answer, COMMIT"),
                on.message(state, "no", "take_no", ("aborting", "finished"), "answer, ABORT to YES voters"),
                on.message(state, "outcome", "adopt", ("finished",), "answer, HEARD, tell the others"),
                on.timer(state, "vote", "ask_store", ("asking",), "log once NO for the silent, read what is there"),
            )
        ),
        on.done(
            "asking", "logged", "take_stored", ("asking", "finished"), "a NO: answer, ABORT; all YES: answer, COMMIT"
        ),
        on.message("aborting", "yes", "tell_abort", ("aborting", "finished"), "ABORT to it"),
        on.message("aborting", "no", "drop", ("aborting", "finished"), "nothing to undo there"),
        on.message("aborting", "outcome", "confirm", ("aborting", "finished"), "HEARD"),
        on.timer("aborting", "vote", "forget", ("finished",), "who votes later is told to LOOK"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {"yes": nothing, "no": text, "outcome": outcome}
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"no"}),
        "voting": frozenset({"begin"}),
        "asking": frozenset({"begin"}),
        "aborting": frozenset({"begin"}),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.pending: list[str] = []
        self.refused: list[str] = []

    # --- idle ----------------------------------------------------------------------------------------------------------------

    def begin(self, event: Request) -> list[Effect]:
        """Ask every participant to do its part and to vote; PREPARE says who takes part, so that each can do without the coordinator."""
        work = work_of(event)
        self.participants = tuple(work)
        self.pending = [*self.participants]
        self.state = "voting"
        effects: list[Effect] = [
            self.send(name, "prepare", (*work[name], self.participants)) for name in self.participants
        ]
        return [*effects, SetTimer("vote", self.policies.vote_timeout)]

    def nudge(self, event: Message) -> list[Effect]:
        """A vote in a transaction that it does not know: forgotten after its end, or lost in a crash. The store knows."""
        return self.over(self.send(event.sender, "look"))

    def pass_on(self, event: Message) -> list[Effect]:
        """A participant has found the outcome in the store: the client may not have its answer yet. Only the first one reaches it."""
        return self.over(*_said(event.body), self.send(event.sender, "heard"))

    # --- voting --------------------------------------------------------------------------------------------------------------

    def take_yes(self, event: Message) -> list[Effect]:
        """A YES is sent when it is in the store."""
        self.count(event.sender)
        if event.sender in self.pending:
            self.pending.remove(event.sender)
        return self.conclude(COMMITTED) if self.complete() else []

    def take_no(self, event: Message) -> list[Effect]:
        """So is a NO, and one decides; who votes YES later gets the outcome then."""
        self.drop(event)
        self.refused.append(event.sender)
        effects: list[Effect] = [*_said(ABORTED, f"{event.body} by {event.sender}")]
        effects += [self.send(name, "abort") for name in self.participants if name in self.agreed]
        if not self.pending:
            return self.over(*effects)
        self.state = "aborting"
        return effects

    def ask_store(self, _event: Timer) -> list[Effect]:
        """The vote has lasted too long. That alone aborts nothing: the store decides."""
        first = self.state == "voting"
        self.state = "asking"
        suspects: list[Effect] = [Suspect(name) for name in self.participants if name not in self.agreed]
        return [*(suspects if first else ()), *self.ask(), *self.again("vote", self.policies.inquiry_timeout)]

    def adopt(self, event: Message) -> list[Effect]:
        """A participant did not want to wait, and has asked the store. It may forget with HEARD, so that the client is answered first."""
        effects = self.conclude(event.body, besides=event.sender)
        return [*effects[:2], self.send(event.sender, "heard"), *effects[2:]]

    def conclude(self, result: Outcome, reason: str = "", besides: str = "") -> list[Effect]:
        """Answer first, then send the outcome to all but those that have it, once: who misses it finds it in the store."""
        kind = "commit" if result == COMMITTED else "abort"
        told = [name for name in self.participants if name != besides and name not in self.refused]
        return self.over(*_said(result, reason), *(self.send(name, kind) for name in told))

    # --- aborting ------------------------------------------------------------------------------------------------------------

    def tell_abort(self, event: Message) -> list[Effect]:
        """A YES that comes behind a NO."""
        return [self.send(event.sender, "abort"), *self.drop(event)]

    def confirm(self, event: Message) -> list[Effect]:
        """Confirm to a participant that repeats the outcome; the client has its answer, too."""
        return [self.send(event.sender, "heard"), *self.drop(event)]

    def drop(self, event: Message) -> list[Effect]:
        """Note that this vote has come; behind the last one nobody needs the outcome any more."""
        if event.sender in self.pending:
            self.pending.remove(event.sender)
        if self.pending:
            return []
        return self.over()


def _said(result: Outcome, reason: str = "") -> list[Effect]:
    return [Decided(result), Answer(result, reason)]
