"""The server as it is deployed: a process of its own in front of the embedded ClickHouse, as a user that only reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from infra.clickhouse import EmbeddedClickHouse
from queries import graphiql
from queries.config import ClickHouseConfig
from queries.migrate import migrate
from queries.store import Store
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
        "--clickhouse-url", clickhouse.url, "--user", "reader", "--reports", str(tmp_path),
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
        known = {w: str(value) for w, name, _, value in figures(WINDOWS) if name == "gdp_income"}
        got = {w["number"]: w["gdp"]["income"]["total"] for w in run["windows"]}
        assert got == {w: {"stream": value, "batch": value} for w, value in known.items()}
        assert run["finishedAt"].startswith("2026-01-02 03:05:05")
        assert client.post(query).headers["x-cache"] == "hit"
        assert client.http.get("/reports/run-7.html").text == "<p>seven</p>"
        with client.subscribe("windows(run: 7) { number }") as socket:
            numbers = [json.loads(socket.recv(10))["payload"]["data"]["windows"]["number"] for _ in range(WINDOWS)]
            assert numbers == list(range(WINDOWS))
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        client.http.close()
        assert server.stderr is not None
        assert "Traceback" not in server.stderr.read()
    finally:
        server.kill()
        server.communicate()


def test_no_clickhouse_is_one_line_with_a_remedy() -> None:
    server = _start("--clickhouse-url", "http://127.0.0.1:9", password="secret-word")
    out, errors = server.communicate(timeout=60)
    assert (server.returncode, out) == (3, "")
    assert errors.strip().count("\n") == 0
    assert "http://127.0.0.1:9 does not answer" in errors
    assert "secret-word" not in errors
