"""Request bodies of the embedded ClickHouse: whole, or an error; never a part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from io import BufferedIOBase
from typing import Final

from infra.chguard import RefusedError
from schemas import compression

_PIECE: Final = 1 << 20
_INCOMPLETE: Final = 33  # ClickHouse's CANNOT_READ_ALL_DATA
_LINE: Final = 1024  # bytes of a chunk's head, or of a trailer
# RFC 9112, 7.1: nothing but hexadecimal digits, and extensions, which are passed over.
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n]*)?\r\n")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
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
    """The body as sent. Raises RefusedError when it is cut off, or where its end is not certain."""
    coding, lengths = headers.get_all("Transfer-Encoding", []), set(headers.get_all("Content-Length", []))
    if coding:
        if lengths or [each.strip().lower() for each in coding] != ["chunked"]:
            raise RefusedError("the body must be chunked, or have one Content-Length", _INCOMPLETE)
        yield from _chunked(stream)
        return
    length = lengths.pop() if lengths else "0"
    if lengths or not _LENGTH.fullmatch(length):
        raise RefusedError(f"Content-Length {length} is not one number", _INCOMPLETE)
    left = int(length)
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise RefusedError(f"the body is truncated: {left} bytes are missing", _INCOMPLETE)
        left -= len(piece)
        yield piece


def _chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    while True:
        line = stream.readline(_LINE)
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise RefusedError("the chunked body is broken or truncated", _INCOMPLETE)
        size = int(found[1], 16)
        if size == 0:
            while stream.readline(_LINE).strip():
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
