"""The process that drives Ray, with a stand-in for Ray: whatever of it dies is noticed, and nothing of it is left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agents.cluster import ended
from agents.loop import ShardConfig
from economy.errors import SetupError
from runs import rayhost
from runs.rayhost import RayHost, RayLostError
from tests.processes import PATIENCE, until

# Answers as agents/host.py does; its "raylet" and "gcs_server" sleep, as do its shards, which are nobody's children.
DRIVER = """
import json, os, subprocess, sys, time
import psutil

folder = os.environ["STAND_IN"]
def sleeping(name):
    process = subprocess.Popen([os.path.join(folder, name), "600"], stdout=sys.stderr)
    return process.pid, psutil.Process(process.pid).create_time(), name

chosen = json.loads(sys.stdin.readline())
if chosen["address"]:
    print(json.dumps({"n": chosen["n"], "error": "no Ray cluster answers", "remedy": "start it"}), flush=True)
    sys.exit()
family = [sleeping("gcs_server"), sleeping("raylet")]
print(json.dumps({"n": chosen["n"], "processes": family}), flush=True)
shards = []
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"n": asked["n"]}
    if asked["task"] == "start":
        shards = [sleeping("shard") for _ in asked["shards"]]
        family += shards
    elif asked["task"] == "status" and asked["run"] == 13:
        print("it has run out of luck", file=sys.stderr)
        sys.exit(7)
    elif asked["task"] == "status" and asked["run"] == 14:
        time.sleep(600)
    elif asked["task"] == "status" and asked["run"] == 15:
        print("it aborts", file=sys.stderr, flush=True)
        os.close(sys.stdout.fileno())
        time.sleep(600)
    elif asked["task"] == "status":
        answer["shards"] = [{"shard": i, "pid": pid} for i, (pid, _, _) in enumerate(shards)]
    elif asked["task"] == "family":
        answer["processes"] = family
    print(json.dumps({"n": -1, "late": "what was asked before"}), flush=True)
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sleep = shutil.which("sleep")
    assert sleep is not None
    for name in ("gcs_server", "raylet", "shard"):
        shutil.copy(sleep, tmp_path / name)
    (tmp_path / "driver.py").write_text(DRIVER)
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    monkeypatch.setattr(rayhost, "_DRIVER", (str(tmp_path / "driver.py"),))
    return tmp_path


@pytest.fixture
def host(stand_in: Path) -> Iterator[RayHost]:
    with RayHost("", stand_in) as made:
        made.start_shards([(ShardConfig("nowhere", "n", 1, shard), stand_in / "log") for shard in range(2)])
        assert [one["shard"] for one in made.status(1)] == [0, 1]
        yield made
    assert not running(stand_in)


def running(folder: Path) -> list[psutil.Process]:
    """Everything that runs from the folder of the stand-in."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        ours = any(str(folder) in word for word in process.info["cmdline"] or ())
        found += [process] if ours and process.info["status"] != psutil.STATUS_ZOMBIE else []
    return found


def kill(folder: Path, name: str) -> None:
    (victim,) = [process for process in running(folder) if str(folder / name) in process.cmdline()]
    victim.kill()
    until(lambda: ended(victim))


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_vital_process_that_ended_is_named_and_all_is_started_again(host: RayHost, stand_in: Path, name: str) -> None:
    before = {process.pid for process in running(stand_in)}
    kill(stand_in, name)
    for _ in range(2):
        with pytest.raises(RayLostError, match=f"Ray is lost: its {name} ended.*ray.log"):
            host.status(1)
    generation = host.generation
    host.restart(generation)
    assert host.generation == generation + 1
    assert not before & {process.pid for process in running(stand_in)}  # the shards of before are ended as well
    assert host.status(1) == []
    host.restart(generation)  # somebody else who noticed
    assert host.generation == generation + 1


def test_ray_that_ends_while_it_is_started_again_can_be_started_once_more(host: RayHost, stand_in: Path) -> None:
    kill(stand_in, "raylet")
    generation = host.generation
    (stand_in / "driver.py").write_text("import sys; sys.stdin.readline(); sys.exit('killed as it began')")
    with pytest.raises(RayLostError, match="killed as it began"):
        host.restart(generation)
    assert host.generation == generation
    with pytest.raises(RayLostError, match="killed as it began"):
        host.status(1)
    (stand_in / "driver.py").write_text(DRIVER)
    host.restart(generation)
    assert host.generation == generation + 1
    assert host.status(1) == []


def test_ray_that_ends_as_it_is_first_started_is_a_fault_of_the_setup(stand_in: Path) -> None:
    (stand_in / "driver.py").write_text("import sys; sys.stdin.readline(); sys.exit('killed as it began')")
    with pytest.raises(SetupError, match=r"Ray did not start: .*killed as it began"):
        RayHost("", stand_in)


def test_a_driver_that_ended_is_told_with_its_last_words(host: RayHost) -> None:
    with pytest.raises(RayLostError, match=r"its driver ended with 7 \(it has run out of luck\)"):
        host.status(13)
    host.stop_shards(1)  # there is nobody to tell
    host.restart(host.generation)
    assert host.status(1) == []


def test_a_driver_that_does_not_answer_is_lost(host: RayHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rayhost, "_ANSWER_SECONDS", 0.0)
    with pytest.raises(RayLostError, match="it does not answer"):
        host.status(14)


def test_a_vital_process_that_ends_while_an_answer_is_awaited(host: RayHost, stand_in: Path) -> None:
    kill(stand_in, "raylet")
    with pytest.raises(RayLostError, match="its raylet ended"):
        host.status(14)


def test_ray_that_is_given_up_is_asked_nothing_more(host: RayHost) -> None:
    assert "no shard" in str(host.give_up("no shard comes"))
    with pytest.raises(RayLostError, match="no shard comes"):
        host.status(1)


def test_ray_that_does_not_start_says_why(stand_in: Path) -> None:
    with pytest.raises(SetupError, match="no Ray cluster answers: start it"):
        RayHost("127.0.0.1:1", stand_in)
    (stand_in / "raylet").unlink()
    shutil.copy(stand_in / "shard", stand_in / "raylet2")
    (stand_in / "driver.py").write_text(DRIVER.replace('sleeping("raylet")', 'sleeping("raylet2")'))
    with pytest.raises(SetupError, match="changed their names"):
        RayHost("", stand_in)
    assert not running(stand_in)


def test_a_command_that_is_killed_leaves_no_driver(stand_in: Path) -> None:
    """The end of its input is the driver's end."""
    host = RayHost("", stand_in)
    stdin = host._process.stdin
    assert stdin is not None
    stdin.close()
    assert host._process.wait(PATIENCE) == 0
    host.give_up("nobody is there")
    host.stop()
    assert not running(stand_in)


def test_a_driver_that_closes_its_output_and_does_not_end(host: RayHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rayhost, "_STOP_SECONDS", 0.1)
    with pytest.raises(RayLostError, match=r"its driver says nothing any more \(it aborts\)"):
        host.status(15)


def test_a_driver_that_reads_nothing_any_more(host: RayHost, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rayhost, "_ANSWER_SECONDS", 0.0)
    with pytest.raises(RayLostError, match="it does not answer"):
        host.status(14)
    monkeypatch.setattr(host, "_lost", "")
    many = [(ShardConfig("nowhere", "n", 1, shard), stand_in / "log") for shard in range(1000)]  # more than a pipe has
    with pytest.raises(RayLostError, match="it takes no orders"):
        host.start_shards(many)
