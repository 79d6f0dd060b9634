"""Sorting more rows than fit in memory: sorted segments in a temporary file, merged block by block."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from economy.errors import NonDeterministicError, SetupError
from economy.records.events import Rows
from schemas.closing import Closing

SEGMENT_ROWS: Final = 1 << 18
MERGE_ROWS: Final = 1 << 18  # rows of all segments together that are in memory while they are merged
_LEAST: Final = 256


class ExternalSort(Closing):
    """Collects int64 rows of one width, then gives them back sorted by some columns, each key once.

    Repeats of a key must be equal but for the first column, the run (a fork's ancestors differ in it). Use it as a
    context manager: the temporary file in `folder` is gone at its end.
    """

    def __init__(self, keys: Sequence[int], width: int, folder: Path) -> None:
        self.keys, self.width = tuple(keys), width
        self._folder = folder
        self._file: BinaryIO | None = None
        self._segments: list[tuple[int, int]] = []  # (first row in the file, rows)
        self._waiting: list[Rows] = []
        self._rows = 0

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def add(self, rows: Rows) -> None:
        """Take in rows in any order. Raises SetupError when the temporary file cannot be written."""
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= SEGMENT_ROWS:
            self._spill()

    def _sorted(self, parts: Sequence[Rows]) -> Rows:
        """The rows in order, without repeats. Raises NonDeterministicError when one key has two contents."""
        rows = np.concatenate([np.empty((0, self.width), np.int64), *parts])
        rows = rows[np.lexsort([rows[:, key] for key in reversed(self.keys)])]
        keys = rows[:, self.keys]
        same = (keys[1:] == keys[:-1]).all(1)
        differs = same & (rows[1:, 1:] != rows[:-1, 1:]).any(1)
        if differs.any():
            at = int(np.argmax(differs))
            raise NonDeterministicError(
                f"two records share an identity but differ: {rows[at].tolist()} and {rows[at + 1].tolist()}",
                "verify the run",
            )
        return rows[np.r_[True, ~same][: len(rows)]]

    def _spill(self) -> None:
        rows = self._sorted(self._waiting)
        first = sum(count for _, count in self._segments)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by __exit__
            self._file.seek(first * self.width * 8)
            self._file.write(rows.tobytes())
            self._file.flush()
        except OSError as error:
            what = f"{self._folder}: what is sorted cannot be put aside there: {error.strerror}"
            raise SetupError(what, "make room, or choose another folder") from error
        self._segments.append((first, len(rows)))
        self._waiting, self._rows = [], 0

    def sorted(self) -> Iterator[Rows]:
        """All rows in order, in blocks."""
        if self._file is None:
            rows = self._sorted(self._waiting)
            if len(rows):
                yield rows
            return
        if self._rows:
            self._spill()
        yield from self._merge()

    def _read(self, first: int, count: int) -> Rows:
        assert self._file is not None
        self._file.seek(first * self.width * 8)
        data = self._file.read(count * self.width * 8)
        return np.frombuffer(data, np.int64).reshape(-1, self.width)

    def _merge(self) -> Iterator[Rows]:
        """What all segments have up to the least of their blocks' last keys is complete, and is given out."""
        size = max(_LEAST, MERGE_ROWS // len(self._segments))
        left = [(first, count) for first, count in self._segments]  # not yet in memory
        blocks: list[Rows] = [np.empty((0, self.width), np.int64) for _ in left]
        while True:
            for i, (first, count) in enumerate(left):
                if count and not len(blocks[i]):
                    taken = min(size, count)
                    blocks[i], left[i] = self._read(first, taken), (first + taken, count - taken)
            limits = [tuple(blocks[i][-1, self.keys].tolist()) for i, (_, count) in enumerate(left) if count]
            cuts = [self._upto(block, min(limits)) if limits else len(block) for block in blocks]
            rows = self._sorted([block[:cut] for block, cut in zip(blocks, cuts, strict=True)])
            if not len(rows):
                return
            yield rows
            blocks = [block[cut:] for block, cut in zip(blocks, cuts, strict=True)]

    def _upto(self, block: Rows, limit: tuple[int, ...]) -> int:
        """Number of leading rows whose key is at most the limit."""
        below: NDArray[np.bool_] = np.zeros(len(block), np.bool_)
        equal = np.ones(len(block), np.bool_)
        for key, bound in zip(self.keys, limit, strict=True):
            below |= equal & (block[:, key] < bound)
            equal &= block[:, key] == bound
        return int((below | equal).sum())
