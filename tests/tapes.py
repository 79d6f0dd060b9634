"""Tapes for tests: random order flow as rows of a file, and what the order book facade makes of it."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from economy.markets.book import OrderBook, Trade
from economy.records.events import Side, TimeInForce
from runs.tapes.table import COLUMNS

Row = dict[str, str]
SYMBOLS = {"BTCUSD": (2, 4), "ETHUSD": (4, 0), "DOGE": (0, 8)}  # price and quantity scale


def random_rows(seed: int, count: int, names: bool = True) -> list[Row]:
    """Rows of a tape in SYMBOLS; ids are names, or integers throughout."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    tick, sent = 0, []
    for number in range(count):
        tick += int(rng.integers(0, 3))
        symbol = list(SYMBOLS)[rng.integers(len(SYMBOLS))]
        row = dict.fromkeys(COLUMNS, "") | {"tick": str(tick), "instrument": symbol, "action": "submit"}
        if sent and rng.random() < 0.3:
            row |= sent[rng.integers(len(sent))] | {"action": "cancel"}
        else:
            price, quantity = (Decimal(1).scaleb(-scale) for scale in SYMBOLS[symbol])
            market = rng.random() < 0.1
            row["agent"] = f"trader {rng.integers(9)}" if names else str(rng.integers(9))
            row["order"] = f"{number:x}" if names else str(1000 + number)
            row["side"] = ("buy", "sell")[rng.integers(2)]
            row["type"] = "market" if market else "limit"
            row["tif"] = ("gtc", "gtc", "ioc", "fok")[rng.integers(4)]
            row["post_only"] = "true" if not market and rng.random() < 0.1 else "false"
            row["price"] = "" if market else f"{price * int(rng.integers(990, 1011)):f}"
            row["quantity"] = f"{quantity * int(rng.integers(1, 50)):f}"
            sent.append({key: row[key] for key in ("agent", "order", "instrument")})
        rows.append(row)
    return rows


def write_csv(path: Path, rows: list[Row]) -> Path:
    """The rows as a CSV file."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def facade_trades(rows: list[Row]) -> tuple[list[dict[str, Any]], int]:
    """(trades by instrument and seq with the ids and decimals of the rows, number of rejections)."""
    ids: dict[str, dict[str, int]] = {"agent": {}, "order": {}}
    names: dict[str, list[str]] = {"agent": [], "order": []}

    def number(column: str, name: str) -> int:
        if name not in ids[column]:
            ids[column][name] = len(names[column])
            names[column].append(name)
        return ids[column][name]

    books = {symbol: OrderBook() for symbol in SYMBOLS}
    found: list[tuple[str, str, Trade]] = []
    rejected = 0
    for row in rows:
        book, symbol = books[row["instrument"]], row["instrument"]
        agent, order = number("agent", row["agent"]), number("order", row["order"])
        if row["action"] == "cancel":
            done = book.cancel(order=order, agent=agent)
        else:
            price_scale, quantity_scale = SYMBOLS[symbol]
            done = book.add(
                order=order, agent=agent, side=Side[row["side"].upper()],
                price=int(Decimal(row["price"]).scaleb(price_scale)) if row["price"] else None,
                quantity=int(Decimal(row["quantity"]).scaleb(quantity_scale)),
                time_in_force=TimeInForce[row["tif"].upper()], post_only=row["post_only"] == "true",
            )  # fmt: skip
        rejected += done.rejected is not None
        found += [(symbol, row["tick"], trade) for trade in done.trades]
    trades = [
        {
            "instrument": symbol, "seq": t.seq, "tick": int(tick),
            "price": Decimal(t.price).scaleb(-SYMBOLS[symbol][0]),
            "quantity": Decimal(t.quantity).scaleb(-SYMBOLS[symbol][1]),
            "maker_order": names["order"][t.maker_order], "taker_order": names["order"][t.taker_order],
            "maker_agent": names["agent"][t.maker_agent], "taker_agent": names["agent"][t.taker_agent],
            "taker_side": t.taker_side.name.lower(),
        }
        for symbol, tick, t in found
    ]  # fmt: skip
    return sorted(trades, key=lambda trade: (trade["instrument"], trade["seq"])), rejected


def book_options() -> list[str]:
    """The options of `escape ingest tape` that fit SYMBOLS."""
    options = []
    for symbol, (price, quantity) in SYMBOLS.items():
        options += ["--price-scale", f"{symbol}={price}", "--quantity-scale", f"{symbol}={quantity}"]
    return options
