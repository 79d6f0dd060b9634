"""How a fork is opened on the log: its parent's state at a cut, then the run's own epochs behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents import snapshot
from agents.model import Intervention, Model
from agents.pinned import recorded_of
from agents.registry import OWN_MODELS, Models, model_name
from economy.errors import InputError, ProtocolError
from economy.records import canonical
from economy.records.events import ChainScope, Events
from runs.checkpoint import Checkpoints, check_matched, execution_at
from runs.execution import State, part_of
from runs.progress import Told
from runs.protocol import RunSpec, by_family, cut_at, new_run_id, places, start_of
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES, partition_of
from schemas.files import replacing
from schemas.log.assembly import OPENING
from schemas.log.history import Segment, by_place, interventions, read_epochs, read_history
from schemas.log.reader import Place, end_offsets
from schemas.log.snapshots import packed, unpacked
from schemas.log.writer import LogWriter

_PART: Final = 512 << 10  # bytes of the books in one record, below a topic's usual limit of 1 MB


def fork_spec(
    segments: Sequence[Segment], epoch: int, changes: Sequence[Intervention], checkpoint: Path, model: Model
) -> RunSpec:
    """A fork that leaves the history at the cut of `epoch`, on as many shards and partitions.

    Raises InputError for a change that the model does not know.
    """
    check_changes(model, changes)
    parent = parent_at(segments, epoch)
    s = parent.started
    return RunSpec(
        new_run_id(), s["environment"]["model"], s["scenario"], s["seed"], s["shards"], s["partitions"],
        s["flow_partitions"], s["rules_version"], parent.run, epoch, str(checkpoint), tuple(changes),
    )  # fmt: skip


def check_changes(model: Model, changes: Sequence[Intervention]) -> None:
    """Raises InputError for a change that the model does not know, or that is given twice."""
    for key, value in changes:
        model.check(key, value)
    doubled = {key for key, _ in changes if [other for other, _ in changes].count(key) > 1}
    if doubled:
        raise InputError("intervention", min(doubled), "give each key once")


def prepare_fork(
    bootstrap: str, namespace: str, run: int, tick: int, changes: Sequence[Intervention], folder: Path,
    every: int = 100, told: Told | None = None, models: Models = OWN_MODELS,
) -> RunSpec:  # fmt: skip
    """Bring the state of a run at the cut before a tick into a file and describe the fork that starts from it.

    Raises InputError for a tick that is no cut, a change that is not on the menu, a model that is not among `models`,
    and a run that cannot be computed again here; NonDeterministicError when what is computed is not what the log holds.
    """
    segments = read_history(bootstrap, namespace, run)
    own = segments[-1]
    if own.started["last_epoch"] < 0:
        raise InputError("run", run, "a tape has no agents that could do otherwise")
    epoch = cut_at(tick, own.started["epoch_ticks"], own.last)
    if epoch == own.last:
        raise InputError("tick", tick, "nothing is left to be run behind it")
    models.check(*(model_name(segment.started) for segment in segments))
    model = models.of(own.started)
    kept = Checkpoints.of(folder, namespace, own.started, every)
    spec = fork_spec(segments, epoch, changes, kept.folder / f"fork-{epoch}.npz", model)
    again, events = execution_at(segments, epoch, kept, told, models)
    if epoch > OPENING:
        check_matched(bootstrap, namespace, parent_at(segments, epoch), epoch, events)
    pinned = model.pinned(spec.interventions)
    recorded = recorded_behind(bootstrap, namespace, spec.parent, epoch, pinned) if len(pinned) else {}
    again.interventions = {**again.interventions, epoch + 1: spec.interventions}
    again.change(epoch + 1, recorded)
    kept.folder.mkdir(parents=True, exist_ok=True)
    with replacing(Path(spec.checkpoint)) as file:
        file.write(packed(again.dump()))
    return spec


def recorded_behind(bootstrap: str, namespace: str, run: int, epoch: int, agents: NDArray[np.int64]) -> Events:
    """What agents did in a run behind the cut of an epoch, from its log. Raises InputError for a run that goes on."""
    segments = [segment for segment in read_history(bootstrap, namespace, run) if segment.last > epoch]
    if segments[-1].clock.finished is None:
        raise InputError("run", run, "agents can be pinned to what they did in a run that has ended: wait for it")
    found = []
    for number, families in read_epochs(bootstrap, namespace, segments, (DECISIONS, FLOWS, ORDERS)):
        if number > epoch:
            found += [recorded_of(part, agents) for part in families.values()]
    return canonical.merge(found)


def parent_at(segments: Sequence[Segment], epoch: int) -> Segment:
    """The segment of a history that a cut belongs to: the run itself, or an ancestor that it had not left yet."""
    return next(segment for segment in segments if segment.first <= epoch <= segment.last)


def changes_of(pairs: Sequence[tuple[str, str]]) -> list[Intervention]:
    """(key, value as JSON) from the command line's texts: a number, null, or else a string."""
    found = []
    for key, text in pairs:
        try:
            found.append((key, json.dumps(json.loads(text))))
        except (ValueError, RecursionError):
            found.append((key, json.dumps(text)))
    return found


def open_fork(
    bootstrap: str, namespace: str, writer: LogWriter, spec: RunSpec, model: Model, incarnation: int
) -> dict[str, Any]:
    """Write the parent's state, the changes and RunStarted; returns the latter.

    Safe to repeat after a crash before RunStarted: what was written collapses. Raises ProtocolError for a state that
    is not the parent's at the cut.
    """
    state = unpacked(Path(spec.checkpoint).read_bytes())
    if int(state["cut"][0]) != spec.parent_epoch:
        raise ProtocolError(f"{spec.checkpoint} holds the cut of epoch {state['cut'][0]}", "fork again")
    segments = read_history(bootstrap, namespace, spec.parent)
    parent = segments[-1]
    changes = [
        change
        for epoch, told in sorted(interventions(segments).items())
        if epoch <= spec.parent_epoch
        for change in told
    ]
    started = start_of(bootstrap, namespace, writer, spec, model, (*changes, *spec.interventions))
    for partition in range(spec.partitions):
        _send_books(writer, spec, partition, state)
    offsets = by_place(started["start_offsets"])
    for shard in range(spec.shards):
        _send_shard(writer, spec, shard, state, offsets)
    for key, value in spec.interventions:
        record = {"run": spec.run, "epoch": spec.parent_epoch + 1, "incarnation": incarnation, "key": key}
        writer.send_record("InterventionApplied", {**record, "value": value}, 0)
    writer.flush()
    ends: dict[Place, int] = dict(parent.end) or end_offsets(
        bootstrap, namespace, places(spec.partitions, spec.flow_partitions)
    )
    started["parent_offsets"] = by_family(ends)
    writer.send_record("RunStarted", started, 0)
    writer.flush()
    return started


def _send_books(writer: LogWriter, spec: RunSpec, partition: int, state: State) -> None:
    chains = state["chains"]
    mine = np.isin(chains[:, 0], (ChainScope.ORDERS, ChainScope.TRADES))
    mine &= partition_of(chains[:, 1], spec.partitions) == partition
    market = {f"market/{name}": rows for name, rows in part_of(state, "market", partition).items()}
    data = packed({"chains": chains[mine], **market})
    parts = [data[at : at + _PART] for at in range(0, len(data), _PART)]
    for number, part in enumerate(parts):
        record = {"run": spec.run, "epoch": spec.parent_epoch, "partition": partition, "part": number}
        writer.send_record("BooksRestored", {**record, "parts": len(parts), "state": part}, partition)


def _send_shard(writer: LogWriter, spec: RunSpec, shard: int, state: State, offsets: dict[Place, int]) -> None:
    chains = state["chains"]
    mine = np.isin(chains[:, 0], (ChainScope.DECISIONS, ChainScope.FLOWS)) & (chains[:, 1] % spec.shards == shard)
    read = {place: offset for place, offset in offsets.items() if place[0] in (FLOWS, TRADES)}
    counts = np.zeros(len(snapshot.COUNTS), np.int64)
    kept = snapshot.Kept(spec.parent_epoch, counts, chains[mine], {}, read, part_of(state, "shard", shard))
    snapshot.send(writer, spec.run, shard, kept)
