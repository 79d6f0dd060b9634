"""Interruptions of trading: halts, the auctions that end calls, and moves of price bands."""

from __future__ import annotations

from typing import Final

import strawberry

from queries.records import Row
from queries.types import BigInt

_TABLES: Final = {
    "halted": ("trading_halted", "toString(reason) AS why, price, 0 AS quantity, until, 0 AS low, 0 AS high"),
    "resumed": ("trading_resumed", "'' AS why, price, quantity, 0 AS until, 0 AS low, 0 AS high"),
    "band_changed": ("price_band_changed", "'' AS why, 0 AS price, 0 AS quantity, 0 AS until, low, high"),
}
STATUS_TABLE: Final = (
    "("
    + " UNION ALL ".join(
        f"SELECT run, instrument, seq, tick, '{status}' AS status, {columns} FROM {table} FINAL"
        for status, (table, columns) in _TABLES.items()
    )
    + ")"
)
STATUS_COLUMNS: Final = "run, instrument, seq, tick, status, why, price, quantity, until, low, high"


@strawberry.type(description="A change of an instrument's trading status.")
class TradingStatus:
    """One of halted, resumed and band_changed; what does not belong to it is null."""

    instrument_id: BigInt = strawberry.field(description="Whose status changed")
    seq: BigInt = strawberry.field(description="Counter of the instrument's output; (instrument, seq) is the identity")
    tick: BigInt = strawberry.field(description="Simulated time; unit: ticks (1/60 s at 1x)")
    status: str = strawberry.field(description="halted, resumed or band_changed")
    reason: str | None = strawberry.field(description="Why trading halted: circuit_breaker or operator")
    price: BigInt | None = strawberry.field(
        description="Halted: what the next trade would have printed at; resumed: price of the auction, 0 = no trade"
    )
    quantity: BigInt | None = strawberry.field(description="Resumed: traded in the auction; unit: lots")
    until: BigInt | None = strawberry.field(description="Halted: last tick of the call")
    low: BigInt | None = strawberry.field(description="Lowest limit accepted from now on; unit: price steps")
    high: BigInt | None = strawberry.field(description="Highest limit accepted from now on; unit: price steps")

    @classmethod
    def of(cls, row: Row) -> TradingStatus:
        """From a row of STATUS_TABLE."""
        number = {name: BigInt(int(row[name])) for name in ("price", "quantity", "until", "low", "high")}
        halted, resumed, moved = (row["status"] == status for status in _TABLES)
        return cls(
            instrument_id=BigInt(int(row["instrument"])), seq=BigInt(int(row["seq"])), tick=BigInt(int(row["tick"])),
            status=row["status"], reason=row["why"] if halted else None,
            price=None if moved else number["price"], quantity=number["quantity"] if resumed else None,
            until=number["until"] if halted else None, low=number["low"] if moved else None,
            high=number["high"] if moved else None,
        )  # fmt: skip
