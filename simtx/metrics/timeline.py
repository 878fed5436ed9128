"""A run over time: samples of drift, open transactions, queues and backlogs, from the start until everything is drained.

The simulator samples while it plays, a replay samples an event log; both by the clock of this module, so that they take the same samples. What
a log does not hold by itself (lengths of queues) is written into it at the same times, as ``level`` entries.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from simtx.metrics.ledger import TransactionLedger
    from simtx.scenario import Scenario

SAMPLES: Final = 200
"""Samples during the arrivals, unless the scenario says how often (`run.timeline_every`)."""

_SHORTEST: Final = 1e-3
LEVELS: Final = ("queue", "lock_queue", "relay", "broker")
"""Levels that the event log by itself gives at no moment: local transactions that wait for a worker or for a lock, outbox rows not yet marked, messages
that the broker holds."""


def step(scenario: Scenario) -> float:
    """Seconds between two samples while transactions arrive."""
    every = scenario.run.timeline_every
    return every if every is not None else max(scenario.expected_length() / SAMPLES, _SHORTEST)


class Clock:
    """Clock of the samples: when the next one is due.

    While transactions arrive, samples are equally far apart. Behind the last arrival the distance doubles after every 200 samples, so that a
    drain of hours does not take millions of them; a distance that the scenario states is kept.

    Args:
        scenario: With its run.
        every: Seconds between two samples, to the end; None: as the scenario says.

    Attributes:
        due: Time of the next sample, in seconds.
    """

    __slots__ = ("_growing", "_since", "_step", "due")

    def __init__(self, scenario: Scenario, every: float | None = None) -> None:
        self._step = step(scenario) if every is None else every
        self._growing = every is None and scenario.run.timeline_every is None
        self._since = 0
        self.due = 0.0

    @property
    def pace(self) -> tuple[float, int]:
        """Seconds between two samples, and after how many of them the distance doubles behind the last arrival; 0: never."""
        return self._step, SAMPLES if self._growing else 0

    def tick(self, *, draining: bool) -> None:
        """The sample that was due is taken."""
        if draining and self._growing:
            self._since += 1
            if self._since % SAMPLES == 0:
                self._step *= 2
        self.due += self._step


OF_RUN: Final = 6
"""Columns of the whole run, before those of each service."""
LAG: Final = "lag"
"""The most events that wait in one partition of a service's topic, if the broker has partitions."""


def columns(
    services: Sequence[str], *, broker: bool, partitions: bool = False, beside: Iterable[str] = ()
) -> list[str]:
    """Names of the columns: those of the whole run, then those of each service, then further ones."""
    names = ["time_s", "drift_net", "drift_gross", "in_flight", "undecided", "in_doubt"]  # `of_whole_run`
    for service in services:
        names += [f"queue_{service}", f"busy_{service}", f"lock_queue_{service}"]
        if broker:
            names += [f"relay_{service}", f"broker_{service}"]
        if broker and partitions:
            names.append(f"{LAG}_{service}")
    return [*names, *beside]


def beside(scenario: Scenario) -> list[str]:
    """Names of the columns of what follows the services: wrong copies of derived stores, events that wait in consumer groups."""
    return [*(f"wrong_{name}" for name in scenario.derived), *(f"waiting_{name}" for name in scenario.groups)]


def of_whole_run(now: float, ledger: TransactionLedger, in_doubt: int) -> list[float]:
    """Figures of the columns of the whole run, with how many branches are prepared."""
    gauge = ledger.gauges[0] if ledger.gauges else None
    net, gross = (gauge.net, gauge.gross) if gauge is not None else (0.0, 0.0)
    return [now, net, gross, ledger.unsettled, ledger.undecided, in_doubt]


class Timeline:
    """Samples, packed.

    Args:
        services: Names of the services.
        broker: Whether the strategy has a broker, and so relays and messages that can wait.
        partitions: Whether that broker has partitions.
        beside: Names of further columns.
    """

    __slots__ = ("_cells", "_whole", "names")

    def __init__(
        self, services: Sequence[str], *, broker: bool, partitions: bool = False, beside: Iterable[str] = ()
    ) -> None:
        self.names = columns(services, broker=broker, partitions=partitions, beside=beside)
        self._cells = array("d")
        self._whole: list[int] = []

    def __len__(self) -> int:
        return len(self._cells) // len(self.names)

    def add(
        self, now: float, ledger: TransactionLedger, in_doubt: int, of_services: Mapping[str, float], *, whole: bool
    ) -> None:
        """Take a sample.

        Args:
            now: Time in seconds.
            ledger: With the state of the run.
            in_doubt: Branches that are prepared.
            of_services: Values of the columns of services; what is missing is not a number.
            whole: Whether everything that happens at this time has happened; else nothing has. Such a sample takes the place of an earlier
                one of the same time.
        """
        of_run = of_whole_run(now, ledger, in_doubt)
        self.add_row([*of_run, *(of_services.get(name, math.nan) for name in self.names[OF_RUN:])], whole=whole)

    def add_row(self, row: Sequence[float], *, whole: bool) -> None:
        """Take a sample whose figures are in the order of the columns."""
        names = self.names
        if whole and len(self) and self._cells[-len(names)] == row[0]:
            del self._cells[-len(names) :]
        if whole:
            self._whole.append(len(self))
        self._cells.extend(row)

    def add_rows(self, rows: memoryview) -> None:
        """Take samples before which nothing of their times has happened; the figures as bytes."""
        self._cells.frombytes(rows)

    def without(self, lost: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The samples as rows; transactions of which nobody knows, that arrived at these times, are neither in flight nor undecided."""
        rows: npt.NDArray[np.float64] = np.array(self._cells, dtype=float).reshape(-1, len(self.names))
        arrivals = np.sort(np.asarray(lost, dtype=float))
        if len(arrivals) and len(rows):
            gone = np.searchsorted(arrivals, rows[:, 0], side="left")
            whole = self._whole
            gone[whole] = np.searchsorted(arrivals, rows[whole, 0], side="right")
            rows[:, 3:5] -= gone[:, None]
        return rows


def samples(data: Any) -> npt.NDArray[np.float64]:
    """The timeline of a run's data, a row a sample."""
    outcomes, arrivals = data.columns["outcome"], np.zeros(0)
    if "lost" in outcomes:
        arrivals = np.asarray(data.columns["arrival_s"], dtype=float)[np.asarray(outcomes, dtype=object) == "lost"]
    rows: npt.NDArray[np.float64] = data.timeline.without(arrivals)
    return rows


def frame(data: Any) -> pd.DataFrame:
    """The timeline of a run's data as a table."""
    import pandas as pd

    return pd.DataFrame(samples(data), columns=data.timeline.names)


def not_measured(data: Any) -> str:
    """Columns of which no sample has a figure, as a warning says it: ``lock_queue_*, broker_*``; empty if there is none."""
    samples = frame(data)
    empty = [name for name in samples.columns if len(samples) and samples[name].isna().all()]
    return ", ".join(
        dict.fromkeys(next((f"{one}_*" for one in LEVELS if name.startswith(f"{one}_")), name) for name in empty)
    )


def backlog(samples: pd.DataFrame) -> npt.NDArray[np.float64]:
    """All that waits at each sample: for workers, for locks, in outboxes, at the broker. What is not known counts as nothing.

    A message that is delivered and waits for a worker is still held by the broker, as it is not acknowledged yet: it counts once.
    """
    levels = [name for name in samples.columns if name.startswith(tuple(f"{level}_" for level in LEVELS))]
    return waiting(len(samples), {name: samples[name].to_numpy(dtype=float) for name in levels})


def waiting(count: int, columns: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Compute what `backlog` does, of so many samples by the names of their columns."""
    total = np.zeros(count)

    def known(level: str, service: str) -> npt.NDArray[np.float64]:
        column = f"{level}_{service}"
        return np.nan_to_num(columns[column]) if column in columns else total * 0.0

    prefixes = tuple(f"{level}_" for level in LEVELS)
    services = {name.removeprefix(p) for name in columns for p in prefixes if name.startswith(p)}
    for service in sorted(services):
        at_service = known("queue", service) + known("lock_queue", service)
        total = total + np.maximum(at_service, known("broker", service)) + known("relay", service)
    return total
