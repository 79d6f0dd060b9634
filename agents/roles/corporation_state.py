"""What a corporation has and knows, and how the log's events change it."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agents.public import Public, Static, parameter_of
from agents.roles import corporation_rules as rules
from agents.roles.household import MONEY
from agents.roles.shareholding import Register
from agents.state import Arrays
from economy.numbers.units import RATE, RECIPE_SCALE
from economy.opening import PRICE
from economy.records import events as e
from economy.records.events import Account, Events, Parameter, Rows, TransferKind, Use

Ints = NDArray[np.int64]


_INTERMEDIATE: Final = int(Use.INTERMEDIATE)  # compiled code reads no attribute of a class
_INVESTMENT: Final = int(Use.INVESTMENT)


@njit(cache=True)
def settle_trades(
    trades: Rows, columns: Ints, first: int, place: Ints, value: Ints, storable: NDArray[np.bool_], cash: Ints,
    goods: Ints, capital: Ints, sold: Ints, profit: Ints, want: Ints, owed: Ints, used: Ints,
) -> None:  # fmt: skip
    """Book trades of products with the local corporations, in order: each sells its own, and buys inputs and machines.

    `place[firm]` is a firm's place here, -1 elsewhere; `value[product]` what a stock of it is valued at.
    """
    instrument, side, maker, taker, quantity, notional, use = columns
    for t in range(trades.shape[0]):
        item, lots, money = trades[t, instrument], trades[t, quantity], trades[t, notional]
        if item >= storable.size:
            continue  # shares
        buyer, seller = trades[t, taker] - first, trades[t, maker] - first
        if trades[t, side] != 0:
            buyer, seller = seller, buyer
        at_value = lots * value[item] * MONEY
        i = place[seller]  # every seller of a product is a corporation
        if i >= 0:
            cash[i] += money
            sold[i] += lots
            profit[i] += money
            if storable[item]:
                goods[i, item] -= lots
                profit[i] -= at_value
        i = place[buyer] if 0 <= buyer < place.size else -1
        if i < 0:
            continue
        if trades[t, use] == _INTERMEDIATE:
            cash[i] -= money
            want[i, item] -= lots
            back = min(owed[i, item], lots)  # what was owed is used when bought
            owed[i, item] -= back
            profit[i] -= money
            if storable[item]:
                goods[i, item] += lots - back
                used[i, item] += back
                profit[i] += at_value  # the stock's value; what is used is taken off at E4
        elif trades[t, use] == _INVESTMENT:
            cash[i] -= money
            capital[i] += lots


class CorporationState(Arrays):
    """Stocks, prices, plans and contracts of one shard's corporations, (firms,) or (firms, products) each."""

    STATE: ClassVar = (
        "cash", "goods", "owed", "remainder", "capital", "wear", "price", "wage", "markup", "productivity", "spirit",
        "expected", "expected_long", "profit", "poor", "born", "vacant", "unit_cost", "labour", "plan", "sold",
        "offered", "reserve", "vacancy", "need", "want", "limit", "machines", "used", "decision", "applications",
        "founders", "seeking",
    )  # fmt: skip
    LISTS: ClassVar = ("applications", "founders")

    def __init__(self, static: Static, shard: int, shards: int) -> None:
        p, n = static.population, static.products
        self.static, self.shard, self.shards = static, shard, shards
        self.ids = p.members(p.first_firm, p.first_household, shard, shards)
        self.index = self.ids - p.first_firm  # among all firms
        self.place = np.full(p.firms, -1, np.int64)
        self.place[self.index] = np.arange(len(self.ids))
        self.product = static.product[self.index]
        f = len(self.ids)
        for name in (
            "cash", "capital", "wear", "price", "wage", "profit", "poor", "sold", "offered", "vacancy", "machines",
            "decision", "seeking",
        ):  # fmt: skip
            setattr(self, name, np.zeros(f, np.int64))
        for name in ("goods", "owed", "remainder", "want", "limit", "used"):
            setattr(self, name, np.zeros((f, n), np.int64))
        for name in (
            "markup", "productivity", "spirit", "expected", "expected_long", "vacant", "unit_cost", "labour", "plan",
            "reserve", "need",
        ):  # fmt: skip
            setattr(self, name, np.zeros(f))
        self.born = np.full(f, -(10**9), np.int64)
        self.applications = np.empty((0, 3), np.int64)  # (local firm, household index, labour lots)
        self.founders = np.empty((0, 3), np.int64)  # (local firm, agent, deposits paid in)
        self.register = Register(self.ids, p.size)
        self.rules = self._rules()

    cash: Ints
    goods: Ints
    owed: Ints
    remainder: Ints
    capital: Ints
    wear: Ints
    price: Ints
    wage: Ints
    profit: Ints
    poor: Ints
    sold: Ints
    offered: Ints
    vacancy: Ints
    machines: Ints
    decision: Ints
    seeking: Ints
    want: Ints
    limit: Ints
    used: Ints
    markup: NDArray[np.float64]
    productivity: NDArray[np.float64]
    spirit: NDArray[np.float64]
    expected: NDArray[np.float64]
    expected_long: NDArray[np.float64]
    vacant: NDArray[np.float64]
    unit_cost: NDArray[np.float64]
    labour: NDArray[np.float64]
    plan: NDArray[np.float64]
    reserve: NDArray[np.float64]
    need: NDArray[np.float64]

    def _rules(self) -> rules.FirmRules:
        s = self.static
        own = {
            "utilisation": s.scenario.targets.utilisation,
            "markup": s.markup,
            "growth": s.rates.growth,
            "depreciation": s.rates.depreciation,
        }
        return rules.FirmRules(
            **{name: own.get(name, getattr(s.scenario.firms, name, 0.0)) for name in rules.FirmRules._fields}
        )

    def view(self) -> rules.FirmState:
        """What the planning rules read and write."""
        return rules.FirmState(
            self.product, self.productivity, self.spirit, self.expected, self.expected_long, self.markup, self.price,
            self.wage, self.capital, self.goods, self.sold, self.offered, self.owed, self.unit_cost, self.labour,
            self.plan,
        )  # fmt: skip

    def open(self, opening: Events) -> None:
        """State at the cut of the opening."""
        p, b = self.static.population, e.OpeningBalance
        rows = opening[b.name]
        agents = rows[:, b.AGENT]
        rows = rows[(agents >= p.first_firm) & (agents < p.first_household) & (agents % self.shards == self.shard)]
        at = self.place[rows[:, b.AGENT] - p.first_firm]
        for account, target in ((Account.CASH, self.cash), (Account.CAPITAL, self.capital)):
            mine = rows[:, b.ACCOUNT] == account
            target[at[mine]] = rows[mine, b.QUANTITY]
        mine = rows[:, b.ACCOUNT] == Account.GOODS
        self.goods[at[mine], rows[mine, b.ITEM]] = rows[mine, b.QUANTITY]
        firms = (p.first_firm, p.first_household)
        self.expected = parameter_of(opening, Parameter.EXPECTED_SALES, *firms)[self.index] / RATE
        self.expected_long = self.expected.copy()
        self.wage = parameter_of(opening, Parameter.WAGE, *firms)[self.index] // RATE
        self.markup[:], self.price[:] = self.static.markup, PRICE
        self.register.open(opening)

    def input_cost(self, public: Public) -> NDArray[np.float64]:
        """Inputs of a round at expected sales, 1e-8."""
        s = self.static
        cost = np.zeros(len(self.ids))
        for i, p in enumerate(self.product.tolist()):
            for j in range(s.products):
                cost[i] += s.recipe[p, j] / RECIPE_SCALE * float(public.value[j])
        return cost * self.expected * MONEY

    def apply(self, public: Public, flows: Events, trades: Events) -> None:
        """Receipts, applications and trades of one epoch, at this round's valuation prices."""
        p, m = self.static.population, e.MoneyTransferred
        rows = flows.get(m.name)
        if rows is not None:
            rows = rows[(rows[:, m.PAYEE] >= p.first_firm) & (rows[:, m.PAYEE] < p.first_household)]
            at = self.place[rows[:, m.PAYEE] - p.first_firm]
            rows, at = rows[at >= 0], at[at >= 0]
            np.add.at(self.cash, at, rows[:, m.AMOUNT])
            founded = rows[:, m.KIND] == TransferKind.FOUNDING
            paid = np.column_stack((at[founded], rows[founded, m.AGENT], rows[founded, m.AMOUNT]))
            self.founders = np.concatenate((self.founders, paid))
        a = e.ContractAccepted
        rows = flows.get(a.name)
        if rows is not None:
            at = self.place[rows[:, a.OFFERER] - p.first_firm]
            worker = rows[:, a.AGENT] - p.first_household
            self.applications = np.column_stack((at, worker, rows[:, a.QUANTITY]))[at >= 0]
        rows = trades.get(e.TradeExecuted.name)
        if rows is not None:
            self._settle_trades(public, rows)
        self.register.apply(trades, self.static)

    def _settle_trades(self, public: Public, rows: Ints) -> None:
        t, p = e.TradeExecuted, self.static.population
        # Columns by name: their places may change with the schema, and a compiled function would not notice.
        columns = np.array(
            [t.INSTRUMENT, t.TAKER_SIDE, t.MAKER_AGENT, t.TAKER_AGENT, t.QUANTITY, t.NOTIONAL, t.USE], np.int64
        )
        settle_trades(
            rows, columns, p.first_firm, self.place, public.value, self.static.goods, self.cash, self.goods,
            self.capital, self.sold, self.profit, self.want, self.owed, self.used,
        )  # fmt: skip
