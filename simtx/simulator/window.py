"""The measured window of a simulated run: from the end of the warm-up to the last arrival."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from simtx.simulator.counted import Counted, counted

if TYPE_CHECKING:
    from simtx.event_log.log import LogRecorder
    from simtx.metrics.ledger import TransactionLedger
    from simtx.simulator.environment import Environment
    from simtx.simulator.host import Process
    from simtx.simulator.node import Node


class Window:
    """Reads the counters of a world where the window begins and where it ends.

    Attributes:
        before: Counters at the end of the warm-up.
        after: Counters at the last arrival.
        horizon: Time of the last arrival, in seconds.
    """

    def __init__(
        self,
        env: Environment,
        ledger: TransactionLedger,
        trace: LogRecorder | None,
        nodes: Mapping[str, Node],
        processes: Mapping[str, Process],
        *,
        sample: Callable[[], object],
    ) -> None:
        self._env = env
        self._ledger = ledger
        self._trace = trace
        self._nodes = nodes
        self._processes = processes
        self._sample = sample
        self.before = self.after = Counted({}, {}, {}, {}, {}, {}, {}, {})
        self.horizon = 0.0

    def open(self, _: object = None) -> None:
        """The warm-up is over."""
        self._ledger.open_window(self._env.now)
        if self._trace is not None:
            self._trace.log("open", "", -1)
        self.before = counted(self._nodes, self._processes, self._env.now)

    def close(self) -> None:
        """Nobody asks for another transaction."""
        self.horizon = self._env.now
        self.after = counted(self._nodes, self._processes, self._env.now)
        self._sample()
        self._ledger.close_window(self.horizon)
        if self._trace is not None:
            self._trace.log("close", "", -1)
