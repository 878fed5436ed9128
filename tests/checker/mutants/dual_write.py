"""Defects on top of a dual write, which show on properties that it keeps itself in the same scope."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Acknowledge, Answer, DualWrite, Policies, Publish, Request
from simtx.protocols.dual_write import DualWriteService

from .catalogue import Dual2, Mutant

_WORKED_ON_AGAIN = frozenset({"effect-once"})
"""A loss may be that of an acknowledgement: then the event comes again, and a dual write has no inbox."""


class NeverAcknowledges(DualWriteService):
    __slots__ = ()

    def _finish(self) -> Any:
        return [one for one in super()._finish() if not isinstance(one, Acknowledge)]


class KeepsNoQueue(DualWriteService):
    """Drops what arrives while another event is worked on."""

    __slots__ = ()

    def enqueue(self, event: Any) -> Any:
        return self._on_arrival(event)


class PublishesOnce(DualWriteService):
    """Omits an event whose first publication has failed."""

    __slots__ = ()

    def _republish_later(self) -> Any:
        self.attempt += 1


class RepublishesOnce(DualWriteService):
    """Sets its timer for the first repetition only."""

    __slots__ = ()

    def _republish_later(self) -> Any:
        later = super()._republish_later()
        return [] if later and self.attempt > 1 else later


class PublishesTwice(DualWriteService):
    """Publishes once more at once, to be on the safe side."""

    __slots__ = ()

    def _tell(self, message: Any) -> Any:
        effects = super()._tell(message)
        return effects if message is None else [*effects, Publish("published", message)]


class SilentRefusal(DualWriteService):
    """Tells nobody of a refusal."""

    __slots__ = ()

    def _back(self) -> Any:
        return super()._back() if self.undoing else None


class UndoesTheRefused(DualWriteService):
    """Sends a refusal to the step that was refused, and not to the one before."""

    __slots__ = ()

    def _back(self) -> Any:
        return super()._back() if self.undoing else self._event("step-refused", self.index)


class AnswersFirst(DualWriteService):
    __slots__ = ()

    def start(self, event: Any) -> Any:
        effects = super().start(event)
        return [Answer("accepted"), *effects] if isinstance(event, Request) else effects


class FailureIsRefusal(DualWriteService):
    """Takes a transient failure for a refusal."""

    __slots__ = ()

    def acted(self, done: Any) -> Any:
        return super().acted(replace(done, status="refused") if done.status == "failed" else done)


class SecondFailureIsSuccess(DualWriteService):
    """Takes a compensation that has failed twice for done."""

    __slots__ = ()

    def undone(self, done: Any) -> Any:
        return super().undone(replace(done, status="done") if self.attempt and done.status == "failed" else done)


class BacksOffOnce(DualWriteService):
    """Sets its timer after the first failure only."""

    __slots__ = ()

    def _wait(self, task: str = "") -> Any:
        effects = super()._wait(task)
        return effects[:-1] if self.attempt > 1 else effects


MUTANTS = (
    Mutant(
        "dual-write-never-acknowledges",
        "A consumer of a dual write never acknowledges.",
        Dual2(service=NeverAcknowledges),
        "non-blocking",
        {"participants": 2},
    ),
    Mutant(
        "acknowledged-and-dropped",
        "An event that arrives while another one is worked on is acknowledged and dropped.",
        Dual2(service=KeepsNoQueue, acknowledge="before"),
        "atomicity",
        {"participants": 2},
        DualWrite(acknowledge="before"),
    ),
    Mutant(
        "published-once",
        "An event whose publication has failed is omitted at once.",
        Dual2(service=PublishesOnce),
        "atomicity",
        {"participants": 2, "losses": 1},
        besides=_WORKED_ON_AGAIN,
    ),
    Mutant(
        "republished-once",
        "The timer of a publication is set for the first repetition only.",
        Dual2(service=RepublishesOnce, policies=Policies(publish_attempts=4)),
        "non-blocking",
        {"participants": 2, "losses": 2},
        DualWrite(policies=Policies(publish_attempts=4)),
        _WORKED_ON_AGAIN,
    ),
    Mutant(
        "published-twice",
        "An event is published twice, to consumers that do not deduplicate.",
        Dual2(service=PublishesTwice),
        "effect-once",
        {"participants": 2},
    ),
    Mutant(
        "dual-write-silent-refusal",
        "Nobody is told of a refusal.",
        Dual2(service=SilentRefusal),
        "atomicity",
        {"participants": 2},
    ),
    Mutant(
        "refusal-to-oneself",
        "A refusal is sent to the step that was refused, which is undone without having been done.",
        Dual2(service=UndoesTheRefused),
        "effect-once",
        {"participants": 1},
    ),
    Mutant(
        "accepted-before-written",
        "The client is told 'accepted' before the first local transaction.",
        Dual2(service=AnswersFirst),
        "truth",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "failure-behind-the-pivot-is-refusal",
        "A transient failure is taken for a refusal, behind the pivot as well, where nothing leads back.",
        Dual2(service=FailureIsRefusal),
        "non-blocking",
        {"participants": 2, "pivot": 0, "failures": 1},
    ),
    Mutant(
        "second-failure-is-success",
        "A compensation that has failed twice is taken for done.",
        Dual2(service=SecondFailureIsSuccess),
        "atomicity",
        {"participants": 2, "failures": 2},
    ),
    Mutant(
        "dual-write-backs-off-once",
        "The timer of a repetition is set after the first failure only.",
        Dual2(service=BacksOffOnce),
        "non-blocking",
        {"participants": 2, "failures": 2},
    ),
)
