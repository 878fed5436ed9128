"""Defects of the second attempt: what was made good once is not made good again. Most take two faults, and some three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import (
    Acknowledge,
    Append,
    CancelTimer,
    Delivery,
    Done,
    MarkOutbox,
    Message,
    Outbox,
    Policies,
    Publish,
    Relay,
    Rollback,
    SetTimer,
    Transition,
)
from simtx.protocols.outbox import OutboxService
from simtx.protocols.saga import REFUSED, RUNNING, UNDOING, UNKNOWN, Orchestrator
from simtx.protocols.saga_participant import Participant as SagaParticipant
from simtx.protocols.two_phase_coordinator import FORGET, LAZY_END, Coordinator
from simtx.protocols.two_phase_execution import ExecutingCoordinator, ExecutingParticipant
from simtx.protocols.two_phase_participant import Participant

from .catalogue import Commit2, Mutant, Outbox2, Saga2
from .outbox import Chatty
from .two_phase_participants import Before2

TWICE = Policies(attempts=2)
THRICE = Policies(attempts=3)

# --- two-phase commit ------------------------------------------------------------------------------------------------------------


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


TWO_PHASE = (
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

# --- saga ------------------------------------------------------------------------------------------------------------------------


class TrustsSecondCompensation(Orchestrator):
    """Sends a compensation twice, and takes it for done."""

    __slots__ = ()

    def _overdue(self, timer: Any) -> Any:
        if self.state == "compensating" and max(self.attempts) > 1:
            return self._aborted()
        return super()._overdue(timer)


class WaitsOnce(Orchestrator):
    """Sets no timer when it sends something again."""

    __slots__ = ()

    def _resend(self, indexes: Any) -> Any:
        return [one for one in super()._resend(indexes) if not isinstance(one, SetTimer)]


class WaitsNotAfterError(Orchestrator):
    """Sets no timer when it sends something again after an error."""

    __slots__ = ()

    def _again(self, timer: Any) -> Any:
        return [one for one in super()._again(timer) if not isinstance(one, SetTimer)]


class SecondErrorIsSuccess(Orchestrator):
    """Takes the second error of a compensation for its success."""

    __slots__ = ()

    def _error(self, reply: Any) -> Any:
        index, command = reply.body
        if command == "undo" and self.status[index] == UNDOING and self.attempts[index] > 1:
            return self._undone(replace(reply, body=index))
        return super()._error(reply)


class SecondErrorIsRefusal(Orchestrator):
    """Takes the second error of an action for a refusal."""

    __slots__ = ()

    def _error(self, reply: Any) -> Any:
        index, command = reply.body
        if command == "do" and self.status[index] == RUNNING and self.attempts[index] > 1:
            return self._turn_back(index, REFUSED)
        return super()._error(reply)


class TurnsBackUnrecorded(Orchestrator):
    """A restart gives up what was under way, and writes nothing about it."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        effects = super().recover(records)
        if RUNNING not in self.status:
            return effects
        self.status[:] = [UNKNOWN if one == RUNNING else one for one in self.status]
        return [one for one in self._turn_back(self.status.index(UNKNOWN), UNKNOWN) if not isinstance(one, Append)]


class CountsUndone(Orchestrator):
    """Counts the replies to compensations, whichever step they are of."""

    __slots__ = ()

    def _undone(self, reply: Any) -> Any:
        index = next((index for index, one in enumerate(self.status) if one == UNDOING), -1)
        return super()._undone(replace(reply, body=index)) if index >= 0 else []


class AsksPivotOnce(Orchestrator):
    """Takes a pivot that does not answer a question either for refused."""

    __slots__ = ()

    def _overdue(self, timer: Any) -> Any:
        pivot = self.shape.pivot
        if self.status[pivot] == RUNNING and self.attempts[pivot] > 1:
            return self._turn_back(pivot, REFUSED)
        return super()._overdue(timer)


class TrustsRetriable(Orchestrator):
    """Commands a step behind the pivot twice, and takes it for done."""

    __slots__ = ()

    def _overdue(self, timer: Any) -> Any:
        for step in self.steps:
            if step.kind == "retriable" and self.status[step.index] == RUNNING and self.attempts[step.index] > 1:
                return self._done(Message("done", self.tx, step.service, self.node, step.index))
        return super()._overdue(timer)


class LooksOnly(SagaParticipant):
    """Says what has become of an action, and does not fence one that is still to come."""

    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        return replace(one, accepted=None) if one.tag == "resolution" else one


SAGA = (
    Mutant(
        "compensation-sent-twice",
        "A compensation is sent twice, and taken for done.",
        Saga2(orchestrator=TrustsSecondCompensation),
        "truth",
        {"participants": 2, "losses": 2},
    ),
    Mutant(
        "waits-once",
        "The orchestrator sets no timer when it commands something again.",
        Saga2(orchestrator=WaitsOnce, policies=TWICE),
        "non-blocking",
        {"participants": 1, "losses": 2},
        Saga2(policies=TWICE),
    ),
    Mutant(
        "waits-not-after-an-error",
        "The orchestrator sets no timer when it commands something again after an error.",
        Saga2(orchestrator=WaitsNotAfterError, policies=TWICE),
        "non-blocking",
        {"participants": 1, "losses": 1, "failures": 1},
        Saga2(policies=TWICE),
    ),
    Mutant(
        "second-error-is-success",
        "The second error of a compensation is taken for its success.",
        Saga2(orchestrator=SecondErrorIsSuccess),
        "truth",
        {"participants": 2, "failures": 2},
    ),
    Mutant(
        "second-error-is-refusal",
        "The second error of an action is taken for a refusal, although a copy of the command may have done it.",
        Saga2(orchestrator=SecondErrorIsRefusal, policies=TWICE),
        "truth",
        {"participants": 1, "failures": 2, "duplicates": 1},
        Saga2(policies=TWICE),
    ),
    Mutant(
        "turned-back-unrecorded",
        "A restart gives up what was under way, and compensates without a record; once that is done, the next restart waits for ever.",
        Saga2(orchestrator=TurnsBackUnrecorded),
        "non-blocking",
        {"participants": 1, "crashes": 2},
    ),
    Mutant(
        "undone-counted",
        "Replies to compensations are counted, and not identified.",
        Saga2(orchestrator=CountsUndone),
        "truth",
        {"participants": 2, "losses": 2, "duplicates": 1},
    ),
    Mutant(
        "pivot-asked-once",
        "A pivot that answers neither the command nor the question is taken for refused.",
        Saga2(orchestrator=AsksPivotOnce),
        "truth",
        {"participants": 1, "pivot": 0, "timeouts": 2},
    ),
    Mutant(
        "retriable-taken-for-done",
        "A step behind the pivot is commanded twice, and taken for done.",
        Saga2(orchestrator=TrustsRetriable),
        "truth",
        {"participants": 2, "pivot": 0, "losses": 2},
    ),
    Mutant(
        "question-without-fence",
        "A participant says that the pivot's action was not done, and still does it when the command arrives.",
        Saga2(participant=LooksOnly),
        "truth",
        {"participants": 1, "pivot": 0, "timeouts": 1},
    ),
    Mutant(
        "last-row-only",
        "A service keeps its last idempotency row, so that the row of a compensation displaces that of its action.",
        Saga2(),
        "truth",
        {"participants": 2, "duplicates": 1, "retained": 1},
    ),
)

# --- outbox ----------------------------------------------------------------------------------------------------------------------


class RetriesOnce(Relay):
    """Takes its back-off for still running when it is over."""

    __slots__ = ()

    def again(self, event: Any) -> Any:
        effects = super().again(event)
        self.backing_off = True
        return effects


class PutsBehind(Relay):
    """Puts a row whose publication has failed behind the others of its transaction."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        tx = int(event.kind.partition(":")[2])
        rows = self.flying[tx]
        if event.status == "done" or len(rows) == 1:
            return super().published(event)
        self.flying[tx] = (*rows[1:], rows[0])
        return [Publish(event.kind, rows[1][1])]


class PutsBehindSecond(PutsBehind):
    """Puts a row whose publication has failed twice behind the others."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(event) if self.rounds else Relay.published(self, event)


class DropsSecond(Relay):
    """Marks a row whose publication has failed twice."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(Done(event.kind, "done") if self.rounds else event)


class MarksUpTo(Relay):
    """Marks everything up to the acknowledged row, whatever transaction it is of."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return [
            MarkOutbox(tuple(range(one.ids[0] + 1))) if isinstance(one, MarkOutbox) else one
            for one in super().published(event)
        ]


class SecondFailureIsRefusal(OutboxService):
    """Takes a second transient failure for a refusal, and acknowledges."""

    __slots__ = ()

    def acted(self, done: Any) -> Any:
        return self._conclude("refused") if self.attempt and done.status == "failed" else super().acted(done)


class SecondFailureIsUndone(OutboxService):
    """Takes a compensation that has failed twice for done."""

    __slots__ = ()

    def undone(self, done: Any) -> Any:
        return super().undone(replace(done, status="done") if self.attempt and done.status == "failed" else done)


class BacksOffOnce(OutboxService):
    """Sets its timer after the first failure only."""

    __slots__ = ()

    def _back_off(self) -> Any:
        effects = super()._back_off()
        return [one for one in effects if not isinstance(one, SetTimer)] if self.attempt > 1 else effects


class AcksWhileWaiting(OutboxService):
    """Acknowledges a copy of what it is about to repeat."""

    __slots__ = ()

    def later(self, event: Any) -> Any:
        return [Acknowledge(event.id)] if isinstance(event, Delivery) else []


OUTBOX = (
    Mutant(
        "relay-retries-once",
        "The relay publishes again what has failed once, and never what has failed again.",
        Outbox2(relay=RetriesOnce),
        "no-loss",
        {"participants": 2, "losses": 2},
    ),
    Mutant(
        "failed-row-put-behind",
        "The relay puts a row whose publication has failed behind the others of its transaction.",
        Outbox2(relay=PutsBehind, service=Chatty),
        "order",
        {"participants": 2, "losses": 1},
        Outbox2(service=Chatty),
    ),
    Mutant(
        "row-put-behind-at-the-second-failure",
        "The relay puts a row whose publication has failed twice behind the others of its transaction.",
        Outbox2(relay=PutsBehindSecond, service=Chatty),
        "order",
        {"participants": 2, "losses": 2},
        Outbox2(service=Chatty),
    ),
    Mutant(
        "row-dropped-at-the-second-failure",
        "The relay marks a row whose publication has failed twice.",
        Outbox2(relay=DropsSecond),
        "no-loss",
        {"participants": 2, "losses": 2},
    ),
    Mutant(
        "marks-up-to-the-ack",
        "The relay marks all rows up to the acknowledged one, those of other transactions that are still on their way included.",
        Outbox2(relay=MarksUpTo),
        "no-loss",
        {"participants": 2, "messages": 2, "crashes": 1, "refusals": False},
    ),
    Mutant(
        "second-failure-is-refusal",
        "A consumer takes a second transient failure for a refusal, and acknowledges.",
        Outbox2(service=SecondFailureIsRefusal),
        "atomicity",
        {"participants": 2, "failures": 2},
    ),
    Mutant(
        "second-failure-is-undone",
        "A compensation that has failed twice is taken for done.",
        Outbox2(service=SecondFailureIsUndone),
        "atomicity",
        {"participants": 2, "failures": 2},
    ),
    Mutant(
        "backs-off-once",
        "The timer of a repetition is set after the first failure only.",
        Outbox2(service=BacksOffOnce),
        "non-blocking",
        {"participants": 1, "failures": 2},
    ),
    Mutant(
        "copy-acknowledged-while-waiting",
        "A consumer whose local transaction has failed acknowledges when the event comes again, before it has repeated it.",
        Outbox2(service=AcksWhileWaiting),
        "atomicity",
        {"participants": 2, "failures": 1, "crashes": 1},
    ),
    Mutant(
        "last-event-only",
        "A consumer recognises a copy of the last event that it has worked on, and of no other.",
        Outbox(),
        "effect-once",
        {"participants": 2, "messages": 2, "duplicates": 1, "refusals": False, "retained": 1},
    ),
)

MUTANTS = (*TWO_PHASE, *SAGA, *OUTBOX)
