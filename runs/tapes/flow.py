"""Order flow on its way into the stream: what every tape is turned into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import Rows


@dataclass(frozen=True)
class Batch:
    """Consecutive records as the market takes them, the run column left open.

    `arrival` (len(orders) + len(cancels),) is each record's place in the batch, orders first. Ticks never go back in
    the order of arrival, neither within a batch nor from one to the next.
    """

    orders: Rows
    cancels: Rows
    arrival: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.orders) + len(self.cancels)

    def split(self, partitions: int) -> Iterable[tuple[int, Batch]]:
        """(partition, the part of the batch that belongs there), by instrument."""
        of_order = self.orders[:, e.OrderSubmitted.INSTRUMENT] % partitions
        of_cancel = self.cancels[:, e.OrderCancelRequested.INSTRUMENT] % partitions
        both = np.concatenate((of_order, of_cancel))
        for partition in np.unique(both).tolist():
            yield (
                partition,
                Batch(
                    self.orders[of_order == partition],
                    self.cancels[of_cancel == partition],
                    self.arrival[both == partition],
                ),
            )


@dataclass(frozen=True)
class Flow:
    """A tape: what is traded, who trades, and the records. `agents` names agents 0, 1, …; empty where ids speak."""

    name: str
    instruments: tuple[Instrument, ...]
    batches: Iterable[Batch]
    agents: tuple[str, ...] = ()
