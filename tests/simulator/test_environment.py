"""The kernel: a SimPy environment, and plain calls in the same heap."""

import math
import random
from collections.abc import Generator
from heapq import heappush
from typing import Any

import pytest
import simpy
from simpy.core import EmptySchedule, StopSimulation

from simtx.errors import SimtxError
from simtx.simulator import Environment
from simtx.simulator.environment import NORMAL, URGENT, SchedulingError

Process = Generator[simpy.Event, Any, Any]


@pytest.fixture
def env() -> Environment:
    return Environment()


# Calls


def test_calls_run_in_the_order_of_their_times(env: Environment) -> None:
    log: list[tuple[float, str]] = []
    for delay, name in ((3.0, "c"), (1.0, "a"), (2.0, "b")):
        env.call_in(delay, lambda text: log.append((env.now, text)), name)
    env.run()
    assert log == [(1.0, "a"), (2.0, "b"), (3.0, "c")]


def test_calls_at_one_instant_run_by_priority_then_in_the_order_of_scheduling(env: Environment) -> None:
    log: list[str] = []
    env.call_at(1.0, log.append, "first")
    env.call_at(1.0, log.append, "late", priority=NORMAL + 1)
    env.call_at(1.0, log.append, "second")
    env.call_at(1.0, log.append, "urgent", priority=URGENT)
    env.run()
    assert log == ["urgent", "first", "second", "late"]


def test_a_call_without_an_argument_gets_none(env: Environment) -> None:
    got: list[object] = []
    env.call_in(0, got.append)
    env.run()
    assert got == [None]


def test_arguments_of_equal_times_are_never_compared(env: Environment) -> None:
    """Neither callbacks nor arguments need an order: the sequence number decides."""
    got: list[object] = []
    arguments = [object(), {"a": 1}, 3 + 4j]
    for argument in arguments:
        env.call_at(1.0, got.append, argument)
    env.run()
    assert got == arguments


def test_a_call_for_now_runs_after_what_is_already_due(env: Environment) -> None:
    log: list[str] = []

    def first(_: None) -> None:
        env.call_in(0.0, log.append, "from first")
        log.append("first")

    env.call_at(1.0, first)
    env.call_at(1.0, log.append, "second")
    env.run()
    assert log == ["first", "second", "from first"]


def test_calls_pushed_by_the_documented_idiom_are_calls(env: Environment) -> None:
    log: list[tuple[float, str]] = []
    queue, sequence = env.queue, env.sequence

    def note(name: str) -> None:
        log.append((env.now, name))
        if name == "a":
            heappush(queue, (env.now + 0.5, NORMAL, sequence(), note, "pushed"))

    env.call_at(1.0, note, "a")
    env.call_at(1.5, note, "b")
    env.run()
    assert log == [(1.0, "a"), (1.5, "b"), (1.5, "pushed")]


@pytest.mark.parametrize("delay", [-1.0, -1e-300, math.nan, math.inf, -math.inf])
def test_a_delay_that_is_negative_or_not_finite_is_refused(env: Environment, delay: float) -> None:
    with pytest.raises(SchedulingError, match="the delay must be finite and not negative"):
        env.call_in(delay, print)
    assert env.queue == []


@pytest.mark.parametrize("time", [4.999, -1.0, math.nan, math.inf])
def test_a_time_that_is_past_or_not_finite_is_refused(time: float) -> None:
    env = Environment(initial_time=5.0)
    with pytest.raises(SchedulingError, match=r"must be finite and not before now \(5.0 s\)"):
        env.call_at(time, print)
    assert env.queue == []


def test_a_scheduling_error_is_a_value_error_as_simpys_and_one_of_ours() -> None:
    assert issubclass(SchedulingError, ValueError)
    assert issubclass(SchedulingError, SimtxError)


# Calls beside SimPy's processes


def test_calls_and_processes_interleave_in_the_order_of_scheduling(env: Environment) -> None:
    log: list[tuple[float, str]] = []

    def note(name: str) -> None:
        log.append((env.now, name))

    def process(name: str) -> Process:
        for _ in range(2):
            yield env.timeout(1)
            note(name)

    env.call_at(1.0, note, "call before")
    env.process(process("p"))
    env.process(process("q"))
    env.call_at(1.0, note, "call between")  # scheduled before the processes start and set their timeouts
    env.run(until=0.5)
    env.call_at(1.0, note, "call after")
    env.call_at(2.0, note, "call at two")
    env.run()
    assert log == [
        (1.0, "call before"),
        (1.0, "call between"),
        (1.0, "p"),
        (1.0, "q"),
        (1.0, "call after"),
        (2.0, "call at two"),
        (2.0, "p"),
        (2.0, "q"),
    ]


def test_a_process_waits_while_calls_run_and_a_call_wakes_it(env: Environment) -> None:
    log: list[object] = []
    bell = env.event()

    def sleeper() -> Process:
        value = yield bell
        log.append((env.now, value))

    def tick(left: int) -> None:
        log.append(left)
        if left:
            env.call_in(1.0, tick, left - 1)
        else:
            bell.succeed("up")

    env.process(sleeper())
    env.call_in(1.0, tick, 3)
    env.run()
    assert log == [3, 2, 1, 0, (4.0, "up")]


def test_an_interrupt_comes_before_the_calls_of_its_instant(env: Environment) -> None:
    log: list[object] = []

    def worker() -> Process:
        try:
            yield env.timeout(10)
        except simpy.Interrupt as interrupt:
            log.append((env.now, interrupt.cause))

    process = env.process(worker())

    def strike(_: None) -> None:
        process.interrupt("crash")
        log.append("struck")

    env.call_at(2.0, strike)
    env.call_at(2.0, log.append, "later")
    env.run()
    assert log == ["struck", (2.0, "crash"), "later"]


def test_simpys_resources_work_beside_calls(env: Environment) -> None:
    server = simpy.Resource(env, capacity=1)
    ends: list[float] = []

    def job() -> Process:
        with server.request() as turn:
            yield turn
            yield env.timeout(2)
        ends.append(env.now)

    for at in (0.0, 1.0, 1.5):
        env.call_at(at, lambda _: env.process(job()))
    env.run()
    assert ends == [2.0, 4.0, 6.0]


# run, step, peek


def test_run_until_a_time_leaves_out_what_is_due_at_that_time_and_can_go_on(env: Environment) -> None:
    log: list[str] = []
    env.call_at(1.0, log.append, "a")
    env.call_at(2.0, log.append, "b")
    assert env.run(until=2.0) is None
    assert (env.now, log) == (2.0, ["a"])
    env.run()
    assert (env.now, log) == (2.0, ["a", "b"])


def test_run_until_a_time_ends_at_that_very_time() -> None:
    """Not at start + (end - start), which rounds twice: 0.2 + (0.9 - 0.2) is not 0.9."""
    assert 0.2 + (0.9 - 0.2) != 0.9
    env = Environment(initial_time=0.2)
    env.run(until=0.9)
    assert env.now == 0.9


def test_run_until_an_event_returns_its_value(env: Environment) -> None:
    done = env.event()
    env.call_in(1.0, done.succeed, "result")
    env.call_in(2.0, print, "too late")
    assert env.run(until=done) == "result"
    assert env.now == 1.0
    assert env.run(until=done) == "result"


def test_run_until_an_event_that_never_comes_is_an_error(env: Environment) -> None:
    env.call_in(1.0, list, ())
    with pytest.raises(RuntimeError, match='No scheduled events left but "until" event was not triggered: <Event'):
        env.run(until=env.event())


@pytest.mark.parametrize("until", [5, 4.0, -1])
def test_run_until_a_time_that_is_not_later_is_an_error(until: float) -> None:
    with pytest.raises(ValueError, match="must be greater than the current simulation time"):
        Environment(initial_time=5).run(until=until)


def test_what_was_left_of_the_event_that_ended_a_run_comes_first_in_the_next(env: Environment) -> None:
    log: list[str] = []
    done = env.event()
    env.call_at(1.0, done.succeed)

    def listen() -> Process:
        yield env.timeout(0.75)
        yield done
        log.append("listener")

    env.process(listen())
    env.call_at(0.9, lambda _: env.call_at(1.0, lambda _: env.call_in(0.0, log.append, "call")))
    env.run(until=done)
    assert log == []
    env.run()
    assert log == ["listener", "call"]


def test_an_exception_in_a_call_comes_out_as_is_and_the_run_can_go_on(env: Environment) -> None:
    error = KeyError("the very object")
    log: list[float] = []

    def fail(_: None) -> None:
        raise error

    env.call_at(1.0, fail)
    env.call_at(2.0, lambda _: log.append(env.now))
    with pytest.raises(KeyError) as caught:
        env.run()
    assert caught.value is error
    assert env.now == 1.0
    env.run()
    assert log == [2.0]


@pytest.mark.parametrize("error", [IndexError("pop from empty list"), StopIteration()])
def test_an_exception_in_a_call_is_not_taken_for_the_end_of_the_schedule(env: Environment, error: Exception) -> None:
    def fail(_: None) -> None:
        raise error

    env.call_in(1.0, fail)
    with pytest.raises(type(error)):
        env.run()


def test_a_call_ends_the_run_by_simpys_stop_simulation(env: Environment) -> None:
    def stop(value: str) -> None:
        raise StopSimulation(value)

    env.call_in(1.0, stop, "enough")
    env.call_in(2.0, print, "too late")
    assert env.run() == "enough"
    assert len(env.queue) == 1


def test_a_failed_event_that_nobody_defused_is_raised_and_leaves_nothing_behind(env: Environment) -> None:
    log: list[float] = []
    event = env.event()
    env.call_at(1.0, event.fail, ValueError("lost"))
    env.call_at(1.0, lambda _: log.append(env.now))
    env.call_at(2.0, lambda _: log.append(env.now))
    with pytest.raises(ValueError, match="lost") as caught:
        env.run()
    assert caught.value.__cause__ is event.value
    assert event.processed
    assert log == [1.0]  # scheduled before the event failed
    env.run()
    assert log == [1.0, 2.0]


def test_an_exception_in_a_process_comes_out_of_run(env: Environment) -> None:
    def process() -> Process:
        yield env.timeout(1)
        raise ZeroDivisionError("in a process")

    env.process(process())
    with pytest.raises(ZeroDivisionError, match="in a process"):
        env.run()


def test_step_runs_exactly_one_entry_and_peek_tells_its_time(env: Environment) -> None:
    log: list[str] = []
    env.call_at(1.0, log.append, "call")
    env.timeout(2).callbacks.append(lambda _: log.append("event"))
    assert env.peek() == 1.0
    env.step()
    assert (log, env.now, env.peek()) == (["call"], 1.0, 2)
    env.step()
    assert (log, env.now, env.peek()) == (["call", "event"], 2, math.inf)
    with pytest.raises(EmptySchedule):
        env.step()


def test_run_goes_through_a_step_that_somebody_replaced(env: Environment) -> None:
    """SimPy's recipe for tracing every event wraps `env.step`."""
    seen: list[float] = []
    original = env.step

    def traced() -> None:
        seen.append(env.peek())
        original()

    env.step = traced  # type: ignore[method-assign]
    env.call_at(1.0, list, ())
    env.timeout(2)
    env.run(until=3)
    assert seen == [1.0, 2, 3]


def test_a_run_inside_a_call_of_another_environment_is_independent(env: Environment) -> None:
    inner = Environment()
    inner.call_at(7.0, list, ())
    env.call_at(1.0, lambda _: inner.run())
    env.run()
    assert (env.now, inner.now) == (1.0, 7.0)


def test_an_environment_shows_its_time_and_its_backlog(env: Environment) -> None:
    env.call_in(0.25, list, ())
    env.call_in(1.0, list, ())
    env.run(until=0.5)
    assert repr(env) == "<Environment at 0.5 s, 2 scheduled>"


# A drop-in for simpy.Environment


def test_a_subclass_keeps_its_own_methods() -> None:
    class Doubled(Environment):
        def timeout(self, delay: float = 0, value: Any = None) -> simpy.Timeout:
            return simpy.Timeout(self, 2 * delay, value)

    env = Doubled()
    env.run(until=env.timeout(3))
    assert env.now == 6


def play(env: simpy.Environment, seed: int) -> tuple[list[object], float]:
    """A little world of everything SimPy has, at random: what happened, and when it ended."""
    rng = random.Random(seed)
    log: list[object] = []
    server = simpy.PreemptiveResource(env, capacity=2)
    store = simpy.Store(env, capacity=3)
    people: list[simpy.Process] = []

    def person(name: int) -> Process:
        for _ in range(6):
            try:
                kind = rng.randrange(6)
                if kind == 0:
                    yield env.timeout(rng.randrange(4))
                elif kind == 1:
                    with server.request(priority=rng.randrange(3), preempt=rng.random() < 0.5) as turn:
                        yield turn | env.timeout(rng.randrange(5))
                        yield env.timeout(rng.randrange(3))
                elif kind == 2:
                    yield store.put(name) & env.timeout(1)
                elif kind == 3:
                    yield store.get() | env.timeout(2)
                elif kind == 4:
                    other = rng.choice(people)
                    if other.is_alive and other is not env.active_process:
                        other.interrupt(name)
                else:
                    event = env.event()
                    event.fail(ValueError(name)) if rng.random() < 0.5 else event.succeed(name)
                    yield env.all_of([event, env.timeout(1)])
                log.append((env.now, name, kind))
            except simpy.Interrupt as interrupt:
                cause = interrupt.cause
                log.append((env.now, name, "interrupted", cause if isinstance(cause, int) else type(cause).__name__))
            except ValueError as error:
                log.append((env.now, name, str(error)))
        return name

    people += [env.process(person(name)) for name in range(8)]
    for _ in range(40):
        try:
            env.run(until=env.now + 1.5)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
            log.append((env.now, repr(error)))
    return log, env.now


@pytest.mark.parametrize("seed", range(60))
def test_random_simpy_worlds_go_exactly_as_in_simpy(seed: int) -> None:
    ours, theirs = play(Environment(), seed), play(simpy.Environment(), seed)
    assert len(theirs[0]) > 20
    assert ours == theirs
