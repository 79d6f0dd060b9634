"""National accounts of a run, rebuilt from its log: the same fold that the streaming projection runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from economy.accounts import Approach
from economy.errors import InputError, ScenarioError
from economy.indicators import Window, WindowProjection
from economy.measures import MEASURE
from economy.numbers.decimals import beside, grouped
from economy.records.events import Events
from economy.scales import Scales
from economy.scenario import Scenario, scenario_from_json
from runs.log import RunInfo, epochs_of
from schemas.catalogue import FLOWS, TRADES
from schemas.log.founding import Founding, founding
from schemas.log.history import read_history

Epochs = Iterable[tuple[int, Mapping[str, Events]]]


def windows_of(epochs: Epochs, info: RunInfo, founded: Founding) -> Iterator[Window]:
    """Every closed window of a run; `epochs` as runs.log.epochs_of yields them.

    Raises AccountingError where the books do not close, InputError for a run that is not one of the village.
    """
    scenario = _scenario(info)
    projection = WindowProjection(info.run, scenario, founded.roles, founded.instruments)
    for epoch, families in epochs:
        events: Events = {name: rows for part in families.values() for name, rows in part.items()}
        window = projection.feed(epoch, events)
        if window is not None:
            yield window


def _scenario(info: RunInfo) -> Scenario:
    try:
        return scenario_from_json(info.started["scenario"])
    except (ScenarioError, ValueError, TypeError) as error:
        what = "a tape" if info.last_epoch < 0 else "no run of the village"
        raise InputError("run", info.run, f"it is {what} and has no national accounts: choose another") from error


def accounts_of(epochs: Epochs, info: RunInfo, founded: Founding, window: int | None = None) -> Window:
    """One window of a run, the newest closed one if none is named. Raises InputError when it has not closed."""
    newest: Window | None = None
    for newest in windows_of(epochs, info, founded):
        if newest.window == window:
            return newest
    if newest is None:
        raise InputError("window", window, "wait: no window of this run has closed yet")
    if window is not None:
        raise InputError("window", window, f"give 0 to {newest.window}")
    return newest


def read_accounts(bootstrap: str, namespace: str, info: RunInfo, window: int | None = None) -> Window:
    """The same, read from the log."""
    _scenario(info)  # before anything is read
    eldest = read_history(bootstrap, namespace, info.run)[0]
    founded = founding(bootstrap, namespace, eldest.started)
    return accounts_of(epochs_of(bootstrap, namespace, info, (FLOWS, TRADES)), info, founded, window)


def read_scales(bootstrap: str, namespace: str, info: RunInfo) -> Scales:
    """The decimals of what a run trades, read from its opening."""
    eldest = read_history(bootstrap, namespace, info.run)[0]
    return Scales.of(founding(bootstrap, namespace, eldest.started).instruments)


def to_json(window: Window, scales: Scales) -> dict[str, Any]:
    """A window as one JSON document: exact decimals in the unit of each measure, their integers beside them."""
    figures = [
        {"indicator": name, "item": item, "unit": MEASURE[name].decimal_unit,
         **beside("value", value, scales.figure(name, item))}
        for (name, item), value in window.figures.items()
    ]  # fmt: skip
    matrices = {"balance_sheet": window.balance_sheet, "transaction_flows": window.transaction_flows}
    return {
        "window": window.window, "figures": figures, **{name: matrix.to_json() for name, matrix in matrices.items()}
    }  # fmt: skip


def render(window: Window) -> str:
    """Both matrices and GDP for people."""
    figures = window.figures
    gdp = ", ".join(f"{a.value} {grouped(figures[f'gdp_{a.value}', 0])}" for a in Approach)
    return "\n\n".join(
        [
            f"window {window.window}: GDP by {gdp}",
            window.balance_sheet.render(),
            window.transaction_flows.render(),
        ]
    )
