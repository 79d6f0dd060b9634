"""Real data beside the model: the series that come with arch and statsmodels, and which parameters they can give.

Nothing is downloaded. Quarterly US macro data 1959-2009 (statsmodels.datasets.macrodata; sources BEA, BLS, Federal
Reserve), daily S&P 500 1999-2018, monthly US core CPI 1957-2018 and Moody's AAA and BAA yields 1919-2018 (arch.data).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from arch.data import core_cpi, default, sp500
from numpy.typing import NDArray
from statsmodels.datasets import macrodata

Array = NDArray[np.float64]
QUARTERS: Final = 4
MACRO: Final = "US quarterly macro data 1959-2009"
SHARES: Final = "S&P 500, daily, 1999-2018"
CORE: Final = "US core CPI, monthly, 1957-2018"
YIELDS: Final = "Moody's AAA and BAA yields, monthly, 1919-2018"
CALIBRATED: Final = "agrees with data"  # equal to the estimate at two decimals
COMPARED: Final = "differs from data"
FREE: Final = "no data for it"


@dataclass(frozen=True)
class Macro:
    """Quarterly series of one economy, all of one length; unemployment as a share, prices as an index."""

    gdp: Array
    consumption: Array
    investment: Array
    prices: Array
    unemployment: Array

    def part(self, start: int, length: int) -> Macro:
        """A stretch of it."""
        return Macro(*(getattr(self, name)[start : start + length] for name in self.__dataclass_fields__))


@cache
def _table() -> Any:
    return macrodata.load_pandas().data


@cache
def us_macro() -> Macro:
    """Real GDP, consumption and investment, consumer prices, unemployment of the United States."""
    data = _table()
    names = ("realgdp", "realcons", "realinv", "cpi", "unemp")
    gdp, consumption, investment, prices, unemployment = (np.asarray(data[n], dtype=np.float64) for n in names)
    return Macro(gdp, consumption, investment, prices, unemployment / 100)


@cache
def us_shares() -> Array:
    """Daily closing values of the S&P 500."""
    return np.asarray(sp500.load()["Adj Close"], dtype=np.float64)


@dataclass(frozen=True)
class Parameter:
    """One parameter of the scenario beside what the data say. `data` is None where they say nothing."""

    name: str
    doc: str
    model: float
    data: float | None
    status: str
    source: str


def _estimates() -> dict[str, tuple[float, str]]:
    """Parameter -> (estimate, how it was estimated)."""
    us, table = us_macro(), _table()
    years = (len(us.gdp) - 1) / QUARTERS
    people = np.asarray(table["pop"], dtype=np.float64)
    growth = float(np.log((us.gdp[-1] / people[-1]) / (us.gdp[0] / people[0])) / years)
    core = np.asarray(core_cpi.load()["CPILFESL"], dtype=np.float64)
    recent = core[-12 * 25 :]
    core_inflation = float(np.log(recent[-1] / recent[0]) / ((len(recent) - 1) / 12))
    government = float(np.mean(np.asarray(table["realgovt"]) / us.gdp))
    real_rate = float(np.mean(np.asarray(table["realint"])[1:]) / 100)
    total = np.asarray(table["realgdp"], dtype=np.float64)
    velocity = float(np.mean(np.asarray(table["m1"]) / (total * np.asarray(table["cpi"]) / table["cpi"].iloc[-1])))
    shares = us_shares()
    share_return = float(np.log(shares[-1] / shares[0]) / (len(shares) / 252)) - core_inflation
    yields = default.load()
    spread = float(np.mean(np.asarray(yields["BAA"]) - np.asarray(yields["AAA"])) / 100)
    return {
        "targets.growth": (growth, f"{MACRO}: mean growth of real GDP per head"),
        "targets.inflation": (core_inflation, f"{CORE}: mean of the last 25 years"),
        "targets.unemployment": (float(np.mean(us.unemployment)), f"{MACRO}: mean rate"),
        "targets.real_rate": (real_rate, f"{MACRO}: mean three-month bill rate less inflation"),
        "targets.government_share": (
            government, f"{MACRO}: defence and federal purchases alone, states and towns are not in it",
        ),
        "targets.debt_ratio": (velocity, f"{MACRO}: M1 / yearly GDP; in the model debt backs all money"),
        "targets.deposit_spread": (spread, f"{YIELDS}: mean BAA less AAA, the nearest spread there is"),
        "stocks.equity_return": (
            share_return, f"{SHARES}: real growth of the index, dividends not in it",
        ),
    }  # fmt: skip


_DOCS: Final = {
    "targets.growth": "labour productivity, per year",
    "targets.inflation": "per year",
    "targets.unemployment": "share of workers without a job",
    "targets.real_rate": "neutral real interest rate, per year",
    "targets.government_share": "government purchases / GDP",
    "targets.debt_ratio": "government debt / yearly GDP",
    "targets.deposit_spread": "policy rate less deposit rate, per year",
    "stocks.equity_return": "required return on shares, per year",
    "targets.labour_share": "wages / value added",
    "targets.depreciation": "of fixed capital, per year",
    "targets.capital_ratio": "fixed capital / yearly value added",
    "targets.utilisation": "normal output / capacity",
    "targets.vat": "value added tax",
    "targets.profit_tax": "on positive profit",
    "targets.replacement": "benefit / last gross wage",
    "labour.skill_sigma": "standard deviation of log skill",
    "households.wealth_sigma": "standard deviation of log share ownership",
}


def calibration_table(scenario: dict[str, Any]) -> list[Parameter]:
    """The scenario's economic parameters beside real data, and which of them the data give.

    `scenario` is the scenario as plain data (RunStarted.scenario). Behavioural rules (speeds, bands) are not listed:
    no series of these sets bears on them.
    """
    found = []
    estimates = _estimates()
    for name, doc in _DOCS.items():
        section, key = name.split(".")
        model = scenario.get(section, {}).get(key)
        if model is None:
            continue
        data, source = estimates.get(name, (None, ""))
        status = FREE if data is None else CALIBRATED if round(data, 2) == round(float(model), 2) else COMPARED
        found.append(Parameter(name, doc, float(model), data, status, source))
    return found
