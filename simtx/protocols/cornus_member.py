"""Base of coordinator and participants under log-once votes: the termination protocol; theory and sources are in `simtx.protocols.cornus`."""

from __future__ import annotations

from bisect import insort
from typing import Final

from simtx.protocols.commit_machine import FORGET, CommitMachine
from simtx.protocols.contract import Alert, Done, Effect, Event, LogOnce, Outcome
from simtx.protocols.policies import Policies

YES: Final = "yes"
NO: Final = "no"
COMMITTED: Final = "committed"
ABORTED: Final = "aborted"


def outcome(body: object) -> bool:
    """Outcome of a transaction."""
    return body in (COMMITTED, ABORTED)


class Voter(CommitMachine):
    """A node that can end a transaction by its votes in the store alone.

    Attributes:
        participants: Services of the transaction, in the order of their first step; empty as long as this node does not know of it.
        agreed: Participants that are known to have a yes in the vote store.
    """

    __slots__ = ("agreed", "participants")

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.participants: tuple[str, ...] = ()
        self.agreed: list[str] = []

    def count(self, name: str) -> None:
        """A participant has a yes in the vote store.

        Raises:
            PeerFault: It does not take part in the transaction.
        """
        if name not in self.participants:
            raise self.stranger(name, "votes in")
        if name not in self.agreed:
            insort(self.agreed, name)

    def complete(self) -> bool:
        """Return whether every vote is a yes: then the transaction is committed."""
        return len(self.agreed) == len(self.participants)

    def ask(self) -> list[Effect]:
        """Write a no for everybody whose vote is not known to be a yes; the answer says what is there."""
        return [LogOnce("logged", name, NO) for name in self.participants if name not in self.agreed]

    def take_stored(self, event: Done) -> list[Effect]:
        """A vote as it is in the store, for good: one no has aborted the transaction, and nothing but yes has committed it."""
        if event.status != "done":
            return []  # the timer asks again
        name, vote = event.value
        if vote == NO:
            return self.conclude(ABORTED, f"no vote of {name}")
        self.count(name)
        return self.conclude(COMMITTED) if self.complete() else []

    def conclude(self, result: Outcome, reason: str = "") -> list[Effect]:
        """The outcome is known for good."""
        raise NotImplementedError

    def again(self, timer: str, timeout: float) -> list[Effect]:
        """Wait longer than before, and say so to people when it has been long."""
        effects: list[Effect] = []
        if self.count_attempt():
            effects.append(Alert(f"the vote store has not answered {self.attempt} requests"))
        return [*effects, self.timer(timer, timeout)]

    def unexpected(self, event: Event) -> list[Effect]:
        """An answer of the vote store that nobody waits for any more is no fault of anybody, wherever it comes."""
        if isinstance(event, Done) and event.kind == "logged":
            return [FORGET] if self.state == self.initial else []
        return super().unexpected(event)
