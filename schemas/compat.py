"""FULL_TRANSITIVE compatibility: every version ever committed can be read as today's, and today's as every old one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

with warnings.catch_warnings():
    # avro warns at import about logical types of other people's schemas.
    warnings.simplefilter("ignore")
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
    from avro.schema import parse

from schemas.catalogue import EVENTS, locked_ids, schema_fingerprint, versions


def incompatible(reader: Mapping[str, Any], writer: Mapping[str, Any]) -> list[str]:
    """Why records of `writer` cannot be read as `reader`; empty when they can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checker: Any = ReaderWriterCompatibilityChecker  # avro ships no types
        result = checker().get_compatibility(parse(json.dumps(dict(reader))), parse(json.dumps(dict(writer))))
    if result.compatibility == SchemaCompatibilityType.compatible:
        return []
    return [f"{where}: {why}" for where, why in zip(sorted(result.locations), sorted(result.messages), strict=False)]


def broken_promises() -> list[str]:
    """Everything that the committed schemas owe their past: a locked id, and full compatibility with every version."""
    found = []
    for name, event in EVENTS.items():
        entries = locked_ids().get(name, [])
        if not entries or entries[-1]["fingerprint"] != schema_fingerprint(event.schema):
            found.append(f"{name}: the schema differs from ids.lock; keep the old one in avro/history and relock")
        for entry in entries:
            old = versions()[entry["id"]][1]
            for reader, writer, what in ((event.schema, old, "read"), (old, event.schema, "be read by")):
                found += [f"{name} cannot {what} version {entry['id']}: {why}" for why in incompatible(reader, writer)]
    ids = [entry["id"] for entries in locked_ids().values() for entry in entries]
    found += [f"schema id {i} is used twice" for i in sorted({i for i in ids if ids.count(i) > 1})]
    return found
