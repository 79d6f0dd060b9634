"""The statistics office: publishes the aggregates that decisions use, from events that everybody could read."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agents.outbox import Outbox
from agents.public import Public, Static
from agents.state import Arrays
from economy.numbers.exact import sum_by
from economy.numbers.units import RATE, SHARES, UNIT
from economy.opening import LOT, PRICE
from economy.records import events as e
from economy.records.events import Account, Action, Events, Role, Series, TransferKind, Use

Ints = NDArray[np.int64]
SMOOTHING = 0.15  # of dividends per share, per payment


class StatisticsOffice(Arrays):
    """The one office; lives on one shard."""

    STATE: ClassVar = (
        "sold", "smooth", "capital", "spent", "bought", "final", "wages", "index", "unemployment", "dividend", "paid",
    )  # fmt: skip

    def __init__(self, static: Static) -> None:
        n = static.products
        self.static = static
        self.id = np.array([static.population.statistics_office])
        self.sold = np.zeros(n, np.int64)  # lots, this round
        self.smooth = np.zeros(n)  # mean sales per firm and round
        self.capital = np.zeros(n, np.int64)  # machines in each industry
        self.spent, self.bought = np.zeros(n, np.int64), np.zeros(n, np.int64)  # consumption of the quarter
        self.final = np.zeros(1, np.int64)  # final sales of the quarter with tax
        self.wages = np.zeros(2, np.int64)  # of the round: 1e-8, labour lots
        self.index = np.ones(5)  # consumer prices, the last five quarters, newest last
        self.unemployment = np.array([static.scenario.targets.unemployment])
        self.dividend = np.zeros(len(static.listed))
        self.paid = np.zeros(len(static.listed), np.int64)  # dividends of listed issuers, this round

    def open(self, opening: Events, public: Public) -> None:
        """State at the cut of the opening."""
        p, b = self.static.population, e.OpeningBalance
        rows = opening[b.name]
        rows = rows[rows[:, b.ACCOUNT] == Account.CAPITAL]
        self.capital = sum_by(
            self.static.product[rows[:, b.AGENT] - p.first_firm], rows[:, b.QUANTITY], self.static.products
        )
        self.smooth, self.dividend = public.mean_sales.copy(), public.dividend.copy()

    def publish(self, out: Outbox, public: Public, tick: int, number: int) -> None:
        """At the end of a round, and more at the end of a quarter."""
        s, me, first = self.static, int(self.id[0]), np.zeros(1, np.int64)
        rounds, firms = s.scenario.calendar.rounds, s.scenario.firms
        self.smooth += firms.sales_speed * (self.sold / s.firms_of - self.smooth)
        every = np.arange(s.products)
        out.publish(me, tick, Series.MEAN_SALES, every, np.rint(self.smooth * RATE).astype(np.int64))
        mean_capital = np.rint(self.capital / s.firms_of * RATE).astype(np.int64)
        out.publish(me, tick, Series.MEAN_CAPITAL, every, mean_capital)
        without = int((public.employer < 0).sum()) / len(public.employer)
        speed = s.scenario.policy.unemployment_speed
        self.unemployment += speed * (without - self.unemployment)
        out.publish(me, tick, Series.UNEMPLOYMENT, first, np.rint(self.unemployment * RATE).astype(np.int64))
        if self.wages[1]:
            wage = int(self.wages[0]) * RATE // int(self.wages[1])
            out.publish(me, tick, Series.MARKET_WAGE, first, np.array([wage]))
        self._dividends(out, tick)
        out.decide(
            Role.STATISTICS_OFFICE, self.id, np.array([tick]), Action.PUBLISH, round(without * RATE),
            self.wages[0], self.wages[1], self.sold.sum(),
        )  # fmt: skip
        if (number + 1) % rounds == 0:
            self._quarter(out, public, tick, (number + 1) // rounds)
        self.sold[:], self.wages[:], self.paid[:] = 0, 0, 0

    def _dividends(self, out: Outbox, tick: int) -> None:
        paid = np.flatnonzero(self.paid)
        yearly = self.paid[paid] / SHARES / UNIT * 4
        self.dividend[paid] += SMOOTHING * (yearly - self.dividend[paid])
        values = np.rint(self.dividend[paid] * RATE).astype(np.int64)
        out.publish(int(self.id[0]), tick, Series.STOCK_FUNDAMENTAL, self.static.listed[paid], values)

    def _quarter(self, out: Outbox, public: Public, tick: int, quarter: int) -> None:
        """Consumer prices (Laspeyres on the basket of the start), inflation over a year, final sales."""
        s, me, first = self.static, int(self.id[0]), np.zeros(1, np.int64)
        index = 0.0
        for j in s.consumed.tolist():
            price = public.value[j] / PRICE
            if self.bought[j]:
                price = float(self.spent[j]) / float(self.bought[j]) * LOT / UNIT
            index += float(s.tech.consumption[j]) * price
        self.index = np.append(self.index[1:], index)
        inflation = float(np.log(index / self.index[0]))
        if quarter < 4:  # less than a year is known: extend it, half trusted
            inflation = inflation * 4 / max(1, quarter) * 0.5 + 0.5 * s.scenario.targets.inflation
        for series, value in (
            (Series.CONSUMER_PRICE_INDEX, index),
            (Series.INFLATION, inflation),
            (Series.GDP, int(self.final[0]) / UNIT),
        ):
            out.publish(me, tick, series, first, np.array([round(value * RATE)]))
        self.spent[:], self.bought[:], self.final[:] = 0, 0, 0

    def apply(self, public: Public, flows: Events, trades: Events) -> None:
        """Count the trades and payments of one epoch."""
        s, p, t, m = self.static, self.static.population, e.TradeExecuted, e.MoneyTransferred
        rows = trades.get(t.name)
        if rows is not None:
            rows = rows[rows[:, t.INSTRUMENT] < s.products]
            item, lots, money = rows[:, t.INSTRUMENT], rows[:, t.QUANTITY], rows[:, t.NOTIONAL]
            self.sold += sum_by(item, lots, s.products)
            self.final[0] += int(money[rows[:, t.USE] != Use.INTERMEDIATE].sum()) + int(rows[:, t.TAX].sum())
            consumed = rows[:, t.USE] == Use.CONSUMPTION
            self.bought += sum_by(item[consumed], lots[consumed], s.products)
            self.spent += sum_by(item[consumed], money[consumed], s.products)
            machines = rows[rows[:, t.USE] == Use.INVESTMENT]
            buys = machines[:, t.TAKER_SIDE] == e.Side.BUY
            buyer = np.where(buys, machines[:, t.TAKER_AGENT], machines[:, t.MAKER_AGENT])
            self.capital += sum_by(s.product[buyer - p.first_firm], machines[:, t.QUANTITY], s.products)
        worn = flows.get(e.CapitalDepreciated.name)
        if worn is not None:
            d = e.CapitalDepreciated
            self.capital -= sum_by(s.product[worn[:, d.AGENT] - p.first_firm], worn[:, d.QUANTITY], s.products)
        rows = flows.get(m.name)
        if rows is not None:
            wages = rows[rows[:, m.KIND] == TransferKind.WAGE]
            self.wages[0] += int(wages[:, m.AMOUNT].sum())
            self.wages[1] += int(public.skill[wages[:, m.PAYEE] - p.first_household].sum())
            dividends = rows[(rows[:, m.KIND] == TransferKind.DIVIDEND) & np.isin(rows[:, m.AGENT], s.listed)]
            k = np.searchsorted(s.listed, dividends[:, m.AGENT])
            self.paid += sum_by(k, dividends[:, m.AMOUNT], len(s.listed))
