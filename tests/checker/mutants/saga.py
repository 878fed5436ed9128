"""Defects of the orchestrated saga."""

from __future__ import annotations

from typing import Any

from simtx.protocols import Answer, Append, Branch, Message, SetTimer, Transact, Transition
from simtx.protocols.saga import DONE, REFUSED, RUNNING, UNKNOWN, Orchestrator
from simtx.protocols.saga_participant import Participant

from .catalogue import Mutant, Saga2

_ROW = Branch("done")


class UnknownIsUndone(Orchestrator):
    __slots__ = ()

    def _turn_back(self, index: int, outcome: int) -> Any:
        return super()._turn_back(index, REFUSED)


class HeedlessTombstone(Participant):
    """Runs an action although its compensation came first."""

    __slots__ = ()

    def _acted(self, done: Any) -> Any:
        if done.status == "duplicate" and done.value == "tombstone":
            assert self.command is not None
            step = self.command.body
            return [Transact("action", step.operations, steps=(step.index,))]
        return super()._acted(done)


class NoInbox(Participant):
    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        if one.tag != "action":
            return one
        return Transact(one.tag, one.operations, None, None, None, None, "done", one.steps)


class NoCompensationRow(Participant):
    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        if one.tag != "compensation":
            return one
        return Transact(one.tag, one.operations, None, None, None, one.undoes, "done", one.steps, True)


class BlindCompensation(Participant):
    """Undoes whatever it is told to undo, done or not."""

    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        if one.tag != "compensation":
            return one
        return Transact(one.tag, one.operations, one.key, one.accepted, None, None, "done", one.steps, True)


class RowFirst(Participant):
    """Inbox row and effect in two local transactions, the row first."""

    __slots__ = ()
    transitions = (*Participant.transitions, Transition("working", "row", "_rowed", ("working", "idle")))

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        return Transact("row", (), one.key, _ROW) if one.tag == "action" else one

    def _rowed(self, done: Any) -> Any:
        if done.status == "duplicate":
            return self._reply("done" if done.value == "done" else "refused")
        assert self.command is not None
        step = self.command.body
        return [Transact("action", step.operations, steps=(step.index,))]


class RowLast(Participant):
    """Inbox row and effect in two local transactions, the effect first."""

    __slots__ = ()
    transitions = (*Participant.transitions, Transition("working", "row", "_rowed", ("working", "idle")))

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        if one.tag != "action":
            return one
        return Transact("action", one.operations, steps=one.steps)

    def _acted(self, done: Any) -> Any:
        if done.status != "done":
            return super()._acted(done)
        assert self.command is not None
        return [Transact("row", (), (self.tx, self.command.body.index, "action"), _ROW)]

    def _rowed(self, done: Any) -> Any:
        return self._reply("done")


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


class RepliesEarly(Participant):
    __slots__ = ()

    def _command(self, command: Any) -> Any:
        effects = super()._command(command)
        if command.kind != "do":
            return effects
        return [Message("done", self.tx, self.node, command.sender, command.body.index), *effects]


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


MUTANTS = (
    Mutant(
        "unknown-is-undone",
        "The step whose outcome is unknown is not compensated.",
        Saga2(orchestrator=UnknownIsUndone),
        "truth",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "late-action",
        "An action runs after its compensation.",
        Saga2(participant=HeedlessTombstone),
        "truth",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "action-without-inbox",
        "An action is not idempotent.",
        Saga2(participant=NoInbox),
        "effect-once",
        {"participants": 1, "duplicates": 1},
    ),
    Mutant(
        "compensation-without-row",
        "A compensation is not idempotent.",
        Saga2(participant=NoCompensationRow),
        "effect-once",
        {"participants": 2, "duplicates": 1},
    ),
    Mutant(
        "blind-compensation",
        "A compensation runs although its action never took effect.",
        Saga2(participant=BlindCompensation),
        "effect-once",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "row-before-effect",
        "Inbox row and effect are two local transactions, the row first.",
        Saga2(participant=RowFirst),
        "durable-votes",
        {"participants": 1, "crashes": 1, "pivot": 0, "refusals": False},
    ),
    Mutant(
        "effect-before-row",
        "Inbox row and effect are two local transactions, the effect first.",
        Saga2(participant=RowLast),
        "effect-once",
        {"participants": 1, "crashes": 1, "pivot": 0},
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
        "reply-before-commit",
        "A participant replies before its local transaction.",
        Saga2(participant=RepliesEarly),
        "durable-votes",
        {"participants": 1, "crashes": 1, "refusals": False},
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
)
