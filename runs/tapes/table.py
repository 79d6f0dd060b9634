"""A tape of one's own: a CSV or Parquet file with a row per order or cancel request, of any size.

The columns are `COLUMNS`; others are ignored. Rows are taken in file order. `order` is the order's id, unique among the
orders of its agent on its instrument, and on a cancel the id to cancel; a cancel's columns from `side` on are not read.
The price of a market order is empty or 0. Prices and quantities are decimals; what is well formed but cannot be traded
(a price of 0, a market order that is post-only, the cancel of an unknown order) is for the market to reject, with its
reason.

Ids of agents, orders and instruments that are integers throughout the file stay as they are. If any of a column is not,
all of that column are names: agents and orders are numbered from 0 in the order in which they appear, instruments in
the order of the alphabet. Orders are also numbered when their integers do not rise for each agent and instrument, as
the market wants them. Instruments' and agents' names stand on the log (InstrumentListed, AgentFounded); those of orders
are kept in memory while the tape runs (some 160 bytes each) and handed over at its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from economy.errors import InputError
from economy.instruments import Instrument
from economy.numbers.decimals import REMEDY, Fault
from economy.numbers.units import MONEY_SCALE
from economy.records import events as e
from economy.records.events import InstrumentClass, OrderType, Side, TimeInForce
from runs.tapes.columns import Faults, Mask, Texts, given, one_line, read_columns
from runs.tapes.flow import Batch, Flow
from runs.tapes.ids import AgentIds, OrderIds
from schemas.files import text_of

COLUMNS: Final = (
    "tick", "agent", "order", "instrument", "action", "side", "type", "tif", "post_only", "price", "quantity",
)  # fmt: skip
NO_CURRENCY: Final = "XXX"  # ISO 4217
_ACTIONS: Final = ("submit", "cancel")
_TRUTH: Final = ("false", "true")
_INTEGER: Final = re.compile("0|[1-9][0-9]{0,17}")


def _symbols(enum: type[Side] | type[OrderType] | type[TimeInForce]) -> tuple[str, ...]:
    return tuple(member.name.lower() for member in enum)


@dataclass(frozen=True)
class Scales:
    """Decimals of prices and quantities: for the named instruments, and for all others."""

    price: Mapping[str, int] = field(default_factory=dict)
    quantity: Mapping[str, int] = field(default_factory=dict)
    every_price: int = 4
    every_quantity: int = 4

    def __post_init__(self) -> None:
        for symbol in ("every instrument", *self.price, *self.quantity):
            price, quantity = self.of(symbol)
            if price < 0 or quantity < 0 or price + quantity > MONEY_SCALE:
                remedy = f"their sum must lie in 0..{MONEY_SCALE}, so that price x quantity is exact"
                raise InputError(f"price and quantity scale of {symbol}", (price, quantity), remedy)

    def of(self, symbol: str) -> tuple[int, int]:
        """(price scale, quantity scale) of an instrument."""
        return self.price.get(symbol, self.every_price), self.quantity.get(symbol, self.every_quantity)


class TableTape:
    """A tape in a file, checked as a whole before anything of it is sent.

    Raises InputError naming file, row, column, value and remedy for the first cell that is wrong. `orders` and
    `cancels` count the rows; `order_names` is filled while the batches are read.
    """

    def __init__(self, path: Path, scales: Scales | None = None, on_rows: Callable[[int], None] | None = None) -> None:
        self.path, self.scales = path, scales or Scales()
        self.orders = self.cancels = 0
        self._on_rows = on_rows
        self._agents, self._orders = AgentIds(), OrderIds()
        self._symbols: dict[str, None] = {}
        self._instruments: dict[str, Instrument] = {}
        while not self._check():
            pass  # a column turned out to hold names: once more from the top, at most once per column

    @property
    def rows(self) -> int:
        return self.orders + self.cancels

    @property
    def order_names(self) -> tuple[str, ...]:
        """Names of orders 0, 1, …; empty where ids speak for themselves."""
        return self._orders.names

    def flow(self) -> Flow:
        """The tape as the stream takes it; the file is read once more."""
        instruments = tuple(sorted(self._instruments.values(), key=lambda i: i.instrument))
        return Flow(text_of(self.path), instruments, self._batches(), tuple(self._agents.known))

    def _batches(self) -> Iterator[Batch]:
        rows = 0
        for batch in self._read(check=False):
            if batch is None:
                break
            rows += len(batch)
            yield batch
        if rows != self.rows:
            raise self._changed()

    def _changed(self) -> InputError:
        return InputError("tape", str(self.path), "the file was changed while it was read: start again")

    def _check(self) -> bool:
        """Read the file without keeping it; False when ids must be read as names instead."""
        self.orders = self.cancels = 0
        self._agents.known.clear()
        self._orders.forget()
        for batch in self._read(check=True):
            if batch is None:
                return False
            self.orders += len(batch.orders)
            self.cancels += len(batch.cancels)
        if not self.rows:
            raise InputError("tape", str(self.path), "it has no rows: give at least one order")
        for option, named in (("--price-scale", self.scales.price), ("--quantity-scale", self.scales.quantity)):
            for symbol in named:
                if symbol not in self._symbols:
                    there = one_line(", ".join(sorted(self._symbols)))
                    raise InputError(option, symbol, f"the tape's instruments are {there}")
        self._instruments = self._list()
        self._orders.forget()  # large where agents are many
        return True

    def _list(self) -> dict[str, Instrument]:
        numbers = {symbol: number for number, symbol in enumerate(sorted(self._symbols))}
        if all(map(_INTEGER.fullmatch, self._symbols)):
            numbers = {symbol: int(symbol) for symbol in self._symbols}
        made = {}
        for symbol, number in numbers.items():
            price, quantity = self.scales.of(symbol)
            made[symbol] = Instrument(
                number, symbol, InstrumentClass.CURRENCY, currency=NO_CURRENCY, price_scale=price,
                quantity_scale=quantity,
            )  # fmt: skip
        return made

    def _read(self, check: bool) -> Iterator[Batch | None]:
        rows, tick = 0, 0
        for columns in read_columns(self.path, COLUMNS):
            if not len(columns[0]):
                continue
            texts = dict(zip(COLUMNS, columns, strict=True))
            faults = Faults(self.path.name, rows)
            batch = self._translate(texts, faults, tick, rows, check)
            if batch is not None:
                ticks = (batch.orders[:, e.OrderSubmitted.TICK], batch.cancels[:, e.OrderCancelRequested.TICK])
                tick = max(int(part.max(initial=tick)) for part in ticks)
            yield batch
            rows += len(columns[0])
            if self._on_rows is not None:
                self._on_rows(rows)

    def _translate(
        self, texts: Mapping[str, Texts], faults: Faults, last_tick: int, rows_before: int, check: bool
    ) -> Batch | None:
        n = len(texts["tick"])
        every = np.ones(n, np.bool_)
        tick = faults.decimals("tick", texts["tick"], np.zeros(n, np.int64), every)
        faults.add("tick", texts["tick"], tick < 0, "ticks count from 0")
        back = tick < np.maximum.accumulate(np.r_[last_tick, tick[:-1]])
        faults.add("tick", texts["tick"], back, "it is earlier than the row before: sort the tape by tick")
        for column in ("agent", "order", "instrument"):
            faults.add(column, texts[column], ~given(texts[column]), REMEDY[Fault.MISSING])
        action = faults.choice("action", texts["action"], _ACTIONS, every)
        submit = action == 0
        side = faults.choice("side", texts["side"], _symbols(Side), submit)
        kind = faults.choice("type", texts["type"], _symbols(OrderType), submit)
        tif = faults.choice("tif", texts["tif"], _symbols(TimeInForce), submit)
        post_only = faults.choice("post_only", texts["post_only"], _TRUTH, submit)
        number, price_scale, quantity_scale = self._listed(texts["instrument"], check)
        needed = submit & (given(texts["price"]) | (kind == OrderType.LIMIT))
        price = faults.decimals("price", texts["price"], price_scale, needed)
        quantity = faults.decimals("quantity", texts["quantity"], quantity_scale, submit)
        faults.check()
        agent = self._agents.numbers(texts["agent"])
        order = None if agent is None else self._order(texts["order"], agent, number, submit, check)
        if agent is None or order is None:
            return None
        o, c = e.OrderSubmitted, e.OrderCancelRequested
        place = np.arange(n, dtype=np.int64)
        row = rows_before + 1 + place  # (run, agent, n) is a record's identity: n is its row
        orders = np.zeros((int(submit.sum()), o.width), np.int64)
        for at, values in (
            (o.TICK, tick), (o.AGENT, agent), (o.N, row), (o.ORDER, order), (o.INSTRUMENT, number), (o.SIDE, side),
            (o.TYPE, kind), (o.TIF, tif), (o.POST_ONLY, post_only), (o.PRICE, price), (o.QUANTITY, quantity),
        ):  # fmt: skip
            orders[:, at] = values[submit]
        cancels = np.zeros((n - len(orders), c.width), np.int64)
        for at, values in (
            (c.TICK, tick), (c.AGENT, agent), (c.N, row), (c.ORDER, order), (c.INSTRUMENT, number),
        ):  # fmt: skip
            cancels[:, at] = values[~submit]
        return Batch(orders, cancels, np.concatenate((place[submit], place[~submit])))

    def _order(
        self, texts: Texts, agent: NDArray[np.int64], instrument: NDArray[np.int64], submit: Mask, check: bool
    ) -> NDArray[np.int64] | None:
        """Numbers of a batch's orders; None where it is the first to show that ids cannot stay as they are."""
        if self._orders.named:
            # The check needs no numbers of orders; there may be very many.
            return np.zeros(len(texts), np.int64) if check else self._orders.numbers(texts, agent, instrument, submit)
        order = self._orders.integers(texts)
        if order is not None and check and not self._orders.rise(order[submit], agent[submit], instrument[submit]):
            return None
        return order

    def _listed(self, texts: Texts, check: bool) -> NDArray[np.int64]:
        """(3, n): number, price scale and quantity scale of each row's instrument; during the check any number."""
        coded = texts.dictionary_encode()
        symbols = coded.dictionary.to_pylist()
        if check:
            self._symbols.update(dict.fromkeys(symbols))
        elif not self._instruments.keys() >= set(symbols):
            raise self._changed()
        places = dict(zip(self._symbols, range(len(self._symbols)), strict=True)) if check else {}
        numbers = [places[symbol] if check else self._instruments[symbol].instrument for symbol in symbols]
        table = [(number, *self.scales.of(symbol)) for number, symbol in zip(numbers, symbols, strict=True)]
        return np.array(table, np.int64)[coded.indices.to_numpy()].T
