"""Decimals of the counts in events: what each unit of the catalogue stands for, record by record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.instruments import Instrument
from economy.measures import MEASURE
from economy.numbers.units import MONEY_SCALE
from economy.records.events import Account, Rows
from economy.scales import Scales
from schemas.catalogue import EventType, Field

Places = NDArray[np.int64]
_FIXED: Final = {"1e-8 of the currency": MONEY_SCALE, "labour lots": 3, "labour lots (1/1000 efficiency unit)": 3}
_PRICES: Final = ("price steps (10^-price_scale)", "price steps")
_LOTS: Final = ("lots (10^-quantity_scale)", "lots")
_SHARES: Final = "shares"
_BALANCES: Final = ("1e-8 of the currency (cash, bonds), lots (goods, capital), shares", "as OpeningBalance")
_FIGURES: Final = "see the indicator"
COUNTS: Final = frozenset((*_FIXED, *_PRICES, *_LOTS, _SHARES, *_BALANCES, _FIGURES))


class EventScales:
    """Of one kind of event, under a run's instruments; where an instrument or product is not listed nothing tells its
    scale, and it is 0."""

    def __init__(self, event: EventType, instruments: Mapping[int, Instrument]) -> None:
        self._event, self._listed = event, Scales.of(instruments.values())
        self._names = {field.name for field in event.fields}

    def counts(self, field: Field) -> bool:
        """Whether a field counts money, prices or quantities."""
        return field.unit in COUNTS

    def of_rows(self, field: Field, rows: Rows) -> Places:
        """Decimals of a field in each of the integer records (n, fields)."""
        if field.unit in _FIXED:
            return np.full(len(rows), _FIXED[field.unit], np.int64)
        if field.unit in _BALANCES:
            return self._of_balances(rows)
        if field.unit in _PRICES:
            return self._told(rows, "instrument", self._listed.prices)
        if field.unit == _SHARES:
            return self._told(rows, "agent", self._listed.shares)
        if "instrument" in self._names:
            return self._told(rows, "instrument", self._listed.quantities)
        return self._told(rows, "product", self._listed.products)

    def of_record(self, field: Field, record: Mapping[str, Any]) -> int:
        """Decimals of a field of a record with texts, which says itself what it is about."""
        if field.unit == _FIGURES:
            measure = MEASURE.get(record["indicator"])
            if measure is not None and measure.unit in _LOTS:
                return self._listed.quantities.get(record["item"], 0)
            return measure.scale if measure is not None else 0
        return int(record["price_scale" if field.unit in _PRICES else "quantity_scale"])

    def _told(self, rows: Rows, by: str, scales: Mapping[int, int]) -> Places:
        there, at = np.unique(rows[:, self._event.column(by)], return_inverse=True)
        return np.array([scales.get(number, 0) for number in there.tolist()], np.int64)[at]

    def _of_balances(self, rows: Rows) -> Places:
        account = rows[:, self._event.column("account")]
        goods = np.isin(account, (Account.GOODS, Account.CAPITAL))
        lots, shares = (self._told(rows, "item", scales) for scales in (self._listed.products, self._listed.shares))
        return np.where(goods, lots, np.where(account == Account.SHARES, shares, MONEY_SCALE))
