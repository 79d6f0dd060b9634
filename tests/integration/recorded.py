"""A finished toy run as its log holds it, to be copied, tampered with and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from infra.broker import Broker
from schemas.catalogue import key
from schemas.codec import decode_record
from schemas.log.history import Segment, read_chunks, read_history
from schemas.log.reader import Chunk, Place, chunk_of

Record = tuple[int, bytes, bytes | None]  # offset, value, key


@dataclass
class Recorded:
    """One run's partitions, record by record."""

    segment: Segment
    records: dict[Place, list[Record]]

    @classmethod
    def read(cls, broker: Broker, namespace: str, run: int) -> Recorded:
        (segment,) = read_history(broker.bootstrap, namespace, run)
        records: dict[Place, list[Record]] = {place: [] for place in segment.start}
        for chunk in read_chunks(broker.bootstrap, namespace, segment):
            keys = [key(decode_record(value)[1]["run"]) for value in chunk.values]
            records[chunk.place] += zip(chunk.offsets.tolist(), chunk.values, keys, strict=True)
        return cls(segment, records)

    def copy(self) -> Recorded:
        return Recorded(self.segment, {place: list(found) for place, found in self.records.items()})

    def chunks(self, size: int = 997) -> list[Chunk]:
        found = []
        for (family, partition), records in self.records.items():
            for at in range(0, len(records), size):
                part = records[at : at + size]
                offsets = np.array([offset for offset, _, _ in part], np.int64)
                values, keys = [value for _, value, _ in part], [held for _, _, held in part]
                found.append(chunk_of(family, partition, values, offsets, keys))
        return found

    def find(self, name: str, place: Place, **fields: int) -> int:
        """Position of the first record of a kind with these fields."""
        for position, (_, value, _) in enumerate(self.records[place]):
            kind, record = decode_record(value)
            if kind == name and matches(record, fields):
                return position
        raise AssertionError(f"no {name} {fields} in {place}")


def matches(record: Mapping[str, object], fields: Mapping[str, int]) -> bool:
    return all(record[name] == value for name, value in fields.items())
