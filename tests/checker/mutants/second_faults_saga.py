"""Defects of the second attempt, of the saga: what was made good once is not made good again. Most take two faults, and some three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import (
    Append,
    Message,
    Policies,
    SetTimer,
)
from simtx.protocols.saga import REFUSED, RUNNING, UNDOING, UNKNOWN, Orchestrator
from simtx.protocols.saga_participant import Participant as SagaParticipant

from .catalogue import Mutant, Saga2

TWICE = Policies(attempts=2)


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


MUTANTS = (
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
