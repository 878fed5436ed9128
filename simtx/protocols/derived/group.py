"""Consumer groups: several instances share the partitions of a log, and each partition has one owner at a time.

Theory of operation. A log is divided into **partitions** by key, so that events of one key are in one partition, in order. A **coordinator** gives each partition to one instance
of the group. When an instance comes, goes, or sends no heartbeat for too long, it **rebalances**: a new assignment, with a higher **epoch**. The new owner of a partition
goes on from the checkpoint of the old one.

The old owner may not know. It was paused by a garbage collector, or the network between it and the coordinator is cut: a **zombie**, which works on, and whose writes
arrive late. So an assignment alone is no lock. What makes it safe is a check where the write takes effect (`guard`):

- ``epoch``: the new owner first writes its epoch beside the checkpoint (it *raises the fence*), and then reads the checkpoint. A write with a lower epoch is refused. In
  the other order (`raised` false) the zombie writes between the two, and an event is applied twice;
- ``checkpoint``: a write that applies offset n succeeds if the checkpoint is n, and makes it n + 1. Who comes second is refused. It needs no epochs;
- ``none``: both write.

The check holds only for what is written in the same local transaction as the checkpoint. A broker that refuses the checkpoint of a zombie (Kafka:
``ILLEGAL_GENERATION``, ``FENCED_INSTANCE_ID``) does not take back what the zombie has done in its database before: with `checkpoint` ``after`` the effect, events are applied twice, and old ones behind
new ones. Without any fence, the late checkpoint of a zombie also sets that of the new owner back.

Where a new owner **begins**: at the checkpoint; at the ``end`` of the log (a consumer that finds no checkpoint and is set to take the latest) it skips what
lies between.

Known weaknesses: a checkpoint in the transaction of the effect holds for one store. Whatever an owner does elsewhere has to recognise repetitions.

Sources: Kafka documentation, "Consumer group protocol", and KIP-345, KIP-447, KIP-848 (static membership, fencing, incremental rebalance); Kleppmann, "How to do
distributed locking", 2016 (fencing tokens); Kinesis Client Library documentation (lease table, lease counter).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from simtx.protocols.derived.choices import refuse_unknown

Guard: TypeAlias = Literal["epoch", "checkpoint", "none"]
Begin: TypeAlias = Literal["checkpoint", "end"]


class Partition(NamedTuple):
    """State that the group has stored for one partition.

    Attributes:
        checkpoint: The offset that is read next.
        fence: The epoch below which nothing is written.
        applied: The offsets whose effects took place, in their order.
    """

    checkpoint: int = 0
    fence: int = 0
    applied: tuple[int, ...] = ()


@dataclass(frozen=True)
class GroupRule:
    """Rule by which the owners of a partition take turns.

    Attributes:
        checkpoint: Whether the checkpoint is written with the effect, or after it.
        guard: What is checked where something is written.
        raised: Whether a new owner raises the fence before it reads the checkpoint; else behind it.
        begin: Where a new owner begins.

    Raises:
        ScenarioError: A value is none of those, or they contradict each other.
    """

    checkpoint: Literal["with", "after"] = "with"
    guard: Guard = "epoch"
    raised: bool = True
    begin: Begin = "checkpoint"

    def __post_init__(self) -> None:
        """Refuse what is none of the choices."""
        refuse_unknown(self, "group")

    def fenced(self, partition: Partition, epoch: int) -> Partition:
        """The partition after a new owner has raised the fence."""
        return partition._replace(fence=max(partition.fence, epoch)) if self.guard == "epoch" else partition

    def first(self, partition: Partition, end: int) -> int:
        """The offset at which a new owner begins, where the log has so many events."""
        return end if self.begin == "end" else partition.checkpoint

    def applied(self, partition: Partition, epoch: int, offset: int) -> Partition | None:
        """The partition after an owner has applied the event at an offset; None: it is refused."""
        if self.checkpoint == "after":  # the effect is elsewhere, where nobody knows epochs
            return partition._replace(applied=(*partition.applied, offset))
        marked = self.marked(partition, epoch, offset)
        return None if marked is None else marked._replace(applied=(*partition.applied, offset))

    def marked(self, partition: Partition, epoch: int, offset: int) -> Partition | None:
        """The partition after an owner has written that it is done with an offset; None: it is refused."""
        if self.guard == "epoch" and epoch < partition.fence:
            return None
        if self.guard == "checkpoint" and offset != partition.checkpoint:
            return None
        return partition._replace(checkpoint=offset + 1)


def assigned(before: Mapping[int, str], partitions: int, members: Sequence[str]) -> dict[int, str]:
    """The owner of each partition after a rebalance: as even as can be, and as few moves as that allows.

    Args:
        before: Owners until now.
        partitions: How many there are.
        members: The instances of the group.
    """
    if not members:
        return {}
    least, more = divmod(partitions, len(members))
    kept: dict[str, list[int]] = {member: [] for member in members}
    for number in range(partitions):
        owner = before.get(number)
        if owner in kept:
            kept[owner].append(number)
    # Those who have most may keep one more than the others.
    order = sorted(members, key=lambda member: (-len(kept[member]), members.index(member)))
    room = {member: least + (place < more) for place, member in enumerate(order)}
    owners = {number: member for member in members for number in kept[member][: room[member]]}
    free = iter([number for number in range(partitions) if number not in owners])
    for member in order:
        for _ in range(room[member] - min(len(kept[member]), room[member])):
            owners[next(free)] = member
    return dict(sorted(owners.items()))
