"""Kernels whose result does not depend on how agents are cut into shards: integer sums and fixed-order float sums."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def sum_by(index: NDArray[np.int64], value: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Integer sums of `value` by `index`, shape (size,); rows with a negative index are left out.

    np.bincount would add in float64, which loses units above 2^53.
    """
    out = np.zeros(size, np.int64)
    for i in range(index.size):
        if index[i] >= 0:
            out[index[i]] += value[i]
    return out


@njit(cache=True)
def share_out(total: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """`total` split in proportion to integer weights, floored; the remainder goes to the first largest weight.

    Nothing is created or lost: the result sums to `total` (all zeros where the weights sum to zero).
    """
    out = np.zeros(weights.size, np.int64)
    whole = 0
    best = 0
    for i in range(weights.size):
        whole += weights[i]
        if weights[i] > weights[best]:
            best = i
    if whole <= 0:
        return out
    given = 0
    for i in range(weights.size):
        out[i] = np.int64(np.float64(total) * (np.float64(weights[i]) / np.float64(whole)))
        given += out[i]
    out[best] += total - given
    return out


@njit(cache=True)
def count_up(counter: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Next value of each row's counter, in row order: counter[rows[i]] += 1, result[i] = counter[rows[i]]."""
    out = np.empty(rows.size, np.int64)
    for i in range(rows.size):
        counter[rows[i]] += 1
        out[i] = counter[rows[i]]
    return out
