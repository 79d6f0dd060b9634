"""A run as files: one Avro object container per topic with the run's records as they stand on the log, and run.json.

A fork comes with its ancestors: their records up to the cut at which each was left, under the runs that wrote them.
Several event types share a topic, so a file's schema is a union of records. Any Avro library reads it. Records that a
crash had written twice are there twice, as on the log: they are equal, and their identity tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fastavro

from economy.errors import SetupError
from runs.formats import CODEC
from runs.log import RunInfo
from runs.protocol import places
from schemas.catalogue import ALSO_IN, CLOCK, EVENTS
from schemas.codec import decode_record
from schemas.files import writing
from schemas.log.history import Segment, read_history
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
    """Write the files into `folder`; returns the number of records per topic.

    Raises SetupError for a bad folder, ProtocolError for a fork whose ancestor is not on the log.
    """
    s = info.started
    history = read_history(bootstrap, namespace, info.run)
    families = dict.fromkeys([CLOCK, *(family for family, _ in places(s["partitions"], s["flow_partitions"]))])
    counts = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SetupError(f"{folder} cannot be written: it is no folder", "choose another folder") from error
    except OSError as error:
        raise SetupError(f"{folder} cannot be written: {error.strerror}", "choose another folder") from error
    for family in families:
        counts[family] = _write(bootstrap, namespace, history, family, folder / f"{family}.avro")
    parts = [{"run": part.run, "first_epoch": part.first, "last_epoch": part.last} for part in history]
    with writing(folder / "run.json") as file:
        file.write(json.dumps({**info.to_json(), "history": parts, "records": counts}, indent=2).encode())
    return counts


def _write(bootstrap: str, namespace: str, history: Sequence[Segment], family: str, path: Path) -> int:
    count = 0

    def records() -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal count
        for part in history:
            for name, record in _records(bootstrap, namespace, part, family):
                # The clock's records say how each run was set up: those of an ancestor are there whole.
                if record["run"] == part.run and (family == CLOCK or part is history[-1] or _before_cut(record, part)):
                    count += 1
                    yield f"{EVENTS[name].namespace}.{name}", record

    with writing(path) as file:
        fastavro.writer(file, fastavro.parse_schema(union_of(family)), records(), CODEC)
    return count


def _records(bootstrap: str, namespace: str, part: Segment, family: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What can be decoded of a topic where a part of the history lies, other runs' records among it."""
    # The clock's topic holds little and is read from its beginning; what a tape does not write to is left out.
    start: dict[Place, int] = (
        {(CLOCK, 0): 0} if family == CLOCK else {place: at for place, at in part.start.items() if place[0] == family}
    )
    end = end_offsets(bootstrap, namespace, list(start))
    if family != CLOCK:
        end |= {place: part.end[place] for place in start if place in part.end}
    for chunk in read_range(bootstrap, namespace, start, end):
        defects = {position for position, _ in chunk.defects}
        for position, value in enumerate(chunk.values):
            if position not in defects:
                yield decode_record(value)


def _before_cut(record: dict[str, Any], part: Segment) -> bool:
    """Whether an ancestor's record belongs to the epochs that the fork shares: its parent went on behind them."""
    if "epoch" in record:
        return bool(record["epoch"] <= part.last)
    return bool(record.get("tick", 0) < (part.last + 1) * part.started["epoch_ticks"])
