"""Re-execution of a run: `python -m runs.reexecution` takes a job on stdin and gives markers on stdout.

What is computed again is compared with the log by the digests that every writer closed its epochs with, so that no
record has to travel between the processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, Final

import numpy as np

from agents.model import Intervention
from agents.registry import Models
from economy.records import canonical
from economy.records import events as e
from economy.records.blake import hash_parts
from economy.records.digest import mark, marks
from economy.records.events import ChainScope, Events, Rows
from runs.beside import ROW
from runs.divergence import ORDER, Key, Sides, first_difference
from runs.execution import Execution
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES, partition_of
from schemas.log.history import Segment, interventions, read_chunks

_KINDS: Final = {
    DECISIONS: (ChainScope.DECISIONS, canonical.DECISION_TYPES, canonical.AGENT),
    FLOWS: (ChainScope.FLOWS, canonical.FLOW_TYPES, canonical.AGENT),
    ORDERS: (ChainScope.ORDERS, canonical.ORDER_TYPES, e.OrderSubmitted.INSTRUMENT),
    TRADES: (ChainScope.TRADES, canonical.TRADE_TYPES, canonical.INSTRUMENT),
}
_USUAL: Final = "agents.village"  # model of nearly every run, imported while the job is still to come
_BATCH: Final = 50  # epochs whose markers are computed at once


def group(events: Events, family: str, partition: int, partitions: int, writer: int, shards: int) -> Events:
    """Records of one writer in one partition, out of an epoch's."""
    _, names, column = _KINDS[family]
    found = {}
    for name, rows in canonical.select(events, names).items():
        mine = np.ones(len(rows), np.bool_)
        if partitions > 1:
            mine &= partition_of(rows[:, column], partitions) == partition
        if family != TRADES and shards > 1:
            mine &= rows[:, canonical.AGENT] % shards == writer
        if mine.any():
            found[name] = rows if mine.all() else rows[mine]
    return found


def markers(batch: Sequence[tuple[int, Events]], started: Mapping[str, Any]) -> Rows:
    """(epoch, topic's number, partition, writer, count, digest) of every marker that closes one of these epochs."""
    found = []
    numbers = [number for number, _ in batch]
    for topic, family in enumerate(ORDER):
        scope, names, column = _KINDS[family]
        partitions = started["partitions" if family in (ORDERS, TRADES) else "flow_partitions"]
        shards = 1 if family == TRADES else started["shards"]
        parts = [canonical.select(events, names) for _, events in batch]
        together = canonical.merge(parts)
        groups = {}
        for name, rows in together.items():
            at = np.repeat(np.arange(len(batch)), [len(part.get(name, ())) for part in parts])
            writer = rows[:, canonical.AGENT] % shards if shards > 1 else 0
            groups[name] = (at * partitions + partition_of(rows[:, column], partitions)) * shards + writer
        out = np.empty((len(batch), partitions, shards, ROW // 8), np.int64)
        out[..., 0] = np.array(numbers)[:, None, None]
        out[..., 1], out[..., 2], out[..., 3] = topic, np.arange(partitions)[:, None], np.arange(shards)
        out[..., 4:] = mark({}, scope, 0)[:2]
        flat = out.reshape(-1, ROW // 8)
        marked = marks(together, scope, groups)
        flat[marked[:, 0], 4:] = marked[:, 1:]
        found.append(flat)
    return np.concatenate(found)


def execution_of(
    started: Mapping[str, Any], changed: Mapping[int, Sequence[Intervention]], models: Models, chained: bool = True
) -> Execution:
    """The run as this process computes it, on as many shards and partitions. Raises InputError for another model."""
    return Execution(models.of(started), started["run"], started["shards"], started["partitions"], changed, chained)


def _again(started: Mapping[str, Any], changed: Mapping[int, Sequence[Intervention]], models: Models) -> Execution:
    """The run at its opening, on one shard and one partition: no record depends on how many there are."""
    again = Execution(models.of(started), started["run"], interventions=changed, chained=False)
    again.open()
    return again


def logged(bootstrap: str, namespace: str, segment: Segment, key: Key) -> Events:
    """Unique records of one writer, epoch and partition, as they stand on the log."""
    epoch, family, partition, writer = key
    started = segment.started
    partitions = started["partitions" if family in (ORDERS, TRADES) else "flow_partitions"]
    parts: list[Events] = []
    for chunk in read_chunks(bootstrap, namespace, segment, (family,)):
        mine = {}
        for name, rows in canonical.select(chunk.rows, _KINDS[family][1]).items():
            now = (rows[:, 0] == segment.run) & (canonical.ticks(rows, name) // started["epoch_ticks"] == epoch)
            if now.any():
                mine[name] = rows[now]
        if chunk.partition == partition and mine:
            parts.append(group(mine, family, partition, partitions, writer, started["shards"]))
    return {name: np.unique(rows, axis=0) for name, rows in canonical.merge(parts).items()}


def difference(
    bootstrap: str, namespace: str, segments: Sequence[Segment], suspects: Sequence[Key], models: Models
) -> tuple[Key, Sides] | None:
    """The first of the groups, in the order given, with records that differ, and the first event that does."""
    again = _again(segments[-1].started, interventions(segments), models)
    for epoch in dict.fromkeys(key[0] for key in suspects):
        *_, (_, events) = again.epochs(epoch)
        segment = next(s for s in segments if s.first <= epoch <= s.last)
        for key in (key for key in suspects if key[0] == epoch):
            _, family, partition, writer = key
            partitions = segment.started["partitions" if family in (ORDERS, TRADES) else "flow_partitions"]
            computed = group(events, family, partition, partitions, writer, segment.started["shards"])
            sides = first_difference(logged(bootstrap, namespace, segment, key), computed, family)
            if sides is not None:
                return key, sides
    return None


def main() -> None:
    """Compute the run that stdin describes and write its markers, many epochs at a time."""
    import_module(_USUAL)
    hash_parts(np.empty(0, np.int64), np.zeros(1, np.int64))  # has numba read what all compiled functions stand on
    line = sys.stdin.buffer.readline()
    if not line:
        return  # nothing is to be computed
    told = json.loads(line)
    changed = {int(epoch): [(key, value) for key, value in found] for epoch, found in told["changed"].items()}
    epochs = _again(told, changed, Models(tuple(told["trusted"]))).epochs(told["until"])
    while batch := list(islice(epochs, _BATCH)):
        sys.stdout.buffer.write(markers(batch, told).astype("<i8", copy=False).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
