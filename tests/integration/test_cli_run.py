"""Runs from the command line: a tape, an interrupted run, a resumed one, a deleted one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from infra.supervisor import end_processes
from schemas.log.clocklog import read_clocks
from tests.integration.commands import ESCAPE, alive, answer, environment, escape, listening, refused

pytestmark = pytest.mark.integration
_SHORT = ("run", "village", "--seed", "5", "--set", "years=1", "--set", "calendar.rounds=4")
_NAMES = (*_SHORT, "--no-store")
_LONG = ("run", "village", "--seed", "5", "--set", "years=10", "--no-store")  # it cannot end before it is interrupted


def _started(command: tuple[str, ...], state: Path, errors: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A run that has granted some epochs, and the address of its broker."""
    with open(errors, "wb") as file:
        child = subprocess.Popen(
            [ESCAPE, *command], env=environment(state=str(state)), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=file, start_new_session=True,
        )  # fmt: skip
    limit = time.monotonic() + 180
    properties = state / "kafka" / "server.properties"
    while time.monotonic() < limit and child.poll() is None:
        time.sleep(0.3)
        clocks = list(state.glob("logs/run-*/shard-0.log"))
        if clocks and properties.exists():
            address = next(line for line in properties.read_text().splitlines() if line.startswith("advertised"))
            bootstrap = address.rsplit("//", 1)[1]
            if any(log.granted > 5 for log in read_clocks(bootstrap, "escape")):
                return child, bootstrap
    raise AssertionError(errors.read_text())


def test_ctrl_c_leaves_run_aborted_on_the_log_and_nothing_else(tmp_path: Path) -> None:
    state = tmp_path / "state"
    child, _ = _started(_LONG, state, tmp_path / "errors")
    tree = psutil.Process(child.pid).children(recursive=True)
    try:
        assert listening([psutil.Process(child.pid), *tree]) == {"127.0.0.1"}
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        assert not [p for p in tree if alive(p.pid)]
    finally:
        end_processes([*tree])
    assert "Traceback" not in (tmp_path / "errors").read_text()
    (run,) = answer("runs", "list", "--json", state=str(state))
    assert run["state"] == "aborted"
    refused(escape("resume", str(run["run"]), state=str(state)), 2, "aborted")


def test_a_run_goes_on_after_kill_9_of_the_command_line(tmp_path: Path) -> None:
    state = tmp_path / "state"
    child, _ = _started((*_NAMES, "--pace", "10"), state, tmp_path / "errors")  # at full pace it might end first
    tree = psutil.Process(child.pid).children(recursive=True)
    os.kill(child.pid, 9)
    child.wait()
    (run,) = answer("runs", "list", "--json", state=str(state))  # this start ends what the killed one left
    assert not [p.pid for p in tree if alive(p.pid)]
    assert run["state"] == "open"
    told = answer("resume", str(run["run"]), "--json", state=str(state))
    whole = answer(*_SHORT, "--carrier", "local", "--json")
    assert told["digest"] == whole["digest"]
    (run,) = answer("runs", "list", "--json", state=str(state))
    assert (run["state"], run["digest"]) == ("finished", whole["digest"])


def test_a_run_and_its_fork_go_on_after_the_machine_went_down(tmp_path: Path) -> None:
    """Everything is killed at once with -9, the stack that ran apart from the command included."""
    state = str(tmp_path / "state")
    described = answer("up", "--json", state=state)
    child = subprocess.Popen(
        [ESCAPE, *_SHORT, "--pace", "40"], env=environment(state=state), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        run = str(_until_granted(described["bootstrap"], 20))
        roots = [psutil.Process(child.pid), psutil.Process(described["pid"])]
        everything = [*roots, *(p for root in roots for p in root.children(recursive=True))]
        for process in everything:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        child.wait()
        limit = time.monotonic() + 30  # a process of a gigabyte does not vanish at once
        while left := [p.pid for p in everything if alive(p.pid)]:
            assert time.monotonic() < limit, left
            time.sleep(0.05)
        answer("up", "--json", state=state)
        told = answer("resume", run, "--json", state=state)
        whole = answer(*_SHORT, "--carrier", "local", "--json")
        assert told["digest"] == whole["digest"]
        proof = answer("replay", run, "--verify", "--json", state=state)
        assert [proof[name]["through"] for name in ("integrity", "state", "re-execution")] == [79] * 3
        # The same from the command line for a fork, and what was refused.
        same = answer("fork", run, "--at-tick", "400", "--json", state=state)
        assert same["digest"] == whole["digest"]
        assert answer("show", str(same["run"]), "--provenance", "--json", state=state)["parent"] == int(run)
        refused(escape("fork", run, "--at-tick", "400", "--set", "tax=1", state=state), 2, "income_tax")
        refused(escape("show", run, "--at-tick", "410", state=state), 2, "400 or 420")
        refused(escape("runs", "delete", run, state=state), 2, str(same["run"]))
        assert answer("verify", run, "--expect", proof["root"], "--json", state=state)["sound"]
    finally:
        answer("down", "--json", state=state)


def test_the_tape_goes_through_the_stream_into_the_tables_and_away_again(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    told = answer("ingest", "bitstamp", "--json", state=state)
    assert (told["prints"], told["trades"], told["orders"]) == (284, 284, 156_865)
    assert told["matched"] >= 282
    assert len(told["differences"]) == 2
    deleted = answer("runs", "delete", str(told["run"]), "--json", state=state)
    assert {"order_submitted", "trade_executed", "runs", "tape_comparisons"} <= set(deleted["tables"])
    assert deleted["records"] > told["orders"]
    assert answer("runs", "list", "--json", state=state) == []
    refused(escape("runs", "show", str(told["run"]), state=state), 2, "run = ")


def test_pause_resume_and_stop_reach_a_run_in_another_process(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    bootstrap = answer("up", "--json", state=state)["bootstrap"]
    try:
        # Paced, so that it is still going on when it is paused.
        with _paced(state) as child:
            run = str(_until_granted(bootstrap, 5))
            assert answer("pause", run, "--json", state=state) == {"run": int(run), "state": "paused"}
            held = answer("runs", "show", run, "--json", state=state)
            time.sleep(1.5)
            assert answer("runs", "show", run, "--json", state=state)["granted"] == held["granted"] < held["last_epoch"]
            assert held["state"] == "paused"
            assert answer("resume", run, "--json", state=state) == {"run": int(run), "state": "open"}
            told, _ = child.communicate(timeout=60)
            assert child.returncode == 0
            assert answer("watch", run, "--json", state=state)["digest"] == json.loads(told)["digest"]
        with _paced(state) as child:
            run = str(_until_granted(bootstrap, 5))
            assert answer("stop", run, "--json", state=state) == {"run": int(run), "state": "aborted"}
            assert child.communicate(timeout=30)[0] == b""
            assert child.returncode == 4
            for command in ("pause", "resume", "stop"):
                refused(escape(command, run, state=state), 2, f"run = {run}", "it is aborted")
        with _paced(state) as child:
            run = str(_until_granted(bootstrap, 5))
            child.terminate()
            assert child.communicate(timeout=30)[0] == b""
            assert child.returncode == 130
            assert answer("runs", "show", run, "--json", state=state)["state"] == "aborted"
    finally:
        answer("down", "--json", state=state)


def _paced(state: str) -> subprocess.Popen[bytes]:
    command = [ESCAPE, *_SHORT, "--pace", "2", "--json"]
    return subprocess.Popen(
        command, env=environment(state=state), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _until_granted(bootstrap: str, epoch: int) -> int:
    """Run id of the one run that goes on, once it has got so far."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for log in read_clocks(bootstrap, "escape"):
            if not log.ended and log.granted >= epoch:
                return log.run
        time.sleep(0.1)
    raise AssertionError("the run does not start")
