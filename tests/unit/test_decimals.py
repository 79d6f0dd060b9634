"""Exact decimals against Python's own."""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from economy.numbers.decimal_columns import parse, texts, write
from economy.numbers.decimals import Fault, count, exact, fixed, grouped

_INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
_INT128 = st.integers(-(2**127), 2**127 - 1)
_WIDE = Context(prec=99, Emax=MAX_EMAX, Emin=MIN_EMIN)


def column(cells: list[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [cell.encode() for cell in cells]
    bounds = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), bounds


def parsed(cell: str, scale: int) -> tuple[int, Fault]:
    values, faults = parse(*column([cell]), np.array([scale], np.int64))
    return int(values[0]), Fault(int(faults[0]))


@settings(deadline=None)
@given(st.lists(st.tuples(_INT64, st.integers(0, 18))))
def test_what_is_written_reads_back_and_is_the_number_of_python(cells: list[tuple[int, int]]) -> None:
    values = np.array([value for value, _ in cells], np.int64)
    scales = np.array([scale for _, scale in cells], np.int64)
    buffer, bounds = write(values, scales)
    for i, (value, scale) in enumerate(cells):
        text = buffer[bounds[i] : bounds[i + 1]].tobytes().decode()
        assert Decimal(text) == Decimal(value).scaleb(-scale)
        assert len(text.partition(".")[2]) == scale
    again, faults = parse(buffer, bounds, scales)
    assert not faults.any()
    assert (again == values).all()


@settings(deadline=None)
@given(st.text(alphabet="0123456789+-.e ", max_size=24), st.integers(0, 8))
@example("1e1000000", 0)
def test_any_text_is_read_as_python_reads_it_or_refused(cell: str, scale: int) -> None:
    value, fault = parsed(cell, scale)
    try:
        number = Decimal(cell)
    except ArithmeticError:
        assert fault in (Fault.MISSING, Fault.NOT_A_DECIMAL)
        return
    if " " in cell:  # blanks around a number are Python's, not ours
        assert fault == Fault.NOT_A_DECIMAL
        return
    with localcontext(prec=99, Emax=MAX_EMAX, Emin=MIN_EMIN):
        scaled = number.scaleb(scale)
    if fault == Fault.NONE:
        assert value == scaled
    elif fault == Fault.TOO_FINE:
        assert scaled != scaled.to_integral_value()
    else:
        assert fault == Fault.TOO_LARGE
        assert scaled.copy_abs() >= 2**63 - 1  # abs() would round in Python's context, which overflows


@given(_INT128, st.integers(0, 18))
@example(-(2**127), 8)
@example(2**127 - 1, 0)
@example(-(2**63), 8)
@example(0, 8)
def test_a_count_is_python_s_decimal_and_comes_back(value: int, scale: int) -> None:
    number = Decimal(value).scaleb(-scale, _WIDE)
    for written in (exact(value, scale), fixed(value, scale), grouped(value, scale)):
        assert Decimal(written.replace(",", "")) == number
    canonical = f"{number.normalize(_WIDE):f}" if value else "0"
    assert exact(value, scale) == canonical
    assert fixed(value, scale) == f"{number:.{scale}f}"
    assert grouped(value, scale) == f"{number:,.{scale}f}"
    for written in (exact(value, scale), fixed(value, scale), f"{number:E}"):
        assert count(written, scale) == (value, Fault.NONE)


@given(st.text(alphabet="0123456789+-.e ", max_size=60), st.integers(0, 18))
def test_one_text_is_read_as_python_reads_it_or_refused(cell: str, scale: int) -> None:
    value, fault = count(cell, scale)
    try:
        number = _WIDE.create_decimal(cell)
    except ArithmeticError:
        assert fault in (Fault.MISSING, Fault.NOT_A_DECIMAL, Fault.TOO_LARGE, Fault.TOO_FINE)
        return
    if " " in cell:  # blanks around a number are Python's, not ours
        assert fault == Fault.NOT_A_DECIMAL
        return
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits)).rstrip("0")
    exponent += scale + len(digits) - len(written)
    if not written:
        assert (value, fault) == (0, Fault.NONE)
    elif exponent < 0:
        assert fault == Fault.TOO_FINE
    elif exponent > 60:
        assert fault == Fault.TOO_LARGE
    else:
        scaled = (-1) ** sign * int(written) * 10**exponent
        assert (value, fault) == ((scaled, Fault.NONE) if -(2**127) <= scaled < 2**127 else (0, Fault.TOO_LARGE))


@pytest.mark.parametrize(
    ("cell", "value", "fault"),
    [
        (f"0.{'0' * 1_000}1e1001", 1, Fault.NONE),
        ("9" * 5_000, 0, Fault.TOO_LARGE),
        (f"1{'0' * 5_000}e-5000", 1, Fault.NONE),
        (f"1e{'0' * 5_000}7", 10**7, Fault.NONE),
        ("1e999999999999", 0, Fault.TOO_LARGE),
        ("1e-999999999999", 0, Fault.TOO_FINE),
        ("\u0663", 0, Fault.NOT_A_DECIMAL),
    ],
)
def test_long_texts_alone(cell: str, value: int, fault: Fault) -> None:
    assert count(cell, 0) == (value, fault)


@settings(deadline=None)
@given(st.text(alphabet="0123456789+-.e", max_size=24), st.integers(0, 8))
def test_a_text_alone_and_in_a_column_are_the_same_number(cell: str, scale: int) -> None:
    value, fault = parsed(cell, scale)
    alone = count(cell, scale)
    if fault != Fault.TOO_LARGE and alone[1] != Fault.TOO_LARGE:
        assert alone == (value if fault == Fault.NONE else 0, fault)


def test_decimals_of_numpy_s_integers() -> None:
    smallest = np.int64(-(2**63))
    assert exact(smallest, 8) == "-92233720368.54775808"
    assert grouped(smallest, 2) == "-92,233,720,368,547,758.08"


def test_what_is_canonical() -> None:
    told = [exact(value, scale) for value, scale in ((1250, 2), (1200, 2), (-5, 8), (0, 8), (7, 0), (-100, 0))]
    assert told == ["12.5", "12", "-0.00000005", "0", "7", "-100"]


@pytest.mark.parametrize(
    ("cell", "scale", "value", "fault"),
    [
        ("100.10", 2, 10010, Fault.NONE),
        ("100.1000", 2, 10010, Fault.NONE),
        (".5", 1, 5, Fault.NONE),
        ("5.", 1, 50, Fault.NONE),
        ("-0.01", 2, -1, Fault.NONE),
        ("9223372036854775807", 0, 2**63 - 1, Fault.NONE),
        ("9223372036854775808", 0, None, Fault.TOO_LARGE),
        ("99999999999999999", 4, None, Fault.TOO_LARGE),
        ("100.101", 2, None, Fault.TOO_FINE),
        ("", 2, None, Fault.MISSING),
        (".", 2, None, Fault.NOT_A_DECIMAL),
        ("-", 2, None, Fault.NOT_A_DECIMAL),
        ("1.2.3", 2, None, Fault.NOT_A_DECIMAL),
        ("1e5", 2, 10_000_000, Fault.NONE),
        ("1.5E-07", 8, 15, Fault.NONE),
        ("1.5e-8", 8, None, Fault.TOO_FINE),
        ("1200e-4", 2, 12, Fault.NONE),
        ("1e-99999", 2, None, Fault.TOO_FINE),
        ("0e99999999999999", 2, 0, Fault.NONE),
        ("1e99999999999999", 2, None, Fault.TOO_LARGE),
        ("1e", 2, None, Fault.NOT_A_DECIMAL),
        ("1e+", 2, None, Fault.NOT_A_DECIMAL),
        ("e5", 2, None, Fault.NOT_A_DECIMAL),
        ("1e5e5", 2, None, Fault.NOT_A_DECIMAL),
        ("1e1.5", 2, None, Fault.NOT_A_DECIMAL),
        ("99999999999999999999x", 0, None, Fault.NOT_A_DECIMAL),
        ("1,5", 2, None, Fault.NOT_A_DECIMAL),
        (" 1", 2, None, Fault.NOT_A_DECIMAL),
    ],
)
def test_edges(cell: str, scale: int, value: int | None, fault: Fault) -> None:
    got, why = parsed(cell, scale)
    assert why == fault
    if value is not None:
        assert got == value


def test_the_smallest_integer_is_written_whole() -> None:
    assert texts(np.array([-(2**63), 0, 7], np.int64), 2) == ["-92233720368547758.08", "0.00", "0.07"]
