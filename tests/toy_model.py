"""A toy economy behind the Model protocol: decisions hang on cash, prices and own trades, so that any slip shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from economy.errors import InputError
from economy.instruments import Instrument
from economy.markets.market import lottery
from economy.records import events as e
from economy.records.events import Events, InstrumentClass

ITEMS = 6


def mix(*words: int) -> int:
    x = 0
    for word in words:
        x = int(lottery(x & (2**62 - 1), np.array([word & (2**40 - 1)]), np.array([x & 0xFFFF]))[0])
    return x


class ToyShard:
    def __init__(self, model: ToyModel, run: int, shard: int, shards: int) -> None:
        self.model, self.run = model, run
        self.ids = np.arange(shard, model.agents, shards)
        self.shards = shards
        self.cash = np.zeros(len(self.ids), np.int64)
        self.memory = self.ids + 1
        self.n = np.zeros(len(self.ids), np.int64)
        self.price = np.full(ITEMS, 1000, np.int64)

    def step(self, epoch: int, interventions: Sequence[tuple[str, str]]) -> Events:
        for key, value in interventions:
            if key == "gift":
                self.cash += int(value)
        decisions, flows, orders, cancels = [], [], [], []
        for i, agent in enumerate(self.ids.tolist()):
            r = mix(self.model.seed, agent, epoch)
            if r % 3 == 0:
                continue
            tick = epoch * self.model.epoch_ticks + r % self.model.epoch_ticks
            self.n[i] += 1
            decision = int(self.n[i])
            decisions.append(
                (
                    self.run,
                    tick,
                    agent,
                    decision,
                    5,
                    0,
                    4,
                    r % 100,
                    int(self.cash[i]) % 1000,
                    int(self.memory[i]) % 9999,
                    0,
                )
            )
            for j in range(r % 4):
                q = mix(r, j, int(self.memory[i]))
                k = q % ITEMS
                self.n[i] += 1
                price = max(1, int(self.price[k]) + q // 7 % 41 - 20)
                expires = tick + q // 50 % 60 if q & 64 else 0
                orders.append(
                    (
                        self.run,
                        tick,
                        agent,
                        self.n[i],
                        self.n[i],
                        k,
                        q >> 9 & 1,
                        0,
                        q >> 11 & 1,
                        0,
                        price,
                        1 + q % 30,
                        expires,
                        0,
                        2,
                        1000,
                        decision,
                    )
                )
            if r % 5 == 0 and self.n[i] > 9:
                self.n[i] += 1
                cancels.append((self.run, tick, agent, self.n[i], self.n[i] - 8, r % ITEMS, decision))
            if self.cash[i] > 100:
                self.n[i] += 1
                amount = int(self.cash[i]) // 8
                self.cash[i] -= amount
                flows.append((self.run, tick, agent, self.n[i], r // 11 % self.model.agents, 12, amount, 0))
        out = {}
        for kind, rows in (
            (e.AgentDecided, decisions),
            (e.MoneyTransferred, flows),
            (e.OrderSubmitted, orders),
            (e.OrderCancelRequested, cancels),
        ):
            if rows:
                out[kind.name] = np.array(rows, np.int64)
        return out

    def apply(self, epoch: int, flows: Events, trades: Events) -> None:
        for row in flows.get("MoneyTransferred", np.empty((0, 8), np.int64)).tolist():
            if row[4] % self.shards == self.ids[0] % self.shards:
                self.cash[row[4] // self.shards] += row[6]
        t = e.TradeExecuted
        for row in trades.get(t.name, np.empty((0, t.width), np.int64)).tolist():
            self.price[row[t.INSTRUMENT]] = row[t.PRICE]
            for agent in (row[t.MAKER_AGENT], row[t.TAKER_AGENT]):
                if agent % self.shards == self.ids[0] % self.shards:
                    i = agent // self.shards
                    self.memory[i] = mix(int(self.memory[i]), row[t.PRICE] * 64 + row[t.QUANTITY], row[t.SEQ])

    def learn(self, recorded: Events) -> None:
        raise InputError("intervention", "pin", "nobody can be pinned")

    def dump(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in ("cash", "memory", "n", "price")}


class ToyModel:
    def __init__(self, scenario: Mapping[str, Any], seed: int) -> None:
        self.scenario = dict(scenario)
        self.agents, self.epoch_ticks, self.last_epoch = scenario["agents"], 20, scenario["epochs"] - 1
        self.name, self.seed = "toy", seed

    def scenario_json(self) -> str:
        return json.dumps(self.scenario)

    def pinned(self, changes: Sequence[tuple[str, str]]) -> Any:
        return np.empty(0, np.int64)

    def instruments(self, changes: Sequence[tuple[str, str]] = ()) -> Sequence[Instrument]:
        return [
            Instrument(i, f"I{i}", InstrumentClass.GOOD, item=i, fixing_ticks=100, reference_price=1000)
            for i in range(ITEMS)
        ]

    def opening(self, run: int) -> tuple[Events, Sequence[tuple[str, Mapping[str, Any]]]]:
        agents = np.arange(self.agents)
        rows = np.column_stack(
            [np.full(self.agents, v) for v in (run, -1)]
            + [agents]
            + [np.full(self.agents, v) for v in (1, 0, 0, 50_000)]
        )
        cold = {"run": run, "tick": -1, "agent": 0, "n": 2, "name": "toy", "role": "household"}
        return {"OpeningBalance": rows}, [("AgentFounded", cold)]

    def check(self, key: str, value: str) -> None:
        if key != "gift":
            raise InputError("intervention", key, "the menu is gift")

    def new_shard(self, run: int, shard: int, shards: int, opening: Events) -> ToyShard:
        made = ToyShard(self, run, shard, shards)
        for row in opening["OpeningBalance"].tolist():
            if row[2] % shards == shard:
                made.cash[row[2] // shards] = row[6]
                made.n[row[2] // shards] = 2
        return made

    def load_shard(self, run: int, shard: int, shards: int, state: Mapping[str, Any]) -> ToyShard:
        made = ToyShard(self, run, shard, shards)
        for name, value in state.items():
            setattr(made, name, value.copy())
        return made


def make(scenario: str, seed: int) -> ToyModel:
    return ToyModel(json.loads(scenario), seed)
