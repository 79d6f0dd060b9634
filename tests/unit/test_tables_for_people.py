"""What commands print for people: figures in the currency and as shares, never counts of 1e-8."""

from __future__ import annotations

from rich.table import Table

from economy.numbers.decimals import beside
from infra.cli.demo import _both
from infra.cli.job import _for_people, table_of_rows


def cells(table: Table) -> list[list[str]]:
    return [list(map(str, column.cells)) for column in table.columns]


def test_the_demo_compares_figures_in_their_units() -> None:
    rows = [
        {"indicator": name} | beside("stream", stream, scale) | beside("batch", batch, scale)
        for name, scale, stream, batch in (
            ("gdp_income", 8, 123_456_789_012, 123_456_789_012),
            ("gini_wealth", 9, 512_345_678, 512_345_679),
        )
    ]
    names, stream, batch, verdict = cells(_both(rows))
    assert names == ["gdp_income", "gini_wealth"]
    assert stream == ["1,234.56789012", "0.512345678"]
    assert batch == ["1,234.56789012", "0.512345679"]
    assert verdict == ["equal", "NOT"]


def test_a_jobs_figures_are_shown_in_their_units() -> None:
    rows = [
        {"window": 3, "indicator": name, "item": 0} | beside("value", 123_456_789_012, scale)
        for name, scale in (("wages", 8), ("trades", 0), ("new", 0))
    ]
    table = table_of_rows([_for_people(row) for row in rows])
    assert cells(table)[3] == ["1,234.56789012", "123,456,789,012", "123456789012"]
    assert [column.justify for column in table.columns] == ["right", "left", "right", "right"]
    assert _for_people({"step": 1}) == {"step": 1}
