"""Creation of a namespace's topics with the settings that the protocol relies on."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from economy.errors import SetupError
from schemas.catalogue import (
    BALANCES,
    CLOCK,
    DECISIONS,
    FACTS,
    FLOWS,
    INDICATORS,
    ORDERS,
    SNAPSHOTS,
    TRADES,
    dead_letter,
    topic,
)

# Facts are kept for ever: a run is its log.
_KEEP = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
_COMPACT = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(32 << 20),
    "segment.ms": "20000",
    "min.cleanable.dirty.ratio": "0.1",
}


def layout(partitions: int, flow_partitions: int) -> Mapping[str, int]:
    """Partitions of every family of a namespace."""
    counts = dict.fromkeys(FACTS + SNAPSHOTS, 1)
    counts |= {ORDERS: partitions, TRADES: partitions, SNAPSHOTS[0]: partitions}
    counts |= {DECISIONS: flow_partitions, FLOWS: flow_partitions, CLOCK: 1, BALANCES: 1, INDICATORS: 1}
    return counts | {dead_letter(family): 1 for family in FACTS}


def create(bootstrap: str, namespace: str, partitions: int, flow_partitions: int, timeout: float = 30.0) -> None:
    """Create what is missing; existing topics must have as many partitions as asked for.

    Raises SetupError when the broker cannot be reached or an existing topic has another partition count.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    wanted = {topic(namespace, family): count for family, count in layout(partitions, flow_partitions).items()}
    try:
        known = admin.list_topics(timeout=timeout).topics
    except KafkaException as error:
        raise SetupError(f"no Kafka broker answers at {bootstrap}", "start one with `escape up`") from error
    for name, count in wanted.items():
        if name in known and len(known[name].partitions) != count:
            have = len(known[name].partitions)
            raise SetupError(
                f"topic {name} has {have} partitions, not {count}",
                "the partition count of a namespace is fixed: use another namespace",
            )
    compacted = {topic(namespace, family) for family in SNAPSHOTS}
    new = [
        NewTopic(name, count, 1, config=_COMPACT if name in compacted else _KEEP)
        for name, count in wanted.items()
        if name not in known
    ]
    if not new:
        return
    for name, future in admin.create_topics(new, operation_timeout=timeout).items():
        try:
            future.result(timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise SetupError(f"topic {name} cannot be created: {error}", "see the broker's log") from error
