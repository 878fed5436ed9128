"""Decides by a solver for propositional logic which order of the writes is possible, where the search of `simtx.histories.proof` has used up its budget.

What is forbidden must be a cycle of a graph. Under serializability it is any cycle. Under snapshot isolation it is one in which no anti-dependency follows another, which is any cycle
of a graph with two copies of each transaction (reached by an anti-dependency, or not). A variable says of two writes to one key which comes first. The solver makes up an order, and the cycles
that it closes become clauses (not all of these pairs). The solver goes on until an order closes none or none is left. So it learns from every cycle, where the search
forgets it. Before that, pairs of which one way would close a cycle with what is known are decided, over and over, as PolySI does.

Sources: K. Huang and others, "Efficient black-box checking of snapshot isolation in databases" (PolySI), PVLDB 16(6), 2023; J. Zhang and others, "Viper: A fast snapshot isolation checker", EuroSys
2023. Both ask a solver that knows of graphs (MonoSAT), which is not on PyPI; here cycles are found outside, and handed over as clauses.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import combinations
from typing import Any, Final

import numpy as np

from simtx.histories.cycles import components, in_order
from simtx.histories.graph import RW, VIA, WW, Graph
from simtx.histories.sentences import Pair

ROUNDS: Final = 400
"""Orders that the solver may make up."""
CONFLICTS: Final = 200_000
"""Dead ends in which the solver may run for one order."""
PAIRS: Final = 500_000
"""Open pairs from which on a history is too large."""
_NODES: Final = 20_000
"""Nodes up to which it is known who leads to whom: as many bits for each."""
_CYCLES: Final = 400
"""Cycles that are learned of one order."""
_PRUNED: Final = 12
"""Number of times that pairs are decided by what is known."""


def available() -> bool:
    """Return whether the solver is installed: the extra ``solver``."""
    return find_spec("pysat") is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of the solver.

    Attributes:
        possible: Whether an order is possible; None: the budget was used up.
        rounds: Orders that were made up.
        cycles: Cycles that were learned.
        open: Pairs of writes whose order was open at first.
        decided: How many of them what is known decides.
        order: Writers of each key, in an order that is possible, if there is one.
        core: Pairs that cannot hold together, cycle by cycle, so that no order is possible; empty if one is.
    """

    possible: bool | None
    rounds: int
    cycles: int
    open: int
    decided: int
    order: Mapping[Hashable, Sequence[int]] = field(default_factory=dict)
    core: tuple[frozenset[Pair], ...] = ()


class OrderSolver:
    """The open orders of one history.

    Args:
        graph: The dependencies, without a forbidden cycle.
        groups: Writers of each key whose order is open.
        known: Pairs that are known.
        readers: Who has read the version of a writer, by key and writer.
        rank: A place for each transaction: the order that is tried first.
        apart: Whether anti-dependencies count only where none follows another: snapshot isolation.

    Attributes:
        facts: Pairs that are known (0), or that what is known has decided (in which turn).
        open: Pairs that were not known.
    """

    def __init__(
        self,
        graph: Graph,
        groups: Mapping[Hashable, Sequence[int]],
        known: Iterable[Pair],
        readers: Mapping[tuple[Hashable, int], Sequence[int]],
        rank: Sequence[int],
        *,
        apart: bool,
    ) -> None:
        self._nodes = graph.nodes
        self._apart = apart
        self._groups = groups
        self._readers = readers
        self._rank = rank
        self._base = self._spread(zip(graph.source.tolist(), graph.target.tolist(), graph.kind.tolist(), strict=True))
        self._variables: dict[Pair, int] = {}
        for key, members in groups.items():
            for a, b in combinations(members, 2):
                number = len(self._variables) // 2 + 1
                self._variables[key, a, b], self._variables[key, b, a] = number, -number
        self._pairs = {number: pair for pair, number in self._variables.items()}
        self.facts: dict[Pair, int] = {pair: 0 for pair in known if pair in self._variables}
        self.open = len(self._variables) // 2 - len(self.facts)
        self._impossible: tuple[frozenset[Pair], ...] = ()
        self._pruned = False

    def _spread(self, edges: Iterable[tuple[int, int, int]]) -> list[tuple[int, int]]:
        """Edges of the graph in which every cycle is forbidden."""
        found, more = [], self._nodes
        for a, b, kind in edges:
            if not self._apart:
                found.append((a, b))
            elif kind == RW:
                found.append((a, b + more))
            else:
                found += [(a, b), (a + more, b + (more if kind == VIA else 0))]
        return found

    def _of(self, pair: Pair) -> list[tuple[int, int]]:
        """Edges that follow from a pair."""
        key, a, b = pair
        anti = [(reader, b, RW) for reader in self._readers.get((key, a), ()) if reader != b]
        return self._spread([(a, b, WW), *anti])

    # --- what is known ------------------------------------------------------------------------------------------------------------

    def prune(self) -> tuple[frozenset[Pair], ...]:
        """Decide pairs of which one way closes a cycle with what is known, until nothing changes.

        Returns:
            Pairs that show that no order is possible: set by set, each closes a cycle; empty if it is not known.
        """
        if not self._pruned:
            self._pruned = True
            self._impossible = self._decide()
        return self._impossible

    def _decide(self) -> tuple[frozenset[Pair], ...]:
        if self._nodes * (2 if self._apart else 1) > _NODES:
            return ()
        waiting = [pair for number, pair in self._pairs.items() if number > 0 and not self._fact(pair)]
        for turn in range(1, _PRUNED + 1):
            reach = self._reach()
            if reach is None:
                break
            left = []
            for pair in waiting:
                forth, back = self._closes(reach, pair), self._closes(reach, _turned(pair))
                if forth and back:
                    return frozenset([pair]), frozenset([_turned(pair)])
                if forth or back:
                    self.facts[_turned(pair) if forth else pair] = turn
                else:
                    left.append(pair)
            if len(left) == len(waiting):
                return ()
            waiting = left
        if self._reach() is not None:
            return ()
        made_up, owners, out = self._circle(list(self.facts))  # what one turn has decided closes a cycle
        source, target = made_up[0][1:]
        way = _way(out, target, source)
        return (frozenset(pair for one in [made_up[0][0], *(way or ())] if (pair := owners[one]) is not None),)

    def _fact(self, pair: Pair) -> bool:
        key, a, b = pair
        return pair in self.facts or (key, b, a) in self.facts

    def _closes(self, reach: Sequence[int], pair: Pair) -> bool:
        return any(reach[target] >> source & 1 for source, target in self._of(pair))

    def _reach(self) -> list[int] | None:
        """Nodes that each node leads to, as the bits of a number; None if there is a cycle."""
        count = self._nodes * (2 if self._apart else 1)
        edges = [*self._base, *(edge for pair in self.facts for edge in self._of(pair))]
        following, order = in_order(count, edges)
        if len(order) < count:
            return None
        reach = [1 << node for node in range(count)]
        for node in reversed(order):
            bits = reach[node]
            for other in following[node]:
                bits |= reach[other]
            reach[node] = bits
        return reach

    # --- the solver -----------------------------------------------------------------------------------------------------------------

    def solve(self) -> Answer:
        """Find out whether an order is possible."""
        from pysat.solvers import Solver

        whole = len(self._variables) // 2
        impossible = self.prune()
        decided = sum(turn > 0 for turn in self.facts.values())
        if impossible:
            return Answer(False, 0, len(impossible), self.open, decided, core=self._evidence(impossible))
        clauses: list[list[int]] = []
        selectors: dict[int, int] = {}
        top = whole
        with Solver(name="glucose4", incr=False) as solver:
            for pair in self.facts:
                solver.add_clause([self._variables[pair]])
            solver.set_phases(
                [self._variables[pair] for pair in self._pairs.values() if self._rank[pair[1]] < self._rank[pair[2]]]
            )
            for turn in range(1, ROUNDS + 1):
                solver.conf_budget(CONFLICTS)
                said = solver.solve_limited(assumptions=list(selectors))
                if said is None:
                    return Answer(None, turn, len(clauses), self.open, decided)
                if not said:
                    core = [clauses[selectors[one]] for one in solver.get_core() or [] if one in selectors]
                    cores = self._evidence([frozenset(self._pairs[-one] for one in clause) for clause in core])
                    return Answer(False, turn, len(clauses), self.open, decided, core=cores)
                model = solver.get_model()[:whole]
                model += range(len(model) + 1, whole + 1)
                learned = self._cycles([self._pairs[number] for number in model])
                if not learned:
                    return Answer(True, turn, len(clauses), self.open, decided, self._ordered(model))
                for pairs in learned:
                    clause = [-self._variables[pair] for pair in pairs]
                    top += 1
                    selectors[top] = len(clauses)
                    clauses.append(clause)
                    solver.add_clause([*clause, -top])
        return Answer(None, ROUNDS, len(clauses), self.open, decided)

    def _ordered(self, model: Sequence[int]) -> dict[Hashable, list[int]]:
        """The writers of each key in the order of a model."""
        before: defaultdict[tuple[Hashable, int], int] = defaultdict(int)
        for number in model:
            key, _, b = self._pairs[number]
            before[key, b] += 1
        return {key: sorted(members, key=lambda one: before[key, one]) for key, members in self._groups.items()}

    def _cycles(self, pairs: Sequence[Pair]) -> list[frozenset[Pair]]:
        """Cycles that an order closes: the pairs of each that are not decided."""
        made_up, owners, out = self._circle(pairs)
        open_ = [one for one in made_up if owners[one[0]] not in self.facts]
        found: dict[frozenset[Pair], None] = {}
        for edge, source, target in open_[:: max(1, len(open_) // _CYCLES)]:
            way = _way(out, target, source)
            if way is not None:
                used = {pair for one in [edge, *way] if (pair := owners[one]) is not None}
                found[frozenset(pair for pair in used if pair not in self.facts)] = None
        return list(found)

    def _circle(
        self, pairs: Sequence[Pair]
    ) -> tuple[list[tuple[int, int, int]], list[Pair | None], dict[int, list[tuple[int, int]]]]:
        """Edges that are on cycles of an order: those that follow from a pair, which pair it is by edge, and where each node leads."""
        edges = list(self._base)
        owners: list[Pair | None] = [None] * len(edges)
        for pair in pairs:
            more = self._of(pair)
            edges += more
            owners += [pair] * len(more)
        ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
        source, target = ends[:, 0], ends[:, 1]
        labels = components(self._nodes * (2 if self._apart else 1), source, target)
        inside = np.flatnonzero(labels[source] == labels[target]).tolist()
        out: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for edge in inside:
            out[edges[edge][0]].append((edges[edge][1], edge))
        return [(edge, *edges[edge]) for edge in inside if owners[edge] is not None], owners, out

    # --- why not ----------------------------------------------------------------------------------------------------------------------

    def _evidence(self, cycles: Iterable[frozenset[Pair]]) -> tuple[frozenset[Pair], ...]:
        """Add to these cycles those that have decided the pairs that they take for known: with them nothing is supposed that no cycle shows."""
        waiting = deque(cycles)
        found: dict[frozenset[Pair], None] = {}
        shown: set[Pair] = set()
        while waiting:
            pairs = waiting.popleft()
            turn = _HIGHEST if len(pairs) > 1 else max(self.facts.get(_turned(one), _HIGHEST) for one in pairs)
            used = self._closed(pairs, turn)
            found[frozenset(used)] = None
            for pair in used:
                if self.facts.get(pair, 0) and pair not in shown:
                    shown.add(pair)
                    waiting.append(frozenset([_turned(pair)]))
        return tuple(found)

    def _closed(self, pairs: frozenset[Pair], turn: int) -> set[Pair]:
        """All pairs of a cycle that these close with what is known, or was decided before a turn."""
        out: defaultdict[int, list[tuple[int, Any]]] = defaultdict(list)
        for a, b in self._base:
            out[a].append((b, None))
        for pair in [*(one for one, when in self.facts.items() if 0 < when < turn), *pairs]:
            for a, b in self._of(pair):
                out[a].append((b, pair))
        best: set[Pair] | None = None
        for pair in pairs:
            for a, b in self._of(pair):
                way = _way(out, b, a)
                if way is not None:
                    used = {pair, *(one for one in way if one is not None)}
                    if best is None or len(used) < len(best):
                        best = used
        return set(pairs) if best is None else best


_HIGHEST: Final = 1 << 30


def _turned(pair: Pair) -> Pair:
    key, a, b = pair
    return key, b, a


def _way(out: Mapping[int, Sequence[tuple[int, Any]]], start: int, goal: int) -> list[Any] | None:
    """Values that the edges of a shortest way carry, or None if there is none."""
    came: dict[int, tuple[int, Any]] = {start: (start, None)}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node == goal:
            carried = []
            while node != start:
                node, one = came[node]
                carried.append(one)
            return carried
        for following, one in out.get(node, ()):
            if following not in came:
                came[following] = (node, one)
                queue.append(following)
    return None
