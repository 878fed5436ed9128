"""Processes at different versions understand each other as far as they can, and lose nothing where they cannot."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections import defaultdict, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.errors import SimtxError
from simtx.protocols import Message, Operation, Plan, Step
from simtx.protocols.choreography import StepEvent
from simtx.protocols.codec import encode
from simtx.protocols.event_schema import (
    CURRENT,
    REVISIONS,
    Partition,
    PartitionGate,
    Revision,
    Schema,
    SchemaError,
    SchemaTooNew,
    parse_version,
    partition_of,
)
from tests.amounts import many

VERSIONS = [revision.version for revision in REVISIONS]


def plan(tx: int, services: str = "abc") -> Plan:
    """One step on each service."""
    return Plan(tx, tuple(Step(n, f"s{n}", service, (Operation("k", amount=1),)) for n, service in enumerate(services)))


def event(tx: int = 7, step: int = 1, hops: int | None = None) -> Message:
    """The event that says that the step before is done."""
    whole = plan(tx)
    body = StepEvent(step, step if hops is None else hops, (tx, step - 1, "action"), whole)
    return Message("step-done", tx, whole.steps[step - 1].service, whole.steps[step].service, body)


STEP = {
    "$": "Step",
    "index": 0,
    "name": "pay",
    "service": "b",
    "operations": [],
    "compensation": [],
    "kind": "pivot",
    "after": [],
}
SHORT = Message(
    "step-done", 4, "a", "b", StepEvent(0, 0, (4, 0, "action"), Plan(4, (Step(0, "pay", "b", (), kind="pivot"),)))
)
CAUSE = [4, 0, "action"]
PLAN = {"$": "Plan", "tx": 4, "steps": [STEP]}
NEW_BODY = {"$": "StepEvent", "step": 0, "hops": 0, "cause": CAUSE, "plan": PLAN}
ON_THE_WIRE: dict[str, dict[str, Any]] = {
    "1.0": {
        "$": "Message",
        "kind": "step-done",
        "tx": 4,
        "from": "a",
        "to": "b",
        "body": {"$": "StepEvent", "index": 0, "cause": CAUSE, "steps": [STEP]},
    },
    "2.0": {"$": "Message", "kind": "step-done", "tx": 4, "sender": "a", "to": "b", "body": NEW_BODY},
    "2.1": {
        "$": "Message",
        "kind": "step-done",
        "tx": 4,
        "sender": "a",
        "to": "b",
        "body": NEW_BODY,
        "priority": "normal",
    },
    "3.0": {
        "$": "Message",
        "type": "step-done",
        "tx": 4,
        "sender": "a",
        "to": "b",
        "body": NEW_BODY,
        "priority": "normal",
    },
}


# --- writing and reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_form_of_each_version_is_fixed(version: str) -> None:
    """What lies in a broker was written by processes that are long gone: no version may ever change."""
    envelope = {"version": version, "to": "b", "tx": 4, "message": ON_THE_WIRE[version]}
    assert Schema(version).pack(SHORT) == envelope
    before = copy.deepcopy(envelope)
    assert Schema("3.0").unpack(envelope) == SHORT
    assert envelope == before  # reading changes nothing


def test_the_current_version_is_what_the_codec_writes() -> None:
    """The classes of the contract and the current version are the same thing."""
    assert Schema().pack(event())["message"] == encode(event())
    assert Schema().version == CURRENT


@pytest.mark.parametrize("writer", VERSIONS)
@pytest.mark.parametrize("reader", VERSIONS)
@pytest.mark.parametrize(
    "message",
    [event(), Message("prepare", 3, "hub", "a", (1, plan(3).steps)), Message("vote", 3, "a", "hub", "yes"), SHORT],
)
def test_who_reads_whom(writer: str, reader: str, message: Message) -> None:
    """Older versions, and newer ones with the same major number, are read without loss; newer major ones not at all."""
    envelope = json.loads(json.dumps(Schema(writer).pack(message)))
    if parse_version(writer)[0] > parse_version(reader)[0]:
        with pytest.raises(SchemaTooNew, match=f"version {writer}; this process reads up to {reader[0]}.x") as caught:
            Schema(reader).unpack(envelope)
        assert caught.value.version == writer
    else:
        assert Schema(reader).unpack(envelope) == message


def test_a_process_may_write_an_older_version_than_it_reads() -> None:
    """The first half of a rolling upgrade: everybody reads the new version, nobody writes it yet."""
    careful = Schema("2.0", writes="1.0")
    assert Schema("1.0").unpack(careful.pack(event())) == event()
    assert careful.unpack(Schema("2.0").pack(event())) == event()
    with pytest.raises(SchemaError, match=r"a process that reads up to 1\.0 cannot write version 2\.0"):
        Schema("1.0", writes="2.0")


@pytest.mark.parametrize("version", ["1.7", "2.9", "3.2"])
def test_fields_of_an_unknown_minor_version_are_ignored(version: str) -> None:
    """At any depth, and whatever they hold: a reader of the same major version reads the rest."""
    base = f"{version[0]}.0"
    envelope = {**Schema(base).pack(SHORT), "version": version, "trace": "x"}
    raw = copy.deepcopy(envelope["message"])
    raw["deadline"] = {"$": "NoClassOfOurs", "at": 1}
    raw["body"]["note"] = ["?"]
    (raw["body"].get("plan") or raw["body"])["steps"][0]["weight"] = 3
    assert Schema(base).unpack({**envelope, "message": raw}) == SHORT


def test_an_old_event_has_at_least_the_hops_that_its_place_in_the_chain_takes() -> None:
    """1.0 had none: forward they are the number of the step, back at least one more than there and one back."""
    for step in (1, 2):
        assert Schema().unpack(Schema("1.0").pack(event(step=step))).body.hops == step
    whole = plan(7)
    for kind, step, hops in (("step-refused", 0, 2), ("step-refused", 1, 3), ("completed", 0, 3)):
        message = Message(kind, 7, "c", whole.steps[step].service, StepEvent(step, 9, (7, 1, "action"), whole))
        assert Schema().unpack(Schema("1.0").pack(message)).body == StepEvent(step, hops, (7, 1, "action"), whole)


def test_what_an_old_version_cannot_express_is_not_written() -> None:
    """1.0 has one number for the transaction of the message and of the plan."""
    odd = Message("step-done", 1, "a", "b", StepEvent(1, 1, (1, 0, "action"), plan(2)))
    with pytest.raises(SchemaError, match=r"in version 1\.0 an event's plan is that of its own transaction"):
        Schema("1.0").pack(odd)


@pytest.mark.parametrize(
    "version", ["", "2", "2.", "2.0.1", "02.0", "٢.٠", "-1.0", "2.0\n", None, 2.0, ["2.0"], "9" * 99]
)
def test_what_is_no_version_is_refused(version: object) -> None:
    """In a configuration and on an envelope, in one short line."""
    with pytest.raises(SchemaError, match=r"is no version; expected 'major\.minor', such as '2\.0'"):
        Schema(version)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="is no version") as caught:
        Schema().unpack({**Schema().pack(event()), "version": version})
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


def test_a_version_that_does_not_exist_is_refused() -> None:
    """One line that says which there are; also where a very old event has no upcaster any more."""
    with pytest.raises(
        SchemaError, match=r"there is no version '2\.7' of the events; known are 1\.0, 2\.0, 2\.1, 3\.0"
    ):
        Schema("2.7")
    for gone in ("0.9", "0.0"):
        with pytest.raises(SchemaError, match=f"there is no version {gone} of the events"):
            Schema().unpack({**Schema().pack(event()), "version": gone})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"message": None}, "an envelope without a message"),
        ({"message": {"$": "Step"}}, "an envelope without a message"),
        ({"message": {"$": "Message", "tx": 7}}, r"a malformed event of version 2\.0: Message without 'kind'"),
        ({"to": "elsewhere"}, "the address on the envelope is not that of the message inside"),
        ({"tx": 8}, "the address on the envelope is not that of the message inside"),
        ({"version": "1.0"}, "a message without 'from'"),
        (
            {"version": "1.0", "message": {"$": "Message", "from": "a", "body": {"$": "StepEvent"}}},
            r"of version 1\.0: KeyError",
        ),
    ],
)
def test_a_malformed_event_is_one_clear_line(change: dict[str, Any], problem: str) -> None:
    """It is an error of its own, and never taken for one of a newer version."""
    with pytest.raises(SchemaError, match=problem):
        Schema().unpack({**Schema().pack(event()), **change})


@settings(deadline=None)  # the machine may be busy
@given(data=st.data(), version=st.sampled_from(VERSIONS))
def test_no_damage_gets_past_the_schema(data: st.DataObject, version: str) -> None:
    """Whatever is put in place of any part of an event: it is read, or refused as malformed or too new; nothing else happens."""
    envelope = json.loads(json.dumps(Schema(version).pack(event())))
    place: Any = envelope
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if isinstance(place, dict) and data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(
            st.sampled_from(
                [None, True, -1, 1e300, "", "x", "\n" * 999, [], {}, {"$": "StepEvent"}, {"$": "\nx" * 999}, [[]]]
            )
        )
    problem = ""
    try:
        assert isinstance(Schema(version).unpack(envelope), Message)
    except (SchemaError, SchemaTooNew) as error:
        problem = str(error)
    assert "\n" not in problem
    assert len(problem) < 400


def test_errors_are_told_apart_and_travel() -> None:
    """Who catches the malformed does not catch the too new by accident; both are errors of simtx, and survive pickling."""
    assert issubclass(SchemaTooNew, SimtxError)
    assert issubclass(SchemaError, SimtxError)
    assert not issubclass(SchemaTooNew, SchemaError)
    again = pickle.loads(pickle.dumps(SchemaTooNew("3.0", "2.0")))  # noqa: S301 - our own
    assert (again.version, str(again)) == ("3.0", str(SchemaTooNew("3.0", "2.0")))


def test_own_revisions() -> None:
    """A format of one's own is a list of revisions."""
    revisions = [
        Revision("1.0", dict, dict),
        Revision(
            "1.1",
            lambda raw: {**raw, "body": raw["body"] * 2},
            lambda raw: {**raw, "body": raw["body"][: len(raw["body"]) // 2]},
        ),
    ]
    old = Schema("1.0", revisions=revisions, current="1.1")
    message = Message("note", 1, "a", "b", "xx")
    assert old.pack(message)["message"]["body"] == "x"
    assert old.unpack(old.pack(message)) == message


# --- through a broker ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrapped_message_is_routed_without_being_read(version: str) -> None:
    """Transaction and address are outside of what has a version, so a broker and an old consumer can tell the lane."""
    wrapped = Schema(version).wrap(event())
    assert (wrapped.kind, wrapped.tx, wrapped.sender, wrapped.to) == ("step-done", 7, "a", "b")
    assert Schema("3.0").unwrap(wrapped) == event()
    envelope = json.loads(wrapped.body)
    assert partition_of(envelope, "b") == Partition("b", 7)


def test_what_was_not_wrapped_is_refused() -> None:
    """A body that is no envelope, no text, or one that belongs elsewhere."""
    for body, problem in (
        (None, "without an envelope"),
        ("{", "no JSON"),
        ("[" * 99999, "no JSON"),
        ("1", "without an"),
    ):
        with pytest.raises(SchemaError, match=problem):
            Schema().unwrap(Message("step-done", 7, "a", "b", body))
    wrapped = Schema().wrap(event(tx=7))
    with pytest.raises(SchemaError, match="not the one by which it came"):
        Schema().unwrap(Message("step-done", 8, "a", "b", wrapped.body))


# --- the gate -----------------------------------------------------------------------------------------------------------------


def test_a_lane_with_an_event_that_is_too_new_stops_and_the_others_go_on() -> None:
    """Neither the event nor those behind it pass, not even readable ones; one alert; other transactions are not held up."""
    old, new, gate = Schema("1.0"), Schema("2.0"), PartitionGate()
    lane, other = Partition("b", 7), Partition("b", 8)
    first = gate.admit(lane, lambda: old.unpack(new.pack(event(7))))
    assert first.message is None
    assert first.alert == (
        "transaction 7 at 'b' is stopped, nothing is acknowledged: the event has version 2.0; "
        "this process reads up to 1.x and has to be upgraded"
    )
    assert gate.admit(lane, lambda: old.unpack(new.pack(event(7)))) == (None, "")
    assert gate.admit(lane, lambda: old.unpack(old.pack(event(7)))) == (None, "")
    assert gate.admit(other, lambda: old.unpack(old.pack(event(8)))) == (event(8), "")
    [(stopped, stop)] = gate.stopped.items()
    assert (stopped, stop.version, stop.held) == (lane, "2.0", 3)


def test_the_whole_topic_can_be_what_stops() -> None:
    """For a broker that acknowledges up to an offset; other topics go on."""
    gate = PartitionGate("topic")
    alert = gate.admit(Partition("b", 7), lambda: Schema("1.0").unpack(Schema("2.0").pack(event(7)))).alert
    assert alert.startswith("topic 'b' is stopped")
    assert gate.admit(Partition("b", 8), lambda: event(8)) == (None, "")
    assert gate.admit(Partition("c", 8), lambda: event(8)).message == event(8)
    assert gate.release(Partition("b", 8)) == [Partition("b")]
    assert gate.admit(Partition("b", 8), lambda: event(8)).message == event(8)
    with pytest.raises(SchemaError, match="there is no scope 'lane'"):
        PartitionGate("lane")  # type: ignore[arg-type]


def test_an_event_whose_lane_cannot_be_told_stops_the_topic() -> None:
    """It may belong to any transaction, so none may go on past it."""
    gate = PartitionGate()
    for junk in ("junk", {"tx": True}, {"tx": "7"}, None):
        assert partition_of(junk, "b") == Partition("b", None)
    assert gate.admit(partition_of("junk", "b"), lambda: Schema().unpack("junk")).alert.startswith(
        "topic 'b' is stopped"
    )
    assert gate.admit(Partition("b", 8), lambda: event(8)).message is None


def test_a_malformed_event_stops_its_lane_too() -> None:
    """It is not skipped either: its effect would be missing."""
    gate = PartitionGate()
    assert "an event without an envelope" in gate.admit(Partition("b", 7), lambda: Schema().unpack(3)).alert
    assert gate.stopped[Partition("b", 7)].version is None


def test_after_a_release_everything_is_judged_anew() -> None:
    """One partition or all; what still cannot be read stops it again, with an alert."""
    gate, schema = PartitionGate(), Schema("1.0")
    for tx in (1, 2, 3):
        gate.admit(Partition("b", tx), lambda tx=tx: schema.unpack(Schema("2.0").pack(event(tx))))  # type: ignore[misc]
    assert gate.release(Partition("b", 9)) == []
    assert gate.release(Partition("b", 2)) == [Partition("b", 2)]
    assert gate.admit(Partition("b", 2), lambda: schema.unpack(Schema("3.0").pack(event(2)))).alert
    assert sorted(gate.release()) == [Partition("b", 1), Partition("b", 2), Partition("b", 3)]
    assert gate.admit(Partition("b", 1), lambda: Schema("2.0").unpack(Schema("2.0").pack(event(1)))).message == event(1)
    assert gate.release() == []


def test_an_error_of_another_kind_is_not_swallowed() -> None:
    """A bug in a reader is no reason to stop a partition quietly."""

    def broken() -> Message:
        raise ZeroDivisionError

    gate = PartitionGate()
    with pytest.raises(ZeroDivisionError):
        gate.admit(Partition("b", 1), broken)
    assert not gate.stopped


# --- a rolling upgrade --------------------------------------------------------------------------------------------------------


class World:
    """Services that pass events along a chain through a broker, and are upgraded one by one while events are in flight.

    The broker keeps one queue a lane and delivers its head until it is acknowledged; acknowledgements may get lost. Each service has a
    durable inbox and outbox; its gate and schema are those of its process.
    """

    def __init__(self, versions: dict[str, str], chance: random.Random) -> None:
        self.chance = chance
        self.lanes: dict[Partition, deque[str]] = defaultdict(deque)
        self.schemas = {node: Schema(version) for node, version in versions.items()}
        self.gates = {node: PartitionGate() for node in versions}
        self.inbox: set[tuple[int, int]] = set()
        self.effects: list[tuple[int, int]] = []
        self.versions_seen: set[str] = set()
        self.alerts = 0

    def upgrade(self, node: str, version: str) -> None:
        self.schemas[node], self.gates[node] = Schema(version), PartitionGate()

    def publish(self, message: Message) -> None:
        wrapped = self.schemas[message.sender].wrap(message)
        self.versions_seen.add(json.loads(wrapped.body)["version"])
        self.lanes[Partition(wrapped.to, wrapped.tx)].append(wrapped.body)

    def deliver(self, lane: Partition) -> None:
        text, schema = self.lanes[lane][0], self.schemas[lane.topic]
        admission = self.gates[lane.topic].admit(lane, lambda: schema.unpack(json.loads(text)))
        self.alerts += bool(admission.alert)
        if admission.message is None:
            return
        self.work(admission.message)
        if self.chance.random() < 0.8:
            self.lanes[lane].popleft()

    def work(self, message: Message) -> None:
        body: StepEvent = message.body
        if (message.tx, body.step) in self.inbox:
            return
        self.inbox.add((message.tx, body.step))
        self.effects.append((message.tx, body.step))
        following = body.step + 1
        if following < len(body.plan.steps):
            self.publish(event_of(body.plan, following))

    def play(self, rounds: int) -> None:
        for _ in range(rounds):
            waiting = [lane for lane, queue in self.lanes.items() if queue]
            if not waiting:
                return
            self.deliver(self.chance.choice(waiting))


def event_of(whole: Plan, step: int) -> Message:
    """The event that asks for a step of a plan."""
    sender = whole.steps[step - 1].service if step else whole.steps[0].service
    cause = (whole.tx, step - 1, "action")
    return Message("step-done", whole.tx, sender, whole.steps[step].service, StepEvent(step, step, cause, whole))


@settings(max_examples=many(30, 100), deadline=None)
@given(
    seed=st.integers(0, 2**32),
    order=st.permutations("abc"),
    route=st.sampled_from([["1.0", "2.0"], ["2.0", "2.1", "3.0"], ["1.0", "3.0"], ["2.0", "2.1"]]),
)
@pytest.mark.more
def test_a_rolling_upgrade_loses_nothing(seed: int, order: list[str], route: list[str]) -> None:
    """In any order, with events of several versions in flight: each step takes effect once, in order, and nothing is left over."""
    chance = random.Random(seed)
    world = World(dict.fromkeys("abc", route[0]), chance)
    services = "abcabacb"
    transactions = 0

    def begin() -> None:
        nonlocal transactions
        for _ in range(3):
            world.publish(event_of(plan(transactions, services), 0))
            transactions += 1

    begin()
    for version in route[1:]:
        for node in order:
            world.play(chance.randrange(40))
            world.upgrade(node, version)
            begin()
    world.play(100_000)
    assert not any(world.lanes.values())
    for tx in range(transactions):
        assert [step for one, step in world.effects if one == tx] == list(range(len(services)))
    assert set(route) <= world.versions_seen | {route[-1]}


def test_a_consumer_that_is_behind_holds_its_lanes_until_it_is_upgraded() -> None:
    """The last one to be upgraded stops the new events, one alert a lane, and does all of them afterwards."""
    world = World({"a": "2.0", "b": "1.0", "c": "2.0"}, random.Random(1))
    for tx in range(5):
        world.publish(event_of(plan(tx), 0))
    world.play(500)
    assert world.alerts == 5
    assert sorted(world.effects) == [(tx, 0) for tx in range(5)]
    assert {lane.topic for lane, queue in world.lanes.items() if queue} == {"b"}
    world.upgrade("b", "2.0")
    world.play(500)
    assert sorted(world.effects) == [(tx, step) for tx in range(5) for step in range(3)]
    assert not any(world.lanes.values())
