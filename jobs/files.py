"""An exported run as the source of jobs: the Avro container that `escape export RUN FILE.avro` writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import functions as sf

from economy.errors import InputError
from economy.instruments import Instrument
from economy.scenario import scenario_from_json
from jobs.decoding import OFFSET, of_events
from jobs.source import Extent, RunRange, ranged
from schemas.catalogue import CLOCK, ORDERS
from schemas.codec import decode_record


class FileRecords:
    """The records of a file; any file system that Spark reads, split into as many tasks as its blocks allow."""

    def __init__(self, session: Any, path: str) -> None:
        try:
            self.frame = session.read.format("avro").load(path).select("topic", "partition", OFFSET, "value")
        except PySparkException as error:
            raise InputError("file", path, "it is no run that `escape export RUN FILE.avro` wrote") from error

    def of(self, family: str, events: Sequence[str]) -> Any:
        """As jobs.source.Records."""
        return of_events(self.frame.where(sf.col("topic") == family).select("value", OFFSET), events)

    def few(self, family: str, event: str) -> list[dict[str, Any]]:
        """All records of a kind of which a run has few, decoded, in order."""
        rows = self.of(family, [event]).orderBy(OFFSET).collect()
        return [decode_record(bytes(row.value))[1] for row in rows]


def file_range(records: FileRecords, path: str) -> RunRange:
    """What the file says of its run. Raises InputError for a tape, a fork, or a run that had not finished."""
    started, finished = (records.few(CLOCK, event) for event in ("RunStarted", "RunFinished"))
    if not started or not finished or started[0]["last_epoch"] < 0:
        raise InputError("file", path, "jobs need a finished run with windows: choose another file")
    begin, end = started[0], finished[0]
    if begin["parent"]:
        raise InputError(
            "file", path, "a fork's file begins at the cut: `escape import` its parent's file and it, and give --run"
        )
    extent = Extent(begin["run"], begin["start_offsets"], end["end_offsets"], -1, begin["last_epoch"])
    listed = {r["instrument"]: Instrument.from_record(r) for r in records.few(ORDERS, "InstrumentListed")}
    instruments = tuple(listed[number] for number in sorted(listed))
    return ranged((extent,), scenario_from_json(begin["scenario"]), instruments, begin["last_epoch"])
