"""Participant of Try-Confirm-Cancel: reserves, and then uses or releases what it has reserved, each in one local transaction behind a fence.

Law: a branch is reserved at most once, and a reservation is confirmed or cancelled at most once; after a Cancel no Try reserves any more. This holds
whatever commands arrive, however often and in whatever order.

Sources: the fence is that of Seata ("TCC fence", version 1.5) and of DTM ("sub-transaction barrier"): an empty cancel, a suspended Try, and commands that
come twice are recognised by rows in the service's own database.

Theory of operation. Each command writes its row in the same local transaction as its work; otherwise a crash between the two would leave a reservation that nobody
knows of.

- **Try** writes the row (tx, "try"): ``tried`` with the reservation, or ``refused``. A copy finds the row, and gets the same answer.
- **Confirm** writes (tx, "confirm"). A copy finds it: idempotent.
- **Cancel** writes (tx, "cancel"), and looks at the row of Try. ``tried``: the reservation is released. ``refused``: there is nothing to release. No row: an *empty
  cancel*; it writes a tombstone there, so that a Try that comes late is *suspended*: it finds the tombstone, reserves nothing, and is answered with a refusal.
- A local transaction that fails for a passing reason writes nothing. A Try says so; Confirm and Cancel are silent, and the coordinator repeats them.

What a reservation is, for each operation of the branch:

- *Taking* (a negative ``add``) under its guard: the amount goes from the key to ``KEY~held``, so that nobody else can have it. Confirm takes it from there; Cancel
  puts it back. A quantity that counts the keys with the prefix of KEY counts what is held, too: a reservation is no loss.
- *Giving* (an ``add`` without a guard): the amount is announced under ``incoming~KEY``, where nobody can spend it. Confirm gives it; Cancel takes the announcement back.
- *Giving up to a limit* (an ``add`` with a guard): the room must not be taken by somebody else, or Confirm could be refused; so it is given at once, and Cancel
  takes it back.
- A ``read`` looks whether its guard holds. An overwriting ``set`` cannot be reserved, and is not played.

So Confirm and Cancel have no guards, and the business can refuse neither. A branch that only reads writes no row, and is neither confirmed nor cancelled.

Invariants: `command` is set exactly in state ``working``; `waiting` is empty in state ``idle``.

Known weakness: rows have to be kept longer than the longest delay of a message, tombstones too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final, NamedTuple

from simtx.protocols import on
from simtx.protocols.bodies import Form, operations_of_steps
from simtx.protocols.contract import Branch, Done, Effect, Forget, Machine, Message, Operation, Transact, Transition
from simtx.protocols.operations import writes

_TRIED: Final = Branch("tried")
_REFUSED: Final = Branch("refused")
_CONFIRMED: Final = Branch("confirmed")
_CANCELLED: Final = Branch("cancelled")
_FORGET: Final = Forget()


class Reservation(NamedTuple):
    """Operations of the three commands of a branch."""

    attempt: tuple[Operation, ...]
    confirm: tuple[Operation, ...]
    cancel: tuple[Operation, ...]


def reservation(operations: Sequence[Operation]) -> Reservation:
    """The operations of Try, Confirm and Cancel; see above for what is reserved how."""
    attempt: list[Operation] = []
    confirm: list[Operation] = []
    cancel: list[Operation] = []
    for one in operations:
        amount = one.amount
        if one.kind != "add":
            attempt.append(one)
        elif amount < 0:
            held = f"{one.key}~held"
            attempt += [one, Operation(held, "add", -amount)]
            confirm.append(Operation(held, "add", amount))
            cancel += [Operation(one.key, "add", -amount), Operation(held, "add", amount)]
        elif one.low is None and one.high is None:
            incoming = replace(one, key=f"incoming~{one.key}")
            attempt.append(incoming)
            confirm += [one, replace(incoming, amount=-amount)]
            cancel.append(replace(incoming, amount=-amount))
        else:
            attempt.append(one)
            cancel.append(Operation(one.key, "add", -amount))
    return Reservation(tuple(attempt), tuple(confirm), tuple(cancel))


class TccParticipant(Machine):
    """One service's part in one transaction.

    Attributes:
        command: The command under way, or None.
        waiting: Commands that wait for it.
    """

    __slots__ = ("command", "waiting")

    role: ClassVar[str] = "participant"
    initial: ClassVar[str] = "idle"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.message("idle", "try", "take", ("working",), "reserve, write the row"),
        on.message("idle", "confirm", "take", ("working",), "use what is reserved, write the row"),
        on.message("idle", "cancel", "take", ("working",), "release what is reserved; no row: tombstone"),
        *(on.message("working", kind, "queue", ("working",), "wait") for kind in ("try", "confirm", "cancel")),
        on.done("working", "tried", "tell_tried", ("idle", "working"), "TRIED, REFUSED or FAILED"),
        on.done("working", "confirmed", "tell_ended", ("idle", "working"), "CONFIRMED; failed: silence"),
        on.done("working", "cancelled", "tell_ended", ("idle", "working"), "CANCELLED; failed: silence"),
    )
    bodies: ClassVar[Mapping[str, Form]] = dict.fromkeys(("try", "confirm", "cancel"), operations_of_steps)

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.command: Message | None = None
        self.waiting: tuple[Message, ...] = ()

    def take(self, command: Message) -> list[Effect]:
        """Begin with a command."""
        self.state = "working"
        self.command = command
        return [self.transaction(command)]

    def queue(self, command: Message) -> list[Effect]:
        """One local transaction at a time."""
        self.waiting += (command,)
        return []

    def transaction(self, command: Message) -> Transact:
        """The local transaction of a command: its work and its row."""
        operations, steps = command.body
        tx = self.tx
        parts = reservation(operations)
        if command.kind == "try":
            if not writes(operations):
                return Transact("tried", parts.attempt, steps=tuple(steps))
            return Transact("tried", parts.attempt, (tx, "try"), _TRIED, _REFUSED, steps=tuple(steps))
        if command.kind == "confirm":
            return Transact("confirmed", parts.confirm, (tx, "confirm"), _CONFIRMED, finishes=True)
        return Transact(
            "cancelled",
            parts.cancel,
            (tx, "cancel"),
            _CANCELLED,
            undoes=(tx, "try"),
            undone_if="tried",
            steps=tuple(steps),
            compensation=True,
        )

    def tell_tried(self, done: Done) -> list[Effect]:
        """Say what stands in the row of Try: a tombstone is a refusal."""
        outcome = done.value if done.status == "duplicate" else done.status
        return self.reply({"done": "tried", "tried": "tried", "failed": "failed"}.get(str(outcome), "refused"))

    def tell_ended(self, done: Done) -> list[Effect]:
        """Say that it is done, now or before; after a passing failure the coordinator asks again."""
        return self.reply("" if done.status == "failed" else done.kind)

    def reply(self, kind: str) -> list[Effect]:
        """Answer the command under way, unless `kind` is empty, and begin with the next one."""
        command = self.command
        assert command is not None  # noqa: S101 - an invariant: a local transaction was under way
        effects: list[Effect] = [Message(kind, self.tx, self.node, command.sender)] if kind else []
        if self.waiting:
            self.command, *others = self.waiting
            self.waiting = tuple(others)
            return [*effects, self.transaction(self.command)]
        self.command = None
        self.state = "idle"
        return [*effects, _FORGET]
