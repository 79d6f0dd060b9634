"""What the kernel does with single orders: take one off the book, look how far a fill-or-kill reaches, emit an event."""

from __future__ import annotations

import numpy as np

from economy.markets.matching.expiry import heap_del
from economy.markets.matching.idmap import map_del
from economy.markets.matching.layout import HW, MAX, K, hot, jit, u
from economy.markets.matching.tree import level_drop, path


@hot
def unlink(G, H, H32, h, L, L32, O, O32, NK, NV, NC, P, T, i, s, hs):
    """takes a resting order out of level, map, heap and pool (hs: its hash)"""
    b = i << 4
    lv = np.int64(O32[u(b + 10)])
    nx = np.int64(O32[u(b + 11)])
    pv = np.int64(O32[u(b + 12)])
    q = O[u((i << 3) + 2)]
    lb = lv << 3
    if pv == 0:
        L32[u(lb + 4)] = nx
    else:
        O32[u((pv << 4) + 11)] = nx
    if nx == 0:
        L32[u(lb + 5)] = pv
    else:
        O32[u((nx << 4) + 12)] = pv
    H[u(h + 1)] -= q
    H32[u((h << 1) + 8)] -= 1
    if pv == 0 and nx == 0:
        level_drop(G, H, H32, h, L, L32, NK, NV, NC, P, lv)
    else:
        L[u((lv << 2) + 1)] -= q
        L32[u(lb + 6)] -= 1
    map_del(G, T, hs, i)
    if O[u((i << 3) + 3)] != MAX:
        heap_del(H, H32, s * HW, O, O32, i)
    O32[u(b + 11)] = G[0]
    G[0] = i
    G[8] -= 1


@jit
def fok_ok(H, H32, h, L, L32, O, O32, NK, NV, NC, P, lim, q, ag, cap, x):
    """can q be filled at keys <= lim, and within the cash cap, before an own order is met? (x: see the caller)"""
    if H[u(h + 1)] < q:
        return False
    capped = cap > 0
    hb = h << 1
    key = H[u(h)]
    d = path(H32, hb, NK, NV, P, key)
    while True:
        leaf = P[u(2 * d)]
        j = P[u(2 * d + 1)]
        while j >= 0:
            key = NK[u(leaf * K + j)]
            if key > lim or key < H[u(h + 5)] or key > H[u(h + 6)]:
                return False
            mp = key ^ x
            lv = np.int64(NV[u(leaf * K + j)])
            i = np.int64(L32[u((lv << 3) + 4)])
            while i != 0:
                if O[u((i << 3) + 1)] == ag:
                    return False
                take = min(q, O[u((i << 3) + 2)])
                if capped and mp > 0:
                    if take > cap // mp:
                        return False
                    cap -= take * mp
                q -= take
                if q == 0:
                    return True
                i = np.int64(O32[u((i << 4) + 11)])
            j -= 1
        e = d - 1  # next worse leaf
        while e >= 0 and P[u(2 * e + 1)] == 0:
            e -= 1
        if e < 0:
            return False
        P[u(2 * e + 1)] -= 1
        for f in range(e, d):
            node = np.int64(NV[u(P[u(2 * f)] * K + P[u(2 * f + 1)])])
            P[u(2 * f + 2)] = node
            P[u(2 * f + 3)] = np.int64(NC[u(node)]) - 1


@hot
def emit(E, m, code, r, seq, price, qty, oid, ag, ex):
    b = m << 3
    E[u(b)] = code
    E[u(b + 1)] = r
    E[u(b + 2)] = seq
    E[u(b + 3)] = price
    E[u(b + 4)] = qty
    E[u(b + 5)] = oid
    E[u(b + 6)] = ag
    E[u(b + 7)] = ex
