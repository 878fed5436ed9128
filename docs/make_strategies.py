"""Write the table of all strategies: `python docs/make_strategies.py`.

What is said of messages and forced writes is counted in simulated runs with 1 to 4 participants, and the verdicts are explored; a figure that is not so ends the command with an error.
Nothing is written then. Promise and label are those of the strategies themselves. Speeds are kept as they are on the page; `--speed` measures them anew.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import simtx
from simtx.protocols import label, strategy
from simtx.scenario import Scenario, from_dict

PAGE = Path(__file__).resolve().parent / "protocols" / "README.md"
SCOPE: dict[str, int] = {"participants": 2, "crashes": 1, "losses": 0, "duplicates": 0, "timeouts": 1}
"""The scope of every verdict in the table; pages of the strategies have more."""
SIZES = range(1, 5)
CELLS = 10
"""Columns of the table."""
PLAYED, TRANSACTIONS, ROUNDS = 3, (2_000, 22_000), 3
"""Participants of the runs whose speed is measured, transactions of a short one and a long one, and how many of each."""


class Row(NamedTuple):
    """What nobody can compute, and what is claimed of the costs.

    Attributes:
        spec: The strategy, as on the command line.
        page: Page of the strategy.
        blocking: What waits when a node is away.
        isolation: What others see of a transaction that is not over.
        messages: Messages of a transaction of N participants that commits; of a broker, events.
        forced: Forced writes of it.
        refused: Messages and forced writes if the last one of two or more refuses.
        alone: Whether it is about transactions of one participant.
        least: The fewest participants that it takes.
        scope: What differs in the scope of its verdict.
    """

    spec: str
    page: str
    blocking: str
    isolation: str
    messages: str
    forced: str
    refused: tuple[str, str]
    alone: bool = False
    least: int = 1
    scope: Mapping[str, int] = MappingProxyType({})


ROWS = (
    Row(
        "2pc",
        "two-phase-commit.md",
        "participants in doubt, with their locks, while the coordinator is away",
        "rows locked until the decision",
        "4N",
        "2N + 1",
        ("3N - 1", "N - 1"),
    ),
    Row(
        "2pc:work=before",
        "two-phase-commit.md#the-steps-executed-before-the-vote",
        "as plain",
        "rows locked through all of the work: serializable",
        "6N",
        "2N + 1",
        ("3N - 1", "0"),
    ),
    Row(
        "2pc:presumption=commit",
        "two-phase-commit.md#presumed-commit",
        "as plain",
        "as plain",
        "3N",
        "2N + 2",
        ("4N - 2", "2N"),
    ),
    Row(
        "2pc:termination=cooperative",
        "two-phase-commit.md#cooperative-termination",
        "only if all that can be reached are in doubt",
        "as plain",
        "4N",
        "2N + 1",
        ("3N - 1", "N - 1"),
    ),
    Row(
        "2pc:last_resource=s0",
        "two-phase-commit.md#one-phase-and-a-last-resource",
        "as plain; also while the last resource is away in its turn",
        "as plain; the last resource holds no lock between the phases",
        "4N - 2",
        "2N",
        ("3N - 4", "N - 2"),
    ),
    Row(
        "2pc:one_phase=true",
        "two-phase-commit.md#one-phase-and-a-last-resource",
        "nobody but the client",
        "one local transaction",
        "2",
        "2",
        ("2", "2"),
        alone=True,
    ),
    Row(
        "paxos-commit",
        "paxos-commit.md",
        "nobody for long, up to one crash of three acceptors",
        "rows locked until the decision",
        "5N",
        "2N + 2",
        ("5N - 4", "N"),
        least=2,
        scope={"timeouts": 0},
    ),
    Row(
        "paxos-commit:leader=participant",
        "paxos-commit.md",
        "as plain",
        "as plain",
        "5N - 4",
        "2N + 2",
        ("5N - 8", "N"),
        least=3,
        scope={"timeouts": 0, "participants": 3},
    ),
    Row(
        "paxos-commit:acceptors=nodes",
        "paxos-commit.md#acceptors-on-nodes-of-their-own",
        "as plain; a service that is away is no acceptor less",
        "as plain",
        "5N + 4",
        "2N + 2",
        ("5N - 3", "N"),
        scope={"timeouts": 0},
    ),
    Row(
        "paxos-commit:faults=0",
        "paxos-commit.md",
        "as two-phase commit",
        "as plain",
        "4N",
        "2N + 1",
        ("3N - 1", "N - 1"),
    ),
    Row(
        "cornus",
        "cornus.md",
        "nobody for long; everybody, with their locks, while the vote store is away",
        "rows locked until the decision",
        "5N",
        "3N",
        ("5N - 1", "2N - 1"),
    ),
    Row(
        "saga",
        "saga.md",
        "nobody; it stands still, half done",
        "none: others see what may be undone",
        "2N",
        "2N + 1",
        ("4N - 2", "4N - 1"),
    ),
    Row(
        "tcc",
        "tcc.md",
        "nobody; reservations wait for the coordinator",
        "amounts are reserved; nobody spends what may be undone",
        "4N",
        "2N + 2",
        ("4N - 2", "2N"),
    ),
    Row(
        "outbox",
        "outbox.md",
        "nobody; events wait",
        "none: others see what may be undone",
        "N - 1",
        "N",
        ("2N - 2", "2N - 1"),
    ),
    Row(
        "choreography",
        "choreography.md",
        "nobody; events wait, and so do joins",
        "none: others see what may be undone",
        "N - 1",
        "N",
        ("2N - 2", "2N - 1"),
    ),
    Row(
        "choreography:monitor=true",
        "choreography.md#the-monitor",
        "as plain; nobody waits for the monitor",
        "as plain",
        "2N - 1",
        "N + 2",
        ("4N - 3", "2N + 1"),
        least=2,
    ),
    Row(
        "dual-write",
        "dual-write.md",
        "nobody; what is lost stays lost",
        "none",
        "N - 1",
        "N",
        ("2N - 2", "2N - 2"),
    ),
)


def chain(n: int, *, refusing: bool) -> Scenario:
    """N services, a step on each, one after the other; the last one may always refuse."""
    services = {f"s{index}": {"zone": "here", "workers": 100, "service_time": 0.0} for index in range(n)}
    steps: list[dict[str, Any]] = [
        {
            "name": f"step{index}",
            "service": f"s{index}",
            "operations": [{"key": "k{tx}", "amount": 1, **({"high": 0} if refusing and index == n - 1 else {})}],
            "compensation": [{"key": "k{tx}", "amount": -1}],
            "after": [f"step{index - 1}"] if index else [],
        }
        for index in range(n)
    ]
    raw: dict[str, Any] = {
        "services": services,
        "hub": {"zone": "here"},
        "network": {"zones": ["here"], "latency": 0.001},
        "broker": {"zone": "here", "ack_latency": 0.0},
        "transaction": {"steps": steps},
        "workload": {"kind": "deterministic", "rate": 1.0},
        "run": {"transactions": 2, "drain": 60.0},
    }
    return from_dict(raw, name="chain")


def counted(spec: str, n: int, *, refusing: bool) -> tuple[int, int]:
    """Messages, those of the broker included, and forced writes of a transaction."""
    rows = simtx.simulate(chain(n, refusing=refusing), spec).transactions
    found = {(int(one.messages + one.broker_messages), int(one.forced_writes)) for one in rows.itertuples(index=False)}
    (only,) = found
    return only


def value(formula: str, n: int) -> int:
    """A formula of the table for so many participants."""
    return int(eval(re.sub(r"(\d)N", r"\1 * N", formula), {"N": n}))  # noqa: S307 - one of ours


def wrong(row: Row, sizes: Any = SIZES) -> list[str]:
    """What the simulated runs do not confirm, one line each."""
    found = []
    for n in (1,) if row.alone else [size for size in sizes if size >= row.least]:
        claims = ((False, (row.messages, row.forced)), (True, row.refused))
        for refusing, formulas in claims:
            if refusing and n == 1 and not row.alone:
                continue
            claimed = tuple(value(formula, n) for formula in formulas)
            if (seen := counted(row.spec, n, refusing=refusing)) != claimed:
                outcome = "refused" if refusing else "committed"
                found.append(f"{row.spec}, N = {n}, {outcome}: {claimed} is claimed, {seen} was counted")
    return found


def verdict(row: Row) -> str:
    """What an exploration says, in a few words."""
    scope = {**SCOPE, **row.scope, **({"participants": 1} if row.alone else {})}
    found: Any = simtx.verify(row.spec.replace("=s0", "=s1"), progress=False, **scope)
    if found.violations:
        known = "known" if set(found.violations) <= set(found.expected) else "NOT KNOWN"
        return f"refuted on {', '.join(sorted(found.violations))} ({known}); {found.states:,} states"
    besides = [f"{scope['participants']} participants"] if row.least > SCOPE["participants"] else []
    besides += ["no early timer"] if not scope["timeouts"] else []
    return "; ".join(["holds" if found.ok else "open", *besides, f"{found.states:,} states"])


def line(row: Row, said: str) -> str:
    """A row of the table."""
    one = strategy(row.spec)
    messages, forced = row.refused
    name = f"[{label(one)}]({row.page})" if ":" not in row.spec else f"[its variant]({row.page})"
    spec = row.spec.replace("=s0", "=NAME")
    alone = " (N = 1)" if row.alone else ""
    cells = (name, f"`{spec}`{alone}", one.promise, row.blocking, row.isolation, row.messages, row.forced)
    return f"| {' | '.join(cells)} | {messages}, {forced} | {said} |"


HEAD = """# Strategies, side by side

This table compares promise, costs and verdicts of all strategies. Each has a page with its theory. The costs are counted in runs with 1 to 4 participants, all of which write, and the verdicts are explored;
`python docs/make_strategies.py` writes the table anew.

- **answer**: an answer to the client says that the outcome is *decided*, or that the request is *accepted*, and the outcome comes later.
- **messages, forced writes**: of a transaction of N participants that commits without faults. Acknowledgements count, the client's request and answer do not. Under `outbox`, `choreography` and `dual-write` the
  messages are events of the broker, and the broker's own writes do not count; the steps are a chain here, [joins cost more](choreography.md#what-it-costs-exactly). Under `cornus` the requests to the vote store, their answers and its forced writes count: 2N messages and N writes.
- **refused**: messages and forced writes if the last of two or more participants refuses.
- **verdict**: of `simtx.verify` with two participants, one crash, one early timer, no loss and no copy, explored completely (with one participant, where a row is about one; a cell names other
  differences). *Known* are properties that a strategy declares not to keep.
- **speed**: simulated transactions a second of processor time with three participants, as a multiple of the saga's. It is the cost of simulating a strategy, not the throughput of a
  real system (`simtx saturation` estimates that). Two rounds may differ by a third and more, so one digit is stated. The strategies below 0.1 are played by the interpreted
  engine, since they look into amounts. `python docs/make_strategies.py --speed` measures it anew.

| strategy | | answer | who waits when a node is away | isolation | messages | forced writes | refused | verdict | speed |
|---|---|---|---|---|---|---|---|---|---|
"""
TAIL = """
All strategies play all built-in scenarios, with two exceptions. `paxos-commit:leader=participant` needs three services, which the `transfer` scenarios do not have. `card-payment` has a
[provider outside](../providers.md), which cannot prepare: two-phase commit plays it only with `last_resource=payments`, and Paxos Commit and log-once votes refuse it. In scenarios of your own,
Try-Confirm-Cancel refuses steps that overwrite a value. `simtx.verify`, `simtx.simulate` and `simtx.execute` say in one line why a plan cannot be played.
"""


def speeds(text: str) -> dict[str, str]:
    """Speeds that a page states, by strategy."""
    rows = [[cell.strip() for cell in one.strip("|").split("|")] for one in text.splitlines() if one.startswith("| [")]
    return {
        cells[1].partition("` ")[0].strip("`").replace("=NAME", "=s0"): cells[-1]
        for cells in rows
        if len(cells) == CELLS
    }


def measured() -> dict[str, str]:
    """Simulated transactions a second of processor time, as a multiple of what the saga makes, side by side."""
    sizes = {row.spec: 1 if row.alone else PLAYED for row in ROWS} | {"saga, N = 1": 1}
    best = {(spec, count): float("inf") for spec in sizes for count in TRANSACTIONS}
    for _ in range(ROUNDS):
        for (spec, count), before in best.items():
            scenario = chain(sizes[spec], refusing=False).replace(
                **{"workload.rate": "50/s", "run": {"transactions": count}}
            )
            begun = time.process_time()
            simtx.simulate(scenario, spec.partition(",")[0], progress=False)
            best[spec, count] = min(before, time.process_time() - begun)
    few, many = TRANSACTIONS
    # What a run costs before its first transaction counts for nobody.
    taken = {spec: best[spec, many] - best[spec, few] for spec in sizes}
    yardstick = {row.spec: taken["saga, N = 1" if row.alone else "saga"] for row in ROWS}
    return {spec: f"{yardstick[spec] / taken[spec]:.1g}" for spec in yardstick}


def page(fast: Mapping[str, str]) -> str:
    """The whole page, with verdicts.

    Args:
        fast: Speeds by strategy; one that is missing was not measured.
    """
    table = "\n".join(line(row, f"{verdict(row)} | {fast.get(row.spec, 'not measured')}") for row in ROWS)
    return f"{HEAD}{table}\n{TAIL}"


def main() -> int:
    """Write the page, or say what is not so."""
    problems = [problem for row in ROWS for problem in wrong(row)]
    if problems:
        sys.stderr.write("\n".join(problems) + "\n")
        return 1
    fast = measured() if "--speed" in sys.argv else speeds(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page(fast), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
