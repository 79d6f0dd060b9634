"""Settings: precedence, and every wrong key or value named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from economy.errors import InputError
from economy.scenario import load_scenario
from infra.components import tables_of
from infra.settings import FILE, Settings, load_settings, told
from schemas.log.topics import Replicas


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ESCAPE_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_flags_go_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().shards == 2
    Path("escape.toml").write_text("shards = 3\npartitions = 4\n")
    assert (load_settings().shards, load_settings().partitions) == (3, 4)
    monkeypatch.setenv("ESCAPE_SHARDS", "5")
    assert (load_settings().shards, load_settings().partitions) == (5, 4)
    assert load_settings(shards=6, partitions=None).shards == 6


def test_an_unknown_key_is_refused_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESCAPE_SHARD", "5")
    with pytest.raises(InputError, match=r"ESCAPE_SHARD = '5'.*ESCAPE_SHARDS"):
        load_settings()
    monkeypatch.delenv("ESCAPE_SHARD")
    Path("escape.toml").write_text("nonsense = 3\n")
    with pytest.raises(InputError, match=r"nonsense = 3.*known settings are"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"), [("shards", "many"), ("shards", "0"), ("broker_port", "70000"), ("namespace", "No spaces")]
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ESCAPE_{name.upper()}", value)
    with pytest.raises(InputError, match=name):
        load_settings()


def test_a_file_that_is_no_toml_is_named() -> None:
    Path("escape.toml").write_text("shards = = 3\n")
    with pytest.raises(InputError, match=r"escape\.toml"):
        load_settings()


@pytest.mark.parametrize(
    ("replication", "min_insync", "named"),
    [(0, 0, "replication = 0"), (2, 3, "min_insync = 3"), (1, 2, "min_insync = 2")],
)
def test_replicas_that_could_take_no_write_are_refused(replication: int, min_insync: int, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Replicas(replication, min_insync)
    assert Replicas(-1, 2).config == {"min.insync.replicas": "2"}


@pytest.mark.parametrize("text", ["api.example, www.example", "api.example,www.example,"])
def test_names_are_separated_by_commas_in_a_variable_and_a_list_in_the_file(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    names = ("api.example", "www.example")
    Path("escape.toml").write_text('allow_host = ["api.example", "www.example"]\n')
    assert load_settings().allow_host == names
    Path("escape.toml").unlink()
    monkeypatch.setenv("ESCAPE_ALLOW_HOST", text)
    assert load_settings().allow_host == names
    monkeypatch.setenv("ESCAPE_ALLOW_HOST", "")
    assert load_settings().allow_host == ()


def test_another_process_loads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = load_settings(production=True, allow_host=("a", "b"), replication=3, bootstrap="x:1,y:2", min_insync=2)
    for name, value in chosen.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == chosen


def test_who_only_reads_needs_no_password_of_the_writer() -> None:
    writer, reader = tables_of(load_settings(clickhouse_url="http://w:1@h:8123/d"), 0)
    assert writer == reader
    both = {"clickhouse_url": "http://w:1@h:8123/d", "clickhouse_reader_url": "http://r:2@h:8123/d"}
    writer, reader = tables_of(load_settings(**both), 0)
    assert writer is not None
    assert (writer.user, reader.user) == ("w", "r")
    writer, reader = tables_of(load_settings(clickhouse_reader_url="http://r:2@h:8123/d"), 0)
    assert (writer, reader.user) == (None, "r")


BROKEN = [
    (b"\xef\xbb\xbfyears = 1\n", "byte order mark"),
    ("years = 1\n".encode("utf-16"), "UTF-16"),
    (b"years = 1\n# H\xe4ndler\n", "line 2 is not UTF-8"),
    (b"years = \x00\n", "correct the TOML"),
    (b"years = " + b"[" * 100_000, "nested too deeply"),
    (b"years = " + b"9" * 5_000, "correct the TOML"),
]


@pytest.mark.parametrize(("content", "word"), BROKEN)
@pytest.mark.parametrize("name", ["escape.toml", "scenario.toml"])
def test_a_file_that_cannot_be_toml_says_why(name: str, content: bytes, word: str) -> None:
    Path(name).write_bytes(content)
    read = load_settings if name == "escape.toml" else lambda: load_scenario(name)
    with pytest.raises(InputError, match=word) as raised:
        read()
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_settings_file_that_cannot_be_read_is_not_passed_over() -> None:
    path = Path("escape.toml")
    for make, word in (
        (path.mkdir, "a folder"),
        (lambda: os.mkfifo(path), "a pipe"),
        (lambda: path.symlink_to("nowhere"), "No such file"),
        (lambda: path.symlink_to("/dev/null"), "a device"),
    ):
        make()
        with pytest.raises(InputError, match=f"settings file.*{word}"):
            load_settings()
        path.rmdir() if path.is_dir() else path.unlink()
    assert load_settings().shards == 2


def test_a_scenario_that_is_no_regular_file_is_refused_at_once() -> None:
    os.mkfifo("scenario.toml")
    for name in ("scenario.toml", ".", "/dev/null", "nowhere"):
        with pytest.raises(InputError, match=r"give the path of a TOML file or one of: .*village"):
            load_scenario(name)


def test_each_setting_is_listed_with_its_source_and_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(FILE).write_text('shards = 3\nallow_host = ["a", "b"]\n')
    monkeypatch.setenv("ESCAPE_CLICKHOUSE_URL", "https://escape:a:word%40@host:8443/escape")
    listed = {one.pop("setting"): one for one in told(load_settings())}
    assert listed.keys() == Settings.model_fields.keys()
    assert all(one["description"] for one in listed.values())
    assert {name: (one["value"], one["from"]) for name, one in listed.items() if one["from"] != "default"} == {
        "clickhouse_url": ("https://escape:***@host:8443/escape", "variable"),
        "shards": ("3", FILE),
        "allow_host": ("a,b", FILE),
    }
    assert listed["log_level"]["variable"] == "ESCAPE_LOG_LEVEL"
