"""Schedule of a real run, which its processes know beforehand: arrivals, plans, service demands; drawn as the simulator draws them.

Under the same seed a simulated run and a real one meet the same keys, amounts, refusals, arrival times and service demands of actions.
Demands of compensations come from the same distributions, but by transaction, where the simulator draws them as they happen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.event_log.entries import Arrived
from simtx.protocols import Plan, Strategy
from simtx.protocols.codec import encode
from simtx.workload import Planner, Streams, TransactionStreams, arrivals

if TYPE_CHECKING:
    from simtx.reference.run_folder.folder import RunFolder
    from simtx.scenario import Scenario

MAXIMUM: Final = 200_000
"""Transactions of one real run; more would not fit into the memory of a process at once."""

_FASTEST: Final = 1e-3  # seconds: no user of a real run gets an answer sooner, and no process takes requests faster


def _most(scenario: Scenario) -> int:
    """Transactions that the users of a closed workload can ask for at most, with a margin.

    Every transaction has to pass the services that come first. Later ones may be slower: where the answer comes early, users do not wait for them.
    """
    workload, duration = scenario.workload, scenario.run.duration or 0.0
    think = workload.think_time.mean() if workload.think_time is not None else 0.0
    rates = [1 / _FASTEST, workload.users / max(think, _FASTEST)]
    for step in scenario.transaction.steps:
        seconds = scenario.service_time(step).mean()
        if not step.after and seconds > 0:
            rates.append(scenario.services[step.service].workers / seconds)
    return round(2 * duration * min(rates)) + 10 * workload.users


@dataclass(frozen=True, slots=True)
class Schedule:
    """All transactions of a run. Of users who ask for one after the other until its time is over, it has as many as they are likely to ask for.

    Attributes:
        times: Arrival times in seconds, ascending; empty for a closed workload.
        plans: What is asked for.
        demands: Seconds of work of each step's action, by transaction.
        undo: Likewise, of its compensation.
        think: Think times of the users of a closed workload, in seconds.
    """

    times: list[float]
    plans: list[Plan]
    demands: list[list[float]]
    undo: list[list[float]]
    think: list[float]

    def used_up(self, scenario: Scenario, rows: Iterable[Sequence[Any]], origin: float) -> str | None:
        """Warning to the reader of a run whose users have asked for all transactions that were drawn before its time was over.

        Args:
            scenario: What was played.
            rows: All log entries.
            origin: The run's zero, on the clock of the entries.
        """
        duration = scenario.run.duration
        if not self.think or duration is None:
            return None
        arrived = [row[1] for row in rows if row[2] == "arrive"]
        if len(arrived) < len(self.plans):
            return None
        return (
            f"users asked for all {len(arrived):,} transactions that were drawn beforehand by {max(arrived) - origin:.3g} s of {duration:g} s: "
            "what is counted per second of the run is too low; set run.transactions"
        )

    @staticmethod
    def draw(scenario: Scenario, seed: int) -> Schedule:
        """Draw the transactions of a scenario.

        Raises:
            ScenarioError: There are too many of them.
        """
        streams = Streams(seed)
        planner = Planner(scenario, streams, TransactionStreams(streams))
        run, workload = scenario.run, scenario.workload
        times: list[float] = []
        think: list[float] = []
        if workload.think_time is None:
            for time in arrivals(workload, streams):
                if (run.duration is not None and time >= run.duration) or len(times) == (
                    run.transactions or MAXIMUM + 1
                ):
                    break
                times.append(time)
            count = len(times)
        else:
            # Of a long run there are no more: if its users use them up, `used_up` says so.
            count = run.transactions or min(_most(scenario), MAXIMUM)
            draw = streams.draws(workload.think_time, "workload", "think-time")
            think = [draw() for _ in range(min(count, MAXIMUM))]
        if count > MAXIMUM:
            raise ScenarioError(
                f"a real run has at most {MAXIMUM} transactions, these are {count}: set run.transactions or run.duration",
                scenario.name,
            )
        plans, demands = [], []
        for tx in range(count):
            plan, work = planner.plan(tx)
            plans.append(plan)
            demands.append(work)
        undo = [[draw(tx) for draw in planner.undo_draws] for tx in range(count)]
        return Schedule(times, plans, demands, undo, think)

    def write(self, folder: RunFolder, scenario: Scenario, strategy: Strategy) -> None:
        """Write it into a run's folder, for the client and for each service."""
        with (folder.path / "schedule.jsonl").open("w", encoding="utf-8") as file:
            for tx, plan in enumerate(self.plans):
                line = {
                    "at": self.times[tx] if self.times else 0.0,
                    "entry": strategy.entry(plan),
                    "plan": encode(plan),
                    "detail": Arrived.of(plan).text(),
                }
                file.write(json.dumps(line) + "\n")
        for name in scenario.services:
            own = [spec.index for spec in scenario.transaction.steps if spec.service == name]
            table = {str(step): [[row[step] for row in self.demands], [row[step] for row in self.undo]] for step in own}
            (folder.node(name) / "demands.json").write_text(json.dumps(table))
