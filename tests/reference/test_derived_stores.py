"""Derived stores in processes of their own: what readers saw is measured as in a simulation, killed processes included."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import simtx
from simtx.protocols import Operation, Saga, Transact
from simtx.protocols.derived import Copy, CopyRule
from simtx.reference.node.updates import Updates
from simtx.reference.processes.derived import DerivedStore
from simtx.reference.processes.launcher import left_out
from simtx.reference.processes.program import Program
from simtx.reference.processes.readers import description, plan
from simtx.reference.processes.schedule import Schedule
from simtx.reference.run_folder.derived import figures
from simtx.reference.run_folder.event_log import LogFile
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.stores import open_store
from simtx.reference.stores.base import Change
from simtx.reference.stores.sqlite.copies import FILE, CopyFile, Kept, Source
from simtx.scenario import Scenario
from tests.reference.doing import SQLITE

KEY = {"service": "inventory", "key": "stock:{product}", "reads": "200/s", "fill_time": "2ms"}


def shop(rules: dict[str, dict[str, Any]], **changes: Any) -> Scenario:
    """The checkout of few products, with derived stores."""
    few = {"transaction.parameters.product.population": 4, "services.inventory.store.initial": {"stock:*": 5000}}
    derived = {name: {**KEY, **rule} for name, rule in rules.items()}
    small = {"run.transactions": 40, "run.warmup": "0s", "workload.rate": "40/s", **few, **changes}
    return simtx.load("checkout").replace(derived=derived, **small)


def of(run: simtx.Run, store: str) -> dict[str, float]:
    """The metrics of a derived store."""
    prefix = f"derived_{store}_"
    return {name.removeprefix(prefix): value for name, value in run.summary.items() if str(name).startswith(prefix)}


def killing(folder: Path, name: str) -> Callable[[], bool]:
    """Kill a process of a run once readers have read there; what is returned waits for it and says whether it happened."""
    killed = threading.Event()

    def watch() -> None:
        for _ in range(60_000):
            with suppress(OSError, ValueError, KeyError):
                if any(file.stat().st_size > 1000 for file in (folder / "nodes" / name).glob("reads.*.jsonl")):
                    os.kill(json.loads((folder / "ports" / name).read_text())["process"], signal.SIGKILL)
                    killed.set()
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return lambda: killed.wait(0)


@pytest.mark.slow
def test_derived_stores_are_played_and_measured_and_a_killed_one_goes_on(tmp_path: Path) -> None:
    """The index is killed: it gets again what it had not done, and nothing is lost. Both worlds count the same things."""
    rules = {"aside": {"check": "version"}, "index": {"update": "copy", "fill": False}}
    scenario = shop(rules)
    struck = killing(tmp_path / "run", "derived.index")
    run = simtx.execute(scenario, "saga", folder=tmp_path / "run", progress=False)
    assert struck()
    assert set(run.transactions["outcome"]) <= {"committed", "aborted"}
    for name in rules:
        found = of(run, name)
        assert found["reads"] > 20
        assert 0 <= found["stale_share"] < 1
        assert run.timeline[f"wrong_{name}"].iloc[-1] == 0
        assert (found["wrong_at_end"], found["drift_at_end"], found["updates_lost"]) == (0, 0, 0)
    assert of(run, "index")["miss_share"] == 0 < of(run, "aside")["miss_share"] < 1
    assert any("derived store 'index' was killed" in note for note in run.warnings)
    assert not any("wrong_" in note for note in run.warnings)


@pytest.mark.heavy
def test_a_writer_that_is_killed_before_it_could_tell_leaves_old_copies_for_real_as_in_the_simulation() -> None:
    """Updates of 60 ms, and a writer that dies in the middle; those by event come all the same."""
    rules = {
        "aside": {"check": "version", "lag": "60ms", "ttl": "1s"},
        "writer": {"update": "copy", "by": "writer", "check": "version", "lag": "60ms"},
        "event": {"update": "copy", "check": "version", "lag": "60ms"},
        "astray": {"update": "copy", "check": "version", "lag": "60ms", "loss": "50%"},
    }
    crash = [{"kind": "crash", "node": "inventory", "at": "500ms", "duration": "100ms"}]
    scenario = shop(rules, faults=crash, **{"workload.rate": "80/s", "run.transactions": 120})
    for run in (simtx.simulate(scenario, "saga"), simtx.execute(scenario, "saga", network="scenario", progress=False)):
        assert of(run, "writer")["updates_lost"] > 0
        assert of(run, "astray")["updates_lost"] > 0
        assert of(run, "event")["updates_lost"] == of(run, "event")["wrong_at_end"] == 0
        assert of(run, "event")["stale_p50_ms"] > 10
        assert of(run, "aside")["wrong_at_end"] == of(run, "aside")["updates_lost"] == 0
        assert set(of(run, "aside")) == set(of(run, "event"))


def test_what_a_real_run_does_not_play_is_said() -> None:
    beside = {
        "groups": {"g": {"service": "inventory", "key": "stock:{product}"}},
        "aggregates": {"a": {"key": "a", "commands": 1}},
    }
    scenario = shop({"stock": {}}, **beside)
    said = left_out(scenario, Saga(), {}, resumed=False)
    assert [line.partition(":")[0] for line in said] == [
        "derived stores are executed on SQLite alone",
        "consumer groups are simulated and not executed",
        "aggregates are simulated and not executed",
    ]
    assert len(left_out(scenario, Saga(), scenario.derived, resumed=False)) == 2
    assert left_out(scenario, Saga(), {}, resumed=True) == []


# --- the figures ----------------------------------------------------------------------------------------------------------------


def left(folder: Path, scenario: Scenario, lines: list[list[Any]], copies: dict[str, Kept]) -> RunFolder:
    """The folder of a run in which a derived store has left this."""
    run = RunFolder(folder)
    place = run.node("derived.stock")
    place.mkdir(parents=True)
    (place / "reads.1.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '["read", 1')
    file = CopyFile(place / FILE)
    for key, kept in copies.items():
        file.write(key, kept)
    file.close()
    return run


def change(number: int, moment: float, **values: float) -> Change:
    """A commit of stock, by the product."""
    changed = {f"stock:{name}": (0.0, value) for name, value in values.items()}
    return Change(number, number, (0,), False, changed, moment)


def test_the_figures_are_those_of_what_readers_saw(tmp_path: Path) -> None:
    """Two commits of one key and one of another, with other rows between; the copy of the second one is old."""
    scenario = shop({"stock": {"by": "writer"}}, **{"run.warmup": "800ms"})
    history = [
        change(0, 1.0, p=10.0),
        Change(1, 1, (0,), False, {"order:1": (0, 1)}, 1.5),
        change(2, 2.0, p=9.0, q=5.0),
    ]
    lines: list[list[Any]] = [
        ["read", 0.5, "stock:p", None],  # before the warm-up
        ["update", 1.1, "stock:p", 1],
        ["read", 1.5, "stock:p", 1],  # fresh
        ["refused", 1.6, "stock:p", None],
        ["read", 2.5, "stock:p", 2],  # of a state between the commits: still that of the first
        ["read", 2.6, "stock:p", 3],
        ["read", 2.7, "stock:q", None],
        ["update", 2.8, "stock:p", 3],
    ]
    copies = {
        "stock:p": Kept(Copy(3), 9.0, 2.8),
        "stock:q": Kept(Copy(2), 7.0, 2.7),
        "stock:r": Kept(Copy(1), 1.0, 2.0),
    }
    folder = left(tmp_path, scenario, lines, copies)
    values = {"inventory": {"stock:p": 9.0, "stock:q": 5.0}}
    found = figures(folder, scenario, {"inventory": history}, values, 0.0)
    told = {name.removeprefix("derived_stock_"): value for name, value in found.items()}
    assert told.pop("stale_p50_ms") == pytest.approx(500)
    assert told.pop("stale_p99_ms") == pytest.approx(500)
    assert told.pop("stale_max_ms") == pytest.approx(500)
    assert told == {
        "reads": 4,
        "miss_share": 0.25,
        "stale_share": 0.25,
        "wrong_at_end": 1,
        "wrong_for_ever": 1,
        "drift_at_end": 2,
        "updates_lost": 1,
        "refused": 1,
    }


# --- the process ----------------------------------------------------------------------------------------------------------------


def sell(store: Any, tx: int, product: str, value: float) -> None:
    store.transact(tx, Transact("t", (Operation(f"stock:{product}", "set", value),), steps=(0,)))


def beside(tmp_path: Path, **rule: Any) -> tuple[Any, RunFolder, dict[str, Any]]:
    """A service's open store, the folder of a run, and the configuration of a derived store that follows it."""
    scenario = shop({"stock": rule})
    spec = scenario.derived["stock"]
    source = {"kind": "sqlite", "path": str(tmp_path / "store.sqlite"), **SQLITE, "service": "inventory"}
    source["initial"] = {"stock:*": 5000}
    store = open_store(source)
    folder = RunFolder(tmp_path)
    place = folder.node("derived.stock")
    place.mkdir(parents=True)
    readers = plan(spec, scenario, Schedule.draw(scenario, 1), 1, lags=True, fill_times=False)
    assert {key.partition(":")[0] for key in readers["keys"]} == {"stock"}
    (place / "plan.json").write_text(json.dumps(readers))
    return store, folder, {"derived": description(spec), "source": source, "seed": 1, "sample_every": 1.0}


def derived(folder: RunFolder, config: dict[str, Any], incarnation: int = 1) -> DerivedStore:
    """The derived store, in a process of its own but for its sockets."""
    name = "derived.stock"
    log = LogFile(folder.log(name, incarnation), incarnation)
    program = SimpleNamespace(folder=folder, name=name, incarnation=incarnation, config=config, log=log)
    return DerivedStore(cast("Program", program))


def test_a_killed_process_gets_again_what_it_had_not_done_and_nothing_else(tmp_path: Path) -> None:
    """An index whose updates take a while: those on their way when it dies come again, since the checkpoint is in front of them."""
    store, folder, config = beside(tmp_path, update="copy", fill=False, lag="20ms")
    numbers = itertools.count(1)

    state: list[tuple[int, int, int, int]] = []

    async def incarnation(until: int) -> DerivedStore:
        """One that lives until it has worked off the history up to there; notes what it has followed and done by then."""
        one = derived(folder, config, next(numbers))
        one.look()
        while one.copies.position < until:
            await asyncio.sleep(0.001)
        state.append((one.followed, one.copies.position, len(one.open), one.wrong()))
        return one

    sell(store, 1, "p", 4999)
    done = asyncio.run(incarnation(1))
    assert done.kept("stock:p")[:2] == (Copy(1), 4999)
    assert done.kept("stock:q")[:2] == (Copy(0), 5000)
    sell(store, 2, "q", 4998)
    sell(store, 3, "p", 4997)
    asyncio.run(incarnation(0))  # nothing has arrived yet
    assert state[-1] == (3, 1, 2, 2)
    again = asyncio.run(incarnation(3))
    assert (again.kept("stock:p").value, again.kept("stock:q").value) == (4997, 4998)
    assert (again.wrong(), again.open) == (0, {})
    assert Source(tmp_path / "store.sqlite").read("stock:p") == (4997, 3)
    store.close()


def test_what_has_expired_is_a_miss_and_is_filled_from_the_database(tmp_path: Path) -> None:
    store, folder, config = beside(tmp_path, update="none", ttl="1000s")
    sell(store, 1, "p", 4999)

    async def read() -> None:
        one = derived(folder, config)
        one.look()
        now = time.monotonic()
        one.copies.write("stock:p", Kept(Copy(0), 5000.0, now - 2000))
        one.copies.write("stock:q", Kept(Copy(0), 5000.0, now))
        assert one.kept("stock:p").copy.version is None
        assert one.kept("stock:q").copy.version == 0
        one.read_one("stock:p")
        one.read_one("stock:r")
        assert one.fillings == 2
        while one.fillings:
            await asyncio.sleep(0.001)
        assert one.kept("stock:p")[:2] == (Copy(1), 4999)
        assert one.kept("stock:r")[:2] == (Copy(1), 5000)
        assert one.copies.position == 0  # no update comes by event

    asyncio.run(read())
    store.close()


def test_a_lease_drops_what_a_reader_has_read_before_the_invalidation(tmp_path: Path) -> None:
    """The race of the literature, on two files: the reader misses and reads, a commit follows and its event comes, and then the reader fills."""
    for rule, version in {"none": 0, "version": None, "lease": None}.items():
        place = tmp_path / rule
        place.mkdir()
        store, folder, config = beside(place, check=rule)

        async def race(store: Any = store, folder: RunFolder = folder, config: dict[str, Any] = config) -> int | None:
            one = derived(folder, config)
            one.read_one("stock:p")
            sell(store, 1, "p", 4999)
            one.update({"key": "stock:p", "position": 1, "value": 4999})
            while one.fillings:
                await asyncio.sleep(0.001)
            return one.kept("stock:p").copy.version

        assert asyncio.run(race()) == version, rule
        store.close()


def test_updates_by_the_writer_go_to_those_who_follow_its_keys() -> None:
    async def told() -> list[tuple[str, dict[str, Any]]]:
        sent: list[tuple[str, dict[str, Any]]] = []
        stores = [
            {"process": "a", "pattern": "stock:.+", "by": "writer", "loss": 0.0, "lags": []},
            {"process": "b", "pattern": "stock:.+", "by": "writer", "loss": 1.0, "lags": []},
            {"process": "c", "pattern": "stock:.+", "by": "writer-before", "loss": 0.0, "lags": []},
            {"process": "d", "pattern": "stock:.+", "by": "writer", "loss": 0.0, "lags": [0.0]},
        ]
        updates = Updates(stores, lambda process, frame: sent.append((process, frame)), "seed")
        updates.begins(["stock:p", "order:1"])
        updates.committed({"stock:p": (5.0, 4.0), "order:1": (0.0, 1.0)}, 6)
        assert [process for process, _ in sent] == ["c", "a"]
        await asyncio.sleep(0.05)
        return sent

    frame = {"type": "update", "key": "stock:p", "position": 7, "value": 4.0}
    before = {"type": "update", "key": "stock:p", "position": 0, "value": 0.0}
    assert asyncio.run(told()) == [("c", before), ("a", frame), ("d", frame)]


def test_a_rule_travels_to_its_process_as_it_is() -> None:
    spec = shop({"stock": {"update": "none", "ttl": "1s"}}).derived["stock"]
    assert CopyRule(**description(spec)["rule"]) == spec.rule
    assert description(spec)["by"] == ""
