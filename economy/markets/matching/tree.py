"""Price levels: a B+-tree per side, keys descending in a node (best last), nodes freed when empty and never merged."""

from __future__ import annotations

import numpy as np

from economy.markets.matching.layout import MAX, MIN, K, hot, jit, u


@hot
def cge(NK, base, x):
    c = 0
    for k in range(K):
        c += np.int64(NK[u(base + k)] >= x)
    return c


@jit
def node_new(G, NK, NC, NV):
    i = G[4]
    if i != 0:
        G[4] = NV[u(i * K)]
    else:
        i = G[5]
        G[5] = i + 1
    b = i * K
    for k in range(K):
        NK[u(b + k)] = MIN
    NC[u(i)] = 0
    G[10] += 1
    return i


@jit
def node_free(G, NV, i):
    NV[u(i * K)] = G[4]
    G[4] = i
    G[10] -= 1


@hot
def put_at(NK, NV, NC, node, j, x, v):
    b = node * K
    n = np.int64(NC[u(node)])
    for k in range(n, j, -1):
        NK[u(b + k)] = NK[u(b + k - 1)]
        NV[u(b + k)] = NV[u(b + k - 1)]
    NK[u(b + j)] = x
    NV[u(b + j)] = v
    NC[u(node)] = n + 1


@hot
def drop_at(NK, NV, NC, node, j):
    b = node * K
    n = np.int64(NC[u(node)]) - 1
    for k in range(j, n):
        NK[u(b + k)] = NK[u(b + k + 1)]
        NV[u(b + k)] = NV[u(b + k + 1)]
    NK[u(b + n)] = MIN
    NC[u(node)] = n
    return n


@jit
def path(H32, hb, NK, NV, P, x):
    """fills P with (node, position) from root to leaf, returns the leaf's depth"""
    node = np.int64(H32[u(hb + 6)])
    h = np.int64(H32[u(hb + 7)])
    for d in range(h):
        j = cge(NK, node * K, x) - 1
        if j < 0:  # worse than every bound: the first child's bound rises
            j = 0
            NK[u(node * K)] = x
        P[u(2 * d)] = node
        P[u(2 * d + 1)] = j
        node = np.int64(NV[u(node * K + j)])
    P[u(2 * h)] = node
    P[u(2 * h + 1)] = cge(NK, node * K, x) - 1
    return h


@jit
def best_leaf(H32, hb, NV, NC):
    node = np.int64(H32[u(hb + 6)])
    for _ in range(np.int64(H32[u(hb + 7)])):
        node = np.int64(NV[u(node * K + np.int64(NC[u(node)]) - 1)])
    H32[u(hb + 5)] = node
    return node


@jit
def insert_split(G, H32, hb, NK, NV, NC, P, x, v):
    d = path(H32, hb, NK, NV, P, x)
    while True:
        node = P[u(2 * d)]
        j = P[u(2 * d + 1)] + 1
        if NC[u(node)] < K:
            put_at(NK, NV, NC, node, j, x, v)
            break
        r = node_new(G, NK, NC, NV)  # gets the better half
        h = K // 2
        a = node * K
        b = r * K
        if j == K:  # growing at the best end: leave the old node full
            h = K - 1
        elif j == 0:
            h = 1
        for k in range(K - h):
            NK[u(b + k)] = NK[u(a + h + k)]
            NV[u(b + k)] = NV[u(a + h + k)]
            NK[u(a + h + k)] = MIN
        NC[u(node)] = h
        NC[u(r)] = K - h
        if j <= h:
            if j == h and h > 1 and K - h < h:
                put_at(NK, NV, NC, r, 0, x, v)
            else:
                put_at(NK, NV, NC, node, j, x, v)
        else:
            put_at(NK, NV, NC, r, j - h, x, v)
        x = NK[u(b)]
        v = r
        if d == 0:
            root = node_new(G, NK, NC, NV)
            NK[u(root * K)] = MAX
            NV[u(root * K)] = node
            NK[u(root * K + 1)] = x
            NV[u(root * K + 1)] = r
            NC[u(root)] = 2
            H32[u(hb + 6)] = root
            H32[u(hb + 7)] += 1
            break
        d -= 1
    best_leaf(H32, hb, NV, NC)


@jit
def remove_empty(G, H32, hb, NK, NV, NC, P, x):
    """removes key x whose leaf becomes empty"""
    d = path(H32, hb, NK, NV, P, x)
    while True:
        node = P[u(2 * d)]
        n = drop_at(NK, NV, NC, node, P[u(2 * d + 1)])
        if n > 0 or d == 0:
            break
        node_free(G, NV, node)
        d -= 1
    h = np.int64(H32[u(hb + 7)])
    node = np.int64(H32[u(hb + 6)])
    if NC[u(node)] == 0:
        H32[u(hb + 7)] = 0  # an empty root is a leaf again
    else:
        while h > 0 and NC[u(node)] == 1:
            child = np.int64(NV[u(node * K)])
            node_free(G, NV, node)
            node = child
            h -= 1
        H32[u(hb + 6)] = node
        H32[u(hb + 7)] = h
    best_leaf(H32, hb, NV, NC)


@hot
def level_get(G, H, H32, h, L, L32, NK, NV, NC, P, key, side_index):
    """level of a key on a side, made if absent (h: int64 offset of the side line)"""
    hb = h << 1
    if H[u(h)] == key:
        return np.int64(H32[u(hb + 4)])
    leaf = np.int64(H32[u(hb + 5)])
    b = leaf * K
    if key > NK[u(b)] and H32[u(hb + 7)] != 0:  # worse than the best leaf
        d = path(H32, hb, NK, NV, P, key)
        leaf = P[u(2 * d)]
        j = P[u(2 * d + 1)]
        b = leaf * K
    else:
        j = cge(NK, b, key) - 1
    if j >= 0 and NK[u(b + j)] == key:
        return np.int64(NV[u(b + j)])
    lv = G[2]
    if lv != 0:
        G[2] = np.int64(L32[u((lv << 3) + 4)])
    else:
        lv = G[3]
        G[3] = lv + 1
    L[u(lv << 2)] = key
    L[u((lv << 2) + 1)] = 0
    q = lv << 3
    L32[u(q + 4)] = 0
    L32[u(q + 5)] = 0
    L32[u(q + 6)] = 0
    L32[u(q + 7)] = side_index
    if NC[u(leaf)] < K:
        put_at(NK, NV, NC, leaf, j + 1, key, lv)
    else:
        insert_split(G, H32, hb, NK, NV, NC, P, key, lv)
    if key < H[u(h)]:
        H[u(h)] = key
        H32[u(hb + 4)] = lv
    H32[u(hb + 9)] += 1
    G[9] += 1
    return lv


@hot
def level_drop(G, H, H32, h, L, L32, NK, NV, NC, P, lv):
    hb = h << 1
    key = L[u(lv << 2)]
    leaf = np.int64(H32[u(hb + 5)])
    b = leaf * K
    n = np.int64(NC[u(leaf)])
    if key == H[u(h)]:
        if n > 1:
            n -= 1
            NK[u(b + n)] = MIN
            NC[u(leaf)] = n
        else:
            remove_empty(G, H32, hb, NK, NV, NC, P, key)
            leaf = np.int64(H32[u(hb + 5)])
            b = leaf * K
            n = np.int64(NC[u(leaf)])
        if n > 0:
            H[u(h)] = NK[u(b + n - 1)]
            H32[u(hb + 4)] = NV[u(b + n - 1)]
        else:
            H[u(h)] = MAX
            H32[u(hb + 4)] = 0
    else:
        if key > NK[u(b)]:
            d = path(H32, hb, NK, NV, P, key)
            leaf = P[u(2 * d)]
            j = P[u(2 * d + 1)]
        else:
            j = cge(NK, b, key) - 1
        if NC[u(leaf)] > 1:
            drop_at(NK, NV, NC, leaf, j)
        else:
            remove_empty(G, H32, hb, NK, NV, NC, P, key)
    L32[u((lv << 3) + 4)] = G[2]
    G[2] = lv
    H32[u(hb + 9)] -= 1
    G[9] -= 1
