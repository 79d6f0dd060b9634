"""Canonical order of an epoch's records: independent of arrival order, of the number of shards and of partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from economy.records import events as e
from economy.records.events import Events, Rows

DECISION_TYPES: Final = (e.AgentDecided.name,)
ORDER_TYPES: Final = (e.OrderSubmitted.name, e.OrderCancelRequested.name)
FLOW_TYPES: Final = (
    e.OpeningBalance.name,
    e.OpeningParameter.name,
    e.GoodsProduced.name,
    e.GoodsConsumed.name,
    e.CapitalDepreciated.name,
    e.MoneyTransferred.name,
    e.PaymentDue.name,
    e.ContractOffered.name,
    e.ContractAccepted.name,
    e.ContractSigned.name,
    e.ContractEnded.name,
    e.SharesIssued.name,
    e.SharesCancelled.name,
    e.AgentBankrupt.name,
    e.PolicyChanged.name,
    e.StatisticsPublished.name,
)
TRADE_TYPES: Final = (
    e.TradeExecuted.name,
    e.OrderRejected.name,
    e.OrderClosed.name,
    e.BookUpdated.name,
    e.TradingHalted.name,
    e.TradingResumed.name,
    e.PriceBandChanged.name,
    e.PriceFixed.name,
)

# (tick, agent, n) and (instrument, seq) stand in the same columns of every record of their topic; a test holds that.
TICK: Final = 1
AGENT: Final = 2
N: Final = 3
INSTRUMENT: Final = 1
SEQ: Final = 2


def sort_submitted(rows: Rows) -> Rows:
    """Rows of decisions, flows or orders by (tick, agent, n)."""
    return rows[np.lexsort((rows[:, N], rows[:, AGENT], rows[:, TICK]))]


def sort_traded(rows: Rows) -> Rows:
    """Rows of market output by (instrument, seq)."""
    return rows[np.lexsort((rows[:, SEQ], rows[:, INSTRUMENT]))]


def sort_flows(events: Events) -> Events:
    """Each flow type of the batch by (tick, agent, n); other types are left out."""
    return {name: sort_submitted(events[name]) for name in FLOW_TYPES if name in events and len(events[name])}


def sort_trades(events: Events) -> Events:
    """Each market output type of the batch by (instrument, seq); other types are left out."""
    return {name: sort_traded(events[name]) for name in TRADE_TYPES if name in events and len(events[name])}


def merge(parts: Sequence[Events]) -> Events:
    """Concatenate batches type by type."""
    names = sorted({name for part in parts for name in part})
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}


def select(events: Events, names: Sequence[str]) -> Events:
    """The non-empty batches of the named types."""
    return {name: events[name] for name in names if name in events and len(events[name])}


def ticks(rows: Rows, name: str) -> NDArray[np.int64]:
    """Tick of each row of a record type that has one."""
    return rows[:, 3] if name in TRADE_TYPES else rows[:, TICK]
