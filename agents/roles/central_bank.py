"""The central bank: keeps all deposits, lends to the government, pays deposit interest, sets the policy rate."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agents.interventions import Decree
from agents.outbox import Outbox
from agents.public import Public, Static
from agents.state import Arrays
from economy.numbers.units import RATE
from economy.records import events as e
from economy.records.events import Account, Action, Events, Policy, Role, Rows, Series, Strategy, TransferKind

Ints = NDArray[np.int64]
TOP_SHARE = 20  # the richest twentieth found new firms


@njit(cache=True)
def post_trades(trades: Rows, columns: Ints, cash: Ints) -> None:
    """Deposits after trades: buyer pays notional and tax, seller gets the notional, account 0 the tax."""
    maker, taker, side, notional, tax = columns
    for i in range(trades.shape[0]):
        buyer, seller = trades[i, taker], trades[i, maker]
        if trades[i, side] != 0:
            buyer, seller = seller, buyer
        cash[buyer] -= trades[i, notional] + trades[i, tax]
        cash[seller] += trades[i, notional]
        cash[0] += trades[i, tax]


class CentralBank(Arrays):
    """The one central bank; lives on one shard. Its own balance is minus the money that there is."""

    STATE: ClassVar = ("deposits", "bonds", "asked")

    def __init__(self, static: Static) -> None:
        self.static = static
        self.id = np.array([static.population.central_bank])
        self.deposits = np.zeros(static.population.size, np.int64)  # of every agent; its own is the negative sum
        self.bonds = np.zeros(1, np.int64)
        self.asked = np.zeros(1, np.int64)  # bonds offered by the government

    def open(self, opening: Events) -> None:
        """State at the cut of the opening."""
        b = e.OpeningBalance
        rows = opening[b.name]
        cash = rows[rows[:, b.ACCOUNT] == Account.CASH]
        self.deposits[cash[:, b.AGENT]] = cash[:, b.QUANTITY]
        mine = rows[(rows[:, b.ACCOUNT] == Account.BONDS) & (rows[:, b.AGENT] == self.id[0])]
        self.bonds[0] = mine[:, b.QUANTITY].sum()

    def begin(self, out: Outbox, public: Public, tick: int, quarter_begins: bool) -> None:
        """Buy the bonds on offer; after a quarter set the rate and pass the profit on."""
        when, government = np.array([tick]), self.static.population.government
        out.transfer(TransferKind.BOND_ISSUE, self.id, when, government, self.asked)
        self.bonds[0] += self.asked[0]
        self.asked[0] = 0
        if not quarter_begins:
            return
        profit = int(self.deposits[self.id[0]]) + int(self.bonds[0])
        if profit > 0:
            out.transfer(TransferKind.CENTRAL_BANK_PROFIT, self.id, when, government, np.array([profit]))
        else:
            out.claim(TransferKind.CENTRAL_BANK_PROFIT, self.id, when, government, np.array([-profit]))
        self._set_rate(out, public, tick)

    def _set_rate(self, out: Outbox, public: Public, tick: int) -> None:
        """Taylor rule (1993) with smoothing and an unemployment term, floored at zero; a strict inflation targeter
        (Svensson 1997) does without the last two."""
        c, t = self.static.scenario.policy, self.static.scenario.targets
        inflation, slack = float(public.inflation[0]), float(public.unemployment[0]) - t.unemployment
        target = t.real_rate + inflation + (c.taylor_inflation - 1) * (inflation - t.inflation)
        if public.strategy[self.id[0]] == Strategy.INFLATION_TARGETING:
            rate = max(0.0, target)
        else:
            target = max(0.0, target - c.taylor_unemployment * slack)
            rate = c.taylor_smoothing * float(public.policy_rate[0]) + (1 - c.taylor_smoothing) * target
        fixed = round(public.decreed(Decree.POLICY_RATE, rate) * RATE)
        deposit = max(0, fixed - round(t.deposit_spread * RATE))
        out.decide(
            Role.CENTRAL_BANK, self.id, np.array([tick]), Action.SET_POLICY, fixed, round(inflation * RATE),
            round(slack * RATE),
        )  # fmt: skip
        out.set_policy(int(self.id[0]), tick, Policy.POLICY_RATE, fixed)
        out.set_policy(int(self.id[0]), tick, Policy.DEPOSIT_RATE, deposit)

    def end(self, out: Outbox, public: Public, tick: int, quarter_ends: bool) -> None:
        """Publish what the richest hold; at a quarter's end pay interest on deposits."""
        p, bank = self.static.population, int(self.id[0])
        people = np.sort(self.deposits[p.first_household :])[-max(5, p.households // TOP_SHARE) :]
        first = np.zeros(1, np.int64)
        out.publish(bank, tick, Series.TOP_DEPOSITS_THRESHOLD, first, people[:1] * 10)
        out.publish(bank, tick, Series.TOP_DEPOSITS_SUM, first, np.array([int(people.sum()) * 10]))
        if not quarter_ends:
            return
        holders = np.arange(p.first_maker, p.size)
        interest = np.array([int(d * float(public.deposit_rate[0]) / 4) for d in self.deposits[holders].tolist()])
        interest = np.maximum(0, interest.astype(np.int64))
        withheld = np.where(holders >= p.first_household, public.tax(interest), 0)
        who, when = np.full(len(holders), bank), np.full(len(holders), tick)
        out.transfer(TransferKind.DEPOSIT_INTEREST, who, when, holders, interest, withheld)

    def apply(self, flows: Events, trades: Events) -> None:
        """Every payment of one epoch moves deposits here."""
        m, d, t = e.MoneyTransferred, e.PaymentDue, e.TradeExecuted
        rows = flows.get(m.name)
        if rows is not None:
            np.subtract.at(self.deposits, rows[:, m.AGENT], rows[:, m.AMOUNT])
            np.add.at(self.deposits, rows[:, m.PAYEE], rows[:, m.AMOUNT] - rows[:, m.WITHHELD])
            self.deposits[self.static.population.government] += int(rows[:, m.WITHHELD].sum())
            redeemed = (rows[:, m.KIND] == TransferKind.BOND_REDEMPTION) & (rows[:, m.PAYEE] == self.id[0])
            self.bonds[0] -= int(rows[redeemed, m.AMOUNT].sum())
        rows = flows.get(d.name)
        if rows is not None:
            mine = (rows[:, d.PAYER] == self.id[0]) & (rows[:, d.KIND] == TransferKind.BOND_ISSUE)
            self.asked[0] += int(rows[mine, d.AMOUNT].sum())
        rows = trades.get(t.name)
        if rows is not None:
            columns = np.array([t.MAKER_AGENT, t.TAKER_AGENT, t.TAKER_SIDE, t.NOTIONAL, t.TAX], np.int64)
            post_trades(rows, columns, self.deposits)
