"""Order books as they stood: a checkpoint, and the changes of levels since.

BookUpdated gives the new total of a level, so a book is the newest total of every level up to a tick. For a run that
never changes again, books at every CHANGES-th number of the instrument's output are remembered, each built from the one
before, and so are the changes behind them as columns; a book at any tick of such a stretch then needs no statement.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.records.events import Side
from queries.loaders import Loaders
from schemas.clickhouse import TABLES

CHANGES: Final = 20_000
_LEVEL: Final = 200  # estimated bytes of a level, and of an entry of the index
BUY, SELL = "buy", "sell"
TABLE: Final = TABLES["BookUpdated"]
_LAST: Final = 2**63 - 1

Levels = dict[tuple[str, int], int]  # (side, price) -> quantity, none of 0


@dataclass(frozen=True)
class Stretch:
    """Changes of levels as columns, the newest first. Levels are 2 x price, + 1 of the buying side."""

    ticks: NDArray[np.int64]
    levels: NDArray[np.int64]
    quantities: NDArray[np.int64]

    @classmethod
    def of(cls, row: Any) -> Stretch:
        """From one row of lists in the order of seq."""
        columns = (np.array(row[name][::-1], np.int64) for name in ("ticks", "levels", "quantities"))
        return cls(*columns)

    @classmethod
    def copied(cls, rows: NDArray[np.void]) -> Stretch:
        """From records of a copy in the order of seq."""
        newest = rows[::-1]
        levels = 2 * newest["price"].astype(np.int64) + (newest["side"] == Side.BUY)
        return cls(newest["tick"].astype(np.int64), levels, newest["quantity"].astype(np.int64))

    def until(self, tick: int) -> Levels:
        """The newest totals of the levels that changed up to and with a tick, 0 included."""
        known = self.ticks <= tick
        levels, newest = np.unique(self.levels[known], return_index=True)
        rest = self.quantities[known][newest]
        return {
            (BUY if level & 1 else SELL, level >> 1): quantity
            for level, quantity in zip(levels.tolist(), rest.tolist(), strict=True)
        }

    def size(self) -> int:
        """Bytes in memory."""
        return _LEVEL + self.ticks.nbytes + self.levels.nbytes + self.quantities.nbytes


async def book_at(loaders: Loaders, run: int, instrument: int, tick: int, changes: int = CHANGES) -> Levels:
    """The levels of a book behind all changes up to and with `tick`."""
    if loaders.place(run) is None:
        return _standing({}, await _changes(loaders, run, instrument, 0, None, tick))
    index = await loaders.remembered(
        run, ("book index", instrument, changes), lambda: _index(loaders, run, instrument, changes),
        lambda found: _LEVEL * (1 + len(found)),
    )  # fmt: skip
    at = bisect_right([first for _, first in index], tick) - 1
    if at < 0:
        return {}
    before = await _checkpoint(loaders, run, instrument, index, at, changes)
    part = index[at][0]
    stretch = await loaders.remembered(
        run, ("book changes", instrument, changes, part),
        lambda: _stretch(loaders, run, instrument, part * changes, (part + 1) * changes), Stretch.size,
    )  # fmt: skip
    return _standing(before, stretch.until(tick))


async def _index(loaders: Loaders, run: int, instrument: int, changes: int) -> list[tuple[int, int]]:
    """Ascending: (part of the instrument's output that has changes of levels, the first tick in it)."""
    copy = loaders.copy(run, TABLE.name)
    if copy is not None:
        found = copy.between([instrument], 0, _LAST)
        parts, starts = np.unique(found["seq"] // changes, return_index=True)
        firsts = np.minimum.reduceat(found["tick"], starts) if len(starts) else starts
        return list(zip(parts.tolist(), firsts.tolist(), strict=True))
    rows = await loaders.rows(
        "SELECT intDiv(seq, {changes:Int64}) AS part, min(tick) AS first FROM book_updated WHERE run = {run:Int64} "
        "AND instrument = {instrument:Int64} GROUP BY part ORDER BY part",
        run=run, instrument=instrument, changes=changes,
    )  # fmt: skip
    return [(int(row["part"]), int(row["first"])) for row in rows]


async def _checkpoint(
    loaders: Loaders, run: int, instrument: int, index: list[tuple[int, int]], at: int, changes: int
) -> Levels:
    """The book before part index[at], from the nearest one before it that is remembered."""
    end = index[at][0] * changes
    known, start = {}, 0
    for part, _ in reversed(index[: at + 1]):
        place = loaders.place(run, "book", instrument, changes, part)
        found: Levels | None = None if place is None else loaders.memory.get(place)
        if found is not None:
            known, start = found, part * changes
            break
    if start == end or at == 0:
        return known

    async def load() -> Levels:
        return _standing(known, await _changes(loaders, run, instrument, start, end, None))

    return await loaders.remembered(
        run, ("book", instrument, changes, index[at][0]), load, lambda found: _LEVEL * (1 + len(found))
    )


async def _stretch(loaders: Loaders, run: int, instrument: int, start: int, end: int) -> Stretch:
    """The changes in start <= seq < end: one row of lists costs a fraction of a row for each."""
    copy = loaders.copy(run, TABLE.name)
    if copy is not None:
        return Stretch.copied(copy.between([instrument], start, end))
    rows = await loaders.rows(
        "SELECT groupArray(tick) AS ticks, groupArray(2 * price + (side = {buy:String})) AS levels, "
        "groupArray(quantity) AS quantities FROM (SELECT tick, price, side, quantity FROM book_updated "
        "WHERE run = {run:Int64} AND instrument = {instrument:Int64} AND seq >= {start:Int64} AND seq < {end:Int64} "
        "ORDER BY seq)",
        run=run, instrument=instrument, start=start, end=end, buy=BUY,
    )  # fmt: skip
    return Stretch.of(rows[0])


async def _changes(
    loaders: Loaders, run: int, instrument: int, start: int, end: int | None, tick: int | None
) -> Levels:
    """The newest totals of the levels that changed, 0 included, in start <= seq < end up to a tick."""
    copy = loaders.copy(run, TABLE.name)
    if copy is not None:
        found = Stretch.copied(copy.between([instrument], start, _LAST if end is None else end))
        return found.until(_LAST if tick is None else tick)
    clauses, parameters = ["seq >= {start:Int64}"], {"start": start}
    if end is not None:
        clauses.append("seq < {end:Int64}")
        parameters["end"] = end
    if tick is not None:
        clauses.append("tick <= {tick:Int64}")
        parameters["tick"] = tick
    rows = await loaders.rows(
        "SELECT toString(side) AS side, price, argMax(quantity, seq) AS rest FROM book_updated WHERE run = {run:Int64} "
        f"AND instrument = {{instrument:Int64}} AND {' AND '.join(clauses)} GROUP BY side, price",
        run=run, instrument=instrument, **parameters,
    )  # fmt: skip
    return {(row["side"], int(row["price"])): int(row["rest"]) for row in rows}


def _standing(before: Levels, changed: Levels) -> Levels:
    return {level: rest for level, rest in {**before, **changed}.items() if rest > 0}


def best(levels: Levels, side: str, depth: int) -> list[tuple[int, int]]:
    """(price, quantity) of the best levels of a side: bids from the highest price down, asks from the lowest up."""
    found = sorted((price, quantity) for (of, price), quantity in levels.items() if of == side)
    return (found[::-1] if side == BUY else found)[:depth]
