"""A run as files: one Avro object container per topic with the run's records as they stand on the log, and run.json.

Several event types share a topic, so a file's schema is a union of records. Any Avro library reads it. Records that a
crash had written twice are there twice, as on the log: they are equal, and their identity tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro

from economy.errors import SetupError
from runs.formats import CODEC
from runs.log import RunInfo
from runs.protocol import places
from schemas.catalogue import ALSO_IN, CLOCK, EVENTS
from schemas.codec import decode_record
from schemas.log.reader import Place, end_offsets, read_range


def _named(schema: Any, namespace: str, seen: set[str]) -> Any:
    """The schema with every named type but the first of its name replaced by the name."""
    if isinstance(schema, list):
        return [_named(part, namespace, seen) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema["type"] not in ("record", "enum", "fixed"):
        inner = {key: _named(schema[key], namespace, seen) for key in ("items", "values") if key in schema}
        return {**schema, **inner}
    space = schema.get("namespace", namespace)
    name = f"{space}.{schema['name']}"
    if name in seen:
        return name
    seen.add(name)
    if "fields" not in schema:
        return schema
    fields = [{**field, "type": _named(field["type"], space, seen)} for field in schema["fields"]]
    return {**schema, "fields": fields}


def union_of(family: str) -> list[Any]:
    """Schema of a topic's file: every event that it can hold."""
    seen: set[str] = set()
    held = [event for event in EVENTS.values() if event.topic == family or family in ALSO_IN.get(event.name, ())]
    return [_named(dict(event.schema), "", seen) for event in held]


def export_run(bootstrap: str, namespace: str, info: RunInfo, folder: Path) -> dict[str, int]:
    """Write the files into `folder`; returns the number of records per topic. Raises SetupError for a bad folder."""
    s = info.started
    families: dict[str, list[Place]] = {CLOCK: [(CLOCK, 0)]}
    for place in places(s["partitions"], s["flow_partitions"]):
        families.setdefault(place[0], []).append(place)
    counts = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for family, there in families.items():
            counts[family] = _write(bootstrap, namespace, info, family, there, folder / f"{family}.avro")
        (folder / "run.json").write_text(json.dumps({**info.to_json(), "records": counts}, indent=2))
    except OSError as error:
        raise SetupError(f"{folder} cannot be written: {error.strerror}", "choose another folder") from error
    return counts


def _write(bootstrap: str, namespace: str, info: RunInfo, family: str, there: list[Place], path: Path) -> int:
    # The clock's topic holds little and is read from its beginning; what a tape does not write to is left out.
    offsets = [0] if family == CLOCK else info.started["start_offsets"].get(family, [])
    start = {place: offsets[place[1]] for place in there if place[1] < len(offsets)}
    count = 0

    def records() -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal count
        for chunk in read_range(bootstrap, namespace, start, end_offsets(bootstrap, namespace, list(start))):
            defects = {position for position, _ in chunk.defects}
            for position, value in enumerate(chunk.values):
                if position in defects:
                    continue
                name, record = decode_record(value)
                if record["run"] == info.run:
                    count += 1
                    yield f"{EVENTS[name].namespace}.{name}", record

    draft = path.with_suffix(".draft")
    with open(draft, "wb") as file:
        fastavro.writer(file, fastavro.parse_schema(union_of(family)), records(), CODEC)
    draft.replace(path)
    return count
