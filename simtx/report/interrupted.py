"""Adds, for the eye, what a process that was killed could not write into the event log itself.

A simulated crash writes down which effects it has swallowed (``lost``). A process that dies of SIGKILL writes nothing. But its log says
what each handler had asked for (``handle``, ``recover``) and what it had come to; the rest is lost, unless it is found on the disk
afterwards: among the records that the next incarnation was rebuilt from, or in the store's own history.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from simtx.conformance.programs import EFFECTS, SILENT, is_of
from simtx.event_log.entries import Handled, Process, Recovered, Worked
from simtx.event_log.log import LogEntry
from simtx.protocols import Append, Commit, Effect, Execute, Prepare, Record, Transact
from simtx.protocols.codec import CodecError, decode
from simtx.protocols.naming import swallowed

_STORE: Final = "store"
"""Actor of an ``apply`` that stems from the store's history: its process did not live to log it."""


def completed(events: Sequence[LogEntry]) -> list[LogEntry]:
    """The entries of one transaction with those that killed processes still owe: ``lost`` effects, local transactions of the store.

    Args:
        events: All entries of one transaction and the crashes in its time, oldest first.

    Returns:
        The same, in the same order; entries that were added have negative ids.
    """
    numbers = itertools.count(-1, -1)
    whole: list[LogEntry] = []
    for position, event in enumerate(events):
        if event.kind == "apply" and event.actor == _STORE:
            prepared = any(one.kind == "prepare" and one.node == event.node for one in events[:position])
            kind = "commit" if prepared else "transact"
            detail = Worked(event.name == "compensation", "done", forced=True).text()
            whole += [event, event._replace(id=next(numbers), kind=kind, name=kind, detail=detail)]
            continue
        whole.append(event)
        if (
            event.kind == "crash" and Process.read(event).name == event.node
        ):  # a real one; a simulated one says itself what it has swallowed
            for handler, effect in _unfinished(events, position):
                told = swallowed(effect)
                if told is not None:
                    number, (name, peer) = next(numbers), told
                    whole.append(
                        handler._replace(
                            id=number, time=event.time, kind="lost", cause=handler.id, peer=peer, name=name, detail=""
                        )
                    )
    return whole


def _unfinished(events: Sequence[LogEntry], crash: int) -> list[tuple[LogEntry, Effect]]:
    """The effects that the crash at this position has kept the machines of its node from, each with the entry of its handler."""
    node = events[crash].node
    handlers: dict[str, int] = {}  # role -> position of its last handler; a machine handles one event at a time
    for position in range(crash - 1, -1, -1):
        event = events[position]
        if event.node != node:
            continue
        if event.kind in ("crash", "restart") and Process.read(event).name == node:
            break
        if event.kind in ("handle", "recover"):
            handlers.setdefault(event.actor, position)
    survived = _survivors(events, crash)
    found = []
    for role, position in handlers.items():
        effects = _decoded(events[position], "effects")
        done = 0
        for event in events[position + 1 : crash]:
            if event.node == node and event.actor == role and event.kind in EFFECTS:
                matches = (i for i in range(done, len(effects)) if is_of(event, effects[i]))
                done = next(matches, done - 1) + 1
        left = [effect for effect in effects[done:] if not isinstance(effect, SILENT)]
        if left and _is_on_disk(left[0], survived):
            left = left[1:]
        found += [(events[position], effect) for effect in left]
    return found


def _survivors(events: Sequence[LogEntry], crash: int) -> tuple[list[Record], bool]:
    """The records that the node was rebuilt from after this crash, and whether its store holds a change that it had not logged."""
    node = events[crash].node
    records: list[Record] = []
    for event in events[crash + 1 :]:
        if event.node != node:
            continue
        if event.kind == "crash" and Process.read(event).name == node:
            break
        if event.kind == "recover":
            records += _decoded(event, "records")
    return records, any(event.kind == "apply" and event.actor == _STORE and event.node == node for event in events)


def _is_on_disk(effect: Effect, survived: tuple[list[Record], bool]) -> bool:
    """Return whether the effect that was under way when its process died has reached the disk all the same."""
    records, changed = survived
    if isinstance(effect, Append | Prepare):
        return effect.record in records
    return changed and isinstance(effect, Transact | Execute | Commit)


def _decoded(event: LogEntry, member: str) -> list[Any]:
    """A list in the detail of a ``handle`` or ``recover``; empty if its strategy's own classes are not known here."""
    detail = Handled if event.kind == "handle" else Recovered
    try:
        return [decode(one) for one in getattr(detail.read(event), member)]
    except (CodecError, ValueError, KeyError, TypeError):
        return []
