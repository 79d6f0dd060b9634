"""The catalogue of indicators: name, unit, what `item` means. Stream and batch publish the same names and integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from economy.numbers.decimals import grouped

MONEY: Final = "1e-8 of the currency"
RATIO: Final = "1e-9"
PRICE_STEP: Final = "1e-4 of the currency"
LOTS: Final = "lots"
LORENZ_POINTS: Final = 20  # points of the Lorenz curve: shares of the poorest 5 %, 10 %, ... 100 %


@dataclass(frozen=True)
class Measure:
    """One indicator of a window (quarter); its value is an integer in `unit`."""

    name: str
    unit: str
    doc: str
    item: str = ""  # what `item` counts, "" = always 0

    @property
    def decimal_unit(self) -> str:
        """Unit of its exact decimals; the integers are counts of `unit`."""
        return {MONEY: "currency", PRICE_STEP: "currency", LOTS: "units of the instrument"}.get(self.unit, "1")

    @property
    def scale(self) -> int:
        """Decimals of its integers; 0 for counts of things, and for lots, whose decimals economy.scales knows."""
        return {MONEY: 8, RATIO: 9, PRICE_STEP: 4}.get(self.unit, 0)

    def text(self, value: int) -> str:
        """A value for people: exact, in the currency, as a ratio, or as it is."""
        return grouped(value, self.scale)


MEASURES: Final[tuple[Measure, ...]] = (
    Measure("gdp_production", MONEY, "GDP at market prices, production approach"),
    Measure("gdp_expenditure", MONEY, "GDP at market prices, expenditure approach"),
    Measure("gdp_income", MONEY, "GDP at market prices, income approach"),
    Measure("output", MONEY, "Gross output"),
    Measure("intermediate_consumption", MONEY, "Intermediate consumption"),
    Measure("taxes_on_products", MONEY, "Value added tax"),
    Measure("consumption", MONEY, "Household consumption, with tax"),
    Measure("government", MONEY, "Government purchases"),
    Measure("investment", MONEY, "Gross fixed capital formation"),
    Measure("inventory_change", MONEY, "Change in inventories at valuation prices"),
    Measure("wages", MONEY, "Compensation of employees"),
    Measure("gross_operating_surplus", MONEY, "Gross operating surplus of corporations"),
    Measure("gdp_real", MONEY, "Expenditure at the prices of the run's start"),
    Measure("gini_income", RATIO, "Gini coefficient of households' disposable income in the window"),
    Measure("gini_wealth", RATIO, "Gini coefficient of households' net worth at the window's end"),
    Measure("lorenz_income", RATIO, "Lorenz curve of disposable income", "poorest share in 5 % steps, 1..20"),
    Measure("lorenz_wealth", RATIO, "Lorenz curve of net worth", "poorest share in 5 % steps, 1..20"),
    Measure("consumer_price_index", RATIO, "Consumer prices, basket of the start = 1"),
    Measure("unemployment", RATIO, "Mean share of households without employment over the window's rounds"),
    Measure("government_debt", MONEY, "Bonds owed by the government at the window's end"),
    Measure("bankruptcies", "1", "Corporations that failed in the window"),
    Measure("trades", "1", "Trades of goods, services and shares"),
    Measure("traded_value", MONEY, "Notional of trades", "instrument"),
    Measure("traded_quantity", LOTS, "Quantity traded", "instrument"),
    Measure("closing_price", PRICE_STEP, "Valuation price at the window's end", "instrument"),
)


MEASURE: Final = {measure.name: measure for measure in MEASURES}
LAST_MEASURED: Final = "gdp_production"  # the figure behind which a window lacks none: it is written last


def gini(values: Sequence[int]) -> int:
    """Gini coefficient in 1e-9, exact and floored: sum((2i - n - 1) x_i) / (n sum(x)) over ascending x, i from 1.

    Source: Sen, On Economic Inequality (1973), 2.8. Zero where the values sum to nothing.
    """
    ordered = sorted(values)
    n, total = len(ordered), sum(ordered)
    if n == 0 or total <= 0:
        return 0
    weighted = sum((2 * i - n - 1) * x for i, x in enumerate(ordered, 1))
    return 10**9 * weighted // (n * total)


def lorenz(values: Sequence[int]) -> list[int]:
    """Share of the total held by the poorest k/20 of the holders, k = 1..20, in 1e-9, floored."""
    ordered = sorted(values)
    n, total = len(ordered), sum(ordered)
    if n == 0 or total <= 0:
        return [0] * LORENZ_POINTS
    out, running, at = [], 0, 0
    for k in range(1, LORENZ_POINTS + 1):
        upto = n * k // LORENZ_POINTS
        running += sum(ordered[at:upto])
        at = upto
        out.append(10**9 * running // total)
    return out
