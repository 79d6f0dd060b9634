"""The opening of a run: the steady state shared out over agents as integers, and the events that say so.

Remainders of every division go to a named party (the largest holder, the first household), so that the opening balance
sheet adds up to the last 1e-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.instruments import Instrument
from economy.numbers import rng
from economy.numbers.draws import Draw
from economy.numbers.elementary import exp_each, power_each
from economy.numbers.exact import share_out
from economy.numbers.units import RATE, SHARES, UNIT
from economy.population import Population, population_of
from economy.records import events as e
from economy.records.events import Account, Events, InstrumentClass, Parameter, Role
from economy.scenario import Scenario
from economy.steady import Rates, Technology, solve

Ints = NDArray[np.int64]
TICK: Final = -1  # opening records lie before the first tick
LOT: Final = 100  # lots per unit of a product
PRICE: Final = 10_000  # price steps per currency unit: the base price 1
LABOUR: Final = 1_000  # labour lots per efficiency unit
FLOAT_SHARE: Final = SHARES // 100  # of a listed issuer that each market maker starts with
EVERYBODY: Final = -1


class Constant:
    """Items of Parameter.CONSTANT: scalars of the steady state that public bodies steer by."""

    INCOME_TAX: Final = 0  # normal rate
    POLICY_RATE: Final = 1
    GOVERNMENT_BUFFER: Final = 2  # currency
    MAKER_DEPOSITS: Final = 3  # currency, each
    PURCHASES: Final = 4  # units per round


class Opening:
    """Everything at tick -1 of a scenario and seed, as arrays over agents; `events` writes it down."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.seed = scenario, seed
        self.population: Population = population_of(scenario)
        self.tech, self.rates, self.steady = Technology.of(scenario), Rates.of(scenario), solve(scenario)
        self.product = np.repeat(np.arange(len(scenario.products)), [p.firms for p in scenario.products])
        self._firms()
        self._households()
        self._shares()
        self._deposits()

    def _firms(self) -> None:
        """Sizes within a product fall with the rank to the power -0.4 (a mild Zipf law; Axtell 2001 has -1)."""
        s, f = self.steady, self.scenario.firms
        size = np.empty(len(self.product))
        for product in range(len(self.tech.goods)):
            mine = np.flatnonzero(self.product == product)
            weight = power_each(np.arange(1.0, len(mine) + 1), -0.4)
            size[mine] = weight / weight.sum()
        self.size = size
        output = s.output[self.product] * size
        self.expected_sales = output * LOT
        goods = self.tech.goods
        self.goods = np.floor(
            f.cover_in * self.tech.inputs[self.product] * output[:, None] * LOT * goods[None, :]
        ).astype(np.int64)
        own = np.where(goods[self.product], f.cover_out * output * LOT, 0)
        self.goods[np.arange(len(output)), self.product] = own.astype(np.int64)
        self.capital = (s.capital_coefficient[self.product] * output * LOT).astype(np.int64)
        self.wage = np.full(len(output), int(self.scenario.targets.wage * UNIT / LABOUR), np.int64)

    def _households(self) -> None:
        scenario, who = self.scenario, self.population.everybody
        skill = exp_each(scenario.labour.skill_sigma * rng.normal(self.seed, who, Draw.SKILL, TICK))
        skill = np.clip(skill, 0.25, 6)
        self.skill = np.maximum(1, np.rint(skill / skill.mean() * LABOUR)).astype(np.int64)
        self.employer = np.full(len(who), -1, np.int64)
        need = self.steady.labour[self.product] * self.size * LABOUR
        order = np.argsort(rng.bits(self.seed, who, Draw.START_ORDER, TICK), kind="stable")
        for i in order[: round(len(who) * (1 - scenario.targets.unemployment))]:
            firm = int(np.argmax(need))  # the one that lacks most takes the next
            self.employer[i] = firm
            need[firm] -= self.skill[i]

    def _shares(self) -> None:
        """Ownership is lognormal and rises with skill; half of the households own nothing."""
        p, who = self.population, self.population.everybody
        households = self.scenario.households
        weight = exp_each(households.wealth_sigma * rng.normal(self.seed, who, Draw.OWNERSHIP, TICK))
        weight *= power_each(self.skill / LABOUR, 0.7)
        weight *= rng.uniform(self.seed, who, Draw.OWNS, TICK) < households.owners
        self.owner = weight > 0
        added = self.steady.output[self.product] * self.size * self.steady.value_added_share[self.product]
        self.listed = np.sort(np.argsort(-added, kind="stable")[: p.listed])
        issuers = p.makers + p.firms
        self.shares = np.zeros((issuers, p.size), np.int64)  # issuer (makers, then firms) x holder
        for issuer in range(issuers):
            is_listed = issuer - p.makers in self.listed
            holds = rng.uniform(self.seed, who, Draw.HOLDS, issuer) < (0.6 if is_listed else 0.15)
            mine = weight * holds
            if mine.sum() == 0:
                mine = weight + 1e-9
            scaled = np.floor(mine / mine.sum() * 1e9).astype(np.int64)
            left = SHARES - (FLOAT_SHARE * p.makers if is_listed else 0)
            self.shares[issuer, p.first_household :] = share_out(left, scaled)
            if is_listed:
                self.shares[issuer, p.first_maker : p.first_firm] = FLOAT_SHARE

    def _deposits(self) -> None:
        p, s, t = self.population, self.steady, self.scenario.targets
        rounds = self.scenario.calendar.rounds
        self.cash = np.zeros(p.size, np.int64)
        dividends = s.dividends[self.product] * self.size
        since = (-1 - np.arange(p.firms)) % rounds  # rounds since the firm's last dividend
        firms = s.firm_deposits[self.product] * self.size + dividends * (since - (rounds - 1) / 2)
        self.cash[p.first_firm : p.first_household] = np.maximum(firms, 0) * UNIT
        self.cash[p.first_maker : p.first_firm] = int(s.maker_deposits / p.makers * UNIT)
        self.cash[p.government] = int(s.government_deposits * UNIT)
        self.debt = int(s.debt * UNIT)
        maker_dividend = (s.all_dividends - float(dividends.sum())) / p.makers
        per_share = np.r_[np.full(p.makers, maker_dividend), dividends] / SHARES
        from_shares = (self.shares[:, p.first_household :] * per_share[:, None]).sum(0)
        works = self.employer >= 0
        gross = np.where(works, 1.0, t.replacement) * self.skill / LABOUR * t.wage
        income = np.where(works, gross * (1 - s.income_tax), gross) + from_shares * (1 - s.income_tax)
        noise = rng.normal(self.seed, p.everybody, Draw.START_DEPOSITS, TICK)
        weight = income * exp_each(0.8 * noise)
        left = self.debt - int(self.cash.sum())
        self.cash[p.first_household :] = share_out(left, np.floor(weight / weight.sum() * 1e12).astype(np.int64))
        self.cash[p.central_bank] = -self.debt
        self.expected_income = income * s.income / income.sum()
        self.dividends = dividends[self.listed] / SHARES * self.scenario.time.rounds_per_year  # yearly, per share

    # ---- as events
    def share_prices(self) -> Ints:
        """Value of a listed share at the start in price steps: Gordon growth, dividend / (return - growth)."""
        t = self.scenario.targets
        growth = (1 + t.inflation) * (1 + t.growth) - 1
        value = self.dividends / (self.scenario.stocks.equity_return - growth)
        return np.maximum(1, np.rint(value * PRICE)).astype(np.int64)

    def instruments(self) -> list[Instrument]:
        """Every product, then every listed share."""
        products, stocks = self.scenario.products, self.scenario.stocks
        found = [
            Instrument(
                i, product.name, InstrumentClass.GOOD if product.kind == "good" else InstrumentClass.SERVICE,
                item=i, fixing_ticks=self.scenario.time.round_ticks, reference_price=PRICE,
            )
            for i, product in enumerate(products)
        ]  # fmt: skip
        for k, (firm, price) in enumerate(zip(self.listed.tolist(), self.share_prices().tolist(), strict=True)):
            issuer = self.population.first_firm + firm
            symbol = f"{products[self.product[firm]].name}-{issuer}"
            found.append(
                Instrument(
                    len(products) + k, symbol, InstrumentClass.EQUITY, item=issuer, quantity_scale=0,
                    fixing_ticks=self.scenario.time.round_ticks, reference_price=price, band_bp=stocks.band_bp,
                    breaker_bp=stocks.breaker_bp, halt_ticks=stocks.halt_ticks, open_ticks=stocks.open_ticks,
                    auction_pressure=int(stocks.auction_pressure),
                )
            )  # fmt: skip
        return found

    def founded(self, run: int) -> list[tuple[str, Mapping[str, Any]]]:
        """AgentFounded of every agent; each is its agent's first record."""
        p = self.population
        out: list[tuple[str, Mapping[str, Any]]] = []
        for agent in range(p.size):
            role = p.role_of(agent)
            name = role.name.lower().replace("_", " ")
            if role == Role.CORPORATION:
                name = f"{self.scenario.products[self.product[agent - p.first_firm]].name} {agent}"
            elif agent >= p.first_maker:
                name = f"{name} {agent}"
            record = {"run": run, "tick": TICK, "agent": agent, "n": 1, "name": name, "role": role.name.lower()}
            out.append(("AgentFounded", record))
        return out

    def events(self, run: int) -> Events:
        """OpeningBalance and OpeningParameter rows; n of each agent goes on from its AgentFounded."""
        p, s = self.population, self.steady
        firms, people = np.arange(p.first_firm, p.first_household), p.everybody
        balances: list[tuple[Ints, int, Any, Any]] = [(np.arange(p.size), Account.CASH, 0, self.cash)]
        at, product = np.nonzero(self.goods)
        balances.append((firms[at], Account.GOODS, product, self.goods[at, product]))
        balances.append((firms, Account.CAPITAL, self.tech.capital_good, self.capital))
        issuer, holder = np.nonzero(self.shares)
        balances.append((holder, Account.SHARES, p.first_maker + issuer, self.shares[issuer, holder]))
        banks = np.array([p.government, p.central_bank])
        balances.append((banks, Account.BONDS, 0, np.array([-self.debt, self.debt])))
        parameters: list[tuple[Ints, int, Any, Any]] = [
            (people, Parameter.SKILL, 0, self.skill),
            (people, Parameter.EMPLOYER, 0, np.where(self.employer < 0, -1, p.first_firm + self.employer)),
            (people, Parameter.EXPECTED_INCOME, 0, self.expected_income),
            (people, Parameter.OWNERSHIP, 0, self.owner),
            (firms, Parameter.PRODUCT, 0, self.product),
            (firms, Parameter.EXPECTED_SALES, 0, self.expected_sales),
            (firms, Parameter.WAGE, 0, self.wage),
            (firms[self.listed], Parameter.EXPECTED_DIVIDEND, 0, self.dividends),
        ]
        everybody = np.full(len(self.tech.goods), EVERYBODY)
        each = np.arange(len(self.tech.goods))
        parameters += [
            (everybody, Parameter.LABOUR_COEFFICIENT, each, s.labour_coefficient),
            (everybody, Parameter.CAPITAL_COEFFICIENT, each, s.capital_coefficient),
            (everybody[:1], Parameter.MARKUP, 0, s.markup),
            (everybody[:1], Parameter.WEALTH_PROPENSITY, 0, s.wealth_propensity),
        ]
        constants = {
            Constant.INCOME_TAX: s.income_tax,
            Constant.POLICY_RATE: s.policy_rate,
            Constant.GOVERNMENT_BUFFER: s.government_deposits,
            Constant.MAKER_DEPOSITS: s.maker_deposits / p.makers,
            Constant.PURCHASES: s.purchases,
        }
        parameters += [(everybody[:1], Parameter.CONSTANT, item, value) for item, value in constants.items()]
        counter = np.ones(p.size + 1, np.int64)  # the last place is EVERYBODY's
        counter[EVERYBODY] = 0
        b, o = e.OpeningBalance, e.OpeningParameter
        return {
            b.name: np.concatenate([_rows(b.width, run, counter, *part) for part in balances]),
            o.name: np.concatenate(
                [
                    _rows(o.width, run, counter, agent, kind, item, np.rint(np.asarray(value) * float(RATE)))
                    for agent, kind, item, value in parameters
                ]
            ),
        }


def _rows(width: int, run: int, counter: Ints, agent: Ints, kind: int, item: Any, value: Any) -> Ints:
    rows = np.empty((len(agent), width), np.int64)
    rows[:, 0], rows[:, 1], rows[:, 2] = run, TICK, agent
    for i, who in enumerate(agent.tolist()):
        counter[who] += 1
        rows[i, 3] = counter[who]
    rows[:, 4], rows[:, 5], rows[:, 6] = kind, item, value
    return rows
