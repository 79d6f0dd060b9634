"""What goes wrong with Ray is one line that says what to do."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from agents import actor
from agents.cluster import start_ray
from agents.loop import ShardConfig, ShardLoop
from economy.errors import SetupError
from infra.broker import free_port
from telemetry.logs import LEVELS, Level


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nowhere", "127.0.0.1:99999999"])
def test_a_cluster_that_does_not_answer_is_named_at_once(address: str) -> None:
    address = address.format(port=free_port())
    with pytest.raises(SetupError, match=f"no Ray cluster answers at {address}"):
        start_ray(address, "")


@pytest.mark.parametrize("level", ["DEBUG", "WARN"])
def test_a_shard_logs_from_the_level_that_it_is_told(
    level: Level, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", lambda **given: asked.update(given))
    monkeypatch.setattr(ShardLoop, "run", lambda _: None)
    config = ShardConfig("nowhere", "n", 7, 0, log_level=level)
    actor.ShardActor(asdict(config), os.fspath(tmp_path / "shard-0.jsonl"))
    assert asked["level"] == LEVELS[level]
    (handler,) = asked["handlers"]
    handler.close()


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Ray is asked for, and what it answers with: `error`."""
    import ray

    told: dict[str, Any] = {}

    def init(**asked: Any) -> None:
        told.update(asked)
        if "error" in told:
            raise told["error"]

    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "PYTHONPATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return told


def test_the_cluster_of_this_node_is_joined_by_the_word_for_it(joining: dict[str, Any]) -> None:
    start_ray("auto", "")
    assert joining["address"] == "auto"
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == ""  # of nodes that other machines reach


def test_a_cluster_that_refuses_is_one_line(joining: dict[str, Any]) -> None:
    import ray

    joining["error"] = ray.exceptions.AuthenticationError("InvalidAuthToken")
    with pytest.raises(SetupError, match=r"at auto refuses our token.*RAY_AUTH_TOKEN_PATH"):
        start_ray("auto", "")
    joining["error"] = ConnectionError("Could not find any running Ray instance.\nMore")
    with pytest.raises(SetupError, match=r"at auto: Could not find any running Ray instance"):
        start_ray("auto", "")


def test_a_shard_starts_where_the_folder_of_its_run_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = actor._handler(str(tmp_path / "shard-0.jsonl"), 7)
    elsewhere = actor._handler(str(tmp_path / "of another node" / "shard-0.jsonl"), 7)
    for handler in (there, elsewhere):
        handler.handle(logging.makeLogRecord({"name": "x", "levelno": logging.INFO, "msg": "a word"}))
        handler.close()
    for line in ((tmp_path / "shard-0.jsonl").read_text(), capsys.readouterr().err):
        told = json.loads(line)
        assert (told["service"], told["run"], told["message"]) == ("shard", 7, "a word")
