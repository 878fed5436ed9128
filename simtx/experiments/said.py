"""Sums up the laws of operation over the runs of several strategies, in as few lines as possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from simtx.metrics.figures import COMMITTED, of_committed
from simtx.metrics.laws import Finding

FEW: Final = 10
"""Replications from which on the coverage of intervals is tested."""


def unlike(metric: str, promises: Mapping[str, str], known: Sequence[str] | None = None) -> str:
    """Reason why strategies are not to be compared by a metric: the time until an answer, if answers promise different things; empty if they do not.

    Args:
        metric: Its name.
        promises: What an answer promises, by label.
        known: Names of all metrics; None: what could be asked for instead is among them.
    """
    if not metric.startswith("latency_") or len(set(promises.values())) < 2:
        return ""
    told = "; ".join(
        f"{promise} by {', '.join(name for name, one in promises.items() if one == promise)}"
        for promise in dict.fromkeys(promises.values())
    )
    other = f"decision_{metric.removeprefix('latency_')}"
    also = f"ask for '{other}', or " if known is None or other in known else ""
    return f"times until the answer are not like with like: an answer means {told}; {also}compare strategies of one promise"


def usual_metric(promises: Iterable[str]) -> str:
    """Metric that strategies are compared by unless another one is asked for.

    It is the time until the answer, or until the outcome if answers promise different things.
    """
    return "latency_p99_ms" if len(set(promises)) < 2 else "decision_p99_ms"


def early(metric: str, less: Mapping[str, str], where: str, known: Sequence[str]) -> str:
    """Reason why a time of all transactions does not rank those who commit much less than another strategy; empty if nobody does.

    Args:
        metric: Its name.
        less: Who does, and the one that commits the most.
        where: Where, such as ``at 3 sites``.
        known: Names of all metrics.
    """
    if not less:
        return ""
    committed = of_committed(metric, known)
    told = "; ".join(f"{name} commits much less than {most}" for name, most in less.items())
    return f"{metric} ranks nobody {where}: {told}, and what is aborted early also ends early; " + (
        f"ask for '{committed}'" if committed else f"look at '{COMMITTED}' first"
    )


def lines(runs: Iterable[tuple[str, Sequence[Finding]]]) -> list[str]:
    """One line for each law and place: under which strategies, in how many of their runs, and the words of the first of them.

    If the figures are not the same in all of these runs, the line says whose they are.

    Faults that have not struck in single runs are left out: `struck` says what there is to say of them.

    Args:
        runs: The strategy of each run, and what was found.
    """
    total: Counter[str] = Counter()
    counts: dict[tuple[str, str], Counter[str]] = {}
    words: dict[tuple[str, str], dict[str, str]] = {}  # with the strategy that has said them first
    for strategy, found in runs:
        total[strategy] += 1
        for one in found:
            if one.law != "fault":
                counts.setdefault((one.law, one.place), Counter())[strategy] += 1
                words.setdefault((one.law, one.place), {}).setdefault(one.text, strategy)
    told = []
    for key, by in counts.items():
        text, whose = next(iter(words[key].items()))
        under = ", ".join(f"{name} ({count} of {total[name]} runs)" for name, count in by.items())
        figures = f"; figures of the first of them, of {whose}" if len(words[key]) > 1 else ""
        told.append(f"{under}{figures}: {text}")
    return told


def struck(runs: Iterable[tuple[str, Mapping[str, int]]]) -> list[str]:
    """One line for each fault that has never struck, or never under some strategies: those have not met the same conditions."""
    sums: dict[str, Counter[str]] = {}
    for strategy, counts in runs:
        for label, count in counts.items():
            sums.setdefault(label, Counter())[strategy] += count
    told = []
    for label, by in sums.items():
        if not any(by.values()):
            told.append(f"a fault has never struck, under no strategy: {label}")
        elif not all(by.values()):
            under = ", ".join(
                f"{count}{(' time' if count == 1 else ' times') if not position else ''} under {name}"
                for position, (name, count) in enumerate(sorted(by.items(), key=lambda item: -item[1]))
            )
            told.append(f"not all strategies have met this fault: {label} struck {under}")
    return told


def stories_with(command: str) -> str:
    """The line that tells the stories of a run's violations: on the command line, or in Python.

    Args:
        command: What repeats the run.
    """
    return (
        f"{command} --violations" if command.startswith("simtx ") else f"[one.story() for one in {command}.violations]"
    )


def replications(counts: Mapping[str, int]) -> list[str]:
    """A line if any strategy has too few replications for an interval that one may rely on."""
    short = {name: count for name, count in counts.items() if count < FEW}
    if not short:
        return []
    listed = ", ".join(f"{count} of {name}" for name, count in short.items())
    if len(set(short.values())) == 1 and len(short) == len(counts):
        listed = f"{next(iter(short.values()))} of each strategy"
    return [f"few replications ({listed}): intervals are tested for {FEW} and more"]
