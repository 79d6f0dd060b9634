"""The share registers of a shard's issuers: who holds how much, dividends, new issues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.outbox import Outbox
from agents.public import Public, Static
from economy.numbers.exact import share_out
from economy.numbers.units import SHARES
from economy.opening import FLOAT_SHARE
from economy.records import events as e
from economy.records.events import Account, Events, TransferKind

Ints = NDArray[np.int64]
ESTATE_SHARE = 10  # the price of an estate is a tenth of what the founders pay in


class Register:
    """Holdings (issuers of the shard, agents); an issuer knows its holders from trades and its own issues."""

    def __init__(self, issuers: Ints, agents: int) -> None:
        self.issuers = issuers
        self.shares = np.zeros((len(issuers), agents), np.int64)

    def open(self, opening: Events) -> None:
        """Holdings at the cut of the opening."""
        b = e.OpeningBalance
        rows = opening[b.name]
        rows = rows[(rows[:, b.ACCOUNT] == Account.SHARES) & np.isin(rows[:, b.ITEM], self.issuers)]
        self.shares[np.searchsorted(self.issuers, rows[:, b.ITEM]), rows[:, b.AGENT]] = rows[:, b.QUANTITY]

    def dump(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The register as arrays."""
        return {f"{prefix}.shares": self.shares.copy()}

    def load(self, prefix: str, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `dump` gave."""
        self.shares = state[f"{prefix}.shares"].copy()

    def pay_dividends(self, out: Outbox, public: Public, issuers: Ints, ticks: Ints, per_share: Ints) -> Ints:
        """Whole 1e-8 per share, income tax withheld from households; returns what each issuer paid."""
        paid = np.zeros(len(issuers), np.int64)
        first = public.static.population.first_household
        for k, i in enumerate(issuers.tolist()):
            if per_share[k] == 0:
                continue
            holders = np.flatnonzero(self.shares[i])
            amounts = self.shares[i, holders] * per_share[k]
            withheld = np.where(holders >= first, public.tax(amounts), 0)
            who = np.full(len(holders), self.issuers[i])
            out.transfer(TransferKind.DIVIDEND, who, np.full(len(holders), ticks[k]), holders, amounts, withheld)
            paid[k] = int(amounts.sum())
        return paid

    def reissue(self, out: Outbox, static: Static, i: int, tick: int, founders: Ints, paid: Ints) -> int:
        """Cancel the old shares against the price of the estate and issue new ones to the founders, in proportion to
        what each paid in; of a listed issuer the market makers keep their float. Returns the price of the estate."""
        issuer, p = int(self.issuers[i]), static.population
        old = np.flatnonzero(self.shares[i])
        held = self.shares[i, old]
        estate = int(paid.sum()) // ESTATE_SHARE
        amounts = np.array([estate * int(h) // SHARES for h in held], np.int64)
        who, when = np.full(len(old), issuer), np.full(len(old), tick)
        out.transfer(TransferKind.ESTATE, who, when, old, amounts)
        c, s = e.SharesCancelled, e.SharesIssued
        out.add(c.name, c.width, who, when, old, held)
        makers = np.arange(p.first_maker, p.first_firm) if issuer in static.listed else np.empty(0, np.int64)
        given = share_out(SHARES - FLOAT_SHARE * len(makers), np.maximum(1, paid // 1000))
        holders = np.concatenate((founders, makers))
        new = np.concatenate((given, np.full(len(makers), FLOAT_SHARE)))
        some = new > 0
        out.add(
            s.name, s.width, np.full(int(some.sum()), issuer), np.full(int(some.sum()), tick), holders[some], new[some]
        )
        self.shares[i] = 0
        np.add.at(self.shares[i], holders, new)
        return int(amounts.sum())

    def apply(self, trades: Events, static: Static) -> None:
        """Trades in the shares of this shard's issuers."""
        t = e.TradeExecuted
        rows = trades.get(t.name)
        if rows is None:
            return
        rows = rows[rows[:, t.INSTRUMENT] >= static.products]
        issuer = static.listed[rows[:, t.INSTRUMENT] - static.products]
        mine = np.isin(issuer, self.issuers)
        rows, at = rows[mine], np.searchsorted(self.issuers, issuer[mine])
        buys = rows[:, t.TAKER_SIDE] == e.Side.BUY
        np.add.at(self.shares, (at, rows[:, t.TAKER_AGENT]), np.where(buys, 1, -1) * rows[:, t.QUANTITY])
        np.add.at(self.shares, (at, rows[:, t.MAKER_AGENT]), np.where(buys, -1, 1) * rows[:, t.QUANTITY])
