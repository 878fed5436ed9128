"""Three-phase commit (Skeen, 1981) in a network that it is not made for.

With bounded delays and no partitions, its timeouts make it non-blocking: who has promised and hears nothing aborts, who knows that all have
promised and hears nothing commits. In an asynchronous network a message may be late, and the two rules meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simtx.protocols import (
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Forget,
    Message,
    Plan,
    Policies,
    Prepare,
    Rollback,
    SetTimer,
    Transition,
)
from simtx.protocols.contract import Machine

from .catalogue import Mutant

HUB = "coordinator"


class Coordinator3(Machine):
    __slots__ = ("participants", "pending")
    role: ClassVar[str] = "coordinator"
    initial: ClassVar[str] = "idle"
    transitions = (
        Transition("idle", "begin", "begin", ("voting",)),
        Transition("voting", "yes", "take_yes", ("voting", "precommitted")),
        Transition("voting", "no", "abort", ("finished",)),
        Transition("voting", "patience", "abort", ("finished",)),
        Transition("precommitted", "ready", "take_ready", ("precommitted", "finished")),
        Transition("precommitted", "patience", "commit", ("finished",)),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.participants: tuple[str, ...] = ()
        self.pending: list[str] = []

    def tell(self, kind: str) -> list[Any]:
        return [Message(kind, self.tx, self.node, service) for service in self.participants]

    def begin(self, request: Any) -> Any:
        self.state = "voting"
        self.participants = request.plan.services()
        self.pending = [*self.participants]
        steps = request.plan.steps
        return [
            *(Message("can-commit", self.tx, self.node, one.service, (one.operations, (one.index,))) for one in steps),
            SetTimer("patience", 1.0),
        ]

    def take_yes(self, event: Any) -> Any:
        self.pending = [one for one in self.pending if one != event.sender]
        if self.pending:
            return []
        self.state = "precommitted"
        self.pending = [*self.participants]
        return [Append(("precommit", *self.participants)), *self.tell("pre-commit"), SetTimer("patience", 1.0)]

    def take_ready(self, event: Any) -> Any:
        self.pending = [one for one in self.pending if one != event.sender]
        return [] if self.pending else self.commit(event)

    def commit(self, event: Any) -> Any:
        self.state = "finished"
        return [
            Append(("commit",)),
            Decided("committed"),
            Answer("committed"),
            *self.tell("do-commit"),
            CancelTimer("patience"),
            Forget(),
        ]

    def abort(self, event: Any) -> Any:
        self.state = "finished"
        return [Decided("aborted"), Answer("aborted"), *self.tell("abort"), CancelTimer("patience"), Forget()]

    def unexpected(self, event: Any) -> Any:
        return [Forget()] if self.state == "idle" else []


class Participant3(Machine):
    __slots__ = ("coordinator",)
    role: ClassVar[str] = "participant"
    initial: ClassVar[str] = "idle"
    transitions = (
        Transition("idle", "can-commit", "prepare", ("preparing",)),
        Transition("preparing", "prepared", "vote", ("waiting", "finished")),
        Transition("waiting", "pre-commit", "precommit", ("precommitted",)),
        Transition("waiting", "abort", "abort", ("finished",)),
        Transition("waiting", "patience", "abort", ("finished",), "nobody can have committed yet: abort"),
        Transition("precommitted", "do-commit", "commit", ("finished",)),
        Transition("precommitted", "patience", "commit", ("finished",), "everybody has promised: commit"),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.coordinator = ""

    def prepare(self, event: Any) -> Any:
        self.state = "preparing"
        self.coordinator = event.sender
        operations, steps = event.body
        return [Prepare("prepared", operations, ("prepared",), (self.tx, "branch"), steps)]

    def vote(self, done: Any) -> Any:
        if done.status != "done":
            self.state = "finished"
            return [Message("no", self.tx, self.node, self.coordinator), Forget()]
        self.state = "waiting"
        return [Message("yes", self.tx, self.node, self.coordinator), SetTimer("patience", 1.0)]

    def precommit(self, event: Any) -> Any:
        self.state = "precommitted"
        return [Message("ready", self.tx, self.node, self.coordinator), SetTimer("patience", 1.0)]

    def commit(self, event: Any) -> Any:
        self.state = "finished"
        return [Commit(), Forget()]

    def abort(self, event: Any) -> Any:
        self.state = "finished"
        return [Rollback(forced=True), Forget()]

    def unexpected(self, event: Any) -> Any:
        return [Forget()] if self.state == "idle" else []


@dataclass(frozen=True, kw_only=True)
class ThreePhaseCommit:
    """A user's own strategy, as small as one can be."""

    policies: Policies | None = None
    name: ClassVar[str] = "3pc"
    promise: ClassVar[str] = "decided"
    uses_broker: ClassVar[bool] = False
    hub: ClassVar[str] = HUB

    def entry(self, plan: Plan) -> str:
        return HUB

    def machine(self, node: str, tx: int) -> Machine:
        return Coordinator3(node, tx) if node == HUB else Participant3(node, tx)

    def daemons(self, node: str) -> tuple[Machine, ...]:
        return ()

    def check(self, plan: Plan) -> str | None:
        return None


MUTANTS = (
    Mutant(
        "3pc-late-precommit",
        "Three-phase commit: a participant aborts on a timeout while PRE-COMMIT is on its way.",
        ThreePhaseCommit(),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "3pc-interrupted-precommit",
        "Three-phase commit: the coordinator crashes between two PRE-COMMITs; who has got it commits, who has not aborts.",
        ThreePhaseCommit(),
        "agreement",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "3pc-lost-precommit",
        "Three-phase commit: PRE-COMMIT is lost; the coordinator commits when its patience ends, the participant aborts.",
        ThreePhaseCommit(),
        "atomicity",
        {"participants": 1, "losses": 1},
    ),
)
