"""Participant of an orchestrated saga: runs single steps, each one a local transaction with an idempotency row.

Law: whatever commands arrive, however often and in whatever order, the action of a step takes effect at most once; its compensation takes effect
at most once and only after the action did; and once a step is reported as refused or undone, its action can never take
effect any more.

Source: the inbox row and the tombstone ("empty compensation", "no hanging action") as in DTM and Seata; the idempotent consumer of
Richardson, "Microservices Patterns", 2018, chapter 3.

Theory of operation. All memory is in the store: the row (tx, step, "action") holds ``done``, ``refused`` or ``tombstone``, and the row
(tx, step, "compensation") holds ``undone``. Each is written in the same local transaction as the effect that it speaks of. A duplicate command finds its
row and gets the same reply again.

- A refused action is stored as well. This is one forced write that a naive saga saves. Without it, this happens: the action is refused, the reply
  goes out, the orchestrator compensates the other steps and forgets; then a duplicate of the command arrives,
  the guard would now say yes, and a step of an aborted saga takes effect. Only a retriable step stores no refusal: it comes after the
  pivot, it has to be done in the end, and a stored refusal would make the operator's retry pointless.
- A compensation without its action writes a tombstone, which refuses the late action.
- ``resolve`` asks how an action has ended. If it has not run, it is fenced by a tombstone, so that the answer is definite.
- A transient failure writes nothing and is reported as ``error``, as is a compensation that a guard refuses: the orchestrator retries.

The machine is blank between commands and is forgotten then; it needs no log and no recovery of its own. Commands that arrive while another one
of the same transaction is under way wait in order.

Invariants: `command` is set exactly in state ``working``; `pending` is empty in state ``idle``.

Known weakness: the rows have to be kept longer than the longest delay of a message; whoever prunes them earlier gives up the law.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.bodies import Form, step
from simtx.protocols.contract import Branch, Done, Effect, Forget, Machine, Message, Step, Transact, Transition
from simtx.protocols.names import TOMBSTONE

_DONE: Final = Branch("done")
_REFUSED: Final = Branch("refused")
_UNDONE: Final = Branch("undone")
_TOMBSTONE: Final = Branch(TOMBSTONE)
_FORGET: Final = Forget()


class Participant(Machine):
    """One service's part in one saga.

    Attributes:
        command: The command under way, or None.
        pending: Commands that wait for it.
    """

    __slots__ = ("command", "pending")

    role: ClassVar[str] = "participant"
    initial: ClassVar[str] = "idle"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.message("idle", "do", "_command", ("working",), "run the action"),
        on.message("idle", "undo", "_command", ("working",), "run the compensation"),
        on.message("idle", "resolve", "_command", ("working",), "look the action up, fence it"),
        on.message("working", "do", "_queue", ("working",), "wait"),
        on.message("working", "undo", "_queue", ("working",), "wait"),
        on.message("working", "resolve", "_queue", ("working",), "wait"),
        on.done("working", "action", "_acted", ("idle", "working"), "reply done, refused or error"),
        on.done("working", "compensation", "_compensated", ("idle", "working"), "reply undone or error"),
        on.done("working", "resolution", "_resolved", ("idle", "working"), "reply done, refused or error"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {"do": step, "undo": step, "resolve": step}

    def __init__(self, node: str, tx: int) -> None:
        self.node = node
        self.tx = tx
        self.state = "idle"
        self.command: Message | None = None
        self.pending: tuple[Message, ...] = ()

    def _command(self, command: Message) -> list[Effect]:
        self.state = "working"
        self.command = command
        return [self._transaction(command)]

    def _queue(self, command: Message) -> list[Effect]:
        self.pending += (command,)
        return []

    def _transaction(self, command: Message) -> Transact:
        """The local transaction of a command."""
        step: Step = command.body
        index = step.index
        kind = command.kind
        action = (self.tx, index, "action")
        if kind == "do":
            refused = None if step.kind == "retriable" else _REFUSED
            return Transact("action", step.operations, action, _DONE, refused, None, "done", (index,))
        if kind == "undo":
            key = (self.tx, index, "compensation")
            return Transact("compensation", step.compensation, key, _UNDONE, None, action, "done", (index,), True)
        return Transact("resolution", (), action, _TOMBSTONE)

    def _acted(self, done: Done) -> list[Effect]:
        status = done.status
        if status == "done" or status == "refused":
            return self._reply(status)
        if status == "failed":
            return self._error()
        return self._reply("done" if done.value == "done" else "refused")

    def _compensated(self, done: Done) -> list[Effect]:
        if done.status == "done" or done.status == "duplicate":
            return self._reply("undone")
        return self._error()

    def _resolved(self, done: Done) -> list[Effect]:
        if done.status == "duplicate" and done.value == "done":
            return self._reply("done")
        if done.status == "failed":
            return self._error()
        return self._reply("refused")

    def _error(self) -> list[Effect]:
        """Say that nothing was applied, and to which command: an error of a late action must not pass for one of the compensation."""
        command = self.command
        assert command is not None  # noqa: S101 - an invariant: a store operation was under way
        return self._reply("error", (command.body.index, command.kind))

    def _reply(self, kind: str, body: tuple[int, str] | None = None) -> list[Effect]:
        """Reply to the command under way, by default with the step's index, and take up the next one."""
        command = self.command
        assert command is not None  # noqa: S101 - as above
        reply = Message(kind, self.tx, self.node, command.sender, body or command.body.index)
        pending = self.pending
        if pending:
            self.command = pending[0]
            self.pending = pending[1:]
            return [reply, self._transaction(pending[0])]
        self.command = None
        self.state = "idle"
        return [reply, _FORGET]
