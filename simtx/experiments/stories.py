"""Failure stories: runs that show one way in which distributed transactions go wrong, and say what is to be learnt from it.

A story is a file of ``data/stories``: a built-in scenario, what is changed in it, and two to four cases (a strategy, and what is changed further). It also
says what to look at. With it come a lesson in one sentence, a few sentences that take their figures from the runs, and checks that the runs show what they
say. Neither is written when a check fails, so that they cannot be untrue: with another seed, a changed scenario or a changed version, the story says what
did not come about.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd

from simtx.arguments import SEED, checked, named, shows, text, whole
from simtx.errors import ScenarioError
from simtx.event_log.entries import Worked
from simtx.listing import Listing
from simtx.metrics.figures import unknown
from simtx.metrics.intervals import interval, kind_of
from simtx.metrics.run import Run
from simtx.metrics.timeline import backlog
from simtx.metrics.waiting import waiting
from simtx.scenario import Scenario, load
from simtx.scenario.catalog import data_path
from simtx.simulator import simulate
from simtx.views import view

ORDER: Final = (
    "coordinator-dies",
    "in-doubt",
    "coordinator-unreachable",
    "who-knows",
    "reserved",
    "relay-stalls",
    "retry-storm",
    "client-storm",
    "poison-message",
    "poison-partition",
    "rolling-upgrade",
    "compensation-fails",
    "dedup-window",
    "slow-participant",
    "double-charge",
    "provider-away",
    "hot-key",
    "split-brain",
    "broker-outage",
    "stale-cache",
    "zombie-consumer",
)
"""Names of the stories, in the order in which they are told."""

_BESIDE: Final = {
    "blocked_s": "the longest time that one branch was in doubt, in seconds",
    "fault_s": "from the beginning of the first fault that struck to the end of the last, in seconds; 0: none struck",
    "blows": "how often a fault struck",
}
_PEAK, _DURING = "peak_", "during_"
_WAITING: Final = "peak_waiting_"


@dataclass(frozen=True, slots=True)
class Check:
    """Check that the runs have to pass, or the story is not told.

    Attributes:
        figure: ``LABEL/NAME``: the case, and a metric or one of the further figures.
        sign: ``above``, ``below`` or ``equals``.
        bound: A number, or a figure.
        times: What the bound is multiplied with.
    """

    figure: str
    sign: str
    bound: float | str
    times: float = 1.0

    def __str__(self) -> str:
        factor = f"{self.times:g} x " if self.times != 1 else ""
        bound = self.bound if isinstance(self.bound, str) else f"{self.bound:g}"
        return f"{self.figure} {'==' if self.sign == 'equals' else self.sign} {factor}{bound}"


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a story.

    Attributes:
        label: What it is called in table, picture and sentence.
        strategy: The strategy, as on the command line.
        scenario: The scenario, with all that is changed in it.
    """

    label: str
    strategy: str
    scenario: Scenario


class FailureStory:
    """One way to go wrong: what is played, what to look at, and its lesson.

    Attributes:
        name: Its name, as in ``simtx story NAME``.
        title: What happens, in one line.
        lesson: What there is to learn from it, in one sentence; true of runs that pass all checks.
        omits: What of it the model does not have, in one line; empty if nothing.
        look: Column of `Run.timeline` that the picture shows, or ``backlog``; ``waiting_SERVICE``: the events that wait for a service, a line a partition.
        shows: Metrics that the table shows.
        checks: What has to be so for the story to be told.
    """

    def __init__(self, name: str, raw: Mapping[str, Any]) -> None:
        self.name = name
        self.title: str = raw["title"]
        self.lesson: str = raw["lesson"]
        self.omits: str = raw.get("omits", "")
        self.look: str = raw["look"]
        self.shows: tuple[str, ...] = tuple(raw["shows"])
        self.checks = tuple(_check(one) for one in raw["checks"])
        self.sentence = " ".join(raw["finding"].split())
        self._raw = raw
        self._told: dict[int, Telling] = {}

    @property
    def labels(self) -> list[str]:
        """Labels of its cases."""
        return [one.get("label", one["strategy"]) for one in self._raw["cases"]]

    @property
    def strategies(self) -> list[str]:
        """The strategy of each case, as on the command line."""
        return [one["strategy"] for one in self._raw["cases"]]

    @cached_property
    def scenario(self) -> Scenario:
        """Scenario that all cases have in common."""
        return load(self._raw["scenario"]).replace(**self._raw["changes"])

    @cached_property
    def cases(self) -> dict[str, Case]:
        """Strategy and scenario of each case, by label."""
        found = {}
        for label, one in zip(self.labels, self._raw["cases"], strict=True):
            changes = one.get("changes", {})
            found[label] = Case(label, one["strategy"], self.scenario.replace(**changes) if changes else self.scenario)
        return found

    @property
    def command(self) -> str:
        """The line that plays it again."""
        return f"simtx story {self.name}"

    @checked(seed=SEED, progress=shows)
    def run(self, seed: int = 1, *, progress: bool | None = None) -> Telling:
        """Simulate all of its cases, which takes about a second; the same seed a second time takes none.

        Args:
            seed: Seed of all random streams.
            progress: Show a bar; None: for a run that takes more than two seconds.

        Raises:
            ScenarioError: The seed is no such number.
        """
        if seed not in self._told:
            runs = {
                label: simulate(case.scenario, case.strategy, seed=seed, progress=progress)
                for label, case in self.cases.items()
            }
            self._told[seed] = Telling(self, seed, runs)
        return self._told[seed]

    @checked(replications=whole(2, 10_000), progress=shows)
    def intervals(self, replications: int = 10, *, progress: bool | None = None) -> pd.DataFrame:
        """Figures of its table over several seeds, from 1 on: what one run shows once, with 95 % intervals.

        Args:
            replications: How many seeds.
            progress: Show a bar for each run; None: for a run that takes more than two seconds.

        Returns:
            A row for each figure of each case: ``mean``, ``low`` and ``high``, and ``n``, how many runs have the figure.

        Raises:
            ScenarioError: It is no such number.
        """
        told = [self.run(seed, progress=progress) for seed in range(1, replications + 1)]
        rows = {}
        for name in self.shows:
            for label in self.labels:
                values = [one.figure(label, name) for one in told]
                found = interval(values, kind=kind_of(name))
                rows[name, label] = (found.mean, found.low, found.high, found.n)
        index = pd.MultiIndex.from_tuples(rows, names=["metric", "case"])
        return pd.DataFrame(list(rows.values()), index=index, columns=["mean", "low", "high", "n"])

    def plot(self, seed: int = 1, **options: Any) -> Any:
        """Run it and draw it; see `Telling.plot`."""
        return self.run(seed).plot(**options)

    def __repr__(self) -> str:
        return f"<FailureStory {self.name}: {self.title} ({', '.join(self.labels)})>"

    def __str__(self) -> str:
        return str(view("story-text")(self))

    def _repr_html_(self) -> str:
        return str(view("story-html")(self))


class Telling:
    """The runs of a story under one seed.

    Attributes:
        story: The story.
        seed: Seed of all random streams.
        runs: The run of each case, by label.
    """

    def __init__(self, story: FailureStory, seed: int, runs: Mapping[str, Run]) -> None:
        self.story = story
        self.seed = seed
        self.runs = dict(runs)

    def figure(self, label: str, name: str) -> float:
        """A figure of one case.

        Args:
            label: The case.
            name: A metric of `Run.summary`; ``fault_s``; ``blows``; ``blocked_s``; ``peak_COLUMN`` or ``during_COLUMN``: the highest sample of a column of
                `Run.timeline`, or of ``backlog``, in the whole run or while a fault was in force; ``peak_waiting_SERVICE``: the most events that waited for a service in one
                partition, or in its queue.

        Raises:
            ScenarioError: There is no such case or figure.
        """
        if label not in self.runs:
            raise ScenarioError(f"'{label}' is no case of this story; there are {', '.join(self.runs)}", "label")
        return _figure(self.runs[label], name)

    @property
    def failed(self) -> list[Check]:
        """The checks that these runs do not pass."""
        return [one for one in self.story.checks if not self._passes(one)]

    @property
    def holds(self) -> bool:
        """Return whether the runs show what the story says."""
        return not self.failed

    @property
    def lesson(self) -> str:
        """Lesson in one sentence; the title of the story, if these runs do not show it."""
        return self.story.lesson if self.holds else self.story.title

    @property
    def finding(self) -> str:
        """Result of the runs, with their figures; or, if they do not show what the story says, what did not come about."""
        return str(view("story-sentence")(self))

    @property
    def command(self) -> str:
        """The line that plays it again."""
        return self.story.command if self.seed == 1 else f"{self.story.command} --seed {self.seed}"

    def table(self) -> pd.DataFrame:
        """One row a metric, one column a case."""
        return pd.DataFrame(
            {label: [self.figure(label, name) for name in self.story.shows] for label in self.runs},
            index=pd.Index(self.story.shows, name="metric"),
        )

    def plot(self, **options: Any) -> Any:
        """Draw what the story looks at over time, one panel a case, with the faults shaded; returns a matplotlib Figure."""
        return view("story")(self, **options)

    def _passes(self, one: Check) -> bool:
        value = self.figure(*_parts(one.figure))
        bound = one.times * (self.figure(*_parts(one.bound)) if isinstance(one.bound, str) else one.bound)
        if one.sign == "equals":
            return value == bound or abs(value - bound) <= 1e-9
        return value > bound if one.sign == "above" else value < bound

    def __repr__(self) -> str:
        return f"<Telling of {self.story.name}: {', '.join(self.runs)}, seed {self.seed}>"

    def __str__(self) -> str:
        return str(view("telling-text")(self))

    def _repr_html_(self) -> str:
        return str(view("telling-html")(self))


def _check(raw: Mapping[str, Any]) -> Check:
    sign = next(one for one in ("above", "below", "equals") if one in raw)
    return Check(raw["figure"], sign, raw[sign], raw.get("times", 1.0))


def _parts(figure: str) -> tuple[str, str]:
    label, _, name = figure.rpartition("/")
    return label, name


def _figure(run: Run, name: str) -> float:
    blows = run.data.struck
    if name == "blows":
        return float(len(blows))
    if name == "fault_s":
        return max(one.end for one in blows) - min(one.begin for one in blows) if blows else 0.0
    if name == "blocked_s":
        return _longest_in_doubt(run)
    if name.startswith(_WAITING) and name.removeprefix(_WAITING) in run.scenario.services:
        lanes = waiting(run.trace, name.removeprefix(_WAITING), run.scenario.broker.partitions)
        return max((lane.most for lane in lanes.values()), default=0.0)
    samples = run.timeline
    for prefix in (_PEAK, _DURING):
        column = name.removeprefix(prefix)
        if column == name or (column not in samples and column != "backlog"):
            continue
        values = backlog(samples) if column == "backlog" else samples[column].to_numpy(dtype=float)
        if prefix == _DURING:
            time = samples["time_s"].to_numpy()
            among = np.zeros(len(time), dtype=bool)
            for one in blows:
                among |= (time >= one.begin) & (time <= one.end)
            values = values[among]
        known = values[np.isfinite(values)]
        return float(known.max()) if len(known) else math.nan
    if name not in run.summary.index:
        raise unknown(name, [*map(str, run.summary.index), *_BESIDE], "figure")
    return float(run.summary[name])


def _longest_in_doubt(run: Run) -> float:
    """Longest time from the promise of a branch to its end, or to that of the run, in seconds."""
    began: dict[tuple[str, int], float] = {}
    longest, now = 0.0, 0.0
    for entry in run.trace:
        now, key = entry.time, (entry.node, entry.tx)
        if entry.kind == "prepare" and Worked.read(entry).status == "done":
            began[key] = now
        elif entry.kind in ("commit", "rollback") and key in began:
            longest = max(longest, now - began.pop(key))
    return max((longest, *(now - time for time in began.values())))


@lru_cache(maxsize=1)
def _all() -> dict[str, FailureStory]:
    folder = data_path() / "stories"
    return {
        name: FailureStory(name, tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))) for name in ORDER
    }


@named
def stories() -> Listing[FailureStory]:
    """List the failure stories: each shows in about a second how transactions over several services go wrong.

    Returns:
        A mapping by name that shows itself as a table; ``stories()["broker-outage"].run()`` plays one.
    """
    told = _all()
    rows = {name: (one.title, ", ".join(one.labels)) for name, one in told.items()}
    return Listing(
        "story",
        rows,
        ("name", "what happens", "cases"),
        told.__getitem__,
        "simtx.story(NAME).run() plays one, and .plot() draws it; on the command line: simtx story NAME",
    )


@checked(name=text)
def story(name: str) -> FailureStory:
    """Return a failure story; its method `run` plays it.

    Args:
        name: Its name; `stories` lists them.

    Returns:
        The story: its scenario, its cases, its lesson and its checks.

    Raises:
        ScenarioError: There is no story of this name; the nearest is named.
    """
    return stories()[name]
