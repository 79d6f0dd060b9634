"""The charts of a report as Plotly's JSON. Colours of text and grid come from the page, which knows light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from economy.measures import LORENZ_POINTS
from economy.numbers.units import UNIT
from runs.calibrate import QUARTERS, Array
from runs.report_data import Book, RunData
from runs.scorecard import SHORTEST, hp_trend

# Told apart by most colour-blind readers, on white and on black (after Okabe and Ito).
COLOURS: Final = (
    "#3b82d6", "#e07b39", "#1f9e77", "#c9a227", "#8e7cc3", "#d45d8f", "#5fb3ce", "#9a6b4f", "#7a9e3b", "#b65f5f",
    "#6d86a8", "#a3a3a3",
)  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """One picture with its heading and a sentence on how to read it."""

    title: str
    note: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    wide: bool = False


def _numbers(values: Array | Sequence[float]) -> list[float | None]:
    return [None if not math.isfinite(v) else float(f"{v:.8g}") for v in values]


def _line(name: str, x: Array, y: Array, colour: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": _numbers(x), "y": _numbers(y),
        "line": {"color": colour, "width": 2, **more.pop("line", {})}, **more,
    }  # fmt: skip


def _bars(name: str, x: Array, y: Array, colour: str, **more: Any) -> dict[str, Any]:
    return {"type": "bar", "name": name, "x": _numbers(x), "y": _numbers(y), "marker": {"color": colour}, **more}


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title, "standoff": 8}, **more}


def _years(data: RunData) -> Array:
    return (np.array(data.stream.windows, dtype=np.float64) + 0.5) / QUARTERS


def gdp(data: RunData) -> Chart:
    """GDP by expenditure, its parts stacked."""
    x, get = _years(data), data.stream.array
    parts = (
        ("Consumption", "consumption"), ("Government", "government"), ("Investment", "investment"),
        ("Inventories", "inventory_change"),
    )  # fmt: skip
    traces = [_bars(n, x, get(k, unit=UNIT), c) for (n, k), c in zip(parts, COLOURS, strict=False)]
    traces.append(
        {**_line("GDP (production)", x, get("gdp_production", unit=UNIT), COLOURS[11]), "mode": "lines+markers"}
    )
    return Chart(
        "GDP and its parts",
        "Bars are what was bought, the line is what was produced: they meet in every quarter.",
        traces,
        {"barmode": "relative", "xaxis": _axis("year"), "yaxis": _axis("per quarter, XEC")},
    )


def approaches(data: RunData) -> Chart:
    """Where GDP comes from, and who gets it."""
    x, get = _years(data), data.stream.array
    added = get("output", unit=UNIT) - get("intermediate_consumption", unit=UNIT)
    left = (("Value added", added, 0), ("Taxes on products", get("taxes_on_products", unit=UNIT), 3))
    right = (
        ("Wages", get("wages", unit=UNIT), 2),
        ("Gross operating surplus", get("gross_operating_surplus", unit=UNIT), 1),
    )  # fmt: skip
    traces = [_bars(f"Production: {n}", x, y, COLOURS[c], offsetgroup="p") for n, y, c in left]
    traces += [_bars(f"Income: {n}", x, y, COLOURS[c], offsetgroup="i") for n, y, c in right]
    traces.append(_bars("Income: taxes on products", x, left[1][1], COLOURS[3], offsetgroup="i", showlegend=False))
    return Chart(
        "The other two approaches",
        "Left bar: production; right bar: income. Both sum to the same GDP, from different events.",
        traces,
        {"barmode": "relative", "xaxis": _axis("year"), "yaxis": _axis("per quarter, XEC")},
    )


def real_gdp(data: RunData) -> Chart:
    """Real GDP against its trend."""
    x, real = _years(data), data.stream.array("gdp_real", unit=UNIT)
    traces = [_line("Real GDP", x, real, COLOURS[0])]
    if len(real) >= SHORTEST and not np.isnan(real).any():
        trend = hp_trend(real)
        traces.append(_line("Trend (Hodrick-Prescott, 1600)", x, trend, COLOURS[11], line={"dash": "dash"}))
        gap = 100 * (real / trend - 1)
        traces.append(_bars("Deviation from trend", x, gap, COLOURS[1], yaxis="y2"))
    return Chart(
        "Real GDP against its trend",
        "At the prices of the run's start; below, the deviation from trend in percent.",
        traces,
        {
            "xaxis": _axis("year", anchor="y2"), "yaxis": _axis("per quarter, XEC", domain=[0.38, 1]),
            "yaxis2": _axis("gap, %", domain=[0, 0.28], zeroline=True),
        },
    )  # fmt: skip


def labour_and_prices(data: RunData) -> Chart:
    """Unemployment above, inflation below."""
    x, prices = _years(data), data.stream.array("consumer_price_index", unit=1e9)
    inflation = np.full(len(prices), np.nan)
    inflation[QUARTERS:] = 100 * (prices[QUARTERS:] / prices[:-QUARTERS] - 1)
    return Chart(
        "Unemployment and inflation",
        "Share of households without employment; consumer prices against the same quarter a year before.",
        [
            _line("Unemployment", x, 100 * data.stream.array("unemployment", unit=1e9), COLOURS[5]),
            _line("Inflation", x, inflation, COLOURS[3], yaxis="y2"),
        ],
        {
            "xaxis": _axis("year", anchor="y2"), "yaxis": _axis("unemployment, %", domain=[0.56, 1]),
            "yaxis2": _axis("inflation, %", domain=[0, 0.44], zeroline=True),
        },
    )  # fmt: skip


def lorenz(data: RunData) -> Chart:
    """Lorenz curves of the last window."""
    x = np.arange(LORENZ_POINTS + 1) / LORENZ_POINTS
    traces = [_line("Equality", np.array([0.0, 1.0]), np.array([0.0, 1.0]), COLOURS[11], line={"dash": "dot"})]
    for name, key, colour in (("Income", "lorenz_income", 0), ("Wealth", "lorenz_wealth", 1)):
        last = [data.stream.array(key, k, 1e9)[-1] for k in range(1, LORENZ_POINTS + 1)]
        gini = data.stream.array(key.replace("lorenz", "gini"), unit=1e9)[-1]
        fill = {"fill": "tonexty", "fillcolor": "rgba(59, 130, 214, 0.12)"} if name == "Income" else {}
        traces.append(_line(f"{name} (Gini {gini:.3f})", x, np.array([0.0, *last]), COLOURS[colour], **fill))
    return Chart(
        "Lorenz curves, last quarter",
        "Share of all income and of all wealth that the poorest part of the households holds.",
        traces,
        {
            "xaxis": _axis("households, poorest first", range=[0, 1], tickformat=".0%"),
            "yaxis": _axis("share of the total", range=[0, 1], tickformat=".0%"),
        },
    )  # fmt: skip


def gini(data: RunData) -> Chart:
    """Gini coefficients over time."""
    x, get = _years(data), data.stream.array
    return Chart(
        "Gini coefficients",
        "0 = all have the same, 1 = one has all.",
        [
            _line("Wealth", x, get("gini_wealth", unit=1e9), COLOURS[1]),
            _line("Income", x, get("gini_income", unit=1e9), COLOURS[0]),
        ],
        {"xaxis": _axis("year"), "yaxis": _axis("", range=[0, 1])},
    )


def products(data: RunData) -> list[Chart]:
    """Prices and volumes of goods and services."""
    x, get = _years(data), data.stream.array
    goods = [i for i in data.instruments if i not in data.equities and ("closing_price", i) in data.stream.values]
    if not goods:
        return []
    prices, volumes = [], []
    for place, i in enumerate(goods):
        name, colour = str(data.instruments[i]["symbol"]), COLOURS[place % len(COLOURS)]
        closing = get("closing_price", i)
        prices.append(_line(name, x, 100 * closing / closing[0], colour))
        volumes.append(_bars(name, x, get("traded_value", i, UNIT), colour))
    return [
        Chart(
            "Prices of products",
            "Valuation price at the quarter's end, first quarter = 100. A click on a name hides it.",
            prices,
            {"xaxis": _axis("year"), "yaxis": _axis("first quarter = 100")},
        ),
        Chart(
            "Trade in products",
            "Value of all trades in the quarter, goods and services that change hands several times included.",
            volumes,
            {"barmode": "stack", "xaxis": _axis("year"), "yaxis": _axis("per quarter, XEC")},
        ),
    ]


def shares(data: RunData) -> Chart | None:
    """Prices and volumes of what is traded on the exchange, per round."""
    listed = [i for i in data.equities if data.candles.get(i)]
    if not listed:
        return None
    year = data.year_ticks
    unit = year or 1
    traces = []
    for place, i in enumerate(listed):
        name, colour = str(data.instruments[i]["symbol"]), COLOURS[place % len(COLOURS)]
        x = np.array([c.tick for c in data.candles[i]], dtype=np.float64) / unit
        candles = data.candles[i]
        traces.append(_line(name, x, np.array([c.price for c in candles]), colour, line={"width": 1.5}))
        volume = _bars(f"{name} volume", x, np.array([c.volume for c in candles]), colour, yaxis="y2", showlegend=False)
        traces.append(volume)
    return Chart(
        "Prices and volumes on the exchange",
        "Volume-weighted price and quantity of every interval in which there was a trade.",
        traces,
        {
            "barmode": "stack", "xaxis": _axis("year" if year else "tick", anchor="y2"),
            "yaxis": _axis("price, XEC" if year else "price", domain=[0.34, 1]),
            "yaxis2": _axis("volume", domain=[0, 0.26]),
        },
        wide=True,
    )  # fmt: skip


def _depth(book: Book, colour: str, when: str) -> list[dict[str, Any]]:
    """Both sides of a book as steps over the distance from the middle of the best prices."""
    best = [levels[0][0] for levels in (book.bids, book.asks) if levels]
    if not best:
        return []
    middle = sum(best) / len(best)
    traces: list[dict[str, Any]] = []
    for levels in (book.bids, book.asks):
        if levels:
            away = 100 * (np.array([levels[0][0], *(price for price, _ in levels)]) / middle - 1)
            total = np.cumsum([0.0, *(size for _, size in levels)])
            traces.append(
                _line(
                    f"{when} at {middle:,.4g}", away, total, colour, line={"shape": "hv", "width": 1.8},
                    legendgroup=when, showlegend=not traces,
                )
            )  # fmt: skip
    return traces


def depth(data: RunData) -> list[Chart]:
    """Books of the busiest instruments at a few times: resting quantity up to each price."""
    found = []
    for number, books in data.books.items():
        traces = []
        for place, book in enumerate(books):
            when = f"year {book.tick / data.year_ticks:.2f}" if data.year_ticks else f"tick {book.tick:,}"
            traces += _depth(book, COLOURS[place], when)
        if traces:
            symbol = data.instruments[number]["symbol"]
            found.append(
                Chart(
                    f"Depth of the book: {symbol}",
                    "Quantity that rests up to a distance from the middle price: bids left, asks right.",
                    traces,
                    {
                        "xaxis": _axis("distance from the middle, %"),
                        "yaxis": _axis("cumulated quantity", rangemode="tozero"),
                    },
                )
            )
    return found
