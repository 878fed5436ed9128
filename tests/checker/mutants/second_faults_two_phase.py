"""Defects of the second attempt, of two-phase commit: what was made good once is not made good again. Most take two faults, and some three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import (
    Append,
    CancelTimer,
    Policies,
    Rollback,
    SetTimer,
    Transition,
)
from simtx.protocols.commit_machine import FORGET, LAZY_END
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_execution import ExecutingCoordinator, ExecutingParticipant
from simtx.protocols.two_phase_participant import Participant

from .catalogue import Commit2, Mutant
from .two_phase_participants import Before2

THRICE = Policies(attempts=3)


class RepeatsCommitOnce(Coordinator):
    __slots__ = ()

    def repeat_commit(self, event: Any) -> Any:
        return [one for one in super().repeat_commit(event) if not isinstance(one, SetTimer)]


class ForgetsAfterTwo(Coordinator):
    """Forgets a commit when COMMIT was sent again and is still not acknowledged."""

    __slots__ = ()

    def repeat_commit(self, event: Any) -> Any:
        if not self.attempt:
            return super().repeat_commit(event)
        self.state = "finished"
        return [FORGET]


class NotesItsRestart(Coordinator):
    """Writes that it has restarted, and does not find the commit behind that when it restarts again."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        effects = super().recover(records)
        return [Append(("recovered",)), *effects] if self.state == "committing" else effects


class EndsWithRestart(Coordinator):
    """Logs the end as soon as a restart has sent COMMIT again."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        effects = super().recover(records)
        return [*effects, LAZY_END] if self.state == "committing" else effects


class EndsWithDecision(Coordinator):
    """Logs the end as soon as COMMIT is sent."""

    __slots__ = ()

    def close_vote(self) -> Any:
        return [*super().close_vote(), LAZY_END]


class EndsWithFirstAck(Coordinator):
    """Logs the end upon the first acknowledgement, and waits for the others in memory."""

    __slots__ = ()

    def take_acknowledgement(self, event: Any) -> Any:
        effects = super().take_acknowledgement(event)
        return effects if self.state == "finished" else [LAZY_END, *effects]


class CountsAcks(Coordinator):
    __slots__ = ()

    def take_acknowledgement(self, event: Any) -> Any:
        return super().take_acknowledgement(replace(event, sender=self.pending[0]))


class NoTimerAfterRestart(Coordinator):
    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return [one for one in super().recover(records) if not isinstance(one, SetTimer)]


class InquiresOnce(Participant):
    __slots__ = ()

    def inquire(self, event: Any) -> Any:
        return [one for one in super().inquire(event) if not isinstance(one, SetTimer)]


class InquiresOnceAfterRestart(Participant):
    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return [one for one in super().recover(records) if not isinstance(one, SetTimer)]


class AbortsAfterTwo(Participant):
    """Takes a second inquiry without an answer for an abort."""

    __slots__ = ()

    def inquire(self, event: Any) -> Any:
        return self.roll_back(event) if self.attempt else super().inquire(event)


class ExecutesOnceMore(ExecutingCoordinator):
    """Repeats EXECUTE once, and sets no timer then."""

    __slots__ = ()

    def repeat_execute(self, event: Any) -> Any:
        return [one for one in super().repeat_execute(event) if not isinstance(one, SetTimer)]


class PreparesWhatIsThere(ExecutingParticipant):
    """Prepares whatever it has executed, without a look at what the coordinator means."""

    __slots__ = ()

    def prepare(self, event: Any) -> Any:
        return super().prepare(replace(event, body=tuple(self.executed)))


class IdleInDoubt(ExecutingParticipant):
    """Neither cancels the timer of an open branch when it prepares nor ignores it in doubt."""

    __slots__ = ()
    transitions = (*ExecutingParticipant.transitions, Transition("in-doubt", "idle", "roll_back", ("finished",)))

    def prepare(self, event: Any) -> Any:
        return [one for one in super().prepare(event) if not isinstance(one, CancelTimer)]


class NeverIdle(ExecutingParticipant):
    """Keeps an open branch until it is told what becomes of it."""

    __slots__ = ()

    def report(self, event: Any) -> Any:
        return [one for one in super().report(event) if not isinstance(one, SetTimer)]


class KeepsStray(ExecutingParticipant):
    """Acknowledges a COMMIT, and keeps the branch that a copy of EXECUTE has opened."""

    __slots__ = ()

    def acknowledge_stray(self, event: Any) -> Any:
        return self.acknowledge(event)


class KeepsCopies(ExecutingParticipant):
    """Recognises a copy of PREPARE, and keeps the branch that a copy of EXECUTE has opened."""

    __slots__ = ()

    def vote(self, event: Any) -> Any:
        effects = super().vote(event)
        return [one for one in effects if not isinstance(one, Rollback)]


MUTANTS = (
    Mutant(
        "commit-repeated-once",
        "COMMIT is sent again once, and then no timer is set.",
        Commit2(coordinator=RepeatsCommitOnce),
        "non-blocking",
        {"participants": 1, "losses": 2},
    ),
    Mutant(
        "commit-forgotten-after-two",
        "A commit is forgotten when COMMIT was sent twice and is not acknowledged.",
        Commit2(coordinator=ForgetsAfterTwo),
        "agreement",
        {"participants": 1, "losses": 3},
    ),
    Mutant(
        "restart-on-record",
        "A restarted coordinator writes that it has restarted, and takes that for the last word when it restarts again.",
        Commit2(coordinator=NotesItsRestart),
        "agreement",
        {"participants": 1, "crashes": 2},
    ),
    Mutant(
        "end-with-restart",
        "A restarted coordinator logs the end when it has sent COMMIT again.",
        Commit2(coordinator=EndsWithRestart),
        "agreement",
        {"participants": 1, "crashes": 2, "losses": 1},
    ),
    Mutant(
        "end-with-decision",
        "The coordinator logs the end when it has sent COMMIT.",
        Commit2(coordinator=EndsWithDecision),
        "agreement",
        {"participants": 1, "crashes": 1, "losses": 1},
    ),
    Mutant(
        "end-with-first-ack",
        "The coordinator logs the end upon the first acknowledgement, and waits for the others in memory.",
        Commit2(coordinator=EndsWithFirstAck),
        "agreement",
        {"participants": 2, "crashes": 1, "losses": 1},
    ),
    Mutant(
        "acks-counted",
        "Acknowledgements are counted, and not identified.",
        Commit2(coordinator=CountsAcks),
        "agreement",
        {"participants": 2, "duplicates": 2},
    ),
    Mutant(
        "no-timer-after-restart",
        "A restarted coordinator sends COMMIT again, and sets no timer.",
        Commit2(coordinator=NoTimerAfterRestart),
        "non-blocking",
        {"participants": 1, "crashes": 2},
    ),
    Mutant(
        "inquires-once",
        "A participant in doubt inquires once.",
        Commit2(participant=InquiresOnce),
        "non-blocking",
        {"participants": 1, "losses": 1},
    ),
    Mutant(
        "inquires-once-after-restart",
        "A restarted participant in doubt inquires once.",
        Commit2(participant=InquiresOnceAfterRestart),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "abort-after-two-inquiries",
        "A participant in doubt aborts when it has inquired and still hears nothing.",
        Commit2(participant=AbortsAfterTwo),
        "agreement",
        {"participants": 1, "timeouts": 2},
    ),
    Mutant(
        "execute-repeated-once",
        "EXECUTE is sent again once, and then no timer is set.",
        Before2(coordinator=ExecutesOnceMore, policies=THRICE),
        "non-blocking",
        {"participants": 1, "losses": 2},
        Before2(policies=THRICE),
    ),
    Mutant(
        "part-of-the-work-prepared",
        "A participant that lost a part of its work in a crash prepares the rest.",
        Before2(participant=PreparesWhatIsThere),
        "durable-votes",
        {"participants": 2, "revisit": True, "crashes": 1},
    ),
    Mutant(
        "idle-timer-in-doubt",
        "The timer of an open branch fires when it is prepared, and rolls back.",
        Before2(participant=IdleInDoubt),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "never-idle",
        "A participant keeps an open branch until somebody asks for it.",
        Before2(participant=NeverIdle),
        "non-blocking",
        {"participants": 1, "losses": 1},
    ),
    Mutant(
        "stray-branch-kept",
        "A branch that a copy of EXECUTE has opened after the commit is kept when COMMIT comes again.",
        Before2(participant=KeepsStray),
        "non-blocking",
        {"participants": 1, "duplicates": 2},
    ),
    Mutant(
        "branch-of-copies-kept",
        "A branch that a copy of EXECUTE has opened after the commit is kept when a copy of PREPARE is recognised.",
        Before2(participant=KeepsCopies),
        "non-blocking",
        {"participants": 1, "duplicates": 2},
    ),
)
