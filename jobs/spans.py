"""Where the numbers of records lie: per (kind, owner) the lowest and the highest, and whether they rise on the way."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
Columns = tuple[Column, Column, Column, Column, Column]  # kind, owner, low, high, rises
_JOINED: Final = 64  # parts after which they are joined, so that memory does not grow with the records


class Spans:
    """Spans of consecutive records, handed over part by part."""

    def __init__(self) -> None:
        self._parts: list[Columns] = []

    def add(self, kinds: Column, owners: Column, numbers: Column) -> None:
        """Take in the records that follow."""
        if len(numbers):
            self._parts.append(_joined(kinds, owners, numbers, numbers, np.ones(len(numbers), np.bool_)))
        if len(self._parts) >= _JOINED:
            self._parts = [self.columns()]

    def columns(self) -> Columns:
        """One span for each kind and owner. `rises` means: each number is higher than the one before."""
        if not self._parts:
            none = np.empty(0, np.int64)
            return none, none, none, none, none.astype(np.bool_)
        kinds, owners, low, high, rises = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        return _joined(kinds, owners, low, high, rises)


def _joined(kinds: Column, owners: Column, low: Column, high: Column, rises: Column) -> Columns:
    """Spans that follow each other, joined by kind and owner: they rise where each does and begins above the last."""
    order = np.lexsort((np.arange(len(low)), owners, kinds))
    kinds, owners, low, high, rises = (column[order] for column in (kinds, owners, low, high, rises))
    other = np.append(True, (owners[1:] != owners[:-1]) | (kinds[1:] != kinds[:-1]))
    first = np.flatnonzero(other)
    last = np.append(first[1:], len(owners)) - 1
    rises = rises & (other | np.append(True, low[1:] > high[:-1]))
    return kinds[first], owners[first], low[first], high[last], np.logical_and.reduceat(rises, first)
