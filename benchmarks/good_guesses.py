"""Questions that an architect answers from experience, each answered by simulation, with its interval, and by execution.

    python benchmarks/good_guesses.py                        # all of it: some fifteen minutes, most of them real runs
    python benchmarks/good_guesses.py --only hot-median --runs 0     # one question, by simulation alone

Each answer is one number made of a few runs (a ratio, a share, seconds). By simulation it is computed for each of several replications, in which all
runs of a question meet the same transactions; by execution likewise, from real processes, SQLite and the embedded broker on this machine. The simulated
scenario is not calibrated to the machine: what is asked does not depend on its microseconds, or the two columns would differ.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import simtx
from simtx.metrics.intervals import interval
from simtx.scenario import Scenario

Summaries = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: By which it is asked for.
        asks: The question.
        guess: What many would say.
        cells: What is run: scenario and strategy, by a name of its own.
        answer: The number that answers, from the summaries of the cells.
        unit: What it is.
        why: What is behind it.
        network: Whether the real run imitates the scenario's latencies.
        disk: Whether it imitates the scenario's disks.
    """

    name: str
    asks: str
    guess: str
    cells: Mapping[str, tuple[Scenario, str]]
    answer: Callable[[Summaries], float]
    unit: str
    why: str
    network: Literal["loopback", "scenario"] = "loopback"
    disk: Literal["machine", "scenario"] = "machine"


def lab(rate: float = 30, transactions: int = 240, **changes: Any) -> Scenario:
    """The transfer that one small machine can execute, shorter."""
    given = {
        "workload.rate": f"{rate}/s",
        "run.transactions": transactions + round(2 * rate),
        "policies.poll_interval": "20ms",
    }
    return simtx.load("transfer-lab").replace(**(given | changes))


def ratio(metric: str, one: str, other: str) -> Callable[[Summaries], float]:
    return lambda runs: float(runs[one][metric]) / float(runs[other][metric])


def difference(metric: str, one: str, other: str) -> Callable[[Summaries], float]:
    return lambda runs: float(runs[one][metric]) - float(runs[other][metric])


def value(metric: str, cell: str, factor: float = 1.0) -> Callable[[Summaries], float]:
    return lambda runs: factor * float(runs[cell][metric])


def questions() -> list[Question]:
    """All of them."""

    def one_row(workers: int) -> Scenario:
        """All transfers go to one account on the other side of the Atlantic."""
        services: dict[str, Any] = {f"services.{name}.workers": workers for name in ("sender", "receiver")}
        return lab(6, 160, **{"transaction.parameters.payee": {"population": 1}}, **services, **far)

    seldom: dict[str, Any] = {"policies.poll_interval": "500ms"}
    far: dict[str, Any] = {
        "services.sender.zone": "frankfurt",
        "services.receiver.zone": "washington",
        "hub.zone": "frankfurt",
        "broker.zone": "frankfurt",
    }
    outage = {"kind": "broker-outage", "at": "5s", "duration": "5s"}
    hub_away = {"kind": "crash", "node": "hub", "at": "5s", "duration": "3s"}
    disks = {
        f"{path}.forced_write": "20ms"
        for path in ("services.sender.store.log", "services.receiver.store.log", "hub.log")
    }
    slow = {"kind": "slow", "node": "receiver", "at": "2s", "duration": "15s", "factor": 2.0}
    return [
        Question(
            "regions",
            "Two services on both sides of the Atlantic: how much longer does 2pc take than the saga, in the mean?",
            "twice as long: it has two rounds of messages, the saga one",
            {"2pc": (lab(15, 150, **far), "2pc"), "saga": (lab(15, 150, **far), "saga")},
            ratio("latency_mean_ms", "2pc", "saga"),
            "times the saga's",
            "Either answer waits for one round trip across the ocean: 2pc answers when it has decided, and its second round comes behind that. But 2pc works on both sides at the same time.",
            "scenario",
        ),
        Question(
            "hot-median",
            "Six transfers a second go to one account beyond the Atlantic: how does the median of 2pc compare with the saga's?",
            "far higher: it holds the row over a round trip",
            {"2pc": (one_row(4), "2pc"), "saga": (one_row(4), "saga")},
            ratio("latency_p50_ms", "2pc", "saga"),
            "times the saga's",
            "Most transactions wait for no lock, or briefly; for them 2pc works on both sides at once, the saga one after the other.",
            "scenario",
        ),
        Question(
            "hot-p99",
            "And the 99th percentile?",
            "about as the median",
            {"2pc": (one_row(4), "2pc"), "saga": (one_row(4), "saga")},
            ratio("latency_p99_ms", "2pc", "saga"),
            "times the saga's",
            "Who waits for a row waits for all of its owner's votes and forced writes, and whoever waits behind waits for those, too.",
            "scenario",
        ),
        Question(
            "more-workers",
            "What do twice the workers do to that p99 of 2pc?",
            "halve it",
            {
                "four": (one_row(4), "2pc"),
                "eight": (one_row(8), "2pc"),
            },
            ratio("latency_p99_ms", "eight", "four"),
            "times that with four",
            "The queue is at the row, not at the workers.",
            "scenario",
        ),
        Question(
            "fractured",
            "At 60 transfers a second: how much of the time does a reader of the saga's two stores see a transfer half done?",
            "hardly ever: a transfer is half done for a few hundredths of a second",
            {"saga": (lab(60, 480), "saga")},
            value("fractured_reads_per_million", "saga", 1e-4),
            "% of the time",
            "Sixty a second, each half done for some forty milliseconds: 1 - exp(-rate x window).",
        ),
        Question(
            "broker-recovery",
            "The broker is away for five seconds. When is the outbox's backlog gone after that?",
            "within a poll interval (20 ms) and the time of a few batches",
            {"outbox": (lab(30, 540, faults=[outage]), "outbox")},
            value("recovery_s", "outbox"),
            "s after its end",
            "The relay has backed off: what sets the time is the cap of its back-off, not how often it polls or how much it reads.",
        ),
        Question(
            "hub-away",
            "The saga's orchestrator is away for three seconds. What is the 90th percentile of its answer, compared with that of 2pc with its coordinator away?",
            "far better: a saga holds no locks",
            {"saga": (lab(30, 300, faults=[hub_away]), "saga"), "2pc": (lab(30, 300, faults=[hub_away]), "2pc")},
            ratio("latency_p90_ms", "saga", "2pc"),
            "times 2pc's",
            "Whoever asks an orchestrator or a coordinator that is not there waits until it is back, locks or not.",
        ),
        Question(
            "slow-receiver",
            "The receiver becomes twice as slow. What happens to the outbox's mean answer?",
            "it grows with the receiver",
            {"slow": (lab(25, faults=[slow]), "outbox"), "normal": (lab(25), "outbox")},
            ratio("latency_mean_ms", "slow", "normal"),
            "times that before",
            "The answer says accepted, and does not wait for the receiver. It is the outcome that comes later.",
        ),
        Question(
            "polling",
            "The relay polls every 500 ms instead of every 20. By how much is the outcome later, in the mean?",
            "by half of an interval, 240 ms",
            {"rare": (lab(25, **seldom), "outbox"), "often": (lab(25), "outbox")},
            difference("decision_mean_ms", "rare", "often"),
            "ms",
            "Every hop of the choreography waits for a poll of its own service.",
        ),
        Question(
            "slow-disk-2pc",
            "A slow disk: each forced write takes 20 ms in place of 1.8. How much later does 2pc answer, in the mean?",
            "by five writes, 90 ms: two votes, a decision, two ends",
            {"slow": (lab(15, 150, **disks), "2pc"), "normal": (lab(15, 150), "2pc")},
            difference("latency_mean_ms", "slow", "normal"),
            "ms",
            "Votes are forced side by side, and the ends of the branches after the answer: two writes on the way, and now and then the one that is under way at the same log.",
            disk="scenario",
        ),
        Question(
            "slow-disk-saga",
            "And the saga?",
            "by less than 2pc: there are no votes",
            {"slow": (lab(15, 150, **disks), "saga"), "normal": (lab(15, 150), "saga")},
            difference("latency_mean_ms", "slow", "normal"),
            "ms",
            "All its forced writes stand on the way, one after the other: two local transactions, and three records of the orchestrator.",
            disk="scenario",
        ),
        Question(
            "slow-disk-outbox",
            "And the outbox?",
            "by two writes: the row and its event",
            {"slow": (lab(15, 150, **disks), "outbox"), "normal": (lab(15, 150), "outbox")},
            difference("latency_mean_ms", "slow", "normal"),
            "ms",
            "Row and event are one local transaction, so one forced write. What follows is not waited for.",
            disk="scenario",
        ),
        Question(
            "dual-write-outage",
            "Dual write tries to publish three times. The broker is away for five seconds, at 30 transfers a second: how many transfers lose their second half for good?",
            "hardly any: it tries again",
            {"dual-write": (lab(30, 540, faults=[outage]), "dual-write")},
            value("missing_effects", "dual-write"),
            "effects an outage",
            "The tries are over before the outage is, and nobody keeps the message. Each of these is money that is gone until somebody counts.",
        ),
    ]


Cell = tuple[str, str, int, str, str]
_EXECUTED: dict[Cell, Any] = {}  # two questions may ask the same runs


def simulated(question: Question, replications: int) -> list[float]:
    """The answer in each replication."""
    found = []
    for replication in range(replications):
        runs = {
            name: simtx.simulate(scenario, strategy, seed=1, replication=replication).summary
            for name, (scenario, strategy) in question.cells.items()
        }
        found.append(question.answer(runs))
    return found


def executed(question: Question, runs: int) -> list[float]:
    """The answer from real runs, one for each seed."""
    found = []
    for seed in range(1, runs + 1):
        real = {
            name: _execute(scenario, strategy, seed, question) for name, (scenario, strategy) in question.cells.items()
        }
        found.append(question.answer(real))
    return found


def _execute(scenario: Scenario, strategy: str, seed: int, question: Question) -> Any:
    cell = (scenario.fingerprint, strategy, seed, question.network, question.disk)
    if cell not in _EXECUTED:
        run = simtx.execute(scenario, strategy, seed=seed, network=question.network, disk=question.disk, progress=False)
        _EXECUTED[cell] = run.summary
    return _EXECUTED[cell]


def said(found: list[float], *, share: bool = False) -> str:
    """Mean and interval; what is infinite is counted by itself."""
    if not found:
        return "not run"
    if any(not math.isfinite(one) for one in found):
        return f"not finite in {sum(not math.isfinite(one) for one in found)} of {len(found)}"
    scale = 100.0 if share else 1.0
    around = interval((one / scale for one in found), kind="share" if share else "positive")
    low, mean, high = (scale * one for one in (around.low, around.mean, around.high))
    if len(found) == 1 or math.isnan(low):
        return f"{mean:.3g} (one run)"
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


def main() -> int:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = questions()
    parser.add_argument("--only", nargs="+", choices=[one.name for one in known], help="of the questions")
    parser.add_argument("--replications", type=int, default=10, help="simulated ones of each")
    parser.add_argument("--runs", type=int, default=3, help="real ones of each; 0: none")
    options = parser.parse_args()
    print("| question | a good guess | simulated | executed | unit |\n|---|---|---|---|---|")
    for question in known:
        if options.only and question.name not in options.only:
            continue
        model, real = simulated(question, options.replications), executed(question, options.runs)
        share = question.unit.startswith("%")
        print(
            f"| {question.asks} | {question.guess} | {said(model, share=share)} | {said(real, share=share)} | {question.unit} |",
            flush=True,
        )
        print(f"{question.name}: {question.why}", file=sys.stderr, flush=True)
    print(f"\n{options.replications} replications and {options.runs} real runs of each; mean and 95 % interval")
    return 0


if __name__ == "__main__":
    sys.exit(main())
