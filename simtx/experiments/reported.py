"""Reports of comparisons and sweeps: each of them writes one of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtx.arguments import named
from simtx.views import view

if TYPE_CHECKING:
    from simtx.experiments.thresholds import Where


class Reported:
    """A result that can be reported."""

    @named
    def report(
        self,
        path: str | Path,
        *,
        by: str = "decision_p99_ms",
        where: Where | None = None,
        since: str | Path | None = None,
        template: str | Path | None = None,
        pdf: bool = False,
        runs: bool | None = None,
        verdicts: Any = (),
        validations: Any = (),
        frontier: Any = None,
        sensitivity: Any = None,
        at: Mapping[str, Any] | int | None = None,
        confidence: float = 0.95,
    ) -> Path:
        """Write a report for a design review: one HTML page that needs nothing else, and beside it a decision record and a CSV file.

        Args:
            path: The page, such as ``review.html``; a report that is there is replaced.
            by: The metric that ranks.
            where: Thresholds, as for `best`; None: no effect missing and none doubled when the run is over; ``none`` or an empty list: none.
            since: The report before, or a folder with its result: the page says what changed.
            template: A Jinja2 template in place of ours; see docs/report.md.
            pdf: Whether to print it on A4, too, by a Chromium that is installed.
            runs: Whether one run of each strategy is played again, for distributions, timelines and failure stories; None: if that takes some seconds at most.
            verdicts: One or several of `simtx.verify`; of strategies with options, a mapping from their labels.
            validations: One or several of `simtx.validate`.
            frontier: Where the winner changes, of `Sweep.frontier`.
            sensitivity: Which factor flips the answer, of `simtx.sensitivity`.
            at: Of a sweep: the cell that is shown in detail; None: the scenario as it is, or the one in the middle.
            confidence: With which all statements of the decision hold together.

        Returns:
            The page.

        Raises:
            ScenarioError: An input is wrong, a file cannot be written, or something else has the name of the page.
        """
        written = view("report")(
            self,
            path,
            by=by,
            where=where,
            since=since,
            template=template,
            pdf=pdf,
            runs=runs,
            verdicts=verdicts,
            validations=validations,
            frontier=frontier,
            sensitivity=sensitivity,
            at=at,
            confidence=confidence,
        )
        return Path(written.page)
