"""What is encoded comes back equal, and nothing else comes back at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.protocols import (
    Append,
    Branch,
    Delivery,
    Done,
    Message,
    Operation,
    Plan,
    Prepare,
    Request,
    SetTimer,
    Step,
    Transact,
)
from simtx.protocols.choreography import StepEvent
from simtx.protocols.codec import CodecError, decode, dumps, encode, loads
from tests.amounts import many

numbers = st.floats(allow_nan=False) | st.integers()
operations = st.builds(
    Operation,
    st.text(max_size=5),
    st.sampled_from(["add", "set", "read", "refuse"]),
    numbers,
    st.none() | numbers,
    st.none() | numbers,
)
steps = st.builds(
    Step,
    st.integers(0, 9),
    st.text(max_size=5),
    st.text(max_size=5),
    st.lists(operations, max_size=3).map(tuple),
    st.lists(operations, max_size=3).map(tuple),
    st.sampled_from(["compensatable", "pivot", "retriable"]),
    st.lists(st.integers(0, 5)).map(tuple),
)
plans = st.builds(Plan, st.integers(0), st.lists(steps, max_size=3).map(tuple))
bodies = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5) | plans | steps,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), inner, max_size=3)
        | st.sets(st.integers() | st.text(max_size=3), max_size=3)
        | st.builds(StepEvent, st.integers(), st.integers(), st.tuples(st.integers()), plans)
    ),
    max_leaves=8,
)
messages = st.builds(Message, st.text(max_size=8), st.integers(-1), st.text(max_size=8), st.text(max_size=8), bodies)


@pytest.mark.more
@settings(max_examples=many(40, 100))
@given(
    messages
    | st.builds(Delivery, messages, st.integers(0))
    | st.builds(Request, st.integers(0), st.none() | plans)
    | st.builds(Append, st.lists(bodies, max_size=3).map(tuple), st.booleans())
    | bodies
)
def test_every_value_comes_back_equal_and_of_the_same_type(value: object) -> None:
    back = loads(dumps(value))
    assert back == value
    assert type(back) is type(value)
    assert dumps(back) == dumps(value)  # 1 and 1.0 and True are equal, but not the same


def test_effects_come_back_equal() -> None:
    message = Message("x", 3, "a", "b", (1, "two"))
    for effect in (
        Transact(
            "t", (Operation("k"),), (1, 2, "action"), Branch("done", (message,)), None, (1, 2), "done", (0,), True
        ),
        Prepare("p", (), ("prepared", "hub"), (1, "branch"), (0, 1)),
        SetTimer("reply", 1.5, 0.25),
        Done("t", "duplicate", "done"),
    ):
        assert loads(dumps(effect)) == effect


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no JSON"),
        ('{"$":"Machine"}', "no class"),
        ('{"$":"system","items":[]}', "no class"),
        ('{"$":["Message"]}', "no class"),
        ('{"no":"tag"}', "no class"),
        ('{"$":"Message","kind":"a","tx":1,"sender":"b"}', "without 'to'"),
        ('{"$":"Message","kind":"a","tx":"1","sender":"b","to":"c"}', "Message.tx is str, not int"),
        ('{"$":"Message","kind":7,"tx":1,"sender":"b","to":"c"}', "Message.kind is int, not str"),
        ('{"$":"list"}', "without items"),
        ('{"$":"set","items":[{"$":"list","items":[]}]}', "cannot"),
        ('{"$":"dict","items":[1]}', "cannot"),
        ("[" * 100 + "]" * 100, "nested"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_not_ours_is_refused_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(CodecError, match=problem) as refusal:
        loads(text)
    assert "\n" not in str(refusal.value)


def test_unknown_fields_are_ignored_and_missing_ones_have_their_default() -> None:
    coded = encode(Step(0, "a", "s", ()))
    coded["colour"] = "red"
    del coded["after"]
    assert decode(json.loads(json.dumps(coded))) == Step(0, "a", "s", ())


def test_objects_of_unregistered_classes_do_not_travel() -> None:
    with pytest.raises(CodecError, match="object cannot travel"):
        encode((object(),))
