"""Base of all members of a transaction under Paxos Commit: they accept, take the lead, finish; theory and sources are in `simtx.protocols.paxos_commit`."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import Final

from simtx.protocols import on
from simtx.protocols.bodies import index, indexes, names, operations, parts, text
from simtx.protocols.commit_machine import CANCEL_ACKNOWLEDGEMENT, CommitMachine
from simtx.protocols.contract import (
    Alert,
    Answer,
    Append,
    CancelTimer,
    Decided,
    Effect,
    Message,
    Outcome,
    Record,
    SetTimer,
    Suspect,
    Timer,
)
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.policies import Policies

COMMITTED: Final = "committed"
ABORTED: Final = "aborted"
CANCEL_LEAD: Final = CancelTimer("lead")
_NONE: Final = -1  # the ballot of an acceptor that has accepted nothing


def ballot(body: object) -> bool:
    """A ballot."""
    return type(body) is int and 0 <= body < 2**31


def outcome(body: object) -> bool:
    """Outcome of a transaction."""
    return body in (COMMITTED, ABORTED)


def tombstone_or_nothing(body: object) -> bool:
    """Return whether the receiver has to leave a tombstone."""
    return body is None or body == TOMBSTONE


joining: Final = parts(ballot, text, names)
"""A ballot, the name of the leader of ballot 0, and the names of the participants."""
joined: Final = parts(ballot, lambda body: body == _NONE or ballot(body), lambda body: body == "" or outcome(body))
"""A ballot, and what was accepted: in which ballot, or -1, and what."""
proposing: Final = parts(ballot, outcome, text, names)
"""A ballot, an outcome, and who takes part."""
outcome_of_names: Final = parts(outcome, names)
"""An outcome, and the names of the participants."""
prepare: Final = parts(operations, indexes, names, index)
"""Operations, the numbers of their steps, the names of the participants, and the receiver's place among them."""


class Member(CommitMachine):
    """A node that takes part in a transaction: it may be an acceptor, it may take the lead, and it may have to send the outcome to all others.

    Its record as an acceptor is ``("acceptor", ballot promised, ballot accepted or -1, outcome accepted, leader of ballot 0, participants)``; the last one counts.

    Attributes:
        faults: How many crashed acceptors are to be survived.
        leader: Who leads ballot 0, and answers the client.
        participants: Services of the transaction, in the order of their first step; empty as long as this node does not know of it.
        rank: Its ballots are those that leave this remainder, divided by the number of participants and one.
        promised: As an acceptor, the highest ballot that it has joined; as a leader, its own at least.
        ballot: As an acceptor, the ballot in which it has accepted, or -1.
        value: What it has accepted.
        votes: Participants whose vote for commit, in ballot 0, has come.
        own: The ballot that it leads; 0 is that of the first leader.
        outbid: The highest ballot of others that it knows.
        heard: Acceptors that have joined its ballot, with what they have accepted.
        proposal: What it proposes.
        agreed: Acceptors that have accepted its proposal.
        outcome: The outcome, as soon as it is known for good.
        fence: Whether those that get the outcome from it have to leave a tombstone.
        pending: Who has not acknowledged the outcome.
        refused: Participants that have voted against commit.
    """

    __slots__ = (
        "agreed",
        "ballot",
        "faults",
        "fence",
        "heard",
        "leader",
        "outbid",
        "outcome",
        "own",
        "participants",
        "pending",
        "promised",
        "proposal",
        "rank",
        "refused",
        "value",
        "votes",
    )

    def __init__(self, node: str, tx: int, policies: Policies, faults: int) -> None:
        super().__init__(node, tx, policies)
        self.faults = faults
        self.leader = ""
        self.participants: tuple[str, ...] = ()
        self.rank = 0
        self.promised = 0
        self.ballot = _NONE
        self.value = ""
        self.votes: list[str] = []
        self.own = 0
        self.outbid = 0
        self.heard: dict[str, tuple[int, str]] = {}
        self.proposal = ""
        self.agreed: list[str] = []
        self.outcome = ""
        self.fence = False
        self.pending: list[str] = []
        self.refused: list[str] = []

    # --- who is who ----------------------------------------------------------------------------------------------------------

    def members(self) -> tuple[str, ...]:
        """The leader of ballot 0 and all participants, each once."""
        return (self.leader, *(name for name in self.participants if name != self.leader))

    def acceptors(self) -> tuple[str, ...]:
        """The first 2F + 1 members; the first F + 1 of them are active while nobody fails."""
        return self.members()[: 2 * self.faults + 1]

    # --- as an acceptor ------------------------------------------------------------------------------------------------------

    def record(self) -> Append:
        """Force what an acceptor must not forget."""
        return Append(("acceptor", self.promised, self.ballot, self.value, self.leader, self.participants))

    def restore(self, record: Record) -> None:
        """The opposite of `record`."""
        _, self.promised, self.ballot, self.value, self.leader, participants = record
        self.participants = tuple(participants)

    def count_vote(self, name: str) -> None:
        """A participant has promised to commit."""
        if self.participants and name not in self.participants:
            raise self.stranger(name, "votes in")
        if name not in self.votes:
            insort(self.votes, name)

    def accept_votes(self) -> list[Effect]:
        """Accept all instances of ballot 0 with one forced record, once the last vote has come, unless a higher ballot was joined."""
        complete = self.participants and len(self.votes) == len(self.participants)
        if not complete or self.promised or self.ballot != _NONE or self.node not in self.acceptors():
            return []
        self.ballot, self.value = 0, COMMITTED
        if self.node != self.leader:
            return [self.record(), self.send(self.leader, "accepted", 0)]
        return [self.record(), *self.agree(self.node)]

    def take_join(self, event: Message) -> list[Effect]:
        """Join a ballot: promise to accept nothing of a lower one, and say what was accepted so far."""
        asked = event.body[0]
        if self.node not in self.acceptors():
            return []
        if asked < self.promised:
            return [self.send(event.sender, "outbid", self.promised)]
        said = self.send(event.sender, "joined", (asked, self.ballot, self.value))
        if asked == self.promised:
            return [said]
        self.promised = asked
        return [self.record(), said]

    def take_proposal(self, event: Message) -> list[Effect]:
        """Accept, unless a higher ballot was joined."""
        asked, value = event.body[:2]
        if self.node not in self.acceptors():
            return []
        if asked < self.promised:
            return [self.send(event.sender, "outbid", self.promised)]
        said = self.send(event.sender, "accepted", asked)
        if asked == self.ballot:
            return [said]
        self.promised, self.ballot, self.value = asked, asked, value
        return [self.record(), said]

    # --- as a leader ---------------------------------------------------------------------------------------------------------

    def lead(self) -> list[Effect]:
        """Take the lead in a ballot that is higher than all that are known, and ask everybody what was accepted, or how it ended."""
        modulus = len(self.participants) + 1
        floor = max(self.promised, self.outbid)
        self.outbid = 0
        self.own = floor + 1 + (self.rank - floor - 1) % modulus
        self.promised = self.own
        self.state = "joining"
        self.heard = {self.node: (self.ballot, self.value)} if self.node in self.acceptors() else {}
        # Also who is no acceptor records its ballot: it must not lead the same one again after a crash, with another proposal.
        return [*self.invite(), self.record(), self.patience()]

    def invite(self) -> list[Effect]:
        """JOIN to all that have not joined: the acceptors among them promise, and who has ended says how."""
        body = (self.own, self.leader, self.participants)
        return [
            self.send(name, "join", body) for name in self.members() if name != self.node and name not in self.heard
        ]

    def patience(self) -> SetTimer:
        """The timer until it asks again."""
        return self.timer("lead", self.policies.inquiry_timeout)

    def take_joined(self, event: Message) -> list[Effect]:
        """Propose what was accepted in the highest ballot once F + 1 have joined; if nothing was accepted, abort."""
        asked, accepted, value = event.body
        if asked != self.own:
            return []
        self.heard[event.sender] = (accepted, value)
        if len(self.heard) <= self.faults:
            return []
        self.proposal = self.choose()
        self.heard = {}
        self.state = "proposing"
        self.agreed = []
        effects = self.propose()
        if self.node in self.acceptors() and self.promised == self.own:
            self.ballot, self.value = self.own, self.proposal
            effects += [self.record(), *self.agree(self.node)]
        return effects

    def choose(self) -> str:
        """The outcome that may be proposed, after what acceptors have answered."""
        highest, value = max(self.heard.values())
        return ABORTED if highest == _NONE else value

    def propose(self) -> list[Effect]:
        """PROPOSE to all acceptors that have not accepted."""
        body = (self.own, self.proposal, self.leader, self.participants)
        return [
            self.send(name, "propose", body)
            for name in self.acceptors()
            if name != self.node and name not in self.agreed
        ]

    def take_accepted(self, event: Message) -> list[Effect]:
        """An acceptor has accepted."""
        return self.agree(event.sender) if event.body == self.own else []

    def agree(self, name: str) -> list[Effect]:
        """Count an acceptor; F + 1 of them have decided."""
        if name not in self.agreed:
            insort(self.agreed, name)
        if len(self.agreed) <= self.faults:
            return []
        return self.decide(self.proposal or COMMITTED, proven=False)

    def take_outbid(self, event: Message) -> list[Effect]:
        """Go beyond the higher ballot that somebody leads, but not at once, so that it may come to an end."""
        self.outbid = max(self.outbid, event.body)
        return []

    def lead_again(self, _event: Timer) -> list[Effect]:
        """Ask again, in the same ballot unless a higher one is known; never with another proposal in the same ballot."""
        effects: list[Effect] = []
        if self.count_attempt():
            effects.append(Alert(f"in doubt: no {self.faults + 1} acceptors after {self.attempt} attempts"))
        if max(self.promised, self.outbid) > self.own:
            return effects + self.lead()
        return [*effects, *(self.invite() if self.state == "joining" else self.propose()), self.patience()]

    def learn_commit(self, _event: Message) -> list[Effect]:
        """Decide to commit: somebody has ended the transaction already."""
        return self.decide(COMMITTED, proven=True)

    def learn_abort(self, _event: Message) -> list[Effect]:
        """Decide to abort: somebody has aborted the transaction, or will never vote for it."""
        return self.decide(ABORTED, proven=True)

    def decide(self, outcome: str, *, proven: bool) -> list[Effect]:
        """The outcome is known for good.

        Args:
            outcome: The outcome.
            proven: Whether a row in somebody's store says so, which outlives the acceptors' records.
        """
        raise NotImplementedError

    # --- finishing -----------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Forget how the outcome came about: from here on only the outcome counts."""
        self.state = "finishing"
        self.promised = self.own = self.outbid = self.attempt = 0
        self.ballot, self.value, self.proposal = _NONE, "", ""
        self.votes, self.agreed, self.refused, self.heard = [], [], [], {}

    def said(self, outcome: str) -> list[Effect]:
        """The outcome is final; who leads ballot 0 owes the client an answer."""
        final: Outcome = "committed" if outcome == COMMITTED else "aborted"
        effects: list[Effect] = [Decided(final)]
        if self.node == self.leader:
            reason = f"refused by {', '.join(self.refused)}" if self.refused else ""
            effects.append(Answer(final, reason if outcome == ABORTED else ""))
        return effects

    def tell(self, name: str) -> Message:
        """The outcome, to one that has not acknowledged it."""
        if name not in self.participants:
            return self.send(name, "outcome", (self.outcome, self.participants))
        if self.outcome == COMMITTED:
            return self.send(name, "commit")
        return self.send(name, "abort", TOMBSTONE if self.fence else None)

    def wait(self) -> SetTimer:
        """The timer until the outcome is sent again."""
        return self.timer("acknowledgement", self.policies.acknowledgement_timeout)

    def close(self) -> list[Effect]:
        """Forget when everybody has acknowledged."""
        if self.pending:
            return []
        return self.over(CANCEL_ACKNOWLEDGEMENT)

    def take_acknowledgement(self, event: Message) -> list[Effect]:
        """One more knows the outcome for good."""
        if event.sender not in self.pending:
            if event.sender not in self.members():
                raise self.stranger(event.sender, "acknowledges")
            return []
        self.pending.remove(event.sender)
        return self.close()

    def tell_again(self, _event: Timer) -> list[Effect]:
        """Tell all that have not acknowledged, for ever."""
        effects: list[Effect] = [Suspect(name) for name in self.pending]
        if self.count_attempt():
            effects.append(
                Alert(f"outcome not acknowledged by {', '.join(self.pending)} after {self.attempt} attempts")
            )
        return [*effects, *(self.tell(name) for name in self.pending), self.wait()]

    def tell_voter(self, event: Message) -> list[Effect]:
        """A vote that came after the decision, or came again as a question."""
        return [self.tell(event.sender)] if event.sender in self.pending else []

    def drop_refuser(self, event: Message) -> list[Effect]:
        """A refusal that came after the decision: it has nothing to undo."""
        if event.sender not in self.pending:
            return []
        self.pending.remove(event.sender)
        return self.close()

    def tell_leader(self, event: Message) -> list[Effect]:
        """Another leader asks: it is over."""
        return [self.send(event.sender, self.outcome)]

    def acknowledge(self, event: Message) -> list[Effect]:
        """Another leader sends the outcome that is known here."""
        return [self.send(event.sender, "ack")]

    # --- restart -------------------------------------------------------------------------------------------------------------

    def last_record(self, records: Sequence[Record], kind: str) -> Record | None:
        """The last of the records of a kind, or None."""
        return next((record for record in reversed(records) if record[0] == kind), None)


#: Rows of everybody who leads a ballot beyond the first.
LEADING: Final = (
    on.message(
        "joining",
        "joined",
        "take_joined",
        ("joining", "proposing", "fencing", "finishing", "finished"),
        "count; F + 1: PROPOSE",
    ),
    on.message("joining", "outbid", "take_outbid", ("joining",), "remember the ballot"),
    on.timer("joining", "lead", "lead_again", ("joining",), "JOIN again"),
    on.message(
        "proposing",
        "accepted",
        "take_accepted",
        ("proposing", "fencing", "finishing", "finished"),
        "count; F + 1: decided",
    ),
    on.message("proposing", "outbid", "take_outbid", ("proposing",), "remember the ballot"),
    on.timer("proposing", "lead", "lead_again", ("joining", "proposing"), "PROPOSE again; outbid: a higher ballot"),
    *(
        row
        for state in ("joining", "proposing")
        for row in (
            on.message(state, "committed", "learn_commit", ("finishing", "finished"), "it is over: COMMIT to all"),
            on.message(
                state, "aborted", "learn_abort", ("fencing", "finishing", "finished"), "it is over: ABORT to all"
            ),
            on.message(state, "join", "take_join", (state,), "acceptor: force, JOINED"),
            on.message(state, "propose", "take_proposal", (state,), "acceptor: force, ACCEPTED"),
        )
    ),
)
#: Rows of everybody who sends the outcome.
FINISHING: Final = (
    on.message("finishing", "ack", "take_acknowledgement", ("finishing", "finished"), "count; the last one: forget"),
    on.timer("finishing", "acknowledgement", "tell_again", ("finishing",), "the outcome again, for ever"),
    on.message("finishing", "join", "tell_leader", ("finishing",), "COMMITTED or ABORTED"),
    on.message("finishing", "propose", "tell_leader", ("finishing",), "COMMITTED or ABORTED"),
)
