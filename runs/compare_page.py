"""The comparison of two runs as one HTML file that needs no network, in the dress of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from economy.calendar import QUARTERS
from economy.numbers.units import RATE, UNIT
from economy.records.events import Role
from runs.compare import Comparison
from runs.pages import Table, page
from runs.report import money
from schemas.files import writing

_COLOURS: Final = ("#3b82d6", "#e07b39")
_SERIES: Final = (
    ("GDP", "gdp_production", UNIT, "per quarter, XEC"),
    ("Real GDP", "gdp_real", UNIT, "per quarter, XEC of the start"),
    ("Consumer prices", "consumer_price_index", RATE, "1 = prices of the start"),
    ("Unemployment", "unemployment", RATE, "share of the households"),
    ("Gini of income", "gini_income", RATE, "0 to 1"),
    ("Gini of wealth", "gini_wealth", RATE, "0 to 1"),
)
_LISTED: Final = 15


def write_page(found: Comparison, path: Path) -> Path:
    """Write the page; returns its path. The file appears whole or not."""
    text = render_page(found)
    with writing(path) as file:
        file.write(text.encode())
    return path


def render_page(found: Comparison) -> str:
    """The page."""
    charts: list[dict[str, Any]] = []
    cards = [(number, title, "Run a and run b.") for number, (title, *_) in enumerate(_SERIES)]
    for _, indicator, unit, axis in _SERIES:
        a, b = found.series(indicator)
        years = [(window + 0.5) / QUARTERS for window in found.windows]
        traces = [
            {"type": "scatter", "mode": "lines", "name": f"{which}: {run}", "x": years,
             "y": [value / unit for value in values], "line": {"color": colour, "width": 2}}
            for which, run, values, colour in zip("ab", (found.a.run, found.b.run), (a, b), _COLOURS, strict=True)
        ]  # fmt: skip
        charts.append({"traces": traces, "layout": {"xaxis": _axis("year"), "yaxis": _axis(axis)}})
    cards.append((len(charts), "Who gained and lost", "Net worth of each household in b less that in a, sorted."))
    charts.append(_gains(found))
    return page(
        "comparison.html",
        charts,
        title=f"Run {found.a.run} and run {found.b.run}",
        summary=f"They share every epoch through {found.shared}." if found.shared > -2 else "They share no epoch.",
        cards=cards,
        tables=[
            ("Largest gains and losses of net worth", _agents(found)),
            ("Closing prices, in price steps", _prices(found)),
        ],
        difference=found.event and {"epoch": found.epoch, "what": found.event[0], "sides": found.event[1]},
    )


def _axis(title: str) -> dict[str, Any]:
    return {"title": {"text": title}}


def _gains(found: Comparison) -> dict[str, Any]:
    who = np.flatnonzero(found.founded.roles == Role.HOUSEHOLD)
    change = np.sort((found.b.worth - found.a.worth)[who]) / UNIT
    trace = {
        "type": "bar",
        "x": list(range(1, len(change) + 1)),
        "y": change.tolist(),
        "marker": {"color": _COLOURS[1]},
    }
    return {
        "traces": [trace],
        "layout": {"xaxis": _axis("household"), "yaxis": _axis("XEC")},
    }


def _agents(found: Comparison) -> Table:
    gains, names = found.gains(), found.founded.names
    some = gains if len(gains) <= 2 * _LISTED else [*gains[:_LISTED], *gains[-_LISTED:]]
    rows = [
        (names[agent], Role(int(found.founded.roles[agent])).name.lower(), money(int(found.a.worth[agent])),
         money(int(found.b.worth[agent])), money(change))
        for agent, change in some
    ]  # fmt: skip
    return Table.of(("agent", "role", "a", "b", "difference"), rows)


def _prices(found: Comparison) -> Table:
    rows = [(symbol, f"{a:,}", f"{b:,}") for symbol, a, b in found.prices()]
    return Table.of(("instrument", "a", "b"), rows)
