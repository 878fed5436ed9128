"""An interruption in the middle of the compiled loop ends the run, and never changes its numbers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.engine import Unavailable, load_library
from simtx.engine.library import compiler
from simtx.errors import ScenarioError
from simtx.simulator.compiled import CompiledLoop, binding

sys.path.insert(0, str(Path(__file__).parent))
from worlds import shortened

try:
    load_library()
except Unavailable as error:
    if compiler():  # a loop that cannot be compiled or loaded where there is a compiler is a fault
        raise
    pytest.skip(f"no compiled engine: {error}", allow_module_level=True)


class _Struck(Exception):
    """What a handler raises."""


def _signalling(monkeypatch: pytest.MonkeyPatch, answers: list[int]) -> None:
    """A signal arrives in each call into Python that fills a block of random numbers, of which there are many where NumPy's functions are not there."""
    monkeypatch.setattr(binding, "generators", lambda library: None)
    before = CompiledLoop._filling

    def filling(self: CompiledLoop, fills: list[Any]) -> Callable[..., int]:
        real = before(self, fills)

        def fill(*arguments: Any) -> int:
            signal.raise_signal(signal.SIGUSR1)
            answers.append(real(*arguments))
            return answers[-1]

        return fill

    monkeypatch.setattr(CompiledLoop, "_filling", filling)


@pytest.fixture
def handled() -> Any:
    """Sets the handler of a signal for the time of a test."""
    previous = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, previous)


def test_a_signal_waits_until_the_loop_has_come_back(monkeypatch: pytest.MonkeyPatch, handled: Any) -> None:
    def strike(*_: object) -> None:
        raise _Struck

    handled(strike)
    answers: list[int] = []
    _signalling(monkeypatch, answers)
    with pytest.raises(_Struck):
        simtx.simulate(shortened("transfer", 50), "saga", engine="fast")
    assert answers
    assert set(answers) == {0}
    assert signal.getsignal(signal.SIGUSR1) is strike


def test_a_handler_that_only_notes_changes_nothing(monkeypatch: pytest.MonkeyPatch, handled: Any) -> None:
    undisturbed = simtx.simulate(shortened("transfer", 50), "saga", engine="fast").digest
    heard: list[int] = []
    answers: list[int] = []
    handled(lambda number, _: heard.append(number))
    _signalling(monkeypatch, answers)
    assert simtx.simulate(shortened("transfer", 50), "saga", engine="fast").digest == undisturbed
    assert len(heard) == len(answers) > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", ["fill", "plan", "learn", "link", "more_arrivals", "ended"])
def test_a_call_that_did_not_come_to_its_end_ends_the_run(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An exception outside of all that could catch it is lost to C, which then reads any number as the answer."""
    before, asking = CompiledLoop._answering, CompiledLoop._asking

    def fail(*_: object) -> int:
        raise MemoryError

    def answering(self: CompiledLoop, function: Callable[..., int]) -> Callable[..., int]:
        return fail if function == getattr(self, f"_{call}") else before(self, function)

    if call == "fill":
        monkeypatch.setattr(binding, "generators", lambda library: None)
        monkeypatch.setattr(CompiledLoop, "_filling", lambda *_: fail)
    elif call == "learn":
        monkeypatch.setattr(CompiledLoop, "_asking", lambda self, name: fail if name == call else asking(self, name))
    else:
        monkeypatch.setattr(CompiledLoop, "_answering", answering)
    with pytest.raises(ScenarioError, match="gave up"):
        simtx.simulate(shortened("transfer", 50), "saga", engine="fast")


def test_too_little_memory_is_said_and_not_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise MemoryError("no room")

    monkeypatch.setattr(CompiledLoop, "_plan", fail)
    with pytest.raises(MemoryError, match="no room"):
        simtx.simulate(shortened("transfer", 50), "saga", engine="fast")
