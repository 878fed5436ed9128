"""Votes of a log: a vote in the shared store never changes, and is one that somebody has asked for."""

from __future__ import annotations

from simtx.conformance.players import ReplayedMachine
from simtx.event_log.entries import EntryError, Vote
from simtx.event_log.log import LogEntry
from simtx.protocols import Done, LogOnce


class Votes:
    """Everything that the vote store was asked for, and has said so far."""

    __slots__ = ("_asked", "_there", "_told")

    def __init__(self) -> None:
        self._asked: set[tuple[int, str, str]] = set()
        self._there: dict[tuple[int, str], str] = {}
        self._told: set[tuple[str, int, str]] = set()

    def asked(self, tx: int, effect: LogOnce) -> None:
        """A machine has asked for a vote to be written, or may have."""
        self._asked.add((tx, effect.voter, effect.vote))

    def told(self, entry: LogEntry) -> str | None:
        """The store has answered; one line if it cannot have said so."""
        try:
            answer = Vote.read(entry)
        except EntryError as error:
            return str(error)
        row = (entry.tx, entry.name)
        self._told.add((entry.node, *row))
        before = self._there.setdefault(row, answer.vote)
        if (*row, answer.vote) not in self._asked:
            return f"the vote of {entry.name} is said to be '{answer.vote}', which nobody has asked to write"
        if before != answer.vote:
            return f"the vote of {entry.name} is said to be '{answer.vote}', and was '{before}' before: a vote never changes"
        return None

    def answered(self, player: ReplayedMachine, event: Done) -> str | None:
        """A machine handles an answer; one line if it is not what the store has said."""
        if event.status == "failed" and event.value is None:
            return None
        if event.status != "done" or not isinstance(event.value, tuple) or len(event.value) != 2:
            return f"the answer of the vote store is '{event.status}' with {event.value!r}"
        voter, vote = event.value
        if voter not in player.requests[event.kind]:
            return f"the answer about the vote of {voter} is handled, but this machine has not asked for it"
        if (player.node, player.tx, voter) not in self._told:
            return f"the answer about the vote of {voter} is handled, but the vote store has not given it"
        if self._there.get((player.tx, voter)) != vote:
            return f"the vote of {voter} is handled as '{vote}', and is '{self._there.get((player.tx, voter))}'"
        return None
