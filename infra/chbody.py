"""Request bodies of the embedded ClickHouse: whole, or an error; never a part."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from email.message import Message
from io import BufferedIOBase
from typing import Any, Final

import lz4.frame
import zstandard

from infra.chguard import RefusedError

_PIECE: Final = 1 << 20
_INCOMPLETE: Final = 33  # ClickHouse's CANNOT_READ_ALL_DATA
_UNKNOWN: Final = 89  # UNKNOWN_COMPRESSION_METHOD


def _decompressor(encoding: str) -> Any:
    match encoding:
        case "lz4":
            return lz4.frame.LZ4FrameDecompressor()
        case "gzip":
            return zlib.decompressobj(31)
        case "deflate":
            return zlib.decompressobj()
        case "zstd":
            return zstandard.ZstdDecompressor().decompressobj()
    raise RefusedError(f"Content-Encoding {encoding} is not known: use lz4, zstd, gzip or none", _UNKNOWN)


def decoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The decompressed body. clickhouse-connect sends one frame per block: all frames are read, and the last one must
    have ended."""
    if encoding in ("", "identity"):
        yield from pieces
        return
    frame: Any = None
    for piece in pieces:
        rest = piece
        while rest:
            if frame is None:
                frame = _decompressor(encoding)
            try:
                out = frame.decompress(rest)
            except (RuntimeError, zlib.error, zstandard.ZstdError) as error:
                raise RefusedError(f"the body is not {encoding}: {error}", _INCOMPLETE) from error
            rest = b""
            if frame.eof:
                rest, frame = frame.unused_data or b"", None
            if out:
                yield out
    if frame is not None:
        raise RefusedError("the compressed body is truncated", _INCOMPLETE)


def pieces(stream: BufferedIOBase, headers: Message) -> Iterator[bytes]:
    """The body as sent. Raises RefusedError when the connection ends before the body does."""
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        yield from _chunked(stream)
        return
    length = headers.get("Content-Length", "0")
    if not length.isdecimal():
        raise RefusedError(f"Content-Length {length} is not a number", _INCOMPLETE)
    left = int(length)
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise RefusedError(f"the body is truncated: {left} bytes are missing", _INCOMPLETE)
        left -= len(piece)
        yield piece


def _chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    while True:
        line = stream.readline(64)
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise RefusedError("the chunked body is truncated", _INCOMPLETE) from error
        if size == 0:
            while stream.readline(1024).strip():
                pass  # trailers
            return
        while size:
            piece = stream.read(min(size, _PIECE))
            if not piece:
                raise RefusedError("the chunked body is truncated", _INCOMPLETE)
            size -= len(piece)
            yield piece
        if stream.read(2) != b"\r\n":
            raise RefusedError("the chunked body is broken", _INCOMPLETE)
