"""The fast engine against the interpreted one and against idiomatic SimPy: CPU time of pairs, in one process, medians.

    python benchmarks/engine.py                        # all of it
    python benchmarks/engine.py saga protocols         # the saga of saga_throughput.py, the models of simpy_protocols.py; checkout: every strategy on it
    python benchmarks/engine.py outage --seeds 1         # a week of checkout with the broker away for an hour
    python benchmarks/engine.py threads --transactions 100000  # two runs in two threads: wall time, so only on a machine that does nothing else
    python benchmarks/engine.py wide --transactions 3000  # 8, 24 and 48 steps side by side, whose orchestrators have many states: what trying to learn them costs
    python benchmarks/engine.py --transactions 50000 --seeds 7

Everything counts: building the world, learning the automata, tables of transactions and summary. Digests have to be equal, or the script fails.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from saga_throughput import agree
from saga_throughput import scenario as saga_scenario
from simpy_protocols import ARRIVALS_PER_S, POLL_S, ROWS, Means, choreography, two_phase_commit
from simpy_saga import run_idiomatic

import simtx
from simtx.engine import load_library
from simtx.scenario import Fault, from_dict, load
from simtx.scenario.distributions import Constant
from simtx.simulator.compiled import CompiledLoop


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _played(scenario: Any, strategy: Any, seed: int, engine: Any) -> simtx.Run:
    run = simtx.simulate(scenario, strategy, seed=seed, engine=engine, progress=False)
    _ = run.transactions, run.summary
    return run


def _told(what: str, ratios: list[float]) -> None:
    print(f"  {what}: median {statistics.median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}", flush=True)


def saga(seeds: int, transactions: int) -> None:
    """The benchmark's saga on all three."""
    print(f"saga of saga_throughput.py, {transactions:,} transactions, {seeds} seeds")
    scenario, strategy = saga_scenario(transactions), simtx.Saga(completion="lazy")
    _played(saga_scenario(500), strategy, 1, "fast")  # imports, and compiling if need be
    to_simpy, to_interpreted = [], []
    for seed in range(1, seeds + 1):
        plain, _ = _timed(lambda seed=seed: run_idiomatic(seed, transactions))
        fast, one = _timed(lambda seed=seed: _played(scenario, strategy, seed, "fast"))
        slow, other = _timed(lambda seed=seed: _played(scenario, strategy, seed, "interpreted"))
        assert one.digest == other.digest
        print(
            f"  seed {seed}: SimPy {1e6 * plain / transactions:.1f} us, fast {1e6 * fast / transactions:.1f} us, "
            f"interpreted {1e6 * slow / transactions:.1f} us a transaction",
            flush=True,
        )
        to_simpy.append(plain / fast)
        to_interpreted.append(slow / fast)
    _told("fast against SimPy", to_simpy)
    _told("fast against interpreted", to_interpreted)


def protocols(seeds: int, transactions: int) -> None:
    """The other strategies against SimPy models of the same; the means of both have to agree."""
    print(f"models of simpy_protocols.py, {transactions:,} transactions, {seeds} seeds: fast against SimPy")
    cases: list[tuple[str, Any, Callable[[int, int], Means]]] = [
        ("2pc", simtx.TwoPhaseCommit(), two_phase_commit),
        ("outbox", simtx.Outbox(), lambda seed, count: choreography(seed, count, outbox=True)),
        ("dual-write", simtx.DualWrite(), lambda seed, count: choreography(seed, count, outbox=False)),
    ]
    for name, strategy, model in cases:
        scenario = saga_scenario(transactions, rate=ARRIVALS_PER_S, rows=ROWS, poll=POLL_S)
        _played(saga_scenario(500, rate=ARRIVALS_PER_S, rows=ROWS, poll=POLL_S), strategy, 1, "fast")
        ratios, latencies, settled = [], [], []
        for seed in range(1, seeds + 1):
            plain, means = _timed(lambda model=model, seed=seed: model(seed, transactions))
            fast, run = _timed(
                lambda scenario=scenario, strategy=strategy, seed=seed: _played(scenario, strategy, seed, "fast")
            )
            ratios.append(plain / fast)
            latencies.append((means.latency * 1e3, float(run.summary["latency_mean_ms"])))
            settled.append((means.settled * 1e3, float(run.summary["settle_mean_ms"])))
        _told(name, ratios)
        if agree("mean latency [ms]", latencies):
            raise SystemExit(f"the two models of {name} are not the same")
        agree("mean time until settled [ms]", settled)


def checkout(seeds: int, transactions: int) -> None:
    """Every strategy on a built-in scenario."""
    built_in = load("checkout")
    scenario = replace(built_in, run=replace(built_in.run, transactions=transactions))
    print(f"checkout, {transactions:,} transactions, {seeds} seeds: fast against interpreted")
    for strategy in ("saga", "2pc", "outbox", "dual-write"):
        ratios = []
        for seed in range(1, seeds + 1):
            fast, one = _timed(lambda name=strategy, seed=seed: _played(scenario, name, seed, "fast"))
            slow, other = _timed(lambda name=strategy, seed=seed: _played(scenario, name, seed, "interpreted"))
            assert one.digest == other.digest
            ratios.append(slow / fast)
        _told(strategy, ratios)


def outage(seeds: int, hours: float, days: float) -> None:
    """Checkout with outages, one of them of the broker for an hour: a stretch on both engines, and all of it on the fast one."""
    built_in = load("checkout-outages")

    def lasting(seconds: float) -> Any:
        away = Fault(kind="broker-outage", duration=Constant(3600.0), at=max(seconds / 2 - 1800.0, 60.0))
        workload = replace(built_in.workload, kind="poisson", rate=5.0)
        run = replace(built_in.run, transactions=None, duration=seconds)
        return replace(built_in, workload=workload, run=run, faults=(*built_in.faults, away))

    print(
        f"checkout with outages, 5/s, the broker away for an hour: {hours:g} hours on both engines, {days:g} days on the fast one"
    )
    stretch, all_of_it = lasting(3600.0 * hours), lasting(86_400.0 * days)
    for strategy in ("saga", "2pc", "outbox", "dual-write"):
        ratios = []
        _played(lasting(4000.0), strategy, 1, "fast")  # imports, and compiling if need be
        for seed in range(1, seeds + 1):
            fast, one = _timed(lambda name=strategy, seed=seed: _played(stretch, name, seed, "fast"))
            slow, other = _timed(lambda name=strategy, seed=seed: _played(stretch, name, seed, "interpreted"))
            assert one.digest == other.digest
            ratios.append(slow / fast)
        _told(f"{strategy}, the stretch", ratios)
        if days > 0:
            whole, run = _timed(lambda name=strategy: _played(all_of_it, name, 1, "fast"))
            count = len(run.transactions)
            print(
                f"  {strategy}, all of it: {count:,} transactions, {whole:.0f} s, {1e6 * whole / count:.1f} us each; interpreted "
                f"{1e6 * slow / len(other.transactions):.0f} us each in the stretch",
                flush=True,
            )


def _share_in_c(scenario: Any, strategy: Any) -> float:
    """Share of the processor time of a run for which its thread does not hold the interpreter."""
    library: Any = load_library()
    run, filling, answering = library.engine_run, CompiledLoop._filling, CompiledLoop._answering  # noqa: SLF001 - what C calls is timed, too
    spent = {"loop": 0.0, "python": 0.0}

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            start = time.thread_time()
            result = function(*arguments)
            spent[part] += time.thread_time() - start
            return result

        return called

    _played(scenario, strategy, 1, "fast")
    CompiledLoop._filling = lambda self, *given: timed(filling(self, *given), "python")  # noqa: SLF001 - what C calls is timed, too
    CompiledLoop._answering = lambda self, *given: timed(answering(self, *given), "python")  # noqa: SLF001 - what C calls is timed, too
    library.engine_run = timed(run, "loop")
    try:
        start = time.thread_time()
        _played(scenario, strategy, 2, "fast")
        whole = time.thread_time() - start
    finally:
        library.engine_run = run
        CompiledLoop._filling, CompiledLoop._answering = filling, answering  # noqa: SLF001 - what C calls is timed, too
    return (spent["loop"] - spent["python"]) / whole


def wide(seeds: int, transactions: int) -> None:
    """Many steps side by side: an orchestrator that has as many states as there are sets of steps. CPU time of the first run of its kind, agreement and learning included."""
    print(f"steps side by side, {transactions:,} transactions, {seeds} seeds: auto against interpreted")
    for width in (8, 24, 48):
        steps = [
            {
                "name": f"t{number}",
                "service": f"s{number % 24}",
                "operations": [{"key": "row", "amount": 1}],
                "compensation": [{"key": "row", "amount": -1}],
                "after": [],
            }
            for number in range(width)
        ]
        for strategy in ("saga", "2pc"):
            ratios = []
            for seed in range(1, seeds + 1):
                scenario = from_dict(
                    {
                        "services": {f"s{number}": {"service_time": "2ms"} for number in range(min(width, 24))},
                        "transaction": {"steps": steps},
                        "workload": {"kind": "poisson", "rate": 20},
                        "run": {"transactions": transactions},
                    },
                    name=f"wide-{width}-{seed}",
                )
                slow, other = _timed(partial(_played, scenario, strategy, seed, "interpreted"))
                quick, one = _timed(partial(_played, scenario, strategy, seed, "auto"))
                assert one.digest == other.digest
                ratios.append(slow / quick)
            _told(f"{strategy}, {width} steps, {one.engine}", ratios)


def threads(seeds: int, transactions: int) -> None:
    """Two runs in two threads of one process against the same two one after the other. Wall time; the loop lets go of the interpreter while it is in C."""
    print(f"saga of saga_throughput.py, {transactions:,} transactions, two runs at once, {seeds} pairs")
    scenario, strategy = saga_scenario(transactions), simtx.Saga(completion="lazy")
    print(
        f"  {_share_in_c(scenario, strategy):.0%} of a run's processor time is in C: for the rest, one thread waits for the other"
    )

    def digest(seed: int) -> str:
        return _played(scenario, strategy, seed, "fast").digest

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(digest, (1, 2)))  # imports, and two learners that know the machines
        ratios = []
        for seed in range(1, 2 * seeds, 2):
            start = time.perf_counter()
            alone = [digest(seed), digest(seed + 1)]
            between = time.perf_counter()
            assert list(pool.map(digest, (seed, seed + 1))) == alone
            ratios.append((between - start) / (time.perf_counter() - between))
    _told("two threads against one", ratios)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--hours", type=float, default=3.0, help="outage: the stretch that both engines play")
    parser.add_argument("--days", type=float, default=7.0, help="outage: what the fast engine plays; 0: nothing more")
    parser.add_argument(
        "parts", nargs="*", choices=["saga", "protocols", "checkout", "outage", "threads", "wide", []], default=[]
    )
    given = parser.parse_args()
    parts = given.parts or ["saga", "protocols", "checkout", "outage"]
    if "saga" in parts:
        saga(given.seeds, given.transactions)
    if "protocols" in parts:
        protocols(given.seeds, given.transactions)
    if "checkout" in parts:
        checkout(given.seeds, max(given.transactions // 2, 2000))
    if "outage" in parts:
        outage(given.seeds, given.hours, given.days)
    if "wide" in parts:
        wide(given.seeds, given.transactions)
    if "threads" in parts:
        threads(given.seeds, given.transactions)
