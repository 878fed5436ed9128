"""`simtx.explorer`: move something, see at once what is known, and a moment later what was played.

An explorer has a thread of its own that answers the newest state: first from what is known (runs of a results folder, runs that were played before, the surface
between them), then by playing what is missing in worker processes. Work for a state that is no longer the newest is dropped; what is finished of it is kept.
Whoever moves something never waits. When there is nothing to do, some positions of the control that was moved last are played ahead: the surface is then
there when they are asked for.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.arguments import SEED, STRATEGIES, checked, instance, optional, path, text, whole
from simtx.errors import ScenarioError, SimtxError
from simtx.experiments.compare import DEFAULT, labelled
from simtx.experiments.executors import Backend, ExecutorLike, Loky, backend, is_death, processors
from simtx.experiments.stories import stories
from simtx.experiments.work import Outcome, failed, play, version
from simtx.lab import state as states
from simtx.lab.answer import METRICS, Answer, answer, fit
from simtx.lab.controls import Control, controls
from simtx.lab.failures import Failure, failures
from simtx.lab.memory import Memory, Task
from simtx.lab.state import Saved, State
from simtx.lab.telling import Told, tell
from simtx.scenario import load
from simtx.scenario.provenance import strategy_text
from simtx.scenario.units import hint
from simtx.views import view

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simtx.protocols import Strategy
    from simtx.scenario import Scenario

TRANSACTIONS: Final = 600
"""Number of transactions that a run of an explorer has, unless another one is given."""
_IDLE: Final = 900.0
"""Seconds after which worker processes end that have nothing to do: longer than somebody thinks about a picture."""
_POLL: Final = 0.5
"""Seconds between two looks at whether there is something new, if nobody says so."""


class Explorer:
    """A scenario with sliders; made by `explorer`.

    Attributes:
        scenario: The scenario, as it is without any change.
        strategies: Labels of the strategies.
        controls: Its controls, by name: sliders, buttons and options.
        failures: The failures that can be played, by name.
        seed: Seed of all streams.
        replications: How often each strategy is run at each position.
    """

    def __init__(
        self,
        scenario: Scenario,
        strategies: Mapping[str, Strategy],
        *,
        store: Path | None,
        seed: int,
        transactions: int | None,
        replications: int,
        ahead: int,
        state: State,
        executor: ExecutorLike,
        workers: int | None,
    ) -> None:
        self.scenario = scenario
        self.strategies = list(strategies)
        self.controls: dict[str, Control] = controls(scenario, strategies)
        self.failures: dict[str, Failure] = failures(scenario)
        self.seed = seed
        self.replications = replications
        self._transactions = transactions
        self._ahead = ahead
        self._memory = Memory(
            scenario,
            strategies,
            self.controls,
            self.failures,
            seed=seed,
            transactions=transactions,
            replications=replications,
            folder=store,
        )
        self._backend = _backend(executor, workers, strategies)
        self._limit = max(1, self._backend.capacity() // 2) + 1
        self._news = threading.Condition(threading.RLock())
        self._listeners: list[Callable[[Answer], None]] = []
        self._state = self._checked(state)
        self._number = 0  # of the newest state
        self._served = -1  # of the last one that is finished
        self._shown: Answer | None = None
        self._wake: Future[None] = Future()
        self._left: dict[Future[Outcome], Task] = {}
        self._to_play_ahead: deque[State] = deque()
        self._closed = False
        self._recall()
        self._thread = threading.Thread(target=self._work, name="simtx-explorer", daemon=True)
        self._begin()

    def _begin(self) -> None:
        self._thread.start()

    # --- what stands where ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """State of all controls."""
        with self._news:
            return self._state

    def move(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Move controls; returns at once.

        Args:
            values: Where to, by name of the control; None: where the scenario has it. Names with a colon are given so, as in ``{"service:orders": 0.02}``.
            named: The same for names without one, as in ``rate=200``.

        Raises:
            ScenarioError: There is no such control, or it cannot stand there.
        """
        wanted = {**(values or {}), **named}
        with self._news:
            moved = dict(self._state.values)
            for name, value in wanted.items():
                control = self._control(name)
                moved[name] = control.base if value is None else control.checked(value)
            numeric = [name for name in wanted if self.controls[name].numeric]
            last = numeric[-1] if numeric else self._state.moved
            self._become(replace(self._state, values=moved, moved=last))

    def strike(self, failure: str | None) -> None:
        """Play a failure by name, as well as what the scenario has; returns at once.

        Args:
            failure: One of `failures`; None: none.

        Raises:
            ScenarioError: There is no such failure.
        """
        with self._news:
            self._become(replace(self._state, failure=failure or ""))

    def draw(self, metric: str) -> None:
        """Draw another metric over the control that was moved last; returns at once.

        Raises:
            ScenarioError: An explorer does not draw it.
        """
        with self._news:
            self._become(replace(self._state, metric=metric))

    def reset(self) -> None:
        """Put all controls back to the values of the scenario."""
        with self._news:
            self._become(State(metric=self._state.metric, moved=self._state.moved))

    def _control(self, name: str) -> Control:
        if name not in self.controls:
            raise ScenarioError(f"there is no control '{name}'; {hint(name, self.controls)}", "explorer")
        return self.controls[name]

    def _checked(self, state: State) -> State:
        """A state that can be; what stands where the scenario has it is left out."""
        if state.failure and state.failure not in self.failures:
            raise ScenarioError(
                f"there is no failure '{state.failure}'; {hint(state.failure, self.failures)}", "explorer"
            )
        if state.metric not in METRICS:
            raise ScenarioError(f"'{state.metric}' is not drawn here; {hint(state.metric, METRICS)}", "explorer")
        values = {name: self._control(name).checked(one) for name, one in state.values.items()}
        values = {name: one for name, one in values.items() if one != self.controls[name].base}
        return replace(state, values=values, moved=state.moved if state.moved in self.controls else "")

    def _become(self, state: State) -> None:
        state = self._checked(state)
        if state == self._state or self._closed:
            return
        self._state = state
        self._number += 1
        self._to_play_ahead.clear()
        if not self._wake.done():
            self._wake.set_result(None)
        self._news.notify_all()

    def tell(self, story: str, then: Callable[[Told], None]) -> None:
        """Play one of the failure stories, which have worlds of their own, in a worker process; returns at once.

        Args:
            story: Name of one of `simtx.stories`.
            then: Called with its result, in a thread of the worker processes.

        Raises:
            ScenarioError: There is no such story.
        """
        stories()[story]
        self._backend.submit(tell, story, self.seed).add_done_callback(lambda done: then(done.result()))

    # --- what is known ----------------------------------------------------------------------------------------------------------

    @property
    def answer(self) -> Answer | None:
        """The last answer; None before the first."""
        with self._news:
            return self._shown

    def on_answer(self, listener: Callable[[Answer], None]) -> None:
        """Call a function with each answer, in the thread of the explorer; what it raises is dropped."""
        with self._news:
            self._listeners.append(listener)

    def wait(self, timeout: float | None = None) -> Answer:
        """Wait until all runs of the newest state are there.

        Args:
            timeout: Seconds; None: as long as it takes.

        Raises:
            SimtxError: It took longer, or the explorer is closed.
        """
        with self._news:
            self._news.wait_for(lambda: self._served == self._number or self._closed, timeout)
            if self._closed:
                raise SimtxError("the explorer is closed")
            if self._served != self._number or self._shown is None:
                raise SimtxError(f"no answer within {timeout:g} s; wait longer, or give fewer transactions")
            return self._shown

    def current(self) -> Scenario:
        """Return the current scenario, at its full length, for `simtx.compare` and others.

        Raises:
            ScenarioError: A value does not fit.
        """
        with self._news:
            return self._memory.scenario_of(self._state, whole=True)

    def options(self) -> dict[str, Strategy]:
        """The strategies with their options as they stand, by label.

        Raises:
            ScenarioError: A value does not fit.
        """
        with self._news:
            return self._memory.variants(self._state)

    # --- to keep it -------------------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """A text that fits into a link; `simtx.explorer` opens it again.

        Raises:
            ScenarioError: The scenario or a strategy holds an object that no text can say.
        """
        with self._news:
            state = self._state
        strategies, part = self._fixed
        return states.write(
            Saved(state, part, self.scenario.name, strategies, self.seed, self._transactions, self.replications)
        )

    @cached_property
    def _fixed(self) -> tuple[tuple[str, ...], str | dict[str, Any]]:
        """Fixed part of the text: strategies and scenario."""
        strategies = []
        for label, one in self._memory.strategies.items():
            said = strategy_text(one)
            if said is None:
                raise ScenarioError(f"{label} is an object of your own, which no text can say", "explorer")
            strategies.append(said)
        return tuple(strategies), states.scenario_part(self.scenario)

    def save(self, file: str | Path) -> Path:
        """Write the scenario as it stands as a file, for `simtx.load` and the command line. Options of strategies are no part of it.

        Args:
            file: Its path; the folder is there.

        Raises:
            ScenarioError: It cannot be written, or holds an object that no file can say.
        """
        target = Path(file)
        written = states.toml(self.current())
        try:
            target.write_text(written, encoding="utf-8")
        except OSError as error:
            raise ScenarioError(f"cannot be written: {error.strerror}", str(target)) from None
        return target

    # --- to show it -------------------------------------------------------------------------------------------------------------

    def figure(self) -> Figure:
        """The picture of the last answer, of the newest state if it is finished."""
        from simtx.lab.picture import figure

        return figure(self._now(), self)

    def svg(self) -> str:
        """The same as SVG whose letters take the colour of the page that it stands in."""
        from simtx.lab.picture import svg

        return svg(self._now(), self)

    def _now(self) -> Answer:
        with self._news:
            shown = self._shown
        return shown if shown is not None else self.wait()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Sliders and the picture; beside them the picture alone, for pages that cannot have sliders."""
        try:
            widget = view("explorer")
        except ImportError:
            return {"text/plain": str(self), "text/html": f"<p>{escape(_NO_WIDGETS)}</p>{self.svg()}"}
        shown: dict[str, Any] = dict(widget(self)._repr_mimebundle_())
        return {**shown, "text/plain": repr(self), "text/html": self.svg()}

    def __repr__(self) -> str:
        said = self.answer.said if self.answer is not None else ""
        return f"<Explorer of {', '.join(self.strategies)} on {self.scenario.name}{f': {said}' if said else ''}>"

    def __str__(self) -> str:
        from simtx.lab.picture import lines

        return "\n".join(lines(self._now(), self))

    # --- the thread -------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the thread and let go of the results folder; finished runs are kept in it."""
        with self._news:
            if self._closed:
                return
            self._closed = True
            if not self._wake.done():
                self._wake.set_result(None)
            self._news.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def __enter__(self) -> Explorer:
        """Close it at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _recall(self) -> None:
        """Learn what the results folder has, and give the sliders its positions."""
        for state in self._memory.stored_states():
            with contextlib.suppress(ScenarioError):
                possible = {
                    name: one
                    for name, one in state.values.items()
                    if self.controls[name].numeric
                    and self.controls[name].values[0] <= one <= self.controls[name].values[-1]
                }
                if not self._memory.look(state).figures:
                    continue
                for name, one in possible.items():
                    self.controls[name] = self.controls[name].with_values([float(one)])

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._closed and self._served == self._number and not self._to_play_ahead:
                    self._news.wait(_POLL if self._left else None)
                    self._collect()
                if self._closed:
                    break
                self._wake = Future()
                number, state = self._number, self._state
                ahead = self._to_play_ahead.popleft() if self._served == number else None
            try:
                if ahead is not None:
                    self._play(self._memory.tasks(ahead, 1), number, limit=1)
                    if not self._to_play_ahead and not self._is_old(number):
                        fit(self._memory, state, lambda: not self._is_old(number))  # noqa: B023 - called at once
                        self._show(number, state, finished=True)
                else:
                    self._serve(number, state)
            except SimtxError as error:
                self._refuse(number, state, error)
        with contextlib.suppress(SimtxError):
            self._collect()
            self._memory.close()

    def _serve(self, number: int, state: State) -> None:
        """Answer at once, then play what is missing and answer again."""
        tasks = self._memory.tasks(state, self.replications)
        self._show(number, state, finished=not tasks)
        first = [task for task in tasks if task.replication == 0]
        for part in (first, [task for task in tasks if task.replication > 0]):
            if part:
                if not self._play(part, number, limit=self._limit):
                    return
                self._show(number, state, finished=part is not first or len(first) == len(tasks))
        with self._news:
            self._served = max(self._served, number)
            if self._number == number:
                self._to_play_ahead.extend(self._neighbours(state))
            self._news.notify_all()

    def _neighbours(self, state: State) -> list[State]:
        """Positions of the control that was moved last that are worth playing before anybody asks: the ends, and what halves what is between."""
        name = state.moved or next((one.name for one in self.controls.values() if one.numeric), "")
        if not self._ahead or not name or not self.controls[name].numeric:
            return []
        values = self.controls[name].values
        last = len(values) - 1
        shares = (0.0, 1.0, 0.5, 0.25, 0.75, 0.125, 0.375, 0.625, 0.875)
        chosen = dict.fromkeys(values[round(share * last)] for share in shares[: self._ahead])
        return [self._checked(replace(state, values={**state.values, name: one})) for one in chosen]

    def _play(self, tasks: Sequence[Task], number: int, limit: int) -> bool:
        """Play runs until all are there, or until there is something newer; False in the latter case."""
        waiting = deque(tasks)
        pending: dict[Future[Outcome], Task] = {}
        while waiting or pending:
            self._collect()
            if self._is_old(number):
                for future, task in pending.items():
                    if not future.cancel():
                        self._left[future] = task  # it is nearly over: its result is kept
                return False
            while waiting and len(pending) < limit and not self._is_old(number):
                task = waiting.popleft()
                if self._memory.has(task):
                    continue
                pending[self._backend.submit(play, task.parcel, self.seed, task.replication)] = task
            watched: list[Future[Any]] = [*pending, self._wake]
            done, _ = wait_for(watched, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in done:
                if future in pending:
                    self._enter(pending.pop(future), future)
        return True

    def _is_old(self, number: int) -> bool:
        with self._news:
            return self._closed or self._number != number

    def _collect(self) -> None:
        """Keep the results of runs that nobody waits for any more."""
        for future in [one for one in self._left if one.done()]:
            self._enter(self._left.pop(future), future)

    def _enter(self, task: Task, future: Future[Outcome]) -> None:
        try:
            outcome = future.result()
        except Exception as error:  # noqa: BLE001 - a broken executor must not end the explorer
            outcome = failed("worker", error)
            if is_death(error):
                self._backend.rebuild()
        self._memory.enter(task, outcome)

    def _show(self, number: int, state: State, *, finished: bool) -> None:
        self._publish(number, answer(self._memory, state, wanted=self.replications, finished=finished))

    def _refuse(self, number: int, state: State, error: SimtxError) -> None:
        """Say what is wrong with a state."""
        nothing = Answer(state, {}, problem=str(error), finished=True)
        with self._news:
            self._served = max(self._served, number)
        self._publish(number, nothing)

    def _publish(self, number: int, found: Answer) -> None:
        with self._news:
            if self._number != number:
                return
            self._shown = found
            listeners = list(self._listeners)
            self._news.notify_all()
        for listener in listeners:
            with contextlib.suppress(Exception):
                listener(found)


_NO_WIDGETS: Final = "The sliders need ipywidgets: pip install 'simtx[lab]', and start the kernel again. This is the picture without them."

_shared: dict[str, tuple[tuple[int, str], Backend]] = {}
"""The worker processes of the last explorer, which the next one uses if it plays the same code."""


def _backend(executor: ExecutorLike, workers: int | None, strategies: Mapping[str, Strategy]) -> Backend:
    if executor is not None:
        return backend(executor, workers, len(strategies))
    key = (min(workers or processors(), 2 * len(strategies)), version(strategies.values()))
    known = _shared.get("last")
    if known is not None and known[0] == key:
        return known[1]
    if known is not None:
        known[1].close(kill=False)
    made = Loky(*key, idle=_IDLE)
    _shared["last"] = (key, made)
    return made


def _store(value: Any) -> str:
    """Error of a results folder."""
    return (
        ""
        if hasattr(value, "store") and hasattr(value.store, "folder")
        else path(value) and "must be a results folder or a sweep"
    )


@checked(
    strategies=optional(STRATEGIES),
    store=optional(_store),
    seed=SEED,
    transactions=optional(whole(20), "None for the scenario's own length"),
    replications=whole(1, 50),
    metric=text,
    ahead=whole(0, 9),
    workers=optional(whole(1), "None for one a processor"),
    values=optional(instance(Mapping, "values by control")),
)
def explorer(
    scenario: Scenario | str,
    strategies: Sequence[Strategy | str] | None = None,
    *,
    store: str | Path | Any = None,
    seed: int = 1,
    transactions: int | None = TRANSACTIONS,
    replications: int = 3,
    metric: str = "decision_p99_ms",
    values: Mapping[str, Any] | None = None,
    ahead: int = 5,
    executor: ExecutorLike = None,
    workers: int | None = None,
) -> Explorer:
    """Explore a scenario with sliders: load, distance, service times, failures, options of strategies.

    A notebook shows it with its sliders. After a move it shows known figures at once (stored runs, or a surface between them, marked as interpolated),
    and new runs as soon as they are played. In a script, `Explorer.move` and `Explorer.wait` do the same.

    Args:
        scenario: A scenario, the name or path of one, or the text of an explorer (`Explorer.text`), which says everything else as well.
        strategies: Names or objects; None: 2pc, saga, outbox and dual-write.
        store: A results folder of sweeps, or a sweep: its runs are found, and runs that are played here are kept in it. None: runs are kept as long as the explorer.
        seed: Seed of all random streams.
        transactions: Transactions of a run that is played here, 20 or more; None: as many as the scenario says. Shorter runs are faster, and their tails less certain.
        replications: How often each strategy is run at a position, 1 to 50; intervals need two.
        metric: The metric that is drawn over the control that was moved last.
        values: First positions of controls, by name.
        ahead: How many positions of the control that was moved last are played in advance, 0 to 9.
        executor: The player of the runs, as for `simtx.sweep`.
        workers: Number of processes; None: one a processor.

    Returns:
        The explorer.

    Raises:
        ScenarioError: An input is wrong.
    """
    state = State(dict(values or {}), metric=metric)
    if states.is_text(scenario):
        saved = states.read(str(scenario))
        state = replace(saved.state, values={**saved.state.values, **(values or {})})
        strategies = saved.strategies if strategies is None else strategies
        seed, transactions, replications = saved.seed, saved.transactions, saved.replications
        scenario = states.opened(saved)
    folder = store.store.folder if hasattr(store, "store") else store
    return Explorer(
        load(scenario),
        labelled(strategies if strategies is not None else DEFAULT),
        store=None if folder is None else Path(folder),
        seed=seed,
        transactions=transactions,
        replications=replications,
        ahead=ahead,
        state=state,
        executor=executor,
        workers=workers,
    )
