"""What tests hold every line of every log to."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

SCHEMA = json.loads((Path(__file__).parents[1] / "telemetry" / "log.schema.json").read_text())


def check_lines(folder: Path) -> list[dict[str, Any]]:
    """Every line of the logs below a folder, each of which the schema describes."""
    validator, found = Draft7Validator(SCHEMA), []
    for path in sorted(folder.rglob("*.jsonl*")):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for line in data.decode().split("\n")[:-1]:
            told = json.loads(line)
            assert [error.message for error in validator.iter_errors(told)] == [], (path, line)
            found.append(told)
    return found
