"""Creation of a namespace's topics with the settings that the protocol relies on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewTopic

from economy.errors import InputError, SetupError
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
from schemas.log import refusal

# Facts are kept for ever: a run is its log.
_KEEP = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
_COMPACT = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(32 << 20),
    "segment.ms": "20000",
    "min.cleanable.dirty.ratio": "0.1",
}
_MIN_INSYNC: Final = "min.insync.replicas"
BROKERS_DEFAULT: Final = -1


def layout(partitions: int, flow_partitions: int) -> Mapping[str, int]:
    """Partitions of every family of a namespace."""
    counts = dict.fromkeys(FACTS + SNAPSHOTS, 1)
    counts |= {ORDERS: partitions, TRADES: partitions, SNAPSHOTS[0]: partitions}
    counts |= {DECISIONS: flow_partitions, FLOWS: flow_partitions, CLOCK: 1, BALANCES: 1, INDICATORS: 1}
    return counts | {dead_letter(family): 1 for family in FACTS}


@dataclass(frozen=True)
class Replicas:
    """How a broker keeps topics: copies of every partition, and how many must have taken what counts as written.

    `count` is -1, and `min_insync` 0, for what the broker does by default. Raises InputError where no write could
    succeed.
    """

    count: int = BROKERS_DEFAULT
    min_insync: int = 0

    def __post_init__(self) -> None:
        if self.count == 0 or self.count < BROKERS_DEFAULT:
            raise InputError("replication", self.count, "choose 1 or more; -1 leaves it to the broker")
        if self.min_insync > self.count > 0:
            raise InputError(
                "min_insync", self.min_insync, f"choose at most the {self.count} replicas that `replication` asks for"
            )

    @property
    def config(self) -> Mapping[str, str]:
        """Settings of the topic that ask for it."""
        return {_MIN_INSYNC: str(self.min_insync)} if self.min_insync else {}


def create(
    bootstrap: str, namespace: str, partitions: int, flow_partitions: int, replicas: Replicas | None = None,
    timeout: float = 30.0,
) -> None:  # fmt: skip
    """Create what is missing; what exists must be as asked for.

    Raises SetupError when the broker cannot be reached, when it does not create a topic, or when an existing one has
    another count of partitions, or other replicas than asked for.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    wanted = {topic(namespace, family): count for family, count in layout(partitions, flow_partitions).items()}
    replicas = replicas or Replicas()
    try:
        listed = admin.list_topics(timeout=timeout).topics
        known = {name: listed[name] for name in wanted if name in listed}
        _check(known, wanted, replicas)
        if replicas.min_insync:
            _check_min_insync(admin, known, replicas.min_insync, timeout)
    except KafkaException as error:
        refusal.check("the topics cannot be listed", error)
        raise SetupError(f"no Kafka broker answers at {bootstrap}", "start one with `escape up`") from error
    compacted = {topic(namespace, family) for family in SNAPSHOTS}
    new = [
        NewTopic(name, count, replicas.count, config={**(_COMPACT if name in compacted else _KEEP), **replicas.config})
        for name, count in wanted.items()
        if name not in known
    ]
    if not new:
        return
    for name, future in admin.create_topics(new, operation_timeout=timeout).items():
        try:
            future.result(timeout)
        except KafkaException as error:
            refusal.check(f"topic {name} cannot be created", error)
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                remedy = "see the broker's log, and the settings replication and min_insync"
                raise SetupError(f"topic {name} cannot be created: {error}", remedy) from error


def _check(known: Mapping[str, TopicMetadata], wanted: Mapping[str, int], replicas: Replicas) -> None:
    for name, found in known.items():
        have = len(found.partitions)
        if have != wanted[name]:
            raise SetupError(
                f"topic {name} has {have} partitions, not {wanted[name]}",
                "the partition count of a namespace is fixed: use another namespace",
            )
        copies = min(len(partition.replicas) for partition in found.partitions.values())
        if replicas.count > 0 and copies != replicas.count:
            raise SetupError(
                f"topic {name} has {copies} replicas, not {replicas.count}",
                "move it with kafka-reassign-partitions.sh, set replication to what is there, or use another namespace",
            )


def _check_min_insync(admin: AdminClient, known: Iterable[str], wanted: int, timeout: float) -> None:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in known]
    if not resources:
        return
    for resource, future in admin.describe_configs(resources, request_timeout=timeout).items():
        have = int(future.result(timeout)[_MIN_INSYNC].value)
        if have != wanted:
            raise SetupError(
                f"topic {resource.name} has {_MIN_INSYNC} = {have}, not {wanted}",
                f"kafka-configs.sh --alter --topic {resource.name} --add-config {_MIN_INSYNC}={wanted}, or set "
                f"min_insync to what is there",
            )
