"""Random flows of orders for the market and for the naive book, and the outputs of both in the same words."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from economy.instruments import Instrument
from economy.records.canonical import sort_traded
from economy.records.events import (
    CloseReason,
    Events,
    InstrumentClass,
    OrderCancelRequested,
    OrderClosed,
    OrderRejected,
    OrderSubmitted,
    PriceBandChanged,
    RejectReason,
    TradeExecuted,
    TradingHalted,
    TradingResumed,
)
from tests.property.naive_book import NaiveBook

NO_CANCELS = np.empty((0, OrderCancelRequested.width), np.int64)
NOTHING = np.empty((0, 1), np.int64)
LISTED = Instrument(5, "GRAIN", InstrumentClass.GOOD, price_scale=0, quantity_scale=0)
KINDS, TIFS = ("limit", "market"), ("gtc", "ioc", "fok")

submit = st.tuples(
    st.just("submit"),
    st.integers(1, 4),  # agent
    st.integers(1, 12),  # 12 = an id that was used before, else a new one
    st.integers(0, 1),  # side
    st.sampled_from(("limit", "limit", *KINDS)),
    st.sampled_from(("gtc", "gtc", *TIFS)),
    st.sampled_from((False, False, False, True)),
    st.integers(95, 105),
    st.integers(1, 9),
    st.sampled_from((0, 0, 3, 6, 12)),  # expires after
    st.integers(0, 4),
    st.sampled_from((0, 1000, 1999)),
    st.sampled_from((0, 0, 250, 700)),
)
cancel = st.tuples(st.just("cancel"), st.integers(1, 4), st.integers(1, 12))  # which of the orders before; 12 = none
# Long ones, of which most rest: else hypothesis would mostly try books that are nearly empty.
action = st.sampled_from((submit, submit, submit, cancel)).flatmap(lambda kind: kind)  # one_of would weigh them alike
steps = st.lists(st.tuples(st.integers(0, 2), action), min_size=30, max_size=60)


def rows_of(
    actions: list[tuple[int, tuple[Any, ...]]], naive: NaiveBook | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, NaiveBook]:
    """Order rows, cancel rows, arrival, and the naive book after the same actions."""
    naive, tick = naive or NaiveBook(), 0
    orders, cancels, places = [], [], ([], [])
    sent = [(1, 1)]
    for n, (step, action) in enumerate(actions):
        tick += step
        if action[0] == "cancel":
            _, agent, which = action
            agent, order = (agent, n + 1) if which == 12 else sent[-which % len(sent)]
            naive.cancel(tick, agent, order)
            cancels.append((1, tick, agent, n, order, 5, 0))
            places[1].append(n)
            continue
        _, agent, which, side, kind, tif, post_only, price, quantity, expires, use, tax, cap = action
        agent, order = sent[n % len(sent)] if which == 12 else (agent, n + 1)
        sent.append((agent, order))
        post_only = post_only and kind == "limit" and tif == "gtc"
        price = price if kind == "limit" else 0
        cap = cap if kind == "market" and side == 0 else 0
        expires = tick + expires - 1 if expires else 0
        naive.submit(tick, agent, order, side, kind, tif, post_only, price, quantity, expires, use, tax, cap * 1)
        orders.append(
            (1, tick, agent, n, order, 5, side, KINDS.index(kind), TIFS.index(tif), int(post_only), price, quantity,
             expires, cap * LISTED.multiplier, use, tax, 0)
        )  # fmt: skip
        places[0].append(n)
    as_rows = lambda rows, width: np.array(rows, np.int64).reshape(-1, width)  # noqa: E731
    return (
        as_rows(orders, OrderSubmitted.width),
        as_rows(cancels, OrderCancelRequested.width),
        np.array(places[0] + places[1], np.int64),
        naive,
    )


def told(events: Events) -> list[tuple[object, ...]]:
    """Outputs in seq order, in the naive book's words (trades without the tax)."""
    found = []
    t, r, c = TradeExecuted, OrderRejected, OrderClosed
    for row in events.get(t.name, np.empty((0, t.width), np.int64)).tolist():
        found.append(
            (row[t.SEQ], ("trade", row[t.PRICE], row[t.QUANTITY], row[t.MAKER_AGENT], row[t.MAKER_ORDER],
             row[t.TAKER_AGENT], row[t.TAKER_ORDER], row[t.USE], row[t.TAX]))
        )  # fmt: skip
    for row in events.get(r.name, np.empty((0, r.width), np.int64)).tolist():
        found.append((row[r.SEQ], ("reject", row[r.AGENT], row[r.ORDER], RejectReason(row[r.REASON]).name.lower())))
    for row in events.get(c.name, np.empty((0, c.width), np.int64)).tolist():
        found.append(
            (
                row[c.SEQ],
                ("close", row[c.AGENT], row[c.ORDER], CloseReason(row[c.REASON]).name.lower(), row[c.QUANTITY]),
            )
        )
    for row in events.get(TradingHalted.name, NOTHING).tolist():
        found.append((row[TradingHalted.SEQ], ("halt", row[TradingHalted.PRICE], row[TradingHalted.UNTIL])))
    for kind, word in ((TradingResumed, "resume"), (PriceBandChanged, "band")):
        for row in events.get(kind.name, NOTHING).tolist():
            found.append((row[kind.SEQ], (word, row[4], row[5])))
    found.sort()
    assert [seq for seq, _ in found] == list(range(len(found))), "seq must be dense"
    return [what for _, what in found]


def expected(naive: NaiveBook, multiplier: int = LISTED.multiplier) -> list[tuple[object, ...]]:
    """The naive outputs with the tax rate turned into the tax on the notional."""
    out = []
    for what in naive.out:
        if what[0] == "trade":
            notional = int(what[1]) * int(what[2]) * multiplier  # type: ignore[call-overload]
            out.append((*what[:8], notional * int(what[8]) // 10_000))  # type: ignore[call-overload]
        else:
            out.append(what)
    return out


def collect(parts: list[Events]) -> Events:
    names = {name for part in parts for name in part}
    return {name: sort_traded(np.concatenate([p[name] for p in parts if name in p])) for name in names}
