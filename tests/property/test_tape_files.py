"""A tape's file, sound and damaged: it is read, or refused in one line; never a traceback, never read wrongly where a
checksum tells."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from economy.errors import InputError
from runs.tapes.columns import BLOCK
from runs.tapes.lobster import read_tape
from runs.tapes.table import COLUMNS, Scales, TableTape
from tests.tapes import SYMBOLS, random_rows

SCALES = Scales({s: p for s, (p, _) in SYMBOLS.items()}, {s: q for s, (_, q) in SYMBOLS.items()})
ROWS = random_rows(11, 40)
CSV = "\n".join([",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in ROWS), ""]).encode()
LOBSTER = (
    b"34200.1,1,11,50,5853300,1\n34200.2,4,11,20,5853300,1\n34200.3,2,11,10,5853300,1\n34200.4,3,11,20,5853300,1\n"
)


def _parquet(**options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: [row[name] for row in ROWS] for name in COLUMNS}), sink, **options)
    return bytes(sink.getvalue())


def _packed(codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(CSV)
    return bytes(sink.getvalue())


TAPES = {
    "csv": CSV,
    "gzip": gzip.compress(CSV, mtime=0),
    "bz2": bz2.compress(CSV),
    "zstd": _packed("zstd"),
    "lz4": _packed("lz4"),
    "parquet": _parquet(write_page_checksum=True),
    "parquet without checksums": _parquet(compression="none", use_dictionary=False),
}


def records(path: Path) -> list[bytes]:
    return [
        part.tobytes() for batch in TableTape(path, SCALES).flow().batches for part in (batch.orders, batch.cancels)
    ]


def refused(read: Callable[[], object]) -> str:
    """The error's line, "" where the file was read."""
    try:
        read()
    except InputError as error:
        line = str(error)
        assert line.isprintable(), line
        assert len(line) < 1000
        return line
    return ""


@st.composite
def damage(draw: st.DrawFn, sound: bytes) -> bytes:
    """The file with a few bytes changed, cut out, put in, or its end cut off."""
    found = bytearray(sound)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                found[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case 1:
                del found[at : at + draw(st.integers(1, 20))]
            case 2:
                found[at:at] = draw(st.binary(min_size=1, max_size=20))
            case _:
                del found[at:]
    return bytes(found)


@pytest.mark.parametrize("kind", TAPES)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_a_damaged_tape_is_read_or_refused_in_one_line(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "tape"
    path.write_bytes(data.draw(damage(TAPES[kind])))
    refused(lambda: records(path))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(damage(LOBSTER))
def test_a_damaged_message_file_is_read_or_refused_in_one_line(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "AAPL"
    path.write_bytes(damaged)
    refused(lambda: read_tape(path))


@pytest.mark.parametrize("kind", ["gzip", "bz2"])
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_what_is_compressed_is_read_as_it_was_or_refused(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    """Both formats end with a checksum: whatever is changed, cut off or put in, the rows are those or none."""
    path, plain = tmp_path / "tape.csv", tmp_path / "plain.csv"
    plain.write_bytes(CSV)
    path.write_bytes(data.draw(damage(TAPES[kind])))
    assert refused(lambda: records(path)) or records(path) == records(plain)


@pytest.mark.parametrize("kind", TAPES)
def test_a_file_is_what_it_begins_as_whatever_its_name(kind: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(CSV)
    for name in ("tape", "tape.csv", "tape.csv.gz", "tape.parquet", "tape.bz2"):
        (tmp_path / name).write_bytes(TAPES[kind])
        assert records(tmp_path / name) == records(plain)


def _page_flipped() -> bytes:
    """A bit of the last page's data, so that the file is sound but for the page's checksum."""
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    sound = bytearray(_parquet(write_page_checksum=True, **plain))
    sound[sound.rindex(ROWS[-1]["agent"].encode())] ^= 1
    return bytes(sound)


def _texts_not_utf8() -> bytes:
    found = {name: [row[name].encode() for row in ROWS] for name in COLUMNS}
    found["order"][3] = b"\xff\xfe"
    sink = pa.BufferOutputStream()
    binary = {name: pa.array(values, pa.binary()) for name, values in found.items()}
    texts = {name: pa.Array.from_buffers(pa.string(), len(ROWS), value.buffers()) for name, value in binary.items()}
    pq.write_table(pa.table(texts), sink)
    return bytes(sink.getvalue())


HEADER = CSV[: CSV.index(b"\n")]
# With a column that is ignored, empty but in the last row, where a quote closes what others open.
NOTED = (HEADER + b",note" + CSV[len(HEADER) : -1].replace(b"\n", b",\n").replace(b",\n", b"\n", 1)) + b',"\n'


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ((HEADER + b",H\xe4ndler" + CSV[len(HEADER) :].replace(b"\n", b",\n")).replace(b"ler,", b"ler"), "not UTF-8"),
        (CSV.replace(b"DOGE", b"D\xd6GE"), "UTF8"),
        (CSV.decode().encode("utf-16"), "UTF-16"),
        (gzip.compress(CSV)[:-9], "Truncated"),
        (gzip.compress(CSV)[:2], "Truncated"),
        (gzip.compress(CSV)[:-8] + bytes(8), "check"),
        (bz2.compress(CSV)[:-4], "Truncated"),
        (TAPES["zstd"][:-4], "Truncated"),
        (TAPES["lz4"][:-4], "Truncated"),
        (b"PK\x03\x04" + bytes(50), "ZIP"),
        (b"\xfd7zXZ\0" + bytes(50), "xz"),
        (TAPES["parquet"][:-20], "Parquet"),
        (TAPES["parquet"][:-1] + b"2", "Parquet"),
        (_page_flipped(), "CRC"),
        (_texts_not_utf8(), "UTF8"),
        (CSV + b"x" * (2 * BLOCK), "longer than 4 MiB"),
        (bytes(500), "Parquet"),
        (b"\x1b[31m" + CSV, "missing"),
        (CSV.replace(b"cancel,,,,,,", b'cancel,,,,,,"', 1), "close the quote"),
        (NOTED.replace(b",\n", b',"x\n', 1), "close the quote"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "tape.csv"
    path.write_bytes(content)
    assert word in refused(lambda: records(path))


@pytest.mark.parametrize(
    "kind", [pa.null(), pa.list_(pa.int64()), pa.binary(), pa.timestamp("us"), pa.decimal256(50, 3)]
)
def test_a_column_of_any_type_is_read_or_refused(kind: pa.DataType, tmp_path: Path) -> None:
    for column in COLUMNS:
        table = pa.table({name: [row[name] for row in ROWS] for name in COLUMNS})
        table = table.set_column(COLUMNS.index(column), column, pa.nulls(len(ROWS), kind))
        pq.write_table(table, tmp_path / "tape")
        refused(lambda: records(tmp_path / "tape"))


def test_a_parquet_file_of_no_rows_is_told_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({name: pa.array([], pa.decimal128(9, 2)) for name in COLUMNS}), tmp_path / "tape")
    assert "no rows" in refused(lambda: records(tmp_path / "tape"))


@pytest.mark.parametrize("size", range(20))
def test_an_empty_or_tiny_file_is_refused(size: int, tmp_path: Path) -> None:
    for sound in TAPES.values():
        (tmp_path / "tape").write_bytes(sound[:size])
        assert refused(lambda: records(tmp_path / "tape"))


def test_a_file_may_have_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"D\xf6ge.csv")
    for name in ("csv", "gzip", "parquet"):
        path.write_bytes(TAPES[name])
        assert records(path)
        assert TableTape(path, SCALES).flow().name == "D\ufffdge.csv"
    path.write_bytes(LOBSTER)
    assert read_tape(path).instrument.symbol == "D\ufffdge"
