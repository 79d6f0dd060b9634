"""Request bodies of the embedded ClickHouse: whole, or an error; never a part."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from io import BufferedIOBase
from typing import Final

from infra.chguard import RefusedError
from schemas import compression

_PIECE: Final = 1 << 20
_INCOMPLETE: Final = 33  # ClickHouse's CANNOT_READ_ALL_DATA
_UNKNOWN: Final = 89  # UNKNOWN_COMPRESSION_METHOD


def decoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The decompressed body. clickhouse-connect sends one frame per block: all frames are read, and the last one must
    have ended."""
    if encoding in ("", "identity"):
        yield from pieces
        return
    if encoding not in compression.ENCODINGS:
        raise RefusedError(f"Content-Encoding {encoding} is not known: use lz4, zstd, gzip or none", _UNKNOWN)
    try:
        yield from compression.stream(encoding, pieces)
    except compression.CompressionError as error:
        raise RefusedError(f"the compressed body is damaged: {error}", _INCOMPLETE) from error


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
