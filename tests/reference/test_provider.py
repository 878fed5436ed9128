"""A provider outside as a process of its own: it answers as the simulated one, keeps what it has done when it is killed, and can be away."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

import simtx
from simtx.conformance.check import check_log
from simtx.errors import PeerFault, RunFailed
from simtx.metrics.run import Run
from simtx.protocols import Operation
from simtx.protocols.codec import encode
from simtx.reference.processes.launcher import Launcher
from simtx.reference.processes.provider import ProviderServer
from simtx.reference.run_folder.audit import entries
from simtx.reference.run_folder.event_log import LogFile
from simtx.reference.stores.base import StoreFailed
from simtx.reference.stores.sqlite.provider import Order, ProviderBooks
from simtx.scenario import Scenario
from simtx.scenario.distributions import Constant
from simtx.scenario.infrastructure import ProviderSpec
from simtx.workload import Streams, TransactionStreams
from simtx.workload.provider import Behaviour
from tests.reference.test_execute import lab, outcomes

if TYPE_CHECKING:
    from simtx.reference.wire.connection import Peer

MEMORIES: dict[str, dict[str, Any]] = {"key": {"idempotency": "24h"}, "query": {"status_query": True}, "nothing": {}}
WAITING = {
    "call_timeout": 3.0,
    "attempts": 50,
    "vote_timeout": 5.0,
    "inquiry_timeout": 0.3,
    "poll_interval": 0.02,
}
"""Longer than a service waits for its provider."""


def paying(
    transactions: int = 16, at: str = "s1", refusal: float = 0.25, faults: Any = (), **provider: Any
) -> Scenario:
    """A chain of three services; the provider of one answers in 20 ms, and whoever waits for it does so for two seconds."""
    scenario = lab(3, transactions=transactions, refusal=refusal, policies=WAITING)
    behaviour = {"latency": "20ms", "timeout": "2s", **provider}
    return scenario.replace(
        **{f"services.{at}.provider": behaviour, f"services.{at}.workers": 16, "faults": list(faults)}
    )


# --- the books ----------------------------------------------------------------------------------------------------------------


def books(folder: Path, *, create: bool = True, **memory: Any) -> ProviderBooks:
    options: dict[str, Any] = {"initial": {"k:*": 10.0}, "keeps": 3600.0, "asked": False, **memory}
    return ProviderBooks(folder / "provider.sqlite", create=create, **options)


def charge(key: str | None = "a", amount: float = -4.0, low: float = 0.0) -> Order:
    operation = Operation("k:1", "add", amount, low=low)
    return Order(1, key, (operation,), (2,), False, "yes", "no", time.monotonic())


def test_a_key_that_is_known_does_nothing_whoever_has_been_killed_meanwhile(tmp_path: Path) -> None:
    """The answer of the first request comes again, and its values stand; a guard refuses, and that is remembered, too."""
    first = books(tmp_path)
    assert first.perform(charge()).changes == {"k:1": (10.0, 6.0)}
    assert first.perform(charge("b", -40.0)).answer == "refused"
    first.close()
    again = books(tmp_path, create=False)
    assert again.perform(charge()).changes == {}
    assert again.perform(charge("b")).answer == "refused"
    assert again.values() == {"k:1": 6.0}
    (change,) = again.history()
    assert (change.tx, change.steps, change.compensation, change.changes) == (1, (2,), False, {"k:1": (10.0, 6.0)})
    known = again.recall("a", time.monotonic())
    assert known is not None
    assert (known.answer, known.branch) == ("done", "yes")
    again.close()


def test_what_is_not_remembered_is_done_again(tmp_path: Path) -> None:
    """Without a key, without a memory for keys, and when the time of a key is over; who can be asked knows for ever."""
    forgetful = books(tmp_path, keeps=None)
    for key in (None, "a", "a"):
        forgetful.perform(charge(key, -1.0))
    assert forgetful.values() == {"k:1": 7.0}
    assert forgetful.recall("a", time.monotonic()) is None
    forgetful.close()
    brief = books(tmp_path, keeps=0.0)
    brief.perform(charge("a", -1.0))
    assert brief.values() == {"k:1": 6.0}
    brief.close()
    asked = books(tmp_path, keeps=None, asked=True)
    assert asked.recall("a", time.monotonic() + 1e9) is not None
    asked.close()


def test_books_that_are_gone_are_not_made_anew(tmp_path: Path) -> None:
    """A provider that has forgotten everything would charge everybody once more."""
    with pytest.raises(StoreFailed, match="the database is missing"):
        books(tmp_path, create=False)


# --- the server ---------------------------------------------------------------------------------------------------------------

WHOLE: dict[str, Any] = {
    "type": "do",
    "id": 7,
    "tx": 1,
    "key": "a",
    "operations": encode((Operation("k:1", "add", -4.0, low=0.0),)),
    "steps": [2],
    "compensation": False,
    "accepted": "yes",
    "refused": None,
    "role": "participant",
    "cause": None,
    "slowness": 1.0,
}


class Asking:
    """A provider's server, and somebody who is connected to it."""

    def __init__(self, folder: Path, **behaviour: Any) -> None:
        spec = ProviderSpec(Constant(0.02), idempotency=3600.0, **behaviour)
        self.failures: list[BaseException] = []
        self.said: list[dict[str, Any]] = []
        self.books = books(folder)
        self.log = folder / "log.1.jsonl"
        rules = Behaviour.of(spec, "s1", TransactionStreams(Streams(1)))
        self.server = ProviderServer("s1", spec, rules, self.books, LogFile(self.log, 1), 10, self.failures.append)
        self.take = self.server.accept(cast("Peer", SimpleNamespace(send=self.said.append)))

    async def ask(self, **changes: Any) -> list[dict[str, Any]]:
        """What it says to a frame, once nothing is under way any more."""
        self.said.clear()
        self.take({**WHOLE, **changes})
        while self.server._tasks:
            await asyncio.sleep(0.002)
        return list(self.said)

    def close(self) -> None:
        self.server.close()
        self.books.close()
        assert self.failures == []


def test_a_provider_answers_and_tells_what_it_knows(tmp_path: Path) -> None:
    async def play() -> None:
        provider = Asking(tmp_path)
        assert await provider.ask(type="recall") == [{"type": "known", "id": 7, "answer": None, "branch": None}]
        assert await provider.ask() == [{"type": "answer", "id": 7, "answer": "done"}]
        assert await provider.ask() == [{"type": "answer", "id": 7, "answer": "done"}]
        for kind in ("recall", "query"):
            assert await provider.ask(type=kind) == [{"type": "known", "id": 7, "answer": "done", "branch": "yes"}]
        assert provider.books.values() == {"k:1": 6.0}
        (line,) = provider.log.read_text().splitlines()  # the repetition has changed nothing
        assert json.loads(line)[2:5] == ["apply", "s1", 1]
        provider.close()

    asyncio.run(play())


def test_nothing_gets_in_or_out_of_a_provider_that_is_unreachable(tmp_path: Path) -> None:
    """But what it had received before is done."""

    async def play() -> None:
        provider = Asking(tmp_path)
        provider.take(WHOLE)
        provider.take({"type": "control", "do": "unreachable", "factor": 1.0})
        assert await provider.ask(key="b") == []
        assert provider.books.values() == {"k:1": 6.0}
        provider.take({"type": "control", "do": "unreachable", "factor": 0.0})
        assert await provider.ask() == [{"type": "answer", "id": 7, "answer": "done"}]
        provider.take({"type": "control", "do": "answering", "factor": 0.0})
        assert await provider.ask(key="c") == []
        provider.close()

    asyncio.run(play())


def test_a_request_over_the_limit_is_told_so(tmp_path: Path) -> None:
    async def play() -> None:
        provider = Asking(tmp_path, rate_limit=0.001, burst=1)
        assert await provider.ask() == [{"type": "answer", "id": 7, "answer": "done"}]
        assert await provider.ask() == [{"type": "limited", "id": 7}]
        provider.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "charge"},
        {"tx": 10},
        {"tx": True},
        {"key": 5},
        {"key": "\ud800"},
        {"operations": "all"},
        {"operations": encode((Operation("\ud800"),))},
        {"operations": encode((Operation("k", "add", 1e300),))},
        {"steps": ["first"]},
        {"steps": None},
        {"accepted": ["yes"]},
        {"slowness": float("nan")},
        {"slowness": "very"},
        {"type": "query", "key": None},
        {"type": "control", "do": "slow", "factor": -1.0},
    ],
)
def test_a_frame_that_no_service_sends_ends_its_connection_and_nothing_else(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async def play() -> None:
        provider = Asking(tmp_path)
        with pytest.raises(PeerFault):
            provider.take({**WHOLE, **changes})
        assert await provider.ask() == [{"type": "answer", "id": 7, "answer": "done"}]
        provider.close()

    asyncio.run(play())


# --- whole runs ---------------------------------------------------------------------------------------------------------------


def nothing_twice(run: Run) -> None:
    """What holds whatever the provider does, as long as it remembers; what the machines did is what they do in the checker, too."""
    summary = run.summary
    assert (
        summary.duplicate_effects == summary.missing_effects == summary.residual_divergence == summary.violations == 0
    )
    assert set(outcomes(run)) <= {"committed", "aborted", "compensated"}
    assert check_log(run.trace, run.strategy).ok


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.sample(3)
def test_a_real_provider_does_what_the_simulated_one_does(memory: str) -> None:
    """Same seed, same fates: the requests that get no answer are the same ones, and so is what is done twice where nobody remembers."""
    scenario = paying(timeouts=0.2, timeouts_done=1.0, **MEMORIES[memory])
    run = simtx.execute(scenario, "saga", seed=2)
    simulated = simtx.simulate(scenario, "saga", seed=2)
    assert run.summary.index.tolist() == simulated.summary.index.tolist()
    assert outcomes(run) == outcomes(simulated)
    assert run.summary.unknown_outcomes >= simulated.summary.unknown_outcomes > 0
    assert check_log(run.trace, run.strategy).ok
    if memory == "nothing":
        assert run.summary.duplicate_effects == simulated.summary.duplicate_effects > 0
        assert run.summary.violations > 0
    else:
        nothing_twice(run)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("strategy", "at"),
    [("2pc:last_resource=s1", "s1"), ("tcc", "s1"), ("outbox", "s1"), ("saga", "s0"), ("saga", "s2")],
)
@pytest.mark.parametrize("memory", ["key", "query"])
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_whoever_is_remembered_does_nothing_twice(strategy: str, at: str, memory: str, store: str) -> None:
    scenario = paying(40, at, timeouts=0.15, **MEMORIES[memory])
    run = simtx.execute(scenario, strategy, store=store)
    assert run.summary.unknown_outcomes > 0
    nothing_twice(run)


def killed(monkeypatch: pytest.MonkeyPatch, scenario: Scenario, folder: Path) -> Run:
    """A run whose provider is killed while it works on something."""
    play = Launcher.play

    async def with_kill(self: Launcher) -> list[int]:
        async def kill() -> None:
            while not ((await self.ask("s1.provider", 5.0, do="state")) or {}).get("working"):
                await asyncio.sleep(0.01)
            self.children["s1.provider"].kill()

        killing = asyncio.create_task(kill())
        left = await play(self)
        assert killing.done()
        return left

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "play", with_kill)
        return simtx.execute(scenario, "saga", folder=folder)


def test_a_provider_that_is_killed_knows_what_it_has_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Requests that it had not carried out are lost, answers of others, too; they are repeated, and nothing is done twice."""
    for attempt in range(10):  # again, if it was so late that the provider had just done all there was
        folder = tmp_path / f"run{attempt}"
        run = killed(monkeypatch, paying(24, latency="200ms", idempotency="24h"), folder)
        if run.summary.unknown_outcomes > 0:
            break
    audited = Counter(line.name for line in entries(folder / "nodes" / "s1" / "audit.jsonl") if line.act == "call")
    assert audited["unknown"] == run.summary.unknown_outcomes
    assert audited.total() == sum(one.kind == "call" for one in run.trace)
    assert [(one.node, one.detail) for one in run.trace if one.kind == "crash"] == [("s1", "s1.provider")]
    assert run.summary.unknown_outcomes > 0
    nothing_twice(run)


@pytest.mark.heavy
@pytest.mark.parametrize("memory", ["key", "query"])
def test_a_service_that_is_killed_while_it_waits_does_nothing_twice(memory: str) -> None:
    """Its requests go on without it; with a limit, too, at which all of them come again at once behind the crash."""
    crash = {"kind": "crash", "node": "s1", "at": "500ms", "duration": "100ms"}
    limit = {"rate_limit": "20/s", "burst": 2, "retry_after": "100ms"}
    run = simtx.execute(paying(24, latency="200ms", faults=[crash], **limit, **MEMORIES[memory]), "saga")
    assert run.summary.rate_limited > 0
    asked = [entry for entry in run.trace if entry.kind == "call" and entry.name == "query"]
    assert bool(asked) == (memory == "query")
    nothing_twice(run)


@pytest.mark.heavy
def test_nobody_reaches_a_provider_in_an_outage_and_a_degraded_one_is_slow() -> None:
    """What was sent meanwhile is repeated, once each fault is over."""
    faults = [
        {"kind": "provider-outage", "node": "s1", "at": "200ms", "duration": "300ms"},
        {
            "kind": "provider-degraded",
            "node": "s1",
            "at": "100ms",
            "duration": "5s",
            "factor": 10.0,
            "probability": 0.2,
        },
    ]
    run = simtx.execute(paying(20, faults=faults, timeout="700ms", refusal=0.0, idempotency="24h"), "saga")
    assert run.data.counts["faults"] == 2
    assert {(one.kind, one.target) for one in run.data.struck} == {(one["kind"], "s1") for one in faults}
    assert run.summary.unknown_outcomes > 0
    slow = run.transactions[run.transactions.arrival_s > 0.5]  # by then even a busy machine has told the provider
    assert len(slow) > 5
    assert (slow.latency_ms > 200).all()
    nothing_twice(run)


@pytest.mark.heavy
def test_a_provider_that_cannot_keep_books_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and not a run in which everything times out."""
    play = Launcher.play

    async def without_books(self: Launcher) -> list[int]:
        for file in self.folder.node("s1.provider").glob("provider.sqlite*"):
            file.unlink()
        self.children["s1.provider"].kill()
        return await play(self)

    monkeypatch.setattr(Launcher, "play", without_books)
    with pytest.raises(RunFailed, match=r"'s1\.provider' cannot go on: .*the database is missing"):
        simtx.execute(paying(4), "saga")
