"""The way from figures down to records: books against the matching engine, causes and consequences of decisions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from economy.instruments import Instrument
from economy.markets.market import Market
from economy.records import events as e
from economy.records.events import InstrumentClass, Rows, Side, TimeInForce
from queries.books import BUY, SELL, best, book_at
from queries.cache import Fingerprint
from queries.copies import Copies
from queries.loaders import Loaders
from queries.memory import Memory
from queries.server import ApiConfig, create_app
from schemas.clickhouse import TABLES
from tests.serving import Client, serving
from tests.synthetic import synthetic_run
from tests.tables import LocalTables, local_tables

RUN, MATCHED, OPEN, L, EPOCHS, BOOKS = 7, 20, 21, 20, 60, 2


def records(name: str, rows: Rows) -> list[dict[str, Any]]:
    """Event rows as rows of their table."""
    fields = TABLES[name].columns[: rows.shape[1]]
    return [
        {f.name: f.symbols[value] if f.symbols else value for f, value in zip(fields, row, strict=True)}
        | {"kafka_partition": 0, "kafka_offset": i}
        for i, row in enumerate(rows.tolist())
    ]


def matched() -> tuple[list[dict[str, Any]], dict[tuple[int, int], tuple[list[Any], list[Any]]]]:
    """Changes of levels of a run with orders that stay, expire and are cancelled; the books after every epoch."""
    rng = np.random.default_rng(3)
    market = Market(MATCHED, 1, L, [Instrument(i, f"I{i}", InstrumentClass.GOOD, item=i) for i in range(BOOKS)])
    o, c, n = e.OrderSubmitted, e.OrderCancelRequested, 0
    changes, books = [], {}
    for epoch in range(EPOCHS):
        orders = np.zeros((30, o.width), np.int64)
        orders[:, o.RUN] = MATCHED
        orders[:, o.TICK] = epoch * L + rng.integers(0, L, len(orders))
        orders[:, o.AGENT] = rng.integers(1, 6, len(orders))
        orders[:, o.N] = orders[:, o.ORDER] = n + 1 + np.arange(len(orders))
        orders[:, o.INSTRUMENT] = rng.integers(0, BOOKS, len(orders))
        orders[:, o.SIDE] = rng.integers(0, 2, len(orders))
        orders[:, o.TIF] = rng.choice([TimeInForce.GTC, TimeInForce.IOC], len(orders), p=[0.8, 0.2])
        # Sellers ask above most bids, so that books fill.
        orders[:, o.PRICE] = 1_000 + rng.integers(-15, 5, len(orders)) + 10 * (orders[:, o.SIDE] == Side.SELL)
        orders[:, o.QUANTITY] = rng.integers(1, 50, len(orders))
        orders[:, o.EXPIRES] = np.where(rng.random(len(orders)) < 0.5, orders[:, o.TICK] + 3 * L, 0)
        cancels = np.zeros((3, c.width), np.int64)
        cancels[:, [c.RUN, c.TICK]] = MATCHED, (epoch + 1) * L - 1
        cancels[:, c.N] = n + 100_000 + np.arange(3)
        if n:
            cancels[:, c.ORDER] = rng.integers(max(1, n - 60), n + 1, 3)
            cancels[:, [c.AGENT, c.INSTRUMENT]] = np.column_stack((rng.integers(1, 6, 3), rng.integers(0, BOOKS, 3)))
        out = market.match_epoch(epoch, orders, cancels if n else cancels[:0])
        n += len(orders)
        changes += records("BookUpdated", out[e.BookUpdated.name])
        for book in range(BOOKS):
            sides = (rows[:, :2].tolist() for rows in market.depth(book, 1_000))
            books[book, (epoch + 1) * L - 1] = tuple([tuple(level) for level in side] for side in sides)
    return changes, books  # type: ignore[return-value]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    with local_tables(tmp_path_factory.mktemp("records"), synthetic_run(RUN, 2)) as found:
        yield found


@pytest.fixture
def client(tables: LocalTables) -> Iterator[Client]:
    with serving(create_app(ApiConfig(), tables)) as found:
        tables.statements.clear()
        yield found


def test_books_are_those_of_the_matching_engine_at_every_cut(tables: LocalTables, tmp_path: Path) -> None:
    changes, books = matched()
    tables.fill({"book_updated": changes})
    assert max(len(bids) for bids, _ in books.values()) > 8  # levels come and stay
    ticks = sorted({tick for _, tick in books})

    async def check(loaders: Loaders, order: list[int]) -> None:
        for tick in order:
            for book in range(BOOKS):
                found = await book_at(loaders, MATCHED, book, tick, changes=40)
                assert (best(found, BUY, 1_000), best(found, SELL, 1_000)) == books[book, tick], (book, tick)

    final = Fingerprint("stored", "d", "", {"epoch_ticks": L})
    for order in (ticks, ticks[::-1], list(np.random.default_rng(1).permutation(ticks))):
        for prints in ({}, {MATCHED: final}):  # an open run, and one whose checkpoints are remembered
            loaders = Loaders(tables, Memory(1 << 20))
            loaders.runs.update(prints)
            asyncio.run(check(loaders, [int(tick) for tick in order]))
    loaders = Loaders(tables, Memory(1 << 20))
    loaders.runs[MATCHED] = final
    asyncio.run(check(loaders, [ticks[-1]]))
    before = len(tables.statements)
    asyncio.run(check(loaders, [ticks[-1]]))
    assert len(tables.statements) == before  # the checkpoint and the changes behind it are remembered
    assert "seq >=" in tables.statements[-1]
    assert asyncio.run(book_at(loaders, MATCHED, 0, -1)) == {}

    async def copied() -> None:
        copies = Copies(tables, tmp_path, 1 << 20, often=1)
        for memory in (Memory(0), Memory(1 << 20)):
            loaders = Loaders(tables, memory, copies=copies)
            loaders.runs[MATCHED] = final
            await book_at(loaders, MATCHED, 0, 0)
            await copies.settled()
            before = len(tables.statements)
            await check(loaders, ticks)
            assert len(tables.statements) == before
            assert await book_at(loaders, MATCHED, 0, -1) == {}
            assert await book_at(loaders, MATCHED, 99, 5) == {}

    asyncio.run(copied())


def test_book_of_a_depth(client: Client, tables: LocalTables) -> None:
    query = "{ run(id: 7) { book(instrument: 1, tick: 5, depth: 2) { bids { price } asks { price } } } }"
    assert client.ask(query)["run"]["book"] == {
        "bids": [{"price": "1"}, {"price": "0.9999"}], "asks": [{"price": "1.001"}, {"price": "1.0011"}]
    }  # fmt: skip
    assert "ask for 1 to 200" in client.errors(query.replace("depth: 2", "depth: 201"))[0]["message"]


def test_filters_of_lists(client: Client) -> None:
    run = client.ask(
        """{ run(id: 7) {
        span: trades(first: 100, fromTick: 30, toTick: 49) { nodes { tick } }
        mine: trades(first: 100, agent: 6) { nodes { makerAgent takerAgent } }
        shares: trades(first: 100, use: "none") { nodes { instrumentClass } }
        sells: orders(first: 5, side: "sell") { nodes { n } }
        asked: decisions(first: 100, agent: 6, toTick: 10) { nodes { tick } }
        } }"""
    )["run"]
    assert sorted(int(t["tick"]) for t in run["span"]["nodes"]) == [30, 31, 32, 33, 40, 41, 42, 43]
    assert len(run["mine"]["nodes"]) == 4
    assert all("6" in (t["makerAgent"], t["takerAgent"]) for t in run["mine"]["nodes"])
    assert {t["instrumentClass"] for t in run["shares"]["nodes"]} == {"equity"}
    assert run["sells"]["nodes"] == []
    assert [t["tick"] for t in run["asked"]["nodes"]] == ["0", "1", "2", "3"]


ALONE = {  # type -> ways to its records, of which every field is asked for alone
    "Trade": ["trades(first: 9) { nodes { %s } }"],
    "Order": ["orders(first: 9) { nodes { %s } }", "trades(first: 9) { nodes { takerOrder { %s } } }",
              "decisions(first: 9) { nodes { orders { %s } } }"],
    "Decision": ["decisions(first: 9) { nodes { %s } }", "orders(first: 9) { nodes { decision { %s } } }"],
    "Agent": ["agents(first: 9) { nodes { %s } }", 'agents(first: 9, role: "household") { nodes { %s } }'],
    "Balance": ["balances(window: 1, first: 9) { nodes { %s } }",
                "agents(first: 9) { nodes { balances(window: 1) { %s } } }"],
    "Instrument": ["instruments { %s }"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ALONE)
def test_a_field_asked_alone_is_the_same_as_among_all(client: Client, kind: str) -> None:
    deep = "kind ofType { kind ofType { kind ofType { kind } } }"
    fields = client.ask(
        f"query ($kind: String!) {{ __type(name: $kind) {{ fields {{ name args {{ name }} type {{ {deep} }} }} }} }}",
        kind=kind,
    )["__type"]["fields"]
    inner = {f["name"]: "{ __typename }" if "OBJECT" in str(f["type"]) else "" for f in fields if not f["args"]}
    asked = {f"its_{name}": f"its_{name}: {name} {below}" for name, below in inner.items()}
    assert len(asked) >= 3

    def column(found: Any, name: str) -> Any:
        if isinstance(found, dict):
            return found[name] if name in found else [column(v, name) for v in found.values()]
        return [column(v, name) for v in found] if isinstance(found, list) else found

    for way in ALONE[kind]:
        together = client.ask(f"{{ run(id: 7) {{ {way % ' '.join(asked.values())} }} }}")["run"]
        assert len(json.dumps(together)) > 300
        for name, text in asked.items():
            alone = client.ask(f"{{ run(id: 7) {{ {way % text} }} }}")["run"]
            assert column(alone, name) == column(together, name), (way, name)


def test_an_order_is_found_by_the_name_that_a_tape_gave_it(client: Client, tables: LocalTables) -> None:
    query = (
        "{ run(id: 7) { trades(first: 1, instrument: 2) { nodes { takerAgent takerOrder { n order priceRaw } } } } }"
    )
    [trade] = client.ask(query)["run"]["trades"]["nodes"]
    sent = trade["takerOrder"]
    assert sent["order"] != sent["n"]  # its number is that of another record
    [row] = tables.rows(
        "SELECT toString(price) AS price FROM order_submitted WHERE run = 7 AND agent = {agent:Int64} "
        "AND order = {order:Int64}",
        {"agent": trade["takerAgent"], "order": sent["order"]},
    )
    assert sent["priceRaw"] == row["price"]


def test_records_of_any_kind_in_pages(client: Client) -> None:
    query = """query ($a: String) { run(id: 7) { events(kind: TradeExecuted, first: 20, after: $a) {
        nodes { kind tick partition offset record } pageInfo { hasNextPage endCursor } } } }"""
    seen, after, more = [], None, True
    while more:
        page = client.ask(query, a=after)["run"]["events"]
        seen += page["nodes"]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert [(json.loads(r["record"])["instrument"], json.loads(r["record"])["seq"]) for r in seen] == [
        (j, k) for j in range(4) for k in range(12)
    ]
    first = json.loads(seen[0]["record"])
    assert (first["taker_side"], first["price"], seen[0]["kind"], seen[0]["tick"]) == (
        "buy",
        10_000,
        "TradeExecuted",
        "0",
    )
    balances = "{ run(id: 7) { events(kind: BalanceRecorded, first: 2, agent: 4) { nodes { tick record } } } }"
    assert json.loads(client.ask(balances)["run"]["events"]["nodes"][0]["record"])["account"] == "cash"
    wrong = "{ run(id: 7) { events(kind: BalanceRecorded, instrument: 4) { nodes { record } } } }"
    assert "BalanceRecorded has no field instrument" in client.errors(wrong)[0]["message"]
    for kind in TABLES:  # every kind has a page, empty or not
        answer = client.post(f"{{ run(id: 7) {{ events(kind: {kind}, first: 1) {{ nodes {{ record }} }} }} }}").json()
        assert "errors" not in answer or "read the table with SQL" in answer["errors"][0]["message"], answer


def test_a_decision_knows_what_happened_before_its_epoch(client: Client, tables: LocalTables) -> None:
    place = {"run": RUN, "kafka_partition": 0}
    decided = {"agent": 999, "role": "household", "strategy": "rule", "action": "consume", "choice": 1}
    inputs = {"input_1": 0, "input_2": 0, "input_3": 0}
    ticks = (25, 65, 69)  # in the epochs 1 and 3
    paid = [(19, 0), (20, 1), (39, 2), (40, 3), (59, 4), (60, 5), (64, 6)]
    tables.fill(
        {
            "agent_decided": [
                {**place, **decided, **inputs, "tick": t, "n": 10 + t, "kafka_offset": t} for t in ticks
            ],
            "money_transferred": [
                {**place, "tick": t, "agent": 998, "n": 2 * t + payee % 2, "payee": payee, "kind": "wage",
                 "amount": amount, "withheld": 0, "kafka_offset": 500 + t}
                for t, amount in paid
                for payee in (999, 996)
            ],
            "policy_changed": [
                {**place, "tick": 45, "agent": 0, "n": 1, "policy": "vat_rate", "value": 5, "kafka_offset": 1}
            ],
        }
    )  # fmt: skip
    query = """{ run(id: 7) { decisions(agent: 999) { nodes { tick
        causes { kind tick partition offset record } orders { n } } } } }"""
    nodes = client.ask(query)["run"]["decisions"]["nodes"]
    told = {
        node["tick"]: [(c["kind"], int(c["tick"]), json.loads(c["record"]).get("amount")) for c in node["causes"]]
        for node in nodes
    }
    assert told["25"] == [("MoneyTransferred", 19, 0)]  # its first decision: all before the epoch
    known = [("MoneyTransferred", 59, 4), ("PolicyChanged", 45, None)]
    known += [("MoneyTransferred", 40, 3), ("MoneyTransferred", 39, 2), ("MoneyTransferred", 20, 1)]
    assert told["65"] == told["69"] == known
    query = "{ run(id: 7) { decisions(first: 1, agent: 6) { nodes { n orders { n decision { n } } } } } }"
    (one,) = client.ask(query)["run"]["decisions"]["nodes"]
    assert one["orders"] == [{"n": str(int(one["n"]) + 1), "decision": {"n": one["n"]}}]
    many = "{ run(id: 7) { decisions(first: 100) { nodes { causes(first: 50) { kind } } } } }"
    assert "may return" in client.errors(many)[0]["message"]
