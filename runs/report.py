"""A report of one run: one HTML file with everything in it, Plotly and all figures included. It needs no network."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from plotly.offline import get_plotlyjs

from economy.accounts import Approach
from economy.units import UNIT, decimal_text
from queries.reader import Reader
from runs import report_charts as charts
from runs.calibrate import QUARTERS, Parameter, calibration_table
from runs.report_charts import Chart
from runs.report_data import RunData, load_run, per_year
from runs.scorecard import Statistic, scorecard
from schemas.files import writing

ASSETS: Final = Path(__file__).parent / "assets"
_APPROACHES: Final = tuple(f"gdp_{approach}" for approach in Approach)


def money(value: int | None) -> str:
    """An exact amount in the currency, from units of 1e-8."""
    if value is None:
        return "–"
    return decimal_text(value).replace("-", "−")


def _text(value: object) -> str:
    return html.escape(str(value))


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """A table; cells are HTML already, columns in `right` are numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="n">{cell}</{tag}>' if i in right else f"<{tag}>{cell}</{tag}>" for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody></table></div>'


def _verdict(good: bool | None, yes: str = "equal", no: str = "NOT EQUAL", unknown: str = "–") -> str:
    if good is None:
        return f'<span class="soft">{unknown}</span>'
    return f'<span class="{"yes" if good else "no"}">{yes if good else no}</span>'


def _mean(series: np.ndarray[Any, np.dtype[np.float64]], last: int = QUARTERS) -> float | None:
    part = series[-last:]
    return float(np.mean(part)) if len(part) and np.isfinite(part).all() else None


def agreement(data: RunData) -> tuple[int, int, int, int]:
    """(windows whose three approaches are equal, windows, figures that stream and batch agree in, figures of both)."""
    totals = list(zip(*(data.stream.get(name) for name in _APPROACHES), strict=True))
    equal = sum(len(set(row)) == 1 and None not in row for row in totals)
    place = {window: i for i, window in enumerate(data.stream.windows)}
    pairs = same = 0
    for (name, item), values in data.batch.values.items():
        ours = data.stream.get(name, item)
        for window, value in zip(data.batch.windows, values, strict=True):
            if value is not None and window in place:
                pairs += 1
                same += ours[place[window]] == value
    return equal, len(totals), same, pairs


def _tiles(data: RunData) -> str:
    get = data.stream.array
    tiles: list[tuple[str, str]] = []
    if data.stream.windows:
        years = [v for v in per_year(data.stream.get("gdp_production")) if v is not None]
        real = [v for v in per_year(data.stream.get("gdp_real")) if v is not None]
        prices = get("consumer_price_index", unit=1e9)
        if years:
            tiles.append((f"{years[-1] / UNIT:,.0f}", "GDP of the last year, XEC"))
        if len(real) > 1:
            growth = 100 * ((real[-1] / real[0]) ** (1 / (len(real) - 1)) - 1)
            tiles.append((f"{_number(growth)} %", "real growth per year"))
        if len(prices) > QUARTERS:
            inflation = 100 * ((prices[-1] / prices[0]) ** (QUARTERS / (len(prices) - 1)) - 1)
            tiles.append((f"{_number(inflation)} %", "inflation per year"))
        jobless = _mean(100 * get("unemployment", unit=1e9), len(data.stream.windows))
        tiles.append((f"{_number(jobless, 1)} %", "unemployment, mean"))
        for name, key in (("Gini of income", "gini_income"), ("Gini of wealth", "gini_wealth")):
            tiles.append((_number(get(key, unit=1e9)[-1], 3), name))
    tiles.append((f"{data.trades:,}", "trades"))
    if data.tape is not None:
        tiles.append((f"{int(data.tape['matched'])} of {int(data.tape['prints'])}", "exchange trades reproduced"))
    cards = "".join(f'<div class="tile"><b>{_text(v)}</b><span>{_text(k)}</span></div>' for v, k in tiles)
    return f'<div class="tiles">{cards}</div>'


def _accounts(data: RunData) -> str:
    if not data.stream.windows:
        return ""
    equal, windows, same, pairs = agreement(data)
    stream = [per_year(data.stream.get(name)) for name in _APPROACHES]
    batch = [per_year(data.batch.get(name)) for name in _APPROACHES]
    rows = []
    for year, values in enumerate(zip(*stream, strict=True)):
        spark = {column[year] for column in batch if year < len(column)} - {None}
        alike = None not in values and len(set(values)) == 1
        both = None if not spark else spark == set(values)
        rows.append([str(year + 1), *(money(v) for v in values), _verdict(alike), _verdict(both)])
    note = (
        f"The three approaches are the same integer in {equal} of {windows} quarters. Stream and Spark agree in "
        f"{same} of {pairs} figures that both computed."
        if pairs
        else f"The three approaches are the same integer in {equal} of {windows} quarters. No batch job has run yet."
    )
    head = ["Year", "Production", "Expenditure", "Income", "Approaches", "Spark"]
    table = _table(head, rows, frozenset({1, 2, 3}))
    return (
        f'<h2>National accounts</h2><div class="card"><h3>GDP per year by three approaches, XEC</h3>'
        f"<p>{note}</p>{table}</div>"
    )


def _pictures(data: RunData) -> list[tuple[str, list[Chart]]]:
    sections: list[tuple[str, list[Chart]]] = []
    if data.stream.windows:
        sections.append(
            (
                "Economy",
                [charts.gdp(data), charts.approaches(data), charts.real_gdp(data), charts.labour_and_prices(data)],
            )
        )
        sections.append(("Distribution", [charts.lorenz(data), charts.gini(data)]))
    exchange = charts.shares(data)
    markets = [*charts.products(data), *([exchange] if exchange else [])]
    if markets:
        sections.append(("Markets", markets))
    books = charts.depth(data)
    if books:
        sections.append(("Order books", books))
    return sections


def _told(difference: object) -> str:
    """One difference between the exchange's trades and ours, in words."""
    if not isinstance(difference, dict):
        return str(difference)
    rest = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in difference.items() if k != "reason")
    return f"{rest}: {difference['reason']}" if "reason" in difference else rest


def _tape(data: RunData) -> str:
    if data.tape is None:
        return ""
    tape = data.tape
    try:
        told = json.loads(tape["explanation"])
    except json.JSONDecodeError:
        told = tape["explanation"]
    lines = [_told(line) for line in told] if isinstance(told, list) else [_told(told)]
    items = "".join(f"<li>{_text(line)}</li>" for line in lines if line)
    counts = [[f"{int(tape[name]):,}" for name in ("orders", "trades", "prints", "matched")]]
    table = _table(["Orders", "Our trades", "Exchange's trades", "Same pair of orders"], counts, frozenset(range(4)))
    return (
        '<h2>Real market data</h2><div class="card">'
        f"<h3>The exchange's tape through our books (run {int(tape['run'])})</h3>"
        f"<p>Trades of our matching beside the exchange's own prints.</p>{table}"
        f"{f'<ul>{items}</ul>' if items else ''}</div>"
    )


def _reality(statistics: Sequence[Statistic], parameters: Sequence[Parameter]) -> str:
    rows = [
        [
            _text(s.name), _number(s.run), _number(s.real), f"{_number(s.low)} … {_number(s.high)}", _text(s.unit),
            _verdict(s.inside, "inside", "outside"), f'<span class="soft">{_text(s.source)}</span>',
        ]
        for s in statistics
    ]  # fmt: skip
    head = ["Aggregate", "Run", "Real", "Real, 5–95 %", "Unit", "", "Data"]
    card = (
        '<h2>Beside reality</h2><div class="card"><h3>Aggregates of the run and of real economies</h3>'
        "<p>The same estimators for both. The range is that of real stretches as long as the run.</p>"
        f"{_table(head, rows, frozenset({1, 2, 3}))}</div>"
    )
    if not parameters:
        return card
    rows = [
        [
            f"<code>{_text(p.name)}</code>", _text(p.doc), _number(p.model, 3), _number(p.data, 3), _text(p.status),
            f'<span class="soft">{_text(p.source)}</span>',
        ]
        for p in parameters
    ]  # fmt: skip
    head = ["Parameter", "Meaning", "Scenario", "Data", "", "Estimate"]
    return (
        f'{card}<div class="card" style="margin-top:1rem"><h3>Where the parameters come from</h3><p>What the data that '
        f"come with the project can say, and what they cannot.</p>{_table(head, rows, frozenset({2, 3}))}</div>"
    )


def _provenance(data: RunData) -> str:
    run = data.run
    rows = [[_text(label), f"<code>{_text(run[key])}</code>"] for label, key in (
        ("Run", "run"), ("Scenario", "scenario"), ("Seed", "seed"), ("State", "state"), ("Digest", "digest"),
        ("Root of the log", "root"), ("Epochs", "epochs"), ("Ticks", "ticks"), ("Shards", "shards"),
        ("Order partitions", "partitions"), ("Flow partitions", "flow_partitions"), ("Rules version", "rules_version"),
        ("Digest version", "digest_version"), ("Environment", "environment"), ("Started (UTC)", "started_at"),
        ("Ended (UTC)", "finished_at"), ("First offsets", "start_offsets"), ("End offsets", "end_offsets"),
        ("Aborted because", "reason"),
    ) if run[key] not in (None, "")]  # fmt: skip
    for job in data.jobs:
        offsets = f"offsets {job['start_offsets']} to {job['end_offsets']}"
        said = f"version {job['job_version']}, {job['computed']} UTC, {offsets}"
        rows.append([f"Job {_text(job['job'])}", f"<code>{_text(said)}</code>"])
    config = json.dumps(data.scenario, indent=1) if data.scenario else ""
    details = f"<details><summary>Scenario</summary><pre><code>{_text(config)}</code></pre></details>" if config else ""
    return f'<h2>Provenance</h2><div class="card">{_table(["", ""], rows)}{details}</div>'


def render(data: RunData) -> str:
    """The page."""
    sections, found = "", list[Chart]()
    for title, pictures in _pictures(data):
        cards = ""
        for chart in pictures:
            label = _text(f"{chart.title}. {chart.note}")
            cards += (
                f'<div class="card{" wide" if chart.wide else ""}"><h3>{_text(chart.title)}</h3>'
                f"<p>{_text(chart.note)}</p>"
                f'<div class="chart" id="chart-{len(found)}" role="img" aria-label="{label}"></div></div>'
            )
            found.append(chart)
        columns = " three" if len(pictures) == 3 and not any(chart.wide for chart in pictures) else ""
        sections += f'<h2>{_text(title)}</h2><div class="grid{columns}">{cards}</div>'
    shares = [np.array([c.price for c in data.candles[i]]) for i in data.equities if data.candles.get(i)]
    economy = data.macro()
    reality = ""
    if economy is not None:
        rounds = int(data.scenario.get("calendar", {}).get("rounds", 10))
        reality = _reality(scorecard(economy, shares, rounds), calibration_table(data.scenario))
    # "<" is escaped, so that no text of a run can end the script element.
    payload = json.dumps([{"traces": c.traces, "layout": c.layout} for c in found]).replace("<", "\\u003c")
    run = data.run
    years = f"{len(data.stream.windows) / QUARTERS:g} simulated years, " if data.stream.windows else ""
    return Template((ASSETS / "report.html").read_text()).substitute(
        title=_text(f"{run['scenario']}: run {run['run']}"),
        summary=_text(f"{years}seed {run['seed']}, {run['state']}."),
        digest=_text(run["digest"] or "none yet"),
        style=(ASSETS / "report.css").read_text(),
        body=f"{_tiles(data)}{_accounts(data)}{sections}{_tape(data)}{reality}{_provenance(data)}",
        charts=payload,
        plotly=get_plotlyjs(),
        script=(ASSETS / "report.js").read_text(),
    )


def write_report(reader: Reader, run: int, path: Path) -> Path:
    """Write the report of a run to a file; returns its path. Raises UnknownRunError. The file appears whole or not."""
    page = render(load_run(reader, run))
    with writing(path) as file:
        file.write(page.encode())
    return path
