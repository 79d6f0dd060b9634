"""What the projection recorded of a run: balances and indicators by window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from economy.indicators import Window
from economy.records import events as e
from economy.records.events import Account, Rows
from runs.rawread import raw_range
from schemas.catalogue import BALANCES, INDICATORS
from schemas.log.reader import Place, end_offsets


@dataclass
class Derived:
    """Figures by (indicator, item) per window; `recorded` are its BalanceRecorded rows, in the order of the log."""

    figures: dict[int, dict[tuple[str, int], int]] = field(default_factory=dict)
    recorded: dict[int, Rows] = field(default_factory=dict)

    def balances(self, window: int) -> dict[tuple[int, int, int], int]:
        """Balances by (agent, account, item); of one that was recorded again the newest."""
        return _by_key(self.recorded.get(window, np.empty((0, e.BalanceRecorded.width), np.int64)))

    def holds(self, window: int) -> bool:
        """True when anything of the window has been recorded."""
        return window in self.figures

    def differs(self, window: Window) -> tuple[str, Any, Any] | None:
        """(what, recorded, computed) of the first difference; None where all is alike or nothing is recorded."""
        number = window.window
        if number not in self.figures:
            return None
        if not np.array_equal(self.recorded.get(number, window.balances[:0])[:, 1:], window.balances[:, 1:]):
            recorded, computed = self.balances(number), _by_key(window.balances)
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


def _by_key(rows: Rows) -> dict[tuple[int, int, int], int]:
    return {(agent, account, item): quantity for _, _, agent, account, item, quantity in rows.tolist()}


def read_derived(bootstrap: str, namespace: str, run: int) -> Derived:
    """Read them from the log. Windows whose figures are not all there yet are left out."""
    figures: dict[int, dict[tuple[str, int], int]] = {}
    parts = [np.empty((0, e.BalanceRecorded.width), np.int64)]
    start: dict[Place, int] = {(INDICATORS, 0): 0, (BALANCES, 0): 0}
    for chunk in raw_range(bootstrap, namespace, start, end_offsets(bootstrap, namespace, list(start))):
        for _, name, record in chunk.cold if chunk.family == INDICATORS else ():
            if name == "WindowMeasured" and record["run"] == run:
                key = (record["indicator"], record["item"])
                figures.setdefault(record["window"], {})[key] = int(record["value"])
        if e.BalanceRecorded.name in chunk.rows:
            rows = chunk.rows[e.BalanceRecorded.name]
            parts.append(rows[rows[:, 0] == run])
    # The projection sends this figure last.
    figures = {window: known for window, known in figures.items() if ("gdp_production", 0) in known}
    balances = np.concatenate(parts)
    return Derived(figures, {window: balances[balances[:, 1] == window] for window in figures})
