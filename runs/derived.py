"""What the projection recorded of a run: balances and indicators by window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from economy import events as e
from economy.events import Account
from economy.indicators import Window
from schemas.catalogue import BALANCES, INDICATORS
from schemas.log.reader import end_offsets, read_range


@dataclass
class Derived:
    """Figures by (indicator, item) and balances by (agent, account, item), per window."""

    figures: dict[int, dict[tuple[str, int], int]] = field(default_factory=dict)
    balances: dict[int, dict[tuple[int, int, int], int]] = field(default_factory=dict)

    def holds(self, window: int) -> bool:
        """True when anything of the window has been recorded."""
        return window in self.figures

    def differs(self, window: Window) -> tuple[str, Any, Any] | None:
        """(what, recorded, computed) of the first difference; None where all is alike or nothing is recorded."""
        number = window.window
        if number not in self.figures:
            return None
        rows = window.balances
        computed = {tuple(row[2:5]): row[5] for row in rows.tolist()}
        recorded: dict[Any, int] = dict(self.balances.get(number, {}))
        for key in sorted(computed.keys() | recorded.keys()):
            if computed.get(key) != recorded.get(key):
                agent, account, item = key
                what = f"{Account(account).name.lower()} of item {item} of agent {agent}"
                return what, recorded.get(key), computed.get(key)
        for name in sorted(window.figures.keys() | self.figures[number].keys()):
            ours, theirs = window.figures.get(name), self.figures[number].get(name)
            if ours != theirs:
                return f"{name[0]} {name[1]}", theirs, ours
        return None


def read_derived(bootstrap: str, namespace: str, run: int) -> Derived:
    """Read them from the log. Windows whose figures are not all there yet are left out."""
    found = Derived()
    figures, balances = (INDICATORS, 0), (BALANCES, 0)
    end = end_offsets(bootstrap, namespace, [figures, balances])
    for chunk in read_range(bootstrap, namespace, {figures: 0}, {figures: end[figures]}):
        for _, _, record in chunk.cold:
            if record["run"] == run:
                key = (record["indicator"], record["item"])
                found.figures.setdefault(record["window"], {})[key] = int(record["value"])
    if not found.figures:
        return found
    for chunk in read_range(bootstrap, namespace, {balances: 0}, {balances: end[balances]}):
        rows = chunk.rows.get(e.BalanceRecorded.name, np.empty((0, e.BalanceRecorded.width), np.int64))
        for _, window, *key, quantity in rows[rows[:, 0] == run].tolist():
            found.balances.setdefault(window, {})[key[0], key[1], key[2]] = quantity
    # The projection sends this figure last.
    found.figures = {window: known for window, known in found.figures.items() if ("gdp_production", 0) in known}
    return found
