"""Tables of events: every kind of event has one, and its cells are the record's fields in decimals and names."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import fastavro
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from agents.village import VillageModel
from economy.indicators import Window, WindowProjection
from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import Account, Events, InstrumentClass, Role, Rows
from economy.scenario import load_scenario
from runs.event_scales import COUNTS
from runs.export_events import COLUMNS, EventTable
from runs.formats import write_table
from runs.local import run_local
from schemas.catalogue import EVENTS

LISTED = {
    3: Instrument(3, 'say "hi", then', InstrumentClass.GOOD, item=9, price_scale=2, quantity_scale=5),
    9: Instrument(9, "B", InstrumentClass.EQUITY, item=3, price_scale=0, quantity_scale=8),
}


def scale_of(unit: str, record: dict[str, int]) -> int | None:
    """Decimals of a count by its unit in the catalogue, written out; None where it is no price, quantity or money."""
    listed = LISTED.get(record.get("instrument", 0))
    product = {i.item: i.quantity_scale for i in LISTED.values() if i.instrument_class == InstrumentClass.GOOD}
    issuer = {i.item: i.quantity_scale for i in LISTED.values() if i.instrument_class == InstrumentClass.EQUITY}
    if unit == "1e-8 of the currency":
        return 8
    if unit.startswith("labour lots"):
        return 3
    if unit == "price steps (10^-price_scale)":
        return listed.price_scale if listed else 0
    if unit == "lots (10^-quantity_scale)" and "instrument" in record:
        return listed.quantity_scale if listed else 0
    if unit == "lots (10^-quantity_scale)":
        return product.get(record["product"], 0)
    if unit == "shares":
        return issuer.get(record["agent"], 0)
    if unit in ("as OpeningBalance", EVENTS["OpeningBalance"].fields[-1].unit):
        return {Account.CASH: 8, Account.BONDS: 8, Account.SHARES: issuer.get(record["item"], 0)}.get(
            Account(record["account"]), product.get(record["item"], 0)
        )
    return None


def test_every_unit_of_the_catalogue_is_a_count_with_decimals_or_known_to_have_none() -> None:
    whole = {
        "", "0.0001", "1e-9", "1e-9 of its unit", "ms since 1970-01-01 UTC", "tick", "tick (1/60 s at 1x)", "ticks", "x"
    }  # fmt: skip
    units = {field.unit for event in EVENTS.values() for field in event.fields}
    assert units == COUNTS & units | whole
    assert units >= COUNTS


@pytest.mark.parametrize("name", [name for name, event in EVENTS.items() if event.is_row])
def test_cells_are_the_fields(name: str) -> None:
    event = EVENTS[name]
    rng = np.random.default_rng(len(name))
    rows = rng.integers(-(2**62), 2**62, (50, len(event.fields)))
    for at, field in enumerate(event.fields):
        if field.symbols:
            rows[:, at] = rng.integers(0, len(field.symbols), 50)
        if field.name in ("instrument", "product", "item") or (field.name == "agent" and name.startswith("Shares")):
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
            elif (scale := scale_of(field.unit, record)) is not None:
                assert Decimal(cell) == Decimal(value).scaleb(-scale)
                assert len(cell.partition(".")[2]) == scale
            else:
                assert cell == value
    wanted = [field.name for field in event.fields][len(event.fields) > 1 :]  # without the run, where there is more
    assert list(got[0]) == list(COLUMNS.get(name, wanted))


def test_every_format_holds_the_same_also_with_names_that_need_quotes(tmp_path: Path) -> None:
    folder = tmp_path
    table = EventTable(EVENTS[e.TradeExecuted.name], LISTED)
    rows = np.abs(np.random.default_rng(1).integers(0, 2**60, (300, e.TradeExecuted.width)))
    rows[:, e.TradeExecuted.INSTRUMENT] = [3, 9, 9] * 100
    for column in (e.TradeExecuted.TAKER_SIDE, e.TradeExecuted.USE, e.TradeExecuted.INSTRUMENT_CLASS):
        rows[:, column] = 1
    blocks = [table.of_rows(rows[:1]), table.of_rows(rows[1:2]), table.of_rows(rows[2:])]
    expected = [record for block in blocks for record in block.to_pylist()]
    for kind in ("csv", "parquet", "avro"):
        assert write_table(folder / f"t.{kind}", kind, "TradeExecuted", table.schema, blocks) == 300
    texts = {name: str for name in ("instrument", "price", "quantity", "taker_side", "use", "tax")}
    assert pd.read_csv(folder / "t.csv", dtype=texts).to_dict("records") == expected  # type: ignore[arg-type]
    assert pq.read_table(folder / "t.parquet").to_pylist() == expected
    with open(folder / "t.avro", "rb") as file:
        reader = fastavro.reader(file)
        assert list(reader) == expected
        assert reader.writer_schema["fields"][0]["doc"]  # type: ignore[index,call-overload]
    assert write_table(folder / "none.csv", "csv", "TradeExecuted", table.schema, []) == 0
    assert (folder / "none.csv").read_text() == ",".join(COLUMNS["TradeExecuted"]) + "\n"


def test_texts_of_records_have_the_decimals_of_what_they_count() -> None:
    listing = {**LISTED[3].record(1), "tick_size": 25, "reference_price": 12345, "lot_size": 3}
    (row,) = next(iter(EventTable(EVENTS["InstrumentListed"], {}).of_records([listing]))).to_pylist()
    assert [row[name] for name in ("tick_size", "reference_price", "lot_size")] == ["0.25", "123.45", "0.00003"]
    assert (row["price_scale"], row["instrument"], row["band_bp"]) == (2, 'say "hi", then', 0)
    table = EventTable(EVENTS["WindowMeasured"], LISTED)
    for indicator, item, value, text in (
        ("gdp_production", 0, 10**37 + 1, f"1{'0' * 29}.00000001"),
        ("wages", 0, -5, "-0.00000005"),
        ("gini_income", 0, 412_345_678, "0.412345678"),
        ("closing_price", 3, 12_345, "1.2345"),
        ("traded_quantity", 3, 7, "0.00007"),
        ("traded_quantity", 77, 7, "7"),
        ("bankruptcies", 0, 3, "3"),
        ("of_a_later_version", 0, 3, "3"),
    ):
        record = {"run": 1, "window": 2, "indicator": indicator, "item": item, "value": Decimal(value)}
        (row,) = next(iter(table.of_records([record]))).to_pylist()
        assert row == {"window": 2, "indicator": indicator, "item": item, "value": text}


def test_gdp_can_be_computed_again_from_the_tables_alone(tmp_path: Path) -> None:
    """By production, from what the files hold and at the valuation prices of the round before, as docs/accounts.md has
    it, in decimals; held to the figures that the projection and the jobs publish."""
    model = VillageModel(load_scenario("village", {"years": "1", "population.households": "120"}), 3)
    listed = {i.instrument: i for i in model.instruments()}
    roles = np.array([Role[record["role"].upper()] for _, record in model.opening(1)[1]], np.int64)
    projection = WindowProjection(1, model.scenario, roles, tuple(listed.values()))
    collected: dict[str, list[Rows]] = {}
    windows: list[Window] = []

    def on_epoch(epoch: int, events: Events) -> None:
        for name, rows in events.items():
            collected.setdefault(name, []).append(rows)
        window = projection.feed(epoch, events)
        windows.extend([window] if window else [])

    run_local(model, on_epoch=on_epoch)
    files: dict[str, list[dict[str, str]]] = {}
    for name in ("TradeExecuted", "GoodsProduced", "GoodsConsumed", "PriceFixed", "InstrumentListed"):
        table = EventTable(EVENTS[name], listed)
        if name == "InstrumentListed":
            blocks = list(table.of_records(i.record(1) for i in listed.values()))
        else:
            blocks = [table.of_rows(np.concatenate(collected[name]))]
        write_table(tmp_path / name, "csv", name, table.schema, blocks)
        files[name] = pd.read_csv(tmp_path / name, dtype=str).to_dict("records")  # type: ignore[assignment]

    rounds, quarter = model.scenario.time.round_ticks, model.scenario.time.window_of
    of_product = {i["item"]: i for i in files["InstrumentListed"] if i["instrument_class"] in ("good", "service")}
    kind = {i["instrument"]: i["instrument_class"] for i in files["InstrumentListed"]}
    prices = {(i["instrument"], 0): Decimal(i["reference_price"]) for i in files["InstrumentListed"]}
    prices |= {(p["instrument"], int(p["tick"]) // rounds + 1): Decimal(p["price"]) for p in files["PriceFixed"]}

    def valued(instrument: str, event: dict[str, str]) -> Decimal:
        now = int(event["tick"]) // rounds
        return prices[instrument, max(n for n in range(now + 1) if (instrument, n) in prices)] * Decimal(
            event["quantity"]
        )

    gdp = dict.fromkeys(range(4), Decimal(0))
    for trade in files["TradeExecuted"]:
        window = quarter(int(trade["tick"]))
        if kind[trade["instrument"]] in ("good", "service"):
            added = Decimal(trade["price"]) * Decimal(trade["quantity"])
            added -= valued(trade["instrument"], trade) if kind[trade["instrument"]] == "good" else 0
            gdp[window] += Decimal(trade["tax"]) + (0 if trade["use"] == "intermediate" else added)
    for name, sign in (("GoodsProduced", 1), ("GoodsConsumed", -1)):
        for event in files[name]:
            gdp[quarter(int(event["tick"]))] += sign * valued(of_product[event["product"]]["instrument"], event)
    assert [gdp[w.window] for w in windows] == [Decimal(w.figures["gdp_production", 0]).scaleb(-8) for w in windows]
    assert len(windows) == 4
