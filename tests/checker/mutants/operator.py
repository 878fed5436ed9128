"""Defects in what comes of an operator's word, and of a client's answer after a crash."""

from __future__ import annotations

from typing import Any

from simtx.protocols import Answer, Append, Branch, Message, Outbox, Policies, Saga, SetTimer
from simtx.protocols.outbox import OutboxService
from simtx.protocols.saga import Orchestrator
from simtx.protocols.two_phase_coordinator import Coordinator

from .catalogue import Commit2, Mutant, Outbox2, Saga2

#: Gives up after one attempt, so that an operator is needed soon.
HASTY = Policies(attempts=1, compensation_attempts=1)


class SkipEndsAll(Orchestrator):
    """A skip on the way back leaves what is still to be undone."""

    __slots__ = ()

    def _skip(self, request: Any) -> Any:
        effects = super()._skip(request)
        if self.state != "compensating":
            return effects
        return [*(one for one in effects if not isinstance(one, Message | SetTimer)), *self._aborted()]


class SkipSendsNothing(OutboxService):
    """Deals with the step, and leaves the others without the event."""

    __slots__ = ()

    def skip(self, request: Any) -> Any:
        return self._settle(Branch("skipped"))


class SkipUnrecorded(Orchestrator):
    __slots__ = ()

    def _skip(self, request: Any) -> Any:
        return [one for one in super()._skip(request) if not (isinstance(one, Append) and one.record[0] == "skip")]


class ResolveUnrecorded(Orchestrator):
    __slots__ = ()

    def _resolve(self, request: Any) -> Any:
        return [one for one in super()._resolve(request) if not isinstance(one, Append)]


class LazyResolve(Orchestrator):
    __slots__ = ()

    def _resolve(self, request: Any) -> Any:
        return [
            Append(one.record, forced=False) if isinstance(one, Append) else one for one in super()._resolve(request)
        ]


class NoAnswerAfterRecovery(Coordinator):
    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return [one for one in super().recover(records) if not isinstance(one, Answer)]


class NoAnswerAfterRecoveryOfSaga(Orchestrator):
    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return [one for one in super().recover(records) if not isinstance(one, Answer)]


_STUCK = {"unruly": True, "interventions": 1}

MUTANTS = (
    Mutant(
        "skip-ends-all",
        "A step that an operator has skipped ends the saga, and what was done before it stays.",
        Saga2(orchestrator=SkipEndsAll, policies=HASTY),
        "atomicity",
        {**_STUCK, "participants": 3},
        Saga(policies=HASTY),
    ),
    Mutant(
        "skip-sends-nothing",
        "A service whose step an operator has skipped sends no event on.",
        Outbox2(service=SkipSendsNothing, policies=HASTY),
        "atomicity",
        {**_STUCK, "participants": 3},
        Outbox(policies=HASTY),
    ),
    Mutant(
        "skip-not-recorded",
        "What an operator has skipped is not recorded, and stuck again after a crash.",
        Saga2(orchestrator=SkipUnrecorded, policies=HASTY),
        "parked",
        {**_STUCK, "crashes": 1},
        Saga(policies=HASTY),
    ),
    Mutant(
        "resolve-not-recorded",
        "That an operator has resolved a transaction is not recorded, and it is stuck again after a crash.",
        Saga2(orchestrator=ResolveUnrecorded, policies=HASTY),
        "parked",
        {**_STUCK, "crashes": 1},
        Saga(policies=HASTY),
    ),
    Mutant(
        "lazy-resolve",
        "The record of what an operator has resolved is written lazily.",
        Saga2(orchestrator=LazyResolve, policies=HASTY),
        "parked",
        {**_STUCK, "crashes": 1},
        Saga(policies=HASTY),
    ),
    Mutant(
        "no-answer-after-recovery",
        "A restarted coordinator does not answer the client again: it may not have come to that before the crash.",
        Commit2(coordinator=NoAnswerAfterRecovery),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "no-answer-after-recovery-of-saga",
        "A restarted orchestrator does not answer the client again.",
        Saga2(orchestrator=NoAnswerAfterRecoveryOfSaga),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
)
