"""Two-phase commit with an execution phase of its own: the steps run along their graph, with locks held, and then the vote begins.

This is how a distributed transaction works whose steps are sent one by one, as in X/Open DTP (work between ``xa_start`` and ``xa_end``,
then ``xa_prepare``). It costs two more messages a step than work that travels with PREPARE, and holds locks through the whole execution;
in return every lock is held until all work is done, so that the commit order is a serialization order also with read-only participants.

Nothing of the execution is durable. A participant that crashed, or gave up waiting, has lost its work. It may meanwhile have got a part
of it again through a repeated EXECUTE. So PREPARE names the steps that the participant must have executed; if they differ, it votes NO.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from simtx.errors import ProtocolViolation
from simtx.protocols import on
from simtx.protocols.bodies import Form, index, indexed_operations, indexed_text, nothing, some_indexes
from simtx.protocols.commit_machine import ROLLBACK
from simtx.protocols.contract import (
    CancelTimer,
    Done,
    Effect,
    Execute,
    Message,
    Operation,
    Prepare,
    Request,
    SetTimer,
    Step,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.operations import writes
from simtx.protocols.policies import Policies
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_participant import Participant

CANCEL_EXECUTION = CancelTimer("execution")
CANCEL_IDLE = CancelTimer("idle")


class ExecutingCoordinator(Coordinator):
    """A coordinator that has every step executed, in parallel where their graph allows, before it asks for votes.

    Attributes:
        steps: The steps of the transaction.
        running: Indexes of the steps that were sent and have not answered.
        executed: Indexes of the steps that were executed.
    """

    __slots__ = ("executed", "running", "steps")

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("executing", "finished"), "EXECUTE the steps that wait for none"),
        on.message("idle", "executed", "presume_abort", ("finished",), "not known, so aborted: ABORT"),
        on.message(
            "executing",
            "executed",
            "take_executed",
            ("executing", "voting"),
            "EXECUTE what waited for it; the last one: PREPARE",
        ),
        on.message(
            "executing", "refused", "take_refused", ("executing", "finished"), "lazy abort, answer, ABORT to the others"
        ),
        on.timer(
            "executing",
            "execution",
            "repeat_execute",
            ("executing", "finished"),
            "EXECUTE again; after the last attempt: abort",
        ),
        *(row for row in Coordinator.transitions if (row.state, row.event) != ("idle", "begin")),
    )
    bodies: ClassVar[Mapping[str, Form]] = {**Coordinator.bodies, "executed": index, "refused": indexed_text}
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": Coordinator.stale["idle"] | {"refused"},
        "executing": frozenset({"begin"}),
        "voting": Coordinator.stale["voting"] | {"executed", "refused"},
        "committing": Coordinator.stale["committing"] | {"executed", "refused"},
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.steps: tuple[Step, ...] = ()
        self.running: list[int] = []
        self.executed: list[int] = []

    def begin(self, event: Request) -> list[Effect]:
        """Start with the steps that depend on no other."""
        if event.plan is None:
            raise ProtocolViolation(f"the request that begins transaction {self.tx} carries no plan")
        self.steps = event.plan.steps
        self.participants = event.plan.services()
        if not self.steps:
            return self.open_vote([])
        self.state = "executing"
        return self.send_ready([])

    def send_ready(self, effects: list[Effect]) -> list[Effect]:
        """Send the steps whose predecessors are all executed."""
        for step in self.steps:
            index = step.index
            if index in self.running or index in self.executed:
                continue
            if all(before in self.executed for before in step.after):
                self.running.append(index)
                effects.append(self.execute(step))
        self.attempt = 0
        effects.append(self.timer("execution", self.policies.call_timeout))
        return effects

    def execute(self, step: Step) -> Message:
        """The message that has a step executed."""
        return self.send(step.service, "execute", (step.index, step.operations))

    def take_executed(self, event: Message) -> list[Effect]:
        """Go on along the graph; after the last step, vote."""
        index = event.body
        if index not in self.running:
            return []
        self.running.remove(index)
        self.executed.append(index)
        self.executed.sort()
        if len(self.executed) < len(self.steps):
            return self.send_ready([])
        self.attempt = 0
        effects: list[Effect] = [CANCEL_EXECUTION]
        for service in self.participants:
            expected = tuple(step.index for step in self.steps if step.service == service)
            effects.append(self.send(service, "prepare", expected))
        return self.open_vote(effects)

    def take_refused(self, event: Message) -> list[Effect]:
        """One refusal decides; the refusing participant has already undone its part."""
        index, status = event.body
        if index not in self.running:
            return []
        return self.give_up(f"{status} by {event.sender}", event.sender)

    def repeat_execute(self, _event: Timer) -> list[Effect]:
        """Send what has not answered again; participants recognise the copies."""
        self.attempt += 1
        late = [step for step in self.steps if step.index in self.running]
        effects: list[Effect] = [Suspect(step.service) for step in late]
        if self.attempt >= self.policies.attempts:
            return [*effects, *self.give_up("no execution by " + ", ".join(step.service for step in late), "")]
        effects += [self.execute(step) for step in late]
        effects.append(self.timer("execution", self.policies.call_timeout))
        return effects

    def give_up(self, reason: str, refuser: str) -> list[Effect]:
        """Abort before the vote: ABORT to all that may have begun, so that they release their locks before they lose patience."""
        begun = {step.service for step in self.steps if step.index in self.running or step.index in self.executed}
        self.updating = [service for service in self.participants if service in begun and service != refuser]
        return self.abort(reason)


class ExecutingParticipant(Participant):
    """A participant that executes steps one by one in an open local transaction, holding its locks, until it is asked to vote.

    Attributes:
        executed: Indexes of the steps whose work is in the open local transaction.
        current: Index of the step that is being executed.
        writes: Whether any of them writes.
    """

    __slots__ = ("current", "executed", "writes")

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.message("idle", "execute", "execute", ("executing",), "do the step's work"),
        on.message("idle", "prepare", "refuse_lost", ("finished",), "work lost: NO"),
        on.done("executing", "worked", "report", ("active", "finished"), "done: EXECUTED; refused or failed: REFUSED"),
        on.message(
            "active", "execute", "execute", ("executing", "active"), "do the step's work; a copy: EXECUTED again"
        ),
        on.message(
            "active",
            "prepare",
            "prepare",
            ("preparing", "finished"),
            "prepare; nothing written: READ; steps missing: NO",
        ),
        on.message("active", "commit", "acknowledge_stray", ("finished",), "a late copy reopened it: roll back, ACK"),
        on.message("active", "abort", "roll_back", ("finished",), "roll back, release"),
        on.timer("active", "idle", "roll_back", ("finished",), "not prepared, so free to abort: roll back, release"),
        *(
            row
            for row in Participant.transitions
            if row.state in ("preparing", "in-doubt") or row.event in ("commit", "abort")
        ),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        "execute": indexed_operations,
        "prepare": some_indexes,
        "commit": nothing,
        "abort": nothing,
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "executing": frozenset({"execute", "prepare", "commit", "abort"}),
        "preparing": frozenset({"execute", "prepare", "commit", "abort"}),
        "in-doubt": frozenset({"execute"}),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.executed: list[int] = []
        self.current = -1
        self.writes = False

    def execute(self, event: Message) -> list[Effect]:
        """Do the work of a step once, however often it is asked for."""
        index: int
        operations: tuple[Operation, ...]
        index, operations = event.body
        self.coordinator = event.sender
        if index in self.executed:
            return [self.send(self.coordinator, "executed", index)]
        self.state = "executing"
        self.current = index
        self.writes = self.writes or writes(operations)
        return [CANCEL_IDLE, Execute("worked", operations, (index,))]

    def report(self, event: Done) -> list[Effect]:
        """Tell the coordinator, and keep the locks, but not for ever."""
        index = self.current
        if event.status != "done":
            return self.over(self.send(self.coordinator, "refused", (index, event.status)))
        self.state = "active"
        self.executed.append(index)
        self.executed.sort()
        self.current = -1
        done = self.send(self.coordinator, "executed", index)
        return [done, SetTimer("idle", self.policies.idle_timeout)]

    def prepare(self, event: Message) -> list[Effect]:
        """Prepare the open branch if it holds exactly the work that the coordinator means."""
        self.coordinator = event.sender
        if tuple(self.executed) != event.body:
            return [ROLLBACK, *self.refuse_lost(event)]
        if not self.writes:
            return self.over(ROLLBACK, self.send(event.sender, "read"))
        self.state = "preparing"
        return [CANCEL_IDLE, Prepare("prepared", (), ("prepared", event.sender), (self.tx, "branch"))]

    def vote(self, event: Done) -> list[Effect]:
        """Vote as the store says. Late copies of EXECUTE and PREPARE after the commit have opened a branch that nobody would end."""
        effects = super().vote(event)
        return [ROLLBACK, *effects] if event.status == "duplicate" else effects

    def refuse_lost(self, event: Message) -> list[Effect]:
        """The work, or a part of it, was lost in a crash or given up."""
        return self.over(self.send(event.sender, "no", "work lost"))

    def acknowledge_stray(self, event: Message) -> list[Effect]:
        """COMMIT for an unprepared branch: the real branch was committed before, and a late copy of EXECUTE has opened another."""
        return [ROLLBACK, *self.acknowledge(event)]
