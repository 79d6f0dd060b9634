"""What is new of a run that goes on: one reading for all who follow it, however many and however slow they are.

A feed numbers what it finds and keeps the newest. A follower remembers the number that it has seen: what it missed is
counted, never queued. So what a follower does not take costs nothing, and no follower holds up another or the run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

from queries.loaders import Loaders
from queries.records import Row
from queries.types_events import columns_of
from queries.types_market import Trade
from schemas.clickhouse import TABLES

KEPT: Final = 1_000  # newest records of a feed
ALERTS: Final = ("TradingHalted", "TradingResumed", "AgentBankrupt", "PolicyChanged")


class TradeFeed:
    """Trades of a run from the first look on."""

    def __init__(self, run: int) -> None:
        self.run = run
        self.counts: Counter[int] = Counter()  # trades found so far, by instrument
        self._newest: dict[int, int] | None = None  # seq by instrument
        self._kept: deque[tuple[int, Row]] = deque(maxlen=KEPT)
        self.number = 0  # of the newest trade

    async def advance(self, loaders: Loaders) -> None:
        """Look for new trades."""
        newer = self._newer()
        rows = await loaders.rows(
            "SELECT instrument, max(seq) AS newest, count() AS number FROM trade_executed FINAL "
            f"WHERE run = {{run:Int64}} {newer} GROUP BY instrument",
            run=self.run,
        )
        first = self._newest is None
        self._newest = {**(self._newest or {}), **{int(row["instrument"]): int(row["newest"]) for row in rows}}
        if first or not rows:
            return
        found = await loaders.rows(
            f"SELECT {Trade.select()} FROM trade_executed FINAL WHERE run = {{run:Int64}} {newer} "
            f"ORDER BY tick DESC, instrument DESC, seq DESC LIMIT {KEPT}",
            run=self.run,
        )
        for row in rows:
            self.counts[int(row["instrument"])] += int(row["number"])
        for row in reversed(found):
            self.number += 1
            self._kept.append((self.number, row))

    def _newer(self) -> str:
        """A condition that ClickHouse finds by primary key: per instrument, what follows the newest one seen."""
        if not self._newest:
            return ""
        known = ", ".join(map(str, self._newest))
        parts = [f"(instrument = {instrument} AND seq > {seq})" for instrument, seq in self._newest.items()]
        return f"AND ({' OR '.join(parts)} OR instrument NOT IN ({known}))"

    def since(self, number: int, instrument: int | None) -> list[Row]:
        """What is kept of the trades behind a number, of one instrument or of all, ascending."""
        wanted = (row for n, row in self._kept if n > number)
        return [row for row in wanted if instrument is None or int(row["instrument"]) == instrument]

    def total(self, instrument: int | None) -> int:
        """Trades found so far, of one instrument or of all."""
        return sum(self.counts.values()) if instrument is None else self.counts[instrument]


class AlertFeed:
    """Halts, bankruptcies and changes of policy of a run, from its start on."""

    def __init__(self, run: int) -> None:
        self.run = run
        self._offsets: dict[str, dict[int, int]] = {name: {} for name in ALERTS}
        self._kept: deque[tuple[int, str, Row]] = deque(maxlen=KEPT)
        self.number = 0

    async def advance(self, loaders: Loaders) -> None:
        """Look for new records."""
        for name in ALERTS:
            table, seen = TABLES[name], self._offsets[name]
            rows = await loaders.rows(
                f"SELECT {columns_of(table)} FROM {table.name} FINAL WHERE {table.name}.run = {{run:Int64}} "
                f"AND {table.name}.kafka_offset > transform(toInt64({table.name}.kafka_partition), "
                "{partitions:Array(Int64)}, {offsets:Array(Int64)}, toInt64(-1)) "
                f"ORDER BY {table.name}.kafka_offset LIMIT {KEPT}",
                run=self.run, partitions=[-1, *seen], offsets=[-1, *seen.values()],
            )  # fmt: skip
            for row in rows:
                seen[int(row["kafka_partition"])] = int(row["kafka_offset"])
                self.number += 1
                self._kept.append((self.number, name, row))

    def since(self, number: int) -> Sequence[tuple[int, str, Row]]:
        """What is kept of the records behind a number: (number, kind, row), ascending."""
        return [entry for entry in self._kept if entry[0] > number]


Feed = TradeFeed | AlertFeed


def message(kind: str, row: Row) -> str:
    """An alert in words."""
    told: dict[str, Any] = {
        "TradingHalted": "instrument {instrument}: trading is halted ({reason}) until tick {until}",
        "TradingResumed": "instrument {instrument}: trading goes on at {price}, {quantity} lots in the auction",
        "AgentBankrupt": "agent {agent} is bankrupt; its successor seeks {capital_needed} of 1e-8",
        "PolicyChanged": "agent {agent} sets {policy} to {value} of 1e-9",
    }
    return str(told[kind]).format_map(dict(row))
