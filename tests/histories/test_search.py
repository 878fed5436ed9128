"""The search for cycles: auxiliary nodes and the sweep change nothing but the speed, and cycles come out short."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from simtx.histories import check_history, cycles, graph
from simtx.histories.levels import level_of
from simtx.histories.observations import Observations
from simtx.histories.parsing import read_history
from tests.amounts import many


def scattered(seed: int, transactions: int = 25) -> list[dict[str, Any]]:
    """Transactions that read any earlier state of few lists: every kind of cycle turns up."""
    rng = random.Random(seed)
    logs: dict[str, list[int]] = {key: [] for key in "xyz"}
    history = []
    for number in range(transactions):
        ops: list[list[Any]] = []
        for key in rng.sample("xyz", rng.randint(1, 3)):
            if rng.random() < 0.6:
                ops.append(["r", key, logs[key][: max(0, len(logs[key]) - rng.choice([0, 0, 0, 1, 2]))]])
            else:
                logs[key].append(number)
                ops.append(["append", key, number])
        start = 3 * number - rng.randint(0, 9)
        history.append(
            {
                "id": number,
                "process": number,
                "status": "ok",
                "start": start,
                "end": start + rng.randint(1, 12),
                "ops": ops,
            }
        )
    return history


def readers_and_writers(seed: int) -> list[dict[str, Any]]:
    """Many readers of the empty list, many appends that nobody read, and some transactions that do both."""
    rng = random.Random(seed)
    history: list[dict[str, Any]] = []
    for number in range(12):
        ops: list[list[Any]] = []
        for key in rng.sample("xy", rng.randint(1, 2)):
            if rng.random() < 0.5:
                ops.append(["r", key, []])
            if rng.random() < 0.2:
                ops.append(["append", key, number])
        history.append(
            {
                "id": number,
                "process": number,
                "status": "ok",
                "start": number,
                "end": number + rng.randint(1, 9),
                "ops": ops,
            }
        )
    return history


LEVELS = ("snapshot-isolation", "serializable", "strict-serializable")


def verdicts(make: Any, seeds: range) -> Iterator[tuple[set[str], bool | None]]:
    for seed in seeds:
        for level in LEVELS:
            report = check_history(make(seed), level)
            yield report.anomalies, report.valid


@pytest.mark.more
def test_hubs_between_readers_and_writers_change_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(verdicts(readers_and_writers, range(many(120, 300))))
    assert {valid for _, valid in expected} == {True, False}
    assert any("no-version-order" in anomalies for anomalies, _ in expected)
    monkeypatch.setattr(graph, "HUB_FROM", 0)
    assert list(verdicts(readers_and_writers, range(many(120, 300)))) == expected


@pytest.mark.more
def test_the_sweep_finds_what_the_search_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(verdicts(scattered, range(many(60, 150))))
    assert any("G-single-item" in anomalies for anomalies, _ in expected)
    assert any("G-single-item-realtime" in anomalies for anomalies, _ in expected)
    assert any("G-nonadjacent-item" in anomalies for anomalies, _ in expected)
    monkeypatch.setattr(cycles, "EFFORT", 0)
    monkeypatch.setattr(cycles, "_SWEEP", 3)
    assert list(verdicts(scattered, range(many(60, 150)))) == expected


@pytest.mark.more
def test_the_names_fit_the_edges_of_the_cycles() -> None:
    """Counting the edges of each cycle gives its name back."""
    for seed in range(many(60, 150)):
        for level in (*LEVELS, "strong-session-strict-serializable"):
            for finding in check_history(scattered(seed), level).findings:
                kinds = [step.kind for step in finding.steps]
                if not finding.name.startswith("G") or finding.name in ("G1a", "G1b"):
                    continue
                ends = [(step.source, step.target) for step in finding.steps]
                assert all(a[1] == b[0] for a, b in zip(ends, ends[1:] + ends[:1], strict=True))
                assert len({a for a, _ in ends}) == len(ends)
                assert finding.name == name_of(kinds)


def name_of(kinds: list[str]) -> str:
    """Elle's rule for the name of a cycle."""
    count = kinds.count("rw")
    adjacent = any(a == b == "rw" for a, b in zip(kinds, kinds[1:] + kinds[:1], strict=True))
    if count == 1:
        base = "G-single-item"
    elif count:
        base = "G2-item" if adjacent else "G-nonadjacent-item"
    else:
        base = "G1c" if "wr" in kinds else "G0"
    return base + ("-realtime" if "realtime" in kinds else "-process" if "process" in kinds else "")


def test_the_shortest_of_several_cycles_is_reported() -> None:
    """A ring of six anti-dependencies, in which one transaction closes a ring of three as well."""
    ring = [{"id": n, "status": "ok", "ops": [["r", f"k{n}", []], ["append", f"k{(n + 1) % 6}", 1]]} for n in range(6)]
    ring[3]["ops"] += [["r", "s", []]]
    ring[5]["ops"] += [["append", "s", 1]]
    (finding,) = check_history(ring).findings
    assert finding.name == "G2-item"
    assert len(finding.steps) == min(len(cycle) for cycle in simple_rings(ring)) == 3


@pytest.mark.more
def test_no_cycle_of_the_same_name_is_shorter() -> None:
    """Against all simple cycles of all edges between two transactions."""
    longest = 0
    for seed in range(many(60, 150)):
        for level in LEVELS:
            entries = scattered(seed, 8)
            for finding in check_history(entries, level).findings:
                if finding.name.startswith("G") and finding.is_cycle:
                    longest = max(longest, len(finding.steps))
                    assert finding.name not in names_of_shorter_cycles(entries, level, len(finding.steps))
    assert longest > 3


def names_of_shorter_cycles(entries: list[dict[str, Any]], level: str, length: int) -> set[str]:
    import networkx as nx

    seen = Observations(read_history(entries), resolve_info=True)
    built = graph.build_graph(seen, {}, replace(level_of(level), real_time=False))
    kinds: dict[tuple[int, int], set[str]] = {}
    for a, b, kind in zip(built.source.tolist(), built.target.tolist(), built.kind.tolist(), strict=True):
        kinds.setdefault((a, b), set()).add(graph.KIND_NAMES[kind])
    if level_of(level).real_time:
        for (a, one), (b, other) in itertools.permutations(enumerate(entries), 2):
            if one["end"] < other["start"]:
                kinds.setdefault((a, b), set()).add("realtime")
    if length <= 2:
        return set()
    rings = nx.simple_cycles(nx.DiGraph(list(kinds)), length_bound=length - 1)
    chosen = (itertools.product(*(kinds[pair] for pair in itertools.pairwise([*ring, ring[0]]))) for ring in rings)
    return {name_of(list(edges)) for edges in itertools.chain.from_iterable(chosen)}


def simple_rings(history: list[dict[str, Any]]) -> list[list[int]]:
    import networkx as nx

    dependencies = nx.DiGraph()
    for a in history:
        for b in history:
            keys = {op[1] for op in a["ops"] if op[0] == "r"} & {op[1] for op in b["ops"] if op[0] == "append"}
            if a is not b and keys:
                dependencies.add_edge(a["id"], b["id"])
    return list(nx.simple_cycles(dependencies))


def test_real_time_alone_needs_a_number_of_edges_that_grows_with_the_transactions_not_with_their_pairs() -> None:
    entries = [{"id": n, "status": "ok", "start": n, "end": n + 0.5, "ops": []} for n in range(2_000)]
    seen = Observations(read_history(entries), resolve_info=True)
    built = graph.build_graph(seen, {}, level_of("strict-serializable"))
    assert len(built.kind) <= 3 * len(entries)
