"""Households: work, consume by a budget, save, hold and trade shares, found firms."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agents.outbox import Outbox
from agents.public import Public, Static, parameter_of
from agents.state import Arrays
from economy.accounts import HOUSEHOLD_INCOME
from economy.numbers import rng
from economy.numbers.draws import Draw
from economy.numbers.elementary import exp, exp_each, power
from economy.numbers.units import RATE, UNIT
from economy.opening import PRICE
from economy.records import events as e
from economy.records.events import (
    Account,
    Action,
    EndReason,
    Events,
    Parameter,
    Role,
    Rows,
    Strategy,
    TransferKind,
    Use,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MONEY: Final = UNIT // (PRICE * 100)  # 1e-8 per price step and lot of a product
SHARE_MONEY: Final = UNIT // PRICE  # 1e-8 per price step and share
SAFETY: Final = 0.98  # share of deposits that orders may bind
MAX_BUDGET: Final = 0.9  # of deposits, per round
FOUNDING_SHARE: Final = 4  # a founder gives at most a quarter of its deposits
SHARES_SHARE: Final = 0.1  # of deposits beyond a reserve that bids for shares may bind
TREND: Final = 1.2  # share of the last log change that a chartist expects again
_LOTS: Final = Draw.LOTS  # compiled code reads no attribute of a class
_SEARCH: Final = Draw.SEARCH


@njit(cache=True)
def plan_lots(
    seed: int, tick: int, ids: Ints, rows: Ints, budget: Floats, basket: Floats, price: Floats, left: Ints
) -> None:
    """Cobb-Douglas demand: lots = floor(share x budget / price + uniform), an unbiased rounding; into left[rows, :]."""
    for k in range(rows.size):
        i = rows[k]
        for j in range(basket.size):
            word = rng.philox(seed, ids[i], _LOTS, tick, j // 4)[j % 4]
            left[i, j] = np.int64(np.floor(basket[j] * budget[k] / price[j] + rng.unit(word)))


@njit(cache=True)
def backed(rows: Ints, free: Floats, left: Ints, limit: Ints, vat: float) -> Ints:
    """Lots to bid for, scaled so that limit price x lots with tax never exceeds SAFETY x free deposits."""
    out = np.zeros((rows.size, limit.size), np.int64)
    for k in range(rows.size):
        i = rows[k]
        cost = 1.0
        for j in range(limit.size):
            cost += left[i, j] * limit[j] * MONEY * (1 + vat)
        scale = min(1.0, SAFETY * max(0.0, free[k]) / cost)
        for j in range(limit.size):
            out[k, j] = np.int64(left[i, j] * scale)
    return out


@njit(cache=True)
def choose_employer(
    seed: int, tick: int, ids: Ints, rows: Ints, skill: Ints, quit_from: Ints, offers: Ints, search: int
) -> Ints:
    """Index of the offer that each unemployed household applies to, -1 = none: it sees `search` random offers and takes
    the best paid that wants more than half of its labour (Caiani et al. 2016, section 3.2)."""
    out = np.full(rows.size, -1, np.int64)
    for k in range(rows.size):
        i = rows[k]
        best = 0
        for j in range(search):
            word = rng.philox(seed, ids[i], _SEARCH, tick, j // 4)[j % 4]
            o = int(rng.unit(word) * offers.shape[0])
            if offers[o, 0] != quit_from[i] and offers[o, 1] * 2 > skill[i] and offers[o, 2] > best:
                best = offers[o, 2]
                out[k] = o
    return out


@njit(cache=True)
def settle_trades(
    trades: Rows, columns: Ints, first: int, shard: int, shards: int, product_of: Ints, cash: Ints, left: Ints,
    shares: Ints, products: int,
) -> None:  # fmt: skip
    """Apply trades to the local households: deposits, lots still wanted, shares. `columns` are those of the record that
    the loop reads; `product_of[product]` is its column in `left`."""
    maker, taker, side, instrument, quantity, notional, tax = columns
    for t in range(trades.shape[0]):
        for who, buys in ((trades[t, taker], trades[t, side] == 0), (trades[t, maker], trades[t, side] != 0)):
            if who < first or who % shards != shard:
                continue
            i = who // shards - (first - shard + shards - 1) // shards
            item = trades[t, instrument]
            if buys:
                cash[i] -= trades[t, notional] + trades[t, tax]
            else:
                cash[i] += trades[t, notional]
            if item >= products:
                shares[i, item - products] += trades[t, quantity] if buys else -trades[t, quantity]
            else:
                left[i, product_of[item]] -= trades[t, quantity]


class Households(Arrays):
    """The households of one shard."""

    STATE: ClassVar = (
        "cash", "shares", "last_wage", "expected_income", "income", "left", "decision", "quit_from", "paid",
    )  # fmt: skip

    def __init__(self, static: Static, shard: int, shards: int) -> None:
        p = static.population
        self.static, self.shard, self.shards = static, shard, shards
        self.ids = p.members(p.first_household, p.size, shard, shards)
        self.index = self.ids - p.first_household  # among all households
        n, goods = len(self.ids), len(static.consumed)
        self.cash = np.zeros(n, np.int64)
        self.shares = np.zeros((n, len(static.listed)), np.int64)
        self.last_wage = np.zeros(n, np.int64)
        self.expected_income = np.zeros(n)  # 1e-8 per round
        self.income = np.zeros(n, np.int64)  # disposable, since the round began
        self.left = np.zeros((n, goods), np.int64)  # lots still wanted this round
        self.decision = np.zeros(n, np.int64)  # n of this round's consumption decision
        self.quit_from = np.full(n, -1, np.int64)
        self.paid = np.zeros(n, np.int64)  # 1 = had wages this round
        self._owner = static.owner[self.index]
        self._product_of = np.full(static.products, -1, np.int64)
        self._product_of[static.consumed] = np.arange(goods)

    def open(self, opening: Events, public: Public) -> None:
        """State at the cut of the opening."""
        p, b = self.static.population, e.OpeningBalance
        households = (p.first_household, p.size)
        rows = opening[b.name]
        rows = rows[(rows[:, b.AGENT] >= p.first_household) & (rows[:, b.AGENT] % self.shards == self.shard)]
        at = self._places(rows[:, b.AGENT])
        cash, shares = rows[:, b.ACCOUNT] == Account.CASH, rows[:, b.ACCOUNT] == Account.SHARES
        self.cash[at[cash]] = rows[cash, b.QUANTITY]
        for k, issuer in enumerate(self.static.listed):
            mine = shares & (rows[:, b.ITEM] == issuer)
            self.shares[at[mine], k] = rows[mine, b.QUANTITY]
        income = parameter_of(opening, Parameter.EXPECTED_INCOME, *households)[self.index]
        self.expected_income = income / RATE * UNIT
        wage = int(self.static.scenario.targets.wage * UNIT / 1000)
        self.last_wage = public.skill[self.index] * wage

    def _places(self, agents: Ints) -> Ints:
        first = self.static.population.first_household
        return agents // self.shards - (first - self.shard + self.shards - 1) // self.shards

    def _mine(self, agents: Ints) -> NDArray[np.bool_]:
        return (agents >= self.static.population.first_household) & (agents % self.shards == self.shard)

    # ---- choices
    def shop(self, out: Outbox, public: Public, ticks: Ints, start: int, turn: int) -> None:
        """Turn 1: the first half plans and bids; 2: the second half does, the first bids again; 3: the second again."""
        group = (rng.bits(self.static.seed, self.ids, Draw.GROUP, start) % np.uint64(2)).astype(np.int64) + 1
        fresh = np.flatnonzero(group == turn)
        if turn < 3 and len(fresh):
            self._plan(out, public, ticks, start, fresh)
        rows = np.flatnonzero((group == turn) | (group == turn - 1))
        self._bid(out, public, ticks, rows)

    def _plan(self, out: Outbox, public: Public, ticks: Ints, start: int, rows: Ints) -> None:
        """Budget = a1 x expected income + a2 x deposits, at most 90 % of deposits (Godley and Lavoie 2007, ch. 3);
        a1 falls with the real rate and moves with common confidence (Assenza et al. 2015)."""
        h, s = self.static.scenario.households, self.static
        propensity = h.income_propensity * exp(float(public.confidence[0]))
        propensity -= h.rate_consumption * public.real_rate_gap
        cash = self.cash[rows]
        budget = propensity * self.expected_income[rows] + s.wealth_propensity * cash
        budget = np.maximum(0, np.minimum(budget, MAX_BUDGET * cash))
        weights = [float(s.tech.consumption[j]) * exp(float(public.taste[j])) for j in s.consumed]
        basket = np.array(weights) / sum(weights)
        price = public.value[s.consumed] * (1 + s.scenario.targets.vat) * MONEY
        plan_lots(s.seed, start, self.ids, rows, budget, basket, price, self.left)
        self.decision[rows] = out.decide(
            Role.HOUSEHOLD, self.ids[rows], ticks[rows], Action.CONSUME, budget.astype(np.int64),
            self.expected_income[rows].astype(np.int64), cash,
        )  # fmt: skip

    def _bid(self, out: Outbox, public: Public, ticks: Ints, rows: Ints) -> None:
        s = self.static
        limit = np.rint(public.value[s.consumed] * s.scenario.households.urgency).astype(np.int64)
        lots = backed(rows, self.cash[rows].astype(float), self.left, limit, s.scenario.targets.vat)
        k, j = np.nonzero(lots)
        i = rows[k]
        out.order(
            self.ids[i], ticks[i], s.consumed[j], e.Side.BUY, e.TimeInForce.IOC, limit[j], lots[k, j],
            use=Use.CONSUMPTION, tax_rate=s.vat_bp, decision=self.decision[i],
        )  # fmt: skip

    def look_for_work(self, out: Outbox, public: Public, ticks: Ints, start: int) -> None:
        """The unemployed answer the best offer that they see."""
        rows = np.flatnonzero(public.employer[self.index] < 0)
        if not len(rows) or not len(public.offers):
            return
        s, skill = self.static, public.skill[self.index]
        chosen = choose_employer(
            s.seed, start, self.ids, rows, skill, self.quit_from, public.offers, s.scenario.labour.search
        )
        rows, chosen = rows[chosen >= 0], chosen[chosen >= 0]
        employer = s.population.first_firm + public.offers[chosen, 0]
        who, when = self.ids[rows], ticks[rows]
        out.decide(Role.HOUSEHOLD, who, when, Action.APPLY, employer, public.offers[chosen, 2], len(public.offers))
        a = e.ContractAccepted
        out.add(a.name, a.width, who, when, employer, e.ContractKind.EMPLOYMENT, skill[rows])

    def quit(self, out: Outbox, public: Public, ticks: Ints, start: int) -> None:
        """A few leave their job without another (job-to-job search and life are not modelled)."""
        employer = public.employer[self.index]
        draw = rng.uniform(self.static.seed, self.ids, Draw.QUIT, start)
        rows = np.flatnonzero((employer >= 0) & (draw < self.static.scenario.labour.quit))
        self.quit_from[:] = -1
        self.quit_from[rows] = employer[rows]
        firm = self.static.population.first_firm + employer[rows]
        out.decide(Role.HOUSEHOLD, self.ids[rows], ticks[rows], Action.QUIT, firm)
        out.end_contracts(self.ids[rows], ticks[rows], firm, self.ids[rows], EndReason.QUIT)

    def claim_benefits(self, out: Outbox, ticks: Ints) -> None:
        """Who had no wages this round claims a share of the last gross wage."""
        rows = np.flatnonzero(self.paid == 0)
        bp = round(self.static.scenario.targets.replacement * 10_000)
        amount = self.last_wage[rows] * bp // 10_000
        out.claim(TransferKind.BENEFIT, self.ids[rows], ticks[rows], self.static.population.government, amount)

    def trade_shares(self, out: Outbox, public: Public, ticks: Ints, start: int) -> None:
        """Some owners compare their own valuation with the best quotes and buy, sell or do nothing.

        Value = fundamental x e^(noise): the simplest rule with disagreement. Chartists put the extrapolated price in
        the fundamental's place; who buys and holds never trades.
        """
        s, c = self.static, self.static.scenario.stocks
        bound = np.zeros(len(self.ids), np.int64)
        follows = public.strategy[self.ids]
        for k, instrument in enumerate(s.equities.tolist()):
            held = self.shares[:, k]
            draw = rng.uniform(s.seed, self.ids, Draw.TRADES_SHARES, start + k)
            rows = np.flatnonzero((draw < c.activity) & ((held > 0) | self._owner) & (follows != Strategy.BUY_AND_HOLD))
            if not len(rows):
                continue
            noise = rng.normal(s.seed, self.ids[rows], Draw.VALUATION, start + k)
            value = np.where(follows[rows] == Strategy.CHARTIST, extrapolated(public, k), fundamental(public, k))
            worth = value * exp_each(c.valuation_sd * noise)
            limit = np.maximum(1, np.rint(worth)).astype(np.int64)
            buys = worth > public.ask[k] * 1.02
            sells = worth < public.bid[k] * 0.98
            free = np.maximum(0, self.cash[rows] - 15 * self.expected_income[rows]) * SHARES_SHARE - bound[rows]
            wanted = np.where(buys, np.maximum(0, free) / (limit * SHARE_MONEY), 0.05 * held[rows] * sells)
            quantity = np.minimum(wanted.astype(np.int64), 500)
            who, when = self.ids[rows], ticks[rows]
            signed = np.where(buys, quantity, -quantity)
            n = out.decide(Role.HOUSEHOLD, who, when, Action.TRADE_SHARES, signed, limit, instrument, held[rows])
            acts = quantity > 0
            bound[rows] += np.where(buys, quantity * limit * SHARE_MONEY, 0)
            side = np.where(buys, e.Side.BUY, e.Side.SELL)
            out.order(
                who[acts], when[acts], instrument, side[acts], e.TimeInForce.IOC, limit[acts], quantity[acts],
                decision=n[acts],
            )  # fmt: skip

    def found(self, out: Outbox, public: Public, ticks: Ints) -> None:
        """The richest pay in the deposits of a failed firm's successor, in proportion to theirs, at most a quarter."""
        given = np.zeros(len(self.ids), np.int64)
        for firm, needed in public.bankrupt.tolist():
            rows = np.flatnonzero(self.cash >= public.top_threshold[0])
            share = min(1 / FOUNDING_SHARE, needed / float(public.top_sum[0]))
            amount = np.minimum((self.cash[rows] * share).astype(np.int64), self.cash[rows] // 2 - given[rows])
            amount = np.maximum(0, amount)
            given[rows] += amount
            payee = self.static.population.first_firm + firm
            out.decide(Role.HOUSEHOLD, self.ids[rows], ticks[rows], Action.FOUND, amount, payee, needed)
            out.transfer(TransferKind.FOUNDING, self.ids[rows], ticks[rows], payee, amount)
            self.cash[rows] -= amount

    # ---- the cut
    def apply(self, flows: Events, trades: Events, round_ends: bool) -> None:
        """Receipts, trades and share issues of one epoch; at a round's end the expected income adapts."""
        self._receive(flows)
        t = e.TradeExecuted
        rows = trades.get(t.name)
        if rows is not None:
            columns = np.array(
                [t.MAKER_AGENT, t.TAKER_AGENT, t.TAKER_SIDE, t.INSTRUMENT, t.QUANTITY, t.NOTIONAL, t.TAX], np.int64
            )
            settle_trades(
                rows, columns, self.static.population.first_household, self.shard, self.shards, self._product_of,
                self.cash, self.left, self.shares, self.static.products,
            )  # fmt: skip
        for kind, sign in ((e.SharesCancelled, -1), (e.SharesIssued, 1)):
            issued = flows.get(kind.name)
            if issued is not None:
                issued = issued[self._mine(issued[:, kind.HOLDER]) & np.isin(issued[:, kind.AGENT], self.static.listed)]
                k = np.searchsorted(self.static.listed, issued[:, kind.AGENT])
                np.add.at(self.shares, (self._places(issued[:, kind.HOLDER]), k), sign * issued[:, kind.QUANTITY])
        if round_ends:
            speed = self.static.scenario.households.income_speed
            self.expected_income += speed * (self.income - self.expected_income)
            self.income[:] = 0
            self.paid[:] = 0
            self.left[:] = 0

    def _receive(self, flows: Events) -> None:
        m = e.MoneyTransferred
        rows = flows.get(m.name)
        if rows is None:
            return
        rows = rows[self._mine(rows[:, m.PAYEE])]
        at, net = self._places(rows[:, m.PAYEE]), rows[:, m.AMOUNT] - rows[:, m.WITHHELD]
        np.add.at(self.cash, at, net)
        earned = np.isin(rows[:, m.KIND], HOUSEHOLD_INCOME)
        np.add.at(self.income, at[earned], net[earned])
        wages = rows[:, m.KIND] == TransferKind.WAGE
        self.last_wage[at[wages]] = rows[wages, m.AMOUNT]
        self.paid[at[wages]] = 1


def extrapolated(public: Public, k: int) -> float:
    """Price that a chartist expects, in price steps: the last change goes on (Brock and Hommes 1998, trend chasers)."""
    now, before = float(public.share_price[k]), float(public.share_price_before[k])
    return now * power(now / before, TREND)


def fundamental(public: Public, k: int) -> float:
    """Gordon growth: expected dividend / (required return - nominal growth), in price steps. The required return moves
    half with the policy rate."""
    t, c = public.static.scenario.targets, public.static.scenario.stocks
    neutral = t.real_rate + t.inflation
    required = c.equity_return + 0.5 * (float(public.policy_rate[0]) - neutral)
    growth = (1 + t.inflation) * (1 + t.growth) - 1
    return max(float(public.dividend[k]), 1e-9) / max(0.01, required - growth) * PRICE
