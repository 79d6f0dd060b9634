"""What a process is told: one model, read from flags and environment, written as a command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from economy.errors import InputError
from infra import components
from infra.clickhouse import EngineSettings
from infra.settings import Settings, load_settings
from jobs.settings import JobSettings
from queries.settings import ServerSettings, WorkerSettings
from queries.store import Store
from runs.settings import ClockSettings
from schemas.clickhouse_server import ClickHouseConfig, DeniedError
from streams.settings import MatchingSettings, ProjectionSettings, SinkSettings
from streams.tables import Tables
from telemetry.process import ProcessSettings, run_process
from tests.processes import PATIENCE

TABLES = ClickHouseConfig("http://127.0.0.1:8123", "re ader", "p@ss/word", "escape")
EVERY: list[ProcessSettings] = [
    MatchingSettings(bootstrap="b:1", partitions=3, data=Path("/x y"), session_timeout=6.5),
    ProjectionSettings(bootstrap="b:1", flow_partitions=4, name="p1"),
    SinkSettings(bootstrap="b:1", clickhouse_url=TABLES.address),
    ClockSettings(spec=Path("spec.json"), bootstrap="b:1", pace=60, follow_parent=True),
    ServerSettings(clickhouse_url=TABLES.address, production=True, allow_host=("a.example", "b.example"), descriptor=7),
    WorkerSettings(descriptor=3),
    JobSettings(job="gdp", run=7, bootstrap="b:1", shuffle_partitions=64),
    EngineSettings(data=Path("/d"), port=9000),
]


@pytest.mark.parametrize("told", EVERY, ids=lambda told: told.MODULE)
def test_a_command_line_is_read_as_the_model_that_wrote_it(
    told: ProcessSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says, also of what the model leaves at its default."""
    for name, field in type(told).model_fields.items():
        if isinstance(field.default, int | float):
            monkeypatch.setenv(f"ESCAPE_{name.upper()}", "1")
    monkeypatch.setenv("ESCAPE_NAMESPACE", "other")
    command = told.command()
    assert command[: 2 + len(told.MODULE.split())] == [sys.executable, "-m", *told.MODULE.split()]
    assert type(told).parse(command[2 + len(told.MODULE.split()) :]) == told


def test_flags_come_before_the_environment_and_that_before_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESCAPE_BOOTSTRAP", "kafka:9092")
    monkeypatch.setenv("ESCAPE_PARTITIONS", "5")
    told = MatchingSettings.parse(["--partitions", "6"])
    assert (told.bootstrap, told.partitions, told.namespace) == ("kafka:9092", 6, "escape")
    monkeypatch.setenv("ESCAPE_ALLOW_HOST", "a,b")
    assert ServerSettings.parse(["--clickhouse-url=http://x"]).allow_host == ("a", "b")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "--bootstrap"),
        (["--bootstrap", "b:1", "--partitions", "none"], "--partitions = 'none'"),
        (["--bootstrap", "b:1", "--session-timeout=0"], "--session-timeout = '0'"),
        (["--bootstrap=http://u:s3cret@h:1"], "CLICKHOUSE_PASSWORD_FILE"),
        (["--bootstrap", "http://u:s3cret@h:1"], "CLICKHOUSE_PASSWORD_FILE"),
    ],
)
def test_what_is_wrong_is_one_line(given: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_process(MatchingSettings, lambda _: pytest.fail("it ran"), given) == InputError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("escape: ")
    assert words in said
    assert len(said.splitlines()) == 1
    assert "s3cret" not in said


def test_children_of_the_stack_get_passwords_by_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(state=tmp_path, partitions=2)
    assert isinstance(settings, Settings)
    children = [
        components.matching(settings, "b:1"),
        *components.projections(settings, "b:1"),
        *components.sinks(settings, "b:1", TABLES),
        components.api(settings, TABLES, 3, True, ["h"], [], 2),
        components.clickhouse(settings, 1),
    ]
    assert not any(TABLES.password in word for child in children for word in child.command)
    for child in children[2:4]:
        for name, value in child.environment.items():
            monkeypatch.setenv(name, value)
        (address,) = (word.partition("=")[2] for word in child.command if word.startswith("--clickhouse-url="))
        assert ClickHouseConfig.from_dsn(address) == TABLES


def test_a_password_comes_from_address_file_or_variable(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of the file\n")
    both = {"CLICKHOUSE_PASSWORD": "of the variable", "CLICKHOUSE_PASSWORD_FILE": str(file)}
    assert ClickHouseConfig.from_dsn("http://u@h", both).password == "of the file"
    del both["CLICKHOUSE_PASSWORD_FILE"]
    assert ClickHouseConfig.from_dsn("http://u@h", both).password == "of the variable"
    assert ClickHouseConfig.from_dsn("http://u:own@h", both).password == "own"
    assert ClickHouseConfig.from_dsn(TABLES.dsn, {}) == TABLES
    with pytest.raises(InputError, match="CLICKHOUSE_PASSWORD_FILE"):
        ClickHouseConfig.from_dsn("http://u@h", {"CLICKHOUSE_PASSWORD_FILE": str(tmp_path / "none")})


def test_every_process_tells_its_flags() -> None:
    """Quickly: help and mistakes must not load what the process works with."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.worker", "matching", "--help"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0
    for name in MatchingSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in done.stdout


@pytest.mark.parametrize("code", [516, 497, 192])
def test_whoever_clickhouse_refuses_is_told_at_once_by_reader_and_writer(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Also in mid-work, when the password has changed: as no failure that passes, however the client calls it."""
    asked = []

    class Client:
        def raw_insert(self, *_: object, **__: object) -> None:
            asked.append(code)
            raise OperationalError(f"Code: {code}. DB::Exception: no (for url x)", code=code)

        query = raw_insert

    monkeypatch.setattr("streams.tables.connect", lambda _: Client())
    monkeypatch.setattr("queries.store.connect", lambda *_: Client())
    tables, store = Tables(TABLES), Store(TABLES)
    for statement in (
        lambda: tables._insert("t", ["a"], b""),
        lambda: tables._select("SELECT 1", {}),
        lambda: store.rows("SELECT 1"),
    ):
        with pytest.raises(DeniedError, match="refuses the user re ader"):
            statement()
    assert len(asked) == 3
