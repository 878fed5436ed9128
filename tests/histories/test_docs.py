"""The page on history checking says what the code does."""

import contextlib
import inspect
import io
import json
import re
from pathlib import Path
from typing import Any

from simtx.cli import main
from simtx.cli.check_history import check_history
from simtx.histories import from_trace
from simtx.histories.levels import CYCLES, ITEM_ANOMALIES, LEVELS
from simtx.histories.orders import GRANTS
from tests.histories.logs import Log

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "history-checking.md").read_text(encoding="utf-8")


def test_the_examples_print_what_the_page_shows() -> None:
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == PAGE.count("```python") == PAGE.count("```text") - 1 == 3
    for code, shown in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "history-checking.md", "exec"), {})  # noqa: S102
        assert printed.getvalue() == shown


def test_the_command_prints_what_the_page_shows(capsys, monkeypatch) -> None:
    """Of the file that the page shows, which is the history of the first example."""
    ((file, command, shown),) = re.findall(
        r"```json\n(.*?)```\n\n```sh\nsimtx (.*?)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL
    )
    arguments = command.split()
    monkeypatch.chdir(ROOT)
    assert Path(arguments[1]).read_text(encoding="utf-8") == file
    assert main(arguments) == 1
    assert capsys.readouterr() == (shown, "")
    example: dict[str, Any] = {}
    first = PAGE.partition("```python\n")[2].partition("report =")[0]
    exec(compile(first, "history-checking.md", "exec"), example)  # noqa: S102
    assert [json.loads(line) for line in file.splitlines()] == example["history"]


def test_every_option_of_the_command_is_on_the_page() -> None:
    for name in inspect.signature(check_history).parameters:
        assert name == "file" or f"`--{name}" in PAGE


def test_every_assumption_is_on_the_page() -> None:
    for name in GRANTS:
        assert f"\n- `{name}`: " in PAGE


def test_the_table_on_compensation_says_what_is_done() -> None:
    """The rows of the page, as an event log."""
    log = Log({"stock": 10})
    log.arrive(0, 1, 2)
    seen = []
    for step in (
        None,
        lambda: log.add(0, "stock", -2),
        lambda: log.add(1, "stock", -1),
        lambda: log.undo(0, "stock", 2),
    ):
        if step is not None:
            step()
        log.look(2, "stock", steps=(len(seen),))
        (entry,) = [entry for entry in from_trace(log.trace()) if entry["id"] == "t2"]
        seen.append(entry["ops"][-1][2])
    assert seen == [None, "8 (#1)", "7 (#2)", "7 (#2)"]
    rows = re.findall(r"^\| .* \| (\d+)(?: \(#\d\))? \| (?:the initial state|#(\d)).* \|$", PAGE, re.MULTILINE)
    assert rows == [("10", ""), ("8", "1"), ("7", "2"), ("9", "2")]


def test_every_anomaly_and_level_is_on_the_page() -> None:
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    names = set(re.findall(r"`([^`\n]+)`", prose))
    assert {*CYCLES, *ITEM_ANOMALIES} <= names
    assert {level for level in LEVELS if not level.startswith("strong-session-")} <= names
