"""Plan of a sweep: which of its runs the store has, which are stale and why, which have failed, and how long the rest will take."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, Final

from simtx.experiments.sweep.ledger import Entry, RunLedger, Wanted
from simtx.scenario.fingerprints import CodeFingerprint

_ALIKE: Final = 1.5  # runs whose expected numbers of transactions differ by less than this factor are of the same size


@dataclass(slots=True)
class Plan:
    """Work of a sweep, counted in runs.

    Attributes:
        cells: Number of cells.
        rows: Rows of the frame: cells, strategies and replications.
        runs: Runs that these come to; where a parameter changes nothing for a strategy, several rows have a run in common.
        new: Runs that were never finished.
        cached: Runs whose figures the store has.
        stale: Runs whose figures are of other code; they are played again unless they are accepted.
        accepted: Stale runs that are accepted as they are.
        failed: Runs that have failed, or killed their worker process twice; they are not played again unless that is asked for.
        elsewhere: Runs that another process is playing at this moment.
        changed: Names of the modules that make runs stale.
        seconds: Wall-clock time that the runs to play are expected to take; not a number if nobody knows.
        basis: What that rests on.
    """

    cells: int
    rows: int
    runs: int
    new: int = 0
    cached: int = 0
    stale: int = 0
    accepted: int = 0
    failed: int = 0
    elsewhere: int = 0
    changed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    basis: str = ""

    @property
    def to_play(self) -> int:
        """Runs that will be played here."""
        return self.new + self.stale

    def as_dict(self) -> dict[str, Any]:
        """Dictionary for machines."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Lines for people."""
        runs, cells = _counted(self.runs, "run"), _counted(self.cells, "cell")
        found = [f"{runs} in {cells}" if self.runs == self.rows else f"{self.rows:,} rows in {cells}, which are {runs}"]
        found.append(f"  {self.cached:>8,} found in the store")
        found.append(f"  {self.new:>8,} new")
        because = f": {_names(self.changed)} changed" if self.changed else ""
        if self.stale:
            found.append(
                f"  {self.stale:>8,} stale, to be played again{because} (accept_stale=True or --accept-stale keeps them)"
            )
        if self.accepted:
            found.append(f"  {self.accepted:>8,} stale, accepted as they are{because}")
        if self.failed:
            found.append(f"  {self.failed:>8,} failed before (retry_failed=True or --retry-failed plays them again)")
        if self.elsewhere:
            found.append(f"  {self.elsewhere:>8,} under way in another process")
        if self.to_play:
            known = (
                f"about {_span(self.seconds)}, {self.basis}"
                if self.seconds == self.seconds
                else f"time unknown: {self.basis}"
            )
            found.append(f"to play: {_counted(self.to_play, 'run')}; {known}")
        else:
            found.append("nothing to play")
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


@dataclass(slots=True)
class Sorted:
    """The runs of a sweep by what has to be done with them.

    Attributes:
        plan: Their numbers.
        keys: For each wanted key the key of the run whose figures are taken: its own, or that of an accepted stale one.
        play: Runs to play.
        replaced: Keys of stale runs that are to be played again.
        revived: Keys of runs that were stale and are of the code of today again.
    """

    plan: Plan
    keys: dict[str, str]
    play: list[Wanted]
    replaced: list[str]
    revived: list[str]


def sort(
    wanted: Sequence[Wanted], ledger: RunLedger, *, cells: int, accept_stale: bool, retry_failed: bool, processes: int
) -> Sorted:
    """Look at the ledger, and change nothing in it.

    Args:
        wanted: The run of each row.
        ledger: Of the store.
        cells: Number of cells.
        accept_stale: Whether figures of other code are taken.
        retry_failed: Whether runs that have failed are played again.
        processes: How many runs are played at once.
    """
    runs = {one.key: one for one in wanted}
    plan = Plan(cells, len(wanted), len(runs))
    result = Sorted(plan, {key: key for key in runs}, [], [], [])
    known = {one.key: one for one in ledger.entries(list(runs))}
    unknown = [one for one in runs.values() if not _settled(known.get(one.key), retry_failed)]
    older: dict[str, Entry] = {}
    for entry in ledger.entries([one.identity for one in unknown], "identity"):
        if entry.has_figures and entry.key not in runs:
            older[entry.identity] = max(older.get(entry.identity, entry), entry, key=lambda one: one.part or 0)
    changed: Counter[str] = Counter()
    modules: dict[str, Mapping[str, str]] = {}
    for one in runs.values():
        found, old = known.get(one.key), older.get(one.identity)
        if found is not None and found.has_figures:
            plan.cached += 1
            if found.state == "stale":
                result.revived.append(one.key)
        elif found is not None and found.state in ("failed", "quarantined") and not retry_failed:
            plan.failed += 1
        else:
            if old is not None:
                changed.update(_changed(one.code, old.code, ledger, modules))
            if old is not None and accept_stale:
                plan.accepted += 1
                result.keys[one.key] = old.key
                continue
            if old is not None:
                plan.stale += 1
                result.replaced.append(old.key)
            elif found is not None and found.state == "leased":
                plan.elsewhere += 1
            else:
                plan.new += 1
            result.play.append(one)
    plan.changed = [name for name, _ in changed.most_common()]
    plan.seconds, plan.basis = expected(result.play, ledger.timings(), processes)
    return result


def _settled(entry: Entry | None, retry_failed: bool) -> bool:
    if entry is None:
        return False
    return entry.has_figures or (entry.state in ("failed", "quarantined") and not retry_failed)


def _changed(now: str, before: str, ledger: RunLedger, known: dict[str, Mapping[str, str]]) -> list[str]:
    for code in (now, before):
        if code not in known:
            known[code] = ledger.modules(code)
    return CodeFingerprint(now, known[now]).changed(known[before])


def expected(runs: Iterable[Wanted], timings: Sequence[tuple[str, float, float]], processes: int) -> tuple[float, str]:
    """Seconds that runs will take, and what that rests on: finished ones of the same strategy and size, or else of any size.

    Args:
        runs: What is to be played.
        timings: Strategy, expected transactions and seconds of finished runs.
        processes: How many are played at once.
    """
    sizes = Counter((one.strategy, one.size) for one in runs)
    if not sizes:
        return 0.0, ""
    if not timings:
        return float("nan"), "no run is finished yet"
    total, same = 0.0, True
    for (strategy, size), count in sizes.items():
        ours = [(s, t) for name, s, t in timings if name == strategy]
        alike = [t for s, t in ours if size / _ALIKE <= s <= size * _ALIKE]
        if alike:
            total += count * statistics.median(alike)
        else:
            same = False
            total += (
                count * size * statistics.median(t / max(s, 1.0) for s, t in (ours or [(s, t) for _, s, t in timings]))
            )
    workers = f"{processes} process{'es' if processes > 1 else ''}"
    return (
        total / processes,
        f"by {len(timings):,} finished runs{' of the same size' if same else ', by their size'}, on {workers}",
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "a second"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
