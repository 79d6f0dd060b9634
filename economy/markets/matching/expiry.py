"""Expiry: a pairing heap per instrument inside the order rows, ordered by (expiry, arrival)."""

from __future__ import annotations

import numpy as np

from economy.markets.matching.layout import MAX, hot, jit, u


@hot
def meld(O, O32, a, b):
    if a == 0:
        return b
    if b == 0:
        return a
    x = a << 3
    y = b << 3
    if O[u(y + 3)] < O[u(x + 3)] or (O[u(y + 3)] == O[u(x + 3)] and O[u(y + 4)] < O[u(x + 4)]):
        a, b = b, a
    c = np.int64(O32[u((a << 4) + 13)])  # b becomes the first child of a
    O32[u((b << 4) + 14)] = c
    if c != 0:
        O32[u((c << 4) + 15)] = b
    O32[u((b << 4) + 15)] = a
    O32[u((a << 4) + 13)] = b
    return a


@jit
def heap_add(H, H32, hi, O, O32, i):
    b = i << 4
    O32[u(b + 13)] = 0
    O32[u(b + 14)] = 0
    O32[u(b + 15)] = 0
    r = meld(O, O32, np.int64(H32[u((hi << 1) + 8)]), i)
    O32[u((r << 4) + 14)] = 0
    O32[u((r << 4) + 15)] = 0
    H32[u((hi << 1) + 8)] = r
    H[u(hi + 1)] = O[u((r << 3) + 3)]


@jit
def heap_del(H, H32, hi, O, O32, i):
    b = i << 4
    root = np.int64(H32[u((hi << 1) + 8)])
    if i != root:  # cut i out of its sibling list
        p = np.int64(O32[u(b + 15)])
        sb = np.int64(O32[u(b + 14)])
        if np.int64(O32[u((p << 4) + 13)]) == i:
            O32[u((p << 4) + 13)] = sb
        else:
            O32[u((p << 4) + 14)] = sb
        if sb != 0:
            O32[u((sb << 4) + 15)] = p
    c = np.int64(O32[u(b + 13)])
    acc = 0  # pass 1: meld pairs left to right, stacked through the sibling links
    while c != 0:
        d = np.int64(O32[u((c << 4) + 14)])
        if d == 0:
            e = 0
        else:
            e = np.int64(O32[u((d << 4) + 14)])
        O32[u((c << 4) + 14)] = 0
        if d != 0:
            O32[u((d << 4) + 14)] = 0
        r = meld(O, O32, c, d)
        O32[u((r << 4) + 14)] = acc
        acc = r
        c = e
    r = 0  # pass 2: meld right to left
    while acc != 0:
        n = np.int64(O32[u((acc << 4) + 14)])
        O32[u((acc << 4) + 14)] = 0
        r = meld(O, O32, r, acc)
        acc = n
    if i != root:
        r = meld(O, O32, root, r)
    if r != 0:
        O32[u((r << 4) + 14)] = 0
        O32[u((r << 4) + 15)] = 0
        H[u(hi + 1)] = O[u((r << 3) + 3)]
    else:
        H[u(hi + 1)] = MAX
    H32[u((hi << 1) + 8)] = r
