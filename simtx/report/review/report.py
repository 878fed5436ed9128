"""Writes a report, for `comparison.report`, `sweep.report` and ``simtx report``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simtx.arguments import checked, flag, instance, optional, path, text
from simtx.errors import ScenarioError
from simtx.metrics.intervals import check_confidence
from simtx.report.review.build import BY, WHERE, Asked
from simtx.report.review.files import Written, write

_SINGLE = (str, bytes)


@checked(
    file=path,
    by=text,
    since=optional(path),
    template=optional(path),
    pdf=flag,
    runs=optional(flag),
    confidence=instance((int, float), "a number strictly between 0 and 1"),
)
def report(
    result: Any,
    file: str | Path,
    *,
    by: str = BY,
    where: Any = None,
    since: str | Path | None = None,
    template: str | Path | None = None,
    pdf: bool = False,
    runs: bool | None = None,
    verdicts: Any = (),
    validations: Any = (),
    frontier: Any = None,
    sensitivity: Any = None,
    at: Any = None,
    known: Any = (),
    confidence: float = 0.95,
) -> Written:
    """Write a report of a comparison or a sweep.

    Args:
        result: A `simtx.Comparison` or a `simtx.Sweep`.
        file: The HTML file. A decision record and a CSV file are written beside it.
        by: The metric that ranks.
        where: Thresholds, as for `Comparison.best`; None: no effect missing and none doubled when the run is over; ``none`` or an empty list: none.
        since: The report before, or a folder with its result: the new one says what changed.
        template: A Jinja2 template in place of ours.
        pdf: Whether to print it, too, by a Chromium that is installed.
        runs: Whether one run of each strategy is played again, for distributions, timelines and stories; None: if that takes some seconds at most.
        verdicts: One or several of `simtx.verify`; of strategies with options, a mapping from their labels.
        validations: One or several of `simtx.validate`.
        frontier: Where the winner changes, of `Sweep.frontier`.
        sensitivity: Which factor flips the answer, of `simtx.sensitivity`.
        at: Of a sweep: the cell that is shown in detail; None: the scenario as it is, or the one in the middle.
        known: Runs of this comparison that need not be played again.
        confidence: With which all statements of the decision hold together.

    Raises:
        ScenarioError: An input is wrong, or a file cannot be written.
    """
    if frontier is not None and not hasattr(frontier, "areas"):
        raise ScenarioError("must be what sweep.frontier() gives", "frontier")
    if sensitivity is not None and not hasattr(sensitivity, "flips"):
        raise ScenarioError("must be what simtx.sensitivity() gives", "sensitivity")
    if at is not None and not hasattr(result, "cells"):
        raise ScenarioError("is for a sweep: a comparison has no cells", "at")
    asked = Asked(
        by=by,
        where=WHERE if where is None else where,
        confidence=check_confidence(confidence),
        runs=runs,
        verdicts=_several(verdicts, "headline", "verdicts", "simtx.verify"),
        validations=[one for _, one in _several(validations, "missed", "validations", "simtx.validate")],
        frontier=frontier,
        sensitivity=sensitivity,
        at=at,
        known=tuple(known),
    )
    return write(result, file, asked, earlier=since, template=template, as_pdf=pdf)


def _several(given: Any, member: str, name: str, maker: str) -> list[tuple[str, Any]]:
    """One or several results of a function, each with its label, if they are a mapping.

    Raises:
        ScenarioError: They are something else.
    """
    if isinstance(given, Mapping):
        found = [(str(label), one) for label, one in given.items()]
    else:
        alone = hasattr(given, member) or isinstance(given, _SINGLE) or not hasattr(given, "__iter__")
        found = [("", one) for one in ((given,) if alone else given)]
    if not all(hasattr(one, member) for _, one in found):
        raise ScenarioError(f"must be what {maker}() gives, or a list of it", name)
    return found
