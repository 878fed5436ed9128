"""Findings of a sweep in words: which strategy is lowest where, as far as the paired runs tell the strategies apart.

The statements about all cells of a picture hold together with the confidence of the picture; see `simtx.Sweep.leading`.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, Final

import pandas as pd

from simtx.report import catalogue
from simtx.report.sweep_tables import with_unit

AHEAD: Final = "ahead"
"""Column of the data of a picture: the labels that may be the best in the cell of a row; one of them: the runs tell it from the others; none: nobody is ranked."""

Ahead = tuple[str, ...]
_ALIKE: Final = "not told apart"
_UNRANKED: Final = "nobody ranked"
_OPEN: Final = (_ALIKE, _UNRANKED)


def note(sweep: Any, data: pd.DataFrame, metric: str, confidence: float) -> pd.DataFrame:
    """The data with the column `AHEAD`: rows have `cell` and `strategy`, and are those of the picture."""
    found = sweep.leading(
        metric, list(dict.fromkeys(data["cell"])), list(dict.fromkeys(data["strategy"])), confidence=confidence
    )
    return data.assign(**{AHEAD: data["cell"].map(found)})


def over(sweep: Any, data: pd.DataFrame, x: str, values: Sequence[Any], metric: str) -> str:
    """Name the strategy that is lowest, from where to where along an axis; empty if there is nobody to compare with."""
    names = _names(data)
    known = data[data["n"] > 0]
    leaders = {value: _one(known[known[x] == value][AHEAD]) for value in values if (known[x] == value).any()}
    if len(names) < 2 or not leaders:
        return ""
    stretches = [(ahead, [one for one, _ in part]) for ahead, part in groupby(leaders.items(), lambda item: item[1])]
    if len(stretches) == 1:
        return _words(stretches[0][0], names, metric)
    if not pd.api.types.is_numeric_dtype(data[x]) or len(stretches) > 3:
        return counted(data, metric, "values", list(leaders.values()))
    said = []
    for position, (ahead, where) in enumerate(stretches):
        first, last = (with_unit(sweep, x, one) for one in (where[0], where[-1]))
        if position == 0:
            place = f"up to {last}" if len(where) > 1 else f"at {last}"
        elif position == len(stretches) - 1:
            place = f"from {first}" if len(where) > 1 else f"at {first}"
        else:
            place = f"from {first} to {last}" if len(where) > 1 else f"at {first}"
        said.append(f"{_words(ahead, names, metric)} {place}")
    return _together(said, metric)


def counted(data: pd.DataFrame, metric: str, what: str = "cells", leaders: Sequence[Ahead] | None = None) -> str:
    """Say in how many cells who is lowest, and in how many that is not told; empty if there is nobody to compare with."""
    names = _names(data)
    if leaders is None:
        leaders = [_one(rows) for _, rows in data[data["n"] > 0].groupby("cell", sort=False)[AHEAD]]
    if len(names) < 2 or not leaders:
        return ""
    counts = Counter(_words(one, names if len(one) == 1 else one, metric) for one in leaders)  # of some: not told apart
    if len(counts) == 1:
        (said,) = counts
        alone = len(leaders) == 1 and len(leaders[0]) != 1
        return said if alone else f"{said} in {_all(len(leaders), what)}"
    order = sorted(counts, key=lambda one: (one in _OPEN, -counts[one]))
    told = [f"{one} in {counts[one]}" for one in order]
    told[0] += f" of {len(leaders)} {what}"
    return _together(told, metric)


def promises(sweep: Any, data: pd.DataFrame, metric: str) -> str:
    """Say what an answer promises, if that is not the same in all strategies of the picture. Times until the answer are then not like with like."""
    by: dict[str, list[str]] = {}
    for name in _names(data):
        by.setdefault(sweep.study.strategies[name].promise, []).append(name)
    if not metric.startswith("latency_") or len(by) < 2:
        return ""
    meanings = [f"{promise} with {' and '.join(names)}" for promise, names in by.items()]
    return f"an answer means {', '.join(meanings)}"


def settings(sweep: Any, data: pd.DataFrame, metric: str) -> str:
    """Name figures of the picture that are a configured timeout, and in how many cells they are; empty if none is."""
    sits = sweep.timeouts(metric)
    by: dict[tuple[str, str], int] = {}
    for cell, name in dict.fromkeys(zip(data["cell"], data["strategy"], strict=True)):
        if (cell, name) in sits:
            mark = (name, sits[cell, name].split(" in ")[0])  # in how many runs: see the table
            by[mark] = by.get(mark, 0) + 1
    cells = data["cell"].nunique()
    told = [
        f"{name} {mark}{f' in {count} of {cells} cells' if cells > 1 else ''}" for (name, mark), count in by.items()
    ]
    return f"a timeout, not speed: {', '.join(told)}" if told else ""


def aborting(sweep: Any, data: pd.DataFrame, metric: str, confidence: float) -> str:
    """Name strategies that commit much less than another one in cells where nobody is ranked, so that they end early; empty if there are none."""
    unranked = [cell for cell, ahead in dict(zip(data["cell"], data[AHEAD], strict=True)).items() if ahead == ()]
    cells = data["cell"].nunique()
    less = sweep.committing_less(metric, _names(data), 1 - (1 - confidence) / max(1, cells))  # as in `leading`
    by = Counter(name for cell, name in less if cell in unranked)
    told = [f"{name}{f' in {count} of {cells} cells' if cells > 1 else ''}" for name, count in by.items()]
    return f"ends early by aborting: {', '.join(told)}" if told else ""


def violated(sweep: Any, data: pd.DataFrame) -> str:
    """Name strategies whose runs have violated what they guarantee in the cells of the picture; empty if there are none."""
    broken = sweep.violated()
    by = Counter(
        name for cell, name in dict.fromkeys(zip(data["cell"], data["strategy"], strict=True)) if (cell, name) in broken
    )
    cells = data["cell"].nunique()
    told = [f"{name}{f' in {count} of {cells} cells' if cells > 1 else ''}" for name, count in by.items()]
    return f"VIOLATED what it guarantees: {', '.join(told)}" if told else ""


def wrapped(text: str, inches: float, per_inch: float = 12.5) -> str:
    """Break a text into lines that fit; a number stays with its unit."""
    kept = text.replace(" %", "\u00a0%").replace(" ms", "\u00a0ms")
    lines = textwrap.wrap(kept, max(int(per_inch * inches), 16), break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines).replace("\u00a0", " ")


def titled(metric: str, finding: str) -> str:
    """A metric and what is found of it."""
    label = catalogue.beginning(metric)
    return f"{label}: {finding}" if finding else label


def _all(count: int, what: str) -> str:
    return f"all {count} {what}" if count > 1 else f"the one {what.removesuffix('s')}"


def _names(data: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(data["strategy"]))


def _one(rows: pd.Series[Any]) -> Ahead:
    """Leaders of several cells at one place: the same in all of them, or all who lead in any; nobody, if nobody is ranked in one of them."""
    if not all(rows):
        return ()
    return tuple(dict.fromkeys(name for ahead in rows for name in ahead))


def _words(ahead: Ahead, names: Sequence[str], metric: str) -> str:
    if not ahead:
        return _UNRANKED
    if len(ahead) == 1:
        return f"{catalogue.best(metric)} with {ahead[0]}"
    if len(ahead) == len(names):
        return _ALIKE
    return f"{' or '.join([', '.join(ahead[:-1]), ahead[-1]])} {catalogue.best(metric)}, not told apart"


def _together(said: Sequence[str], metric: str) -> str:
    """Parts of a sentence, with what they begin with said once."""
    start = f"{catalogue.best(metric)} with "
    out = said[0]
    for before, one in pairwise(said):
        again = before.startswith(start) and one.startswith(start)
        out += f", {one.removeprefix(catalogue.best(metric)).strip()}" if again else f"; {one}"
    return out
