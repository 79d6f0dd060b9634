"""docker-compose.yml: valid by the Compose specification, safe by default, and starting what the tests start."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from infra.settings import Settings, load_settings
from queries.settings import ServerSettings
from schemas.clickhouse_server import ClickHouseConfig
from streams.settings import HealthSettings, MatchingSettings, ProjectionSettings, SinkSettings
from telemetry.process import PREFIX, ProcessSettings, variables

ROOT = Path(__file__).parents[2]
PROCESSES: tuple[type[ProcessSettings], ...] = (MatchingSettings, ProjectionSettings, SinkSettings, ServerSettings)
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields} | variables(*PROCESSES)
API_ONLY = variables(ServerSettings) - variables(MatchingSettings, ProjectionSettings, SinkSettings) | {
    PREFIX + name for name in ("PRODUCTION", "ALLOW_HOST", "ALLOW_ORIGIN", "TRUST_PROXY")
}
# Made for the file: addresses of its services, folders and ports of its containers, one process a container.
OURS = {
    PREFIX + name
    for name in (
        "BOOTSTRAP", "CLICKHOUSE_URL", "CLICKHOUSE_READER_URL", "RAY_ADDRESS", "SPARK_MASTER", "WORKERS", "SINKS",
        "PARTITIONS_OF", "PROJECTIONS", "RUNS_OF", "STATE", "CACHE", "DATA", "NAME", "LOG_FOLDER", "LOG_NAME",
        "JAVA_HOME", "BROKER_PORT", "CLICKHOUSE_PORT", "API_PORT", "HOST", "PORT", "DESCRIPTOR", "REPORTS", "COPIES",
    )
}  # fmt: skip
SCHEMA = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def test_it_is_valid_by_the_specification(composed: dict[str, Any]) -> None:
    validator = Draft7Validator(SCHEMA)
    assert [error.message for error in validator.iter_errors(composed)] == []
    broken = {**composed, "services": {"kafka": {"imagge": "x"}}}  # the schema does find mistakes
    assert list(validator.iter_errors(broken))


def test_ports_are_published_on_loopback_only(composed: dict[str, Any]) -> None:
    ports = [port for service in composed["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_settings_and_entry_points_exist(composed: dict[str, Any]) -> None:
    from typer.main import get_command

    from infra.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for service in composed["services"].values():
        given = service.get("environment", {})
        assert {name for name in given if name.startswith(PREFIX)} <= KNOWN
        command = service.get("command", [])
        if command[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(command[2]) is not None
        elif command[:1] == ["escape"]:
            assert command[1] in commands


def _plain(text: str) -> str:
    """As compose reads it where no variable is set but those that must be."""
    return re.sub(r"\$\{\w+:?[-?]([^}]*)\}", r"\1", text)


def test_our_processes_are_told_what_their_models_say(
    composed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command line is read by the model that the process reads, and says what the deployment's settings do."""
    known = {model.MODULE: model for model in PROCESSES}
    found = {}
    for service in composed["services"].values():
        if service.get("command", [])[:2] != ["python", "-m"]:
            continue
        words = [_plain(word) for word in service["command"][2:]]
        model = known.get(" ".join(words[:2])) or known[words[0]]
        with monkeypatch.context() as patched:
            for name, value in service.get("environment", {}).items():
                if value is not None:
                    patched.setenv(name, _plain(value))
            told, settings = model.parse(words[len(model.MODULE.split()) :]), load_settings()
            tables = ClickHouseConfig.from_dsn(settings.clickhouse_url)
        found[model] = told
        own = {"log_level"} if model is ServerSettings else set()  # it tells little unless asked for more
        for name in model.model_fields.keys() & Settings.model_fields.keys() - own:
            assert getattr(told, name) == getattr(settings, name), name
        assert tables.password
        assert tables.password not in " ".join(words)
    assert found.keys() == set(PROCESSES)


def test_every_setting_is_handed_over_or_made_for_this_file(composed: dict[str, Any]) -> None:
    """What a process may be told by a variable, it can be told by `.env`."""
    ours = ["prepare", "matching", "projection", "sink", "ray-head", "ray-worker"]
    for service, read in [*((name, KNOWN - API_ONLY) for name in ours), ("api", variables(ServerSettings))]:
        given = composed["services"][service]["environment"]
        assert {name for name in read if name not in given} <= OURS, service
        assert {name for name in OURS if given.get(name, "") is None} == set(), service


@pytest.mark.parametrize(
    ("service", "model"),
    [("matching", MatchingSettings), ("projection", ProjectionSettings), ("sink", SinkSettings)],
)
def test_the_health_of_a_worker_is_asked_where_it_tells_it(
    composed: dict[str, Any], service: str, model: type[MatchingSettings | ProjectionSettings | SinkSettings]
) -> None:
    found = composed["services"][service]
    asked = HealthSettings.parse(found["healthcheck"]["test"][4:])
    assert found["healthcheck"]["test"][:4] == ["CMD", "python", "-m", HealthSettings.MODULE]
    tables = [] if model is not SinkSettings else ["--clickhouse-url", "http://escape@clickhouse:8123/escape"]
    words = found["command"][2 + len(model.MODULE.split()) :]
    told = model.parse([*words, "--bootstrap", "kafka:9092", *tables])
    assert (told.data, told.name) == (asked.data, asked.name)


def test_no_secret_has_a_default_and_none_stands_in_a_command(composed: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert "PASSWORD:-" not in text
    assert composed["services"]["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"].startswith(
        "${CLICKHOUSE_PASSWORD:?"
    )
    for service in composed["services"].values():
        words = [*service.get("command", []), *service.get("healthcheck", {}).get("test", [])]
        assert not [word for word in words if re.search("password|token", word, re.IGNORECASE)], words


def test_who_serves_queries_has_no_password_but_the_readers(composed: dict[str, Any]) -> None:
    given = composed["services"]["api"]["environment"]
    assert ClickHouseConfig.from_dsn(given["ESCAPE_CLICKHOUSE_URL"]).user == "reader"
    assert given["CLICKHOUSE_PASSWORD"].startswith("${CLICKHOUSE_READER_PASSWORD:?")
    assert not [value for value in given.values() if value and "${CLICKHOUSE_PASSWORD" in value]
    assert given["ESCAPE_PRODUCTION"] == "${ESCAPE_PRODUCTION:-true}"


def test_a_gateway_before_the_api_is_named_by_variables(composed: dict[str, Any]) -> None:
    """All clients come from its address, so what may be said of hosts and origins is not enough."""
    given = composed["services"]["api"]["environment"]
    names = {"ESCAPE_ALLOW_HOST", "ESCAPE_ALLOW_ORIGIN", "ESCAPE_TRUST_PROXY"}
    assert {name: given.get(name, "") for name in names} == dict.fromkeys(names)
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert not [name for name in names if f"`{name}`" not in page]


def test_the_file_of_secrets_goes_into_no_image_and_no_commit() -> None:
    for name in (".dockerignore", ".gitignore"):
        assert ".env" in (ROOT / name).read_text().splitlines(), name


def test_every_node_of_ray_and_whoever_starts_runs_has_the_token(composed: dict[str, Any]) -> None:
    for name, service in composed["services"].items():
        if service.get("command", [""])[0] == "ray":
            assert service["environment"]["RAY_AUTH_MODE"] == "token", name
            assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token", name
            assert service["secrets"] == ["ray_token"], name
    assert composed["secrets"] == {"ray_token": {"environment": "RAY_TOKEN"}}


def test_reports_are_served_from_where_they_are_written(composed: dict[str, Any]) -> None:
    written, served = (set(composed["services"][name]["volumes"]) for name in ("ray-head", "api"))
    assert "reports:/data/reports" in written & served


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.cluster.yml"])
def test_images_that_are_not_ours_are_named_by_digest(file: str) -> None:
    """Whoever may move a tag may not change what runs here."""
    named = re.findall(r"^\s+image: (\S+)$", (ROOT / file).read_text(), re.MULTILINE)
    foreign = [name for name in named if not name.startswith("escapecapitalism:")]
    assert [name for name in foreign if not re.fullmatch(r"\S+:[\w.]+@sha256:[0-9a-f]{64}", name)] == []


def test_the_image_has_what_a_run_needs_and_no_more() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "RUN make setup LOCKS=requirements.lock\n" in text
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}\nFROM \$\{BASE\}$", text, re.MULTILINE)
    locked = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"^(pytest|mypy|ruff|hypothesis|ob-analytics)==", locked, re.MULTILINE)
