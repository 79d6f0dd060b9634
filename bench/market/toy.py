"""Agents for the measurement of epochs: one order, one decision and sometimes a payment each per epoch, as arrays.

What they do hangs on the last prices and on their own cash, so that no epoch can be computed before the cut of the one
before. A shard writes when it made its cuts, on the machine's monotonic clock, into the folder of the scenario.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.market.flow import instruments
from economy.errors import InputError
from economy.instruments import Instrument
from economy.markets.market import lottery
from economy.records import events as e
from economy.records.events import Action, Events, Rows, TransferKind

BOOKS: Final = 10
EPOCH_TICKS: Final = 20
_CASH: Final = 1_000_000


class ToyShard:
    """Agents shard, shard + shards, … of the model."""

    def __init__(self, model: ToyModel, run: int, shard: int, shards: int) -> None:
        self.model, self.run, self.shard, self.shards = model, run, shard, shards
        self.ids = np.arange(shard, model.agents, shards)
        self.cash = np.full(len(self.ids), _CASH)
        self.n = np.full(len(self.ids), 1)
        self.price = np.array([i.reference_price for i in model.instruments()])
        self.cuts: list[float] = []

    def _numbers(self, rows: Rows, name: Any) -> Rows:
        self.n += 1
        rows[:, name.RUN], rows[:, name.AGENT], rows[:, name.N] = self.run, self.ids, self.n
        return rows

    def step(self, epoch: int, interventions: Sequence[tuple[str, str]]) -> Events:
        """One order of each agent near the last price, and the decision for it."""
        d, o, m = e.AgentDecided, e.OrderSubmitted, e.MoneyTransferred
        count = len(self.ids)
        luck = lottery(self.model.seed + epoch, self.cash, self.ids)
        tick = epoch * EPOCH_TICKS + luck % EPOCH_TICKS
        decisions = self._numbers(np.zeros((count, d.width), np.int64), d)
        decisions[:, d.TICK], decisions[:, d.ACTION] = tick, Action.TRADE_SHARES
        orders = self._numbers(np.zeros((count, o.width), np.int64), o)
        orders[:, o.TICK], orders[:, o.ORDER] = tick, self.n
        orders[:, o.INSTRUMENT] = luck // 32 % BOOKS
        orders[:, o.SIDE] = luck >> 20 & 1
        orders[:, o.PRICE] = self.price[orders[:, o.INSTRUMENT]] + luck // 64 % 41 - 20
        orders[:, o.QUANTITY] = 1 + luck // 4096 % 50
        orders[:, o.EXPIRES] = (epoch + 10) * EPOCH_TICKS
        orders[:, o.DECISION] = decisions[:, d.N]
        paying = luck % 10 == 0
        flows = self._numbers(np.zeros((count, m.width), np.int64), m)[paying]
        flows[:, m.TICK], flows[:, m.PAYEE] = tick[paying], luck[paying] % self.model.agents
        flows[:, m.KIND], flows[:, m.AMOUNT] = TransferKind.TRANSFER, 1 + luck[paying] % 100
        self.cash[paying] -= flows[:, m.AMOUNT]
        return {d.name: decisions, o.name: orders} | ({m.name: flows} if len(flows) else {})

    def apply(self, epoch: int, flows: Events, trades: Events) -> None:
        """Pay what came in, remember the last prices and the time of this cut."""
        m, t = e.MoneyTransferred, e.TradeExecuted
        if m.name in flows:
            self._book(flows[m.name][:, m.PAYEE], flows[m.name][:, m.AMOUNT])
        if t.name in trades:
            rows = trades[t.name]
            self.price[rows[:, t.INSTRUMENT]] = rows[:, t.PRICE]
            sign = 1 - 2 * rows[:, t.TAKER_SIDE]
            self._book(rows[:, t.TAKER_AGENT], -sign * rows[:, t.QUANTITY])
            self._book(rows[:, t.MAKER_AGENT], sign * rows[:, t.QUANTITY])
        self.cuts.append(time.monotonic())
        if epoch == self.model.last_epoch:
            np.save(Path(self.model.scenario["folder"]) / f"cuts-{self.shard}.npy", np.array(self.cuts))

    def _book(self, agents: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        mine = agents % self.shards == self.shard
        np.add.at(self.cash, agents[mine] // self.shards, amounts[mine])

    def learn(self, recorded: Events) -> None:
        """Nobody is pinned."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """State at the cut."""
        return {"cash": self.cash.copy(), "n": self.n.copy(), "price": self.price.copy()}


class ToyModel:
    """`agents` orders per epoch over ten instruments."""

    def __init__(self, scenario: Mapping[str, Any], seed: int) -> None:
        self.scenario, self.seed, self.name = dict(scenario), seed, "toy"
        self.agents, self.epoch_ticks = int(scenario["agents"]), EPOCH_TICKS
        self.last_epoch = int(scenario["epochs"]) - 1

    def scenario_json(self) -> str:
        """The scenario as JSON."""
        return json.dumps(self.scenario, sort_keys=True)

    def pinned(self, changes: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
        """There are no interventions."""
        return np.empty(0, np.int64)

    def instruments(self, changes: Sequence[tuple[str, str]] = ()) -> Sequence[Instrument]:
        """Ten goods."""
        return instruments(BOOKS)

    def opening(self, run: int) -> tuple[Events, Sequence[tuple[str, Mapping[str, Any]]]]:
        """One balance, so that the opening is not empty."""
        o = e.OpeningBalance
        row = np.zeros((1, o.width), np.int64)
        row[0, o.RUN], row[0, o.TICK], row[0, o.N] = run, -1, 1
        return {o.name: row}, []

    def check(self, key: str, value: str) -> None:
        """There are no interventions."""
        raise InputError(key, value, "this model takes none")

    def new_shard(self, run: int, shard: int, shards: int, opening: Events) -> ToyShard:
        """A shard at the opening."""
        return ToyShard(self, run, shard, shards)

    def load_shard(self, run: int, shard: int, shards: int, state: Mapping[str, NDArray[Any]]) -> ToyShard:
        """A shard from a snapshot; its earlier cut times are lost."""
        made = ToyShard(self, run, shard, shards)
        made.cash[:], made.n[:], made.price[:] = state["cash"], state["n"], state["price"]
        return made


def make(scenario: str, seed: int) -> ToyModel:
    """Factory for `runs.protocol.RunSpec.model`."""
    return ToyModel(json.loads(scenario), seed)
