"""Every decimal of GraphQL against Python's, computed from the rows that were put in; amounts that are asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from decimal import Context, Decimal
from typing import Any

import pytest
from graphql import GraphQLObjectType, GraphQLScalarType, get_named_type

from economy import measures
from queries import schema
from queries.server import ApiConfig, create_app
from tests.serving import Client, serving
from tests.synthetic import UNIT, Row, synthetic_run
from tests.tables import LocalTables, local_tables

RUN, WINDOWS = 7, 2
_WIDE = Context(prec=60)
# Of prices and of quantities, by instrument; 0 and 1 are goods, 2 is a service, 3 the share of agent 5.
PRICES, LOTS = (2, 0, 8, 4), (5, 0, 0, 2)
SHARE, ISSUER = 3, 5
MONEY, RATIO = 8, 9
_INT64 = 2**63 - 1


def _instrument(node: Row) -> int:
    return int(node["instrumentId"])


def _price(node: Row) -> int:
    return PRICES[_instrument(node)]


def _lots(node: Row) -> int:
    return LOTS[_instrument(node)]


def _stock(node: Row) -> int:
    if node["account"] in ("cash", "bonds"):
        return MONEY
    return LOTS[SHARE] if node["account"] == "shares" else LOTS[int(node["item"])]


def _figure(name: str, item: str) -> int:
    unit = measures.MEASURE[name].unit
    fixed = {"1e-8 of the currency": MONEY, "1e-9": RATIO, "1e-4 of the currency": 4, "1": 0}
    return LOTS[int(item)] if unit == "lots" else fixed[unit]


# Scales as docs/graphql.md states them, written out: type -> field -> decimals of a node.
SCALES: dict[str, dict[str, Callable[[Row], int]]] = {
    "Trade": {"price": _price, "quantity": _lots, "notional": lambda _: MONEY, "tax": lambda _: MONEY},
    "Order": {"price": _price, "quantity": _lots, "cashCap": lambda _: MONEY, "taxRate": lambda _: 4},
    "Instrument": {
        "tickSize": lambda n: PRICES[int(n["instrument"])], "lotSize": lambda n: LOTS[int(n["instrument"])],
        "referencePrice": lambda n: PRICES[int(n["instrument"])],
    },
    "Balance": {"quantity": _stock},
    "TradingStatus": {"price": _price, "quantity": _lots, "low": _price, "high": _price},
    "Series": {"values": lambda n: _figure(n["measure"]["name"], n["item"])},
    "SeriesPair": dict.fromkeys(("a", "b", "difference"), lambda n: _figure(n["measure"]["name"], n["item"])),
    "Mover": dict.fromkeys(("a", "b", "difference"), lambda _: MONEY),
    "BookLevel": {"price": lambda _: PRICES[0], "quantity": lambda _: LOTS[0]},
    "Liquidity": {
        "tradedValue": lambda _: MONEY, "quotedSpread": lambda _: RATIO, "illiquidity": lambda _: RATIO,
        "priceImpact": lambda n: RATIO + _price(n) - _lots(n),
        **dict.fromkeys(("tradedQuantity", "bestBidDepth", "bestAskDepth", "bidDepth", "askDepth"), _lots),
    },
    "PriceStability": {
        **dict.fromkeys(("openingPrice", "closingPrice"), _price),
        **dict.fromkeys(("inflation", "realisedVolatility", "maxDrawdown"), lambda _: RATIO),
    },
    "AgentPerformance": {
        "growth": lambda _: RATIO, **dict.fromkeys(("netWorth", "change", "bought", "sold"), lambda _: MONEY)
    },
    "RolePerformance": dict.fromkeys(("netWorth", "medianNetWorth", "change", "bought", "sold"), lambda _: MONEY),
    "Disagreement": dict.fromkeys(("stream", "batch"), lambda n: _figure(n["indicator"], n["item"])),
}  # fmt: skip
# Figure stands in the window's fields, whose measures it does not name.
FIGURES = {"giniIncome": RATIO, "unemployment": RATIO, "consumerPriceIndex": RATIO, "governmentDebt": MONEY}


def _run(run: int) -> dict[str, list[Row]]:
    """The synthetic run with amounts of every size, some beyond what a float holds, and other decimals."""
    rng = random.Random(run)
    made = synthetic_run(run, WINDOWS)

    def any_int64() -> int:
        return rng.choice((0, 1, -1, _INT64, -_INT64 - 1, rng.randint(-_INT64, _INT64), rng.randrange(10**6)))

    for listing in made["instrument_listed"]:
        listing |= {"price_scale": PRICES[listing["instrument"]], "quantity_scale": LOTS[listing["instrument"]]}
        listing |= {"tick_size": abs(any_int64()) % _INT64, "reference_price": rng.randrange(_INT64)}
    for row in (*made["trade_executed"], *made["order_submitted"], *made["trading_halted"], *made["trading_resumed"],
                *made["price_band_changed"]):  # fmt: skip
        row |= {name: any_int64() for name in ("price", "quantity", "notional", "tax", "cash_cap", "low", "high")
                if name in row}  # fmt: skip
    for row in made["stream_indicators"]:
        row["value"] = rng.choice((0, -1, 10**37 + 1, -(10**37), rng.randint(-(10**30), 10**30)))
    for row in made["book_updated"]:
        row["quantity"] = row["quantity"] and rng.randrange(1, _INT64)
    accounts = (("cash", 0), ("goods", 0), ("capital", 1), ("shares", ISSUER), ("bonds", 0))
    first = made["balance_recorded"]
    made["balance_recorded"] = [
        {**row, "account": account, "item": item, "quantity": any_int64()}
        for row in first
        for account, item in accounts
    ]
    lineage = {"run": run, "job_version": 3, "start_offsets": "{}", "end_offsets": "{}", "computed_at": "2026-01-02"}

    def wide() -> int:
        return rng.randint(-(10**30), 10**30)

    def result(job: str, names: str, **more: Any) -> Row:
        return {**lineage, "job": job, **{name: wide() for name in names.split()}, **more}

    places = [(w, i) for w in range(WINDOWS) for i in range(4)]
    lots = "traded_quantity best_bid_depth best_ask_depth bid_depth ask_depth"
    made["liquidity"] = [
        result("liquidity", f"{lots} traded_value illiquidity price_impact", window=w, instrument=i, trades=3,
            quoted_epochs=1, quoted_spread=None if i == 0 else wide())
        for w, i in places
    ]  # fmt: skip
    made["price_stability"] = [
        result("price-stability", "opening_price closing_price inflation realised_volatility max_drawdown", window=w,
            instrument=i) | {"opening_price": any_int64(), "closing_price": any_int64()}
        for w, i in places
    ]  # fmt: skip
    made["agent_performance"] = [
        result("agent-performance", "net_worth change bought sold", window=w, agent=i, role="household", trades=2,
            growth=None if i == 0 else wide())
        for w, i in places
    ]  # fmt: skip
    made["reconciliation"] = [
        result("reconcile", "stream", window=0, indicator=name, item=item, batch=None if item == 1 else wide(), equal=0)
        for name, item in (("gdp_real", 0), ("traded_quantity", 0), ("traded_quantity", 1), ("closing_price", 2))
    ]  # fmt: skip
    return made


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    with local_tables(tmp_path_factory.mktemp("decimals"), _run(RUN), _run(8)) as found:
        yield found


@pytest.fixture(scope="module")
def client(tables: LocalTables) -> Iterator[Client]:
    with serving(create_app(ApiConfig(), tables)) as found:
        yield found


def _decimals() -> dict[str, list[str]]:
    """Type -> its fields that are decimals."""
    types = schema.build_schema()._schema.type_map.values()
    return {
        kind.name: names for kind in types if isinstance(kind, GraphQLObjectType)
        if (names := [n for n, f in kind.fields.items() if get_named_type(f.type).name == "Decimal"])
    }  # fmt: skip


def _object(name: str) -> GraphQLObjectType:
    kind = schema.build_schema()._schema.type_map[name]
    assert isinstance(kind, GraphQLObjectType)
    return kind


def test_every_decimal_has_its_integer_beside_it_and_a_unit() -> None:
    for kind, names in _decimals().items():
        for name in names:
            fields = _object(kind).fields
            assert str(fields[f"{name}Raw"].type) == str(fields[name].type).replace("Decimal", "BigInt")
            for field in (name, f"{name}Raw"):
                assert "unit: " in (fields[field].description or ""), f"{kind}.{field}"
    assert _decimals().keys() - {"Figure"} == SCALES.keys()
    assert {kind: set(names) for kind, names in _decimals().items() if kind != "Figure"} == {
        kind: set(names) for kind, names in SCALES.items()
    }
    decimal = schema.build_schema()._schema.type_map["Decimal"]
    assert isinstance(decimal, GraphQLScalarType)
    assert decimal.specified_by_url


WAYS = {  # type -> where its records are
    "Trade": "run(id: 7) { trades(first: 200) { nodes { instrumentId %s } } }",
    "Order": "run(id: 7) { orders(first: 200) { nodes { instrumentId %s } } "
    "decisions(first: 200) { nodes { orders { instrumentId %s } } } "
    "trades(first: 99) { nodes { takerOrder { instrumentId %s } } } }",
    "Instrument": "run(id: 7) { instruments { instrument %s } "
    "trades(first: 99) { nodes { instrument { instrument %s } } } }",
    "Balance": "run(id: 7) { balances(window: 1, first: 200) { nodes { account item %s } } "
    "agents(first: 99) { nodes { balances(window: 0) { account item %s } } } }",
    "TradingStatus": "run(id: 7) { tradingStatuses { nodes { instrumentId %s } } }",
    "Series": 'run(id: 7) { indicators(names: ["gdp_real", "gini_income", "traded_quantity", "trades"])'
    " { measure { name } item %s } }",
    "SeriesPair": 'compare(a: 7, b: 8) { indicators(names: ["gdp_real", "unemployment", "traded_quantity", "trades"])'
    " { measure { name } item %s } }",
    "Mover": "compare(a: 7, b: 8) { movers(window: 0, first: 50) { agentId %s } }",
    "BookLevel": "run(id: 7) { book(instrument: 0) { bids { %s } asks { %s } } }",
    "Liquidity": "run(id: 7) { liquidity { nodes { instrumentId %s } } }",
    "PriceStability": "run(id: 7) { priceStability { nodes { instrumentId %s } } }",
    "AgentPerformance": "run(id: 7) { agentPerformance { nodes { agentId %s } } }",
    "RolePerformance": "run(id: 7) { rolePerformance(window: 1) { role %s } }",
    "Disagreement": "run(id: 7) { reconciliation { disagreements { indicator item %s } } }",
}


def _nodes(found: Any, name: str) -> Iterator[Row]:
    """Everything in an answer that has a field."""
    if isinstance(found, dict):
        if name in found:
            yield found
        for inner in found.values():
            yield from _nodes(inner, name)
    elif isinstance(found, list):
        for inner in found:
            yield from _nodes(inner, name)


def _canonical(text: str) -> bool:
    whole, point, rest = text.removeprefix("-").partition(".")
    sound = whole.isdigit() and (whole == "0" or whole[0] != "0") and bool(point) == bool(rest)
    return sound and not rest.endswith("0") and text != "-0"


def _check(decimal: Any, raw: Any, scale: int) -> int:
    """Compare a decimal, or a list, with its integer; returns how many there were."""
    if isinstance(decimal, list):
        return sum(_check(one, other, scale) for one, other in zip(decimal, raw, strict=True))
    if raw is None:
        assert decimal is None
        return 0
    assert Decimal(decimal) == Decimal(raw).scaleb(-scale, _WIDE)
    assert _canonical(decimal), decimal
    return 1


@pytest.mark.parametrize("kind", SCALES)
def test_decimals_are_python_s_of_the_same_integers(client: Client, kind: str) -> None:
    names = SCALES[kind]
    both = " ".join(f"{name} {name}Raw" for name in names)
    way = WAYS[kind]
    together = client.ask(f"{{ {way.replace('%s', both)} }}")
    for name, scale in names.items():
        checked = [_check(node[name], node[f"{name}Raw"], scale(node)) for node in _nodes(together, name)]
        assert sum(checked) > 0
        alone = client.ask(f"{{ {way.replace('%s', name)} }}")  # only what is asked for is read
        assert [node[name] for node in _nodes(alone, name)] == [node[name] for node in _nodes(together, name)]


COLUMNS = {  # records -> table, its order, fields and columns
    "Trade": ("trade_executed", ("instrument", "seq"), {"price", "quantity", "notional", "tax"}),
    "Order": ("order_submitted", ("agent", "n"), {"price", "quantity", "cash_cap", "tax_rate"}),
    "Balance": ("balance_recorded", ("agent", "account", "item"), {"quantity"}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_integers_are_those_of_the_rows(client: Client, kind: str) -> None:
    table, order, columns = COLUMNS[kind]
    rows = [row for row in _run(RUN)[table] if row.get("window", 1) == 1]
    number = {"cash": 0, "goods": 1, "capital": 2, "shares": 3, "bonds": 4}
    rows.sort(key=lambda row: [number.get(row[key], row[key]) for key in order])
    way = WAYS[kind].partition("%s")[0].replace("first: 200", "first: 500")
    names = {column: "".join([column.split("_")[0], *map(str.title, column.split("_")[1:])]) for column in columns}
    found = client.ask(f"{{ {way} {' '.join(f'{name}Raw' for name in names.values())} }} }} }} }}")
    for column, name in names.items():
        assert [node[f"{name}Raw"] for node in _nodes(found, f"{name}Raw")] == [str(row[column]) for row in rows]


def test_figures_of_windows_by_their_measures(client: Client) -> None:
    figure = "stream streamRaw batch batchRaw value"
    approach = f"total {{ {figure} }} components {{ name amount {{ {figure} }} }}"
    windows = client.ask(
        f"{{ run(id: 7) {{ windows {{ {' '.join(f'{name} {{ {figure} }}' for name in FIGURES)} "
        f"gdp {{ real {{ {figure} }} production {{ {approach} }} income {{ {approach} }} }} }} }} }}"
    )["run"]["windows"]
    assert len(windows) == WINDOWS
    known = {(r["window"], r["indicator"]): r["value"] for r in _run(RUN)["stream_indicators"] if r["item"] == 0}
    for number, window in enumerate(windows):
        gdp = [window["gdp"]["real"], window["gdp"]["production"]["total"], window["gdp"]["income"]["total"]]
        parts = {c["name"]: c["amount"] for c in window["gdp"]["income"]["components"]}
        for one, scale in [(window[name], scale) for name, scale in FIGURES.items()] + [(x, MONEY) for x in gdp]:
            assert _check(one["stream"], one["streamRaw"], scale) + _check(one["batch"], one["batchRaw"], scale) == 2
            assert one["value"] == int(one["streamRaw"]) / 10**scale
        assert gdp[0]["streamRaw"] == str(known[number, "gdp_real"])
        assert parts["wages"]["streamRaw"] == str(known[number, "wages"])


def test_trades_of_a_span_of_amounts(client: Client) -> None:
    rows = [row["notional"] for row in _run(RUN)["trade_executed"]]
    query = """query ($low: Decimal, $high: Decimal) { run(id: 7) {
        trades(first: 200, fromNotional: $low, toNotional: $high) { nodes { notional } } } }"""

    def ask(**bounds: Any) -> list[Decimal]:
        return sorted(Decimal(node["notional"]) for node in client.ask(query, **bounds)["run"]["trades"]["nodes"])

    every = ask()
    assert every == sorted(Decimal(value).scaleb(-8) for value in rows)
    for bound in (every[5], every[-1]):  # an answer is a bound as it stands
        assert ask(low=f"{bound:f}") == [value for value in every if value >= bound]
        assert ask(high=f"{bound:f}") == [value for value in every if value <= bound]
    assert ask(low=1, high="1e3") == [value for value in every if 1 <= value <= 1000]
    literal = '{ run(id: 7) { trades(first: 200, fromNotional: "-0.00000001", toNotional: 0) { nodes { notional } } } }'
    found = client.ask(literal)["run"]["trades"]["nodes"]
    assert {node["notional"] for node in found} == {"0", "-0.00000001"}


@pytest.mark.parametrize(
    ("given", "field", "remedy"),
    [
        ('"0.000000001"', "fromNotional", "at most 8 decimals"),
        ('"92233720368.54775808"', "fromNotional", "92233720368.54775807"),
        ('"1e40"', "fromNotional", "92233720368.54775807"),
        ('"12,5"', "decimal", "write it as a text"),
        ('""', "decimal", "write it as a text"),
        ("12.5", "decimal", "write it as a text"),
        ("true", "decimal", "write it as a text"),
    ],
)
def test_amounts_that_are_none_are_refused_with_the_field_and_the_remedy(
    client: Client, given: str, field: str, remedy: str
) -> None:
    query = "{ run(id: 7) { trades(fromNotional: %s) { nodes { notional } } } }"
    (error,) = client.errors(query % given)
    assert remedy in error["message"]
    assert field in error["message"]
    assert given.strip('"') in error["message"].lower()


def test_what_is_not_listed_has_no_decimal_but_an_integer(client: Client, tables: LocalTables) -> None:
    made = synthetic_run(11, 1)
    del made["instrument_listed"][2]
    tables.fill(made)
    asked = "{ run(id: 11) { trades(first: 1, instrument: 2) { nodes { %s } } } }"
    (error,) = client.errors(asked % "price")
    assert (error["extensions"]["field"], "ask again" in error["message"]) == ("instrument", True)
    assert client.ask(asked % "priceRaw notional") == {
        "run": {"trades": {"nodes": [{"priceRaw": "10000", "notional": f"{Decimal(10_000 * 100) / UNIT:f}"}]}}
    }
