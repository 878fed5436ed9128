"""Defects of the orchestrated saga."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Answer, Append, Message, Operation, Policies, SetTimer, Transition
from simtx.protocols.saga import DONE, PAUSED, REFUSED, RUNNING, UNKNOWN, Orchestrator

from .catalogue import Mutant, Saga2


class UnknownIsUndone(Orchestrator):
    __slots__ = ()

    def _turn_back(self, index: int, outcome: int) -> Any:
        return super()._turn_back(index, REFUSED)


class CommandsEarly(Orchestrator):
    __slots__ = ()

    def _begin(self, request: Any) -> Any:
        record, *rest = super()._begin(request)
        return [*rest, record]


class LazyStart(Orchestrator):
    __slots__ = ()

    def _begin(self, request: Any) -> Any:
        record, *rest = super()._begin(request)
        return [Append(record.record, forced=False), *rest]


class AnswersEarly(Orchestrator):
    __slots__ = ()

    def _committed(self, index: int, record: Any) -> Any:
        effects = super()._committed(index, record)
        answer = next(one for one in effects if isinstance(one, Answer))
        return [answer, *(one for one in effects if one is not answer)]


class LazyEnd(Orchestrator):
    """Writes the last record lazily, and still gives the last step up when it is silent."""

    __slots__ = ()

    def _committed(self, index: int, record: Any) -> Any:
        return super()._committed(index, Append(record.record, forced=False))


class LazyDone(Orchestrator):
    """Writes that a step is done lazily, and commands the next one."""

    __slots__ = ()

    def _done(self, reply: Any) -> Any:
        effects = super()._done(reply)
        if self.state != "running":
            return effects
        return [Append(one.record, forced=False) if isinstance(one, Append) else one for one in effects]


class LazyTurn(Orchestrator):
    """Writes that a step is given up lazily, and compensates."""

    __slots__ = ()

    def _turn_back(self, index: int, outcome: int) -> Any:
        effects = super()._turn_back(index, outcome)
        return [Append(one.record, forced=False) if isinstance(one, Append) else one for one in effects]


class LazyRefusal(Orchestrator):
    """Writes lazily that a step was refused."""

    __slots__ = ()

    def _refused(self, reply: Any) -> Any:
        return [Append(one.record, forced=False) if isinstance(one, Append) else one for one in super()._refused(reply)]


class NoHalt(Orchestrator):
    """Turns back at once, and forgets about branches that are under way."""

    __slots__ = ()

    def _turn_back(self, index: int, outcome: int) -> Any:
        self.status[:] = [REFUSED if one == RUNNING else one for one in self.status]
        return super()._turn_back(index, outcome)


class ForgetsBranches(Orchestrator):
    """After a restart, knows of no branch that was under way when the saga turned back."""

    __slots__ = ()

    def _replay(self, record: Any) -> None:
        super()._replay(record)
        self.status[:] = [REFUSED if one == UNKNOWN else one for one in self.status]


class TrustsCompensation(Orchestrator):
    """Sends a compensation once, and takes it for done."""

    __slots__ = ()

    def _overdue(self, timer: Any) -> Any:
        if self.state != "compensating":
            return super()._overdue(timer)
        return self._aborted()


class NoTimer(Orchestrator):
    __slots__ = ()

    def _begin(self, request: Any) -> Any:
        return [one for one in super()._begin(request) if not isinstance(one, SetTimer)]


class LosesCount(Orchestrator):
    """Counts replies, whichever step they are of."""

    __slots__ = ()

    def _done(self, reply: Any) -> Any:
        index = next((index for index, one in enumerate(self.status) if one == RUNNING), -1)
        if index < 0:
            return []
        return super()._done(Message("done", reply.tx, reply.sender, reply.to, index))


class CompensatesTheFailed(Orchestrator):
    """Undoes only the step that failed."""

    __slots__ = ()

    def _compensate(self) -> Any:
        self.status[:] = [REFUSED if one == DONE else one for one in self.status]
        return super()._compensate()


class RecoversForward(Orchestrator):
    """After a restart goes on forward, although it had turned back."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return super().recover([record for record in records if record[0] not in ("refused", "unknown")])


class Guarded(Orchestrator):
    """Sound: no service takes more than one transaction at a time, so that what is refused now may be accepted later."""

    __slots__ = ()

    def _begin(self, request: Any) -> Any:
        plan = request.plan
        steps = tuple(replace(one, operations=tuple(map(_at_most_one, one.operations))) for one in plan.steps)
        return super()._begin(replace(request, plan=replace(plan, steps=steps)))


def _at_most_one(operation: Operation) -> Operation:
    return replace(operation, high=operation.amount) if operation.kind == "add" else operation


class GivesUpPivot(Orchestrator):
    """Compensates the pivot on a mere timeout."""

    __slots__ = ()

    def _must_be_known(self, index: int) -> bool:
        return self.steps[index].kind == "retriable"


class TurnsBackLate(Orchestrator):
    """Gives up a step behind the pivot, and compensates."""

    __slots__ = ()

    def _must_be_known(self, index: int) -> bool:
        return self.steps[index].kind == "pivot"


class ResumesFromMemory(Orchestrator):
    """After a restart waits for replies, and commands nothing again."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return [one for one in super().recover(records) if not isinstance(one, Message | SetTimer)]


class AnswersBeforeUndone(Orchestrator):
    """Tells the client "aborted", and forgets, when the compensations are sent."""

    __slots__ = ()

    def _compensate(self) -> Any:
        sent = [one for one in super()._compensate() if isinstance(one, Message)]
        return [*sent, *self._aborted()]


class NamesAnew(Orchestrator):
    """Commands a silent step once more under another name."""

    __slots__ = ()

    def _overdue(self, timer: Any) -> Any:
        index = next((index for index, one in enumerate(self.status) if one == RUNNING), -1)
        if index < 0:
            return super()._overdue(timer)
        step = self.steps[index]
        return [
            Message("do", self.tx, self.node, step.service, replace(step, name=f"{step.name} again")),
            self.saga.wait,
        ]


class UndoesAtOnce(Orchestrator):
    """Sends all compensations at once, whatever came after what."""

    __slots__ = ()

    def _compensate(self) -> Any:
        first = super()._compensate()
        if self.state != "compensating":
            return first
        late = [self._undo(index) for index, one in enumerate(self.status) if one in (DONE, UNKNOWN)]
        return [*late, *first]


class AnswersAfterForgetting(Orchestrator):
    """Forgets a saga that is undone, and answers its client then: a crash in between leaves nobody who would."""

    __slots__ = ()

    def _aborted(self) -> Any:
        return list(reversed(super()._aborted()))


class LateReplyTurns(Orchestrator):
    """While compensating, takes a late "done" for a reason to go forward again."""

    __slots__ = ()
    transitions = tuple(
        Transition("compensating", "done", "_forward", ("committed",))
        if (row.state, row.event) == ("compensating", "done")
        else row
        for row in Orchestrator.transitions
    )

    def _forward(self, reply: Any) -> Any:
        self.cause = -1
        return self._committed(reply.body, self.shape.done[reply.body])


class AbortsInSilence(Orchestrator):
    """Does not tell the client of an abort."""

    __slots__ = ()

    def _aborted(self) -> Any:
        return [one for one in super()._aborted() if not isinstance(one, Answer)]


class ErrorIsRefusal(Orchestrator):
    """Takes a step whose last command met an error for one that was not done."""

    __slots__ = ()

    def _turn_back(self, index: int, outcome: int) -> Any:
        self.status[:] = [REFUSED if one == PAUSED else one for one in self.status]
        return super()._turn_back(index, outcome)


class HaltsForOne(Orchestrator):
    """Turns back when the first of the branches that were under way has answered."""

    __slots__ = ()

    def _halted(self, reply: Any) -> Any:
        effects = super()._halted(reply)
        return [*effects, *self._compensate()] if self.state == "halting" else effects


class StuckInSilence(Orchestrator):
    """Gets stuck, and raises no alert."""

    __slots__ = ()

    def _stick(self, index: int, reason: str) -> Any:
        return super()._stick(index, reason)[:-1]


MUTANTS = (
    Mutant(
        "answers-after-forgetting",
        "A saga that is undone is forgotten before its client is answered.",
        Saga2(orchestrator=AnswersAfterForgetting),
        "non-blocking",
        {"crashes": 1},
    ),
    Mutant(
        "unknown-is-undone",
        "The step whose outcome is unknown is not compensated.",
        Saga2(orchestrator=UnknownIsUndone),
        "truth",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "commands-before-record",
        "The first command leaves before the saga is recorded.",
        Saga2(orchestrator=CommandsEarly),
        "atomicity",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "lazy-start",
        "The saga is recorded lazily.",
        Saga2(orchestrator=LazyStart),
        "atomicity",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "answer-before-record",
        "The client is answered before the last record is forced.",
        Saga2(orchestrator=AnswersEarly),
        "agreement",
        {"participants": 1, "crashes": 1, "timeouts": 1},
    ),
    Mutant(
        "lazy-end",
        "The last record is lazy, and the last step may still be given up.",
        Saga2(orchestrator=LazyEnd),
        "agreement",
        {"participants": 1, "crashes": 1, "timeouts": 1},
    ),
    Mutant(
        "lazy-done",
        "The next step is commanded before it is durable that the last one is done.",
        Saga2(orchestrator=LazyDone),
        "atomicity",
        {"participants": 2, "crashes": 1, "timeouts": 1},
    ),
    Mutant(
        "lazy-turn",
        "Compensations leave before it is durable that the saga turned back.",
        Saga2(orchestrator=LazyTurn),
        "agreement",
        {"participants": 1, "crashes": 1, "timeouts": 1},
    ),
    Mutant(
        "lazy-refusal",
        "Compensations leave before it is durable that a step was refused.",
        Saga2(orchestrator=LazyRefusal),
        "contract",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "no-halt",
        "A saga turns back without regard to branches that are under way.",
        Saga2(orchestrator=NoHalt),
        "atomicity",
        {"participants": 2, "parallel": True},
    ),
    Mutant(
        "forgets-branches",
        "A restarted orchestrator forgets branches that were under way when the saga turned back.",
        Saga2(orchestrator=ForgetsBranches),
        "atomicity",
        {"participants": 2, "parallel": True, "crashes": 1},
    ),
    Mutant(
        "compensation-sent-once",
        "A compensation is sent once, and taken for done.",
        Saga2(orchestrator=TrustsCompensation),
        "truth",
        {"participants": 2, "losses": 1},
    ),
    Mutant(
        "no-timer",
        "The orchestrator waits for a reply without a timer.",
        Saga2(orchestrator=NoTimer),
        "non-blocking",
        {"participants": 1, "losses": 1},
    ),
    Mutant(
        "replies-counted",
        "Replies are counted, and not identified.",
        Saga2(orchestrator=LosesCount),
        "durable-votes",
        {"participants": 2, "duplicates": 1},
    ),
    Mutant(
        "only-the-failed",
        "Only the step that failed is compensated, not those before it.",
        Saga2(orchestrator=CompensatesTheFailed),
        "atomicity",
        {"participants": 2},
    ),
    Mutant(
        "recovers-forward",
        "A restarted orchestrator goes on forward although it had turned back.",
        Saga2(orchestrator=RecoversForward),
        "agreement",
        {"participants": 1, "crashes": 1, "timeouts": 1},
    ),
    Mutant(
        "pivot-given-up",
        "The pivot is compensated on a mere timeout.",
        Saga2(orchestrator=GivesUpPivot),
        "truth",
        {"participants": 1, "pivot": 0, "timeouts": 1},
    ),
    Mutant(
        "back-from-behind-the-pivot",
        "A step behind the pivot is given up when it is silent.",
        Saga2(orchestrator=TurnsBackLate),
        "agreement",
        {"participants": 2, "pivot": 0, "timeouts": 1},
    ),
    Mutant(
        "recovery-sends-nothing",
        "A restarted orchestrator sends nothing again, and sets no timer.",
        Saga2(orchestrator=ResumesFromMemory),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "aborted-before-undone",
        "The client hears 'aborted', and the saga is forgotten, when the compensations are sent.",
        Saga2(orchestrator=AnswersBeforeUndone),
        "truth",
        {"participants": 2, "losses": 1},
    ),
    Mutant(
        "late-reply-turns",
        "A late reply turns a saga that goes backward forward again.",
        Saga2(orchestrator=LateReplyTurns),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "abort-not-answered",
        "The client is not told of an abort.",
        Saga2(orchestrator=AbortsInSilence),
        "non-blocking",
        {"participants": 1},
    ),
    Mutant(
        "error-is-refusal",
        "When the saga turns back, a step whose last command met an error is taken for one that was not done; a copy of the command did it.",
        Saga2(orchestrator=ErrorIsRefusal, policies=Policies(attempts=2)),
        "atomicity",
        {"participants": 2, "parallel": True, "duplicates": 1, "failures": 1},
        Saga2(policies=Policies(attempts=2)),
    ),
    Mutant(
        "halts-for-one",
        "A saga that turns back waits for one of the branches that are under way, and not for all.",
        Saga2(orchestrator=HaltsForOne),
        "atomicity",
        {"participants": 4, "parallel": True},
    ),
)
