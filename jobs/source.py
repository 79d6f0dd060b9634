"""A run as DataFrames: its closed offset range on Kafka, decoded by every schema version, without repeats.

One DataFrame per kind of event, with the columns that are asked for. Integers are bigint, enums their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

from pyspark.sql import functions as sf
from pyspark.sql.avro.functions import from_avro

from economy.calendar import Calendar
from economy.errors import ProtocolError, UnknownRunError
from economy.instruments import Instrument
from economy.scenario import Scenario, scenario_from_json
from jobs.config import JobConfig
from schemas.catalogue import EVENTS, FLOWS, TRADES, topic, versions
from schemas.log.clocklog import read_clock
from schemas.log.founding import founding

_IDENTITY = {FLOWS: ("agent", "n"), TRADES: ("instrument", "seq")}


@dataclass(frozen=True)
class RunRange:
    """What of the log belongs to a finished run: [start, end) per topic and partition."""

    run: int
    start: Mapping[str, Sequence[int]]
    end: Mapping[str, Sequence[int]]
    last_epoch: int
    scenario: Scenario
    instruments: tuple[Instrument, ...]

    @property
    def time(self) -> Calendar:
        """Calendar of the run."""
        return self.scenario.time

    @property
    def windows(self) -> int:
        """Number of closed windows."""
        return (self.last_epoch + 1) * self.time.epoch_ticks // self.time.window_ticks


def run_range(config: JobConfig, run: int) -> RunRange:
    """Read a run's range from the clock. Raises UnknownRunError, and ProtocolError for a run that is not finished."""
    clock = read_clock(config.bootstrap, config.namespace, run)
    if clock.started is None:
        raise UnknownRunError("run", run, "`escape runs list` shows the runs")
    if clock.finished is None:
        raise ProtocolError(f"run {run} is not finished", "wait for it, or end it with `escape stop`")
    started = clock.started
    if started["last_epoch"] < 0:
        raise ProtocolError(f"run {run} is a tape without windows", "choose a simulated run")
    instruments = founding(config.bootstrap, config.namespace, started).instruments
    return RunRange(
        run, started["start_offsets"], clock.finished["end_offsets"], started["last_epoch"],
        scenario_from_json(started["scenario"]), instruments,
    )  # fmt: skip


class RunLog:
    """DataFrames of one run. `frame(event, columns)` is what jobs use; tests give frames of their own."""

    def __init__(self, session: Any, config: JobConfig, extent: RunRange) -> None:
        self.session, self.config, self.extent = session, config, extent
        self._frames: dict[str, Any] = {}

    @cached_property
    def _flows(self) -> Any:
        """All flows; small enough to be kept, since every kind of event is decoded from them."""
        return self._raw(FLOWS, None).persist()

    @cached_property
    def _trades(self) -> Any:
        """Most of the trades topic is book levels and closes, which no job reads; the rest is fetched once."""
        return self._raw(TRADES, ("TradeExecuted", "PriceFixed")).persist()

    def _raw(self, family: str, events: Sequence[str] | None) -> Any:
        """(schema id, body) of a topic's records in the run's range."""
        name = topic(self.config.namespace, family)

        def offsets(of: Mapping[str, Sequence[int]]) -> str:
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
            .where("value is not null and length(value) > 5")
            .select(
                sf.expr("cast(conv(hex(substring(value, 2, 4)), 16, 10) as int)").alias("id"),
                sf.expr("substring(value, 6)").alias("body"),
            )
        )
        if events is not None:
            frame = frame.where(sf.col("id").isin([i for i, (event, _) in versions().items() if event in events]))
        return frame

    def frame(self, event: str, columns: Sequence[str]) -> Any:
        """Unique records of one kind with the named columns."""
        if event not in self._frames:
            self._frames[event] = self._decode(event)
        return self._frames[event].select(*dict.fromkeys([*_IDENTITY[_family(event)], *columns]))

    def _decode(self, event: str) -> Any:
        kind = EVENTS[event]
        family = _family(event)
        raw = self._trades if family == TRADES else self._flows
        options = {"mode": "FAILFAST", "avroSchema": json.dumps(dict(kind.schema))}
        parts = [
            raw.where(sf.col("id") == i).select(from_avro("body", json.dumps(dict(writer)), options).alias("r"))
            for i, (name, writer) in versions().items()
            if name == event
        ]
        frame = reduce(lambda a, b: a.unionByName(b), parts).where(sf.col("r.run") == self.extent.run)
        return frame.select("r.*").dropDuplicates(list(_IDENTITY[family])).persist()


def _family(event: str) -> str:
    return TRADES if EVENTS[event].topic == TRADES else FLOWS
