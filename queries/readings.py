"""What is new of a run in the tables: a class per kind of news, each look of which goes on from the one before.

Every kind of record has a key and a counter of that key, as (instrument, seq): the records of a key are stored in the
order of their counter. So the newest counter per key is a position, whatever order keys come in, however often a record
is repeated on the log; what is read is closed at both ends, so that what is stored meanwhile belongs to the next look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from economy.errors import UnknownRunError
from economy.measures import LAST_MEASURED
from queries.feeds import Look
from queries.loaders import Loaders
from queries.measured import figures_of
from queries.records import Row
from queries.types import WINDOW_FIGURES, Window
from queries.types_events import columns_of
from queries.types_market import Trade
from schemas.clickhouse import STORED, TABLES
from schemas.windows import own_windows

KEPT: Final = 1_000  # newest trades of a look, or of several that are put together
PAGE: Final = 500  # records of the past that are read at once
TOGETHER: Final = 1_000  # keys in one condition: longer ones are too long for ClickHouse
ALERTS: Final = ("TradingHalted", "TradingResumed", "AgentBankrupt", "PolicyChanged")
ABORTED: Final = "aborted"

Span = tuple[int, int | None, int]  # key, counter of the newest record that is known, of the newest one wanted


async def state_of(loaders: Loaders, run: int) -> Row:
    """State, length, beginning and scenario of a run. Raises UnknownRunError."""
    rows = await loaders.rows(
        "SELECT toString(state) AS state, digest, ticks, epoch_ticks, parent_epoch, config FROM runs FINAL "
        "WHERE run = {run:Int64}",
        run=run,
    )
    if not rows:
        raise UnknownRunError("run", run, "choose one from runs { nodes { id } }")
    return rows[0]


def _within(key: str, counter: str, spans: Sequence[Span]) -> Iterator[str]:
    """Conditions, each short enough for a statement, for what is behind the known up to the wanted of each key."""
    for at in range(0, len(spans), TOGETHER):
        parts = []
        for number, known, newest in spans[at : at + TOGETHER]:
            behind = "" if known is None else f" AND {counter} > {known}"
            parts.append(f"({key} = {number} AND {counter} <= {newest}{behind})")
        yield f"({' OR '.join(parts)})"


@dataclass(frozen=True)
class Trades:
    """New trades: the newest of them, ascending, and how many there are of each instrument."""

    newest: tuple[Row, ...] = ()
    counts: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, later: Trades) -> Trades:
        return Trades((self.newest + later.newest)[-KEPT:], Counter(self.counts) + Counter(later.counts))

    def __len__(self) -> int:
        return len(self.newest)

    def of(self, instrument: int | None) -> tuple[int, tuple[Row, ...]]:
        """Of one instrument or of all: how many there are, and the newest."""
        if instrument is None:
            return sum(self.counts.values()), self.newest
        return self.counts.get(instrument, 0), tuple(r for r in self.newest if int(r["instrument"]) == instrument)


Newest = Mapping[int, int]  # seq of the newest trade by instrument


class TradeReading:
    """Trades of a run from the first look on."""

    def __init__(self, loaders: Loaders, run: int) -> None:
        self._loaders, self._run = loaders, run

    async def __call__(self, before: Look[Newest, Trades] | None) -> Look[Newest, Trades]:
        """Look for new trades."""
        state = (await state_of(self._loaders, self._run))["state"]
        known = {} if before is None else before.position
        rows: list[Row] = []
        for behind in _behind(known):
            rows += await self._loaders.rows(
                "SELECT instrument, max(seq) AS newest, count() AS number FROM trade_executed FINAL "
                f"WHERE run = {{run:Int64}} AND {behind} GROUP BY instrument",
                run=self._run,
            )
        newest = {int(row["instrument"]): int(row["newest"]) for row in rows}
        found = Trades()
        if before is not None and rows:
            counts = {int(row["instrument"]): int(row["number"]) for row in rows}
            spans = [(instrument, known.get(instrument), seq) for instrument, seq in newest.items()]
            found = Trades(await self._newest(spans), counts)
        return Look(
            position={**known, **newest}, found=found, state=state, complete=state == STORED,
            unsure=state == ABORTED,
        )  # fmt: skip

    async def _newest(self, spans: Sequence[Span]) -> tuple[Row, ...]:
        found: list[Row] = []
        for within in _within("instrument", "seq", spans):
            found += await self._loaders.rows(
                f"SELECT {Trade.select()} FROM trade_executed FINAL WHERE run = {{run:Int64}} AND {within} "
                f"ORDER BY tick DESC, instrument DESC, seq DESC LIMIT {KEPT}",
                run=self._run,
            )
        found.sort(key=lambda row: (int(row["tick"]), int(row["instrument"]), int(row["seq"])))
        return tuple(found[-KEPT:])


def _behind(known: Newest) -> Iterator[str]:
    """Conditions that ClickHouse finds by primary key: per instrument, what follows the newest trade known. Each is for
    a stretch of instruments, together for all.
    """
    numbers = sorted(known)
    stretches = [numbers[at : at + TOGETHER] for at in range(0, len(numbers), TOGETHER)] or [[]]
    for first, stretch in enumerate(stretches):
        parts = [f"(instrument = {instrument} AND seq > {known[instrument]})" for instrument in stretch]
        bounds = [f"instrument NOT IN ({', '.join(map(str, stretch))})"] if stretch else ["1"]
        if first:
            bounds.append(f"instrument > {stretches[first - 1][-1]}")
        if first + 1 < len(stretches):
            bounds.append(f"instrument <= {stretch[-1]}")
        yield f"({' OR '.join([*parts, ' AND '.join(bounds)])})"


AlertRecord = tuple[str, Row]  # kind and row
Alerts = tuple[AlertRecord, ...]
Told = Mapping[tuple[str, int], int]  # counter of the newest record by kind and key


class AlertReading:
    """Halts, bankruptcies and changes of policy of a run from the first look on; `past` has those before."""

    def __init__(self, loaders: Loaders, run: int) -> None:
        self._loaders, self._run = loaders, run

    async def __call__(self, before: Look[Told, Alerts] | None) -> Look[Told, Alerts]:
        """Look for new records. A change of the run to paused or aborted is one, without a row."""
        state = (await state_of(self._loaders, self._run))["state"]
        known = {} if before is None else before.position
        every = " UNION ALL ".join(
            f"SELECT '{kind}' AS kind, {key} AS key, max({counter}) AS newest FROM {TABLES[kind].name} "
            f"WHERE run = {{run:Int64}} GROUP BY {key}"
            for kind, (key, counter) in _identities()
        )
        rows = await self._loaders.rows(every, run=self._run)
        newest = {(str(row["kind"]), int(row["key"])): int(row["newest"]) for row in rows}
        found: list[AlertRecord] = []
        if before is not None:
            for kind, (key, counter) in _identities():
                changed = [
                    (place[1], known.get(place), seq)
                    for place, seq in newest.items()
                    if place[0] == kind and seq > known.get(place, -1)
                ]
                for within in _within(key, counter, changed):
                    found += await self._records(kind, within)
            found.sort(key=_order)
            if state != before.state:
                found += change(state)
        return Look(
            position={**known, **newest}, found=tuple(found), state=state, complete=state == STORED,
            unsure=state == ABORTED,
        )  # fmt: skip

    async def past(self, until: Told) -> AsyncGenerator[list[AlertRecord], None]:
        """Pages of what is not behind a position, by tick."""
        every = " UNION ALL ".join(
            f"SELECT '{kind}' AS kind, tick, {key} AS key, {counter} AS counter FROM {TABLES[kind].name} "
            "WHERE run = {run:Int64}"
            for kind, (key, counter) in _identities()
        )
        behind = ""
        while True:
            rows = await self._loaders.rows(
                f"SELECT DISTINCT kind, tick, key, counter FROM ({every}) {behind} "
                f"ORDER BY tick, kind, key, counter LIMIT {PAGE}",
                run=self._run,
            )
            page: list[AlertRecord] = []
            for kind, (key, counter) in _identities():
                wanted = [
                    f"({row['key']}, {row['counter']})"
                    for row in rows
                    if row["kind"] == kind and int(row["counter"]) <= until.get((kind, int(row["key"])), -1)
                ]
                if wanted:
                    page += await self._records(kind, f"({key}, {counter}) IN ({', '.join(wanted)})")
            if page:
                yield sorted(page, key=_order)
            if len(rows) < PAGE:
                return
            behind = "WHERE (tick, kind, key, counter) > ({tick}, '{kind}', {key}, {counter})".format_map(rows[-1])

    async def _records(self, kind: str, condition: str) -> list[AlertRecord]:
        """Records of a kind, each once, though the table may hold it twice until it is merged."""
        table = TABLES[kind]
        rows = await self._loaders.rows(
            f"SELECT {columns_of(table)} FROM {table.name} WHERE {table.name}.run = {{run:Int64}} AND {condition} "
            f"LIMIT 1 BY {', '.join(table.identity[1:])}",
            run=self._run,
        )
        return [(kind, row) for row in rows]


def _identities() -> list[tuple[str, tuple[str, str]]]:
    """Kinds of alerts with the names of their key and its counter."""
    return [(kind, (TABLES[kind].identity[1], TABLES[kind].identity[2])) for kind in ALERTS]


def _order(record: AlertRecord) -> tuple[int, str, int, int]:
    kind, row = record
    _, key, counter = TABLES[kind].identity
    return int(row["tick"]), kind, int(row[key]), int(row[counter])


def change(state: str) -> list[AlertRecord]:
    """The alert that a run has come to a state, where that is one."""
    return [(f"Run{state.capitalize()}", {})] if state in ("paused", ABORTED) else []


Windows = tuple[Window, ...]


class WindowReading:
    """Windows of a run from the first look on, each once all its figures are there; `past` has those before."""

    def __init__(self, loaders: Loaders, run: int) -> None:
        self._loaders, self._run = loaders, run

    async def __call__(self, before: Look[int, Windows] | None) -> Look[int, Windows]:
        """Look for new windows."""
        row = await state_of(self._loaders, self._run)
        newest = await newest_window(self._loaders, self._run)
        found: list[Window] = []
        if before is not None:
            async for page in self.past(before.position, newest):
                found += page
        final, own = row["state"] == STORED, own_windows(row)
        return Look(
            position=newest, found=tuple(found), state=row["state"], complete=final and newest >= max(own, default=-1),
            unsure=final or row["state"] == ABORTED,
        )  # fmt: skip

    async def past(self, after: int, until: int) -> AsyncGenerator[list[Window], None]:
        """Pages of the windows behind one up to another."""
        while after < until:
            first = min(PAGE, until - after)
            found = await figures_of(self._loaders, self._run, WINDOW_FIGURES, first, after)
            yield [Window(number=number, figures=figures) for number, figures in found.items()]
            after += first


async def newest_window(loaders: Loaders, run: int) -> int:
    """Number of the newest window whose every figure is there, -1 while there is none."""
    rows = await loaders.rows(
        "SELECT window FROM stream_indicators WHERE run = {run:Int64} AND indicator = {last:String} AND item = 0 "
        "ORDER BY window DESC LIMIT 1",
        run=run, last=LAST_MEASURED,
    )  # fmt: skip
    return int(rows[0]["window"]) if rows else -1


class ProgressReading:
    """How far a run is; its position is what it says."""

    def __init__(self, loaders: Loaders, run: int) -> None:
        self._loaders, self._run = loaders, run

    async def __call__(self, before: Look[Row, tuple[Any, ...]] | None) -> Look[Row, tuple[Any, ...]]:
        """Look how far it is."""
        row = await state_of(self._loaders, self._run)
        (counted,) = await self._loaders.rows(
            "SELECT (SELECT max(tick) FROM trade_executed WHERE run = {run:Int64}) AS tick, "
            "(SELECT count() FROM trade_executed WHERE run = {run:Int64}) AS trades, "
            "(SELECT uniqExact(window) FROM stream_indicators WHERE run = {run:Int64} AND item = 0 "
            "AND indicator = {last:String}) AS windows",
            run=self._run, last=LAST_MEASURED,
        )  # fmt: skip
        final = row["state"] == STORED
        number = {name: int(counted[name] or 0) for name in ("tick", "trades", "windows")}
        now = {"state": row["state"], "digest": row["digest"], "ticks": int(row["ticks"]), **number}
        return Look(
            position=now, found=(), state=row["state"], complete=final and number["windows"] >= len(own_windows(row)),
            unsure=final or row["state"] == ABORTED,
        )  # fmt: skip
