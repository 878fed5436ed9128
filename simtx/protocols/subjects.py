"""Subject of an effect: whose message it is, also in a relay, which works for all transactions at once.

A fault that is aimed at one effect of one transaction has to find it in every world alike, whichever machine plays it: a dual write publishes in
the transaction's own machine, an outbox in the relay's. So the simulator and the real execution both ask here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from simtx.protocols.contract import Effect, MarkOutbox, Message, Publish
from simtx.protocols.naming import name

Row = Callable[[int], Message | None]
"""The message of an outbox row by its number, or None; a row that has just been marked counts."""


def events(effect: Effect, row: Row) -> list[Message]:
    """The events that an effect brings on their way: that of a publication, those of rows that are marked."""
    if isinstance(effect, Publish):
        return [effect.message]
    if isinstance(effect, MarkOutbox):
        return [message for message in map(row, effect.ids) if message is not None]
    return []


def cause_of(event: Message) -> Sequence[Any] | None:
    """The local transaction that an event says it comes from: (transaction, step, ``action`` or ``compensation``); None: it says nothing."""
    said: Sequence[Any] | None = getattr(event.body, "cause", None)  # of whatever class the body is
    return said


def aims_at(pattern: str, tx: int | None, effect: Effect, owner: int, row: Row) -> bool:
    """Return whether an effect is the one that is meant.

    Args:
        pattern: Name of the effect, such as ``Append``, or with what is inside, such as ``Append:commit``, ``MarkOutbox:step-done``.
        tx: The transaction that is meant, or None: any.
        effect: The effect.
        owner: The transaction of the machine that asks for it; negative for a long-running one, whose effect belongs to the
            transactions of the events that it is about.
        row: The outbox of the machine's node.
    """
    kind, _, inside = pattern.partition(":")
    if type(effect).__name__ != kind:
        return False
    about: Iterable[Message] = ()
    if owner < 0 or isinstance(effect, MarkOutbox):
        about = [message for message in events(effect, row) if tx is None or message.tx == tx]
    if tx is not None and not (any(True for _ in about) if owner < 0 else owner == tx):
        return False
    if not inside or name(effect) == inside:
        return True
    return isinstance(effect, MarkOutbox) and any(message.kind == inside for message in about)
