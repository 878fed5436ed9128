"""Choreographed saga with joins: services react to each other's events, branches run side by side, and nobody directs them.

Law: an accepted transaction is, in the end, either done in all its steps or undone in all of them; no step takes effect twice, and none is undone while
anything that came after it is in force; whatever crashes, however often the broker delivers, and in whatever order the events of different services come.
(It takes that every service and the broker come back some day.)

Theory of operation. An event goes along an edge of the plan's graph, from the service of one step to that of a neighbour. Each reaction is one local
transaction after the pattern of `simtx.protocols.outbox`: change, idempotency row, and outgoing events.

**Forth.** A service that has done a step reports to all steps that wait for it (``step-done``). A step that waits for one runs. A step that waits for several is a
**join**: each report but the last leaves a row of its own, and is acknowledged then; the last one runs the step. The k-th report takes the
k-th row, so that the rows say who has reported: branches are counted, and not messages, and nothing is kept in memory.

**Back.** A service whose step is refused reports to the steps before it (``step-refused``): this step is not in force, and never will be. A step that was done undoes itself when
*all* steps behind it have said so, and then says so itself. So joins are joins on the way back, too, and no step is undone before what was built on it. When the first of them says so,
the others behind it may not know of the refusal. They are withdrawn (``step-cancelled``), but for those that come before the refused step, which are on the way that the refusal takes back.

**A branch that has not run** is fenced: it gets a tombstone in place of the row of its step, so that the event that would begin it finds a duplicate; and it reports to the steps before it that
it is not in force. Of these, one may not have run either. So a report says whether its step *ran*; who gets one of a step that did not looks at its own row first.

The first step is undone last, so its service knows that end; of a saga that is complete, the service of the last step does. No other node knows, and none sees a saga
that stands still. A monitor does, if there is one (`Choreography.monitor`, `simtx.protocols.saga_monitor`): it gets an event for every step that is done, refused, undone or fenced, and nobody waits for it.

The **graph** is that of the plan, with two additions (`simtx.protocols.choreographed_plan`). A step that comes after none waits for the first one, since the client has one door. The pivot, or the
last step of a plan without one, waits for the compensatable steps that nothing comes after: somebody has to know that all are done.

Why it ends. A refusal reaches every step that was done: those before the refused one by the reports that go back, any other by the step that began it, which withdraws it. The graph has
no cycle, so the steps at its ends report first, and each step waits for those behind it only.

Costs, without faults, of N steps and E edges. All commit: E events; N forced writes, and E - (N - 1) more, one for each report at a join but the last. On a chain these are the
outbox's: N - 1 events, N forced writes; refused at step k (from 1) 2k - 2 and 2k - 1. On a diamond (a first step, w branches, a join), refused at the join: 4w events, 4w + 1 forced writes. There, if
K < w branches refuse and the others are done by then: 6w - 1 - 2K events, 5w + 2 - 3K forced writes; if all refuse: 3w - 1 and 2w + 1. The monitor takes one event
more for each step that is done, refused, undone or fenced. It makes two forced writes of its own log for each saga that is not over with its first step: its start and its end. Several steps that nothing
comes after are as many ends.

Invariants: those of `simtx.protocols.choreographed_service`.

Known weakness: not isolated, like every saga. The client learns only that the request is accepted. A relay publishes the events of one transaction one after the other, so that branches begin
a round trip to the broker apart; and a join gets its reports one after the other, each after the row of the one before. Rows are what a saga
remembers: they have to be kept until it is over, and longer than the longest redelivery after that. An operator who resolves a parked step has to see to its neighbours as well.

Sources: Garcia-Molina and Salem, "Sagas", SIGMOD 1987; Richardson, "Microservices Patterns", 2018, sections 3.3 and 4.2 (choreography); Hohpe and Woolf, "Enterprise Integration Patterns", 2003
(aggregator); Ruecker, "Practical Process Automation", 2021 (monitoring of choreographies). The rules of withdrawals and fences are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, get_args

from simtx.arguments import choice, flag, number, require
from simtx.protocols.built_in import DEFAULT_POLICIES, BuiltIn
from simtx.protocols.choreographed_plan import plan_problem
from simtx.protocols.choreographed_service import ChoreographedService
from simtx.protocols.contract import Machine, Plan, Promise
from simtx.protocols.policies import POLICIES, Policies
from simtx.protocols.relay import Reader, Relay
from simtx.protocols.saga_monitor import MONITOR, SagaMonitor


@dataclass(frozen=True, kw_only=True)
class Choreography(BuiltIn):
    """Choreographed saga with joins, by transactional outbox, polling relay and inbox.

    Attributes:
        policies: Timeouts and retries; None: those of the scenario.
        wake: As for `simtx.protocols.outbox.Outbox`: the host wakes a node's relay when a local transaction has committed outbox rows.
        reader: Likewise, how the relay knows which rows are new.
        monitor: Whether there is a node beside the services that reads the events of all sagas, and says which are stuck.
        patience: Seconds without a report after which the monitor calls a saga stuck.

    Raises:
        ScenarioError: An option has a value that it cannot have.
    """

    policies: Policies | None = None
    wake: bool = False
    reader: Reader = "marks"
    monitor: bool = False
    patience: float = 5.0
    hub: str | None = field(init=False, repr=False, default=MONITOR)

    name: ClassVar[str] = "choreography"
    label: ClassVar[str] = "choreographed saga"
    promise: ClassVar[Promise] = "accepted"
    uses_broker: ClassVar[bool] = True
    timeouts: ClassVar = ("publish_timeout",)
    asks: ClassVar = ("Transact", "Publish", "Acknowledge", "ReadOutbox", "MarkOutbox")
    recognises_requests: ClassVar[bool] = True  # by the idempotency row of the first step

    def __post_init__(self) -> None:
        require(flag, self.wake, "wake", "Choreography")
        require(choice(*get_args(Reader)), self.reader, "reader", "Choreography")
        require(flag, self.monitor, "monitor", "Choreography")
        require(number(above=0), self.patience, "patience", "Choreography")
        require(POLICIES, self.policies, "policies", "Choreography")
        if not self.monitor:
            object.__setattr__(self, "hub", None)

    @property
    def wake_on_commit(self) -> bool:
        """Return whether the host wakes the daemons of a node after a commit that wrote outbox rows."""
        return self.wake

    def entry(self, plan: Plan) -> str:
        """The service of the first step."""
        return plan.steps[0].service

    def machine(self, node: str, tx: int) -> Machine:
        """A blank machine of one service, or of the monitor."""
        if node == self.hub:
            return SagaMonitor(node, tx, self.patience)
        policies = self.policies or DEFAULT_POLICIES
        return ChoreographedService(node, tx, policies, self.hub or "", self.reader == "lock")

    def daemons(self, node: str) -> Iterable[Relay]:
        """The relay of this service's outbox; the monitor has none."""
        return () if node == self.hub else (Relay(node, self.policies or DEFAULT_POLICIES, self.reader),)

    def check(self, plan: Plan) -> str | None:
        """One line that says why this plan cannot be played as a choreographed saga, or None."""
        return plan_problem(plan, self.hub or "")
