"""The first leader of Paxos Commit, on a node of its own; theory and sources are in `simtx.protocols.paxos_commit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, text
from simtx.protocols.commit_machine import CANCEL_VOTE, LAZY_ABORT, work_of
from simtx.protocols.contract import (
    Effect,
    Message,
    Record,
    Request,
    SetTimer,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.paxos_member import (
    ABORTED,
    CANCEL_LEAD,
    COMMITTED,
    FINISHING,
    LEADING,
    Member,
    ballot,
    joined,
    joining,
    outcome_of_names,
    proposing,
)

_ANSWERS: Final = frozenset({"joined", "accepted", "outbid", "committed", "aborted"})


class PaxosLeader(Member):
    """Asks for votes, is the first acceptor, leads ballot 0, and sends the outcome to all.

    With F = 0 it is the coordinator of two-phase commit with presumed abort: its record as the only acceptor is the commit record.
    """

    __slots__ = ()

    role: ClassVar[str] = "leader"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("voting",), "PREPARE to all"),
        on.message("idle", "yes", "answer_voter", ("finished",), "F = 0: not known, so aborted: ABORT"),
        on.message("idle", "outcome", "adopt", ("finishing",), "answer, the outcome to all"),
        on.message(
            "voting", "yes", "take_yes", ("voting", "finishing"), "acceptor: count; the last one: force; F = 0: decided"
        ),
        on.message(
            "voting", "accepted", "take_accepted", ("voting", "finishing"), "count; F + 1: decided, answer, COMMIT"
        ),
        on.message("voting", "no", "take_no", ("voting", "finishing", "finished"), "answer, ABORT to YES voters"),
        on.timer(
            "voting", "vote", "miss_votes", ("joining", "finished"), "too late: lead a higher ballot; F = 0: abort"
        ),
        on.message("voting", "outcome", "adopt", ("finishing",), "answer, the outcome to all"),
        on.message("voting", "join", "take_join", ("voting",), "acceptor: force, JOINED"),
        on.message("voting", "propose", "take_proposal", ("voting",), "acceptor: force, ACCEPTED"),
        *(
            row
            for state in ("joining", "proposing")
            for row in (
                on.message(state, "outcome", "adopt", ("finishing",), "answer, the outcome to all"),
                on.message(state, "no", "take_no", (state, "finishing", "finished"), "ABORT to all"),
            )
        ),
        *LEADING,
        *FINISHING,
        on.message("finishing", "yes", "tell_voter", ("finishing",), "the outcome to it"),
        on.message("finishing", "no", "drop_refuser", ("finishing", "finished"), "nothing to undo there"),
        on.message("finishing", "outcome", "acknowledge", ("finishing",), "ACK"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        **dict.fromkeys(("yes", "ack", "committed", "aborted"), nothing),
        **dict.fromkeys(("accepted", "outbid"), ballot),
        "no": text,
        "join": joining,
        "joined": joined,
        "propose": proposing,
        "outcome": outcome_of_names,
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"no", "ack", "join", "propose"}) | _ANSWERS,
        "voting": frozenset({"begin", "ack"}) | _ANSWERS,
        "joining": frozenset({"begin", "yes", "ack", "accepted"}),
        "proposing": frozenset({"begin", "yes", "ack", "joined"}),
        "finishing": frozenset({"begin"}) | _ANSWERS,
    }

    # --- ballot 0 --------------------------------------------------------------------------------------------------------------

    def begin(self, event: Request) -> list[Effect]:
        """Ask every participant to do its part and to vote."""
        work = work_of(event)
        self.leader = self.node
        self.participants = tuple(work)
        self.state = "voting"
        effects: list[Effect] = [
            self.send(name, "prepare", (*work[name], self.participants, place))
            for place, name in enumerate(self.participants)
        ]
        return [*effects, SetTimer("vote", self.policies.vote_timeout)]

    def answer_voter(self, event: Message) -> list[Effect]:
        """Answer abort with F = 0, as nobody else has accepted anything. Otherwise others may have: who knows nothing says nothing."""
        return self.over() if self.faults else self.over(self.send(event.sender, "abort"))

    def take_yes(self, event: Message) -> list[Effect]:
        """A vote, of which this node is an acceptor; behind a NO it means nothing."""
        if event.sender in self.refused:
            return []
        self.count_vote(event.sender)
        return self.accept_votes()

    def take_no(self, event: Message) -> list[Effect]:
        """One NO decides: nobody else may propose commit for that participant, and it never will."""
        if event.sender not in self.participants:
            raise self.stranger(event.sender, "votes in")
        if event.sender in self.votes:
            return []
        self.refused.append(event.sender)
        return self.decide(ABORTED, proven=True)

    def miss_votes(self, _event: Timer) -> list[Effect]:
        """The vote has lasted too long. The votes may have reached other acceptors, so that nobody may abort on his own, except with F = 0."""
        effects: list[Effect] = [Suspect(name) for name in self.participants if name not in self.votes]
        return effects + (self.lead() if self.faults else self.decide(ABORTED, proven=False))

    # --- the outcome -----------------------------------------------------------------------------------------------------------

    def decide(self, outcome: str, *, proven: bool) -> list[Effect]:
        """Answer the client, and send the outcome to all participants but those that have refused; an abort with F = 0 is forgotten at once."""
        cancel = CANCEL_LEAD if self.own else CANCEL_VOTE
        self.outcome = outcome
        self.fence = outcome == ABORTED and not proven and self.faults > 0
        self.pending = [name for name in self.participants if name not in self.refused]
        effects = [*self.said(outcome), *map(self.tell, self.to_tell(outcome))]
        if not self.faults and outcome == ABORTED:
            return self.over(LAZY_ABORT, *effects)
        if not self.pending:
            return self.over(*effects)
        self.settle()
        return [*effects, self.wait(), cancel]

    def to_tell(self, outcome: str) -> list[str]:
        """Participants that get the outcome at once: of an abort in ballot 0 those that have voted, as the others get it when their vote comes."""
        if outcome == ABORTED and not self.own and (self.refused or not self.faults):
            return [name for name in self.pending if name in self.votes]
        return self.pending

    def adopt(self, event: Message) -> list[Effect]:
        """Another leader has come to the outcome, and sends it to all: answer the client, and be there for those that it does not reach."""
        cancel = CANCEL_LEAD if self.own else CANCEL_VOTE
        self.outcome, participants = event.body
        self.leader = self.node
        self.participants = tuple(participants)
        self.pending = [name for name in self.participants if name != event.sender]
        effects = self.said(self.outcome)
        self.settle()
        return [*effects, self.send(event.sender, "ack"), self.wait(), cancel]

    # --- restart ---------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Find out how the transaction ended, as what was accepted says more than nothing. The client is answered again."""
        record = self.last_record(records, "acceptor")
        if record is None:
            return self.over() if records else []
        self.restore(record)
        if not self.faults:
            return self.decide(COMMITTED, proven=True)
        return self.lead()
