"""A frame that no correct operator sends is refused, and costs the node nothing."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock

import pytest

from simtx.reference.interventions import Interventions
from simtx.reference.schema import PartitionGate


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
