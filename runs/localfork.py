"""Forks on the local carrier: of a run in a file, without a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.model import Intervention
from agents.registry import OWN_MODELS, Models, model_name
from economy.errors import InputError, NonDeterministicError
from economy.records import events as e
from economy.records.digest import mark
from economy.records.events import ChainScope, Events
from runs.checked import CheckedRun
from runs.container import Container
from runs.forking import check_changes
from runs.local import RunResult, to_the_end
from runs.progress import Told
from runs.protocol import cut_at, new_run_id, unlike_here
from runs.reexecution import execution_of, group
from schemas.catalogue import TRADES
from schemas.log.assembly import OPENING
from schemas.log.clocklog import ClockLog
from schemas.log.reader import chunk_of_records


@dataclass(frozen=True)
class LocalFork:
    """A fork's result and where it left its parent."""

    result: RunResult
    parent: int
    parent_epoch: int


def fork_file(
    file: Container, tick: int, changes: Sequence[Intervention], models: Models = OWN_MODELS, told: Told | None = None
) -> LocalFork:
    """Fork an exported run at the cut before a tick in this process: the digest that a fork on the log has.

    The file is checked as a whole and the cut held to its records. Raises InputError for a file that is wrong or holds
    a fork, a model that is not among `models`, a tick that is no cut, a change that is not on
    the menu, and a run that cannot be computed again here.
    """
    run = CheckedRun(file)
    started = run.started
    clock = ClockLog(started["run"])
    for _, name, record in run.clock:
        clock.apply(name, record)
    if started["last_epoch"] < 0:
        raise InputError("file", str(file.path), "a tape has no agents that could do otherwise")
    if started["parent"]:
        said = f"it holds a fork of run {started['parent']} without what came before: fork that run's file"
        raise InputError("file", str(file.path), said)
    models.check(model_name(started))
    why = unlike_here(started)
    if why:
        raise InputError("run", started["run"], f"its agents cannot be computed again: {why}")
    epoch = cut_at(tick, started["epoch_ticks"], started["last_epoch"])
    if epoch == started["last_epoch"]:
        raise InputError("tick", tick, "nothing is left to be run behind it")
    model = models.of(started)
    check_changes(model, changes)
    earlier = {number: found for number, found in clock.interventions.items() if number <= epoch}
    again, newest = execution_of(started, {**earlier, epoch + 1: changes}, models), Events()
    again.open()

    def tell(number: int, _: Events) -> None:
        if told is not None:
            told(number + 1, started["last_epoch"] + 1)

    for number, newest in again.epochs(epoch):
        tell(number, newest)
    if epoch > OPENING:
        _hold_to(run, epoch, newest)
    again.run = new_run_id()
    result = to_the_end(again, time.perf_counter(), tell)
    return LocalFork(result, started["run"], epoch)


def _hold_to(run: CheckedRun, epoch: int, events: Events) -> None:
    """Compare what was computed of an epoch with the file's EpochMatched, which hangs on all that went before."""
    m, partitions = e.EpochMatched, run.started["partitions"]
    recorded: dict[int, set[tuple[int, int]]] = {partition: set() for partition in range(partitions)}
    for batch in run.batches():
        if batch.place[0] == TRADES:
            rows = chunk_of_records(batch.place, batch.records).rows.get(m.name, np.empty((0, m.width), np.int64))
            now = rows[rows[:, m.EPOCH] == epoch].tolist()
            recorded[batch.place[1]].update((row[m.COUNT], row[m.DIGEST]) for row in now)
    for partition in range(partitions):
        computed = mark(group(events, TRADES, partition, partitions, 0, 1), ChainScope.TRADES, 0)[:2]
        if recorded[partition] != {computed}:
            raise NonDeterministicError(
                f"epoch {epoch} of run {run.started['run']} computed again differs from its file",
                "import it; `escape replay` shows where",
            )
