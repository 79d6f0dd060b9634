"""The stock-flow consistent steady state from which a run starts (Caiani et al. 2016, section 4).

All quantities are per round and for the whole economy; base prices are 1 by the choice of units, so recipes are cost
shares. Solved once, in floats, by the run's starter, who writes the result as integer opening events. A solver's last
bits depend on the machine (which kernel BLAS picks for its processor), so the solution is cut to nine digits: the same
scenario then opens with the same integers everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from economy.errors import ScenarioError
from economy.numbers.elementary import power
from economy.scenario import Scenario

Vector = NDArray[np.float64]
_DIGITS: Final = 9  # a solver keeps some 13


@dataclass(frozen=True)
class Rates:
    """Per-round rates that everybody derives from the scenario alike."""

    growth: float  # of labour productivity
    inflation: float
    nominal: float  # growth of nominal stocks
    depreciation: float

    @classmethod
    def of(cls, scenario: Scenario) -> Rates:
        """Rates of a scenario; compound for growth and inflation, simple for depreciation."""
        rounds = scenario.time.rounds_per_year
        growth = power(1 + scenario.targets.growth, 1 / rounds) - 1
        inflation = power(1 + scenario.targets.inflation, 1 / rounds) - 1
        return cls(growth, inflation, (1 + growth) * (1 + inflation) - 1, scenario.targets.depreciation / rounds)


@dataclass(frozen=True)
class Technology:
    """Products as vectors and the matrix A[i, j]: input j per unit of output i."""

    inputs: NDArray[np.float64]  # (n, n)
    goods: NDArray[np.bool_]  # (n,) can be stocked
    consumption: Vector  # (n,) basket shares
    government: Vector
    capital_good: int

    @classmethod
    def of(cls, scenario: Scenario) -> Technology:
        """The technology of a scenario."""
        names = [p.name for p in scenario.products]
        matrix = np.array([[p.recipe.get(name, 0.0) for name in names] for p in scenario.products])
        return cls(
            matrix,
            np.array([p.kind == "good" for p in scenario.products]),
            np.array([p.consumption for p in scenario.products]),
            np.array([p.government for p in scenario.products]),
            scenario.capital_good,
        )


@dataclass(frozen=True)
class SteadyState:
    """Vectors (n,) per product, sums for the economy, in currency per round (flows) and currency (stocks)."""

    markup: float
    labour_coefficient: Vector  # efficiency units per unit of output
    capital_coefficient: Vector  # machines per unit of output and round
    labour: Vector  # efficiency units employed
    output: Vector
    value_added_share: Vector
    consumption: float
    purchases: float  # of the government
    value_added: float
    vat: float
    firm_deposits: Vector
    dividends: Vector
    household_deposits: float
    maker_deposits: float
    government_deposits: float
    debt: float
    income_tax: float  # rate
    income: float  # households' disposable
    all_dividends: float
    wealth_propensity: float
    policy_rate: float  # per year

    @property
    def gdp(self) -> float:
        """GDP at market prices per round."""
        return self.value_added + self.vat

    def settled(self) -> Self:
        """The same with every figure cut to the digits that are the same on every machine."""
        return replace(self, **{field.name: _settled(getattr(self, field.name)) for field in fields(self)})


def _settled(value: Any) -> Any:  # a number or a vector of them, as it came
    if isinstance(value, np.ndarray):
        return np.array([float(f"{x:.{_DIGITS}g}") for x in value])
    return float(f"{value:.{_DIGITS}g}")


def _quantities(
    scenario: Scenario, tech: Technology, rates: Rates, markup: float
) -> tuple[Vector, Vector, Vector, float, float] | None:
    """(output, labour coefficients, labour, consumption, purchases) at a mark-up; None when labour would cost < 0.

    x = A'x + C beta + G gamma + e_machine (dep + g) k'x + g (cover_out x + cover_in A'x), storables only in the last.
    """
    t, f = scenario.targets, scenario.firms
    a, n = tech.inputs, len(tech.goods)
    labour_cost = 1 / (1 + markup) - a.sum(1)
    if labour_cost.min() <= 0:
        return None
    capital = capital_coefficients(scenario, tech)
    goods = tech.goods.astype(float)
    system = np.eye(n) - a.T - rates.growth * (f.cover_out * np.diag(goods) + f.cover_in * (a * goods).T)
    system[tech.capital_good] -= (rates.depreciation + rates.growth) * capital
    per_c, per_g = np.linalg.solve(system, tech.consumption), np.linalg.solve(system, tech.government)
    added = 1 - a.sum(1)
    purchases = t.government_share * (added @ per_c + t.vat) / (1 - t.government_share * (added @ per_g))
    output = per_c + purchases * per_g
    coefficient = labour_cost / t.wage
    planned = (1 + scenario.labour.hoarding) * np.where(tech.goods, coefficient, coefficient / f.service_slack)
    scale = scenario.population.households * (1 - t.unemployment) / (planned @ output)
    return output * scale, coefficient, planned * output * scale, scale, purchases * scale


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls from `low` to `high` is zero: bisection to the last bit."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if f(middle) > 0 else (low, middle)
    return middle


def capital_coefficients(scenario: Scenario, tech: Technology) -> Vector:
    """Machines per unit of output and round, (n,): the capital ratio times value added."""
    ratio = scenario.targets.capital_ratio * scenario.time.rounds_per_year
    return ratio * (1 - tech.inputs.sum(1))


def solve(scenario: Scenario) -> SteadyState:
    """The steady state of a scenario. Raises ScenarioError naming the target that cannot be met."""
    t, f = scenario.targets, scenario.firms
    tech, rates, per_year = Technology.of(scenario), Rates.of(scenario), scenario.time.rounds_per_year
    a = tech.inputs
    added = 1 - a.sum(1)

    def gap(markup: float) -> float:
        found = _quantities(scenario, tech, rates, markup)
        return -1.0 if found is None else float(t.wage * found[2].sum() / (added @ found[0]) - t.labour_share)

    high = min(1 / a.sum(1).max() - 1 - 1e-6, 1.5)
    if gap(1e-6) < 0 or gap(high) > 0:
        raise ScenarioError("targets.labour_share", t.labour_share, "no mark-up gives it with these recipes")
    markup = _root(gap, 1e-6, high)
    found = _quantities(scenario, tech, rates, markup)
    assert found is not None
    output, coefficient, labour, consumption, purchases = found
    capital_coefficient = capital_coefficients(scenario, tech)
    capital = capital_coefficient * output
    investment = (rates.depreciation + rates.growth) * capital
    stocks_out = f.cover_out * output * tech.goods
    stocks_in = f.cover_in * a * output[:, None] * tech.goods
    value_added, vat = float(added @ output), t.vat * consumption
    spent = consumption + purchases + investment.sum() + rates.growth * (stocks_out.sum() + stocks_in.sum())
    if abs(spent - value_added) > 1e-6 * value_added:
        raise ScenarioError("products.*.recipe", value_added, "expenditure and production differ: check the recipes")
    wages = t.wage * labour
    rate = t.real_rate + t.inflation
    loan_rate, deposit_rate = rate / per_year, max(0.0, rate - t.deposit_spread) / per_year
    profit_tax = t.profit_tax * (added * output - wages - rates.depreciation * capital)
    growth_of_stocks = investment + rates.growth * (stocks_out + stocks_in.sum(1))
    cash_flow = added * output - wages - profit_tax - growth_of_stocks
    target = f.liquidity * (wages + a.sum(1) * output)
    # Dividends: `payout` of what exceeds the target before payment each quarter, deposits growing at the nominal rate.
    rounds = scenario.calendar.rounds
    dividends, deposits = cash_flow.copy(), target.copy()
    for _ in range(200):
        deposits = target + np.maximum(dividends, 0) * rounds / f.payout - dividends * rounds / 2
        dividends = cash_flow + deposit_rate * deposits - rates.nominal * deposits
    gdp = value_added + vat
    debt = t.debt_ratio * per_year * gdp
    makers, government = t.maker_capital * per_year * gdp, t.government_buffer * purchases
    households = debt - float(deposits.sum()) - makers - government
    if households <= 0:
        raise ScenarioError("targets.debt_ratio", t.debt_ratio, "raise it, or lower firms.liquidity: no money is left")
    benefits = t.replacement * t.wage * scenario.population.households * t.unemployment
    bank_profit = loan_rate * debt - deposit_rate * (households + float(deposits.sum()) + makers)
    all_dividends = float(dividends.sum()) + (deposit_rate - rates.nominal) * makers
    base = float(wages.sum()) + all_dividends + deposit_rate * households
    need = (
        purchases + benefits + loan_rate * debt - bank_profit - rates.nominal * (debt - government) - vat
        - float(profit_tax.sum())
    )  # fmt: skip
    income_tax = need / base
    if not 0 <= income_tax < 0.9:
        raise ScenarioError(
            "targets.government_share", t.government_share, f"it needs an income tax of {income_tax:.0%}"
        )
    income = base * (1 - income_tax) + benefits
    # Walras: the households' budget is the one equation not used above, so it must hold by itself.
    if abs(income - consumption - vat - rates.nominal * households) > 1e-6 * gdp:
        raise ScenarioError("targets", income, "the households' budget does not close: check the targets")
    propensity = (consumption + vat - scenario.households.income_propensity * income) / households
    return SteadyState(
        markup, coefficient, capital_coefficient, labour, output, added, consumption, purchases, value_added, vat,
        deposits, dividends, households, makers, government, debt, income_tax, income, all_dividends, propensity, rate,
    ).settled()  # fmt: skip
