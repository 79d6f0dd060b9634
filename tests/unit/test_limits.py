"""What the server refuses, what it hides, and what it answers twice without asking the tables again."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets.exceptions
from graphql import get_introspection_query, parse
from websockets.sync.client import connect

from economy.errors import SetupError
from queries import graphiql
from queries.cache import Fingerprint, Fingerprints, ResponseCache, cache_key
from queries.cost import ALIASES, COST, DEPTH, cost
from queries.guard import SLOW_CLIENT, Guard
from queries.limits import BODY_BYTES
from queries.live import LiveSettings
from queries.policy import EVERYTHING
from queries.schema import build_schema
from queries.server import ApiConfig, create_app, listen
from tests.one_run import Tables
from tests.processes import PATIENCE, until
from tests.serving import Client, serving

ASK = "query ($run: BigInt!) { run(id: $run) { digest } }"


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def client(tables: Tables, tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "run-1.html").write_text("<p>report</p>")
    (tmp_path / "secret.txt").write_text("no")
    (tmp_path / "link.html").symlink_to(tmp_path / "secret.txt")
    config = ApiConfig(
        reports=tmp_path,
        allow_origins=("https://desk.example",),
        live=LiveSettings(0.01, subscriptions=2),
        cache_bytes=20_000,
    )
    with serving(create_app(config, tables)) as found:
        yield found


def nested(depth: int) -> str:
    text = "agent { balances(window: 0) { " * (depth // 2) + "item" + " } }" * (depth // 2)
    return f"{{ run(id: 1) {{ balances(window: 0) {{ nodes {{ {text} }} }} }} }}"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (nested(2 * DEPTH), "exceeds maximum operation depth"),
        ("{" + " ".join(f"a{i}: measures {{ name }}" for i in range(ALIASES + 1)) + "}", "aliases found"),
        ("{ measures { " + "name " * 3_000 + "} }", "Document contains more than"),
        ("{ run(id: 1) { trades(first: 501) { nodes { seq } } } }", "ask for 1 to 500 records"),
        ("{ run(id: 1) {" + " ".join(f"w{i}: windows(first: 400) {{ year }}" for i in range(26)) + "} }", "may return"),
        ('{ run(id: "1x") { digest } }', "write an integer"),
        ("{ run(id: 99) { digest } }", "run = 99 is not valid: choose one from runs"),
        ('{ run(id: 1) { trades(after: "zz") { nodes { seq } } } }', "pass an endCursor of the same list"),
        ('{ run(id: 1) { indicators(names: ["gdp"]) { item } } }', "names = 'gdp' is not valid"),
        ("{ run(id: 1) { digest", "Syntax Error"),
        ("{ walk }", "Cannot query field 'walk'"),
    ],
)  # fmt: skip
def test_a_request_that_is_too_large_or_wrong_is_told_so(client: Client, query: str, message: str) -> None:
    assert message in client.errors(query)[0]["message"]


def test_fragments_that_double_each_other_are_counted_once(client: Client) -> None:
    def fragments(kind: str, inside: str, last: str, count: int) -> str:
        chain = (f"fragment f{i} on {kind} {{ {inside.replace('F', f'...f{i + 1}')} }}" for i in range(count))
        return f"{' '.join(chain)} fragment f{count} on {kind} {{ {last} }}"

    # Visited at each spread, these would take for ever.
    spread = fragments("Measure", "F F", "name", 100)
    assert "may fill" in client.errors(f"{{ measures {{ ...f0 }} }} {spread}")[0]["message"]
    deep = fragments("Agent", "balances(window: 0) { agent { F F } }", "name", 60)
    asked = f"{{ run(id: 1) {{ agents {{ nodes {{ ...f0 }} }} }} }} {deep}"
    assert "exceeds maximum operation depth" in client.errors(asked)[0]["message"]
    aliased = fragments("Measure", "a: name F F", "name", 60)
    assert "aliases found" in client.errors(f"{{ measures {{ ...f0 }} }} {aliased}")[0]["message"]
    circle = "{ measures { ...f0 } } fragment f0 on Measure { ...f1 } fragment f1 on Measure { ...f0 }"
    assert "itself" in client.errors(circle)[0]["message"]


def test_a_query_is_refused_for_the_fields_that_it_may_fill(client: Client, tables: Tables) -> None:
    schema = build_schema()._schema
    inner = "gdp { production { total { stream batch } components { name amount { stream } } } }"
    query = f"query Q($n: Int = 3) {{ run(id: 1) {{ windows(first: $n) {{ number {inner} }} }} }}"
    window = 1 + 1 + (1 + (1 + 2) + (1 + 10 * (1 + 1 + 1)))  # number, gdp, production, total, components
    document = parse(query)
    for variables, windows in (({}, 3), ({"n": 40}, 40), ({"n": 10**9}, 10**9)):
        assert cost(schema, document, "Q", variables)[0] == 1 + 1 + windows * window
    before = tables.statements
    lists = " ".join(f"w{i}: windows(first: 400) {{ number {inner} }}" for i in range(COST // (400 * window) + 1))
    (error,) = client.errors(f"{{ run(id: 1) {{ {lists} }} }}")
    assert error["extensions"]["code"] == "TOO_COSTLY"
    assert tables.statements == before


def test_what_is_just_within_the_limits_is_answered(client: Client) -> None:
    lists = " ".join(f"w{i}: windows(first: 400) {{ year }}" for i in range(25))
    assert client.ask(f"{{ run(id: 1) {{ {lists} }} }}")


def test_errors_are_masked_under_an_id_that_is_logged(
    client: Client, tables: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    for failure, code in (
        (RuntimeError("password=hunter2 at 10.0.0.7"), "INTERNAL"),
        (SetupError("10.0.0.7"), "UNAVAILABLE"),
    ):
        tables.failure = failure
        with caplog.at_level(logging.ERROR):
            (error,) = client.errors(ASK, run=2)
        assert "hunter2" not in json.dumps(error)
        assert "10.0.0.7" not in json.dumps(error)
        assert error["extensions"]["code"] == code
        assert error["extensions"]["id"] in caplog.text
        assert str(failure) in caplog.text
    assert client.http.get("/health").status_code == 503


def test_only_json_over_post_from_known_hosts_and_origins(client: Client) -> None:
    body = json.dumps({"query": ASK, "variables": {"run": 1}})
    port = client.address.rpartition(":")[2]

    def status(kind: str = "application/json", **headers: str) -> int:
        headers = {"content-type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return client.http.post("/graphql", content=body, headers=headers).status_code

    assert status() == 200
    assert status("application/json; charset=utf-8") == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert status(kind) == 415  # what a foreign page's form can send
    assert status(host="evil.example") == 403  # a DNS name rebound to this address
    assert status(host=f"evil.example:{port}") == 403
    assert status(host=f"localhost:{port}") == 200
    assert status(origin="https://evil.example") == 403
    assert status(origin="null") == 403
    assert status(origin="http://[") == 403
    assert status(origin=f"http://localhost:{port}") == 403  # another origin than the host that is asked
    assert status(origin=f"http://{client.address}") == 200
    assert status(origin="https://desk.example") == 200
    assert client.http.get("/graphql", params={"query": "{ measures { name } }"}).status_code == 405
    wrong = ("[", "[]", '{"query": 1}', '{"query": "{a}", "variables": []}', "[" * 50_000, "x" * (BODY_BYTES + 1))
    json_ = {"content-type": "application/json"}
    answers = [client.http.post("/graphql", content=content, headers=json_).status_code for content in wrong]
    assert answers == [400] * 5 + [413]


def test_websockets_of_other_pages_are_refused(client: Client) -> None:
    with (
        pytest.raises(websockets.exceptions.InvalidStatus, match="403"),
        connect(f"ws://{client.address}/graphql", additional_headers={"Origin": "https://evil.example"}),
    ):
        pass
    with client.subscribe("progress(run: 1) { state }", origin=f"http://{client.address}") as open_socket:
        assert json.loads(open_socket.recv(PATIENCE))["payload"]["data"] == {"progress": {"state": "stored"}}


def test_subscriptions_are_masked_and_bounded(client: Client, tables: Tables) -> None:
    asked = "progress(run: 2) { trades }"
    with client.subscribe(asked) as one, client.subscribe(asked) as two:
        assert json.loads(one.recv(PATIENCE))["type"] == json.loads(two.recv(PATIENCE))["type"] == "next"
        with client.subscribe(asked) as three:
            message = json.loads(three.recv(PATIENCE))
            assert "too many subscriptions" in json.dumps(message["payload"])
        tables.failure = RuntimeError("hunter2")
        texts = [two.recv(PATIENCE)]
        while json.loads(texts[-1])["type"] not in ("error", "complete"):
            texts.append(two.recv(PATIENCE))
    assert "hunter2" not in "".join(map(str, texts))
    assert "its cause is in the server's log under" in "".join(map(str, texts))


def test_subscriptions_end_with_their_client(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with client.subscribe("progress(run: 2) { trades }") as socket_:
        socket_.recv(PATIENCE)
        assert client.http.get("/health").json()["subscriptions"] == 1
    until(lambda: client.http.get("/health").json()["subscriptions"] == 0)
    assert "Traceback" not in caplog.text


def test_a_client_that_does_not_read_is_dropped() -> None:
    sent: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []

    async def stuck(message: Any) -> None:
        sent.append(message)
        if message["type"] == "websocket.send":
            await asyncio.sleep(60)

    async def talk(scope: Any, receive: Any, send: Any) -> None:
        told.append(await receive())
        await send({"type": "websocket.send", "text": "x"})
        told.append(await receive())
        await send({"type": "websocket.send", "text": "never"})

    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    queue.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(talk, (), (), 0.05)(scope, queue.get, stuck))
    assert told == [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": SLOW_CLIENT}]
    assert sent == [
        {"type": "websocket.send", "text": "x"},
        {"type": "websocket.close", "code": SLOW_CLIENT, "reason": "client too slow"},
    ]


@pytest.mark.parametrize("steps", range(8))
def test_a_subscription_is_cancelled_while_its_client_goes(steps: int) -> None:
    found: list[bool] = []

    async def gone(_: Any) -> None:
        await asyncio.sleep(0)
        raise OSError

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def subscription() -> None:
            for _ in range(1_000):
                await send({"type": "websocket.send", "text": "x"})

        task = asyncio.ensure_future(subscription())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        found.append(task.cancelled())

    scope = {"type": "websocket", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(app, (), (), 60)(scope, asyncio.Queue().get, gone))
    assert found == [True]  # else it would have gone on


def test_production_has_no_introspection_and_no_graphiql(tables: Tables) -> None:
    ask = "{ __schema { types { name } } }"
    with serving(create_app(ApiConfig(production=True), tables)) as client:
        assert "introspection" in client.errors(ask)[0]["message"].lower()
        assert "Did you mean" not in client.errors("{ measure { name } }")[0]["message"]
        assert client.http.get("/graphiql").status_code == 404
        assert client.ask("{ measures { name } }")["measures"]
    with serving(create_app(ApiConfig(), tables)) as client:
        assert client.ask(get_introspection_query(descriptions=True))["__schema"]  # what GraphiQL asks for


def test_answers_of_stored_runs_are_kept_until_their_figures_change(client: Client, tables: Tables) -> None:
    def asked(**headers: str) -> tuple[str, int]:
        before = tables.statements
        answer = client.post(ASK, headers=headers, run=1)
        assert answer.json()["data"]["run"]["digest"] == tables.runs[1]["digest"]
        return answer.headers["x-cache"], tables.statements - before

    assert asked()[0] == "miss"
    assert asked() == ("hit", 0)
    assert asked(authorization="Bearer other") == ("hit", 0)  # nobody has checked it
    tables.computed = "2026-01-02"  # a job has published: the old answer no longer counts
    until(lambda: asked()[0] == "miss")
    assert asked()[0] == "hit"
    assert client.post(ASK, run=2).headers["x-cache"] == "miss"
    assert client.post(ASK, run=2).headers["x-cache"] == "miss"  # an open run
    assert client.post("{ run(id: 1) { digest } runs { nodes { id } } }").headers["x-cache"] == "miss"
    assert client.post("{ run(id: 1) { digest } runs { nodes { id } } }").headers["x-cache"] == "miss"


def test_cache_is_bounded_in_bytes_and_number() -> None:
    print_ = Fingerprint("stored", "d", "")
    cache = ResponseCache(Fingerprints(lambda _: print_), entries=3, size=400)
    keys = [cache_key("q", {"n": n}, None, EVERYTHING) for n in range(6)]
    for key in keys:
        cache.put(key, b"x" * 90, {1: print_})
    assert (len(cache), cache.size) == (3, 270)
    assert asyncio.run(cache.get(keys[2])) is None
    assert asyncio.run(cache.get(keys[3])) == b"x" * 90
    cache.put(keys[0], b"x" * 101, {1: print_})  # more than a quarter of all
    assert asyncio.run(cache.get(keys[0])) is None
    cache.put(keys[0], b"x", {1: Fingerprint("finished", "d", "")})  # not yet in the tables
    assert asyncio.run(cache.get(keys[0])) is None
    assert cache_key("q", {"a": 1, "b": 2}, None, EVERYTHING) == cache_key("q", {"b": 2, "a": 1}, None, EVERYTHING)


def test_reports_are_served_and_nothing_else(client: Client) -> None:
    report = client.http.get("/reports/run-1.html")
    assert (report.status_code, report.text) == (200, "<p>report</p>")
    assert "default-src 'none'" in report.headers["content-security-policy"]
    for path in ("secret.txt", "link.html", "..%2Fsecret.txt", "%2e%2e/secret.txt", "none.html", "."):
        assert client.http.get(f"/reports/{path}").status_code == 404, path
    assert '"/reports/run-1.html"' in client.http.get("/").text
    assert client.http.get("/health").json()["status"] == "ok"


def test_graphiql_needs_no_other_host(client: Client) -> None:
    page = client.http.get("/graphiql")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    names = [part.split('"')[0] for part in page.text.replace("href=", "src=").split('src="')[1:]]
    assert len(names) == 8
    for name in names:
        if name == "data:,":
            continue
        assert name.startswith("/graphiql/"), name
        asset = client.http.get(name)
        assert (asset.status_code, asset.headers["x-content-type-options"]) == (200, "nosniff"), name
    for own in graphiql.OWN:
        assert "://" not in (graphiql.ASSETS / own).read_text().replace("${scheme}://${location.host}", "")
    assert "url(http" not in (graphiql.ASSETS / "graphiql.min.css").read_text()
    assert "@import" not in (graphiql.ASSETS / "graphiql.min.css").read_text()
    assert client.http.get("/graphiql/examples.json").json() == graphiql.examples(2)
    assert client.http.get("/graphiql/bundled.json").status_code == 404


def test_a_changed_copy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [{**entry, "sha256": "0" * 64} for entry in graphiql.bundled()]
    monkeypatch.setattr(graphiql, "bundled", lambda: changed)
    with pytest.raises(SetupError, match="was changed"):
        graphiql.routes(lambda: 1)


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SetupError, match="choose another port"):
            listen("127.0.0.1", taken.getsockname()[1])


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP  # else asyncio leaves Nagle's delay on: 40 ms an answer
