"""The comparison of two runs as one HTML file that needs no network, in the dress of the report."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from plotly.offline import get_plotlyjs

from economy.calendar import QUARTERS
from economy.events import Role
from economy.units import RATE, UNIT
from runs.compare import Comparison
from runs.report import ASSETS, money
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
    page = render_page(found)
    with writing(path) as file:
        file.write(page.encode())
    return path


def render_page(found: Comparison) -> str:
    """The page."""
    charts: list[dict[str, Any]] = []
    cards = ""
    for title, indicator, unit, axis in _SERIES:
        a, b = found.series(indicator)
        years = [(window + 0.5) / QUARTERS for window in found.windows]
        traces = [
            {"type": "scatter", "mode": "lines", "name": f"{which}: {run}", "x": years,
             "y": [value / unit for value in values], "line": {"color": colour, "width": 2}}
            for which, run, values, colour in zip("ab", (found.a.run, found.b.run), (a, b), _COLOURS, strict=True)
        ]  # fmt: skip
        layout = {"xaxis": {"title": {"text": "year"}}, "yaxis": {"title": {"text": axis}}}
        cards += _card(len(charts), title, "Run a and run b.")
        charts.append({"traces": traces, "layout": layout})
    cards += _card(len(charts), "Who gained and lost", "Net worth of each household in b less that in a, sorted.")
    charts.append(_gains(found))
    tables = _agents(found) + _prices(found)
    if found.event is not None:
        sides = "".join(
            f"<p>{which}: <code>{_text(side)}</code></p>" for which, side in zip("ab", found.event[1], strict=True)
        )
        where = f"Epoch {found.epoch}, {_text(found.event[0])}"
        tables += f'<h2>First difference</h2><div class="card"><p>{where}</p>{sides}</div>'
    shared = f"They share every epoch through {found.shared}." if found.shared > -2 else "They share no epoch."
    return (
        Template((ASSETS / "report.html").read_text())
        .substitute(
            title=f"Run {found.a.run} and run {found.b.run}",
            summary=_text(shared),
            digest="",
            style=(ASSETS / "report.css").read_text(),
            body=f'<h2>The two runs</h2><div class="grid">{cards}</div>{tables}',
            charts=json.dumps(charts).replace("<", "\\u003c"),
            plotly=get_plotlyjs(),
            script=(ASSETS / "report.js").read_text(),
        )
        .replace(" Digest <code></code>", "")
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _card(number: int, title: str, note: str) -> str:
    chart = f'<div class="chart" id="chart-{number}" role="img" aria-label="{title}. {note}"></div>'
    return f'<div class="card"><h3>{title}</h3><p>{note}</p>{chart}</div>'


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
        "layout": {"xaxis": {"title": {"text": "household"}}, "yaxis": {"title": {"text": "XEC"}}},
    }


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    heads = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>"
    return f'<h2>{title}</h2><div class="card"><div class="scroll">{table}</div></div>'


def _agents(found: Comparison) -> str:
    gains, names = found.gains(), found.founded.names
    some = gains if len(gains) <= 2 * _LISTED else [*gains[:_LISTED], *gains[-_LISTED:]]
    rows = [
        (names[agent], Role(int(found.founded.roles[agent])).name.lower(), money(int(found.a.worth[agent])),
         money(int(found.b.worth[agent])), money(change))
        for agent, change in some
    ]  # fmt: skip
    return _table("Largest gains and losses of net worth", ("agent", "role", "a", "b", "difference"), rows)


def _prices(found: Comparison) -> str:
    rows = [(symbol, f"{a:,}", f"{b:,}") for symbol, a, b in found.prices()]
    return _table("Closing prices, in price steps", ("instrument", "a", "b"), rows)
