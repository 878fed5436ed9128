"""A pytest plugin for SimPy's own suite: `simpy.Environment` is simtx's, and a report tells what ran.

It is loaded with `-p simpy_drop_in` in the process that runs the suite, before any test module is imported. The environment variable
SIMPY_DROP_IN_REPORT names the JSON file to write.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import simpy
import simpy.core

from simtx.simulator import Environment

made = 0


class DropIn(Environment):
    """simtx's environment as it is, counted."""

    def __init__(self, initial_time: float = 0) -> None:
        global made  # noqa: PLW0603 - a plugin is a module
        made += 1
        super().__init__(initial_time)


simpy.Environment = simpy.core.Environment = DropIn  # type: ignore[misc]

outcomes: Counter[str] = Counter()
used = 0
deselected = 0


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Any:
    """Count the tests whose `env` is ours, and stop at one that is not."""
    global used  # noqa: PLW0603
    value = yield
    if fixturedef.argname == "env":
        assert type(value) is DropIn
        used += 1
    return value


def pytest_deselected(items: list[pytest.Item]) -> None:
    global deselected  # noqa: PLW0603
    deselected += len(items)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count one outcome a test: of its call, or of a set-up or tear-down that did not pass."""
    if report.when == "call" or report.outcome != "passed":
        outcomes["xfail" if hasattr(report, "wasxfail") else report.outcome] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    Path(os.environ["SIMPY_DROP_IN_REPORT"]).write_text(
        json.dumps(
            {
                "simpy": simpy.__version__,
                "collected": session.testscollected,
                "outcomes": dict(outcomes),
                "deselected": deselected,
                "environments": made,
                "tests_with_env": used,
            }
        )
    )
