"""How long it takes in the explorer from a slider to a new picture, by the callback that a slider calls.

    python benchmarks/explorer_slider.py            # 20 moves of each kind
    python benchmarks/explorer_slider.py --moves 5  # fewer, to see that it works

Three kinds of moves: to a position whose runs are in the results folder; to one between positions that were played (interpolated); and to one near which nothing is
known, in a scenario of 600 transactions, whose picture is complete when the first run of every strategy is over. A picture is new when its SVG has been given to
the widget. The clock counts, since that is what the reader waits for; the processor's time of this process is said beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable

import simtx
from simtx.lab.answer import Answer
from simtx.lab.widgets import View

STRATEGIES = ("2pc", "saga", "outbox", "dual-write")
SCENARIO = "checkout"
PATIENCE = 300.0
TARGETS = {"stored": 1.0, "interpolated": 1.0, "cold": 2.0}


def timed(view: View, move: Callable[[], None], good: Callable[[Answer], bool]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor in this process, from a move to a picture that is good."""
    there = threading.Event()

    def look(_: object) -> None:  # called in the thread that has set the picture
        answer = view.explorer.answer
        if answer is not None and answer.state == view.explorer.state and good(answer):
            there.set()

    view.picture.observe(look, "value")
    try:
        start, busy = time.perf_counter(), time.process_time()
        move()
        if not there.wait(PATIENCE):
            raise SystemExit(f"no picture within {PATIENCE:g} s")
        return time.perf_counter() - start, time.process_time() - busy
    finally:
        view.picture.unobserve(look, "value")


def told(kind: str, times: list[tuple[float, float]]) -> None:
    """One line about one kind of moves."""
    clock, busy = ([one[part] for one in times] for part in (0, 1))
    middle = statistics.median(clock)
    verdict = "met" if middle < TARGETS[kind] else "MISSED"
    print(
        f"{kind:>12}: {len(times)} moves, median {middle:.2f} s (slowest {max(clock):.2f} s), of which processor of this process "
        f"{statistics.median(busy):.2f} s; target {TARGETS[kind]:g} s: {verdict}",
        flush=True,
    )


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=20)
    count = parser.parse_args().moves
    print(
        f"{SCENARIO}, {len(STRATEGIES)} strategies, load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )
    with tempfile.TemporaryDirectory() as folder:
        with simtx.explorer(SCENARIO, STRATEGIES, store=folder, replications=1, ahead=0) as explorer:
            slider = explorer.controls["rate"].values
            places = [slider[index] for index in range(0, 17, 2)]
            for place in places:
                explorer.move(rate=place)
                explorer.wait(PATIENCE)
        with simtx.explorer(SCENARIO, STRATEGIES, store=folder, replications=1, ahead=0) as explorer:
            view = View(explorer)
            explorer.wait(PATIENCE)
            rate = view.inputs["rate"]

            def to(place: float) -> Callable[[], None]:
                return lambda: setattr(rate, "value", place)

            stored = [place for _ in range(count) for place in places if place != explorer.controls["rate"].base]
            told("stored", [timed(view, to(place), lambda one: one.finished) for place in stored[:count]])
            between = [slider[index] for index in range(1, 16, 2)]
            guesses = []
            for place in (between * count)[: min(count, len(between))]:
                guesses.append(timed(view, to(place), lambda one: one.origin != "nothing"))
                explorer.wait(PATIENCE)
            told("interpolated", guesses)
    with simtx.explorer(SCENARIO, STRATEGIES, replications=1, ahead=0) as explorer:
        view = View(explorer)
        explorer.wait(PATIENCE)
        cold = []
        positions = [(name, one) for name in ("rtt", "service:orders") for one in explorer.controls[name].values[:10]]
        for name, place in positions[:count]:
            if place != explorer.controls[name].base:
                explorer.reset()
                explorer.wait(PATIENCE)
                slider_of = view.inputs[name]
                move = lambda: setattr(slider_of, "value", place)  # noqa: E731, B023 - called at once
                cold.append(timed(view, move, lambda one: one.origin == "played"))
        told("cold", cold)


if __name__ == "__main__":
    main()
