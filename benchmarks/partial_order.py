"""What a partial-order reduction of the checker could leave out at most: `python benchmarks/partial_order.py`.

Such a reduction explores the steps of one node only, where no other node can interfere with them before they are taken: a persistent set. In a search that has
to be guessed. Here the whole graph is known first, so that nothing has to be: the steps of a node form a persistent set in a state unless steps of others lead from there
to one that sends the node something, brings an event to its queue, passes time, or uses up a budget of faults. Then the graph is explored again, with the smallest of these sets in each
state. What properties can see of the order is left out of account, as is what must not be put off for ever. Both would cost states, so that a real reduction keeps more.
"""

from __future__ import annotations

import argparse
from collections import deque
from typing import Any

from simtx.checker.protocols.layout import WAIT_SHIFT
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.protocols import strategy as strategy_of

SCOPES: list[tuple[str, dict[str, Any]]] = [
    ("2pc", {}),
    ("2pc", {"participants": 3, "duplicates": 0, "timeouts": 0}),
    ("saga", {}),
    ("saga", {"messages": 2, "contention": True, "duplicates": 0, "timeouts": 0}),
    ("outbox", {}),
    ("dual-write", {}),
    ("tcc", {"duplicates": 0}),
]


def spent(before: int, after: int) -> bool:
    """Whether a budget was used up by a step."""
    return any(before >> 4 * one & 15 and not after >> 4 * one & 15 for one in range(len(BUDGETS)))


def persistent(name: str, scope: dict[str, Any]) -> tuple[int, int]:
    """States of the whole graph, and states that are left with the smallest persistent sets."""
    model = ProtocolModel(strategy_of(name), Scope(**scope))
    numbers: dict[Any, int] = {state: number for number, state in enumerate(model.initial())}
    states = list(numbers)
    roots = len(states)
    steps: list[list[tuple[int, int]]] = []  # by state: (acting node, state afterwards)
    to_whom: list[list[tuple[int, int]]] = []  # backwards: (acting node, state before)
    disturbed: list[set[int]] = []  # by state: nodes with which a step of another interferes, now or later
    nodes = range(len(model.nodes))
    for number, state in enumerate(states):
        found = []
        to_whom.append([])
        disturbed.append(set())
        for action, after in model.successors(state):
            known = numbers.get(after)
            if known is None:
                known = numbers[after] = len(states)
                states.append(after)
            item = model.items[action.item] if action.item >= 0 else None
            acting = item.consumer if action.kind == "store" and item is not None else action.node
            found.append((acting, known))
            sent = {model.items[one].node for one in after[1] if after[1].count(one) > state[1].count(one)}
            everybody = spent(state[4], after[4]) or state[5] >> WAIT_SHIFT != after[5] >> WAIT_SHIFT
            disturbed[number] |= {node for node in nodes if node != acting and (everybody or node in sent)}
        steps.append(found)
    for number, found in enumerate(steps):
        for acting, after in found:
            to_whom[after].append((acting, number))
    for node in nodes:
        ahead = deque(number for number in range(len(states)) if node in disturbed[number])
        while ahead:
            for acting, before in to_whom[ahead.popleft()]:
                if acting != node and node not in disturbed[before]:
                    disturbed[before].add(node)
                    ahead.append(before)
    seen = set(range(roots))
    todo = list(seen)
    while todo:
        here = todo.pop()
        sets = [[one for one in steps[here] if one[0] == node] for node in nodes if node not in disturbed[here]]
        for _, after in min((one for one in sets if one), key=len, default=steps[here]):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return len(states), len(seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="STRATEGY", help="scopes of one strategy")
    arguments = parser.parse_args()
    for name, scope in SCOPES:
        if arguments.only in (None, name):
            states, left = persistent(name, scope)
            words = ", ".join(f"{key} {value}" for key, value in scope.items()) or "default scope"
            print(f"{name}, {words}: {left:,} of {states:,} states are left, {left / states:.0%}", flush=True)


if __name__ == "__main__":
    main()
