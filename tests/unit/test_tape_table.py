"""A tape of one's own: read exactly from CSV and Parquet, matched as the order book facade does, wrong cells named."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from economy.errors import InputError
from economy.markets.market import Market
from economy.records import events as e
from economy.records.canonical import merge, sort_traded
from economy.records.events import Events
from infra.cli.ingest import scales_of
from runs.export_events import EventTable
from runs.tapes import columns
from runs.tapes.columns import read_columns
from runs.tapes.flow import Batch
from runs.tapes.table import COLUMNS, Scales, TableTape
from schemas.catalogue import EVENTS
from tests.tapes import SYMBOLS, Row, facade_trades, random_rows, write_csv

SCALES = Scales({s: p for s, (p, _) in SYMBOLS.items()}, {s: q for s, (_, q) in SYMBOLS.items()})


def matched(tape: TableTape) -> Events:
    flow = tape.flow()
    market = Market(0, 0, 1, flow.instruments)
    return merge([market.match_free(batch.orders, batch.cancels, batch.arrival) for batch in flow.batches])


def equal(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("orders", "cancels", "arrival"))


@pytest.mark.parametrize("names", [True, False])
def test_the_trades_are_those_of_the_order_book_facade(
    names: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "BLOCK", 2000)  # many batches
    rows = random_rows(1, 3000, names)
    tape = TableTape(write_csv(tmp_path / "tape.csv", rows), SCALES)
    events = matched(tape)
    t = e.TradeExecuted
    flow = tape.flow()
    assert (tape.orders, tape.cancels) == (
        sum(r["action"] == "submit" for r in rows),
        sum(r["action"] == "cancel" for r in rows),
    )
    assert [i.symbol for i in flow.instruments] == sorted(SYMBOLS)

    def agent(number: int) -> str:
        return flow.agents[number] if names else str(number)

    def order(number: int) -> str:
        return tape.order_names[number] if names else str(number)

    got = [
        {
            "instrument": flow.instruments[row[t.INSTRUMENT]].symbol, "seq": row[t.SEQ], "tick": row[t.TICK],
            "price": Decimal(row[t.PRICE]).scaleb(-flow.instruments[row[t.INSTRUMENT]].price_scale),
            "quantity": Decimal(row[t.QUANTITY]).scaleb(-flow.instruments[row[t.INSTRUMENT]].quantity_scale),
            "maker_order": order(row[t.MAKER_ORDER]), "taker_order": order(row[t.TAKER_ORDER]),
            "maker_agent": agent(row[t.MAKER_AGENT]), "taker_agent": agent(row[t.TAKER_AGENT]),
            "taker_side": ("buy", "sell")[row[t.TAKER_SIDE]],
        }
        for row in sort_traded(events[t.name]).tolist()
    ]  # fmt: skip
    expected, rejected = facade_trades(rows)
    assert len(expected) > 500
    assert got == expected
    assert len(events[e.OrderRejected.name]) == rejected > 50


def test_the_example_of_the_docs_gives_what_they_show() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "flow.md").read_text()
    assert (docs / "flow.csv").read_text() in page
    tape = TableTape(docs / "flow.csv", Scales({"BTCUSD": 2}))
    events = matched(tape)
    assert (tape.orders, tape.cancels, e.OrderRejected.name in events) == (4, 1, False)
    table = EventTable(EVENTS[e.TradeExecuted.name], {i.instrument: i for i in tape.flow().instruments})
    block = table.of_rows(sort_traded(events[e.TradeExecuted.name]))
    shown = [block.schema.names, *(row.values() for row in block.to_pylist())]
    assert "\n".join(",".join(map(str, row)) for row in shown) in page


def test_every_kind_of_file_gives_the_same_records(tmp_path: Path) -> None:
    rows = random_rows(2, 500, names=False)
    plain = write_csv(tmp_path / "tape.csv", rows)
    zipped = tmp_path / "tape.csv.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    strange = tmp_path / "windows.txt"
    strange.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())  # a byte order mark, as spreadsheets write
    frame = pd.DataFrame(rows)[[*reversed(COLUMNS)]].assign(note="ignored")
    texts = tmp_path / "texts.parquet"
    frame.to_parquet(texts, row_group_size=77)
    typed = tmp_path / "typed.parquet"
    decimal = pa.decimal128(20, 8)
    pq.write_table(
        pa.table(
            {
                **{name: pa.array(frame[name].astype("int64")) for name in ("tick", "agent", "order")},
                **{n: pa.array(frame[n]).dictionary_encode() for n in ("instrument", "action", "side", "type", "tif")},
                "post_only": pa.array([{"true": True, "false": False, "": None}[v] for v in frame.post_only]),
                "price": pa.array([Decimal(v) if v else None for v in frame.price], decimal),
                "quantity": pa.array([float(v) if v else None for v in frame.quantity]),
            }
        ),
        typed,
    )
    (expected,) = TableTape(plain, SCALES).flow().batches
    for path in (zipped, strange, texts, typed):
        (batch,) = TableTape(path, SCALES).flow().batches
        assert equal(batch, expected), path


@pytest.mark.parametrize("stored", [True, False], ids=["dictionary", "text"])
def test_a_text_that_stands_for_all_rows_is_not_written_out(stored: bool, tmp_path: Path) -> None:
    """A file of two kilobytes, whose column would be 13 GB."""
    path = tmp_path / "bomb.parquet"
    cells: Any = pa.DictionaryArray.from_arrays(pa.array([0] * (1 << 16), pa.int32()), pa.array(["x" * 200_000]))
    pq.write_table(pa.table({"at": cells}), path, compression="zstd", store_schema=stored)
    assert path.stat().st_size < 3_000
    with pytest.raises(InputError, match="a cell holds 200,000 bytes"):
        list(read_columns(path, ["at"]))


def test_a_column_that_is_no_text_and_no_number_is_named(tmp_path: Path) -> None:
    for cells in (pa.array([b"1234"] * 9, pa.binary(4)), pa.array([[1]] * 9), pa.array([{"a": 1}] * 9)):
        pq.write_table(pa.table({"at": cells}), tmp_path / "tape.parquet")
        with pytest.raises(InputError, match="column = 'at' is not valid: it is of the type"):
            list(read_columns(tmp_path / "tape.parquet", ["at"]))


def test_a_decimal_of_parquet_is_read_in_full(tmp_path: Path) -> None:
    path = tmp_path / "tape.parquet"
    row = dict(zip(COLUMNS, ("1", "1", "1", "X", "submit", "buy", "limit", "gtc", "false", "", "1"), strict=True))
    table = pa.table({name: pa.array([value]) for name, value in row.items()})
    price = pa.array([Decimal("0.00000001")], pa.decimal128(18, 8))  # Arrow's text of it is 1E-8
    pq.write_table(table.set_column(COLUMNS.index("price"), "price", price), path)
    (batch,) = TableTape(path, Scales(every_price=8, every_quantity=0)).flow().batches
    assert batch.orders[0, e.OrderSubmitted.PRICE] == 1


def test_ids_are_integers_or_names_by_column(tmp_path: Path) -> None:
    rows = random_rows(3, 60, names=False)
    rows[50] |= {"order": "007"}  # not an integer as one writes it: must not meet order 7
    for row in rows:
        row["instrument"] = {"BTCUSD": "12", "ETHUSD": "3", "DOGE": "40"}[row["instrument"]]
    scales = Scales({"3": 4, "12": 2}, {"3": 0, "12": 4}, 0, 8)
    tape = TableTape(write_csv(tmp_path / "t.csv", rows), scales)
    flow = tape.flow()
    (batch,) = flow.batches
    assert flow.agents == ()
    assert [(i.instrument, i.symbol) for i in flow.instruments] == [(3, "3"), (12, "12"), (40, "40")]
    assert "007" in tape.order_names
    assert tape.order_names[0] == rows[0]["order"]
    numbers = np.concatenate((batch.orders[:, e.OrderSubmitted.ORDER], batch.cancels[:, e.OrderCancelRequested.ORDER]))
    assert set(numbers.tolist()) == set(range(len(tape.order_names)))


@pytest.mark.parametrize("block", [2000, 1 << 22])
def test_integer_ids_that_do_not_rise_are_numbered(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The market wants ids that rise for each agent and instrument; a tape need not have them."""
    monkeypatch.setattr(columns, "BLOCK", block)
    rows = random_rows(8, 1500, names=False)
    falling = [row | {"order": str(5000 - int(row["order"]))} for row in rows]
    tape, plain = (
        TableTape(write_csv(tmp_path / name, given), SCALES) for name, given in (("a.csv", falling), ("b.csv", rows))
    )
    t = e.TradeExecuted
    ours, theirs = (sort_traded(matched(each)[t.name]) for each in (tape, plain))
    assert tape.order_names[:2] == ("4000", "3999")
    assert plain.order_names == ()
    ids = [t.MAKER_ORDER, t.TAKER_ORDER]
    assert [5000 - int(tape.order_names[order]) for order in ours[:, ids].ravel()] == theirs[:, ids].ravel().tolist()
    assert np.array_equal(np.delete(ours, ids, 1), np.delete(theirs, ids, 1))


def test_an_id_that_is_used_again_is_for_the_market_to_reject(tmp_path: Path) -> None:
    rows = [row for row in random_rows(9, 60, names=False) if row["action"] == "submit" and row["type"] == "limit"][:9]
    for row in rows:
        row |= {"agent": "1", "instrument": "BTCUSD", "price": "1", "quantity": "1", "tif": "gtc", "side": "buy"}
    rows[4]["order"] = rows[3]["order"]
    rows[8]["order"] = rows[0]["order"]
    for given, count in ((rows[:8], 1), (rows, 2)):
        tape = TableTape(write_csv(tmp_path / "tape.csv", given))
        events = matched(tape)
        assert len(events[e.OrderRejected.name]) == count
        assert bool(tape.order_names) == (count == 2)


def _relabelled(rows: list[Row], seed: int, texts: bool, by: tuple[str, ...]) -> list[Row]:
    """The same flow with ids that are unique among the orders of an agent, or of an agent on an instrument, alone."""
    rng = np.random.default_rng(seed)
    given: dict[tuple[str, ...], dict[str, str]] = {}
    labels: dict[tuple[str, ...], list[str]] = {}  # the same for everybody, but each uses them in an order of its own
    for row in rows:
        who = tuple(row[column] for column in by)
        mine, own = given.setdefault(who, {}), labels.setdefault(who, [str(n) for n in rng.permutation(len(rows))])
        mine.setdefault(row["order"], own[len(mine)])
    return [
        row | {"order": ("id " if texts else "") + given[tuple(row[column] for column in by)][row["order"]]}
        for row in rows
    ]


@pytest.mark.parametrize("block", [2000, 1 << 22])
@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("by", [("agent",), ("agent", "instrument")])
@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("parquet", [False, True])
def test_ids_unique_for_each_agent_trade_as_ids_unique_in_the_file(
    block: int, texts: bool, by: tuple[str, ...], names: bool, parquet: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Cancels are told apart by agent as well; so are those of orders that only another agent has."""
    monkeypatch.setattr(columns, "BLOCK", block)
    monkeypatch.setattr(columns, "ROWS", block // 50)
    unique = random_rows(21, 800, names)
    ours = _relabelled(unique, 5, texts, by)
    path = write_csv(tmp_path / "ours.csv", ours)
    if parquet:
        path = tmp_path / "ours.parquet"
        pd.DataFrame(ours).to_parquet(path)
    tape, plain = TableTape(path, SCALES), TableTape(write_csv(tmp_path / "plain.csv", unique), SCALES)
    mine, theirs = matched(tape), matched(plain)
    t, r = e.TradeExecuted, e.OrderRejected
    assert len(theirs[t.name]) > 100
    ids = [t.MAKER_ORDER, t.TAKER_ORDER]
    assert np.array_equal(np.delete(mine[t.name], ids, 1), np.delete(theirs[t.name], ids, 1))
    assert np.array_equal(np.delete(mine[r.name], r.ORDER, 1), np.delete(theirs[r.name], r.ORDER, 1))
    sent = {i: row["order"] for i, row in enumerate(ours, 1)}  # n of an order is its row
    flow = tape.flow()
    for batch in flow.batches:
        for n, order in batch.orders[:, [e.OrderSubmitted.N, e.OrderSubmitted.ORDER]].tolist():
            assert tape.order_names[order] == sent[n]


def test_the_cancel_of_an_order_that_comes_later_costs_it_nothing(tmp_path: Path) -> None:
    plain = "0 alice {} BTCUSD submit buy limit gtc false 1 1"
    rows = [dict(zip(COLUMNS, plain.format(order).split(" "), strict=True)) for order in ("x", "y", "z")]
    early = rows[2] | {"action": "cancel"}
    tape = TableTape(write_csv(tmp_path / "tape.csv", [early, *rows, early]))
    events = matched(tape)
    r, c = e.OrderRejected, e.OrderClosed
    assert events[r.name][:, [r.N, r.REASON]].tolist() == [[1, e.RejectReason.UNKNOWN_ORDER]]
    assert [tape.order_names[order] for order in events[c.name][:, c.ORDER]] == ["z"]


def _cell(row: int, **cells: str) -> object:
    def change(rows: list[Row]) -> list[Row]:
        rows[row - 1] |= cells
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_cell(7, tick="1.5"), ("row 7 tick = '1.5'", "more decimals")),
        (_cell(7, tick="-1"), ("row 7 tick = '-1'",)),
        (_cell(7, tick="0"), ("row 7 tick = '0'", "earlier")),
        (_cell(7, tick=""), ("row 7 tick = ''", "missing")),
        (_cell(7, agent=""), ("row 7 agent = ''", "missing")),
        (_cell(7, order=""), ("row 7 order = ''", "missing")),
        (_cell(7, instrument=""), ("row 7 instrument = ''", "missing")),
        (_cell(7, action="amend"), ("row 7 action = 'amend'", "submit, cancel")),
        (_cell(7, side="bid"), ("row 7 side = 'bid'", "buy, sell")),
        (_cell(7, type="stop"), ("row 7 type = 'stop'", "limit, market")),
        (_cell(7, tif="day"), ("row 7 tif = 'day'", "gtc, ioc, fok")),
        (_cell(7, post_only="1"), ("row 7 post_only = '1'", "false, true")),
        (_cell(7, type="limit", price=""), ("row 7 price = ''", "missing")),
        (_cell(7, price="ten"), ("row 7 price = 'ten'", "not a decimal")),
        (_cell(7, price="0.123456789"), ("row 7 price = '0.123456789'", "scale")),
        (_cell(7, quantity="0.123456789"), ("row 7 quantity = '0.123456789'", "scale")),
        (_cell(7, quantity="99999999999999999999"), ("row 7 quantity", "64 bits")),
        (_cell(7, quantity="", price="x"), ("row 7 price = 'x'",)),
        (lambda rows: [], ("no rows",)),
    ],
)
def test_a_wrong_cell_is_named(change: object, words: tuple[str, ...], tmp_path: Path) -> None:
    rows = [row for row in random_rows(4, 200) if row["action"] == "submit"]
    assert int(rows[5]["tick"]) > 0
    path = write_csv(tmp_path / "tape.csv", change(rows))  # type: ignore[operator]
    with pytest.raises(InputError) as raised:
        TableTape(path, SCALES)
    for word in ("tape", *words):
        assert word in str(raised.value)


def test_the_first_wrong_row_of_a_long_tape_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK", 2000)
    rows = random_rows(5, 2000)
    rows[1500] |= {"tick": rows[1400]["tick"]}
    rows[1700] |= {"action": "no"}
    with pytest.raises(InputError, match=f"row 1501 tick = '{rows[1400]['tick']}'"):
        TableTape(write_csv(tmp_path / "tape.csv", rows), SCALES)


def test_a_wrong_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "tape.csv"
    header = ",".join(COLUMNS) + "\n"
    for text, word in (
        (header.replace(",price", ""), "price"),
        ("price," + header, "twice"),
        ("", "CSV"),
        (f"{header}1,2", "columns"),
        (f"{header}\xff{',' * 10}\n", "UTF-?8"),
    ):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match=word):
            TableTape(path)
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match="Parquet"):
        TableTape(path)


def test_scales_are_checked_before_the_file_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="BTCUSD = "):
        Scales({"BTCUSD": 5})
    with pytest.raises(InputError, match="every instrument"):
        Scales(every_price=9, every_quantity=0)
    with pytest.raises(InputError, match=r"--price-scale = 'ABC'.*DOGE"):
        TableTape(
            write_csv(tmp_path / "tape.csv", [r for r in random_rows(1, 50) if r["instrument"] == "DOGE"]),
            Scales({"ABC": 1}, {"ABC": 1}, 0, 8),
        )
    assert scales_of(["3", "A=B=2"], ["1"]) == Scales({"A=B": 2}, {}, 3, 1)
    for wrong in ("x", "A=", "-1", "=2"):
        with pytest.raises(InputError, match="--quantity-scale"):
            scales_of([], [wrong])


def test_a_file_that_changes_while_it_is_sent_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "tape.csv", random_rows(6, 50))
    for rows in (random_rows(6, 49), [r | {"instrument": "NEW"} for r in random_rows(6, 50)]):
        tape = TableTape(write_csv(path, random_rows(6, 50)), SCALES)
        write_csv(path, rows)
        with pytest.raises(InputError, match="changed"):
            list(tape.flow().batches)
