"""Compressed bytes of anybody: what they hold is bounded, by every codec and wherever they are read."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import lz4.frame
import numpy as np
import pytest
import zstandard
from aiokafka import codec as kafka
from hypothesis import given, settings
from hypothesis import strategies as st

from economy.errors import ProtocolError
from infra.chguard import RefusedError
from infra.chhttp import Asked
from schemas import compression
from schemas.compression import Codec, CompressionError, ExpansionError, decompressed
from schemas.log import recordbatch
from schemas.log.recordbatch import HEAD

LIMIT: Final = 1 << 20
MIB: Final = 1 << 20


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


def _unsized(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


WRITERS: Final[dict[str, tuple[Codec, Callable[[bytes], bytes]]]] = {
    "deflate": (Codec.DEFLATE, _deflate),
    "gzip": (Codec.GZIP, gzip.compress),
    "gzip of two": (Codec.GZIP, lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
    "snappy": (Codec.SNAPPY, lambda data: bytes(kafka.snappy_encode(data, xerial_compatible=False))),
    "snappy in blocks": (Codec.SNAPPY, lambda data: bytes(kafka.snappy_encode(data))),
    "lz4": (Codec.LZ4, lambda data: lz4.frame.compress(data, block_linked=False, store_size=False)),
    "lz4 with its size": (Codec.LZ4, lz4.frame.compress),
    "zstd": (Codec.ZSTD, _unsized),
    "zstd with its size": (Codec.ZSTD, zstandard.compress),
}
written = pytest.mark.parametrize(("codec", "write"), WRITERS.values(), ids=list(WRITERS))


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """The block takes no more memory than `size` bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@written
@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=300), st.integers(1, 3_000), st.integers(0, 5))
def test_what_was_written_is_read_up_to_the_bound_and_no_further(
    codec: Codec, write: Callable[[bytes], bytes], piece: bytes, times: int, less: int
) -> None:
    data = (piece * times)[:LIMIT]
    packed = write(data)
    assert decompressed(codec, packed, LIMIT).tobytes() == data
    assert decompressed(codec, packed, len(data)).tobytes() == data
    if 0 < less <= len(data):
        with pytest.raises(ExpansionError, match=codec.value):
            decompressed(codec, packed, len(data) - less)


@written
def test_a_bomb_gets_no_more_memory_than_the_bound(codec: Codec, write: Callable[[bytes], bytes]) -> None:
    bomb = write(bytes(40 * MIB))
    with bounded(2 * LIMIT), pytest.raises(ExpansionError, match=f"hold more than {LIMIT:,}"):
        decompressed(codec, bomb, LIMIT)


@written
def test_what_is_cut_off_or_damaged_is_no_bomb(codec: Codec, write: Callable[[bytes], bytes]) -> None:
    packed = write(np.random.default_rng(1).bytes(5_000))
    for broken in (packed[:-1], packed[: len(packed) // 2], b"\xff" * 40):
        with pytest.raises(CompressionError) as told:
            decompressed(codec, broken, LIMIT)
        assert not isinstance(told.value, ExpansionError), broken


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(list(WRITERS.values())), st.binary(max_size=200), st.data())
def test_no_bytes_make_more_than_a_clean_error(
    writer: tuple[Codec, Callable[[bytes], bytes]], junk: bytes, data: st.DataObject
) -> None:
    codec, write = writer
    turned = bytearray(write(bytes(50) + junk))
    for _ in range(data.draw(st.integers(1, 4))):
        turned[data.draw(st.integers(0, len(turned) - 1))] = data.draw(st.integers(0, 255))
    for given_bytes in (junk, bytes(turned)):
        with suppress(CompressionError):
            assert len(decompressed(codec, given_bytes, LIMIT)) <= LIMIT


# ---- record batches
KINDS: Final = {1: "gzip", 2: "snappy in blocks", 3: "lz4", 4: "zstd"}


def _varint(number: int) -> bytes:
    return compact(number << 1)


def compact(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + compact(number >> 7)


def batch(kind: int, size: int, base: int = 0) -> bytes:
    """One record whose value is `size` zeros, compressed, as a broker would take it."""
    record = b"\0\0\0\x01" + _varint(size) + bytes(size) + b"\0"
    body = WRITERS[KINDS[kind]][1](_varint(len(record)) + record)
    head = HEAD.pack(base, len(body) + HEAD.size - 12, 0, 2, 0, kind, 0, 0, 0, -1, -1, -1, 1)
    return head + body


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_is_a_bomb_is_refused_and_a_large_one_read(kind: int) -> None:
    """The largest record that our topics take, of zeros, is sound."""
    bomb = batch(kind, 80 * MIB)
    with bounded(recordbatch.MOST + 16 * MIB), pytest.raises(ProtocolError, match="offset 0 is a decompression bomb"):
        recordbatch.read(bomb, check_crc=False)
    large = recordbatch.read(batch(kind, 32 * MIB), check_crc=False)
    assert int(large.ends[0] - large.starts[0]) == 32 * MIB


@pytest.mark.parametrize("kind", KINDS)
def test_a_fetch_of_many_large_batches_is_read_in_parts(kind: int) -> None:
    blob = b"".join(batch(kind, 30 * MIB, base) for base in range(7))
    at, reads = 0, []
    while at < 7:
        with bounded(5 * recordbatch.MOST):  # three rooms, and then their records in one buffer
            found = recordbatch.read(blob, at, check_crc=False)
        assert found.offsets.tolist() == list(range(at, found.next_offset))
        reads.append(len(found))
        at = found.next_offset
        blob = b"".join(batch(kind, 30 * MIB, base) for base in range(at, 7))
    assert reads == [3, 3, 1]


# ---- bodies of the embedded ClickHouse
def decoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    return Asked("POST", "/", {}, {"content-encoding": encoding}, pieces).decoded()


BODIES: Final = {"gzip": gzip.compress, "deflate": zlib.compress, "lz4": lz4.frame.compress, "zstd": _unsized}


@pytest.mark.parametrize("encoding", BODIES)
def test_a_body_is_decompressed_in_pieces_of_bounded_size(encoding: str) -> None:
    packed = BODIES[encoding](bytes(200 * MIB))
    with bounded(80 * MIB):
        sizes = [len(piece) for piece in decoded(iter([packed]), encoding)]
    assert sum(sizes) == 200 * MIB
    assert max(sizes) <= 40 * MIB


@pytest.mark.parametrize("encoding", BODIES)
@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 90))
def test_a_body_of_several_frames_is_whole_or_refused(encoding: str, parts: list[bytes], step: int) -> None:
    body = b"".join(BODIES[encoding](part * 9) for part in parts)
    cut = [body[at : at + step] for at in range(0, len(body), step)]
    assert b"".join(decoded(iter(cut), encoding)) == b"".join(part * 9 for part in parts)
    with pytest.raises(RefusedError, match="damaged"):
        list(decoded(iter([body[:-1]]), encoding))


def test_an_encoding_that_is_not_known_is_named() -> None:
    with pytest.raises(RefusedError, match="Content-Encoding br"):
        list(decoded(iter([b""]), "br"))
    assert set(BODIES) == compression.ENCODINGS


def test_the_head_of_a_batch_is_as_wide_as_the_format_says() -> None:
    assert HEAD.size == 61
    assert struct.calcsize(">qi") == recordbatch.FRAME
