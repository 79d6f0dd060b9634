"""Logs: lines as the schema says, a file for each day, and bounds for a hundred days, a bad day and a full disk."""

from __future__ import annotations

import gzip
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.java import file_logging
from telemetry import logs
from telemetry.logs import DailyFile, JsonLines, LogOptions, Text, bound
from tests.loglines import check_lines
from tests.processes import PATIENCE

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


class Clock:
    """A wall clock that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class Log:
    """A file with a clock of the test's own, tidied when asked."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.clock = Clock()
        self.handler = DailyFile(path, self.clock, **options)
        self.handler.setFormatter(JsonLines("sink"))

    def say(self, message: str, level: int = logging.INFO, **fields: Any) -> None:
        record = logging.makeLogRecord({"name": "escape.sink", "levelno": level, "msg": message, **fields})
        record.created = self.clock.now
        self.handler.handle(record)

    def settle(self) -> None:
        """Wait for what packs beside, then pack and delete again: a turn in the meantime started nothing."""
        if self.handler._tidying is not None:
            self.handler._tidying.join()
        self.handler.tidy()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "sink.jsonl", file_bytes=10_000, kept_bytes=1 << 20)
    yield made
    made.handler.close()


def messages(path: Path) -> list[str]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_a_hundred_days_leave_ninety_and_today(log: Log, tmp_path: Path) -> None:
    for day in range(100):
        log.clock.now = NOON + day * DAY
        log.say(f"noon of day {day}")
        log.clock.now = (NOON // DAY + 1 + day) * DAY - 0.001
        log.say(f"last of day {day}")
    log.settle()
    assert messages(tmp_path / "sink.jsonl") == ["noon of day 99", "last of day 99"]
    old = sorted(tmp_path.glob("sink.*.jsonl.gz"))
    assert len(old) == 90
    first = datetime.fromtimestamp(NOON, UTC).date() + timedelta(days=9)
    assert old[0].name == f"sink.{first}.1.jsonl.gz"
    assert messages(old[0]) == ["noon of day 9", "last of day 9"]
    assert {path.name for path in tmp_path.iterdir()} == {"sink.jsonl", *(path.name for path in old)}


def test_midnight_is_that_of_utc(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    log.clock.now = (NOON // DAY + 1) * DAY - 0.001
    log.say("the old day")
    log.clock.now += 0.001
    log.say("the new day")
    assert messages(tmp_path / "sink.jsonl") == ["the new day"]


def test_a_bad_day_has_a_bound(tmp_path: Path) -> None:
    log = Log(tmp_path / "sink.jsonl", file_bytes=10_000, kept_bytes=20_000)
    for number in range(3_000):
        log.say(f"{number} {os.urandom(100).hex()}")
        if number % 100 == 0:
            log.settle()
    log.settle()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000 + 10_000
    kept = [int(said.split()[0]) for path in sorted(tmp_path.iterdir()) for said in messages(path)]
    assert max(kept) == 2_999
    assert sorted(kept) == list(range(min(kept), 3_000))  # the newest, without a gap
    log.handler.close()


def test_a_start_goes_on_with_the_file_of_the_day_and_closes_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "sink.jsonl"
    first = Log(path)
    first.say("before")
    first.handler.close()
    os.utime(path, (NOON, NOON))
    second = Log(path)
    second.say("after")
    assert messages(path) == ["before", "after"]
    second.handler.close()
    os.utime(path, (NOON, NOON))
    third = Log(path)
    third.clock.now += DAY
    third.say("next day")
    third.settle()
    assert messages(path) == ["next day"]
    assert messages(tmp_path / "sink.2026-01-01.1.jsonl.gz") == ["before", "after"]
    third.handler.close()


def test_what_a_crash_cut_off_is_mended_and_packed(tmp_path: Path) -> None:
    path, old = tmp_path / "sink.jsonl", tmp_path / "sink.2025-12-31.1.jsonl"
    path.write_bytes(b'{"message":"whole"}\n{"message":"cut of')
    old.write_bytes(b'{"message":"yesterday"}\n')
    (tmp_path / "sink.2025-12-31.1.jsonl.gz.part").write_bytes(b"half")
    (tmp_path / "sink-1.2020-01-01.1.jsonl.gz").write_bytes(b"another's")
    os.utime(path, (NOON, NOON))
    log = Log(path)
    log.say("after the crash")
    log.settle()
    assert messages(path) == ["whole", "after the crash"]
    assert messages(tmp_path / "sink.2025-12-31.1.jsonl.gz") == ["yesterday"]
    assert not old.exists()
    assert (tmp_path / "sink-1.2020-01-01.1.jsonl.gz").exists()
    log.handler.close()


def test_a_full_disk_costs_lines_and_nothing_else(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.say("before")
    write = os.write

    def full(file: int, data: bytes) -> int:
        return write(file, data[:10])  # as much as there is room for

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        log.say("lost")
        log.say("lost too")
    log.say("after")
    assert messages(tmp_path / "sink.jsonl") == ["before", "2 lines were lost: no room", "after"]
    check_lines(tmp_path)


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (5, "DEBUG"),
        (10, "DEBUG"),
        (20, "INFO"),
        (25, "INFO"),
        (30, "WARN"),
        (40, "ERROR"),
        (50, "FATAL"),
        (99, "FATAL"),
    ],
)
def test_there_are_five_levels(level: int, name: str) -> None:
    record = logging.makeLogRecord({"name": "faust", "levelno": level, "msg": "x"})
    assert json.loads(JsonLines("matching").format(record))["level"] == name
    assert f" {name} faust x" in Text().format(record)


def test_every_line_is_as_the_schema_says(log: Log, tmp_path: Path) -> None:
    log.say("plain")
    log.say("two\nlines, \u2028, \x00 and a lone \udcff")
    log.say("of a run", run=7, epoch=3)
    try:
        raise ValueError("why")
    except ValueError as error:
        log.say("wrong", logging.ERROR, exc_info=(type(error), error, error.__traceback__))
    told = check_lines(tmp_path)
    assert len(told) == 4
    assert (told[2]["run"], told[2]["epoch"]) == (7, 3)
    assert told[3]["error.type"] == "ValueError"
    assert told[3]["error.stack"].endswith("ValueError: why\n")


@pytest.mark.parametrize("end", ["raise KeyError('the end')", "raise SetupError('no disk', 'buy one')"])
def test_a_process_that_ends_says_why_in_both(tmp_path: Path, end: str) -> None:
    """In its log as a line of it, and on stderr, where who started it finds its last words."""
    program = f"""
import logging, sys
from typing import ClassVar
from economy.errors import SetupError
from telemetry.process import ProcessSettings, run_process
class Of(ProcessSettings):
    MODULE: ClassVar[str] = "x"
    SERVICE: ClassVar[str] = "sink"
def body(told):
    logging.getLogger("escape.x").info("begun")
    {end}
sys.exit(run_process(Of, body, ["--log-folder", {str(tmp_path / "logs")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == (3 if "SetupError" in end else 1)
    told = check_lines(tmp_path / "logs")
    assert [line["level"] for line in told] == ["INFO", "FATAL"]
    last = done.stderr.strip().splitlines()[-1]
    assert last in ("escape: no disk: buy one", "KeyError: 'the end'")
    assert "begun" not in done.stderr


def test_without_a_folder_lines_go_to_stderr_in_the_format_asked_for() -> None:
    program = "import logging; from telemetry import logs; logs.start(logs.LogOptions('sink', format='json')); "
    done = subprocess.run(
        [sys.executable, "-c", program + "logging.info('x')"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert json.loads(done.stderr)["message"] == "x"
    assert logs.started() is None or isinstance(logs.started(), LogOptions)


def test_what_children_write_past_their_logs_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "matching.log"
    with open(path, "ab") as child:
        child.write(b"x" * 1600 + b"last words")
        child.flush()
        bound(path, 4000)
        assert path.stat().st_size == 1610
        bound(path, 1600)
        assert path.stat().st_size == 0
        assert (tmp_path / "matching.log.1").read_bytes() == (b"x" * 1600 + b"last words")[-100:]
        child.write(b"goes on")
    assert path.read_bytes() == b"goes on"


def test_the_brokers_log_is_kept_and_bounded_alike(tmp_path: Path) -> None:
    told = dict(line.split(" = ", 1) for line in file_logging(tmp_path / "broker.log").splitlines())
    assert told["appender.file.type"] == "RollingFile"
    assert told["appender.file.filePattern"] == f"{tmp_path}/broker.log.%d{{yyyy-MM-dd}}.%i.gz"
    assert told["appender.file.strategy.delete.name.any.age.age"] == "P90D"
