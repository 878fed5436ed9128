"""The page on history checking says what the code does."""

import contextlib
import io
import re
from pathlib import Path

from simtx.checker.history.levels import CYCLES, ITEM_ANOMALIES, LEVELS

PAGE = (Path(__file__).parents[3] / "docs" / "history-checking.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_shows() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "history-checking.md", "exec"), {})  # noqa: S102
    assert printed.getvalue() == shown


def test_every_anomaly_and_level_is_on_the_page() -> None:
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    names = set(re.findall(r"`([^`\n]+)`", prose))
    assert {*CYCLES, *ITEM_ANOMALIES} <= names
    assert {level for level in LEVELS if not level.startswith("strong-session-")} <= names
