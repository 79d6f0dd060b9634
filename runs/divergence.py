"""What a run computed again in a process beside is compared by: its markers, then the first event that differs.

Without the agents and the market, which the process beside alone has to load.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from economy.records.events import Events
from runs.beside import ROW, Job
from schemas.catalogue import DECISIONS, EVENTS, FLOWS, ORDERS, TRADES

ORDER: Final = (DECISIONS, ORDERS, FLOWS, TRADES)  # in which an epoch's records come about
Key = tuple[int, str, int, int]  # epoch, topic, partition, writer
Sides = tuple[dict[str, Any] | None, dict[str, Any] | None]  # an event as recorded and as computed


def computed_markers(job: Job) -> dict[Key, tuple[int, int]]:
    """(count, digest) of every marker that a job computed. Raises ProtocolError when its process failed."""
    return {
        (epoch, ORDER[topic], partition, writer): (count, digest)
        for epoch, topic, partition, writer, count, digest in struct.iter_unpack(f"<{ROW // 8}q", job.result())
    }


def first_difference(recorded: Events, computed: Events, family: str) -> Sides | None:
    """The first event in canonical order that is not on both sides, as each side has it; None where all are alike."""
    ours, theirs = _keyed(computed, family), _keyed(recorded, family)
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            return _event(theirs.get(key)), _event(ours.get(key))
    return None


def _keyed(events: Events, family: str) -> dict[tuple[int, ...], tuple[str, tuple[int, ...]]]:
    """(name, fields but the run) of each record by its place in the canonical order."""
    found: dict[tuple[int, ...], tuple[str, tuple[int, ...]]] = {}
    for name, rows in events.items():
        for row in rows.tolist():
            key = (row[3], row[1], row[2]) if family == TRADES else (row[1], row[2], row[3])
            found[key] = name, tuple(row[1:])
    return found


def _event(record: tuple[str, tuple[int, ...]] | None) -> dict[str, Any] | None:
    if record is None:
        return None
    name, values = record
    fields = EVENTS[name].fields[1:]
    told = {f.name: f.symbols[v] if f.symbols else v for f, v in zip(fields, values, strict=True)}
    return {"event": name, **told}
