"""What `--json` gives of figures, net worth, balances and books: exact decimals, each beside its integer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest

from agents.village import VillageModel
from economy.indicators import Window, WindowProjection
from economy.measures import MEASURE
from economy.records.events import Account as Stock
from economy.records.events import Events, InstrumentClass, Role
from economy.scales import Scales
from economy.scenario import load_scenario
from economy.world import World
from infra.demo import Year
from runs.accounts import to_json
from runs.compare import Account, Comparison
from runs.local import run_local
from runs.show import world_json
from schemas.log.founding import Founding

_WIDE = Context(prec=60)
UNITS = {"1e-8 of the currency": 8, "1e-9": 9, "1e-4 of the currency": 4, "1": 0, "lots": 2}


class Ran(NamedTuple):
    window: Window
    founded: Founding
    world: World


@pytest.fixture(scope="module")
def ran() -> Ran:
    scenario = load_scenario("village", {"years": "1", "calendar.rounds": "4", "population.households": "120"})
    model = VillageModel(scenario, 3)
    people = [record for _, record in model.opening(1)[1]]
    roles = np.array([Role[record["role"].upper()] for record in people], np.int64)
    instruments = tuple(model.instruments())
    projection = WindowProjection(1, model.scenario, roles, instruments)
    world = World(roles, len(model.scenario.products), model.scenario.capital_good, instruments)
    windows: list[Window] = []

    def on_epoch(epoch: int, events: Events) -> None:
        world.feed(epoch, events)
        window = projection.feed(epoch, events)
        windows.extend([window] if window else [])

    run_local(model, on_epoch=on_epoch)
    return Ran(windows[-1], Founding(roles, tuple(record["name"] for record in people), instruments), world)


def pairs(found: Any) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(name, decimal, integer, object that has them) of everything in a document."""
    if isinstance(found, dict):
        for name, value in found.items():
            if f"{name}_raw" in found and isinstance(value, str):
                yield name, value, found[f"{name}_raw"], found
            yield from pairs(value)
    elif isinstance(found, list):
        for inner in found:
            yield from pairs(inner)


def same(decimal: str, raw: str, scale: int) -> bool:
    return Decimal(decimal) == Decimal(raw).scaleb(-scale, _WIDE) and "E" not in decimal.upper()


def test_accounts(ran: Ran) -> None:
    assert {i.quantity_scale for i in ran.founded.instruments if i.instrument_class == InstrumentClass.GOOD} == {2}
    told = json.loads(json.dumps(to_json(ran.window, Scales.of(ran.founded.instruments))))
    assert [f["value_raw"] for f in told["figures"]] == list(map(str, ran.window.figures.values()))
    shares = {i.instrument for i in ran.founded.instruments if i.instrument_class == InstrumentClass.EQUITY}
    for name, decimal, raw, figure in pairs(told["figures"]):
        unit = MEASURE[figure["indicator"]].unit
        scale = 0 if unit == "lots" and figure["item"] in shares else UNITS[unit]
        assert (name, same(decimal, raw, scale)) == ("value", True)
        assert figure["unit"] == MEASURE[figure["indicator"]].decimal_unit
    for matrix in (told["balance_sheet"], told["transaction_flows"]):
        assert (matrix["unit"], matrix["raw_unit"]) == ("currency", "1e-8 of the currency")
        for row, raw in zip(matrix["rows"], matrix["rows_raw"], strict=True):
            assert row["row"] == raw["row"]
            assert all(same(row[column], raw[column], 8) for column in matrix["columns"])
        assert any("." in row[column] for row in matrix["rows"] for column in matrix["columns"])


def test_comparison(ran: Ran) -> None:
    rng = np.random.default_rng(1)
    people = len(ran.founded.names)
    worth = [rng.integers(-(2**61), 2**61, people) for _ in range(2)]
    figures = {ran.window.window: ran.window.figures}
    a, b = (Account(run, figures, each) for run, each in zip((7, 8), worth, strict=True))
    told = json.loads(json.dumps(Comparison(a, b, ran.founded, -2, -2, None).to_json()))
    assert sorted(int(agent["difference_raw"]) for agent in told["net_worth"]) == sorted((worth[1] - worth[0]).tolist())
    for part in (told["net_worth"], told["net_worth_by_role"]):
        found = list(pairs(part))
        assert found
        assert all(same(decimal, raw, 8) for _, decimal, raw, _ in found)
    gdp = next(figure for figure in told["figures"] if figure["indicator"] == "gdp_production")
    assert same(gdp["a"], gdp["a_raw"], 8)
    assert gdp["a"] == gdp["b"]


def test_a_world_that_is_shown(ran: Ran) -> None:
    listed = ran.founded.instruments[0]
    ran.world.levels = np.array([[0, 1, 10_161, 380]], np.int64)  # at the run's end books are empty
    told = json.loads(json.dumps(world_json(ran.world, ran.founded, 1, 560)))
    fixed = {"cash": 8, "bonds": 8, "shares": 0, "goods": 2, "capital": 2}
    assert {balance["account"] for balance in told["balances"]} == set(fixed)
    found = list(pairs(told["balances"]))
    assert len(found) == len(told["balances"])
    assert all(same(decimal, raw, fixed[balance["account"]]) for _, decimal, raw, balance in found)
    book = told["books"][0]
    assert same(book["price"], book["price_raw"], listed.price_scale)
    assert book["price_raw"] == str(ran.world.prices[0])
    assert book["asks"] == [{"price": "1.0161", "price_raw": "10161", "quantity": "3.8", "quantity_raw": "380"}]


def test_years_of_the_demo() -> None:
    year = Year(1, {"production": 10**15 + 1, "income": -5}, 412_345_678, 10**9, 0)
    assert json.loads(json.dumps(year.to_json())) == {
        "year": 1,
        "gdp": {"gdp_production": "10000000.00000001", "gdp_income": "-0.00000005"},
        "gdp_raw": {"gdp_production": "1000000000000001", "gdp_income": "-5"},
        "gini_income": "0.412345678", "gini_income_raw": "412345678", "gini_wealth": "1",
        "gini_wealth_raw": "1000000000", "unemployment": "0", "unemployment_raw": "0",
    }  # fmt: skip


def test_every_stock_of_the_village_has_decimals(ran: Ran) -> None:
    scales = Scales.of(ran.founded.instruments)
    held = {(Stock(account), item) for account, item in ran.window.balances[:, [3, 4]].tolist()}
    assert {account for account, _ in held} == set(Stock)
    fixed = {Stock.CASH: 8, Stock.BONDS: 8, Stock.SHARES: 0, Stock.GOODS: 2, Stock.CAPITAL: 2}
    assert {key: scales.stock(*key) for key in held} == {key: fixed[key[0]] for key in held}
