"""A run as one file: what of the log belongs to a run, written into a container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from economy.errors import InputError
from runs.blocks import Logged
from runs.container import Manifest, write_container
from runs.log import find_run
from runs.progress import Told
from runs.protocol import places
from schemas.catalogue import CLOCK, locked_ids, versions
from schemas.log.history import FAMILIES, Segment, by_place, read_history
from schemas.log.reader import Chunk, LogReader, Place, chunk_of, message_range


@dataclass(frozen=True)
class Own:
    """Consecutive records of one run in one partition: their decoded chunk, and the messages they came in."""

    chunk: Chunk
    messages: Sequence[Message]

    @property
    def offsets(self) -> NDArray[np.int64]:
        return self.chunk.offsets

    def logged(self) -> Iterator[Logged]:
        """The records as they stand on the log."""
        for message in self.messages:
            yield Logged(
                *self.chunk.place, message.offset() or 0, message.timestamp()[1], message.key(), message.value() or b""
            )


def ended_run(bootstrap: str, namespace: str, run: int) -> tuple[Segment, dict[Place, tuple[int, int]]]:
    """A run that has ended, and [start, end) of the log's parts that hold it, the clock's first.

    Raises UnknownRunError, or InputError for a run that goes on.
    """
    info = find_run(bootstrap, namespace, run)
    if info.state not in ("finished", "aborted"):
        raise InputError("run", run, f"it is {info.state}: export it when it has ended")
    segment = read_history(bootstrap, namespace, run)[-1]
    start, end = segment.extent(bootstrap, namespace)
    held = places(segment.started["partitions"], segment.started["flow_partitions"])
    with LogReader(bootstrap, namespace, {}) as reader:
        clock: Place = (CLOCK, 0)
        ranges = {clock: (reader.begin_offsets([clock])[clock], reader.end_offsets([clock])[clock])}
    return segment, ranges | {place: (start[place], end[place]) for place in sorted(held)}


def read_own(bootstrap: str, namespace: str, run: int, place: Place, start: int, end: int) -> Iterator[Own]:
    """The records of one run in [start, end) of one partition, in order, repeats included."""
    for _, messages in message_range(bootstrap, namespace, {place: start}, {place: end}):
        chunk = _chunk(place, messages)
        at = positions(chunk, run)
        if len(at) < len(messages):
            messages = [messages[i] for i in at.tolist()]
            chunk = _chunk(place, messages)
        if messages:
            yield Own(chunk, messages)


def _chunk(place: Place, messages: Sequence[Message]) -> Chunk:
    offsets = np.array([message.offset() for message in messages], np.int64)
    return chunk_of(*place, [message.value() or b"" for message in messages], offsets)


def positions(chunk: Chunk, run: int) -> NDArray[np.int64]:
    """Where in a chunk the records of a run are, in order; what cannot be decoded is nobody's."""
    rows = [chunk.index[name][rows[:, 0] == run] for name, rows in chunk.rows.items()]
    cold = [position for position, _, record in chunk.cold if record["run"] == run]
    return np.sort(np.concatenate([*rows, np.array(cold, np.int64)]))


def export_file(bootstrap: str, namespace: str, run: int, path: Path, on_progress: Told | None = None) -> Manifest:
    """Write a run that has ended into a file; returns its manifest.

    Raises UnknownRunError, InputError for a run that goes on, SetupError for a file that cannot be written.
    """
    segment, ranges = ended_run(bootstrap, namespace, run)
    total = sum(end - start for start, end in ranges.values())
    counts, used = dict.fromkeys(ranges, 0), set()

    def records() -> Iterator[Logged]:
        done = 0
        for place, (start, end) in ranges.items():
            for own in read_own(bootstrap, namespace, run, place, start, end):
                for record in own.logged():
                    used.add(int.from_bytes(record.value[1:5], "big"))
                    yield record
                counts[place] += len(own.messages)
                if on_progress is not None:
                    on_progress(done + int(own.offsets[-1]) - start, total)
            done += end - start

    ranks = parent_ranks(bootstrap, namespace, segment)
    return write_container(path, records(), lambda size, sound: _manifest(segment, counts, used, size, sound, ranks))


def _manifest(
    segment: Segment, counts: Mapping[Place, int], used: set[int], size: int, sha256: str, ranks: dict[str, list[int]]
) -> Manifest:
    s, finished = segment.started, segment.clock.finished or {}
    prints = {entry["id"]: entry["fingerprint"] for entries in locked_ids().values() for entry in entries}
    records: dict[str, list[int]] = {}
    for (family, _), count in counts.items():
        records.setdefault(family, []).append(count)
    schemas = {
        str(number): {"name": versions()[number][0], "fingerprint": prints[number], "schema": versions()[number][1]}
        for number in sorted(used)
    }
    return Manifest(
        segment.run, s["scenario_name"], "finished" if finished else "aborted", finished.get("digest", ""),
        finished.get("root", ""), s["shards"], s["partitions"], s["flow_partitions"], s["parent"], s["parent_epoch"],
        records, size, sha256, schemas, ranks,
    )  # fmt: skip


# ---- offsets by rank: they differ between two logs, the number of a run's records before them does not
def ranks_of(
    bootstrap: str,
    namespace: str,
    run: int,
    ranges: Mapping[Place, tuple[int, int]],
    wanted: Mapping[Place, Sequence[int]],
) -> dict[Place, list[int]]:
    """How many of a run's records precede each wanted offset."""
    found = {}
    for place, offsets in wanted.items():
        start, end = ranges[place]
        rank = np.zeros(len(offsets), np.int64)
        for own in read_own(bootstrap, namespace, run, place, start, min(end, max(offsets, default=0))):
            rank += np.searchsorted(own.offsets, offsets)
        found[place] = rank.tolist()
    return found


def parent_ranks(bootstrap: str, namespace: str, segment: Segment) -> dict[str, list[int]]:
    """For a fork, the number of the parent's own records before the cut, by topic and partition."""
    if not segment.started["parent"]:
        return {}
    parent = read_history(bootstrap, namespace, segment.started["parent"])[-1]
    cuts = by_place(segment.started["parent_offsets"])
    ranges = {place: (parent.start[place], cut) for place, cut in cuts.items()}
    ranks = ranks_of(bootstrap, namespace, parent.run, ranges, {place: [cut] for place, cut in cuts.items()})
    found: dict[str, list[int]] = {family: [] for family in FAMILIES}
    for place in sorted(ranks):
        found[place[0]].append(ranks[place][0])
    return found


def offsets_of(
    bootstrap: str,
    namespace: str,
    run: int,
    ranges: Mapping[Place, tuple[int, int]],
    wanted: Mapping[Place, Sequence[int]],
) -> dict[Place, list[int]]:
    """The inverse: the offset of the run's record of each rank; where a run has no more records, the range's end."""
    found: dict[Place, list[int]] = {}
    for place, ranks in wanted.items():
        start, end = ranges[place]
        offsets = np.full(len(ranks), end, np.int64)
        asked, before = np.array(ranks, np.int64), 0
        for own in read_own(bootstrap, namespace, run, place, start, end):
            here = (asked >= before) & (asked < before + len(own.offsets))
            offsets[here] = own.offsets[asked[here] - before]
            before += len(own.offsets)
        found[place] = offsets.tolist()
    return found
