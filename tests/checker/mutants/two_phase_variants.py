"""Defects of the variants of two-phase commit: presumed commit, cooperative termination, last resource, one phase."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Append, Message, Transact
from simtx.protocols.commit_machine import FORGET, ROLLBACK
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.two_phase_last import LastResourceCoordinator, LastResourceParticipant
from simtx.protocols.two_phase_presumed import PresumedParticipant, PresumingCoordinator
from simtx.protocols.two_phase_termination import CooperativeParticipant, NamingCoordinator

from .catalogue import Cooperative2, Last2, Mutant, Presumed2

# --- presumed commit ---------------------------------------------------------------------------------------------------------------


class CollectsLazily(PresumingCoordinator):
    __slots__ = ()

    def begin(self, event: Any) -> Any:
        first, *rest = super().begin(event)
        return [replace(first, forced=False), *rest]


class ForgetsAborts(PresumingCoordinator):
    __slots__ = ()

    def abort(self, reason: str) -> Any:
        effects = super().abort(reason)
        self.state = "finished"
        return [*effects, FORGET]


class AsksVotersOnly(PresumingCoordinator):
    __slots__ = ()

    def abort(self, reason: str) -> Any:
        self.updating = [service for service in self.updating if service not in self.pending]
        return super().abort(reason)


class RefusesWithoutTombstone(PresumedParticipant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        if event.status in ("refused", "failed"):
            self.state = "finished"
            return [Message("no", self.tx, self.node, self.coordinator, event.status), FORGET]
        return super().vote(event)


class UndoesWithoutTombstone(PresumedParticipant):
    __slots__ = ()

    def roll_back(self, event: Any) -> Any:
        self.state = "finished"
        return [replace(ROLLBACK, forced=True), Message("ack", self.tx, self.node, event.sender), FORGET]


# --- cooperative termination ------------------------------------------------------------------------------------------------------


class LeavesNoTombstone(CooperativeParticipant):
    __slots__ = ()

    def look_up(self, event: Any) -> Any:
        self.state = "finished"
        return [Message("aborted", self.tx, self.node, event.sender), FORGET]


class AnswersInDoubt(CooperativeParticipant):
    __slots__ = ()

    def stay_silent(self, event: Any) -> Any:
        return [Message("aborted", self.tx, self.node, event.sender)]


class VotesOverTombstone(CooperativeParticipant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        if event.value == TOMBSTONE:
            return super().vote(replace(event, status="done"))
        return super().vote(event)


class NamesReaders(NamingCoordinator):
    __slots__ = ()

    def begin(self, event: Any) -> Any:
        every = event.plan.services()
        return [
            replace(one, body=(*one.body[:2], tuple(name for name in every if name != one.to)))
            if isinstance(one, Message)
            else one
            for one in super().begin(event)
        ]


# --- last resource ----------------------------------------------------------------------------------------------------------------


class LazyLast(LastResourceCoordinator):
    __slots__ = ()

    def close_vote(self) -> Any:
        return [replace(one, forced=False) if isinstance(one, Append) else one for one in super().close_vote()]


class PerformsFirst(LastResourceCoordinator):
    __slots__ = ()

    def begin(self, event: Any) -> Any:
        effects = super().begin(event)
        if self.state != "voting":
            return effects
        self.pending = []
        return [*effects[:-1], *self.close_vote()]


class TakesSilenceForRefusal(LastResourceCoordinator):
    __slots__ = ()

    def repeat_perform(self, event: Any) -> Any:
        return self.abort("no answer")


class TakesFailureForRefusal(LastResourceCoordinator):
    __slots__ = ()

    def back_off(self, event: Any) -> Any:
        return self.abort("failed")


class ForgetsVoters(LastResourceCoordinator):
    __slots__ = ()

    def close_vote(self) -> Any:
        return [Append((*one.record[:-1], ())) if isinstance(one, Append) else one for one in super().close_vote()]


class PerformsCopies(LastResourceParticipant):
    __slots__ = ()

    def perform(self, event: Any) -> Any:
        return [replace(one, key=None) if isinstance(one, Transact) else one for one in super().perform(event)]


MUTANTS = (
    Mutant(
        "collecting-lazy",
        "PREPARE is sent before the record that says who may have to undo something is durable.",
        Presumed2(coordinator=CollectsLazily),
        "durable-votes",
        {"crashes": 1},
    ),
    Mutant(
        "abort-forgotten-at-once",
        "The coordinator forgets an abort as one that presumes aborts does, and tells who asks COMMIT.",
        Presumed2(coordinator=ForgetsAborts),
        "durable-votes",
        {},
    ),
    Mutant(
        "abort-told-to-voters-only",
        "An abort is forgotten while the vote of somebody is still on its way.",
        Presumed2(coordinator=AsksVotersOnly),
        "durable-votes",
        {},
    ),
    Mutant(
        "refusal-without-tombstone",
        "A participant says NO and leaves nothing by which a copy of PREPARE would be recognised.",
        Presumed2(participant=RefusesWithoutTombstone),
        "durable-votes",
        {"failures": 1, "duplicates": 1},
    ),
    Mutant(
        "undone-without-tombstone",
        "A participant acknowledges an abort and leaves nothing by which a copy of PREPARE would be recognised.",
        Presumed2(participant=UndoesWithoutTombstone),
        "durable-votes",
        {"duplicates": 1},
    ),
    Mutant(
        "tombstones-pruned",
        "A tombstone is pruned while a copy of PREPARE may still arrive.",
        Presumed2(),
        "durable-votes",
        {"duplicates": 1, "retained": 0},
    ),
    Mutant(
        "no-tombstone",
        "A peer that never voted says ABORTED, and leaves nothing that would keep it from voting YES afterwards.",
        Cooperative2(participant=LeavesNoTombstone),
        "agreement",
        {"timeouts": 1},
    ),
    Mutant(
        "aborted-in-doubt",
        "A peer that is in doubt itself says ABORTED.",
        Cooperative2(participant=AnswersInDoubt),
        "agreement",
        {"timeouts": 1},
    ),
    Mutant(
        "votes-over-tombstone",
        "A participant votes YES although it has told a peer ABORTED.",
        Cooperative2(participant=VotesOverTombstone),
        "durable-votes",
        {"timeouts": 1},
    ),
    Mutant(
        "readers-are-asked",
        "A participant that only reads, and has kept nothing, is asked about the outcome.",
        Cooperative2(coordinator=NamesReaders),
        "agreement",
        {"reads": 1, "timeouts": 1},
    ),
    Mutant(
        "asked-rows-pruned",
        "The row that says that the branch was committed is pruned while a peer is in doubt.",
        Cooperative2(),
        "agreement",
        {"timeouts": 1, "retained": 0},
    ),
    Mutant(
        "last-record-lazy",
        "The last resource is asked before the record that says so is durable.",
        Last2(coordinator=LazyLast),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "last-goes-first",
        "The last resource does its part before the others have voted.",
        Last2(coordinator=PerformsFirst),
        "durable-votes",
        {},
    ),
    Mutant(
        "silence-is-a-refusal",
        "The coordinator aborts when the last resource does not answer in time.",
        Last2(coordinator=TakesSilenceForRefusal),
        "truth",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "failure-is-a-refusal",
        "The coordinator aborts when the last resource has failed for a passing reason, which leaves no row.",
        Last2(coordinator=TakesFailureForRefusal),
        "truth",
        {"participants": 1, "failures": 1, "duplicates": 1},
    ),
    Mutant(
        "last-forgets-voters",
        "The record before the decision does not say who has promised.",
        Last2(coordinator=ForgetsVoters),
        "agreement",
        {"crashes": 1},
    ),
    Mutant(
        "copy-performed-again",
        "The last resource keeps no row, and does its part once for each copy of PERFORM.",
        Last2(participant=PerformsCopies),
        "effect-once",
        {"participants": 1, "duplicates": 1},
    ),
    Mutant(
        "last-rows-pruned",
        "The last resource's row is pruned while a copy of PERFORM may still arrive.",
        Last2(),
        "effect-once",
        {"participants": 1, "duplicates": 1, "retained": 0},
    ),
)
