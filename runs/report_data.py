"""What a report is made of, read from the tables: one statement per kind of figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from economy.calendar import PHASES
from economy.errors import UnknownRunError
from queries.loaders import RUN_COLUMNS
from queries.reader import Reader
from queries.records import Row
from runs.calibrate import QUARTERS, Array, Macro

BUCKETS: Final = 240  # points of a price chart
BOOK_TIMES: Final = 4  # books per instrument, one from each quarter of the run
SHOWN: Final = 3  # instruments that are shown with a book
Key = tuple[str, int]


@dataclass(frozen=True)
class Figures:
    """Indicators of one source: (name, item) -> one value per window, None where it is missing."""

    windows: list[int]
    values: dict[Key, list[int | None]]

    def get(self, name: str, item: int = 0) -> list[int | None]:
        """A series; all missing when it was not measured."""
        return self.values.get((name, item), [None] * len(self.windows))

    def array(self, name: str, item: int = 0, unit: float = 1.0) -> Array:
        """A series as numbers in a unit; not a number where it is missing."""
        return np.array([np.nan if v is None else v / unit for v in self.get(name, item)], dtype=np.float64)


@dataclass(frozen=True)
class Candle:
    """Prices and volume of an instrument in one interval."""

    tick: int
    price: float  # volume-weighted, in the currency
    volume: float  # in whole units


@dataclass(frozen=True)
class Book:
    """A book at a tick: (price, quantity) of both sides, best first, in the currency and in whole units."""

    tick: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


@dataclass(frozen=True)
class RunData:
    """Everything that a report shows."""

    run: Row
    scenario: dict[str, Any]
    stream: Figures
    batch: Figures
    instruments: Mapping[int, Row]
    candles: dict[int, list[Candle]]
    books: dict[int, list[Book]]
    tape: Row | None
    jobs: Sequence[Row]
    trades: int

    def macro(self) -> Macro | None:
        """The run's aggregates as the scorecard wants them; None when there are none."""
        get = self.stream.array
        if not self.stream.windows or np.isnan(get("gdp_real")).any():
            return None
        deflator = get("gdp_expenditure") / get("gdp_real")
        prices = get("consumer_price_index", unit=1e9)
        return Macro(
            get("gdp_real"), get("consumption") / prices, get("investment") / deflator, prices,
            get("unemployment", unit=1e9),
        )  # fmt: skip

    @property
    def year_ticks(self) -> int:
        """Ticks of a year, 0 for a run without a calendar."""
        rounds = int(self.scenario.get("calendar", {}).get("rounds", 0))
        return int(self.run["epoch_ticks"]) * PHASES * rounds * QUARTERS

    @property
    def equities(self) -> list[int]:
        """Listed shares and whatever else is neither a good nor a service."""
        return [i for i, row in self.instruments.items() if row["instrument_class"] in ("equity", "currency")]


def _figures(reader: Reader, table: str, run: int) -> Figures:
    chosen = "any(value)" if table == "stream_indicators" else "argMax(value, computed_at)"
    rows = reader.rows(
        f"SELECT indicator, item, window, toString({chosen}) AS value FROM {table} WHERE run = {{run:Int64}} "
        "AND window >= 0 GROUP BY indicator, item, window",
        {"run": run},
    )
    windows = sorted({int(row["window"]) for row in rows})
    place = {window: i for i, window in enumerate(windows)}
    values: dict[Key, list[int | None]] = {}
    for row in rows:
        series = values.setdefault((row["indicator"], int(row["item"])), [None] * len(windows))
        series[place[int(row["window"])]] = int(row["value"])
    return Figures(windows, values)


def _candles(reader: Reader, run: int, instruments: Mapping[int, Row], chosen: list[int], width: int) -> Any:
    found: dict[int, list[Candle]] = {i: [] for i in chosen}
    rows = reader.rows(
        "SELECT instrument, intDiv(tick, {width:Int64}) * {width:Int64} AS at, "
        "sum(toInt128(price) * quantity) / sum(quantity) AS price, toInt64(sum(quantity)) AS volume "
        "FROM trade_executed FINAL WHERE run = {run:Int64} GROUP BY instrument, at ORDER BY instrument, at",
        {"run": run, "width": max(1, width)},
    )
    for row in rows:
        number = int(row["instrument"])
        if number in found:
            listing = instruments[number]
            price = float(row["price"]) / 10 ** int(listing["price_scale"])
            volume = int(row["volume"]) / 10 ** int(listing["quantity_scale"])
            found[number].append(Candle(int(row["at"]), price, volume))
    return found


def _book_times(reader: Reader, run: int, instrument: int, begin: int, end: int) -> list[int]:
    """The tick of each quarter of the run at which most levels were filled: between rounds books stand empty."""
    rows = reader.rows(
        "SELECT least({parts:Int64} - 1, intDiv((tick - {begin:Int64}) * {parts:Int64}, {span:Int64})) AS part, "
        "argMax(tick, (levels, tick)) AS best FROM (SELECT tick, countIf(quantity > 0) AS levels FROM book_updated "
        "WHERE run = {run:Int64} AND instrument = {instrument:Int64} AND tick >= {begin:Int64} GROUP BY tick "
        "HAVING levels > 0) GROUP BY part ORDER BY part",
        {"run": run, "instrument": instrument, "begin": begin, "span": max(1, end - begin), "parts": BOOK_TIMES},
    )
    return [int(row["best"]) for row in rows]


def _books(reader: Reader, run: int, listing: Row, times: list[int]) -> list[Book]:
    """The books at some ticks, in one statement: the last change of each level up to each of them."""
    if not times:
        return []
    ticks = ", ".join(str(int(tick)) for tick in times)
    rows = reader.rows(
        f"SELECT at, toString(side) AS side, price, argMaxIf(quantity, seq, tick <= at) AS rest FROM book_updated "
        f"ARRAY JOIN [{ticks}] AS at WHERE run = {{run:Int64}} AND instrument = {{instrument:Int64}} "
        "GROUP BY at, side, price HAVING rest > 0 ORDER BY at, side, if(side = 'buy', -price, price) "
        "LIMIT 200 BY at, side",
        {"run": run, "instrument": int(listing["instrument"])},
    )
    price, lot = 10 ** int(listing["price_scale"]), 10 ** int(listing["quantity_scale"])
    found = {tick: Book(tick, [], []) for tick in times}
    for row in rows:
        book = found[int(row["at"])]
        level = (int(row["price"]) / price, int(row["rest"]) / lot)
        (book.bids if row["side"] == "buy" else book.asks).append(level)
    return list(found.values())


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def load_run(reader: Reader, run: int) -> RunData:
    """Read a run. Raises UnknownRunError when it is not in the tables."""
    rows = reader.rows(f"SELECT {RUN_COLUMNS} FROM runs FINAL WHERE run = {{run:Int64}}", {"run": run})
    if not rows:
        raise UnknownRunError("run", run, "`escape runs list` shows the runs")
    listings = reader.rows(
        "SELECT instrument, symbol, toString(instrument_class) AS instrument_class, price_scale, quantity_scale "
        "FROM instrument_listed FINAL WHERE run = {run:Int64} ORDER BY instrument",
        {"run": run},
    )
    instruments = {int(row["instrument"]): row for row in listings}
    counted = reader.rows(
        "SELECT instrument, count() AS trades, min(tick) AS first, max(tick) AS last FROM trade_executed FINAL "
        "WHERE run = {run:Int64} GROUP BY instrument ORDER BY trades DESC, instrument",
        {"run": run},
    )
    begin = min((int(row["first"]) for row in counted), default=0)
    end = max((int(row["last"]) for row in counted), default=0)
    busiest = [int(row["instrument"]) for row in counted if int(row["instrument"]) in instruments]
    shares = [i for i in busiest if instruments[i]["instrument_class"] in ("equity", "currency")]
    chosen = [*shares, *(i for i in busiest if i not in shares)][:SHOWN]
    scenario = _document(str(rows[0]["config"]))
    round_ticks = PHASES * int(scenario.get("calendar", {}).get("epoch_ticks", 0))
    width = round_ticks if round_ticks and (end - begin) // round_ticks <= 4 * BUCKETS else (end - begin) // BUCKETS
    tapes = reader.rows(
        "SELECT run, orders, trades, prints, matched, toString(explanation) AS explanation FROM tape_comparisons FINAL "
        "ORDER BY run = {run:Int64} DESC, compared_at DESC LIMIT 1",
        {"run": run},
    )
    jobs = reader.rows(
        "SELECT toString(job) AS job, job_version, start_offsets, end_offsets, toString(max(computed_at)) AS computed "
        "FROM batch_indicators WHERE run = {run:Int64} GROUP BY job, job_version, start_offsets, end_offsets "
        "ORDER BY job, job_version",
        {"run": run},
    )
    return RunData(
        run=rows[0],
        scenario=scenario,
        stream=_figures(reader, "stream_indicators", run),
        batch=_figures(reader, "batch_indicators", run),
        instruments=instruments,
        candles=_candles(reader, run, instruments, sorted(set(chosen) | set(shares)), width),
        books={i: _books(reader, run, instruments[i], _book_times(reader, run, i, begin, end)) for i in chosen},
        tape=tapes[0] if tapes else None,
        jobs=jobs,
        trades=sum(int(row["trades"]) for row in counted),
    )


def per_year(series: list[int | None]) -> list[int | None]:
    """Sums of four windows; None where one of them is missing, a year that is not complete is left out."""
    years = []
    for start in range(0, len(series) - QUARTERS + 1, QUARTERS):
        part = [v for v in series[start : start + QUARTERS] if v is not None]
        years.append(sum(part) if len(part) == QUARTERS else None)
    return years
