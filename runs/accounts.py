"""National accounts of a run, rebuilt from its log: the same fold that the streaming projection runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from economy.errors import InputError
from economy.events import Events
from economy.indicators import Window, WindowProjection
from economy.scenario import scenario_from_json
from runs.log import RunInfo, epochs_of
from schemas.log.founding import Founding, founding

Epochs = Iterable[tuple[int, Mapping[str, Events]]]


def windows_of(epochs: Epochs, info: RunInfo, founded: Founding) -> Iterator[Window]:
    """Every closed window of a run; `epochs` as runs.log.epochs_of yields them.

    Raises AccountingError where the books do not close, ScenarioError for a run without a village's scenario.
    """
    scenario = scenario_from_json(info.started["scenario"])
    projection = WindowProjection(info.run, scenario, founded.roles, founded.instruments)
    for epoch, families in epochs:
        events: Events = {name: rows for part in families.values() for name, rows in part.items()}
        window = projection.feed(epoch, events)
        if window is not None:
            yield window


def accounts_of(epochs: Epochs, info: RunInfo, founded: Founding, window: int) -> Window:
    """One window of a run. Raises InputError when it has not closed."""
    last = -1
    for found in windows_of(epochs, info, founded):
        if found.window == window:
            return found
        last = found.window
    known = f"give 0 to {last}" if last >= 0 else "no window of this run has closed yet"
    raise InputError("window", window, known)


def read_accounts(bootstrap: str, namespace: str, info: RunInfo, window: int) -> Window:
    """One window of a run, read from the log; -1 and below count from the last possible one."""
    if window < 0:
        scenario = scenario_from_json(info.started["scenario"])
        window += scenario.time.ticks // scenario.time.window_ticks
    founded = founding(bootstrap, namespace, info.started)
    return accounts_of(epochs_of(bootstrap, namespace, info), info, founded, window)
