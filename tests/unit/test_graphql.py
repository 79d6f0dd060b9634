"""GraphQL over ClickHouse's engine: answers against the rows that were put in, and no query per item."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from queries import graphiql, schema
from queries.live import LiveSettings
from queries.server import ApiConfig, create_app
from tests.processes import PATIENCE
from tests.serving import Client, serving
from tests.synthetic import HOUSEHOLDS, PRODUCTS, TAPE, UNIT, figures, synthetic_run
from tests.tables import LocalTables, local_tables

RUN, OPEN, WINDOWS = 7, 8, 8


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    runs = synthetic_run(RUN, WINDOWS), synthetic_run(OPEN, 3, state="open")
    with local_tables(tmp_path_factory.mktemp("graphql"), *runs) as found:
        yield found


@pytest.fixture
def client(tables: LocalTables, tmp_path: Path) -> Iterator[Client]:
    config = ApiConfig(reports=tmp_path, live=LiveSettings(poll_seconds=0.02))
    with serving(create_app(config, tables)) as found:
        tables.statements.clear()
        yield found


def test_committed_schema_is_the_code_s() -> None:
    assert schema.PRINTED.read_text() == schema.printed(), "run: python -m queries.schema > queries/schema.graphql"


def test_every_field_is_described() -> None:
    built = schema.build_schema()._schema
    for kind in built.type_map.values():
        for name, field in getattr(kind, "fields", {}).items():
            if not kind.name.startswith("__"):
                assert field.description, f"{kind.name}.{name} has no description"


def test_accounts_of_every_window(client: Client, tables: LocalTables) -> None:
    approach = "total { stream batch equal } components { name sign amount { stream } }"
    run = client.ask(
        f"""query ($run: BigInt!) {{ run(id: $run) {{ state digest config {{ seed scenarioJson }} windows {{
        number year quarter giniIncome {{ stream equal value }}
        gdp {{ equal production {{ {approach} }} expenditure {{ {approach} }} income {{ {approach} }} }} }} }} }}""",
        run=str(RUN),
    )["run"]
    known = {(w, name): value for w, name, item, value in figures(WINDOWS) if item == 0}
    assert run["config"]["seed"] == "11"
    assert '"name": "village"' in run["config"]["scenarioJson"]
    assert [w["number"] for w in run["windows"]] == list(range(WINDOWS))
    for window in run["windows"]:
        w = window["number"]
        assert (window["year"], window["quarter"]) == (w // 4 + 1, w % 4 + 1)
        assert window["gdp"]["equal"] is True
        for name in ("production", "expenditure", "income"):
            one = window["gdp"][name]
            assert Decimal(one["total"]["stream"]) == Decimal(known[w, f"gdp_{name}"]) / UNIT
            assert one["total"] == {"stream": one["total"]["stream"], "batch": one["total"]["stream"], "equal": True}
            parts = {c["name"]: c["sign"] * Decimal(c["amount"]["stream"]) for c in one["components"]}
            assert all(abs(parts[p]) == Decimal(known[w, p]) / UNIT for p in parts)
            assert sum(parts.values()) == Decimal(one["total"]["stream"])
        gini = window["giniIncome"]
        assert Decimal(gini["stream"]) == Decimal(known[w, "gini_income"]) / 10**9
        assert gini["value"] == float(gini["stream"])
    assert len(tables.statements) == 2  # the run, all figures of all windows


def test_figures_that_differ_or_miss_are_told(client: Client, tables: LocalTables) -> None:
    other = synthetic_run(9, 2)
    for row in other["batch_indicators"]:
        if row["window"] == 1 and row["indicator"] == "gdp_income":
            row["value"] += 1
    other["batch_indicators"] = [r for r in other["batch_indicators"] if r["indicator"] != "gini_wealth"]
    tables.fill(other)
    query = "{ run(id: 9) { windows { gdp { equal income { total { equal } } } giniWealth { batch equal } } } }"
    first, second = client.ask(query)["run"]["windows"]
    assert first == {
        "gdp": {"equal": True, "income": {"total": {"equal": True}}},
        "giniWealth": {"batch": None, "equal": None},
    }
    assert second["gdp"] == {"equal": False, "income": {"total": {"equal": False}}}


def test_pages_meet_without_gap_or_double(client: Client) -> None:
    query = """query ($after: String, $only: BigInt) { run(id: 7) { trades(first: 5, after: $after, instrument: $only) {
        nodes { instrumentId seq } pageInfo { hasNextPage endCursor } } } }"""
    for only, expected in ((None, [(j, k) for j in range(4) for k in range(12)]), ("2", [(2, k) for k in range(12)])):
        seen, after, more = [], None, True
        while more:
            page = client.ask(query, after=after, only=only)["run"]["trades"]
            seen += [(int(n["instrumentId"]), int(n["seq"])) for n in page["nodes"]]
            after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        assert seen == expected


def test_a_halt_its_auction_and_the_new_band_in_one_list(client: Client) -> None:
    query = """query ($first: Int!, $after: String) { run(id: 7) { tradingStatuses(first: $first, after: $after) {
        nodes { instrumentId seq tick status reason price quantity until low high } pageInfo { endCursor } } } }"""
    fields = ("instrumentId", "seq", "tick", "status", "reason", "price", "quantity", "until", "low", "high")
    page = client.ask(query, first=2)["run"]["tradingStatuses"]
    assert [tuple(node[name] for name in fields) for node in page["nodes"]] == [
        ("3", "500", "400", "halted", "circuit_breaker", "1.2", None, "460", None, None),
        ("3", "501", "460", "resumed", None, "1.1", "7", None, None, None),
    ]
    rest = client.ask(query, first=2, after=page["pageInfo"]["endCursor"])["run"]["tradingStatuses"]["nodes"]
    assert [tuple(node[name] for name in fields) for node in rest] == [
        ("3", "502", "460", "band_changed", None, None, None, None, "0.99", "1.21"),
    ]


def test_from_a_trade_to_its_decision_in_one_statement_per_kind(client: Client, tables: LocalTables) -> None:
    nodes = client.ask(
        """{ run(id: 7) { trades(first: 48) { nodes { instrumentId seq price quantity notional buyer { name role }
        seller { agent } instrument { symbol } takerOrder { side decision { action choice inputs agent { name } } }
        makerOrder { n } } } } }""",
    )["run"]["trades"]["nodes"]
    for node in nodes:
        k = int(node["seq"])
        assert node["buyer"] == {"name": f"household {6 + k % HOUSEHOLDS}", "role": "household"}
        assert node["seller"] == {"agent": "4"}
        assert node["instrument"]["symbol"] == [*PRODUCTS, "CARE"][int(node["instrumentId"])]
        assert Decimal(node["notional"]) == Decimal(node["price"]) * Decimal(node["quantity"])
        decision = node["takerOrder"]["decision"]
        assert (decision["action"], int(decision["choice"])) == ("consume", k + 1)
        assert decision["inputs"] == ["1", "-2", str(2**60)]  # beyond what JSON's numbers hold
        assert decision["agent"]["name"] == node["buyer"]["name"]
        assert node["makerOrder"] is None
    assert len(nodes) == 48
    # Run, trades, then agents, instruments, orders by number, orders by name (none of the makers' is there), decisions.
    assert len(tables.statements) == 1 + 1 + 5


def test_an_instrument_tells_its_rules_of_trading(client: Client, tables: LocalTables) -> None:
    asked = "orders(first: 1, instrument: 1) { nodes { instrument { %s } } }"
    fields = (
        "referencePrice referencePriceRaw tickSize lotSize lotSizeRaw fixingTicks bandBp breakerBp haltTicks openTicks "
        "auctionPressure"
    )
    run = client.ask("{ run(id: 7) { " + asked % fields + " } }")["run"]
    listed = tables.rows("SELECT * FROM instrument_listed WHERE run = 7 AND instrument = 1", {})[0]
    assert run["orders"]["nodes"][0]["instrument"] == {
        "referencePrice": "1", "referencePriceRaw": str(listed["reference_price"]), "tickSize": "0.0001",
        "lotSize": "0.01", "lotSizeRaw": "1", "fixingTicks": "100", "bandBp": "2000", "breakerBp": "1000",
        "haltTicks": "50", "openTicks": "20", "auctionPressure": "0",
    }  # fmt: skip


def test_orders_decisions_agents_balances(client: Client, tables: LocalTables) -> None:
    run = client.ask(
        """{ run(id: 7) {
        orders(first: 500, instrument: 1) { nodes { agentId instrument { symbol } cashCap } }
        decisions(first: 2, agent: 6) { nodes { agentId n } pageInfo { hasNextPage } }
        households: agents(role: "household") { nodes { agent balances(window: 2) { account quantity } } }
        balances(window: 1, first: 3) { nodes { agentId quantity } pageInfo { hasNextPage endCursor } } } }""",
    )["run"]
    assert [o["instrument"]["symbol"] for o in run["orders"]["nodes"]] == ["food"] * 12
    assert run["decisions"] == {
        "nodes": [{"agentId": "6", "n": "1"}, {"agentId": "6", "n": "25"}],
        "pageInfo": {"hasNextPage": True},
    }
    cash = {h["agent"]: h["balances"] for h in run["households"]["nodes"]}
    assert cash == {str(a): [{"account": "cash", "quantity": str(a + 1)}] for a in range(6, 6 + HOUSEHOLDS)}
    assert [b["quantity"] for b in run["balances"]["nodes"]] == ["1", "2", "3"]
    assert len(tables.statements) == 1 + 4 + 2  # the lists, then instruments and the balances of all households
    after = run["balances"]["pageInfo"]["endCursor"]
    query = "query ($a: String) { run(id: 7) { balances(window: 1, first: 1, after: $a) { nodes { agentId } } } }"
    assert client.ask(query, a=after)["run"]["balances"]["nodes"] == [{"agentId": "3"}]


def test_series_are_columns_in_one_statement(client: Client, tables: LocalTables) -> None:
    query = """{ run(id: 7) { indicators(names: ["closing_price", "gdp_real"]) {
        measure { name unit rawUnit scale } item source windows values valuesRaw } } }"""
    series = client.ask(query)["run"]["indicators"]
    assert [(s["measure"]["name"], s["item"]) for s in series] == [("closing_price", str(j)) for j in range(4)] + [
        ("gdp_real", "0")
    ]
    known = {(w, name, item): value for w, name, item, value in figures(WINDOWS)}
    for s in series:
        assert s["windows"] == list(range(WINDOWS))
        raw = [known[w, s["measure"]["name"], int(s["item"])] for w in range(WINDOWS)]
        assert s["valuesRaw"] == list(map(str, raw))
        assert list(map(Decimal, s["values"])) == [Decimal(value).scaleb(-s["measure"]["scale"]) for value in raw]
    units = [(s["measure"]["unit"], s["measure"]["rawUnit"], s["measure"]["scale"]) for s in series[-2:]]
    assert units == [("currency", "1e-4 of the currency", 4), ("currency", "1e-8 of the currency", 8)]
    assert len(tables.statements) == 2


def test_book_before_and_after_a_level_is_gone(client: Client) -> None:
    query = """query ($t: BigInt) { run(id: 7) { book(instrument: 1, tick: $t, depth: 3) {
        bids { price quantity } asks { price } } } }"""
    early, late = (client.ask(query, t=t)["run"]["book"] for t in (5, None))
    assert [b["price"] for b in early["bids"]] == ["1", "0.9999", "0.9998"]
    assert late["bids"][0] == {"price": "0.9999", "quantity": "0.51"}
    assert [a["price"] for a in late["asks"]] == ["1.001", "1.0011", "1.0012"]


def test_results_of_jobs(client: Client, tables: LocalTables) -> None:
    run, many = 12, 10**25
    money = str(many // UNIT)
    lineage = {"run": run, "job_version": 3, "start_offsets": "{}", "end_offsets": "{}", "computed_at": "2026-01-02"}
    places = [(w, i) for w in range(2) for i in range(4)]
    quotes = {"trades": 3, "traded_quantity": 5, "traded_value": many, "quoted_epochs": 1, "best_bid_depth": 2,
              "best_ask_depth": 3, "bid_depth": 4, "ask_depth": 5, "illiquidity": 6, "price_impact": -many}  # fmt: skip
    prices = {"opening_price": 4, "closing_price": 5, "inflation": -9, "realised_volatility": 8, "max_drawdown": 7}
    worth = {"change": -1, "trades": 2, "bought": 3, "sold": many}
    roles = ("bank", "bank", "bank", "shop")
    filled = synthetic_run(run, 2)
    filled["liquidity"] = [
        {**lineage, **quotes, "job": "liquidity", "window": w, "instrument": i, "quoted_spread": i or None}
        for w, i in places
    ]
    filled["price_stability"] = [
        {**lineage, **prices, "job": "price-stability", "window": w, "instrument": i} for w, i in places
    ]
    filled["agent_performance"] = [
        {**lineage, **worth, "job": "agent-performance", "window": w, "agent": i, "role": roles[i],
         "net_worth": many * i, "growth": None if i == 0 else -i}
        for w, i in places
    ]  # fmt: skip
    filled["reconciliation"] = [
        {**lineage, "job": "reconcile", "window": w, "indicator": "gdp_real", "item": i, "stream": many,
         "batch": many + i if i < 3 else None, "equal": int(i == 0)}
        for w, i in places
    ]  # fmt: skip
    tables.fill(filled)
    tables.statements.clear()
    found = client.ask(
        """{ run(id: 12) { liquidity(first: 3, window: 1) {
        nodes { instrumentId instrument { symbol } quotedSpread tradedValue priceImpact } pageInfo { endCursor } }
        priceStability(instrument: 2) { nodes { window instrument { symbol } inflation maxDrawdown } }
        agentPerformance(role: "bank", window: 0) { nodes { agent { name } netWorth growth sold } }
        rolePerformance(window: 1) { role agents netWorth medianNetWorth trades sold }
        reconciliation { figures equal disagreements { window item stream batch } }
        lineage { job jobVersion windows figures } } }"""
    )["run"]
    assert len(tables.statements) <= 2 + 7 + 2  # the lists, then all instruments and all agents
    page = found["liquidity"]
    assert [(n["instrumentId"], n["quotedSpread"]) for n in page["nodes"]] == [
        ("0", None), ("1", "0.000000001"), ("2", "0.000000002")
    ]  # fmt: skip
    one = page["nodes"][1]
    # A price step (1e-4) a lot (1e-2) is 0.01 of the currency a unit.
    assert (one["instrument"], one["tradedValue"], one["priceImpact"]) == ({"symbol": "food"}, money, f"-{10**14}")
    query = "query ($a: String) { run(id: 12) { liquidity(after: $a, window: 1) { nodes { instrumentId } } } }"
    rest = client.ask(query, a=page["pageInfo"]["endCursor"])["run"]["liquidity"]["nodes"]
    assert rest == [{"instrumentId": "3"}]
    assert found["priceStability"]["nodes"] == [
        {"window": w, "instrument": {"symbol": "care"}, "inflation": "-0.000000009", "maxDrawdown": "0.000000007"}
        for w in range(2)
    ]
    assert [(n["netWorth"], n["growth"]) for n in found["agentPerformance"]["nodes"]] == [
        ("0", None), (money, "-0.000000001"), (str(2 * many // UNIT), "-0.000000002")
    ]  # fmt: skip
    assert found["rolePerformance"][0] == {
        "role": "bank", "agents": 3, "netWorth": str(3 * many // UNIT), "medianNetWorth": money, "trades": "6",
        "sold": str(3 * many // UNIT),
    }  # fmt: skip
    assert (found["reconciliation"]["figures"], found["reconciliation"]["equal"]) == ("8", "2")
    assert found["reconciliation"]["disagreements"][:3] == [
        {"window": 0, "item": str(i), "stream": money, "batch": f"{money}.0000000{i}" if i < 3 else None}
        for i in (1, 2, 3)
    ]
    assert {"job": "liquidity", "jobVersion": 3, "windows": 2, "figures": 8} in found["lineage"]
    missing = client.ask("{ run(id: 7) { reconciliation { figures } liquidity { nodes { window } } } }")["run"]
    assert missing == {"reconciliation": None, "liquidity": {"nodes": []}}


def test_tape_lineage_and_runs(client: Client) -> None:
    run = client.ask(
        "{ run(id: 7) { tape { prints matched explanation } lineage { job jobVersion windows endOffsets } } }"
    )["run"]
    assert run["tape"] == {"prints": "284", "matched": "282", "explanation": TAPE}
    assert [(x["job"], x["windows"]) for x in run["lineage"]] == [("gdp", WINDOWS), ("gini", WINDOWS)]
    page = client.ask("{ runs(first: 1) { nodes { id } pageInfo { endCursor } } }")["runs"]
    query = "query ($a: String) { runs(after: $a) { nodes { id state } } }"
    rest = client.ask(query, a=page["pageInfo"]["endCursor"])["runs"]["nodes"]
    assert int(page["nodes"][0]["id"]) > int(rest[0]["id"])
    assert {"id": "7", "state": "stored"} in rest


def test_a_circle_of_agents_and_balances_does_not_multiply(client: Client, tables: LocalTables) -> None:
    many = synthetic_run(10, 1)
    rows = many["balance_recorded"]
    many["balance_recorded"] = [{**row, "account": "goods", "item": item} for row in rows for item in range(12)]
    tables.fill(many)
    circle = "balances(window: 0) { agent { balances(window: 0) { agent { balances(window: 0) { item } } } } }"
    asked = "{ run(id: 10) { agents(first: %d) { nodes { " + circle + " } } } }"
    assert client.ask(asked % 5)  # 5 * (12 + 144 + 1728) rows
    assert "may return 10000" in client.errors(asked % 6)[0]["message"]


def test_every_example_of_graphiql_is_answered(client: Client) -> None:
    for example in graphiql.examples():
        if "subscription" not in example["query"]:
            client.ask(example["query"], run="7")


def test_what_a_post_does_not_serve_is_told_for_what_it_is(client: Client) -> None:
    for query, word in (
        ("mutation { delete(run: 7) { id } }", "no mutations"),
        ("subscription { progress(run: 7) { state } }", "by websocket"),
    ):
        answer = client.post(query)
        assert answer.status_code == 400
        assert word in answer.json()["errors"][0]["message"]


def test_subscriptions_follow_a_run_to_its_end(client: Client, tables: LocalTables) -> None:
    progress, windows = "progress(run: 8) { state windows digest }", "windows(run: 8) { number }"
    with client.subscribe(progress, windows) as socket:
        early = [json.loads(socket.recv(PATIENCE)) for _ in range(4)]
        later = synthetic_run(OPEN, 4, state="stored")
        indicators = [row for row in later["stream_indicators"] if row["window"] == 3]
        tables.fill({"stream_indicators": indicators})
        tables.fill({"runs": [{**later["runs"][0], "version": 2}]})
        rest = []
        while sum(m["type"] == "complete" for m in rest) < 2:
            rest.append(json.loads(socket.recv(PATIENCE)))
    got = [(m["id"], m["payload"]["data"]) for m in early + rest if m["type"] == "next"]
    assert [data["windows"]["number"] for number, data in got if number == windows] == [0, 1, 2, 3]
    states = [data["progress"] for number, data in got if number == progress]
    assert (states[0]["state"], states[0]["windows"]) == ("open", 3)
    assert states[-1]["state"] == "stored"
