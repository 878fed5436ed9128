"""Effects and events in a few words, for stories."""

from __future__ import annotations

from typing import Any, assert_never

from simtx.protocols import (
    Acknowledge,
    Alert,
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Done,
    Effect,
    Execute,
    Forget,
    LogOnce,
    MarkOutbox,
    Message,
    Prepare,
    Publish,
    ReadOutbox,
    Request,
    Rollback,
    SetTimer,
    Suspect,
    Timer,
    Transact,
)


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def describe(effect: Effect, status: str = "") -> str:
    """An effect in a few words, for stories."""
    return _words(effect) + (f": {status}" if status else "")


def _words(effect: Effect) -> str:
    match effect:
        case Message():
            return f"send {describe_event(effect)} to {effect.to}"
        case Append():
            return f"{'force' if effect.forced else 'lazily write'} record '{effect.record[0]}'"
        case Transact() | Execute() | Prepare():
            steps = f" of step {', '.join(map(str, effect.steps))}" if effect.steps else ""
            return f"{type(effect).__name__.lower()} '{effect.tag}'{steps}"
        case Publish():
            return f"publish {describe_event(effect.message)} for {effect.message.to}"
        case LogOnce():
            return f"log once '{effect.vote}' for {effect.voter}"
        case Answer():
            return f"answer {effect.outcome}"
        case Decided():
            return f"decide {effect.outcome}"
        case SetTimer():
            return f"set timer '{effect.kind}'"
        case CancelTimer():
            return f"cancel timer '{effect.kind}'"
        case Commit():
            return "commit the branch"
        case Rollback():
            return "roll the branch back"
        case ReadOutbox():
            return "read the outbox"
        case MarkOutbox():
            return f"mark outbox row {', '.join(map(str, effect.ids))}"
        case Suspect():
            return f"suspect {effect.node}"
        case Alert():
            return f"alert: {effect.reason}"
        case Acknowledge() | Forget():
            return type(effect).__name__.lower()
        case _:
            assert_never(effect)


def describe_event(event: Any) -> str:
    """An event or a message in a few words; a step that it is about is named."""
    if isinstance(event, Request):
        return "the client's request" if event.kind == "begin" else f"the operator's '{event.kind}'"
    if isinstance(event, Timer):
        return f"timer '{event.kind}'"
    if isinstance(event, Done):
        if event.status == "done" and isinstance(event.value, tuple):
            return f"{event.kind}: {' '.join(map(str, event.value))}"
        return f"{event.kind}: {event.status}"
    message = event if isinstance(event, Message) else event.message
    body = message.body
    step = getattr(body, "index", None) if hasattr(body, "operations") else getattr(body, "step", None)
    if isinstance(body, int):
        step = body
    elif isinstance(body, tuple) and len(body) == 2 and isinstance(body[0], int):
        step = body[0]
    return f"{message.kind}{'' if step is None else f' (step {step})'}"
