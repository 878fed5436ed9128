"""Findings of the checker of histories: an anomaly, the transactions in it, and the sentences that show it."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from simtx.histories.levels import NO_ORDER, implied_by, levels_against, severity

#: The most elements of a long list that a sentence shows.
SHOWN_ELEMENTS = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One edge of a finding, drawn and explained: `source` comes before `target`, or gave it something.

    Attributes:
        source: Identifier of the transaction that comes first.
        target: Identifier of the transaction that comes after it.
        kind: `ww` (overwrites), `wr` (reads from), `rw` (was read before it was overwritten), `process`, `realtime`; for findings
            without a cycle `wr` and `version` too.
        key: The key that relates the two, None for an edge of session order or real time.
        sentence: One sentence that says why.
    """

    source: str
    target: str
    kind: str
    key: Hashable | None
    sentence: str


@dataclass(slots=True)
class Finding:
    """One anomaly with its evidence.

    Attributes:
        name: The anomaly's name.
        steps: The edges of the cycle in order, or the edge or edges that show the anomaly.
        count: How often it was seen; for a cycle one, as the search stops at the first of each name.
        against: The level that was asked for, where the evidence rests on what this level implies; empty where every level that
            forbids an anomaly of this name forbids it.
    """

    name: str
    steps: tuple[Step, ...]
    count: int = 1
    against: tuple[str, ...] = ()

    @property
    def forbidden_by(self) -> tuple[str, ...]:
        """The weakest levels that are known to forbid it."""
        return self.against or levels_against(self.name)

    @property
    def transactions(self) -> tuple[str, ...]:
        """The transactions in it, in the order of the steps, each once."""
        return tuple(dict.fromkeys(name for step in self.steps for name in (step.source, step.target)))

    @property
    def is_cycle(self) -> bool:
        """Return whether the steps lead back to where they began."""
        return self.name != NO_ORDER and len(self.steps) > 1 and self.steps[-1].target == self.steps[0].source


class Findings:
    """Collects findings, the first of each name with its evidence, and how many there were."""

    def __init__(self) -> None:
        self.by_name: dict[str, Finding] = {}

    def add(self, name: str, *steps: Step) -> None:
        """Note one more finding; the evidence of the first is kept."""
        if name in self.by_name:
            self.by_name[name].count += 1
        else:
            self.by_name[name] = Finding(name, steps)

    def seen(self, name: str) -> bool:
        """Return whether there is evidence already, so that further steps need not be put into words."""
        if name in self.by_name:
            self.by_name[name].count += 1
            return True
        return False

    def reported(self, forbidden: Iterable[str]) -> list[Finding]:
        """The findings that a level forbids, the gravest first, without those that another one of them implies."""
        allowed = set(forbidden)
        found = {name for name in self.by_name if name in allowed}
        return [self.by_name[name] for name in sorted(found - implied_by(found), key=severity)]


def show(value: object) -> str:
    """A value in a sentence: text as it is, long lists by their end."""
    if isinstance(value, list):
        if len(value) > SHOWN_ELEMENTS:
            return f"[… {len(value) - SHOWN_ELEMENTS} more, {', '.join(map(show, value[-SHOWN_ELEMENTS:]))}]"
        return f"[{', '.join(map(show, value))}]"
    try:
        return "nothing (the initial state)" if value is None else str(value)
    except ValueError:  # only a read of what nobody wrote can hold it
        return "a number of too many digits"
