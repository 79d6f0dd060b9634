"""Copies of the records of closed runs, in which a record by its key and a page are found without a statement.

ClickHouse plans for milliseconds before it reads a row, and a page of trades with their orders and decisions is three
statements. Once the records of a run that never changes again are asked for often, they are read once, in the order of
their key, as rows of packed integers (RowBinary), into a file that is mapped into memory: the system keeps in memory
what is used of it. Processes that serve the same tables share the files of their folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from economy.errors import EscapeError
from queries.memory import LARGEST, Bounded
from queries.policy import Scope
from queries.reader import Reader
from queries.records import Row
from schemas.clickhouse import TABLES, Table
from schemas.files import replacing

log = logging.getLogger("escape.queries")

COPIED: Final[Mapping[str, Table]] = {
    TABLES[name].name: TABLES[name] for name in ("TradeExecuted", "OrderSubmitted", "AgentDecided", "BookUpdated")
}
OFTEN: Final = 8  # statements about one table of a run after which it is copied
_AGAIN: Final = 10_000  # statements after which a copy that failed or is too large is tried again
_PLACES: Final = 10_000  # tables of runs that are counted or copied at once
_COUNTED: Final = 100  # estimated bytes of a count
_FIRST: Final = 80  # bytes of an entry of its index
_SHARE: Final = 2  # of the free disk, at most one part in so many
_KINDS: Final = (
    "UInt8",
    "Int8",
    "UInt16",
    "Int16",
    "UInt32",
    "Int32",
    "Int64",
)  # ClickHouse's names, the smallest first
_SUFFIX: Final = ".copy.npy"


class CopyError(EscapeError):
    """A copy could not be made; the message says why."""


class Copy:
    """The records of one table and run.

    `rows` is a structured array, shape (records,), ascending by the table's key, whose fields are its columns.
    """

    def __init__(self, table: Table, rows: NDArray[np.void]) -> None:
        self.rows = rows
        self._columns = [rows[key] for key in table.identity[1:]]
        # Where the first part of the key changes: a list is searched faster than a column of the file.
        firsts, starts = np.unique(self._columns[0], return_index=True)
        self._firsts, self._starts = firsts.tolist(), [*starts.tolist(), len(rows)]
        self._names = rows.dtype.names or ()
        symbols = {f.name: f.symbols for f in table.columns}
        self._texts = [(name, symbols[name]) for name in self._names if symbols[name]]

    @property
    def size(self) -> int:
        """Bytes of the file and in memory."""
        return self.rows.nbytes + _FIRST * len(self._firsts)

    def find(self, key: Sequence[int]) -> Row | None:
        """The record of a key, None when there is none."""
        start, end = self._range(key)
        return self._row(start) if start < end else None

    def page(self, prefix: Sequence[int], after: Sequence[int] | None, limit: int) -> list[Row]:
        """Up to `limit` records whose key begins with `prefix` and is larger than the key `after`."""
        start, end = self._range(prefix)
        if after is not None:
            start = max(start, self._range(after)[1])
        return [self._row(at) for at in range(start, min(end, start + limit))]

    def between(self, prefix: Sequence[int], low: int, high: int) -> NDArray[np.void]:
        """The records whose key begins with `prefix` and goes on with low <= part < high, with enums as numbers."""
        start, end = self._range(prefix)
        part = self._columns[len(prefix)]
        start = bisect_left(part, low, start, end)
        return self.rows[start : bisect_left(part, high, start, end)]

    def _range(self, key: Sequence[int]) -> tuple[int, int]:
        """From where to where keys begin with this one; where they would stand if there are none."""
        if not key:
            return 0, len(self.rows)
        at = bisect_left(self._firsts, key[0])
        start = self._starts[at]
        end = self._starts[at + 1] if at < len(self._firsts) and self._firsts[at] == key[0] else start
        for column, value in zip(self._columns[1:], key[1:], strict=False):
            start = bisect_left(column, value, start, end)
            end = bisect_right(column, value, start, end)
        return start, end

    def _row(self, at: int) -> Row:
        row = dict(zip(self._names, self.rows[at].item(), strict=True))
        for name, symbols in self._texts:
            row[name] = symbols[row[name]]
        return row


class Copies:
    """Copies by place: scope, run, digest and table. The least recently used goes first."""

    def __init__(self, reader: Reader, folder: Path | None, size: int, often: int = OFTEN) -> None:
        """`size` bounds the bytes of the folder and of what this process maps; without a folder nothing is copied."""
        self._reader = reader
        self._folder = folder
        self._size = size
        self._often = often
        self._known: Bounded[Hashable, Copy] = Bounded(_PLACES, size)
        self._asked: Bounded[Hashable, int] = Bounded(_PLACES, _PLACES * _COUNTED)
        self._making: dict[Hashable, asyncio.Task[None]] = {}
        self._one = asyncio.Semaphore(1)  # at a time: queries go on meanwhile

    def get(self, scope: Scope, run: int, digest: str, table: str) -> Copy | None:
        """The copy; None while there is none. Must be called for every statement that it would have spared."""
        if self._folder is None or table not in COPIED:
            return None
        place = scope, run, digest, table
        known = self._known.get(place)
        if known is None and place not in self._making:
            asked = (self._asked.get(place) or 0) + 1
            self._asked.put(place, asked, _COUNTED)
            if asked >= self._often:
                told = sha256(f"{scope}\0{digest}".encode()).hexdigest()[:32]
                path = self._folder / f"{run}-{told}-{table}{_SUFFIX}"
                making = self._make(place, run, COPIED[table], path)
                self._making[place] = asyncio.get_running_loop().create_task(making)
        return known

    async def settled(self) -> None:
        """Wait until none is being made."""
        while self._making:
            await asyncio.wait(self._making.values())

    def report(self) -> dict[str, int]:
        """How many there are, their bytes, and how many are being made."""
        return {"copies": len(self._known), "bytes": self._known.bytes, "making": len(self._making)}

    async def _make(self, place: Hashable, run: int, table: Table, path: Path) -> None:
        try:
            async with self._one:
                copy = await asyncio.to_thread(read_copy, self._reader, run, table, path, self._size)
            self._known.put(place, copy, copy.size)
            self._asked.drop(place)
        except (EscapeError, OSError) as error:
            log.warning("%s of run %d stay in ClickHouse alone: %s", table.name, run, error)
            self._asked.put(place, self._often - _AGAIN, _COUNTED)
        finally:
            del self._making[place]


@contextmanager
def emptied(folder: Path | None) -> Iterator[None]:
    """Make the folder; remove the copies in it now and in the end. Processes that have one mapped keep it."""

    def empty(folder: Path) -> None:
        for left in folder.glob(f"*{_SUFFIX}*"):
            left.unlink(missing_ok=True)

    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    empty(folder)
    try:
        yield
    finally:
        empty(folder)


def read_copy(reader: Reader, run: int, table: Table, path: Path, room: int) -> Copy:
    """The copy that lies at `path`; made first, of a run that does not change meanwhile, where there is none.

    The folder's files have `room` bytes; those that were read longest ago make place. Raises CopyError when the records
    are more than a quarter of that, would fill the disk, or do not come whole.
    """
    with _alone(path.parent):
        if not path.exists():
            with replacing(path, durable=False) as file:
                _write(reader, run, table, file, shutil.disk_usage(path.parent).free, room // LARGEST)
        os.utime(path)
        _trim(path.parent, room)
        return Copy(table, np.asarray(np.load(path, mmap_mode="r")))


def _write(reader: Reader, run: int, table: Table, file: BinaryIO, free: int, largest: int) -> None:
    names = [f.name for f in table.event.fields]
    columns = [f"{table.name}.`{name}`" for name in names]
    source = f"FROM {table.name} FINAL WHERE {table.name}.run = {{run:Int64}}"
    lowest, highest = (", ".join(f"{of}(CAST({c} AS Int64))" for c in columns) for of in ("min", "max"))
    extent = f"SELECT count() AS records, [{lowest}] AS lowest, [{highest}] AS highest {source}"
    told = reader.rows(extent, {"run": run})[0]
    kinds = [_kind(int(low), int(high)) for low, high in zip(told["lowest"], told["highest"], strict=True)]
    shape = np.dtype([(name, kind.lower()) for name, kind in zip(names, kinds, strict=True)])
    records = int(told["records"])
    size = records * shape.itemsize
    if size > min(largest, free // _SHARE):
        raise CopyError(f"{records} records are {size} bytes; a copy may have {largest}, and the disk has {free}")
    packed = ", ".join(f"CAST({c} AS {kind})" for c, kind in zip(columns, kinds, strict=True))
    order = ", ".join(f"{table.name}.`{key}`" for key in table.identity[1:])
    header = {"descr": shape.descr, "fortran_order": False, "shape": (records,)}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]  # numpy gives it no types
    before = file.tell()
    for piece in reader.packed(f"SELECT {packed} {source} ORDER BY {order}", {"run": run}):
        file.write(piece)
    if file.tell() - before != size:
        raise CopyError(f"{file.tell() - before} bytes came instead of {size}")


def _trim(folder: Path, room: int) -> None:
    """Remove the files that were read longest ago; processes that have one mapped keep it."""
    newest = sorted(((path.stat(), path) for path in folder.glob(f"*{_SUFFIX}")), key=lambda of: -of[0].st_mtime_ns)
    for status, path in newest:
        room -= status.st_size
        if room < 0:
            path.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _kind(lowest: int, highest: int) -> str:
    """The smallest type of integers for values of a range."""
    limits = ((kind, np.iinfo(kind.lower())) for kind in _KINDS)
    return next(kind for kind, limit in limits if limit.min <= lowest and highest <= limit.max)
