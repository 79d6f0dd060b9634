"""From records to the ops of the matching kernel; what the book need not see is refused here, with its reason."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.markets.matching.layout import CANCEL, MAX
from economy.numbers.units import INT64_MAX
from economy.records.events import (
    OrderCancelRequested,
    OrderSubmitted,
    OrderType,
    RejectReason,
    Rows,
    Side,
    TimeInForce,
    Use,
)

Column = NDArray[np.int64]
USE_SHIFT: Final = 14  # a tag is use << 14 | tax rate
TAX_MASK: Final = (1 << USE_SHIFT) - 1
_TYPES, _SIDES, _TIFS, _USES = len(OrderType), len(Side), len(TimeInForce), len(Use)
_MALFORMED: Final = -(int(RejectReason.MALFORMED) + 1)
# No settings: workers that differed here would make different logs of the same input.
LATEST: Final = 1 << 61  # tick of an instrument's first record; nanoseconds since 1970 reach it in 2043
AHEAD: Final = 1 << 50  # ticks from one record to the next: 13 days of nanoseconds, 35 years of microseconds


def ops_of(orders: Rows, cancels: Rows, ids: NDArray[np.int64], static: Rows) -> tuple[Rows, Rows]:
    """Kernel ops (orders first), and per op (instrument, tick, agent, n, use, tax rate).

    `ids` (slots,) are the listed instruments, rising; `static` (slots, 3) their money per price step and lot, tick
    size and lot size. The op of an instrument that is not listed has slot -1.
    """
    o, c = OrderSubmitted, OrderCancelRequested
    n = len(orders)
    ops = np.empty((n + len(cancels), 8), np.int64)
    source = np.empty((n + len(cancels), 6), np.int64)
    # Columns by name: their places may change with the schema, and a compiled kernel would not notice.
    _submit(
        orders[:, o.INSTRUMENT], orders[:, o.TICK], orders[:, o.AGENT], orders[:, o.N], orders[:, o.ORDER],
        orders[:, o.SIDE], orders[:, o.TYPE], orders[:, o.TIF], orders[:, o.POST_ONLY], orders[:, o.PRICE],
        orders[:, o.QUANTITY], orders[:, o.EXPIRES], orders[:, o.CASH_CAP], orders[:, o.USE], orders[:, o.TAX_RATE],
        ids, static, ops[:n], source[:n],
    )  # fmt: skip
    _cancel(
        cancels[:, c.INSTRUMENT], cancels[:, c.TICK], cancels[:, c.AGENT], cancels[:, c.N], cancels[:, c.ORDER], ids,
        ops[n:], source[n:],
    )  # fmt: skip
    return ops, source


@njit(cache=True, nogil=True)
def refuse_ahead(ops: Rows, times: Column) -> None:
    """Refuse, in place, ops whose tick lies too far behind the time of their instrument: it would move it for good.

    `ops` in order of arrival; `times` (slots,) their times before, in ticks, written over.
    """
    for i in range(ops.shape[0]):
        code, slot, tick = ops[i, 0], ops[i, 1], ops[i, 6]
        if code < 0 or slot < 0:
            continue
        if tick - times[slot] > (AHEAD if times[slot] > 0 else LATEST):
            ops[i, 0] = _MALFORMED
        else:
            times[slot] = max(times[slot], tick)


@njit(cache=True)
def _slot(ids: Column, instrument: int) -> int:
    at = np.searchsorted(ids, instrument)
    return int(at) if at < ids.size and ids[at] == instrument else -1


@njit(cache=True, nogil=True)
def _submit(
    instrument: Column, tick: Column, agent: Column, n: Column, order: Column, side: Column, kind: Column, tif: Column,
    post_only: Column, price: Column, quantity: Column, expires: Column, cap: Column, use: Column, tax: Column,
    ids: Column, static: Rows, ops: Rows, source: Rows,
) -> None:  # fmt: skip
    for i in range(n.size):
        slot = _slot(ids, instrument[i])
        code = kind[i] | side[i] << 2 | tif[i] << 3 | (post_only[i] != 0) << 5 | (use[i] << USE_SHIFT | tax[i]) << 8
        limit = price[i]  # or cash cap
        if slot >= 0:
            rules = static[slot]
            reason = _refusal(
                tick[i], side[i], kind[i], tif[i], post_only[i], limit, quantity[i], expires[i], cap[i], use[i],
                tax[i], rules[0], rules[1], rules[2],
            )  # fmt: skip
            if reason >= 0:
                code = -(reason + 1)
            elif cap[i] != 0:
                # The kernel counts a cap in price x quantity; below one step nothing can be bought, which a cap of 1
                # gives too.
                limit = max(1, cap[i] // rules[0])
        ops[i, 0], ops[i, 1], ops[i, 2], ops[i, 3] = code, slot, order[i], agent[i]
        ops[i, 4], ops[i, 5], ops[i, 6] = limit, quantity[i], tick[i]
        ops[i, 7] = expires[i] if expires[i] > 0 else MAX
        source[i, 0], source[i, 1], source[i, 2], source[i, 3] = instrument[i], tick[i], agent[i], n[i]
        source[i, 4], source[i, 5] = use[i], tax[i]


@njit(cache=True)
def _refusal(
    tick: int, side: int, kind: int, tif: int, post_only: int, price: int, quantity: int, expires: int, cap: int,
    use: int, tax: int, multiplier: int, grid: int, lot: int,
) -> int:  # fmt: skip
    """RejectReason of an order, the first of this list; -1 when the book takes it."""
    limit = kind == OrderType.LIMIT
    if tick < 0 or expires < 0 or tax < 0 or tax > TAX_MASK:
        return RejectReason.MALFORMED.value
    for value, choices in ((kind, _TYPES), (side, _SIDES), (tif, _TIFS), (use, _USES), (post_only, 2)):
        if value < 0 or value >= choices:
            return RejectReason.MALFORMED.value
    if cap != 0 and (limit or side != Side.BUY or cap < 0):
        return RejectReason.MALFORMED.value
    if not limit and (post_only != 0 or price != 0):
        return RejectReason.MALFORMED.value
    if post_only != 0 and tif != TimeInForce.GTC:
        return RejectReason.MALFORMED.value
    if quantity <= 0:
        return RejectReason.QUANTITY_OUT_OF_RANGE.value
    if quantity % lot != 0:
        return RejectReason.OFF_LOT.value
    if not limit:
        return -1
    if price <= 0 or price > INT64_MAX // multiplier // 2:
        return RejectReason.PRICE_OUT_OF_RANGE.value
    if price % grid != 0:
        return RejectReason.OFF_TICK.value
    if quantity > INT64_MAX // (price * multiplier):
        return RejectReason.NOTIONAL_OVERFLOW.value
    return -1


@njit(cache=True, nogil=True)
def _cancel(
    instrument: Column, tick: Column, agent: Column, n: Column, order: Column, ids: Column, ops: Rows, source: Rows
) -> None:
    for i in range(n.size):
        ops[i, 0] = CANCEL if tick[i] >= 0 else _MALFORMED
        ops[i, 1], ops[i, 2], ops[i, 3] = _slot(ids, instrument[i]), order[i], agent[i]
        ops[i, 4] = ops[i, 5] = ops[i, 7] = 0
        ops[i, 6] = tick[i]
        source[i, 0], source[i, 1], source[i, 2], source[i, 3] = instrument[i], tick[i], agent[i], n[i]
        source[i, 4] = source[i, 5] = 0
