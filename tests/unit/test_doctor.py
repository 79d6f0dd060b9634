"""The doctor finds what is wrong and says how to get it right; one finding does not hide the next."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from infra import doctor
from infra.settings import Settings, load_settings


def _found(settings: Settings, name: str) -> doctor.Check:
    checks = {check.name: check for check in doctor.examine(settings)}
    assert set(checks) == set(doctor.NAMES)
    return checks[name]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_this_machine_is_ready(state: Path) -> None:
    checks = doctor.examine(load_settings(state=state))
    assert [check for check in checks if not check.ok and check.name != "memory"] == []


def test_a_wrong_java_home_is_named_with_the_remedy(state: Path, tmp_path: Path) -> None:
    check = _found(load_settings(state=state, java_home=str(tmp_path)), "java")
    assert not check.ok
    assert str(tmp_path) in check.message
    assert "17 or 21" in check.remedy
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    assert "is Java 11" in _found(load_settings(state=state, java_home=str(tmp_path)), "java").message


def test_a_taken_port_is_named(state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for name in ("broker_port", "clickhouse_port", "api_port"):
            check = _found(load_settings(state=state, **{name: port}), "ports")
            assert not check.ok
            assert f"{name} = {port} is taken" in check.message


def test_too_little_disk_and_memory_are_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_GIB", 10**9)
    monkeypatch.setattr(doctor, "MEMORY_GIB", 10**9)
    settings = load_settings(state=state)
    assert "GiB are free" in _found(settings, "disk").message
    assert "GiB of memory" in _found(settings, "memory").message


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = _found(load_settings(state=tmp_path / "file" / "state"), "state")
    assert not check.ok
    assert "cannot be written" in check.message


@pytest.mark.parametrize("given", ["clickhouse_url", "clickhouse_reader_url"])
def test_servers_that_do_not_answer_are_named(state: Path, given: str) -> None:
    settings = load_settings(state=state, bootstrap="127.0.0.1:1", **{given: "http://escape:secret@127.0.0.1:1/escape"})
    checks = {check.name: check for check in doctor.examine(settings)}
    assert "no Kafka broker answers at 127.0.0.1:1" in checks["broker"].message
    assert "ClickHouse at http://127.0.0.1:1 does not answer" in checks["clickhouse"].message
    assert "secret" not in repr(checks)


def test_jars_that_cannot_be_fetched_are_told(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.jars._resolve", lambda *_: None)  # a resolver that brings nothing
    check = _found(load_settings(state=state, cache=tmp_path / "empty"), "jars")
    assert not check.ok
    assert "missing or different" in check.message
    assert "network" in check.remedy
