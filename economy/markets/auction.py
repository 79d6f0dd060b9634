"""The call auction: the one price at which a crossed book clears, and who may not meet there.

The price has the largest executable volume; among those the smallest imbalance; among those the smallest distance to
the reference price, of two equally far the lower. Any price on the grid can be the one.

Exchanges ask for one thing more before the reference price, the pressure of the market. With it the candidates are the
limits of the orders, and where the surplus of all that are left is on one side, it decides: of bids for the highest, of
asks for the lowest. Only where there is no surplus, or one on either side, does the reference price count: the price is
the nearest to it between the lowest and the highest, or between the two limits at which the side changes. Xetra (Market
Model for the Trading Venue Xetra, price determination in auctions, whose examples are tests), Euronext and LSE have
these four criteria in this order. They go on to what only market orders need, which do not rest in a call here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.numbers.units import INT64_MAX
from economy.records.events import Rows

BP: Final = 10_000  # bands are in 0.0001 of the reference price


@dataclass(frozen=True)
class Clearing:
    """Price and quantity of an auction; `imbalance` is what the bids exceed the asks by at that price."""

    price: int
    volume: int
    imbalance: int


def clearing(bids: Rows, asks: Rows, reference: int, tick_size: int = 1, pressure: bool = False) -> Clearing | None:
    """Where the two sides clear; None when no bid reaches an ask.

    bids, asks: (levels or orders, 2) of price and quantity, best first, prices on the grid of `tick_size`. `pressure`:
    whether the side of the surplus comes before the reference price. A reference of 0 means that there is none: then
    the lowest of the equal prices is taken.
    """
    if not len(bids) or not len(asks) or bids[0, 0] < asks[0, 0]:
        return None
    bids, asks = bids[bids[:, 0] >= asks[0, 0]], asks[asks[:, 0] <= bids[0, 0]]
    ends = np.concatenate((bids[:, 0], asks[:, 0]))
    if not pressure:
        # Volume and imbalance only change behind a bid and at an ask, so their ranges of equals begin and end at these.
        ends = np.concatenate((ends, bids[:, 0] + tick_size, asks[:, 0] - tick_size))
    prices = np.unique(ends[(ends >= asks[0, 0]) & (ends <= bids[0, 0])])
    demand = np.append(0, np.cumsum(bids[:, 1]))[np.searchsorted(-bids[:, 0], -prices, "right")]
    supply = np.append(0, np.cumsum(asks[:, 1]))[np.searchsorted(asks[:, 0], prices, "right")]
    volume = np.minimum(demand, supply)
    imbalance = np.where(volume == volume.max(), np.abs(demand - supply), INT64_MAX)
    equal = np.flatnonzero(imbalance == imbalance.min())
    if pressure:
        equal = _pressed(equal, (demand - supply)[equal])
    lowest, highest = int(prices[equal[0]]), int(prices[equal[-1]])
    below = reference // tick_size * tick_size
    nearest = below if reference - below <= below + tick_size - reference else below + tick_size
    price = min(max(nearest, lowest), highest)
    surplus = int(bids[bids[:, 0] >= price, 1].sum()) - int(asks[asks[:, 0] <= price, 1].sum())
    return Clearing(price, int(volume[equal[0]]), surplus)


def _pressed(equal: NDArray[np.intp], surplus: NDArray[np.int64]) -> NDArray[np.intp]:
    """Of equal candidates, rising, those that the side of their surplus leaves: the highest with one of bids, and the
    lowest with one of asks; all of them where there is none."""
    if not surplus[0]:
        return equal
    bids, asks = equal[surplus > 0], equal[surplus < 0]
    return np.concatenate((bids[-1:], asks[:1]))


@njit(cache=True)
def _newer(agents: NDArray[np.int64], sides: NDArray[np.int64], prices: NDArray[np.int64]) -> NDArray[np.bool_]:
    out = np.zeros(agents.size, np.bool_)
    for i in range(agents.size):
        if i == 0 or agents[i] != agents[i - 1]:
            bid, ask = -INT64_MAX - 1, INT64_MAX
        if sides[i] == 0:
            out[i] = prices[i] >= ask
            bid = max(bid, prices[i]) if not out[i] else bid
        else:
            out[i] = prices[i] <= bid
            ask = min(ask, prices[i]) if not out[i] else ask
    return out


def self_crossing(
    agents: NDArray[np.int64], sides: NDArray[np.int64], prices: NDArray[np.int64], arrivals: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Orders to be withdrawn before the price is determined: (orders withdrawn,) indices, by arrival.

    Cancel newest: of an agent's bids and asks that overlap, the one that came later goes. Those that stay do not
    overlap, so at one price no agent can meet himself, and what the price promises can be allocated in full.
    """
    order = np.lexsort((arrivals, agents))
    gone = order[_newer(agents[order], sides[order], prices[order])]
    return gone[np.argsort(arrivals[gone])]


def price_range(reference: int, width_bp: int) -> tuple[int, int]:
    """(lowest, highest) price within `width_bp` of the reference; raises nothing and never leaves int64."""
    width = reference * width_bp // BP
    return max(1, reference - width), min(reference + width, INT64_MAX - 2)
