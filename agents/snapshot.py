"""A shard's snapshots on the log: what the loop around it needs to go on behind a cut, and the shard's own state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

import numpy as np

from economy.records.events import Rows
from schemas.catalogue import AGENT_SNAPSHOTS, DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log import snapshots
from schemas.log.batchwriter import BatchWriter
from schemas.log.clocklog import read_clock
from schemas.log.reader import Place, read_all
from schemas.log.writer import LogWriter

COUNTS: Final = ("decisions", "flows", "orders", "trades")
_WORKER_OF: Final = 1024  # shards per run in a snapshot's owner number
_WRITTEN: Final = (DECISIONS, FLOWS, ORDERS)
_READ: Final = (FLOWS, TRADES)
T = TypeVar("T")


class Kept(NamedTuple):
    """What a snapshot holds."""

    cut: int
    counts: Rows  # of COUNTS
    chains: Rows
    marks: Mapping[Place, int]  # heads of the chains of what was written
    offsets: Mapping[Place, int]  # to read from
    state: snapshots.State  # of the shard
    incarnation: int = 0  # of the process that wrote it; none of a fork's first snapshot


def newest(bootstrap: str, namespace: str, run: int, shard: int, load: Callable[[Kept], T]) -> T | None:
    """What `load` makes of the newest snapshot that can be read and loaded; None when there is none."""
    found = snapshots.loaded(_values(bootstrap, namespace), _owner(run, shard), lambda state: load(_kept(state)))
    return None if found is None else found[1]


def send(writer: LogWriter | BatchWriter, run: int, shard: int, kept: Kept) -> None:
    """Queue the snapshot from which a shard goes on behind a cut; a fork's shards begin with one."""
    whole: snapshots.State = {f"shard/{name}": value for name, value in kept.state.items()}
    whole["loop/cut"] = np.array([kept.cut], np.int64)
    whole["loop/incarnation"] = np.array([kept.incarnation], np.int64)
    whole["loop/counts"] = kept.counts.copy()
    whole["loop/chains"] = kept.chains
    marks = [(_WRITTEN.index(family), p, head) for (family, p), head in kept.marks.items()]
    whole["loop/marks"] = np.array(marks, np.int64).reshape(-1, 3)
    whole["loop/offsets"] = np.array([(_READ.index(family), p, o) for (family, p), o in kept.offsets.items()], np.int64)
    for key, value in snapshots.pack(_owner(run, shard), kept.cut + 2, whole):
        writer.send(AGENT_SNAPSHOTS, 0, value, b"%d." % run + key)


def counts_on_log(bootstrap: str, namespace: str, run: int, shards: int) -> Rows | None:
    """A row of COUNTS for each shard of a finished run, from its last snapshots; None while one is not there yet."""
    started = read_clock(bootstrap, namespace, run).started
    values, counts = _values(bootstrap, namespace), []
    for shard in range(shards):
        found = snapshots.loaded(values, _owner(run, shard), _kept)
        if found is None or started is None or found[1].cut != started["last_epoch"]:
            return None
        counts.append(found[1].counts)
    return np.array(counts, np.int64)


def _owner(run: int, shard: int) -> int:
    return run * _WORKER_OF + shard


def _values(bootstrap: str, namespace: str) -> list[bytes]:
    return [value for chunk in read_all(bootstrap, namespace, [(AGENT_SNAPSHOTS, 0)]) for value in chunk.values]


def _kept(state: snapshots.State) -> Kept:
    return Kept(
        int(state["loop/cut"][0]),
        state["loop/counts"].copy(),
        state["loop/chains"],
        {(_WRITTEN[f], int(p)): int(head) for f, p, head in state["loop/marks"]},
        {(_READ[f], int(p)): int(offset) for f, p, offset in state["loop/offsets"]},
        {name.removeprefix("shard/"): value for name, value in state.items() if name.startswith("shard/")},
        int(state["loop/incarnation"][0]) if "loop/incarnation" in state else 0,  # none of an earlier version
    )
