"""Half an hour of BTC/USD at Bitstamp, level 3: every order message, and the exchange's own trades to compare with.

The data come with the package ob-analytics, whose files are read without importing it. What a message means:

- `created` is an order. A price of 0 (sell) or 999,999,999 (buy) on an order that traded is the exchange's mark of a
  market order. A price of 0 on a resting buy is a price below one dollar that the capture rounded down: it can never
  trade and is left out.
- `deleted` with a rest is a cancel request; without a rest it tells of a fill and is not sent. `changed` tells of a
  partial fill and is not sent either. A `deleted` whose order was created before the capture is left out.
- The tape does not say who sent an order, so each order is an agent of its own (the rank of its id).
- It does not say either which orders were post-only. Crossing orders that never executed were: every order without a
  print is sent as post-only, and the market refuses those that would cross.
- Two orders are zombies: they stand in the opening snapshot far through the market and never trade.
- A tick is a millisecond of the exchange's clock since the first message.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from economy.errors import InputError, SetupError
from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import InstrumentClass, OrderType, Rows
from runs.tapes.flow import Batch, Flow

PACKAGE: Final = "ob-analytics"
ORDERS_FILE: Final = "orders.csv.gz"
PRINTS_FILE: Final = "trades.csv"
INSTRUMENT: Final = Instrument(
    0, "BTC/USD", InstrumentClass.CURRENCY, currency="USD", price_scale=0, quantity_scale=8
)  # fmt: skip
ZOMBIES: Final = (2002347642003458, 2002347646152704)
MARKET_BUY: Final = 999_999_999
LOTS: Final = 10**INSTRUMENT.quantity_scale
_ORDER_COLUMNS: Final = ("id", "exchange_timestamp", "price", "volume", "action", "direction")
_PRINT_COLUMNS: Final = ("trade_id", "exchange_timestamp", "price", "amount", "buy_order_id", "sell_order_id")


@dataclass(frozen=True)
class Tape:
    """Orders as the market takes them; `arrival` (len(orders) + len(cancels),) is each record's place, orders first.

    `prints` is (trades, 5): trade id, buy order, sell order, price in steps, quantity in lots.
    `unsized` are the orders whose message carries no quantity.
    """

    instrument: Instrument
    orders: Rows
    cancels: Rows
    arrival: NDArray[np.int64]
    prints: NDArray[np.int64]
    unsized: tuple[int, ...]
    left_out: dict[str, int]

    def flow(self) -> Flow:
        """The tape as the stream takes it."""
        return Flow("bitstamp", (self.instrument,), (Batch(self.orders, self.cancels, self.arrival),))


@dataclass(frozen=True)
class Comparison:
    """Our trades beside the exchange's prints; matched = the same two orders, price and quantity."""

    trades: int
    prints: int
    matched: int
    differences: list[dict[str, Any]]


def folder() -> Path:
    """Where the installed package keeps the tape. Raises SetupError when it is not installed."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise SetupError(
            f"the tape's data, the package {PACKAGE}, are not installed",
            "run `make setup` with all its locks, or bring a tape of your own: `escape ingest tape FILE`",
        ) from error
    for file in files:
        if file.name == ORDERS_FILE:
            return Path(str(file.locate())).parent
    raise SetupError(f"the installed {PACKAGE} holds no {ORDERS_FILE}", "run `make setup` to install version 0.1.0")


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # pandas' ParserError is a ValueError
        raise InputError("tape", str(path), f"it cannot be read as CSV ({error}); install {PACKAGE} 0.1.0") from error
    for column in columns:
        if column not in table.columns:
            raise InputError(f"{path.name} column", column, f"the tape needs the columns {', '.join(columns)}")
        if column not in ("action", "direction") and not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(f"{path.name} column", column, "every value must be a number")
        _refuse(table, table[column].isna(), column, path, "a value is missing")
    _refuse(
        table, table.exchange_timestamp.diff() < 0, "exchange_timestamp", path,
        "it is earlier than the row before; sort the tape by exchange_timestamp",
    )  # fmt: skip
    return table


def _refuse(table: pd.DataFrame, broken: pd.Series, column: str, path: Path, remedy: str) -> None:
    """InputError for the first broken row; line 1 is the header."""
    if broken.any():
        row = int(np.flatnonzero(broken.to_numpy())[0])
        raise InputError(f"{path.name} line {row + 2} {column}", table[column].iloc[row], remedy)


def _lots(amounts: pd.Series) -> NDArray[np.int64]:
    return np.rint(amounts.to_numpy(np.float64) * LOTS).astype(np.int64)


def read_tape(source: Path) -> Tape:
    """Read both files. Raises InputError naming the column, or the line and its value, of a wrong tape."""
    path = source / ORDERS_FILE
    table = _read(path, _ORDER_COLUMNS)
    prints = _read(source / PRINTS_FILE, _PRINT_COLUMNS)
    _refuse(table, ~table.action.isin(("created", "changed", "deleted")), "action", path, "created, changed or deleted")
    _refuse(table, ~table.direction.isin(("bid", "ask")), "direction", path, "it must be bid or ask")
    _refuse(table, (table.price < 0) | (table.price % 1 != 0), "price", path, "prices are whole dollars")
    _refuse(table, (table.volume < 0) | (table.volume * LOTS >= 2**53), "volume", path, "use 0 to 9e7")
    begin = int(table.exchange_timestamp.iloc[0]) if len(table) else 0
    return _translate(table, prints, begin)


def _translate(table: pd.DataFrame, prints: pd.DataFrame, begin: int) -> Tape:
    zombie = table.id.isin(ZOMBIES)
    traded = np.union1d(prints.buy_order_id, prints.sell_order_id)
    worthless = (table.price == 0) & (table.direction == "bid") & ~table.id.isin(traded)
    created = table[(table.action == "created") & ~zombie & ~worthless]
    known = np.sort(created.id.to_numpy())
    deleted = table[(table.action == "deleted") & ~zombie & ~worthless]
    orphan = ~deleted.id.isin(known)
    cancelled = deleted[~orphan & (deleted.volume > 0)]

    o, c = e.OrderSubmitted, e.OrderCancelRequested
    ids = created.id.to_numpy()
    quantity, unsized = _quantities(created, prints)
    executed = np.isin(ids, traded)
    price = created.price.to_numpy(np.int64)
    at_market = executed & ((price == 0) | (price == MARKET_BUY))
    orders = np.zeros((len(created), o.width), np.int64)
    orders[:, o.TICK] = created.exchange_timestamp - begin
    orders[:, o.AGENT] = np.searchsorted(known, ids)
    orders[:, o.ORDER] = ids
    orders[:, o.INSTRUMENT] = INSTRUMENT.instrument
    orders[:, o.SIDE] = created.direction == "ask"
    orders[:, o.TYPE] = np.where(at_market, OrderType.MARKET, OrderType.LIMIT)
    orders[:, o.POST_ONLY] = ~executed
    orders[:, o.PRICE] = np.where(at_market, 0, price)
    orders[:, o.QUANTITY] = quantity
    cancels = np.zeros((len(cancelled), c.width), np.int64)
    cancels[:, c.TICK] = cancelled.exchange_timestamp - begin
    cancels[:, c.AGENT] = np.searchsorted(known, cancelled.id)
    cancels[:, c.N] = 1
    cancels[:, c.ORDER] = cancelled.id
    cancels[:, c.INSTRUMENT] = INSTRUMENT.instrument
    left_out = {
        "zombie orders": int((zombie & (table.action == "created")).sum()),
        "orders below one dollar": int((worthless & (table.action == "created")).sum()),
        "cancels of orders from before the capture": int(orphan.sum()),
    }
    told = np.column_stack(
        (
            prints[["trade_id", "buy_order_id", "sell_order_id"]].to_numpy(np.int64),
            prints.price.to_numpy(np.int64),
            _lots(prints.amount),
        )
    )
    arrival = np.concatenate((created.index.to_numpy(), cancelled.index.to_numpy())).astype(np.int64)
    return Tape(INSTRUMENT, orders, cancels, arrival, told, unsized, left_out)


def _quantities(created: pd.DataFrame, prints: pd.DataFrame) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Quantity of each order in lots. Where the message says 0, the order was filled before it was announced and the
    prints alone know how much it was."""
    quantity = _lots(created.volume)
    empty = quantity == 0
    bought = prints.groupby("buy_order_id").amount.sum()
    sold = prints.groupby("sell_order_id").amount.sum()
    executed = bought.add(sold, fill_value=0.0)
    quantity[empty] = _lots(executed.reindex(created.id[empty]).fillna(0.0))
    return quantity, tuple(created.id[empty].tolist())


def compare(tape: Tape, trades: Rows) -> Comparison:
    """Hold the market's TradeExecuted rows against the prints, and say for every difference what it is.

    A print that matches only since the prints themselves gave an order's quantity is told as well.
    """
    t = e.TradeExecuted
    maker_bought = trades[:, t.TAKER_SIDE] == e.Side.SELL
    buyer = np.where(maker_bought, trades[:, t.MAKER_ORDER], trades[:, t.TAKER_ORDER])
    seller = np.where(maker_bought, trades[:, t.TAKER_ORDER], trades[:, t.MAKER_ORDER])
    ours = {
        (buy, sell): (price, quantity)
        for buy, sell, price, quantity in zip(
            buyer.tolist(), seller.tolist(), trades[:, t.PRICE].tolist(), trades[:, t.QUANTITY].tolist(), strict=True
        )
    }
    matched, differences = 0, []
    for number, buy, sell, price, quantity in tape.prints.tolist():
        found = ours.pop((buy, sell), None)
        reason = ""
        if found is None:
            reason = "the market did not bring these two orders together"
        elif found != (price, quantity):
            reason = f"the market traded {found[1]} lots at {found[0]}, the exchange {quantity} at {price}"
        else:
            matched += 1
            unsized = [order for order in (buy, sell) if order in tape.unsized]
            if unsized:
                reason = (
                    f"equal, but not from the orders alone: order {unsized[0]} was filled before it was announced, "
                    "with volume 0; its quantity is known from this print only"
                )
        if reason:
            differences.append({"print": number, "buy_order": buy, "sell_order": sell, "reason": reason})
    for buy, sell in ours:
        differences.append({"print": None, "buy_order": buy, "sell_order": sell, "reason": "the exchange has no print"})
    return Comparison(len(trades), len(tape.prints), matched, differences)
