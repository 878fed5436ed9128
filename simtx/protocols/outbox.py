"""Transactional outbox: each service commits its change, its inbox row and its outgoing event in one local transaction.

Law: an accepted transaction is, in the end, either done in all its steps or undone in all of them; no step takes effect twice; whatever
crashes, and however often the broker delivers. (It takes that every service and the broker come back some day.)

Theory of operation. The chain of `simtx.protocols.choreography`; per event one local transaction:

- The inbox row (tx, step, ``action`` or ``compensation``) refuses duplicates, so an event may come any number of times.
- The outgoing event is a row of the outbox, written in the same local transaction; `simtx.protocols.relay` publishes it later. So the
  event exists exactly if the change does. Two adjacent steps on one service go through the outbox like any others.
- The broker gets the acknowledgement only after the commit; a crash in between makes it deliver again, and the inbox row answers.
- A refusal is committed too, with the event that carries it back: a duplicate of the event cannot be judged otherwise later on.

A machine needs no memory between events and forgets itself after each: everything durable is in those rows. A local transaction that
fails (a lock timeout, say) is repeated by a timer with back-off, and not by the broker's redelivery: redelivery waits out the
acknowledgement timeout, which is sized for crashes and far longer than a lock conflict. What else arrives meanwhile can only be a copy
of an old event; it stays unacknowledged, so that the broker brings it again. A client's request that comes again finds the inbox row of step 0
and is answered as before. One that cannot be worked on is given up after `Policies.attempts`: the entry service stores that it refuses the
transaction, so that a late request for it cannot start it.

Parked: an event that cannot be worked on by repetition (a retriable step is refused; a compensation is refused or fails
`Policies.compensation_attempts` times; too many hops) goes to the node's log, is acknowledged, and raises an alert. It waits there, also through
crashes, for an operator: ``retry``, ``skip`` (treat the step as dealt with, send the event on) or ``resolve`` (dealt with by hand, nothing more is to happen).

Costs, failure-free, n steps: n forced writes and n - 1 events (n with `Outbox.closing`); refused at step k (from 1): 2k - 1 forced writes and
2k - 2 events. The relay's marks are lazy and not counted here.

Invariants: `origin` is what waits for the local transaction under way; a log record exists exactly while the machine is parked.

Known weakness: at-least-once delivery is made exactly-once by inbox rows, which must be kept longer than the longest redelivery; the client learns only that the request
is accepted; nobody knows the end, except with `closing`.

Source: Richardson, "Microservices Patterns", 2018, sections 3.3 (transactional outbox), 3.3.6 (duplicate messages) and 4.2 (choreography).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, get_args

from simtx.arguments import choice, flag, require
from simtx.protocols import on
from simtx.protocols.built_in import DEFAULT_POLICIES
from simtx.protocols.choreography import (
    FROM_CLIENT,
    NOBODY,
    ChainService,
    ChoreographyStrategy,
    accepted_event,
    chain_problem,
    is_point_of_no_return,
    requested_plan,
)
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Answer,
    Append,
    Branch,
    Decided,
    Delivery,
    Done,
    Effect,
    Forget,
    Message,
    Plan,
    Record,
    Request,
    Timer,
    Transact,
    Transition,
)
from simtx.protocols.policies import POLICIES, Policies
from simtx.protocols.relay import Reader, Relay

_FORGET: Final = Forget()


class OutboxService(ChainService):
    """One service's part in one choreographed transaction, for the time of one event.

    Args:
        node: The service.
        tx: The transaction.
        policies: Retries, and the limit of hops.
        closing: Whether the last service reports to the first that all is done.
        serial: Whether local transactions lock the outbox, so that rows are numbered in the order of commits.
    """

    __slots__ = ("closing", "serial")

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("acting",), "run step 0; inbox row and event in one local transaction"),
        on.delivery("idle", "step-done", "advance", ("acting", "parked"), "run the next step; too many hops: park"),
        on.delivery(
            "idle", "step-refused", "retreat", ("undoing", "parked"), "undo the step before; too many hops: park"
        ),
        on.delivery("idle", "completed", "close", ("finished",), "the chain is done"),
        on.request("idle", "retry", "nothing", ("finished",), "nothing is parked"),
        on.request("idle", "skip", "nothing", ("finished",), "nothing is parked"),
        on.request("idle", "resolve", "nothing", ("finished",), "nothing is parked"),
        on.done(
            "acting", "action", "acted", ("finished", "waiting", "parked"), "acknowledge or answer; failed: back off"
        ),
        on.done("acting", "give-up", "gave_up", ("finished", "waiting"), "the refusal is stored: answer aborted"),
        on.done("undoing", "compensation", "undone", ("finished", "waiting", "parked"), "acknowledge; else: back off"),
        on.timer("waiting", "backoff", "again", ("acting", "undoing"), "repeat"),
        on.request("waiting", "begin", "later", ("waiting",), "a copy"),
        on.delivery("waiting", "step-done", "later", ("waiting",), "the broker brings it again"),
        on.delivery("waiting", "step-refused", "later", ("waiting",), "the broker brings it again"),
        on.delivery("waiting", "completed", "later", ("waiting",), "the broker brings it again"),
        on.request("waiting", "retry", "later", ("waiting",), "it repeats by itself"),
        on.request("waiting", "skip", "later", ("waiting",), "it repeats by itself"),
        on.request("waiting", "resolve", "later", ("waiting",), "it repeats by itself"),
        on.request("parked", "retry", "retry", ("acting", "undoing"), "operator: repeat"),
        on.request("parked", "skip", "skip", ("settling",), "operator: let it go on"),
        on.request("parked", "resolve", "resolve", ("settling",), "operator: dealt with by hand"),
        on.request("parked", "begin", "later", ("parked",), "a copy"),
        on.delivery("parked", "step-done", "hold", ("parked",), "a copy of what is parked: acknowledge"),
        on.delivery("parked", "step-refused", "hold", ("parked",), "a copy of what is parked: acknowledge"),
        on.delivery("parked", "completed", "later", ("parked",), "the broker brings it again"),
        on.done("settling", "settled", "settled", ("finished", "parked"), "failed: stays parked"),
    )

    def __init__(
        self,
        node: str,
        tx: int,
        policies: Policies = DEFAULT_POLICIES,
        closing: bool = False,
        serial: bool = False,
    ) -> None:
        super().__init__(node, tx, policies)
        self.closing = closing
        self.serial = serial

    # --- events in --------------------------------------------------------------------------------------------------------------

    def begin(self, request: Request) -> list[Effect]:
        """The client's request, at the service of the first step."""
        self.plan = requested_plan(request.plan, self.node)
        self.origin = FROM_CLIENT
        return self._act()

    def advance(self, delivery: Delivery) -> list[Effect]:
        """The step before is done: run this one."""
        return self._take(delivery, undoing=False)

    def retreat(self, delivery: Delivery) -> list[Effect]:
        """The step behind is refused or undone: undo this one."""
        return self._take(delivery, undoing=True)

    def close(self, delivery: Delivery) -> list[Effect]:
        """The last step is done, and the entry service has the event that says so."""
        self.state = "finished"
        return [Acknowledge(delivery.id), _FORGET]

    def later(self, event: Request | Delivery) -> list[Effect]:  # noqa: ARG002
        """Leave it: a delivery without acknowledgement comes again."""
        return []

    def _take(self, delivery: Delivery, *, undoing: bool) -> list[Effect]:
        body = accepted_event(delivery, self.node)
        self.index, self.hops, _, self.plan = body
        self.undoing = undoing
        self.origin = delivery.id
        endless = self._too_many_hops()
        if endless:
            return self._park(endless)
        return self._undo() if undoing else self._act()

    # --- local transactions -----------------------------------------------------------------------------------------------------

    def _act(self) -> list[Effect]:
        self.state = "acting"
        index = self.index
        step = self._steps()[index]
        key, accepted = (self.tx, index, "action"), Branch("done", self._onward())
        # A retriable step must not be refused: nothing is stored, so that it can be repeated.
        refused = None if step.kind == "retriable" else Branch("refused", self._back())
        serial = self.serial
        return [Transact("action", step.operations, key, accepted, refused, steps=(index,), serial_outbox=serial)]

    def _undo(self) -> list[Effect]:
        self.state = "undoing"
        tx, index = self.tx, self.index
        step = self._steps()[index]
        accepted = Branch("undone", self._back())
        key, undoes = (tx, index, "compensation"), (tx, index, "action")
        return [
            Transact(
                "compensation",
                step.compensation,
                key,
                accepted,
                undoes=undoes,
                steps=(index,),
                compensation=True,
                serial_outbox=self.serial,
            )
        ]

    def _onward(self) -> tuple[Message, ...]:
        """The event that says that this step is done."""
        steps = self._steps()
        following = self.index + 1
        if following < len(steps):
            return (self._event("step-done", following),)
        return (self._event("completed", 0),) if self.closing else ()

    def _back(self) -> tuple[Message, ...]:
        """The event that says that this step is refused or undone."""
        return (self._event("step-refused", self.index - 1),) if self.index else ()

    # --- their ends -------------------------------------------------------------------------------------------------------------

    def acted(self, done: Done) -> list[Effect]:
        """The step's local transaction has ended."""
        status = done.status
        if status == "done":
            return self._conclude("done")
        if status == "duplicate":
            return self._conclude(done.value)
        if status == "failed":
            return self._back_off()
        if self._steps()[self.index].kind == "retriable":
            return self._park(self._refused_for_good())
        return self._conclude("refused")

    def gave_up(self, done: Done) -> list[Effect]:
        """The refusal of a request that could not be worked on is stored, unless a copy of the request was faster."""
        if done.status == "failed":
            return self._back_off()
        return self._conclude(done.value if done.status == "duplicate" else "refused")

    def _conclude(self, verdict: Any) -> list[Effect]:
        """The inbox row of the action is durable and says `verdict`."""
        self.state = "finished"
        effects: list[Effect] = []
        if verdict == "refused":
            effects.append(Decided("aborted"))
        elif verdict == "done" and is_point_of_no_return(self._steps(), self.index):
            effects.append(Decided("committed"))
        if self.origin >= 0:
            effects.append(Acknowledge(self.origin))
        elif self.origin == FROM_CLIENT:
            effects.append(
                Answer("accepted")
                if verdict == "done"
                else Answer("aborted", f"step '{self._steps()[0].name}' was {verdict}")
            )
        effects.append(_FORGET)
        return effects

    def undone(self, done: Done) -> list[Effect]:
        """The compensation's local transaction has ended."""
        if done.status == "done" or done.status == "duplicate":
            self.state = "finished"
            return [Acknowledge(self.origin), _FORGET] if self.origin >= 0 else [_FORGET]
        return self._back_off()

    # --- repetition -------------------------------------------------------------------------------------------------------------

    def _back_off(self) -> list[Effect]:
        limit = self.policies.compensation_attempts
        if self.undoing and limit is not None and self.attempt + 1 >= limit:
            return self._park(f"{self._what()}: refused or failed {self.attempt + 1} times")
        return self._wait()

    def again(self, timer: Timer) -> list[Effect]:  # noqa: ARG002
        """The back-off is over."""
        if self.undoing:
            return self._undo()
        if self.origin == FROM_CLIENT and self.attempt >= self.policies.attempts:
            self.state = "acting"
            refused = Branch("refused", self._back())
            return [Transact("give-up", (), (self.tx, 0, "action"), refused, serial_outbox=self.serial)]
        return self._act()

    # --- parking ----------------------------------------------------------------------------------------------------------------

    def _park(self, reason: str) -> list[Effect]:
        self.state = "parked"
        self.attempt = 0
        origin, self.origin = self.origin, NOBODY
        effects: list[Effect] = []
        if origin != NOBODY:  # else it was parked before: its record is durable
            effects.append(Append(("parked", reason, self.undoing, self.index, self.hops, self.plan)))
        if origin >= 0:
            effects.append(Acknowledge(origin))
        effects.append(Alert(reason, stuck=True))
        return effects

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Only a parked event has a record."""
        _, reason, self.undoing, self.index, self.hops, self.plan = records[-1]
        self.state = "parked"
        return [Alert(reason, stuck=True)]

    def hold(self, delivery: Delivery) -> list[Effect]:
        """Acknowledge a copy of what is parked; anything else has to come again."""
        same = (
            accepted_event(delivery, self.node).step == self.index and (delivery.kind == "step-refused") == self.undoing
        )
        return [Acknowledge(delivery.id)] if same else []

    def retry(self, request: Request) -> list[Effect]:  # noqa: ARG002
        """An operator has removed the cause: try again."""
        return self._undo() if self.undoing else self._act()

    def skip(self, request: Request) -> list[Effect]:  # noqa: ARG002
        """An operator has seen to this step: let the event go on."""
        return self._settle(Branch("skipped", self._back() if self.undoing else self._onward()))

    def resolve(self, request: Request) -> list[Effect]:  # noqa: ARG002
        """An operator has seen to the whole transaction: let nothing more happen."""
        return self._settle(Branch("resolved"))

    def _settle(self, accepted: Branch) -> list[Effect]:
        self.state = "settling"
        key = (self.tx, self.index, "compensation" if self.undoing else "action")
        return [Transact("settled", (), key, accepted, serial_outbox=self.serial)]

    def settled(self, done: Done) -> list[Effect]:
        """The operator's decision is stored."""
        if done.status == "failed":
            return self._park(f"{self._what()}: the operator's decision could not be stored; ask again")
        self.state = "finished"
        return [_FORGET]

    def nothing(self, request: Request) -> list[Effect]:
        """An operator asks for something that is over, or never was."""
        self.state = "finished"
        return [Alert(f"transaction {self.tx} on {self.node}: asked to {request.kind}, but nothing is parked"), _FORGET]


@dataclass(frozen=True, kw_only=True)
class Outbox(ChoreographyStrategy):
    """Choreography by transactional outbox, polling relay and inbox (Richardson 2018, chapter 3).

    Attributes:
        policies: Timeouts and retries; None: those of the scenario.
        closing: The last service sends one more event, ``completed``, back to the first.
        wake: The host wakes a node's relay (a timer event ``wake``) when a local transaction has committed outbox rows; polling stays
            as the safety net. Without it an event waits for the next poll.
        reader: How the relay knows which rows are new: ``marks``, ``horizon`` or ``lock``; see `simtx.protocols.relay`.
    """

    closing: bool = False
    wake: bool = False
    reader: Reader = "marks"

    name: ClassVar[str] = "outbox"
    label: ClassVar[str] = "transactional outbox"
    asks: ClassVar = ("Transact", "Publish", "Acknowledge", "ReadOutbox", "MarkOutbox")
    recognises_requests: ClassVar[bool] = True  # by the inbox row of the first step

    def __post_init__(self) -> None:
        require(flag, self.closing, "closing", "Outbox")
        require(flag, self.wake, "wake", "Outbox")
        require(POLICIES, self.policies, "policies", "Outbox")
        require(choice(*get_args(Reader)), self.reader, "reader", "Outbox")

    @property
    def wake_on_commit(self) -> bool:
        """Return whether the host wakes the daemons of a node after a commit that wrote outbox rows."""
        return self.wake

    def machine(self, node: str, tx: int) -> OutboxService:
        """A blank machine of one service."""
        return OutboxService(node, tx, self.policies or DEFAULT_POLICIES, self.closing, self.reader == "lock")

    def daemons(self, node: str) -> Iterable[Relay]:
        """The relay of this service's outbox."""
        return (Relay(node, self.policies or DEFAULT_POLICIES, self.reader),)

    def check(self, plan: Plan) -> str | None:
        """One line that says why this plan cannot be played as a chain, or None."""
        return chain_problem(plan, self.policies or DEFAULT_POLICIES, closing=self.closing)
