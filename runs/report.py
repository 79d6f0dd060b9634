"""A report of one run: one HTML file with everything in it, Plotly and all figures included. It needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from economy.accounts import Approach
from economy.numbers.decimals import grouped
from economy.numbers.units import UNIT
from queries.reader import Reader
from runs import report_charts as charts
from runs.calibrate import QUARTERS, Parameter, calibration_table
from runs.pages import Cell, Table, page
from runs.report_charts import Chart
from runs.report_data import RunData, load_run, per_year
from runs.scorecard import Statistic, scorecard
from schemas.files import writing

_APPROACHES: Final = tuple(f"gdp_{approach}" for approach in Approach)


def money(value: int | None) -> str:
    """An exact amount in the currency, from units of 1e-8."""
    if value is None:
        return "–"
    return grouped(value).replace("-", "−")


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")


def _verdict(good: bool | None, yes: str = "equal", no: str = "NOT EQUAL") -> Cell:
    if good is None:
        return Cell("–", "soft")
    return Cell(yes, "yes") if good else Cell(no, "no")


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


def _tiles(data: RunData) -> list[tuple[str, str]]:
    """(value, what it is) of the figures at the top."""
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
    return tiles


def _accounts(data: RunData) -> dict[str, Any] | None:
    if not data.stream.windows:
        return None
    equal, windows, same, pairs = agreement(data)
    stream = [per_year(data.stream.get(name)) for name in _APPROACHES]
    batch = [per_year(data.batch.get(name)) for name in _APPROACHES]
    rows: list[list[str | Cell]] = []
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
    return {"note": note, "table": Table.of(head, rows, (1, 2, 3))}


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


def _tape(data: RunData) -> dict[str, Any] | None:
    if data.tape is None:
        return None
    tape = data.tape
    try:
        told = json.loads(tape["explanation"])
    except (ValueError, RecursionError):
        told = tape["explanation"]
    lines = [_told(line) for line in told] if isinstance(told, list) else [_told(told)]
    counts = [f"{int(tape[name]):,}" for name in ("orders", "trades", "prints", "matched")]
    table = Table.of(["Orders", "Our trades", "Exchange's trades", "Same pair of orders"], [counts], range(4))
    return {"run": int(tape["run"]), "table": table, "lines": [line for line in lines if line]}


def _reality(statistics: Sequence[Statistic]) -> Table:
    head = ["Aggregate", "Run", "Real", "Real, 5–95 %", "Unit", "", "Data"]
    rows: list[list[str | Cell]] = [
        [
            s.name, _number(s.run), _number(s.real), f"{_number(s.low)} … {_number(s.high)}", s.unit,
            _verdict(s.inside, "inside", "outside"), Cell(s.source, "soft"),
        ]
        for s in statistics
    ]  # fmt: skip
    return Table.of(head, rows, (1, 2, 3))


def _parameters(parameters: Sequence[Parameter]) -> Table | None:
    if not parameters:
        return None
    head = ["Parameter", "Meaning", "Scenario", "Data", "", "Estimate"]
    rows: list[list[str | Cell]] = [
        [Cell(p.name, "code"), p.doc, _number(p.model, 3), _number(p.data, 3), p.status, Cell(p.source, "soft")]
        for p in parameters
    ]
    return Table.of(head, rows, (2, 3))


def _provenance(data: RunData) -> Table:
    run = data.run
    rows: list[list[str | Cell]] = [[label, Cell(str(run[key]), "code")] for label, key in (
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
        rows.append([f"Job {job['job']}", Cell(said, "code")])
    return Table.of(["", ""], rows)


def render(data: RunData) -> str:
    """The page."""
    sections, found = [], list[Chart]()
    for title, pictures in _pictures(data):
        three = len(pictures) == 3 and not any(chart.wide for chart in pictures)
        sections.append({"title": title, "three": three, "charts": list(enumerate(pictures, len(found)))})
        found += pictures
    shares = [np.array([c.price for c in data.candles[i]]) for i in data.equities if data.candles.get(i)]
    economy = data.macro()
    rounds = int(data.scenario.get("calendar", {}).get("rounds", 10))
    run = data.run
    years = f"{len(data.stream.windows) / QUARTERS:g} simulated years, " if data.stream.windows else ""
    return page(
        "report.html",
        [{"traces": chart.traces, "layout": chart.layout} for chart in found],
        title=f"{run['scenario']}: run {run['run']}",
        summary=f"{years}seed {run['seed']}, {run['state']}.",
        digest=run["digest"] or "none yet",
        tiles=_tiles(data),
        accounts=_accounts(data),
        sections=sections,
        tape=_tape(data),
        reality=None if economy is None else _reality(scorecard(economy, shares, rounds)),
        parameters=None if economy is None else _parameters(calibration_table(data.scenario)),
        provenance=_provenance(data),
        scenario=json.dumps(data.scenario, indent=1) if data.scenario else "",
    )


def write_report(reader: Reader, run: int, path: Path) -> Path:
    """Write the report of a run to a file; returns its path. Raises UnknownRunError. The file appears whole or not."""
    text = render(load_run(reader, run))
    with writing(path) as file:
        file.write(text.encode())
    return path
