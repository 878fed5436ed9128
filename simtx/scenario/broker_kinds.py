"""The kinds of brokers, listed once: each is a table of mechanisms, and says what it was checked against.

A kind is no class of its own: `simtx.simulator.broker` and `simtx.reference.brokers.embedded_core` play mechanisms, whatever kind they are of. A scenario
takes a kind by its name (``broker.kind``) and may change each mechanism by its own key.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel

BrokerKind: TypeAlias = Literal[
    "plain",
    "jetstream-workqueue",
    "jetstream-limits",
    "rabbitmq-quorum",
    "sqs-standard",
    "sqs-fifo",
    "kafka",
]
KnownBy: TypeAlias = Literal["message", "producer"]

_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class KindOfBroker:
    """One kind of broker.

    Attributes:
        what: What it is, in a few words.
        mechanisms: Keys of `[broker]` whose defaults it changes, with its own; durations in seconds.
        checked: What that was checked against: the version and the source, and whether it was run or read.
        differs: What is simpler here than there.
    """

    what: str
    mechanisms: Mapping[str, Any]
    checked: str
    differs: str


_JETSTREAM: Final[Mapping[str, Any]] = {
    "ack": "fsync",
    "ordered": False,
    "redelivery": 30.0,
    "deduplication_window": 120.0,
}

KINDS: Final[Mapping[BrokerKind, KindOfBroker]] = MappingProxyType(
    {
        "plain": KindOfBroker(
            "what simtx needs of a broker, and nothing else: no limit of deliveries, order per transaction",
            {},
            "the laws of `simtx.testing.check_broker`; the embedded broker and NATS keep them",
            "no product",
        ),
        "jetstream-workqueue": KindOfBroker(
            "NATS JetStream, a stream with the retention of a work queue: what is acknowledged is gone",
            {**_JETSTREAM, "deduplication_after_restart": "stored"},
            "run: nats-server 2.15.1 with nats-py 2.16.0 (window, ids after a restart, redelivery, backoff, delivery limit)",
            "a message that has reached `delivery_limit` stays in the stream there and is delivered no more; here it is a dead letter",
        ),
        "jetstream-limits": KindOfBroker(
            "NATS JetStream, a stream with the retention of limits: ids are known after a restart, too",
            {**_JETSTREAM, "deduplication_after_restart": "all"},
            "run: nats-server 2.15.1 with nats-py 2.16.0 (ids after a restart); not played by our NATS client, which uses work queues",
            "as the work queue; what is acknowledged is kept there until its age, and not counted here",
        ),
        "rabbitmq-quorum": KindOfBroker(
            "RabbitMQ, a quorum queue: negative acknowledgements put a message back at once, 20 deliveries at most, then the dead letter exchange",
            {
                "ack": "fsync",
                "ordered": False,
                "redelivery": 1800.0,
                "nack": True,
                "delivery_limit": 20,
            },
            "run: RabbitMQ 3.10.8 (a consumer that dies uses up deliveries of what it had prefetched). Read: rabbitmq.com/docs/quorum-queues (limit of 20 since 4.0), "
            "rabbitmq.com/docs/consumers (acknowledgement timeout of 30 minutes). Not played on a RabbitMQ by simtx",
            "there a negative acknowledgement without a limit goes to the end of the queue",
        ),
        "sqs-standard": KindOfBroker(
            "Amazon SQS, a standard queue: visibility timeout, no order, no deduplication, a dead letter queue after 10 receptions",
            {
                "ack": "quorum",
                "ordered": False,
                "redelivery": 30.0,
                "delivery_limit": 10,
                "retention": 4 * _DAY,
            },
            "read: Amazon SQS Developer Guide (visibility timeout 30 s, retention 4 days; maxReceiveCount 10 is what its console proposes). Not run",
            "duplicates that SQS itself makes now and then are `network.duplication`",
        ),
        "sqs-fifo": KindOfBroker(
            "Amazon SQS, a FIFO queue whose message group is the transaction: in order, ids known for 5 minutes",
            {
                "ack": "quorum",
                "redelivery": 30.0,
                "delivery_limit": 10,
                "retention": 4 * _DAY,
                "deduplication_window": 300.0,
                "deduplication_after_restart": "all",
            },
            "read: Amazon SQS Developer Guide (FIFO queues: 5 minutes of deduplication, a group waits for its first message). Not run",
            "a message group is one transaction at one consumer",
        ),
        "kafka": KindOfBroker(
            "Apache Kafka: a partitioned log; consumers read a partition in order and commit how far they are, a producer's own repetitions are known",
            {
                "ack": "quorum",
                "partitions": 6,
                "fetch": 500,
                "commit_every": 5.0,
                "redelivery": 30.0,
                "nack": True,
                "nack_delay": 1.0,
                "retention": 7 * _DAY,
                "deduplication_window": _DAY,
                "deduplication_by": "producer",
                "deduplication_after_restart": "all",
            },
            "read: kafka.apache.org/documentation 4.1 (enable.idempotence, max.poll.records 500, auto.commit.interval.ms 5 s, request.timeout.ms 30 s, "
            "log.retention.hours 168, producer.id.expiration.ms 1 day). Not run",
            "6 partitions and a second between two attempts at an event are assumptions; a service is one consumer that owns all partitions of its topic; "
            "it commits what it has done, and not what it has fetched",
        ),
    }
)
"""All kinds of brokers."""


def in_force(file: BaseModel) -> dict[str, Any]:
    """The keys of a `[broker]` table (`BrokerFile`) as they are in force: as the table says, else as its kind, else by default."""
    values = {name: getattr(file, name) for name in type(file).model_fields}
    usual = KINDS[values["kind"]].mechanisms
    return values | {name: value for name, value in usual.items() if name not in file.model_fields_set}


def partition_of(tx: int, partitions: int) -> int:
    """The partition of a transaction's events, from 0: the key of an event is its transaction, so that all of them are in one partition.

    Args:
        tx: The transaction.
        partitions: How many there are.
    """
    return zlib.crc32(b"%d" % tx) % partitions


assert tuple(KINDS) == get_args(BrokerKind)  # noqa: S101 - one list, in two forms
