"""Defects of choreographed sagas: joins that count wrongly or forget, branches that nobody withdraws, and undoing that does not wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Acknowledge, Branch, Transact, Transition
from simtx.protocols.choreographed_service import ChoreographedService

from .catalogue import Choreography2, Mutant


class CountsMessages(ChoreographedService):
    """A report that comes twice counts twice."""

    __slots__ = ()

    def counted(self, done: Any) -> Any:
        if done.status == "duplicate" and done.value == self.source and not self.undoing:
            self.found = (*self.found, done.value)
            before = self._graph().before[self.index]
            return self._count() if len(self.found) + 1 < len(before) else self._act()
        return super().counted(done)


class JoinsInMemory(ChoreographedService):
    """Acknowledges what a join is told, and remembers it in its machine."""

    __slots__ = ()
    transitions = (
        *ChoreographedService.transitions,
        *(
            replace(row, state="joining", to=(*row.to, "joining"))
            for row in ChoreographedService.transitions
            if row.state == "idle"
        ),
    )

    def _count(self) -> Any:
        if self.undoing:
            return super()._count()
        self.found = tuple(sorted({*self.found, self.source}))
        if len(self.found) == len(self._graph().before[self.index]):
            return self._act()
        self.state = "joining"
        return [Acknowledge(self.origin)]


class AcknowledgesFirst(ChoreographedService):
    """Acknowledges a report before its row is written."""

    __slots__ = ()

    def _count(self) -> Any:
        return [Acknowledge(self.origin), *super()._count()]


class RowForTheLast(ChoreographedService):
    """The last report leaves a row like the others, and the step runs in a local transaction of its own."""

    __slots__ = ()

    def counted(self, done: Any) -> Any:
        if self.undoing or done.status == "failed":
            return super().counted(done)
        before = self._graph().before[self.index]
        if done.status == "done":
            return self._act() if len(self.found) + 1 == len(before) else super().counted(done)
        if done.value == self.source:
            return self._conclude(None)
        self.found = (*self.found, done.value)
        return self._count()


class JoinWithoutRow(ChoreographedService):
    """The step of a join has no idempotency row: the rows of its reports were thought to be enough."""

    __slots__ = ()

    def _act(self) -> Any:
        (one,) = super()._act()
        return [replace(one, key=None) if len(self._graph().before[self.index]) > 1 else one]


class WithdrawsNobody(ChoreographedService):
    """Waits for all steps behind it, and tells none of them."""

    __slots__ = ()

    def _withdrawals(self) -> Any:
        return ()


class WithdrawsApart(ChoreographedService):
    """The events that withdraw the steps behind are written after the row that says so."""

    __slots__ = ()
    transitions = (*ChoreographedService.transitions, Transition("counting", "told", "_told", ("finished",)))

    def _count(self) -> Any:
        (one,) = super()._count()
        return [replace(one, accepted=Branch(self.source))]

    def counted(self, done: Any) -> Any:
        events = self._withdrawals() if self.undoing and done.status == "done" and not self.found else ()
        return [Transact("told", (), None, Branch(None, events))] if events else super().counted(done)

    def _told(self, done: Any) -> Any:
        return self._conclude(None)


class TellsOne(ChoreographedService):
    """A join that refuses tells one of the steps before it."""

    __slots__ = ()

    def _back(self) -> Any:
        return super()._back() if self.undoing else super()._back()[:1]


class UndoesAtOnce(ChoreographedService):
    """Undoes itself when the first step behind it says so, whatever became of the others."""

    __slots__ = ()

    def _turn_back(self) -> Any:
        return self._undo()


class FencesBlindly(ChoreographedService):
    """Whoever has a row already takes it for a fence."""

    __slots__ = ()

    def fenced(self, done: Any) -> Any:
        return self._conclude(None) if done.status == "duplicate" else super().fenced(done)


class BlindCompensation(ChoreographedService):
    """A compensation has neither a row nor a look at its action."""

    __slots__ = ()

    def _undo(self) -> Any:
        (one,) = super()._undo()
        return [replace(one, key=None, undoes=None)]


FORK = {"participants": 3, "parallel": True}
"""Two branches and a join; the first branch begins the second."""

MUTANTS = (
    Mutant(
        "join-counts-messages",
        "A join counts messages, and a copy of one report completes it.",
        Choreography2(service=CountsMessages),
        "durable-votes",
        {**FORK, "duplicates": 1},
    ),
    Mutant(
        "join-in-memory",
        "A join acknowledges reports and remembers them until a crash.",
        Choreography2(service=JoinsInMemory),
        "atomicity",
        {**FORK, "crashes": 1},
    ),
    Mutant(
        "join-acknowledges-first",
        "A join acknowledges a report before its row is written.",
        Choreography2(service=AcknowledgesFirst),
        "atomicity",
        {**FORK, "crashes": 1},
    ),
    Mutant(
        "join-row-for-the-last",
        "The last report of a join leaves a row, and its step runs in another local transaction.",
        Choreography2(service=RowForTheLast),
        "atomicity",
        {**FORK, "crashes": 1},
    ),
    Mutant(
        "join-step-without-row",
        "The step of a join has no idempotency row.",
        Choreography2(service=JoinWithoutRow),
        "effect-once",
        {**FORK, "duplicates": 1},
    ),
    Mutant(
        "withdraws-nobody",
        "A step that has to undo itself waits for all steps behind it, and tells none.",
        Choreography2(service=WithdrawsNobody),
        "atomicity",
        FORK,
    ),
    Mutant(
        "withdraws-apart",
        "The events that withdraw the steps behind follow in a local transaction of their own.",
        Choreography2(service=WithdrawsApart),
        "atomicity",
        {**FORK, "crashes": 1},
    ),
    Mutant(
        "join-tells-one",
        "A join that refuses tells one of the steps before it.",
        Choreography2(service=TellsOne),
        "atomicity",
        FORK,
    ),
    Mutant(
        "undoes-for-the-first",
        "A step undoes itself when the first step behind it says so, and withdraws nobody.",
        Choreography2(service=UndoesAtOnce),
        "atomicity",
        {**FORK, "participants": 4},
    ),
    Mutant(
        "fences-blindly",
        "A step that is to be fenced does not look whether it was done.",
        Choreography2(service=FencesBlindly),
        "atomicity",
        FORK,
    ),
    Mutant(
        "blind-compensation-of-branch",
        "A compensation of a choreographed saga has neither a row nor a look at its action.",
        Choreography2(service=BlindCompensation),
        "effect-once",
        {"participants": 2, "duplicates": 1},
    ),
)
