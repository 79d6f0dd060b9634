"""Corporations: plan, price, produce, sell, buy inputs and machines, hire, pay, invest, distribute, fail."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.outbox import Outbox
from agents.public import Public
from agents.roles import corporation_rules as rules
from agents.roles.corporation_state import CorporationState
from agents.roles.employment import employ
from agents.roles.household import MONEY, SAFETY
from economy.numbers import rng
from economy.numbers.draws import Draw
from economy.numbers.elementary import power
from economy.numbers.units import RECIPE_SCALE, SHARES
from economy.opening import LABOUR, LOT, PRICE
from economy.production import feasible, use_inputs, wear
from economy.records import events as e
from economy.records.events import Action, EndReason, Role, Strategy, TransferKind, Use

Ints = NDArray[np.int64]
# Share of normal output offered at each multiple of the price; the rest is offered at the step before the last, and the
# last is a reserve for urgent buyers. Few large asks would let one firm take all of a round's demand.
LADDER: Final = ((0.6, 0.994), (0.2, 1.004), (0.2, 1.014), (0.2, 1.024), (0.2, 1.04))
REST_STEP: Final = 1.07
RESERVE_STEP: Final = 1.5
MACHINE_LIMIT: Final = 1.3  # limit price of machines / valuation price


class Corporations(CorporationState):
    """The corporations of one shard."""

    # ---- E0: the round begins
    def begin(self, out: Outbox, public: Public, ticks: Ints, start: int, number: int, ends: int) -> None:
        """Expect, price, plan; dismiss; pay the round's wages in advance; produce; offer goods and jobs."""
        s, luck = self.static, self.static.scenario.luck
        self.productivity = luck.productivity_rho * self.productivity + luck.productivity_sd * rng.normal(
            s.seed, self.ids, Draw.PRODUCTIVITY, start
        )
        self.spirit = luck.spirit_rho * self.spirit + luck.spirit_sd * rng.normal(s.seed, self.ids, Draw.SPIRIT, start)
        review = rng.uniform(s.seed, self.ids, Draw.PRICE_REVIEW, start)
        before = self.price.copy()
        progress = power(1 + s.rates.growth, -float(number))
        rules.plan_firms(
            self.view(), self.rules, number == 0, review, s.labour_coefficient, s.capital_coefficient, progress,
            s.recipe, s.goods, public.value, public.strategy[self.ids] == Strategy.FULL_COST,
        )  # fmt: skip
        own = self.goods[np.arange(len(self.ids)), self.product]
        out.decide(
            Role.CORPORATION, self.ids, ticks, Action.PLAN, self.plan.astype(np.int64), self.expected.astype(np.int64),
            own, self.capital,
        )  # fmt: skip
        priced = np.flatnonzero(review < s.scenario.firms.review)
        cost = np.rint(self.unit_cost * PRICE).astype(np.int64)
        markup = np.rint(self.markup * 10_000).astype(np.int64)
        out.decide(
            Role.CORPORATION, self.ids[priced], ticks[priced], Action.PRICE, self.price[priced], before[priced],
            cost[priced], markup[priced],
        )  # fmt: skip
        staff = employ(self, out, public, ticks, start)
        self._produce(out, public, ticks, staff)
        self._offer_goods(out, ticks, ends)

    def _produce(self, out: Outbox, public: Public, ticks: Ints, staff: Ints) -> None:
        s, r, c = self.static, self.rules, self.static.scenario.firms
        made = np.zeros(len(self.ids), np.int64)
        self.used[:] = 0
        for i, p in enumerate(self.product.tolist()):
            capacity = self.capital[i] / s.capital_coefficient[p] / r.utilisation
            plan = self.plan[i] * (1 + c.stretch if s.goods[p] else 1)
            lots = min(plan, staff[i] / LABOUR / self.labour[i] * LOT, capacity) * float(public.supply[p])
            most = feasible(
                s.recipe[p], s.goods, self.goods[i], self.owed[i], self.remainder[i], c.critical, c.defer,
                self.expected[i],
            )  # fmt: skip
            made[i] = max(0, min(int(np.floor(lots)), most))
            if s.goods[p]:
                use_inputs(made[i], s.recipe[p], s.goods, self.goods[i], self.owed[i], self.remainder[i], self.used[i])
        self._book_use(out, public, ticks)
        good = np.flatnonzero(s.goods[self.product] & (made > 0))
        self.goods[good, self.product[good]] += made[good]
        self.profit[good] += made[good] * public.value[self.product[good]] * MONEY
        g = e.GoodsProduced
        out.add(g.name, g.width, self.ids[good], ticks[good], self.product[good], made[good])
        worn = wear(self.capital, self.wear, round(s.rates.depreciation * RECIPE_SCALE))
        self.profit -= worn * int(public.value[s.tech.capital_good]) * MONEY
        who = np.flatnonzero(worn)
        d = e.CapitalDepreciated
        out.add(d.name, d.width, self.ids[who], ticks[who], s.tech.capital_good, worn[who])
        stocked = s.goods[self.product]
        self.offered = np.where(stocked, self.goods[np.arange(len(self.ids)), self.product], made)
        self.sold[:] = 0

    def _book_use(self, out: Outbox, public: Public, ticks: Ints) -> None:
        """GoodsConsumed of what `used` holds; it has left the stocks already."""
        i, j = np.nonzero(self.used)
        c = e.GoodsConsumed
        out.add(c.name, c.width, self.ids[i], ticks[i], j, self.used[i, j])
        np.subtract.at(self.profit, i, self.used[i, j] * public.value[j] * MONEY)
        self.used[:] = 0

    def _offer_goods(self, out: Outbox, ticks: Ints, ends: int) -> None:
        """A ladder of asks sized by normal output, so that a firm's sales answer smoothly to its price."""
        s, c = self.static, self.static.scenario.firms
        stocked = s.goods[self.product]
        kept = np.where(stocked, (self.offered * c.reserve_tranche).astype(np.int64), 0)
        left = self.offered - kept
        normal = self.capital / s.capital_coefficient[self.product]
        quantity = np.zeros((len(self.ids), len(LADDER) + 2), np.int64)
        for k, (share, _) in enumerate(LADDER):
            quantity[:, k] = np.minimum(left, (normal * share).astype(np.int64))
            left = left - quantity[:, k]
        quantity[:, -2], quantity[:, -1] = left, kept
        steps = np.array([step for _, step in LADDER] + [REST_STEP, RESERVE_STEP])
        price = np.maximum(1, np.rint(self.price[:, None] * steps[None, :])).astype(np.int64)
        at, step = np.nonzero(quantity)
        out.order(
            self.ids[at], ticks[at], self.product[at], e.Side.SELL, e.TimeInForce.GTC, price[at, step],
            quantity[at, step], expires=ends,
        )  # fmt: skip

    # ---- E1..E3: buying and hiring
    def buy_inputs(self, out: Outbox, public: Public, ticks: Ints, plan: bool) -> None:
        """Bid for inputs with what wages leave; planned once a round, repeated for what was not filled."""
        s = self.static
        if plan:
            rules.input_orders(self.view(), self.rules, s.recipe, s.goods, public.value, self.want, self.limit)
            total = np.array([int(w.sum()) for w in self.want], np.int64)
            self.decision = out.decide(
                Role.CORPORATION, self.ids, ticks, Action.BUY_INPUTS, total, self.plan.astype(np.int64), self.cash
            )
        free = np.maximum(0.0, self.cash - self.reserve)
        lots = np.zeros_like(self.want)
        for i in range(len(self.ids)):
            cost = 1.0
            for j in range(s.products):
                cost += float(self.want[i, j]) * float(self.limit[i, j]) * MONEY
            lots[i] = (self.want[i] * min(1.0, SAFETY * free[i] / cost)).astype(np.int64)
        at, item = np.nonzero(lots)
        out.order(
            self.ids[at], ticks[at], item, e.Side.BUY, e.TimeInForce.IOC, self.limit[at, item], lots[at, item],
            use=Use.INTERMEDIATE, decision=self.decision[at],
        )  # fmt: skip

    def invest(self, out: Outbox, public: Public, ticks: Ints, start: int, number: int) -> None:
        """Bid for machines with what two rounds of wages leave."""
        s = self.static
        young = number - self.born < s.scenario.firms.grace_rounds
        draw = rng.uniform(s.seed, self.ids, Draw.INVESTMENT, start)
        wanted = rules.investment(
            self.view(), self.rules, s.capital_coefficient, public.mean_capital, young, public.real_rate_gap, draw
        )
        limit = round(int(public.value[s.tech.capital_good]) * MACHINE_LIMIT)
        free = np.maximum(0.0, self.cash - 2 * self.reserve)
        lots = np.minimum(wanted, (free / (limit * MONEY)).astype(np.int64))
        n = out.decide(
            Role.CORPORATION, self.ids, ticks, Action.INVEST, lots, self.expected_long.astype(np.int64), self.capital,
            free.astype(np.int64),
        )  # fmt: skip
        i = np.flatnonzero(lots)
        out.order(
            self.ids[i], ticks[i], s.tech.capital_good, e.Side.BUY, e.TimeInForce.IOC, np.full(len(i), limit), lots[i],
            use=Use.INVESTMENT, decision=n[i],
        )  # fmt: skip

    # ---- E4: the round ends
    def book_services(self, out: Outbox, public: Public, ticks: Ints) -> None:
        """Services are produced when sold: their inputs are used now; so is what was owed and has been bought."""
        s = self.static
        for i, p in enumerate(self.product.tolist()):
            if not s.goods[p]:
                use_inputs(
                    self.sold[i], s.recipe[p], s.goods, self.goods[i], self.owed[i], self.remainder[i], self.used[i]
                )
        self._book_use(out, public, ticks)

    def settle(self, out: Outbox, public: Public, ticks: Ints, number: int) -> None:
        """Once a quarter, in the firm's own round: profit tax, dividend, wage review."""
        s, f, t = self.static, self.static.scenario.firms, self.static.scenario.targets
        due = np.flatnonzero(self.index % s.scenario.calendar.rounds == number % s.scenario.calendar.rounds)
        if not len(due):
            return
        who, when = self.ids[due], ticks[due]
        bp = round(t.profit_tax * 10_000)
        tax = np.minimum(np.maximum(self.profit[due], 0) // 10_000 * bp, np.maximum(0, self.cash[due]))
        out.transfer(TransferKind.PROFIT_TAX, who, when, s.population.government, tax)
        self.cash[due] -= tax
        self.profit[due] = 0
        cost = self.wage * (self.plan / LOT * self.labour * LABOUR) + self.input_cost(public)
        spare = np.maximum(0, (self.cash[due] - f.liquidity * cost[due]) * f.payout)
        per_share = (spare / SHARES).astype(np.int64)
        out.decide(
            Role.CORPORATION, who, when, Action.PAY_DIVIDEND, per_share, self.cash[due], cost[due].astype(np.int64)
        )
        self.cash[due] -= self.register.pay_dividends(out, public, due, when, per_share)
        growth = (
            t.growth / 4
            + s.scenario.labour.indexation * public.expected_inflation / 4
            + s.scenario.labour.wage_unemployment * (t.unemployment - float(public.unemployment[0]))
            + s.scenario.labour.wage_vacancies * np.minimum(self.vacant[due], 0.5)
            + s.scenario.labour.wage_pull * (float(public.market_wage[0]) / self.wage[due] - 1)
        )  # Phillips curve with partly anchored expectations; vacancies pull (Lengnick 2013)
        before = self.wage[due].copy()
        self.wage[due] = np.rint(before * (1 + np.clip(growth, -0.005, 0.05))).astype(np.int64)
        out.decide(Role.CORPORATION, who, when, Action.REVIEW_WAGE, self.wage[due], before)

    def fail(self, out: Outbox, public: Public, ticks: Ints, number: int) -> None:
        """A firm that could not pay a third of its planned wages, or lost its market, for some rounds in a row ends.

        Exit by size: Dosi et al. 2010. A successor takes over the shell; who founds it pays in its deposits.
        """
        f, p = self.static.scenario.firms, self.static.population
        bill = self.wage * (self.expected / LOT * self.labour * LABOUR)
        small = (self.expected < f.exit_share * public.mean_sales[self.product]) & (number - self.born > f.grace_rounds)
        self.poor = np.where((self.cash < f.exit_wages * bill) | small, self.poor + 1, 0)
        failed = np.flatnonzero(self.poor >= f.exit_rounds)
        for i in failed.tolist():
            mine = np.flatnonzero(public.employer == self.index[i])
            firm, tick = self.ids[[i] * len(mine)], ticks[[i] * len(mine)]
            out.decide(
                Role.CORPORATION, self.ids[[i]], ticks[[i]], Action.CLOSE_DOWN, len(mine), self.cash[i],
                int(bill[i]), int(self.expected[i]),
            )  # fmt: skip
            out.end_contracts(firm, tick, firm, p.first_household + mine, EndReason.BANKRUPT)
            self._restart(public, i, number)
            need = f.liquidity * (
                self.wage[i] * self.expected[i] / LOT * self.labour[i] * LABOUR + self.input_cost(public)[i]
            )
            b = e.AgentBankrupt
            out.add(b.name, b.width, self.ids[[i]], ticks[[i]], int(need))
            self.seeking[i] = 1

    def _restart(self, public: Public, i: int, number: int) -> None:
        """The successor: normal mark-up and productivity, the market's wage, at least a small market."""
        f, p = self.static.scenario.firms, self.product[i]
        self.expected[i] = max(self.expected[i], f.exit_share * public.mean_sales[p])
        self.expected_long[i] = max(self.expected_long[i], 0.5 * public.mean_sales[p])
        self.markup[i], self.productivity[i], self.profit[i], self.poor[i] = self.static.markup, 0.0, 0, 0
        self.wage[i] = max(1, int(public.market_wage[0]))
        self.price[i] = max(1, int((1 + self.markup[i]) * self.unit_cost[i] * PRICE))
        self.born[i] = number
        self.vacancy[i] = 0

    def refound(self, out: Outbox, public: Public, ticks: Ints) -> None:
        """E1 after a failure: the founders get all shares; the old holders a tenth of what came in, for the estate."""
        for i in np.flatnonzero(self.seeking).tolist():
            self.seeking[i] = 0
            paid = self.founders[self.founders[:, 0] == i]
            if not len(paid):
                continue
            self.cash[i] -= self.register.reissue(out, self.static, i, int(ticks[i]), paid[:, 1], paid[:, 2])
        self.founders = self.founders[:0]
