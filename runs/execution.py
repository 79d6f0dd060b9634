"""A run computed in this process, epoch by epoch: what the local carrier, replay, checkpoints and forks stand on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.model import Intervention, Model, Shard
from agents.pinned import recorded_of
from economy.instruments import Instrument
from economy.markets.market import Market
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import Chains
from economy.records.events import Events
from schemas.catalogue import partition_of
from schemas.log.assembly import OPENING

State = dict[str, NDArray[Any]]
Interventions = Mapping[int, Sequence[Intervention]]


class Execution:
    """Shards and markets of a run at a cut. `cut` is the last epoch computed, -1 after the opening."""

    def __init__(
        self, model: Model, run: int = 1, shards: int = 1, partitions: int = 1,
        interventions: Interventions | None = None, chained: bool = True,
    ) -> None:  # fmt: skip
        """`chained` keeps the chains of the digest, which a run that is only compared does not need."""
        self.model, self.run, self.shards, self.partitions = model, run, shards, partitions
        self.interventions = interventions or {}
        self.chained, self.chains, self.cut = chained, Chains(), OPENING
        self.members: list[Shard] = []
        self.markets: list[Market] = []

    def open(self) -> Events:
        """Make the cut of the opening; returns its records."""
        opening = canonical.sort_flows(self.model.opening(self.run)[0])
        self.members = [self.model.new_shard(self.run, k, self.shards, opening) for k in range(self.shards)]
        self.markets = [Market(self.run, self.model.seed, self.model.epoch_ticks, own) for own in self._listed(OPENING)]
        return opening

    def advance(self) -> Events:
        """Compute the next epoch and make its cut; returns all its records."""
        epoch = self.cut + 1
        told = self.interventions.get(epoch, ())
        if told:
            agents = self.model.pinned(told)
            self.change(epoch, self._elsewhere(epoch, agents) if len(agents) else {})
        sent = canonical.merge([member.step(epoch, told) for member in self.members])
        matched = canonical.merge([self._match(market, p, epoch, sent) for p, market in enumerate(self.markets)])
        everything = {**sent, **matched}
        if self.chained:
            self.chains.update(epoch, everything)
        flows, trades = canonical.sort_flows(sent), canonical.sort_trades(matched)
        for member in self.members:
            member.apply(epoch, flows, trades)
        self.cut = epoch
        return everything

    def change(self, epoch: int, recorded: Events) -> None:
        """Make the changes of the next epoch that are not the agents' own: the rules of trading, and what those did in
        the parent who are pinned to it."""
        relisted = zip(self.markets, self._listed(epoch - 1), self._listed(epoch), strict=True)
        self.markets = [market if old == new else market.relisted(new) for market, old, new in relisted]
        for member in self.members if recorded else ():
            member.learn(recorded)

    def _elsewhere(self, epoch: int, agents: NDArray[np.int64]) -> Events:
        """What agents do from an epoch on without its changes: the parent computed to its end."""
        earlier = {number: told for number, told in self.interventions.items() if number < epoch}
        parent = Execution(self.model, self.run, self.shards, self.partitions, earlier, chained=False)
        parent.load(self.dump())
        return canonical.merge([recorded_of(events, agents) for _, events in parent.epochs()])

    def _listed(self, epoch: int) -> list[list[Instrument]]:
        """Instruments of each partition, as the interventions up to an epoch have them."""
        changes = [
            change for number in sorted(self.interventions) if number <= epoch for change in self.interventions[number]
        ]
        every = self.model.instruments(changes)
        return [[i for i in every if partition_of(i.instrument, self.partitions) == p] for p in range(self.partitions)]

    def epochs(self, last: int | None = None) -> Iterator[tuple[int, Events]]:
        """Every epoch from here to `last`, by default the run's last one."""
        last = self.model.last_epoch if last is None else last
        while self.cut < last:
            events = self.advance()
            yield self.cut, events

    def _match(self, market: Market, partition: int, epoch: int, sent: Events) -> Events:
        parts = []
        for kind in (e.OrderSubmitted, e.OrderCancelRequested):
            rows = sent.get(kind.name, np.empty((0, kind.width), np.int64))
            parts.append(rows[partition_of(rows[:, kind.INSTRUMENT], self.partitions) == partition])
        return market.match_epoch(epoch, *parts)

    # ---- checkpoints
    def dump(self) -> State:
        """State at the cut, as arrays."""
        state: State = {"cut": np.array([self.cut], np.int64), "chains": self.chains.rows()}
        dumped = [("shard", k, member.dump()) for k, member in enumerate(self.members)]
        dumped += [("market", p, market.dump()) for p, market in enumerate(self.markets)]
        for kind, number, part in dumped:
            state |= {f"{kind}/{number}/{name}": rows for name, rows in part.items()}
        return state

    def load(self, state: Mapping[str, NDArray[Any]]) -> Execution:
        """Go to the cut that `dump` gave."""
        self.cut, self.chains = int(state["cut"][0]), Chains.from_rows(state["chains"])
        self.members = [
            self.model.load_shard(self.run, k, self.shards, part_of(state, "shard", k)) for k in range(self.shards)
        ]
        self.markets = [
            Market.load(self.run, self.model.seed, self.model.epoch_ticks, own, part_of(state, "market", p))
            for p, own in enumerate(self._listed(self.cut))
        ]
        return self


def part_of(state: Mapping[str, NDArray[Any]], kind: str, number: int) -> State:
    """One shard's or market's arrays of what `Execution.dump` gave."""
    prefix = f"{kind}/{number}/"
    return {name.removeprefix(prefix): rows for name, rows in state.items() if name.startswith(prefix)}
