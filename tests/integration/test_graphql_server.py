"""The server as it is deployed: a process of its own in front of the embedded ClickHouse, as a user that only reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.clickhouse import EmbeddedClickHouse
from queries import graphiql
from queries.migrate import migrate
from queries.store import Store
from schemas.clickhouse_server import ClickHouseConfig
from tests.processes import PATIENCE, until
from tests.serving import Client
from tests.synthetic import figures, synthetic_run

pytestmark = pytest.mark.integration
WINDOWS = 5


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as server:
        config = ClickHouseConfig.from_dsn(server.dsn())
        migrate(config)
        with Store(config) as store:
            for table, rows in synthetic_run(7, WINDOWS).items():
                store.insert(table, {name: [_value(name, row[name]) for row in rows] for name in rows[0]})
        yield server


def _value(name: str, value: Any) -> Any:
    if name.endswith("_at"):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return Decimal(value) if name == "value" else value


def _start(*arguments: str, password: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "CLICKHOUSE_PASSWORD": password}
    command = [sys.executable, "-m", "queries.server", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_served_as_a_reader_and_ended_by_sigterm(clickhouse: EmbeddedClickHouse, tmp_path: Path) -> None:
    (tmp_path / "run-7.html").write_text("<p>seven</p>")
    server = _start(
        "--clickhouse-url", clickhouse.url.replace("//", "//reader@"), "--reports", str(tmp_path),
        password=clickhouse.password("reader"),
    )  # fmt: skip
    try:
        assert server.stdout is not None
        said = json.loads(server.stdout.readline())
        assert said["url"].startswith("http://127.0.0.1:")
        client = Client(said["url"].removeprefix("http://"))
        for example in graphiql.examples():
            if "subscription" not in example["query"]:
                assert client.ask(example["query"], run="7")
        query = "{ run(id: 7) { finishedAt windows { number gdp { equal income { total { stream batch } } } } } }"
        run = client.ask(query)["run"]
        known = {w: f"{Decimal(value).scaleb(-8).normalize():f}" for w, name, _, value in figures(WINDOWS)
                 if name == "gdp_income"}  # fmt: skip
        got = {w["number"]: w["gdp"]["income"]["total"] for w in run["windows"]}
        assert got == {w: {"stream": value, "batch": value} for w, value in known.items()}
        assert run["finishedAt"].startswith("2026-01-02 03:05:05")
        assert client.post(query).headers["x-cache"] == "hit"
        assert client.http.get("/reports/run-7.html").text == "<p>seven</p>"
        with client.subscribe("windows(run: 7) { number }") as socket:
            numbers = [
                json.loads(socket.recv(PATIENCE))["payload"]["data"]["windows"]["number"] for _ in range(WINDOWS)
            ]
            assert numbers == list(range(WINDOWS))
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE) == 0
        client.http.close()
        assert server.stderr is not None
        assert "Traceback" not in server.stderr.read()
    finally:
        server.kill()
        server.communicate()


def _engines(client: Client) -> list[dict[str, int]]:
    found: list[dict[str, int]] = client.http.get("/health").json()["engines"]
    return found


def test_workers_that_are_killed_are_replaced_and_none_outlives_the_server(
    clickhouse: EmbeddedClickHouse, tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    server = _start(
        "--clickhouse-url", clickhouse.url.replace("//", "//reader@"), "--copies", str(copies), "--query-workers", "2",
        password=clickhouse.password("reader"),
    )  # fmt: skip
    try:
        assert server.stdout is not None
        client = Client(json.loads(server.stdout.readline())["url"].removeprefix("http://"))
        text = (
            "{ run(id: 7) { %s: trades(first: 3) { nodes { seq buyer { name } takerOrder { n decision { n } } } } } }"
        )
        names = (f"t{i}" for i in count())  # a text that was not asked before is in no cache

        def ask() -> Any:
            name = next(names)
            return client.ask(text % name)["run"][name]["nodes"]

        def copied() -> bool:
            ask()
            # One that asks alone is always answered by the first.
            return any(engine["copies"] >= 3 for engine in _engines(client))

        expected = ask()
        assert len(expected) == 3
        until(lambda: len(_engines(client)) == 2)
        until(copied)
        assert ask() == expected  # from the copies
        killed = {engine["pid"] for engine in _engines(client)}
        for pid in killed:
            until(lambda: len(_engines(client)) == 2)
            asked = threading.Thread(target=lambda: [ask() for _ in range(20)])
            asked.start()
            os.kill(pid, signal.SIGKILL)
            for _ in range(20):
                assert ask() == expected
            asked.join()
        until(lambda: len({engine["pid"] for engine in _engines(client)} - killed) == 2)
        alive = [engine["pid"] for engine in _engines(client)]
        assert list(copies.iterdir())
        client.http.close()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
        assert list(copies.iterdir()) == []
        until(lambda: not any(psutil.pid_exists(pid) for pid in alive))
    finally:
        server.kill()
        server.communicate()


def test_workers_end_when_the_server_is_killed(clickhouse: EmbeddedClickHouse) -> None:
    server = _start(
        "--clickhouse-url",
        clickhouse.url.replace("//", "//reader@"),
        "--query-workers",
        "2",
        password=clickhouse.password("reader"),
    )
    try:
        assert server.stdout is not None
        client = Client(json.loads(server.stdout.readline())["url"].removeprefix("http://"))
        until(lambda: len(_engines(client)) == 2)
        alive = [engine["pid"] for engine in _engines(client)]
        client.http.close()
        server.kill()
        until(lambda: not any(psutil.pid_exists(pid) for pid in alive))
    finally:
        server.kill()
        server.communicate()


def test_no_clickhouse_is_one_line_with_a_remedy() -> None:
    server = _start("--clickhouse-url", "http://127.0.0.1:9", password="secret-word")
    out, errors = server.communicate(timeout=PATIENCE)
    assert (server.returncode, out) == (3, "")
    assert errors.strip().count("\n") == 0
    assert "http://127.0.0.1:9 does not answer" in errors
    assert "secret-word" not in errors
