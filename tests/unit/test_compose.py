"""docker-compose.yml: valid by the Compose specification, safe by default, and starting what the tests start."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from infra.settings import Settings

ROOT = Path(__file__).parents[2]
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

    known = {f"ESCAPE_{name.upper()}" for name in Settings.model_fields}
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for service in composed["services"].values():
        given = service.get("environment", {})
        assert {name for name in given if name.startswith("ESCAPE_")} <= known
        command = service.get("command", [])
        if command[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(command[2]) is not None
        elif command[:1] == ["escape"]:
            assert command[1] in commands


def test_no_secret_has_a_default(composed: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert "PASSWORD:-" not in text
    assert composed["services"]["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"].startswith(
        "${CLICKHOUSE_PASSWORD:?"
    )
