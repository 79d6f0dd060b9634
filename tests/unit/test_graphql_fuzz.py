"""Any query, right or wrong, is answered or refused in words, never by an error of the server's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from queries.paging import encode_cursor
from queries.schema import build_schema
from queries.server import ApiConfig, create_app
from tests.serving import Client, serving
from tests.synthetic import synthetic_run
from tests.tables import LocalTables, local_tables

SCHEMA = build_schema()._schema
INTEGERS = st.one_of(
    st.integers(-3, 30), st.sampled_from([7, 8, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), 2**63, 10**30])
)
CURSORS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda keys: encode_cursor(*keys))
TEXTS = st.one_of(
    st.text(max_size=12), CURSORS,
    st.sampled_from(["", "household", "buy", "consume", "cash", "gdp_real", "closing_price", "none"]),
    st.sampled_from(["'", "\\", "\n", "\t", "{run:Int64}", "🦆", "\0", "%s", "?"]),
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    runs = synthetic_run(7, 2), synthetic_run(8, 1, state="open")
    with local_tables(tmp_path_factory.mktemp("fuzz"), *runs) as found:
        yield found


@pytest.fixture(scope="module")
def client(tables: LocalTables) -> Iterator[Client]:
    with serving(create_app(ApiConfig(), tables)) as found:
        yield found


def literal(draw: Any, kind: Any) -> str:
    """A value of a type, mostly one that it takes."""
    if not is_non_null_type(kind) and draw(st.integers(0, 9)) == 0:
        return "null"
    kind = get_nullable_type(kind)
    if is_list_type(kind):
        return f"[{', '.join(literal(draw, kind.of_type) for _ in range(draw(st.integers(0, 3))))}]"
    if draw(st.integers(0, 19)) == 0:
        return str(draw(st.sampled_from(["true", '"x"', "1", "1.5", "{a: 1}", "[1]", "NAME"])))
    if isinstance(kind, GraphQLEnumType):
        return str(draw(st.sampled_from(sorted(kind.values))))
    if kind.name == "Decimal" and draw(st.booleans()):
        return json.dumps(draw(st.sampled_from(["0.5", "-0.00000001", "1e-9", "12,5", "1e99999", "-0", ""])))
    if kind.name in ("Int", "BigInt", "Decimal"):
        number = draw(INTEGERS)
        return json.dumps(str(number)) if kind.name != "Int" and draw(st.booleans()) else str(number)
    return json.dumps(draw(TEXTS))


def selection(draw: Any, kind: GraphQLObjectType, depth: int) -> str:
    """Fields of a type with arguments."""
    leaves = [name for name, field in kind.fields.items() if is_leaf_type(get_named_type(field.type))]
    deeper = sorted(set(kind.fields) - set(leaves))
    chosen = draw(st.lists(st.sampled_from(leaves), max_size=3, unique=True)) if leaves else []
    if deeper and depth > 0:
        chosen += draw(st.lists(st.sampled_from(deeper), min_size=not chosen, max_size=2, unique=True))
    parts = []
    for name in chosen or ["__typename"]:
        field = kind.fields.get(name)
        if field is None:
            parts.append(name)
            continue
        wanted = [(a, of) for a, of in field.args.items() if is_non_null_type(of.type) or draw(st.booleans())]
        arguments = ", ".join(f"{a}: {literal(draw, of.type)}" for a, of in wanted)
        inner = get_named_type(field.type)
        below = "" if is_leaf_type(inner) else f" {selection(draw, inner, depth - 1)}"
        parts.append(f"{name}{f'({arguments})' if arguments else ''}{below}")
    return f"{{ {' '.join(parts)} }}"


@st.composite
def queries(draw: Any) -> str:
    """A query; most ask for a run that is there."""
    run = SCHEMA.type_map["Run"]
    assert isinstance(run, GraphQLObjectType)
    assert SCHEMA.query_type is not None
    if draw(st.integers(0, 3)):
        return f"{{ run(id: {draw(st.sampled_from((7, 8)))}) {selection(draw, run, 4)} }}"
    return selection(draw, SCHEMA.query_type, 5)


@given(queries())
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example("{ run(id: 7) { windows(first: 400, after: 2147483647) { number } } }")
@example("{ run(id: 7) { balances(window: -2147483648) { nodes { quantity } } } }")
@example('{ run(id: 7) { book(instrument: "9223372036854775807", tick: "-9223372036854775808") { bids { price } } } }')
def test_no_query_is_an_error_of_the_server(client: Client, query: str) -> None:
    answer = client.post(query)
    assert answer.status_code in (200, 400), (answer.status_code, answer.text)
    for error in answer.json().get("errors", ()):
        assert error.get("extensions", {}).get("code") not in ("INTERNAL", "UNAVAILABLE"), (query, error)


TOKENS = [
    "{",
    "}",
    "(",
    ")",
    "query",
    "subscription",
    "run",
    "id:",
    "1",
    '"',
    "...",
    "$r",
    "@skip",
    "measures",
    "name",
    "#",
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=5), INTEGERS, st.lists(INTEGERS, max_size=2),
    st.dictionaries(st.text(max_size=3), st.floats(), max_size=2), st.just("{ measures { name } }"),
)  # fmt: skip
BODIES = st.one_of(
    st.fixed_dictionaries({"query": st.lists(st.sampled_from(TOKENS), max_size=20).map(" ".join)}),
    st.dictionaries(st.sampled_from(["query", "variables", "operationName", "extensions"]), VALUES),
    st.builds(lambda r: {"query": "query ($r: BigInt!) { run(id: $r) { id } }", "variables": {"r": r}}, VALUES),
    st.builds(lambda name: {"query": "query a { measures { name } } query b { __typename }", "operationName": name},
              st.sampled_from([None, "", "a", "b", "c"])),
    st.just({"query": "subscription { progress(run: 7) { state } }"}),
)  # fmt: skip


@given(st.one_of(st.binary(max_size=60), BODIES.map(lambda body: json.dumps(body).encode())))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_body_is_an_error_of_the_server(client: Client, body: bytes) -> None:
    answer = client.http.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400), (answer.status_code, answer.text)
    for error in answer.json().get("errors", ()):
        assert error.get("extensions", {}).get("code") not in ("INTERNAL", "UNAVAILABLE"), (body, error)
