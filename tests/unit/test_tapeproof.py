"""A tape as its own proof: an honest one, and every way to tamper with one, without a broker."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from economy.instruments import Instrument
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import digest_of
from economy.records.events import Events, InstrumentClass, RunMode
from runs.protocol import places
from runs.tapeproof import TapeAudit, tape_difference
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.codec import encode_record
from schemas.log.clocklog import ClockLog
from schemas.log.findings import Fault
from schemas.log.history import Segment
from schemas.log.reader import Chunk, Place, chunk_of
from schemas.rows import encode
from streams.matching import PartitionMatching, output_order

RUN, OTHER, PARTITIONS = 3, 4, 2


def row(name: str, values: list[int]) -> bytes:
    return encode(name, np.array([values], np.int64))[0].tobytes()


def orders(partition: int) -> list[bytes]:
    rng, o = np.random.default_rng(partition), e.OrderSubmitted
    rows = np.zeros((300, o.width), np.int64)
    rows[:, o.RUN] = np.where(rng.random(300) < 0.2, OTHER, RUN)
    rows[:, o.TICK], rows[:, o.AGENT], rows[:, o.N] = np.arange(300) // 3, rng.integers(0, 4, 300), np.arange(300)
    rows[:, o.ORDER], rows[:, o.INSTRUMENT] = np.arange(300), partition + 2 * rng.integers(0, 2, 300)
    rows[:, o.SIDE], rows[:, o.PRICE], rows[:, o.QUANTITY] = np.arange(300) % 2, rng.integers(45, 55, 300), 3
    return [row(o.name, values) for values in rows.tolist()]


def listed(run: int, instrument: int) -> bytes:
    made = Instrument(instrument, f"I{instrument}", InstrumentClass.GOOD, item=0, fixing_ticks=0, reference_price=50)
    return encode_record("InstrumentListed", made.record(run))


@dataclass
class Tape:
    """Values by place, and what RunFinished says of them."""

    values: dict[Place, list[bytes]]
    digest: str

    def chunks(self, size: int = 37) -> list[Chunk]:
        return [
            chunk_of(*place, values[at : at + size], np.arange(at, min(at + size, len(values))))
            for place, values in self.values.items()
            for at in range(0, len(values), size)
        ]

    @property
    def segment(self) -> Segment:
        started = {"run": RUN, "last_epoch": -1, "partitions": PARTITIONS, "shards": 1, "flow_partitions": 1}
        clock = ClockLog(RUN, started, finished={"digest": self.digest})
        return Segment(clock, -1, -1, dict.fromkeys(self.values, 0), {})

    def audit(self, size: int = 37) -> TapeAudit:
        audit = TapeAudit(self.segment)
        for chunk in self.chunks(size):
            audit.feed(chunk)
        return audit

    def faults(self) -> list[tuple[Fault, str]]:
        return [(f.fault, f.topic) for f in self.audit().verdict().findings]

    def with_records(self, place: Place, values: list[bytes]) -> Tape:
        return replace(self, values=self.values | {place: values})


@pytest.fixture(scope="module")
def honest() -> Tape:
    values: dict[Place, list[bytes]] = {place: [] for place in places(PARTITIONS, 1)}
    everything: list[Events] = []
    for place, records in values.items():
        if place[0] == TRADES:
            continue
        for run in (RUN, OTHER):
            records.append(row("RunOpened", [run, RunMode.FREE, 0, 1, PARTITIONS, 1, 1, -1]))
        if place[0] == ORDERS:
            records += [listed(run, number) for run in (RUN, OTHER) for number in (place[1], place[1] + 2)]
            records += orders(place[1])
        records += [row("RunClosed", [run]) for run in (RUN, OTHER)]
        if place[0] == ORDERS:
            chunk = chunk_of(*place, records, np.arange(len(records)))
            everything.append(chunk.rows)
            for events in PartitionMatching(place[1]).feed(chunk):
                everything.append(events)
                names, kinds, at = output_order(events)
                values[TRADES, place[1]] += [
                    row(names[kind], events[names[kind]][position].tolist())
                    for kind, position in zip(kinds.tolist(), at.tolist(), strict=True)
                ]
    whole = {name: rows[rows[:, 0] == RUN] for name, rows in canonical.merge(everything).items()}
    return Tape(values, digest_of([(0, whole)]))


def test_an_honest_tape_is_whole_and_matches_again(honest: Tape) -> None:
    for size in (1, 37, 10_000):
        audit = honest.audit(size)
        verdict = audit.verdict()
        assert verdict.findings == ()
        assert (verdict.digest, verdict.retries) == (honest.digest, 0)
        assert verdict.records > 600
        assert audit.differing() == []


def test_output_that_is_changed_missing_repeated_or_foreign(honest: Tape) -> None:
    place = (TRADES, 1)
    values = honest.values[place]
    at = next(i for i, value in enumerate(values) if (chunk_of(*place, [value], np.zeros(1, np.int64)).rows.get(
        e.TradeExecuted.name, np.zeros((1, 1), np.int64))[0, 0]) == RUN and i > 50)  # fmt: skip
    trade = chunk_of(*place, [values[at]], np.zeros(1, np.int64)).rows[e.TradeExecuted.name][0].copy()
    trade[e.TradeExecuted.PRICE] += 1
    changed = honest.with_records(place, [*values[:at], row(e.TradeExecuted.name, trade.tolist()), *values[at + 1 :]])
    assert [fault for fault, _ in changed.faults()] == [Fault.CHANGED]
    audit = changed.audit()
    audit.verdict()
    assert audit.differing() == [1]
    sides = tape_difference(changed.chunks(), changed.segment, 1)
    assert sides is not None
    recorded, computed = sides
    assert recorded is not None
    assert computed is not None
    assert recorded["price"] == computed["price"] + 1 == trade[e.TradeExecuted.PRICE]

    missing = honest.with_records(place, [*values[:at], *values[at + 1 :]])
    assert (Fault.MISSING, TRADES) in missing.faults()
    found = missing.audit().verdict().findings
    assert any(f"seq {trade[e.TradeExecuted.SEQ]} to {trade[e.TradeExecuted.SEQ]} of" in f.detail for f in found)

    again = honest.with_records(place, [*values[: at + 1], *values[at - 5 :]])
    assert again.faults() == []
    assert again.audit().verdict().retries > 0

    strange = honest.with_records((TRADES, 0), [*honest.values[TRADES, 0], values[at]])
    assert (Fault.FOREIGN, TRADES) in strange.faults()


def test_orders_changed_and_controls_missing(honest: Tape) -> None:
    place = (ORDERS, 0)
    values = honest.values[place]
    at = next(i for i, value in enumerate(values) if (chunk_of(*place, [value], np.zeros(1, np.int64)).rows.get(
        e.OrderSubmitted.name, np.zeros((1, 1), np.int64))[0, 0]) == RUN and i > 20)  # fmt: skip
    gone = honest.with_records(place, [*values[:at], *values[at + 1 :]])
    assert [fault for fault, _ in gone.faults()] == [Fault.CHANGED]
    audit = gone.audit()
    audit.verdict()
    assert audit.differing() == [0]
    assert (Fault.FOREIGN, FLOWS) in honest.with_records((FLOWS, 0), [*honest.values[FLOWS, 0], values[at]]).faults()
    assert (Fault.MISSING, DECISIONS) in honest.with_records((DECISIONS, 0), []).faults()
    assert (Fault.MISSING, TRADES) in honest.with_records((TRADES, 0), honest.values[TRADES, 0][:-2]).faults()
