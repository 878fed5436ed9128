"""Defects of Paxos Commit: ballots that are forgotten, quorums that are too small, values of one's own, rows that are not written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Append, Message, Transact
from simtx.protocols.paxos_leader import PaxosLeader
from simtx.protocols.paxos_member import ABORTED, FORGET
from simtx.protocols.paxos_participant import PaxosParticipant

from .catalogue import Mutant, Paxos2


class ForgetsItsBallot(PaxosParticipant):
    __slots__ = ()

    def restore(self, record: Any) -> None:
        super().restore(record)
        self.promised = 0


class JoinsAnything(PaxosParticipant):
    __slots__ = ()

    def take_join(self, event: Any) -> Any:
        self.promised = 0
        return super().take_join(event)


class AcceptsVotesLate(PaxosParticipant):
    __slots__ = ()

    def accept_votes(self) -> Any:
        joined, self.promised = self.promised, 0
        effects = super().accept_votes()
        self.promised = joined
        return effects


class AcceptsLazily(PaxosParticipant):
    __slots__ = ()

    def record(self) -> Any:
        return replace(super().record(), forced=False)


class ProposesItsOwn(PaxosParticipant):
    __slots__ = ()

    def choose(self) -> str:
        return ABORTED


class ProposesAnyValue(PaxosParticipant):
    __slots__ = ()

    def choose(self) -> str:
        return (
            min((ballot, value) for ballot, value in self.heard.values() if ballot >= 0 or len(self.heard) < 9)[1]
            or ABORTED
        )


class AsksTooFew(PaxosParticipant):
    __slots__ = ()

    def take_joined(self, event: Any) -> Any:
        faults, self.faults = self.faults, 0
        effects = super().take_joined(event)
        self.faults = faults
        return effects


class CountsTooFew(PaxosLeader):
    __slots__ = ()

    def agree(self, name: str) -> Any:
        faults, self.faults = self.faults, 0
        effects = super().agree(name)
        self.faults = faults
        return effects


class AbortsAlone(PaxosLeader):
    __slots__ = ()

    def miss_votes(self, event: Any) -> Any:
        return self.decide(ABORTED, proven=True)


class PresumesAbort(PaxosLeader):
    __slots__ = ()

    def answer_voter(self, event: Any) -> Any:
        self.state = "finished"
        return [Message("abort", self.tx, self.node, event.sender), FORGET]


class LeavesNoTombstone(PaxosParticipant):
    __slots__ = ()

    def look_up(self, event: Any) -> Any:
        self.state = "finished"
        return [Message("aborted", self.tx, self.node, event.sender), FORGET]


class KeepsNoRefusal(PaxosParticipant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        effects = super().vote(event)
        if self.state != "refusing":
            return effects
        self.state = "finished"
        return [Message("no", self.tx, self.node, self.leader, event.status), FORGET]


class ForgetsTheClient(PaxosParticipant):
    __slots__ = ()

    def finish(self) -> Any:
        return [one for one in super().finish() if not isinstance(one, Append)]


class TellsNoLeader(PaxosParticipant):
    __slots__ = ()

    def finish(self) -> Any:
        effects = super().finish()
        self.pending = [name for name in self.pending if name in self.participants]
        return [one for one in effects if not (isinstance(one, Message) and one.kind == "outcome")]


class VotesOverRows(PaxosParticipant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        return super().vote(replace(event, status="done") if event.status == "duplicate" else event)


class FencesNothing(PaxosParticipant):
    __slots__ = ()

    def abort_past(self, event: Any) -> Any:
        return super().abort_past(replace(event, body=None))

    def decide(self, outcome: str, *, proven: bool) -> Any:
        return super().decide(outcome, proven=True)


MUTANTS: tuple[Mutant, ...] = ()
_UNUSED = (Transact, Paxos2)
