"""Participants of Paxos Commit, most of them acceptors as well; theory and sources are in `simtx.protocols.paxos_commit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, text
from simtx.protocols.commit_machine import CANCEL_VOTE, COMMIT, work_of
from simtx.protocols.contract import (
    Append,
    Branch,
    CancelTimer,
    Done,
    Effect,
    Message,
    Prepare,
    Record,
    Request,
    Rollback,
    SetTimer,
    Suspect,
    Timer,
    Transact,
    Transition,
)
from simtx.protocols.names import TOMBSTONE
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
    prepare,
    proposing,
    tombstone_or_nothing,
)
from simtx.protocols.policies import Policies

CANCEL_IDLE: Final = CancelTimer("idle")
_REFUSED: Final = Branch("refused")
_TOMBSTONE: Final = Branch(TOMBSTONE)
_NEVER: Final = (TOMBSTONE, "refused")
"""Values of the row of a branch that will never be committed."""
_ANSWERS: Final = frozenset({"joined", "accepted", "outbid", "committed", "aborted", "ack"})
_COMMANDS: Final = frozenset({"prepare", "yes", "commit", "abort", "join", "propose"})


class PaxosParticipant(Member):
    """Does its part and promises to commit it to F + 1 acceptors; in doubt for too long, it takes the lead.

    It has three kinds of records: that of the prepared branch, ``("prepared", leader of ballot 0, participants)``; that of an acceptor (`Member.record`); and
    ``("outcome", leader of ballot 0, participants)``, if it has taken the lead and come to a commit, by which a restart goes on sending it.

    How its part has ended stands in the row of its branch, under the key ``(tx, "branch")``: that it was committed, ``refused``, or a tombstone, after which it never votes for commit.

    Attributes:
        asker: Who asked for what is being looked up, or sent what is being written; of a refusal, its reason.
    """

    __slots__ = ("asker",)

    role: ClassVar[str] = "participant"
    transitions: ClassVar[tuple[Transition, ...]] = (
        *(
            row
            for state in ("idle", "gathering")
            for row in (
                on.message(state, "prepare", "prepare", ("preparing",), "do the work"),
                on.message(state, "yes", "gather", ("gathering",), "acceptor: wait for the own part"),
                on.message(state, "commit", "acknowledge_past", ("finished",), "committed before: ACK"),
                on.message(state, "abort", "abort_past", ("finished", "fencing"), "tombstone if asked for; F > 0: ACK"),
                on.message(state, "join", "look_up", ("checking",), "look for the row; none: tombstone"),
                on.message(state, "propose", "look_up", ("checking",), "look for the row; none: tombstone"),
            )
        ),
        # Nothing was accepted, so that nothing has to be remembered.
        on.timer("gathering", "idle", "forget", ("finished",), "nothing came of it"),
        on.done(
            "preparing",
            "prepared",
            "vote",
            ("in-doubt", "refusing", "finished"),
            "done: YES to the active acceptors; refused or failed: write it down; committed before: silence",
        ),
        on.message("preparing", "yes", "take_yes", ("preparing",), "acceptor: count"),
        on.done("refusing", "refused", "refuse", ("finished",), "NO to the leader"),
        on.done(
            "checking",
            "looked-up",
            "tell_past",
            ("finished", "checking"),
            "row: COMMITTED or ABORTED; failed: silence, after a restart: look again",
        ),
        on.done("fencing", "fenced", "fenced", ("finishing", "finished", "fencing"), "ACK; who leads: ABORT to all"),
        *(
            row
            for state in ("in-doubt", "joining", "proposing")
            for row in (
                on.message(state, "prepare", "repeat_yes", (state,), "YES again"),
                on.message(state, "yes", "take_yes", (state,), "acceptor: count; the last one: force, ACCEPTED"),
                on.message(state, "commit", "commit", ("finished",), "force commit, release, ACK"),
                on.message(state, "abort", "roll_back", ("finished", "fencing"), "roll back, release; F > 0: ACK"),
            )
        ),
        on.message("in-doubt", "join", "take_join", ("in-doubt",), "acceptor: force, JOINED"),
        on.message("in-doubt", "propose", "take_proposal", ("in-doubt",), "acceptor: force, ACCEPTED"),
        on.timer(
            "in-doubt", "inquiry", "lose_patience", ("in-doubt", "joining"), "lead a higher ballot; F = 0: YES again"
        ),
        *LEADING,
        *FINISHING,
        on.message("finishing", "commit", "acknowledge", ("finishing",), "ACK"),
        on.message("finishing", "abort", "acknowledge", ("finishing",), "ACK"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        **dict.fromkeys(("yes", "commit", "ack", "committed", "aborted"), nothing),
        **dict.fromkeys(("accepted", "outbid"), ballot),
        "prepare": prepare,
        "abort": tombstone_or_nothing,
        "join": joining,
        "joined": joined,
        "propose": proposing,
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        **dict.fromkeys(("idle", "gathering", "in-doubt"), _ANSWERS),
        **dict.fromkeys(("preparing", "refusing", "checking", "fencing"), _ANSWERS | _COMMANDS),
        "joining": _ANSWERS,
        "proposing": _ANSWERS,
        "finishing": _ANSWERS | {"prepare", "yes"},
    }

    def __init__(self, node: str, tx: int, policies: Policies, faults: int) -> None:
        super().__init__(node, tx, policies, faults)
        self.asker = ""

    # --- before the vote -----------------------------------------------------------------------------------------------------

    def gather(self, event: Message) -> list[Effect]:
        """Votes of others came before the own part: keep them for a while."""
        self.count_vote(event.sender)
        self.state = "gathering"
        return [SetTimer("idle", self.policies.idle_timeout)]

    def prepare(self, event: Message) -> list[Effect]:
        """Do the work that came with PREPARE, and remember with the branch who takes part."""
        operations, steps, participants, place = event.body
        self.leader = event.sender
        self.participants = tuple(participants)
        self.rank = place + 1
        self.votes = [name for name in self.votes if name in self.participants]
        effects: list[Effect] = [CANCEL_IDLE] if self.state == "gathering" else []
        self.state = "preparing"
        record = ("prepared", self.leader, self.participants)
        return [*effects, Prepare("prepared", operations, record, (self.tx, "branch"), steps)]

    def take_yes(self, event: Message) -> list[Effect]:
        """A vote, of which this node is an acceptor."""
        self.count_vote(event.sender)
        return self.accept_votes() if self.state != "preparing" else []

    def vote(self, event: Done) -> list[Effect]:
        """Vote as the store says; a refusal is written down first, so that a late copy of PREPARE finds it."""
        if event.status == "done":
            self.state = "in-doubt"
            self.count_vote(self.node)
            return [*self.say_yes(), self.doubt(), *self.accept_votes()]
        if event.status == "duplicate":
            # A late copy of PREPARE: how this part has ended was known long ago.
            return self.over()
        self.asker = event.status
        if not self.faults:
            return self.refuse(event)
        self.state = "refusing"
        return [Transact("refused", (), (self.tx, "branch"), _REFUSED)]

    def refuse(self, event: Done) -> list[Effect]:
        """NO, to the leader alone: nobody else may propose commit for this participant, and it never will."""
        if self.faults and event.status == "failed":
            return self.over()
        return self.over(self.send(self.leader, "no", self.asker))

    def say_yes(self) -> list[Effect]:
        """YES to the active acceptors."""
        active = self.acceptors()[: self.faults + 1]
        return [self.send(name, "yes") for name in active if name != self.node]

    def repeat_yes(self, _event: Message) -> list[Effect]:
        """A copy of PREPARE: the first vote may have been lost."""
        return self.say_yes()

    # --- in doubt ------------------------------------------------------------------------------------------------------------

    def doubt(self) -> SetTimer:
        """The timer until patience is lost; the leader's own runs out before it."""
        policies = self.policies
        return self.timer("inquiry", policies.inquiry_timeout + (policies.vote_timeout if self.faults else 0))

    def lose_patience(self, _event: Timer) -> list[Effect]:
        """Take the lead. With F = 0 there is nobody but the leader to ask: ask again, for ever, with the vote."""
        if self.faults:
            return [Suspect(self.leader), *self.lead()]
        self.attempt += 1
        return [Suspect(self.leader), *self.say_yes(), self.doubt()]

    def commit(self, event: Message) -> list[Effect]:
        """Commit first, then acknowledge."""
        return self.over(COMMIT, self.send(event.sender, "ack"))

    def roll_back(self, event: Message) -> list[Effect]:
        """Roll back; behind a tombstone if nobody else may have one, or if this acceptor has promised something."""
        return [self.undo(), *self.abort_past(event)]

    @property
    def bound(self) -> bool:
        """Return whether, as an acceptor, it has recorded a promise, which it may forget behind a tombstone only.

        A late copy of PREPARE would else prepare its branch anew. With votes that are still on their way it would then accept in ballot 0 what a higher ballot has decided
        otherwise.
        """
        return bool(self.promised) or self.ballot >= 0

    def undo(self) -> Rollback:
        """Roll back, lazily if this acceptor has recorded nothing.

        Otherwise a crash might keep that it has forgotten its record and lose that its branch has ended: in doubt again, it would not know what it has promised.
        """
        return Rollback(forced=self.bound)

    # --- after the end -------------------------------------------------------------------------------------------------------

    def acknowledge_past(self, event: Message) -> list[Effect]:
        """COMMIT without a branch: it was committed already."""
        return self.over(self.send(event.sender, "ack"))

    def abort_past(self, event: Message) -> list[Effect]:
        """ABORT, and no branch any more."""
        if event.body or self.bound:
            self.asker = event.sender
            return self.leave_tombstone()
        return self.over(self.send(event.sender, "ack")) if self.faults else self.over()

    def leave_tombstone(self) -> list[Effect]:
        """Never vote for commit any more."""
        self.state = "fencing"
        return [Transact("fenced", (), (self.tx, "branch"), _TOMBSTONE)]

    def fenced(self, event: Done) -> list[Effect]:
        """Acknowledge behind the tombstone, or send the outcome to all others."""
        if self.asker:
            return self.over() if event.status == "failed" else self.over(self.send(self.asker, "ack"))
        if event.status == "failed":
            return self.leave_tombstone()
        return self.finish()

    def look_up(self, event: Message) -> list[Effect]:
        """Look for the row that says how it ended, as there is no branch here: if there is none it never will commit."""
        self.state = "checking"
        self.asker = event.sender
        return [Transact("looked-up", (), (self.tx, "branch"), _TOMBSTONE)]

    def tell_past(self, event: Done) -> list[Effect]:
        """Answer from what is durable; after a restart nobody has asked."""
        if not self.asker:
            return self.resume_ended() if event.status == "failed" else self.over()
        if event.status == "failed":
            return self.over()  # it asks again
        committed = event.status == "duplicate" and event.value not in _NEVER
        return self.over(self.send(self.asker, COMMITTED if committed else ABORTED))

    # --- as a leader ---------------------------------------------------------------------------------------------------------

    def decide(self, outcome: str, *, proven: bool) -> list[Effect]:
        """End the own branch, and send the outcome to all others; before an abort that no store knows of, or that ends a promise, leave a tombstone."""
        self.outcome = outcome
        if outcome == ABORTED and (not proven or self.bound):
            return [self.undo(), *self.leave_tombstone()]
        return self.finish()

    def finish(self) -> list[Effect]:
        """Send the outcome to all others, and end the own branch; a commit with a record by which a restart goes on sending."""
        undo = self.undo()
        self.settle()
        self.pending = [name for name in self.members() if name != self.node]
        told: list[Effect] = [*self.said(self.outcome), *map(self.tell, self.pending), self.wait(), CANCEL_LEAD]
        if self.outcome == ABORTED:
            return [undo, *told]
        return [*told, Append(("outcome", self.leader, self.participants)), COMMIT]

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Ask with the vote if in doubt. Who knows the outcome and may not have sent it goes on sending it."""
        if not records:
            return []
        acceptor = self.last_record(records, "acceptor")
        if acceptor is not None:
            self.restore(acceptor)
        known = self.last_record(records, "outcome") or self.last_record(records, "prepared")
        if known is None:
            return self.resume_ended()
        self.leader, self.participants = known[1], tuple(known[2])
        self.rank = self.participants.index(self.node) + 1
        if known[0] == "outcome":
            self.outcome = COMMITTED
            return [*self.said(COMMITTED), *self.finish_again()]
        self.count_vote(self.node)
        return self.resume()

    def resume_ended(self) -> list[Effect]:
        """Answer from the row of the branch, which has ended, after a restart. If the crash came before the tombstone, there is none: leave it now.

        Only then may the acceptor forget what it has promised. A late copy of PREPARE would else prepare the branch anew, and an acceptor without its promise accept the vote.
        """
        self.state = "checking"
        return [Transact("looked-up", (), (self.tx, "branch"), _TOMBSTONE)]

    def finish_again(self) -> list[Effect]:
        """Commit after a restart, if that was not done, and send the outcome to all."""
        self.settle()
        self.pending = [name for name in self.members() if name != self.node]
        if not self.pending:
            return self.over(COMMIT)
        return [*map(self.tell, self.pending), self.wait(), COMMIT]

    def resume(self) -> list[Effect]:
        """Send the vote again after a restart in doubt."""
        self.state = "in-doubt"
        return [*self.say_yes(), self.doubt()]


class LeadingParticipant(PaxosParticipant):
    """A participant that is, of the transactions that clients bring to it, the first leader as well: what it would send to itself costs no message.

    As leader of ballot 0 it is ``voting`` where it would be in doubt. It is among the acceptors, and its rows outlive its crashes.
    """

    __slots__ = ()

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("preparing",), "PREPARE to the others, do the own part"),
        *(
            Transition(row.state, row.event, row.action, (*row.to, "voting", "finishing"), row.note, row.of)
            if (row.state, row.event) in (("preparing", "prepared"), ("refusing", "refused"))
            else row
            for row in PaxosParticipant.transitions
            if row.event != "yes" or row.state not in ("idle", "gathering")
        ),
        on.message("idle", "yes", "answer_voter", ("gathering", "finished"), "acceptor: wait; F = 0: aborted: ABORT"),
        on.message("gathering", "yes", "gather", ("gathering",), "acceptor: wait for the own part"),
        on.message("preparing", "no", "note_no", ("preparing",), "remember"),
        on.message("refusing", "no", "note_no", ("refusing",), "remember"),
        on.message("voting", "yes", "take_yes", ("voting", "finishing"), "count; the last one: force; F = 0: decided"),
        on.message("voting", "accepted", "take_accepted", ("voting", "finishing"), "count; F + 1: decided"),
        on.message("voting", "no", "take_no", ("finishing", "finished"), "answer, ABORT to YES voters"),
        on.timer("voting", "vote", "miss_votes", ("joining", "finished"), "too late: a higher ballot; F = 0: abort"),
        on.message("voting", "join", "take_join", ("voting",), "force, JOINED"),
        on.message("voting", "propose", "take_proposal", ("voting",), "force, ACCEPTED"),
        *(
            on.message(state, "no", "take_no", ("fencing", "finishing", "finished"), "ABORT to all")
            for state in ("joining", "proposing")
        ),
        on.message("voting", "commit", "commit", ("finished",), "answer, force commit, release, ACK"),
        on.message("voting", "abort", "roll_back", ("finished", "fencing"), "answer, roll back, release, ACK"),
        on.message("finishing", "yes", "tell_voter", ("finishing",), "the outcome to it"),
        on.message("finishing", "no", "drop_refuser", ("finishing", "finished"), "nothing to undo there"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {**PaxosParticipant.bodies, "no": text}
    stale: ClassVar[dict[str, frozenset[str]]] = {
        state: kinds | {"begin", "no"} for state, kinds in PaxosParticipant.stale.items()
    } | {"voting": _ANSWERS | {"begin", "prepare"}}

    @property
    def first(self) -> bool:
        """Return whether this node leads ballot 0."""
        return self.leader == self.node

    def begin(self, event: Request) -> list[Effect]:
        """Ask the others, and do the own part."""
        work = work_of(event)
        self.leader = self.node
        self.participants = tuple(work)
        self.rank = self.participants.index(self.node) + 1
        self.state = "preparing"
        asked = [
            self.send(name, "prepare", (*work[name], self.participants, place))
            for place, name in enumerate(self.participants)
            if name != self.node
        ]
        operations, steps = work[self.node]
        record = ("prepared", self.node, self.participants)
        return [
            *asked,
            SetTimer("vote", self.policies.vote_timeout),
            Prepare("prepared", operations, record, (self.tx, "branch"), steps),
        ]

    def answer_voter(self, event: Message) -> list[Effect]:
        """Answer abort with F = 0: a leader that knows nothing has not committed. Else keep the vote for a while."""
        if self.faults:
            return self.gather(event)
        return self.over(self.send(event.sender, "abort"))

    def note_no(self, event: Message) -> list[Effect]:
        """A refusal that is as quick as the own part."""
        if event.sender in self.participants and event.sender not in self.refused:
            self.refused.append(event.sender)
        return []

    def vote(self, event: Done) -> list[Effect]:
        """Count the own vote as leader, and go on; or send the others the own refusal, or theirs."""
        if not self.first:
            return super().vote(event)
        if event.status == "duplicate":
            return self.over()
        if event.status != "done":
            self.refused.append(self.node)
            if not self.faults:
                return self.refuse(event)
            self.state = "refusing"
            return [Transact("refused", (), (self.tx, "branch"), _REFUSED)]
        self.state = "voting"
        self.count_vote(self.node)
        if self.refused:
            return self.decide(ABORTED, proven=True)
        return [*self.say_yes(), SetTimer("vote", self.policies.vote_timeout), *self.accept_votes()]

    def refuse(self, event: Done) -> list[Effect]:
        """Decide by the own refusal, as leader."""
        if not self.first:
            return super().refuse(event)
        return self.decide(ABORTED, proven=True)

    def take_no(self, event: Message) -> list[Effect]:
        """One NO decides."""
        if event.sender not in self.participants or event.sender in self.votes or not self.first:
            return []
        self.refused.append(event.sender)
        return self.decide(ABORTED, proven=True)

    def miss_votes(self, _event: Timer) -> list[Effect]:
        """The vote has lasted too long."""
        effects: list[Effect] = [Suspect(name) for name in self.participants if name not in self.votes]
        return effects + (self.lead() if self.faults else self.decide(ABORTED, proven=True))

    def finish(self) -> list[Effect]:
        """Finish as leader of ballot 0: the accepted bundle is durable, and no further record is needed; with F = 0 an abort is forgotten at once."""
        if not self.first:
            return super().finish()
        self.pending = [name for name in self.participants if name != self.node and name not in self.refused]
        voted = [name for name in self.pending if name in self.votes]
        aborts = self.outcome == ABORTED
        now = voted if aborts and not self.own and (self.refused or not self.faults) else self.pending
        told = [*self.said(self.outcome), *map(self.tell, now)]
        own: list[Effect] = [self.undo()] if aborts else [COMMIT]
        if not self.pending or (aborts and not self.faults):
            return self.over(*told, *own)
        cancel = CANCEL_LEAD if self.own else CANCEL_VOTE
        if self.own and not aborts:
            own = [Append(("outcome", self.leader, self.participants)), *own]
        self.settle()
        return [*told, self.wait(), cancel, *own]

    def commit(self, event: Message) -> list[Effect]:
        """The client is answered before the branch ends, after which a restart would know nothing of it."""
        said = self.said(COMMITTED) if self.first else []
        return [*said, *super().commit(event)]

    def roll_back(self, event: Message) -> list[Effect]:
        """Likewise."""
        said = self.said(ABORTED) if self.first else []
        return [*said, *super().roll_back(event)]

    def resume_ended(self) -> list[Effect]:
        """Send the outcome as leader with F = 0: what it has accepted was the decision, and nobody else can send it to the others."""
        if not self.first or self.faults or self.value != COMMITTED:
            return super().resume_ended()
        self.outcome = COMMITTED
        return [*self.said(COMMITTED), *self.finish_again()]

    def resume(self) -> list[Effect]:
        """Go on as leader: with F = 0 what was not accepted is aborted; else find out how it ends."""
        if not self.first:
            return super().resume()
        if self.faults:
            self.state = "in-doubt"
            return self.lead()
        self.state = "voting"
        return self.decide(COMMITTED if self.value == COMMITTED else ABORTED, proven=True)
