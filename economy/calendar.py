"""The calendar of a run: ticks, epochs, rounds (decision intervals), windows (quarters) and years."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PHASES: Final = 5  # epochs of one round, E0..E4: see docs/economy.md, "One round"
QUARTERS: Final = 4  # windows per year


@dataclass(frozen=True)
class Calendar:
    """Lengths in ticks; every coarser unit is a whole multiple of the finer one.

    `epoch_ticks` ticks make an epoch, five epochs a round, `rounds` rounds a quarter, four quarters a year.
    """

    epoch_ticks: int
    rounds: int
    years: int

    @property
    def round_ticks(self) -> int:
        """Ticks of one decision interval."""
        return PHASES * self.epoch_ticks

    @property
    def window_ticks(self) -> int:
        """Ticks of one quarter, the window of the national accounts."""
        return self.rounds * self.round_ticks

    @property
    def year_ticks(self) -> int:
        """Ticks of one year."""
        return QUARTERS * self.window_ticks

    @property
    def rounds_per_year(self) -> int:
        """Decision intervals per year."""
        return QUARTERS * self.rounds

    @property
    def ticks(self) -> int:
        """Ticks of the whole run."""
        return self.years * self.year_ticks

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch (the first is 0, the opening -1)."""
        return self.ticks // self.epoch_ticks - 1

    def epoch_of(self, tick: int) -> int:
        """Epoch that contains a tick; the opening's tick -1 lies in epoch -1."""
        return tick // self.epoch_ticks

    def round_of(self, epoch: int) -> int:
        """Round that contains an epoch."""
        return epoch // PHASES

    def phase_of(self, epoch: int) -> int:
        """Position 0..4 of an epoch in its round."""
        return epoch % PHASES

    def window_of(self, tick: int) -> int:
        """Quarter that contains a tick."""
        return tick // self.window_ticks
