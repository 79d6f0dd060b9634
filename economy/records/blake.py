"""BLAKE2b (RFC 7693) of int64 words in little-endian order, compiled: many short messages without an object for each.

hashlib computes the same (a test holds them equal) as fast for long messages; for the few hundred bytes of a chain's
step the calls around it cost more than the hash.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
State = tuple[np.uint64, ...]  # 16 words

_BLOCK: Final = 16  # words
_SIZE: Final = 8  # bytes of a word
_IV: Final = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
# Which words a round takes, as tuples: compiled code then has them as constants, and every round is written out.
_SIGMA: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)


@njit(forceinline=True)
def _turn(x: np.uint64, by: int) -> np.uint64:
    return (x >> np.uint64(by)) | (x << np.uint64(64 - by))


@njit(forceinline=True)
def _mix(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a = a + b + x
    d = _turn(d ^ a, 32)
    c = c + d
    b = _turn(b ^ c, 24)
    a = a + b + y
    d = _turn(d ^ a, 16)
    c = c + d
    b = _turn(b ^ c, 63)
    return a, b, c, d


@njit(forceinline=True)
def _round(v: State, m: Words, s: tuple[int, ...]) -> State:
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15 = v
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[s[0]], m[s[1]])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[s[2]], m[s[3]])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[s[4]], m[s[5]])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[s[6]], m[s[7]])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[s[8]], m[s[9]])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[s[10]], m[s[11]])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[s[12]], m[s[13]])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[s[14]], m[s[15]])
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15


@njit(cache=True, nogil=True)
def _compress(h: Words, m: Words, taken: int, last: bool) -> None:
    """Take one block into the state; `taken` bytes have been by then, this block's included."""
    final = ~_IV[6] if last else _IV[6]
    v = (
        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
        _IV[0], _IV[1], _IV[2], _IV[3], _IV[4] ^ np.uint64(taken), _IV[5], final, _IV[7],
    )  # fmt: skip
    v = _round(v, m, _SIGMA[0])
    v = _round(v, m, _SIGMA[1])
    v = _round(v, m, _SIGMA[2])
    v = _round(v, m, _SIGMA[3])
    v = _round(v, m, _SIGMA[4])
    v = _round(v, m, _SIGMA[5])
    v = _round(v, m, _SIGMA[6])
    v = _round(v, m, _SIGMA[7])
    v = _round(v, m, _SIGMA[8])
    v = _round(v, m, _SIGMA[9])
    v = _round(v, m, _SIGMA[0])
    v = _round(v, m, _SIGMA[1])
    for k in range(8):
        h[k] ^= v[k] ^ v[k + 8]


@njit(cache=True, nogil=True)
def _hash(h: Words, block: Words, held: int, words: Ints, at: int, end: int, size: int) -> None:
    """State after a message: the first `held` words of `block`, then words[at:end]; `size` of the digest in bytes."""
    for k in range(8):
        h[k] = _IV[k]
    h[0] ^= np.uint64(0x01010000 + size)
    taken = 0
    while at < end:
        if held == _BLOCK:
            taken += _BLOCK * _SIZE
            _compress(h, block, taken, False)
            held = 0
        more = min(_BLOCK - held, end - at)
        for k in range(more):
            block[held + k] = np.uint64(words[at + k])
        held += more
        at += more
    for k in range(held, _BLOCK):
        block[k] = np.uint64(0)
    _compress(h, block, taken + held * _SIZE, True)


@njit(cache=True, nogil=True)
def hash_parts(words: Ints, bounds: Ints) -> Ints:
    """BLAKE2b-8 of each words[bounds[k]:bounds[k + 1]], as little-endian int64."""
    out = np.empty(bounds.size - 1, np.int64)
    h, block = np.empty(8, np.uint64), np.empty(_BLOCK, np.uint64)
    for k in range(out.size):
        _hash(h, block, 0, words, bounds[k], bounds[k + 1], 8)
        out[k] = np.int64(h[0])
    return out


@njit(cache=True, nogil=True)
def chain_parts(words: Ints, bounds: Ints, epochs: Ints, place: Ints, heads: Ints, begun: NDArray[np.bool_]) -> None:
    """Append parts to chains: heads[place[k]] = BLAKE2b-16(head before, epoch, words[bounds[k]:bounds[k + 1]]).

    A chain that has not `begun` has an empty head before. Parts of one chain come in the order of epochs.
    """
    h, block = np.empty(8, np.uint64), np.empty(_BLOCK, np.uint64)
    for k in range(place.size):
        at, held = place[k], 0
        if begun[at]:
            block[0], block[1] = np.uint64(heads[at, 0]), np.uint64(heads[at, 1])
            held = 2
        block[held] = np.uint64(epochs[k])
        _hash(h, block, held + 1, words, bounds[k], bounds[k + 1], 16)
        heads[at, 0], heads[at, 1] = np.int64(h[0]), np.int64(h[1])
        begun[at] = True
