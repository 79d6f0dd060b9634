"""Price-time matching of a batch of ops: one compiled call, no allocation."""

from __future__ import annotations

import numpy as np

from economy.markets.matching.ahead import look_ahead
from economy.markets.matching.expiry import heap_add, heap_del
from economy.markets.matching.idmap import map_del, map_get, map_put, order_hash
from economy.markets.matching.layout import (
    ALREADY_EXPIRED,
    CANCEL,
    CANCELLED,
    CLOCK,
    CLOSE,
    DUPLICATE_ORDER,
    EXPIRED,
    FAR,
    GUESS,
    HALT,
    HALTED,
    HW,
    LIMIT,
    MALFORMED,
    MARKET,
    MAX,
    MIN,
    NOTIONAL_OVERFLOW,
    OPEN_END,
    ORDER_ID_REUSED,
    OUTSIDE_PRICE_BAND,
    POST_ONLY_WOULD_CROSS,
    PRICE_OUT_OF_RANGE,
    QUANTITY_OUT_OF_RANGE,
    REJECT,
    SELF_TRADE,
    TAG,
    TAG_BITS,
    TRADE,
    UNFILLED,
    UNKNOWN_INSTRUMENT,
    UNKNOWN_ORDER,
    USED_ID,
    jit,
    u,
)
from economy.markets.matching.orders import emit, fok_ok, unlink
from economy.markets.matching.tree import level_drop, level_get


@jit
def run(ops, start, n, G, H, H32, L, L32, O, O32, NK, NV, NC, T, P, E, m, ecap, ocap, ncap):
    """Apply ops start..n-1; returns (next op, events).

    Stops before an op that could overflow the events E (ecap rows), the pools of orders and levels and the map (ocap
    resting orders) or the nodes (ncap, 16 spare); the owner grows them and calls again. Stops also before an op behind
    whose tick a call is over, with G[11] set; the owner ends the call and calls again.
    """
    ninst = H.shape[0] // HW
    far = G[8] >= FAR
    P[GUESS:] = 0
    for r in range(start, n):
        b = r << 3
        if far:
            look_ahead(r, n, ops, G, H, H32, L, L32, O, O32, NK, NV, T, P)
        code = ops[u(b)]
        tag = (code >> 8) & TAG
        s = ops[u(b + 1)]
        oid = ops[u(b + 2)]
        ag = ops[u(b + 3)]
        price = ops[u(b + 4)]
        q = ops[u(b + 5)]
        tick = ops[u(b + 6)]
        ex = ops[u(b + 7)]
        kind = code & 3
        side = (code >> 2) & 1
        if m + 2 > ecap or G[8] >= ocap or G[10] >= ncap:
            return r, m
        if s < 0 or s >= ninst:
            emit(E, m, REJECT | UNKNOWN_INSTRUMENT << 8 | side << 16, r, 0, price, q, 0, 0, 0)
            m += 1
            continue
        hi = s * HW
        if code < 0:  # refused before: not even its tick counts
            emit(E, m, REJECT | -code << 8, r, H[u(hi)], price, q, oid, ag, 0)
            m += 1
            H[u(hi)] += 1
            continue
        end = H[u(hi + 3)]
        due = min(tick, end)  # what expires with or after the last tick of a call still takes part in its auction
        if due > H[u(hi + 1)]:  # something expires
            while due > H[u(hi + 1)]:
                if m + 2 > ecap:
                    return r, m
                i = np.int64(H32[u((hi << 1) + 8)])
                lv = np.int64(O32[u((i << 4) + 10)])
                sd = np.int64(L32[u((lv << 3) + 7)]) & 1
                emit(
                    E,
                    m,
                    CLOSE | EXPIRED << 8 | sd << 16,
                    r,
                    H[u(hi)],
                    L[u(lv << 2)] ^ (sd - 1),
                    O[u((i << 3) + 2)],
                    O[u(i << 3)],
                    O[u((i << 3) + 1)],
                    O[u((i << 3) + 3)],
                )
                m += 1
                H[u(hi)] += 1
                unlink(
                    G,
                    H,
                    H32,
                    hi + 8 + (sd << 3),
                    L,
                    L32,
                    O,
                    O32,
                    NK,
                    NV,
                    NC,
                    P,
                    T,
                    i,
                    s,
                    order_hash(G, s, O[u((i << 3) + 1)], O[u(i << 3)]),
                )
        if due < tick:
            G[11] = s + 1
            return r, m
        rej = 0
        if tick < H[u(hi + 2)] or ((code >> 3) & 3) == 3:
            rej = MALFORMED
        if rej == 0:
            H[u(hi + 2)] = tick
            if kind == CLOCK:
                continue
            hs = order_hash(G, s, ag, oid)
            i = map_get(G, T, O, O32, L32, hs, s, ag, oid)
            if kind == CANCEL:
                if i == 0:
                    rej = UNKNOWN_ORDER
                else:
                    lv = np.int64(O32[u((i << 4) + 10)])
                    sd = np.int64(L32[u((lv << 3) + 7)]) & 1
                    emit(
                        E,
                        m,
                        CLOSE | CANCELLED << 8 | sd << 16,
                        r,
                        H[u(hi)],
                        L[u(lv << 2)] ^ (sd - 1),
                        O[u((i << 3) + 2)],
                        oid,
                        ag,
                        O[u((i << 3) + 3)],
                    )
                    m += 1
                    H[u(hi)] += 1
                    unlink(G, H, H32, hi + 8 + (sd << 3), L, L32, O, O32, NK, NV, NC, P, T, i, s, hs)
                    continue
            elif i != 0:
                rej = DUPLICATE_ORDER
            elif code & USED_ID:
                rej = ORDER_ID_REUSED
            elif q <= 0:
                rej = QUANTITY_OUT_OF_RANGE
            elif end != MAX and (kind != LIMIT or code & 56):
                rej = HALTED  # a call collects what can rest: limit orders, good till cancelled
            elif ex < tick:
                rej = ALREADY_EXPIRED
            elif kind == LIMIT:
                if price < H[u(hi + 6)] or price > H[u(hi + 7)]:
                    rej = OUTSIDE_PRICE_BAND
                    if price <= MIN + 1 or price >= MAX - 1:
                        rej = PRICE_OUT_OF_RANGE
                elif (price >= 1 << 31 or price <= -(1 << 31) or q >= 1 << 31) and price != 0 and q > MAX // abs(price):
                    rej = NOTIONAL_OVERFLOW
                elif H[u(hi + 9 + (side << 3))] > MAX - q:
                    rej = NOTIONAL_OVERFLOW  # sums per side stay exact
            elif code & 32:
                rej = MALFORMED  # a post-only market order
        tif = (code >> 3) & 3
        if rej == 0 and (code & 32) and tif != 0:
            rej = MALFORMED
        if rej != 0:
            emit(E, m, REJECT | rej << 8 | side << 16, r, H[u(hi)], price, q, oid, ag, 0)
            m += 1
            H[u(hi)] += 1
            continue
        h = hi + 16 - (side << 3)  # the maker's side line
        x = -side  # maker key = price ^ x: asks as they are, bids inverted
        lim = MAX - 1
        if kind == LIMIT:
            lim = price ^ x
        if end != MAX:
            lim = MIN  # nothing trades before the auction
        why = UNFILLED
        if H[u(h)] <= lim:
            if code & 32:
                emit(E, m, REJECT | POST_ONLY_WOULD_CROSS << 8 | side << 16, r, H[u(hi)], price, q, oid, ag, 0)
                m += 1
                H[u(hi)] += 1
                continue
            if m + min(q, np.int64(H32[u((h << 1) + 8)])) + 3 > ecap:
                return r, m
            cap = 0
            if kind == MARKET and side == 0:
                cap = price
            if tif == 2 and not fok_ok(H, H32, h, L, L32, O, O32, NK, NV, NC, P, lim, q, ag, cap, x):
                emit(E, m, CLOSE | UNFILLED << 8 | side << 16, r, H[u(hi)], price, q, oid, ag, ex)
                m += 1
                H[u(hi)] += 1
                continue
            seq = H[u(hi)]
            filled = 0
            made = 0
            cut = 0
            while True:
                lv = np.int64(H32[u((h << 1) + 4)])
                lb = lv << 3
                mp = L[u(lv << 2)] ^ x
                i = np.int64(L32[u(lb + 4)])
                first = i
                if cap > 0 and mp > 0 and q > cap // mp:
                    cut += q - cap // mp  # no worse level can take what this one cannot pay
                    q = cap // mp
                    if q == 0:
                        break
                if L[u(lv << 2)] < H[u(h + 5)] or L[u(lv << 2)] > H[u(h + 6)]:
                    why = SELF_TRADE
                    if O[u((i << 3) + 1)] != ag:
                        why = 0  # the next trade would print too far from the reference
                    break
                lq = q
                cnt = 0
                while True:
                    o = i << 3
                    ma = O[u(o + 1)]
                    if ma == ag:
                        why = SELF_TRADE
                        break
                    mq = O[u(o + 2)]
                    if mq > q:
                        O[u(o + 2)] = mq - q
                        emit(E, m, TRADE | side << 16 | 1 << 18, r, seq, mp, q, O[u(o)], ma, O[u(o + 4)] & TAG)
                        m += 1
                        seq += 1
                        q = 0
                        break
                    q -= mq
                    emit(
                        E,
                        m,
                        TRADE | side << 16 | 1 << 17 | np.int64(q == 0) << 18,
                        r,
                        seq,
                        mp,
                        mq,
                        O[u(o)],
                        ma,
                        O[u(o + 4)] & TAG,
                    )
                    m += 1
                    seq += 1
                    cnt += 1
                    nx = np.int64(O32[u((i << 4) + 11)])
                    map_del(G, T, order_hash(G, s, ma, O[u(o)]), i)
                    if O[u(o + 3)] != MAX:
                        heap_del(H, H32, hi, O, O32, i)
                    O32[u((i << 4) + 11)] = G[0]
                    G[0] = i
                    i = nx
                    if i == 0 or q == 0:
                        break
                made += cnt
                filled += lq - q
                if cap > 0:
                    cap -= mp * (lq - q)
                if i == 0:
                    level_drop(G, H, H32, h, L, L32, NK, NV, NC, P, lv)
                else:
                    L[u((lv << 2) + 1)] -= lq - q
                    if i != first:
                        L32[u(lb + 4)] = i
                        L32[u(lb + 6)] -= cnt
                        O32[u((i << 4) + 12)] = 0
                if q == 0 or why == SELF_TRADE or H[u(h)] > lim:
                    break
            q += cut
            H[u(hi)] = seq
            H[u(h + 1)] -= filled
            H32[u((h << 1) + 8)] -= made
            G[8] -= made
            if q == 0:
                continue
            if why == 0:
                why = UNFILLED
                end = min(tick, OPEN_END - H[u(hi + 15)]) + H[u(hi + 15)]
                emit(E, m, HALT | side << 16, r, H[u(hi)], L[np.int64(H32[u((h << 1) + 4)]) << 2] ^ x, end, oid, ag, 0)
                m += 1
                H[u(hi)] += 1
                H[u(hi + 3)] = end
        if why == SELF_TRADE or kind == MARKET or tif != 0:
            if tif == 2 and why != SELF_TRADE:
                why = UNFILLED
            emit(E, m, CLOSE | why << 8 | side << 16, r, H[u(hi)], price, q, oid, ag, ex)
            m += 1
            H[u(hi)] += 1
            continue
        h = hi + 8 + (side << 3)  # rest on the own side
        lv = level_get(G, H, H32, h, L, L32, NK, NV, NC, P, price ^ (side - 1), (s << 1) | side)
        i = G[0]
        if i != 0:
            G[0] = np.int64(O32[u((i << 4) + 11)])
        else:
            i = G[1]
            G[1] = i + 1
        o = i << 3
        O[u(o)] = oid
        O[u(o + 1)] = ag
        O[u(o + 2)] = q
        O[u(o + 3)] = ex
        O[u(o + 4)] = (H[u(hi + 5)] << TAG_BITS) | tag
        H[u(hi + 5)] += 1
        lb = lv << 3
        t = np.int64(L32[u(lb + 5)])
        ob = i << 4
        O32[u(ob + 10)] = lv
        O32[u(ob + 11)] = 0
        O32[u(ob + 12)] = t
        if t == 0:
            L32[u(lb + 4)] = i
        else:
            O32[u((t << 4) + 11)] = i
        L32[u(lb + 5)] = i
        L32[u(lb + 6)] += 1
        L[u((lv << 2) + 1)] += q
        H[u(h + 1)] += q
        H32[u((h << 1) + 8)] += 1
        map_put(G, T, hs, i)
        G[8] += 1
        if ex != MAX:
            heap_add(H, H32, hi, O, O32, i)
    return n, m
