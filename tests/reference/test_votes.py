"""The vote store for real: one vote a row, whoever comes first, in a file and on a server; and a transaction that ends without its coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.reference.stores.base import VoteStore
from simtx.reference.stores.votes import open_votes
from tests.reference.test_execute import assert_sound, lab, outcomes


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.heavy)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[VoteStore]]:
    """The same store, opened by several, as by processes."""
    spec: dict[str, Any] = {
        "kind": request.param,
        "run": f"votes{abs(hash(tmp_path)) % 10**8}",
        "path": str(tmp_path / "votes.sqlite"),
    }
    if request.param == "postgres":
        spec["dsn"] = request.getfixturevalue("postgres_dsn")
    stores = [open_votes(spec) for _ in range(3)]
    yield stores
    for one in stores:
        one.close()


def test_the_first_vote_stays(opened: list[VoteStore]) -> None:
    """Whoever asks afterwards, with whatever vote, over whichever connection, is told what is there."""
    first, second, _ = opened
    assert first.log_once(1, "s0", "yes") == ("yes", True)
    assert second.log_once(1, "s0", "no") == ("yes", False)
    assert first.log_once(1, "s0", "yes") == ("yes", False)
    assert second.log_once(1, "s1", "no") == ("no", True)
    assert first.log_once(2, "s0", "no") == ("no", True)


def test_of_many_at_once_one_writes_and_all_are_told_the_same(opened: list[VoteStore]) -> None:
    with ThreadPoolExecutor(len(opened)) as pool:
        for tx in range(20):
            votes = ["yes", "no", "yes"]
            told = list(pool.map(lambda one, vote, tx=tx: one.log_once(tx, "s0", vote), opened, votes))
            assert len({vote for vote, _ in told}) == 1
            assert sum(written for _, written in told) == 1


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(simtx.SimtxError, match="the vote store cannot be used"):
        open_votes({"kind": "sqlite", "run": "r", "path": str(tmp_path / "away" / "votes.sqlite")})


def test_an_outage_of_the_vote_store_takes_a_server_of_our_own() -> None:
    scenario = lab(faults=[{"kind": "vote-store-outage", "at": "100ms", "duration": "100ms"}])
    with pytest.raises(ScenarioError, match=r"faults\[0\]: a vote-store outage needs databases of our own"):
        simtx.execute(scenario, "cornus")


@pytest.mark.heavy
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_killed_coordinator_leaves_nobody_in_doubt_for_real(store: str) -> None:
    """It is killed for twenty seconds when all votes are in the store and the client is not answered: the participants end the transaction without it."""
    trigger = {"transaction": 5, "effect": "Answer", "when": "before"}
    fault = {"kind": "crash", "node": "hub", "duration": "20s", "trigger": trigger}
    scenario = lab(3, faults=[fault], policies={"inquiry_timeout": "200ms", "vote_timeout": "3s"})
    run = simtx.execute(scenario, "cornus", seed=3, store=store)
    assert_sound(run)
    assert outcomes(run)[5] == "committed"
    restarted = next(entry.time for entry in run.trace if entry.kind == "restart")
    ended = [entry.time for entry in run.trace if entry.tx == 5 and entry.kind == "commit"]
    assert len(ended) == 3
    assert max(ended) < restarted
    answered = [entry.time for entry in run.trace if entry.tx == 5 and entry.kind == "answer"]
    assert answered
    assert min(answered) > restarted  # the client hears it when the coordinator is back


@pytest.mark.heavy
def test_nobody_votes_while_the_vote_store_is_stopped_and_all_go_on_when_it_is_back() -> None:
    fault = {"kind": "vote-store-outage", "at": "200ms", "duration": "1s"}
    scenario = lab(2, faults=[fault], policies={"inquiry_timeout": "200ms", "vote_timeout": "3s"})
    run = simtx.execute(scenario, "cornus", store="postgres")
    assert_sound(run)
    assert run.data.counts["faults"] == 1
    assert set(outcomes(run)) <= {"committed", "aborted"}
