"""Runs from the command line: a tape, an interrupted run, a resumed one, a deleted one."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.supervisor import end_processes
from tests.integration.commands import ESCAPE, alive, answer, environment, escape, going_on, hurry, listening, refused
from tests.loglines import check_lines
from tests.processes import PATIENCE, child, until

pytestmark = pytest.mark.integration
_SHORT = ("run", "village", "--seed", "5", "--set", "years=1", "--set", "calendar.rounds=4")
_SLOW = (*_SHORT, "--set", "calendar.epoch_ticks=60")  # 80 epochs; at pace 1 one a second: it is met on its way
_NAMES = (*_SLOW, "--no-store", "--pace", "1")
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


def test_a_run_goes_on_after_kill_9_of_the_command_line(tmp_path: Path) -> None:
    state, errors = tmp_path / "state", tmp_path / "errors"
    where = {"state": str(state)}
    with (
        open(errors, "wb") as file,
        child(
            [ESCAPE, *_NAMES], env=environment(**where), stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        ) as command,
    ):
        number = _met(state, command, errors)
        tree = psutil.Process(command.pid).children(recursive=True)
    (run,) = answer("runs", "list", "--json", **where)  # this start ends what the killed one left
    assert not [p.pid for p in tree if alive(p.pid)]
    assert (run["run"], run["state"]) == (number, "open")
    described = answer("up", "--json", **where)
    try:
        hurry(described["bootstrap"], "escape", number)
        told = answer("resume", str(number), "--json", **where)
        whole = answer(*_SLOW, "--carrier", "local", "--json")
        assert told["digest"] == whole["digest"]
        (run,) = answer("runs", "list", "--json", **where)
        assert (run["state"], run["digest"]) == ("finished", whole["digest"])
    finally:
        answer("down", "--json", **where)
    told_of = {line["service"]: line.get("run") for line in check_lines(state / "logs")}
    assert (told_of["clock"], told_of["shard"]) == (number, number)
    assert {"matching", "stack"} <= told_of.keys()


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
        assert answer("resume", run, "--json", **stack) == {"run": int(run), "state": "open"}
        hurry(bootstrap, "escape", int(run))
        told, _ = paused.communicate(timeout=PATIENCE)
        assert paused.returncode == 0
        assert answer("watch", run, "--json", **stack)["digest"] == json.loads(told)["digest"]
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
