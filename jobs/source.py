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

from economy.calendar import Calendar
from economy.errors import ProtocolError
from economy.instruments import Instrument
from economy.scenario import Scenario, scenario_from_json
from jobs.config import JobConfig
from jobs.decoding import (
    IDENTITY,
    IDENTITY_KEYS,
    OFFSET,
    Within,
    by_avro,
    fields_of,
    of_events,
    records_of,
    together,
)
from jobs.repeats import rising, unique
from schemas.catalogue import EVENTS, INDICATORS, topic
from schemas.log.founding import founding
from schemas.log.history import Segment, read_history
from schemas.log.reader import LogReader, Place

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
    listed = founding(config.bootstrap, config.namespace, segments[0].started).instruments
    return ranged(parts, scenario_from_json(segments[-1].started["scenario"]), listed, last_epoch)


def ranged(
    parts: tuple[Extent, ...], scenario: Scenario, instruments: tuple[Instrument, ...], last_epoch: int
) -> RunRange:
    """Ranges with the number of windows that are closed after an epoch."""
    time = scenario.time
    return RunRange(parts, (last_epoch + 1) * time.epoch_ticks // time.window_ticks, scenario, instruments)


class Records(Protocol):
    """Where the bytes of a run's records are."""

    def of(self, family: str, events: Sequence[str]) -> Any:
        """(value, offset) of the records of some kinds: Confluent wire format, place in their partition."""


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
        return of_events(frame.select("value", OFFSET), events)


class RunLog:
    """DataFrames of one run. `frame(event, columns)` is what jobs use; tests give frames of their own."""

    def __init__(self, parts: Sequence[tuple[Extent, Records]], time: Calendar) -> None:
        self.parts, self.time = tuple(parts), time
        self._known: dict[tuple[int, tuple[str, ...]], Any] = {}

    def frame(self, event: str, columns: Sequence[str]) -> Any:
        """Unique records of one kind with the named columns."""
        kind = EVENTS[event]
        parts = [self._part(number, event) for number in range(len(self.parts))]
        whole = reduce(lambda a, b: a.unionByName(b), parts)
        return whole.select(*dict.fromkeys([*IDENTITY[kind.topic], *columns]))

    def _part(self, number: int, event: str) -> Any:
        if _has_tick(event):
            return fields_of(self._at_ticks(number, event), event)
        extent, records = self.parts[number]
        family = EVENTS[event].topic
        known = by_avro(records.of(family, (event,)), event).where(sf.col("run") == extent.run)
        first, behind = self._ticks(extent)
        closes = (sf.col("window") + 1) * self.time.window_ticks  # a window belongs to the part in which it closed
        known = known.where((closes > first) & (closes <= behind)).persist()
        return unique(known, IDENTITY[family])

    def _at_ticks(self, number: int, event: str) -> Any:
        """Unique records of the kinds that are fetched with this one: one pass over the log for all of them."""
        of_topic = tuple(n for n, kind in EVENTS.items() if kind.topic == EVENTS[event].topic and _has_tick(n))
        events = next((names for names in _TOGETHER if event in names), of_topic)
        if (number, events) not in self._known:
            extent, records = self.parts[number]
            within = Within(extent.run, *self._ticks(extent))
            known = together(records.of(EVENTS[event].topic, events), events, within).persist()
            self._known[number, events] = known if rising(known) else unique(records_of(known), IDENTITY_KEYS)
        return self._known[number, events]

    def _ticks(self, extent: Extent) -> tuple[int, int]:
        """The first tick of a part, and the one behind it."""
        return extent.first * self.time.epoch_ticks, (extent.last + 1) * self.time.epoch_ticks


def _has_tick(event: str) -> bool:
    return any(field.name == "tick" for field in EVENTS[event].fields)
