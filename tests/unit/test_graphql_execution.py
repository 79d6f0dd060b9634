"""The short way of execution answers what graphql-core answers, also where something fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from bench.graphql import kinds
from economy import measures
from economy.errors import SetupError
from queries.engine import Engine, EngineConfig
from queries.execution import PlainExecutor
from tests.synthetic import synthetic_run
from tests.tables import LocalTables, Row, local_tables

RUN, WINDOWS = 7, 3
SURE = "{ run(id: 7) { trades(first: 9) { nodes { seq takerOrder { n decision { n } agent { name } } } } } }"
TWICE = """{ a: run(id: 7) { ...T } b: run(id: 7) { ...T digest } }
    fragment T on Run { __typename trades(first: 4) { edges { cursor node { seller { name role } taker: takerOrder {
    side decision { action inputs agent { agent balances(window: 1) { account quantity agent { name } } } } } } } } }"""
WINDOWED = """query ($w: Int! = 1) { run(id: 7) { agents(first: 3) { nodes {
    own: balances(window: $w) { window quantity } second: balances(window: 1) { window quantity } agent } } } }"""
REFUSED = "query ($w: Int = 1) { run(id: 7) { agents { nodes { balances(window: $w) { window } } } } }"
DEEP = "{ run(id: 7) { decisions(first: 5) { nodes { n agent { name } orders { n decision { causes { kind } } } } } } }"


class Failing:
    """Tables of which one does not answer."""

    def __init__(self, tables: LocalTables, table: str) -> None:
        self._tables, self._table = tables, table

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """As queries.reader.Reader."""
        if f"FROM {self._table} " in sql:
            raise SetupError(f"{self._table} does not answer", "try again")
        return self._tables.rows(sql, parameters)

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        """As queries.reader.Reader."""
        return self._tables.packed(sql, parameters)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    with local_tables(tmp_path_factory.mktemp("execution"), synthetic_run(RUN, WINDOWS)) as found:
        yield found


def answer(reader: Any, query: str, variables: dict[str, Any] | None = None) -> tuple[Any, list[tuple[Any, Any]]]:
    """Data and the places of errors, in any order."""
    engine = Engine(EngineConfig(), reader)

    async def ask() -> Any:
        found = await engine.schema.execute(query, variables, engine.context(alone=True))
        while len(asyncio.all_tasks()) > 1:  # what graphql-core lets settle behind an answer with errors
            await asyncio.sleep(0.01)
        return found

    result = asyncio.run(ask())
    places = [(error.path, error.locations and error.locations[0].line) for error in result.errors or ()]
    return result.data, sorted(places, key=str)


def both(monkeypatch: pytest.MonkeyPatch, reader: Any, query: str, variables: dict[str, Any] | None = None) -> Any:
    """The answer, after graphql-core without the short way has given the same."""
    short = answer(reader, query, variables)
    with monkeypatch.context() as patched:
        patched.setattr(PlainExecutor, "complete_value", StrawberryGraphQLCoreExecutionContext.complete_value)
        long = answer(reader, query, variables)
    assert json.dumps(long) == json.dumps(short)  # with the fields in the same order
    return short


@pytest.mark.parametrize("window", [0, 1, 2, 99, None])
def test_fields_with_arguments(monkeypatch: pytest.MonkeyPatch, tables: LocalTables, window: int | None) -> None:
    given = {} if window is None else {"w": window}
    data, errors = both(monkeypatch, tables, WINDOWED, given)
    first = data["run"]["agents"]["nodes"][0]
    assert errors == []
    assert (first["own"] == first["second"]) == (window in (None, 1))
    assert bool(first["own"]) == (window != 99)
    assert {balance["window"] for balance in first["own"]} <= {1 if window is None else window}


def test_an_argument_that_is_refused(monkeypatch: pytest.MonkeyPatch, tables: LocalTables) -> None:
    data, errors = both(monkeypatch, tables, REFUSED, {"w": None})
    assert (data, len(errors)) == ({"run": None}, 1)


@pytest.mark.parametrize("query", [SURE, TWICE, DEEP])
def test_pages_with_look_ups(monkeypatch: pytest.MonkeyPatch, tables: LocalTables, query: str) -> None:
    data, errors = both(monkeypatch, tables, query)
    assert data
    assert errors == []


@pytest.mark.parametrize("kind", kinds(100, [m.name for m in measures.MEASURES if not m.item]), ids=lambda k: k.name)
def test_queries_of_the_benchmark(monkeypatch: pytest.MonkeyPatch, tables: LocalTables, kind: Any) -> None:
    variables = {"run": str(RUN), **kind.variables(Random(1)), "after": None}
    if kind.name == "accounts":
        variables["after"] = -1
    _, errors = both(monkeypatch, tables, kind.query, variables)
    assert errors == []


@pytest.mark.parametrize("table", ["agent_decided", "order_submitted", "agent_founded", "trade_executed"])
@pytest.mark.parametrize("query", [SURE, TWICE, DEEP])
def test_a_table_that_fails(monkeypatch: pytest.MonkeyPatch, tables: LocalTables, query: str, table: str) -> None:
    data, errors = both(monkeypatch, Failing(tables, table), query)
    if (query, table) == (SURE, "agent_decided"):
        nodes = data["run"]["trades"]["nodes"]
        assert [node["takerOrder"]["decision"] for node in nodes] == [None] * 9
        assert all(node["takerOrder"]["agent"]["name"] for node in nodes)  # what could be read is there
        assert (["run", "trades", "nodes", 8, "takerOrder", "decision"], 1) in errors
