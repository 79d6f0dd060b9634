"""Map from (instrument, agent, order id) to the slot of a resting order: open addressing, backward-shift deletion."""

from __future__ import annotations

import numpy as np

from economy.markets.matching.layout import hot, u


@hot
def order_hash(G, s, ag, oid):
    x = (oid ^ (s * -7046029254386353131) ^ (ag * -3335678366873096957)) ^ G[7]
    x *= -4658895280553007687
    x ^= (x >> 32) & 0xFFFFFFFF
    x *= -7723592293110705685
    return (x >> 32) & 0xFFFFFFFF


@hot
def map_get(G, T, O, O32, L32, h, s, ag, oid):
    """slot of a resting order, 0 if none"""
    mask = G[6]
    p = h & mask
    while True:
        e = T[u(p)]
        if e == 0:
            return 0
        if ((e >> 32) & 0xFFFFFFFF) == h:
            i = e & 0xFFFFFFFF
            if (
                O[u(i << 3)] == oid
                and O[u((i << 3) + 1)] == ag
                and (L32[u((np.int64(O32[u((i << 4) + 10)]) << 3) + 7)] >> 1) == s
            ):
                return i
        p = (p + 1) & mask


@hot
def map_put(G, T, h, i):
    mask = G[6]
    p = h & mask
    while T[u(p)] != 0:
        p = (p + 1) & mask
    T[u(p)] = (h << 32) | i


@hot
def map_del(G, T, h, i):
    mask = G[6]
    p = h & mask
    e = (h << 32) | i
    while T[u(p)] != e:
        p = (p + 1) & mask
    j = p
    while True:
        j = (j + 1) & mask
        e = T[u(j)]
        if e == 0:
            break
        home = (e >> 32) & mask
        if ((j - home) & mask) >= ((j - p) & mask):
            T[u(p)] = e
            p = j
    T[u(p)] = 0
