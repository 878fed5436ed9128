"""Checks every run against the guarantees of its strategy: the checker's properties, as far as one run can show them.

`simtx.verify` looks at every run of a small scope. Here the one run that was played is held against the same properties: while it goes on, where an
order matters, and when it is over. A property that the strategy is known not to have (its ``weaknesses``), or that says nothing about it (``exempt``), is no violation: what a dual write loses is counted
in the tables.

- ``agreement``: no transaction is decided, or answered, both ways.
- ``effect-once``: the net effect of every step is zero or one, at any time.
- ``undo-order``: a step is undone only after all that came after it.
- ``atomicity``: at rest all steps of a transaction are in force, or none, as it was decided.
- ``truth``: what the client was told is so.
- ``values``: the values of every store are what the steps in force amount to, and nothing is in force that was to be refused.
- ``no-ghost``: an event in an outbox tells of something that has happened.

At rest means: no machine, no prepared branch, no row and no message of the transaction is left when the run ends. What still waits, for an operator or since a node is
down, is judged by the first three alone. Values that some step overwrites (``set``) are left out, since the last writer wins, and so are those that a
compensation does not put back.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from simtx.event_log.entries import Applied, Arrived
from simtx.protocols.extras import extras
from simtx.protocols.operations import FirstValues
from simtx.protocols.subjects import cause_of

if TYPE_CHECKING:
    from simtx.event_log.log import LogEntry
    from simtx.protocols import Message, Step, Strategy
    from simtx.scenario import Scenario, StepSpec

PROPERTIES: Final[Mapping[str, str]] = {
    "agreement": "no transaction is decided, or answered, both ways",
    "effect-once": "the net effect of every step is zero or one, at any time",
    "undo-order": "a step is undone only after all that came after it, along the plan",
    "atomicity": "all steps of a transaction are in force, or none, as it was decided",
    "truth": "what the client was told comes true",
    "values": "the values of every store are what the steps in force amount to",
    "no-ghost": "every event in an outbox tells of something that happened",
}
GUARANTEE: Final = "guarantee"
"""The law under which a run's findings name what it has violated."""
VIOLATED: Final = "VIOLATED"
"""Beginning of the line of such a finding."""
LISTED: Final = 100
"""Violations of one property that are kept; all are counted."""

SPLIT, DOUBLED, EARLY = 1, 2, 4
"""Bits of what is noticed of a transaction while the run goes on: decided both ways, an effect too often, undone too early."""
REFUSING: Final = 8
"""The bit of the first step that was to be refused, and is booked as done; that of the next one is the next."""

_LOSING: Final = frozenset({"agreement", "effect-once", "undo-order", "atomicity", "truth", "no-ghost"})
_NEAR: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Broken:
    """A property that a run has violated.

    Attributes:
        property: Its name.
        tx: The transaction, or -1 if it is about a store.
        text: One line that says what is wrong.
        service: Whose store it is about; empty: it is about a transaction.
        key: The key there.
    """

    property: str
    tx: int
    text: str
    service: str = ""
    key: str = ""


class Seen(NamedTuple):
    """A transaction when it is closed, as far as the properties look at it.

    Attributes:
        tx: Its number.
        outcome: As the tables say.
        answer: What the client was told first; empty: nothing.
        committed: Whether its effects ought to be there.
        decided: Whether there is an outcome at all.
        actions: How often each step was done.
        undone: How often each step was undone.
        places: The service of each step that writes, None for one that only reads.
        watch: What was noticed of it, of `SPLIT`, `DOUBLED`, `EARLY` and, for each step, `REFUSING`.
        resting: Whether nothing of it is left anywhere.
        claims: (kind of event, step, ``action`` or ``compensation``) of the rows that were written to an outbox.
    """

    tx: int
    outcome: str
    answer: str
    committed: bool
    decided: bool
    actions: Sequence[int]
    undone: Sequence[int]
    places: Sequence[str | None]
    watch: int
    resting: bool
    claims: Sequence[tuple[str, int, str]] = ()


class Watch:
    """Violations that were found so far.

    Attributes:
        found: The first of each property.
        counts: How many of each.
        unfinished: Transactions that were not at rest when the run ended.
    """

    def __init__(self) -> None:
        self.unfinished = 0
        self.found: list[Broken] = []
        self.counts: Counter[str] = Counter()

    def add(self, name: str, tx: int, text: str, *, service: str = "", key: str = "") -> None:
        """One more."""
        self.counts[name] += 1
        if self.counts[name] <= LISTED:
            self.found.append(Broken(name, tx, text, service, key))

    def judge(self, seen: Seen) -> None:
        """Hold a closed transaction against the properties."""
        tx, watch = seen.tx, seen.watch
        if watch & SPLIT:
            self.add("agreement", tx, "it was decided, or answered, both ways: committed and aborted")
        nets = [done - undone for done, undone in zip(seen.actions, seen.undone, strict=True)]
        writing = [index for index, place in enumerate(seen.places) if place is not None]
        if watch & DOUBLED:
            self.add("effect-once", tx, f"a step took effect, or was undone, too often: {_counts(seen, writing)}")
        if watch & EARLY:
            self.add(
                "undo-order",
                tx,
                f"a step was undone while one that came after it was in force: {_counts(seen, writing)}",
            )
        if not seen.resting or not writing:
            return
        force = [index for index in writing if nets[index] > 0]
        absent = [index for index in writing if nets[index] <= 0]
        self._outcome(seen, force, absent)
        for index in force:
            if watch >> (REFUSING + index) & 1:
                self.add("values", tx, f"{_step(seen, index)} was to be refused, and is in force")
        for kind, index, what in sorted(seen.claims):  # an engine may not know in which order they were made
            if not _true(seen, writing, kind, index, what):
                self.add(
                    "no-ghost", tx, f"'{kind}' of {_step(seen, index)} is told, and is not so: {_counts(seen, writing)}"
                )

    def _outcome(self, seen: Seen, force: Sequence[int], absent: Sequence[int]) -> None:
        tx, answer = seen.tx, seen.answer
        if force and absent:
            word = seen.outcome if seen.decided else "undecided"
            self.add(
                "atomicity",
                tx,
                f"{word}, and at rest {_steps(seen, force)} {_are(force)} in force and {_steps(seen, absent)} {_are(absent)} not",
            )
        elif seen.decided and (absent if seen.committed else force):
            word, which = ("committed", "no step is") if seen.committed else (seen.outcome, "all steps are")
            self.add("atomicity", tx, f"{word}, and at rest {which} in force")
        if answer == "committed" and (absent or (seen.decided and not seen.committed)):
            self.add(
                "truth", tx, f"the client was told 'committed', and {_steps(seen, absent)} {_are(absent)} not in force"
            )
        elif answer == "aborted" and force:
            self.add("truth", tx, f"the client was told 'aborted', and {_steps(seen, force)} {_are(force)} in force")
        elif answer == "accepted" and not seen.decided and None not in seen.places and not any(seen.actions):
            self.add("truth", tx, "the client was told 'accepted', and nothing was ever done, nor refused")

    def final(
        self,
        scenario: Scenario,
        values: Mapping[str, Mapping[str, float]],
        force: Mapping[str, Mapping[str, float]],
    ) -> Watch:
        """All that was found, by property and transaction, and what the values of the stores say beside what is in force.

        Args:
            scenario: What was played.
            values: The last values.
            force: What the steps in force have added, by service and key.
        """
        whole = Watch()
        whole.unfinished = self.unfinished
        whole.found, whole.counts = sorted(self.found, key=_place), Counter(self.counts)
        left = left_out(scenario)
        for name, service in scenario.services.items():
            present, wanted = values.get(name, {}), force.get(name, {})
            exact, prefixes = left[name]
            initial = FirstValues(service.store.initial)
            amiss = []
            for key, first in initial.each(present.keys() | wanted.keys()):
                value, sum_ = present.get(key, first), first + wanted.get(key, 0.0)
                if value != sum_ and abs(value - sum_) > _NEAR + 1e-9 * (abs(value) + abs(first)):
                    amiss.append((key, value, sum_))
            for key, value, sum_ in sorted(amiss):
                if key not in exact and not key.startswith(prefixes):
                    text = f"{name}.{key} is {value:.12g}, and what is in force amounts to {sum_:.12g}"
                    whole.add("values", -1, text, service=name, key=key)
        return whole


def _place(one: Broken) -> tuple[int, int]:
    return list(PROPERTIES).index(one.property), one.tx


def examined(
    seen_answer: str, outcome: str, *, committed: bool, watch: int, claims: Sequence[tuple[str, int, str]]
) -> bool:
    """Return whether a transaction of which every step is there as it ought to be has to be looked at for something else."""
    if watch or outcome in ("lost", "incomplete"):
        return True
    # Where every step is in force, that a step was done is true: only that one was refused is not.
    if claims and (not committed or "step-refused" in [kind for kind, _, _ in claims]):
        return True
    return (seen_answer == "committed" and not committed) or (seen_answer == "aborted" and committed)


def claim(message: Message) -> tuple[str, int, str] | None:
    """Claim of an event about a step, if it is one that can be true or not."""
    return claimed(message.kind, cause_of(message))


def claimed(kind: str, cause: Sequence[Any] | None) -> tuple[str, int, str] | None:
    """Claim of an event of this kind and cause about a step, if it is one that can be true or not."""
    if cause is None or kind not in ("step-done", "completed", "step-refused"):
        return None
    _, index, what = cause
    return kind, int(index), str(what)


def behind(steps: Iterable[StepSpec] | Iterable[Step]) -> tuple[tuple[int, ...], ...]:
    """Steps that come after each step, directly or not."""
    listed: list[Any] = list(steps)
    found: list[set[int]] = [set() for _ in listed]
    for step in reversed(listed):
        for before in step.after:
            found[int(before)] |= {int(step.index), *found[int(step.index)]}
    return tuple(tuple(sorted(one)) for one in found)


def left_out(scenario: Scenario) -> dict[str, tuple[frozenset[str], tuple[str, ...]]]:
    """Keys, and prefixes of keys, by service, of which no sum of changes says what they hold: they are overwritten, or not put back as they were."""
    keys: dict[str, set[str]] = {name: set() for name in scenario.services}
    for step in scenario.transaction.steps:
        everything = (*step.operations, *step.compensation)
        keys[step.service] |= {one.key for one in everything if one.kind == "set"}
        sums: defaultdict[tuple[str, str | None], float] = defaultdict(float)
        for sign, operations in ((1.0, step.operations), (1.0, step.compensation)):
            for one in operations:
                if one.kind == "add":
                    sums[one.key, one.parameter] += sign * float(one.amount)
        if step.compensation:
            keys[step.service] |= {key for (key, _), left in sums.items() if abs(left) > _NEAR}
    return {
        name: (
            frozenset(key for key in found if "{" not in key),
            tuple(key.split("{", maxsplit=1)[0] for key in found if "{" in key),
        )
        for name, found in keys.items()
    }


def guaranteed(strategy: Strategy, unfinished: int = 0) -> frozenset[str]:
    """The properties that a strategy is meant to have.

    Args:
        strategy: The strategy.
        unfinished: Transactions that were not at rest when a run ended: what they have reserved is in the stores, and is no step in force.
    """
    said = extras(strategy)
    missing = frozenset(said.weaknesses)
    if said.may_lose_effects and not missing:
        missing = _LOSING
    missing |= frozenset(said.exempt)
    if not strategy.uses_broker:
        missing |= {"no-ghost"}
    if said.reserves and unfinished:
        missing |= {"values"}
    return frozenset(PROPERTIES) - missing


class Watched(Protocol):
    """Guarantees that were watched in a run, and findings: `RunData`, which knows this module."""

    @property
    def unfinished(self) -> int:
        """Transactions that somebody still works on."""

    @property
    def broken_counts(self) -> Mapping[str, int]:
        """Number of violations of each property."""

    @property
    def watched(self) -> Sequence[str]:
        """Properties that were looked at."""


def violated(strategy: Strategy, data: Watched) -> float:
    """Number of violations of what the strategy guarantees; not a number if nobody has looked."""
    kept = guaranteed(strategy, data.unfinished)
    return float(sum(data.broken_counts.get(name, 0) for name in kept)) if data.watched else math.nan


def broken_line(name: str, count: int, first: str) -> str:
    """The finding of one property: what is guaranteed, how often it was violated, and the first time."""
    times = "" if count == 1 else f"{count:,} times; the first: "
    return f"{VIOLATED}, although the strategy guarantees it ({PROPERTIES[name]}): {times}{first}"


def culprits(trace: Iterable[LogEntry], service: str, key: str) -> list[int]:
    """Transactions whose changes of a value are not what their plan says, in the order of the log.

    A plan in the log has no compensations: one that undoes has to change the value by the opposite of what its step does.
    """
    plans: dict[int, list[tuple[str, Any]]] = {}
    found: dict[int, None] = {}
    for entry in trace:
        if entry.kind == "arrive":
            plans[entry.tx] = Arrived.read(entry).operations()
        elif entry.kind == "apply" and entry.node == service:
            applied = Applied.read(entry)
            change = applied.values.get(key)
            steps = plans.get(entry.tx, [])
            sign = -1 if entry.name == "compensation" else 1
            wanted = sign * sum(
                one.amount
                for index in applied.steps
                if index < len(steps) and steps[index][0] == service
                for one in steps[index][1]
                if one.kind == "add" and one.key == key
            )
            moved = change[1] - change[0] if change is not None else 0.0
            if abs(moved - wanted) > _NEAR:
                found[entry.tx] = None
    return list(found)


def _true(seen: Seen, writing: Sequence[int], kind: str, index: int, what: str) -> bool:
    """Return whether what an event says of its cause is so; steps that only read leave nothing to judge by."""
    if index >= len(seen.places) or seen.places[index] is None:
        return True
    did, undid = seen.actions[index], seen.undone[index]
    if kind == "step-refused":
        return not did or (what == "compensation" and undid > 0)
    return did > 0 and (kind != "completed" or all(seen.actions[one] for one in writing))


def _step(seen: Seen, index: int) -> str:
    place = seen.places[index] if index < len(seen.places) else None
    return f"step {index}{f' at {place}' if place else ''}"


def _steps(seen: Seen, which: Sequence[int]) -> str:
    if not which:
        return "some step"
    return ", ".join(_step(seen, index) for index in which)


def _are(which: Sequence[int]) -> str:
    return "are" if len(which) > 1 else "is"


def _counts(seen: Seen, writing: Sequence[int]) -> str:
    return ", ".join(
        f"{_step(seen, index)} done {seen.actions[index]} and undone {seen.undone[index]}" for index in writing
    )
