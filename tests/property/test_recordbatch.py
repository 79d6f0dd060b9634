"""Our RecordBatch reader and writer against aiokafka's, on random records, all codecs and broken bytes."""

from __future__ import annotations

import struct
from typing import Any

import aiokafka.consumer.fetcher as fetcher
import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from economy.errors import ProtocolError, SetupError
from schemas.log import framing, recordbatch
from schemas.log.recordbatch import Records
from streams import burial, rawfetch, rawproduce

maybe = st.none() | st.binary(max_size=90)
headers = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=3)
records = st.lists(st.tuples(maybe, maybe, headers), min_size=1, max_size=30)


def batch(rows: list[Any], codec: int, base: int, transactional: int = 0, producer: int = -1) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, transactional, producer, 0, 0, 1 << 20)
    for i, (key, value, head) in enumerate(rows):
        assert builder.append(i, 1_700_000_000_000 + 7 * i, key, value, head) is not None
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, base)
    return bytes(made)


@settings(max_examples=120, deadline=None)
@given(records, records, st.integers(0, 4), st.integers(0, 4), st.integers(0, 80))
def test_reads_what_aiokafka_wrote(one: list[Any], two: list[Any], c1: int, c2: int, skip: int) -> None:
    blob = batch(one, c1, 1000) + batch(two, c2, 1040)
    expected = [(1000 + i, r[1] or b"", 1_700_000_000_000 + 7 * i) for i, r in enumerate(one)]
    expected += [(1040 + i, r[1] or b"", 1_700_000_000_000 + 7 * i) for i, r in enumerate(two)]
    expected = [record for record in expected if record[0] >= 1000 + skip]
    whole = recordbatch.read(blob + blob[:60], 0)  # the cut-off third batch waits for the next fetch
    for got in (recordbatch.read(blob, 1000 + skip), whole.since(1000 + skip)):
        rows = [(int(got.offsets[i]), got.value(i), int(got.timestamps[i])) for i in range(len(got))]
        assert rows == expected
    assert recordbatch.read(blob, 1000 + skip).next_offset == max(1040 + len(two), 1000 + skip)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), min_size=1, max_size=60), st.integers(500, 3000))
def test_aiokafka_reads_what_we_wrote(rows: list[tuple[bool, bytes]], limit: int) -> None:
    ends = np.cumsum([len(value) for _, value in rows])
    starts = ends - np.array([len(value) for _, value in rows])
    values = np.frombuffer(b"".join(value for _, value in rows) + b"\0", np.uint8)
    sizes = np.array([16 if paired else 8 for paired, _ in rows])
    keys = framing.key_table(np.array([[-5, i] for i in range(len(rows))]), sizes)
    got, total = [], 0
    for made, count in framing.write(values, starts, ends, keys, sizes, 1234, limit):
        sealed = framing.seal(made, 77, 3, total)
        assert len(sealed) <= limit
        read = DefaultRecordBatch(bytearray(sealed))
        assert read.validate_crc()
        assert (read.producer_id, read.producer_epoch, read.base_sequence) == (77, 3, total)
        got += [(r.key, r.value, r.timestamp, r.offset + total) for r in read]
        total += count
    pair = [struct.pack(">qq", -5, i) if paired else struct.pack(">q", -5) for i, (paired, _) in enumerate(rows)]
    assert got == [(key, value, 1234, i) for i, (key, (_, value)) in enumerate(zip(pair, rows, strict=True))]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(maybe, st.binary(max_size=200), st.integers(0, 2**41)), min_size=1, max_size=40),
    st.integers(500, 3000), st.booleans(), st.integers(0, 4),
)  # fmt: skip
def test_records_are_written_again_with_their_keys_and_timestamps(
    rows: list[tuple[bytes | None, bytes, int]], limit: int, compress: bool, codec: int
) -> None:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, 0, 0, 1 << 20)
    for i, (key, value, stamp) in enumerate(rows):
        assert builder.append(i, stamp, key, value, []) is not None
    records = recordbatch.read(bytes(builder.build()), keyed=True)
    got: list[Any] = []
    for made, count in framing.rewrite(records, limit):
        sealed = framing.seal(framing.compress(made) if compress else made, 77, 3, len(got))
        assert len(sealed) <= limit
        theirs, ours = DefaultRecordBatch(bytearray(sealed)), recordbatch.read(sealed, keyed=True)
        assert theirs.validate_crc()
        assert theirs.max_timestamp == max(stamp for _, _, stamp in rows[len(got) : len(got) + count])
        assert [ours.value(i) for i in range(count)] == [value for _, value, _ in rows[len(got) : len(got) + count]]
        got += [(r.key, r.value, r.timestamp) for r in theirs]
    assert got == rows


def test_what_repeats_itself_is_packed_and_what_does_not_is_left() -> None:
    def one(value: bytes) -> bytearray:
        places = np.array([0]), np.array([len(value)])
        keys, sizes = np.zeros((1, 8), np.uint8), np.array([8])
        ((made, _),) = framing.write(np.frombuffer(value, np.uint8), *places, keys, sizes, 5, 10_000)
        return made

    noise = one(np.random.default_rng(1).bytes(2000))
    assert framing.compress(noise) is noise
    packed = framing.compress(one(b"abcd" * 500))
    assert len(packed) < 200
    assert recordbatch.read(framing.seal(packed, -1, -1, -1)).value(0) == b"abcd" * 500


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(maybe, st.binary(max_size=40)), min_size=1, max_size=30))
def test_the_runs_that_keys_name(rows: list[tuple[bytes | None, bytes]]) -> None:
    rows += [(struct.pack(">qq", run, 3), b"x") for run in (7, -1, 2**62)] + [(struct.pack(">q", 9), b"")]
    found = recordbatch.read(batch([(key, value, []) for key, value in rows], 0, 0), keyed=True).runs()
    assert found is not None
    known = [struct.unpack(">q", key[:8])[0] if key and len(key) >= 8 else recordbatch.NO_RUN for key, _ in rows]
    assert found.tolist() == known


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 2), st.integers(0, 10**15)), min_size=1, max_size=40),
    st.integers(400, 2000),
)
def test_dead_letters_are_whole_records_with_headers_and_no_key(rows: list[tuple[bytes, int, int]], limit: int) -> None:
    reasons = ("TRUNCATED", "UNKNOWN_SCHEMA", "a text of any kind: é")
    ends = np.cumsum([5, *(len(value) for value, _, _ in rows)])
    buffer = np.frombuffer(b"other" + b"".join(value for value, _, _ in rows), np.uint8)
    which, offsets = np.array([r for _, r, _ in rows]), np.sort(np.array([o for _, _, o in rows]))
    found = Records(buffer, ends[:-1], ends[1:], offsets, offsets, 0, 10**16)
    chosen = [(np.flatnonzero(which == k), reason) for k, reason in enumerate(reasons) if (which == k).any()]
    starts, stops, headers = burial.letters(found, chosen, "t.orders", 3)
    keys, sizes = np.zeros((len(rows), 1), np.uint8), np.full(len(rows), -1)
    got = []
    for made, _ in framing.write(buffer, starts, stops, keys, sizes, 1234, limit, headers):
        got += [(r.key, r.value, dict(r.headers)) for r in DefaultRecordBatch(framing.seal(made, -1, -1, -1))]
    place = {"topic": b"t.orders", "partition": b"3"}
    assert got == [
        (None, value, {"error": reasons[k].encode(), **place, "offset": str(offset).encode()})
        for (value, k, _), offset in zip(rows, offsets.tolist(), strict=True)
    ]


def test_control_and_aborted_batches_are_left_out_as_aiokafka_does() -> None:
    row: list[Any] = [(b"k", b"v", [])]
    abort = bytearray(batch([(struct.pack(">hh", 0, 0), b"\0" * 6, [])], 0, 2, 1, 9))
    struct.pack_into(">h", abort, 21, 0x30)
    struct.pack_into(">I", abort, 17, calc_crc32c(bytes(abort[21:])))
    blob = batch(row, 0, 0) + batch(row, 3, 1, 1, 9) + bytes(abort) + batch(row, 4, 3, 1, 9)
    for aborted, isolation in ((None, fetcher.READ_UNCOMMITTED), ([(9, 1)], fetcher.READ_COMMITTED)):
        theirs = fetcher.PartitionRecords(
            TopicPartition("cold", 0), MemoryRecords(blob), aborted, 0, None, None, True, isolation
        )
        expected = [record.offset for record in theirs]
        ours = recordbatch.read(blob, 0, True, aborted)
        assert ours.offsets.tolist() == expected
        assert ours.next_offset == theirs.next_fetch_offset == 4


def test_a_wrong_checksum_is_noticed_and_20000_broken_blobs_never_crash() -> None:
    rng = np.random.default_rng(5)
    row = [(b"key", bytes(range(40)), [("h", b"1"), ("n", None)])] * 12
    blobs = [batch(row, codec, 5) + batch(row, 0, 30) for codec in range(5)]
    with pytest.raises(ProtocolError, match="checksum"):
        recordbatch.read(blobs[0][:100] + b"\xff" + blobs[0][101:], 0)
    refused = 0
    for i in range(20_000):
        broken = np.frombuffer(blobs[i % 5], np.uint8).copy()
        broken[rng.integers(0, broken.size, rng.integers(1, 6))] = rng.integers(0, 256)
        try:
            got = recordbatch.read(broken.tobytes(), 0, False)
        except ProtocolError:
            refused += 1
            continue
        assert np.all((got.starts >= 0) & (got.starts <= got.ends) & (got.ends <= got.buffer.size))
    assert 2_000 < refused < 20_000


def test_hooks_fail_loudly_when_aiokafka_moves_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    rawfetch.check()
    rawproduce.check()

    class Moved:
        def __init__(self, records: object) -> None:
            """Another signature."""

    monkeypatch.setattr(rawfetch, "_Partition", Moved)
    with pytest.raises(SetupError, match="fetcher has changed"):
        rawfetch.check()
    monkeypatch.setattr(rawproduce, "BatchBuilder", type("Builder", (), {"_set_producer_state": lambda self: None}))
    with pytest.raises(SetupError, match="batches have changed"):
        rawproduce.check()
