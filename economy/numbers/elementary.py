"""exp, log, powers and the cosine of a turn, the same to the last bit on every machine.

The C library's and numpy's own differ in their last bit from one version, processor or vector width to the next, and a
last bit is enough to round a price to another tick. These use additions, multiplications and divisions alone, which
IEEE 754 fixes, in one order (no fastmath, so numba fuses none of them).

Source: FDLIBM (Sun Microsystems 1993), e_exp.c, e_log.c, k_cos.c and k_sin.c; errors below one unit in the last place.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

_LN2_HIGH: Final = 6.93147180369123816490e-01  # its last 32 bits are zero: k * _LN2_HIGH is exact
_LN2_LOW: Final = 1.90821492927058770002e-10
_INVERSE_LN2: Final = 1.44269504088896338700
_HALF_ROOT: Final = 0.70710678118654752440
_OVERFLOW: Final = 709.0
_UNDERFLOW: Final = -708.0  # below it the result would be subnormal


@njit(cache=True)
def exp(x: float) -> float:
    """e^x; infinity above 709, 0 below -708, NaN for NaN."""
    if np.isnan(x):
        return x
    if x > _OVERFLOW:
        return np.inf
    if x < _UNDERFLOW:
        return 0.0
    k = np.floor(x * _INVERSE_LN2 + 0.5)
    high, low = x - k * _LN2_HIGH, k * _LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (
        1.66666666666666019037e-01
        + t
        * (
            -2.77777777770155933842e-03
            + t * (6.61375632143793436117e-05 + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))
        )
    )
    return math.ldexp(1.0 - ((low - (r * c) / (2.0 - c)) - high), int(k))


@njit(cache=True)
def log(x: float) -> float:
    """Natural logarithm; -infinity at 0, NaN below it."""
    if np.isnan(x) or x == np.inf:
        return x
    if x < 0:
        return np.nan
    if x == 0:
        return -np.inf
    mantissa, exponent = math.frexp(x)  # in [0.5, 1)
    if mantissa < _HALF_ROOT:
        mantissa, exponent = mantissa * 2.0, exponent - 1
    f, k = mantissa - 1.0, float(exponent)
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    even = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + (odd + even)) + k * _LN2_LOW)) - f)


@njit(cache=True)
def power(base: float, exponent: float) -> float:
    """base^exponent for a base > 0; loses about log2(|exponent * log(base)|) bits."""
    return exp(exponent * log(base))


@njit(cache=True)
def cosine_of_turn(u: float) -> float:
    """cos(2 pi u) for u in [0, 1]; the reduction to an eighth of a turn is exact."""
    quarter = np.floor(4.0 * u + 0.5)
    x = 2.0 * np.pi * (u - quarter / 4.0)
    z = x * x
    cosine = 1.0 - (
        0.5 * z
        - z
        * z
        * (
            4.16666666666666019037e-02
            + z
            * (
                -1.38888888888741095749e-03
                + z
                * (
                    2.48015872894767294178e-05
                    + z
                    * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 - z * 1.13596475577881948265e-11))
                )
            )
        )
    )
    sine = x + x * z * (
        -1.66666666666666324348e-01
        + z
        * (
            8.33333333332248946124e-03
            + z
            * (
                -1.98412698298579493134e-04
                + z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10))
            )
        )
    )
    turn = int(quarter) % 4
    if turn == 0:
        return cosine
    if turn == 1:
        return -sine
    if turn == 2:
        return -cosine
    return sine


@njit(cache=True)
def exp_each(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`exp` of every element, shape (n,)."""
    out = np.empty(values.size)
    for i in range(values.size):
        out[i] = exp(values[i])
    return out


@njit(cache=True)
def power_each(bases: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """`power` of every element, shape (n,)."""
    out = np.empty(bases.size)
    for i in range(bases.size):
        out[i] = power(bases[i], exponent)
    return out
