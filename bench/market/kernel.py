"""The matching kernel in one thread, in memory, beside other engines on the same messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from bench.market import peers
from bench.market.flow import LIMIT_CANCEL, MOVES, Flow, Mix, instruments, rows_of
from bench.market.peers import Result
from bench.market.stats import median, spread
from economy.errors import ProtocolError
from economy.markets.admission import ops_of
from economy.markets.market import Market
from economy.markets.matching.books import Books
from economy.markets.matching.ids import OrderIds
from economy.markets.matching.layout import TRADE
from economy.records import events as e
from economy.records.events import Rows

Runner = Callable[[Rows, Rows, int], Result | None]
_BATCH: Final = 10_000
_LIGHT: Final = 5_000  # messages: it slows down with every order that rests


def exact(untimed: Rows, timed: Rows, books: int) -> Result:
    """Our kernel with all rules on, from ops to events."""
    ops = [_ops(part, first, books) for part, first in ((untimed, 1), (timed, len(untimed) + 1))]
    book, ids = Books(books), OrderIds()
    book.reserve(4 * len(untimed), len(untimed))
    for at in range(0, len(untimed), _BATCH):
        part = ops[0][at : at + _BATCH]
        ids.mark(part)
        book.apply(part)
    trades = quantity = 0
    seconds = 0.0
    for at in range(0, len(timed), _BATCH):
        part = ops[1][at : at + _BATCH]
        began = time.thread_time()
        ids.mark(part)
        events = book.apply(part)
        seconds += time.thread_time() - began
        traded = events[events[:, 0] & 255 == TRADE]
        trades, quantity = trades + len(traded), quantity + int(traded[:, 4].sum())
    return Result(len(timed), seconds, trades, quantity)


def _ops(messages: Rows, first: int, books: int) -> Rows:
    orders, cancels, places = rows_of(messages, first)
    rules = np.tile(np.array([1, 1, 1, 1, np.iinfo(np.int64).max], np.int64), (books, 1))
    ops, _ = ops_of(orders, cancels, np.arange(books), rules)
    return np.ascontiguousarray(ops[np.argsort(places, kind="stable")])


def market(untimed: Rows, timed: Rows, books: int) -> Result:
    """The whole market, from records to records, as the worker calls it."""
    made = Market(1, 1, 1, instruments(books))
    made.match_free(*rows_of(untimed, 1))
    trades = quantity = 0
    seconds = 0.0
    for at in range(0, len(timed), _BATCH):
        rows = rows_of(timed[at : at + _BATCH], len(untimed) + at + 1)
        began = time.thread_time()
        out = made.match_free(*rows)
        seconds += time.thread_time() - began
        traded = out.get(e.TradeExecuted.name, np.empty((0, e.TradeExecuted.width), np.int64))
        trades, quantity = trades + len(traded), quantity + int(traded[:, e.TradeExecuted.QUANTITY].sum())
    return Result(len(timed), seconds, trades, quantity)


def _agree(results: Mapping[str, Result], mix: Mix, books: int) -> bool:
    """Whether all engines that ran all messages traded the same. Raises ProtocolError when they did not."""
    whole = max(result.messages for result in results.values())
    full = {name: result for name, result in results.items() if result.messages == whole}
    quantities = {result.quantity for result in full.values()}
    trades = {result.trades for result in full.values() if result.trades >= 0}
    if len(quantities) > 1 or len(trades) > 1:
        told = {name: (result.trades, result.quantity) for name, result in full.items()}
        raise ProtocolError(f"engines differ on {mix.name}, {books} books: {told}", "one of them is wrong")
    return True


def measure(count: int, rounds: int) -> list[dict[str, Any]]:
    """One row per mix and number of books; rounds interleave the engines."""
    program = peers.build_matchcore()
    told = []
    for mix in (LIMIT_CANCEL, MOVES):
        for books in (1, 400):
            told.append(_row(mix, books, count, rounds, program))
    return told


def _row(mix: Mix, books: int, count: int, rounds: int, program: Any) -> dict[str, Any]:
    flow = Flow(mix, books, resting=1_500)
    untimed, timed = flow.opening(), flow.take(count)
    runners: dict[str, Runner] = {"exact": exact, "market": market, "limit_order_book": peers.limit_order_book}
    if books == 1:
        runners["lightmatchingengine"] = lambda before, after, n: peers.light(before, after[:_LIGHT], n)
    if program is not None:
        runners["matchcore"] = peers.matchcore(program)
    rates: dict[str, list[float]] = {name: [] for name in runners}
    results: dict[str, Result] = {}
    for _ in range(rounds):
        for name, run in runners.items():
            result = run(untimed, timed, books)
            if result is not None:
                results[name] = result
                rates[name].append(result.rate)
    told: dict[str, Any] = {
        "mix": mix.name, "books": books, "messages": count, "resting": len(untimed),
        "trades": results["exact"].trades, "same_trades": _agree(results, mix, books), "per_second": {}, "times": {},
        "spread": {name: spread(found) for name, found in rates.items() if found},
    }  # fmt: skip
    for name, found in rates.items():
        told["per_second"][name] = round(median(found)) if found else None
        if name not in ("exact", "market"):
            ratios = [ours / theirs for ours, theirs in zip(rates["exact"], found, strict=False)]
            told["times"][name] = round(median(ratios), 2) if ratios else None
    return told
