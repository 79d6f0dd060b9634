"""Production: what labour, machines and inputs can make, and what making it uses up. Exact in fixed point.

Recipes count 1e-6 of input per unit of output; the remainder of each use waits in an accumulator, so that nothing is
created or lost by rounding. Services cannot be stocked, and inputs of small cost share are not critical (Pichler et al.
2022): both may be used now and bought afterwards ("owed").
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.numbers.units import RECIPE_SCALE

Ints = NDArray[np.int64]


@njit(cache=True)
def feasible(
    recipe: Ints, goods: NDArray[np.bool_], stock: Ints, owed: Ints, remainder: Ints, critical: float, defer: float,
    expected: float,
) -> int:  # fmt: skip
    """Most lots that one firm's inputs allow. All arrays are (products,).

    Up to `defer` rounds of normal use of a service or of a non-critical input may be owed.
    """
    most = 1 << 60
    for j in range(recipe.size):
        if recipe[j] == 0:
            continue
        limit = max(np.int64(defer * recipe[j] / RECIPE_SCALE * expected) + 2 - owed[j], 0)
        if goods[j]:
            limit = stock[j] + (limit if recipe[j] < critical * RECIPE_SCALE else np.int64(0))
        most = min(most, ((limit + 1) * RECIPE_SCALE - 1 - remainder[j]) // recipe[j])
    return int(max(most, 0))


@njit(cache=True)
def use_inputs(
    lots: int, recipe: Ints, goods: NDArray[np.bool_], stock: Ints, owed: Ints, remainder: Ints, used: Ints
) -> None:
    """Use the inputs of `lots` of output of one firm: from stock, else owed. `used` gets what left the stock."""
    for j in range(recipe.size):
        need = remainder[j] + recipe[j] * lots
        take = need // RECIPE_SCALE
        remainder[j] = need - take * RECIPE_SCALE
        now = min(take, stock[j]) if goods[j] else np.int64(0)
        owed[j] += take - now
        stock[j] -= now
        used[j] += now


@njit(cache=True)
def wear(capital: Ints, remainder: Ints, rate: int) -> Ints:
    """Machines (firms,) that wear out in a round, `rate` in 1e-6; takes them off `capital`."""
    out = np.zeros(capital.size, np.int64)
    for i in range(capital.size):
        due = remainder[i] + capital[i] * rate
        out[i] = due // RECIPE_SCALE
        remainder[i] = due - out[i] * RECIPE_SCALE
        capital[i] -= out[i]
    return out
