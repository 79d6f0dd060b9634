"""Output of a partition that is on the log already, against which a replay compares what it makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.errors import NonDeterministicError, ProtocolError
from economy.records import events as e
from economy.records.events import Events, Rows

_MATCHED, _SEALED = -1, -2  # stand where market output has its instrument, which is never negative
_REMEDY: Final = "the run cannot go on; compare the workers' code and lock files"


def identities(name: str, rows: Rows) -> Rows:
    """(rows, 3): what makes output records the same. All market output of an instrument shares one sequence."""
    if name == e.EpochMatched.name:
        return np.column_stack((rows[:, 0], np.full(len(rows), _MATCHED), rows[:, e.EpochMatched.EPOCH]))
    if name == e.ChainSealed.name:
        return np.column_stack((rows[:, 0], _SEALED - rows[:, e.ChainSealed.SCOPE], rows[:, e.ChainSealed.ID]))
    return rows[:, :3]


@njit(cache=True)
def _search(known: Rows, wanted: Rows) -> NDArray[np.int64]:
    """Position in `known`, which is sorted by all three columns, of each wanted identity; -1 = not there."""
    out = np.empty(wanted.shape[0], np.int64)
    for i in range(wanted.shape[0]):
        a, b, c = wanted[i, 0], wanted[i, 1], wanted[i, 2]
        low, high = 0, known.shape[0]
        while low < high:
            mid = (low + high) // 2
            x, y, z = known[mid, 0], known[mid, 1], known[mid, 2]
            if x < a or (x == a and (y < b or (y == b and z < c))):
                low = mid + 1
            else:
                high = mid
        found = low < known.shape[0] and known[low, 0] == a and known[low, 1] == b and known[low, 2] == c
        out[i] = low if found else -1
    return out


class Tail:
    """Records by identity. Raises ProtocolError when two different ones share an identity."""

    def __init__(self, parts: Iterable[Events]) -> None:
        by_name: dict[str, list[Rows]] = {}
        for part in parts:
            for name, rows in part.items():
                by_name.setdefault(name, []).append(rows)
        self._names = list(by_name)
        self._rows = [np.concatenate(rows) for rows in by_name.values()]
        none = np.empty((0, 3), np.int64)
        ids = np.concatenate([none, *map(identities, self._names, self._rows)])
        kind = np.concatenate([none[:, 0], *(np.full(len(rows), k) for k, rows in enumerate(self._rows))])
        place = np.concatenate([none[:, 0], *(np.arange(len(rows)) for rows in self._rows)])
        order = np.lexsort((ids[:, 2], ids[:, 1], ids[:, 0]))
        self._ids, self._kind, self._place = ids[order], kind[order], place[order]
        for at in np.flatnonzero((self._ids[1:] == self._ids[:-1]).all(1)).tolist():
            one, other = self._record(at), self._record(at + 1)
            if one != other:
                raise ProtocolError(f"the log holds two different records, {one} and {other}", "verify the run")

    def __len__(self) -> int:
        return len(self._ids)

    def _record(self, at: int) -> tuple[str, list[int]]:
        kind = int(self._kind[at])
        return self._names[kind], self._rows[kind][self._place[at]].tolist()

    def new(self, name: str, rows: Rows) -> NDArray[np.bool_]:
        """Which rows are not on the log yet. Raises NonDeterministicError when the log has another in the place of one.

        rows: (records, fields) of one record type.
        """
        at = _search(self._ids, np.ascontiguousarray(identities(name, rows)))
        known = np.flatnonzero(at >= 0)
        if len(known):
            found = at[known]
            same = np.zeros(len(found), np.bool_)
            if name in self._names:
                number = self._names.index(name)
                same = self._kind[found] == number
                same[same] = (self._rows[number][self._place[found[same]]] == rows[known[same]]).all(1)
            if not same.all():
                wrong = int(np.argmin(same))
                raise NonDeterministicError(
                    f"replaying made {name} {rows[known[wrong]].tolist()} where the log has "
                    f"{self._record(int(found[wrong]))}", _REMEDY,
                )  # fmt: skip
        return at < 0
