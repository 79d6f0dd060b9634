"""Faults that a user meets: one line that says what to do, the documented exit code, no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from infra.broker import Broker
from tests.integration.commands import escape, refused

pytestmark = pytest.mark.integration


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def test_a_taken_port(state: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused(escape("runs", "list", state=state, broker_port=port), 3, f"port {port} is taken", "broker_port")
        refused(escape("query", "{x}", state=state, clickhouse_port=port), 3, f"port {port} is taken")


def test_servers_that_cannot_be_reached(state: str) -> None:
    refused(escape("runs", "list", state=state, bootstrap="127.0.0.1:1"), 3, "no Kafka broker answers at 127.0.0.1:1")
    url = "http://escape:secret@127.0.0.1:1/escape"
    told = escape("query", "{x}", state=state, clickhouse_url=url)
    refused(told, 3, "ClickHouse at http://127.0.0.1:1 does not answer")
    assert "secret" not in told[2]


def test_a_wrong_java_home(state: str, tmp_path: Path) -> None:
    refused(escape("runs", "list", state=state, java_home=str(tmp_path)), 3, str(tmp_path), "17 or 21")


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(escape("up", state=str(tmp_path / "file" / "x")), 3, "cannot be written", "set another state")


def test_a_disk_without_the_room_that_is_kept_free(state: str) -> None:
    refused(escape("runs", "list", state=state, reserve_mb="999999999"), 3, f"the disk of {state} is full", "make room")


def test_wrong_settings_and_scenarios(state: str, tmp_path: Path) -> None:
    refused(escape("status", state=state, nonsense="1"), 2, "ESCAPE_NONSENSE")
    (tmp_path / "escape.toml").write_text("nonsense = 1\n")
    refused(escape("status", cwd=tmp_path, state=state), 2, "nonsense = 1")
    local = ("run", "village", "--carrier", "local")
    refused(escape(*local, "--set", "nonsense=1", state=state), 2, "nonsense")
    refused(escape(*local, "--set", "years=many", state=state), 2, "years")
    refused(escape(*local, "--set", "years", state=state), 2, "key=value")
    refused(escape("run", "village", "--set", "calendar.rounds=2", state=state), 2, "targets.debt_ratio")
    refused(escape("run", "nowhere", "--carrier", "local", state=state), 2, "nowhere", "village")
    refused(escape("run", "village", "--carrier", "pigeon", state=state), 2, "pigeon", "kafka or local")
    refused(escape("ingest", "tape", "nowhere.csv", state=state), 2, "nowhere.csv")


@pytest.mark.chaos
def test_a_worker_that_fails_at_every_start_ends_the_run_that_waits_for_it(state: str) -> None:
    Path(state).mkdir()
    (Path(state) / "faust").write_text("a file where the worker wants its folder")
    told = escape("run", "village", "--no-store", "--json", state=state)
    log = str(Path(state) / "logs" / "matching.log")
    refused(told, 3, "matching failed", "times in a row", "exit code 1 (FileExistsError", log, "`escape resume ")


def test_an_unknown_run(broker: Broker, namespace: str, state: str) -> None:
    where = {"state": state, "bootstrap": broker.bootstrap, "namespace": namespace, "workers": "false"}
    for command in (("runs", "show"), ("watch",), ("pause",), ("stop",)):
        refused(escape(*command, "5", **where), 2, "run = 5", "none yet")
