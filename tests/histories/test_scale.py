"""Histories whose size is all in one place: one key, one transaction, one cycle. The effort grows with the history, not with its square."""

import time
from typing import Any

import pytest

from simtx.histories import HistoryReport, check_history
from simtx.histories.graph import build_graph
from simtx.histories.levels import level_of
from simtx.histories.observations import Observations
from simtx.histories.orders import read_assumptions, register_orders
from simtx.histories.parsing import read_history
from tests.amounts import many

pytestmark = pytest.mark.more

MANY = many(10_000, 30_000)

#: In seconds of CPU; each of these takes about one, and a quadratic step alone would take far more.
ENOUGH = 15.0

Transaction = dict[str, Any]


def ok(number: int, *ops: list[Any]) -> Transaction:
    return {"id": number, "status": "ok", "ops": list(ops)}


def checked(history: list[Transaction], level: str = "serializable", **assume: bool) -> HistoryReport:
    begin = time.process_time()
    report = check_history(history, level, assume=assume)
    assert report.explain()
    assert time.process_time() - begin < ENOUGH
    return report


@pytest.mark.parametrize("level", ["snapshot-isolation", "serializable"])
def test_a_long_chain_of_appends_to_one_list_that_an_anti_dependency_closes(level: str) -> None:
    chain = [ok(n, ["append", "x", n]) for n in range(MANY)]
    chain[0]["ops"].append(["append", "y", 0])
    chain[-1]["ops"].append(["r", "y", []])
    report = checked([*chain, ok(MANY, ["r", "x", list(range(MANY))])], level)
    (finding,) = report.findings
    assert (finding.name, len(finding.steps)) == ("G-single-item", MANY)
    assert finding.steps[1].sentence.endswith(f"after 0 had appended 0 (see the read by {MANY}).")


def test_a_long_chain_of_writes_to_one_register_that_an_anti_dependency_closes() -> None:
    chain = [ok(n, ["r", "x", n - 1 if n else None], ["w", "x", n]) for n in range(MANY)]
    chain[0]["ops"].append(["w", "y", 0])
    chain[-1]["ops"].append(["r", "y", None])
    (finding,) = checked(chain, wfr_keys=True).findings
    assert (finding.name, len(finding.steps)) == ("G-single-item", MANY)


def test_a_ring_of_reads() -> None:
    (finding,) = checked([ok(n, ["r", n, 1], ["w", (n + 1) % MANY, 1]) for n in range(MANY)]).findings
    assert (finding.name, len(finding.steps)) == ("G1c", MANY)


def test_many_that_read_the_same_state_of_a_list_and_appended_to_it() -> None:
    report = checked([ok(n, ["r", "x", []], ["append", "x", n]) for n in range(MANY)])
    assert report.anomalies == {"lost-update"}


def test_an_element_that_stands_twice_at_the_end_of_a_long_list() -> None:
    report = checked([*(ok(n, ["append", "x", n]) for n in range(MANY)), ok(-1, ["r", "x", [*range(MANY), MANY - 1]])])
    assert f"{MANY - 1} stands more than once" in report.explain()


def test_a_transaction_that_reads_and_appends_thousands_of_times() -> None:
    ops = [op for n in range(2_000) for op in (["r", "x", list(range(n))], ["append", "x", n])]
    assert checked([ok(0, *ops)]).valid is True


def test_a_transaction_that_appends_twice_to_each_of_many_keys() -> None:
    twice = ok(0, *(["append", key, value] for value in (1, 2) for key in range(MANY)))
    assert checked([twice, ok(1, *(["r", key, [1, 2]] for key in range(MANY)))], "read-committed").valid is True


class Counted(list[Any]):
    """Operations that count how many of them are looked at."""

    looks = 0

    def __iter__(self) -> Any:
        Counted.looks += len(self)
        return super().__iter__()


@pytest.mark.parametrize("ops", [[["w", n, 1] for n in range(24_000)], [["r", n, None] for n in range(24_000)]])
def test_a_loading_transaction_of_registers_is_looked_at_a_few_times(ops: list[list[Any]]) -> None:
    parsed = read_history([ok(0, *ops), ok(1, ["w", "x", 1])])
    parsed.ops[0] = Counted(parsed.ops[0])
    Counted.looks = 0
    seen = Observations(parsed, resolve_info=True)
    build_graph(seen, register_orders(seen, read_assumptions({"wfr_keys": True}, parsed)), level_of("serializable"))
    assert len(ops) <= Counted.looks <= 10 * len(ops)


def test_a_transaction_that_reads_ahead_thousands_of_times_is_looked_at_a_few_times() -> None:
    ahead = [*(["r", n, 1] for n in range(10_000)), *(["w", n, 1] for n in range(10_000))]
    parsed = read_history([ok(0, *ahead)])
    parsed.ops[0] = Counted(parsed.ops[0])
    Counted.looks = 0
    assert Observations(parsed, resolve_info=True).findings.by_name["future-read"].count == 10_000
    assert Counted.looks <= 10 * len(ahead)
