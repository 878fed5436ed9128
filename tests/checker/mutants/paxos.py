"""Defects of Paxos Commit: a ballot that is forgotten, a quorum that is too small, a value of one's own, a row that is not written, a client that is not told."""

from __future__ import annotations

from typing import Any

from simtx.protocols import Message
from simtx.protocols.commit_machine import FORGET
from simtx.protocols.paxos_apart import PaxosAcceptor
from simtx.protocols.paxos_leader import PaxosLeader
from simtx.protocols.paxos_member import ABORTED
from simtx.protocols.paxos_participant import PaxosParticipant

from .catalogue import Apart2, Mutant, Paxos2


class ForgetsItsBallot(PaxosParticipant):
    __slots__ = ()

    def take_join(self, event: Any) -> Any:
        effects = super().take_join(event)
        self.promised = 0
        return effects


class ProposesItsOwn(PaxosParticipant):
    __slots__ = ()

    def choose(self) -> str:
        return ABORTED


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


class LeavesNoTombstone(PaxosParticipant):
    __slots__ = ()

    def look_up(self, event: Any) -> Any:
        self.state = "finished"
        return [Message("aborted", self.tx, self.node, event.sender), FORGET]


class TellsNoLeader(PaxosParticipant):
    __slots__ = ()

    def finish(self) -> Any:
        effects = super().finish()
        self.pending = [name for name in self.pending if name in self.participants]
        return [one for one in effects if not (isinstance(one, Message) and one.kind == "outcome")]


class ForgetsItsPromise(PaxosParticipant):
    """Told of an abort, it takes the tombstone of another participant for enough."""

    __slots__ = ()

    def abort_past(self, event: Any) -> Any:
        if event.body:
            return super().abort_past(event)
        self.state = "finished"
        return [self.send(event.sender, "ack"), FORGET]


class LosesItsTombstone(PaxosParticipant):
    """A crash between the rollback and the tombstone: the restart forgets the promise, and leaves no tombstone."""

    __slots__ = ()

    def resume_ended(self) -> Any:
        self.state = "finished"
        return [FORGET]


class ForgetsWhatItAccepts(PaxosAcceptor):
    __slots__ = ()

    def gather(self, event: Any) -> Any:
        effects = super().gather(event)
        return [*effects, *self.forget(event)] if self.state == "bound" else effects


class AsksNobody(PaxosAcceptor):
    __slots__ = ()

    def ask(self, event: Any) -> Any:
        return self.forget(event)


MUTANTS = (
    Mutant(
        "promise-forgotten-without-a-tombstone",
        "An acceptor that was told of an abort forgets what it has promised, and could be prepared anew by a late copy of PREPARE.",
        Paxos2(participant=ForgetsItsPromise),
        "agreement",
        {"duplicates": 1, "timeouts": 1, "refusals": False},
    ),
    Mutant(
        "acceptor-forgets-its-ballot",
        "An acceptor joins a ballot, and accepts votes of ballot 0 afterwards.",
        Paxos2(participant=ForgetsItsBallot),
        "agreement",
        {"timeouts": 1},
    ),
    Mutant(
        "leader-proposes-its-own",
        "A leader aborts, whatever the acceptors that have joined its ballot have accepted.",
        Paxos2(participant=ProposesItsOwn),
        "agreement",
        {"timeouts": 1},
    ),
    Mutant(
        "one-acceptor-decides",
        "The first leader takes the word of one acceptor for the decision, its own.",
        Paxos2(first=CountsTooFew),
        "agreement",
        {"timeouts": 1},
    ),
    Mutant(
        "first-leader-aborts-alone",
        "A leader whose time is over aborts as under two-phase commit, though other acceptors may have all votes.",
        Paxos2(first=AbortsAlone),
        "agreement",
        {"timeouts": 1},
    ),
    Mutant(
        "paxos-no-tombstone",
        "A participant that was never asked says that it will not vote, and leaves nothing that would keep it from voting.",
        Paxos2(participant=LeavesNoTombstone),
        "agreement",
        {"timeouts": 1},
    ),
    Mutant(
        "client-left-alone",
        "A participant that has taken the lead does not tell the first leader, which owes the client an answer.",
        Paxos2(participant=TellsNoLeader),
        "non-blocking",
        {"crashes": 1},
    ),
    Mutant(
        "acceptor-apart-forgets-at-once",
        "An acceptor on a node of its own forgets what it has accepted as soon as it has told the leader.",
        Apart2(acceptor=ForgetsWhatItAccepts),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "acceptor-apart-asks-nobody",
        "An acceptor on a node of its own forgets after a while, and does not ask whether somebody is in doubt.",
        Apart2(acceptor=AsksNobody),
        "agreement",
        {"participants": 1, "losses": 1},
    ),
)
