"""Blocks of exported runs against fastavro: every record comes out as it went in, and broken bytes are refused."""

from __future__ import annotations

import io

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs import blocks
from runs.blocks import Batch, Content, Logged, batches, of_run, renumber
from runs.container import SCHEMA
from schemas.log.recordbatch import Records

_PARSED = fastavro.parse_schema(dict(SCHEMA))
number = st.integers(-(2**63), 2**63 - 1)
logged = st.builds(
    Logged, st.sampled_from(["a", "market.orders.v1", "ü"]), st.integers(0, 2), number, number,
    st.none() | st.binary(max_size=20), st.binary(max_size=40),
)  # fmt: skip
many = st.lists(logged, min_size=1, max_size=30)


def block(records: list[Logged]) -> bytes:
    out = io.BytesIO()
    for record in records:
        fastavro.schemaless_writer(out, _PARSED, record._asdict())
    return out.getvalue()


@settings(max_examples=150)
@given(many, st.integers(1, 9))
def test_records_come_out_as_they_went_in(records: list[Logged], most: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "_SLICE", most)
        found = list(batches(block(records), len(records)))
    assert [record for batch in found for record in batch.logged()] == records
    assert all(1 <= len(batch) <= most for batch in found)
    assert sum(batch.size for batch in found) == sum(len(r.key or b"") + len(r.value) for r in records)


@settings(max_examples=150)
@given(many, st.data())
def test_broken_blocks_are_refused(records: list[Logged], data: st.DataObject) -> None:
    sound = block(records)
    cut = data.draw(st.integers(0, len(sound) - 1))
    with pytest.raises(ValueError, match=r"decoded|behind"):
        list(batches(sound[:cut], len(records)))
    with pytest.raises(ValueError, match="behind"):
        list(batches(sound + b"\0", len(records)))
    noise = bytearray(sound)
    noise[cut] ^= data.draw(st.integers(1, 255))
    try:  # another value, or refused; never a place outside of the block
        for batch in batches(bytes(noise), len(records)):
            assert batch.size <= len(noise)
            list(batch.logged())
    except ValueError:
        pass


def batch_of(records: list[Logged]) -> Batch:
    (found,) = batches(block(records), len(records))
    return found


def test_numbers_of_schemas_are_exchanged() -> None:
    values = [b"\0\0\0\0\x07abc", b"\0\0\0\x01\x00", b"\0\0\0\0\x07"]
    made = [Logged("t", 0, i, 5, None, value) for i, value in enumerate(values)]
    batch = batch_of(made)
    assert renumber(batch, {7: 300, 256: 7, 9: 1}) == -1
    assert [r.value for r in batch.logged()] == [b"\0\0\0\1\x2cabc", b"\0\0\0\0\x07", b"\0\0\0\1\x2c"]
    for wrong in (b"\0\0\0\0\x08", b"\1\0\0\0\x07", b"\0\0\0\0", b""):
        assert renumber(batch_of([*made, Logged("t", 0, 9, 5, None, wrong)]), {7: 1, 256: 2}) == 3


def test_content_does_not_hang_on_how_records_are_cut() -> None:
    made = [
        Logged("t", p, i, i, b"k" * (i % 3) or None, bytes([0, 0, 0, 0, 1, 2 * (i % 2)]))
        for p in (0, 1)
        for i in range(9)
    ]

    def content(*parts: list[Logged]) -> str:
        found = Content()
        for part in parts:
            for batch in batches(block(part), len(part)):
                found.add(batch)
        return found.hexdigest()

    whole = content(made)
    assert content(made[9:], made[:4], made[4:9]) == whole
    for other in (made[1:], made[::-1], [made[0]._replace(value=b"\0\0\0\0\1\4"), *made[1:]], [*made, made[-1]]):
        assert content(other) != whole


def test_the_records_of_one_run_are_found() -> None:
    values = [b"\0\0\0\0\1" + tail for tail in (b"\x0e", b"\x10", b"\x0eabc", b"", b"\x0e")]
    ends = np.cumsum([len(value) for value in values])
    buffer = np.frombuffer(b"".join(values), np.uint8)
    sizes, offsets = np.full(5, -1), np.arange(5)
    starts = np.concatenate(([0], ends[:-1]))
    records = Records(buffer, starts, ends, offsets, offsets, 0, 5, 0, starts, sizes)
    assert of_run(("t", 0), records, 7).records.offsets.tolist() == [0, 2, 4]
