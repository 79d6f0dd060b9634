"""Records that stand under a run's key without being its own: bytes that nobody can read, and other runs' records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from schemas.catalogue import ALSO_IN, EVENTS, FACTS
from schemas.log.findings import Fault
from schemas.log.reader import Chunk

# Names of the records of each topic of facts.
AT_HOME: Final = {
    family: frozenset(
        name for name, event in EVENTS.items() if event.topic == family or family in ALSO_IN.get(name, ())
    )
    for family in FACTS
}


def strangers(chunk: Chunk, run: int) -> Iterator[tuple[Fault, int, str]]:
    """(fault, offset, what it is) of each record that claims to be of a run, or of its topic, and is not."""
    for position, defect in chunk.defects:
        if chunk.run_at(position) == run:
            yield Fault.UNDECODABLE, int(chunk.offsets[position]), defect.name.lower()
    for name, rows in chunk.rows.items():
        index = chunk.index[name]
        if name not in AT_HOME[chunk.family]:
            for position in index[rows[:, 0] == run].tolist():
                yield Fault.FOREIGN, int(chunk.offsets[position]), f"{name} does not belong here"
        if chunk.runs is not None:
            for at in np.flatnonzero((chunk.runs[index] == run) & (rows[:, 0] != run)).tolist():
                said = f"{name} of run {rows[at, 0]} under the key of run {run}"
                yield Fault.FOREIGN, int(chunk.offsets[index[at]]), said
    for position, name, record in chunk.cold:
        of = record["run"]
        if of == run and name not in AT_HOME[chunk.family]:
            yield Fault.FOREIGN, int(chunk.offsets[position]), f"{name} does not belong here"
        elif of != run and chunk.run_at(position) == run:
            yield Fault.FOREIGN, int(chunk.offsets[position]), f"{name} of run {of} under the key of run {run}"
