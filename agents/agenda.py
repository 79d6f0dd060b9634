"""Pending work as rows (due tick, task), run by SimPy.

SimPy runs equal times in the order of creation, which a restore changes, and its generators cannot be saved; so all
pending work is rows that are part of the state, the first event of a tick drains what is due in the order (tick, task),
and the process keeps nothing in its locals. A restore builds a new environment from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

Wake = Callable[[int, int], int]  # (task, tick) -> ticks until it is due again


class Agenda:
    """The tasks of one shard."""

    def __init__(self, rows: NDArray[np.int64], now: int, wake: Wake) -> None:
        self.rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        self._wake = wake
        self._environment = simpy.Environment(initial_time=now)
        self._environment.process(self._run())

    def run(self, until: int) -> None:
        """Do everything that is due before the tick `until`."""
        self._environment.run(until=until)

    def _run(self) -> Generator[simpy.Timeout, Any, None]:
        while True:
            yield self._environment.timeout(max(0, int(self.rows[0, 0]) - self._environment.now))
            self._drain(int(self._environment.now))

    def _drain(self, tick: int) -> None:
        due, later = self.rows[self.rows[:, 0] <= tick], self.rows[self.rows[:, 0] > tick]
        again = np.array([(tick + self._wake(task, tick), task) for _, task in due.tolist()], np.int64).reshape(-1, 2)
        rows = np.concatenate((later, again))
        self.rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
