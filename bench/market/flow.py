"""Order flow for measurements: endless, steady, the same for every engine, at tens of millions of messages a second.

Each side of a book has a near part, up to NEAR ticks from the middle, which aggressive orders eat and nobody cancels,
and a far part, up to FAR ticks, which is cancelled, moved and never reached. The generator counts the near quantity, so
an aggressive order is always filled and a cancel always finds its order, without an engine in the loop: engines with
fewer rules must give the same trades. Buyers have even agents and sellers odd ones, so nobody meets his own order, but
an engine must look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import InstrumentClass, Rows, TimeInForce
from schemas.rows import Bytes, encode

RUN: Final = 1
MIDDLE: Final = 100_000
NEAR, FAR = 40, 1_000
# Columns of a message.
KIND, BOOK, ORDER, AGENT, SIDE, PRICE, QUANTITY, TIF = range(8)
SUBMIT, CANCEL = 0, 1
_LARGEST: Final = 100  # quantity


@dataclass(frozen=True)
class Mix:
    """Shares of the decisions: cancel, move (a cancel and a new order), rest far, rest near; the rest is aggressive."""

    name: str
    cancel: float
    move: float
    far: float
    near: float


LIMIT_CANCEL: Final = Mix("70 % limit, 30 % cancel", 0.30, 0.0, 0.30, 0.20)
MOVES: Final = Mix("82 % moves and cancels, 6 % trades", 0.06, 0.76, 0.06, 0.06)


@njit(cache=True)
def _below(random: NDArray[np.uint64], n: int) -> int:
    """The next number of a xorshift64* generator (Vigna 2016), below n."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    return int((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(33)) * n >> 31


@njit(cache=True)
def _submit(
    out: Rows, at: int, order: int, book: int, side: int, away: int, quantity: int, tif: int,
    random: NDArray[np.uint64],
) -> None:  # fmt: skip
    out[at, 0], out[at, 1], out[at, 2], out[at, 4], out[at, 6], out[at, 7] = 0, book, order, side, quantity, tif
    out[at, 3] = 2 * _below(random, 500) + side
    out[at, 5] = MIDDLE - away if side == 0 else MIDDLE + away


@njit(cache=True)
def _fill(
    out: Rows, shares: NDArray[np.int64], pool: NDArray[np.int64], size: NDArray[np.int64], near: NDArray[np.int64],
    first: int, random: NDArray[np.uint64],
) -> None:  # fmt: skip
    """Write messages until `out` is full; the order id of a message is its number in the flow."""
    books, room, at = near.size // 2, pool.shape[1], 0
    while at < len(out):
        book, side = _below(random, books), _below(random, 2)
        line, luck = 2 * book + side, _below(random, 1_000_000)
        quantity = 1 + _below(random, _LARGEST)
        takes = luck < shares[1]  # cancels, or begins a move
        if takes and size[line] == 0:
            continue
        if takes:
            chosen = _below(random, size[line])
            out[at, 0], out[at, 1] = 1, book
            out[at, 2], out[at, 3], out[at, 4] = pool[line, chosen] >> 16, pool[line, chosen] & 65535, side
            out[at, 5] = out[at, 6] = out[at, 7] = 0
            size[line] -= 1
            pool[line, chosen] = pool[line, size[line]]
            at += 1
            if luck < shares[0] or at == len(out):
                continue
        if luck < shares[2]:
            if size[line] == room:
                continue
            _submit(out, at, first + at, book, side, NEAR + 1 + _below(random, FAR - NEAR), quantity, 0, random)
            pool[line, size[line]] = (first + at) << 16 | out[at, 3]
            size[line] += 1
        elif luck < shares[3] or near[line ^ 1] < quantity:
            _submit(out, at, first + at, book, side, 1 + _below(random, NEAR), quantity, 0, random)
            near[line] += quantity
        else:
            _submit(out, at, first + at, book, side, -NEAR, quantity, 1, random)
            near[line ^ 1] -= quantity
        at += 1


class Flow:
    """Messages (n, 8) of one mix over `books` instruments, without end. `resting` far orders a side at the start."""

    def __init__(self, mix: Mix, books: int, resting: int = 1_000, seed: int = 7) -> None:
        self.mix, self.books, self.sent = mix, books, 0
        self._random = np.array([seed * 0x9E3779B97F4A7C15 % 2**64], np.uint64)
        self._pool = np.zeros((2 * books, 4 * resting), np.int64)
        self._size, self._near = np.zeros((2, 2 * books), np.int64)
        self._shares = np.cumsum([mix.cancel, mix.move, mix.far, mix.near]) * 1_000_000
        self._shares = self._shares.round().astype(np.int64)
        self._resting = resting

    def opening(self) -> Rows:
        """The orders that rest before the measurement."""
        return self._next(2 * self._resting * self.books, np.array([0, 0, 990_000, 1_000_000]))

    def take(self, count: int) -> Rows:
        """The next messages."""
        return self._next(count, self._shares)

    def _next(self, count: int, shares: NDArray[np.int64]) -> Rows:
        out = np.empty((count, 8), np.int64)
        _fill(out, shares, self._pool, self._size, self._near, self.sent + 1, self._random)
        self.sent += count
        return out


def instruments(books: int) -> list[Instrument]:
    """Goods whose reference price is the middle."""
    return [
        Instrument(i, f"I{i}", InstrumentClass.GOOD, item=i, fixing_ticks=100, reference_price=MIDDLE)
        for i in range(books)
    ]


def rows_of(messages: Rows, first: int, tick: int | None = None) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """(orders, cancels, places): rows of the two record types, and of each row its place among the messages.

    `first` is the number of the first message; it is the identity n, and the tick where none is given.
    """
    o, c = e.OrderSubmitted, e.OrderCancelRequested
    submitted = messages[:, KIND] == SUBMIT
    at, gone = np.flatnonzero(submitted), np.flatnonzero(~submitted)
    orders, cancels = np.zeros((len(at), o.width), np.int64), np.zeros((len(gone), c.width), np.int64)
    for rows, kind, place in ((orders, o, at), (cancels, c, gone)):
        rows[:, kind.RUN] = RUN
        rows[:, kind.N] = first + place
        rows[:, kind.TICK] = rows[:, kind.N] if tick is None else tick
        rows[:, [kind.AGENT, kind.ORDER, kind.INSTRUMENT]] = messages[place][:, [AGENT, ORDER, BOOK]]
    orders[:, [o.SIDE, o.PRICE, o.QUANTITY]] = messages[at][:, [SIDE, PRICE, QUANTITY]]
    orders[:, o.TIF] = np.where(messages[at, TIF] == 1, int(TimeInForce.IOC), int(TimeInForce.GTC))
    return orders, cancels, np.concatenate((at, gone))


def encoded(messages: Rows, first: int, tick: int | None = None) -> tuple[Bytes, NDArray[np.int64], NDArray[np.int64]]:
    """(buffer, starts, ends) of the records of the messages, in order, in the wire format."""
    orders, cancels, places = rows_of(messages, first, tick)
    one, one_ends = encode(e.OrderSubmitted.name, orders)
    two, two_ends = encode(e.OrderCancelRequested.name, cancels)
    ends = np.concatenate((one_ends, two_ends + len(one)))
    starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    order = np.empty(len(places), np.int64)
    order[places] = np.arange(len(places))
    return np.concatenate((one, two)), starts[order], ends[order]
