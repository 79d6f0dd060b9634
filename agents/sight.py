"""What agents are shown of the economy: the public figures as they are, or late, no more, or distorted.

Everybody decides by a `Public`. Agents with a lens are given a copy in which prices or statistics are those of an
earlier cut, times a factor. News that is delayed first stops: nobody is shown what is older than what he has seen. What
is done and not only shown stays true: balances, contracts, taxes, the policy rate.
"""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agents.interventions import Change, Figures
from agents.public import Public
from agents.state import Arrays
from economy.numbers.units import RATE

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
SHOWN: Final = {
    Figures.PRICES: ("value", "share_price", "share_price_before", "bid", "ask"),
    Figures.STATISTICS: (
        "index", "inflation", "unemployment", "market_wage", "final_sales", "mean_capital", "mean_sales", "dividend",
    ),
}  # fmt: skip
SINCE, DELAY, FACTOR = range(3)  # of a lens: first cut that may be shown, epochs late, factor in 1e-9
_FOREVER: Final = 1 << 40  # epochs: nothing new is shown
_NO_PRICE: Final = np.iinfo(np.int64).max  # best ask of a book without one


class Sight(Arrays):
    """Lenses (agents, figures, 3), and the figures of the cuts that they still show: (cuts, words) from `first` on."""

    STATE: ClassVar = ("lenses", "kept", "first")

    def __init__(self, agents: int, epoch_ticks: int) -> None:
        self._epoch_ticks = epoch_ticks
        self.lenses = np.zeros((agents, len(Figures), 3), np.int64)
        self.lenses[:, :, FACTOR] = RATE
        self.kept = np.empty((0, 0), np.int64)
        self.first = np.zeros(1, np.int64)

    def change(self, change: Change, public: Public, cut: int) -> None:
        """Put a lens on agents, from this cut on."""
        assert change.value is not None
        lens = self.lenses[change.agents, change.figures]
        if change.kind == "distort":
            lens[:, FACTOR] = round(change.value * RATE)
        else:
            late = -int(-change.value // self._epoch_ticks)
            lens[:, SINCE] = np.maximum(lens[:, SINCE], cut - lens[:, DELAY])
            lens[:, DELAY] = late if change.kind == "delay" else _FOREVER * int(change.value)
        self.lenses[change.agents, change.figures] = lens
        if not len(self.kept):
            self._keep(public, cut)

    def note(self, public: Public, cut: int) -> None:
        """Keep the figures of a cut as long as a lens shows them."""
        late = self.lenses[self.lenses[:, :, DELAY] > 0]
        if not len(late):
            self.kept = self.kept[:0]
            return
        self._keep(public, cut)
        oldest = int(np.maximum(late[:, SINCE], cut - late[:, DELAY]).min())
        self.kept, self.first = self.kept[oldest - int(self.first[0]) :], np.array([oldest])

    def views(self, public: Public, ids: Ints, cut: int) -> list[tuple[Mask, Public]]:
        """What each of the agents is shown at a cut: masks over `ids` that exclude each other, and their views."""
        alike = [(np.ones(len(ids), np.bool_), public)]
        if not len(ids):
            return alike
        lenses = self.lenses[ids].reshape(len(ids), -1)
        if not self._changes(lenses[0]) and (lenses == lenses[0]).all():  # as in most epochs of most runs
            return alike
        kinds, which = np.unique(lenses, axis=0, return_inverse=True)
        return [(which.reshape(-1) == k, self._view(public, lens, cut)) for k, lens in enumerate(kinds)]

    def _changes(self, lens: Ints) -> bool:
        parts = lens.reshape(len(Figures), 3)
        return bool((parts[:, DELAY] > 0).any() or (parts[:, FACTOR] != RATE).any())

    def _view(self, public: Public, lens: Ints, cut: int) -> Public:
        view = copy(public)
        for figures, (since, late, factor) in zip(Figures, lens.reshape(len(Figures), 3).tolist(), strict=True):
            if late:
                self._show(view, figures, max(since, cut - late))
            for name in SHOWN[figures] if factor != RATE else ():
                setattr(view, name, _scaled(getattr(view, name), factor / RATE))
        return view

    def _keep(self, public: Public, cut: int) -> None:
        row = np.concatenate([getattr(public, name).view(np.int64) for names in SHOWN.values() for name in names])
        if not len(self.kept):
            self.kept, self.first = row[None, :], np.array([cut])
        elif cut == int(self.first[0]) + len(self.kept):
            self.kept = np.concatenate((self.kept, row[None, :]))

    def _show(self, view: Public, figures: Figures, cut: int) -> None:
        row, at = self.kept[cut - int(self.first[0])], 0
        for part, names in SHOWN.items():
            for name in names:
                now = getattr(view, name)
                if part == figures:
                    setattr(view, name, row[at : at + len(now)].view(now.dtype))
                at += len(now)


def _scaled(values: NDArray[Any], factor: float) -> NDArray[Any]:
    """Prices stay whole, and none where there is none; at least one step where there is one."""
    if values.dtype != np.int64:
        return values * factor
    scaled = np.maximum(1, np.rint(np.minimum(values, _NO_PRICE >> 8) * factor)).astype(np.int64)
    return np.where((values == 0) | (values == _NO_PRICE), values, scaled)
