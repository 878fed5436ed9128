"""The message diagram for a page: well-formed, whole, and each part at its step."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.report.sequence import build
from simtx.report.space_time import drawing, svg

NAME = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def trace():
    scenario = simtx.load("transfer").replace(
        **{
            "run.transactions": 40,
            "run.warmup": "0s",
            "network.loss": "5%",
            "faults": [{"kind": "crash", "node": "receiver", "at": "0.3s", "duration": "0.3s"}],
        }
    )
    return simtx.simulate(scenario, "2pc", seed=1, trace=True).trace


@pytest.mark.parametrize("tx", [0, 10, 20, "slowest"])
def test_everything_of_the_transaction_is_in_it_and_within_the_canvas(trace, tx):
    tx = trace.slowest() if tx == "slowest" else tx
    sequence = build(trace, tx)
    root = ElementTree.fromstring(svg(trace, tx))  # noqa: S314 - our own
    parts = root.findall(f"{NAME}g")
    assert len(parts) == len(sequence.arrows) + len(sequence.marks) + len(sequence.spans)
    words = {one.text for one in root.iter(f"{NAME}text")}
    assert set(sequence.lanes) <= words
    assert {one.label for one in sequence.arrows} <= words
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for line in root.iter(f"{NAME}line"):
        assert all(0 <= float(line.attrib[name]) <= width for name in ("x1", "x2"))
        assert all(0 <= float(line.attrib[name]) <= height for name in ("y1", "y2"))


def test_each_part_appears_at_a_step_and_the_last_step_shows_all(trace):
    drawn = drawing(trace, 10)
    root = ElementTree.fromstring(drawn.svg)  # noqa: S314 - our own
    rows = [one.row for one in drawn.steps]
    assert rows == sorted(set(rows))
    starts = [float(part.attrib["data-from"]) for part in root.findall(f"{NAME}g")]
    ends = [float(part.attrib["data-to"]) for part in root.findall(f"{NAME}g")]
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert max(starts) <= rows[-1] + 1e-3
    assert all(part.attrib["data-tip"] == part.find(f"{NAME}title").text for part in root.findall(f"{NAME}g"))


def test_names_cannot_break_the_page():
    scenario = simtx.load("transfer").replace(**{"run.transactions": 20, "run.warmup": "0s"})
    trace = simtx.simulate(scenario, "saga", seed=1, trace=True).trace
    text = svg(trace, 3, title="</svg><script>alert(1)</script>")
    assert "<script" not in text
    ElementTree.fromstring(text)  # noqa: S314 - our own


def test_a_transaction_that_is_not_there_is_said(trace):
    with pytest.raises(ScenarioError, match="no transaction 999 in this trace"):
        svg(trace, 999)
    with pytest.raises(ScenarioError, match="no transaction 999"):
        trace.player(999)
