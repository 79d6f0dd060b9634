"""Dead letters: what a reader cannot decode is kept, with its place and the reason, and the stream goes on."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Producer

from economy.errors import SetupError
from schemas.catalogue import dead_letter, topic

Letter = tuple[int, int, str, bytes]  # partition, offset, reason, the record's value


def _headers(source: str, partition: int, offset: int, reason: str) -> dict[str, str | bytes | None]:
    """Headers of a dead letter: they name the record, so a letter that is sent twice is recognised."""
    return {"error": reason, "topic": source, "partition": str(partition), "offset": str(offset)}


def bury(bootstrap: str, namespace: str, family: str, letters: Iterable[Letter], timeout: float = 30.0) -> None:
    """Send dead letters of a family and wait for the broker to have them. Raises SetupError when it has not in time."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})
    source = topic(namespace, family)
    for partition, offset, reason, value in letters:
        told = _headers(source, partition, offset, reason)
        producer.produce(topic(namespace, dead_letter(family)), value, partition=0, headers=told)
    if producer.flush(timeout):
        raise SetupError(f"the dead letters of {source} were not taken in {timeout:g} s", "is the broker up?")
