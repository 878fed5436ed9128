"""The crash matrix: kill -9 at every effect of every handler of a protocol, for real, and a check of each result.

A run without kills shows the handlers that there are. Each place in them is then struck once: in a transaction of its own, whose process
kills itself there, is started again and recovers from its store alone. One launch plays many such transactions, one after the other: the
next one is asked for when everything is at rest. The logs of these runs show handlers that only a crash leads to (recoveries, inquiries,
repetitions), and so further places. These are struck in the same way after the kill that led to them. That ends when no new place is found or the limit
of kills in one transaction is reached.

Every launch is checked for everything that must never be (`simtx.validation.violations`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simtx.errors import RunFailed, ScenarioError
from simtx.progress import Phases, phases
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.extras import own_nodes
from simtx.reference.execute import played
from simtx.reference.node.crash_points import CrashPoint
from simtx.reference.processes.backends import check_broker, check_store
from simtx.reference.processes.launcher import Launcher, Options
from simtx.reference.processes.preflight import check
from simtx.reference.processes.schedule import Schedule
from simtx.reference.run_folder import scratch
from simtx.validation.places import Place, Recipe, crash_points, described, found, identity
from simtx.validation.transfers import SERVICES, VARIANTS, laboratory, plan
from simtx.validation.violations import findings, losses

if TYPE_CHECKING:
    from simtx.metrics.run import Run
    from simtx.scenario import Scenario

SHORT: Final = 24
"""Places that a short crash matrix strikes."""
TEMPOS: Final = tuple(itertools.permutations((0.0, 0.008, 0.016)))
"""Orders in which services that work side by side get done, as seconds of work; a short crash matrix takes the first and the last."""
DEPTH: Final = 2
"""Kills in one transaction at most."""
LAUNCH: Final = 150
"""Transactions of one launch at most."""
_ATTEMPTS: Final = 3  # launches in which a place is to be struck, if the handler does not come about in the first ones
_GLANCE: Final = 0.02  # seconds between two looks at whether everything is at rest
_ANSWER: Final = 0.2  # seconds that a process has to say so; one that is down does not
_STILL: Final = 2  # looks in a row that have to find everything at rest
_PATIENCE: Final = 8.0  # seconds until a transaction counts as blocked


@dataclass(slots=True)
class KilledRuns:
    """Results of runs whose processes are killed: what a crash matrix and a soak have in common.

    Attributes:
        strategy: The strategy, with its options.
        store: Product.
        broker: Product; empty if the strategy uses none.
        transactions: Transactions in the runs that were checked.
        violations: What must never be, one line each; empty: nothing.
        losses: What was lost or doubled, in numbers: expected of a dual write, and of nothing else.
        seconds: How long it took.
        interrupted: Whether it was ended before its time.
    """

    strategy: str
    store: str
    broker: str
    transactions: int = field(default=0, kw_only=True)
    violations: list[str] = field(default_factory=list, kw_only=True)
    losses: Counter[str] = field(default_factory=Counter, kw_only=True)
    seconds: float = field(default=0.0, kw_only=True)
    interrupted: bool = field(default=False, kw_only=True)

    @property
    def ok(self) -> bool:
        """Return whether nothing was violated."""
        return not self.violations

    @property
    def _subject(self) -> str:
        return f"{self.strategy} on {self.store}{f' and {self.broker}' if self.broker else ''}"

    def _told(self, facts: Sequence[str], below: Sequence[str] = (), *, cut: str) -> str:
        """Lines of a text: facts, losses, what stands below them, and whether all is well; `cut`: what an interruption left out."""
        lines = [*facts, *(f"lost: {count} {name}" for name, count in self.losses.items() if count), *below]
        lines += [f"violation: {line}" for line in self.violations]
        lines.append("no violations" if self.ok else f"{len(self.violations)} violations")
        return "\n".join([*lines, f"interrupted: {cut}"] if self.interrupted else lines)


@dataclass(slots=True)
class CrashMatrix(KilledRuns):
    """Results of a crash matrix; `interrupted`: some of the chosen places were not tried.

    Attributes:
        complete: Whether all places were to be struck, or a fixed choice.
        places: Places that were found.
        chosen: Places that were to be struck.
        struck: Places that were struck.
        unreached: Places that were to be struck and were not: in no attempt did it come to that handler.
        launches: Runs that it took.
        kills: Processes that were killed.
    """

    complete: bool
    places: int = 0
    chosen: int = 0
    struck: list[Recipe] = field(default_factory=list)
    unreached: list[Recipe] = field(default_factory=list)
    launches: int = 0
    kills: int = 0

    @property
    def by_process(self) -> dict[str, int]:
        """Places struck by the process that was killed there."""
        return dict(sorted(Counter(recipe[-1].process for recipe in self.struck).items()))

    @property
    def never(self) -> list[Recipe]:
        """Places never reached that were struck in no other variant of the transaction either."""
        met = {recipe[-1].anywhere for recipe in self.struck}
        return [recipe for recipe in self.unreached if recipe[-1].anywhere not in met]

    @property
    def text(self) -> str:
        """The result in a few lines."""
        struck = ", ".join(f"{name} {count}" for name, count in self.by_process.items())
        facts = [
            f"{self._subject}: {self.places} places found, {len(self.struck)} of {self.chosen} chosen ones struck ({struck})",
            f"{self.kills} kills in {self.transactions} transactions of {self.launches} launches, {self.seconds:.0f} s",
        ]
        never = [f"never reached: {described(recipe)}" for recipe in self.never]
        if elsewhere := len(self.unreached) - len(never):
            never.insert(0, f"{elsewhere} places were struck in other transactions than the one meant")
        return self._told(facts, never, cut="the launch that was under way was not checked")

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            "strategy": self.strategy,
            "store": self.store,
            "broker": self.broker or None,
            "complete": self.complete,
            "places": self.places,
            "chosen": self.chosen,
            "struck": len(self.struck),
            "struck_by_process": self.by_process,
            "unreached": [described(recipe) for recipe in self.unreached],
            "never_reached": [described(recipe) for recipe in self.never],
            "violations": self.violations,
            "losses": dict(self.losses),
            "launches": self.launches,
            "transactions": self.transactions,
            "kills": self.kills,
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
        }


def crash_matrix(
    strategy: Strategy | str,
    *,
    store: str = "sqlite",
    broker: str = "embedded",
    complete: bool = False,
    limit: int | None = None,
    depth: int = DEPTH,
    process: str | None = None,
    keep: str | Path | None = None,
    progress: bool | Phases | None = None,
) -> CrashMatrix:
    """Kill processes at every place of a protocol, and check the results.

    Args:
        strategy: A name, or an object with options, ours or your own.
        store: As for `simtx.execute`.
        broker: Likewise.
        complete: Every place in every variant of the transaction. Otherwise a fixed choice of places: evenly spread over all of them.
        limit: How many places that choice has; None: `SHORT`.
        depth: Kills in one transaction at most.
        process: Kill this process only: a service (payer, payee, fees), its relay (payer.relay), or the hub; None: all of them.
        keep: Where the folders of runs with violations are kept; None: they are deleted.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none; or a function, called with what is
            going on and the share of it that is done.

    Returns:
        The result; also after Ctrl-C, then with what was found until then and `CrashMatrix.interrupted` set.

    Raises:
        ScenarioError: There is no such strategy, store, broker or process.
        RunFailed: A process, a database or the broker cannot go on, which is the worst of all findings; the text says which and why.
    """
    scenario = laboratory()
    chosen = resolve(strategy, scenario.policies)
    check_store(store)
    check_broker(broker)
    check(scenario, chosen, [plan(0, variant) for variant in VARIANTS])
    nodes = [*SERVICES, *own_nodes(chosen)]
    processes = [*nodes, *(f"{node}.relay" for node in nodes if list(chosen.daemons(node)))]
    if process not in (None, *processes):
        raise ScenarioError(f"there is no process '{process}'; there are {', '.join(processes)}", "process")
    result = CrashMatrix(written(strategy, chosen), store, broker if chosen.uses_broker else "", complete)
    begun = time.monotonic()
    try:
        with phases(progress) as show:
            search = _Search(scenario, chosen, store, broker, result, Path(keep) if keep is not None else None, show)
            search.run(depth, None if complete else limit or SHORT, process)
    except KeyboardInterrupt:
        result.interrupted = True
    finally:
        result.seconds = time.monotonic() - begun
    return result


class Try(NamedTuple):
    """One transaction of a launch.

    Attributes:
        variant: Which of `simtx.validation.transfers.VARIANTS`.
        recipe: Where to kill.
        tempo: Seconds of work of each step, so that messages of services that work side by side come in a certain order.
    """

    variant: str
    recipe: Recipe
    tempo: tuple[float, ...]

    def then(self, place: Place) -> Try:
        """The same transaction, with a further kill."""
        return self._replace(recipe=(*self.recipe, place))


@dataclass
class _Search:
    """Finds places and strikes them, launch after launch."""

    scenario: Scenario
    strategy: Strategy
    store: str
    broker: str
    result: CrashMatrix
    keep: Path | None
    progress: Phases
    known: dict[Place, Try] = field(default_factory=dict)  # every place, with the transaction that led to it
    chosen: set[Place] = field(default_factory=set)
    tried: Counter[Place] = field(default_factory=Counter)

    def run(self, depth: int, limit: int | None, process: str | None) -> None:
        """Strike all places, or so many."""
        tempos = TEMPOS if limit is None else TEMPOS[::5]
        self.launch([Try(variant, (), tempo) for variant in VARIANTS for tempo in tempos], "looking for places")
        chosen = self.chosen
        waiting: deque[Try] = deque()
        for kills in itertools.count(1):
            fresh = [
                place
                for place, (_, recipe, _) in self.known.items()
                if place not in chosen and len(recipe) < depth and process in (None, place.process)
            ]
            if limit is not None:  # the first launch strikes most of them, the second those that it has shown
                share = limit - limit // 3 if kills == 1 < depth else limit - len(chosen)
                fresh = _spread(_once([place for place in fresh if len(self.known[place].recipe) == kills - 1]), share)
            chosen.update(fresh)
            waiting.extend(self.known[place].then(place) for place in sorted(fresh))
            self.result.chosen = len(chosen)
            self.result.places = len(self.known if limit is None else {place.anywhere for place in self.known})
            if not waiting:
                break
            self.strike(waiting)

    def strike(self, waiting: deque[Try]) -> None:
        """Play the next of these; those that do not come to their end get another chance."""
        batch = [waiting.popleft() for _ in range(min(LAUNCH, len(waiting)))]
        what = f"{len(self.result.struck)} places struck, {len(batch) + len(waiting)} more"
        struck = self.launch(batch, what)
        for one, hit in zip(batch, struck, strict=True):
            place = one.recipe[-1]
            if hit:
                self.result.struck.append(one.recipe)
                continue
            self.tried[place] += 1
            if self.tried[place] < _ATTEMPTS:
                waiting.append(one)
            else:
                self.result.unreached.append(one.recipe)

    def launch(self, transactions: Sequence[Try], what: str) -> list[bool]:
        """Play one launch, check it, learn its places; which recipes have struck to their end."""
        where = self.keep / f"launch-{self.result.launches + 1}" if self.keep is not None else None
        with scratch.folder() as path:
            try:
                run = self.play(path, transactions, what)
                struck = {mark.name for mark in (path / "kills").iterdir()}
                clean = self.check(run, path, [one.recipe for one in transactions], len(struck))
            except RunFailed:
                if where is not None:
                    kept(path, where)
                raise
            if where is not None and not clean:
                kept(path, where)
        hits: dict[int, Recipe] = {}
        for tx, (_, recipe, _) in enumerate(transactions):
            hits[tx] = recipe[: sum(identity(tx, number) in struck for number in range(len(recipe)))]
        variants = {tx: one.variant for tx, one in enumerate(transactions)}
        for place, tx in found(run.trace, hits, variants).items():
            self.known.setdefault(place, transactions[tx]._replace(recipe=hits[tx]))
        return [hits[tx] == one.recipe for tx, one in enumerate(transactions)]

    def play(self, path: Path, transactions: Sequence[Try], what: str) -> Run:
        """The run of these transactions, with their kills, in this folder."""
        count = len(transactions)
        kills: dict[str, list[CrashPoint]] = {}
        for tx, one in enumerate(transactions):
            for process, point in crash_points(tx, one.recipe):
                kills.setdefault(process, []).append(point)
        plans = [plan(tx, one.variant) for tx, one in enumerate(transactions)]
        demands = [list(one.tempo) for one in transactions]

        async def course(launcher: Launcher) -> list[int]:
            return await step_by_step(launcher, count, lambda share: self.progress(what, share))

        return played(
            Schedule([], plans, demands, demands, []),
            self.scenario.replace(**{"run.transactions": count}),
            self.strategy,
            Options(kills=kills),
            path,
            self.store,
            self.broker,
            course=course,
        )

    def check(self, run: Run, path: Path, recipes: Sequence[Recipe], kills: int) -> bool:
        """Count the results of a launch; whether nothing is wrong with it."""
        result = self.result
        result.launches += 1
        result.transactions += len(recipes)
        result.kills += kills
        result.losses.update(losses(run))
        problems = findings(run, path)
        for finding in problems:
            known = 0 <= finding.tx < len(recipes)
            result.violations.append(f"{finding} [{described(recipes[finding.tx])}]" if known else str(finding))
        return not problems


async def step_by_step(launcher: Launcher, count: int, told: Callable[[float], None]) -> list[int]:
    """Ask for one transaction after the other, each when everything is at rest; returns those that are not through in the end.

    One that is not through after a while is left alone, and the next one is asked for.

    Args:
        launcher: Of a run whose processes are up.
        count: Number of transactions.
        told: Called with the share that is done.

    Raises:
        RunFailed: A process cannot go on.
    """
    launcher.origin = time.monotonic()
    blocked: set[int] = set()

    async def play() -> list[int]:
        for tx in range(count):
            await launcher.arrive(tx)
            blocked.update(await _rest(launcher, blocked))
            told((tx + 1) / count)
        return await launcher.drain(0.5 if blocked else launcher.scenario.run.drain)

    return await launcher.unless_failed(play())


async def _rest(launcher: Launcher, blocked: set[int]) -> set[int]:
    """Wait until everything but what is blocked already is at rest; what is not after a while is blocked, too."""
    deadline = time.monotonic() + _PATIENCE
    still = 0
    working: set[int] = set()
    while still < _STILL:
        if time.monotonic() > deadline:
            return working
        await asyncio.sleep(_GLANCE)
        quiet, working = await launcher.state(_ANSWER)
        still = still + 1 if quiet or (working and working <= blocked) else 0
    return set()


def written(given: Strategy | str, chosen: Strategy) -> str:
    """A strategy as one would give it on the command line, as far as that goes."""
    return given if isinstance(given, str) else f"{chosen.name} ({type(chosen).__name__})"


def _once(places: Sequence[Place]) -> list[Place]:
    """Each place in one variant only, the first that it is met in; sorted."""
    order = list(VARIANTS)
    chosen: dict[Place, Place] = {}
    for place in sorted(places, key=lambda place: order.index(place.variant)):
        chosen.setdefault(place.anywhere, place)
    return sorted(chosen.values())


def _spread(places: Sequence[Place], limit: int) -> list[Place]:
    """Choose so many of them, evenly spread: always the same ones of the same places."""
    count = len(places)
    return list(places) if count <= limit else [places[position * count // limit] for position in range(limit)]


def kept(folder: Path, where: Path) -> None:
    """Copy the folder of a run to where it is not deleted, in place of what may be there."""
    shutil.rmtree(where, ignore_errors=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, where, ignore=_no_sockets)


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    """Files that are not worth keeping, or cannot be copied."""
    with contextlib.suppress(OSError):
        return [name for name in names if (Path(folder) / name).is_socket()]
    return []
