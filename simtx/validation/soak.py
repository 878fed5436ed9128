"""The soak: a run under load while processes are killed and paused at random, for as long as asked.

It goes in rounds. In each of them the transfers of `simtx.validation.transfers.busy` arrive. Now and then a process is killed with SIGKILL and
started again: a service, the hub, a relay, the broker or a database server. Or a process is stopped for a while with SIGSTOP. At
the end of a round everything drains, and the run is checked for everything that must never be (`simtx.validation.violations`).

Two recovery times are measured for each kill: until the process listens again, and until the last transaction that was open at the kill
was settled: its last effect, and the client's answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.conformance.check import DATABASE_CRASH
from simtx.errors import ScenarioError
from simtx.progress import Phases, phases
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.names import BROKER, CLIENT
from simtx.reference.execute import played
from simtx.reference.processes.backends import check_broker, check_store
from simtx.reference.processes.launcher import Launcher, Options
from simtx.reference.processes.preflight import check
from simtx.reference.processes.schedule import Schedule
from simtx.reference.run_folder import scratch
from simtx.validation.crash_matrix import KilledRuns, kept, written
from simtx.validation.transfers import busy
from simtx.validation.violations import findings, losses

if TYPE_CHECKING:
    from simtx.metrics.run import Run
    from simtx.scenario import Scenario

ROUND: Final = 20.0
"""Seconds in which transactions arrive in one round."""
SHORTEST: Final = 3.0
"""Seconds below which no further round is begun."""
RATE: Final = 15.0
"""Transactions a second, unless something else is asked for."""
EVERY: Final = 1.0
"""Mean seconds between two faults."""
_WEIGHTS: Final = {"kill": 6, "pause": 3, "kill database": 2, "kill broker": 1}
_PAUSED: Final = (0.05, 1.0)  # seconds of a pause, uniform
_AWAY: Final = (0.05, 0.5)  # seconds that a killed server stays away
_PATIENCE: Final = 30.0  # seconds for a process to come back
_GLANCE: Final = 0.005


@dataclass(slots=True)
class Soak(KilledRuns):
    """Results so far; `interrupted`: faults of the round that was cut short are counted, its transactions are not.

    Attributes:
        seed: Of transactions and faults.
        rounds: Rounds that were played to their end and checked.
        outcomes: How they ended.
        faults: Faults injected, by what was done to whom.
        listening: Seconds from each kill until the process listened again.
        settled: Seconds from each kill that met open transactions until the last of them was settled.
    """

    seed: int
    rounds: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    listening: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, int]:
        """Faults injected by kind."""
        kinds: Counter[str] = Counter()
        for (kind, _), count in self.faults.items():
            kinds[kind] += count
        return dict(sorted(kinds.items()))

    @property
    def text(self) -> str:
        """The result in a few lines."""
        by_kind = [
            f"{kind} {count} ({', '.join(f'{name} {n}' for (one, name), n in sorted(self.faults.items()) if one == kind)})"
            for kind, count in self.kinds.items()
        ]
        facts = [
            f"{self._subject}: {self.rounds} rounds in {self.seconds:.0f} s, seed {self.seed}",
            f"faults: {'; '.join(by_kind) or 'none'}",
            f"transactions: {self.transactions} ({', '.join(f'{n} {name}' for name, n in sorted(self.outcomes.items()) if n)})",
            f"from a kill until the process listens: {_times(self.listening)}",
            f"from a kill that meets open transactions until the last of them is settled: {_times(self.settled)}",
        ]
        return self._told(facts, cut="the last round is not among these transactions, and was not checked")

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        faults: dict[str, dict[str, int]] = {}
        for (kind, name), count in sorted(self.faults.items()):
            faults.setdefault(kind, {})[name] = count
        return {
            "strategy": self.strategy,
            "store": self.store,
            "broker": self.broker or None,
            "seed": self.seed,
            "rounds": self.rounds,
            "transactions": self.transactions,
            "outcomes": dict(self.outcomes),
            "faults": faults,
            "violations": self.violations,
            "losses": dict(self.losses),
            "recovery_listening_s": _quantiles(self.listening),
            "recovery_settled_s": _quantiles(self.settled),
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
        }


def soak(
    strategy: Strategy | str,
    *,
    minutes: float,
    store: str = "sqlite",
    broker: str = "embedded",
    rate: float = RATE,
    every: float = EVERY,
    seed: int = 1,
    keep: str | Path | None = None,
    progress: bool | Phases | None = None,
) -> Soak:
    """Run a strategy under load, with kills and pauses at random.

    Args:
        strategy: A name, or an object with options, ours or your own.
        minutes: How long; the rounds are cut to fit.
        store: As for `simtx.execute`.
        broker: Likewise.
        rate: Transactions a second.
        every: Mean seconds between two faults (exponential).
        seed: Of transactions and faults; what a fault hits is in the hands of the machine, so no two runs are the same.
        keep: Where the folders of rounds with violations are kept; None: they are deleted.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none; or a function, called with what is
            going on and the share of the time that has passed.

    Returns:
        The result; also after Ctrl-C, then with what was found until then and `Soak.interrupted` set.

    Raises:
        ScenarioError: The input is wrong.
        RunFailed: A process, a database or the broker cannot go on; the text says which and why.
    """
    if not minutes > 0:
        raise ScenarioError(f"a soak of {minutes:g} minutes is none; give more than 0", "minutes")
    if not rate > 0 or not every > 0:
        raise ScenarioError("there are no transactions or faults at this rate; give more than 0", "rate, every")
    check_store(store)
    check_broker(broker)
    scenario = busy(rate, ROUND)
    chosen = resolve(strategy, scenario.policies)
    result = Soak(written(strategy, chosen), store, broker if chosen.uses_broker else "", seed)
    begun = time.monotonic()
    end = begun + 60 * minutes
    try:
        with phases(progress) as tell:
            while (left := end - time.monotonic()) >= SHORTEST or not result.rounds:
                number = result.rounds + 1
                seconds = max(min(ROUND, left - SHORTEST), SHORTEST)

                def show(_phase: str, _share: float, number: int = number) -> None:
                    tell(f"round {number}", min((time.monotonic() - begun) / (60 * minutes), 1.0))

                _round(result, busy(rate, seconds), chosen, every, Path(keep) if keep is not None else None, show)
    except KeyboardInterrupt:
        result.interrupted = True
    finally:
        result.seconds = time.monotonic() - begun
    return result


def _round(
    result: Soak, scenario: Scenario, strategy: Strategy, every: float, keep: Path | None, progress: Phases
) -> None:
    """Play and check one round."""
    number = result.rounds + 1
    seed = result.seed + number - 1
    schedule = Schedule.draw(scenario, seed)
    check(scenario, strategy, schedule.plans)
    chaos: list[Chaos] = []

    async def course(launcher: Launcher) -> list[int]:
        chaos.append(Chaos(launcher, random.Random(f"{seed}:faults"), every, result))  # noqa: S311 - not cryptography
        return await chaos[0].around(launcher.play(), scenario.run.duration or ROUND)

    with scratch.folder() as path:
        run = played(
            schedule,
            scenario,
            strategy,
            Options(seed=seed),
            path,
            result.store,
            result.broker or "embedded",
            course=course,
            progress=progress,
        )
        problems = findings(run, path)
        result.rounds = number
        result.transactions += len(run.transactions)
        result.outcomes.update(str(outcome) for outcome in run.transactions["outcome"])
        result.losses.update(losses(run))
        result.listening += chaos[0].listening
        result.settled += settling(run, [when - chaos[0].origin for when in chaos[0].kills])
        result.violations += [f"round {number}: {finding}" for finding in problems]
        if problems and keep is not None:
            kept(path, keep / f"round-{number}")


class Chaos:
    """Kills and pauses processes of a run at random.

    Args:
        launcher: Of the run; its processes are up.
        draw: Random numbers.
        every: Mean seconds between two faults.
        result: Where they are counted.

    Attributes:
        kills: When something was killed, in seconds of `time.monotonic`.
        listening: Seconds until it listened again, of those that came back before the end of the round.
        origin: The run's zero on the same clock.
    """

    def __init__(self, launcher: Launcher, draw: random.Random, every: float, result: Soak) -> None:
        self._launcher = launcher
        self._draw = draw
        self._every = every
        self._result = result
        self._running: set[asyncio.Task[None]] = set()
        self.kills: list[float] = []
        self.listening: list[float] = []
        self.origin = 0.0

    async def around(self, work: Awaitable[list[int]], seconds: float) -> list[int]:
        """Do this, with faults during its first seconds; then all of them come to their end."""
        faults = asyncio.create_task(self._play(seconds))
        try:
            unfinished = await work
        finally:
            faults.cancel()
            for task in self._running:
                task.cancel()
            await asyncio.gather(faults, *self._running, return_exceptions=True)
        self.origin = self._launcher.origin
        return unfinished

    async def _play(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            await asyncio.sleep(self._draw.expovariate(1.0 / self._every))
            if time.monotonic() >= end:
                return
            task = asyncio.create_task(self._strike())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _strike(self) -> None:
        launcher, draw = self._launcher, self._draw
        backends = launcher.backends
        processes = [name for name in launcher.children if name != CLIENT]
        victims = {"kill": processes, "pause": processes}
        if backends.servers:
            victims["kill database"] = backends.servers
        if backends.owns_broker:
            victims["kill broker"] = [BROKER]
        kind = draw.choices(list(victims), [_WEIGHTS[kind] for kind in victims])[0]
        name = draw.choice(victims[kind])
        if kind == "pause":
            await self._pause(name, draw.uniform(*_PAUSED))
        elif kind == "kill":
            await self._kill(name)
        elif kind == "kill database":
            await self._server(
                kind,
                name,
                lambda: backends.kill_store(name),
                lambda: backends.restart_store(name),
                draw.uniform(*_AWAY),
            )
        else:
            await self._server(kind, name, backends.kill_broker, backends.restart_broker, draw.uniform(*_AWAY))

    def _count(self, kind: str, name: str) -> None:
        self._result.faults[kind, name] += 1
        if kind == "pause":
            self._launcher.log.log("fault", name.removesuffix(".relay"), -1, actor="fault", name=kind)

    async def _pause(self, name: str, seconds: float) -> None:
        child = self._launcher.children[name]
        if child.paused or not child.alive:
            return
        self._count("pause", name)
        child.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            child.resume()

    async def _kill(self, name: str) -> None:
        launcher = self._launcher
        child = launcher.children[name]
        before, begun = child.pid, time.monotonic()
        if before is None or not child.kill():
            return  # it is on its way up already
        self._count("kill", name)
        self.kills.append(begun)
        while time.monotonic() < begun + _PATIENCE:
            await asyncio.sleep(_GLANCE)
            if child.pid not in (None, before) and launcher.folder.locate(name) is not None:
                self.listening.append(time.monotonic() - begun)
                return

    async def _server(
        self, kind: str, name: str, kill: Callable[[], None], start: Callable[[], None], away: float
    ) -> None:
        """Kill a server that is no child of the launcher, and start it again, whatever comes in between."""
        if any(task.get_name() == f"{kind} {name}" for task in self._running):
            return
        task = asyncio.current_task()
        if task is not None:
            task.set_name(f"{kind} {name}")
        self._count(kind, name)
        begun = time.monotonic()
        self.kills.append(begun)
        database = kind == "kill database"
        await asyncio.to_thread(kill)
        if database:
            self._launcher.log.log("fault", name, -1, actor="fault", name=DATABASE_CRASH[0])
        try:
            await asyncio.sleep(away)
        finally:
            await asyncio.shield(asyncio.to_thread(start))
        if database:
            self._launcher.log.log("fault", name, -1, actor="fault", name=DATABASE_CRASH[1])
        self.listening.append(time.monotonic() - begun)


def settling(run: Run, kills: Sequence[float]) -> list[float]:
    """Seconds from each kill, given on the run's clock, until the last transaction that was open then was settled.

    A kill that met no open transaction has no such time.
    """
    columns = {
        name: np.asarray(run.data.columns[name], dtype=float) for name in ("arrival_s", "answered_s", "last_effect_s")
    }
    arrived = columns["arrival_s"]
    settled = np.fmax(
        np.fmax(columns["answered_s"], columns["last_effect_s"]), arrived
    )  # fmax: leaves out what is not a number
    found = []
    for kill in kills:
        waiting = settled[(arrived <= kill) & (settled > kill)]
        if len(waiting):
            found.append(float(waiting.max() - kill))
    return found


def _quantiles(times: Sequence[float]) -> dict[str, float | int]:
    if not times:
        return {"count": 0}
    return {
        "count": len(times),
        "p50": round(float(np.quantile(times, 0.5)), 4),
        "p95": round(float(np.quantile(times, 0.95)), 4),
        "max": round(max(times), 4),
    }


def _times(times: Sequence[float]) -> str:
    shown = _quantiles(times)
    if not times:
        return "no such kill"
    return f"p50 {1e3 * shown['p50']:.0f} ms, p95 {1e3 * shown['p95']:.0f} ms, at most {1e3 * shown['max']:.0f} ms, of {len(times)}"
