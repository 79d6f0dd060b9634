"""The file that holds a whole run: one Avro object container, readable by any Avro library, checked as a whole by us.

Every record of the log is one `LoggedRecord`: where it stood, when it was written, and its key and value as bytes; the
value is in Confluent wire format. The file's metadata holds `escape.manifest`, a JSON document that says what the file
must contain and gives every schema that the values need, and `escape.sha256`, the checksum of it and the file's schema.

Reading trusts nothing: a block is bounded before and after it is decompressed, its ratio too, and the whole by what the
manifest says. Every byte of the file is covered by a checksum.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import fastavro

from economy.errors import InputError
from runs.blocks import Batch, Logged, batches
from runs.formats import CODEC
from schemas.compression import Bytes, Codec, CompressionError, ExpansionError, decompressed
from schemas.files import beside, head, writing

FORMAT: Final = 1
SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "LoggedRecord",
    "namespace": "escape.run",
    "doc": "One record of the log of a run",
    "fields": [
        {"name": "topic", "type": "string", "doc": "Topic without the namespace"},
        {"name": "partition", "type": "int", "doc": "Partition"},
        {"name": "offset", "type": "long", "doc": "Offset where it was exported"},
        {"name": "timestamp", "type": "long", "doc": "When it was written, ms since 1970-01-01 UTC"},
        {"name": "key", "type": ["null", "bytes"], "doc": "Key"},
        {"name": "value", "type": "bytes", "doc": "Schema id of the manifest in Confluent wire format, then Avro"},
    ],
}
BLOCK: Final = 1 << 20  # bytes of records in a block that we write
MAX_HEADER: Final = 16 << 20
MAX_BLOCK: Final = 64 << 20  # a record is at most 32 MiB
MAX_RATIO: Final = 200  # deflate can do 1,000; our records do 3 to 20
_FREE: Final = 4096  # compressed bytes of a block, or of a file, whose ratio is nobody's concern
_MANIFEST, _SHA256 = "escape.manifest", "escape.sha256"
_MAGIC: Final = b"Obj\x01"
_HEADER: Final = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": 16}},
        ],
    }
)
_PARSED: Final = fastavro.parse_schema(dict(SCHEMA))
_BROKEN = (
    EOFError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)


@dataclass(frozen=True)
class Manifest:
    """What a file must contain. `records` counts by topic and partition, `size` the bytes of all keys and values;
    `sha256` is of the file behind its header.

    `schemas`: id in the values -> {name, fingerprint, schema}. `parent_ranks` says for a fork how many of the parent's
    own records in each topic and partition precede the cut.
    """

    run: int
    scenario: str
    state: str
    digest: str
    root: str
    shards: int
    partitions: int
    flow_partitions: int
    parent: int
    parent_epoch: int
    records: dict[str, list[int]]
    size: int
    sha256: str
    schemas: dict[str, dict[str, Any]]
    parent_ranks: dict[str, list[int]] = field(default_factory=dict)
    format: int = FORMAT


def write_container(path: Path, records: Iterable[Logged], describe: Callable[[int, str], Manifest]) -> Manifest:
    """Write the file, which appears when it is whole; returns its manifest.

    `describe` is called when all records are written, with the bytes of their keys and values and the checksum of the
    file behind its header. Raises SetupError when the file cannot be written.
    """
    sync, size = secrets.token_bytes(16), 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal size
        for record in records:
            size += len(record.key or b"") + len(record.value)
            yield record._asdict()

    with writing(path) as file, tempfile.TemporaryFile(dir=beside(path)) as blocks:
        fastavro.writer(blocks, _PARSED, rows(), CODEC, BLOCK, sync_marker=sync)
        blocks.seek(0)
        first = _header(blocks)[1]
        manifest = describe(size, hashlib.file_digest(blocks, "sha256").hexdigest())
        text = json.dumps(asdict(manifest), separators=(",", ":"))
        blocks.seek(0)
        schema = _header(blocks)[0]["avro.schema"]
        metadata = {_MANIFEST: text, _SHA256: hashlib.sha256(text.encode() + schema).hexdigest()}
        fastavro.writer(file, _PARSED, [], CODEC, metadata=metadata, sync_marker=sync)
        blocks.seek(first)
        shutil.copyfileobj(blocks, file, BLOCK)
    return manifest


def _header(file: BinaryIO) -> tuple[dict[str, bytes], int, bytes]:
    """(metadata, where the first block begins, sync mark) of a container; the file is left there."""
    begin = io.BytesIO(file.read(MAX_HEADER))
    read: Any = fastavro.schemaless_reader(begin, _HEADER, None)
    file.seek(begin.tell())
    return read["meta"], begin.tell(), read["sync"]


class Container:
    """An exported run to read. Raises InputError saying what is wrong with the file; it is read anew by each call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if head(path, len(_MAGIC)) != _MAGIC:
            raise self.wrong("it is no Avro container: give what `escape export RUN FILE.avro` wrote")
        try:
            with self._open() as file:
                self._length = file.seek(0, io.SEEK_END)
                file.seek(0)
                meta, self._first_block, self._sync = _header(file)
        except _BROKEN as error:
            raise self.wrong("it is cut off or damaged in its header") from error
        self.manifest = self._manifest(meta)
        if self.manifest.size > _FREE + self._length * MAX_RATIO:
            raise self.wrong(f"it claims to hold {self.manifest.size:,} bytes, more than {MAX_RATIO} times its own")

    def wrong(self, what: str) -> InputError:
        """The error that the file is not what it should be."""
        return InputError("file", str(self.path), what)

    @contextmanager
    def _open(self) -> Iterator[io.BufferedReader]:
        try:
            with open(self.path, "rb") as file:
                yield file
        except OSError as error:
            raise self.wrong(f"it cannot be read: {error.strerror or error}") from error

    def _manifest(self, meta: dict[str, bytes]) -> Manifest:
        if meta.keys() != {"avro.schema", "avro.codec", _MANIFEST, _SHA256}:
            raise self.wrong("it is an Avro file, but no exported run: it has no manifest")
        text = meta[_MANIFEST]
        if hashlib.sha256(text + meta["avro.schema"]).hexdigest().encode() != meta[_SHA256]:
            raise self.wrong("its manifest does not have the checksum that is given with it: it is damaged")
        if meta["avro.codec"] != CODEC.encode():
            raise self.wrong(f"it is not compressed with {CODEC}")
        try:
            known: dict[str, Any] = json.loads(text)
            if known.get("format") != FORMAT:
                raise self.wrong(f"it has format {known.get('format')}, known is {FORMAT}: use a newer version")
            return Manifest(**known)
        except _BROKEN as error:
            raise self.wrong("its manifest cannot be read: it is damaged") from error

    def records(self) -> Iterator[Logged]:
        """Every record, one by one; see `batches`."""
        for batch in self.batches():
            yield from batch.logged()

    def batches(self) -> Iterator[Batch]:
        """Every record, in order; at the end it is known that the file is the one that was written."""
        count = size = 0
        expected = sum(map(sum, self.manifest.records.values()))
        with self._open() as file:
            file.seek(self._first_block)
            if hashlib.file_digest(file, "sha256").hexdigest() != self.manifest.sha256:
                raise self.wrong("it does not have the checksum of its manifest: it is cut off or damaged")
            file.seek(self._first_block)
            while (block := self._block(file)) is not None:
                for batch in self._batches(*block):
                    count, size = count + len(batch), size + batch.size
                    if count > expected or size > self.manifest.size:
                        raise self.wrong("it holds more than its manifest says")
                    yield batch
        if (count, size) != (expected, self.manifest.size):
            raise self.wrong(f"it holds {count:,} of the {expected:,} records of its manifest")

    def _batches(self, count: int, data: Bytes) -> Iterator[Batch]:
        try:
            yield from batches(data, count)
        except ValueError as error:
            raise self.wrong(f"a block of {count} records is damaged: {error}") from error

    def _block(self, file: BinaryIO) -> tuple[int, Bytes] | None:
        """(number of records, their bytes), None at the end of the file."""
        count = self._long(file, True)
        if count is None:
            return None
        size = self._long(file, False) or 0
        if not 0 < size <= MAX_BLOCK or count < 1:
            raise self.wrong(f"a block claims {count} records in {size} bytes: it is damaged")
        packed = file.read(size)
        if len(packed) < size or file.read(len(self._sync)) != self._sync:
            raise self.wrong("a block is cut off, or not followed by its mark: it is damaged")
        limit = min(MAX_BLOCK, _FREE * MAX_RATIO + size * MAX_RATIO)
        try:
            return count, decompressed(Codec.DEFLATE, packed, limit)
        except ExpansionError as error:
            raise self.wrong(f"a block is a decompression bomb: {error}") from error
        except CompressionError as error:
            raise self.wrong(f"a block cannot be decompressed: {error}") from error

    def _long(self, file: BinaryIO, may_end: bool) -> int | None:
        """A zigzag varint; None at the end of the file, where it `may_end`."""
        value = 0
        for shift in range(0, 70, 7):
            byte = file.read(1)
            if not byte:
                if may_end and not shift:
                    return None
                raise self.wrong("it is cut off in a block's head")
            value |= (byte[0] & 127) << shift
            if byte[0] < 128:
                return (value >> 1) ^ -(value & 1)
        raise self.wrong("a block's head is damaged")
