"""The report's figures against the rows that were put into the tables; one file that needs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from economy.errors import UnknownRunError
from economy.records.events import Role
from runs import pages
from runs.compare_page import render_page
from runs.report import agreement, money, render, write_report
from runs.report_data import load_run, per_year
from tests.synthetic import figures, synthetic_run
from tests.tables import LocalTables, local_tables

WINDOWS = 16
BAD = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    whole, odd, tape = synthetic_run(7, WINDOWS, trades=40), synthetic_run(8, 9), synthetic_run(9, 1)
    for row in odd["batch_indicators"]:
        if row["indicator"] == "gdp_income" and row["window"] == 2:
            row["value"] += 1
    for row in odd["stream_indicators"]:
        if row["indicator"] == "gdp_expenditure" and row["window"] == 6:
            row["value"] -= 1
    odd["runs"][0]["scenario"] = BAD
    odd["instrument_listed"][0]["symbol"] = BAD
    del odd["tape_comparisons"]
    tape = {"runs": [{**tape["runs"][0], "config": "", "epoch_ticks": 0}], "tape_comparisons": tape["tape_comparisons"]}
    with local_tables(tmp_path_factory.mktemp("report"), whole, odd, tape) as found:
        yield found


def plots(page: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(page.split('id="charts">')[1].split("</script>")[0])
    return found


def known(name: str, item: int = 0, windows: int = WINDOWS) -> list[int]:
    return [value for _, n, i, value in figures(windows) if (n, i) == (name, item)]


def test_the_page_holds_exact_accounts_and_the_series(tables: LocalTables, tmp_path: Path) -> None:
    path = write_report(tables, 7, tmp_path / "deep" / "run-7.html")
    page = path.read_text()
    gdp = known("gdp_production")
    for year in range(WINDOWS // 4):
        total = sum(gdp[4 * year : 4 * year + 4])
        assert page.count(f"{total // 10**8:,}.{total % 10**8:08d}") == 3
    assert f"the same integer in {WINDOWS} of {WINDOWS} quarters" in page
    assert "NOT EQUAL" not in page
    assert f"<code>{7:064x}</code>" in page
    assert [p.name for p in path.parent.iterdir()] == ["run-7.html"]
    series = {trace["name"]: trace for plot in plots(page) for trace in plot["traces"]}
    assert series["Consumption"]["y"] == pytest.approx([v / 1e8 for v in known("consumption")])
    assert series["Unemployment"]["y"] == pytest.approx([v / 1e7 for v in known("unemployment")], rel=1e-6)
    prices = known("consumer_price_index")
    assert series["Inflation"]["y"][:4] == [None] * 4
    assert series["Inflation"]["y"][4] == pytest.approx(100 * (prices[4] / prices[0] - 1), rel=1e-5)
    assert [name for name in series if name.startswith("Wealth (Gini")] == [
        f"Wealth (Gini {known('gini_wealth')[-1] / 1e9:.3f})"
    ]
    wealth = next(t for n, t in series.items() if n.startswith("Wealth (Gini"))
    assert wealth["y"] == pytest.approx([0, *(known("lorenz_wealth", k)[-1] / 1e9 for k in range(1, 21))])


def test_exchange_prices_and_books(tables: LocalTables) -> None:
    data = load_run(tables, 7)
    assert data.trades == 160
    assert data.equities == [3]
    candles = data.candles[3]  # trades k at tick 10 k + 3, k + 1 shares at 1.0000 + k steps; a round is 100 ticks
    for n, candle in enumerate(candles):
        ks = [k for k in range(40) if (10 * k + 3) // 100 == n]
        volume = sum(k + 1 for k in ks)
        assert candle.tick == 100 * n
        assert candle.volume == volume
        assert candle.price == pytest.approx(sum((10_000 + k) * (k + 1) for k in ks) / volume / 10_000)
    (book,) = data.books[3]  # filled at tick 5, and at no other
    assert book.tick == 5
    assert book.bids == [(1.0, 50), (0.9999, 51), (0.9998, 52), (0.9997, 53), (0.9996, 54)]
    assert book.asks[0] == (1.001, 60)
    depth = next(p for p in plots(render(data)) if p["layout"]["yaxis"]["title"]["text"] == "cumulated quantity")
    assert [max(t["y"]) for t in depth["traces"]] == [50 + 51 + 52 + 53 + 54, 60 + 61 + 62 + 63 + 64]


def test_what_differs_is_shown(tables: LocalTables) -> None:
    data = load_run(tables, 8)
    equal, windows, same, pairs = agreement(data)
    assert (equal, windows, pairs - same) == (8, 9, 2)
    page = render(data)
    assert page.count("NOT EQUAL") == 3  # year 1 against Spark, year 2 among the approaches and against Spark
    assert "8 of 9 quarters" in page


def test_no_text_of_a_run_becomes_script(tables: LocalTables) -> None:
    page = render(load_run(tables, 8))
    assert BAD not in page
    assert "&lt;/script&gt;" in page
    assert any(trace["name"] == BAD for plot in plots(page) for trace in plot["traces"])


def test_every_text_of_a_run_is_escaped_wherever_it_stands(tables: LocalTables) -> None:
    """Whatever column it comes from: in the title, an attribute, a cell, the scenario, the jobs, the tape."""
    data = load_run(tables, 7)
    evil = "\"><img src=x onerror=alert(1)>'&"
    texts = {key: evil for key, value in data.run.items() if isinstance(value, str) and key != "config"}
    jobs = [{key: evil if isinstance(value, str) else value for key, value in job.items()} for job in data.jobs]
    tape = {**data.tape, "explanation": json.dumps([{"reason": evil, evil: evil}])} if data.tape else None
    page = render(
        replace(data, run={**data.run, **texts}, jobs=jobs, tape=tape, scenario={**data.scenario, evil: evil})
    )
    assert "<img" not in page
    assert page.count("&lt;img") > len(texts)


def test_a_comparison_escapes_the_names_and_events_of_both_runs() -> None:
    evil = "</code><script>alert(1)</script>"
    worth = SimpleNamespace(run=7, worth=np.array([5 * 10**8]))
    found: Any = SimpleNamespace(
        a=worth, b=worth, series=lambda _: ([1], [2]), windows=[0], shared=-2, epoch=3, event=(evil, (evil, evil)),
        founded=SimpleNamespace(roles=np.array([Role.HOUSEHOLD]), names=[evil]), gains=lambda: [(0, 0)],
        prices=lambda: [(evil, 1, 2)],
    )  # fmt: skip
    page = render_page(found).replace(get_plotlyjs(), "")
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") == 5
    assert page.count('class="chart"') == 7
    assert "<p>b: <code>&lt;" in page
    assert "They share no epoch." in page
    assert "Digest" not in page


def test_no_template_trusts_what_it_is_told() -> None:
    """`safe` is for style, scripts and the charts' JSON alone, which are ours."""
    templates = list((Path(pages.__file__).parent / "assets").glob("*.html"))
    marked = [found for path in templates for found in re.findall(r"(\w+)\s*\|\s*safe", path.read_text())]
    assert sorted(marked) == ["charts", "plotly", "script", "style"]
    assert not [path for path in templates if "autoescape" in path.read_text()]


def test_nothing_is_loaded_from_elsewhere(tables: LocalTables) -> None:
    page = render(load_run(tables, 7))
    assert page.count(get_plotlyjs()) == 1
    own = page.replace(get_plotlyjs(), "")
    assert "://" not in own
    assert "@import" not in own
    assert set(re.findall(r"(?:src|href)=\"([^\"]*)\"", own)) == {"data:,"}


def test_a_run_without_accounts_still_has_a_report(tables: LocalTables) -> None:
    page = render(load_run(tables, 9))
    assert "282 of 284" in page
    assert "<li>print 5, buy order 6: filled before it was announced</li>" in page
    assert "National accounts" not in page
    assert "Provenance" in page


def test_an_unknown_run_is_told(tables: LocalTables, tmp_path: Path) -> None:
    with pytest.raises(UnknownRunError, match="run = 99 is not valid"):
        write_report(tables, 99, tmp_path / "none.html")
    assert not list(tmp_path.iterdir())


def test_money_and_years_are_exact() -> None:
    assert money(123_456_789_012_345_678) == "1,234,567,890.12345678"
    assert money(-1) == "−0.00000001"
    assert money(None) == "–"
    assert per_year([1, 2, 3, 4, 5, None, 7, 8, 9]) == [10, None]
