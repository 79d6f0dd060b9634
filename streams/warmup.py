"""Compile, or load from the cache, every kernel that matching needs before the group is joined.

The first batch would else wait for it: half a second with a warm cache, a minute without, which is longer than the
group waits for a member.
"""

from __future__ import annotations

import numpy as np

from economy.instruments import Instrument
from economy.markets.book import OrderBook
from economy.records import events as e
from economy.records.digest import mark
from economy.records.events import ChainScope, InstrumentClass, OrderType, Rows, RunMode, TimeInForce
from schemas.catalogue import ORDERS
from schemas.codec import decode_record, encode_record
from schemas.log import framing, recordbatch, snapshots
from schemas.log.reader import Chunk
from schemas.rows import decode, encode
from streams import burial
from streams.matching import PartitionMatching, output_order
from streams.tail import Tail

_PRICE, _ORDERS = 100, 8
_FREE, _EPOCHS = 1, 2  # runs


def _orders(run: int) -> Rows:
    """Buys that rest and sells that meet them, of every type and time in force; the last one expires."""
    o = e.OrderSubmitted
    rows = np.zeros((_ORDERS, o.width), np.int64)
    rows[:, o.RUN] = run
    rows[:, o.AGENT] = rows[:, o.SIDE] = np.arange(_ORDERS) % 2
    rows[:, o.N] = rows[:, o.ORDER] = np.arange(_ORDERS) + 1
    rows[:, o.PRICE], rows[:, o.QUANTITY] = _PRICE, 4
    rows[1, [o.TIF, o.QUANTITY]] = TimeInForce.IOC, 1
    rows[3, [o.TIF, o.QUANTITY]] = TimeInForce.FOK, 1
    rows[5, [o.TYPE, o.PRICE]] = OrderType.MARKET, 0
    rows[6:, o.EXPIRES] = 1
    return rows


def _values() -> list[bytes]:
    """A free run and one epoch of another, as records."""
    values = []
    for run, mode in ((_FREE, RunMode.FREE), (_EPOCHS, RunMode.EPOCHS)):
        instrument = Instrument(0, "warm", InstrumentClass.GOOD, item=0, fixing_ticks=1, reference_price=_PRICE)
        values.append(_one(e.RunOpened.name, [run, mode, 1, 1, 1, 1, 1, 0]))
        values.append(encode_record("InstrumentListed", instrument.record(run)))
        orders = _orders(run)
        cancel = [0] * e.OrderCancelRequested.width
        cancel[e.OrderCancelRequested.RUN], cancel[e.OrderCancelRequested.N] = run, _ORDERS + 1
        cancel[e.OrderCancelRequested.ORDER] = 1
        parts = {e.OrderSubmitted.name: orders, e.OrderCancelRequested.name: np.array([cancel], np.int64)}
        for name, rows in parts.items():
            buffer, ends = encode(name, rows)
            values += [buffer[start:end].tobytes() for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        count, digest, chain = mark(parts, ChainScope.ORDERS, 0)
        values.append(_one(e.EpochClosed.name, [run, 0, 0, 0, count, digest, chain, 1, 1]))
    return values


def _one(name: str, row: list[int]) -> bytes:
    return encode(name, np.array([row], np.int64))[0].tobytes()


def _fetched(values: list[bytes]) -> recordbatch.Records:
    ends = np.cumsum([len(value) for value in values])
    starts = np.concatenate(([0], ends[:-1]))
    sizes = np.full(len(values), 16)
    keys = framing.key_table(np.zeros((len(values), 2), np.int64), sizes)
    buffer = np.frombuffer(b"".join(values), np.uint8)
    # numba compiles for arrays that can be written, as encoded ones are, and for those that cannot, as fetched ones.
    for source in (buffer, buffer.copy()):
        (batch, _), *_ = framing.write(source, starts, ends, keys, sizes, 0, 1 << 16)
    return recordbatch.read(framing.seal(batch, -1, -1, -1))


def _auction() -> None:
    """A call that withdraws an order which overlaps with another of its agent, and trades the rest; then one that has
    nothing to trade."""
    book = OrderBook()
    book.halt()
    for n, (agent, side) in enumerate(((1, e.Side.SELL), (1, e.Side.BUY), (2, e.Side.BUY))):
        book.add(order=n, agent=agent, side=side, price=_PRICE, quantity=1 + agent)
    book.resume()
    book.add(order=3, agent=3, side=e.Side.SELL, price=_PRICE + 1, quantity=1)
    book.halt()
    book.resume()


def warm_up() -> None:
    """Match a few records of both modes, write what comes of it, and restore a snapshot in between."""
    records = _fetched(_values())
    for buffer in (records.buffer.copy(), records.buffer):  # compressed batches come as the first, others as the second
        found = decode(buffer, records.starts, records.ends)
    cold = [(i, *decode_record(records.value(i))) for i in found.cold.tolist()]
    _auction()
    state = PartitionMatching(0)
    written = state.feed(Chunk(ORDERS, 0, records.offsets, found.rows, found.index, cold), records.next_offset)
    for events in written:
        names, _, _ = output_order(events)
        tail = Tail([events])
        for name in names:
            tail.new(name, events[name])
            encode(name, events[name])
    _fetched([value for _, value in snapshots.pack(0, 1, state.dump())])
    PartitionMatching.load(0, state.dump())
    burial.letters(records, [(np.arange(len(records)), "warm")], "warm", 0)
