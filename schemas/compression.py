"""Decompression of bytes that anybody may have written: bounded, whatever they claim of themselves.

The one place where we decompress. Eight kilobytes of zstd can hold a gigabyte, so no library's `decompress` is called
without a room to fill: it is a few times as large as what came in, and grows up to the bound only while that is full.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Final

import cramjam
import lz4.frame
import numpy as np
import zstandard
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class Codec(Enum):
    """How bytes were compressed; `SNAPPY` is Kafka's, raw or in xerial's blocks, `DEFLATE` has no head of zlib's."""

    DEFLATE = "deflate"
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


class CompressionError(ValueError):
    """Bytes are not what the codec writes: damaged, or cut off."""


class ExpansionError(CompressionError):
    """Bytes hold more than the bound."""


_ROOM: Final = 4  # times what came in: our records shrink to a third or a half
_LEAST_ROOM: Final = 1 << 12
_FULL: Final = "failed to write whole buffer"  # cramjam's words; tests hold each codec to them
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEAD: Final = 16
_INTO: Final[dict[Codec, Callable[[bytes, Any], int]]] = {
    Codec.DEFLATE: cramjam.deflate.decompress_into,
    Codec.GZIP: cramjam.gzip.decompress_into,
    Codec.LZ4: cramjam.lz4.decompress_into,
    Codec.ZSTD: cramjam.zstd.decompress_into,
}


def decompressed(codec: Codec, data: bytes, limit: int) -> Bytes:
    """What `data` holds, at most `limit` bytes, to be read only.

    Raises ExpansionError where it is more, whatever was claimed, and CompressionError for what no codec of this name
    writes.
    """
    if codec is Codec.SNAPPY:
        return _snappy(data, limit)
    room = min(limit, max(_LEAST_ROOM, _ROOM * len(data)))
    while True:
        out = np.empty(room, np.uint8)
        try:
            return _sealed(out[: _INTO[codec](data, out)])
        except cramjam.DecompressionError as error:
            if str(error) != _FULL:
                raise CompressionError(f"it is not {codec.value}: {error}") from error
            if room == limit:
                raise _too_much(codec, data, limit) from error
        del out  # not both rooms at once
        room = min(limit, _ROOM * room)


def _too_much(codec: Codec, data: bytes, limit: int) -> ExpansionError:
    return ExpansionError(f"{len(data):,} bytes of {codec.value} hold more than {limit:,}")


def _snappy(data: bytes, limit: int) -> Bytes:
    """Each block begins with its size, which the library holds it to."""
    blocks = list(_blocks(data)) if data.startswith(_XERIAL) else [data]
    try:
        sizes = [cramjam.snappy.decompress_raw_len(block) for block in blocks]
        if sum(sizes) > limit:
            raise _too_much(Codec.SNAPPY, data, limit)
        out: Any = np.empty(sum(sizes), np.uint8)
        at = 0
        for block, size in zip(blocks, sizes, strict=True):
            at += cramjam.snappy.decompress_raw_into(block, out[at : at + size])
    except cramjam.DecompressionError as error:
        raise CompressionError(f"it is not snappy: {error}") from error
    return _sealed(out)


def _sealed(data: Bytes) -> Bytes:
    """As `np.frombuffer` of bytes: numba compiles once for both."""
    data.flags.writeable = False
    return data


def _blocks(data: bytes) -> Iterator[bytes]:
    at = _XERIAL_HEAD
    while at < len(data):
        if len(data) - at < 4:
            raise CompressionError("it is not snappy: a block is cut off")
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 < size <= len(data) - at:
            raise CompressionError(f"it is not snappy: a block claims {size} bytes")
        yield data[at : at + size]
        at += size


# ---- streams
# Bytes that go into a decompressor at a time, so that what comes out is bounded too: 32 MiB at the utmost of zstd,
# 1 MiB at that of deflate.
_SIP: Final = 1 << 10
_FRAMES: Final[dict[str, Callable[[], Any]]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": zlib.decompressobj,  # HTTP's: in zlib's frame
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
ENCODINGS: Final = frozenset(_FRAMES)


def stream(encoding: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a body in one of HTTP's ENCODINGS holds, piece by piece: any number of frames, the last of which ends.

    Raises CompressionError for what the codec does not write, and where the body ends before a frame does.
    """
    frame: Any = None
    for piece in pieces:
        for at in range(0, len(piece), _SIP):
            rest = piece[at : at + _SIP]
            while rest:
                frame = frame or _FRAMES[encoding]()
                try:
                    out = frame.decompress(rest)
                except (RuntimeError, zlib.error, zstandard.ZstdError) as error:
                    raise CompressionError(f"it is not {encoding}: {error}") from error
                rest = b""
                if frame.eof:
                    rest, frame = frame.unused_data or b"", None
                if out:
                    yield out
    if frame is not None:
        raise CompressionError("it is truncated")
