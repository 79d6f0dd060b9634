"""Columns of texts out of CSV and Parquet files of any size, batch by batch, and what is wrong with a cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from economy.errors import InputError
from economy.numbers.decimal_columns import parse, write
from economy.numbers.decimals import REMEDY, Fault
from schemas.files import head

Texts = Any  # a pyarrow.StringArray without nulls
Mask = NDArray[np.bool_]
BLOCK: Final = 4 << 20  # bytes of CSV per batch
ROWS: Final = 1 << 16  # rows of Parquet per batch
CELL: Final = 1 << 10  # bytes of a text in Parquet, so that a batch of them has at most 64 MiB
MAX_SCALE: Final = 18  # of a decimal that economy.numbers.decimal_columns writes
_PARQUET: Final = b"PAR1"
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    **{b"BZh%d1AY&SY" % level: "bz2" for level in range(1, 10)},
}
_FOREIGN: Final = {
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PK\x03\x04": "a ZIP archive, such as a spreadsheet",
    b"\xfd7zXZ\0": "compressed with xz",
    b"PARE": "encrypted Parquet",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
}
_TOO_LONG: Final = "try to increase block size"  # Arrow's words
_NEWLINE: Final = ord("\n")
_OPEN_QUOTE: Final = "its quotes hold more than one line: close the quote; a cell has no line breaks"
_TOLD: Final = 300  # characters of somebody else's text in an error


def read_columns(path: Path, names: Sequence[str], header: bool = True) -> Iterator[list[Texts]]:
    """The named columns as texts, batch by batch; a missing value is an empty text. Other columns are not read.

    A file is what it begins as: Parquet, a compressed CSV, else a CSV in UTF-8. Without a `header` the first columns of
    a CSV are the named ones. Raises InputError for a file that is not regular, cannot be read or lacks a column.
    """
    begin = head(path, max(map(len, (*_COMPRESSED, *_FOREIGN))))
    for mark, what in _FOREIGN.items():
        if begin.startswith(mark):
            raise InputError("file", str(path), f"it is {what}: save it as CSV in UTF-8 or as Parquet")
    try:
        if begin.startswith(_PARQUET):
            yield from _parquet(path, names)
        else:
            yield from _csv(path, names, header, next((n for m, n in _COMPRESSED.items() if begin.startswith(m)), None))
    except UnicodeDecodeError as error:
        raise InputError("file", str(path), f"its header is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except OSError as error:
        raise InputError("file", str(path), f"it cannot be read: {error.strerror or one_line(error)}") from error
    except (pa.ArrowException, MemoryError) as error:
        told = one_line(error)
        if _TOO_LONG in told:
            told = f"a row is longer than {BLOCK >> 20} MiB"
        raise InputError("file", str(path), f"it is neither CSV nor Parquet as it should be: {told}") from error


def one_line(what: object) -> str:
    """A library's words, or a file's, as part of a line of ours."""
    text = "".join(c if c.isprintable() else " " for c in str(what)[:_TOLD])
    return " ".join(text.split())


def _check(path: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if there.count(name) != 1:
            found = "is there twice" if name in there else f"is missing; there are {one_line(', '.join(there))}"
            raise InputError(f"{path.name} column", name, f"it {found}. Needed: {', '.join(wanted)}")


def _csv(path: Path, names: Sequence[str], header: bool, compression: str | None) -> Iterator[list[Texts]]:
    reading = pcsv.ReadOptions(block_size=BLOCK, autogenerate_column_names=not header)
    with _stream(path, compression) as source, pcsv.open_csv(source, reading) as reader:
        there = reader.schema.names
    if header:
        _check(path, there, names)
    elif len(there) < len(names):
        raise InputError(f"{path.name} columns", len(there), f"needed are {', '.join(names)}, without a header")
    read = list(names) if header else there[: len(names)]
    # Of the columns that are ignored the bytes are read too: a quote that stays open in one hides the rows behind it.
    every = there if len(set(there)) == len(there) else read
    types = dict.fromkeys(every, pa.binary()) | dict.fromkeys(read, pa.string())
    converting = pcsv.ConvertOptions(column_types=types, include_columns=every, strings_can_be_null=False)
    rows = 0
    with (
        _stream(path, compression) as source,
        pcsv.open_csv(source, reading, convert_options=converting) as reader,
    ):
        for batch in reader:
            _check_lines(path, rows, batch)
            yield [batch.column(name) for name in read]
            rows += batch.num_rows


@contextmanager
def _stream(path: Path, compression: str | None) -> Iterator[Any]:
    """A file's bytes. Opened here, as Arrow takes no name that is not UTF-8."""
    with open(path, "rb") as file, pa.input_stream(file, compression=compression) as stream:
        yield stream


def _check_lines(path: Path, rows_before: int, batch: Any) -> None:
    """Raises InputError for a cell that goes on behind its line's end: a quote that is never closed takes in all rows
    to the file's end, and Arrow does not say so."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        data, _ = buffers(column)
        if (data == _NEWLINE).any():
            row = int(np.argmax(pc.match_substring(column, "\n").to_numpy(zero_copy_only=False)))
            shown = one_line(column[row].as_py()[:_TOLD] if pa.types.is_string(column.type) else "")
            raise InputError(f"{path.name} row {rows_before + row + 1} {one_line(name)}", shown, _OPEN_QUOTE)


def _parquet(path: Path, names: Sequence[str]) -> Iterator[list[Texts]]:
    with open(path, "rb") as source:
        with _rows_of(source) as file:
            _check(path, file.schema_arrow.names, names)
            for name in names:
                _check_type(path, name, file.schema_arrow.field(name).type)
        with _rows_of(source, read_dictionary=list(names)) as file:
            for batch in file.iter_batches(ROWS, columns=list(names)):
                for name in names:
                    _check_cells(path, name, batch.column(name))
        with _rows_of(source) as file:
            for batch in file.iter_batches(ROWS, columns=list(names)):
                found = [_texts(batch.column(name)) for name in names]
                for texts in found:
                    texts.validate(full=True)  # reading does not ask whether texts are UTF-8
                yield found


def _rows_of(source: Any, **options: Any) -> Any:
    return pq.ParquetFile(source, page_checksum_verification=True, **options)


def _check_type(path: Path, name: str, kind: Any) -> None:
    """Raises InputError for a column of lists, records or blocks of bytes: a row of it may be of any size."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    other = (pa.types.is_primitive, pa.types.is_decimal, pa.types.is_null)
    if not any(test(kind) for test in (*texts, *other)):
        told = f"it is of the type {one_line(kind)}: save it as numbers or texts"
        raise InputError(f"{path.name} column", name, told)


def _check_cells(path: Path, name: str, column: Any) -> None:
    """Raises InputError for texts that no tape has: a file holds each once, and one may stand for all rows."""
    if pa.types.is_dictionary(column.type):
        longest = pc.max(pc.binary_length(column.dictionary.cast(pa.string()))).as_py() or 0
        if longest > CELL:
            told = f"a cell holds {longest:,} bytes, more than {CELL:,}: give numbers and short names"
            raise InputError(f"{path.name} column", name, told)


def _texts(column: Any) -> Texts:
    """A column of any type as texts; a decimal in full, where Arrow would write an exponent."""
    if pa.types.is_decimal(column.type) and 0 <= column.type.scale <= MAX_SCALE:
        # 128-bit integers, low word first. What does not fit in 64 bits is no count either and is left to Arrow.
        wide = pc.fill_null(column.cast(pa.decimal128(38, column.type.scale)), 0)
        words = np.frombuffer(wide.buffers()[1], "<i8").reshape(-1, 2)[wide.offset : wide.offset + len(wide)]
        if (words[:, 1] == words[:, 0] >> 63).all():
            written = texts_of(words[:, 0], np.full(len(wide), column.type.scale, np.int64))
            return pc.if_else(column.is_valid(), written, "")
    return pc.fill_null(column.cast(pa.string()), "")


def buffers(texts: Texts) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(bytes, bounds) of a column, as economy.numbers.decimal_columns takes them."""
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), bounds


def texts_of(values: NDArray[np.int64], scales: NDArray[np.int64]) -> Texts:
    """A column of decimals as texts."""
    data, bounds = write(values, scales)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(data))


def given(texts: Texts) -> Mask:
    """Which of the texts are not empty."""
    return pc.binary_length(texts).to_numpy() > 0


def integers(texts: Texts) -> tuple[NDArray[np.int64], Mask]:
    """(values, which of the texts are integers as one writes them: no sign +, no leading zero, no point)."""
    scales = np.zeros(len(texts), np.int64)
    values, faults = parse(*buffers(texts), scales)
    same = pc.equal(texts_of(values, scales), texts).to_numpy(zero_copy_only=False)
    return values, same & (faults == Fault.NONE)


@dataclass
class Faults:
    """The wrong cells of a batch; `check` raises InputError for the first. Rows count from 1, below a header."""

    file: str
    rows_before: int
    _found: list[tuple[int, int, str, object, str]] = field(default_factory=list)

    def add(self, column: str, texts: Texts, wrong: Mask, remedy: str) -> None:
        """Note the first wrong cell of a column."""
        if wrong.any():
            row = int(np.argmax(wrong))
            value = texts[row].as_py()
            shown = value if len(value) <= _TOLD else f"{value[:_TOLD]}…"
            self._found.append((row, len(self._found), column, shown, remedy))

    def decimals(self, column: str, texts: Texts, scales: NDArray[np.int64], needed: Mask) -> NDArray[np.int64]:
        """The cells as counts; those not `needed` may be anything and are 0."""
        values, faults = parse(*buffers(texts), scales)
        wrong = needed & (faults != Fault.NONE)
        if wrong.any():
            row = int(np.argmax(wrong))
            self.add(column, texts, wrong, REMEDY[Fault(int(faults[row]))].format(scale=int(scales[row])))
        return np.where(needed, values, 0)

    def choice(self, column: str, texts: Texts, choices: Sequence[str], needed: Mask) -> NDArray[np.int64]:
        """The cells as positions in `choices`; those not `needed` may be anything and are 0."""
        found = pc.fill_null(pc.index_in(texts, pa.array(choices)), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        self.add(column, texts, needed & (found < 0), f"use one of {', '.join(choices)}")
        return np.where(needed, found, 0)

    def check(self) -> None:
        """Raise InputError for the wrong cell of the earliest row, if there is one."""
        if self._found:
            row, _, column, value, remedy = min(self._found, key=lambda fault: fault[:2])
            raise InputError(f"{self.file} row {self.rows_before + row + 1} {column}", value, remedy)
