"""From records to the ops of the matching kernel; what the book need not see is refused here, with its reason."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from economy.events import (
    OrderCancelRequested,
    OrderSubmitted,
    OrderType,
    RejectReason,
    Rows,
    Side,
    TimeInForce,
    Use,
)
from economy.matching.layout import CANCEL, MAX
from economy.units import INT64_MAX

USE_SHIFT: Final = 14  # a tag is use << 14 | tax rate
TAX_MASK: Final = (1 << USE_SHIFT) - 1
_CHOICES: Final = (
    (OrderSubmitted.TYPE, len(OrderType)),
    (OrderSubmitted.SIDE, len(Side)),
    (OrderSubmitted.TIF, len(TimeInForce)),
    (OrderSubmitted.USE, len(Use)),
    (OrderSubmitted.POST_ONLY, 2),
)


def ops_of(orders: Rows, cancels: Rows, ids: NDArray[np.int64], static: Rows) -> tuple[Rows, Rows]:
    """Kernel ops (orders first), and per op (instrument, tick, agent, n, use, tax rate).

    `ids` (slots,) are the listed instruments, rising; `static` (slots, 5) their money per price step and lot, tick
    size, lot size and price band. The op of an instrument that is not listed has slot -1.
    """
    o, c = OrderSubmitted, OrderCancelRequested
    n = len(orders)
    ops = np.zeros((n + len(cancels), 8), np.int64)
    source = np.zeros((n + len(cancels), 6), np.int64)
    source[:n] = orders[:, [o.INSTRUMENT, o.TICK, o.AGENT, o.N, o.USE, o.TAX_RATE]]
    source[n:, :4] = cancels[:, [c.INSTRUMENT, c.TICK, c.AGENT, c.N]]
    slot = np.searchsorted(ids, source[:, 0])
    known = slot < len(ids)
    known[known] = ids[slot[known]] == source[known, 0]
    ops[:, 1] = np.where(known, slot, -1)
    ops[:n, 2:6] = orders[:, [o.ORDER, o.AGENT, o.PRICE, o.QUANTITY]]
    ops[n:, 2:4] = cancels[:, [c.ORDER, c.AGENT]]
    ops[:, 6] = source[:, 1]
    ops[:n, 7] = np.where(orders[:, o.EXPIRES] > 0, orders[:, o.EXPIRES], MAX)
    ops[:n, 0] = (
        orders[:, o.TYPE]
        | orders[:, o.SIDE] << 2
        | orders[:, o.TIF] << 3
        | (orders[:, o.POST_ONLY] != 0) << 5
        | ((orders[:, o.USE] << USE_SHIFT) | orders[:, o.TAX_RATE]) << 8
    )
    ops[n:, 0] = np.where(source[n:, 1] < 0, -(int(RejectReason.MALFORMED) + 1), CANCEL)
    at = np.flatnonzero(known[:n])
    if len(at):
        _refuse(orders[at], at, ops, static[ops[at, 1]])
    return ops, source


def _refuse(rows: Rows, at: NDArray[np.int64], ops: Rows, static: Rows) -> None:
    """Turn orders into refusals; the first reason of this list counts."""
    o = OrderSubmitted
    multiplier, tick, lot, low, high = static.T
    price, quantity, limit = rows[:, o.PRICE], rows[:, o.QUANTITY], rows[:, o.TYPE] == OrderType.LIMIT
    cap = rows[:, o.CASH_CAP]
    highest = INT64_MAX // multiplier // 2
    malformed = (rows[:, o.TICK] < 0) | (rows[:, o.EXPIRES] < 0)
    malformed |= (rows[:, o.TAX_RATE] < 0) | (rows[:, o.TAX_RATE] > TAX_MASK)
    for column, choices in _CHOICES:
        malformed |= (rows[:, column] < 0) | (rows[:, column] >= choices)
    malformed |= (cap != 0) & (limit | (rows[:, o.SIDE] != Side.BUY) | (cap < 0))
    malformed |= ~limit & ((rows[:, o.POST_ONLY] != 0) | (price != 0))
    malformed |= (rows[:, o.POST_ONLY] != 0) & (rows[:, o.TIF] != TimeInForce.GTC)
    checks = (
        (RejectReason.MALFORMED, malformed),
        (RejectReason.QUANTITY_OUT_OF_RANGE, quantity <= 0),
        (RejectReason.OFF_LOT, quantity % lot != 0),
        (RejectReason.PRICE_OUT_OF_RANGE, limit & ((price <= 0) | (price > highest))),
        (RejectReason.OFF_TICK, limit & (price % tick != 0)),
        (RejectReason.OUTSIDE_PRICE_BAND, limit & ((price < low) | (price > high))),
        (
            RejectReason.NOTIONAL_OVERFLOW,
            limit & (quantity > INT64_MAX // (np.clip(price, 1, highest) * multiplier)),
        ),
    )
    reason = np.zeros(len(at), np.int64)
    for why, broken in checks:
        reason[broken & (reason == 0)] = int(why) + 1
    refused = reason > 0
    ops[at[refused], 0] = -reason[refused]
    # The kernel counts a cap in price x quantity; below one step nothing can be bought, which a cap of 1 gives too.
    capped = (cap != 0) & ~refused
    ops[at[capped], 4] = np.maximum(1, cap[capped] // multiplier[capped])
