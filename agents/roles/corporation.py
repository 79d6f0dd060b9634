"""Corporations: plan, price, produce, sell, buy inputs and machines, hire, pay, invest, distribute, fail."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agents.outbox import Outbox
from agents.public import Public, Static, parameter_of
from agents.roles import corporation_rules as rules
from agents.roles.household import MONEY, SAFETY
from agents.roles.shareholding import Register
from agents.state import Arrays
from economy import events as e
from economy import rng
from economy.draws import Draw
from economy.elementary import power
from economy.events import Account, Action, ContractKind, EndReason, Events, Parameter, Role, TransferKind, Use
from economy.exact import sum_by
from economy.opening import LABOUR, LOT, PRICE, SHARES
from economy.production import feasible, use_inputs, wear
from economy.scenario import RECIPE_SCALE
from economy.units import RATE

Ints = NDArray[np.int64]
# Share of normal output offered at each multiple of the price; the rest is offered at the step before the last, and the
# last is a reserve for urgent buyers. Few large asks would let one firm take all of a round's demand.
LADDER: Final = ((0.6, 0.994), (0.2, 1.004), (0.2, 1.014), (0.2, 1.024), (0.2, 1.04))
REST_STEP: Final = 1.07
RESERVE_STEP: Final = 1.5
MACHINE_LIMIT: Final = 1.3  # limit price of machines / valuation price


class Corporations(Arrays):
    """The corporations of one shard."""

    STATE: ClassVar = (
        "cash", "goods", "owed", "remainder", "capital", "wear", "price", "wage", "markup", "productivity", "spirit",
        "expected", "expected_long", "profit", "poor", "born", "vacant", "unit_cost", "labour", "plan", "sold",
        "offered", "reserve", "vacancy", "need", "want", "limit", "machines", "used", "decision", "applications",
        "founders", "seeking",
    )  # fmt: skip

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

    def _state(self) -> rules.FirmState:
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
            self._state(), self.rules, number == 0, review, s.labour_coefficient, s.capital_coefficient, progress,
            s.recipe, s.goods, public.value,
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
        self._employ(out, public, ticks, start)
        self._produce(out, public, ticks)
        self._offer_goods(out, ticks, ends)

    def _employ(self, out: Outbox, public: Public, ticks: Ints, start: int) -> None:
        """Dismiss what is in excess or cannot be paid; wages for the round; offer the jobs that are open."""
        s, c, f = self.static, self.static.scenario.labour, len(self.ids)
        employer, skill, p = public.employer.copy(), public.skill, self.static.population
        local = np.where(employer >= 0, self.place[employer], -1)
        self.need = self.plan / LOT * self.labour * LABOUR
        have = sum_by(local, skill, f)
        affordable = self.cash / np.maximum(self.wage, 1)
        largest = int(skill.max())
        excess = np.where(have > self.need * (1 + c.fire_band), c.fire_speed * (have - self.need), 0.0)
        short = affordable < have
        excess = np.where(short, np.maximum(excess, have - affordable + 0.5 * largest), excess)
        lots = rng.bits(s.seed, p.everybody, Draw.DISMISSAL, start)
        order = np.argsort(lots, kind="stable").astype(np.int64)
        gone = rules.dismissals(order, employer, skill, self.place, excess)
        if len(gone):
            firms = local[gone]
            count = sum_by(firms, np.ones(len(gone), np.int64), f)
            who = np.flatnonzero(count)
            out.decide(
                Role.CORPORATION, self.ids[who], ticks[who], Action.DISMISS, count[who], have[who],
                self.need[who].astype(np.int64), short[who],
            )  # fmt: skip
            out.end_contracts(
                self.ids[firms], ticks[firms], self.ids[firms], p.first_household + gone, EndReason.DISMISSED
            )
            local[gone] = -1
        workers = np.flatnonzero(local >= 0)
        firms = local[workers]
        gross = skill[workers] * self.wage[firms]
        out.transfer(
            TransferKind.WAGE, self.ids[firms], ticks[firms], p.first_household + workers, gross, public.tax(gross)
        )
        bill = sum_by(firms, gross, f)
        self.cash -= bill
        self.profit -= bill
        self.reserve = np.maximum(bill, self.wage * self.need)
        self._staff = sum_by(local, skill, f)
        # Who is hired now works from the next round on, so jobs are offered a little ahead of need.
        aimed = self.need * (1 + c.hiring_lead)
        wanted = np.minimum(aimed, affordable * 0.97 - largest) - self._staff
        self.vacancy = np.where(self._staff < aimed - 0.005 * self.need, np.maximum(wanted, 0), 0).astype(np.int64)
        self._offer_jobs(out, ticks)

    def _offer_jobs(self, out: Outbox, ticks: Ints) -> None:
        who = np.flatnonzero(self.vacancy > 0)
        o = e.ContractOffered
        out.decide(
            Role.CORPORATION, self.ids[who], ticks[who], Action.OFFER, self.vacancy[who], self.wage[who],
            self.need[who].astype(np.int64),
        )  # fmt: skip
        out.add(o.name, o.width, self.ids[who], ticks[who], ContractKind.EMPLOYMENT, self.vacancy[who], self.wage[who])

    def _produce(self, out: Outbox, public: Public, ticks: Ints) -> None:
        s, r, c = self.static, self.rules, self.static.scenario.firms
        made = np.zeros(len(self.ids), np.int64)
        self.used[:] = 0
        for i, p in enumerate(self.product.tolist()):
            capacity = self.capital[i] / s.capital_coefficient[p] / r.utilisation
            plan = self.plan[i] * (1 + c.stretch if s.goods[p] else 1)
            lots = min(plan, self._staff[i] / LABOUR / self.labour[i] * LOT, capacity) * float(public.supply[p])
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
            rules.input_orders(self._state(), self.rules, s.recipe, s.goods, public.value, self.want, self.limit)
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
            self._state(), self.rules, s.capital_coefficient, public.mean_capital, young, public.real_rate_gap, draw
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

    def hire(self, out: Outbox, public: Public, ticks: Ints, again: bool) -> None:
        """Take applicants in the order of arrival while more than half of each is wanted; offer the rest again."""
        p, s = self.static.population, e.ContractSigned
        chosen = []
        for firm, worker, lots in self.applications.tolist():
            if self.vacancy[firm] * 2 > lots and public.employer[worker] < 0:
                self.vacancy[firm] -= lots
                chosen.append((firm, worker, lots))
        if chosen:
            i, worker, lots = np.array(chosen, np.int64).T
            out.decide(Role.CORPORATION, self.ids[i], ticks[i], Action.HIRE, p.first_household + worker, lots)
            out.add(
                s.name, s.width, self.ids[i], ticks[i], p.first_household + worker, ContractKind.EMPLOYMENT, lots,
                self.wage[i],
            )  # fmt: skip
        self.applications = self.applications[:0]
        self.vacancy = np.maximum(self.vacancy, 0)
        if again:
            self._offer_jobs(out, ticks)
        else:
            self.vacant += 0.1 * (self.vacancy / np.maximum(self.need, 1) - self.vacant)

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

    def input_cost(self, public: Public) -> NDArray[np.float64]:
        """Inputs of a round at expected sales, 1e-8."""
        s = self.static
        cost = np.zeros(len(self.ids))
        for i, p in enumerate(self.product.tolist()):
            for j in range(s.products):
                cost[i] += s.recipe[p, j] / RECIPE_SCALE * float(public.value[j])
        return cost * self.expected * MONEY

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

    # ---- the cut
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
        s, p, t = self.static, self.static.population, e.TradeExecuted
        rows = rows[rows[:, t.INSTRUMENT] < s.products]
        buys = rows[:, t.TAKER_SIDE] == e.Side.BUY
        buyer = np.where(buys, rows[:, t.TAKER_AGENT], rows[:, t.MAKER_AGENT])
        seller = np.where(buys, rows[:, t.MAKER_AGENT], rows[:, t.TAKER_AGENT])
        item, lots, money = rows[:, t.INSTRUMENT], rows[:, t.QUANTITY], rows[:, t.NOTIONAL]
        at_value = lots * public.value[item] * MONEY
        i = self.place[seller - p.first_firm]  # every seller of a product is a corporation
        mine = i >= 0
        i, stocked = i[mine], s.goods[item[mine]]
        np.add.at(self.cash, i, money[mine])
        np.add.at(self.sold, i, lots[mine])
        np.subtract.at(self.goods, (i, item[mine]), np.where(stocked, lots[mine], 0))
        np.add.at(self.profit, i, money[mine] - np.where(stocked, at_value[mine], 0))
        firm = (buyer >= p.first_firm) & (buyer < p.first_household)
        i = np.where(firm, self.place[np.where(firm, buyer - p.first_firm, 0)], -1)
        use = rows[:, t.USE]
        for k in np.flatnonzero((i >= 0) & (use == Use.INTERMEDIATE)).tolist():
            firm_, j = i[k], item[k]
            self.cash[firm_] -= money[k]
            self.want[firm_, j] -= lots[k]
            back = min(self.owed[firm_, j], lots[k])  # what was owed is used when bought
            self.owed[firm_, j] -= back
            if s.goods[j]:
                self.goods[firm_, j] += lots[k] - back
                self.used[firm_, j] += back
                self.profit[firm_] -= money[k] - at_value[k]  # the stock's value; what is used is taken off at E4
            else:
                self.profit[firm_] -= money[k]
        bought = (i >= 0) & (use == Use.INVESTMENT)
        np.subtract.at(self.cash, i[bought], money[bought])
        np.add.at(self.capital, i[bought], lots[bought])
