"""Steps of the protocol model in words, and as an event log that draws like one of the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, assert_never

from simtx.checker.explorer.model import Step
from simtx.checker.protocols.layout import REQUESTS, VARIANT_SHIFT, State
from simtx.checker.protocols.local import PAUSED, Reaction
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.reactions import ORPHAN, PUBLICATION, Action
from simtx.checker.protocols.rollout import BETWEEN
from simtx.checker.protocols.scope import BUDGETS
from simtx.checker.protocols.words import counted, describe, describe_event
from simtx.event_log.entries import DEAD_LETTER, BranchEnded, Durability, Vote, Worked, at_once
from simtx.event_log.log import EventLog, LogRecorder
from simtx.protocols import contract as c
from simtx.protocols.codec import encode
from simtx.protocols.names import BROKER, CLIENT, VOTE_STORE

_QUIET = ("set timer", "cancel timer", "forget", "suspect", "read the outbox")


def line(model: ProtocolModel, before: State, action: Action, after: State) -> str:
    """One step on one line: what happened, what the node did, and where it crashed."""
    text = _subject(model, before, action, after)
    if action.fail >= 0:
        text += f" (store operation {action.fail + 1} fails)"
    if "copy" in action.note:
        text += " (a copy stays in flight)"
    outcome = model.outcome(before, action)
    if outcome is None:
        return text
    text += _done(model, outcome)
    if "ack lost" in action.note:
        text += "; the acknowledgement is lost"
    if " lost" in action.note and "ack lost" not in action.note:
        text += "; what it was publishing is lost"
    if "restart" in action.note:
        text += "; it restarts" + _done(model, model.locals.outcomes(outcome.local, ("restart",))[0])
    return text


def _done(model: ProtocolModel, outcome: Reaction) -> str:
    """Describe what a node did, and what a crash made of it. Which rows a relay has read is said where they may come in another order."""
    count = len(outcome.program) if outcome.crashed < 0 else outcome.crashed
    rows = model.scope.overtakes > 0
    done = _list(outcome.program[:count], rows=rows)
    lost = _list(outcome.program[count:], rows=rows)
    text = f": {done}" if done else ""
    if outcome.crashed == PAUSED:
        return text + ", and will get no further"
    if outcome.crashed > 0:
        text += f"{',' if done else ':'} CRASH" + (f", never: {lost}" if lost else "")
    note = outcome.note
    if any(kind == "fault" for kind, _ in outcome.outputs):
        return f"{text}, and {note}" if done else f": {note}"
    return text + (f" [{note}]" if note else "")


def _list(program: Iterable[tuple[c.Effect, str]], *, rows: bool) -> str:
    told = (
        describe(effect, status)
        for effect, status in program
        if not isinstance(effect, c.ReadOutbox) or (rows and status.startswith("row"))
    )
    return ", ".join(words for words in told if words.startswith("read the outbox") or not words.startswith(_QUIET))


def _subject(model: ProtocolModel, before: State, action: Action, after: State) -> str:
    node = model.nodes[action.node] if action.node >= 0 else ""
    item = model.words(action.item) if action.item >= 0 else ""
    event = action.event[2] if action.event and action.event[0] == "event" else None
    about = (
        f" of transaction {action.event[1]}"
        if action.event and len(action.event) > 1 and model.scope.messages > 1 and action.event[1] >= 0
        else ""
    )
    match action.kind:
        case "request":
            return f"the request{about} reaches {node}" + (" again" if action.note == "again" else "")
        case "deliver" if isinstance(event, c.Done):
            return f"{item.replace(f' to {node}', '')} reaches {node}"
        case "deliver" | "redeliver" if isinstance(event, c.Delivery):
            again = " again" if action.kind == "redeliver" else ""
            told = f"the broker delivers {describe_event(event)}{about} to {node}{again}"
            written = model.items[action.item].message if action.item >= 0 else None
            return told + ("" if written is None else _misread(written, event.message))
        case "deliver" | "redeliver":
            return f"{item} arrives"
        case "timer":
            return f"{describe_event(_given(event))}{about} fires on {node}"
        case "lose":
            return f"{item} is lost" + ("" if before[4] != after[4] else f": {model.nodes[action.node]} is down")
        case "store":
            return f"the broker stores {item}"
        case "log" if action.fail >= 0:
            return f"the vote store fails upon {item}"
        case "log":
            request = model.items[action.item]
            assert request.request is not None  # noqa: S101 - an invariant of such items
            there = model.observations[after[3]].vote(request.tx, request.request.voter)
            return f"{item} reaches the vote store: '{there}' is there"
        case "unheard":
            lost = (before[4] - after[4]) >> 4 * BUDGETS.index("losses") & 15
            why = "is lost" if lost else "comes too late"
            what = "the ack" if item.startswith("the ack") else item
            return f"{what} {why}, {node} gets a failure"
        case "continue":
            return f"the local transaction{about} that was under way on {node} goes on"
        case "crash":
            return f"{node} crashes"
        case "restart":
            return f"{node} restarts"
        case "dead-letter":
            return f"the broker gives up {item}: a dead letter"
        case "skip":
            return f"{node} cannot read {item}, and leaves it out"
        case "upgrade":
            level = model.level(after[5], action.node)
            if model.level(before[5], action.node) == BETWEEN:
                return f"{node} writes the new version from now on"
            return f"{node} is upgraded" + (", and still writes the old version" if level == BETWEEN else "")
        case "downgrade":
            thrown = ", and throws away what it cannot read any more" if before[2] != after[2] else ""
            return f"{node} goes back to the old version{thrown}"
        case "intervene":
            return f"{describe_event(_given(event))}{about} reaches {node}"
        case "rest":
            return "nothing more can happen"
        case _:
            assert_never(action.kind)


def _given(event: c.Event | None) -> c.Event:
    """The event of an action that has one."""
    assert event is not None  # noqa: S101 - timers and interventions have
    return event


def _misread(written: c.Message, got: c.Message) -> str:
    """Describe what a consumer of another version reads otherwise than its producer has written it; empty: nothing."""
    if written == got:
        return ""
    found = _difference(encode(written), encode(got), ())
    if found is None:
        return ""
    path, old, new = found
    return f" (which reads {'.'.join(path)} as {new}; its producer has written {old})"


def _difference(old: Any, new: Any, path: tuple[str, ...]) -> tuple[tuple[str, ...], str, str] | None:
    """The first difference between two encoded values: where, and both."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        pairs = ((name, old[name], new[name]) for name in old)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = ((str(index), one, other) for index, (one, other) in enumerate(zip(old, new, strict=True)))
    else:
        return None if old == new else (path, _brief(old), _brief(new))
    for name, one, other in pairs:
        found = _difference(one, other, (*path, name))
        if found is not None:
            return found
    return None


def _brief(value: Any) -> str:
    """An encoded value, or how long it is."""
    if isinstance(value, list):
        return counted(len(value), "item") if value else "nothing"
    return f"'{value}'" if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def lines(model: ProtocolModel, path: Sequence[Step[State]]) -> list[str]:
    """Every step of a path on one line; the first says what the plan is."""
    first = path[0][1]
    scope = model.scope
    services = counted(len(scope.services()), "service")
    steps = f", {scope.participants} steps" if scope.revisit else ""
    told = [f"{services}{steps}; {model.variants[first[5] >> VARIANT_SHIFT & REQUESTS][0]}"]
    for (_, before), (action, after) in pairwise(path):
        assert isinstance(action, Action)  # noqa: S101 - only the first step of a path has none
        told.append(line(model, before, action, after))
    return told


def trace(model: ProtocolModel, path: Sequence[Step[State]]) -> EventLog:
    """A path as an event log; the number of the step stands for the time, one millisecond each."""
    now = [0.0]
    recorder = LogRecorder(lambda: now[0])
    scribe = _Scribe(model, recorder)
    for number, ((_, before), (action, after)) in enumerate(pairwise(path), start=2):
        now[0] = number / 1000
        assert isinstance(action, Action)  # noqa: S101 - as above
        scribe.step(before, action)
        scribe.settle(action, after)
    # A crash after the last entry of a transaction belongs to its time as well: the story may be about just that.
    for tx in recorder.trace().transactions:
        recorder.log("unfinished", "", tx)
    return recorder.trace()


class _Scribe:
    """Writes the event log of a path.

    Attributes:
        sent: Entries of the messages that are in flight, the oldest first: equal ones cannot be told apart.
        published: The same of publications on their way to the broker.
        last: The last entry of each.
    """

    def __init__(self, model: ProtocolModel, recorder: LogRecorder) -> None:
        self.model = model
        self.recorder = recorder
        self.sent: dict[c.Message, list[int]] = {}
        self.published: dict[c.Message, list[int]] = {}
        self.last: dict[c.Message, int] = {}

    def settle(self, action: Action, after: State) -> None:
        """Log the fate of publications that are no longer on their way: stored, or dropped."""
        flying = Counter(
            item.message for item in map(self.model.items.__getitem__, after[1]) if item.kind in (PUBLICATION, ORPHAN)
        )
        stored = self.model.items[action.item] if action.kind == "store" else None
        for message, numbers in self.published.items():
            while len(numbers) > flying[message]:
                here = stored is not None and stored.message == message
                # of several equal ones, what its producer has given up left first
                number = numbers.pop(0 if not here or stored is None or stored.kind == ORPHAN else -1)
                kind, node, peer = ("receive", BROKER, message.sender) if here else ("drop", message.sender, "broker")
                self._passes(kind, node, message, number, "network", peer)

    def _passes(
        self, kind: str, node: str, message: c.Message, cause: int | None, actor: str, peer: str, detail: str = ""
    ) -> int:
        """Log what becomes of a message between the nodes."""
        return self.recorder.log(
            kind, node, message.tx, cause, actor=actor, peer=peer, name=message.kind, detail=detail
        )

    def _cause(self, message: c.Message, *, stays: bool = False) -> int | None:
        """The entry of a message that arrives or is lost; a copy of it may stay in flight."""
        numbers = self.sent.get(message)
        if not numbers:
            return self.last.get(message)
        return numbers[0] if stays else numbers.pop(0)

    def step(self, before: State, action: Action) -> None:
        """One step."""
        model, log = self.model, self.recorder.log
        item = model.items[action.item] if action.item >= 0 else None
        message = item.message if item is not None else None
        if action.kind == "lose" and message is not None:
            self._passes("drop", message.sender, message, self._cause(message), "network", message.to)
            return
        if action.kind == "dead-letter" and message is not None:
            self._passes("drop", BROKER, message, self.last.get(message), BROKER, message.to, DEAD_LETTER)
        if action.node < 0:
            return
        if action.kind == "skip" and message is not None:
            self._passes("refuse", message.to, message, self.last.get(message), "host", BROKER)
            return
        node = model.nodes[action.node]
        outcome = model.outcome(before, action)
        if outcome is None:
            return
        if action.kind in ("crash", "restart"):
            log(action.kind, node, -1, actor="fault")
            self._program(node, -1, None, outcome)
        else:
            cause = None if action.kind == "continue" else self._arrival(node, action, message)
            self._program(node, action.event[1], cause, outcome)
            if outcome.crashed > 0:
                log("crash", node, -1, actor="fault")
        if "restart" in action.note:
            log("restart", node, -1, actor="fault")
            self._program(node, -1, None, model.locals.outcomes(outcome.local, ("restart",))[0])

    def _arrival(self, node: str, action: Action, message: c.Message | None) -> int | None:
        log = self.recorder.log
        tx: int = action.event[1]
        event: c.Event = action.event[2]
        if isinstance(event, c.Message):
            cause = self._cause(event, stays="copy" in action.note)
            return log("receive", node, tx, cause, actor=event.sender, peer=event.sender, name=event.kind)
        if isinstance(event, c.Delivery):
            sent = event.message
            return log("deliver", node, tx, self.last.get(sent), actor=sent.sender, peer=BROKER, name=sent.kind)
        if isinstance(event, c.Request):
            return log("request", node, tx, actor=CLIENT, peer=CLIENT, name=event.kind)
        if isinstance(event, c.Timer):
            return None if tx < 0 else log("timer", node, tx, name=event.kind)
        if event.status == "done" and isinstance(event.value, tuple):
            voter, vote = event.value
            return log("logged", node, tx, actor=VOTE_STORE, peer=VOTE_STORE, name=voter, detail=Vote(vote).text())
        if message is not None and event.status == "done":
            return self._passes("confirm", node, message, self.last.get(message), BROKER, BROKER)
        return None

    def _program(self, node: str, tx: int, cause: int | None, outcome: Reaction) -> None:
        count = len(outcome.program) if outcome.crashed < 0 else outcome.crashed
        for effect, status in outcome.program[:count]:
            self._effect(node, tx, cause, effect, status)
        for effect, _ in outcome.program[count:] if outcome.crashed > 0 else ():
            words = describe(effect)
            if not words.startswith(_QUIET):
                peer = effect.to if isinstance(effect, c.Message) else ""
                name = f"send {effect.kind}" if isinstance(effect, c.Message) else words
                self.recorder.log("lost", node, tx, cause, peer=peer, name=name)

    def _effect(self, node: str, tx: int, cause: int | None, effect: c.Effect, status: str) -> None:
        log = self.recorder.log
        if tx < 0:  # a recovery tells in its messages which transaction it is about; with one, it is that one
            tx = effect.tx if isinstance(effect, c.Message) else 0 if self.model.scope.messages == 1 else -1
        if isinstance(effect, c.Message):
            self.last[effect] = log("send", node, tx, cause, peer=effect.to, name=effect.kind)
            self.sent.setdefault(effect, []).append(self.last[effect])
        elif isinstance(effect, c.Publish):
            message = effect.message
            self.last[message] = log("publish", node, message.tx, cause, peer=BROKER, name=message.kind)
            self.published.setdefault(message, []).append(self.last[message])
        elif isinstance(effect, c.Append):
            log("append", node, tx, cause, name=str(effect.record[0]), detail=Durability(effect.forced).text())
        elif isinstance(effect, c.Transact | c.Execute | c.Prepare):
            forced = not (isinstance(effect, c.Execute) or status in ("duplicate", "failed"))
            detail = Worked(isinstance(effect, c.Transact) and effect.compensation, status, forced).text()
            log(type(effect).__name__.lower(), node, tx, cause, name=effect.tag, detail=detail)
        elif isinstance(effect, c.Commit):
            log("commit", node, tx, cause, name="commit", detail=BranchEnded(forced=True).text())
        elif isinstance(effect, c.Rollback):
            log("rollback", node, tx, cause, name="rollback", detail=BranchEnded(effect.forced).text())
        else:
            entry = at_once(effect)
            if entry is not None:
                kind, peer, name, detail = entry
                log(kind, node, tx, cause, peer=peer, name=name, detail=detail)
