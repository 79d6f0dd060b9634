"""The digest by which a portable file of a tape is checked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from economy.records import events as e
from economy.records.digest import digest_of
from runs.checked import _Free
from schemas.catalogue import ORDERS


def test_ticks_that_a_cut_splits_are_one_in_every_partition() -> None:
    """Partitions come one after the other, so the second begins again at the first tick."""
    o, rng = e.OrderSubmitted, np.random.default_rng(4)
    orders = rng.integers(0, 9, (400, o.width))
    orders[:, o.TICK] = np.sort(rng.integers(0, 40, 400))
    orders[:, o.N] = rng.permutation(400)
    free: Any = _Free()
    for partition in (0, 1):
        own = orders[orders[:, o.INSTRUMENT] % 2 == partition]
        for piece in np.array_split(own, 9):
            free.feed(SimpleNamespace(family=ORDERS, place=(ORDERS, partition), rows={o.name: piece}))
    assert free.faults(digest_of([(0, {o.name: orders})])) == []
