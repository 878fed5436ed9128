"""Decides whether a history without forbidden anomalies is of its level: a search for an order of the writes that nobody saw.

Where reads and assumptions leave the order of some writes open (writes to registers; under snapshot isolation also appends that no read
holds), the search makes up an order that agrees with everything known. If no forbidden cycle arises, that order is the proof. If one does,
it needs some of the made-up pairs ("this write before that one"). One of these pairs is turned round, then kept, and each case is
searched in the same way. A case whose cycle needs nothing made up is refuted. If every case is refuted, so is the history. A case that is
refuted without its own supposition refutes the cases beside it too, which are then skipped.

Before that, if the first order fails, what the transactions have seen is asked (`simtx.histories.sight`): every level that knows of skewed reads implies
its demands on the order of versions. They often run in a circle, which is the shorter story, or leave few orders.

Before the search, pairs of which one way closes a cycle with what is known are decided (`simtx.histories.solver`). Beyond a budget of effort a solver is asked, if it is
installed; else the verdict stays unknown.

The order that is tried comes from a schedule: transactions one after the other along all known dependencies, and a write waits as long as
somebody has yet to read what it overwrites. Under snapshot isolation a transaction has two places in it, one for its snapshot and one for its
commit. No other transaction that writes the same key has a place between them. Under prefix consistency it has these two as well, and others may
write.

Above snapshot isolation and below it the order of unread appends does not matter. The transactions can be put in a line along all edges that
count, and the appends in the same order.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from simtx.histories.cycles import circles, find_cycles
from simtx.histories.findings import Finding, Step, show
from simtx.histories.graph import RW, VIA, WR, WW, Graph, Ints, build_graph
from simtx.histories.levels import NO_ORDER, PREFIX, Level
from simtx.histories.observations import Observations
from simtx.histories.orders import RegisterOrder
from simtx.histories.parsing import OK
from simtx.histories.sentences import Pair, Sentences
from simtx.histories.sight import Sight, extended
from simtx.histories.solver import PAIRS, OrderSolver
from simtx.histories.solver import available as solver_available

#: How many nodes and edges the search may look at, all orders together. The first order is tried without this limit.
BUDGET = 4_000_000

#: What an order costs beside its nodes and edges.
_LEAST = 3_000

#: The most pairs that are supposed at a time.
_DEEPEST = 300

#: Open pairs of writes from which on a solver, if there is one, is asked before the search.
_MANY_PAIRS = 2_000

#: The most cases that a finding tells.
_SHOWN_CASES = 6


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of the search.

    Attributes:
        doubts: Why the history is not proven to be of the level; empty if it is, or if it is refuted.
        finding: That no order of the writes is possible; None if it is not refuted.
    """

    doubts: tuple[str, ...] = ()
    finding: Finding | None = None


def settle(seen: Observations, registers: Mapping[Hashable, RegisterOrder], graph: Graph, level: Level) -> Verdict:
    """Decide a history in which nothing forbidden was seen.

    Args:
        seen: The observations.
        registers: The version order of each register as far as it is known.
        graph: The dependencies, without a forbidden cycle.
        level: The level.
    """
    if OK not in seen.history.status:
        return Verdict(("No transaction is known to have committed, so that there is nothing to judge.",))
    if seen.unwritten:
        index, key, value = seen.unwritten[0]
        more = f" ({len(seen.unwritten)} such values)" if len(seen.unwritten) > 1 else ""
        text = f"{seen.history.name(index)} read {show(value)} from {key}, which no transaction of the history wrote{more}."
        return Verdict((f"{text} The history is not complete.",))
    if level.by_sight:
        return Verdict()
    writers = {key: list(order.writes().values()) for key, order in registers.items() if not order.is_total()}
    unread: dict[Hashable, list[int]] = {}
    if _snapshots(level):
        unread = {key: members for key in seen.history.lists if len(members := seen.unread(key)) > 1}
    if not writers and not unread:
        return Verdict()
    search = _Search(seen, registers, graph, level, {**writers, **unread})
    if search.first():
        return Verdict()
    sight: Sight | None = None
    if writers and level.skews:
        sight = Sight(seen, level)
        finding, registers, graph = _demanded(seen, registers, graph, level, sight)
        if finding is not None:
            return Verdict((), finding)
        writers = {key: members for key, members in writers.items() if not registers[key].is_total()}
        if not writers and not unread:
            return Verdict()
        search = _Search(seen, registers, graph, level, {**writers, **unread}, sight)
    solved = _Solved(search)
    if solved.at_once:
        return Verdict()
    for answer in (solved.refuted,) if solved.large else (search.solve, solved.refuted):
        with suppress(_SpentError):
            refuted = answer()
            if refuted is None:
                return Verdict()
            return Verdict((), Finding(NO_ORDER, tuple(_told(refuted.cases, seen)), against=(level.name,)))
    what = (
        f"The order of the writes to {_some(writers)}"
        if writers
        else f"The order of the last appends to {_some(unread)}"
    )
    text = f"{what} is not known. Orders tried until the budget was used up: {search.tried}; each shows a forbidden anomaly.{solved.said}"
    grant = " Grant an assumption that holds (sequential_keys, linearizable_keys, commit_order, version_order)."
    return Verdict((text + (grant if writers else ""),))


def _demanded(
    seen: Observations, registers: Mapping[Hashable, RegisterOrder], graph: Graph, level: Level, sight: Sight
) -> tuple[Finding | None, Mapping[Hashable, RegisterOrder], Graph]:
    """Conclusion from the demands of what was seen: a finding, or else the orders and the graph with them."""
    sentences = Sentences(seen, registers, sight)
    for name, links in sight.missed.items():
        return Finding(name, sentences.of(links), against=(level.name,)), registers, graph
    with_demands = build_graph(seen, registers, level, sight.edges.values())
    for name, cycle in circles(with_demands, session=level.session):
        return Finding(name, sentences.of_cycle(with_demands, cycle), against=(level.name,)), registers, graph
    registers = extended(registers, sight.edges.values())
    graph = build_graph(seen, registers, level)
    for name, cycle in find_cycles(graph, level, ()):
        steps = Sentences(seen, registers, sight).of_cycle(graph, cycle)
        return Finding(name, steps, against=(level.name,)), registers, graph
    return None, registers, graph


def _some(keys: Mapping[Hashable, object]) -> str:
    return ", ".join(str(key) for key in itertools.islice(keys, 5)) + (", …" if len(keys) > 5 else "")


def _snapshots(level: Level) -> bool:
    """Return whether the level forbids anti-dependencies that are apart, and allows adjacent ones: snapshot isolation."""
    return "G-nonadjacent-item" in level.cycles and "G2-item" not in level.cycles


def _two_places(level: Level) -> bool:
    """Return whether a transaction reads at one moment and writes at another."""
    return _snapshots(level) or PREFIX in level.cycles


class _SpentError(Exception):
    """The budget is used up."""


@dataclass(frozen=True, slots=True)
class _Case:
    """Pairs that cannot all hold, and the cycle that they close.

    Attributes:
        supposed: The pairs, in the order in which they were supposed.
        name: The name of the cycle.
        steps: Its steps.
    """

    supposed: tuple[Pair, ...]
    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Refuted:
    """Pairs that cannot all hold; none if nothing can.

    Attributes:
        needs: The pairs.
        cases: The cycles that show it.
    """

    needs: frozenset[Pair]
    cases: tuple[_Case, ...]


#: An edge that follows from a pair: source, target, kind, pair.
_Edge = tuple[int, int, int, Pair]

#: A forbidden cycle: its name, its edges, the graph, and which pairs the edges come from.
_Cycle = tuple[str, list[int], Graph, dict[int, Pair]]


def _columns(edges: Sequence[_Edge]) -> Ints:
    """Sources, targets and kinds, a row each."""
    return np.array([edge[:3] for edge in edges], dtype=np.int64).reshape(-1, 3).T


class _Search:
    """The search of one history."""

    def __init__(
        self,
        seen: Observations,
        registers: Mapping[Hashable, RegisterOrder],
        graph: Graph,
        level: Level,
        groups: Mapping[Hashable, Sequence[int]],
        sight: Sight | None = None,
    ) -> None:
        self.seen, self.registers, self.graph, self.level, self.sight = seen, registers, graph, level, sight
        self.groups = groups
        self.tried = 0
        self._left = 0
        self._number = {key: number for number, key in enumerate(graph.keys) if key in groups}
        self._known: set[Pair] = set()
        self._readers: defaultdict[tuple[Hashable, int], list[int]] = defaultdict(list)
        for key in groups:
            if key not in registers:
                continue
            order = registers[key]
            writes = order.writes()
            for version, later in order.after.items():
                if version in writes:
                    self._known.update((key, writes[version], writes[other]) for other in later if other in writes)
            for touch in order.touches:
                for value in touch.reads:
                    writer = writes.get(value, touch.transaction)
                    if writer != touch.transaction:
                        self._readers[key, writer].append(touch.transaction)
        self._schedule = _Schedule(graph, level, groups, self._readers)

    def first(self) -> bool:
        """Return whether the first order that comes to mind is possible."""
        self.tried += 1
        return self._fails([])[0] is None

    def solve(self) -> _Refuted | None:
        """Reason why no order is possible; None if one is.

        Raises:
            _SpentError: The budget does not suffice.
        """
        self._left = BUDGET
        return self._solve([])

    def possible(self, supposed: Sequence[Pair]) -> bool:
        """Return whether an order with these pairs is possible: the one that comes to mind."""
        return self._fails(supposed)[0] is None

    def open_orders(self) -> OrderSolver:
        """Orders that are open, for a solver."""
        rank, _ = self._schedule.ranks([])
        apart = _snapshots(self.level)
        return OrderSolver(self.graph, self.groups, self._known, self._readers, rank, apart=apart)

    def shown(self, core: Iterable[frozenset[Pair]]) -> _Refuted:
        """Pairs that cannot hold together, set by set, each with the cycle that it closes.

        Raises:
            _SpentError: One of them closes none that would be evidence.
        """
        cases: list[_Case] = []
        for pairs in core:
            supposed = sorted(pairs, key=str)
            found = self._forbidden(self._edges(supposed))
            if found is None:
                raise _SpentError
            cases += self._refuted(supposed, *found).cases
        return _Refuted(frozenset(), tuple(cases))

    def _solve(self, supposed: list[Pair]) -> _Refuted | None:
        if self.tried and (self._left < 0 or len(supposed) > _DEEPEST):
            raise _SpentError
        self.tried += 1
        self._left -= _LEAST
        found, decided = self._fails(supposed)
        if found is None:
            return None
        name, cycle, graph, owners = found
        held = set(supposed)
        made_up = [pair for pair in self._collapsed(cycle, graph, owners) if pair not in held]
        if not made_up:
            if not held.issuperset(owners.values()):  # it runs over made-up pairs where a supposed one leads as well
                found = self._forbidden(decided)
            if found is None:
                raise _SpentError  # nothing that would be evidence: unknown
            return self._refuted(supposed, *found)
        key, a, b = made_up[0]
        turned = self._solve([*supposed, (key, b, a)])
        if turned is None or (key, b, a) not in turned.needs:
            return turned
        if len(made_up) == 1 and held.union(made_up).issuperset(owners.values()):
            kept: _Refuted | None = self._refuted([*supposed, (key, a, b)], name, cycle, graph, owners)
        else:
            kept = self._solve([*supposed, (key, a, b)])
        if kept is None or (key, a, b) not in kept.needs:
            return kept
        needs = (turned.needs | kept.needs) - {(key, a, b), (key, b, a)}
        return _Refuted(needs, (*turned.cases, *kept.cases))

    def _fails(self, supposed: Sequence[Pair]) -> tuple[_Cycle | None, list[_Edge]]:
        """The cycle that an order with the supposed pairs shows, None if it is possible; and the edges that follow from the pairs."""
        decided = self._edges(supposed)
        rank, whole = self._schedule.ranks(decided)
        found = None if whole else self._forbidden(decided)
        if found is None:
            already = self._known.union(supposed)
            pairs = (
                (key, a, b)
                for key, members in self.groups.items()
                for a, b in itertools.pairwise(sorted(members, key=rank.__getitem__))
            )
            found = self._forbidden([*decided, *self._edges(pair for pair in pairs if pair not in already)])
        return found, decided

    def _edges(self, pairs: Iterable[Pair]) -> list[_Edge]:
        """The edges that follow from pairs: source, target, kind and the pair."""
        result = []
        for pair in pairs:
            key, a, b = pair
            result.append((a, b, WW, pair))
            result.extend((reader, b, RW, pair) for reader in self._readers.get((key, a), ()) if reader != b)
        return result

    def _forbidden(self, more: Sequence[_Edge]) -> _Cycle | None:
        """A forbidden cycle of the known edges and of some more: its name, its edges, the graph, and which pairs the edges come from."""
        base = self.graph
        self._left -= base.nodes + len(base.kind) + len(more)
        source, target, kind = _columns(more)
        key = np.array([self._number[pair[0]] for *_, pair in more], dtype=np.int64)
        graph = replace(
            base,
            source=np.concatenate([base.source, source]),
            target=np.concatenate([base.target, target]),
            kind=np.concatenate([base.kind, kind]),
            key=np.concatenate([base.key, key]),
        )
        found = next(find_cycles(graph, self.level, ()), None)
        if found is None:
            return None
        name, cycle = found
        known = len(base.kind)
        return name, cycle, graph, {edge: more[edge - known][3] for edge in cycle if edge >= known}

    def _collapsed(self, cycle: Sequence[int], graph: Graph, owners: Mapping[int, Pair]) -> list[Pair]:
        """The pairs of a cycle; overwrites of one key behind each other make one pair of the first and the last."""
        result: list[Pair] = []
        joins = False
        begin = -1  # a run must not close the cycle by itself
        for edge in cycle:
            pair = owners.get(edge)
            if pair is None:
                joins = False
                continue
            kind = int(graph.kind[edge])
            if joins and kind == WW and result[-1][0] == pair[0] and result[-1][2] == pair[1] and pair[2] != begin:
                result[-1] = (pair[0], result[-1][1], pair[2])
            else:
                result.append(pair)
                begin = int(graph.source[edge])
            # Under snapshot isolation an anti-dependency must not move on to another transaction: what follows may be one too.
            joins = kind == WW or not _snapshots(self.level)
        return result

    def _refuted(
        self, supposed: Sequence[Pair], name: str, cycle: list[int], graph: Graph, owners: Mapping[int, Pair]
    ) -> _Refuted:
        needed = set(owners.values())
        needs = tuple(pair for pair in supposed if pair in needed)
        ends = {
            (int(graph.source[edge]), int(graph.target[edge]), int(graph.kind[edge])): pair
            for edge, pair in owners.items()
        }
        steps = Sentences(self.seen, self.registers, self.sight).of_cycle(graph, cycle, ends)
        return _Refuted(frozenset(needs), (_Case(needs, name, steps),))


class _Solved:
    """Decision of open orders by what is known, and by a solver beyond it (`simtx.histories.solver`), where a level forbids every cycle of a graph.

    Attributes:
        at_once: Whether what is known leads to an order that is possible.
        large: Whether the search would use up its budget, and the solver is asked at once.
        said: What is to be said of the solver if nothing is decided.
    """

    def __init__(self, search: _Search) -> None:
        self._search = search
        self._solver: OrderSolver | None = None
        self.at_once = self.large = False
        self.said = ""
        level = search.level
        pairs = sum(len(members) * (len(members) - 1) // 2 for members in search.groups.values())
        if not (_snapshots(level) or "G2-item" in level.cycles) or pairs > PAIRS:
            return
        self._solver = search.open_orders()
        self.at_once = not self._solver.prune() and search.possible(list(self._solver.facts))
        self.large = solver_available() and self._solver.open > _MANY_PAIRS

    def refuted(self) -> _Refuted | None:
        """Reason why no order is possible; None if one is.

        Raises:
            _SpentError: Nobody knows.
        """
        if self._solver is None:
            raise _SpentError
        if not solver_available():
            self.said = " With the extra simtx[solver] a solver is asked as well."
            raise _SpentError
        answer = self._solver.solve()
        self._search.tried += answer.rounds
        if answer.possible is None:
            self.said = f" A solver has learned from {answer.cycles} cycles, and has not come to an end either."
            raise _SpentError
        if answer.possible:
            pairs = [(key, a, b) for key, members in answer.order.items() for a, b in itertools.pairwise(members)]
            if not self._search.possible(pairs):
                raise _SpentError  # the order has to be a proof by itself
            return None
        return self._search.shown(answer.core)


def _told(cases: Sequence[_Case], seen: Observations) -> Iterable[Step]:
    """One step for each case, so that all sentences together say why no order is possible."""
    name = seen.history.name
    for number, case in enumerate(cases[:_SHOWN_CASES], 1):
        key, *ends = case.supposed[0]
        a, b = sorted(ends)
        ifs = " and ".join(f"{name(p)} wrote {k} before {name(q)}" for k, p, q in case.supposed)
        path = " → ".join((*(step.source for step in case.steps), case.steps[-1].target))
        whole = " ".join(step.sentence for step in case.steps)
        more = ""
        if number == _SHOWN_CASES < len(cases):
            more = f" {len(cases) - _SHOWN_CASES} further cases end in the same way."
        yield Step(name(a), name(b), "version", key, f"If {ifs}, there is a {case.name} ({path}). {whole}{more}")


class _Schedule:
    """Puts transactions one after the other along the known dependencies, so that few writes overwrite what is yet to be read."""

    def __init__(
        self,
        graph: Graph,
        level: Level,
        groups: Mapping[Hashable, Sequence[int]],
        readers: Mapping[tuple[Hashable, int], Sequence[int]],
    ) -> None:
        self.graph = graph
        self.waits = "G2-item" in level.cycles or _two_places(level)
        # Where they differ, node n stands for the snapshot of a transaction, and n + shift for its commit.
        self.shift = graph.nodes if _two_places(level) else 0
        self.exclusive = _snapshots(level)
        counted = np.ones(len(graph.kind), dtype=bool)
        if not self.waits:
            counted &= graph.kind != RW
        if "G1c" not in level.cycles:
            counted &= graph.kind != WR
        self.hubs = np.zeros(graph.nodes, dtype=bool)
        self.hubs[graph.target[graph.kind == RW]] = True
        self.hubs[: graph.transactions] = False
        source, target = self._events(graph.source[counted], graph.target[counted], graph.kind[counted])
        self.following: defaultdict[int, list[int]] = defaultdict(list)
        self.arrivals = [0] * (graph.nodes + self.shift)
        edges = list(zip(source.tolist(), target.tolist(), strict=True))
        if self.shift:
            edges += [(node, node + self.shift) for node in range(graph.nodes)]
        for a, b in edges:
            self.following[a].append(b)
            self.arrivals[b] += 1
        self.writes: defaultdict[int, list[Hashable]] = defaultdict(list)
        for key, members in groups.items():
            for member in members:
                self.writes[member].append(key)
        self.reads: defaultdict[int, list[tuple[Hashable, int]]] = defaultdict(list)
        for version, found in readers.items():
            for reader in found:
                self.reads[reader].append(version)
        self.readers = {version: len(found) for version, found in readers.items()}

    def _events(self, source: Ints, target: Ints, kind: Ints) -> tuple[Ints, Ints]:
        """Between which places an edge stands: commit before snapshot, but snapshot before commit for an anti-dependency.

        An overwrite has to be in the snapshot of the overwriter only where no two writers of a key may be concurrent.
        """
        if not self.shift:
            return source, target
        count = self.graph.transactions
        anti = (kind == RW) | ((kind == VIA) & self.hubs[source])
        leaves = source + np.where((kind != RW) & (kind != VIA) & (source < count), self.shift, 0)
        late = anti if self.exclusive else anti | (kind == WW)
        return leaves, target + np.where(late & (target < count), self.shift, 0)

    def ranks(self, decided: Sequence[_Edge]) -> tuple[list[int], bool]:
        """The place of each transaction's commit, and whether all could be placed along the dependencies and the decided edges."""
        run = _Run(self)
        if decided:
            chosen = [edge for edge in decided if self.waits or edge[2] != RW]
            source, target = self._events(*_columns(chosen))
            for a, b in zip(source.tolist(), target.tolist(), strict=True):
                run.later[a].append(b)
                run.arrivals[b] += 1
        placed = run.play()
        whole = placed == len(run.arrivals)
        return run.rank[self.shift :] if self.shift else run.rank, whole


class _Run:
    """One schedule in the making."""

    def __init__(self, plan: _Schedule) -> None:
        self.plan = plan
        self.arrivals = list(plan.arrivals)
        self.later: defaultdict[int, list[int]] = defaultdict(list)
        self.rank = [len(self.arrivals)] * len(self.arrivals)
        self.left: Counter[tuple[Hashable, int]] = Counter(plan.readers)
        self.current: dict[Hashable, int] = {}
        self.open: dict[Hashable, int] = {}
        self.parked: defaultdict[Hashable, list[int]] = defaultdict(list)
        self.ready: list[tuple[int, int]] = []

    def play(self) -> int:
        """Place as many as can be placed, and return how many they are."""
        for node, count in enumerate(self.arrivals):
            if count == 0:
                self._push(node)
        placed = 0
        while True:
            if not self.ready:
                waiting = [(node, key) for key, nodes in self.parked.items() for node in nodes]
                if not waiting:
                    return placed
                node, key = min(waiting, key=lambda pair: pair[0])
                self.parked[key].remove(node)
            else:
                _, node = heapq.heappop(self.ready)
                blocked = self._blocked(node) if self.plan.waits else None
                if blocked is not None:
                    self.parked[blocked[0]].append(node)
                    continue
            self.rank[node] = placed
            placed += 1
            self._place(node)
            for other in itertools.chain(self.plan.following.get(node, ()), self.later.get(node, ())):
                self.arrivals[other] -= 1
                if self.arrivals[other] == 0:
                    self._push(other)

    def _push(self, node: int) -> None:
        shift, count = self.plan.shift, self.plan.graph.transactions
        transaction = node - shift if node >= shift else node
        heapq.heappush(self.ready, (transaction if transaction < count else -1, node))

    def _blocked(self, node: int) -> tuple[Hashable] | None:
        """The key for which a place is too early, if there is one."""
        shift = self.plan.shift
        if shift and node < shift:
            return next(
                ((key,) for key in self.plan.writes.get(node, ()) if key in self.open), None
            )  # none are, if not exclusive
        transaction = node - shift
        for key in self.plan.writes.get(transaction, ()):
            version = (key, self.current.get(key, -1))
            others = self.left[version]
            if others and not shift and version in self.plan.reads.get(transaction, ()):
                others -= 1
            if others:
                return (key,)
        return None

    def _place(self, node: int) -> None:
        """Keep count of the versions that are current and of who has yet to read them."""
        shift = self.plan.shift
        if not shift or node < shift:
            for version in self.plan.reads.get(node, ()):
                self.left[version] -= 1
                if self.left[version] == 0:
                    self._wake(version[0])
        if shift and node < shift:
            if self.plan.exclusive:
                self.open.update(dict.fromkeys(self.plan.writes.get(node, ()), node))
            return
        for key in self.plan.writes.get(node - shift, ()):
            self.current[key] = node - shift
            self.open.pop(key, None)
            self._wake(key)

    def _wake(self, key: Hashable) -> None:
        for node in self.parked.pop(key, ()):
            self._push(node)
