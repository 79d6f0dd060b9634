"""Prefetching: a batch is known ahead, so what an op will touch is fetched while earlier ops run.

What lies behind a link is known only when the link has arrived. So an op passes four stages, each STEP ops nearer than
the one before: lines of map and instrument; order, or leaf of the tree; level and neighbours; last order of the level,
or leaf of the level that will be empty. All of it is guessed from a book that earlier ops still change, so a guess may
be wrong: it is fetched or followed to a valid slot, and nothing else relies on it.
"""

from __future__ import annotations

import numpy as np

from economy.markets.matching.idmap import order_hash
from economy.markets.matching.layout import CANCEL, GUESS, HW, LIMIT, STEP, K, hot, prefetch, u
from economy.markets.matching.tree import cge


@hot
def _fetch_leaf(H32, h, NK, NV, x):
    """Leaf of a key (h: int64 offset of the side line)."""
    hb = h << 1
    node = np.int64(H32[u(hb + 6)])
    for _ in range(np.int64(H32[u(hb + 7)])):
        node = np.int64(NV[u(node * K + max(cge(NK, node * K, x) - 1, 0))])
    prefetch(NK, node * K)
    prefetch(NK, node * K + 8)
    prefetch(NV, node * K)
    return node


@hot
def _slot(G, T, h):
    """Slot of an order with this hash, 0 if none."""
    p = h & G[6]
    while T[u(p)] != 0:
        if ((T[u(p)] >> 32) & 0xFFFFFFFF) == h:
            return T[u(p)] & 0xFFFFFFFF
        p = (p + 1) & G[6]
    return 0


@hot
def look_ahead(r, n, ops, G, H, H32, L, L32, O, O32, NK, NV, T, P):
    """Move the ops behind op r on by one stage each; P[GUESS:] keeps the slot at which an op has arrived, 0 = none."""
    w = r + 4 * STEP
    if w < n:
        b = w << 3
        s = ops[u(b + 1)]
        prefetch(T, order_hash(G, s, ops[u(b + 3)], ops[u(b + 2)]) & G[6])
        if s >= 0 and s < H.shape[0] // HW:
            prefetch(H, s * HW)
            prefetch(H, s * HW + 8)
            prefetch(H, s * HW + 16)
    w = r + 3 * STEP
    if w < n:
        b = w << 3
        code = ops[u(b)]
        s = ops[u(b + 1)]
        at = 0
        if code >= 0 and s >= 0 and s < H.shape[0] // HW:
            side = (code >> 2) & 1
            if code & 3 == CANCEL:
                at = _slot(G, T, order_hash(G, s, ops[u(b + 3)], ops[u(b + 2)]))
                prefetch(O, at << 3)
            elif code & 27 == LIMIT:  # that may rest
                at = _fetch_leaf(H32, s * HW + 8 + (side << 3), NK, NV, ops[u(b + 4)] ^ (side - 1))
        P[u(GUESS + (w & 15))] = at
    w = r + 2 * STEP
    if w < n:
        b = w << 3
        code = ops[u(b)]
        at = P[u(GUESS + (w & 15))]
        if at != 0 and code & 3 == CANCEL:
            prefetch(L, np.int64(O32[u((at << 4) + 10)]) << 2)
            prefetch(O, np.int64(O32[u((at << 4) + 11)]) << 3)
            prefetch(O, np.int64(O32[u((at << 4) + 12)]) << 3)
        elif at != 0:
            x = ops[u(b + 4)] ^ (((code >> 2) & 1) - 1)
            j = at * K + max(cge(NK, at * K, x) - 1, 0)
            lv = np.int64(NV[u(j)])
            if NK[u(j)] != x or lv >= L.shape[0] >> 2:  # no such level, or the node is no leaf any more
                lv = 0
            prefetch(L, lv << 2)
            P[u(GUESS + (w & 15))] = lv
    w = r + STEP
    if w < n:
        b = w << 3
        at = P[u(GUESS + (w & 15))]
        if at != 0 and ops[u(b)] & 3 == CANCEL:
            if O32[u((at << 4) + 11)] == 0 and O32[u((at << 4) + 12)] == 0:
                lv = np.int64(O32[u((at << 4) + 10)])
                side = np.int64(L32[u((lv << 3) + 7)]) & 1
                _fetch_leaf(H32, ops[u(b + 1)] * HW + 8 + (side << 3), NK, NV, L[u(lv << 2)])
        elif at != 0:
            prefetch(O, np.int64(L32[u((at << 3) + 5)]) << 3)
