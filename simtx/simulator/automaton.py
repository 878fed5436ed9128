"""Shows what the compiled engine has learned of a strategy: the automata of its machines, and how often each transition was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from simtx.arguments import SEED, checked
from simtx.engine import NotCompiled, Unavailable
from simtx.errors import ScenarioError
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.simulator.compiled import CompiledLoop

if TYPE_CHECKING:
    from simtx.scenario import Scenario


@checked(seed=SEED)
def automaton(scenario: Scenario | str, strategy: Strategy | str, *, seed: int = 1) -> pd.DataFrame:
    """Play a run on the compiled engine, and tell what it has learned.

    A machine has more states than it names, as it also remembers which steps are done and which replies are missing; `pairs` says how many of
    (state, event) stand behind a row.

    Args:
        scenario: A scenario, or the name or path of one.
        strategy: A name, or an object with options.
        seed: Seed of all random streams.

    Returns:
        A row for each role, state, event and state afterwards, with the number of pairs behind it, and how often it was taken.

    Raises:
        ScenarioError: The input is wrong, or the compiled engine cannot play it.
    """
    from simtx.scenario import load

    scenario = load(scenario)
    chosen = resolve(strategy, scenario.policies)
    try:
        loop = CompiledLoop(scenario, chosen, seed=seed, replication=0)
        loop.play()
    except (NotCompiled, Unavailable) as reason:
        raise ScenarioError(f"the fast engine cannot play this: {reason}", "strategy") from reason
    rows = pd.DataFrame(loop.learned, columns=["role", "state", "event", "then", "taken"])
    loop.release()
    return rows.groupby(["role", "state", "event", "then"], sort=False, as_index=False).agg(
        pairs=("taken", "size"), taken=("taken", "sum")
    )


def mermaid(table: pd.DataFrame, role: str) -> str:
    """The automaton of one role as a Mermaid state diagram, with how often each transition was taken.

    Args:
        table: What `automaton` returns.
        role: One of its roles.

    Raises:
        ScenarioError: There is no such role.
    """
    mine = table[table["role"] == role]
    if mine.empty:
        raise ScenarioError(f"'{role}' is not among {', '.join(dict.fromkeys(table['role']))}", "role")
    lines = ["stateDiagram-v2"]
    for (state, then), group in mine.groupby(["state", "then"], sort=False):
        label = ", ".join(f"{event} {taken:,}" for event, taken in zip(group["event"], group["taken"], strict=True))
        lines.append(f"    {str(state).replace('-', '_')} --> {str(then).replace('-', '_')}: {label}")
    return "\n".join(lines)
