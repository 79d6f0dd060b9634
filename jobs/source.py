"""A run as DataFrames: closed offset ranges of the log, decoded by every schema version, without repeats.

One DataFrame per kind of event, with the columns that are asked for. Integers are bigint, enums their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Protocol

from pyspark.sql import functions as sf
from pyspark.sql.avro.functions import from_avro

from economy.calendar import Calendar
from economy.errors import ProtocolError, UnknownRunError
from economy.instruments import Instrument
from economy.scenario import Scenario, scenario_from_json
from jobs.config import JobConfig
from schemas.catalogue import EVENTS, FLOWS, INDICATORS, TRADES, topic, versions
from schemas.log.clocklog import read_clock
from schemas.log.founding import founding
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
    """What of the log belongs to a run: records of `run` in [start, end) per topic and partition."""

    run: int
    start: Offsets
    end: Offsets


@dataclass(frozen=True)
class RunRange:
    """A run and where it lies on the log, with what jobs must know of it."""

    extent: Extent
    windows: int  # number of closed windows
    scenario: Scenario
    instruments: tuple[Instrument, ...]

    @property
    def run(self) -> int:
        return self.extent.run

    @property
    def time(self) -> Calendar:
        """Calendar of the run."""
        return self.scenario.time


def started_run(config: JobConfig, run: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """RunStarted and, of a run that is over, RunFinished. Raises UnknownRunError, ProtocolError for a tape."""
    clock = read_clock(config.bootstrap, config.namespace, run)
    if clock.started is None:
        raise UnknownRunError("run", run, "`escape runs list` shows the runs")
    if clock.started["last_epoch"] < 0:
        raise ProtocolError(f"run {run} is a tape without windows", "choose a simulated run")
    return clock.started, clock.finished


def run_range(config: JobConfig, run: int) -> RunRange:
    """Read a run's range from the clock. Raises UnknownRunError, and ProtocolError for a run that is not finished."""
    started, finished = started_run(config, run)
    if finished is None:
        raise ProtocolError(
            f"run {run} is not finished", "wait for it, end it with `escape stop`, or give --incremental"
        )
    start, end = dict(started["start_offsets"]), dict(finished["end_offsets"])
    # The projection writes behind the run: its figures are where its topic stands now, among those of other runs.
    place: Place = (INDICATORS, 0)
    with LogReader(config.bootstrap, config.namespace, {}) as reader:
        start[INDICATORS] = [reader.begin_offsets([place])[place]]
        end[INDICATORS] = [reader.end_offsets([place])[place]]
    return described(config, started, Extent(run, start, end), started["last_epoch"])


def described(config: JobConfig, started: Mapping[str, Any], extent: Extent, last_epoch: int) -> RunRange:
    """A range with what RunStarted and the opening say of the run."""
    scenario = scenario_from_json(started["scenario"])
    time = scenario.time
    windows = (last_epoch + 1) * time.epoch_ticks // time.window_ticks
    return RunRange(extent, windows, scenario, founding(config.bootstrap, config.namespace, started).instruments)


class Records(Protocol):
    """Where the bytes of a run's records are."""

    def of(self, family: str, events: Sequence[str]) -> Any:
        """(id, body) of the records of some kinds: schema id and Avro body."""


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
        known = frame.where("value is not null and length(value) > 5").select(*wire())
        return known.where(sf.col("id").isin(ids_of(events)))


class RunLog:
    """DataFrames of one run. `frame(event, columns)` is what jobs use; tests give frames of their own."""

    def __init__(self, records: Records, run: int) -> None:
        self.records, self.run = records, run
        self._raw: dict[tuple[str, ...], Any] = {}
        self._frames: dict[str, Any] = {}

    def frame(self, event: str, columns: Sequence[str]) -> Any:
        """Unique records of one kind with the named columns."""
        identity = IDENTITY[EVENTS[event].topic]
        if event not in self._frames:
            known = decoded(self._bytes(event), event).where(sf.col("run") == self.run)
            self._frames[event] = known.dropDuplicates(list(identity)).persist()
        return self._frames[event].select(*dict.fromkeys([*identity, *columns]))

    def _bytes(self, event: str) -> Any:
        """The records of the events that are fetched together with this one; kept, so that they are fetched once."""
        family = EVENTS[event].topic
        others = tuple(name for name, kind in EVENTS.items() if kind.topic == family)
        together = next((names for names in _TOGETHER if event in names), others)
        if together not in self._raw:
            self._raw[together] = self.records.of(family, together).persist()
        return self._raw[together]


def decoded(
    records: Any,
    event: str,
    known: Mapping[int, tuple[str, Mapping[str, Any]]] | None = None,
    reader: Mapping[str, Any] | None = None,
) -> Any:
    """Records (id, body) of one kind as the fields of `reader`, whichever of the `known` schema versions wrote each.

    Both default to the catalogue's. Fields that a writer did not know have their defaults. A body that is no such
    record ends the job.
    """
    wanted = dict(EVENTS[event].schema if reader is None else reader)
    options = {"mode": "FAILFAST", "avroSchema": json.dumps(wanted)}
    parts = [
        records.where(sf.col("id") == i).select(from_avro("body", json.dumps(dict(writer)), options).alias("r"))
        for i, (name, writer) in (versions() if known is None else known).items()
        if name == event
    ]
    return reduce(lambda a, b: a.unionByName(b), parts).select("r.*")
