"""Lists of the contract are closed: what is not in all tables is found here, if a type checker does not find it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

import simtx.protocols
from simtx.conformance.programs import EFFECTS, LEAVES, SILENT
from simtx.protocols import (
    Acknowledge,
    Alert,
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Delivery,
    Done,
    Effect,
    Event,
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
    naming,
)
from simtx.protocols.codec import decode, encode

ALL_EFFECTS = get_args(Effect)
_MESSAGE = Message("kind", 1, "a", "b")
_SAMPLES: list[Any] = [
    _MESSAGE,
    Append(("record",)),
    Transact("tag", ()),
    Execute("tag", ()),
    Prepare("tag", (), ("record",)),
    Commit(),
    Rollback(),
    SetTimer("kind", 1.0),
    CancelTimer("kind"),
    Publish("tag", _MESSAGE),
    LogOnce("tag", "a", "yes"),
    Acknowledge(1),
    ReadOutbox("tag", 1),
    MarkOutbox((1,)),
    Answer("committed"),
    Decided("committed"),
    Suspect("b"),
    Alert("reason"),
    Forget(),
    Request(1),
    Delivery(_MESSAGE, 1),
    Timer("kind"),
    Done("tag", "done"),
]
SAMPLES = {type(one): one for one in _SAMPLES}


def test_a_log_says_of_every_effect_which_entry_it_leaves_or_that_it_leaves_none() -> None:
    assert sorted([*LEAVES, *SILENT], key=repr) == sorted(ALL_EFFECTS, key=repr)
    assert {kind.__name__.lower() for kind in LEAVES} - EFFECTS == {"message"}, (
        "entries are called as their effects, but for send and reject"
    )


@pytest.mark.parametrize("kind", dict.fromkeys([*ALL_EFFECTS, *get_args(Event)]), ids=lambda kind: kind.__name__)
def test_effects_and_events_are_public_and_can_travel(kind: type) -> None:
    assert getattr(simtx.protocols, kind.__name__) is kind
    assert decode(encode(SAMPLES[kind])) == SAMPLES[kind]


def test_something_else_is_no_effect() -> None:
    with pytest.raises(naming.UnknownEffect, match="it asked for 7, which is no effect"):
        raise naming.unknown_effect(7, "it asked for")  # type: ignore[arg-type]
