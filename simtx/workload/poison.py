"""Events that a consumer can never handle: which ones they are, the same in a simulated and in a real run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Final, TypeAlias

from simtx.protocols import Message
from simtx.workload.streams import Streams

Poisonous: TypeAlias = Callable[[Message], bool]
"""Function that says whether the consumer of an event can never handle it."""

_BITS: Final = 64


def poisonous(share: float, streams: Streams, transactions: Collection[int] = ()) -> Poisonous:
    """Tells the poison of a run from other events.

    An event is known by its transaction, its kind, its producer and its consumer. So every copy of a poison event is poison, under every strategy and
    however often it was delivered.

    Args:
        share: Of all events.
        streams: Seed and replication.
        transactions: Those of which every event is poison.
    """
    return by_key(share, streams.key("broker", "poison"), transactions)


def by_key(share: float, key: int, transactions: Collection[int] = ()) -> Poisonous:
    """Function like that of `poisonous`, with the key that the streams gave: for a process that has no streams."""
    named = frozenset(transactions)
    if share <= 0:
        return lambda message: message.tx in named
    limit, secret = share * (1 << _BITS), key.to_bytes(16, "little")

    def found(message: Message) -> bool:
        name = "\0".join((str(message.tx), message.kind, message.sender, message.to))
        digest = blake2b(name.encode(), digest_size=_BITS // 8, key=secret).digest()
        return message.tx in named or int.from_bytes(digest, "little") < limit

    return found
