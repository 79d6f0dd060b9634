"""Tables of events as CSV, Parquet or Avro files, written block by block."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import fastavro
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from economy.errors import SetupError

FORMATS: Final = ("csv", "parquet", "avro")
CODEC: Final = "deflate"  # the only compression that every Avro library must know
_AVRO: Final = {pa.int64(): "long", pa.string(): "string"}


def write_table(path: Path, kind: str, name: str, schema: Any, blocks: Iterable[Any]) -> int:
    """Write pyarrow record batches of int64 and string columns; returns the number of rows.

    The file appears when it is whole. Raises SetupError when it cannot be written.
    """
    draft = path.with_name(f"{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"csv": _csv, "parquet": _parquet, "avro": _avro}[kind](draft, name, schema, blocks)
        draft.replace(path)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror or error}", "choose another file") from error
    finally:
        draft.unlink(missing_ok=True)
    return rows


def _csv(path: Path, _: str, schema: Any, blocks: Iterable[Any]) -> int:
    rows = 0
    with pcsv.CSVWriter(path, schema, write_options=pcsv.WriteOptions(quoting_style="needed")) as writer:
        for block in blocks:
            writer.write_batch(block)
            rows += block.num_rows
    return rows


def _parquet(path: Path, _: str, schema: Any, blocks: Iterable[Any]) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for block in blocks:
            writer.write_batch(block)
            rows += block.num_rows
    return rows


def _avro(path: Path, name: str, schema: Any, blocks: Iterable[Any]) -> int:
    rows = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal rows
        for block in blocks:
            rows += block.num_rows
            yield from block.to_pylist()

    docs = [json.loads((field.metadata or {}).get(b"doc", b'""')) for field in schema]
    fields = [{"name": f.name, "type": _AVRO[f.type], "doc": doc} for f, doc in zip(schema, docs, strict=True)]
    record = fastavro.parse_schema({"type": "record", "name": name, "fields": fields})
    with open(path, "wb") as file:
        fastavro.writer(file, record, records(), CODEC)
    return rows
