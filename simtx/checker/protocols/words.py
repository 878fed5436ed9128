"""Effects and events in a few words, for stories."""

from __future__ import annotations

from typing import assert_never

from simtx.protocols import contract as c


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def describe(effect: c.Effect, status: str = "") -> str:
    """An effect in a few words, for stories."""
    return _words(effect) + (f": {status}" if status else "")


def _words(effect: c.Effect) -> str:
    match effect:
        case c.Message():
            return f"send {describe_event(effect)} to {effect.to}"
        case c.Append():
            return f"{'force' if effect.forced else 'lazily write'} record '{effect.record[0]}'"
        case c.Transact() | c.Execute() | c.Prepare():
            steps = f" of step {', '.join(map(str, effect.steps))}" if effect.steps else ""
            return f"{type(effect).__name__.lower()} '{effect.tag}'{steps}"
        case c.Publish():
            return f"publish {describe_event(effect.message)} for {effect.message.to}"
        case c.LogOnce():
            return f"log once '{effect.vote}' for {effect.voter}"
        case c.Answer():
            return f"answer {effect.outcome}"
        case c.Decided():
            return f"decide {effect.outcome}"
        case c.SetTimer():
            return f"set timer '{effect.kind}'"
        case c.CancelTimer():
            return f"cancel timer '{effect.kind}'"
        case c.Commit():
            return "commit the branch"
        case c.Rollback():
            return "roll the branch back"
        case c.ReadOutbox():
            return "read the outbox"
        case c.MarkOutbox():
            return f"mark outbox row {', '.join(map(str, effect.ids))}"
        case c.Suspect():
            return f"suspect {effect.node}"
        case c.Alert():
            return f"alert: {effect.reason}"
        case c.Acknowledge() | c.Forget():
            return type(effect).__name__.lower()
        case _:
            assert_never(effect)


def describe_event(event: c.Event) -> str:
    """An event or a message in a few words; a step that it is about is named."""
    match event:
        case c.Request():
            return "the client's request" if event.kind == "begin" else f"the operator's '{event.kind}'"
        case c.Timer():
            return f"timer '{event.kind}'"
        case c.Done():
            if event.status == "done" and isinstance(event.value, tuple):
                return f"{event.kind}: {' '.join(map(str, event.value))}"
            return f"{event.kind}: {event.status}"
        case c.Message():
            return _message(event)
        case c.Delivery():
            return _message(event.message)
        case _:
            assert_never(event)


def _message(message: c.Message) -> str:
    body = message.body
    step = getattr(body, "index", None) if hasattr(body, "operations") else getattr(body, "step", None)
    if isinstance(body, int):
        step = body
    elif isinstance(body, tuple) and len(body) == 2 and isinstance(body[0], int):
        step = body[0]
    return f"{message.kind}{'' if step is None else f' (step {step})'}"
