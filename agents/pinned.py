"""Agents that are held to what they did in the parent: their decisions, orders and payments, record for record.

What a pinned agent cannot do in the fork is left out, as his own rule would have to: an order that the rule's bounds on
deposits and holdings do not let him back, a payment that his deposits do not cover or nobody asks for any more, notice
to an employer who is not his, a claim that he has no right to. All else is as recorded, down to the records' numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.public import Public
from agents.roles.household import MONEY, SAFETY, SHARE_MONEY, SHARES_SHARE, Households
from agents.roles.market_maker import CASH_SHARE, MarketMakers
from economy.errors import InputError
from economy.records import canonical
from economy.records import events as e
from economy.records.events import Events, Rows, Side, TransferKind

Ints = NDArray[np.int64]
KINDS: Final = (
    e.AgentDecided, e.ContractAccepted, e.ContractEnded, e.MoneyTransferred, e.OrderCancelRequested, e.OrderSubmitted,
    e.PaymentDue,
)  # fmt: skip
LIMIT: Final = 500_000  # records of one script: it travels with every snapshot of the shard
_O, _M, _C, _D = e.OrderSubmitted, e.MoneyTransferred, e.ContractEnded, e.PaymentDue


def recorded_of(events: Events, agents: Ints) -> Events:
    """What agents sent, out of an epoch's records."""
    found = {}
    for kind in KINDS:
        rows = events.get(kind.name)
        if rows is not None:
            mine = rows[np.isin(rows[:, canonical.AGENT], agents)]
            if len(mine):
                found[kind.name] = mine
    return found


class Script:
    """The records that the pinned agents of one shard are held to. `pinned` (agents,) is 1 for each of them."""

    def __init__(self, agents: int, run: int) -> None:
        self.run = run
        self.pinned = np.zeros(agents, np.int64)
        self.rows: dict[str, Rows] = {kind.name: np.empty((0, kind.width), np.int64) for kind in KINDS}

    def learn(self, recorded: Events, shard: int, shards: int) -> None:
        """Add records of agents; those of other shards are passed over."""
        total = sum(len(rows) for rows in recorded.values())
        if total > LIMIT:
            raise InputError("pin", total, f"at most {LIMIT:,} records can be kept: pin fewer agents, or fork later")
        for name, rows in recorded.items():
            mine = rows[rows[:, canonical.AGENT] % shards == shard]
            kept = self.rows[name]
            kept = kept[~np.isin(kept[:, canonical.AGENT], mine[:, canonical.AGENT])]
            self.rows[name] = np.concatenate((kept, mine))

    def pin(self, agents: Ints, value: int) -> None:
        """Hold agents to their records, or let them go; what they would have done is forgotten then."""
        self.pinned[agents] = value
        if not value:
            for name, rows in self.rows.items():
                self.rows[name] = rows[~np.isin(rows[:, canonical.AGENT], agents)]

    def play(
        self, ticks: tuple[int, int], own: Events, counter: Ints, shards: int, people: Households, makers: MarketMakers,
        public: Public,
    ) -> Events:  # fmt: skip
        """An epoch's records of a shard, those of pinned agents replaced; `ticks` are the epoch's [first, end).

        Deposits and counters are brought to what is sent.
        """
        if not self.pinned.any():
            return own
        first, end = ticks
        out = {name: rows[self.pinned[rows[:, canonical.AGENT]] == 0] for name, rows in own.items()}
        for group in (people, makers):
            self._give_back(own, group)
        for name, rows in self.rows.items():
            self.rows[name] = rows[rows[:, canonical.TICK] >= end]
            now = rows[(rows[:, canonical.TICK] >= first) & (rows[:, canonical.TICK] < end)]
            now = now[self.pinned[now[:, canonical.AGENT]] != 0]
            now[:, 0] = self.run  # the records are the parent's
            np.maximum.at(counter, now[:, canonical.AGENT] // shards, now[:, canonical.N])
            ordered = list(now[np.lexsort((now[:, canonical.N], now[:, canonical.AGENT]))])
            sent = self._admitted(name, ordered, people, makers, public)
            if sent:
                out[name] = np.concatenate((out.get(name, now[:0]), np.array(sent, np.int64)))
        return {name: rows for name, rows in out.items() if len(rows)}

    def _give_back(self, own: Events, group: Households | MarketMakers) -> None:
        """What the rules would have paid stays with those whose payments are recorded ones."""
        rows = own.get(_M.name, np.empty((0, _M.width), np.int64))
        rows = rows[(self.pinned[rows[:, _M.AGENT]] != 0) & np.isin(rows[:, _M.AGENT], group.ids)]
        np.add.at(group.cash, np.searchsorted(group.ids, rows[:, _M.AGENT]), rows[:, _M.AMOUNT])

    def _admitted(
        self, name: str, rows: list[Ints], people: Households, makers: MarketMakers, public: Public
    ) -> list[Ints]:
        if name not in (_O.name, _M.name, _C.name, _D.name):
            return rows
        bound: dict[tuple[int, int], float] = {}  # (agent, what) -> bound by the orders before
        found = []
        for row in rows:
            agent = int(row[canonical.AGENT])
            group = people if agent >= people.static.population.first_household else makers
            i = int(np.searchsorted(group.ids, agent))
            if name == _O.name:
                fits = _backed(row, group, i, bound)
            elif name == _M.name:
                fits = _pays(row, group, i, public)
            elif name == _C.name:
                p = public.static.population
                fits = bool(public.employer[agent - p.first_household] == row[_C.EMPLOYER] - p.first_firm)
            else:
                fits = bool(people.paid[i] == 0)
            if fits:
                found.append(row)
        return found

    # ---- snapshots
    def dump(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Copies of all arrays."""
        return {f"{prefix}.pinned": self.pinned.copy()} | {f"{prefix}.{k}": v.copy() for k, v in self.rows.items()}

    def load(self, prefix: str, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `dump` gave."""
        self.pinned = state[f"{prefix}.pinned"].copy()
        self.rows = {name: state[f"{prefix}.{name}"].copy() for name in self.rows}


def _backed(row: Ints, group: Households | MarketMakers, i: int, bound: dict[tuple[int, int], float]) -> bool:
    """Whether deposits or holdings back an order by the bounds of its role's rule."""
    agent, item = int(row[_O.AGENT]), int(row[_O.INSTRUMENT])
    share = item - group.static.products
    if row[_O.SIDE] == Side.SELL:
        need, have, what = float(row[_O.QUANTITY]), float(group.shares[i, share]) if share >= 0 else 0.0, item
    elif share < 0:
        cost = float(row[_O.PRICE]) * float(row[_O.QUANTITY]) * MONEY
        need, have, what = cost * (1 + row[_O.TAX_RATE] / 10_000), SAFETY * max(0, int(group.cash[i])) + 1, -1
    else:
        maker = isinstance(group, MarketMakers)
        need = float(row[_O.PRICE]) * float(row[_O.QUANTITY]) * SHARE_MONEY
        have = (CASH_SHARE if maker else SHARES_SHARE) * max(0, int(group.cash[i])) + 1
        what = -3 - item if maker else -2  # a maker's bound holds for each share
    if bound.get((agent, what), 0.0) + need > have:
        return False
    bound[agent, what] = bound.get((agent, what), 0.0) + need
    return True


def _pays(row: Ints, group: Households | MarketMakers, i: int, public: Public) -> bool:
    """Book a recorded payment where it can be made; income tax is withheld by the law of now."""
    if row[_M.AMOUNT] > group.cash[i]:
        return False
    p = public.static.population
    if row[_M.KIND] == TransferKind.FOUNDING and row[_M.PAYEE] - p.first_firm not in public.bankrupt[:, 0]:
        return False
    if row[_M.KIND] == TransferKind.DIVIDEND and row[_M.PAYEE] >= p.first_household:
        row[_M.WITHHELD] = public.tax(row[_M.AMOUNT])
    group.cash[i] -= row[_M.AMOUNT]
    return True
