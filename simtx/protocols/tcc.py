"""Try-Confirm-Cancel: every service reserves what it will need, and then all reservations are used, or all are released.

**Law.** Either every reservation is confirmed and the client's answer is ``committed``, or every one is cancelled and the answer is ``aborted``. This
holds whatever is lost, doubled, reordered or late, and wherever a node crashes. Confirm and Cancel cannot be refused.

**Sources.** P. Helland, "Life beyond Distributed Transactions: an Apostate's Opinion", CIDR 2007 (tentative operations, confirmation, cancellation);
G. Pardon, C. Pautasso, "Atomic Distributed Transactions: a RESTful Design", WWW 2014 (Try-Cancel/Confirm); Seata and DTM for the fence of the participants.

**Theory of operation.** It is two-phase commit of the business: where a database would prepare a branch and keep its locks, a service commits a reservation. The
coordinator forces a ``begin`` record with all branches, and sends TRY to every service at once. When all have reserved, it forces ``confirm``, which is the decision,
answers the client, and sends CONFIRM until all have confirmed. A refusal, or an answer that does not come in time, decides for cancel: it answers the client, and sends
CANCEL until all that may have reserved something have cancelled, those included that have not answered. What is reserved how, and the fence that makes late, doubled and
overtaken commands harmless, is in `simtx.protocols.tcc_participant`.

*No confirm record means cancel.* So the record of a cancel need not be forced; but unlike a presumed abort a cancel has to be carried out: nobody else will release the
reservations. That is what the ``begin`` record is for.

**Against two-phase commit.** No lock is held between the phases: others work on the same rows meanwhile, with what is left of them. While the coordinator is away,
reservations stay, and locks do not. The price is a business that can reserve, and one more forced write.

**Against a saga.** Nobody sees, or builds on, an effect that will be undone: what is given is given with Confirm only. All branches are tried at once, whatever the order of the
steps.

**Invariants.**

1. TRY leaves only behind the durable ``begin`` record; CONFIRM and the client's ``committed`` only behind the durable ``confirm`` record.
2. CONFIRM is sent only when every branch has reserved; no CANCEL is sent then, and no CONFIRM after a CANCEL.
3. The coordinator forgets only when every reservation is confirmed, or every branch that may have reserved has cancelled.

**Costs**, N branches that write: committed 4N messages and 2N + 2 forced writes; refused by K of them 4N - 2K messages and 2N - K + 1 forced writes, as a refusal is stored. The client
is answered after 2d + 3w. A branch that only reads takes two messages and no forced write; if all do, nothing is logged.

**Known weaknesses.** A reservation of a coordinator that does not come back is never released. Confirm and Cancel are repeated for ever, with an alert. In the figures a step takes effect with
its Try, so that the window of inconsistency lasts from the first reservation to the last Confirm; Confirm takes a forced write, but no service time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from simtx.arguments import require
from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing
from simtx.protocols.built_in import DEFAULT_POLICIES, BuiltIn
from simtx.protocols.commit_machine import (
    ABORTED,
    ANSWER_COMMITTED,
    CANCEL_ACKNOWLEDGEMENT,
    COMMITTED,
    LAZY_END,
    CommitMachine,
    Work,
    work_of,
)
from simtx.protocols.contract import (
    Alert,
    Answer,
    Append,
    CancelTimer,
    Effect,
    Machine,
    Message,
    Plan,
    Promise,
    Record,
    Request,
    SetTimer,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.names import COORDINATOR
from simtx.protocols.operations import writes
from simtx.protocols.policies import POLICIES, Policies
from simtx.protocols.tcc_participant import TccParticipant

__all__ = ["TccCoordinator", "TccParticipant", "TryConfirmCancel"]

_CONFIRM: Final = Append(("confirm",))
_LAZY_CANCEL: Final = Append(("cancel",), forced=False)
_CANCEL_TRIES: Final = CancelTimer("tries")


class TccCoordinator(CommitMachine):
    """Has every branch tried, decides, and repeats Confirm or Cancel until every reservation has ended.

    Its records are ``("begin", ((service, operations, steps), ...))`` of the branches that write, and ``("confirm",)``, both forced; ``("cancel",)`` and
    ``("end",)`` are lazy.

    Attributes:
        work: Operations and steps of each service.
        pending: Services that have not answered TRY.
        held: Services with a reservation that has to be ended, or that may have one.
    """

    __slots__ = ("held", "pending", "work")

    role: ClassVar[str] = "coordinator"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("trying",), "force begin, TRY to all"),
        on.message(
            "trying",
            "tried",
            "take_tried",
            ("trying", "confirming", "finished"),
            "count; the last one: force confirm, answer, CONFIRM",
        ),
        on.message(
            "trying",
            "refused",
            "take_refused",
            ("cancelling", "finished"),
            "lazy cancel, answer, CANCEL to those that have reserved",
        ),
        on.message("trying", "failed", "take_failed", ("cancelling", "finished"), "lazy cancel, answer, CANCEL"),
        on.timer(
            "trying", "tries", "miss_tries", ("cancelling", "finished"), "too late: lazy cancel, answer, CANCEL to all"
        ),
        on.message("confirming", "confirmed", "take_ended", ("confirming", "finished"), "count; the last one: end"),
        on.timer("confirming", "acknowledgement", "repeat", ("confirming",), "CONFIRM again, for ever"),
        on.message("cancelling", "tried", "cancel_late", ("cancelling",), "CANCEL to it, too"),
        on.message("cancelling", "failed", "cancel_late", ("cancelling",), "CANCEL to it, too"),
        on.message("cancelling", "refused", "drop_late", ("cancelling", "finished"), "nothing to cancel there"),
        on.message("cancelling", "cancelled", "take_ended", ("cancelling", "finished"), "count; the last one: end"),
        on.timer("cancelling", "acknowledgement", "repeat", ("cancelling",), "CANCEL again, for ever"),
    )
    bodies: ClassVar[Mapping[str, Form]] = dict.fromkeys(
        ("tried", "refused", "failed", "confirmed", "cancelled"), nothing
    )
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"tried", "refused", "failed", "confirmed", "cancelled"}),
        "trying": frozenset({"begin"}),
        "confirming": frozenset({"begin", "tried", "refused", "failed"}),
        "cancelling": frozenset({"begin"}),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.work: dict[str, Work] = {}
        self.pending: list[str] = []
        self.held: list[str] = []

    # --- trying --------------------------------------------------------------------------------------------------------------

    def begin(self, event: Request) -> list[Effect]:
        """Record who will have to be asked in the end, then have all of them reserve."""
        self.work = work_of(event)
        self.pending = [*self.work]
        self.held = [service for service, (operations, _) in self.work.items() if writes(operations)]
        self.state = "trying"
        effects: list[Effect] = []
        if self.held:
            effects.append(Append(("begin", tuple((service, *self.work[service]) for service in self.held))))
        effects += [self.command("try", service) for service in self.pending]
        effects.append(SetTimer("tries", self.policies.vote_timeout))
        return effects

    def command(self, kind: str, service: str) -> Message:
        """A command carries the operations: a participant keeps nothing but its rows."""
        return self.send(service, kind, self.work[service])

    def first_answer(self, sender: str) -> bool:
        """Return whether this is the first answer of a service to TRY; another one is a late copy.

        Raises:
            PeerFault: The sender does not take part in the transaction.
        """
        if sender in self.pending:
            self.pending.remove(sender)
            return True
        if self.state == "trying" and sender not in self.work:  # a restarted coordinator does not know who only reads
            raise self.stranger(sender, "answers in")
        return False

    def take_tried(self, event: Message) -> list[Effect]:
        """Count; when all have reserved, that is it."""
        if not self.first_answer(event.sender) or self.pending:
            return []
        if not self.held:
            return self.over(COMMITTED, ANSWER_COMMITTED, _CANCEL_TRIES)
        self.state = "confirming"
        # The forced record is the decision. It is sent to nobody, the client included, before it is durable.
        return [_CONFIRM, COMMITTED, ANSWER_COMMITTED, *self.end("confirm", self.held), _CANCEL_TRIES]

    def take_refused(self, event: Message) -> list[Effect]:
        """One refusal decides; it is stored there, so that nothing has to be cancelled."""
        if not self.first_answer(event.sender):
            return []
        self.release(event.sender)
        return self.cancel(f"refused by {event.sender}", self.answered())

    def take_failed(self, event: Message) -> list[Effect]:
        """Cancel this service, too: nothing was reserved, and nothing stored, but a late copy of TRY could still reserve."""
        if not self.first_answer(event.sender):
            return []
        return self.cancel(f"failed at {event.sender}", self.answered())

    def miss_tries(self, _event: Timer) -> list[Effect]:
        """Cancel everywhere when it has lasted too long, where nobody has answered as well."""
        late = [*self.pending]
        self.pending = []
        effects = self.cancel("no answer of " + ", ".join(late), self.held)
        suspects = [Suspect(service) for service in late]
        return [*suspects, *effects]

    def answered(self) -> list[str]:
        """Services with a reservation that have answered; the others are cancelled when they do, or when the time is over."""
        return [service for service in self.held if service not in self.pending]

    def release(self, service: str) -> None:
        """Note that this service has no reservation, and will have none."""
        if service in self.held:
            self.held.remove(service)

    # --- ending --------------------------------------------------------------------------------------------------------------

    def cancel(self, reason: str, now: Iterable[str]) -> list[Effect]:
        """Tell the client, and begin to cancel."""
        effects: list[Effect] = [_LAZY_CANCEL, ABORTED, Answer("aborted", reason)]
        if not self.held:
            return self.over(*effects, _CANCEL_TRIES)
        self.state = "cancelling"
        return [*effects, *self.end("cancel", now), _CANCEL_TRIES]

    def end(self, kind: str, services: Iterable[str]) -> list[Effect]:
        """Send CONFIRM or CANCEL, and wait for the answers."""
        effects: list[Effect] = [self.command(kind, service) for service in services]
        effects.append(self.timer("acknowledgement", self.policies.acknowledgement_timeout))
        return effects

    def cancel_late(self, event: Message) -> list[Effect]:
        """A first answer that came after the decision: what it has reserved, or may reserve, is cancelled."""
        if not self.first_answer(event.sender) or event.sender not in self.held:
            return []
        return [self.command("cancel", event.sender)]

    def drop_late(self, event: Message) -> list[Effect]:
        """A first answer that came after the decision: there is nothing to cancel."""
        if not self.first_answer(event.sender):
            return []
        self.release(event.sender)
        return self.close()

    def take_ended(self, event: Message) -> list[Effect]:
        """A reservation has ended; after the last one nobody will ever ask again."""
        if event.sender not in self.held:
            if event.sender not in self.work:
                raise self.stranger(event.sender, "answers in")
            return []
        self.held.remove(event.sender)
        return self.close()

    def close(self) -> list[Effect]:
        """Forget when every reservation has ended."""
        if self.held:
            return []
        return self.over(CANCEL_ACKNOWLEDGEMENT, LAZY_END)

    def repeat(self, _event: Timer) -> list[Effect]:
        """Send CONFIRM or CANCEL again, for ever, also to those that have not answered TRY: a reservation cannot be left alone."""
        effects: list[Effect] = [Suspect(service) for service in self.held]
        self.pending = []
        kind = "confirm" if self.state == "confirming" else "cancel"
        if self.count_attempt():
            effects.append(Alert(f"no answer to {kind} of {', '.join(self.held)} after {self.attempt} attempts"))
        return effects + self.end(kind, self.held)

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Confirm if the record says so, else cancel; the client gets its answer again, as the crash may have come before the first answer."""
        if not records:
            return []
        kinds = {record[0] for record in records}
        if "end" in kinds or records[0][0] != "begin":
            return self.over()
        branches: Sequence[Any] = records[0][1]
        self.work = {service: (tuple(operations), tuple(steps)) for service, operations, steps in branches}
        self.held = [*self.work]
        if "confirm" in kinds:
            self.state = "confirming"
            return [COMMITTED, ANSWER_COMMITTED, *self.end("confirm", self.held)]
        self.state = "cancelling"
        return [ABORTED, Answer("aborted", "the coordinator was restarted"), *self.end("cancel", self.held)]


@dataclass(frozen=True, kw_only=True)
class TryConfirmCancel(BuiltIn):
    """Try-Confirm-Cancel: a strategy (`simtx.protocols.contract.Strategy`).

    Attributes:
        policies: Timeouts; None: the scenario's.
    """

    policies: Policies | None = None

    name: ClassVar[str] = "tcc"
    promise: ClassVar[Promise] = "decided"
    uses_broker: ClassVar[bool] = False
    hub: ClassVar[str] = COORDINATOR
    label: ClassVar[str] = "Try-Confirm-Cancel"
    timeouts: ClassVar = ("vote_timeout", "acknowledgement_timeout")
    asks: ClassVar = ("Transact",)
    exempt: ClassVar = ("undo-order",)
    reserves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(POLICIES, self.policies, "policies", "TryConfirmCancel")

    def machine(self, node: str, tx: int) -> Machine:
        """A blank coordinator or participant."""
        return (
            TccCoordinator(node, tx, self.policies or DEFAULT_POLICIES)
            if node == COORDINATOR
            else TccParticipant(node, tx)
        )

    def check(self, plan: Plan) -> str | None:
        """Every plan can be played whose steps can be reserved; no service may be called like the coordinator."""
        if not plan.steps:
            return "the transaction has no steps; Try-Confirm-Cancel needs at least one"
        if COORDINATOR in plan.services():
            return f"a service is named '{COORDINATOR}', which Try-Confirm-Cancel needs for its coordinator: give the service another name"
        for step in plan.steps:
            if any(one.kind == "set" for one in step.operations):
                return f"step '{step.name}' overwrites a value, which cannot be reserved: add to it or take from it instead"
        return None
