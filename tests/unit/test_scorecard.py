"""Estimators against independent computations, and the real series against what is published about them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from runs.calibrate import CALIBRATED, COMPARED, FREE, Macro, calibration_table, us_macro, us_shares
from runs.scorecard import hp_trend, macro_statistics, return_statistics, scorecard


def test_trend_solves_hodrick_and_prescotts_problem() -> None:
    series = np.exp(np.random.default_rng(1).normal(0, 0.02, 60).cumsum())
    n = len(series)
    second = np.diff(np.eye(n), 2, axis=0)  # minimises |y - t|^2 + 1600 |second differences of t|^2
    trend = np.linalg.solve(np.eye(n) + 1600 * second.T @ second, np.log(series))
    assert hp_trend(series) == pytest.approx(np.exp(trend), rel=1e-9)


def test_business_cycle_of_a_made_economy() -> None:
    t = np.arange(80)
    wave = 0.02 * np.sin(2 * np.pi * t / 20)
    economy = Macro(
        np.exp(0.005 * t + wave),
        np.exp(0.005 * t + wave / 2),
        np.exp(0.005 * t + 3 * wave),
        np.exp(0.01 * t),
        0.06 - wave,
    )
    found = macro_statistics(economy)
    assert found["consumption_sd"] == pytest.approx(0.5, abs=1e-6)
    assert found["investment_sd"] == pytest.approx(3, abs=1e-6)
    assert found["okun"] == pytest.approx(-1, abs=1e-9)
    assert found["investment_corr"] == pytest.approx(1, abs=1e-9)
    assert found["gdp_ar1"] == pytest.approx(np.cos(2 * np.pi / 20), abs=0.02)
    assert found["inflation_mean"] == pytest.approx(4)
    assert found["inflation_sd"] == pytest.approx(0, abs=1e-9)
    assert found["growth"] == pytest.approx(2, abs=0.15)
    assert macro_statistics(economy.part(0, 11)) == {}


def test_returns_of_known_processes() -> None:
    rng = np.random.default_rng(2)
    heavy = rng.standard_t(5, 20_000) * 0.01
    found = return_statistics(np.exp(heavy.cumsum()))
    assert found["return_kurtosis"] == pytest.approx(stats.kurtosis(heavy[1:]), rel=1e-6)
    assert abs(found["volatility_ar1"]) < 0.03
    scale = np.exp(np.repeat(rng.normal(0, 0.8, 400), 50))  # calm and wild spells
    clustered = return_statistics(np.exp((rng.normal(0, 0.01, 20_000) * scale).cumsum()))
    assert clustered["volatility_ar1"] > 0.2
    assert abs(clustered["return_ar1"]) < 0.1
    assert return_statistics(np.full(100, 3.0)) == {}


def test_real_series_say_what_is_published() -> None:
    us = macro_statistics(us_macro())
    assert us["gdp_sd"] == pytest.approx(1.6, abs=0.15)  # Stock and Watson (1999): 1.66
    assert us["consumption_sd"] < 1 < us["investment_sd"]
    assert us["okun"] < -0.8
    daily = return_statistics(us_shares())
    assert daily["return_kurtosis"] > 5
    assert daily["volatility_ar1"] > 0.15
    assert abs(daily["return_ar1"]) < 0.1


def test_a_real_decade_looks_real_and_a_dead_economy_does_not() -> None:
    decade = scorecard(us_macro().part(100, 40), [us_shares()[1_000:3_400:6]], 10)
    assert sum(bool(s.inside) for s in decade) >= len(decade) - 2
    still = np.ones(40)
    dead = scorecard(Macro(still, still, still, still, still * 0.0), [np.full(400, 1.0)], 10)
    assert {s.name for s in dead if s.inside} == set()
    assert all(s.run is None for s in dead[-3:])


def test_calibration_says_what_the_data_give() -> None:
    scenario = {
        "targets": {"growth": 0.5, "inflation": 0.02, "unemployment": 0.06, "depreciation": 0.08},
        "firms": {"payout": 0.5},
    }
    table = {p.name: p for p in calibration_table(scenario)}
    assert table["targets.unemployment"].status == CALIBRATED
    assert table["targets.unemployment"].data == pytest.approx(0.0588, abs=1e-4)
    assert table["targets.growth"].status == COMPARED
    assert (table["targets.depreciation"].status, table["targets.depreciation"].data) == (FREE, None)
    assert len(table) == 4
