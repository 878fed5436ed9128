"""The monitor of choreographed sagas: it gets an event for every step, and says which sagas have stood still for too long.

It belongs to no saga and changes none: services do not wait for it, and its loss harms nothing but what it would have said.

- It knows a saga from the report that the first step is done, which its service publishes before any other event of the saga.
- It takes a saga for over when every step that nothing comes after is done, or when the first step is undone: all others were undone before. A decision
  to undo is no end: the event that undoes a branch may still hang somewhere.
- Nothing reported for `patience` seconds means stuck: it says so, with the steps that are done, undone, and waited for. A report that comes afterwards takes that back.
- After ten times that, it gives a saga up: it has said what it has to say, and its memory is bounded.

It forces what it has to know before it acknowledges the report: that a saga has begun, and each part of its end. So it watches every saga that was reported, from its start to its end,
through crashes of its own. It says nothing of one that is over. What lies in between is lazy: after a crash it may say less of where a saga stands. Of one whose start it does not know it says nothing.

Known weakness: a copy of the first report that comes when the saga is over looks like a new saga, and is called stuck, once. What is slow is called stuck as well: `patience` has to be
longer than the slowest step with its repetitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.bodies import Form
from simtx.protocols.choreographed_plan import REPORT_EVENTS, BranchEvent, graph_of
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Append,
    CancelTimer,
    Delivery,
    Effect,
    Forget,
    Machine,
    Plan,
    Record,
    SetTimer,
    Timer,
    Transition,
)

MONITOR: Final = "monitor"
"""Name of its node."""
STUCK: Final = "is stuck"
"""Words in the text of an alert by which the monitor says so."""
GIVES_UP: Final = 10
"""Times its patience after which it gives up a saga that it has called stuck."""


class SagaMonitor(Machine):
    """Memory of one saga in the monitor.

    Args:
        node: Its node.
        tx: The saga.
        patience: Seconds without a report after which it calls the saga stuck.
    """

    __slots__ = ("done", "patience", "plan", "undone")

    role: ClassVar[str] = "monitor"
    initial: ClassVar[str] = "idle"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.delivery("idle", "saga-done", "begin", ("idle", "watching"), "the first step: watch it"),
        on.delivery("idle", "saga-refused", "ignore", ("idle",), "over, or its start is not known"),
        on.delivery("idle", "saga-undone", "ignore", ("idle",), "likewise"),
        on.delivery("watching", "saga-done", "progress", ("watching", "finished"), "wait anew, or over"),
        on.delivery("watching", "saga-refused", "progress", ("watching",), "wait anew"),
        on.delivery("watching", "saga-undone", "progress", ("watching", "finished"), "wait anew, or over"),
        on.timer("watching", "patience", "complain", ("stuck",), "say that it is stuck"),
        on.delivery("stuck", "saga-done", "progress", ("watching", "finished"), "it was slow"),
        on.delivery("stuck", "saga-refused", "progress", ("watching",), "it was slow"),
        on.delivery("stuck", "saga-undone", "progress", ("watching", "finished"), "it was slow"),
        on.timer("stuck", "silence", "give_up", ("finished",), "nobody helps it"),
    )
    bodies: ClassVar[Mapping[str, Form]] = REPORT_EVENTS

    def __init__(self, node: str, tx: int, patience: float) -> None:
        super().__init__(node, tx)
        self.patience = patience
        self.plan: Plan | None = None
        self.done: tuple[int, ...] = ()
        self.undone: tuple[int, ...] = ()

    def begin(self, delivery: Delivery) -> list[Effect]:
        """A step of an unknown saga is done: the first one makes it known, unless it is over with that."""
        event = _report(delivery)
        if event is None or event.step != 0:
            return [Acknowledge(delivery.id)]
        self._note(delivery.kind, event.step, event.plan)
        if self._over():
            self.plan, self.done = None, ()
            return [Acknowledge(delivery.id)]
        self.state = "watching"
        return [
            self._record(delivery.kind, event, forced=True),
            SetTimer("patience", self.patience),
            Acknowledge(delivery.id),
        ]

    def ignore(self, delivery: Delivery) -> list[Effect]:
        """Acknowledge only: nothing is known of this saga."""
        return [Acknowledge(delivery.id)]

    def progress(self, delivery: Delivery) -> list[Effect]:
        """A saga that is watched has moved."""
        event = _report(delivery)
        if event is None:
            return [Acknowledge(delivery.id)]
        self._note(delivery.kind, event.step, event.plan)
        timer = "silence" if self.state == "stuck" else "patience"
        if self._over():
            self.state = "finished"
            end = self._record(delivery.kind, event, forced=True)
            return [CancelTimer(timer), end, Acknowledge(delivery.id), Forget()]
        slow: list[Effect] = [CancelTimer("silence")] if self.state == "stuck" else []
        self.state = "watching"
        # Nobody reports again that an end is done: were it lost in a crash, the saga would seem to wait for it for ever.
        ends = delivery.kind == "saga-done" and event.step in graph_of(event.plan.steps).ends
        return [
            *slow,
            self._record(delivery.kind, event, forced=ends),
            SetTimer("patience", self.patience),
            Acknowledge(delivery.id),
        ]

    def complain(self, timer: Timer) -> list[Effect]:  # noqa: ARG002
        """Raise an alert: nothing was reported for too long."""
        self.state = "stuck"
        return [Alert(self._complaint()), SetTimer("silence", GIVES_UP * self.patience)]

    def give_up(self, timer: Timer) -> list[Effect]:  # noqa: ARG002
        """Forget the saga: nothing has moved since it was called stuck."""
        self.state = "finished"
        return [Forget()]

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Go on watching; a saga that was over is forgotten now."""
        for _, kind, step, plan in records:
            self._note(kind, step, plan)
        if 0 not in self.done or self._over():
            self.state = "finished"
            return [Forget()]
        self.state = "watching"
        return [SetTimer("patience", self.patience)]

    def _note(self, kind: str, step: int, plan: Plan) -> None:
        self.plan = plan
        if kind == "saga-done":  # then so is everything before it, of which no report may have come, or been kept
            self.done = tuple(sorted({*self.done, step, *graph_of(plan.steps).ancestors[step]}))
        else:
            self.undone = tuple(sorted({*self.undone, step}))

    @staticmethod
    def _record(kind: str, event: BranchEvent, *, forced: bool = False) -> Append:
        return Append(("seen", kind, event.step, event.plan), forced=forced)

    def _over(self) -> bool:
        plan = self.plan
        assert plan is not None  # noqa: S101 - an invariant: a report was noted
        return 0 in self.undone or all(one in self.done for one in graph_of(plan.steps).ends)

    def _complaint(self) -> str:
        plan = self.plan
        assert plan is not None  # noqa: S101 - as above
        steps = plan.steps
        before = graph_of(steps).before
        back = bool(self.undone)
        waited = [
            one.name
            for one in steps
            if one.index not in self.undone
            and (
                one.index in self.done
                if back
                else one.index not in self.done and set(before[one.index]) <= {*self.done}
            )
        ]
        parts = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("done:", [steps[one].name for one in self.done if one not in self.undone]),
                ("refused or undone:", [steps[one].name for one in self.undone]),
                ("still to undo:" if back else "waits for:", waited),
            )
            if names
        ]
        return f"saga {self.tx} {STUCK}: no report for {self.patience:g} s; {'; '.join(parts)}"


def _report(delivery: Delivery) -> BranchEvent | None:
    body = delivery.message.body
    return body if isinstance(body, BranchEvent) else None
