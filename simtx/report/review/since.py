"""Changes since an earlier report or result: scenario, code, verdict, figures; and which sections are not what they were.

A report carries what it says in a form for machines, in a block of JSON that no browser runs. Nothing of it is trusted: it is compared and printed.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from simtx.errors import ScenarioError
from simtx.report import catalogue

MARK: Final = "simtx-review"
FORMAT: Final = 1
_BLOCK: Final = re.compile(rf'<script type="application/json" id="{MARK}">(.*?)</script>', re.DOTALL)
_MOST: Final = 12
"""Lines of each kind that are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class Change:
    """One kind of change: what it is about, and its lines; none: it is as it was."""

    what: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Since:
    """Changes since an earlier report.

    Attributes:
        source: Of the earlier report, as it was given.
        made: The day it was made; empty if it is a result.
        changes: By kind.
        sections: Ids of the sections that say something else now.
    """

    source: str
    made: str
    changes: tuple[Change, ...]
    sections: frozenset[str]

    @property
    def nothing(self) -> bool:
        """Return whether everything is as it was."""
        return not any(one.lines for one in self.changes)


def block(state: Mapping[str, Any]) -> str:
    """A state as it stands in a page: no sign of it can end the block or begin another."""
    text = json.dumps(state, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def is_report(path: Path) -> bool:
    """Return whether a file is a report of ours."""
    try:
        return f'id="{MARK}"' in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def read(path: Path) -> dict[str, Any]:
    """The state of an earlier report.

    Raises:
        ScenarioError: There is no such file, or it is no report.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ScenarioError(f"cannot be read: {reason}", str(path)) from None
    found = _BLOCK.search(text)
    if found is None:
        raise ScenarioError("is no report of simtx, and no folder with a result", str(path))
    try:
        state = json.loads(html.unescape(found[1]))
        if state["format"] > FORMAT:
            raise ScenarioError(
                f"is a report of a later version of simtx (format {state['format']}; this one reads {FORMAT})",
                str(path),
            )
        for name in ("scenario", "provenance", "verdict", "figures", "sections"):
            state[name].items  # noqa: B018 - each is a table
    except ScenarioError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ScenarioError("its block of data is damaged", str(path)) from None
    return dict(state)


def compared(now: Mapping[str, Any], before: Mapping[str, Any], source: str) -> Since:
    """Differences between two states."""
    old, new = before["provenance"], now["provenance"]
    code = []
    if old.get("code_fingerprint") != new.get("code_fingerprint"):
        was, now_is = old.get("modules") or {}, new.get("modules") or {}
        names = sorted(name for name in {*was, *now_is} if was.get(name) != now_is.get(name))
        which = f": {_some(names)}" if names else ""
        code.append(f"the code that makes the figures changed{which}")
    if old.get("version") != new.get("version"):
        code.append(f"simtx {old.get('version')} → {new.get('version')}")
    asked = [
        f"{words}: {old.get(name)} → {new.get(name)}"
        for name, words in (("seed", "seed"), ("replications", "replications"), ("replication", "replication"))
        if old.get(name) != new.get(name)
    ]
    asked += _differences(before.get("question") or {}, now.get("question") or {})
    verdict = []
    if before["verdict"].get("sentence") != now["verdict"].get("sentence"):
        verdict = [f"was: {before['verdict'].get('sentence')}", f"is: {now['verdict'].get('sentence')}"]
    changes = (
        Change("Scenario", tuple(_limited(_differences(before["scenario"], now["scenario"])))),
        Change("Question and runs", tuple(_limited(asked))),
        Change("Code", tuple(code)),
        Change("Verdict", tuple(verdict)),
        Change("Figures whose intervals no longer meet", tuple(_limited(_figures(before["figures"], now["figures"])))),
    )
    was, is_now = before["sections"], now["sections"]
    sections = frozenset(name for name in is_now if was.get(name) != is_now[name])
    return Since(source, str(before.get("made", "")), changes, sections)


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Entries of two trees that differ: ``workload.rate: 100 → 200``."""
    return [f"{name}: {_text(was)} → {_text(is_now)}" for name, was, is_now in _walk(old, new, path)]


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from _walk(old.get(name), new.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and path:
        for index, (was, is_now) in enumerate(zip(old, new, strict=True)):
            label = was.get("name") if isinstance(was, Mapping) else None
            yield from _walk(was, is_now, f"{path}.{label}" if label else f"{path}[{index}]")
    elif old != new:
        yield path, old, new


def _text(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Figures whose intervals do not overlap; without intervals, those that differ."""
    found = []
    for name, row in new.items():
        was = old.get(name)
        if not isinstance(was, Mapping):
            continue
        try:
            ends = [_number(one[key]) for one in (was, row) for key in ("mean", "low", "high")]
        except (KeyError, TypeError, ValueError):
            continue
        mean_was, low_was, high_was, mean, low, high = ends
        if all(map(math.isfinite, (low_was, high_was, low, high))):
            apart = low > high_was or high < low_was
        else:
            apart = mean != mean_was and not (math.isnan(mean) and math.isnan(mean_was))
        if apart:
            strategy, _, metric = name.rpartition(" ")
            shown = catalogue.metric(metric)
            unit = "" if shown.unit == "{value}" else f" {shown.unit}"
            before, now = (catalogue.number(value * shown.scale) for value in (mean_was, mean))
            found.append(f"{strategy}, {shown.words}: {before} → {now}{unit}")
    return found


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _limited(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"and {len(lines) - _MOST} more"]


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:6])} and {len(names) - 6} more"
