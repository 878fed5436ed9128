"""The page on the event log says what the code does."""

import contextlib
import io
import re

import pytest

import simtx
from simtx.event_log.log import LogEntry
from tests.docs.pages import ROOT
from tests.simulator.test_faults import FAULTS, world
from tests.simulator.worlds import STRATEGIES

PAGE = (ROOT / "docs" / "event-log.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \|", PAGE, re.MULTILINE)
KINDS = {kind for row in ROWS for kind in re.findall(r"`([\w-]+)`", row)}


def test_the_examples_print_what_the_page_shows():
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == PAGE.count("```python") == PAGE.count("```text") == 3
    for code, shown in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "event-log.md", "exec"), {})  # noqa: S102
        assert printed.getvalue() == shown


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_every_kind_of_entry_is_on_the_page(strategy):
    """All that occur under all faults together, with circuit breakers."""
    policies = {"breaker": {"threshold": 3, "cooldown": 0.5}, "call_timeout": 0.05, "vote_timeout": 0.1}
    scenario = world(FAULTS.values(), transactions=60, policies=policies, broker={"redelivery": 0.3})
    seen = {
        event.kind for seed in range(3) for event in simtx.simulate(scenario, strategy, seed=seed, trace="full").trace
    }
    assert len(seen) > 20
    assert seen <= KINDS


def test_every_kind_and_field_of_the_code_is_on_the_page():
    """Those that the docstring of an entry lists."""
    listed = set(re.findall(r"``(\w+)``", LogEntry.__doc__.split("kind:")[1].split("node:")[0]))
    assert {"send", "handle", "recover", "unfinished"} <= listed <= KINDS
    assert set(LogEntry._fields) <= KINDS
