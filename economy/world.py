"""The world at a cut as its events tell it: balances, books, employment and valuation prices. A fold without rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.instruments import Instrument
from economy.ledger import Ledger, item_table
from economy.numbers.units import RATE
from economy.records import events as e
from economy.records.events import Events, Parameter, Role, Rows, Side

Ints = NDArray[np.int64]
NOBODY: Final = -1  # employer of who has none
_PREFIX: Final = "ledger/"


class World:
    """Fed with every epoch of a run in order, the opening first; `dump` and `load` make and take checkpoints.

    `levels` are (instrument, side, price, quantity) rows of the books, `employer` (agents,) agent numbers or -1,
    `prices` by instrument in price steps.
    """

    def __init__(self, roles: Ints, products: int, capital_good: int, instruments: Sequence[Instrument]) -> None:
        self.roles, self.instruments = roles, tuple(instruments)
        issuers = np.flatnonzero((roles == Role.MARKET_MAKER) | (roles == Role.CORPORATION))
        self.ledger = Ledger(len(roles), products, issuers, capital_good, item_table(instruments))
        self.employer = np.full(len(roles), NOBODY, np.int64)
        self.levels: Rows = np.empty((0, 4), np.int64)
        self.prices = np.zeros(len(self.ledger.item_of), np.int64)
        for instrument in instruments:
            self.prices[instrument.instrument] = instrument.reference_price
        self.epoch = -2  # nothing yet

    def feed(self, epoch: int, events: Events) -> None:
        """Take in one epoch. Raises AccountingError where a conservation law is broken."""
        self.ledger.apply(events)
        o, s, c = e.OpeningParameter, e.ContractSigned, e.ContractEnded
        opened = events.get(o.name)
        if opened is not None:
            rows = opened[opened[:, o.PARAMETER] == Parameter.EMPLOYER]
            self.employer[rows[:, o.AGENT]] = np.where(rows[:, o.VALUE] < 0, NOBODY, rows[:, o.VALUE] // RATE)
        if c.name in events:  # who leaves one employer and joins another in the same epoch is employed
            self.employer[events[c.name][:, c.WORKER]] = NOBODY
        if s.name in events:
            self.employer[events[s.name][:, s.WORKER]] = events[s.name][:, s.AGENT]
        p, b = e.PriceFixed, e.BookUpdated
        if p.name in events:
            self.prices[events[p.name][:, p.INSTRUMENT]] = events[p.name][:, p.PRICE]
        if b.name in events:
            self._update(events[b.name][:, [b.INSTRUMENT, b.SIDE, b.PRICE, b.QUANTITY]])
        self.epoch = epoch

    def _update(self, changed: Rows) -> None:
        """Replace the levels that changed; the newest record of a level counts, an empty level goes."""
        rows = np.concatenate((self.levels, changed))
        order = np.lexsort((np.arange(len(rows)), rows[:, 2], rows[:, 1], rows[:, 0]))
        rows = rows[order]
        newest = np.append((rows[1:, :3] != rows[:-1, :3]).any(1), True)
        self.levels = rows[newest & (rows[:, 3] > 0)]

    def book(self, instrument: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(price, quantity) of the bids and of the asks, best first."""
        rows = self.levels[self.levels[:, 0] == instrument]
        bids = rows[rows[:, 1] == Side.BUY][:, 2:].tolist()
        asks = rows[rows[:, 1] == Side.SELL][:, 2:].tolist()
        return [(price, quantity) for price, quantity in reversed(bids)], [(price, size) for price, size in asks]

    def dump(self) -> dict[str, NDArray[Any]]:
        """State at the cut, as arrays."""
        state: dict[str, NDArray[Any]] = {_PREFIX + name: rows for name, rows in self.ledger.dump().items()}
        own = {"employer": self.employer, "levels": self.levels, "prices": self.prices}
        return state | {name: rows.copy() for name, rows in own.items()} | {"epoch": np.array([self.epoch], np.int64)}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `dump` gave."""
        self.ledger.load({name.removeprefix(_PREFIX): rows for name, rows in state.items() if name.startswith(_PREFIX)})
        self.employer, self.levels, self.prices = (state[name].copy() for name in ("employer", "levels", "prices"))
        self.epoch = int(state["epoch"][0])
