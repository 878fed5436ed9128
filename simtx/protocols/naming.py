"""Names of effects, in every world: in triggers, event logs, findings and errors.

Each function names all effects of the contract; a type checker refuses a new one that is missing here.
"""

from __future__ import annotations

from typing import Never, assert_never

from simtx.errors import ProtocolViolation
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Effect,
    Execute,
    Forget,
    LogOnce,
    MarkOutbox,
    Message,
    Prepare,
    Publish,
    ReadOutbox,
    Rollback,
    SetTimer,
    Suspect,
    Transact,
)
from simtx.protocols.names import BROKER, CLIENT, VOTE_STORE


def name(effect: Effect) -> str:
    """Name inside of an effect: the kind of a message or timer, the first word of a record, a tag, an outcome; else nothing."""
    match effect:
        case Message() | SetTimer() | CancelTimer():
            return effect.kind
        case Publish():
            return effect.message.kind
        case LogOnce():
            return effect.vote
        case Append() | Prepare():
            return str(effect.record[0])
        case Transact() | Execute() | ReadOutbox():
            return effect.tag
        case Answer() | Decided():
            return effect.outcome
        case Commit() | Rollback() | Acknowledge() | MarkOutbox() | Suspect() | Alert() | Forget():
            return ""
        case _:
            assert_never(effect)


def described(effect: Effect) -> str:
    """An effect in a few words, as findings and errors call it."""
    kind = type(effect).__name__
    match effect:
        case Message():
            return f"send of '{effect.kind}' to {effect.to}"
        case Publish():
            return f"publish of '{effect.message.kind}'"
        case LogOnce():
            return f"log-once of '{effect.vote}' for {effect.voter}"
        case Append():
            return f"{'forced' if effect.forced else 'lazy'} append of {effect.record[0]!r}"
        case Transact() | Execute() | Prepare():
            return f"{kind.lower()} '{effect.tag}'"
        case Answer() | Decided():
            return f"{kind.lower()} '{effect.outcome}'"
        case SetTimer() | CancelTimer():
            return f"{kind} '{effect.kind}'"
        case Commit() | Rollback() | ReadOutbox() | MarkOutbox() | Acknowledge() | Suspect() | Alert() | Forget():
            return kind.lower()
        case _:
            assert_never(effect)


def swallowed(effect: Effect) -> tuple[str, str] | None:
    """Name and peer of the ``lost`` entry for an effect that a crash has kept from happening; None: nobody could have noticed it."""
    match effect:
        case Message():
            return f"send {effect.kind}", effect.to
        case Publish():
            return f"publish {effect.message.kind}", BROKER
        case LogOnce():
            return f"log-once {effect.vote}", VOTE_STORE
        case Append():
            return f"append {effect.record[0]}", ""
        case Answer():
            return f"answer {effect.outcome}", CLIENT
        case SetTimer() | CancelTimer() | Forget() | Decided() | ReadOutbox() | MarkOutbox():
            return None
        case Transact() | Execute() | Prepare() | Commit() | Rollback() | Acknowledge() | Suspect() | Alert():
            return type(effect).__name__.lower(), ""
        case _:
            assert_never(effect)


class UnknownEffect(ProtocolViolation):
    """A machine has asked for something that is no effect."""


def unknown_effect(effect: Never, who: str) -> UnknownEffect:
    """The error of a host that meets something which is no effect; a type checker accepts a call only where all effects were dealt with.

    Args:
        effect: What was met.
        who: Who asked for it, and a verb: ``<Saga ...> asked for``.
    """
    return UnknownEffect(f"{who} {effect!r}, which is no effect")
