"""How wrong requests are refused: in words that name what is wrong, without hints in production, without data."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import get_named_type

from queries.over_http import GRAPHQL, JSON, media_type
from queries.paging import decode_cursor, encode_cursor
from queries.schema import build_schema
from queries.server import ApiConfig, create_app
from schemas.clickhouse import TABLES
from tests.one_run import Tables
from tests.serving import Client, serving

HALF, NUL = "\ud800", "\0"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving(create_app(ApiConfig(), Tables())) as found:
        yield found


@pytest.fixture(scope="module")
def production() -> Iterator[Client]:
    with serving(create_app(ApiConfig(production=True), Tables())) as found:
        yield found


def post(client: Client, body: Any, accept: str = "*/*") -> tuple[int, str, dict[str, Any]]:
    """Status, media type and answer."""
    headers = {"content-type": "application/json", "accept": accept}
    answer = client.http.post("/graphql", content=json.dumps(body), headers=headers)
    return answer.status_code, answer.headers["content-type"], answer.json()


# ---- hints
HINTED: dict[str, dict[str, Any]] = {
    "field": {"query": "{ measure { name } }"},
    "field of a field": {"query": "{ measures { nam } }"},
    "inline fragment": {"query": "{ run(id: 1) { trades { nodes { nam } } } }"},
    "argument": {"query": "{ runs(fist: 1) { nodes { id } } }"},
    "argument of a directive": {"query": "{ measures @skip(iff: true) { name } }"},
    "type of a fragment": {"query": "{ measures { ...M } } fragment M on Measur { name }"},
    "type of an inline fragment": {"query": "{ measures { ... on Measur { name } } }"},
    "type of a variable": {"query": "query ($i: BigIn!) { run(id: $i) { id } }", "variables": {"i": 1}},
    "enum in the text": {"query": '{ run(id: 1) { indicators(names: ["gdp_real"], source: STREM) { item } } }'},
    "enum as a text": {"query": '{ run(id: 1) { indicators(names: ["gdp_real"], source: "STREAM") { item } } }'},
    "enum in a variable": {
        "query": 'query ($s: Source!) { run(id: 1) { indicators(names: ["gdp_real"], source: $s) { item } } }',
        "variables": {"s": "STREM"},
    },
    "enum of kinds": {"query": "{ run(id: 1) { events(kind: TradeExecute) { nodes { tick } } } }"},
    "default of a variable": {
        "query": "query ($s: Source = STREM) { run(id: 1) { indicators(names: [], source: $s) { item } } }"
    },
    "subscription": {"query": "subscription { progres(run: 1) { state } }"},
}  # fmt: skip


@pytest.mark.parametrize("kind", HINTED)
def test_production_gives_no_hints(production: Client, kind: str) -> None:
    _, _, answer = post(production, HINTED[kind])
    assert answer["errors"]
    assert "Did you mean" not in json.dumps(answer), answer


def test_hints_help_where_the_schema_is_no_secret(client: Client) -> None:
    hinted = [kind for kind, body in HINTED.items() if "Did you mean" in json.dumps(post(client, body)[2])]
    assert len(hinted) >= 10, hinted  # the table above is one of what graphql-core hints at


def test_production_gives_no_hints_over_a_websocket(production: Client) -> None:
    with production.subscribe("progres(run: 1) { state }", "progress(rum: 1) { state }") as socket:
        told = [json.loads(socket.recv(20)) for _ in range(2)]
    assert [message["type"] for message in told] == ["error", "error"]
    assert "Did you mean" not in json.dumps(told)


# ---- operations
TWO = "query A { measures { name } } query B { runs { nodes { id } } }"


@pytest.mark.parametrize("name", [{}, {"operationName": None}, {"operationName": ""}])
@pytest.mark.parametrize(
    "text", [TWO, f"{TWO} subscription C {{ progress(run: 1) {{ state }} }}", TWO.replace("B", "A")]
)
def test_one_of_several_operations_must_be_named(client: Client, text: str, name: dict[str, Any]) -> None:
    status, _, answer = post(client, {"query": text, **name})
    assert status == 400
    assert "operationName" in answer["errors"][0]["message"]
    assert "data" not in answer


def test_the_named_one_of_several_operations_is_executed(client: Client) -> None:
    assert "measures" in post(client, {"query": TWO, "operationName": "A"})[2]["data"]
    assert "runs" in post(client, {"query": TWO, "operationName": "B"})[2]["data"]
    assert post(client, {"query": TWO, "operationName": "C"})[0] == 400
    single = "query A { measures { name } } fragment F on Run { id }"
    assert "measures" in post(client, {"query": "query A { measures { name } }", "operationName": ""})[2]["data"]
    assert "never used" in post(client, {"query": single})[2]["errors"][0]["message"]


# ---- texts
def texts() -> list[tuple[str, str, str]]:
    """Every argument of a text or an id in the schema: its name, its type, a query that gives it the variable $v."""
    schema = build_schema()._schema
    around = {
        "Query": "{{ {field} }}",
        "Run": "{{ run(id: 1) {{ {field} }} }}",
        "Comparison": "{{ compare(a: 1, b: 2) {{ {field} }} }}",
    }
    needed = {
        "events": "kind: TradeExecuted",
        "balances": "window: 0",
        "book": "instrument: 1",
        "compare": "a: 1, b: 2",
    }
    below = {"book": "{ tick }", "run": "{ id }", "compare": "{ same }", "indicators": "{ item }"}
    found = []
    for kind, text in around.items():
        for name, field in schema.type_map[kind].fields.items():  # type: ignore[attr-defined]
            for argument, of in field.args.items():
                if get_named_type(of.type).name not in ("String", "BigInt"):
                    continue
                given = [f"{argument}: $v"]
                given += [p for p in needed.get(name, "").split(", ") if p and not p.startswith(f"{argument}:")]
                asked = f"{name}({', '.join(given)}) {below.get(name, '{ __typename }')}"
                found.append((argument, str(of.type), f"query ($v: {of.type}) {text.format(field=asked)}"))
    return found


@pytest.mark.parametrize("bad", [HALF, NUL, f"a{HALF}b", f"é{NUL}", "\udfff"])
def test_a_text_that_no_table_holds_is_refused_by_the_name_of_its_argument(client: Client, bad: str) -> None:
    every = texts()
    assert {name for name, _, _ in every} >= {
        "after",
        "use",
        "side",
        "action",
        "role",
        "account",
        "names",
        "id",
        "agent",
    }
    for argument, kind, query in every:
        value = [bad] if kind.startswith("[") else bad
        status, _, answer = post(client, {"query": query, "variables": {"v": value}})
        (error,) = answer["errors"]
        assert status == 200
        assert error["extensions"] == {"code": "BAD_INPUT", "field": argument}, (query, error)
        assert error["message"].startswith(f"{argument} = "), error
        assert "data" not in answer


def test_a_text_in_the_query_is_refused_as_one_in_a_variable(client: Client) -> None:
    for query in ('{ run(id: 1) { trades(use: "\\u0000") { nodes { seq } } } }', '{ run(id: "1\\u{0}") { id } }',
                  '{ run(id: 1) { indicators(names: ["gdp_real", "\\u0000"]) { item } } }'):  # fmt: skip
        errors = post(client, {"query": query})[2]["errors"]
        assert any(error.get("extensions", {}).get("code") == "BAD_INPUT" for error in errors), errors
    default = 'query ($u: String = "\\u0000") { run(id: 1) { trades(use: $u) { nodes { seq } } } }'
    assert post(client, {"query": default})[2]["errors"][0]["extensions"]["field"] == "$u"
    for query in (f'{{ run(id: "{HALF}") {{ id }} }}', '{ run(id: "\\uD800") { id } }',
                  f"{{ measures {{ name }} }} # {HALF}", f"{{ measures {{ na{NUL}me }} }}", HALF):  # fmt: skip
        answer = post(client, {"query": query})[2]
        assert "internal error" not in json.dumps(answer), answer
    for name in (HALF, NUL):
        assert post(client, {"query": "{ measures { name } }", "operationName": name})[0] == 400
        unused = post(client, {"query": "{ measures { name } }", "variables": {"unused": {"a": [name]}}})[2]
        assert unused["errors"][0]["extensions"]["field"] == "$unused"


@pytest.mark.parametrize("inner", ["", HALF])
def test_a_text_is_looked_for_as_deep_as_json_goes(client: Client, inner: str) -> None:
    deep: Any = inner
    for _ in range(400):
        deep = [{"a": deep}]
    answer = post(client, {"query": "{ measures { name } }", "variables": {"unused": deep}})[2]
    if inner:
        assert answer["errors"][0]["extensions"] == {"code": "BAD_INPUT", "field": "$unused"}
    else:
        assert answer["data"]["measures"]


def test_texts_beyond_ascii_are_texts(client: Client) -> None:
    for word in ("🦆", "é", "퟿", "\ue000"):
        message = post(client, {"query": USE, "variables": {"u": word}})[2]["errors"][0]["message"]
        assert "known are none, intermediate" in message


# ---- words
CLOSED = {
    "trades(use: %s) { nodes { seq } }": ("use", "TradeExecuted"),
    "orders(side: %s) { nodes { n } }": ("side", "OrderSubmitted"),
    "decisions(action: %s) { nodes { n } }": ("action", "AgentDecided"),
    "agents(role: %s) { nodes { agent } }": ("role", "AgentFounded"),
    "balances(window: 0, account: %s) { nodes { window } }": ("account", "BalanceRecorded"),
    "agentPerformance(role: %s) { nodes { window } }": ("role", "AgentFounded"),
}


@pytest.mark.parametrize("field", CLOSED)
@pytest.mark.parametrize("word", ["none_such", "", "Household", "buy ", "🦆"])
@pytest.mark.parametrize("run", [1, 2])
def test_a_word_that_a_closed_filter_does_not_know_is_told_with_the_known_ones(
    client: Client, field: str, word: str, run: int
) -> None:
    (error,) = post(client, {"query": f"{{ run(id: {run}) {{ {field % json.dumps(word)} }} }}"})[2]["errors"]
    name, event = CLOSED[field]
    known = next(f.symbols for f in TABLES[event].columns if f.name == name)
    assert error["message"] == f"{name} = {word!r} is not valid: known are {', '.join(known)}"
    assert error["extensions"] == {"code": "BAD_INPUT", "field": name}


def test_every_filter_by_a_text_is_closed() -> None:
    """A new one must say which words it knows, and join the table above."""
    arguments = {name for name, kind, _ in texts() if "String" in kind}
    assert arguments - {"after", "names"} == {name for name, _ in CLOSED.values()}


def test_every_word_that_a_closed_filter_knows_is_taken(client: Client) -> None:
    for field, (name, event) in CLOSED.items():
        for word in next(f.symbols for f in TABLES[event].columns if f.name == name):
            assert "errors" not in post(client, {"query": f"{{ run(id: 2) {{ {field % json.dumps(word)} }} }}"})[2]


# ---- data and status
DEEP = "{ agent { balances(window: 0) " * 8 + "{ item }" + " } }" * 8
SUMS = " ".join(f"{way} {{ components {{ name sign }} }}" for way in ("production", "expenditure", "income"))
WIDE = " ".join(f"w{i}: windows(first: 400) {{ gdp {{ {SUMS} }} }}" for i in range(20))
USE = "query ($u: String) { run(id: 1) { trades(use: $u) { nodes { seq } } } }"
REQUEST_ERRORS: dict[str, dict[str, Any]] = {
    "syntax": {"query": "{ measures { name"},
    "empty": {"query": ""},
    "validation": {"query": "{ walk }"},
    "variable of another type": {"query": "query ($i: BigInt!) { run(id: $i) { id } }", "variables": {"i": "x"}},
    "variable that is missing": {"query": "query ($i: BigInt!) { run(id: $i) { id } }"},
    "too deep": {"query": f"{{ run(id: 1) {{ balances(window: 0) {{ nodes {DEEP} }} }} }}"},
    "too many tokens": {"query": "{ measures { " + "name " * 3_000 + "} }"},
    "too costly": {"query": f"{{ run(id: 1) {{ {WIDE} }} }}"},
    "unsound text": {"query": USE, "variables": {"u": HALF}},
}  # fmt: skip


@pytest.mark.parametrize("kind", REQUEST_ERRORS)
def test_a_request_that_is_not_executed_has_no_data(client: Client, kind: str) -> None:
    for accept in ("*/*", JSON, ""):
        status, media, answer = post(client, REQUEST_ERRORS[kind], accept)
        assert (status in (200, 400), media, list(answer)) == (True, JSON, ["errors"])
    status, media, answer = post(client, REQUEST_ERRORS[kind], f"{GRAPHQL}, {JSON};q=0.9")
    assert (status, media, list(answer)) == (400, GRAPHQL, ["errors"])


def test_an_error_of_a_field_leaves_the_data_of_the_others(client: Client) -> None:
    asked = {"query": "{ run(id: 99) { id } measures { name } }"}
    for accept, kind in (("", JSON), (GRAPHQL, GRAPHQL)):
        status, media, answer = post(client, asked, accept)
        assert (status, media, answer["data"]["run"], answer["errors"][0]["path"]) == (200, kind, None, ["run"])
    # A field that may not be null takes all of the data with it, which is then null, not absent.
    status, _, answer = post(client, {"query": '{ runs(after: "x") { nodes { id } } }'}, GRAPHQL)
    assert (status, answer["data"], answer["errors"][0]["path"]) == (200, None, ["runs"])


def test_a_known_answer_has_the_media_type_that_is_accepted(client: Client) -> None:
    asked = {"query": "{ run(id: 1) { digest seed: id } }"}
    for accept, kind in ((JSON, JSON), (GRAPHQL, GRAPHQL), ("*/*", JSON)):
        assert post(client, asked, accept)[:2] == (200, kind)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON), ("*/*", JSON), ("text/html", JSON), (JSON, JSON), (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL), (f"{JSON},{GRAPHQL};q=0.5", JSON),
        (f"{GRAPHQL};q=0", JSON), (f"{GRAPHQL};q=x", JSON), (f"{GRAPHQL.upper()}, */*;q=0.1, {GRAPHQL}", GRAPHQL),
    ],
)  # fmt: skip
def test_the_media_type_of_graphql_is_given_to_who_accepts_it(accept: str, expected: str) -> None:
    assert media_type(accept) == expected


# ---- cursors
def test_a_cursor_is_taken_as_it_was_given_and_in_no_other_form(client: Client) -> None:
    good = encode_cursor(3, -7)
    assert decode_cursor(good, 2) == (3, -7)

    def coded(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode()

    wrong = [
        f"{good}!", f" {good}", f"{good}\n", f"{good[:2]}#{good[2:]}", good.rstrip("="), f"{good}=", f"{good}AA==",
        "é" + good,
        coded("+3:-7"), coded(" 3:-7"), coded("03:-7"), coded("3:-0_7"), coded("٣:-7"), coded("3:-7\n"), coded("-0:-7"),
        coded("3:-7:1"), coded("3"), coded(f"{2**63}:0"), coded(""), "", HALF, NUL, good[:-3] + "R" + good[-2:],
        base64.b64encode(b"3:-7" + b"\xff").decode(),
    ]  # fmt: skip
    query = "query ($a: String) { run(id: 2) { trades(after: $a) { nodes { seq } } } }"
    assert "errors" not in post(client, {"query": query, "variables": {"a": good}})[2]
    for cursor in wrong:
        (error,) = post(client, {"query": query, "variables": {"a": cursor}})[2]["errors"]
        assert error["extensions"] == {"code": "BAD_INPUT", "field": "after"}, (cursor, error)
