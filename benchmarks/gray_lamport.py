"""Gray and Lamport, "Consensus on Transaction Commit" (ACM TODS 31, 2006): their message counts, and those of simulated runs.

    python benchmarks/gray_lamport.py

Every row plays transactions of N participants that all commit, and counts what was sent from the first message to the last. The paper counts no
acknowledgements (nor the words by which acceptors on nodes of their own may forget) and no commit records of participants, so these are shown apart. "Same" compares messages without acknowledgements, and forced
writes without the N commit records.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import simtx
from simtx.protocols import Strategy
from simtx.scenario import Scenario, from_dict

ROWS = (
    (
        "2PC, coordinator on a participant's node",
        "paxos-commit:leader=participant",
        0,
        "3N - 3",
        lambda n, _: 3 * n - 3,
    ),
    ("Paxos Commit, co-located", "paxos-commit:leader=participant", None, "N(F + 3) - 3", lambda n, f: n * (f + 3) - 3),
    (
        "Paxos Commit, nothing co-located",
        "paxos-commit:acceptors=nodes",
        None,
        "(N + 1)(F + 3) - 2",
        lambda n, f: (n + 1) * (f + 3) - 2,
    ),
    ("2PC, coordinator on its own", "2pc", 0, "3N - 1", lambda n, _: 3 * n - 1),
)
"""What it is called, the strategy, F (None: all that fit), the formula of the paper, and its value."""


def joint(count: int) -> Scenario:
    """A transaction that changes one row at each of so many services."""
    names = [f"s{number}" for number in range(count)]
    store = {"log": {"forced_write": "1ms"}}
    return from_dict(
        {
            "services": {name: {"zone": "here", "service_time": "1ms", "store": store} for name in names},
            "hub": {"zone": "here", "log": {"forced_write": "1ms"}},
            "network": {"zones": ["here"], "latency": "1ms"},
            "transaction": {
                "steps": [
                    {
                        "name": f"t{name}",
                        "service": name,
                        "after": [],
                        "operations": [{"key": "k:{tx}", "amount": 1}],
                        "compensation": [{"key": "k:{tx}", "amount": -1}],
                    }
                    for name in names
                ]
            },
            "workload": {"kind": "deterministic", "rate": 1},
            "run": {"transactions": 3},
        },
        name=f"{count} participants",
    )


def counted(count: int, strategy: Strategy | str) -> tuple[int, int, int]:
    """Messages but for acknowledgements, acknowledgements, and forced writes of each transaction.

    Raises:
        AssertionError: The transactions differ, or one was not committed.
    """
    run = simtx.simulate(joint(count), strategy, progress=False)
    assert set(run.transactions["outcome"]) == {"committed"}, run.transactions["outcome"]
    (messages,), (forced,) = set(run.transactions["messages"]), set(run.transactions["forced_writes"])
    sent = Counter(entry.name for entry in run.trace if entry.kind == "send" and entry.tx == 0)
    acknowledged = sum(number for name, number in sent.items() if name in ("ack", "acknowledged", "forget"))
    return int(messages) - acknowledged, acknowledged, int(forced)


def main() -> int:
    """Print the table; 1 if a count differs that should not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--most", type=int, default=8, help="participants at most")
    most = parser.parse_args().most
    print(f"{'protocol':41} N F {'published':>18} theirs ours same acks {'writes: theirs':>14} ours same")
    differ = 0
    for name, spec, only, formula, published in ROWS:
        for n in (n for n in (2, 3, 5, 8) if n <= most):
            for f in (only,) if only is not None else [f for f in (1, 2, 3) if 2 * f + 1 <= n or "nodes" in spec]:
                strategy = f"{spec},faults={f}" if spec.startswith("paxos") else spec
                ours, acks, writes = counted(n, strategy)
                theirs = published(n, f)
                same, alike = ours == theirs, writes - n == n + f + 1
                differ += not alike or (not same and spec.startswith("paxos"))
                print(
                    f"{name:41} {n} {f} {formula:>18} {theirs:6d} {ours:4d} {'yes' if same else 'no':>4} {acks:4d} {n + f + 1:14d} {writes - n:4d} "
                    f"{'yes' if alike else 'no':>4}"
                )
    print(
        "2PC with a coordinator of its own: here the client asks the coordinator; theirs hears of it from a participant, whose vote that is: one message less"
    )
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
