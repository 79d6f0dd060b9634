"""A run as DataFrames: closed offset ranges of the log, decoded by every schema version, without repeats.

One DataFrame per kind of event, with the columns that are asked for. Integers are bigint, enums their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Protocol

from pyspark.sql import functions as sf
from pyspark.sql.avro.functions import from_avro

from economy.calendar import Calendar
from economy.errors import ProtocolError
from economy.instruments import Instrument
from economy.scenario import Scenario, scenario_from_json
from jobs.config import JobConfig
from schemas.catalogue import EVENTS, FLOWS, INDICATORS, TRADES, topic, versions
from schemas.log.founding import founding
from schemas.log.history import Segment, read_history
from schemas.log.reader import LogReader, Place

# What tells two records of a topic apart. A value of the stream that differs from its repeat must show, so it counts.
IDENTITY: Final = {
    FLOWS: ("agent", "n"),
    TRADES: ("instrument", "seq"),
    INDICATORS: ("window", "indicator", "item", "value"),
}
# Kinds of events that are fetched together: most of the trades topic is closes and levels, which few jobs read.
_TOGETHER: Final = (("TradeExecuted", "PriceFixed"), ("BookUpdated",))

Offsets = Mapping[str, Sequence[int]]  # family -> offset per partition


@dataclass(frozen=True)
class Extent:
    """Epochs `first` (-1 is the opening) to `last` of a run: its records in [start, end) per topic and partition."""

    run: int
    start: Offsets
    end: Offsets
    first: int
    last: int


@dataclass(frozen=True)
class RunRange:
    """Where a run lies on the log, its ancestors' parts first, and what jobs must know of it."""

    extents: tuple[Extent, ...]
    windows: int  # number of closed windows
    scenario: Scenario
    instruments: tuple[Instrument, ...]

    @property
    def run(self) -> int:
        return self.extents[-1].run

    @property
    def time(self) -> Calendar:
        """Calendar of the run."""
        return self.scenario.time


def run_history(config: JobConfig, run: int) -> tuple[Segment, ...]:
    """The run and its ancestors. Raises UnknownRunError, ProtocolError for a tape."""
    segments = read_history(config.bootstrap, config.namespace, run)
    if segments[-1].started["last_epoch"] < 0:
        raise ProtocolError(f"run {run} is a tape without windows", "choose a simulated run")
    return segments


def run_range(config: JobConfig, run: int) -> RunRange:
    """Read a run's range from the clock. Raises UnknownRunError, and ProtocolError for a run that is not finished."""
    segments = run_history(config, run)
    if segments[-1].clock.finished is None:
        raise ProtocolError(
            f"run {run} is not finished", "wait for it, end it with `escape stop`, or give --incremental"
        )
    return described(config, segments, tuple(extents(config, segments)), segments[-1].last)


def extents(config: JobConfig, segments: Sequence[Segment]) -> Iterator[Extent]:
    """Where each part of a history lies. The projection writes behind the runs: its topic counts as it stands now."""
    place: Place = (INDICATORS, 0)
    with LogReader(config.bootstrap, config.namespace, {}) as reader:
        measured = reader.begin_offsets([place])[place], reader.end_offsets([place])[place]
    for segment in segments:
        start, end = (_by_family(offsets) | {INDICATORS: [m]} for offsets, m in zip(
            (segment.start, segment.end), measured, strict=True
        ))  # fmt: skip
        yield Extent(segment.run, start, end, segment.first, segment.last)


def _by_family(offsets: Mapping[Place, int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for family, partition in sorted(offsets):
        found.setdefault(family, []).append(offsets[family, partition])
    return found


def described(config: JobConfig, segments: Sequence[Segment], parts: tuple[Extent, ...], last_epoch: int) -> RunRange:
    """Ranges with what the run's start and the opening of its eldest ancestor say of it."""
    scenario = scenario_from_json(segments[-1].started["scenario"])
    time = scenario.time
    windows = (last_epoch + 1) * time.epoch_ticks // time.window_ticks
    return RunRange(
        parts, windows, scenario, founding(config.bootstrap, config.namespace, segments[0].started).instruments
    )


class Records(Protocol):
    """Where the bytes of a run's records are."""

    def of(self, family: str, events: Sequence[str]) -> Any:
        """(id, body, offset) of the records of some kinds: schema id, Avro body, place in their partition."""


def wire(value: str = "value") -> list[Any]:
    """Columns (id, body) of a column with records in the Confluent wire format."""
    return [
        sf.expr(f"cast(conv(hex(substring({value}, 2, 4)), 16, 10) as int)").alias("id"),
        sf.expr(f"substring({value}, 6)").alias("body"),
    ]


def ids_of(events: Sequence[str]) -> list[int]:
    """Ids of every schema version of some kinds of events."""
    return [i for i, (event, _) in versions().items() if event in events]


class KafkaRecords:
    """The records on the log itself, in the closed range of the run."""

    def __init__(self, session: Any, config: JobConfig, extent: Extent) -> None:
        self.session, self.config, self.extent = session, config, extent

    def of(self, family: str, events: Sequence[str]) -> Any:
        """As Records."""
        name = topic(self.config.namespace, family)

        def offsets(of: Offsets) -> str:
            return json.dumps({name: {str(p): offset for p, offset in enumerate(of[family])}})

        frame = (
            self.session.read.format("kafka")
            .option("kafka.bootstrap.servers", self.config.bootstrap)
            .option("subscribe", name)
            .option("startingOffsets", offsets(self.extent.start))
            .option("endingOffsets", offsets(self.extent.end))
            .option("failOnDataLoss", "true")
            .option("minPartitions", str(self.config.shuffle_partitions))  # a topic partition is read by several tasks
            .load()
        )
        known = frame.where("value is not null and length(value) > 5").select(*wire(), "offset")
        return known.where(sf.col("id").isin(ids_of(events)))


class RunLog:
    """DataFrames of one run. `frame(event, columns)` is what jobs use; tests give frames of their own."""

    def __init__(self, parts: Sequence[tuple[Extent, Records]], time: Calendar) -> None:
        self.parts, self.time = tuple(parts), time
        self._raw: dict[tuple[int, tuple[str, ...]], Any] = {}
        self._frames: dict[str, Any] = {}

    def frame(self, event: str, columns: Sequence[str]) -> Any:
        """Unique records of one kind with the named columns."""
        identity = IDENTITY[EVENTS[event].topic]
        if event not in self._frames:
            parts = [self._part(number, event, identity) for number in range(len(self.parts))]
            self._frames[event] = reduce(lambda a, b: a.unionByName(b), parts)
        return self._frames[event].select(*dict.fromkeys([*identity, *columns]))

    def _part(self, number: int, event: str, identity: Sequence[str]) -> Any:
        extent = self.parts[number][0]
        known = decoded(self._bytes(number, event), event, keep=["offset"]).where(sf.col("run") == extent.run)
        first, behind = extent.first * self.time.epoch_ticks, (extent.last + 1) * self.time.epoch_ticks
        if "tick" in known.columns:
            known = known.where((sf.col("tick") >= first) & (sf.col("tick") < behind))
        else:  # a window belongs to the part in which it closed
            closes = (sf.col("window") + 1) * self.time.window_ticks
            known = known.where((closes > first) & (closes <= behind))
        return unique(known.persist(), identity)

    def _bytes(self, number: int, event: str) -> Any:
        """The records of the events that are fetched together with this one; kept, so that they are fetched once."""
        family = EVENTS[event].topic
        others = tuple(name for name, kind in EVENTS.items() if kind.topic == family)
        together = next((names for names in _TOGETHER if event in names), others)
        if (number, together) not in self._raw:
            self._raw[number, together] = self.parts[number][1].of(family, together).persist()
        return self._raw[number, together]


def unique(known: Any, identity: Sequence[str]) -> Any:
    """The first of the records with one identity, by offset: all of them are in one partition.

    Repeats are few, as only a restart makes them. To find them needs the identities alone; to drop them by
    dropDuplicates would sort all records whole.
    """
    counted = known.groupBy(*identity).agg(sf.count("*").alias("times"), sf.min("offset").alias("first"))
    repeated = counted.where("times > 1").select(*identity, "first").localCheckpoint()
    if repeated.isEmpty():
        return known
    marked = known.join(sf.broadcast(repeated), list(identity), "left")
    return marked.where("first is null or offset = first")


def decoded(
    records: Any,
    event: str,
    known: Mapping[int, tuple[str, Mapping[str, Any]]] | None = None,
    reader: Mapping[str, Any] | None = None,
    keep: Sequence[str] = (),
) -> Any:
    """Records (id, body) of one kind as the fields of `reader`, whichever of the `known` schema versions wrote each.

    Both default to the catalogue's; columns to `keep` come along. Fields that a writer did not know have their
    defaults. A body that is no such record ends the job.
    """
    wanted = dict(EVENTS[event].schema if reader is None else reader)
    options = {"mode": "FAILFAST", "avroSchema": json.dumps(wanted)}
    parts = [
        records.where(sf.col("id") == i).select(from_avro("body", json.dumps(dict(writer)), options).alias("r"), *keep)
        for i, (name, writer) in (versions() if known is None else known).items()
        if name == event
    ]
    return reduce(lambda a, b: a.unionByName(b), parts).select("r.*", *keep)
