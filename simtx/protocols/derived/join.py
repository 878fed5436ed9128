"""Joins of a choreographed saga, and a monitor that sees what is stuck.

Theory of operation. In a chain of events each service waits for one other (`simtx.protocols.choreography`). Where branches run side by side, one service **joins** them: it goes on when all
of its branches have reported, and nobody directs it. Events come at least once and in any order, so the join has to

- **count** the branches that have reported (`sources`), and not the messages: one branch that reports twice is not two;
- **keep** what it has got in its store, in the transaction that acknowledges the event. In memory, a crash loses reports that nobody repeats;
- decide **once**: the first refusal, or a deadline, decides to undo, and no report afterwards makes it complete.

**Undoing** goes to *all* branches, also to those that have not reported: who has is known, who will is not. The undo may overtake the event that starts a branch. The branch then leaves
a **tombstone**, so that the late start does nothing.

A **deadline** of the join ends a wait for a branch whose report never comes. It starts with the first report, so it helps nobody whose first event was lost.

The **monitor** belongs to no saga and changes none. It sees the events of all, and says of a saga that has not ended in time that it is stuck. What it takes for an end decides what it sees:
the word of every branch that it is undone (`confirmed`), or the decision of the join (`decided`), after which an undo can still get lost. And it has to know a saga from its **start**; who learns
of it from the join never sees a saga that did not come so far. An alarm ends with the saga: what is slow is not stuck.

Known weaknesses: as every saga, it is not isolated. A monitor says that something is stuck, not why.

Sources: Richardson, "Microservices Patterns", 2018, chapter 4; Ruecker, "Practical Process Automation", 2021 (lost track of choreographies, monitoring of business events); Hohpe and
Woolf, "Enterprise Integration Patterns", 2003 (aggregator, its completeness condition, process manager).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from simtx.protocols.derived.choices import refuse_unknown

Counts: TypeAlias = Literal["sources", "messages"]
Keeps: TypeAlias = Literal["store", "memory"]
Undoes: TypeAlias = Literal["all", "reported"]
Ends: TypeAlias = Literal["confirmed", "decided"]
Knows: TypeAlias = Literal["start", "join"]
Decision: TypeAlias = Literal["", "complete", "undo"]
BranchState: TypeAlias = Literal["", "done", "refused", "undone"]
Report: TypeAlias = Literal["done", "refused"]


class Joined(NamedTuple):
    """State of a join.

    Attributes:
        reported: The branches that have reported that they are done, one entry a message.
        decision: What it has decided.
    """

    reported: tuple[int, ...] = ()
    decision: Decision = ""


@dataclass(frozen=True)
class JoinRule:
    """Rule by which a join and its monitor work.

    Attributes:
        counts: What is counted: branches, or messages.
        keeps: Where reports are kept.
        undoes: Which branches have to undo: all, or those that have reported.
        tombstones: Whether a branch that has to undo what it has not begun remembers that.
        deadline: Whether the join gives up waiting.
        ends: What the monitor takes for the end of an undone saga.
        knows: From which event on the monitor knows a saga.

    Raises:
        ScenarioError: A value is none of those.
    """

    counts: Counts = "sources"
    keeps: Keeps = "store"
    undoes: Undoes = "all"
    tombstones: bool = True
    deadline: bool = True
    ends: Ends = "confirmed"
    knows: Knows = "start"

    def __post_init__(self) -> None:
        """Refuse what is none of the choices."""
        refuse_unknown(self, "join")

    def told(self, joined: Joined, branch: int, report: Report, branches: int) -> Joined:
        """The join after a report of one of so many branches."""
        if joined.decision:
            return joined
        if report == "refused":
            return joined._replace(decision="undo")
        got = (*joined.reported, branch)
        number = len(set(got)) if self.counts == "sources" else len(got)
        return Joined(got, "complete" if number >= branches else "")

    def given_up(self, joined: Joined) -> Joined:
        """The join after its deadline."""
        return joined if joined.decision else joined._replace(decision="undo")

    def crashed(self, joined: Joined) -> Joined:
        """The join after a crash: what it has decided is in its store."""
        return joined._replace(reported=()) if self.keeps == "memory" else joined

    def undone_by(self, joined: Joined, branches: int) -> Collection[int]:
        """The branches that have to undo, by a join that has just decided so."""
        return range(branches) if self.undoes == "all" else sorted(set(joined.reported))

    def started(self, branch: BranchState, *, refuses: bool) -> BranchState:
        """A branch after the event that starts it."""
        return branch or ("refused" if refuses else "done")

    def undone(self, branch: BranchState) -> BranchState:
        """A branch after the event that undoes it."""
        if branch == "" and not self.tombstones:
            return ""
        return branch if branch == "refused" else "undone"

    def over(self, decision: Decision, confirmed: Collection[int], branches: int) -> bool:
        """Return whether the monitor takes a saga for ended.

        Args:
            decision: Of the join.
            confirmed: The branches that have said that nothing of them is in force.
            branches: How many there are.
        """
        if decision == "undo" and self.ends == "confirmed":
            return len(set(confirmed)) >= branches
        return decision != ""
