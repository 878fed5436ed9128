"""Play the same scenario under several strategies: replications in parallel processes, on common random numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from simtx.arguments import SEED, STRATEGIES, checked, choice, function, optional, shows, whole
from simtx.engine.choices import ENGINES, Engine
from simtx.errors import RunFailed, ScenarioError
from simtx.experiments.agenda import Agenda
from simtx.experiments.comparison import Comparison, Result
from simtx.experiments.executors import ExecutorLike, backend
from simtx.experiments.interrupts import Interrupts
from simtx.experiments.pool import Call, Pool, opened
from simtx.experiments.stopping import CAP, Best, Rule, parsed, rule_like
from simtx.experiments.work import Outcome, Parcel, check_metric, failed, play, prepare, version
from simtx.progress import progress_bar
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.registry import admit
from simtx.scenario.fingerprints import code_fingerprint
from simtx.scenario.provenance import strategy_text
from simtx.scenario.strata import strata

if TYPE_CHECKING:
    from simtx.scenario import Scenario

_STOP_AFTER = 3  # equal failures of one strategy: more of them would say nothing new
INTERRUPTED = "interrupted"
REPLICATIONS = 20
"""Replications of each strategy, unless another number is given; how well intervals over so many hold is in docs/statistics.md."""
DEFAULT = ("2pc", "saga", "outbox", "dual-write")
"""The strategies that are compared unless told otherwise: the plain ones, which the compiled engine plays. All others go by their names."""


@checked(
    strategies=STRATEGIES,
    replications=optional(whole(1)),
    until=optional(rule_like),
    seed=SEED,
    workers=optional(whole(1), "None for one a processor"),
    progress=shows,
    on_result=optional(function),
    engine=choice(None, *ENGINES),
)
def compare(
    scenario: Scenario | str,
    strategies: Sequence[Strategy | str] = DEFAULT,
    *,
    replications: int | None = None,
    until: Rule | str | None = None,
    seed: int = 1,
    workers: int | None = None,
    executor: ExecutorLike = None,
    progress: bool | None = None,
    on_result: Callable[[Result], None] | None = None,
    engine: Engine | None = None,
) -> Comparison:
    """Simulate a scenario under several strategies, several times each.

    Every replication of every strategy is one independent run. Within a replication all strategies get the same transactions, service
    demands and faults (common random numbers), so that differences between them can be paired. The result does not depend on the
    number of workers. Ctrl-C keeps the finished runs.

    Args:
        scenario: A scenario, or the name or path of one.
        strategies: Names or objects.
        replications: How often each strategy is run; intervals need at least two, and ten to be relied on. None: 20, or 200 with `until`.
        until: A rule that may stop it earlier: `simtx.experiments.Precision`, `Apart` or `Best`, or a text such as ``best latency_p99_ms``,
            ``apart latency_p99_ms``, ``latency_p99_ms within 5%``. Then `replications` is the most, and `Comparison.stopping` says how it went.
        seed: Seed of all random streams.
        workers: Processes; None: one a processor. With 1, everything runs in this process.
        executor: None: worker processes; or as for `simtx.sweep`: ``serial``, an executor, a function that makes one, the address of a
            Dask scheduler. A worker that dies ends nothing: the runs that it had are played again, and one that kills its
            worker twice counts as failed.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none.
        on_result: Called in this process with each `Result` as it is finished, in no particular order. If it raises an error, the
            comparison goes on without it, and says so in its warnings.
        engine: As for `simtx.simulate`; the figures are the same. None: the value of ``SIMTX_ENGINE`` where a run is played, else ``auto``.

    Returns:
        The comparison: a table of runs (``frame``), means with intervals (``table``), differences and pictures.

    Raises:
        ScenarioError: An input is wrong.
        RunFailed: Not a single run could be finished.
    """
    from simtx.scenario import load

    scenario = load(scenario)
    rule = parsed(until) if isinstance(until, str) else until
    if replications is None:
        replications = REPLICATIONS if rule is None else CAP
    chosen = labelled(strategies, scenario)
    check_plans(scenario, chosen)
    _check_rule(rule, chosen)
    if rule is not None:
        check_metric(rule.metric, scenario, "until")
    if scenario.run.stratify:
        strata(scenario)  # refuses what cannot be divided, before the first run
    agenda = Agenda(list(chosen), replications, rule)
    code = code_fingerprint()  # now: the processes below are new ones, and load what is there now
    notes: list[str] = []
    results, stopped = _played(scenario, chosen, agenda, seed, executor, workers, progress, on_result, notes, engine)
    comparison = Comparison(
        scenario,
        chosen,
        results,
        seed=seed,
        replications=agenda.replications,
        stopped=stopped,
        code=code,
        notes=notes,
        stopping=agenda.stopping,
    )
    if results and all(one.error for one in results):
        first = comparison.failures.iloc[0]
        raise RunFailed(
            f"no run could be finished; {first['strategy']}, replication {first['replication']}: {first['error']}; "
            f"repeat with: {first['repeat_with']}"
        )
    return comparison


def labelled(strategies: Sequence[Strategy | str], scenario: Scenario | None = None) -> dict[str, Strategy]:
    """The strategies by label: its name, or its options too where two of the same name are compared.

    Args:
        strategies: Names or objects.
        scenario: Its policies are filled in; None: they stay as they are.

    Raises:
        ScenarioError: One of them is wrong, or is there twice.
    """
    given = [resolve(one) for one in strategies]
    names = [one.name for one in given]
    policies = None if scenario is None else scenario.policies
    found: dict[str, Strategy] = {}
    for one in given:
        label = one.name if names.count(one.name) == 1 else strategy_text(one, policies) or repr(one)
        if label in found:
            raise ScenarioError(f"{label} is there twice", "strategies")
        found[label] = one if scenario is None else resolve(one, scenario.policies)
    return found


def _told(on_result: Callable[[Result], None], result: Result, notes: list[str]) -> Callable[[Result], None] | None:
    """Hand a result over; a function that fails is not called again, and takes no finished run with it."""
    try:
        on_result(result)
    except Exception as error:  # noqa: BLE001 - whatever it is, the runs are finished
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        notes.append(
            f"on_result failed at {result.strategy}, replication {result.replication}: {text}; it was not called again"
        )
        return None
    return on_result


def _check_rule(rule: Rule | None, strategies: Mapping[str, Strategy]) -> None:
    """Refuse to look for the best by a figure that does not rank these strategies, as `Comparison.best` does not."""
    promises = {one.promise for one in strategies.values()}
    if isinstance(rule, Best) and rule.metric.startswith("latency_") and len(promises) > 1:
        raise ScenarioError(
            f"'{rule.metric}' does not rank strategies whose answers mean different things (decided, accepted); "
            f"write 'best decision_{rule.metric.removeprefix('latency_')}'",
            "until",
        )


def check_plans(scenario: Scenario, strategies: Mapping[str, Strategy]) -> None:
    """Make sure that each strategy can play the transactions of a scenario.

    Args:
        scenario: Whose they are.
        strategies: By label.

    Raises:
        ScenarioError: One of them cannot; the text names it.
    """
    from simtx.workload.planner import template

    plan = template(scenario)
    for one in strategies.values():
        admit(one, plan, scenario.name, scenario.providers)


def _played(
    scenario: Scenario,
    strategies: Mapping[str, Strategy],
    agenda: Agenda,
    seed: int,
    executor: ExecutorLike,
    workers: int | None,
    progress: bool | None,
    on_result: Callable[[Result], None] | None,
    notes: list[str],
    engine: Engine | None,
) -> tuple[list[Result], str]:
    """The results of all runs, and why it ended before them, or nothing; what else is to be said is added to `notes`."""
    results: list[Result] = []
    equal: Counter[tuple[str, str]] = Counter()
    stopped = ""
    parcels = {label: Parcel(scenario, one, engine, agenda.replications) for label, one in strategies.items()}
    ours = all(
        type(one).__module__.startswith("simtx.") for one in strategies.values()
    )  # others may take the process with them
    prepare()
    chosen = backend(executor, workers, agenda.total, version(strategies.values()), growing=ours)

    def waiting() -> Call[tuple[str, int]] | None:
        job = agenda.next()
        return None if job is None else Call(job, (parcels[job[0]], seed, job[1]))

    try:
        with Interrupts() as interrupts, opened(chosen), progress_bar(agenda.total, "runs", wanted=progress) as bar:
            pool = Pool(chosen, play, waiting, interrupts)
            with closing(pool.results()) as finished:
                for call, outcome in finished:
                    if isinstance(outcome, Outcome):
                        parcels[call.key[0]].note(outcome)
                    result = _result(*call.key, outcome, call.attempts)
                    results.append(result)
                    agenda.landed(result.strategy, result.replication, result.summary)
                    if on_result is not None:
                        on_result = _told(on_result, result, notes)
                    bar.advance()
                    if result.error:
                        equal[result.strategy, result.error] += 1
                        if equal[result.strategy, result.error] >= _STOP_AFTER and not agenda.finished:
                            stopped = f"stopped after {_STOP_AFTER} equal failures of {result.strategy}"
                            break
    except KeyboardInterrupt:
        stopped = INTERRUPTED
    return results, stopped


def _result(strategy: str, replication: int, outcome: Any, executions: int) -> Result:
    """The result of a run, also of one that has failed."""
    if isinstance(outcome, Exception):
        outcome = failed("worker", outcome)
    return Result(
        strategy,
        replication,
        outcome.summary,
        outcome.digest,
        outcome.error,
        executions,
        outcome.findings,
        outcome.struck,
    )
