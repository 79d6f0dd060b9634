"""Tables of events: every kind of event has one, and its cells are the record's fields in decimals and names."""

from __future__ import annotations

from decimal import Decimal

import fastavro
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from economy import events as e
from economy.events import InstrumentClass
from economy.instruments import Instrument
from runs.export_events import COLUMNS, EventTable
from runs.formats import write_table
from schemas.catalogue import EVENTS

LISTED = {
    3: Instrument(3, 'say "hi", then', InstrumentClass.GOOD, price_scale=2, quantity_scale=0),
    9: Instrument(9, "B", InstrumentClass.EQUITY, price_scale=0, quantity_scale=8),
}


@pytest.mark.parametrize("name", [name for name, event in EVENTS.items() if event.is_row])
def test_cells_are_the_fields(name: str) -> None:
    event = EVENTS[name]
    rng = np.random.default_rng(len(name))
    rows = rng.integers(-(2**62), 2**62, (50, len(event.fields)))
    for at, field in enumerate(event.fields):
        if field.symbols:
            rows[:, at] = rng.integers(0, len(field.symbols), 50)
        if field.name == "instrument":
            rows[:, at] = rng.choice([3, 9, 77], 50)  # 77 is not listed
    table = EventTable(event, LISTED)
    got = table.of_rows(rows).to_pylist()
    of_market = any(field.name == "instrument" for field in event.fields)
    for row, cells in zip(rows.tolist(), got, strict=True):
        record = {field.name: value for field, value in zip(event.fields, row, strict=True)}
        listed = LISTED.get(record.get("instrument", 0))
        for field in table.fields:
            value, cell = record[field.name], cells[field.name]
            if field.symbols:
                assert cell == field.symbols[value]
            elif field.name == "instrument" and of_market:
                assert cell == (listed.symbol if listed else "77")
            elif field.unit == "1e-8 of the currency":
                assert Decimal(cell) == Decimal(value).scaleb(-8)
            elif of_market and "_scale)" in field.unit:
                scale = getattr(listed, field.unit[field.unit.index("-") + 1 : -1]) if listed else 0
                assert Decimal(cell) == Decimal(value).scaleb(-scale)
                assert len(cell.partition(".")[2]) == scale
            else:
                assert cell == value
    wanted = [field.name for field in event.fields][len(event.fields) > 1 :]  # without the run, where there is more
    assert list(got[0]) == list(COLUMNS.get(name, wanted))


def test_every_format_holds_the_same_also_with_names_that_need_quotes(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    table = EventTable(EVENTS[e.TradeExecuted.name], LISTED)
    rows = np.abs(np.random.default_rng(1).integers(0, 2**60, (300, e.TradeExecuted.width)))
    rows[:, e.TradeExecuted.INSTRUMENT] = [3, 9, 9] * 100
    for column in (e.TradeExecuted.TAKER_SIDE, e.TradeExecuted.USE, e.TradeExecuted.INSTRUMENT_CLASS):
        rows[:, column] = 1
    blocks = [table.of_rows(rows[:1]), table.of_rows(rows[1:2]), table.of_rows(rows[2:])]
    expected = [record for block in blocks for record in block.to_pylist()]
    for kind in ("csv", "parquet", "avro"):
        assert write_table(folder / f"t.{kind}", kind, "TradeExecuted", table.schema, blocks) == 300
    texts = {name: str for name in ("instrument", "price", "quantity", "taker_side")}
    assert pd.read_csv(folder / "t.csv", dtype=texts).to_dict("records") == expected  # type: ignore[arg-type]
    assert pq.read_table(folder / "t.parquet").to_pylist() == expected
    with open(folder / "t.avro", "rb") as file:
        reader = fastavro.reader(file)
        assert list(reader) == expected
        assert reader.writer_schema["fields"][0]["doc"]  # type: ignore[index,call-overload]
    assert write_table(folder / "none.csv", "csv", "TradeExecuted", table.schema, []) == 0
    assert (folder / "none.csv").read_text() == ",".join(COLUMNS["TradeExecuted"]) + "\n"
