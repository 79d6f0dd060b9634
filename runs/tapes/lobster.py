"""A day of one NASDAQ stock as LOBSTER tells it (lobsterdata.com), and the exchange's executions to compare with.

A message file has no header; its columns are time (seconds after midnight), type, order id, size (shares), price (US
dollars x 10,000) and direction of the resting order (1 buy, -1 sell). It tells what happened to resting orders alone.
What is sent for each type:

1. *new limit order*: a limit order, post-only, since it came to rest. Its agent is a number of its own: its id.
2. *partial cancel*: the rest keeps its place in the queue. Markets here know no reduction, but a tape knows its future:
   what will be cancelled in part is sent from the start as an order of its own right behind the rest, and cancelled as
   a whole when the time comes. Executions take from the front, so that both stand exactly as the one order did.
3. *deletion*: a cancel request.
4. *execution of a visible order*: the incoming order that caused it is not in the file. An immediate-or-cancel order
   of that size and price is sent against it, one for every message; whom it meets is for the market to find.
5., 6., 7. *hidden executions, crosses and halts* involve no visible order and are left out; their number is told.

Orders that are mentioned without a type 1 stood before the file's start, or outside the levels that it covers. Ids rise
with the time of submission, so each is sent before the first greater id, with the quantity that the file will mention:
its place in the queue is that of its age. What of it is never mentioned stays unknown.

A tick is a nanosecond after midnight. Ids from `Tape.added` on are ours: added + row of the message.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.errors import InputError
from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import InstrumentClass, Rows, Side, TimeInForce
from runs.tapes.columns import Faults, read_columns
from runs.tapes.flow import Batch, Flow
from schemas.files import text_of

COLUMNS: Final = ("time", "type", "order", "size", "price", "direction")
NEW, REDUCED, DELETED, EXECUTED = 1, 2, 3, 4
LEFT_OUT: Final = {5: "hidden executions", 6: "cross trades", 7: "halts"}
_TIME_SCALE: Final = 9
_TOLD: Final = 100  # differences told one by one
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tape:
    """`records` as the market takes them. `prints` is (executions, 4): row, order, price, size; rows count from 1."""

    name: str
    instrument: Instrument
    records: Batch
    prints: Rows
    added: int
    unseen: int
    left_out: dict[str, int]

    def flow(self) -> Flow:
        """The tape as the stream takes it."""
        return Flow(self.name, (self.instrument,), (self.records,))


@dataclass(frozen=True)
class Comparison:
    """Our trades beside the file's executions; matched = the same resting order, price and size."""

    trades: int
    prints: int
    matched: int
    by_reason: dict[str, int]
    differences: list[dict[str, Any]]


def read_tape(path: Path, symbol: str | None = None) -> Tape:
    """Read a message file as a whole. The symbol is by default what its name begins with, as LOBSTER names files.

    Raises InputError naming row, column and value of a message that cannot be.
    """
    table, name = _read(path), text_of(path)
    instrument = Instrument(
        0, symbol or re.split("[_.]", name)[0] or name, InstrumentClass.EQUITY, currency="USD", price_scale=4,
        quantity_scale=0,
    )  # fmt: skip
    counted = {told: int((table[:, 1] == kind).sum()) for kind, told in LEFT_OUT.items()}
    executed = np.flatnonzero(table[:, 1] == EXECUTED)
    prints = np.column_stack((executed + 1, table[executed][:, [2, 4, 3]]))
    added = 10 ** len(str(int(table[:, 2].max(initial=0))))
    records, unseen = _translate(path.name, table, added, instrument.instrument)
    return Tape(name, instrument, records, prints, added, unseen, counted)


def _read(path: Path) -> Rows:
    """(messages, 6) integers: nanoseconds, type, order, size, price, direction."""
    parts: list[Rows] = []
    rows = time = 0
    for texts in read_columns(path, COLUMNS, header=False):
        n = len(texts[0])
        if not n:
            continue
        faults, every = Faults(path.name, rows), np.ones(n, np.bool_)
        scales = [np.full(n, _TIME_SCALE if name == "time" else 0, np.int64) for name in COLUMNS]
        part = np.column_stack(
            [faults.decimals(name, t, s, every) for name, t, s in zip(COLUMNS, texts, scales, strict=True)]
        )
        back = part[:, 0] < np.maximum.accumulate(np.r_[time, part[:-1, 0]])
        faults.add("time", texts[0], back, "it is earlier than the message before")
        faults.add("type", texts[1], (part[:, 1] < 1) | (part[:, 1] > 7), "types are 1 to 7")
        told = part[:, 1] <= EXECUTED
        for at, remedy in ((2, "ids are positive"), (3, "give one share at least"), (4, "prices are positive")):
            faults.add(COLUMNS[at], texts[at], told & (part[:, at] <= 0), remedy)
        faults.add("direction", texts[5], told & (np.abs(part[:, 5]) != 1), "1 is a buy, -1 a sell order")
        faults.check()
        parts.append(part)
        rows, time = rows + n, int(part[-1, 0])
    if not parts:
        raise InputError("message file", str(path), "it has no messages")
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Orders:
    """The resting orders of a file, sorted by id; each column (orders,)."""

    ids: Ints
    place: Ints  # row before or at which the order is sent
    seen: NDArray[np.bool_]  # the file has its type 1
    rest: Ints  # quantity that is not going to be cancelled in part
    price: Ints
    direction: Ints


def _orders(file: str, table: Rows) -> _Orders:
    told = np.flatnonzero(table[:, 1] <= EXECUTED)
    ids, first, of = np.unique(table[told, 2], return_index=True, return_inverse=True)
    kind, size = table[told, 1], table[told, 3]
    new = kind == NEW
    taken, reduced, given = (np.zeros(len(ids), np.int64) for _ in range(3))
    np.add.at(taken, of[~new], size[~new])
    np.add.at(reduced, of[kind == REDUCED], size[kind == REDUCED])
    np.add.at(given, of[new], size[new])
    seen = given > 0

    def refuse(wrong: NDArray[np.bool_], column: int, remedy: str) -> None:
        if wrong.any():
            row = int(told[np.argmax(wrong)])
            raise InputError(f"{file} row {row + 1} {COLUMNS[column]}", int(table[row, column]), remedy)

    start = first[of]
    refuse(new & (np.arange(len(told)) != start), 2, "the order is there already: ids must be unique")
    for column, what in ((4, "price"), (5, "direction")):
        refuse(table[told, column] != table[told[start], column], column, f"the order stood at another {what} before")
    gone = seen & (taken > given)
    last = np.zeros(len(ids), np.int64)
    last[of] = np.arange(len(told))
    refuse(gone[of] & (last[of] == np.arange(len(told))), 3, "the order had not as many shares left")
    place = told[first]
    rising = np.maximum.accumulate(np.where(table[:, 1] == NEW, table[:, 2], 0))
    unseen = np.minimum(place[~seen], np.searchsorted(rising, ids[~seen], side="right"))
    place[~seen] = np.minimum.accumulate(unseen[::-1])[::-1]  # none later than a younger one
    return _Orders(
        ids, place, seen, np.where(seen, given, taken) - reduced, table[told[first], 4], table[told[first], 5]
    )


def _translate(file: str, table: Rows, added: int, instrument: int) -> tuple[Batch, int]:
    """The records to send, and how many orders were not seen to begin."""
    book = _orders(file, table)
    o, c = e.OrderSubmitted, e.OrderCancelRequested
    rows = {kind: np.flatnonzero(table[:, 1] == kind) for kind in (REDUCED, DELETED, EXECUTED)}
    reduced, deleted, executed = rows[REDUCED], rows[DELETED], rows[EXECUTED]
    owner = np.searchsorted(book.ids, table[reduced, 2])
    whole = np.flatnonzero(book.rest > 0)
    resting = np.r_[whole, owner]
    n = len(resting)
    orders = np.zeros((n + len(executed), o.width), np.int64)
    orders[:n, o.AGENT] = book.ids[resting]
    orders[:n, o.ORDER] = np.r_[book.ids[whole], added + 1 + reduced]
    orders[:n, o.SIDE] = np.where(book.direction[resting] == 1, Side.BUY, Side.SELL)
    orders[:n, o.POST_ONLY] = 1
    orders[:n, o.PRICE] = book.price[resting]
    orders[:n, o.QUANTITY] = np.r_[book.rest[whole], table[reduced, 3]]
    orders[n:, o.AGENT] = orders[n:, o.ORDER] = added + 1 + executed
    orders[n:, o.SIDE] = np.where(table[executed, 5] == 1, Side.SELL, Side.BUY)
    orders[n:, o.TIF] = TimeInForce.IOC
    orders[n:, o.PRICE] = table[executed, 4]
    orders[n:, o.QUANTITY] = table[executed, 3]
    gone = np.r_[reduced, deleted]
    cancels = np.zeros((len(gone), c.width), np.int64)
    cancels[:, c.AGENT] = table[gone, 2]
    cancels[:, c.ORDER] = np.r_[added + 1 + reduced, table[deleted, 2]]
    # Order of sending: by row; before a row's own records those that stood unseen, by age; parts behind their rest.
    row = np.r_[book.place[resting], executed, gone]
    own = np.r_[book.seen[resting], np.ones(len(executed) + len(gone), np.bool_)]
    age = np.r_[book.ids[resting], np.zeros(len(executed) + len(gone), np.int64)]
    part = np.r_[np.zeros(len(whole), np.int64), 1 + reduced, np.zeros(len(executed) + len(gone), np.int64)]
    arrival = np.empty(len(row), np.int64)
    arrival[np.lexsort((part, age, own, row))] = np.arange(len(row))
    for records, at in ((orders, slice(0, len(orders))), (cancels, slice(len(orders), None))):
        records[:, o.TICK], records[:, o.N] = table[row[at], 0], arrival[at] + 1
    orders[:, o.INSTRUMENT] = cancels[:, c.INSTRUMENT] = instrument
    return Batch(orders, cancels, arrival), int((~book.seen).sum())


def compare(tape: Tape, trades: Rows) -> Comparison:
    """Hold the market's TradeExecuted rows against the executions; says for every difference what it is, the first
    hundred of them one by one."""
    t = e.TradeExecuted
    ours: dict[int, list[list[int]]] = {}
    for trade in trades[:, [t.TAKER_ORDER, t.MAKER_AGENT, t.PRICE, t.QUANTITY]].tolist():
        ours.setdefault(trade[0] - tape.added, []).append(trade[1:])
    reasons: Counter[str] = Counter()
    differences: list[dict[str, Any]] = []
    matched = 0
    for row, order, price, size in tape.prints.tolist():
        found = ours.pop(row, [])
        if found == [[order, price, size]]:
            matched += 1
            continue
        reason = "another order stood before it"
        if not found:
            reason = "nothing stood at its price or a better one"
        elif {maker for maker, _, _ in found} == {order}:
            reason = "the order had fewer shares left"
        reasons[reason] += 1
        if len(differences) < _TOLD:
            met = [{"order": maker, "price": at, "size": part} for maker, at, part in found]
            differences.append({"row": row, "order": order, "price": price, "size": size, "reason": reason, "met": met})
    return Comparison(len(trades), len(tape.prints), matched, dict(reasons), differences)
