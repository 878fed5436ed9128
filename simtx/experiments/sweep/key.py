"""Key of a run in a store: every input by value, and the code that made numbers of it.

The identity of a run is its scenario, its strategy with all options, the seed and the replication. The same identity under other code is another
run: its key holds both. So a figure is never taken for one that the code of today would give; and since the store keeps
what each module was, it can say which of them has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from simtx.scenario.canonical import canonical, digest, untouched
from simtx.scenario.fingerprints import CodeFingerprint, code_fingerprint, strategy_fingerprint, strategy_sources

if TYPE_CHECKING:
    from simtx.protocols import Strategy

SEEDS: Final = "simtx.workload.streams(seed, replication)"
"""Way in which the random numbers of a run follow from the seed of the sweep: named by what they are for, hashed with seed and replication."""


def code(strategy: Strategy) -> CodeFingerprint:
    """The code that plays this strategy: modules of simtx, packages, and the user's own classes and functions.

    Raises:
        ScenarioError: The strategy holds something that cannot be compared by value.
    """
    ours = code_fingerprint()
    own = {name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in strategy_sources(strategy).items()}
    if not own:
        return ours
    kind = type(strategy)
    own[f"{kind.__module__}.{kind.__qualname__}"] = strategy_fingerprint(strategy)[
        :8
    ]  # also what no source shows, as a closure
    modules = {**ours.modules, **own}
    return CodeFingerprint(digest(canonical([ours.text, own])), modules)


def strategy_identity(strategy: Strategy) -> str:
    """Name of a strategy with its options, whatever its code.

    Raises:
        ScenarioError: An option cannot be compared by value.
    """
    given: Any = strategy
    kind = type(strategy)
    state: dict[str, Any] = {}
    if dataclasses.is_dataclass(given):
        state = {one.name: getattr(given, one.name) for one in dataclasses.fields(given) if hasattr(given, one.name)}
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(strategy, name):
                state.setdefault(name, getattr(strategy, name))
    state |= vars(strategy) if hasattr(strategy, "__dict__") else {}
    state = {name: one for name, one in state.items() if not untouched(given, name)}
    said = [f"{kind.__module__}.{kind.__qualname__}", strategy.name, dict(sorted(state.items()))]
    return digest(canonical(said, f"strategy {strategy.name}"))


def identities(scenario: str, strategy: str, seed: int, replications: range | list[int]) -> list[str]:
    """Identities of some replications.

    Args:
        scenario: Fingerprint of the scenario.
        strategy: Of `strategy_identity`.
        seed: Of the sweep.
        replications: Their numbers.
    """
    head = hashlib.sha256(json.dumps([SEEDS, scenario, strategy, seed]).encode())
    found = []
    for number in replications:
        one = head.copy()
        one.update(str(number).encode())
        found.append(one.hexdigest()[:32])
    return found


def key(identity: str, code: str) -> str:
    """The key of a run: its identity under this code."""
    return hashlib.sha256(f"{identity}:{code}".encode()).hexdigest()[:32]
