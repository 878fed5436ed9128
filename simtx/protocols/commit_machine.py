"""The shared part of machines that commit or abort: coordinators and participants of two-phase commit, Paxos Commit, log-once votes and Try-Confirm-Cancel."""

from __future__ import annotations

from typing import ClassVar, Final, TypeAlias

from simtx.errors import PeerFault, ProtocolViolation
from simtx.protocols.contract import (
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Effect,
    Event,
    Forget,
    Machine,
    Message,
    Operation,
    Request,
    Rollback,
    SetTimer,
    Timer,
)
from simtx.protocols.policies import Policies

# Effects without fields of their own are made once: nobody changes an effect after it was made.
FORGET: Final = Forget()
COMMIT: Final = Commit()
ROLLBACK: Final = Rollback()
COMMITTED: Final = Decided("committed")
ABORTED: Final = Decided("aborted")
ANSWER_COMMITTED: Final = Answer("committed")
ANSWER_ABORTED: Final = Answer("aborted")
LAZY_ABORT: Final = Append(("abort",), forced=False)
LAZY_END: Final = Append(("end",), forced=False)
CANCEL_VOTE: Final = CancelTimer("vote")
CANCEL_ACKNOWLEDGEMENT: Final = CancelTimer("acknowledgement")

Work: TypeAlias = tuple[tuple[Operation, ...], tuple[int, ...]]
"""Operations of one service, and the numbers of their steps."""


def work_of(request: Request, *, least: int = 1) -> dict[str, Work]:
    """Operations and steps of each service, in the order of their first steps.

    Args:
        request: What begins the transaction.
        least: How many steps it has at least.

    Raises:
        ProtocolViolation: There is no plan, or none with so many steps.
    """
    plan = request.plan
    if plan is None or len(plan.steps) < least:
        steps = " with steps" if least else ""
        raise ProtocolViolation(f"the request that begins transaction {request.tx} carries no plan{steps}")
    work: dict[str, Work] = {}
    for step in plan.steps:
        operations, steps_so_far = work.get(step.service, ((), ()))
        work[step.service] = ((*operations, *step.operations), (*steps_so_far, step.index))
    return work


class CommitMachine(Machine):
    """A machine that asks again until it has an answer, and to which late copies of messages mean nothing.

    Attributes:
        policies: Timeouts.
        attempt: How often it has asked again.
    """

    __slots__ = ("attempt", "policies")

    initial: ClassVar[str] = "idle"
    #: Late copies of messages, and timers that fired while they were being cancelled: legal, and without meaning in these states.
    stale: ClassVar[dict[str, frozenset[str]]] = {}

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        # As in `Machine`, without a call: one is made for every transaction on every node.
        self.node = node
        self.tx = tx
        self.state = self.initial
        self.policies = policies
        self.attempt = 0

    def send(self, to: str, kind: str, body: object = None) -> Message:
        """A message of this transaction."""
        return Message(kind, self.tx, self.node, to, body)

    def over(self, *last: Effect) -> list[Effect]:
        """The last effects of this machine: it is finished, and behind them it forgets itself."""
        self.state = "finished"
        return [*last, FORGET]

    def forget(self, _event: Event) -> list[Effect]:
        """End here: the note in the table says why nothing is left to do."""
        return self.over()

    def timer(self, kind: str, delay: float) -> SetTimer:
        """A timer that is due after some seconds, and a random time on top which grows with every attempt."""
        return SetTimer(kind, delay, self.policies.backoff.bound(self.attempt))

    def count_attempt(self) -> bool:
        """Count one more attempt: whether an operator has to know."""
        self.attempt += 1
        return self.attempt == self.policies.alert_after

    def stranger(self, name: str, does: str) -> PeerFault:
        """The error about a sender that does not take part; `does`: what it does."""
        return PeerFault(f"'{name}' {does} transaction {self.tx}, in which it has no part")

    def unexpected(self, event: Event) -> list[Effect]:
        """Ignore late copies; refuse what no correct peer and no correct host causes."""
        if isinstance(event, Timer) or event.kind in self.stale.get(self.state, ()):
            return [FORGET] if self.state == self.initial else []
        if isinstance(event, Message):
            return super().unexpected(event)
        raise ProtocolViolation(
            f"{self.role} of transaction {self.tx} on {self.node}: no '{event.kind}' is expected in state '{self.state}'"
        )
