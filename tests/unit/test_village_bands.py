"""Ten years of the village stay in the bands of a plausible economy, and its books balance in every window.

`python -m tests.unit.test_village_bands` prints the table over 20 seeds; make soak asserts it for each.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from agents.village import VillageModel
from economy.indicators import Window, WindowProjection
from economy.numbers.units import RATE, UNIT
from economy.records.events import Events
from economy.scenario import load_scenario
from runs.local import run_local

YEARS = 10


def simulate(seed: int, years: int = YEARS) -> tuple[VillageModel, list[Window]]:
    """Windows of a run; the projection raises AccountingError where an identity breaks."""
    model = VillageModel(load_scenario("village", {"years": str(years)}), seed)
    population = model._opening.population
    roles = np.array([population.role_of(agent) for agent in range(population.size)], np.int64)
    projection = WindowProjection(1, model.scenario, roles, model.instruments())
    windows = []

    def watch(epoch: int, events: Events) -> None:
        window = projection.feed(epoch, events)
        if window is not None:
            windows.append(window)

    run_local(model, on_epoch=watch)
    return model, windows


def series(windows: list[Window], name: str) -> np.ndarray:
    return np.array([w.figures[name, 0] for w in windows], float)


def measure(model: VillageModel, windows: list[Window]) -> dict[str, float]:
    """The figures that the bands are about."""
    targets, steady = model.scenario.targets, model._opening.steady
    quarter = model.scenario.calendar.rounds
    real = series(windows, "gdp_real") / UNIT
    trend = steady.gdp * quarter * (1 + targets.growth) ** ((np.arange(len(real)) + 0.5) / 4)
    index = series(windows, "consumer_price_index")
    yearly = index[4:] / index[:-4] - 1
    gdp, tax = series(windows, "gdp_income"), series(windows, "taxes_on_products")
    year_gdp = np.convolve(gdp, np.ones(4), "valid")
    sold = np.array(
        [[w.figures["traded_quantity", p] for p in range(len(model.scenario.products))] for w in windows], float
    )
    return {
        "gdp_low": float((real / trend).min()),
        "gdp_high": float((real / trend).max()),
        "inflation_low": float(yearly.min()),
        "inflation_mean": float(yearly.mean()),
        "inflation_high": float(yearly.max()),
        "unemployment_low": float(series(windows, "unemployment").min()) / RATE,
        "unemployment_mean": float(series(windows, "unemployment").mean()) / RATE,
        "unemployment_high": float(series(windows, "unemployment").max()) / RATE,
        "labour_share": float((series(windows, "wages") / (gdp - tax)).mean()),
        "labour_share_low": float((series(windows, "wages") / (gdp - tax)).min()),
        "labour_share_high": float((series(windows, "wages") / (gdp - tax)).max()),
        "gini_wealth_low": float(series(windows, "gini_wealth").min()) / RATE,
        "gini_wealth_high": float(series(windows, "gini_wealth").max()) / RATE,
        "gini_income_low": float(series(windows, "gini_income").min()) / RATE,
        "gini_income_high": float(series(windows, "gini_income").max()) / RATE,
        "debt_low": float((series(windows, "government_debt")[3:] / year_gdp).min()),
        "debt_high": float((series(windows, "government_debt")[3:] / year_gdp).max()),
        "bankruptcies": float(series(windows, "bankruptcies").sum()),
        "least_sold": float(sold.min()),
    }


BANDS = {
    "gdp_low": (0.85, 1.15),
    "gdp_high": (0.85, 1.15),
    "inflation_low": (-0.04, 0.09),
    "inflation_high": (-0.04, 0.09),
    "unemployment_low": (0.005, 0.17),
    "unemployment_high": (0.005, 0.17),
    "labour_share": (0.55, 0.65),
    "labour_share_low": (0.55, 0.65),
    "labour_share_high": (0.55, 0.65),
    "gini_wealth_low": (0.70, 0.85),
    "gini_wealth_high": (0.70, 0.85),
    "gini_income_low": (0.33, 0.45),
    "gini_income_high": (0.33, 0.45),
    "debt_low": (0.4, 0.8),
    "debt_high": (0.4, 0.8),
    "bankruptcies": (0, 8),
    "least_sold": (1, np.inf),
}


def check(seed: int) -> None:
    model, windows = simulate(seed)
    assert len(windows) == 4 * YEARS
    for window in windows:
        approaches = {window.figures[f"gdp_{name}", 0] for name in ("production", "expenditure", "income")}
        assert len(approaches) == 1
    found = measure(model, windows)
    out = {name: found[name] for name, (low, high) in BANDS.items() if not low <= found[name] <= high}
    assert not out, f"seed {seed}: {out}"


def test_ten_years_stay_in_the_bands() -> None:
    check(101)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 21))
def test_twenty_seeds_stay_in_the_bands(seed: int) -> None:
    check(seed)


def main() -> None:
    seeds = [int(a) for a in sys.argv[1:]] or list(range(1, 21))
    rows = [measure(*simulate(seed)) for seed in seeds]
    print(f"{'figure':20s} {'mean':>9s} {'min':>9s} {'max':>9s}   band")
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        print(f"{name:20s} {values.mean():9.3f} {values.min():9.3f} {values.max():9.3f}   {BANDS.get(name, '')}")


if __name__ == "__main__":
    main()
