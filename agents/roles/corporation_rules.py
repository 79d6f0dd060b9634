"""How corporations decide, firm by firm: scalar equations with their sources, and the loops that apply them.

Loops over agents instead of array expressions keep each firm's arithmetic independent of who else is on the shard.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.numbers.units import RECIPE_SCALE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
LABOUR = 1000.0  # labour lots per efficiency unit
LOT = 100.0
PRICE = 10_000.0
UNIT = 1e8


class FirmRules(NamedTuple):
    """Parameters of the scenario's [firms] table that the loops use; same names and units."""

    cover_out: float
    cover_in: float
    sales_speed: float
    long_speed: float
    stock_rounds: float
    input_rounds: float
    capital_rounds: float
    service_slack: float
    review: float
    markup_speed: float
    markup_return: float
    price_speed: float
    stretch: float
    critical: float
    defer: float
    rate_investment: float
    utilisation: float
    markup: float
    growth: float
    depreciation: float


class FirmState(NamedTuple):
    """The arrays that the loops read and write, (firms,) or (firms, products)."""

    product: Ints
    productivity: Floats
    spirit: Floats
    expected: Floats
    expected_long: Floats
    markup: Floats
    price: Ints
    wage: Ints
    capital: Ints
    goods: Ints
    sold: Ints
    offered: Ints
    owed: Ints
    unit_cost: Floats
    labour: Floats  # efficiency units per unit of output now
    plan: Floats


@njit(cache=True)
def expected_sales(expected: float, sold: float, offered: float, speed: float) -> float:
    """Adaptive expectations (Caiani et al. 2016, eq. 3.1); sold out means that demand was more than what was sold."""
    seen = sold
    if offered <= sold * 1.001:
        seen = max(sold, min(expected, sold * 1.5) * 1.02)
    return expected + speed * (seen - expected)


@njit(cache=True)
def next_markup(markup: float, gap: float, normal: float, speed: float, back: float) -> float:
    """Mark-up rises when stocks are short (Caiani et al. 2016, eq. 3.5; Delli Gatti et al. 2011) and returns."""
    gap = min(1.0, max(-1.0, gap))
    return max(0.02, markup + speed * gap - back * (markup - normal))


@njit(cache=True)
def unit_cost(wage: float, labour: float, recipe: Ints, value: Ints) -> float:
    """Wages and inputs per unit of output in currency; inputs at valuation prices."""
    cost = wage * LABOUR / UNIT * labour
    for j in range(recipe.size):
        cost += recipe[j] / RECIPE_SCALE * (value[j] / PRICE)
    return cost


@njit(cache=True)
def plan_firms(
    s: FirmState, r: FirmRules, first: bool, review: Floats, coefficient: Floats, capital_coefficient: Floats,
    progress: float, recipe: Ints, goods: NDArray[np.bool_], value: Ints, full_cost: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Expectations, mark-up, price (Calvo 1983) and production plan of a round. `progress` = (1 + growth)^-round.

    Who prices at full cost keeps the normal mark-up (Hall and Hitch 1939; Godley and Lavoie 2007, ch. 8).
    """
    for i in range(s.product.size):
        p = s.product[i]
        stock = s.goods[i, p]
        target = r.cover_out * s.expected[i]
        if not first:
            s.expected[i] = expected_sales(s.expected[i], s.sold[i], s.offered[i], r.sales_speed)
            s.expected_long[i] += r.long_speed * (s.expected[i] - s.expected_long[i])
            s.expected[i] = max(s.expected[i], 0.02 * s.capital[i] / max(capital_coefficient[p], 1e-9))
            target = r.cover_out * s.expected[i]
            if goods[p]:
                gap = (target - stock) / target
            else:
                gap = 2.5 * (s.sold[i] / max(s.offered[i], 1) - r.service_slack)
            s.markup[i] = next_markup(s.markup[i], gap, r.markup, r.markup_speed, r.markup_return)
            if full_cost[i]:
                s.markup[i] = r.markup
        s.labour[i] = coefficient[p] * progress * np.exp(-s.productivity[i])
        s.unit_cost[i] = unit_cost(s.wage[i], s.labour[i], recipe[p], value)
        if not first and review[i] < r.review:
            wanted = (1 + s.markup[i]) * s.unit_cost[i] * PRICE
            moved = s.price[i] * np.exp(r.price_speed * np.log(wanted / s.price[i]))
            s.price[i] = np.int64(max(1.0, np.rint(moved)))
        if goods[p]:  # base stock
            plan = s.expected[i] * (1 + r.growth) + (target - stock) / r.stock_rounds
        else:
            plan = s.expected[i] / r.service_slack
        capacity = s.capital[i] / capital_coefficient[p] / r.utilisation
        s.plan[i] = min(max(plan, 0.25 * s.expected[i]), capacity)


@njit(cache=True)
def input_orders(
    s: FirmState, r: FirmRules, recipe: Ints, goods: NDArray[np.bool_], value: Ints, want: Ints, limit: Ints
) -> None:
    """Lots of each input wanted (order-up-to policy, Scarf 1960) and the limit price.

    The smaller an input's cost share, the more a firm pays rather than stop: its marginal value.
    """
    for i in range(s.product.size):
        p = s.product[i]
        for j in range(value.size):
            share = recipe[p, j] / RECIPE_SCALE
            use = share * s.plan[i]
            need = float(s.owed[i, j])
            if goods[j] and recipe[p, j] > 0:
                gap = share * r.cover_in * s.expected[i] - (s.goods[i, j] + use)
                need += max(0.0, use + gap / r.input_rounds)
            want[i, j] = np.int64(np.ceil(need))
            cost = share * value[j] / max(s.unit_cost[i] * PRICE, 1e-9)
            factor = min(3.0, max(1.2, 1 + 0.075 / max(cost, 1e-6)))
            limit[i, j] = np.int64(np.rint(value[j] * factor))


@njit(cache=True)
def investment(
    s: FirmState, r: FirmRules, capital_coefficient: Floats, mean_capital: Floats, young: NDArray[np.bool_],
    rate_gap: float, draw: Floats,
) -> Ints:  # fmt: skip
    """Machines wanted: replacement and growth, the gap to the desired capital closed slowly (Dosi et al. 2010; Assenza
    et al. 2015), times e^(-response x real rate gap + animal spirits). A successor may grow fast to half the mean size.
    """
    out = np.zeros(s.product.size, np.int64)
    for i in range(s.product.size):
        p, capital = s.product[i], float(s.capital[i])
        desired = capital_coefficient[p] * s.expected_long[i]
        most = r.depreciation * capital
        if young[i]:
            desired, most = max(desired, 0.5 * mean_capital[p]), 0.02 * mean_capital[p]
        change = min(most, max(-r.depreciation * capital, (desired - capital) / r.capital_rounds))
        wanted = max(0.0, (r.depreciation + r.growth) * capital + change)
        out[i] = np.int64(np.floor(wanted * np.exp(-r.rate_investment * rate_gap + s.spirit[i]) + draw[i]))
    return out


@njit(cache=True)
def dismissals(order: Ints, employer: Ints, skill: Ints, place: Ints, excess: Floats) -> Ints:
    """Households (indices) that local firms dismiss: whole workers in random order while more than half of the worker
    is in excess. `place[firm]` is the local place of a firm, -1 elsewhere."""
    out = np.empty(order.size, np.int64)
    count = 0
    for k in range(order.size):
        h = order[k]
        if employer[h] < 0:
            continue
        i = place[employer[h]]
        if i >= 0 and excess[i] > 0.5 * skill[h]:
            excess[i] -= skill[h]
            out[count] = h
            count += 1
    return out[:count]
