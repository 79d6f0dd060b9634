"""The local carrier: shards and markets in one process, the same functions and the same digest as on the stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.model import Intervention, Model
from economy import canonical
from economy import events as e
from economy.digest import Chains, run_digest
from economy.events import Events
from economy.market import Market
from schemas.catalogue import partition_of

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
    interventions: Mapping[int, Sequence[Intervention]] | None = None,
    on_epoch: OnEpoch | None = None,
    restore_every: int = 0,
) -> RunResult:
    """Run a model to its end.

    `on_epoch(epoch, events)` sees every record of each epoch, the opening as epoch -1; `restore_every` epochs all
    shards and markets are dumped and loaded again, which must not show in the result.
    """
    began = time.perf_counter()
    listed = model.instruments()
    markets = [
        Market(
            run, model.seed, model.epoch_ticks,
            [i for i in listed if partition_of(i.instrument, partitions) == p],
        )
        for p in range(partitions)
    ]  # fmt: skip
    opening = canonical.sort_flows(model.opening(run)[0])
    if on_epoch:
        on_epoch(-1, opening)
    members = [model.new_shard(run, shard, shards, opening) for shard in range(shards)]
    chains = Chains()
    counts = dict.fromkeys(("orders", "trades", "decisions", "flows"), 0)
    for epoch in range(model.last_epoch + 1):
        told = (interventions or {}).get(epoch, ())
        sent = canonical.merge([member.step(epoch, told) for member in members])
        matched = canonical.merge([_match(market, p, partitions, epoch, sent) for p, market in enumerate(markets)])
        everything = {**sent, **matched}
        chains.update(epoch, everything)
        counts["orders"] += len(sent.get(e.OrderSubmitted.name, ()))
        counts["decisions"] += len(sent.get(e.AgentDecided.name, ()))
        counts["trades"] += len(matched.get(e.TradeExecuted.name, ()))
        flows, trades = canonical.sort_flows(sent), canonical.sort_trades(matched)
        counts["flows"] += sum(map(len, flows.values()))
        for member in members:
            member.apply(epoch, flows, trades)
        if on_epoch:
            on_epoch(epoch, everything)
        if restore_every and (epoch + 1) % restore_every == 0:
            members = [model.load_shard(run, k, shards, member.dump()) for k, member in enumerate(members)]
            markets = [
                Market.load(run, model.seed, model.epoch_ticks, market.instruments, market.dump()) for market in markets
            ]
    digest = run_digest(tuple(row) for row in chains.rows().tolist())
    ticks = (model.last_epoch + 1) * model.epoch_ticks
    return RunResult(run=run, digest=digest, ticks=ticks, seconds=time.perf_counter() - began, **counts)


def _match(market: Market, partition: int, partitions: int, epoch: int, sent: Events) -> Events:
    parts = []
    for kind in (e.OrderSubmitted, e.OrderCancelRequested):
        rows = sent.get(kind.name, np.empty((0, kind.width), np.int64))
        parts.append(rows[rows[:, kind.INSTRUMENT] % partitions == partition])
    return market.match_epoch(epoch, *parts)
