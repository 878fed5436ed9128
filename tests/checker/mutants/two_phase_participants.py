"""Defects of the participants of two-phase commit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from simtx.protocols import Execute, Message, Policies, Prepare, Rollback, SetTimer, Transition, TwoPhaseCommit
from simtx.protocols.commit_machine import COMMIT, FORGET
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_execution import ExecutingCoordinator, ExecutingParticipant
from simtx.protocols.two_phase_participant import Participant

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


class ReadsTheRefused(Participant):
    """Votes READ whatever the read has come to."""

    __slots__ = ()

    def vote_read(self, event: Any) -> Any:
        return super().vote_read(replace(event, status="done"))


class Undecided(Coordinator):
    """Answers an inquiry about a transaction that it does not know with "wait"."""

    __slots__ = ()
    transitions = tuple(
        Transition("idle", "inquiry", "put_off", ("finished",))
        if (row.state, row.event) == ("idle", "inquiry")
        else row
        for row in Coordinator.transitions
    )

    def put_off(self, event: Any) -> Any:
        self.state = "finished"
        return [Message("wait", self.tx, self.node, event.sender), FORGET]


class AsksAtOnce(Participant):
    """Told to wait, asks again at once."""

    __slots__ = ()
    transitions = (*Participant.transitions, Transition("in-doubt", "wait", "inquire", ("in-doubt",)))

    def inquire(self, event: Any) -> Any:
        return [Message("inquiry", self.tx, self.node, self.coordinator), self.wait()]


class ExecutesCopies(ExecutingParticipant):
    """Does the work of a copy of EXECUTE once more in the same open local transaction."""

    __slots__ = ()

    def execute(self, event: Any) -> Any:
        self.executed = [index for index in self.executed if index != event.body[0]]
        return super().execute(event)


@dataclass(frozen=True, kw_only=True)
class Before2(TwoPhaseCommit):
    """Work before the vote, with other machines."""

    coordinator: type[ExecutingCoordinator] = ExecutingCoordinator
    participant: type[ExecutingParticipant] = ExecutingParticipant
    work: Literal["with-prepare", "before"] = "before"

    def machine(self, node: str, tx: int) -> Any:
        kind = self.coordinator if node == self.hub else self.participant
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
        Before2(participant=PreparesLostWork),
        "durable-votes",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "copy-executed-again",
        "A copy of EXECUTE is executed once more in the open local transaction.",
        Before2(participant=ExecutesCopies),
        "effect-once",
        {"participants": 1, "duplicates": 1},
    ),
    Mutant(
        "read-of-the-refused",
        "A participant that only reads votes READ although its read was refused.",
        Commit2(participant=ReadsTheRefused),
        "durable-votes",
        {"participants": 1, "reads": 1},
    ),
    Mutant(
        "endless-inquiry",
        "Who asks about an unknown transaction is told to wait, and asks again at once, for ever.",
        Commit2(coordinator=Undecided, participant=AsksAtOnce),
        "termination",
        {"participants": 1, "crashes": 1},
    ),
)
