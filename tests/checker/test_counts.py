"""How many states and transitions small scopes have under every strategy: a change of the machines, or of the search, that adds or loses one is seen.

Where a change of a protocol is meant, the new numbers are copied from what the test says; a change that is only to tidy up changes none.
"""

from __future__ import annotations

from typing import Any

import pytest

from simtx.checker import verify
from simtx.protocols.registry import STRATEGIES

SMALL: dict[str, Any] = {"duplicates": 0, "timeouts": 0}
LARGER: dict[str, Any] = {"crashes": 0, "losses": 1, "duplicates": 1, "failures": 1, "timeouts": 0}
#: Strategy, scope: states, transitions, depth.
COUNTS: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("2pc", SMALL, (701, 1_394, 14)),
    ("2pc", LARGER, (1_138, 2_684, 15)),
    ("2pc:work=before", SMALL, (594, 1_081, 18)),
    ("2pc:work=before", LARGER, (1_786, 4_001, 20)),
    ("2pc:termination=cooperative", SMALL, (1_177, 2_476, 18)),
    ("2pc:presumption=commit", SMALL, (1_205, 2_752, 17)),
    ("2pc:presumption=commit", LARGER, (2_276, 4_858, 17)),
    ("paxos-commit", SMALL, (13_678, 43_322, 25)),
    ("cornus", SMALL, (1_382, 2_918, 21)),
    ("cornus", LARGER, (8_824, 18_753, 22)),
    ("saga", SMALL, (259, 398, 13)),
    ("saga", LARGER, (1_282, 2_225, 15)),
    ("saga:completion=lazy", SMALL, (269, 418, 13)),
    ("tcc", SMALL, (1_131, 2_550, 14)),
    ("tcc", LARGER, (4_112, 9_982, 15)),
    ("outbox", SMALL, (418, 954, 14)),
    ("outbox", LARGER, (1_628, 4_190, 17)),
    ("outbox:closing=true", SMALL, (662, 1_585, 14)),
    ("choreography", SMALL, (418, 954, 14)),
    ("choreography", {**SMALL, "participants": 3, "parallel": True}, (30_351, 108_244, 33)),
    ("dual-write", SMALL, (122, 256, 13)),
    ("dual-write", LARGER, (1_184, 2_200, 21)),
    ("dual-write:order=broker-first", SMALL, (150, 309, 13)),
]


@pytest.mark.parametrize(("strategy", "scope", "counts"), COUNTS, ids=str)
def test_a_small_scope_has_the_states_that_it_had(
    strategy: str, scope: dict[str, Any], counts: tuple[int, int, int]
) -> None:
    verdict = verify(strategy, **scope)
    assert verdict.complete
    assert (verdict.states, verdict.transitions, verdict.depth) == counts


def test_every_strategy_is_counted() -> None:
    assert {strategy.partition(":")[0] for strategy, _, _ in COUNTS} == set(STRATEGIES)
