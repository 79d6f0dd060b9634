"""What everybody may know at a cut: published prices, statistics, policies, who works where, open offers.

Every shard keeps the same copy, a fold over flows and trades that all of them read. Nobody computes an aggregate of his
own for a decision. Numbers that agents share are integers; scalars are arrays of one element, so that they are dumped
like everything else.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agents.interventions import DECREES, Change, Decree
from agents.state import Arrays
from economy.markets.reports import tax_of
from economy.numbers import rng
from economy.numbers.draws import Draw
from economy.numbers.units import RATE, RECIPE_SCALE
from economy.opening import EVERYBODY, PRICE, Constant
from economy.population import population_of
from economy.records import events as e
from economy.records.events import Events, Parameter, Policy, Rows, Series, Side, Strategy
from economy.scenario import Scenario
from economy.steady import Rates, Technology

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
BASIS_POINT: Final = RATE // 10_000


class Static(Arrays):
    """What never changes during a run: technology, rates, and constants of the opening (the arrays of STATE)."""

    STATE: ClassVar = ("labour_coefficient", "capital_coefficient", "scalars", "product", "listed", "owner")

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.seed, self.population = scenario, seed, population_of(scenario)
        self.rates, self.tech = Rates.of(scenario), Technology.of(scenario)
        self.products = len(scenario.products)
        self.recipe = np.rint(self.tech.inputs * RECIPE_SCALE).astype(np.int64)
        self.goods = self.tech.goods
        self.consumed = np.flatnonzero(self.tech.consumption > 0)
        self.vat_bp = round(scenario.targets.vat * 10_000)
        self.product = np.repeat(np.arange(self.products), [p.firms for p in scenario.products])
        self.firms_of = np.bincount(self.product, minlength=self.products)

    def open(self, opening: Events) -> None:
        """Take the constants from the opening's records."""
        everybody = parameters(opening, EVERYBODY)
        self.labour_coefficient = everybody[Parameter.LABOUR_COEFFICIENT] / RATE
        self.capital_coefficient = everybody[Parameter.CAPITAL_COEFFICIENT] / RATE
        single = [everybody[Parameter.MARKUP][0], everybody[Parameter.WEALTH_PROPENSITY][0]]
        self.scalars = np.array([*single, *everybody[Parameter.CONSTANT]]) / RATE
        o = e.OpeningParameter
        rows = opening[o.name]
        # Issuers of listed shares, in the order of their instruments.
        self.listed = np.sort(rows[rows[:, o.PARAMETER] == Parameter.EXPECTED_DIVIDEND, o.AGENT])
        households = (self.population.first_household, self.population.size)
        self.owner = parameter_of(opening, Parameter.OWNERSHIP, *households) > 0  # who trades shares

    @property
    def equities(self) -> Ints:
        """Instruments of the listed shares."""
        return self.products + np.arange(len(self.listed))

    @property
    def markup(self) -> float:
        """Normal mark-up."""
        return float(self.scalars[0])

    @property
    def wealth_propensity(self) -> float:
        """Propensity to consume out of deposits, per round."""
        return float(self.scalars[1])

    @property
    def income_tax(self) -> float:
        """Normal income tax rate."""
        return float(self.scalars[2 + Constant.INCOME_TAX])

    @property
    def policy_rate(self) -> float:
        """Policy rate of the start, per year."""
        return float(self.scalars[2 + Constant.POLICY_RATE])

    @property
    def government_buffer(self) -> float:
        """Government account aimed at beyond the next round's needs, currency."""
        return float(self.scalars[2 + Constant.GOVERNMENT_BUFFER])

    @property
    def maker_deposits(self) -> float:
        """Deposits aimed at by a market maker at the start, currency."""
        return float(self.scalars[2 + Constant.MAKER_DEPOSITS])

    @property
    def purchases(self) -> float:
        """Government purchases at the start, units per round."""
        return float(self.scalars[2 + Constant.PURCHASES])


def parameters(opening: Events, agent: int) -> dict[Parameter, Ints]:
    """Values of one agent's OpeningParameter records by parameter, indexed by item, in 1e-9."""
    o = e.OpeningParameter
    rows = opening[o.name]
    rows = rows[rows[:, o.AGENT] == agent]
    found: dict[Parameter, Ints] = {}
    for kind in np.unique(rows[:, o.PARAMETER]):
        mine = rows[rows[:, o.PARAMETER] == kind]
        values = np.zeros(int(mine[:, o.ITEM].max()) + 1, np.int64)
        values[mine[:, o.ITEM]] = mine[:, o.VALUE]
        found[Parameter(kind)] = values
    return found


def parameter_of(opening: Events, kind: Parameter, first: int, last: int) -> Ints:
    """One parameter of the agents first..last-1, in 1e-9; zero where there is none."""
    o = e.OpeningParameter
    rows = opening[o.name]
    rows = rows[(rows[:, o.PARAMETER] == kind) & (rows[:, o.AGENT] >= first) & (rows[:, o.AGENT] < last)]
    values = np.zeros(last - first, np.int64)
    values[rows[:, o.AGENT] - first] = rows[:, o.VALUE]
    return values


class Public(Arrays):
    """The shared knowledge of all agents at a cut."""

    STATE: ClassVar = (
        "value", "share_price", "employer", "skill", "income_tax_bp", "policy_rate", "deposit_rate", "spending",
        "inflation", "index", "final_sales", "unemployment", "market_wage", "mean_capital", "mean_sales", "dividend",
        "top_threshold", "top_sum", "taste", "confidence", "supply", "demand", "offers", "bankrupt", "bid", "ask",
        "decrees", "silent", "strategy", "share_price_before",
    )  # fmt: skip

    def __init__(self, static: Static) -> None:
        self.static = static

    def open(self, opening: Events) -> None:
        """State at the cut of the opening."""
        static, p, t = self.static, self.static.population, self.static.scenario.targets
        n, listed = static.products, len(static.listed)
        self.value = np.full(n, PRICE, np.int64)  # valuation price of each product, price steps
        households = (p.first_household, p.size)
        self.skill = parameter_of(opening, Parameter.SKILL, *households) // RATE  # labour lots
        employer = parameter_of(opening, Parameter.EMPLOYER, *households) // RATE
        self.employer = np.where(employer < 0, -1, employer - p.first_firm)  # index of the firm, -1 = none
        self.income_tax_bp = np.array([round(static.income_tax * 10_000)], np.int64)
        self.policy_rate = np.array([static.policy_rate])
        self.deposit_rate = np.array([max(0.0, static.policy_rate - t.deposit_spread)])
        self.spending = np.ones(1)  # factor of real government purchases
        self.inflation = np.array([t.inflation])  # of the last year
        self.index = np.ones(1)
        self.final_sales = np.zeros(1)  # of the last quarter, currency
        self.unemployment = np.array([t.unemployment])  # smoothed
        self.market_wage = np.array([t.wage * 1e5])  # 1e-8 per labour lot and round
        firms = (p.first_firm, p.first_household)
        sales = parameter_of(opening, Parameter.EXPECTED_SALES, *firms) / RATE
        self.mean_sales = np.zeros(n)
        for i in range(p.firms):
            self.mean_sales[static.product[i]] += sales[i] / static.firms_of[static.product[i]]
        self.mean_capital = self.mean_sales * static.capital_coefficient
        dividend = parameter_of(opening, Parameter.EXPECTED_DIVIDEND, *firms) / RATE
        self.dividend = dividend[static.listed - p.first_firm]  # expected, yearly, currency per share
        growth = (1 + t.inflation) * (1 + t.growth) - 1
        price = np.rint(self.dividend / (static.scenario.stocks.equity_return - growth) * PRICE)
        self.share_price = np.maximum(1, price).astype(np.int64)
        self.top_threshold = np.full(1, np.iinfo(np.int64).max)
        self.top_sum = np.ones(1, np.int64)
        self.taste = np.zeros(n)
        self.confidence = np.zeros(1)
        self.supply, self.demand = np.ones(n), np.ones(1)  # factors of shocks
        self.decrees = np.full(len(Decree), -1.0)  # below zero where the rule decides
        self.silent = np.zeros(p.size, np.int64)  # agents that were taken out
        self.strategy = np.full(p.size, Strategy.RULE, np.int64)  # that each agent follows
        self.share_price_before = self.share_price.copy()  # at the fixing before the last
        self.offers = np.empty((0, 3), np.int64)  # (firm, labour lots, wage)
        self.bankrupt = np.empty((0, 2), np.int64)  # (firm, deposits sought)
        self.bid, self.ask = np.zeros(listed, np.int64), np.full(listed, np.iinfo(np.int64).max)

    # ---- derived
    @property
    def real_rate_gap(self) -> float:
        """Expected real policy rate less the neutral one, per year."""
        return float(self.policy_rate[0]) - self.expected_inflation - self.static.scenario.targets.real_rate

    @property
    def expected_inflation(self) -> float:
        """Partly anchored expectation: anchor x target + (1 - anchor) x last year's inflation, per year."""
        anchor = self.static.scenario.labour.anchor
        return anchor * self.static.scenario.targets.inflation + (1 - anchor) * float(self.inflation[0])

    def start_round(self, tick: int) -> None:
        """Common luck of a round: tastes and confidence, AR(1)."""
        luck, seed = self.static.scenario.luck, self.static.seed
        shocks = rng.normals(seed, EVERYBODY, Draw.TASTE, tick, self.static.products)
        self.taste = luck.taste_rho * self.taste + luck.taste_sd * shocks
        shock = rng.normals(seed, EVERYBODY, Draw.CONFIDENCE, tick, 1)
        self.confidence = luck.confidence_rho * self.confidence + luck.confidence_sd * shock

    def intervene(self, change: Change) -> None:
        """Apply what changes the economy or its agents."""
        kind = change.kind
        if kind in DECREES:
            self.decrees[DECREES[kind]] = -1 if change.value is None else change.value
            if change.value is not None:
                self._decree(DECREES[kind], change.value)
            return
        if change.value is None:
            return
        if kind == "supply":
            self.supply[change.item] = change.value
        elif kind == "government_demand":
            self.demand[0] = change.value
        elif kind == "strategy":
            self.strategy[change.agents] = int(change.value)
        elif kind == "silent":
            self.silent[change.agents] = int(change.value)

    def _decree(self, what: Decree, value: float) -> None:
        """A decree is in force at once; from then on the rules leave it alone."""
        if what == Decree.INCOME_TAX:
            self.income_tax_bp[0] = round(value * 10_000)
        elif what == Decree.POLICY_RATE:
            self.policy_rate[0] = value
            self.deposit_rate[0] = max(0.0, value - self.static.scenario.targets.deposit_spread)
        else:
            self.spending[0] = value

    def decreed(self, what: Decree, rule: float) -> float:
        """What is decreed, else what the rule says."""
        value = float(self.decrees[what])
        return rule if value < 0 else value

    # ---- the fold
    def apply(self, flows: Events, trades: Events) -> None:
        """Take in the flows and trades of one epoch, canonically ordered."""
        self._contracts(flows)
        for row in flows.get(e.StatisticsPublished.name, ()):
            self._statistic(Series(row[4]), int(row[5]), int(row[6]))
        for row in flows.get(e.PolicyChanged.name, ()):
            self._policy(Policy(row[4]), int(row[5]))
        failed = flows.get(e.AgentBankrupt.name)
        self.bankrupt = self.bankrupt[:0]
        if failed is not None:
            pairs = failed[:, [e.AgentBankrupt.AGENT, e.AgentBankrupt.CAPITAL_NEEDED]]
            self.bankrupt = pairs - np.array([[self.static.population.first_firm, 0]])
        fixed = trades.get(e.PriceFixed.name)
        if fixed is not None:
            self._prices(fixed)
        levels = trades.get(e.BookUpdated.name)
        if levels is not None:
            self._quotes(levels)

    def _contracts(self, flows: Events) -> None:
        p, o, s, c = self.static.population, e.ContractOffered, e.ContractSigned, e.ContractEnded
        ended = flows.get(c.name)
        if ended is not None:
            self.employer[ended[:, c.WORKER] - p.first_household] = -1
        signed = flows.get(s.name)
        if signed is not None:
            self.employer[signed[:, s.WORKER] - p.first_household] = signed[:, s.AGENT] - p.first_firm
        offered = flows.get(o.name)
        self.offers = np.empty((0, 3), np.int64)
        if offered is not None:
            offers = offered[np.argsort(offered[:, o.AGENT], kind="stable")]
            self.offers = offers[:, [o.AGENT, o.QUANTITY, o.PRICE]] - np.array([[p.first_firm, 0, 0]])

    def _statistic(self, series: Series, item: int, value: int) -> None:
        number = value / RATE
        if series == Series.CONSUMER_PRICE_INDEX:
            self.index[0] = number
        elif series == Series.INFLATION:
            self.inflation[0] = number
        elif series == Series.UNEMPLOYMENT:
            self.unemployment[0] = number
        elif series == Series.MARKET_WAGE:
            self.market_wage[0] = number
        elif series == Series.GDP:
            self.final_sales[0] = number
        elif series == Series.MEAN_CAPITAL:
            self.mean_capital[item] = number
        elif series == Series.MEAN_SALES:
            self.mean_sales[item] = number
        elif series == Series.STOCK_FUNDAMENTAL:
            self.dividend[np.searchsorted(self.static.listed, item)] = number
        elif series == Series.TOP_DEPOSITS_THRESHOLD:
            self.top_threshold[0] = value // 10
        else:
            self.top_sum[0] = max(1, value // 10)

    def _policy(self, policy: Policy, value: int) -> None:
        if policy == Policy.INCOME_TAX_RATE:
            self.income_tax_bp[0] = value // BASIS_POINT
        elif policy == Policy.POLICY_RATE:
            self.policy_rate[0] = value / RATE
        elif policy == Policy.DEPOSIT_RATE:
            self.deposit_rate[0] = value / RATE
        elif policy == Policy.GOVERNMENT_SPENDING:
            self.spending[0] = value / RATE

    def _prices(self, fixed: Rows) -> None:
        f = e.PriceFixed
        product = fixed[:, f.INSTRUMENT] < self.static.products
        self.value[fixed[product, f.INSTRUMENT]] = fixed[product, f.PRICE]
        if not product.all():
            self.share_price_before = self.share_price.copy()
        self.share_price[fixed[~product, f.INSTRUMENT] - self.static.products] = fixed[~product, f.PRICE]

    def _quotes(self, levels: Rows) -> None:
        """Best bid and ask of each share among the levels that changed in this epoch; older quotes have expired."""
        b = e.BookUpdated
        rows = levels[(levels[:, b.INSTRUMENT] >= self.static.products) & (levels[:, b.QUANTITY] > 0)]
        self.bid[:], self.ask[:] = 0, np.iinfo(np.int64).max
        for row in rows.tolist():
            k = row[b.INSTRUMENT] - self.static.products
            if row[b.SIDE] == Side.BUY:
                self.bid[k] = max(self.bid[k], row[b.PRICE])
            else:
                self.ask[k] = min(self.ask[k], row[b.PRICE])

    def tax(self, gross: Any) -> Any:
        """Income tax on gross amounts, floored."""
        return tax_of(gross, self.income_tax_bp[0])
