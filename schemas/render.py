"""The catalogue of events for people: table data for the command line, docs/events.md for the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from economy.accounts import COMPONENTS, RULES, Entry, Leg
from economy.measures import MEASURES
from economy.records.events import Account, InstrumentClass, TransferKind, Use
from schemas.catalogue import ALSO_IN, EVENTS, locked_ids
from schemas.generate import RESERVED

DOCS = Path(__file__).parent.parent / "docs"
_ENUMS = {"instrument_class": InstrumentClass, "use": Use, "kind": TransferKind, "account": Account}


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
        "endian), Avro body. Topics carry the namespace as a prefix, `escape.` by default. Nothing writes symbols that",
        "are reserved.",
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
            reserved = RESERVED.get(f["type"].removeprefix("enum "), ())
            symbols = [f"{symbol} (reserved)" if symbol in reserved else symbol for symbol in f["symbols"]]
            kind = f"{f['type']}: {', '.join(symbols)}" if symbols else f["type"]
            lines.append(f"| {f['name']} | {kind} | {f['unit']} | {f['doc']} |")
    return "\n".join(lines) + "\n"


def _leg(leg: Leg) -> str:
    who = {0: "government", 1: "central bank"}.get(leg.agent, leg.agent) if isinstance(leg.agent, int) else leg.agent
    amount = "".join(f" {'+' if sign > 0 else '-'} {name}" for name, sign in leg.quantity).strip()
    return f"{who} {leg.account.name.lower()} {amount}{' (operating)' if leg.operating else ''}"


def _entry(entry: Entry) -> str:
    return f"{entry.component} {'+' if entry.sign > 0 else '-'} {entry.column}{' at value' if entry.valued else ''}"


def accounts_markdown() -> str:
    """docs/accounts.md: posting rules and measures, from the tables that the code reads."""
    lines = [
        "# Accounts and measures",
        "",
        "Written by `python -m schemas.render` from economy/accounts.py and economy/measures.py.",
        "",
        "## Posting rules",
        "",
        "What each event does to the accounts and adds to GDP; corporations' `operating` cash makes up their surplus.",
        "",
        "| event | where | row of the flow matrix | postings | GDP entries |",
        "| --- | --- | --- | --- | --- |",
    ]
    for rule in RULES:
        where = ", ".join(f"{k} = {_ENUMS[k](v).name.lower()}" for k, v in rule.where.items())
        legs, entries = "<br>".join(map(_leg, rule.legs)), "<br>".join(map(_entry, rule.entries))
        lines.append(f"| {rule.event} | {where} | {rule.line} | {legs} | {entries} |")
    lines += ["", "## Approaches to GDP", ""]
    for approach, parts in COMPONENTS.items():
        terms = "".join(f" {'+' if sign > 0 else '-'} {name}" for name, sign in parts.items()).strip(" +")
        lines.append(f"- **{approach.value}**: {terms}")
    lines += ["", "## Measures", "", "| name | unit | meaning | item |", "| --- | --- | --- | --- |"]
    lines += [f"| {m.name} | {m.unit} | {m.doc} | {m.item} |" for m in MEASURES]
    return "\n".join(lines) + "\n"


GENERATED = {"events.md": markdown, "accounts.md": accounts_markdown}

if __name__ == "__main__":
    for name, render in GENERATED.items():
        (DOCS / name).write_text(render())
