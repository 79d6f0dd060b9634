"""The government: buys by a basket, pays benefits, taxes, borrows, and follows fiscal rules."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agents.interventions import Decree
from agents.outbox import Outbox
from agents.public import Public, Static
from agents.roles.household import MONEY, SAFETY
from agents.state import Arrays
from economy.numbers.elementary import power
from economy.numbers.units import RATE, UNIT
from economy.opening import LOT
from economy.records import events as e
from economy.records.events import Account, Action, Events, Policy, Role, TransferKind, Use

Ints = NDArray[np.int64]
MARGIN: Final = 1.25  # limit price / valuation price, and provision for benefits


class Government(Arrays):
    """The one government; lives on one shard."""

    STATE: ClassVar = ("cash", "bonds", "left", "claims", "benefits", "decision")

    def __init__(self, static: Static) -> None:
        self.static = static
        self.id = np.array([static.population.government])
        self.cash = np.zeros(1, np.int64)
        self.bonds = np.zeros(1, np.int64)  # owed
        self.left = np.zeros(static.products, np.int64)  # lots still to be bought this round
        self.claims = np.empty((0, 3), np.int64)  # (claimant, kind, amount)
        self.benefits = np.array([round(static.purchases * 0.1 * UNIT)])  # claimed in the last round
        self.decision = np.zeros(1, np.int64)

    def open(self, opening: Events) -> None:
        """State at the cut of the opening."""
        b = e.OpeningBalance
        for row in opening[b.name][opening[b.name][:, b.AGENT] == self.id[0]].tolist():
            if row[b.ACCOUNT] == Account.CASH:
                self.cash[0] = row[b.QUANTITY]
            elif row[b.ACCOUNT] == Account.BONDS:
                self.bonds[0] = -row[b.QUANTITY]

    def set_policy(self, out: Outbox, public: Public, tick: int) -> None:
        """After each quarter (Bohn 1998): purchases and the income tax answer to the debt ratio, the tax also to
        unemployment; a quarter of the way each time."""
        if public.final_sales[0] <= 0:
            return
        c, t = self.static.scenario.policy, self.static.scenario.targets
        ratio = float(self.bonds[0]) / UNIT / (4 * float(public.final_sales[0]))
        gap = min(0.3, max(-0.3, ratio - t.debt_ratio))
        slack = float(public.unemployment[0]) - t.unemployment
        spending = float(public.spending[0])
        spending += 0.25 * (1 - c.fiscal_spending * gap / t.debt_ratio - spending)
        spending = public.decreed(Decree.SPENDING, spending)
        tax = int(public.income_tax_bp[0])
        normal = self.static.income_tax + c.fiscal_tax * gap - c.fiscal_unemployment * slack
        tax = min(9_000, max(0, tax + round(0.25 * (10_000 * normal - tax))))
        tax = round(public.decreed(Decree.INCOME_TAX, tax / 10_000) * 10_000)
        when = np.array([tick])
        inputs = (round(ratio * RATE), round(slack * RATE), round(spending * RATE))
        out.decide(Role.GOVERNMENT, self.id, when, Action.SET_POLICY, tax, *inputs)
        out.set_policy(int(self.id[0]), tick, Policy.INCOME_TAX_RATE, tax * RATE // 10_000)
        out.set_policy(int(self.id[0]), tick, Policy.GOVERNMENT_SPENDING, inputs[2])

    def _purchases(self, public: Public, number: int) -> Ints:
        """Lots of the round: real purchases grow with productivity, times the fiscal rule's factor."""
        s = self.static
        real = (
            s.purchases * power(1 + s.rates.growth, float(number)) * float(public.spending[0]) * float(public.demand[0])
        )
        return np.rint(real * s.tech.government * LOT).astype(np.int64)

    def buy(self, out: Outbox, public: Public, tick: int, number: int, plan: bool) -> None:
        """Bid for the basket, as far as the account backs it; what is not filled is tried once more."""
        when = np.array([tick])
        if plan:
            self.left = self._purchases(public, number)
            total = int(self.left.sum())
            self.decision = out.decide(Role.GOVERNMENT, self.id, when, Action.CONSUME, total, self.cash, self.bonds)
        limit = np.rint(public.value * MARGIN).astype(np.int64)
        cost = int((self.left * limit).sum()) * MONEY + 1
        scale = min(1.0, SAFETY * max(0, int(self.cash[0])) / cost)
        lots = (self.left * scale).astype(np.int64)
        j = np.flatnonzero(lots)
        who = np.full(len(j), self.id[0])
        out.order(
            who, np.full(len(j), tick), j, e.Side.BUY, e.TimeInForce.IOC, limit[j], lots[j], use=Use.GOVERNMENT,
            decision=self.decision[0],
        )  # fmt: skip

    def pay(self, out: Outbox, tick: int, quarter_ends: bool, public: Public) -> None:
        """Claims in canonical order while the account lasts, the rest next time; a quarter's bond interest first."""
        if quarter_ends:
            interest = min(int(float(self.bonds[0]) * float(public.policy_rate[0]) / 4), int(self.cash[0]))
            bank = self.static.population.central_bank
            out.transfer(TransferKind.BOND_INTEREST, self.id, np.array([tick]), bank, np.array([interest]))
            self.cash[0] -= interest
        due = self.claims
        n = int(np.searchsorted(np.cumsum(due[:, 2]), int(self.cash[0]), side="right"))
        paid, self.claims = due[:n], due[n:]
        benefits = paid[:, 1] == TransferKind.BENEFIT
        self.benefits[0] = paid[benefits, 2].sum()
        out.decide(
            Role.GOVERNMENT, self.id, np.array([tick]), Action.PAY, int(paid[:, 2].sum()), len(paid), len(self.claims)
        )
        for kind in np.unique(paid[:, 1]).tolist():
            mine = paid[paid[:, 1] == kind]
            who = np.full(len(mine), self.id[0])
            out.transfer(TransferKind(kind), who, np.full(len(mine), tick), mine[:, 0], mine[:, 2])
        self.cash[0] -= int(paid[:, 2].sum())

    def finance(self, out: Outbox, public: Public, tick: int, number: int) -> None:
        """Keep the account at what the next round needs and a buffer: issue bonds to the central bank when short,
        redeem when long (Godley and Lavoie 2007, ch. 4)."""
        s, rounds = self.static, self.static.scenario.calendar.rounds
        buffer = int(s.government_buffer * UNIT)
        value = public.value * MARGIN
        need = int(float((self._purchases(public, number + 1) * value).sum()) * MONEY + MARGIN * self.benefits[0])
        if (number + 2) % rounds == 0:
            need += int(float(self.bonds[0]) * float(public.policy_rate[0]) / 4)
        have, when, bank = int(self.cash[0]), np.array([tick]), s.population.central_bank
        amount = 0
        if have < need + buffer // 2:
            amount = need + buffer - have
            out.claim(TransferKind.BOND_ISSUE, self.id, when, bank, np.array([amount]))
        elif have > need + 2 * buffer:
            amount = -min(have - need - buffer, int(self.bonds[0]))
            out.transfer(TransferKind.BOND_REDEMPTION, self.id, when, bank, np.array([-amount]))
            self.cash[0] += amount
            self.bonds[0] += amount
        out.decide(Role.GOVERNMENT, self.id, when, Action.BORROW, amount, have, need, self.bonds)

    def apply(self, flows: Events, trades: Events) -> None:
        """Taxes, receipts, claims and purchases of one epoch."""
        m, d, t = e.MoneyTransferred, e.PaymentDue, e.TradeExecuted
        rows = flows.get(m.name)
        if rows is not None:
            self.cash[0] += int(rows[:, m.WITHHELD].sum())
            mine = rows[rows[:, m.PAYEE] == self.id[0]]
            self.cash[0] += int(mine[:, m.AMOUNT].sum())
            self.bonds[0] += int(mine[mine[:, m.KIND] == TransferKind.BOND_ISSUE, m.AMOUNT].sum())
        rows = flows.get(d.name)
        if rows is not None:
            mine = rows[rows[:, d.PAYER] == self.id[0]]
            self.claims = np.concatenate((self.claims, mine[:, [d.AGENT, d.KIND, d.AMOUNT]]))
        rows = trades.get(t.name)
        if rows is not None:
            self.cash[0] += int(rows[:, t.TAX].sum())
            mine = rows[rows[:, t.USE] == Use.GOVERNMENT]
            self.cash[0] -= int(mine[:, t.NOTIONAL].sum())
            np.subtract.at(self.left, mine[:, t.INSTRUMENT], mine[:, t.QUANTITY])
