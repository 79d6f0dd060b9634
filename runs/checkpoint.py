"""Checkpoints: the state of a run at its cuts, kept in a folder so that any cut is reached in seconds.

They are a cache: all of them come from the log (`world`) or from computing the run again (`execution`), and the folder
may be deleted without loss. Arrays without pickle, one file per kind and cut.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.registry import OWN_MODELS, Models, model_name
from economy.errors import InputError, NonDeterministicError, ProtocolError
from economy.records import events as e
from economy.records.digest import mark
from economy.records.events import ChainScope, Events
from economy.scenario import Scenario
from economy.world import World
from runs.execution import Execution
from runs.progress import Told
from runs.protocol import unlike_here
from runs.rawread import raw_range
from runs.reexecution import execution_of, group
from schemas.catalogue import FLOWS, TRADES
from schemas.files import replacing
from schemas.log.assembly import OPENING
from schemas.log.founding import Founding, founding, village_of
from schemas.log.history import Segment, interventions
from schemas.log.reader import Place, read_range
from schemas.log.snapshots import SnapshotFormatError, checked, stamped

State = dict[str, NDArray[Any]]
_KEY: Final = "checkpoint/key"
_FAMILIES: Final = (FLOWS, TRADES)


@dataclass(frozen=True)
class Checkpoints:
    """Files of one run: `kind`-`epoch`.npz. `key` tells the run from another one with the same number."""

    folder: Path
    key: str
    every: int = 100  # epochs between two that are kept

    @classmethod
    def of(cls, folder: Path, namespace: str, started: Mapping[str, Any], every: int = 100) -> Checkpoints:
        """Those of a run under the state's folder."""
        told = json.dumps({k: v for k, v in started.items() if k != "schemas"}, sort_keys=True, default=str)
        key = blake2b(told.encode(), digest_size=16).hexdigest()
        return cls(folder / "checkpoints" / namespace / str(started["run"]), key, every)

    def due(self, epoch: int) -> bool:
        """Whether the cut of an epoch is one to keep."""
        return epoch >= 0 and (epoch + 1) % self.every == 0

    def save(self, kind: str, epoch: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Keep a state."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{kind}-{epoch}.npz"
        with replacing(path) as file:
            np.savez(file, **stamped(state), **{_KEY: np.array([self.key])})  # type: ignore[arg-type]

    def newest(self, kind: str, epoch: int) -> State | None:
        """The newest kept state at or before a cut; what is damaged, of another run or format is passed over."""
        known = sorted(
            (int(path.stem.rpartition("-")[2]), path) for path in self.folder.glob(f"{kind}-*.npz")
        )  # fmt: skip
        for at, path in reversed(known):
            if at > epoch:
                continue
            try:
                with np.load(path, allow_pickle=False) as stored:
                    if str(stored[_KEY][0]) == self.key:
                        return checked({name: stored[name] for name in stored.files if name != _KEY})
            except (OSError, ValueError, KeyError, zipfile.BadZipFile, SnapshotFormatError):
                continue
        return None


# ---- the world, from the log
def world_at(
    bootstrap: str, namespace: str, segments: tuple[Segment, ...], epoch: int, kept: Checkpoints,
    told: Told | None = None, models: Models = OWN_MODELS,
) -> tuple[World, Founding]:  # fmt: skip
    """The world at a cut, folded from the log; checkpoints are used and made on the way.

    Raises InputError for a run without a village, for a model that is not among `models`, whose records may mean
    anything, and for a cut that the log does not reach.
    """
    own = segments[-1]
    models.check(*(model_name(segment.started) for segment in segments))
    scenario = village_of(own.clock)
    if scenario is None:
        raise InputError("run", own.run, "only runs of a village have balances, books and contracts to show")
    founded = founding(bootstrap, namespace, segments[0].started)
    world = _new_world(scenario, founded)
    found = kept.newest("world", epoch)
    offsets: dict[tuple[int, Place], int] = {}
    if found is not None:
        world.load(found)
        offsets = _places(found)
    for segment in segments:
        if segment.first <= epoch and world.epoch < segment.last:
            _fold(bootstrap, namespace, segment.until(epoch), world, offsets, kept, told, epoch)
    if world.epoch < epoch:
        ticks = own.started["epoch_ticks"]
        raise InputError("tick", (epoch + 1) * ticks, f"the run has got to tick {(world.epoch + 1) * ticks} so far")
    return world, founded


def _new_world(scenario: Scenario, founded: Founding) -> World:
    return World(founded.roles, len(scenario.products), scenario.capital_good, founded.instruments)


def _places(state: State) -> dict[tuple[int, Place], int]:
    """(run, place) -> offset from which a reader goes on."""
    rows = state.pop("offsets").tolist()
    return {(run, (_FAMILIES[family], partition)): offset for run, family, partition, offset in rows}


def _fold(
    bootstrap: str, namespace: str, segment: Segment, world: World, known: Mapping[tuple[int, Place], int],
    kept: Checkpoints, told: Told | None, epoch: int,
) -> None:  # fmt: skip
    start, end = segment.extent(bootstrap, namespace, _FAMILIES)
    start = {place: known.get((segment.run, place), offset) for place, offset in start.items()}
    assembler = segment.assembler(_FAMILIES)
    assembler.next_epoch = max(world.epoch + 1, segment.first)
    position = dict(start)
    for chunk in raw_range(bootstrap, namespace, start, end):
        assembler.add(chunk)
        position[chunk.place] = int(chunk.offsets[-1]) + 1
        while assembler.next_epoch <= segment.last and assembler.complete():
            number, families, _ = assembler.take()
            world.feed(number, {name: rows for part in families.values() for name, rows in part.items()})
            if kept.due(number):
                resume = assembler.resume_offsets(position)
                rows = [(segment.run, _FAMILIES.index(f), p, at) for (f, p), at in resume.items()]
                kept.save("world", number, world.dump() | {"offsets": np.array(rows, np.int64)})
            if told is not None:
                told(number + 1, epoch + 1)
        if assembler.next_epoch > segment.last:
            return


# ---- shards and markets, by computing the run again
def execution_at(
    segments: tuple[Segment, ...], epoch: int, kept: Checkpoints, told: Told | None = None, models: Models = OWN_MODELS
) -> tuple[Execution, Events]:
    """The run's shards and markets at a cut, and the events of its epoch (none at the opening).

    Raises InputError for a model that is not among `models`, and when the run cannot be computed again here.
    """
    own = segments[-1]
    models.check(*(model_name(segment.started) for segment in segments))
    why = unlike_here(own.started)
    if why:
        raise InputError("run", own.run, f"its agents cannot be computed again: {why}")
    again = execution_of(own.started, interventions(segments), models)
    found = kept.newest("execution", epoch - 1) if epoch > OPENING else None
    if found is not None:
        again.load(found)
    else:
        again.open()
    newest: Events = {}
    for number, events in again.epochs(epoch):
        newest = events
        if kept.due(number):
            kept.save("execution", number, again.dump())
        if told is not None:
            told(number + 1, epoch + 1)
    return again, newest


def check_matched(bootstrap: str, namespace: str, segment: Segment, epoch: int, events: Events) -> None:
    """Hold what was computed of an epoch to the log's EpochMatched, which hangs on all that went before.

    Raises ProtocolError when the epoch is not matched on the log yet, NonDeterministicError when it differs.
    """
    partitions = segment.started["partitions"]
    start, end = segment.extent(bootstrap, namespace, (TRADES,))
    m, found = e.EpochMatched, dict[int, tuple[int, int]]()
    for chunk in read_range(bootstrap, namespace, start, end):
        rows = chunk.rows.get(m.name, np.empty((0, m.width), np.int64))
        for row in rows[(rows[:, m.RUN] == segment.run) & (rows[:, m.EPOCH] == epoch)].tolist():
            found[row[m.PARTITION]] = row[m.COUNT], row[m.DIGEST]
        if len(found) == partitions:
            break
    if len(found) < partitions:
        raise ProtocolError(f"epoch {epoch} of run {segment.run} is not matched on the log", "choose an earlier tick")
    for partition, recorded in found.items():
        computed = mark(group(events, TRADES, partition, partitions, 0, 1), ChainScope.TRADES, 0)[:2]
        if computed != recorded:
            raise NonDeterministicError(
                f"epoch {epoch} of run {segment.run} computed again differs from its log",
                f"`escape replay {segment.run}` shows where",
            )
