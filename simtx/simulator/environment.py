"""The simulation kernel: SimPy's environment, and plain calls beside its processes.

A SimPy process costs a generator, an event and a list of callbacks for every wait. The model of simtx is made of plain calls
instead: `env.call_in(0.002, server.finish, job)` runs `server.finish(job)` two simulated milliseconds later. Both kinds live in one
heap, ordered by time, then priority, then the order of scheduling, so a user's SimPy processes run beside the model:

    env = Environment()
    env.process(my_simpy_process(env))
    env.call_in(0.002, print, "2 ms")
    env.run(until=1.0)

A SimPy process may stop waiting for a ``store.get()``, by a timeout or an interrupt. It still gets the next item, and nobody sees it again (SimPy 4.1.2,
``findings/simpy-abandoned-get-takes-the-item.sh``): call ``get.cancel()`` first.

The innermost loop of a model may push onto the heap itself. This leaves out the checks and one Python call, about a fifth of the cost
of an event. This is the whole idiom; it is right only for a finite delay that is not negative:

    queue, sequence = env.queue, env.sequence  # once, in a constructor
    heappush(queue, (env.now + delay, NORMAL, sequence(), callback, argument))
"""

from collections.abc import Callable
from heapq import heappush
from math import inf
from typing import Any

from simpy.core import SimTime
from simpy.events import NORMAL as _SIMPY_NORMAL
from simpy.events import URGENT as _SIMPY_URGENT

from simtx.errors import SimtxError
from simtx.simulator._simpy.core import CallEnvironment, Entry

__all__ = ["NORMAL", "URGENT", "Entry", "Environment", "SchedulingError"]

URGENT: int = _SIMPY_URGENT
"""Priority of what comes first at an instant: SimPy's interrupts, starting processes and the end of `run(until=time)`."""

NORMAL: int = _SIMPY_NORMAL
"""Priority of everything else, and of calls unless told otherwise."""


class SchedulingError(SimtxError, ValueError):
    """A call was scheduled for the past, or for a time that is not a finite number."""


class Environment(CallEnvironment):
    """A drop-in `simpy.Environment` that also schedules plain calls.

    Args:
        initial_time: The clock's first value in seconds.

    Attributes:
        now: The current time in seconds; only to be read.
        queue: The heap of entries `(time, priority, sequence, callback, argument)`, for the idiom in the module's docstring.
        sequence: Gives the next sequence number: the third part of an entry.
    """

    queue: list[Entry]
    sequence: Callable[[], int]

    def __init__(self, initial_time: SimTime = 0) -> None:
        super().__init__(initial_time)
        self.queue = self._queue
        self.sequence = self._eid.__next__

    def call_at(
        self, time: float, callback: Callable[[Any], object], argument: Any = None, priority: int = NORMAL
    ) -> None:
        """Call `callback(argument)` at a time.

        Args:
            time: Simulated seconds, now or later.
            callback: Called with the argument; its result is ignored, and what it raises comes out of `run` as is.
            argument: The one argument, None if left out.
            priority: Lower runs first among what happens at the same time; equals run in the order of scheduling.

        Raises:
            SchedulingError: The time is past, infinite or not a number.
        """
        if not self.now <= time < inf:
            raise SchedulingError(
                f"cannot schedule a call at {time!r} s: it must be finite and not before now ({self.now!r} s)"
            )
        heappush(self.queue, (time, priority, self.sequence(), callback, argument))

    def call_in(
        self, delay: float, callback: Callable[[Any], object], argument: Any = None, priority: int = NORMAL
    ) -> None:
        """Call `callback(argument)` after a delay.

        Args:
            delay: Simulated seconds, zero or more.
            callback: Called with the argument; its result is ignored, and what it raises comes out of `run` as is.
            argument: The one argument, None if left out.
            priority: Lower runs first among what happens at the same time; equals run in the order of scheduling.

        Raises:
            SchedulingError: The delay is negative, infinite or not a number.
        """
        if not 0 <= delay < inf:
            raise SchedulingError(f"cannot schedule a call in {delay!r} s: the delay must be finite and not negative")
        heappush(self.queue, (self.now + delay, priority, self.sequence(), callback, argument))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.now:.6g} s, {len(self.queue)} scheduled>"
