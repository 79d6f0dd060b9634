"""From what is counted to its decimals."""

from __future__ import annotations

import pytest

from economy.errors import InputError
from economy.events import Account, InstrumentClass
from economy.instruments import Instrument
from economy.measures import LOTS, MEASURES, MONEY, PRICE_STEP, RATIO
from economy.scales import Listing, Scales

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
