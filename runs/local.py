"""The local carrier: shards and markets in one process, the same functions and the same digest as on the stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agents.model import Model
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import run_digest
from economy.records.events import Events
from runs.execution import Execution, Interventions
from schemas.log.assembly import OPENING

OnEpoch = Callable[[int, Events], None]


@dataclass(frozen=True)
class RunResult:
    """What a finished run tells; seconds are wall time."""

    run: int
    digest: str
    ticks: int
    orders: int
    trades: int
    decisions: int
    flows: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        """As the command line prints it."""
        rate = round(self.orders / self.seconds) if self.seconds else 0
        return {**self.__dict__, "seconds": round(self.seconds, 3), "orders_per_second": rate}


def run_local(
    model: Model,
    run: int = 1,
    shards: int = 1,
    partitions: int = 1,
    interventions: Interventions | None = None,
    on_epoch: OnEpoch | None = None,
    restore_every: int = 0,
) -> RunResult:
    """Run a model to its end.

    `on_epoch(epoch, events)` sees every record of each epoch, the opening as epoch -1; `restore_every` epochs all
    shards and markets are dumped and loaded again, which must not show in the result.
    """
    began = time.perf_counter()
    execution = Execution(model, run, shards, partitions, interventions)
    opening = execution.open()
    if on_epoch:
        on_epoch(OPENING, opening)
    return to_the_end(execution, began, on_epoch, restore_every)


def to_the_end(
    execution: Execution, began: float, on_epoch: OnEpoch | None = None, restore_every: int = 0
) -> RunResult:
    """Run an execution from its cut to the end; what is counted is what happens on the way."""
    model = execution.model
    counts = dict.fromkeys(("orders", "trades", "decisions", "flows"), 0)
    for epoch, events in execution.epochs():
        counts["orders"] += len(events.get(e.OrderSubmitted.name, ()))
        counts["decisions"] += len(events.get(e.AgentDecided.name, ()))
        counts["trades"] += len(events.get(e.TradeExecuted.name, ()))
        counts["flows"] += sum(map(len, canonical.select(events, canonical.FLOW_TYPES).values()))
        if on_epoch:
            on_epoch(epoch, events)
        if restore_every and (epoch + 1) % restore_every == 0:
            execution.load(execution.dump())
    digest = run_digest(tuple(row) for row in execution.chains.rows().tolist())
    ticks = (model.last_epoch + 1) * model.epoch_ticks
    return RunResult(run=execution.run, digest=digest, ticks=ticks, seconds=time.perf_counter() - began, **counts)
