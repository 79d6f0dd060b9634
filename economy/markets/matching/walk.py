"""Compiled walks over whole books: snapshots, restores, depth and level totals."""

from __future__ import annotations

import numpy as np

from economy.markets.matching.expiry import heap_add
from economy.markets.matching.idmap import map_put, order_hash
from economy.markets.matching.layout import HW, MAX, MIN, K, jit, u
from economy.markets.matching.tree import cge, level_get, path


@jit
def rehash(G, T, O, O32, L32):
    for i in range(1, G[1]):
        if O[(i << 3) + 2] > 0:  # free rows are marked by _mark_free
            lv = np.int64(O32[(i << 4) + 10])
            map_put(G, T, order_hash(G, np.int64(L32[(lv << 3) + 7]) >> 1, O[(i << 3) + 1], O[i << 3]), i)


@jit
def mark_free(G, O, O32):
    i = G[0]
    while i != 0:
        O[(i << 3) + 2] = 0
        i = np.int64(O32[(i << 4) + 11])


@jit
def dump(H32, hb, NK, NV, NC, L32, O, O32, P, L, out):
    d = path(H32, hb, NK, NV, P, MIN + 1)
    node = np.int64(H32[hb + 6])
    for k in range(d + 1):  # rightmost path
        P[2 * k] = node
        P[2 * k + 1] = np.int64(NC[node]) - 1
        if k < d:
            node = np.int64(NV[node * K + P[2 * k + 1]])
    m = 0
    while True:
        leaf = P[2 * d]
        j = P[2 * d + 1]
        while j >= 0:
            lv = np.int64(NV[leaf * K + j])
            i = np.int64(L32[(lv << 3) + 4])
            while i != 0:
                o = i << 3
                out[m, 0] = L[lv << 2]
                for c in range(5):
                    out[m, c + 1] = O[o + c]
                m += 1
                i = np.int64(O32[(i << 4) + 11])
            j -= 1
        e = d - 1
        while e >= 0 and P[2 * e + 1] == 0:
            e -= 1
        if e < 0:
            return m
        P[2 * e + 1] -= 1
        for f in range(e, d):
            node = np.int64(NV[P[2 * f] * K + P[2 * f + 1]])
            P[2 * f + 2] = node
            P[2 * f + 3] = np.int64(NC[node]) - 1


@jit
def load(rows, s, side, G, H, H32, L, L32, O, O32, NK, NV, NC, T, P):
    hi = s * HW
    h = hi + 8 + (side << 3)
    for r in range(rows.shape[0]):
        lv = level_get(G, H, H32, h, L, L32, NK, NV, NC, P, rows[r, 0], (s << 1) | side)
        i = G[1]
        G[1] = i + 1
        o = i << 3
        ob = i << 4
        for c in range(5):
            O[o + c] = rows[r, c + 1]
        lb = lv << 3
        t = np.int64(L32[lb + 5])
        O32[ob + 10] = lv
        O32[ob + 11] = 0
        O32[ob + 12] = t
        if t == 0:
            L32[lb + 4] = i
        else:
            O32[(t << 4) + 11] = i
        L32[lb + 5] = i
        L32[lb + 6] += 1
        L[(lv << 2) + 1] += rows[r, 3]
        H[h + 1] += rows[r, 3]
        H32[(h << 1) + 8] += 1
        map_put(G, T, order_hash(G, s, rows[r, 2], rows[r, 1]), i)
        G[8] += 1
        if rows[r, 4] != MAX:
            heap_add(H, H32, hi, O, O32, i)


@jit
def depth(H32, hb, NK, NV, NC, L, L32, P, n, out):
    node = np.int64(H32[hb + 6])
    d = np.int64(H32[hb + 7])
    for k in range(d + 1):
        P[2 * k] = node
        P[2 * k + 1] = np.int64(NC[node]) - 1
        if k < d:
            node = np.int64(NV[node * K + P[2 * k + 1]])
    m = 0
    while True:
        leaf = P[2 * d]
        j = P[2 * d + 1]
        while j >= 0:
            if m == n:
                return m
            lv = np.int64(NV[leaf * K + j])
            out[m, 0] = L[lv << 2]
            out[m, 1] = L[(lv << 2) + 1]
            out[m, 2] = np.int64(L32[(lv << 3) + 6])
            m += 1
            j -= 1
        e = d - 1
        while e >= 0 and P[2 * e + 1] == 0:
            e -= 1
        if e < 0:
            return m
        P[2 * e + 1] -= 1
        for f in range(e, d):
            node = np.int64(NV[P[2 * f] * K + P[2 * f + 1]])
            P[2 * f + 2] = node
            P[2 * f + 3] = np.int64(NC[node]) - 1


@jit
def level_total(H32, hb, NK, NV, L, key):
    """Quantity at a level, 0 where there is none."""
    node = np.int64(H32[hb + 6])
    for _ in range(np.int64(H32[hb + 7])):
        j = cge(NK, node * K, key) - 1
        if j < 0:
            return 0
        node = np.int64(NV[node * K + j])
    j = cge(NK, node * K, key) - 1
    if j >= 0 and NK[node * K + j] == key:
        return L[(np.int64(NV[node * K + j]) << 2) + 1]
    return 0


@jit
def level_totals(levels, H32, NK, NV, L, out):
    """Quantities at the levels (slot, side, price); 0 where there is none."""
    for i in range(levels.shape[0]):
        side = levels[u(i), 1]
        out[u(i)] = level_total(H32, 2 * (levels[u(i), 0] * HW + 8 + 8 * side), NK, NV, L, levels[u(i), 2] ^ (side - 1))
