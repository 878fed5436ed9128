"""Progress bars: in a terminal for what takes longer than the delay, with the time left; silent in pipes, inside other bars and in workers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios

import pytest

from simtx.progress import Bar, phases, progress_bar, silent

PROGRAM = """
import time
import simtx.progress
from simtx.progress import phases, progress_bar, silent
simtx.progress.DELAY = {delay}
with progress_bar(4, "runs", what="sweep", wanted={wanted}) as bar:
    for _ in range(4):
        time.sleep(0.11)
        with progress_bar(9, "transactions", wanted=True) as inner:
            inner.advance()
        bar.advance()
"""


def in_terminal(program: str) -> str:
    """What a program writes to its standard error, which is a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen([sys.executable, "-c", program], stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 4096):
            text += chunk
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait(120) == 0
    return text.decode()


def test_a_bar_shows_what_is_done_and_the_time_left() -> None:
    text = in_terminal(PROGRAM.format(delay=0.2, wanted=None))
    assert "sweep:" in text
    assert "3/4" in text
    assert "0/4" not in text  # it appears only after its delay
    assert "<00:00" in text
    assert "transactions" not in text  # a bar inside another one is silent


def test_what_is_quick_shows_nothing() -> None:
    assert in_terminal(PROGRAM.format(delay=600.0, wanted=None)) == ""


def test_an_unwanted_bar_shows_nothing() -> None:
    assert in_terminal(PROGRAM.format(delay=0.0, wanted=False)) == ""


def test_a_pipe_gets_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, "runs", wanted=True) as bar:
        bar.advance(2)
    assert capfd.readouterr().err == ""
    assert bar.done == 2


def test_a_function_is_told_in_place_of_a_bar() -> None:
    told: list[tuple[str, float]] = []
    with phases(lambda what, share: told.append((what, share))) as show:
        show("running", 0.5)
    assert told == [("running", 0.5)]


def test_the_kernel_of_a_notebook_shows_bars(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A kernel's streams are no terminals, and its reader sees bars all the same."""
    monkeypatch.setattr("simtx.progress.in_notebook", lambda: True)
    with silent(), progress_bar(2, "runs", wanted=True) as bar:
        bar.advance()
    assert capfd.readouterr().err == ""
    bar = Bar(2, "runs", delay=0.0)
    bar.advance()
    bar.close()
    assert "1/2" in capfd.readouterr().err
