"""Columns of exact decimals: texts to int64 counts of 10^-scale and back, without a float or an object per cell.

A column of texts is one buffer of bytes with bounds (n + 1,): text i is buffer[bounds[i]:bounds[i + 1]].
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
LONGEST: Final = 22  # sign, 19 digits, a leading zero and the point
_MAX: Final = 2**63 - 1
_ZERO, _NINE, _PLUS, _MINUS, _POINT, _SMALL_E, _LARGE_E = (ord(c) for c in "09+-.eE")
_FAR: Final = 9999
_BAD: Final = 10_000


@njit(cache=True)
def _exponent(buffer: Bytes, at: int, end: int) -> int:
    """The exponent in buffer[at:end], or _BAD; one beyond any count's reach is cut to _FAR."""
    negative = at < end and buffer[at] == _MINUS
    if at < end and (negative or buffer[at] == _PLUS):
        at += 1
    if at == end:
        return _BAD
    value = 0
    for i in range(at, end):
        if buffer[i] < _ZERO or buffer[i] > _NINE:
            return _BAD
        value = min(value * 10 + (buffer[i] - _ZERO), _FAR)
    return -value if negative else value


@njit(cache=True)
def _parse(buffer: Bytes, bounds: Ints, scales: Ints, values: Ints, faults: NDArray[np.int8]) -> None:
    for i in range(values.size):
        start, end = bounds[i], bounds[i + 1]
        values[i] = 0
        if start == end:
            faults[i] = 1
            continue
        negative = buffer[start] == _MINUS
        if negative or buffer[start] == _PLUS:
            start += 1
        digits, whole, exponent, behind, sound = 0, -1, 0, end, True
        for at in range(start, end):
            byte = buffer[at]
            if byte >= _ZERO and byte <= _NINE:
                digits += 1
            elif byte == _POINT and whole < 0:
                whole = digits
            elif byte in (_SMALL_E, _LARGE_E):
                exponent, behind = _exponent(buffer, at + 1, end), at
                break
            else:
                sound = False
                break
        if not sound or digits == 0 or exponent == _BAD:
            faults[i] = 2
            continue
        kept = (whole if whole >= 0 else digits) + scales[i] + exponent  # digits that count, from the left
        value, fault, seen = np.int64(0), 0, 0
        for at in range(start, behind):
            if buffer[at] == _POINT:
                continue
            digit = np.int64(buffer[at] - _ZERO)
            seen += 1
            if seen > kept:
                if digit != 0 and fault == 0:
                    fault = 3
            elif value > (_MAX - digit) // 10:
                fault = 4
            else:
                value = value * 10 + digit
        if value != 0:
            for _ in range(kept - seen):
                if value > _MAX // 10:
                    fault = 4
                    break
                value *= 10
        faults[i] = fault
        values[i] = -value if negative else value


def parse(buffer: Bytes, bounds: Ints, scales: Ints) -> tuple[Ints, NDArray[np.int8]]:
    """(values, faults), each (n,): text i as a count of 10^-scales[i], and its Fault."""
    values = np.empty(len(bounds) - 1, np.int64)
    faults = np.empty(len(values), np.int8)
    _parse(buffer, bounds, scales, values, faults)
    return values, faults


@njit(cache=True)
def _write(values: Ints, scales: Ints, buffer: Bytes, bounds: Ints) -> None:
    at = 0
    bounds[0] = 0
    digits = np.empty(20, np.uint8)
    for i in range(values.size):
        scale = scales[i]
        rest = np.uint64(values[i])
        if values[i] < 0:
            rest = np.uint64(0) - rest
            buffer[at] = _MINUS
            at += 1
        n = 0
        while rest > np.uint64(0) or n <= scale:
            digits[n] = np.uint8(_ZERO + rest % np.uint64(10))
            rest //= np.uint64(10)
            n += 1
        while n > 0:
            if n == scale:
                buffer[at] = _POINT
                at += 1
            n -= 1
            buffer[at] = digits[n]
            at += 1
        bounds[i + 1] = at


def write(values: Ints, scales: Ints) -> tuple[Bytes, Ints]:
    """(buffer, bounds) of the counts as texts with exactly scales[i] decimals, 0 to 18. Inverse of `parse`."""
    buffer = np.empty(len(values) * LONGEST, np.uint8)
    bounds = np.empty(len(values) + 1, np.int64)
    _write(values, scales, buffer, bounds)
    return buffer[: bounds[-1]], bounds


def texts(values: Ints, scale: int) -> list[str]:
    """The counts as texts, for few of them."""
    buffer, bounds = write(np.asarray(values, np.int64), np.full(len(values), scale, np.int64))
    whole = buffer.tobytes().decode()
    return [whole[a:b] for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
