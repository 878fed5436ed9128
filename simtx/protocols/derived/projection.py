"""Projections: a state that is made of a stream of events, and the checkpoint that says how far.

Theory of operation. A **projection** reads the events of a log in the order of their offsets, and applies each to its own table. It may send something because of it, as a
row of its outbox. Its **checkpoint** is the offset that it reads next. After a crash it goes on from there. Where the checkpoint is written decides
what a crash does:

- **with** the effect, in one local transaction: every event is applied exactly once. What is checkpointed is done, and what is done is checkpointed;
- **after** it, in a transaction of its own: a crash between the two applies an event again (at least once). With an effect that recognises its event (`keyed`: an inbox
  row with the offset, or an upsert that sets and does not add) this is as good;
- **before** it: a crash between the two skips an event (at most once). No later run finds it again.

**Replay.** The table can be thrown away and made again from offset zero: applying is a pure function of table and event. What is *not* repeated is what was sent: mails
would go out twice. So a replay does not send (`muted`), up to the offset that was sent before.

**Rebuilding while readers read.** ``in-place`` empties the table and fills it again: readers see the past once more. ``shadow`` fills a second table beside the first, and
readers are switched when its checkpoint has reached that of the first, in one transaction. Switched ``early``, readers go back in time. The shadow never overtakes the table
(`follows`): behind the table's checkpoint both would work off the same event, and both would send.

Sources: Kleppmann, "Designing Data-Intensive Applications", 2017, chapter 11 (atomic commit revisited, idempotence, reprocessing); Kreps, "Questioning the
Lambda Architecture", 2014 (a second output table, switched when it has caught up); documentation of Axon Framework, "Streaming event processors"
(tokens stored with the projection, replay, `@DisallowReplay`), and of Marten, "Rebuilding projections" (blue and green).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from simtx.protocols.derived.choices import refuse_unknown

Checkpointing: TypeAlias = Literal["with", "after", "before"]
Rebuild: TypeAlias = Literal["shadow", "early", "in-place"]


class Table(NamedTuple):
    """Rows that a projection has written.

    Attributes:
        checkpoint: The offset that it reads next.
        applied: How often each event is in it, by offset.
        sent: How often something was sent because of each event, by offset.
    """

    checkpoint: int = 0
    applied: tuple[int, ...] = ()
    sent: tuple[int, ...] = ()


class Write(NamedTuple):
    """One local transaction of a projection.

    Attributes:
        apply: The offset whose event is applied; None: none.
        checkpoint: The new checkpoint; None: it stays.
        send: Whether something is sent because of the event.
    """

    apply: int | None = None
    checkpoint: int | None = None
    send: bool = False


@dataclass(frozen=True)
class ProjectionRule:
    """Rule by which a projection keeps its checkpoint and is rebuilt.

    Attributes:
        checkpoint: Whether it is written with the effect, after it, or before it.
        keyed: Whether the effect recognises an event that it has applied.
        muted: Whether a replay sends nothing.
        rebuild: How the table is made again while readers read.
        follows: Whether a shadow waits where the table is.

    Raises:
        ScenarioError: A value is none of those.
    """

    checkpoint: Checkpointing = "with"
    keyed: bool = False
    muted: bool = True
    rebuild: Rebuild = "shadow"
    follows: bool = True

    def __post_init__(self) -> None:
        """Refuse what is none of the choices."""
        refuse_unknown(self, "projection")

    def writes(self, offset: int, *, replay: bool) -> tuple[Write, ...]:
        """The local transactions by which the event at an offset is worked off, one after the other.

        Args:
            offset: Of the event.
            replay: Whether the event was worked off before, by the table that this one is to replace.
        """
        send = not (replay and self.muted)
        if self.checkpoint == "with":
            return (Write(offset, offset + 1, send),)
        effect, mark = Write(offset, None, send), Write(None, offset + 1)
        return (effect, mark) if self.checkpoint == "after" else (mark, effect)

    def written(self, table: Table, write: Write) -> Table:
        """The table after a local transaction."""
        applied, sent = table.applied, table.sent
        if write.apply is not None:
            again = self.keyed and _at(applied, write.apply) > 0
            if not again:
                applied = _more(applied, write.apply)
                sent = _more(sent, write.apply) if write.send else sent
        return Table(table.checkpoint if write.checkpoint is None else write.checkpoint, applied, sent)

    def may_go_on(self, shadow: Table, table: Table) -> bool:
        """Return whether a shadow may work off its next event."""
        return not self.follows or shadow.checkpoint < table.checkpoint

    def ready(self, shadow: Table, table: Table) -> bool:
        """Return whether readers may be switched to the shadow."""
        return self.rebuild == "early" or shadow.checkpoint >= table.checkpoint


def _at(counts: tuple[int, ...], offset: int) -> int:
    return counts[offset] if offset < len(counts) else 0


def _more(counts: tuple[int, ...], offset: int) -> tuple[int, ...]:
    filled = counts + (0,) * (offset + 1 - len(counts))
    return (*filled[:offset], filled[offset] + 1, *filled[offset + 1 :])
