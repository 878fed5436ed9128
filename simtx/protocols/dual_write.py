"""Dual write: the naive baseline, which writes to the database and to the broker one after the other.

Law: none. Neither "nothing lost" nor "nothing doubled" nor "all or nothing" holds; that is what this baseline is there to show. Without
crashes, without copies from the broker and while it can be reached, ``db-first`` ends consistent, which is why it is written so often.

Theory of operation. The chain of `simtx.protocols.choreography`, with no inbox and no outbox. In `DualWrite.order` ``db-first`` a service

1. commits its step in a local transaction without an idempotency key,
2. publishes the next event with the broker's client library and waits for the confirmation, repeating up to `Policies.publish_attempts` times,
3. acknowledges the event that it came from, or answers the client ("accepted").

- A crash between 1 and the broker's receipt is an **omission**: the step is done and no event says so. At the entry service nothing
  can repeat the request. Further on it depends on `DualWrite.acknowledge`: ``before`` (acknowledged on arrival) loses the rest of the
  transaction; ``after`` (acknowledged in 3) makes the broker deliver again, and the step takes effect **twice**.
- When the broker takes no message in all attempts, the service logs an error (an alert) and goes on: an omission as well. When the broker's
  confirmation got lost, the repetition is a copy of the event, and all that follows happens twice.

``broker-first`` publishes before the local transaction. A crash in between, or a step that turns out to be refused, leaves a **ghost**: an
event about a change that never came about. A refusal is passed back, but the ghost goes on meanwhile, with no crash needed.

Further naive habits: a refusal is stored nowhere; a compensation does not check whether its step had taken effect; a copy of the client's
request runs again; a compensation that cannot be done in `Policies.compensation_attempts` is dropped with an alert.
What is not naive: a local transaction that fails (a lock timeout) is repeated with back-off, and events that arrive while the machine is
busy wait their turn.

Costs, failure-free, n steps: n forced writes, n - 1 events; refused at step k (from 1): 2k - 2 forced writes, 2k - 2 events.

The oracle, with crashes at a constant rate and a gap (seconds between the commit and the broker's receipt): omissions per hop are
P(crash in the gap) = 1 - exp(-rate * gap).

Source: Richardson, "Microservices Patterns", 2018, section 3.3 (why publishing after the commit is not reliable); NServiceBus calls
the two failures "zombie record" (omission) and "ghost message".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from simtx.arguments import require
from simtx.errors import ScenarioError
from simtx.protocols import on
from simtx.protocols.built_in import DEFAULT_POLICIES
from simtx.protocols.choreography import (
    FROM_CLIENT,
    ChainService,
    ChoreographyStrategy,
    accepted_event,
    is_point_of_no_return,
    requested_plan,
)
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Answer,
    Decided,
    Delivery,
    Done,
    Effect,
    Forget,
    Message,
    Publish,
    Request,
    SetTimer,
    Timer,
    Transact,
    Transition,
)
from simtx.protocols.policies import POLICIES, Policies

Order: TypeAlias = Literal["db-first", "broker-first"]
AcknowledgeWhen: TypeAlias = Literal["after", "before"]


class DualWriteService(ChainService):
    """One service's part in one transaction, for as long as there are events to work on.

    Args:
        node: The service.
        tx: The transaction.
        policies: Attempts and back-off.
        order: Which of the two writes comes first.
        acknowledge: Whether a delivery is acknowledged after the work or on arrival.
    """

    __slots__ = ("acknowledge", "order", "outgoing", "queue", "refused")

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "start", ("writing", "announcing"), "run step 0"),
        on.delivery(
            "idle",
            "step-done",
            "start",
            ("writing", "announcing", "finished"),
            "run the next step; too many hops: alert",
        ),
        on.delivery(
            "idle",
            "step-refused",
            "start",
            ("writing", "announcing", "finished"),
            "undo the step before; too many hops: alert",
        ),
        on.done(
            "announcing",
            "published",
            "announced",
            ("writing", "announcing", "finished"),
            "broker-first: now the local transaction",
        ),
        on.timer("announcing", "republish", "republish", ("announcing",), "broker-first: publish again"),
        on.done(
            "writing",
            "action",
            "acted",
            ("publishing", "waiting", "finished", "writing", "announcing"),
            "done: publish; failed: back off",
        ),
        on.done(
            "writing",
            "compensation",
            "undone",
            ("publishing", "waiting", "finished", "writing", "announcing"),
            "done: publish; else: back off",
        ),
        on.timer("waiting", "backoff", "again", ("writing",), "repeat"),
        on.done(
            "publishing",
            "published",
            "published",
            ("publishing", "finished", "writing", "announcing"),
            "acknowledge or answer; failed: back off",
        ),
        on.timer("publishing", "republish", "republish", ("publishing",), "publish again"),
        *(
            sort(state, event, "enqueue", (state,), "wait its turn")
            for state in ("announcing", "waiting", "publishing")
            for sort, event in ((on.request, "begin"), (on.delivery, "step-done"), (on.delivery, "step-refused"))
        ),
        *(
            on.request(state, event, "nothing", ("finished" if state == "idle" else state,), "nothing is ever parked")
            for state in ("idle", "announcing", "waiting", "publishing")
            for event in ("retry", "skip", "resolve")
        ),
    )

    def __init__(
        self,
        node: str,
        tx: int,
        policies: Policies = DEFAULT_POLICIES,
        order: Order = "db-first",
        acknowledge: AcknowledgeWhen = "after",
    ) -> None:
        super().__init__(node, tx, policies)
        self.order = order
        self.acknowledge = acknowledge
        self.refused = False
        self.outgoing: Message | None = None
        self.queue: tuple[Request | Delivery, ...] = ()

    # --- events in --------------------------------------------------------------------------------------------------------------

    def start(self, event: Request | Delivery) -> list[Effect]:
        """Work on an event at once."""
        return [*self._on_arrival(event), *self._take(event)]

    def enqueue(self, event: Request | Delivery) -> list[Effect]:
        """Keep an event until the one before is finished; the same delivery once more is no news."""
        if type(event) is Delivery:
            accepted_event(event, self.node)
            if event.id == self.origin or any(type(other) is Delivery and other.id == event.id for other in self.queue):
                return []
        self.queue = (*self.queue, event)
        return self._on_arrival(event)

    def nothing(self, request: Request) -> list[Effect]:
        """An operator asks for an intervention; nothing waits for one here."""
        alert = Alert(f"transaction {self.tx} on {self.node}: asked to {request.kind}, but a dual write parks nothing")
        if self.state != "idle":
            return [alert]
        self.state = "finished"
        return [alert, Forget()]

    def _on_arrival(self, event: Request | Delivery) -> list[Effect]:
        return [Acknowledge(event.id)] if type(event) is Delivery and self.acknowledge == "before" else []

    def _take(self, event: Request | Delivery) -> list[Effect]:
        self.attempt = 0
        self.refused = False
        if type(event) is Delivery:
            self.index, self.hops, _, self.plan = accepted_event(event, self.node)
            self.undoing = event.kind == "step-refused"
            self.origin = event.id
        elif type(event) is Request:
            self.plan = requested_plan(event.plan, self.node)
            self.index = self.hops = 0
            self.undoing = False
            self.origin = FROM_CLIENT
        endless = self._too_many_hops()
        if endless:
            return [Alert(endless, stuck=True), *self._finish()]
        self.outgoing = (self._back() if self.undoing else self._onward()) if self.order == "broker-first" else None
        if self.outgoing is None:
            return self._write()
        self.state = "announcing"
        return [Publish("published", self.outgoing)]

    # --- the local transaction --------------------------------------------------------------------------------------------------

    def _write(self) -> list[Effect]:
        self.state = "writing"
        step = self._steps()[self.index]
        if self.undoing:
            return [Transact("compensation", step.compensation, steps=(self.index,), compensation=True)]
        return [Transact("action", step.operations, steps=(self.index,))]

    def acted(self, done: Done) -> list[Effect]:
        """The step's local transaction has ended."""
        steps = self._steps()
        if done.status == "failed":
            if self.origin != FROM_CLIENT or self.attempt + 1 < self.policies.attempts:
                return self._wait()
            self.refused = True
            return self._finish()
        if done.status == "refused":
            if steps[self.index].kind == "retriable":
                return [Alert(self._refused_for_good(), stuck=True), *self._finish()]
            self.refused = True
            return self._tell(self._back())
        decided = [Decided("committed")] if is_point_of_no_return(steps, self.index) else []
        return [*decided, *self._tell(self._onward() if self.order == "db-first" else None)]

    def undone(self, done: Done) -> list[Effect]:
        """The compensation's local transaction has ended."""
        limit = self.policies.compensation_attempts
        if done.status == "done":
            return self._tell(self._back() if self.order == "db-first" else None)
        if limit is not None and self.attempt + 1 >= limit:
            return [Alert(f"{self._what()}: refused or failed {limit} times, dropped", stuck=True), *self._finish()]
        return self._wait()

    def again(self, timer: Timer) -> list[Effect]:  # noqa: ARG002
        """The back-off is over."""
        return self._write()

    # --- the broker -------------------------------------------------------------------------------------------------------------

    def _tell(self, message: Message | None) -> list[Effect]:
        """Publish after the local transaction, if there is anything to publish."""
        if message is None:
            return self._finish()
        self.state = "publishing"
        self.attempt = 0
        self.outgoing = message
        return [Publish("published", message)]

    def published(self, done: Done) -> list[Effect]:
        """The broker has confirmed, or not: then try again a few times, and go on as if nothing had happened."""
        if done.status == "done":
            return self._finish()
        later = self._republish_later()
        if later is not None:
            return later
        self.refused = False  # no event will say so: it is not an outcome
        return [self._unpublished("omitted"), *self._finish()]

    def announced(self, done: Done) -> list[Effect]:
        """Broker-first: the event is out, or it is not; then nothing is written and the event is left to redelivery."""
        if done.status == "done":
            self.attempt = 0
            return self._write()
        later = self._republish_later()
        if later is not None:
            return later
        alert = self._unpublished("nothing done")
        if self.origin != FROM_CLIENT:
            return [alert, *self._next()]
        self.refused = True
        return [alert, *self._finish()]

    def _republish_later(self) -> list[Effect] | None:
        """The timer until the next attempt; None: that was the last one."""
        attempt = self.attempt
        self.attempt = attempt + 1
        if self.attempt >= self.policies.publish_attempts:
            return None
        return [SetTimer("republish", 0.0, self.policies.backoff.bound(attempt))]

    def republish(self, timer: Timer) -> list[Effect]:  # noqa: ARG002
        """The back-off is over."""
        return [Publish("published", self._on_its_way())]

    def _unpublished(self, consequence: str) -> Alert:
        kind = self._on_its_way().kind
        return Alert(f"{self._what()}: event '{kind}' could not be published in {self.attempt} attempts, {consequence}")

    def _on_its_way(self) -> Message:
        outgoing = self.outgoing
        assert outgoing is not None  # noqa: S101 - an invariant of the states in which an event is on its way
        return outgoing

    def _onward(self) -> Message | None:
        """The event that says that this step is done."""
        following = self.index + 1
        return self._event("step-done", following) if following < len(self._steps()) else None

    def _back(self) -> Message | None:
        """The event that says that this step is refused or undone."""
        return self._event("step-refused", self.index - 1) if self.index else None

    # --- the end ----------------------------------------------------------------------------------------------------------------

    def _finish(self) -> list[Effect]:
        """Answer or acknowledge, and turn to the next event if there is one."""
        effects: list[Effect] = [Decided("aborted")] if self.refused else []
        if self.origin == FROM_CLIENT:
            effects.append(
                Answer("aborted", f"step '{self._steps()[0].name}' was refused") if self.refused else Answer("accepted")
            )
        elif self.acknowledge == "after":
            effects.append(Acknowledge(self.origin))
        return effects + self._next()

    def _next(self) -> list[Effect]:
        if self.queue:
            event, *rest = self.queue
            self.queue = tuple(rest)
            return self._take(event)
        self.state = "finished"
        return [Forget()]


@dataclass(frozen=True, kw_only=True)
class DualWrite(ChoreographyStrategy):
    """Choreography by dual write: a baseline that loses, doubles and half-does transactions when nodes crash.

    None of the guarantees of the other strategies holds. Omissions per hop are P(crash in the gap) = 1 - exp(-rate * gap).

    Attributes:
        policies: Timeouts and retries; None: those of the scenario.
        order: ``db-first``: commit, then publish (a crash in between omits the event). ``broker-first``: publish, then commit (a crash in
            between, or a refusal, leaves a ghost event).
        acknowledge: ``after``: a delivery is acknowledged once its event is out (a crash doubles effects). ``before``: on arrival (a
            crash loses the rest of the transaction).

    Raises:
        ScenarioError: An option has an unknown value.
    """

    order: Order = "db-first"
    acknowledge: AcknowledgeWhen = "after"

    name: ClassVar[str] = "dual-write"
    label: ClassVar[str] = "dual write"
    may_lose_effects: ClassVar[bool] = True
    asks: ClassVar = ("Transact", "Publish", "Acknowledge")
    weaknesses: ClassVar = {
        "atomicity": "a crash between the two writes omits the event",
        "effect-once": "an event that comes again is worked on again",
        "undo-order": "an event that comes again does anew what was undone, and what came before it is undone meanwhile",
        "no-ghost": "broker-first: an event is out whose local transaction never commits",
        "durable-votes": "broker-first: the last service decides on an event whose local transaction may never commit",
        "agreement": "broker-first: the event of a refused step goes on, and the last service takes it for a commit",
        "truth": "broker-first: the client is told 'aborted', and the ghost takes effect",
        "parked": "what cannot be done is dropped, with an alert, and not kept for an operator",
    }

    def __post_init__(self) -> None:
        if self.order not in ("db-first", "broker-first"):
            raise ScenarioError(f"order is '{self.order}'; it must be 'db-first' or 'broker-first'", "dual-write")
        if self.acknowledge not in ("after", "before"):
            raise ScenarioError(f"acknowledge is '{self.acknowledge}'; it must be 'after' or 'before'", "dual-write")
        require(POLICIES, self.policies, "policies", "DualWrite")

    def machine(self, node: str, tx: int) -> DualWriteService:
        """A blank machine of one service."""
        return DualWriteService(node, tx, self.policies or DEFAULT_POLICIES, self.order, self.acknowledge)
