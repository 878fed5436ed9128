"""A frame that no correct operator sends is refused, and costs the node nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from simtx.protocols import Message, Operation, Plan, Step, TwoPhaseCommit
from simtx.protocols.codec import encode
from simtx.protocols.event_schema import PartitionGate, Schema
from simtx.reference.node.interventions import Interventions
from simtx.reference.processes.service import MALFORMED, Service


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"do": ["inspect"]},
        {"do": {"a": 1}, "tx": 1, "reason": "x"},
        {"do": "resolve", "tx": 1, "reason": "x", "branch": "b", "outcome": []},
        {"do": "resolve", "tx": 1, "reason": "x", "branch": "b", "outcome": {"commit": 1}},
        {"do": "retry", "tx": "1", "reason": "x"},
    ],
)
def test_an_odd_frame_of_an_operator_is_answered(frame: dict[str, Any]) -> None:
    answers: list[dict[str, Any]] = []
    broken: list[object] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        Interventions(MagicMock(), PartitionGate()).take(frame, answers.append)
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(play())
    assert [answer["status"] for answer in answers] == ["refused"]
    assert not broken


COUNT = 40
PLAN = Plan(3, (Step(0, "s", "sender", (Operation("k", "add", 1),)),))


def service() -> Service:
    """The coordinator's process, with what it needs to look at a frame."""
    one = Service.__new__(Service)
    one.node_name, one.node, one.schema, one.strategy = "coordinator", MagicMock(), Schema("2.0"), TwoPhaseCommit()
    one.config = {"nodes": ["sender", "receiver", "coordinator"], "transactions": COUNT}
    return one


def message(tx: Any = 3, sender: Any = "sender", to: str = "coordinator") -> dict[str, Any]:
    return {"event": {"version": "2.0", "to": to, "tx": tx, "message": encode(Message("yes", tx, sender, to))}}


def test_a_message_about_a_transaction_that_the_run_does_not_have_is_refused() -> None:
    for tx in (0, 3, COUNT - 1):
        one = service()
        one.on_message(message(tx))
        assert one.node.receive.called  # type: ignore[attr-defined]
    odd: list[Any] = [-1, COUNT, 2**53, 2**63, 10**30, True, "3", None, 0.5]
    for frame in (*map(message, odd), message(sender="nobody"), message(sender=7), message(to="receiver"), {}):
        one = service()
        with pytest.raises(MALFORMED):
            one.on_message(frame)
        assert not one.node.receive.called  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tx", "plan"),
    [
        *((tx, encode(PLAN)) for tx in (-1, COUNT, 2**63, True, "3", None)),
        (3, None),
        (3, "plan"),
        (3, encode(Plan(3, ()))),
        (2, encode(PLAN)),
        (3, encode(Plan(3, (Step(0, "s", "nowhere", ()),)))),
        (3, encode(Plan(3, (Step(1, "s", "sender", ()),)))),
        (3, encode(Plan(3, (Step(0, "s", "sender", (Operation("k", "explode"),)),)))),  # type: ignore[arg-type]
        (3, encode(Plan(3, (Step(0, "s", "coordinator", ()),)))),
    ],
)
def test_a_request_that_no_client_has_is_refused(tx: Any, plan: Any) -> None:
    one = service()
    with pytest.raises(MALFORMED):
        one.on_request({"tx": tx, "plan": plan})
    assert not one.node.request.called  # type: ignore[attr-defined]


def test_a_request_of_the_run_is_let_in() -> None:
    one = service()
    one.on_request({"tx": 3, "plan": encode(PLAN), "origin": 10**30})
    (request, origin, deadline), _ = one.node.request.call_args  # type: ignore[attr-defined]
    assert (request.plan, origin, deadline) == (PLAN, None, None)


@pytest.mark.parametrize(
    "frame",
    [
        {"do": "slow", "factor": 10**400},
        {"do": "slow", "factor": 1e300},
        {"do": "clock", "factor": -1},
        {"do": "clock", "factor": float("nan")},
        {"do": "arm", "kills": [{"id": 1}]},
        {"do": "arm", "kills": [{"id": "a", "occurrence": "x"}]},
        {"do": "arm", "kills": 7},
    ],
)
def test_an_odd_fault_is_refused(frame: dict[str, Any]) -> None:
    one = service()
    one.node.kills.points = points = []  # type: ignore[misc]
    with pytest.raises(MALFORMED):
        one.control(frame)
    assert points == []


@pytest.mark.heavy
def test_no_frame_of_an_intruder_ends_a_run_or_harms_its_data() -> None:
    """`benchmarks/frames.py` in short."""
    program = Path(__file__).parents[2] / "benchmarks" / "frames.py"
    done = subprocess.run(
        [sys.executable, program, "--frames", "200", "--seed", "5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
