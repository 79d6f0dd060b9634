"""How many decimals a count has: the one place from a measure, an account or an instrument to unit and scale.

Money has 8 decimals, ratios have 9; what is traded says itself how many its prices and quantities have. GraphQL, the
exports of events and what the command line prints as JSON all ask here, and economy.decimals writes the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from economy.errors import InputError
from economy.events import Account, InstrumentClass
from economy.instruments import Instrument
from economy.measures import LOTS, MEASURE
from economy.units import MONEY_SCALE

RATE_SCALE: Final = 9  # rates and other scalars travel as integers of 1e-9
BASIS_SCALE: Final = 4  # tax rates of orders: integers of 0.0001
_TRADED: Final = (InstrumentClass.GOOD, InstrumentClass.SERVICE)


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


def _listed(what: str, scales: Mapping[int, int], number: int) -> int:
    found = scales.get(number)
    if found is None:
        raise InputError(what, number, "nothing listed tells its decimals (yet): ask again, or for the raw integers")
    return found
