"""Event logs by hand: what a run would have written about its stores, entry by entry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from simtx.event_log.log import EventLog, LogEntry


class Log:
    """One store of numbers and the entries about it; time passes by 1 an entry.

    Args:
        initial: Values by key.
        versions: Whether the store gives the number of the version with each value.
    """

    def __init__(self, initial: Mapping[str, float] | None = None, *, versions: bool = True) -> None:
        self.values = dict(initial or {})
        self.counts: dict[str, int] = {}
        self.versions = versions
        self.events: list[LogEntry] = []

    def event(self, kind: str, tx: int, *, name: str = "", node: str = "s", detail: Any = "", cause: Any = None) -> int:
        """Any entry."""
        number = len(self.events)
        text = detail if isinstance(detail, str) else json.dumps(detail)
        self.events.append(LogEntry(number, float(number), kind, node, tx, cause, "", "", name, text))
        return number

    def arrive(self, *txs: int) -> None:
        for tx in txs:
            self.event("arrive", tx, node="client")

    def commit(self, *txs: int) -> None:
        for tx in txs:
            self.event("decided", tx, name="committed")
            self.event("answer", tx, name="committed")

    def abort(self, *txs: int) -> None:
        for tx in txs:
            self.event("decided", tx, name="aborted")
            self.event("answer", tx, name="aborted")

    def seen(self, key: str) -> list[Any]:
        """What a reader gets now."""
        value = self.values.get(key, 0)
        return [key, value, self.counts.get(key, 0)] if self.versions else [key, value]

    def add(self, tx: int, key: str, amount: float, *, name: str = "action", **more: Any) -> None:
        """A local transaction that reads a key and adds to it."""
        self.change(tx, {key: self.values.get(key, 0) + amount}, [self.seen(key)], name=name, **more)

    def undo(self, tx: int, key: str, amount: float, **more: Any) -> None:
        """A compensation that adds."""
        self.add(tx, key, amount, name="compensation", **more)

    def put(self, tx: int, key: str, value: float, *, name: str = "action") -> None:
        """A local transaction that overwrites a key without having read it."""
        self.change(tx, {key: value}, [], name=name)

    def change(
        self,
        tx: int,
        new: Mapping[str, float],
        reads: Sequence[Any] | None,
        *,
        name: str = "action",
        cause: int | None = None,
        **more: Any,
    ) -> None:
        """A local transaction that changes something; `reads` None: unknown."""
        values = {key: [self.values.get(key, 0), value] for key, value in new.items()}
        detail: dict[str, Any] = {"steps": [0], "values": values, **more}
        if reads is not None:
            detail["reads"] = list(reads)
        if cause is None:
            cause = self.event("receive", tx)
        self.event("apply", tx, name=name, detail=detail, cause=cause)
        for key, value in new.items():
            self.values[key] = value
            self.counts[key] = self.counts.get(key, 0) + 1

    def look(self, tx: int, *reads: Any, steps: Sequence[int] = (0,), name: str = "action") -> None:
        """A local transaction that only reads: keys as they are now, or what is given instead."""
        found = [self.seen(read) if isinstance(read, str) else list(read) for read in reads]
        cause = self.event("receive", tx)
        self.event("query", tx, name=name, detail={"steps": list(steps), "values": {}, "reads": found}, cause=cause)

    def trace(self) -> EventLog:
        return EventLog(self.events)
