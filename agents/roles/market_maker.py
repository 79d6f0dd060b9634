"""Market makers: quote both sides of every listed share by a simple rule."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agents.outbox import Outbox
from agents.public import Public, Static
from agents.roles.household import SHARE_MONEY, fundamental
from agents.roles.shareholding import Register
from agents.state import Arrays
from economy.numbers.elementary import exp, log, power
from economy.numbers.units import SHARES
from economy.opening import FLOAT_SHARE
from economy.records import events as e
from economy.records.events import Account, Action, Events, Role, Strategy

Ints = NDArray[np.int64]
SIZE: Final = SHARES // 500  # most shares per quote
SKEW: Final = 0.01  # move of both quotes per normal holding of inventory
PULL: Final = 0.10  # share of the gap to the fundamental closed per round
CASH_SHARE: Final = 0.2  # of deposits that one bid may bind
PAYOUT: Final = 0.25  # share of deposits above target paid out per quarter


class MarketMakers(Arrays):
    """The market makers of one shard."""

    STATE: ClassVar = ("cash", "shares", "mid", "bought")

    def __init__(self, static: Static, shard: int, shards: int) -> None:
        p = static.population
        self.static, self.shards = static, shards
        self.ids = p.members(p.first_maker, p.first_firm, shard, shards)
        self.cash = np.zeros(len(self.ids), np.int64)
        self.shares = np.zeros((len(self.ids), len(static.listed)), np.int64)
        self.mid = np.zeros((len(self.ids), len(static.listed)))  # price steps
        self.bought = np.zeros((len(self.ids), len(static.listed)), np.int64)  # since the last quotes
        self.register = Register(self.ids, p.size)

    def open(self, opening: Events, public: Public) -> None:
        """State at the cut of the opening."""
        b = e.OpeningBalance
        rows = opening[b.name]
        rows = rows[np.isin(rows[:, b.AGENT], self.ids)]
        at = np.searchsorted(self.ids, rows[:, b.AGENT])
        cash = rows[:, b.ACCOUNT] == Account.CASH
        self.cash[at[cash]] = rows[cash, b.QUANTITY]
        held = rows[:, b.ACCOUNT] == Account.SHARES
        k = np.searchsorted(self.static.listed, rows[held, b.ITEM])
        self.shares[at[held], k] = rows[held, b.QUANTITY]
        self.mid[:] = public.share_price
        self.register.open(opening)

    def quote(self, out: Outbox, public: Public, ticks: Ints, ends: int) -> None:
        """Bid and ask around a mid that answers to inventory and flow (Ho and Stoll 1981) and is pulled to the
        fundamental, but for the strategy INVENTORY; a maker that follows its own prints alone may lose its capital."""
        half = self.static.scenario.stocks.half_spread
        for k, instrument in enumerate(self.static.equities.tolist()):
            flow = np.clip(self.bought[:, k] / SIZE, -1, 1)
            anchor = fundamental(public, k)
            anchored = public.strategy[self.ids] != Strategy.INVENTORY
            for m in range(len(self.ids)):
                pull = PULL * log(float(anchor / self.mid[m, k])) if anchored[m] else 0.0
                self.mid[m, k] *= exp(float(pull - SKEW * flow[m]))
            skew = SKEW * np.clip((self.shares[:, k] - FLOAT_SHARE) / FLOAT_SHARE, -1, 1)
            bid = np.maximum(1, np.floor(self.mid[:, k] * (1 - half - skew))).astype(np.int64)
            ask = np.maximum(bid + 1, np.ceil(self.mid[:, k] * (1 + half - skew)).astype(np.int64))
            asked = np.minimum(self.shares[:, k], SIZE)
            wanted = np.minimum((CASH_SHARE * self.cash / (bid * SHARE_MONEY)).astype(np.int64), SIZE)
            n = out.decide(Role.MARKET_MAKER, self.ids, ticks, Action.QUOTE, bid, ask, self.shares[:, k], instrument)
            for side, price, size in ((e.Side.BUY, bid, wanted), (e.Side.SELL, ask, asked)):
                some = size > 0
                out.order(
                    self.ids[some], ticks[some], instrument, side, e.TimeInForce.GTC, price[some], size[some],
                    expires=ends, decision=n[some],
                )  # fmt: skip
        self.bought[:] = 0

    def pay_out(self, out: Outbox, public: Public, ticks: Ints, number: int) -> None:
        """At a quarter's end part of the capital above target goes to the owners."""
        target = self.static.maker_deposits * 1e8 * power(1 + self.static.rates.nominal, float(number))
        per_share = (np.maximum(0, (self.cash - target) * PAYOUT) / SHARES).astype(np.int64)
        out.decide(Role.MARKET_MAKER, self.ids, ticks, Action.PAY_DIVIDEND, per_share, self.cash, int(target))
        every = np.arange(len(self.ids))
        self.cash -= self.register.pay_dividends(out, public, every, ticks, per_share)

    def apply(self, flows: Events, trades: Events) -> None:
        """Receipts and trades of one epoch."""
        m, t = e.MoneyTransferred, e.TradeExecuted
        rows = flows.get(m.name)
        if rows is not None:
            rows = rows[np.isin(rows[:, m.PAYEE], self.ids)]
            np.add.at(self.cash, np.searchsorted(self.ids, rows[:, m.PAYEE]), rows[:, m.AMOUNT] - rows[:, m.WITHHELD])
        for kind, sign in ((e.SharesCancelled, -1), (e.SharesIssued, 1)):
            rows = flows.get(kind.name)
            if rows is not None:
                rows = rows[np.isin(rows[:, kind.HOLDER], self.ids) & np.isin(rows[:, kind.AGENT], self.static.listed)]
                at = np.searchsorted(self.ids, rows[:, kind.HOLDER])
                k = np.searchsorted(self.static.listed, rows[:, kind.AGENT])
                np.add.at(self.shares, (at, k), sign * rows[:, kind.QUANTITY])
        rows = trades.get(t.name)
        if rows is None:
            return
        rows = rows[rows[:, t.INSTRUMENT] >= self.static.products]
        buys = rows[:, t.TAKER_SIDE] == e.Side.BUY
        for column, signs in ((t.TAKER_AGENT, np.where(buys, 1, -1)), (t.MAKER_AGENT, np.where(buys, -1, 1))):
            mine = np.isin(rows[:, column], self.ids)
            at = np.searchsorted(self.ids, rows[mine, column])
            k = rows[mine, t.INSTRUMENT] - self.static.products
            lots = signs[mine] * rows[mine, t.QUANTITY]
            np.add.at(self.shares, (at, k), lots)
            np.add.at(self.bought, (at, k), lots)
            np.subtract.at(self.cash, at, signs[mine] * rows[mine, t.NOTIONAL])
