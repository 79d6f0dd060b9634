"""The table of posting rules: what each event does to the accounts, to the flow matrix and to GDP.

Ledger, indicator projection, Spark jobs and the documentation all read this table; no rule is written twice.

An event's legs move quantities between accounts (Account.CASH in 1e-8 of the currency, GOODS and CAPITAL in lots,
SHARES in shares, BONDS in 1e-8; a liability is a negative balance of its issuer, so each financial account sums to
zero). GDP entries are amounts of money, or quantities valued at the product's public valuation price of the round in
which the event happened (PriceFixed at the end of the round before; System of National Accounts 2008, 3.118 and ch. 6:
holding gains are no production).

The approaches use different legs: production reads what sellers produced, sold and used up; expenditure reads buyers'
declared uses and the ledger's stocks; income reads wages and the corporations' cash accounts. That they agree is a
consequence of double entry and of one valuation, and is asserted in every window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from economy.records import events as e
from economy.records.events import Account, InstrumentClass, Rows, TransferKind, Use

GOVERNMENT: Final = 0  # agent ids that the table names
CENTRAL_BANK: Final = 1


class Approach(StrEnum):
    """The three ways to GDP."""

    PRODUCTION = "production"
    EXPENDITURE = "expenditure"
    INCOME = "income"


# Component -> sign in each approach; surplus and inventory_change come from the ledger, not from entries.
COMPONENTS: Final[Mapping[Approach, Mapping[str, int]]] = {
    Approach.PRODUCTION: {"output": 1, "intermediate_consumption": -1, "taxes_on_products": 1},
    Approach.EXPENDITURE: {"consumption": 1, "government": 1, "investment": 1, "inventory_change": 1},
    Approach.INCOME: {"wages": 1, "taxes_on_products": 1, "gross_operating_surplus": 1},
}

# Kinds of payment that are income of a household.
HOUSEHOLD_INCOME: Final = (
    TransferKind.WAGE,
    TransferKind.BENEFIT,
    TransferKind.DIVIDEND,
    TransferKind.DEPOSIT_INTEREST,
)

# "buyer", "seller" and "item" are derived from a trade by `derive`; all other names are columns of the event.
Holder = str | int


@dataclass(frozen=True)
class Leg:
    """One posting: `sign` x the sum of `quantity` columns (each with its sign) on one account of one agent.

    `operating` tells whether a corporation's cash leg belongs to its operating surplus (sales, inputs, wages) or not
    (taxes, dividends, interest, machines, financing).
    """

    agent: Holder
    account: Account
    quantity: tuple[tuple[str, int], ...]
    item: str = ""  # column with the product or issuer, "" = 0
    operating: bool = False


@dataclass(frozen=True)
class Entry:
    """A contribution to a GDP component; `valued` quantities are multiplied by the valuation price."""

    component: str
    column: str
    sign: int = 1
    valued: bool = False


@dataclass(frozen=True)
class Rule:
    """What one kind of event does. `where` narrows the event by column values; `line` is its row in the flow matrix."""

    event: str
    line: str
    where: Mapping[str, int] = field(default_factory=dict)
    legs: tuple[Leg, ...] = ()
    entries: tuple[Entry, ...] = ()
    account: Literal["current", "capital", ""] = "current"  # of corporations, in the flow matrix


def _cash(agent: Holder, *columns: tuple[str, int], operating: bool = False) -> Leg:
    return Leg(agent, Account.CASH, columns, operating=operating)


def _trade(kind: InstrumentClass, use: Use, line: str) -> Rule:
    """A good or service changes hands: the seller has sales, the buyer a use."""
    stocked = kind == InstrumentClass.GOOD
    legs = [
        _cash("seller", ("notional", 1), operating=True),
        _cash("buyer", ("notional", -1), ("tax", -1), operating=use == Use.INTERMEDIATE),
        _cash(GOVERNMENT, ("tax", 1)),
    ]
    entries = [Entry("output", "notional"), Entry("taxes_on_products", "tax")]
    if stocked:
        legs.append(Leg("seller", Account.GOODS, (("quantity", -1),), "item"))
        entries.append(Entry("output", "quantity", -1, valued=True))
    if use == Use.INTERMEDIATE:
        entries.append(Entry("intermediate_consumption", "notional"))
        if stocked:
            legs.append(Leg("buyer", Account.GOODS, (("quantity", 1),), "item"))
            entries.append(Entry("intermediate_consumption", "quantity", -1, valued=True))
    elif use == Use.CONSUMPTION:
        entries += [Entry("consumption", "notional"), Entry("consumption", "tax")]
    elif use == Use.INVESTMENT:
        legs.append(Leg("buyer", Account.CAPITAL, (("quantity", 1),), "item"))
        entries.append(Entry("investment", "notional"))
    elif use == Use.GOVERNMENT:
        entries.append(Entry("government", "notional"))
    return Rule(
        e.TradeExecuted.name, line, {"instrument_class": kind, "use": use}, tuple(legs), tuple(entries),
        "capital" if use == Use.INVESTMENT else "current",
    )  # fmt: skip


_LINES: Final = {
    Use.INTERMEDIATE: "intermediate inputs",
    Use.CONSUMPTION: "consumption",
    Use.INVESTMENT: "investment",
    Use.GOVERNMENT: "government purchases",
}
_FINANCING: Final = (TransferKind.BOND_ISSUE, TransferKind.BOND_REDEMPTION, TransferKind.FOUNDING, TransferKind.ESTATE)


def _transfer(kind: TransferKind) -> Rule:
    """Money goes from payer to payee; income tax may be withheld for the government."""
    wage = kind == TransferKind.WAGE
    legs = [
        _cash("agent", ("amount", -1), operating=wage),
        _cash("payee", ("amount", 1), ("withheld", -1)),
        _cash(GOVERNMENT, ("withheld", 1)),
    ]
    if kind in (TransferKind.BOND_ISSUE, TransferKind.BOND_REDEMPTION):
        # At issue the payer buys the payee's bonds; at redemption it takes its own back: the same two legs.
        legs += [Leg("agent", Account.BONDS, (("amount", 1),)), Leg("payee", Account.BONDS, (("amount", -1),))]
    return Rule(
        e.MoneyTransferred.name, kind.name.lower().replace("_", " "), {"kind": kind}, tuple(legs),
        (Entry("wages", "amount"),) if wage else (), "capital" if kind in _FINANCING else "current",
    )  # fmt: skip


RULES: Final[tuple[Rule, ...]] = (
    *(
        _trade(kind, use, line)
        for use, line in _LINES.items()
        for kind in (InstrumentClass.GOOD, InstrumentClass.SERVICE)
    ),
    Rule(
        e.TradeExecuted.name, "shares", {"instrument_class": InstrumentClass.EQUITY},
        (
            _cash("seller", ("notional", 1)),
            _cash("buyer", ("notional", -1), ("tax", -1)),
            _cash(GOVERNMENT, ("tax", 1)),
            Leg("seller", Account.SHARES, (("quantity", -1),), "item"),
            Leg("buyer", Account.SHARES, (("quantity", 1),), "item"),
        ),
        account="capital",
    ),
    *(_transfer(kind) for kind in TransferKind),
    Rule(
        e.GoodsProduced.name, "", {},
        (Leg("agent", Account.GOODS, (("quantity", 1),), "product"),),
        (Entry("output", "quantity", valued=True),), "",
    ),
    Rule(
        e.GoodsConsumed.name, "", {},
        (Leg("agent", Account.GOODS, (("quantity", -1),), "product"),),
        (Entry("intermediate_consumption", "quantity", valued=True),), "",
    ),
    Rule(
        e.CapitalDepreciated.name, "", {}, (Leg("agent", Account.CAPITAL, (("quantity", -1),), "product"),),
        account="",
    ),
    Rule(e.SharesIssued.name, "", {}, (Leg("holder", Account.SHARES, (("quantity", 1),), "agent"),), account=""),
    Rule(e.SharesCancelled.name, "", {}, (Leg("holder", Account.SHARES, (("quantity", -1),), "agent"),), account=""),
    *(
        Rule(
            e.OpeningBalance.name, "", {"account": account},
            (Leg("agent", account, (("quantity", 1),), "item"),), account="",
        )
        for account in Account
    ),
)  # fmt: skip


def derive(trades: Rows, item_of: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Derived columns of TradeExecuted rows: buyer, seller, item (item_of[instrument]).

    `item_of` (highest instrument + 1,) comes from InstrumentListed.
    """
    t = e.TradeExecuted
    buys = trades[:, t.TAKER_SIDE] == e.Side.BUY
    return {
        "buyer": np.where(buys, trades[:, t.TAKER_AGENT], trades[:, t.MAKER_AGENT]),
        "seller": np.where(buys, trades[:, t.MAKER_AGENT], trades[:, t.TAKER_AGENT]),
        "item": item_of[trades[:, t.INSTRUMENT]],
    }


def rules_of(event: str) -> tuple[Rule, ...]:
    """The rules for one kind of event; at most one of them applies to a record."""
    return tuple(rule for rule in RULES if rule.event == event)
