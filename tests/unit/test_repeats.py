"""The glance at the order of records that spares the search for repeats."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs import spans
from jobs.spans import Spans

Record = tuple[int, int, int]  # kind, owner, number
records = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 6)), max_size=12)


@given(st.lists(records, max_size=4), st.sampled_from([2, 64]))
def test_a_span_tells_where_numbers_lie_and_whether_they_rise(parts: list[list[Record]], joined: int) -> None:
    made, spans._JOINED = Spans(), joined  # type: ignore[misc]
    for part in parts:
        made.add(*np.array(part, np.int64).reshape(-1, 3).T)
    told = list(zip(*(column.tolist() for column in made.columns()), strict=True))
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
