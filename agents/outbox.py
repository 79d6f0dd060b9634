"""What a shard's agents send in one epoch: rows with their transport identity (agent, n)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from economy.numbers.exact import count_up
from economy.records import events as e
from economy.records.events import Action, ContractKind, Events, OrderType, Policy, Role, Rows, Series, TransferKind

Ints = NDArray[np.int64]


class Outbox:
    """Collects the records of one epoch. `counter` (agents of the shard,) holds each agent's last n; it is advanced.

    `strategy` (agents,) is what each agent follows.
    """

    def __init__(self, run: int, shards: int, counter: Ints, strategy: Ints) -> None:
        self._run, self._shards, self._counter, self._strategy = run, shards, counter, strategy
        self._parts: dict[str, list[Rows]] = {}

    def add(self, name: str, width: int, agents: Ints, ticks: Ints, *columns: Any) -> Ints:
        """Records of one type, in order; `columns` follow (run, tick, agent, n). Returns the n of each.

        Raises TypeError where they are not as many as the record has: what is left out would go to the log as garbage.
        """
        if 4 + len(columns) != width:
            raise TypeError(f"{name} has {width - 4} fields of its own, but {len(columns)} columns were given")
        if not len(agents):
            return np.empty(0, np.int64)
        n = count_up(self._counter, agents // self._shards)
        rows = np.empty((len(agents), width), np.int64)
        rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = self._run, ticks, agents, n
        for position, column in enumerate(columns, 4):
            rows[:, position] = column
        self._parts.setdefault(name, []).append(rows)
        return n

    def decide(
        self, role: Role, agents: Ints, ticks: Ints, action: Action, choice: Any,
        first: Any = 0, second: Any = 0, third: Any = 0, /,
    ) -> Ints:  # fmt: skip
        """AgentDecided with up to three inputs, which is all that it has; returns the n that orders refer to."""
        kind = e.AgentDecided
        strategy = self._strategy[agents]
        return self.add(kind.name, kind.width, agents, ticks, role, strategy, action, choice, first, second, third)

    def order(
        self, agents: Ints, ticks: Ints, instrument: Any, side: Any, tif: int, price: Ints, quantity: Ints,
        *, expires: Any = 0, use: Any = 0, tax_rate: Any = 0, decision: Any = 0,
    ) -> None:  # fmt: skip
        """Limit orders; the order id is the record's n."""
        kind = e.OrderSubmitted
        self.add(
            kind.name, kind.width, agents, ticks, 0, instrument, side, OrderType.LIMIT, tif, 0, price, quantity,
            expires, 0, use, tax_rate, decision,
        )  # fmt: skip
        if len(agents):
            rows = self._parts[kind.name][-1]
            rows[:, kind.ORDER] = rows[:, kind.N]

    def transfer(
        self, kind: TransferKind, agents: Ints, ticks: Ints, payees: Any, amounts: Ints, withheld: Any = 0
    ) -> None:
        """MoneyTransferred from each agent; zero amounts are left out."""
        some = amounts > 0
        agents, ticks, amounts = agents[some], np.broadcast_to(ticks, some.shape)[some], amounts[some]
        payees, withheld = (np.broadcast_to(column, some.shape)[some] for column in (payees, withheld))
        m = e.MoneyTransferred
        self.add(m.name, m.width, agents, ticks, payees, kind, amounts, withheld)

    def claim(self, kind: TransferKind, agents: Ints, ticks: Ints, payer: int, amounts: Ints) -> None:
        """PaymentDue from each agent to one payer; zero amounts are left out."""
        some = amounts > 0
        d = e.PaymentDue
        self.add(d.name, d.width, agents[some], ticks[some], payer, kind, amounts[some])

    def end_contracts(self, agents: Ints, ticks: Ints, employers: Any, workers: Any, reason: int) -> None:
        """ContractEnded of employment."""
        c = e.ContractEnded
        self.add(c.name, c.width, agents, ticks, employers, workers, ContractKind.EMPLOYMENT, reason)

    def publish(self, agent: int, tick: int, series: Series, items: Any, values: Ints) -> None:
        """StatisticsPublished, one per item."""
        s = e.StatisticsPublished
        who = np.full(len(values), agent, np.int64)
        self.add(s.name, s.width, who, np.full(len(values), tick), series, items, values)

    def set_policy(self, agent: int, tick: int, policy: Policy, value: int) -> None:
        """PolicyChanged, value in 1e-9."""
        p = e.PolicyChanged
        self.add(p.name, p.width, np.array([agent]), np.array([tick]), policy, value)

    def take(self, events: Events, agents: Ints) -> None:
        """Records of some agents that were collected elsewhere."""
        for name, rows in events.items():
            self._parts.setdefault(name, []).append(rows[np.isin(rows[:, 2], agents)])

    def events(self) -> Events:
        """Everything collected."""
        found = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        return {name: rows for name, rows in found.items() if len(rows)}
