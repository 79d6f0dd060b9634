"""Hooks of aiokafka's fetcher: a fetch response of a hot topic stays one batch of bytes, not a list of records.

aiokafka offers no such interface, so two private names of its fetcher are replaced; `install` fails when they moved.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import aiokafka.consumer.fetcher as fetcher

from economy.errors import SetupError
from schemas.log import recordbatch
from schemas.log.recordbatch import Records

TOPICS: Final[dict[str, bool]] = {}  # hot topics -> whether their keys are asked for
_Memory: Final[Any] = fetcher.MemoryRecords
_Partition: Final[Any] = fetcher.PartitionRecords
_PARAMETERS: Final = (
    "tp", "records", "aborted_transactions", "fetch_offset", "key_deserializer", "value_deserializer", "check_crcs",
    "isolation_level",
)  # fmt: skip


class RawMemory:
    """Stands in for MemoryRecords: keeps the bytes."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def size_in_bytes(self) -> int:
        return len(self.blob)

    def has_next(self) -> bool:
        """Whether at least one batch is whole."""
        return len(self.blob) >= 12 and len(self.blob) >= 12 + int.from_bytes(self.blob[8:12], "big", signed=True)


class RawPartition:
    """Stands in for PartitionRecords: yields one Records per fetch response, trimmed at the fetch position.

    It is empty where the response held control batches or aborted records only, which readers must step over as well.
    """

    def __init__(
        self, tp: Any, records: RawMemory, aborted_transactions: Any, fetch_offset: int, key_deserializer: Any,
        value_deserializer: Any, check_crcs: bool, isolation_level: int,
    ) -> None:  # fmt: skip
        self._keyed = TOPICS[tp.topic]
        self.next_fetch_offset = fetch_offset
        self._blob: bytes | None = records.blob
        self._check = check_crcs
        self._aborted = None
        if isolation_level == fetcher.READ_COMMITTED:
            self._aborted = [(int(p), int(first)) for p, first in aborted_transactions or ()]

    def __iter__(self) -> RawPartition:
        return self

    def __next__(self) -> Records:
        blob, self._blob = self._blob, None
        if blob is None:
            raise StopIteration
        found = recordbatch.read(blob, self.next_fetch_offset, self._check, self._aborted, self._keyed)
        self.next_fetch_offset = found.next_offset
        if found.next_offset == found.first_offset:
            raise StopIteration
        return found


def _partition_records(tp: Any, records: RawMemory, *rest: Any) -> Any:
    if tp.topic in TOPICS:
        return RawPartition(tp, records, *rest)
    return _Partition(tp, _Memory(records.blob), *rest)


def check() -> None:
    """Raise SetupError when aiokafka's fetcher is not the one these hooks were written for."""
    source = inspect.getsource(fetcher.Fetcher)
    whole = (
        tuple(inspect.signature(_Partition.__init__).parameters)[1:] == _PARAMETERS
        and source.count("MemoryRecords(") == 1
        and source.count("PartitionRecords(") == 1
        and hasattr(fetcher, "READ_COMMITTED")
    )
    if not whole:
        raise SetupError("aiokafka's fetcher has changed", "install the locked version of aiokafka")


def install(topic: str, keyed: bool = False) -> None:
    """Hand over the topic's fetches as Records in this process; `keyed` ones know the runs of their keys."""
    check()
    TOPICS[topic] = keyed
    hooked: Any = fetcher
    hooked.MemoryRecords, hooked.PartitionRecords = RawMemory, _partition_records
