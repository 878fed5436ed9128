"""Agenda of a comparison, the runs that come next: all replications at once, or as many as a rule of stopping wants to see before its next look."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from simtx.errors import ScenarioError
from simtx.experiments.stopping import Look, Precision, Rule, Stopping, looks
from simtx.metrics.censored import instead, left_out
from simtx.metrics.figures import unknown


class Agenda:
    """Hands out runs, each once, and learns how they have ended.

    Args:
        strategies: Labels.
        replications: Of each, at most.
        rule: When to stop before; None: not at all.
    """

    def __init__(self, strategies: Sequence[str], replications: int, rule: Rule | None = None) -> None:
        numbers = [replications] if rule is None else looks(rule.minimum, replications)
        self.stopping = None if rule is None else Stopping(rule, numbers)
        self._numbers = numbers
        self._look = 0
        self._outstanding = 0
        self._values: dict[str, dict[int, float]] = {name: {} for name in strategies}
        self._open: dict[str, str] = {}
        self._queue: deque[tuple[str, int]] = deque()
        self._add(strategies, 0, numbers[0])

    @property
    def total(self) -> int:
        """Runs that there can be."""
        return self._numbers[-1] * len(self._values)

    @property
    def replications(self) -> int:
        """Replications that were wanted so far."""
        return self._numbers[self._look]

    @property
    def finished(self) -> bool:
        """Return whether there is no run left, under way or to come."""
        return not self._outstanding

    def next(self) -> tuple[str, int] | None:
        """Strategy and replication of the next run; None: none at present."""
        return self._queue.popleft() if self._queue else None

    def landed(self, strategy: str, replication: int, summary: Mapping[str, float]) -> None:
        """A run has come back, with an empty summary if it failed.

        Raises:
            ScenarioError: The rule looks at a metric that there is not.
        """
        self._outstanding -= 1
        if self.stopping is None:
            return
        metric = self.stopping.rule.metric
        if summary and metric not in summary:
            raise ScenarioError(unknown(metric, summary).problem, "until")
        self._values[strategy][replication] = summary.get(metric, math.nan)
        share = left_out(metric)
        if share is not None and summary.get(share, 0.0) > 0:
            self._open[strategy] = share
        if not self._outstanding:
            self._judge(self.stopping)

    def _judge(self, stopping: Stopping) -> None:
        number = self._numbers[self._look]
        if self._open and not isinstance(stopping.rule, Precision):  # a mean of some of them tells nobody apart
            metric, share = stopping.rule.metric, next(iter(self._open.values()))
            found = f"{metric} leaves out what had not ended ({share} of {', '.join(self._open)}), so it does not tell strategies apart; {instead(metric)}"
            stopping.looks.append(Look(number, False, tuple(self._values), found))
            return
        columns = {name: [found for _, found in sorted(column.items())] for name, column in self._values.items()}
        look = stopping.rule.look(columns, self._numbers, self._look)
        stopping.looks.append(look)
        if look.done or self._look + 1 == len(self._numbers):
            return
        self._look += 1
        self._add(look.strategies, self._numbers[self._look - 1], self._numbers[self._look])

    def _add(self, strategies: Sequence[str], first: int, end: int) -> None:
        jobs = [(name, replication) for replication in range(first, end) for name in strategies]
        self._queue.extend(jobs)
        self._outstanding += len(jobs)
