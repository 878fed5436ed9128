"""Scenarios made at random, small and crowded: hot rows, tiny queues, short timeouts, bad links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from simtx.engine import NotCompiled
from simtx.protocols import Courier, DualWrite, Outbox, Poller, Relay, Saga, Strategy, TwoPhaseCommit
from simtx.protocols import strategy as resolve
from simtx.protocols.cornus import Cornus
from simtx.scenario import HostSpec, Scenario, from_dict, load
from simtx.scenario.distributions import Constant, Empirical, Exponential, Lognormal
from simtx.scenario.infrastructure import ProviderSpec
from simtx.scenario.model import Fault, Trigger
from simtx.simulator.compiled import CompiledLoop
from simtx.simulator.engines import difference
from simtx.simulator.outcome import outcome
from simtx.simulator.run_loop import InterpretedLoop
from simtx.simulator.world import World


class Repeating(Courier):
    """Publishes its row once more when it is acknowledged."""

    __slots__ = ("again",)

    def __init__(self, node: str, row: Any) -> None:
        super().__init__(node, row)
        self.again = True

    def published(self, event: Any) -> Any:
        if event.status == "done" and self.again:
            self.again = False
            return super().go(event)
        return super().published(event)


class Patient(Poller):
    """Reads again as soon as a row is acknowledged, and does not read while it backs off."""

    __slots__ = ()

    def poll(self, event: Any) -> Any:
        effects = super().poll(event)
        return effects[:1] if self.backing_off else effects

    def delivered(self, event: Any) -> Any:
        super().delivered(event)
        return [self.read()] if self.more else []


class PatientRelay(Relay):
    """A relay of somebody's own."""

    __slots__ = ()
    poller_type = Patient
    courier_type = Repeating


@dataclass(frozen=True, kw_only=True)
class PatientOutbox(Outbox):
    """An outbox with a relay of somebody's own."""

    def daemons(self, node: str) -> Any:
        assert self.policies is not None
        return (PatientRelay(node, self.policies, self.reader),)


class Chooser(Protocol):
    """What makes the choices: `random.Random`, or hypothesis."""

    def choice(self, values: list[Any]) -> Any: ...


def some_scenario(pick: Chooser, transactions: int = 80) -> Scenario:
    """Any scenario that the compiled engine plays."""
    times = [Constant(0.0), Constant(0.002), Exponential(0.004), Lognormal(0.003, 0.8), Empirical((0.001, 0.004, 0.02))]
    names = [f"s{number}" for number in range(pick.choice([1, 2, 3, 4]))]

    def log() -> dict[str, Any]:
        return {"forced_write": pick.choice(times), "flush": pick.choice(["parallel", "serial", "group"])}

    services = {
        name: {
            "zone": pick.choice(["here", "there"]),
            "workers": pick.choice([1, 2, 8]),
            "service_time": pick.choice(times),
            "queue_limit": pick.choice([None, None, 0, 3]),
            "store": {
                "isolation": pick.choice(["read-committed", "serializable"]),
                "outbox_order": pick.choice(["insert", "commit"]),
                "lock_timeout": pick.choice([0.01, 0.1, 1.0]),
                "initial": {"row:*": pick.choice([0, 5, 1000]), "stock": 20},
                "log": log(),
                **pick.choice([{}, {}, {"replica_lag": pick.choice(times)}]),
            },
        }
        for name in names
    }
    services = {name: {key: value for key, value in one.items() if value is not None} for name, one in services.items()}
    steps: list[dict[str, Any]] = []
    count = pick.choice([1, 2, 3, 4])
    pivot = pick.choice([None, None, *range(count)])
    for number in range(count):
        kind = "compensatable" if pivot is None or number < pivot else "pivot" if number == pivot else "retriable"
        before = [f"t{other}" for other in range(number) if pick.choice([True, False])]
        if pivot is not None and number and (number >= pivot):
            before = [f"t{other}" for other in range(number)] if number == pivot else [f"t{number - 1}"]
        operations: list[dict[str, Any]] = []
        undoing: list[dict[str, Any]] = []
        for _ in range(pick.choice([1, 1, 2, 3])):
            key = pick.choice(["row:{who}", "row:{what}", "stock", "row:{who}/{what}", "mine:{tx}"])
            action = pick.choice(["add", "add", "add", "set", "read"])
            operation: dict[str, Any] = {"key": key, "kind": action}
            if action != "read":
                operation["amount"] = pick.choice([-1, 1, 0.1])
                if pick.choice([True, False]):
                    operation["parameter"] = "much"
                undoing.append({**operation, "amount": -operation["amount"]})
            if kind != "retriable" and pick.choice([True, False, False]):
                operation[pick.choice(["low", "high"])] = pick.choice([0, 4, 1000])
            operations.append(operation)
        for end, amount in ((0, 1), (count - 1, -1)):
            if number == end:
                operations.append({"key": "kept:{who}", "parameter": "much", "amount": amount})
                undoing.append({"key": "kept:{who}", "parameter": "much", "amount": -amount})
        step: dict[str, Any] = {
            "name": f"t{number}",
            "service": pick.choice(names),
            "kind": kind,
            "after": before,
            "operations": operations,
            "refusal": pick.choice([0, 0, 0.1]) if kind != "retriable" else 0,
        }
        if kind == "compensatable":
            step["compensation"] = undoing
        steps.append(step)
    zones = {"zones": ["here", "there", "away"], "latency": pick.choice(times[1:])}
    if pick.choice([True, False]):
        zones |= {
            "loss": pick.choice([0, 0.02]),
            "duplication": pick.choice([0, 0.05]),
            "reorder": pick.choice([0, 0.1]),
        }
    if pick.choice([True, False]):
        zones["client_zone"] = "away"
    workload = pick.choice(
        [
            {"kind": "poisson", "rate": 60},
            {"kind": "poisson", "rate": 600},
            {"kind": "deterministic", "rate": 100},
            {"kind": "bursty", "rate": 20, "burst_rate": 400, "burst_on": 0.2, "burst_off": 0.5},
            {"kind": "closed", "users": 12, "think_time": Exponential(0.05)},
        ]
    )
    ends = dict.fromkeys((steps[0]["service"], steps[-1]["service"]))
    terms = [{"service": name, "prefix": "kept:"} for name in ends]
    asking = pick.choice(["never", "unreached", "unanswered"])
    clients = {"ask_again": asking, "deadline": pick.choice([0.2, 5]) if asking == "never" else 5}
    if asking == "unanswered":
        clients["timeout"] = 0.1
    run: dict[str, Any] = {"warmup": pick.choice([0, 0.05]), "drain": pick.choice([2, 60])}
    run |= pick.choice([{"transactions": transactions}, {"duration": 1.0}])
    made = from_dict(
        {
            "services": services,
            "hub": {"zone": "there", "log": log()},
            "network": zones,
            "broker": {
                "zone": "away",
                "ack_latency": pick.choice(times),
                "linger": pick.choice(times),
                "ack": pick.choice(["memory", "quorum"]),
                "redelivery": pick.choice([0.02, 0.2, 5]),
                "deduplication_window": pick.choice([0, 0.1, 10]),
                "ordered": pick.choice([True, False]),
            },
            "transaction": {
                "parameters": {
                    "who": {"population": pick.choice([1, 5, 10_000])},
                    "what": {"population": pick.choice([2, 50]), "popularity": "zipf"},
                    "much": {
                        "values": pick.choice([Exponential(3.0), Constant(2.0)]),
                        "integer": pick.choice([True, False]),
                    },
                },
                "steps": steps,
            },
            "workload": workload,
            "deadlocks": pick.choice(["timeout", "detect", "wait-die"]),
            "invariants": [{"name": "rows", "kind": "conserved", "unit": "pieces", "terms": terms}],
            "policies": {
                "call_timeout": pick.choice([0.02, 0.2, 2]),
                "vote_timeout": pick.choice([0.05, 2]),
                "acknowledgement_timeout": pick.choice([0.03, 1]),
                "inquiry_timeout": pick.choice([0.03, 1]),
                "attempts": pick.choice([1, 2, 5]),
                "publish_timeout": pick.choice([0.02, 0.5]),
                "publish_attempts": pick.choice([1, 3]),
                "poll_interval": pick.choice([0.005, 0.05]),
                "poll_batch": pick.choice([2, 100]),
                "alert_after": pick.choice([1, 10]),
                "dedup_retention": pick.choice([6, 600]),
                **pick.choice([{}, {}, {"breaker": {"threshold": pick.choice([1, 3]), "cooldown": 0.1}}]),
            },
            "clients": clients,
            **pick.choice(
                [
                    {},
                    {},
                    {},
                    {
                        "common_mode": {
                            "links": 0.7,
                            "writes": 0.4,
                            "memory": 0.05,
                            "shared_flush": 0.5,
                            "shared_flush_within": 0.02,
                        }
                    },
                ]
            ),
            "faults": [some_fault(pick, names) for _ in range(pick.choice([0, 0, 1, 3]))],
            "run": run,
        },
        name="random",
    )
    if pick.choice([0, 0, 1]):
        made = replace(made, hosts=some_hosts(pick, [*names, "hub", "broker", "client"]))
    return working_inside(made) if pick.choice([0, 1]) else made


def working_inside(scenario: Scenario) -> Scenario:
    """The scenario with local transactions that work with their locks in hand, on every second service."""
    services = {
        name: replace(one, store=replace(one.store, locks="write" if number % 2 else "work"))
        for number, (name, one) in enumerate(scenario.services.items())
    }
    return replace(scenario, services=services)


def with_impatient_clients(pick: Chooser, scenario: Scenario) -> Scenario:
    """The scenario with clients who wait for a moment only, and services that know it, or with a budget for asking again."""
    clients = scenario.clients
    if clients.ask_again != "never" and pick.choice([True, False]):
        clients = replace(clients, budget=pick.choice([0.0, 0.1]), budget_burst=3)
    deadline, travels = pick.choice([(clients.deadline, False), (0.05, True), (0.2, True)])
    return replace(scenario, clients=replace(clients, deadline=deadline, deadline_travels=travels))


def with_a_provider(pick: Chooser, scenario: Scenario) -> Scenario:
    """The scenario with a provider outside behind one of its services."""
    name = pick.choice(sorted(scenario.services))
    spec = ProviderSpec(
        latency=pick.choice([Constant(0.004), Lognormal(0.01, 0.8), Exponential(0.02)]),
        timeouts=pick.choice([0.0, 0.2]),
        timeout=pick.choice([0.02, 0.5]),
        rate_limit=pick.choice([None, 40.0]),
        burst=pick.choice([1, 4]),
        retry_after=0.01,
        idempotency=pick.choice([None, 0.05, 60.0]),
        status_query=pick.choice([True, False]),
    )
    return replace(scenario, services={**scenario.services, name: replace(scenario.services[name], provider=spec)})


def some_hosts(pick: Chooser, roles: list[str]) -> dict[str, HostSpec]:
    """Up to two hosts with some of the processes."""
    places = {role: pick.choice([0, 0, 1, 2]) for role in roles}
    hosts = {}
    for number in (0, 1):
        nodes = tuple(role for role, place in places.items() if place == number)
        if nodes:
            times = (pick.choice([0.0, 0.0003]), pick.choice([0.0, 0.0002]), pick.choice([0.0, 0.001]))
            made = HostSpec(
                pick.choice([1, 2, 4]), 2.0, nodes, pick.choice([0, 3]), pick.choice([True, False]), *times, 0.0004
            )
            asides = [pick.choice([0.0, 0.0006]) for _ in range(4)]
            hosts[f"host{number}"] = replace(
                made,
                restart=100 * made.event,
                event_aside=asides[0],
                transaction_aside=asides[1],
                forced_write_aside=asides[2],
                mark_aside=asides[3],
            )
    return hosts


def some_fault(pick: Chooser, names: list[str]) -> dict[str, Any]:
    """A fault of a kind that the compiled engine plays."""
    of_nodes = ("crash", "pause", "store-outage")
    kind = pick.choice(
        ["partition", "loss", "duplication", "reorder", "slow", "clock-drift", "broker-outage", "crash", *of_nodes]
    )
    fault: dict[str, Any] = {"kind": kind, "duration": pick.choice([Constant(0.1), Exponential(0.3)])}
    if kind == "crash" and pick.choice([True, False]):
        return some_aimed_crash(pick, names)
    if pick.choice([True, False]):
        fault["at"] = pick.choice([0.0, 0.05, 0.4])
    else:
        fault["every"] = Exponential(0.3)
    if kind in of_nodes:
        fault["node"] = pick.choice(names if kind == "store-outage" else [*names, "hub"])
    elif kind in ("slow", "clock-drift"):
        fault |= {"node": pick.choice(names), "factor": pick.choice([1.5, 3.0])}
    elif kind != "broker-outage":
        fault |= {"a": [pick.choice(names)]}
        if kind != "partition":
            fault["probability"] = pick.choice([0.05, 0.5])
    return fault


EFFECTS = [
    "Append",
    "Append:commit",
    "Message",
    "Message:prepare",
    "Transact",
    "Transact:action",
    "Prepare",
    "Commit",
    "Rollback",
    "SetTimer",
    "Publish",
    "Publish:step-done",
    "MarkOutbox",
    "MarkOutbox:step-done",
    "Acknowledge",
    "Answer",
    "Decided",
    "Forget",
]


def some_aimed_crash(pick: Chooser, names: list[str]) -> dict[str, Any]:
    """A crash at an effect of a transaction."""
    trigger = {
        "transaction": pick.choice([0, 1, 2, 5, 20]),
        "effect": pick.choice(EFFECTS),
        "when": pick.choice(["before", "after"]),
        "occurrence": pick.choice([1, 1, 2, 3]),
    }
    duration = pick.choice([Constant(0.0), Constant(0.1), Exponential(0.3)])
    return {"kind": "crash", "node": pick.choice([*names, "hub"]), "trigger": trigger, "duration": duration}


def some_aimed_crashes(pick: Chooser, names: list[str]) -> tuple[Fault, ...]:
    """Several crashes, each at an effect of a transaction."""
    made = [some_aimed_crash(pick, names) for _ in range(pick.choice([2, 3, 6]))]
    return tuple(Fault(**{**fault, "trigger": Trigger(**fault["trigger"])}) for fault in made)


def some_strategy(pick: Chooser) -> Strategy:
    """Any strategy that the compiled engine plays."""
    chosen: Strategy = pick.choice(
        [
            Saga(),
            Saga(completion="lazy"),
            TwoPhaseCommit(),
            TwoPhaseCommit(work="before"),
            Outbox(),
            Outbox(closing=True, wake=True),
            Outbox(reader="horizon"),
            Outbox(reader="lock", wake=True),
            PatientOutbox(),
            DualWrite(),
            DualWrite(order="broker-first"),
            DualWrite(acknowledge="before"),
            Cornus(),
        ]
    )
    return chosen


def shortened(name: str, transactions: int) -> Scenario:
    """A built-in scenario with so many transactions."""
    scenario = load(name)
    return replace(scenario, run=replace(scenario.run, transactions=transactions, duration=None))


def differs(scenario: Scenario, strategy: Strategy | str, seed: int = 1) -> str:
    """Plays a scenario on both engines: the first part that differs, or why it is not compiled."""
    chosen = resolve(strategy, scenario.policies)
    try:
        fast = CompiledLoop(scenario, chosen, seed=seed, replication=0)
        fast.play()
    except NotCompiled as reason:
        return f"not compiled: {reason}"
    reference = InterpretedLoop(World(scenario, chosen, seed=seed, replication=0, traced=False))
    reference.play()
    part = difference(outcome(reference), outcome(fast))
    fast.release()
    return part
