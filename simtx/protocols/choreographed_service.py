"""The service of a choreographed saga: joins, fences, and undoing against the direction of the events.

The theory is in `simtx.protocols.choreographed_saga`; parking, back-off and what an operator may ask for are those of `simtx.protocols.outbox`.

Rows of a step i, in the store of its service:

- (tx, i, ``action``): ``done``, ``refused``, or a tombstone: it was fenced before it could run.
- (tx, i, ``done``, k): the k-th step before i that has reported that it is done. The last one needs no row: it is in the transaction of the step itself.
- (tx, i, ``undone``, k): likewise of the steps behind i, when they are undone; k = 0 may be -1 instead: told to undo by a step before it. The
  local transaction that writes this first row holds the events that withdraw the other steps behind.
- (tx, i, ``compensation``): the step was undone.

Invariants: `task` is the local transaction under way that is neither the step nor its compensation; `found` what rows of its counting have said so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.bodies import Form
from simtx.protocols.built_in import DEFAULT_POLICIES
from simtx.protocols.choreographed_plan import (
    BRANCH_EVENTS,
    BranchEvent,
    Graph,
    accepted_branch_event,
    graph_of,
)
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Append,
    Branch,
    Delivery,
    Done,
    Effect,
    Message,
    Record,
    Timer,
    Transact,
    Transition,
)
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.outbox import OutboxService
from simtx.protocols.policies import Policies

WITHDRAWN: Final = -1
"""Number in place of that of a step behind: a step before has asked this one to undo."""


class ChoreographedService(OutboxService):
    """One service's part in one choreographed saga, for the time of one event.

    Args:
        node: The service.
        tx: The transaction.
        policies: Retries.
        monitor: The node that gets an event for every step; empty: there is none.
        serial: Whether local transactions lock the outbox, so that rows are numbered in the order of commits.
    """

    __slots__ = ("found", "monitor", "refused", "source", "task")

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("acting",), "run step 0"),
        on.delivery(
            "idle", "step-done", "advance", ("acting", "counting"), "one step before: run; several: count them"
        ),
        on.delivery(
            "idle",
            "step-refused",
            "retreat",
            ("undoing", "counting", "fencing"),
            "a step behind is not in force: undo, when all are; it never ran: look first",
        ),
        on.delivery("idle", "step-cancelled", "withdraw", ("fencing",), "a step before undoes: never begin, or undo"),
        on.done(
            "counting",
            "count",
            "counted",
            ("finished", "counting", "acting", "undoing", "waiting"),
            "a row for it: acknowledge; all there: go on; failed: back off",
        ),
        on.done(
            "fencing",
            "fence",
            "fenced",
            ("finished", "counting", "undoing", "waiting"),
            "not done: never will be; done: undo; failed: back off",
        ),
        on.timer("waiting", "backoff", "again", ("acting", "counting", "fencing", "undoing"), "repeat"),
        on.delivery("waiting", "step-cancelled", "later", ("waiting",), "the broker brings it again"),
        on.delivery("parked", "step-cancelled", "later", ("parked",), "the broker brings it again"),
        # The ends of a step and of its compensation, what comes meanwhile, and what an operator may ask for: as under an outbox.
        *(
            row
            for row in OutboxService.transitions
            if row.event not in ("completed", "backoff") and (row.state != "idle" or row.action == "nothing")
        ),
    )
    bodies: ClassVar[Mapping[str, Form]] = BRANCH_EVENTS

    def __init__(
        self, node: str, tx: int, policies: Policies = DEFAULT_POLICIES, monitor: str = "", serial: bool = False
    ) -> None:
        super().__init__(node, tx, policies, closing=False, serial=serial)
        self.monitor = monitor
        self.source = WITHDRAWN
        self.refused = -1
        self.task = ""  # "count", "fence", or nothing: the step itself, or its compensation
        self.found: tuple[int, ...] = ()

    # --- events in --------------------------------------------------------------------------------------------------------------

    def withdraw(self, delivery: Delivery) -> list[Effect]:
        """A step before this one undoes: this one may have been done, be refused, or not have begun."""
        self._read(delivery, undoing=True)
        self.source = WITHDRAWN
        return self._fence()

    def _take(self, delivery: Delivery, *, undoing: bool) -> list[Effect]:
        event = self._read(delivery, undoing=undoing)
        if not undoing:
            return self._act() if len(self._graph().before[self.index]) == 1 else self._count()
        # Who ran did so behind this step. Who was fenced before it ran says nothing of this step: it may not have begun either.
        return self._turn_back() if event.ran else self._fence()

    def _read(self, delivery: Delivery, *, undoing: bool) -> BranchEvent:
        event = accepted_branch_event(delivery, self.node)
        self.index, self.source, self.refused, self.plan = event.step, event.source, event.refused, event.plan
        self.undoing = undoing
        self.origin = delivery.id
        return event

    def hold(self, delivery: Delivery) -> list[Effect]:
        """Acknowledge a copy of what is parked; anything else has to come again."""
        event = accepted_branch_event(delivery, self.node)
        same = event.step == self.index and (delivery.kind == "step-refused") == self.undoing
        return [Acknowledge(delivery.id)] if same else []

    # --- local transactions -----------------------------------------------------------------------------------------------------

    def _act(self) -> list[Effect]:
        self._leave_task()
        return super()._act()

    def _undo(self) -> list[Effect]:
        self._leave_task()
        return super()._undo()

    def _leave_task(self) -> None:
        if self.task:
            self.task, self.attempt = "", 0

    def _count(self) -> list[Effect]:
        """Note, in the first row that is free, that one more neighbour has reported; who undoes withdraws the steps behind with the first."""
        self.task, self.state = "count", "counting"
        events = self._withdrawals() if self.undoing and not self.found else ()
        key = (self.tx, self.index, "undone" if self.undoing else "done", len(self.found))
        return [Transact("count", (), key, Branch(self.source, events), serial_outbox=self.serial)]

    def _fence(self) -> list[Effect]:
        """Make sure that the step never begins, unless it has, and report to the steps before that it is not in force."""
        self.task, self.state = "fence", "fencing"
        key = (self.tx, self.index, "action")
        return [Transact("fence", (), key, Branch(TOMBSTONE, self._back()), serial_outbox=self.serial)]

    def _turn_back(self) -> list[Effect]:
        """The step was done: undo it, as soon as nothing behind it is in force."""
        behind = len(self._graph().after[self.index])
        alone = behind == 0 if self.source == WITHDRAWN else behind == 1
        return self._undo() if alone else self._count()

    # --- events out -------------------------------------------------------------------------------------------------------------

    def _onward(self) -> tuple[Message, ...]:
        """The events that say that this step is done."""
        events = tuple(self._tell("step-done", step) for step in self._graph().after[self.index])
        # The event for the monitor about the first step goes out before all others: so it knows a saga from its start.
        reports = self._report("saga-done")
        return (*reports, *events) if self.index == 0 else (*events, *reports)

    def _back(self) -> tuple[Message, ...]:
        """The events that say that this step is refused or undone, or will never run."""
        refused = self.refused if self.undoing else self.index
        ran = self.task != "fence"
        events = (self._tell("step-refused", step, refused, ran=ran) for step in self._graph().before[self.index])
        return (*events, *self._report("saga-undone" if self.undoing else "saga-refused", refused))

    def _withdrawals(self) -> tuple[Message, ...]:
        """The events that make the steps behind undo themselves.

        Who comes before the step that was refused needs none: it was done, and is on the way that the refusal takes back.
        """
        graph, refused = self._graph(), self.refused
        behind = graph.after[self.index]
        if self.source != WITHDRAWN:
            told = {self.source, refused, *(graph.ancestors[refused] if refused >= 0 else ())}
            behind = tuple(step for step in behind if step not in told)
        return tuple(self._tell("step-cancelled", step, refused) for step in behind)

    def _report(self, kind: str, refused: int = -1) -> tuple[Message, ...]:
        if not self.monitor:
            return ()
        return (Message(kind, self.tx, self.node, self.monitor, self._body(self.index, refused)),)

    def _tell(self, kind: str, step: int, refused: int = -1, *, ran: bool = True) -> Message:
        return Message(kind, self.tx, self.node, self._steps()[step].service, self._body(step, refused, ran=ran))

    def _body(self, step: int, refused: int, *, ran: bool = True) -> BranchEvent:
        plan = self.plan
        assert plan is not None  # noqa: S101 - an invariant: a machine that works has a plan
        cause = (self.tx, self.index, "compensation" if self.undoing else "action")
        return BranchEvent(step, self.index, refused, ran, cause, plan)

    # --- their ends -------------------------------------------------------------------------------------------------------------

    def counted(self, done: Done) -> list[Effect]:
        """A row says who was the k-th: this one, one before, or it was told already."""
        if done.status == "failed":
            return self._back_off()
        if done.status == "done" or self.source in (WITHDRAWN, done.value):
            return self._conclude(None)
        self.found = (*self.found, done.value)
        graph = self._graph()
        neighbours = (graph.after if self.undoing else graph.before)[self.index]
        if sum(one != WITHDRAWN for one in self.found) + 1 < len(neighbours):
            return self._count()
        return self._undo() if self.undoing else self._act()

    def fenced(self, done: Done) -> list[Effect]:
        """The step will never run; or it has run before."""
        if done.status == "failed":
            return self._back_off()
        if done.status == "done" or done.value in ("refused", TOMBSTONE):
            return self._conclude(None)
        return self._turn_back()

    # --- repetition and parking -------------------------------------------------------------------------------------------------

    def _back_off(self) -> list[Effect]:
        # To count and to fence is nothing that anybody can refuse: it is repeated until it succeeds.
        return self._wait(self.task) if self.task else super()._back_off()

    def again(self, timer: Timer) -> list[Effect]:
        """The back-off is over."""
        if self.task:
            return self._count() if self.task == "count" else self._fence()
        return super().again(timer)

    def _park(self, reason: str) -> list[Effect]:
        record = ("parked", reason, self.undoing, self.index, self.refused, self.plan)
        return [Append(record) if isinstance(one, Append) else one for one in super()._park(reason)]

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Only a parked event has a record."""
        _, reason, self.undoing, self.index, self.refused, self.plan = records[-1]
        self.state = "parked"
        return [Alert(reason, stuck=True)]

    def _graph(self) -> Graph:
        return graph_of(self._steps())
