"""Children restart when they die, and what a killed owner left is ended; foreign processes are not touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import infra.supervisor as supervision
from economy.errors import SetupError
from infra.supervisor import Registry, Supervisor
from tests.processes import until

_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
# Ignores SIGTERM: only SIGKILL ends it.
_STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)",
]


def test_a_child_that_dies_is_started_again_and_stop_ends_all(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.claim()
    supervisor = Supervisor(tmp_path, registry)
    supervisor.spawn("a", _SLEEP)
    supervisor.spawn("b", _STUBBORN)
    first = supervisor.status()["a"]["pid"]
    until(lambda: (tmp_path / "b.log").read_text() == "1\n")
    os.kill(first, 9)
    until(lambda: supervisor.status()["a"]["restarts"] == 1)
    pids = [child["pid"] for child in supervisor.status().values()]
    assert first not in pids
    supervisor.stop(0.5)
    assert not any(map(psutil.pid_exists, pids))
    registry.release()
    assert not (tmp_path / "processes.json").exists()


def test_a_child_that_fails_at_every_start_is_given_up_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_LONGEST_PAUSE", 0.01)
    registry = Registry(tmp_path)
    registry.claim()
    supervisor = Supervisor(tmp_path, registry)
    supervisor.spawn("good", _SLEEP)
    supervisor.spawn("bad", [sys.executable, "-c", "print('why'); raise SystemExit(7)"])
    supervision.check(supervisor.status(), tmp_path)
    until(lambda: supervisor.status()["bad"]["failed"])
    assert supervisor.status()["bad"]["restarts"] == supervision._GIVE_UP_AFTER - 1  # the next only after a long pause
    with pytest.raises(SetupError, match=r"bad failed 8 times in a row, .* exit code 7 \(why\): see .*bad.log"):
        supervision.check(supervisor.status(), tmp_path)
    # One that is killed from outside, however often, is always started again.
    for count in range(supervision._GIVE_UP_AFTER + 1):
        until(lambda count=count: supervisor.status()["good"]["restarts"] == count)  # type: ignore[misc]
        os.kill(supervisor.status()["good"]["pid"], 9)
    until(lambda: supervisor.status()["good"]["running"])
    assert not supervisor.status()["good"]["failed"]
    supervisor.stop()
    registry.release()


def test_a_child_that_was_given_up_is_well_again_once_its_cause_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(supervision, "_GIVEN_UP_PAUSE", 0.3)
    registry = Registry(tmp_path)
    registry.claim()
    supervisor = Supervisor(tmp_path, registry)
    mended = tmp_path / "mended"
    code = f"import os, time; os.path.exists({str(mended)!r}) or os._exit(7); time.sleep(600)"
    supervisor.spawn("a", [sys.executable, "-c", code])
    until(lambda: supervisor.status()["a"]["failed"])
    mended.write_text("")
    until(lambda: not supervisor.status()["a"]["failed"])
    assert supervisor.status()["a"]["running"]
    supervisor.stop()
    registry.release()


_OWNER = """
import os, sys, time
from pathlib import Path
from infra.supervisor import Registry, Supervisor
registry = Registry(Path(sys.argv[1])); registry.claim()
Supervisor(Path(sys.argv[1]), registry).spawn("a", [sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), flush=True); time.sleep(600)
"""


def test_orphans_of_a_killed_owner_are_ended_by_the_next(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout:
        owner.stdout.readline()
    with pytest.raises(SetupError, match=f"process {owner.pid} uses this state folder"):
        Registry(tmp_path).claim()
    orphan = json.loads((tmp_path / "processes.json").read_text())["children"][0][1]
    owner.kill()
    owner.wait()
    assert psutil.pid_exists(orphan)
    # A pid that the system has given to somebody else since: its start time does not fit.
    state = json.loads((tmp_path / "processes.json").read_text())
    with subprocess.Popen(_SLEEP) as foreign:
        state["children"].append(["old", foreign.pid, psutil.Process(foreign.pid).create_time() - 100])
        (tmp_path / "processes.json").write_text(json.dumps(state))
        registry = Registry(tmp_path)
        assert registry.claim() == ["a"]
        registry.release()
        until(lambda: not psutil.pid_exists(orphan))
        assert foreign.poll() is None
        foreign.kill()
