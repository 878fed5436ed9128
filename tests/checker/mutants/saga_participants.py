"""Defects of a saga's participants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Branch, Message, Transact, Transition
from simtx.protocols.saga_participant import Participant

from .catalogue import Mutant, Saga2
from .saga import Guarded, NamesAnew

_ROW = Branch("done")


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


class RepliesEarly(Participant):
    __slots__ = ()

    def _command(self, command: Any) -> Any:
        effects = super()._command(command)
        if command.kind != "do":
            return effects
        return [Message("done", self.tx, self.node, command.sender, command.body.index), *effects]


class ForgetsRefusals(Participant):
    """Stores nothing with a refusal."""

    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        return replace(one, refused=None) if one.tag == "action" else one


class KnowsByName(Participant):
    """Sound, as long as a step keeps its name."""

    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        key, undoes = ((self.tx, command.body.name, key[2]) if key else None for key in (one.key, one.undoes))
        return replace(one, key=key, undoes=undoes)


class FailureIsRefusal(Participant):
    """Reports a transient failure as a refusal, without a row."""

    __slots__ = ()

    def _error(self) -> Any:
        return self._reply("refused" if self.command is not None and self.command.kind == "do" else "undone")


class OneRow(Participant):
    """Knows an action by its transaction, as if every service had one step."""

    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        key, undoes = ((self.tx, key[2]) if key else None for key in (one.key, one.undoes))
        return replace(one, key=key, undoes=undoes)


class RunsAgainAtOnce(ForgetsRefusals):
    """Runs an action that was refused again, at once, until it is not refused."""

    __slots__ = ()

    def _acted(self, done: Any) -> Any:
        if done.status != "refused" or self.command is None:
            return super()._acted(done)
        return [self._transaction(self.command)]


MUTANTS = (
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
        "reply-before-commit",
        "A participant replies before its local transaction.",
        Saga2(participant=RepliesEarly),
        "durable-votes",
        {"participants": 1, "crashes": 1, "refusals": False},
    ),
    Mutant(
        "refusal-not-stored",
        "A refusal is not stored, so that a late copy of the command is judged anew.",
        Saga2(orchestrator=Guarded, participant=ForgetsRefusals),
        "truth",
        {"participants": 2, "messages": 2, "duplicates": 1, "contention": True},
        Saga2(orchestrator=Guarded),
    ),
    Mutant(
        "fresh-identity",
        "A silent step is commanded again under another identity.",
        Saga2(orchestrator=NamesAnew, participant=KnowsByName),
        "effect-once",
        {"participants": 1, "timeouts": 1},
        Saga2(participant=KnowsByName),
    ),
    Mutant(
        "failure-is-refusal",
        "A transient failure of a compensation is reported as success.",
        Saga2(participant=FailureIsRefusal),
        "atomicity",
        {"participants": 2, "failures": 1},
    ),
    Mutant(
        "rows-pruned",
        "Idempotency rows are pruned while copies of commands may still arrive.",
        Saga2(),
        "effect-once",
        {"participants": 1, "duplicates": 1, "retained": 0},
    ),
    Mutant(
        "row-without-step",
        "The idempotency row names the transaction and not the step, so that a service's second step passes for the first.",
        Saga2(participant=OneRow),
        "durable-votes",
        {"participants": 2, "revisit": True},
    ),
    Mutant(
        "again-at-once",
        "A refused action is run again at once, for ever.",
        Saga2(participant=RunsAgainAtOnce),
        "contract",
        {"participants": 1},
    ),
)
