"""From what is counted to its decimals."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from economy.errors import InputError
from economy.instruments import Instrument
from economy.measures import LOTS, MEASURES, MONEY, PRICE_STEP, RATIO
from economy.records.events import Account, InstrumentClass
from economy.scales import RESULTS, Listing, Scales

ROOT = Path(__file__).parents[2]
LISTED = (
    Instrument(3, "G", InstrumentClass.GOOD, item=9, price_scale=2, quantity_scale=5),
    Listing(4, InstrumentClass.SERVICE, 10, 0, 1),
    Listing(9, InstrumentClass.EQUITY, 3, 4, 2),
    Listing(11, InstrumentClass.CURRENCY, 9, 6, 1),
)
SCALES = Scales.of(LISTED)


def test_what_is_traded_says_its_decimals() -> None:
    assert [(SCALES.price(i), SCALES.quantity(i)) for i in (3, 4, 9, 11)] == [(2, 5), (0, 1), (4, 2), (6, 1)]


def test_balances_by_account_and_item() -> None:
    assert SCALES.stock(Account.CASH, 0) == SCALES.stock(Account.BONDS, 77) == 8
    assert SCALES.stock(Account.GOODS, 9) == SCALES.stock(Account.CAPITAL, 9) == 5  # the good's, not the currency's
    assert SCALES.stock(Account.GOODS, 10) == 1
    assert SCALES.stock(Account.SHARES, 3) == 2
    assert SCALES.stock(Account.SHARES, 77) == 0  # not listed: counted whole


def test_measures_by_unit() -> None:
    scales = {MONEY: 8, RATIO: 9, PRICE_STEP: 4, "1": 0, LOTS: 5}
    units = {MONEY: "currency", RATIO: "1", PRICE_STEP: "currency", "1": "1", LOTS: "units of the instrument"}
    for measure in MEASURES:
        assert SCALES.figure(measure.name, 3) == scales[measure.unit]
        assert measure.decimal_unit == units[measure.unit]


def test_what_is_not_listed_is_no_guess() -> None:
    for ask in (
        lambda: SCALES.price(77), lambda: SCALES.quantity(77), lambda: SCALES.stock(Account.GOODS, 77),
        lambda: SCALES.figure("traded_quantity", 77), lambda: SCALES.figure("happiness", 0),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"77|happiness"):
            ask()


def test_rows_of_results_by_column() -> None:
    row = {
        "instrument": 3,
        "trades": 7,
        "traded_value": 1,
        "traded_quantity": 1,
        "quoted_spread": None,
        "price_impact": 1,
    }
    assert SCALES.result("liquidity", row) == {
        "traded_value": 8, "traded_quantity": 5, "quoted_spread": 9, "price_impact": 9 + 2 - 5
    }  # fmt: skip
    prices = SCALES.result("price_stability", dict.fromkeys(RESULTS["price_stability"], 1) | {"instrument": 9})
    assert prices == {
        "opening_price": 4,
        "closing_price": 4,
        "inflation": 9,
        "realised_volatility": 9,
        "max_drawdown": 9,
    }
    figure = {"indicator": "traded_quantity", "item": 3, "stream": 1, "batch": None}
    assert SCALES.result("reconciliation", figure) == {"stream": 5, "batch": 5}
    assert SCALES.result("batch_indicators", {"indicator": "gini_income", "item": 0, "value": 1}) == {"value": 9}
    assert SCALES.result("agent_performance", {"net_worth": 1, "growth": 1}) == {"net_worth": 8, "growth": 9}


def test_the_price_impact_of_a_lot_is_that_of_the_units_in_it() -> None:
    """5e-9 price steps per lot, a step of 0.01 and a lot of 0.00001: 5e-9 * 0.01 / 0.00001 of the currency per unit."""
    scale = SCALES.result("liquidity", {"instrument": 3, "price_impact": 5})["price_impact"]
    assert Decimal(5).scaleb(-scale) == Decimal("5e-9") * Decimal("0.01") / Decimal("0.00001")


def test_counts_are_columns_of_the_tables_that_jobs_fill() -> None:
    migrations = "\n".join(path.read_text() for path in sorted((ROOT / "queries" / "migrations").glob("*.sql")))
    for table, columns in RESULTS.items():
        body = re.search(rf"CREATE TABLE (?:IF NOT EXISTS )?{table}\s*\((.*?)\n\)", migrations, re.DOTALL)
        assert body is not None, table
        there = set(re.findall(r"^\s+`?(\w+)`?\s", body[1], re.MULTILINE))
        assert columns.keys() - {"median_net_worth"} <= there, table
