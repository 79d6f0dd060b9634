"""Tables of events as CSV, Parquet or Avro files, written block by block."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from schemas.files import writing

FORMATS: Final = ("csv", "parquet", "avro")
CODEC: Final = "deflate"  # the only compression that every Avro library must know
_AVRO: Final = {pa.int64(): "long", pa.string(): "string"}


def write_table(path: Path, kind: str, name: str, schema: Any, blocks: Iterable[Any]) -> int:
    """Write pyarrow record batches of int64 and string columns; returns the number of rows.

    The file appears when it is whole. Raises SetupError when it cannot be written.
    """
    with writing(path) as file:
        return {"csv": _csv, "parquet": _parquet, "avro": _avro}[kind](file, name, schema, blocks)


def _csv(file: BinaryIO, _: str, schema: Any, blocks: Iterable[Any]) -> int:
    rows = 0
    file.write((",".join(schema.names) + "\n").encode())
    for block in blocks:
        # Arrow quotes all texts of a table or none.
        texts = [column for column in block.columns if pa.types.is_string(column.type)]
        quoted = any(pc.any(pc.match_substring_regex(text, '[",\r\n]')).as_py() for text in texts)
        style = "needed" if quoted else "none"
        pcsv.write_csv(block, file, pcsv.WriteOptions(include_header=False, quoting_style=style))
        rows += block.num_rows
    return rows


def _parquet(file: BinaryIO, _: str, schema: Any, blocks: Iterable[Any]) -> int:
    rows = 0
    with pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        for block in blocks:
            writer.write_batch(block)
            rows += block.num_rows
    return rows


def _avro(file: BinaryIO, name: str, schema: Any, blocks: Iterable[Any]) -> int:
    rows = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal rows
        for block in blocks:
            rows += block.num_rows
            yield from block.to_pylist()

    docs = [json.loads((field.metadata or {}).get(b"doc", b'""')) for field in schema]
    fields = [{"name": f.name, "type": _AVRO[f.type], "doc": doc} for f, doc in zip(schema, docs, strict=True)]
    record = fastavro.parse_schema({"type": "record", "name": name, "fields": fields})
    fastavro.writer(file, record, records(), CODEC)
    return rows
