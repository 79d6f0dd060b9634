"""Runs from the command line: a tape, an interrupted run, a resumed one, a deleted one."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from economy.records import events as e
from infra.settings import load_settings
from infra.stack import Attached
from infra.supervisor import end_processes
from queries.reader import Stores
from queries.readings import ALERTS
from queries.server import ApiConfig, create_app
from queries.store import Store
from schemas.catalogue import TRADES
from schemas.clickhouse import TABLES
from schemas.clickhouse_server import ClickHouseConfig
from schemas.log.reader import read_all
from tests.integration.commands import ESCAPE, alive, answer, environment, escape, going_on, hurry, listening, refused
from tests.loglines import check_lines
from tests.processes import PATIENCE, child, until
from tests.serving import serving

pytestmark = pytest.mark.integration
_SHORT = ("run", "village", "--seed", "5", "--set", "years=1", "--set", "calendar.rounds=4")
_SLOW = (*_SHORT, "--set", "calendar.epoch_ticks=60")  # 80 epochs; at pace 1 one a second: it is met on its way
_LONG = ("run", "village", "--seed", "5", "--set", "years=10", "--no-store", "--pace", "1")  # it does not end


def _bootstrap(state: Path) -> str:
    """Address of the broker that a command has started for itself, once it is known."""
    properties = state / "kafka" / "server.properties"
    lines = properties.read_text().splitlines() if properties.exists() else []
    address = next((line for line in lines if line.startswith("advertised")), "")
    return address.rpartition("//")[2]


def _met(state: Path, process: subprocess.Popen[Any], errors: Path) -> int:
    """Number of a run that has granted some epochs."""

    def trouble() -> str:
        return "" if process.poll() is None else errors.read_text()

    until(lambda: list(state.glob("logs/run-*/shard-0.jsonl")), trouble)
    return going_on(until(lambda: _bootstrap(state), trouble))


def test_ctrl_c_leaves_run_aborted_on_the_log_and_nothing_else(tmp_path: Path) -> None:
    state, errors = tmp_path / "state", tmp_path / "errors"
    with (
        open(errors, "wb") as file,
        child(
            [ESCAPE, *_LONG], env=environment(state=str(state)), stdout=subprocess.DEVNULL, stderr=file,
            start_new_session=True,
        ) as command,
    ):  # fmt: skip
        _met(state, command, errors)
        tree = psutil.Process(command.pid).children(recursive=True)
        try:
            assert listening([psutil.Process(command.pid), *tree]) == {"127.0.0.1"}
            command.send_signal(signal.SIGINT)
            assert command.wait(PATIENCE) == 130
            assert not [p for p in tree if alive(p.pid)]
        finally:
            end_processes([*tree])
    assert "Traceback" not in errors.read_text()
    (run,) = answer("runs", "list", "--json", state=str(state))
    assert run["state"] == "aborted"
    refused(escape("resume", str(run["run"]), state=str(state)), 2, "aborted")


def test_what_a_command_that_was_killed_left_is_ended_by_the_next_and_its_run_is_open(tmp_path: Path) -> None:
    state, errors = tmp_path / "state", tmp_path / "errors"
    with (
        open(errors, "wb") as file,
        child(
            [ESCAPE, *_LONG], env=environment(state=str(state)), stdout=subprocess.DEVNULL, stderr=file,
            start_new_session=True,
        ) as command,
    ):  # fmt: skip
        number = _met(state, command, errors)
        tree = psutil.Process(command.pid).children(recursive=True)
    (run,) = answer("runs", "list", "--json", state=str(state))
    assert not [p.pid for p in tree if alive(p.pid)]
    assert (run["run"], run["state"]) == (number, "open")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings of a stack that runs; a test may kill it and start it again."""
    where = {"state": str(tmp_path_factory.mktemp("stack") / "state")}
    answer("up", "--json", **where)
    yield where
    answer("down", "--json", **where)


def _running(where: dict[str, str]) -> Any:
    return answer("status", "--json", **where)


def test_the_tape_goes_through_the_stream_into_the_tables_and_away_again(stack: dict[str, str]) -> None:
    told = answer("ingest", "bitstamp", "--json", **stack)
    assert (told["prints"], told["trades"], told["orders"]) == (284, 284, 156_865)
    assert told["matched"] >= 282
    assert len(told["differences"]) == 2
    deleted = answer("runs", "delete", str(told["run"]), "--json", **stack)
    assert {"order_submitted", "trade_executed", "runs", "tape_comparisons"} <= set(deleted["tables"])
    assert deleted["records"] > told["orders"]
    assert told["run"] not in [run["run"] for run in answer("runs", "list", "--json", **stack)]
    refused(escape("runs", "show", str(told["run"]), **stack), 2, "run = ")


def test_pause_resume_and_stop_reach_a_run_in_another_process(stack: dict[str, str]) -> None:
    bootstrap = _running(stack)["bootstrap"]
    command = [ESCAPE, *_SLOW, "--pace", "1", "--json"]
    options = {"env": environment(**stack), "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with child(command, **options) as paused:
        run = str(going_on(bootstrap))
        assert answer("pause", run, "--json", **stack) == {"run": int(run), "state": "paused"}
        held = answer("runs", "show", run, "--json", **stack)
        time.sleep(1.5)
        assert answer("runs", "show", run, "--json", **stack)["granted"] == held["granted"] < held["last_epoch"]
        assert held["state"] == "paused"
        with _followed(stack, int(run), held["granted"]) as follow:
            assert answer("resume", run, "--json", **stack) == {"run": int(run), "state": "open"}
            hurry(bootstrap, "escape", int(run))
            told, _ = paused.communicate(timeout=PATIENCE)
            assert paused.returncode == 0
            assert answer("watch", run, "--json", **stack)["digest"] == json.loads(told)["digest"]
            follow(json.loads(told)["digest"])
    with child(command, **options) as stopped:
        run = str(going_on(bootstrap))
        assert answer("stop", run, "--json", **stack) == {"run": int(run), "state": "aborted"}
        assert stopped.communicate(timeout=PATIENCE)[0] == b""
        assert stopped.returncode == 4
        for name in ("pause", "resume", "stop"):
            refused(escape(name, run, **stack), 2, f"run = {run}", "it is aborted")
    with child(command, **options) as terminated:
        run = str(going_on(bootstrap))
        terminated.terminate()
        assert terminated.communicate(timeout=PATIENCE)[0] == b""
        assert terminated.returncode == 130
        assert answer("runs", "show", run, "--json", **stack)["state"] == "aborted"


class _Answered(Stores):
    """The tables, and which statements they have answered."""

    def __init__(self, config: ClickHouseConfig) -> None:
        super().__init__(config)
        self.answered: list[str] = []

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = super().rows(sql, parameters)
        self.answered.append(sql)
        return found


@contextmanager
def _followed(where: dict[str, str], run: int, granted: int) -> Iterator[Callable[[str], None]]:
    """Subscriptions to a paused run; what is given checks, once the run has ended, that each record was told once."""
    settings = load_settings(state=Path(where["state"]))
    stack = Attached(settings, _running(where))
    assert stack.tables is not None
    assert stack.reader is not None
    reader = _Answered(stack.reader)
    with Store(stack.tables) as store, serving(create_app(ApiConfig(), reader)) as client:

        def count(table: str) -> int:
            return int(store.command(f"SELECT count() FROM {table} FINAL WHERE run = {run}"))

        def on_the_log() -> int:
            """Trades, once the market has matched all that was granted before the pause."""
            trades = 0
            ended = set()
            for chunk in read_all(stack.bootstrap, stack.namespace, [(TRADES, p) for p in range(settings.partitions)]):
                rows = chunk.rows.get(e.TradeExecuted.name, np.empty((0, 1), np.int64))
                trades += int((rows[:, 0] == run).sum())
                marks = chunk.rows.get(e.EpochMatched.name, np.empty((0, 2), np.int64))
                ended |= {chunk.partition for row in marks[:, :2].tolist() if row == [run, granted]}
            return trades if len(ended) == settings.partitions else -1

        until(lambda: count("trade_executed") == on_the_log())  # nothing is on its way while the run is paused
        before = count("trade_executed")
        trades = f"trades(run: {run}, most: 100) {{ skipped trades {{ instrumentId seq }} }}"
        windows, alerts = f"windows(run: {run}) {{ number }}", f"alerts(run: {run}) {{ kind event {{ record }} }}"
        with client.subscribe(trades, windows, alerts, f"progress(run: {run}) {{ state digest }}") as socket:
            messages: list[dict[str, Any]] = []
            until(lambda: any("AS newest, count()" in sql for sql in reader.answered))  # new is what comes from now on

            def check(digest: str) -> None:
                while sum(message["type"] == "complete" for message in messages) < 4:
                    messages.append(json.loads(socket.recv(PATIENCE)))
                found: dict[str, list[Any]] = {}
                for message in messages:
                    if message["type"] == "next":
                        for name, value in message["payload"]["data"].items():
                            found.setdefault(name, []).append(value)
                shown = [(t["instrumentId"], t["seq"]) for batch in found["trades"] for t in batch["trades"]]
                assert len(shown) == len(set(shown))
                told = len(shown) + sum(batch["skipped"] for batch in found["trades"])
                assert told == count("trade_executed") - before > 0
                assert [window["number"] for window in found["windows"]] == list(range(4))
                assert found["progress"][-1] == {"state": "stored", "digest": digest}
                records = Counter(alert["kind"] for alert in found["alerts"] if alert["event"])
                assert records == {kind: n for kind in ALERTS if (n := count(TABLES[kind].name))}
                assert (
                    len({(a["kind"], a["event"]["record"]) for a in found["alerts"] if a["event"]}) == records.total()
                )

            yield check


def test_a_run_and_its_fork_go_on_after_the_machine_went_down(stack: dict[str, str]) -> None:
    """Everything is killed at once with -9, the stack that ran apart from the command included."""
    described = _running(stack)
    with child(
        [ESCAPE, *_SLOW, "--pace", "1"], env=environment(**stack), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as command:
        run = str(going_on(described["bootstrap"], epoch=8))
        roots = [psutil.Process(command.pid), psutil.Process(described["pid"])]
        everything = [*roots, *(p for root in roots for p in root.children(recursive=True))]
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    until(lambda: not any(alive(p.pid) for p in everything))  # a process of a gigabyte does not vanish at once
    described = answer("up", "--json", **stack)
    hurry(described["bootstrap"], "escape", int(run))
    told = answer("resume", run, "--json", **stack)
    whole = answer(*_SLOW, "--carrier", "local", "--json")
    assert told["digest"] == whole["digest"]
    lines = check_lines(Path(stack["state"]) / "logs")
    assert {("clock", int(run)), ("shard", int(run))} <= {(line["service"], line.get("run")) for line in lines}
    assert {"matching", "sink"} <= {line["service"] for line in lines}
    proof = answer("replay", run, "--verify", "--json", **stack)
    assert [proof[name]["through"] for name in ("integrity", "state", "re-execution")] == [79] * 3
    # The same from the command line for a fork, and what was refused.
    same = answer("fork", run, "--at-tick", "1200", "--json", **stack)
    assert same["digest"] == whole["digest"]
    assert answer("show", str(same["run"]), "--provenance", "--json", **stack)["parent"] == int(run)
    refused(escape("fork", run, "--at-tick", "1200", "--set", "tax=1", **stack), 2, "income_tax")
    refused(escape("show", run, "--at-tick", "1230", **stack), 2, "1200 or 1260")
    refused(escape("runs", "delete", run, **stack), 2, str(same["run"]))
    assert answer("verify", run, "--expect", proof["root"], "--json", **stack)["sound"]
