"""The catalogue of events for people: table data for the command line, docs/events.md for the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.catalogue import ALSO_IN, EVENTS, locked_ids

TARGET = Path(__file__).parent.parent / "docs" / "events.md"


def catalogue_rows() -> list[dict[str, Any]]:
    """One entry per event, by topic and name: what `escape schemas list --json` prints."""
    return [
        {
            "event": event.name,
            "topic": event.topic,
            "also_in": list(ALSO_IN.get(event.name, ())),
            "key": ", ".join(["run", *([event.key_field] if event.key_field else [])]),
            "schema_id": event.schema_id,
            "version": len(locked_ids()[event.name]),
            "doc": event.doc,
            "fields": [
                {"name": f.name, "type": f.type, "unit": f.unit, "doc": f.doc, "symbols": list(f.symbols)}
                for f in event.fields
            ],
        }
        for event in sorted(EVENTS.values(), key=lambda event: (event.topic, event.name))
    ]


def markdown() -> str:
    """docs/events.md: written by `python -m schemas.render`, held up to date by a test."""
    lines = [
        "# Events",
        "",
        "Written by `python -m schemas.render` from schemas/avro. Wire format: byte 0, schema id (4 bytes, big",
        "endian), Avro body. Topics carry the namespace as a prefix, `escape.` by default.",
    ]
    topic = ""
    for row in catalogue_rows():
        if row["topic"] != topic:
            topic = row["topic"]
            lines += ["", f"## {topic}"]
        also = f"; also in {', '.join(row['also_in'])}" if row["also_in"] else ""
        lines += [
            "",
            f"### {row['event']}",
            "",
            f"{row['doc']}. Key: {row['key']}. Schema id {row['schema_id']}, version {row['version']}{also}.",
            "",
            "| field | type | unit | meaning |",
            "| --- | --- | --- | --- |",
        ]
        for f in row["fields"]:
            kind = f"{f['type']}: {', '.join(f['symbols'])}" if f["symbols"] else f["type"]
            lines.append(f"| {f['name']} | {kind} | {f['unit']} | {f['doc']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(markdown())
