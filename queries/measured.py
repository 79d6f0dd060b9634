"""The figures of windows, by stream and by batch: a statement for all that is not remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from economy.measures import LOTS, MEASURE
from queries.loaders import Loaders

Figures = dict[tuple[str, str], int]  # (source, indicator) -> value
Points = list[tuple[int, list[int], list[int]]]  # (item, windows, values), ascending

BLOCK: Final = 100  # windows that are read and remembered together

# Estimated bytes in memory.
_ROW: Final = 1_000
_FIGURE: Final = 150
_POINT: Final = 80


async def figures_of(loaders: Loaders, run: int, names: Sequence[str], first: int, after: int) -> dict[int, Figures]:
    """Window -> (source, indicator) -> value, for indicators without items; `first` windows after `after`."""
    lowest, highest = max(0, after + 1), max(0, after + first)
    blocks = range(lowest // BLOCK, highest // BLOCK + 1) if loaders.place(run) is not None else ()
    if not blocks:
        return await _figures(loaders, run, names, lowest, highest)
    known = await asyncio.gather(*(_block(loaders, run, names, block) for block in blocks))
    return {w: figures for block in known for w, figures in block.items() if lowest <= w <= highest}


async def _block(loaders: Loaders, run: int, names: Sequence[str], block: int) -> dict[int, Figures]:
    return await loaders.remembered(
        run, ("figures", tuple(names), block),
        lambda: _figures(loaders, run, names, BLOCK * block, BLOCK * block + BLOCK - 1),
        lambda found: _ROW + _FIGURE * sum(map(len, found.values())),
    )  # fmt: skip


async def _figures(loaders: Loaders, run: int, names: Sequence[str], lowest: int, highest: int) -> dict[int, Figures]:
    where = (
        "run = {run:Int64} AND item = 0 AND indicator IN {names:Array(String)} "
        "AND window >= {lowest:Int32} AND window <= {highest:Int32}"
    )
    rows = await loaders.rows(
        f"SELECT 'stream' AS source, window, indicator, toString(any(value)) AS value FROM stream_indicators "
        f"WHERE {where} GROUP BY window, indicator UNION ALL "
        f"SELECT 'batch' AS source, window, indicator, toString(argMax(value, computed_at)) AS value "
        f"FROM batch_indicators WHERE {where} GROUP BY window, indicator",
        run=run, lowest=lowest, highest=highest, names=list(names),
    )  # fmt: skip
    found: dict[int, Figures] = {}
    for row in rows:
        found.setdefault(int(row["window"]), {})[row["source"], row["indicator"]] = int(row["value"])
    return dict(sorted(found.items()))


async def series_of(loaders: Loaders, run: int, names: Sequence[str], source: str) -> dict[str, Points]:
    """Indicator -> its series, one for each item; one statement for all that are not remembered."""
    places = {name: loaders.place(run, "series", name, source) for name in names}
    known: dict[str, Points] = {}
    for name, place in places.items():
        points = None if place is None else loaders.memory.get(place)
        if points is not None:
            known[name] = points
    missing = [name for name in names if name not in known]
    if missing:
        known |= await _series(loaders, run, missing, source)
    for name in missing:
        known.setdefault(name, [])
        if places[name] is not None:
            size = _ROW + sum(_ROW + _POINT * len(windows) for _, windows, _ in known[name])
            loaders.memory.put(places[name], known[name], size)
    return {name: known[name] for name in names}


async def _series(loaders: Loaders, run: int, names: Sequence[str], source: str) -> dict[str, Points]:
    table, chosen = {
        "stream": ("stream_indicators", "any(value)"),
        "batch": ("batch_indicators", "argMax(value, computed_at)"),
    }[source]
    rows = await loaders.rows(
        f"SELECT indicator, item, window, toString({chosen}) AS value FROM {table} WHERE run = {{run:Int64}} "
        "AND indicator IN {names:Array(String)} GROUP BY indicator, item, window ORDER BY indicator, item, window",
        run=run, names=list(names),
    )  # fmt: skip
    found: dict[str, Points] = {}
    for row in rows:
        points = found.setdefault(row["indicator"], [])
        if not points or points[-1][0] != int(row["item"]):
            points.append((int(row["item"]), [], []))
        points[-1][1].append(int(row["window"]))
        points[-1][2].append(int(row["value"]))
    return found


async def scales_of(loaders: Loaders, run: int, found: dict[str, Points]) -> dict[tuple[str, int], int]:
    """(indicator, item) -> decimals, for the series that were found. Raises InputError for what is not listed."""
    if any(MEASURE[name].unit == LOTS and points for name, points in found.items()):
        listed = await loaders.scales(run)
        return {(name, item): listed.figure(name, item) for name, points in found.items() for item, _, _ in points}
    return {(name, item): MEASURE[name].scale for name, points in found.items() for item, _, _ in points}
