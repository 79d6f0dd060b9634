"""The ledger: who holds how much, as dense integer arrays, moved by the table of posting rules and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.accounts import CENTRAL_BANK, GOVERNMENT, Holder, Leg, Rule, derive, rules_of
from economy.errors import AccountingError
from economy.instruments import Instrument
from economy.numbers.units import SHARES
from economy.records import events as e
from economy.records.events import Account, Events, Rows

Ints = NDArray[np.int64]
POSTED: Final = (
    e.OpeningBalance.name,
    e.GoodsProduced.name,
    e.GoodsConsumed.name,
    e.CapitalDepreciated.name,
    e.MoneyTransferred.name,
    e.SharesIssued.name,
    e.SharesCancelled.name,
    e.TradeExecuted.name,
)
_ISSUED: Final = (0, SHARES)
_LIMIT: Final = 2.0**62  # a batch that moves more could wrap around an int64


@cache
def _columns(event: str) -> Mapping[str, int]:
    """Column name -> position of a row type."""
    kind = getattr(e, event)
    return {name.lower(): at for name, at in vars(kind).items() if name.isupper()}


@cache
def _rules(event: str) -> tuple[Rule, ...]:
    return rules_of(event)


@dataclass(frozen=True)
class Posting:
    """Records of one epoch to which one rule applies."""

    rule: Rule
    rows: Rows
    derived: Mapping[str, Ints]

    def column(self, name: str) -> Ints:
        """A column of the event, or a derived one."""
        if name in self.derived:
            return self.derived[name]
        return self.rows[:, _columns(self.rule.event)[name]]

    def holder(self, who: Holder) -> Ints:
        """Agent of each record that a leg names."""
        return np.full(len(self.rows), who, np.int64) if isinstance(who, int) else self.column(who)

    def amount(self, leg: Leg) -> Ints:
        """What the leg moves for each record."""
        (first, sign), *others = leg.quantity
        total = self.column(first) * sign
        for name, sign in others:
            total = total + self.column(name) * sign
        return total


def item_table(instruments: Sequence[Instrument]) -> Ints:
    """Item (product or issuer) by instrument id."""
    table = np.zeros(1 + max((i.instrument for i in instruments), default=-1), np.int64)
    for instrument in instruments:
        table[instrument.instrument] = instrument.item
    return table


def postings(events: Events, item_of: Ints) -> Iterator[Posting]:
    """Records by the rule that applies to them. Raises AccountingError for a record to which none applies."""
    for event in POSTED:
        rows = events.get(event)
        if rows is None or not len(rows):
            continue
        derived = derive(rows, item_of) if event == e.TradeExecuted.name else {}
        at, found = _columns(event), 0
        for rule in _rules(event):
            if not rule.where:
                yield Posting(rule, rows, derived)
                found = len(rows)
                continue
            chosen: Any = True
            for name, value in rule.where.items():
                chosen = chosen & (rows[:, at[name]] == value)
            count = int(np.count_nonzero(chosen))
            if count:
                found += count
                yield Posting(rule, rows[chosen], {name: column[chosen] for name, column in derived.items()})
        if found != len(rows):
            raise AccountingError(
                f"{len(rows) - found} of {len(rows)} {event} records fall under no posting rule",
                "see economy/accounts.py for the kinds that are booked",
            )


class Ledger:
    """Stocks of all agents at a cut.

    cash (agents,) and bonds (agents,) in 1e-8, goods (agents, products) and capital (agents,) in lots, shares (agents,
    issuers) in shares. A liability is a negative balance: the central bank's cash is the money in circulation.
    """

    def __init__(self, agents: int, products: int, issuers: Ints, capital_good: int, item_of: Ints) -> None:
        self.issuers, self.capital_good, self.item_of = issuers, capital_good, item_of
        self.cash = np.zeros(agents, np.int64)
        self.goods = np.zeros((agents, products), np.int64)
        self.capital = np.zeros(agents, np.int64)
        self.shares = np.zeros((agents, len(issuers)), np.int64)
        self.bonds = np.zeros(agents, np.int64)
        self._place = np.full(agents, -1, np.int64)  # of an issuer among the issuers
        self._place[issuers] = np.arange(len(issuers))

    # ---- posting
    def apply(self, events: Events) -> list[Posting]:
        """Post all records of an epoch, then hold the cut to the conservation laws; returns what was posted.

        Raises AccountingError naming the event, the agent and the amount.
        """
        posted = list(postings(events, self.item_of))
        touched = set()
        for posting in posted:
            for leg in posting.rule.legs:
                self._post(posting, leg)
                touched.add(leg.account)
        self._check(touched, posted)
        return posted

    def _post(self, posting: Posting, leg: Leg) -> None:
        amount = posting.amount(leg)
        if float(np.abs(amount.astype(np.float64)).sum()) >= _LIMIT:
            raise AccountingError(f"{posting.rule.event} records move more than an int64 holds", "scale the economy")
        if isinstance(leg.agent, int):
            self._flat(leg.account)[leg.agent] += amount.sum()
            return
        agent = posting.column(leg.agent)
        if len(agent) and (agent.min() < 0 or agent.max() >= len(self.cash)):
            wrong = agent[(agent < 0) | (agent >= len(self.cash))][0]
            raise AccountingError(f"{posting.rule.event} names agent {wrong}, whom nobody founded", "verify the run")
        np.add.at(self._flat(leg.account), self._index(posting, leg, agent), amount)

    def _flat(self, account: Account) -> Ints:
        return (self.cash, self.goods, self.capital, self.shares, self.bonds)[account].reshape(-1)

    def _index(self, posting: Posting, leg: Leg, agent: Ints) -> Ints:
        """Place of each record's balance in the account's flat array."""
        if leg.account in (Account.CASH, Account.BONDS):
            return agent
        item = posting.column(leg.item)
        if leg.account == Account.SHARES:
            known = (item >= 0) & (item < len(self._place))
            place = np.where(known, self._place[np.where(known, item, 0)], -1)
            width = len(self.issuers)
        elif leg.account == Account.GOODS:
            place, width = item, self.goods.shape[1]
        else:
            place, width = np.where(item == self.capital_good, 0, -1), 1
        if len(place) and (place.min() < 0 or place.max() >= width):
            wrong = item[(place < 0) | (place >= width)][0]
            raise AccountingError(
                f"{posting.rule.event} moves {leg.account.name.lower()} of item {wrong}, which has no such account",
                "verify the run",
            )
        return agent * width + place

    # ---- conservation laws
    def _check(self, touched: set[Account], posted: Sequence[Posting]) -> None:
        if Account.CASH in touched:
            short = self.cash < 0
            short[[GOVERNMENT, CENTRAL_BANK]] = False
            self._refuse(Account.CASH, short, posted)
        for account in (Account.GOODS, Account.CAPITAL, Account.SHARES):
            if account in touched and self._flat(account).min(initial=0) < 0:
                self._refuse(account, self._flat(account) < 0, posted)
        for name, balance in (("cash", self.cash), ("bonds", self.bonds)):
            total = int(balance.sum())
            if total:
                raise AccountingError(f"the {name} of all agents sum to {total}, not to zero", "verify the run")
        if Account.SHARES in touched:
            issued = self.shares.sum(0)
            wrong = ~np.isin(issued, _ISSUED)
            if wrong.any():
                at = int(np.argmax(wrong))
                raise AccountingError(
                    f"agent {self.issuers[at]} has {issued[at]} shares in circulation, not {SHARES} or none",
                    "verify the run",
                )

    def _refuse(self, account: Account, short: NDArray[np.bool_], posted: Sequence[Posting]) -> None:
        """Raise for the first overdrawn balance, naming the largest debit of the epoch on it."""
        if not short.any():
            return
        place = int(np.argmax(short))
        balance = self._flat(account)
        agent = place // (len(balance) // len(self.cash))
        worst, event = 0, "no event of this epoch"
        for posting in posted:
            for leg in posting.rule.legs:
                if leg.account != account:
                    continue
                holder, amount = posting.holder(leg.agent), posting.amount(leg)
                mine = self._index(posting, leg, holder) == place
                if mine.any() and int(amount[mine].min()) < worst:
                    at = int(np.flatnonzero(mine)[np.argmin(amount[mine])])
                    worst = int(amount[at])
                    event = f"{posting.rule.event} {posting.rows[at].tolist()} ({posting.rule.line or 'no flow'})"
        raise AccountingError(
            f"agent {agent} has {balance[place]} of {account.name.lower()} at the cut; the largest debit is {worst} by "
            f"{event}",
            "no such balance may be negative: verify the run",
        )

    # ---- records and snapshots
    def balances(self, run: int, window: int) -> Rows:
        """BalanceRecorded rows: the cash of every agent and every other balance that is not zero."""
        parts: list[tuple[Any, int, Any, Any]] = [(np.arange(len(self.cash)), Account.CASH, 0, self.cash)]
        agent, product = np.nonzero(self.goods)
        parts.append((agent, Account.GOODS, product, self.goods[agent, product]))
        agent = np.flatnonzero(self.capital)
        parts.append((agent, Account.CAPITAL, self.capital_good, self.capital[agent]))
        agent, issuer = np.nonzero(self.shares)
        parts.append((agent, Account.SHARES, self.issuers[issuer], self.shares[agent, issuer]))
        agent = np.flatnonzero(self.bonds)
        parts.append((agent, Account.BONDS, 0, self.bonds[agent]))
        out = np.empty((sum(len(part[0]) for part in parts), e.BalanceRecorded.width), np.int64)
        start = 0
        for agent, account, item, quantity in parts:
            rows = out[start : start + len(agent)]
            rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4] = run, window, agent, account, item
            rows[:, 5] = quantity
            start += len(agent)
        return out

    def dump(self) -> dict[str, Ints]:
        """All balances as arrays."""
        return {name: getattr(self, name).copy() for name in ("cash", "goods", "capital", "shares", "bonds")}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `dump` gave."""
        for name in ("cash", "goods", "capital", "shares", "bonds"):
            getattr(self, name)[...] = state[name]
