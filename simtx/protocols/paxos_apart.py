"""Paxos Commit with acceptors on nodes of their own; theory and sources are in `simtx.protocols.paxos_commit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.bodies import Form, names, nothing, parts, text
from simtx.protocols.commit_machine import CANCEL_ACKNOWLEDGEMENT
from simtx.protocols.contract import Done, Effect, Message, Record, SetTimer, Timer, Transition
from simtx.protocols.paxos_leader import PaxosLeader
from simtx.protocols.paxos_member import Member, joining, proposing
from simtx.protocols.paxos_participant import PaxosParticipant

_ENDED: Final = frozenset({"committed", "aborted", "ended"})
_ASKED: Final = frozenset({"ask", "join"})


@cache
def council(faults: int) -> tuple[str, ...]:
    """Names of the nodes that are acceptors and nothing else."""
    return tuple(f"acceptor-{number}" for number in range(1, 2 * faults + 2))


voting_for: Final = parts(text, names)
"""The leader of ballot 0, and the names of the participants."""


class Apart(Member):
    """A member of a transaction whose acceptors are on nodes of their own.

    When all have acknowledged the outcome, `agreed` holds the acceptors that it allows to forget: those that have accepted in ballot 0, or all
    where there was another ballot. They know nothing else to forget by, having no rows. A word that gets lost is asked for (`PaxosAcceptor.ask`).
    """

    __slots__ = ()

    def acceptors(self) -> tuple[str, ...]:
        """The nodes that are acceptors and nothing else; the first F + 1 of them are active while nobody fails."""
        return council(self.faults)

    def invite(self) -> list[Effect]:
        """JOIN to all that have not joined: acceptors promise, and who has ended says how."""
        body = (self.own, self.leader, self.participants)
        asked = (*self.acceptors(), *self.members())
        return [self.send(name, "join", body) for name in asked if name != self.node and name not in self.heard]

    def settle(self) -> None:
        """Remember which acceptors get word that they may forget."""
        told = list(self.acceptors()) if self.own else self.agreed
        super().settle()
        self.agreed = told

    def close(self) -> list[Effect]:
        """Let the acceptors forget when everybody has ended."""
        if self.pending:
            return []
        return self.over(*(self.send(name, "forget") for name in self.agreed), CANCEL_ACKNOWLEDGEMENT)


class ApartLeader(Apart, PaxosLeader):
    """The first leader where it is no acceptor: it has nothing on disk.

    After a crash it leads no ballot again: what it knew was what acceptors know, and participants in doubt ask them, and send it the outcome.
    """

    __slots__ = ()

    transitions: ClassVar[tuple[Transition, ...]] = (
        *(
            replace(row, to=("joining",), note="too late: lead a higher ballot")
            if row.event == "vote"
            else replace(row, to=(*row.to, "finished"))
            if row.event == "outcome" and row.state != "finishing"
            else row
            for row in PaxosLeader.transitions
            if row.event not in ("yes", "propose") and (row.event != "join" or row.state == "finishing")
        ),
        on.message("idle", "ask", "answer_asker", ("finished",), "ENDED: nothing is known here"),
        on.message("finishing", "ask", "tell_leader", ("finishing",), "COMMITTED or ABORTED"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        **{kind: form for kind, form in PaxosLeader.bodies.items() if kind not in ("yes", "propose")},
        "ask": nothing,
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {state: kinds | _ASKED for state, kinds in PaxosLeader.stale.items()}

    def to_tell(self, outcome: str) -> list[str]:  # noqa: ARG002 - votes go to acceptors, so that it knows of nobody who has voted
        """All: who is still at work remembers it, and who was never asked leaves a tombstone."""
        return self.pending

    def adopt(self, event: Message) -> list[Effect]:
        """Another leader has come to the outcome. It lets the acceptors forget, too, when its own branch has ended; it may crash before."""
        effects = super().adopt(event)
        self.agreed = []
        return effects if self.pending else [*effects, *self.close()]

    def answer_asker(self, event: Message) -> list[Effect]:
        """An acceptor knows of the transaction, so it was begun here; what is not known any more has ended, or is left to the participants."""
        return self.over(self.send(event.sender, "ended"))

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Leave it to the participants."""
        return self.over() if records else []


class ApartParticipant(Apart, PaxosParticipant):
    """A participant that is no acceptor: it votes to F + 1 nodes, and receives no votes."""

    __slots__ = ()

    transitions: ClassVar[tuple[Transition, ...]] = (
        *(
            replace(row, to=(*row.to, "fencing"), note=f"{row.note}; aborted meanwhile: roll back, tombstone")
            if row.event == "prepared"
            else row
            for row in PaxosParticipant.transitions
            if row.state != "gathering"
            and row.event not in ("yes", "propose")
            and (row.event != "join" or row.state in ("idle", "finishing"))
        ),
        on.message("preparing", "abort", "note_abort", ("preparing",), "remember"),
        on.message("idle", "ask", "look_up", ("checking",), "look for the row; none: tombstone"),
        on.message("finishing", "ask", "tell_leader", ("finishing",), "COMMITTED or ABORTED"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        **{kind: form for kind, form in PaxosParticipant.bodies.items() if kind not in ("yes", "propose")},
        "ask": nothing,
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        state: kinds | _ASKED for state, kinds in PaxosParticipant.stale.items() if state != "gathering"
    }

    def say_yes(self) -> list[Effect]:
        """YES to the active acceptors, who learn with it whose votes to wait for, and to whom the outcome goes."""
        body = (self.leader, self.participants)
        return [self.send(name, "yes", body) for name in self.acceptors()[: self.faults + 1]]

    def note_abort(self, event: Message) -> list[Effect]:
        """The leader does not know who has voted: a refusal of somebody else may be quicker than the own part."""
        self.asker = event.sender
        return []

    def vote(self, event: Done) -> list[Effect]:
        """Vote, unless it was aborted meanwhile."""
        if self.asker and event.status == "done":
            return [self.undo(), *self.leave_tombstone()]
        return super().vote(event)

    def abort_past(self, event: Message) -> list[Effect]:
        """Leave a tombstone if this node was never asked: a PREPARE that is still on its way must not begin anything here."""
        if self.state == "idle":
            self.asker = event.sender
            return self.leave_tombstone()
        return super().abort_past(event)


class PaxosAcceptor(Apart):
    """An acceptor and nothing else: it counts votes, promises and accepts, all of it by one record each.

    It has no rows that would outlive what it forgets. So it forgets when word comes that everybody has ended, or when all have said so that it has asked: each participant has a row
    then, so that none is ever in doubt again, and nobody leads a ballot. What was not recorded is forgotten after a while without asking.

    Its `pending` are those that have not said that they have ended.
    """

    __slots__ = ()

    role: ClassVar[str] = "acceptor"
    transitions: ClassVar[tuple[Transition, ...]] = (
        *(
            row
            for state in ("idle", "gathering")
            for row in (
                on.message(state, "yes", "gather", ("gathering", "bound"), "count; the last one: force, ACCEPTED"),
                on.message(state, "forget", "forget", ("finished",), "nothing is needed any more"),
            )
        ),
        on.timer("gathering", "idle", "forget", ("finished",), "nothing came of it"),
        *(
            row
            for state in ("idle", "gathering", "bound")
            for row in (
                on.message(state, "join", "take_join", ("bound",), "force, JOINED; lower: OUTBID"),
                on.message(state, "propose", "take_proposal", ("bound",), "force, ACCEPTED; lower: OUTBID"),
            )
        ),
        on.message("bound", "forget", "forget", ("finished",), "nothing is needed any more"),
        on.timer("bound", "idle", "ask", ("bound",), "ASK all who have not ended"),
        *(
            on.message("bound", kind, "strike_off", ("bound", "finished"), "the last one: forget")
            for kind in sorted(_ENDED)
        ),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        "yes": voting_for,
        "join": joining,
        "propose": proposing,
        **dict.fromkeys(("forget", *sorted(_ENDED)), nothing),
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": _ENDED,
        "gathering": _ENDED,
        "bound": frozenset({"yes"}),
    }

    def linger(self) -> SetTimer:
        """The timer until it asks whether it is needed."""
        return self.timer("idle", self.policies.idle_timeout)

    def gather(self, event: Message) -> list[Effect]:
        """One more vote in ballot 0; with the last one all of them are accepted."""
        begun = [self.linger()] if self.state == "idle" else []
        self.leader, participants = event.body
        self.participants = tuple(participants)
        self.count_vote(event.sender)
        effects = self.accept_votes()
        self.state = "bound" if effects else "gathering"
        return [*effects, *begun]

    def take_join(self, event: Message) -> list[Effect]:
        """Join a ballot."""
        begun = self._bind(*event.body[1:])
        return [*super().take_join(event), *begun]

    def take_proposal(self, event: Message) -> list[Effect]:
        """Accept a proposal."""
        begun = self._bind(*event.body[2:])
        return [*super().take_proposal(event), *begun]

    def _bind(self, leader: str, participants: Sequence[str]) -> list[Effect]:
        begun: list[Effect] = [self.linger()] if self.state == "idle" else []
        self.leader, self.participants = leader, tuple(participants)
        self.state = "bound"
        return begun

    def ask(self, _event: Timer) -> list[Effect]:
        """Ask those that have not ended: no word came that it may forget."""
        self.attempt += 1
        self.pending = self.pending or list(self.members())
        return [*(self.send(name, "ask") for name in self.pending), self.linger()]

    def strike_off(self, event: Message) -> list[Effect]:
        """One more has ended for good."""
        if event.sender not in self.pending:
            return []
        self.pending.remove(event.sender)
        return [] if self.pending else self.forget(event)

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Hold to what was promised and accepted."""
        record = self.last_record(records, "acceptor")
        if record is None:
            return []
        self.restore(record)
        self.state = "bound"
        return [self.linger()]
