"""Where the worker's time goes: each step of its work on batches of a given size, outside of the worker.

What is missing to the worker's whole processor time is asyncio, Faust, aiokafka and the sockets.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from bench.market.flow import BOOK, LIMIT_CANCEL, Flow, encoded, instruments, rows_of
from bench.market.preloaded import BOOKS
from bench.market.wire import BATCH
from economy.markets.market import Market
from economy.records import events as e
from schemas.log import framing, recordbatch
from schemas.rows import decode, encode
from streams.matching import output_order

_ORDERS: Final = 400_000  # per size, at most 2,000 batches


def fetched(flow: Flow, count: int) -> bytes:
    """The next messages of a flow as the broker would send them."""
    first, messages = flow.sent + 1, flow.take(count)
    buffer, starts, ends = encoded(messages, first)
    sizes = np.full(count, 16)
    keys = framing.key_table(np.column_stack((np.ones(count, np.int64), messages[:, BOOK])), sizes)
    blob, offset = b"", 0
    for batch, records in framing.write(buffer, starts, ends, keys, sizes, 0, BATCH):
        blob += offset.to_bytes(8, "big") + framing.seal(batch, -1, -1, -1)[8:]
        offset += records
    return blob


def measure(size: int) -> dict[str, Any]:
    """Nanoseconds of processor time per order of each step, on batches of `size` orders."""
    flow = Flow(LIMIT_CANCEL, BOOKS)
    market = Market(1, 1, 1, instruments(BOOKS))
    market.match_free(*rows_of(flow.opening(), 1))
    spent = np.zeros(6)
    batches = min(2_000, max(5, _ORDERS // size))
    for number in range(-3, batches):
        step = _one(market, fetched(flow, size))
        if number >= 0:  # the first ones load what is compiled
            spent += step
    names = ("read", "decode", "match", "order", "encode", "write")
    told = {name: round(1e9 * value / (size * batches)) for name, value in zip(names, spent, strict=True)}
    return {"batch": size, **told, "sum": sum(told.values())}


def _one(market: Market, blob: bytes) -> np.ndarray[Any, Any]:
    clock = time.thread_time
    at = [clock()]
    records = recordbatch.read(blob)
    at.append(clock())
    found = decode(records.buffer, records.starts, records.ends)
    at.append(clock())
    parts: list[Any] = [e.OrderSubmitted, e.OrderCancelRequested]
    rows = [found.rows.get(part.name, np.empty((0, part.width), np.int64)) for part in parts]
    places = [found.index.get(part.name, np.empty(0, np.int64)) for part in parts]
    events = market.match_free(rows[0], rows[1], np.concatenate(places))
    at.append(clock())
    names, kind, row = output_order(events)
    at.append(clock())
    if names:
        buffers = [encode(name, events[name]) for name in names]
        ends = np.concatenate([end + shift for (_, end), shift in zip(buffers, _shifts(buffers), strict=True)])
        starts = np.concatenate(([0], ends[:-1]))
        values = np.concatenate([buffer for buffer, _ in buffers])
        at.append(clock())
        place = np.cumsum([0, *(len(end) for _, end in buffers)])[kind] + row
        keys = framing.key_table(np.concatenate([events[name][:, :2] for name in names])[place], kind)
        for batch, _ in framing.write(values, starts[place], ends[place], keys, np.full(len(place), 16), 0, BATCH):
            framing.seal(batch, -1, -1, -1)
        at.append(clock())
    else:
        at += at[-1:] * 2
    return np.diff(at)


def _shifts(buffers: list[Any]) -> list[int]:
    return np.cumsum([0, *(len(buffer) for buffer, _ in buffers[:-1])]).tolist()
