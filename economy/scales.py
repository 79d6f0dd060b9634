"""How many decimals a count has: the one place from a measure, an account or an instrument to unit and scale.

Money has 8 decimals, ratios have 9; what is traded says itself how many its prices and quantities have. GraphQL, the
exports of events and what the command line prints as JSON all ask here, and economy.numbers.decimals writes the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from economy.errors import InputError
from economy.instruments import Instrument
from economy.measures import LOTS, MEASURE
from economy.numbers.units import MONEY_SCALE
from economy.records.events import Account, InstrumentClass

RATE_SCALE: Final = 9  # rates and other scalars travel as integers of 1e-9
BASIS_SCALE: Final = 4  # tax rates of orders: integers of 0.0001
_TRADED: Final = (InstrumentClass.GOOD, InstrumentClass.SERVICE)


class Unit(Enum):
    """What a column of a table of results counts."""

    MONEY = auto()  # 1e-8 of the currency
    RATIO = auto()  # 1e-9
    PRICE = auto()  # price steps of the row's instrument
    LOTS = auto()  # of the row's instrument
    IMPACT = auto()  # 1e-9 price steps per lot of the row's instrument; its decimal: the currency per unit
    FIGURE = auto()  # what the row's indicator says


def _each(unit: Unit, names: str) -> dict[str, Unit]:
    return dict.fromkeys(names.split(), unit)


# Table that jobs fill -> its columns that are counts with decimals; all others are whole.
RESULTS: Final[Mapping[str, Mapping[str, Unit]]] = {
    "batch_indicators": {"value": Unit.FIGURE},
    "reconciliation": {"stream": Unit.FIGURE, "batch": Unit.FIGURE},
    "liquidity": {
        "traded_value": Unit.MONEY, **_each(Unit.RATIO, "quoted_spread illiquidity"), "price_impact": Unit.IMPACT,
        **_each(Unit.LOTS, "traded_quantity best_bid_depth best_ask_depth bid_depth ask_depth"),
    },
    "price_stability": {
        **_each(Unit.PRICE, "opening_price closing_price"),
        **_each(Unit.RATIO, "inflation realised_volatility max_drawdown"),
    },
    "agent_performance": {
        **_each(Unit.MONEY, "net_worth median_net_worth change bought sold"), "growth": Unit.RATIO,
    },
}  # fmt: skip


class Listing(NamedTuple):
    """What a scale needs to know of an instrument."""

    instrument: int
    instrument_class: InstrumentClass
    item: int
    price_scale: int
    quantity_scale: int


@dataclass(frozen=True)
class Scales:
    """Decimals of what a run trades and holds.

    The methods raise InputError for an instrument or a product that is not listed: a guess would be off by a power of
    ten. Shares that are not listed are counted whole.
    """

    prices: Mapping[int, int]  # by instrument
    quantities: Mapping[int, int]  # by instrument
    products: Mapping[int, int]  # of quantities, by product of a good or service
    shares: Mapping[int, int]  # of quantities, by issuer

    @classmethod
    def of(cls, instruments: Iterable[Instrument | Listing]) -> Scales:
        """From what a run lists."""
        listed = list(instruments)
        return cls(
            {i.instrument: i.price_scale for i in listed},
            {i.instrument: i.quantity_scale for i in listed},
            {i.item: i.quantity_scale for i in listed if i.instrument_class in _TRADED},
            {i.item: i.quantity_scale for i in listed if i.instrument_class == InstrumentClass.EQUITY},
        )

    def price(self, instrument: int) -> int:
        """Of a price in the currency."""
        return _listed("instrument", self.prices, instrument)

    def quantity(self, instrument: int) -> int:
        """Of a quantity in units of the instrument."""
        return _listed("instrument", self.quantities, instrument)

    def stock(self, account: Account, item: int) -> int:
        """Of a balance: money in the currency, goods and capital in units of the product, shares in shares."""
        if account in (Account.CASH, Account.BONDS):
            return MONEY_SCALE
        return self.shares.get(item, 0) if account == Account.SHARES else _listed("product", self.products, item)

    def figure(self, indicator: str, item: int) -> int:
        """Of a measure's value; `item` is an instrument where it counts lots."""
        measure = MEASURE.get(indicator)
        if measure is None:
            raise InputError("indicator", indicator, f"known are {', '.join(MEASURE)}")
        return self.quantity(item) if measure.unit == LOTS else measure.scale

    def result(self, table: str, row: Mapping[str, Any]) -> dict[str, int]:
        """Of the counts in a row of RESULTS, by column; those that the row has."""
        return {name: self._of(unit, row) for name, unit in RESULTS[table].items() if name in row}

    def _of(self, unit: Unit, row: Mapping[str, Any]) -> int:
        match unit:
            case Unit.MONEY:
                return MONEY_SCALE
            case Unit.RATIO:
                return RATE_SCALE
            case Unit.PRICE:
                return self.price(int(row["instrument"]))
            case Unit.LOTS:
                return self.quantity(int(row["instrument"]))
            case Unit.IMPACT:  # a price step per lot is 10^(lots - price) of the currency per unit
                instrument = int(row["instrument"])
                return RATE_SCALE + self.price(instrument) - self.quantity(instrument)
            case Unit.FIGURE:
                return self.figure(str(row["indicator"]), int(row["item"]))


def _listed(what: str, scales: Mapping[int, int], number: int) -> int:
    found = scales.get(number)
    if found is None:
        raise InputError(what, number, "nothing listed tells its decimals (yet): ask again, or for the raw integers")
    return found


NO_LISTINGS: Final = Scales.of(())  # for what no instrument has a say in
