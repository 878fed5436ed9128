"""One run: a scenario, a strategy, a seed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from simtx.arguments import SEED, checked, choice, function, listed, shows, whole
from simtx.engine import NotCompiled, Unavailable
from simtx.engine.choices import ENGINES, Engine, wanted
from simtx.event_log.log import EventLog
from simtx.metrics.run import Run
from simtx.progress import SHARE, progress_bar
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.registry import admit
from simtx.scenario.advice import unreachable
from simtx.scenario.provenance import loaded_code, provenance
from simtx.scenario.strata import refuse
from simtx.simulator.compiled import CompiledLoop
from simtx.simulator.engines import gave_up, interpreted_because, learning_runs, remember, told
from simtx.simulator.outcome import outcome
from simtx.simulator.run_loop import InterpretedLoop, RunLoop
from simtx.simulator.world import World
from simtx.workload.planner import template
from simtx.workload.streams import Streams

if TYPE_CHECKING:
    from simtx.scenario import Scenario

Process = Callable[[World], Generator[Any, Any, Any]]


@checked(
    seed=SEED,
    replication=whole(0),
    trace=choice(True, False, "full"),
    processes=listed(function, "functions that take the World and return a generator"),
    progress=shows,
    engine=choice(None, *ENGINES),
)
def simulate(
    scenario: Scenario | str,
    strategy: Strategy | str,
    *,
    seed: int = 1,
    replication: int = 0,
    trace: bool | Literal["full"] = False,
    processes: Sequence[Process] = (),
    progress: bool | None = None,
    engine: Engine | None = None,
) -> Run:
    """Simulate one run.

    Args:
        scenario: A scenario, or the name or path of one.
        strategy: A name (``2pc``, ``paxos-commit``, ``cornus``, ``saga``, ``tcc``, ``outbox``, ``choreography``, ``dual-write``), or an object with options, ours or your own.
        seed: Seed of all random streams.
        replication: Another replication under the same seed is independent of this one; the same replication of another strategy meets
            the same transactions, service demands and faults (common random numbers).
        trace: Record the event log during the run. Without it, the run is played again when `run.trace` is first asked for.
            ``full``: with every event and every list of effects of every machine, for `simtx.conformance.check`.
        processes: SimPy processes of your own that run beside the model: functions that take the `World` (its clock is ``world.env``)
            and return a generator.
        progress: Show a bar, on a terminal or in a notebook; None: if it takes more than two seconds.
        engine: ``interpreted``, ``fast`` (compiled; the same numbers), or ``auto``: the fast one where it saves time and a comparison of both has agreed.
            None: the value of the environment variable ``SIMTX_ENGINE``, else ``auto``. `Run.engine` says which one it was.

    Returns:
        The finished run.

    Raises:
        ScenarioError: The input is wrong, or the strategy or the chosen engine cannot play this scenario.
    """
    from simtx.scenario import load

    scenario = load(scenario)
    refuse(scenario, "simulate")
    played = scenario
    chosen = resolve(strategy, scenario.policies)
    Streams(seed, replication)  # refuses what is no such number, before anything is built
    admit(chosen, template(scenario), scenario.name, scenario.providers)

    def finished(loop: RunLoop) -> RunLoop:
        for process in processes:
            loop.world.env.process(process(loop.world))
        length = played.expected_length()
        with progress_bar(length, "s", what=f"simulating {chosen.name}", wanted=progress, layout=SHARE) as bar:
            loop.play(lambda now: bar.to(min(now, length)))
        return loop

    def play(traced: bool | Literal["full"]) -> RunLoop:
        world = World(played, chosen, seed=seed, replication=replication, traced=traced)
        return finished(InterpretedLoop(world))

    code = loaded_code()
    reason = interpreted_because(
        wanted(engine),
        played,
        chosen,
        seed=seed,
        replication=replication,
        recorded=bool(trace),
        processes=bool(processes),
    )
    loop: RunLoop
    if not reason:
        try:
            loop = finished(
                CompiledLoop(played, chosen, seed=seed, replication=replication, runs=learning_runs(wanted(engine)))
            )
        except (NotCompiled, Unavailable) as error:
            reason = gave_up(wanted(engine), str(error))
            remember(played, chosen, reason)
    if reason:
        loop = play(trace)
    data = outcome(loop)
    recorder = loop.world.trace
    if isinstance(loop, CompiledLoop):
        loop.release()

    def record() -> EventLog:
        again = play(True).world
        if again.trace is None:
            raise AssertionError("a traced world records")
        return again.trace.trace()

    return Run(
        scenario,
        chosen,
        seed,
        replication,
        data,
        recorder.trace() if recorder is not None else record,
        [*scenario.warnings, *unreachable(scenario, {chosen.name: chosen}), *told(played, reason)],
        provenance=lambda: provenance(
            "simulate",
            played,
            {chosen.name: chosen},
            seed=seed,
            replication=replication,
            settings={"processes": list(processes)} if processes else {},
            code=code,
        ),
        engine="interpreted" if reason else "fast",
        engine_reason=reason,
    )
