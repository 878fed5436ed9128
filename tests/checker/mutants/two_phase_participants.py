"""Defects of the participants of two-phase commit."""

from __future__ import annotations

from typing import Any

from simtx.protocols import Execute, Message, Prepare, Rollback, SetTimer, Transition, TwoPhaseCommit
from simtx.protocols.two_phase_coordinator import (
    FORGET,
)
from simtx.protocols.two_phase_execution import ExecutingCoordinator, ExecutingParticipant
from simtx.protocols.two_phase_participant import COMMIT, Participant

from .catalogue import Commit2, Mutant


class VotesEarly(Participant):
    __slots__ = ()

    def prepare(self, event: Any) -> Any:
        effects = super().prepare(event)
        return [Message("yes", self.tx, self.node, event.sender), *effects]

    def vote(self, event: Any) -> Any:
        return [effect for effect in super().vote(event) if getattr(effect, "kind", "") != "yes"]


class ImpatientParticipant(Participant):
    __slots__ = ()

    def inquire(self, event: Any) -> Any:
        return self.roll_back(event)


class HopefulParticipant(Participant):
    __slots__ = ()

    def inquire(self, event: Any) -> Any:
        self.state = "finished"
        return [COMMIT, FORGET]


class AcksEarly(Participant):
    __slots__ = ()

    def commit(self, event: Any) -> Any:
        commit, ack, forget = super().commit(event)
        return [ack, commit, forget]


class NoBranchRow(Participant):
    __slots__ = ()

    def prepare(self, event: Any) -> Any:
        return [
            Prepare(one.tag, one.operations, one.record, None, one.steps) if isinstance(one, Prepare) else one
            for one in super().prepare(event)
        ]


class RollsBackOnRecovery(Participant):
    __slots__ = ()

    def recover(self, records: Any) -> Any:
        self.state = "finished"
        return [Rollback(), FORGET]


class RecoversInSilence(Participant):
    __slots__ = ()

    def recover(self, records: Any) -> Any:
        super().recover(records)
        return []


class NeverInquires(Participant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        return [effect for effect in super().vote(event) if not isinstance(effect, SetTimer)]


class PreparesLostWork(ExecutingParticipant):
    __slots__ = ()
    transitions = tuple(
        Transition("idle", "prepare", "prepare", ("preparing",)) if row.action == "refuse_lost" else row
        for row in ExecutingParticipant.transitions
    )

    def prepare(self, event: Any) -> Any:
        self.coordinator = event.sender
        self.state = "preparing"
        return [Prepare("prepared", (), ("prepared", event.sender), (self.tx, "branch"))]


class VotesUnprepared(Participant):
    """Promises on the strength of an open local transaction."""

    __slots__ = ()

    def prepare(self, event: Any) -> Any:
        return [
            Execute(one.tag, one.operations, one.steps) if isinstance(one, Prepare) else one
            for one in super().prepare(event)
        ]


class SaysRead(Participant):
    """Votes READ although it has written, and drops out."""

    __slots__ = ()

    def vote(self, event: Any) -> Any:
        if event.status != "done":
            return super().vote(event)
        self.state = "finished"
        return [Rollback(), Message("read", self.tx, self.node, self.coordinator), FORGET]


class SilentAboutForgotten(Participant):
    """Does not acknowledge a COMMIT that it knows nothing of."""

    __slots__ = ()

    def acknowledge(self, event: Any) -> Any:
        return self.forget(event)


class LostWork(TwoPhaseCommit):
    """Work before the vote, and a participant that prepares whatever is left of it."""

    def machine(self, node: str, tx: int) -> Any:
        from simtx.protocols import Policies

        kind = ExecutingCoordinator if node == self.hub else PreparesLostWork
        return kind(node, tx, self.policies or Policies())


MUTANTS = (
    Mutant(
        "vote-before-prepared",
        "The vote leaves before the prepared record is forced.",
        Commit2(participant=VotesEarly),
        "durable-votes",
        {"participants": 1, "crashes": 1, "refusals": False},
    ),
    Mutant(
        "impatient-participant",
        "A prepared participant aborts on a timeout.",
        Commit2(participant=ImpatientParticipant),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "hopeful-participant",
        "A prepared participant commits on a timeout.",
        Commit2(participant=HopefulParticipant),
        "durable-votes",
        {"participants": 2, "timeouts": 1},
    ),
    Mutant(
        "ack-before-commit",
        "The participant acknowledges before it commits.",
        Commit2(participant=AcksEarly),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "no-branch-row",
        "A late copy of PREPARE is not recognised after the commit.",
        Commit2(participant=NoBranchRow),
        "effect-once",
        {"participants": 1, "duplicates": 1, "timeouts": 1},
    ),
    Mutant(
        "rollback-on-recovery",
        "A restarted participant rolls its prepared branch back.",
        Commit2(participant=RollsBackOnRecovery),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "recovery-in-silence",
        "A restarted participant in doubt neither asks nor sets a timer.",
        Commit2(participant=RecoversInSilence),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "never-inquires",
        "A participant in doubt sets no timer.",
        Commit2(participant=NeverInquires),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "vote-without-prepare",
        "A participant votes YES with an open local transaction that is not prepared.",
        Commit2(participant=VotesUnprepared),
        "durable-votes",
        {"participants": 1},
    ),
    Mutant(
        "read-vote-of-a-writer",
        "A participant that has written votes READ and drops out.",
        Commit2(participant=SaysRead),
        "durable-votes",
        {"participants": 1},
    ),
    Mutant(
        "no-ack-for-the-forgotten",
        "A participant that has committed and forgotten does not acknowledge when COMMIT comes again.",
        Commit2(participant=SilentAboutForgotten),
        "non-blocking",
        {"participants": 1, "losses": 1},
    ),
    Mutant(
        "branch-rows-pruned",
        "The branch's idempotency row is pruned while a copy of PREPARE may still arrive.",
        Commit2(),
        "effect-once",
        {"participants": 1, "duplicates": 1, "timeouts": 1, "retained": 0},
    ),
    Mutant(
        "lost-work-prepared",
        "A participant that lost its work in a crash prepares, and votes YES.",
        LostWork(work="before"),
        "durable-votes",
        {"participants": 1, "crashes": 1},
        TwoPhaseCommit(work="before"),
    ),
)
