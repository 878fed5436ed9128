"""Effects and events in a few words, for stories."""

from __future__ import annotations

from typing import Any

from simtx.protocols import (
    Alert,
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Done,
    Effect,
    Execute,
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
    if isinstance(effect, Message):
        return f"send {describe_event(effect)} to {effect.to}"
    if isinstance(effect, Append):
        return f"{'force' if effect.forced else 'lazily write'} record '{effect.record[0]}'"
    if isinstance(effect, Transact | Execute | Prepare):
        steps = f" of step {', '.join(map(str, effect.steps))}" if effect.steps else ""
        return f"{type(effect).__name__.lower()} '{effect.tag}'{steps}"
    if isinstance(effect, Publish):
        return f"publish {describe_event(effect.message)} for {effect.message.to}"
    if isinstance(effect, Answer | Decided):
        return f"{'answer' if isinstance(effect, Answer) else 'decide'} {effect.outcome}"
    if isinstance(effect, SetTimer | CancelTimer):
        return f"{'set' if isinstance(effect, SetTimer) else 'cancel'} timer '{effect.kind}'"
    if isinstance(effect, Commit | Rollback):
        return "commit the branch" if isinstance(effect, Commit) else "roll the branch back"
    if isinstance(effect, ReadOutbox):
        return "read the outbox"
    if isinstance(effect, MarkOutbox):
        return f"mark outbox row {', '.join(map(str, effect.ids))}"
    if isinstance(effect, Suspect):
        return f"suspect {effect.node}"
    if isinstance(effect, Alert):
        return f"alert: {effect.reason}"
    return type(effect).__name__.lower()


def describe_event(event: Any) -> str:
    """An event or a message in a few words; a step that it is about is named."""
    if isinstance(event, Request):
        return "the client's request" if event.kind == "begin" else f"the operator's '{event.kind}'"
    if isinstance(event, Timer):
        return f"timer '{event.kind}'"
    if isinstance(event, Done):
        return f"{event.kind}: {event.status}"
    message = event if isinstance(event, Message) else event.message
    body = message.body
    step = getattr(body, "index", None) if hasattr(body, "operations") else getattr(body, "step", None)
    if isinstance(body, int):
        step = body
    elif isinstance(body, tuple) and len(body) == 2 and isinstance(body[0], int):
        step = body[0]
    return f"{message.kind}{'' if step is None else f' (step {step})'}"
