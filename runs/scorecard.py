"""A run's aggregates beside real ones, by the same estimators, with what ten real years in a row look like.

Business-cycle statistics after Hodrick and Prescott (1997), Postwar U.S. Business Cycles, JMCB 29: logs, filtered with
lambda = 1600, deviations in percent. Share returns after Cont (2001), Empirical properties of asset returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from statsmodels.tsa.filters.hp_filter import hpfilter

from runs.calibrate import MACRO, QUARTERS, SHARES, Array, Macro, us_macro, us_shares

SMOOTHING: Final = 1600.0  # of the Hodrick-Prescott filter, quarterly data
SHORTEST: Final = 12  # quarters: below, a cycle cannot be told from a trend
TRADING_DAYS: Final = 63  # in a quarter


@dataclass(frozen=True)
class Statistic:
    """One aggregate: of the run, of the real series, and the 5 to 95 % range over real stretches as long as the run."""

    name: str
    unit: str
    run: float | None
    real: float
    low: float
    high: float
    source: str

    @property
    def inside(self) -> bool | None:
        """Whether the run lies where real stretches of its length lie."""
        return None if self.run is None else self.low <= self.run <= self.high


def hp_trend(series: Array) -> Array:
    """Trend of a positive quarterly series: the filter works on its logs."""
    return np.exp(np.asarray(hpfilter(np.log(series), SMOOTHING)[1], dtype=np.float64))


def _cycle(series: Array) -> Array:
    return 100 * np.log(series / hp_trend(series))


def _correlation(a: Array, b: Array) -> float:
    spread = float(np.std(a) * np.std(b))
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread > 0 else 0.0


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


def macro_statistics(economy: Macro) -> dict[str, float]:
    """Business-cycle statistics of quarterly series; empty for fewer than twelve quarters."""
    length = len(economy.gdp)
    if length < SHORTEST:
        return {}
    gdp, consumption, investment = (_cycle(x) for x in (economy.gdp, economy.consumption, economy.investment))
    jobless = 100 * economy.unemployment
    trend = np.asarray(hpfilter(jobless, SMOOTHING)[1], dtype=np.float64)
    inflation = 100 * np.log(economy.prices[QUARTERS:] / economy.prices[:-QUARTERS])
    return {
        "growth": 100 * float(np.log(economy.gdp[-1] / economy.gdp[0])) / ((length - 1) / QUARTERS),
        "gdp_sd": float(np.std(gdp)),
        "consumption_sd": _ratio(float(np.std(consumption)), float(np.std(gdp))),
        "investment_sd": _ratio(float(np.std(investment)), float(np.std(gdp))),
        "gdp_ar1": _correlation(gdp[1:], gdp[:-1]),
        "consumption_corr": _correlation(consumption, gdp),
        "investment_corr": _correlation(investment, gdp),
        "okun": _correlation(jobless - trend, gdp),
        "inflation_mean": float(np.mean(inflation)),
        "inflation_sd": float(np.std(inflation)),
        "unemployment_mean": float(np.mean(jobless)),
        "unemployment_sd": float(np.std(jobless)),
    }


def return_statistics(prices: Array) -> dict[str, float]:
    """Tails and clustering of log returns; empty for fewer than thirty moves."""
    returns = np.diff(np.log(prices))
    if len(returns) < 30 or float(np.std(returns)) == 0:
        return {}
    centred = returns - returns.mean()
    return {
        "return_kurtosis": float(np.mean(centred**4) / np.mean(centred**2) ** 2 - 3),
        "return_ar1": _correlation(centred[1:], centred[:-1]),
        "volatility_ar1": _correlation(np.abs(centred[1:]), np.abs(centred[:-1])),
    }


_MACRO: Final = {
    "growth": ("Growth of real GDP", "% a year"),
    "gdp_sd": ("Deviation of real GDP from trend, sd", "%"),
    "consumption_sd": ("Consumption: sd / sd of GDP", ""),
    "investment_sd": ("Investment: sd / sd of GDP", ""),
    "gdp_ar1": ("GDP: first autocorrelation", ""),
    "consumption_corr": ("Consumption: correlation with GDP", ""),
    "investment_corr": ("Investment: correlation with GDP", ""),
    "okun": ("Unemployment: correlation with GDP (Okun)", ""),
    "inflation_mean": ("Inflation, mean", "% a year"),
    "inflation_sd": ("Inflation, sd", "% a year"),
    "unemployment_mean": ("Unemployment, mean", "%"),
    "unemployment_sd": ("Unemployment, sd", "%"),
}
_RETURNS: Final = {
    "return_kurtosis": ("Share returns: excess kurtosis", ""),
    "return_ar1": ("Share returns: first autocorrelation", ""),
    "volatility_ar1": ("Absolute returns: first autocorrelation (clustering)", ""),
}


def _range(parts: Sequence[Mapping[str, float]], name: str) -> tuple[float, float]:
    values = [part[name] for part in parts if name in part]
    low, high = np.quantile(values, (0.05, 0.95))
    return float(low), float(high)


def scorecard(economy: Macro | None, shares: Sequence[Array], rounds: int) -> list[Statistic]:
    """A run beside real data. `shares` are prices per round, `rounds` rounds make a quarter.

    The S&P 500 is taken at the same interval: every k-th day, k trading days to a round.
    """
    us = us_macro()
    length = min(max(len(economy.gdp), SHORTEST), len(us.gdp)) if economy is not None else len(us.gdp)
    ours = macro_statistics(economy) if economy is not None else {}
    real = macro_statistics(us)
    parts = [macro_statistics(us.part(start, length)) for start in range(0, len(us.gdp) - length + 1, 2)]
    found = []
    for name, (label, unit) in _MACRO.items():
        found.append(Statistic(label, unit, ours.get(name), real[name], *_range(parts, name), MACRO))

    step = max(1, TRADING_DAYS // rounds)
    index = us_shares()[::step]
    moves = [return_statistics(prices) for prices in shares]
    moves = [one for one in moves if one]
    longest = max((len(prices) for prices in shares), default=0)
    window = min(max(longest, 40), len(index))
    real = return_statistics(index)
    parts = [return_statistics(index[start : start + window]) for start in range(0, len(index) - window + 1, 10)]
    for name, (label, unit) in _RETURNS.items():
        mean = float(np.mean([one[name] for one in moves])) if moves else None
        source = f"{SHARES}, every {step} days"
        found.append(Statistic(label, unit, mean, real[name], *_range(parts, name), source))
    return found
