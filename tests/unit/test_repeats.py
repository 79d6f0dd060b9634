"""The glance at the order of records that spares the search for repeats."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from jobs.repeats import _spans

Record = tuple[int, int, int]  # kind, owner, number
records = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 6)), max_size=12)


def batches(parts: list[list[Record]]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield pa.RecordBatch.from_arrays(
            [pa.array([record[k] for record in part], pa.int64()) for k in range(3)],
            names=["kind", "owner", "number"],
        )


@given(st.lists(records, max_size=4))
def test_a_span_tells_where_numbers_lie_and_whether_they_rise(parts: list[list[Record]]) -> None:
    told = [tuple(row.values()) for batch in _spans(batches(parts)) for row in batch.to_pylist()]
    numbers: dict[tuple[int, int], list[int]] = {}
    for kind, owner, number in (record for part in parts for record in part):
        numbers.setdefault((kind, owner), []).append(number)
    assert {row[:2] for row in told} == set(numbers)
    assert len(told) == len(numbers)
    for kind, owner, low, high, rises in told:
        seen = numbers[kind, owner]
        assert rises == all(a < b for a, b in itertools.pairwise(seen))
        if rises:
            assert (low, high) == (min(seen), max(seen))
