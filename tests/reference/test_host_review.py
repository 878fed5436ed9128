"""What a review of the real host has found: each of these was wrong once."""

from __future__ import annotations

import _thread
import asyncio
import errno
import importlib
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import cast
from urllib.parse import quote

import nats
import pytest

import simtx
from simtx.errors import ProtocolViolation, RunFailed, ScenarioError
from simtx.event_log.log import EventLog, LogEntry
from simtx.metrics.replay import data_from_trace
from simtx.protocols import (
    Append,
    Effect,
    Event,
    Forget,
    Machine,
    Message,
    Plan,
    Policies,
    Publish,
    Request,
    Saga,
    Strategy,
)
from simtx.protocols.saga import Orchestrator
from simtx.protocols.saga_participant import Participant
from simtx.reference.brokers.base import BrokerClient
from simtx.reference.brokers.nats_server import NatsServer
from simtx.reference.node.crash_points import KillSwitch
from simtx.reference.node.node import Node
from simtx.reference.node.workers import Workers
from simtx.reference.processes.backends import Backends
from simtx.reference.processes.faults import Injectors
from simtx.reference.processes.launcher import Launcher
from simtx.reference.run_folder.collect import gather
from simtx.reference.run_folder.event_log import LogFile, entries
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.stores.base import Store
from simtx.reference.stores.postgres.schema import drop_run
from simtx.reference.stores.postgres.server import PostgresServer
from tests.reference.test_execute import PATIENT, assert_sound, lab, outcomes

HOT = {
    "name": "chain",
    "steps": [
        {
            "name": "give",
            "service": "s0",
            "operations": [{"key": "k:hot", "amount": 1}],
            "compensation": [{"key": "k:hot", "amount": -1}],
        },
        {"name": "take", "service": "s1", "operations": [{"key": "k:hot", "amount": -1}], "kind": "pivot"},
    ],
}


def entry(number: int, time: float, kind: str, node: str = "", *, name: str = "", detail: str = "") -> LogEntry:
    return LogEntry(number, time, kind, node, -1, None, "", "", name, detail)


def test_a_relay_that_is_killed_does_not_free_the_workers_of_the_service_beside() -> None:
    trace = EventLog(
        [
            entry(0, 0.0, "open"),
            entry(1, 0.25, "serve", "s0"),
            entry(2, 0.375, "crash", "s0", detail="s0.relay"),
            entry(3, 0.5, "free", "s0"),
            entry(4, 1.0, "close"),
            entry(5, 1.0, "end", detail="6"),
        ]
    )
    assert data_from_trace(trace, lab()).utilisation["s0"] == 0.25 / 2  # of two workers


def open_files() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors as Linux lists them")
@pytest.mark.parametrize(("strategy", "broker"), [("2pc", "embedded"), ("outbox", "nats")])
@pytest.mark.sample(2)
def test_a_run_leaves_no_open_files_and_sockets_in_its_caller(strategy: str, broker: str) -> None:
    scenario = lab(transactions=2)
    simtx.execute(scenario, strategy, broker=broker)
    before = open_files()
    simtx.execute(scenario, strategy, broker=broker)
    assert not Counter(open_files()) - Counter(before)  # what others had open may have been closed meanwhile


@pytest.mark.heavy
def test_users_of_a_closed_workload_begin_at_the_origin_of_the_run() -> None:
    """They think first, and that from the run's zero on; so the first of them is measured, too, as in the simulation."""
    scenario = lab(workload={"kind": "closed", "users": 2, "think_time": 0.01}, transactions=10)
    run = simtx.execute(scenario, "saga")
    assert (run.transactions["arrival_s"] >= 0.01).all()
    assert run.transactions["measured"].all()
    assert_sound(run)


def test_an_answer_that_comes_after_its_user_has_gone_on_is_none() -> None:
    """In both worlds the user of a closed workload gives up at the deadline, and what comes later finds nobody."""
    slow = {f"s{i}": {"workers": 2, "service_time": 0.1, "store": {"initial": {"k:*": 100}}} for i in range(2)}
    users = {"kind": "closed", "users": 1, "think_time": 0.01}
    strategy = Saga(policies=Policies(call_timeout=2.0))
    scenario = lab(workload=users, services=slow, transactions=4, clients={"deadline": 0.05})
    for run in (simtx.execute(scenario, strategy), simtx.simulate(scenario, strategy)):
        begins = run.transactions["arrival_s"].to_numpy()
        assert min(begins[1:] - begins[:-1]) < 0.2  # an answer takes longer; on a busy machine so may a user
        assert [event.tx for event in run.trace if event.kind == "reply"] == []
        assert run.transactions["latency_ms"].isna().all()
        assert (run.transactions["outcome"] == "committed").all()


def test_the_measured_window_ends_with_the_last_arrival_of_a_trace_file(tmp_path: Path) -> None:
    """It is shorter than the duration: in both worlds nobody waits for arrivals that will not come."""
    arrivals = tmp_path / "arrivals.csv"
    arrivals.write_text("time\n" + "".join(f"{time}\n" for time in (0.5, 1.0, 1.5)))
    scenario = lab(workload={"kind": "trace", "trace": str(arrivals)}, run={"duration": 5.0, "drain": 20.0})
    run, simulated = simtx.execute(scenario, "saga"), simtx.simulate(scenario, "saga")
    assert len(run.transactions) == 3
    assert run.summary.throughput_per_s == pytest.approx(simulated.summary.throughput_per_s, rel=0.5)


def test_ctrl_c_while_the_databases_start_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL server takes seconds to come up; the run must not be played first and interrupted then."""

    def start(_backends: Backends) -> None:
        time.sleep(0.1)
        _thread.interrupt_main()
        time.sleep(0.5)

    stopped = threading.Event()
    monkeypatch.setattr(Backends, "start", start)
    monkeypatch.setattr(Backends, "stop", lambda _: stopped.set())
    monkeypatch.setattr(Launcher, "play", lambda _: pytest.fail("the run is played"))
    with pytest.raises(KeyboardInterrupt):
        simtx.execute(lab(rate=2.0), "saga")
    assert stopped.is_set()


def kill_the_client(folder: Path, way: signal.Signals) -> None:
    """SIGKILL, once it has asked for something."""
    for _ in range(18_000):
        logs = list(folder.glob("nodes/client/log.*.jsonl"))
        if logs and '"arrive"' in logs[0].read_text():
            break
        time.sleep(0.01)
    os.kill(json.loads((folder / "ports" / "client").read_text())["process"], way)


@pytest.mark.parametrize(("way", "said"), [(signal.SIGKILL, "was killed"), (signal.SIGTERM, "cannot go on")])
def test_a_run_whose_client_is_gone_fails_with_one_line(tmp_path: Path, way: signal.Signals, said: str) -> None:
    """Nobody else knows what was asked for; its successor would wait for a word to begin, and the run for its end."""
    killer = threading.Thread(target=kill_the_client, args=(tmp_path, way))
    killer.start()
    with pytest.raises(RunFailed, match=f"'client' {said}"):
        simtx.execute(lab(transactions=1000), "saga", folder=tmp_path)  # it would go on for long
    killer.join()


class Broken(Participant):
    """A participant with a programming error."""

    __slots__ = ()

    def handle(self, event: Event) -> list[Effect]:
        if isinstance(event, Message) and self.tx == 1:
            raise KeyError("nowhere")
        return super().handle(event)


class BrokenSaga(Saga):
    """A user's strategy with it."""

    def machine(self, node: str, tx: int) -> Machine:
        machine = super().machine(node, tx)
        return machine if node == self.hub else Broken(node, tx)


def test_a_programming_error_in_a_machine_ends_the_run_and_is_named() -> None:
    """It is not taken for a malformed message of somebody else."""
    with pytest.raises(RunFailed, match=r"KeyError.*nowhere"):
        simtx.execute(lab(transactions=3, run={"transactions": 3, "drain": 2.0}), BrokenSaga())


def test_a_slow_service_that_is_killed_is_slow_again_and_normal_afterwards() -> None:
    """What the fault multiplies is not left divided in a process that has started anew meanwhile."""
    faults = [
        {"kind": "slow", "node": "s0", "factor": 10.0, "at": 0.4, "duration": 2.5},
        {"kind": "crash", "node": "s0", "at": 0.6, "duration": 0.05},
    ]
    for rate in (
        25.0,
        8.0,
        2.0,
    ):  # slower, if the machine is so busy that hardly anybody comes behind the end of the fault
        run = simtx.execute(lab(faults=faults, transactions=90, rate=rate), "saga", seed=2)
        serves = [event for event in run.trace if event.kind == "serve" and event.node == "s0"]
        served = [(event.time, float(event.detail)) for event in serves]
        if served[-1][1] == 0.002 and len({demand for _, demand in served}) > 1:
            break
    (restarted,) = (event.time for event in run.trace if event.kind == "restart" and event.node == "s0")
    (healed,) = (event.time for event in run.trace if event.kind == "healed" and event.name == "slow")
    assert {demand for _, demand in served} == {0.002, 0.02}
    slow = [demand for time, demand in served if restarted < time < healed]
    assert slow[-1:] in ([], [0.02])  # none, if the machine is so busy that the process was away all the time
    assert served[-1][1] == 0.002  # the word reaches the process a little later


def test_a_fault_that_cannot_be_injected_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a run without that fault, and nobody would know."""

    def broken(_injectors: Injectors, _fault: object, _seconds: float) -> None:
        raise RunFailed("the database cannot be stopped")

    monkeypatch.setattr(Injectors, "_strike", broken)
    with pytest.raises(RunFailed, match="the database cannot be stopped"):
        simtx.execute(lab(faults=[{"kind": "pause", "node": "s0", "at": 0.2, "duration": 0.1}]), "saga")


def test_a_fault_is_taken_back_when_the_run_ends_in_it() -> None:
    """The databases are read in the end; one that is still stopped would not answer."""
    faults = [{"kind": "store-outage", "node": "s1", "at": 0.2, "duration": 600.0}]
    scenario = lab(faults=faults, rate=10.0, run={"transactions": 20, "drain": 1.0}, policies=PATIENT)
    begun = time.monotonic()
    run = simtx.execute(scenario, "saga", store="postgres")
    assert set(run.transactions["outcome"]) <= {"committed", "in-flight"}
    assert "in-flight" in set(run.transactions["outcome"])
    assert time.monotonic() - begun < 300


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
@pytest.mark.sample(2)
def test_the_holder_of_a_lock_does_not_queue_behind_those_who_wait_for_it(store: str) -> None:
    """One worker, one hot key: PREPARE of an open branch goes on beside the worker, which waits for the branch's lock."""
    services = {f"s{i}": {"workers": 1, "service_time": 0.02, "store": {"initial": {"k:*": 100}}} for i in range(2)}
    scenario = lab(services=services, rate=30.0, transactions=10, transaction=HOT)
    run = simtx.execute(scenario, "2pc:work=before", store=store)
    assert outcomes(run) == ["committed"] * 10 == outcomes(simtx.simulate(scenario, "2pc:work=before"))
    assert_sound(run)


def test_a_line_separator_inside_an_entry_of_a_log_ends_no_line(tmp_path: Path) -> None:
    """JSON leaves U+2028 as it is, and Python takes it for the end of a line."""
    log = LogFile(tmp_path / "log.1.jsonl", 1)
    log.log("alert", "s0", 1, name="what\u2028next\u0085?")
    log.close()
    assert [row[8] for row in entries([tmp_path / "log.1.jsonl"])] == ["what\u2028next\u0085?"]


class Lost(Orchestrator):
    """It sends to a node that does not exist."""

    __slots__ = ()

    def handle(self, event: Event) -> list[Effect]:
        return [Message("hello", self.tx, self.node, "nobody")] if self.tx == 1 else super().handle(event)


class LostSaga(Saga):
    """A user's strategy with it."""

    hub = "boss"

    def entry(self, plan: Plan) -> str:
        return self.hub

    def machine(self, node: str, tx: int) -> Machine:
        return Lost(node, tx, self) if node == self.hub else super().machine(node, tx)


def test_a_message_to_a_node_that_does_not_exist_ends_the_run_as_in_the_simulation() -> None:
    scenario = lab(transactions=3, run={"transactions": 3, "drain": 2.0})
    for play in (simtx.simulate, simtx.execute):
        with pytest.raises((RunFailed, ProtocolViolation), match="sends to 'nobody', which is no node"):
            play(scenario, LostSaga())


class Namesake(LostSaga):
    """Its hub is called like a service."""

    hub = "s0"


def test_a_hub_that_is_called_like_a_service_is_refused_as_in_the_simulation() -> None:
    for play in (simtx.simulate, simtx.execute):
        with pytest.raises(ScenarioError, match="'s0' is the name of the saga hub"):
            play(lab(transactions=3), Namesake())


def test_a_decided_transaction_of_which_only_messages_wait_is_not_in_flight() -> None:
    """As in the simulation: no machine works on it any more, so that its outcome stands."""
    plan = json.dumps([["s0", [["k:1", "add", 1]]], ["s1", [["k:1", "add", -1]]]])
    rows: list[list[object]] = [[0, 0.0, "open", "", -1, None, "", "", "", ""]]
    for tx in range(2):
        rows.append([4 * tx + 1, 0.1, "arrive", "client", tx, None, "client", "s0", "", plan])
        rows.append([4 * tx + 2, 0.2, "decided", "s0", tx, None, "", "", "committed", ""])
    rows.append([9, 0.3, "close", "", -1, None, "", "", "", ""])
    nothing: dict[str, dict[str, float]] = {"s0": {}, "s1": {}}
    run = gather(
        lab(), Saga(), 1, rows=rows, origin=0.0, end=1.0, changes={}, values=nothing, unfinished=[0, 1], waiting={1}
    )
    assert outcomes(run) == ["in-flight", "committed"]


def test_a_password_in_an_address_is_in_no_file_of_a_run_that_is_kept(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Processes are told it another way, also those that start again."""
    host = postgres_server.dsn().partition("host=")[2].split()[0]
    dsn = f"postgresql://postgres:s3cret@/postgres?host={quote(host, safe='')}"
    faults = [{"kind": "crash", "node": "s0", "at": 0.2, "duration": 0.05}]
    run = simtx.execute(lab(transactions=10, faults=faults), "outbox", store=dsn, folder=tmp_path / "run")
    drop_run(dsn, RunFolder(tmp_path / "run").run)
    assert_sound(run)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert [path for path in files if b"s3cret" in path.read_bytes()] == []


@pytest.mark.parametrize("broker", ["embedded", "nats"])
@pytest.mark.sample(2)
def test_a_service_that_starts_again_during_a_broker_outage_does_not_wait_for_the_broker(broker: str) -> None:
    """It takes requests, and publishes later: only what needs the broker waits for it."""
    for outage in (3.5, 14.0, 56.0):  # longer, if the machine is so busy that it is over before the service is back
        faults = [
            {"kind": "broker-outage", "at": 0.3, "duration": outage},
            {"kind": "crash", "node": "s0", "at": 0.5, "duration": 0.05},
        ]
        scenario = lab(faults=faults, transactions=50, rate=50 / (outage + 0.5))
        run = simtx.execute(scenario.replace(**{"run.drain": "120s"}), "outbox", broker=broker)
        assert_sound(run)
        back = [event.time for event in run.trace if event.kind == "restart" and event.node == "s0"]
        assert back
        taken = any(event.kind == "request" and back[0] < event.time < 0.1 + outage for event in run.trace)
        if taken:
            break
    assert taken


def test_workers_that_stop_begin_nothing_new() -> None:
    """Nobody would hear of it, and the process is to end soon: what waits was never begun, as after a crash."""
    workers = Workers("test", 1)
    reported: list[object] = []
    begun, stopping = threading.Event(), threading.Event()

    def first() -> int:
        begun.set()
        stopping.wait(60)
        return 0

    workers.submit(first, lambda result, *_: reported.append(result))
    for number in range(1, 20):
        workers.submit(lambda number=number: number, lambda result, *_: reported.append(result))  # type: ignore[misc]
    assert begun.wait(60)
    threading.Timer(0.2, stopping.set).start()
    workers.stop()
    assert reported == [0]


class Herald(Machine):
    """It publishes when it is asked to, and stays where it is, or is forgotten."""

    __slots__ = ("heard",)
    role = "herald"
    initial = "idle"

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.heard: list[str] = []

    def handle(self, event: Event) -> list[Effect]:
        self.heard.append(event.kind)
        HEARD.append((id(self), event.kind))
        if event.kind != "begin":
            return []
        published = Publish("published", Message("news", self.tx, self.node, "s1"))
        return [published, Append(("told",)), Forget()] if self.tx == 1 else [published]


HEARD: list[tuple[int, str]] = []


class Heralds:
    """A strategy of heralds alone."""

    name = "heralds"
    promise = "decided"
    uses_broker = True
    hub = None

    def machine(self, node: str, tx: int) -> Machine:
        return Herald(node, tx)


@pytest.mark.parametrize("tx", [0, 1])
def test_a_machine_that_was_freed_hears_no_confirmation_nor_does_its_successor(tmp_path: Path, tx: int) -> None:
    """Transaction 0 is freed because it holds nothing, 1 by `Forget`, while the confirmation waits in its mail."""

    class Slow:
        buffers = False

        def append(self, *_: object, **__: object) -> None:
            time.sleep(0.1)

        def forget(self, _tx: int) -> None: ...

    class Broker:
        async def publish(self, *_: object) -> None:
            await asyncio.sleep(0.05)

    async def play() -> None:
        node = Node(
            "s0",
            cast("Strategy", Heralds()),
            Policies(),
            log=LogFile(tmp_path / "log", 1),
            audit=None,
            store=cast("Store", Slow()),
            broker=cast("BrokerClient", Broker()),
            send=lambda *_: None,
            answer=lambda *_: None,
            wake=lambda: None,
            fail=failures.append,
            wrap=lambda message: message,
            kills=KillSwitch([], tmp_path),
        )
        node.request(Request(tx))
        await asyncio.sleep(0.3)
        end = time.monotonic() + 120
        while node.working():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        node.stop()

    failures: list[BaseException] = []
    HEARD.clear()
    asyncio.run(play())
    assert [kind for _, kind in HEARD] == ["begin"]
    assert failures == []


def test_a_process_that_cannot_be_started_again_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory, no process numbers left: without that node the run would only wait for its end."""
    start = asyncio.create_subprocess_exec
    begun: list[str] = []

    async def limited(*arguments: str, **options: object) -> asyncio.subprocess.Process:
        name = arguments[4]
        if name in begun:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        begun.append(name)
        return await start(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", limited)
    faults = [{"kind": "crash", "node": "s0", "at": 0.1, "duration": 0.05}]
    with pytest.raises(RunFailed, match=r"'s0' cannot be started again: .*temporarily unavailable"):
        simtx.execute(lab(faults=faults), "saga")


def test_a_client_that_is_slow_to_begin_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine; and the clock of the run starts when it is there, so that no arrivals come in a bunch."""
    play = Launcher.play

    async def hesitant(self: Launcher) -> list[int]:
        client = self.children["client"]
        client.pause()
        asyncio.get_running_loop().call_later(6.0, client.resume)
        return await play(self)

    monkeypatch.setattr(Launcher, "play", hesitant)
    run = simtx.execute(lab(transactions=5), "saga")
    assert_sound(run)
    planned = simtx.simulate(lab(transactions=5), "saga").transactions["arrival_s"]
    late = run.transactions["arrival_s"] - planned
    assert late.between(-0.01, 5.5).all()  # with the launcher's clock it would be the six seconds


@pytest.mark.heavy
def test_a_slow_client_that_is_told_again_asks_for_each_transaction_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it stands still, words to it are lost before the connection is made, and pile up once it is there."""

    async def course(launcher: Launcher) -> list[int]:
        launcher.origin = time.monotonic()
        client = launcher.children["client"]
        for tx in range(2):  # of three: what is asked for twice would be one more
            client.pause()
            asyncio.get_running_loop().call_later(3.5, client.resume)
            await launcher.unless_failed(launcher.arrive(tx))
        return await launcher.drain(10.0)

    monkeypatch.setattr(Launcher, "play", course)
    run = simtx.execute(lab(transactions=3), "saga")
    assert_sound(run)
    assert [event.tx for event in run.trace if event.kind == "arrive"] == [0, 1]


def test_a_strategy_may_import_what_only_its_caller_can_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "patience_of_ours.py").write_text("SECONDS = 0.7\n")
    (tmp_path / "saga_of_ours.py").write_text(
        "from dataclasses import dataclass\n\nfrom simtx.protocols import Saga\n\n\n@dataclass(frozen=True)\nclass OurSaga(Saga):\n"
        "    def machine(self, node, tx):\n        from patience_of_ours import SECONDS\n\n        assert SECONDS == 0.7\n"
        "        return super().machine(node, tx)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    ours = importlib.import_module("saga_of_ours")
    assert_sound(simtx.execute(lab(transactions=3), ours.OurSaga()))


@pytest.mark.heavy
def test_nothing_of_a_run_is_left_on_a_nats_server_of_the_users_own(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, token="word")  # noqa: S106 - of no server but this test's
    server.start()
    url = server.url.replace("//", "//word@")

    async def streams() -> list[str]:
        client = await nats.connect(url)
        try:
            return [stream.config.name for stream in await client.jsm().streams_info()]
        finally:
            await client.close()

    try:
        assert_sound(simtx.execute(lab(transactions=3), "outbox", broker=url))
        assert asyncio.run(streams()) == []
        kept = simtx.execute(lab(transactions=3), "outbox", broker=url, folder=tmp_path / "kept")
        assert_sound(kept)
        assert len(asyncio.run(streams())) == 1  # a run that is kept can be operated on
    finally:
        server.stop()
