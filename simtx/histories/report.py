"""The report on a history: verdict, anomalies, sentences, and a picture of the shortest cycle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from simtx.banner import banner, marked
from simtx.errors import ScenarioError
from simtx.histories.findings import Finding
from simtx.histories.levels import Level
from simtx.histories.parsing import Op

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VERDICTS = {True: "valid", False: "not valid", None: "unknown"}


@dataclass(frozen=True, slots=True)
class HistoryReport:
    """Result of `check_history`.

    Attributes:
        level: The level that the history was checked against.
        findings: The forbidden anomalies with their evidence, the gravest first, without those that another one implies.
        valid: True: some order of transactions and versions explains the history at this level. False: none does. None: unknown.
        notes: Why the verdict is unknown.
        counts: How many transactions ended `ok`, `fail` and `info`.
        granted: The assumptions that the verdict rests on.
        operations: The operations of the transactions in the findings.
    """

    level: Level
    findings: tuple[Finding, ...]
    valid: bool | None
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    granted: tuple[str, ...] = ()
    operations: Mapping[str, Sequence[Op]] = field(default_factory=dict)

    @property
    def consistency(self) -> str:
        """The name of the level."""
        return self.level.name

    @property
    def anomalies(self) -> set[str]:
        """The names of the anomalies."""
        return {finding.name for finding in self.findings}

    def finding(self, anomaly: str | None = None) -> Finding | None:
        """The finding of that name; without a name the gravest cycle, else the gravest finding, else None.

        Raises:
            ScenarioError: The anomaly was not found.
        """
        if anomaly is None:
            return next((f for f in self.findings if f.is_cycle), next(iter(self.findings), None))
        for finding in self.findings:
            if finding.name == anomaly:
                return finding
        found = ", ".join(f.name for f in self.findings) or "none"
        raise ScenarioError(f"{anomaly!r} is not among the anomalies found ({found})", "anomaly")

    def explain(self, anomaly: str | None = None) -> str:
        """The report as text: for each anomaly one sentence per edge of a cycle as short as could be found.

        Args:
            anomaly: Explain this one only.

        Raises:
            ScenarioError: The anomaly was not found.
        """
        if anomaly is not None:
            finding = self.finding(anomaly)
            return "" if finding is None else "\n".join(_paragraph(finding))
        lines = [self._headline(), *self.notes]
        for finding in self.findings:
            lines += ["", *_paragraph(finding)]
        return "\n".join(lines)

    def plot(self, ax: "Axes | None" = None, anomaly: str | None = None) -> "Axes":
        """Draw one finding: transactions as boxes with their operations, edges with what relates them.

        Args:
            ax: Where to draw; a new figure if None.
            anomaly: Which finding; the gravest cycle if None.

        Raises:
            ScenarioError: The anomaly was not found.
        """
        from simtx.histories.drawing import draw

        return draw(self.finding(anomaly), self.operations, ax, consistency=self.consistency, valid=self.valid)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        return {
            "consistency": self.consistency,
            "valid": self.valid,
            "transactions": dict(self.counts),
            "assume": list(self.granted),
            "notes": list(self.notes),
            "anomalies": [
                {
                    "name": finding.name,
                    "count": finding.count,
                    "transactions": list(finding.transactions),
                    "steps": [
                        {"from": s.source, "to": s.target, "kind": s.kind, "key": s.key, "sentence": s.sentence}
                        for s in finding.steps
                    ],
                }
                for finding in self.findings
            ],
        }

    def _headline(self) -> str:
        found = f": {', '.join(f.name for f in self.findings)}" if self.findings else ""
        counted = ", ".join(f"{number} {status}" for status, number in self.counts.items() if number) or "empty"
        resting = f"; assumed {', '.join(self.granted)}" if self.granted else ""
        return f"{self.consistency}: {_VERDICTS[self.valid]}{found} ({counted}{resting})"

    def __str__(self) -> str:
        return self.explain()

    def _repr_html_(self) -> str:
        rows = [banner(self.valid, self._headline())]
        rows += [f"<p>{escape(note)}</p>" for note in self.notes]
        for finding in self.findings:
            head, *sentences = _paragraph(finding)
            items = "".join(f"<li>{escape(step.sentence)}</li>" for step in finding.steps)
            title = f"<p>{marked(False, head)}</p>"
            rows.append(f"{title}<ol>{items}</ol>" if sentences else title)
        if self.findings:
            from simtx.histories.drawing import svg

            rows.append(svg(self.plot))
        return f"<div>{''.join(rows)}</div>"


def _paragraph(finding: Finding) -> list[str]:
    """A headline and one line a step."""
    path = " → ".join((*(step.source for step in finding.steps), finding.steps[-1].target)) if finding.is_cycle else ""
    often = f", seen {finding.count} times" if finding.count > 1 else ""
    head = f"{finding.name}{f' ({path})' if path else ''}, forbidden by {' and '.join(finding.forbidden_by)}{often}:"
    return [head, *(f"  {number}. {step.sentence}" for number, step in enumerate(finding.steps, 1))]
