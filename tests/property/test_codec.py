"""The hot codec against fastavro, and against broken bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.catalogue import EVENTS
from schemas.codec import decode_record, encode_record
from schemas.rows import ROW_TYPES, Defect, decode_values, encode

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    name = draw(st.sampled_from(ROW_TYPES))
    fields = EVENTS[name].fields
    rows = draw(hnp.arrays(np.int64, (draw(st.integers(1, 5)), len(fields)), elements=INT64))
    for position, field in enumerate(fields):
        if field.symbols:
            rows[:, position] = np.abs(rows[:, position] % len(field.symbols))
        elif field.type == "int":
            rows[:, position] = rows[:, position] % 2**31
    return name, rows


def split(name: str, rows: np.ndarray) -> list[bytes]:
    buffer, ends = encode(name, rows)
    data, starts = buffer.tobytes(), [0, *ends.tolist()[:-1]]
    return [data[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]


@given(batches())
@settings(deadline=None, max_examples=200)
def test_rows_are_what_fastavro_writes_and_reads(batch: tuple[str, np.ndarray]) -> None:
    name, rows = batch
    fields = EVENTS[name].fields
    for value, row in zip(split(name, rows), rows.tolist(), strict=True):
        record = {f.name: f.symbols[v] if f.symbols else v for f, v in zip(fields, row, strict=True)}
        assert value == encode_record(name, record)
        assert decode_record(value) == (name, record)
    decoded = decode_values(split(name, rows))
    assert list(decoded.rows) == [name]
    assert (decoded.rows[name] == rows).all()
    assert not decoded.defects


@given(batches(), st.data())
@settings(deadline=None, max_examples=200)
def test_broken_records_are_named_and_the_rest_is_read(batch: tuple[str, np.ndarray], data: st.DataObject) -> None:
    name, rows = batch
    values = split(name, rows)
    at = data.draw(st.integers(0, len(values) - 1))
    cut = data.draw(st.integers(0, len(values[at]) - 1))
    broken = [*values[:at], values[at][:cut], *values[at + 1 :]]
    decoded = decode_values(broken)
    assert [i for i, _ in decoded.defects] == [at]
    assert decoded.defects[0][1] in (Defect.TOO_SHORT, Defect.TRUNCATED)
    left = np.delete(rows, at, axis=0)
    assert (decoded.rows.get(name, left[:0]) == left).all()


@given(st.lists(st.binary(max_size=40), max_size=20))
@settings(deadline=None)
def test_any_bytes_are_safe(values: list[bytes]) -> None:
    decoded = decode_values(values)
    known = sum(len(rows) for rows in decoded.rows.values()) + len(decoded.cold) + len(decoded.defects)
    assert known == len(values)
