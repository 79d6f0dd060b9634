"""Many runs on the local carrier, spread over Ray: values of settings x seeds, means with confidence intervals.

The same seeds are run for every value, so that differences to the first value are paired: common random numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from agents.village import VillageModel
from economy.calendar import QUARTERS
from economy.errors import InputError, SetupError
from economy.indicators import Window, WindowProjection
from economy.numbers.units import RATE, UNIT
from economy.records import canonical
from economy.records.events import Role
from economy.scenario import load_scenario, scenario_from_json
from runs.execution import Execution
from runs.progress import Told
from runs.rayhost import RayHost, RayLostError

CONFIDENCE: Final = 0.95
AGAIN: Final = "give the command again; is the machine short of memory?"
_DRIVER: Final = ("-m", "runs.sweephost")
Outcome = dict[str, float]
# Outcome -> (indicator, unit, mean over the last year rather than the whole run)
OUTCOMES: Final[Mapping[str, tuple[str, int, bool]]] = {
    "gdp_real": ("gdp_real", UNIT, True),
    "unemployment": ("unemployment", RATE, False),
    "gini_income": ("gini_income", RATE, True),
    "gini_wealth": ("gini_wealth", RATE, True),
    "government_debt": ("government_debt", UNIT, True),
    "bankruptcies": ("bankruptcies", 1, False),
}


@dataclass(frozen=True)
class Cell:
    """One combination of values, with an outcome per seed."""

    values: dict[str, str]
    outcomes: list[Outcome]

    def estimate(self, name: str, base: Cell | None = None) -> tuple[float, float]:
        """(mean, half width of its confidence interval) of an outcome, or of its paired difference to `base`.

        Student's t over seeds; NaN half width with one seed.
        """
        found = np.array([outcome[name] for outcome in self.outcomes])
        if base is not None:
            found = found - np.array([outcome[name] for outcome in base.outcomes])
        n = len(found)
        if n < 2:
            return float(found.mean()), math.nan
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
        return float(found.mean()), quantile * float(found.std(ddof=1)) / math.sqrt(n)


def grid(settings: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every combination of the values of all keys."""
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]


def windows_of(model: VillageModel) -> Iterator[Window]:
    """Every window of a run computed here."""
    again = Execution(model, chained=False)
    opening = again.open()
    cold = [record for name, record in model.opening(again.run)[1] if name == "AgentFounded"]
    roles = np.array([Role[record["role"].upper()] for record in cold], np.int64)
    projection = WindowProjection(again.run, model.scenario, roles, model.instruments())
    projection.feed(-1, opening)
    told = (*canonical.FLOW_TYPES, *canonical.TRADE_TYPES)
    for epoch, events in again.epochs():
        window = projection.feed(epoch, canonical.select(events, told))
        if window is not None:
            yield window


def outcome_of(scenario: str, seed: int) -> Outcome:
    """Run one cell with one seed. `scenario` is its whole text: the file that it came from is not on every machine."""
    windows = list(windows_of(VillageModel(scenario_from_json(scenario), seed)))
    found = {}
    for name, (indicator, unit, late) in OUTCOMES.items():
        some = windows[-QUARTERS:] if late else windows
        found[name] = sum(window.figures[indicator, 0] for window in some) / len(some) / unit
    index = [window.figures["consumer_price_index", 0] for window in windows]
    years = (len(index) - 1) / QUARTERS
    found["inflation"] = (index[-1] / index[0]) ** (1 / years) - 1 if years > 0 else math.nan
    return found


def sweep(
    scenario: str, settings: Mapping[str, Sequence[str]], seeds: Sequence[int], logs: Path, address: str = "",
    cpus: int = 2, told: Told | None = None,
) -> list[Cell]:  # fmt: skip
    """Run every cell with every seed. Raises ScenarioError for a key or value before anything is started.

    Ray's output goes to ray.log in `logs`. Raises SetupError when Ray ends or cannot be started.
    """
    if not seeds:
        raise InputError("seeds", 0, "use at least one")
    cells = grid(settings)
    models = [VillageModel(load_scenario(scenario, dict(cell)), seeds[0]) for cell in cells]
    for model in models:
        model.instruments()
    jobs = [(model.scenario_json(), seed) for model in models for seed in seeds]
    found: dict[int, Outcome] = {}
    with RayHost(address, logs, cpus, _DRIVER) as host:
        try:
            host.ask({"task": "begin", "jobs": jobs})
            while len(found) < len(jobs):
                found |= dict(host.ask({"task": "done"})["done"])
                if told is not None:
                    told(len(found), len(jobs))
        except RayLostError as error:
            said = f"Ray ended when {len(found)} of {len(jobs)} runs were done ({error.message})"
            raise SetupError(said, AGAIN) from error
    return [Cell(cell, [found[c * len(seeds) + s] for s in range(len(seeds))]) for c, cell in enumerate(cells)]


def to_json(cells: Sequence[Cell], seeds: Sequence[int]) -> dict[str, Any]:
    """Means with half widths, differences to the first cell, and what each seed gave."""

    def estimates(cell: Cell, base: Cell | None = None) -> dict[str, Any]:
        told = {name: cell.estimate(name, base) for name in cell.outcomes[0]}
        return {name: {"mean": mean, "half_width": None if math.isnan(h) else h} for name, (mean, h) in told.items()}

    return {
        "seeds": list(seeds),
        "confidence": CONFIDENCE,
        "cells": [
            {"set": cell.values, "estimates": estimates(cell), "difference_to_first": estimates(cell, cells[0]),
             "outcomes": cell.outcomes}
            for cell in cells
        ],
    }  # fmt: skip
