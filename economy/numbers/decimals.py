"""Exact decimals: integer counts of 10^-scale to texts and back, without a float on the way.

`exact` is what programs are told, `fixed` what tables hold, `grouped` what people are shown, `count` the way back.
Whole columns of int64: economy/numbers/decimal_columns.py, with the same grammar.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from economy.numbers.units import MONEY_SCALE

_DECIMAL: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?)([0-9]+))?")
_LARGEST: Final = 2**127 - 1
_DIGITS: Final = 39  # of an integer of 128 bits, at most
RAW: Final = "_raw"  # behind the name of a decimal: its integer


class Fault(IntEnum):
    """Why a text is not a count at its scale; 0 is a sound one."""

    NONE = 0
    MISSING = 1
    NOT_A_DECIMAL = 2
    TOO_FINE = 3  # a digit other than 0 behind the last decimal that the scale allows
    TOO_LARGE = 4  # beyond int64 in a column, beyond int128 alone


REMEDY: Final = {
    Fault.MISSING: "a value is missing",
    Fault.NOT_A_DECIMAL: "it is not a decimal such as 12, -0.5 or 1e-7",
    Fault.TOO_FINE: "it has more decimals than the scale {scale}",
    Fault.TOO_LARGE: "at scale {scale} it does not fit in 64 bits",
}


def _split(value: int, scale: int) -> tuple[str, str, str]:
    """(sign, whole digits, exactly `scale` decimals) of a count. numpy's integers would overflow in abs()."""
    digits = str(int(value))
    sign = ""
    if digits[0] == "-":
        sign, digits = "-", digits[1:]
    if scale <= 0:
        return sign, digits + "0" * -scale if digits != "0" else digits, ""
    digits = digits.zfill(scale + 1)
    return sign, digits[:-scale], digits[-scale:]


def exact(value: int, scale: int = MONEY_SCALE) -> str:
    """The canonical decimal of a count: no exponent, no zeros behind the last digit that counts, no point behind a
    whole number, no -0. (1250, 2) is 12.5, (1200, 2) is 12, (-5, 8) is -0.00000005.
    """
    sign, whole, rest = _split(value, scale)
    rest = rest.rstrip("0")
    return f"{sign}{whole}.{rest}" if rest else sign + whole


def fixed(value: int, scale: int = MONEY_SCALE) -> str:
    """The decimal of a count with exactly `scale` decimals, so that columns align: (1250, 2) is 12.50."""
    sign, whole, rest = _split(value, scale)
    return f"{sign}{whole}.{rest}" if rest else sign + whole


def grouped(value: int, scale: int = MONEY_SCALE) -> str:
    """As `fixed`, with thousands separated: (-123456789, 4) is -12,345.6789."""
    sign, whole, rest = _split(value, scale)
    return f"{sign}{int(whole):,}.{rest}" if rest else f"{sign}{int(whole):,}"


def beside(name: str, value: int, scale: int = MONEY_SCALE) -> dict[str, str]:
    """A count as documents give it: the exact decimal, and its integer beside it under the name with RAW."""
    return {name: exact(value, scale), f"{name}{RAW}": str(int(value))}


def count(text: str, scale: int = MONEY_SCALE) -> tuple[int, Fault]:
    """(count of 10^-scale, Fault) of a decimal: inverse of `exact` and `fixed` over the integers of 128 bits."""
    if not text:
        return 0, Fault.MISSING
    found = _DECIMAL.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        return 0, Fault.NOT_A_DECIMAL
    sign, whole, rest, less, exponent = (part or "" for part in found.groups())
    digits = (whole + rest).lstrip("0")
    if not digits:
        return 0, Fault.NONE
    # An exponent beyond every digit of the text decides alone, however long it is.
    power = int(exponent.lstrip("0")[:9] or 0) if len(exponent.lstrip("0")) < 9 else 10**9
    shift = scale - len(rest) + (-power if less == "-" else power)
    kept = digits if shift >= 0 else digits[:shift]
    if shift < 0 and digits[shift:].strip("0"):
        return 0, Fault.TOO_FINE
    if len(kept) + max(shift, 0) > _DIGITS:
        return 0, Fault.TOO_LARGE
    number = int(kept or 0) * 10 ** max(shift, 0)
    number = -number if sign == "-" else number
    return (number, Fault.NONE) if -_LARGEST - 1 <= number <= _LARGEST else (0, Fault.TOO_LARGE)
