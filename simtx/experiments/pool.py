"""Many independent calls on an executor, of which none is lost: not by the death of a worker, and not by an interruption.

When a worker process dies, common pools lose everything that they were given: what ran, and what waited. Here every call that was under
way goes back. Which of them has killed the worker cannot be told, so each of them is a suspect and runs alone, with nothing else under way:
if the worker dies again it was this one. A call that was alone with a dying worker twice is quarantined; the others go on.

Ctrl-C is for the parent alone. What is finished at that moment is handed out first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from simtx.errors import RunFailed
from simtx.experiments.executors import Backend, is_death, is_drop
from simtx.experiments.interrupts import Interrupts

K = TypeVar("K")

QUARANTINE: Final = 2
"""Number of times that a call may be alone with a dying worker."""
_DROPS: Final = 5  # times that a scheduler may drop a call
_PATIENCE: Final = 0.5  # seconds between two looks at what else there is to do


class WorkerDied(Exception):
    """A worker process ended in the middle of a call: killed, out of memory, or a crash of an extension module."""


@dataclass(slots=True)
class Call(Generic[K]):
    """One call.

    Attributes:
        key: What it is known by.
        arguments: Of the function, but for the last one, which is the number of the attempt.
        attempts: How often it was started.
        deaths: How often it was alone with a dying worker.
        drops: How often the executor has dropped it.
    """

    key: K
    arguments: Sequence[object]
    attempts: int = 0
    deaths: int = 0
    drops: int = 0


@dataclass
class Pool(Generic[K]):
    """Hands out the results of calls as they come.

    Args:
        backend: Where they are executed.
        function: What is called; it gets the number of the attempt as one more argument.
        source: The next call, or None if there is none at present; asked again while others are under way.
        interrupts: Where Ctrl-C may strike.
        more: Whether there may be another call later, although nothing is under way; it may sleep a little before it answers.
    """

    backend: Backend
    function: Callable[..., Any]
    source: Callable[[], Call[K] | None]
    interrupts: Interrupts
    more: Callable[[], bool] = lambda: False
    _flying: dict[Future[Any], Call[K]] = field(default_factory=dict)
    _back: deque[Call[K]] = field(default_factory=deque)
    _suspects: deque[Call[K]] = field(default_factory=deque)

    def results(self) -> Generator[tuple[Call[K], Any]]:
        """Pairs of a call and its result, or the exception that it has come to: `WorkerDied` if it is quarantined.

        Raises:
            KeyboardInterrupt: After what is finished.
            RunFailed: The executor is broken for good.
        """
        try:
            while True:
                broken = not self._fill()
                if self._flying:
                    yield from self._landed(broken)
                elif not broken and not self._suspects and not self._back and not self._waited():
                    return
        finally:
            for future in self._flying:
                future.cancel()

    def _waited(self) -> bool:
        with self.interrupts.open():
            return self.more()

    # --- out ------------------------------------------------------------------------------------------------------------------------

    def _fill(self) -> bool:
        """Start what can be started now; False: the executor is broken."""
        # Suspects run one at a time and alone, so that a death has one possible cause.
        if self._suspects:
            return bool(self._flying) or self._start(self._suspects.popleft(), self._suspects)
        capacity = self.backend.capacity()
        while len(self._flying) < capacity:
            call = self._back.popleft() if self._back else self.source()
            if call is None:
                return True
            if not self._start(call, self._back):
                return False
            # Here the call has run already, in this process: its result is taken before the next one starts.
            if self.backend.inline:
                return True
        return True

    def _start(self, call: Call[K], otherwise: deque[Call[K]]) -> bool:
        try:
            with self.interrupts.open():
                future = self.backend.submit(self.function, *call.arguments, call.attempts)
        except BaseException as error:
            otherwise.appendleft(call)
            if is_death(error):
                if not self._flying:  # nobody will report it
                    self.backend.rebuild()
                return False
            raise
        call.attempts += 1
        self._flying[future] = call
        return True

    # --- back -----------------------------------------------------------------------------------------------------------------------

    def _landed(self, broken: bool) -> Iterator[tuple[Call[K], Any]]:
        """Yield what has come back; deaths are dealt with."""
        # Asked before any of them lands: afterwards those that died together would look alone.
        alone = len(self._flying) == 1 and not broken
        interrupted: KeyboardInterrupt | None = None
        try:
            with self.interrupts.open():
                done, _ = wait(self._flying, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
            # What has finished is handed over before the interruption goes on, so that no finished run is lost.
            done = {future for future in self._flying if future.done()}
        died: list[Call[K]] = []
        for future in done:
            call = self._flying.pop(future)
            error = CancelledByScheduler() if future.cancelled() else future.exception()
            if error is None:
                yield call, future.result()
            elif is_death(error):
                died.append(call)
            elif is_drop(error) or isinstance(error, CancelledByScheduler):
                self._dropped(call)
            else:
                yield call, error
        if interrupted is not None:
            raise interrupted
        if died:
            yield from self._bury(died, alone)

    def _dropped(self, call: Call[K]) -> None:
        call.drops += 1
        if call.drops > _DROPS:
            raise RunFailed(f"the scheduler has dropped a run {_DROPS} times; are its workers alive?")
        self._back.append(call)

    def _bury(self, died: list[Call[K]], alone: bool) -> Iterator[tuple[Call[K], Any]]:
        """Each of these is a suspect; one that was alone is guilty. Of a broken pool everything that is under way comes back, too."""
        if alone:
            died[0].deaths += 1
        for call in died:
            if call.deaths >= QUARANTINE:
                text = f"its worker process died {QUARANTINE} times with this run alone in it: killed, out of memory, or a crash of an extension module"
                yield call, WorkerDied(text)
            else:
                self._suspects.append(call)
        # Not earlier: the executors report a death for every call that they had, and these come in one by one.
        if not self._flying:
            self.backend.rebuild()


class CancelledByScheduler(Exception):
    """A call was cancelled, and not by us."""


@contextmanager
def opened(backend: Backend) -> Iterator[Backend]:
    """Use a backend; an interruption or an error ends what is under way."""
    complete = False
    try:
        yield backend
        complete = True
    finally:
        backend.close(kill=not complete)
