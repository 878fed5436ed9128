"""Orchestrated saga: one durable orchestrator runs the steps one by one and undoes them in reverse when one cannot be done.

Law: in the end a transaction is done or undone. Done: every step has taken effect exactly once, and the client's answer is ``committed``. Undone:
every step's effect is net zero, and the answer is ``aborted``. This holds whatever is lost, doubled, reordered or late, and wherever a node
crashes. The exception is announced: a saga that can go neither forth nor back is *stuck*, raises an alert, and waits for an operator.

Sources: Garcia-Molina and Salem, "Sagas", SIGMOD 1987; Richardson, "Microservices Patterns", 2018, chapter 4 (compensatable, pivot and
retriable steps). The rule that an unknown outcome counts as done is DTM's.

Theory of operation. The client's request is recorded with its plan before anything is sent. A step is commanded when all steps that it comes after
are done; each reply is recorded before the next command leaves. What happens when a step is refused, or silent for too long, depends on
where the pivot is:

- Before the pivot (everywhere, if there is none): *backward recovery*. Steps that were refused have had no effect. All others that were commanded
  are compensated, those of unknown outcome included, each after all that came after it, independent ones in parallel. If other
  branches still wait for a reply when a step is refused, the saga halts first: nothing new starts, and the branches answer or time out.
- The pivot itself, when silent, is never compensated on a mere timeout: its participant is asked for its status, which also fences an
  action that has not arrived, so that the answer is definite.
- After the pivot: *forward recovery*. Retriable steps are commanded until they are done. A refusal there is an error of design, and the saga is stuck.
- A compensation is repeated until it is done, or until `Policies.compensation_attempts` are spent; then the saga is stuck.

One timer, ``reply``, runs from the last command that was sent; when it fires, every command without a reply is sent again under the same identity.
A second, ``backoff``, spaces retries after an explicit ``error``. A stuck saga goes on where it can: a late reply may free it, and an operator's
``retry``, ``skip`` and ``resolve`` do; each is recorded with its reason.

Recovery needs only the records. All commands that were under way are sent again; their participants recognise them. Records that only
save a needless message (replies while halting) are lazy. With ``completion="lazy"`` the last record is lazy too: if it is lost, the last participant
is asked again and answers as before. There the last step is therefore treated like a pivot: its silence never turns the saga back, since the
client may have been told ``committed`` already.

Invariants: commands before the record that justifies them never leave; `cause` is -1 exactly as long as the saga goes forward, and
once it is not, no ``do`` is sent any more; no compensation is sent after the pivot is done; `left` counts the steps that are not
done (forward) or not undone (backward); nothing is answered before the last record, which is lazy where a crash that loses it
costs another question or compensation, and no more.

Costs without faults, n sequential steps, one-way delay d, forced write w: committed with 2n messages and n + (n + 1) forced writes after
w + n(2d + 2w); refused at step k with 4k - 2 messages and 4k - 2 forced writes, one of them more for the stored refusal (see `saga_participant`).

Known weakness: no isolation. Others see the effects of a saga that will be undone, and a compensation can be refused because of them.
A request that comes again while the saga runs is ignored; one that comes again after the saga was forgotten would start it anew, and take steps that
were undone for done. So hosts deliver it once and never use the number of a transaction twice; a client may ask again as long as its request
has reached nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from simtx.arguments import require
from simtx.errors import PeerFault, ScenarioError
from simtx.protocols import bodies as forms
from simtx.protocols import on
from simtx.protocols.bodies import Form
from simtx.protocols.built_in import BuiltIn
from simtx.protocols.contract import (
    Alert,
    Answer,
    Append,
    CancelTimer,
    Decided,
    Effect,
    EventSort,
    Forget,
    Machine,
    Message,
    Plan,
    Promise,
    Record,
    Request,
    SetTimer,
    Step,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.names import ORCHESTRATOR
from simtx.protocols.policies import POLICIES, Policies
from simtx.protocols.saga_participant import Participant
from simtx.protocols.saga_shape import Shape, check_plan, shape_of

# Status of a step. Whatever is DONE or above has to be undone before its predecessors may be, when the saga goes backward.
WAITING: Final = 0  #: not commanded yet
RUNNING: Final = 1  #: commanded, no reply yet
PAUSED: Final = 2  #: its action met an error and will be commanded again
REFUSED: Final = 3  #: had no effect and never will
UNDONE: Final = 4  #: compensated
DONE: Final = 5  #: its action took effect
UNKNOWN: Final = 6  #: commanded and given up: counts as done
UNDOING: Final = 7  #: its compensation was commanded, no reply yet
RESTING: Final = 8  #: its compensation met an error and will be commanded again
STUCK: Final = 9  #: refused after the pivot, or its compensation was given up

# Effects without anything of their own are made once; nobody changes an effect.
_CANCEL_REPLY: Final = CancelTimer("reply")
_CANCEL_BACKOFF: Final = CancelTimer("backoff")
_DECIDED_COMMITTED: Final = Decided("committed")
_DECIDED_ABORTED: Final = Decided("aborted")
_COMMITTED: Final = Answer("committed")
_FORGET: Final = Forget()
_NO_SHAPE: Final = shape_of(())


_REFUSED_TO: Final = ("running", "halting", "compensating", "aborted", "stuck")
_SKIP_TO: Final = ("stuck", "running", "compensating", "committed", "aborted")


_SORTS: Final[dict[str, EventSort]] = {
    **dict.fromkeys(("begin", "retry", "skip", "resolve"), "request"),
    **dict.fromkeys(("reply", "backoff"), "timer"),
}


def _rows(state: str, action: str, events: str) -> tuple[Transition, ...]:
    """Rows of events that change nothing: late ones, duplicates, and requests that are out of place. They bear no note."""
    return tuple(
        Transition(state, event, action, (state,), of=_SORTS.get(event, "message")) for event in events.split()
    )


class Orchestrator(Machine):
    """The orchestrator of one saga.

    Attributes:
        saga: The strategy that made it, with its options.
        steps: Steps of the plan, once it is known.
        shape: Their dependency graph.
        status: One of the constants of this module for each step.
        attempts: How often each step's present command was sent.
        left: Steps that are still to be done, or on the way back still to be undone.
        cause: The step whose refusal or silence turned the saga back, or -1.
    """

    __slots__ = ("attempts", "cause", "left", "saga", "shape", "status", "steps")

    role: ClassVar[str] = "orchestrator"
    initial: ClassVar[str] = "idle"
    by_step: ClassVar[tuple[str, ...]] = ("attempts", "cause", "status")
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "_begin", ("running",), "record the plan; command the first steps"),
        *_rows("idle", "_stray", "done refused error undone reply backoff retry skip resolve"),
        *_rows("running", "_ignore", "begin retry skip resolve"),
        on.message("running", "done", "_done", ("running", "committed"), "record; command the next steps, or answer"),
        on.message("running", "refused", "_refused", _REFUSED_TO, "turn back; after the pivot: stuck"),
        on.message("running", "error", "_error", ("running", "halting", "compensating"), "back off, or turn back"),
        on.timer("running", "reply", "_overdue", ("running", "compensating"), "command again, or turn back"),
        on.timer("running", "backoff", "_again", ("running",), "command again"),
        *_rows("halting", "_ignore", "begin backoff retry skip resolve"),
        on.message("halting", "done", "_halted", ("halting", "compensating"), "one branch less"),
        on.message("halting", "refused", "_halted", ("halting", "compensating", "aborted"), "one branch less"),
        on.message("halting", "error", "_halted", ("halting", "compensating"), "outcome unknown: one branch less"),
        on.timer("halting", "reply", "_abandon", ("compensating",), "give up the other branches"),
        *_rows("compensating", "_ignore", "begin done refused retry skip resolve"),
        on.message("compensating", "undone", "_undone", ("compensating", "aborted"), "record; undo the steps before"),
        on.message("compensating", "error", "_error", ("compensating", "stuck"), "back off, or give up"),
        on.timer("compensating", "reply", "_overdue", ("compensating", "stuck"), "command again, or give up"),
        on.timer("compensating", "backoff", "_again", ("compensating",), "command again"),
        *_rows("stuck", "_ignore", "begin"),
        on.message("stuck", "done", "_freed", ("stuck", "running", "committed"), "other branches go on"),
        on.message("stuck", "refused", "_refused", ("stuck",), "another one"),
        on.message("stuck", "undone", "_freed", ("stuck", "compensating", "aborted"), "other branches go on"),
        on.message("stuck", "error", "_error", ("stuck",), "back off, or give up"),
        on.timer("stuck", "reply", "_overdue", ("stuck",), "command again, or give up"),
        on.timer("stuck", "backoff", "_again", ("stuck",), "command again"),
        on.request("stuck", "retry", "_retry", ("running", "compensating"), "the operator has removed the cause"),
        on.request("stuck", "skip", "_skip", _SKIP_TO, "the operator answers for the step"),
        on.request("stuck", "resolve", "_resolve", ("committed", "aborted"), "the operator has done the rest"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        "done": forms.index,
        "refused": forms.index,
        "undone": forms.index,
        "error": forms.indexed_text,
    }

    def __init__(self, node: str, tx: int, saga: Saga) -> None:
        self.node = node
        self.tx = tx
        self.state = "idle"
        self.saga = saga
        self.steps: tuple[Step, ...] = ()
        self.shape = _NO_SHAPE
        self.status: list[int] = []
        self.attempts: list[int] = []
        self.left = 0
        self.cause = -1

    def admit(self, message: Message) -> None:
        """Check as every machine does, and that the step of a reply is one of this transaction.

        Raises:
            PeerFault: It is not.
        """
        super().admit(message)
        body = message.body
        number = body[0] if message.kind == "error" else body
        if self.status and number >= len(self.status):
            raise PeerFault(f"'{message.sender}' replies about step {number} of transaction {self.tx}, which has none")

    # --- forward -------------------------------------------------------------------------------------------------------------

    def _begin(self, request: Request) -> list[Effect]:
        plan = request.plan
        if plan is None or not plan.steps:
            raise ScenarioError(f"the request for transaction {self.tx} has no steps; a saga needs at least one")
        effects: list[Effect] = [Append(("begin", plan))]
        effects += [self._command(index) for index in self._adopt(plan).roots]
        effects.append(self.saga.wait)
        return effects

    def _adopt(self, plan: Plan) -> Shape:
        steps = plan.steps
        count = len(steps)
        self.state = "running"
        self.steps = steps
        self.shape = shape = shape_of(steps)
        self.status = [WAITING] * count
        self.attempts = [0] * count
        self.left = count
        return shape

    def _command(self, index: int) -> Message:
        """The first command to do a step."""
        self.status[index] = RUNNING
        self.attempts[index] = 1
        step = self.steps[index]
        return Message("do", self.tx, self.node, step.service, step)

    def _done(self, reply: Message) -> list[Effect]:
        index: int = reply.body
        status = self.status
        if status[index] != RUNNING and status[index] != PAUSED:
            return []  # a duplicate
        status[index] = DONE
        self.left -= 1
        record = self.shape.done[index]
        if not self.left:
            return self._committed(index, record)
        effects: list[Effect] = [record]
        self._follow(index, effects)
        return effects

    def _follow(self, index: int, effects: list[Effect]) -> None:
        """Command what can start now that this step is done."""
        shape = self.shape
        status = self.status
        if index == shape.pivot:
            effects.append(_DECIDED_COMMITTED)
        started = False
        for successor in shape.next[index]:
            if status[successor] == WAITING:
                for predecessor in shape.before[successor]:
                    if status[predecessor] != DONE:
                        break
                else:
                    effects.append(self._command(successor))
                    started = True
        if started:
            effects.append(self.saga.wait)
        elif RUNNING not in status:
            effects.append(_CANCEL_REPLY)

    def _committed(self, index: int, record: Append) -> list[Effect]:
        self.state = "committed"
        if self.saga.completion == "lazy":
            record = Append(record.record, forced=False)
        if self.shape.pivot in (-1, index):
            return [_CANCEL_REPLY, record, _DECIDED_COMMITTED, _COMMITTED, _FORGET]
        return [_CANCEL_REPLY, record, _COMMITTED, _FORGET]

    def _refused(self, reply: Message) -> list[Effect]:
        index: int = reply.body
        if self.status[index] not in (RUNNING, PAUSED):
            return []
        step = self.steps[index]
        if step.kind != "retriable":
            return self._turn_back(index, REFUSED)
        return self._stick(index, f"{self._about(step)} is retriable, but was refused after the pivot")

    # --- turning back --------------------------------------------------------------------------------------------------------

    def _turn_back(self, index: int, outcome: int) -> list[Effect]:
        """Start backward recovery because of this step, which was refused or is given up."""
        status = self.status
        effects: list[Effect] = []
        if PAUSED in status:
            self._replace(PAUSED, UNKNOWN)
            effects.append(_CANCEL_BACKOFF)
        status[index] = outcome
        self.cause = index
        record = ("refused" if outcome == REFUSED else "unknown", index)
        if RUNNING in status:
            self.state = "halting"
            return [*effects, Append(record), _DECIDED_ABORTED]
        compensations = self._compensate()
        forced = self.state != "aborted" or self.saga.completion == "forced"
        return [*effects, _CANCEL_REPLY, Append(record, forced), _DECIDED_ABORTED, *compensations]

    def _halted(self, reply: Message) -> list[Effect]:
        """Take the reply of a branch that was under way when the saga turned back.

        Its record is lazy: if it is lost, recovery takes the outcome for unknown, which is safe.
        """
        kind = reply.kind
        index: int = reply.body[0] if kind == "error" else reply.body
        if self.status[index] != RUNNING:
            return []
        effects: list[Effect] = []
        if kind == "error":
            self.status[index] = UNKNOWN
        else:
            self.status[index] = DONE if kind == "done" else REFUSED
            effects.append(Append((kind, index), forced=False))
        if RUNNING not in self.status:
            effects.append(_CANCEL_REPLY)
            effects += self._compensate()
        return effects

    def _abandon(self, timer: Timer) -> list[Effect]:  # noqa: ARG002 - the table passes the event
        effects: list[Effect] = []
        for step in self.steps:
            if self.status[step.index] == RUNNING:
                self.status[step.index] = UNKNOWN
                effects.append(Suspect(step.service))
        return effects + self._compensate()

    def _compensate(self) -> list[Effect]:
        """Undo what nothing else that has to be undone came after; answer if there is nothing."""
        status = self.status
        following = self.shape.next
        self.state = "compensating"
        self.attempts = [0] * len(status)
        self.left = sum(one >= DONE for one in status)
        if not self.left:
            return self._aborted()
        last = [
            index
            for index in range(len(status) - 1, -1, -1)
            if status[index] >= DONE and not any(status[successor] >= DONE for successor in following[index])
        ]
        return [*[self._undo(index) for index in last], self.saga.wait]

    def _undo(self, index: int) -> Message:
        """The first command to undo a step."""
        self.status[index] = UNDOING
        self.attempts[index] = 1
        step = self.steps[index]
        return Message("undo", self.tx, self.node, step.service, step)

    def _undone(self, reply: Message) -> list[Effect]:
        index: int = reply.body
        if self.status[index] not in (UNDOING, RESTING):
            return []
        self.status[index] = UNDONE
        self.left -= 1
        if not self.left:
            forced = self.saga.completion == "forced"
            return [_CANCEL_REPLY, Append(("undone", index), forced), *self._aborted()]
        effects: list[Effect] = [Append(("undone", index))]
        self._precede(index, effects)
        return effects

    def _precede(self, index: int, effects: list[Effect]) -> None:
        """Undo what can be undone now that this step is undone."""
        shape = self.shape
        status = self.status
        started = False
        for predecessor in shape.before[index]:
            # What something came after was done: it cannot be unknown.
            if status[predecessor] == DONE and not any(status[one] >= DONE for one in shape.next[predecessor]):
                effects.append(self._undo(predecessor))
                started = True
        if started:
            effects.append(self.saga.wait)
        elif UNDOING not in status:
            effects.append(_CANCEL_REPLY)

    def _aborted(self) -> list[Effect]:
        self.state = "aborted"
        how = "was refused" if self.status[self.cause] == REFUSED else "gave no answer in time"
        return [Answer("aborted", f"step '{self.steps[self.cause].name}' {how}"), _FORGET]

    # --- silence and errors --------------------------------------------------------------------------------------------------

    def _overdue(self, timer: Timer) -> list[Effect]:  # noqa: ARG002 - the table passes the event
        """Send every command without a reply again, or give up."""
        status = self.status
        late = [index for index, one in enumerate(status) if one in (RUNNING, UNDOING)]
        effects: list[Effect] = [Suspect(self.steps[index].service) for index in late]
        for index in late:
            if status[index] == RUNNING and self._spent(index):
                self._replace(RUNNING, UNKNOWN)  # the others are overdue as well
                return effects + self._turn_back(index, UNKNOWN)
        again = []
        for index in late:
            if status[index] == UNDOING and self._spent(index):
                effects += self._stick(index, self._given_up(index))
            else:
                again.append(index)
        return effects + self._resend(again)

    def _error(self, reply: Message) -> list[Effect]:
        """Back off and send the command again, or give up: nothing was applied."""
        index, command = reply.body
        status = self.status
        back = command == "undo"
        if status[index] != (UNDOING if back else RUNNING):
            return []
        if self._spent(index):
            return self._stick(index, self._given_up(index)) if back else self._turn_back(index, UNKNOWN)
        status[index] = RESTING if back else PAUSED
        pause = SetTimer("backoff", 0.0, self.saga.policy.backoff.bound(self.attempts[index] - 1))
        return [pause] if (UNDOING if back else RUNNING) in status else [_CANCEL_REPLY, pause]

    def _again(self, timer: Timer) -> list[Effect]:  # noqa: ARG002 - the table passes the event
        """Send the commands that met an error again; the timer of others that wait for a reply goes on."""
        status = self.status
        waits = RUNNING in status or UNDOING in status
        effects = self._resend([index for index, one in enumerate(status) if one in (PAUSED, RESTING)])
        return effects[:-1] if waits else effects

    def _resend(self, indexes: list[int]) -> list[Effect]:
        """Send these commands once more, under the same identity, and wait for their replies."""
        policy = self.saga.policy
        effects: list[Effect] = []
        most = 0
        for index in indexes:
            attempt = self.attempts[index]
            step = self.steps[index]
            if self.status[index] in (UNDOING, RESTING):
                self.status[index] = UNDOING
                kind, endless = "undo", True
            else:
                self.status[index] = RUNNING
                endless = self._must_be_known(index)
                kind = "resolve" if attempt >= policy.attempts and step.kind != "retriable" else "do"
            self.attempts[index] = attempt + 1
            most = max(most, attempt)
            effects.append(Message(kind, self.tx, self.node, step.service, step))
            if endless and attempt == policy.alert_after:
                effects.append(Alert(f"{self._about(step)}: no success after {attempt} attempts to {kind} it"))
        if effects:
            effects.append(SetTimer("reply", policy.call_timeout, policy.backoff.bound(most)))
        return effects

    def _spent(self, index: int) -> bool:
        """Return whether a step has had all the attempts that it gets."""
        if self.status[index] == UNDOING:
            limit = self.saga.policy.compensation_attempts
            return limit is not None and self.attempts[index] >= limit
        return self.attempts[index] >= self.saga.policy.attempts and not self._must_be_known(index)

    def _must_be_known(self, index: int) -> bool:
        """Return whether this step may not be given up.

        So it is from the pivot on, and for the last step of a saga whose completion is not forced: the client may have got its answer.
        """
        return self.steps[index].kind != "compensatable" or (self.saga.completion == "lazy" and self.left == 1)

    # --- stuck ---------------------------------------------------------------------------------------------------------------

    def _stick(self, index: int, reason: str) -> list[Effect]:
        status = self.status
        status[index] = STUCK
        self.state = "stuck"
        alert = Alert(reason, stuck=True)
        return [alert] if RUNNING in status or UNDOING in status else [_CANCEL_REPLY, alert]

    def _freed(self, reply: Message) -> list[Effect]:
        """A reply while stuck: of another branch, or the late one that nobody expected any more."""
        forward = self.cause < 0
        if (reply.kind == "done") != forward:
            return []
        if self.status[reply.body] == STUCK:
            self.status[reply.body] = RUNNING if forward else UNDOING
            self._unstick()
        return self._done(reply) if forward else self._undone(reply)

    def _unstick(self) -> None:
        if STUCK not in self.status:
            self.state = "running" if self.cause < 0 else "compensating"

    def _retry(self, request: Request) -> list[Effect]:
        forward = self.cause < 0
        effects: list[Effect] = [Append(("retry", request.body))]
        for index, status in enumerate(self.status):
            if status == STUCK:
                effects.append(self._command(index) if forward else self._undo(index))
        effects.append(self.saga.wait)
        self._unstick()
        return effects

    def _skip(self, request: Request) -> list[Effect]:
        if not request.body:
            return [Alert(f"transaction {self.tx}: the operator's skip has no reason; it was not done")]
        forward = self.cause < 0
        skipped = [index for index, status in enumerate(self.status) if status == STUCK]
        effects: list[Effect] = [Append(("skip", index, request.body)) for index in skipped]
        self._replace(STUCK, DONE if forward else UNDONE)
        self.left -= len(skipped)
        self._unstick()
        if not self.left:
            if not forward:
                return effects + self._aborted()
            self.state = "committed"
            return [*effects, _COMMITTED, _FORGET]
        for index in skipped:
            if forward:
                self._follow(index, effects)
            else:
                self._precede(index, effects)
        return effects

    def _resolve(self, request: Request) -> list[Effect]:
        return [_CANCEL_REPLY, _CANCEL_BACKOFF, Append(("resolve", request.body)), *self._resolved(request.body)]

    def _resolved(self, reason: object) -> list[Effect]:
        self.state = "committed" if self.cause < 0 else "aborted"
        return [Answer("committed" if self.cause < 0 else "aborted", f"resolved by an operator: {reason}"), _FORGET]

    # --- recovery ------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Go on from the records; nothing is written, so that a crash in the middle of it changes nothing."""
        if not records:
            return []
        self._adopt(records[0][1])
        for record in records[1:]:
            self._replay(record)
        if records[-1][0] == "resolve":
            return self._resolved(records[-1][1])
        if self.cause >= 0:
            return [_DECIDED_ABORTED, *self._compensate()]
        status = self.status
        shape = self.shape
        self.left = sum(one != DONE for one in status)
        passed = shape.pivot >= 0 and status[shape.pivot] == DONE
        effects: list[Effect] = [_DECIDED_COMMITTED] if passed or not self.left else []
        if not self.left:
            self.state = "committed"
            return [*effects, _COMMITTED, _FORGET]
        effects += [self._command(index) for index in self._commanded()]
        effects.append(self.saga.wait)
        return effects

    def _replay(self, record: Record) -> None:
        kind = record[0]
        status = self.status
        if kind == "done":
            status[record[1]] = DONE
        elif kind == "undone":
            status[record[1]] = UNDONE
        elif kind == "skip":
            status[record[1]] = DONE if self.cause < 0 else UNDONE
        elif kind in ("refused", "unknown"):
            if self.cause < 0:
                self.cause = record[1]
                for index in self._commanded():
                    status[index] = UNKNOWN
            status[record[1]] = REFUSED if kind == "refused" else UNKNOWN

    def _commanded(self) -> list[int]:
        """Steps without a record whose predecessors are all done: they were commanded, or could have been."""
        status = self.status
        before = self.shape.before
        return [
            index
            for index, one in enumerate(status)
            if one == WAITING and all(status[predecessor] == DONE for predecessor in before[index])
        ]

    # --- the rest ------------------------------------------------------------------------------------------------------------

    def _ignore(self, event: object) -> list[Effect]:  # noqa: ARG002 - the table passes the event
        return []

    def _stray(self, event: object) -> list[Effect]:  # noqa: ARG002 - the table passes the event
        """Forget a saga again of which something comes although it is finished and forgotten."""
        return [_FORGET]

    def _replace(self, old: int, new: int) -> None:
        self.status[:] = [new if one == old else one for one in self.status]

    def _about(self, step: Step) -> str:
        return f"transaction {self.tx}: step '{step.name}' on {step.service}"

    def _given_up(self, index: int) -> str:
        return f"{self._about(self.steps[index])}: its compensation was given up after {self.attempts[index]} attempts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga(BuiltIn):
    """Orchestrated saga (Garcia-Molina and Salem 1987): a strategy with an orchestrator that records and commands, and one participant for each service.

    Attributes:
        policies: Timeouts and retries, or None for the scenario's.
        completion: Whether the last record is ``forced`` before the client is answered, or ``lazy``.

    Raises:
        ScenarioError: `completion` is neither.
    """

    policies: Policies | None = None
    completion: Literal["forced", "lazy"] = "forced"
    #: The policies in force.
    policy: Policies = field(init=False, repr=False, compare=False)
    #: The timer behind every first command.
    wait: SetTimer = field(init=False, repr=False, compare=False)

    name: ClassVar[str] = "saga"
    promise: ClassVar[Promise] = "decided"
    uses_broker: ClassVar[bool] = False
    hub: ClassVar[str] = ORCHESTRATOR
    label: ClassVar[str] = "orchestrated saga"
    timeouts: ClassVar = ("call_timeout",)
    asks: ClassVar = ("Transact",)

    def __post_init__(self) -> None:
        if self.completion not in ("forced", "lazy"):
            raise ScenarioError(f"completion is '{self.completion}'; it is 'forced' or 'lazy'", "saga")
        require(POLICIES, self.policies, "policies", "Saga")
        policy = self.policies or Policies()
        object.__setattr__(self, "policy", policy)
        object.__setattr__(self, "wait", SetTimer("reply", policy.call_timeout, policy.backoff.bound(0)))

    def machine(self, node: str, tx: int) -> Machine:
        """An orchestrator on the hub, a participant elsewhere."""
        return Orchestrator(node, tx, self) if node == ORCHESTRATOR else Participant(node, tx)

    def check(self, plan: Plan) -> str | None:
        """One line that says why this plan cannot be a saga, or None."""
        return check_plan(plan, ORCHESTRATOR)
