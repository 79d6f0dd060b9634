"""Amounts for people are exact."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from economy.units import decimal_text


@given(st.integers(-(2**70), 2**70), st.integers(0, 9))
def test_the_text_is_the_amount(value: int, scale: int) -> None:
    text = decimal_text(value, scale)
    assert Decimal(text.replace(",", "")) == Decimal(value).scaleb(-scale)
    assert text == f"{Decimal(value).scaleb(-scale):,.{scale}f}"


def test_an_amount() -> None:
    assert decimal_text(-123456789, 4) == "-12,345.6789"
    assert decimal_text(5) == "0.00000005"
    assert decimal_text(1234, 0) == "1,234"
