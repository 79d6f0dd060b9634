"""Interruptions of trading: halts, the auctions that end calls, and moves of price bands."""

from __future__ import annotations

from typing import Final

import strawberry

from economy.scales import Scales
from queries.records import Row
from queries.types import BigInt, DecimalText, both

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
    price: DecimalText | None = strawberry.field(
        description="Halted: what the next trade would have printed at; resumed: price of the auction, 0 = no trade; "
        "unit: the currency"
    )
    price_raw: BigInt | None = strawberry.field(
        description="The same as an integer; unit: price steps (10^-priceScale)"
    )
    quantity: DecimalText | None = strawberry.field(description="Resumed: auctioned quantity; unit: the instrument's")
    quantity_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: lots (10^-quantityScale)")
    until: BigInt | None = strawberry.field(description="Halted: last tick of the call")
    low: DecimalText | None = strawberry.field(description="Lowest limit accepted from now on; unit: the currency")
    low_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: price steps (10^-priceScale)")
    high: DecimalText | None = strawberry.field(description="Highest limit accepted from now on; unit: the currency")
    high_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: price steps (10^-priceScale)")

    @classmethod
    def of(cls, row: Row, scales: Scales) -> TradingStatus:
        """From a row of STATUS_TABLE."""
        instrument = int(row["instrument"])
        price = scales.price(instrument)
        halted, resumed, moved = (row["status"] == status for status in _TABLES)
        return cls(
            instrument_id=BigInt(instrument), seq=BigInt(int(row["seq"])), tick=BigInt(int(row["tick"])),
            status=row["status"], reason=row["why"] if halted else None,
            until=BigInt(int(row["until"])) if halted else None,
            **both("price", None if moved else row["price"], price),
            **both("quantity", row["quantity"] if resumed else None, scales.quantity(instrument)),
            **both("low", row["low"] if moved else None, price), **both("high", row["high"] if moved else None, price),
        )  # fmt: skip
