"""The end of a call in the arrays of a book: withdraw orders, then trade the best of both sides at one price."""

from __future__ import annotations

import numpy as np

from economy.markets.matching.idmap import map_get, order_hash
from economy.markets.matching.layout import (
    CALL_TAKER,
    CALL_TRADE,
    CLOSE,
    HW,
    SELF_TRADE,
    STOOD,
    TAG,
    TAG_BITS,
    jit,
    u,
)
from economy.markets.matching.orders import emit, unlink


@jit
def withdraw(rows, s, r, tick, G, H, H32, L, L32, O, O32, NK, NV, NC, T, P, E):
    """Close the resting orders of rows (n, 2): id, agent; returns the events."""
    hi = s * HW
    for m in range(rows.shape[0]):
        oid = rows[m, 0]
        ag = rows[m, 1]
        hs = order_hash(G, s, ag, oid)
        i = map_get(G, T, O, O32, L32, hs, s, ag, oid)
        lv = np.int64(O32[u((i << 4) + 10)])
        side = np.int64(L32[u((lv << 3) + 7)]) & 1
        price = L[u(lv << 2)] ^ (side - 1)
        q = O[u((i << 3) + 2)]
        emit(E, m, CLOSE | SELF_TRADE << 8 | side << 16 | STOOD, r, H[u(hi)], price, q, oid, ag, tick)
        H[u(hi)] += 1
        unlink(G, H, H32, hi + 8 + (side << 3), L, L32, O, O32, NK, NV, NC, P, T, i, s, hs)
    return rows.shape[0]


@jit
def _fill(q, s, side, i, G, H, H32, L, L32, O, O32, NK, NV, NC, T, P):
    """Take q off a resting order; the order goes when nothing is left."""
    h = s * HW + 8 + (side << 3)
    o = i << 3
    if O[u(o + 2)] == q:
        hs = order_hash(G, s, O[u(o + 1)], O[u(o)])
        unlink(G, H, H32, h, L, L32, O, O32, NK, NV, NC, P, T, i, s, hs)
    else:
        O[u(o + 2)] -= q
        L[u((np.int64(O32[u((i << 4) + 10)]) << 2) + 1)] -= q
        H[u(h + 1)] -= q


@jit
def uncross(price, volume, s, r, tick, G, H, H32, L, L32, O, O32, NK, NV, NC, T, P, E):
    """Trade `volume` at `price`, best against best, in price-time priority; returns the events, two rows a trade.

    Of two orders that meet the older is the maker. E must hold two rows for each order that can take part.
    """
    hi = s * HW
    m = 0
    while volume > 0:
        lb = np.int64(H32[u(((hi + 8) << 1) + 4)])
        la = np.int64(H32[u(((hi + 16) << 1) + 4)])
        bid = np.int64(L32[u((lb << 3) + 4)])
        ask = np.int64(L32[u((la << 3) + 4)])
        q = min(volume, O[u((bid << 3) + 2)], O[u((ask << 3) + 2)])
        maker = bid
        taker = ask
        side = 1
        if (O[u((bid << 3) + 4)] >> TAG_BITS) > (O[u((ask << 3) + 4)] >> TAG_BITS):
            maker = ask
            taker = bid
            side = 0
        limit = ~L[u(lb << 2)]  # of the bid
        other = L[u(la << 2)]
        if side == 0:
            limit, other = other, limit
        emit(
            E, m, CALL_TRADE | side << 16, r, H[u(hi)], price, q, O[u(maker << 3)], O[u((maker << 3) + 1)],
            O[u((maker << 3) + 4)] & TAG,
        )  # fmt: skip
        emit(
            E, m + 1, CALL_TAKER | side << 16, r, tick, limit, other, O[u(taker << 3)], O[u((taker << 3) + 1)],
            O[u((taker << 3) + 4)] & TAG,
        )  # fmt: skip
        m += 2
        H[u(hi)] += 1
        volume -= q
        _fill(q, s, 0, bid, G, H, H32, L, L32, O, O32, NK, NV, NC, T, P)
        _fill(q, s, 1, ask, G, H, H32, L, L32, O, O32, NK, NV, NC, T, P)
    return m
