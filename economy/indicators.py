"""National accounts of a run by window: a fold over its epochs that yields every measure of economy/measures.py.

Amounts come from the posting rules alone. Sums over agents and windows are exact integers; each figure's definition
stands in docs/economy.md. A window with unequal approaches to GDP or an open matrix raises AccountingError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from economy.accounts import COMPONENTS, GOVERNMENT, HOUSEHOLD_INCOME, Approach, Leg
from economy.errors import AccountingError, ProtocolError
from economy.instruments import Instrument
from economy.ledger import Ledger, Posting, item_table
from economy.matrices import (
    CAPITAL,
    CURRENT,
    LINES,
    SECTOR_OF,
    Flow,
    Matrix,
    Register,
    Sector,
    balance_sheet,
    transaction_flows,
)
from economy.measures import gini, lorenz
from economy.numbers.exact import sum_by
from economy.numbers.units import RATE
from economy.opening import PRICE
from economy.records import events as e
from economy.records.events import Account, Events, InstrumentClass, Parameter, Role, Rows, Use
from economy.scenario import Scenario

Ints = NDArray[np.int64]
_TAX: Final = 10_000  # tax rates are in 0.0001
_BOUGHT: Final = (Use.CONSUMPTION, Use.GOVERNMENT, Use.INVESTMENT)
_ENTRIES: Final = tuple(
    dict.fromkeys(
        name for parts in COMPONENTS.values() for name in parts
        if name not in ("inventory_change", "gross_operating_surplus")
    )
)  # fmt: skip


@dataclass(frozen=True)
class Window:
    """What the end of a window yields; `figures` by (indicator, item), `balances` are BalanceRecorded rows."""

    window: int
    figures: Mapping[tuple[str, int], int]
    balances: Rows
    balance_sheet: Matrix
    transaction_flows: Matrix


@dataclass
class _Sums:
    """What accumulates during a window."""

    income: Ints  # (agents,)
    bought: Ints  # (uses, products) lots
    spent: Ints  # (products,) notional of consumption
    value: Ints  # (instruments,) notional
    quantity: Ints  # (instruments,)
    goods: Ints  # (products,) total stock at the window's start
    cash: Ints  # (agents,) at the window's start
    entries: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_ENTRIES, 0))
    cells: dict[str, list[int]] = field(default_factory=lambda: {line: [0] * len(Flow) for line in LINES})
    other: int = 0  # corporations' cash legs that are not operating
    inventories: int = 0
    jobless: int = 0
    bankruptcies: int = 0
    trades: int = 0


class WindowProjection:
    """Fed with every epoch of a run in order, the opening (-1) first; returns a Window at each window's end.

    `roles` (agents,) holds Role numbers by agent id, as AgentFounded tells.
    """

    def __init__(self, run: int, scenario: Scenario, roles: Ints, instruments: Sequence[Instrument]) -> None:
        products = scenario.products
        self.run, self.scenario, self.time = run, scenario, scenario.time
        self.instruments = tuple(sorted(instruments, key=lambda i: i.instrument))
        issuers = np.flatnonzero((roles == Role.MARKET_MAKER) | (roles == Role.CORPORATION))
        self.ledger = Ledger(len(roles), len(products), issuers, scenario.capital_good, item_table(instruments))
        self.households = np.flatnonzero(roles == Role.HOUSEHOLD)
        sector_of = np.array([SECTOR_OF[role] for role in Role], np.int64)
        self.sector = sector_of[roles]
        self.register = Register.of(self.sector, issuers, len(products), self.instruments)
        self.prices = np.zeros(len(self.ledger.item_of), np.int64)  # valuation price of the round, by instrument
        for instrument in self.instruments:
            self.prices[instrument.instrument] = instrument.reference_price
        self.employed = np.zeros(len(roles), np.bool_)
        self.shares = [int(np.rint(product.consumption * RATE)) for product in products]
        self.vat = round(scenario.targets.vat * _TAX)
        self.next_epoch = -1
        self._firms = self.sector == Sector.FIRMS
        self._current = np.array(CURRENT, np.int64)[self.sector]
        self._capital = np.array(CAPITAL, np.int64)[self.sector]
        self._goods = np.zeros(len(products), np.int64)  # total stock at the round's start
        self._sums = self._new_sums()

    @property
    def window(self) -> int:
        """Window of the next epoch."""
        return self.time.window_of(self.next_epoch * self.time.epoch_ticks)

    def _new_sums(self) -> _Sums:
        agents, products, listed = len(self.sector), len(self.shares), len(self.prices)
        return _Sums(
            np.zeros(agents, np.int64), np.zeros((len(Use), products), np.int64), np.zeros(products, np.int64),
            np.zeros(listed, np.int64), np.zeros(listed, np.int64), self.ledger.goods.sum(0), self.ledger.cash.copy(),
        )  # fmt: skip

    # ---- one epoch
    def feed(self, epoch: int, events: Events) -> Window | None:
        """Take in an epoch: `events` of all families by name. Raises ProtocolError out of order, AccountingError."""
        if epoch != self.next_epoch:
            raise ProtocolError(f"epoch {epoch} came where {self.next_epoch} was due", "feed the run from its opening")
        posted = self.ledger.apply(events)
        self.next_epoch += 1
        if epoch < 0:
            self._open(events)
            return None
        for posting in posted:
            self._flow(posting)
            self._enter(posting)
            if posting.rule.event == e.TradeExecuted.name:
                self._trade(posting)
            elif posting.rule.event == e.MoneyTransferred.name:
                self._income(posting)
        self._count(events)
        end = (epoch + 1) * self.time.epoch_ticks
        if end % self.time.round_ticks == 0:
            self._end_round(events)
        return self._end_window(end // self.time.window_ticks - 1) if end % self.time.window_ticks == 0 else None

    def _open(self, events: Events) -> None:
        o = e.OpeningParameter
        rows = events.get(o.name, np.empty((0, o.width), np.int64))
        rows = rows[rows[:, o.PARAMETER] == Parameter.EMPLOYER]
        self.employed[rows[:, o.AGENT]] = rows[:, o.VALUE] >= 0
        self._goods = self.ledger.goods.sum(0)
        self._sums = self._new_sums()

    def _flow(self, posting: Posting) -> None:
        """Cash legs into the flow matrix, and what of the corporations' is not operating."""
        if not posting.rule.line:
            return
        cells = self._sums.cells[posting.rule.line]
        for leg in posting.rule.legs:
            if leg.account != Account.CASH:
                continue
            amount, columns = posting.amount(leg), self._columns(posting, leg)
            if isinstance(columns, int):
                cells[columns] += int(amount.sum())
                continue
            for column, total in enumerate(sum_by(columns, amount, len(Flow)).tolist()):
                cells[column] += total
            if not leg.operating:
                self._sums.other += int(amount[self._firms[posting.column(str(leg.agent))]].sum())

    def _columns(self, posting: Posting, leg: Leg) -> Ints | int:
        """Column of each record's leg: what is operating belongs to a corporation's current account."""
        columns = self._current if leg.operating or posting.rule.account == "current" else self._capital
        return int(columns[leg.agent]) if isinstance(leg.agent, int) else columns[posting.column(leg.agent)]

    def _enter(self, posting: Posting) -> None:
        """GDP entries; quantities at the valuation price of the round."""
        for entry in posting.rule.entries:
            amount = posting.column(entry.column)
            if entry.valued:
                item = posting.column("item" if posting.rule.event == e.TradeExecuted.name else "product")
                amount = amount * self.prices[item] * self.register.unit_value[item]
            self._sums.entries[entry.component] += entry.sign * int(amount.sum())

    def _trade(self, posting: Posting) -> None:
        instrument, use = posting.column("instrument"), posting.rule.where.get("use")
        value, quantity = posting.column("notional"), posting.column("quantity")
        self._sums.trades += len(posting.rows)
        self._sums.value += sum_by(instrument, value, len(self.prices))
        self._sums.quantity += sum_by(instrument, quantity, len(self.prices))
        if use in _BOUGHT:
            item = posting.column("item")
            self._sums.bought[use] += sum_by(item, quantity, len(self.shares))
            if use == Use.CONSUMPTION:
                self._sums.spent += sum_by(item, value, len(self.shares))

    def _income(self, posting: Posting) -> None:
        if posting.rule.where["kind"] in HOUSEHOLD_INCOME:
            net = posting.column("amount") - posting.column("withheld")
            np.add.at(self._sums.income, posting.column("payee"), net)

    def _count(self, events: Events) -> None:
        """Contracts and bankruptcies. Who leaves one employer and joins another in the same epoch is employed."""
        for kind, works in ((e.ContractEnded, False), (e.ContractSigned, True)):
            if kind.name in events:
                self.employed[events[kind.name][:, kind.WORKER]] = works
        self._sums.bankruptcies += len(events.get(e.AgentBankrupt.name, ()))

    # ---- ends
    def _end_round(self, events: Events) -> None:
        """Value the change of stocks at the round's prices, count the unemployed, then learn the new prices."""
        goods = self.ledger.goods.sum(0)
        change = ((goods - self._goods) * self.prices[: len(goods)] * self.register.unit_value).sum()
        self._sums.inventories += int(change)
        self._goods = goods
        self._sums.jobless += len(self.households) - int(self.employed[self.households].sum())
        p = e.PriceFixed
        if p.name in events:
            self.prices[events[p.name][:, p.INSTRUMENT]] = events[p.name][:, p.PRICE]

    def _end_window(self, window: int) -> Window:
        s, ledger = self._sums, self.ledger
        money = s.entries | {"inventory_change": s.inventories}
        change = ledger.cash - s.cash
        money["gross_operating_surplus"] = int(change[self._firms].sum()) - s.other + s.inventories
        gdp = {
            approach: sum(sign * money[name] for name, sign in parts.items()) for approach, parts in COMPONENTS.items()
        }
        if len(set(gdp.values())) > 1:
            raise AccountingError(
                f"GDP of window {window} of run {self.run} differs by approach: "
                + ", ".join(f"{approach.value} {value}" for approach, value in gdp.items())
                + f" (components {money})",
                "verify the run: a record is missing, doubled or falls outside the posting rules",
            )
        deposits = [int(change[self.sector == column].sum()) for column in Sector]
        flows = transaction_flows(s.cells, s.inventories, deposits)
        stocks = balance_sheet(ledger, self.register, self.prices)
        figures = {(f"gdp_{approach.value}", 0): gdp[approach] for approach in Approach}
        figures |= {(name, 0): value for name, value in money.items()}
        figures |= self._real(s) | self._people(s) | self._market(s)
        self._sums = self._new_sums()
        return Window(window, figures, ledger.balances(self.run, window), stocks, flows)

    def _real(self, s: _Sums) -> dict[tuple[str, int], int]:
        """Lots of final uses and of the change in stocks at the price of the run's start, consumption with its tax."""
        plain = s.bought[Use.GOVERNMENT] + s.bought[Use.INVESTMENT] + self.ledger.goods.sum(0) - s.goods
        lots = s.bought[Use.CONSUMPTION] * (_TAX + self.vat) + plain * _TAX
        return {("gdp_real", 0): int((lots * self.register.unit_value).sum()) * PRICE // _TAX}

    def _people(self, s: _Sums) -> dict[tuple[str, int], int]:
        who = self.households
        income = s.income[who].tolist()
        holdings = self.register.share_values(self.ledger, self.prices)[who].sum(1)
        wealth = (self.ledger.cash[who] + holdings).tolist()
        found = {
            ("gini_income", 0): gini(income),
            ("gini_wealth", 0): gini(wealth),
            ("unemployment", 0): RATE * s.jobless // max(1, len(who) * self.time.rounds),
            ("government_debt", 0): -int(self.ledger.bonds[GOVERNMENT]),
            ("bankruptcies", 0): s.bankruptcies,
        }
        found |= {("lorenz_income", k): value for k, value in enumerate(lorenz(income), 1)}
        return found | {("lorenz_wealth", k): value for k, value in enumerate(lorenz(wealth), 1)}

    def _market(self, s: _Sums) -> dict[tuple[str, int], int]:
        index = 0
        for product, share in enumerate(self.shares):
            lots = int(s.bought[Use.CONSUMPTION, product])
            if lots:
                index += share * int(s.spent[product]) // (lots * int(self.register.unit_value[product]) * PRICE)
            else:
                index += share * int(self.prices[product]) // PRICE
        found = {("consumer_price_index", 0): index, ("trades", 0): s.trades}
        for instrument in self.instruments:
            if instrument.instrument_class != InstrumentClass.CURRENCY:
                i = instrument.instrument
                found["traded_value", i] = int(s.value[i])
                found["traded_quantity", i] = int(s.quantity[i])
                found["closing_price", i] = int(self.prices[i])
        return found
