"""What is traded: the static data of an instrument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from economy.errors import InputError
from economy.numbers.units import INT64_MAX, MONEY_SCALE, notional_multiplier
from economy.records.events import InstrumentClass


def check_protection(reference_price: int, band_bp: int, breaker_bp: int, halt_ticks: int, open_ticks: int) -> None:
    """Raises InputError for parameters of bands, breakers and calls that cannot be."""
    values = {
        "reference_price": reference_price, "band_bp": band_bp, "breaker_bp": breaker_bp, "halt_ticks": halt_ticks,
        "open_ticks": open_ticks,
    }  # fmt: skip
    for name, value in values.items():
        if not 0 <= value <= INT64_MAX // 2:
            raise InputError(name, value, "use zero or a positive number")
    if (band_bp or breaker_bp) and not reference_price:
        raise InputError("reference_price", 0, "give the price around which bands and breakers lie")
    if breaker_bp and not halt_ticks:
        raise InputError("halt_ticks", 0, "give the length of the halt that the breaker causes")


@dataclass(frozen=True)
class Instrument:
    """One listed instrument. Prices count steps of 10^-price_scale, quantities lots of 10^-quantity_scale.

    `item` is the product of a good or service and the issuer of an equity. `fixing_ticks` is the interval of PriceFixed
    (0 = never), `band_bp` the half-width of the price band around the reference price in 0.0001 (0 = none). A trade
    that would print more than `breaker_bp` from the reference halts trading for `halt_ticks` instead (0 = never).
    Trading opens with an auction behind `open_ticks` ticks (0 = at once). `auction_pressure`: 1 = the side of the
    surplus decides between equal prices of an auction before the reference price does. Raises InputError for what
    cannot be.
    """

    instrument: int
    symbol: str
    instrument_class: InstrumentClass
    item: int = 0
    currency: str = "XEC"
    price_scale: int = 4
    quantity_scale: int = 2
    tick_size: int = 1
    lot_size: int = 1
    fixing_ticks: int = 0
    reference_price: int = 0
    band_bp: int = 0
    breaker_bp: int = 0
    halt_ticks: int = 0
    open_ticks: int = 0
    auction_pressure: int = 0

    def __post_init__(self) -> None:
        if self.price_scale < 0 or self.quantity_scale < 0 or self.price_scale + self.quantity_scale > MONEY_SCALE:
            raise InputError(
                "price_scale + quantity_scale",
                (self.price_scale, self.quantity_scale),
                f"their sum must lie in 0..{MONEY_SCALE}, so that price x quantity is exact",
            )
        for name in ("tick_size", "lot_size"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "use a positive step")
        for name in ("fixing_ticks", "instrument"):
            if getattr(self, name) < 0:
                raise InputError(name, getattr(self, name), "use zero or a positive number")
        if self.auction_pressure not in (0, 1):
            raise InputError("auction_pressure", self.auction_pressure, "use 0 or 1")
        check_protection(self.reference_price, self.band_bp, self.breaker_bp, self.halt_ticks, self.open_ticks)

    @property
    def multiplier(self) -> int:
        """Money (1e-8) per price step and lot."""
        return notional_multiplier(self.price_scale, self.quantity_scale)

    def record(self, run: int) -> dict[str, Any]:
        """The InstrumentListed record."""
        return {"run": run, **asdict(self), "instrument_class": self.instrument_class.name.lower()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Instrument:
        """From an InstrumentListed record."""
        # What a writer of an older version did not know keeps its default, as Avro's resolution has it.
        fields = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        return cls(**{**fields, "instrument_class": InstrumentClass[record["instrument_class"].upper()]})
