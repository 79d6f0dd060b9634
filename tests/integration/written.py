"""A whole run written to a real log by one process: as shards, matching and clock would, with room to lie."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

from agents.model import Model
from agents.registry import Models
from economy.errors import AccountingError
from economy.indicators import WindowProjection
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import Chains, mark, run_digest, seal
from economy.records.events import ChainScope, Events
from runs.execution import Interventions
from runs.protocol import RunSpec, by_family, close_run, open_run, places
from runs.reexecution import execution_of, group
from runs.verify import Audit
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log import topics
from schemas.log.founding import founding, village_of
from schemas.log.history import read_chunks, read_epochs, read_history
from schemas.log.reader import end_offsets
from schemas.log.writer import LogWriter

Alter = Callable[[int, Events], Events]
_SCOPES = {
    DECISIONS: ChainScope.DECISIONS, FLOWS: ChainScope.FLOWS, ORDERS: ChainScope.ORDERS, TRADES: ChainScope.TRADES,
}  # fmt: skip


def unaltered(epoch: int, events: Events) -> Events:
    return events


class Written:
    """Writes a run to a namespace of its own. `alter` changes an epoch's events before they are hashed and sent."""

    def __init__(
        self, bootstrap: str, namespace: str, model: Model, factory: str, alter: Alter = unaltered, shards: int = 2,
        figures: Callable[[int, str, int], int] = lambda window, name, value: value,
        rules_version: int = 0, run: int = 7,
        changes: Interventions | None = None, incarnation: int = 1,
    ) -> None:  # fmt: skip
        topics.create(bootstrap, namespace, 2, 2)
        self.bootstrap, self.namespace = bootstrap, namespace
        self.writer = LogWriter(bootstrap, namespace)
        self.spec = RunSpec(run, factory, model.scenario_json(), model.seed, shards, 2, 2)
        if rules_version:
            self.spec = RunSpec(run, factory, model.scenario_json(), model.seed, shards, 2, 2, rules_version)
        self.writer.send_rows("ClockStarted", np.array([[run, 1]], np.int64), 0)
        self.started = open_run(bootstrap, namespace, self.writer, self.spec, model)
        self.marks: dict[tuple[str, int, int], int] = {}
        self.incarnation = incarnation  # of the shards
        self.chains = Chains()
        again = execution_of(self.started, changes or {}, Models((factory,)), chained=False)
        again.open()
        for epoch, events in again.epochs():
            self._epoch(epoch, alter(epoch, events), epoch == model.last_epoch)
        close_run(self.writer, run, 2, 2)
        self._finish()
        (segment,) = read_history(bootstrap, namespace, run)
        if village_of(segment.clock):
            self._project(segment, figures)

    def _epoch(self, epoch: int, events: Events, last: bool) -> None:
        self.chains.update(epoch, events)
        granted = {"run": self.spec.run, "epoch": epoch, "incarnation": 1, "offsets": [0, 0]}
        self.writer.send_record("EpochGranted", granted, 0)
        for family, partition in places(2, 2):
            for writer in range(1 if family == TRADES else self.spec.shards):
                part = group(events, family, partition, 2, writer, self.spec.shards)
                place = (family, partition, writer)
                count, digest, self.marks[place] = mark(part, _SCOPES[family], self.marks.get(place, 0))
                if family == TRADES:
                    if part:
                        names = list(part)
                        keys = np.concatenate([part[name][:, [canonical.INSTRUMENT, canonical.SEQ]] for name in names])
                        order = np.lexsort((keys[:, 1], keys[:, 0]))
                        self.writer.send_interleaved(part, order, partition)
                    row = [self.spec.run, epoch, partition, count, digest, self.marks[place], int(last)]
                    self.writer.send_rows("EpochMatched", np.array([row], np.int64), partition)
                else:
                    for name, rows in part.items():
                        self.writer.send_rows(name, rows, partition)
                    row = [
                        self.spec.run, epoch, writer, partition, count, digest, self.marks[place], int(last),
                        self.incarnation,
                    ]  # fmt: skip
                    self.writer.send_rows("EpochClosed", np.array([row], np.int64), partition, family)
        self.writer.flush()

    def _finish(self) -> None:
        self.writer.send_rows("ChainSealed", seal(self.chains.rows(), self.spec.run, 0), 0, FLOWS)
        self.writer.flush()
        ends = by_family(end_offsets(self.bootstrap, self.namespace, places(2, 2)))
        (segment,) = read_history(self.bootstrap, self.namespace, self.spec.run)
        audit = Audit(segment, chained=False)
        for chunk in read_chunks(self.bootstrap, self.namespace, segment):
            audit.feed(chunk)
        root = audit.verdict().root
        digest = run_digest(tuple(row) for row in self.chains.rows().tolist())
        last = self.started["last_epoch"] + 1
        finished = {"run": self.spec.run, "incarnation": 1, "end_offsets": ends, "digest": digest, "root": root,
                    "ticks": last * self.started["epoch_ticks"]}  # fmt: skip
        self.writer.send_record("RunFinished", finished, 0)
        self.writer.flush()

    def _project(self, segment: Any, figures: Callable[[int, str, int], int]) -> None:
        scenario = village_of(segment.clock)
        assert scenario is not None
        founded = founding(self.bootstrap, self.namespace, self.started)
        projection = WindowProjection(self.spec.run, scenario, founded.roles, founded.instruments)
        for epoch, families in read_epochs(self.bootstrap, self.namespace, [segment], (FLOWS, TRADES)):
            try:
                window = projection.feed(
                    epoch, {name: rows for part in families.values() for name, rows in part.items()}
                )
            except AccountingError:
                break  # the projection gives up such a run as well
            if window is None:
                continue
            self.writer.send_rows(e.BalanceRecorded.name, window.balances, 0)
            for (name, item), value in window.figures.items():
                record = {"run": self.spec.run, "window": window.window, "indicator": name, "item": item}
                told = figures(window.window, name, value)
                self.writer.send_record("WindowMeasured", {**record, "value": Decimal(told)}, 0)
        self.writer.flush()
