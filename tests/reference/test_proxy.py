"""A faulty link loses, copies and moves whole frames, as often as it was told to, and neither side takes that for an attack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simtx.errors import ScenarioError
from simtx.reference.processes import proxy as proxy_module
from simtx.reference.processes.proxy import FaultyLink, LinkProxy, links_from
from simtx.reference.run_folder import scratch
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.wire.connection import Connection, Frame, Handler, Peer, Place, Server, WireError, new_secret
from simtx.scenario.distributions import Constant
from simtx.scenario.infrastructure import LinkSpec
from simtx.simulator.environment import Environment
from simtx.simulator.network import Link
from simtx.workload import Streams
from simtx.workload.by_transaction import TransactionStreams

SECRET = new_secret()
PATIENCE = 120.0
AB, BA = ("a", "b"), ("b", "a")


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.001)


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE))


class Node:
    """One end of the links: notes what comes, and can answer on the same connection."""

    def __init__(self, name: str, secret: bytes = SECRET) -> None:
        self.name = name
        self.secret = secret
        self.got: list[int] = []
        self.answers: list[int] = []
        self.peers: list[Peer] = []
        self.refusals: list[tuple[str, str]] = []
        self.server = Server(secret, name, self.accept, lambda *line: self.refusals.append(line))
        self.place: Place | None = None

    def accept(self, peer: Peer) -> Handler:
        self.peers.append(peer)

        def handle(frame: Frame) -> None:
            self.got.append(frame["n"])
            if frame.get("answer"):
                peer.send({"n": frame["n"]})

        return handle

    async def start(self, where: dict[str, Any]) -> None:
        self.place = await self.server.start_as(where)

    def to(self, where: Callable[[], Place | None], expect: str) -> Connection:
        return Connection(self.name, self.secret, where, lambda frame: self.answers.append(frame["n"]), expect=expect)


class World:
    """Two nodes, and a proxy between them."""

    def __init__(self, links: list[FaultyLink] | None = None) -> None:
        self.a, self.b = Node("a"), Node("b")
        self.lost: list[tuple[str, int, str]] = []
        self.refusals: list[str] = []
        self.proxy = LinkProxy(
            SECRET,
            links if links is not None else [AB, BA],
            lambda name: {"a": self.a, "b": self.b}[name].place,
            seed=7,
            lost=lambda link, frame, why: self.lost.append((link.source, frame["n"], why)),
            refused=lambda address, reason: self.refusals.append(reason),
        )
        self.ab: Connection
        self.ba: Connection
        self.places: dict[tuple[str, str], Place] = {}
        self.where: dict[str, Any] = {}

    def quiet(self) -> bool:
        """Nobody has taken a fault for an attack."""
        return not (self.a.refusals or self.b.refusals or self.refusals)


@contextlib.asynccontextmanager
async def world(links: list[FaultyLink] | None = None, host: str | None = None) -> AsyncIterator[World]:
    it = World(links)
    with scratch.sockets() as sockets:
        it.where = {"host": host, "sockets": str(sockets)}
        await it.a.start(it.where)
        await it.b.start(it.where)
        it.places = await it.proxy.start_as(it.where)
        it.ab = it.a.to(lambda: it.places[AB], "a@b")
        it.ba = it.b.to(lambda: it.places[BA], "b@a") if BA in it.places else it.ab
        try:
            yield it
        finally:
            await it.ab.close()
            await it.ba.close()
            await it.proxy.close()
            await it.a.server.close()
            await it.b.server.close()


# --- what happens to a frame --------------------------------------------------------------------------------------------------


def test_a_link_without_faults_does_nothing() -> None:
    link = FaultyLink("a", "b", 1)
    assert {link.fates() for _ in range(1000)} == {(0.0,)}
    assert link.counts == {"passed": 1000, "lost": 0, "duplicated": 0, "reordered": 0, "down": 0}


@pytest.mark.parametrize("kind", ["loss", "duplication", "reorder"])
@pytest.mark.parametrize("chance", [0.0, 0.05, 0.3, 1.0])
def test_frames_are_hit_as_often_as_told(kind: str, chance: float) -> None:
    n = 20_000
    link = FaultyLink("a", "b", 3, reorder_delay=0.25)
    link.add(kind, chance)
    hit = {"loss": (), "duplication": (0.0, 0.25), "reorder": (0.25,)}[kind]
    seen = Counter(link.fates() for _ in range(n))
    assert set(seen) <= {hit, (0.0,)}
    assert abs(seen[hit] / n - chance) <= 4 * (chance * (1 - chance) / n) ** 0.5


def test_faults_of_a_kind_add_up_like_independent_ones_and_end_one_by_one() -> None:
    link = FaultyLink("a", "b", 1, loss=0.5)
    link.add("loss", 0.2)
    link.add("loss", 0.2)
    assert link._spared["loss"] == pytest.approx(0.5 * 0.8 * 0.8)
    link.remove("loss", 0.2)
    assert link._spared["loss"] == pytest.approx(0.5 * 0.8)
    link.remove("loss", 0.9)  # there is none of this size
    assert link._spared["loss"] == pytest.approx(0.5 * 0.8)
    link.remove("loss")
    assert link._spared["loss"] == pytest.approx(0.5)
    link.add("partition")
    link.add("partition")
    link.remove("partition")
    assert link.fates() == ()
    link.heal()
    assert link._partitions == 0
    assert link._spared["loss"] == pytest.approx(0.5)  # what it is like by itself


def test_a_frame_of_a_transaction_meets_the_same_luck_whatever_others_do() -> None:
    """Other transactions, other links, faults of another kind: nothing of them shifts what happens to the k-th frame of this one."""
    options: dict[str, Any] = {"loss": 0.2, "duplication": 0.2, "reorder": 0.2}
    plain, other = FaultyLink("a", "b", 5, **options), FaultyLink("a", "b", 5, **options)
    fates = [plain.fates(7) for _ in range(200)]
    seen = []
    for n in range(200):
        other.fates(8)
        other.fates()
        if n == 100:
            other.add("delay", delay=[1.0, 2.0])
            other.fates(9)
            other.remove("delay")
        seen.append(other.fates(7))
    assert seen == fates
    for link in (FaultyLink("b", "a", 5, **options), FaultyLink("a", "b", 6, **options)):
        assert [link.fates(7) for _ in range(200)] != fates


def test_the_same_messages_are_lost_as_on_the_simulators_link() -> None:
    """Under one seed, also while faults of several kinds come and go, and whatever is cut off meanwhile."""
    spec = LinkSpec(Constant(0.0), 0.1, 0.2, 0.0, Constant(0.0))
    env, streams = Environment(), TransactionStreams(Streams(3))
    there = Link(env, "a", "b", lambda tx: 0.0, spec, streams, "link:hub>b", instant=True)
    here = FaultyLink("a", "b", 3, component="link:hub>b", loss=0.1, duplication=0.2)
    in_the_simulator: list[int] = []
    in_the_proxy: list[int] = []
    for n in range(600):
        if n == 200:
            there.loss.append(0.3)
            here.add("loss", 0.3)
        if n == 300:
            there.blocked += 1
            here.add("partition")
        if n == 350:
            there.blocked -= 1
            here.remove("partition")
        there.changed()
        there.transmit(in_the_simulator.append, n, n % 40)
        in_the_proxy += [n] * len(here.fates(n % 40))
    env.run()
    assert sorted(in_the_simulator) == in_the_proxy
    assert 300 < len(set(in_the_proxy)) < 540


def test_delays_are_constant_or_drawn_or_called_for() -> None:
    link = FaultyLink("a", "b", 1, latency=0.5)
    assert link.fates() == (0.5,)
    link.add("delay", delay=0.25)
    link.add("delay", delay=lambda: 1.0)
    assert link.fates() == (1.75,)
    link.remove("delay", delay=0.25)
    assert link.fates() == (1.5,)
    link.remove("delay")
    assert link.fates() == (0.5,)
    drawn = FaultyLink("a", "b", 1, latency=[0.1, 0.2])
    counts = Counter(drawn.fates() for _ in range(10_000))
    assert set(counts) == {(0.1,), (0.2,)}
    assert abs(counts[0.1,] / 10_000 - 0.5) < 4 * 0.005


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda link: link.add("rain", 0.5),
            "'rain' is no fault of a link: loss, duplication, reorder, partition, delay",
        ),
        (lambda link: link.remove("rain"), "'rain' is no fault of a link"),
        (lambda link: link.add("loss"), "the probability of loss is a number from 0 to 1, not None"),
        (lambda link: link.add("loss", 1.5), "from 0 to 1, not 1.5"),
        (lambda link: link.add("loss", float("nan")), "from 0 to 1, not nan"),
        (lambda link: link.add("delay"), "a delay needs 'delay', in seconds"),
        (lambda link: link.add("delay", delay=-1.0), "a number of seconds from 0, or a list of such numbers, not -1.0"),
        (lambda link: link.add("delay", delay=[0.1, float("inf")]), "not inf"),
        (lambda link: link.add("delay", delay=[]), "at least one number"),
        (lambda link: FaultyLink("a", "b", 1, duplication=2.0), "the probability of duplication"),
        (lambda link: links_from({"seed": 1, "links": [["a", "b", {"latency": "5ms"}]]}), "not '5'"),
    ],
)
def test_what_cannot_be_is_one_line(make: Callable[[FaultyLink], object], line: str) -> None:
    link = FaultyLink("a", "b", 1)
    with pytest.raises(ScenarioError) as caught:
        make(link)
    assert line in str(caught.value)
    assert link.fates() == (0.0,)


# --- through sockets ----------------------------------------------------------------------------------------------------------


def test_without_faults_it_is_as_if_it_were_not_there() -> None:
    async def test() -> None:
        async with world() as it:
            for n in range(200):
                assert it.ab.send({"n": n, "answer": True})
            await until(lambda: len(it.a.answers) == 200)
            assert it.b.got == it.a.answers == list(range(200))
            assert [peer.name for peer in it.b.peers] == ["a"]
            assert it.lost == []
            assert it.quiet()

    play(test)


@pytest.mark.parametrize(
    "faults",
    [
        [("loss", 0.3)],
        [("duplication", 0.3)],
        [("reorder", 0.3)],
        [("loss", 0.2), ("duplication", 0.2), ("reorder", 0.2)],
    ],
)
def test_the_receiver_gets_exactly_what_the_faults_left(faults: list[tuple[str, float]]) -> None:
    """Lost, copied and moved frames reach the machine as such; the transport neither repairs them nor takes offence."""
    n = 300
    twin = FaultyLink("a", "b", 7)
    for kind, chance in faults:
        twin.add(kind, chance)
    fates = [twin.fates() for _ in range(n)]

    async def test() -> None:
        async with world() as it:
            for kind, chance in faults:
                it.proxy.set_fault(AB, kind, probability=chance)
            for number in range(n):
                it.ab.send({"n": number})
            await until(lambda: len(it.b.got) + len(it.lost) >= sum(map(len, fates)) + fates.count(()))
            assert Counter(it.b.got) == Counter({number: len(fate) for number, fate in enumerate(fates) if fate})
            assert it.lost == [("a", number, "") for number, fate in enumerate(fates) if not fate]
            assert (it.b.got == sorted(it.b.got)) is all(kind == "loss" for kind, _ in faults)
            assert len(it.b.peers) == 1  # still the first connection
            assert it.quiet()

    play(test)


def test_a_frame_takes_as_long_as_the_link() -> None:
    async def test() -> None:
        async with world() as it:
            it.ab.send({"n": 0})
            await until(lambda: it.b.got)
            for n, delay in enumerate((0.05, 0.5, 5.0, 50.0), 1):
                it.proxy.set_fault(AB, "delay", delay=delay)
                began = time.monotonic()
                it.ab.send({"n": n})
                it.ba.send({"n": n})
                await until(lambda n=n: n in it.a.got)  # type: ignore[misc] # the other direction is as fast as before
                early = time.monotonic() - began < delay
                assert not (early and n in it.b.got)
                await until(lambda n=n: n in it.b.got)  # type: ignore[misc]
                assert time.monotonic() - began >= delay
                if early:
                    break  # else the machine was so busy that the delay was over before anybody looked
            assert early
            assert it.proxy.in_flight == 0

    play(test)


@pytest.mark.parametrize("reset", [False, True])
def test_a_partition_cuts_one_direction_until_it_is_over(reset: bool) -> None:
    async def test() -> None:
        async with world() as it:
            it.ab.send({"n": 1})
            it.ba.send({"n": 1})
            await until(lambda: it.a.got and it.b.got)
            it.proxy.set_fault(AB, "partition", reset=reset)
            if reset:
                await until(lambda: not it.ab.is_open)
                await it.ab.connected(PATIENCE)
                await until(lambda: not it.b.peers[0].is_open)
            assert it.ab.send({"n": 2})  # the sender does not notice
            it.ba.send({"n": 2})
            await until(lambda: it.lost and len(it.a.got) == 2)
            assert it.lost == [("a", 2, "")]
            it.proxy.clear(AB, "partition")
            await until(lambda: it.ab.send({"n": 3}) and 3 in it.b.got)
            assert 2 not in it.b.got
            assert len(it.b.peers) == (2 if reset else 1)
            assert it.quiet()

    play(test)


def test_answers_on_the_same_connection_take_the_other_direction() -> None:
    """A partition from b to a keeps the answers away as well, however they travel."""

    async def test() -> None:
        async with world() as it:
            it.proxy.set_fault(BA, "partition")
            it.ab.send({"n": 1, "answer": True})
            await until(lambda: it.lost)
            assert it.lost == [("b", 1, "")]
            it.proxy.clear(BA)
            it.ab.send({"n": 2, "answer": True})
            await until(lambda: it.a.answers)
            assert it.b.got == [1, 2]
            assert it.a.answers == [2]

    play(test)


def test_what_is_under_way_arrives_although_its_sender_has_died() -> None:
    async def test() -> None:
        for latency in (0.05, 0.5, 5.0, 50.0):
            async with world([FaultyLink("a", "b", 1, latency=latency)]) as it:
                it.ab.send({"n": 1})
                await until(lambda it=it: it.proxy.in_flight == 1 or it.b.got)  # type: ignore[misc]
                it.ab.reset()
                await until(lambda it=it: not it.ab.is_open)  # type: ignore[misc]
                before = it.b.got == []
                await until(lambda it=it: it.b.got == [1])  # type: ignore[misc]
            if before:
                break  # else the machine was so busy that it had arrived before its sender died
        assert before

    play(test)


def test_what_comes_to_a_node_that_is_down_is_lost_and_told() -> None:
    async def test() -> None:
        async with world() as it:
            it.ab.send({"n": 1})
            await until(lambda: it.b.got)
            await it.b.server.close()
            await until(lambda: not it.proxy._passages[AB]._connections["a"].is_open)
            it.ab.send({"n": 2})
            await until(lambda: it.lost)
            assert it.lost == [("a", 2, "down")]
            again = Node("b")
            await again.start(it.where)
            it.b = again
            await until(lambda: it.ab.send({"n": 3}) and 3 in again.got)
            assert it.proxy._passages[AB].link.counts["down"] >= 1

    play(test)


def test_memory_for_frames_under_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "IN_FLIGHT", 10)

    async def test() -> None:
        async with world([FaultyLink("a", "b", 1, latency=30.0)]) as it:
            for n in range(15):
                it.ab.send({"n": n})
            await until(lambda: len(it.lost) == 5)
            assert it.proxy.in_flight == 10
            assert it.lost == [("a", n, "full") for n in range(10, 15)]

    play(test)


def test_only_the_sender_of_a_link_may_use_it() -> None:
    async def test() -> None:
        async with world(host="127.0.0.1") as it:
            where = it.places[AB]
            relay, stranger, liar = (
                node.to(lambda: where, "a@b") for node in (Node("a.relay"), Node("c"), Node("a", new_secret()))
            )
            relay.send({"n": 0})
            await until(lambda: it.b.got)
            stranger.send({"n": 1})
            await until(lambda: "the link a@b is that of 'a' (from 'c')" in it.refusals)
            liar.send({"n": 2})
            await until(lambda: "unauthenticated: it does not have the run's secret" in it.refusals)
            for connection in (relay, stranger, liar):
                await connection.close()
            assert it.b.got == [0]
            assert [peer.name for peer in it.b.peers] == ["a.relay"]

    play(test)


# --- control ------------------------------------------------------------------------------------------------------------------


def test_control_frames_set_and_clear_faults_and_tell_the_state() -> None:
    proxy = LinkProxy(SECRET, [AB, BA], lambda name: None)
    ab, ba = (proxy._passages[link].link for link in (AB, BA))
    answer = proxy.control({"do": "fault", "kind": "loss", "probability": 1.0, "links": [["a", "b"]], "id": 4})
    assert (ab.fates(), ba.fates()) == ((), (0.0,))
    assert answer["type"] == "state"
    assert answer["id"] == 4
    assert proxy.control({"do": "state"})["links"] == [["a", "b", ab.counts], ["b", "a", ba.counts]]
    proxy.control({"do": "fault", "kind": "partition"})  # on all links
    assert (ab.fates(), ba.fates()) == ((), ())
    proxy.control({"do": "clear", "kind": "partition", "probability": None})
    assert (ab.fates(), ba.fates()) == ((), (0.0,))
    proxy.control({"do": "fault", "kind": "delay", "delay": [0.5], "links": [["b", "a"]]})
    assert ba.fates() == (0.5,)
    proxy.control({"do": "clear"})
    assert (ab.fates(), ba.fates()) == ((0.0,), (0.0,))
    assert json.loads(json.dumps(proxy.control({"do": "state"})))["quiet"] is True


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ({}, "None is nothing that a proxy does: fault, clear or state"),
        ({"do": "explode"}, "'explode' is nothing"),
        ({"do": "fault"}, "None is no fault of a link"),
        ({"do": "fault", "kind": "rain"}, "'rain' is no fault of a link"),
        ({"do": "clear", "kind": ["x"]}, "['x'] is no fault of a link"),
        ({"do": "fault", "kind": "loss"}, "the probability of loss"),
        ({"do": "fault", "kind": "loss", "probability": "high"}, "not 'high'"),
        ({"do": "fault", "kind": "delay", "delay": {"a": 1}}, "a delay is a number of seconds"),
        ({"do": "fault", "kind": "partition", "links": [["a", "b"], ["a", "c"]]}, "no link from 'a' to 'c'"),
        ({"do": "fault", "kind": "partition", "links": [["a"]]}, "not enough values"),
        ({"do": "fault", "kind": "partition", "links": 7}, "not iterable"),
    ],
)
def test_a_wrong_control_frame_is_answered_and_changes_nothing(frame: Frame, line: str) -> None:
    proxy = LinkProxy(SECRET, [AB, BA], lambda name: None)
    answer = proxy.control({**frame, "id": 1})
    assert (answer["type"], answer["id"]) == ("error", 1)
    assert line in answer["reason"]
    assert [passage.link.fates() for passage in proxy._passages.values()] == [(0.0,), (0.0,)]


@contextlib.contextmanager
def proxy_process(folder: Path, secret: bytes) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "ports").mkdir()
    (folder / "nodes" / "proxy").mkdir(parents=True)
    folder.chmod(0o700)
    with os.fdopen(os.open(folder / "secret", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(secret)
    config = {
        "role": "proxy",
        "host": "127.0.0.1",
        "port": 0,
        "seed": 7,
        "links": [["a", "b"], ["b", "a", {"loss": 1.0}]],
    }
    (folder / "nodes" / "proxy" / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "simtx.reference.processes.process", str(folder), "proxy", "3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_proxy_as_a_process_of_a_run(tmp_path: Path) -> None:
    """It announces its links, obeys the launcher, writes what was lost into its event log, and ends when it is asked to."""
    folder = RunFolder(tmp_path)

    async def test() -> None:
        a, b = Node("a"), Node("b")
        for node in (a, b):
            await node.start({"host": "127.0.0.1"})
            assert node.place is not None
            folder.announce(node.name, node.place)
        ab = a.to(lambda: folder.locate("a@b"), "a@b")
        ba = b.to(lambda: folder.locate("b@a"), "b@a")
        replies: list[Frame] = []
        launcher = Connection("launcher", SECRET, lambda: folder.locate("proxy"), replies.append, expect="proxy")
        for connection in (ab, ba, launcher):
            await connection.connected(PATIENCE)
        message = {"version": "2.0", "to": "b", "tx": 5, "message": {"$": "Message", "kind": "vote"}}
        ab.send({"n": 1})
        await until(lambda: b.got)
        ba.send({"n": 1, "event": message, "origin": 17})
        launcher.send({"type": "control", "do": "fault", "kind": "partition", "links": [["a", "b"]], "id": 1})
        await until(lambda: replies)
        ab.send({"n": 2, "event": message, "origin": 18})
        ab.send({"n": 3, "event": "nonsense"})
        launcher.send({"type": "control", "do": "state", "id": 2})
        await until(lambda: len(replies) == 2)
        counts = {(x, y): values for x, y, values in replies[1]["links"]}
        await until(lambda: len(log()) == 2)
        assert counts["b", "a"]["lost"] == 1
        assert (a.got, b.got) == ([], [1])
        for closed in (ab, ba, launcher, a.server, b.server):
            await closed.close()

    def log() -> list[list[Any]]:
        return [json.loads(line) for line in folder.log("proxy", 3).read_text().splitlines()]

    with proxy_process(tmp_path, SECRET) as process:
        play(test)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    entries = [(kind, node, tx, cause, peer, name) for _, _, kind, node, tx, cause, _, peer, name, _ in log()]
    assert entries == [("drop", "b", 5, 17, "a", "vote"), ("drop", "a", 5, 18, "b", "vote")]


def test_a_place_that_is_taken_is_one_line() -> None:
    async def test() -> None:
        proxy = LinkProxy(SECRET, [AB], lambda name: None)
        with pytest.raises(WireError, match=r"'a@b' cannot listen on 203\.0\.113\.7"):
            await proxy.start_as({"host": "203.0.113.7"})
        await proxy.close()

    play(test)
