"""Flows that aim at the weak places of a book, as (orders, cancels, arrival) of n records each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from economy.records.events import OrderCancelRequested, OrderSubmitted, OrderType, TimeInForce

Flow = tuple[np.ndarray, np.ndarray, np.ndarray]
o, c = OrderSubmitted, OrderCancelRequested


def base(n: int) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(1)
    rows = np.zeros((n, o.width), np.int64)
    rows[:, o.RUN], rows[:, o.INSTRUMENT] = 1, 5
    rows[:, o.ORDER] = rows[:, o.N] = np.arange(n)
    rows[:, o.AGENT] = np.arange(n) % 977
    rows[:, o.QUANTITY] = rng.integers(1, 100, n)
    rows[:, o.PRICE] = 1000
    return rows, rng


def cancelling(rows: np.ndarray, at: np.ndarray, targets: np.ndarray) -> Flow:
    """The rows at `at` become cancels of the orders at `targets`."""
    cancels = np.zeros((len(at), c.width), np.int64)
    cancels[:, c.RUN], cancels[:, c.INSTRUMENT] = 1, 5
    cancels[:, c.TICK], cancels[:, c.N] = rows[at, o.TICK], rows[at, o.N]
    cancels[:, c.AGENT], cancels[:, c.ORDER] = rows[targets, o.AGENT], rows[targets, o.ORDER]
    stays = np.ones(len(rows), np.bool_)
    stays[at] = False
    return rows[stays], cancels, np.concatenate((np.flatnonzero(stays), at))


def only(rows: np.ndarray) -> Flow:
    return rows, np.empty((0, c.width), np.int64), np.arange(len(rows))


def levels_everywhere(n: int) -> Flow:
    """Levels over the whole range of prices, every second record cancels a random earlier order."""
    rows, rng = base(n)
    rows[:, o.SIDE] = rng.integers(0, 2, n)
    far = rng.integers(1, 2**54, n)
    rows[:, o.PRICE] = np.where(rows[:, o.SIDE] == 1, 2**54 + far, far)
    rows[:, o.QUANTITY] = 1
    at = np.arange(101, n, 2)
    return cancelling(rows, at, at - 1 - 2 * rng.integers(0, at // 2))


def one_level(n: int) -> Flow:
    """Everything at one price, cancels from the middle of the queue."""
    rows, rng = base(n)
    at = np.arange(101, n, 2)
    return cancelling(rows, at, at - 1 - 2 * rng.integers(0, at // 2))


def walking_price(n: int) -> Flow:
    """The price walks far: quotes ahead, trades behind."""
    rows, rng = base(n)
    rows[:, o.SIDE] = np.arange(n) % 2
    walk = 1000 + np.arange(n) * 1_000_000 // n
    rows[:, o.PRICE] = walk + np.where(rows[:, o.SIDE] == 1, 1, -1) * rng.integers(1, 60, n)
    return only(rows)


def far_better_price(n: int) -> Flow:
    """A far better price comes and goes over a deep book."""
    rows, _ = base(n)
    rows[:, o.PRICE] = np.where(np.arange(n) < n // 4, 1 + np.arange(n) * 1000, 10**12 + np.arange(n))
    at = np.arange(n // 4 + 1, n, 2)
    return cancelling(rows, at, at - 1)


def staircase(n: int) -> Flow:
    """Fills the nodes of the tree and empties all but one key of each, again and again."""
    rows, _ = base(n)
    i, phase, step = np.arange(n), np.arange(n) // 800, np.arange(n) % 800
    rows[:, o.PRICE] = 1 + (step * 7919 + phase * 13) % 100_003
    at = i[(phase % 2 == 1) & (step % 16 != 0)]
    return cancelling(rows, at, at - 800)


def fill_or_kill_storm(n: int) -> Flow:
    """Fill-or-kill orders that scan a deep side and fail on an own order at its end."""
    rows, _ = base(n)
    deep = min(n // 2, 2000)
    rows[:deep, o.SIDE], rows[:deep, o.AGENT], rows[:deep, o.QUANTITY] = 1, 5000, 1
    rows[:deep, o.PRICE] = 1000 + np.arange(deep) % 1000
    rows[deep - 1, o.PRICE], rows[deep - 1, o.AGENT] = 2000, 5001
    rows[deep:, o.TIF], rows[deep:, o.PRICE], rows[deep:, o.AGENT] = TimeInForce.FOK, 3000, 5001
    rows[deep:, o.QUANTITY] = deep
    return only(rows)


def everything_expires(n: int) -> Flow:
    """Every order expires, in no order."""
    rows, rng = base(n)
    rows[:, o.SIDE] = rng.integers(0, 2, n)
    rows[:, o.PRICE] = 1000 + np.where(rows[:, o.SIDE] == 1, 1, -1) * rng.integers(1, 400, n)
    rows[:, o.TICK] = np.arange(n) // 3
    rows[:, o.EXPIRES] = 1 + rows[:, o.TICK] + rng.integers(0, 900, n)
    return only(rows)


def alike_ids(n: int) -> Flow:
    """Order ids that share their low bits."""
    rows, _ = base(n)
    rows[:, o.PRICE] = 5 + np.arange(n) % 50
    rows[:, o.ORDER] <<= 40
    return only(rows)


def halts_without_end(n: int) -> Flow:
    """Market orders that hit a wall outside the range again and again, and a crossed call behind each."""
    rows, rng = base(n)
    rows[:, o.TICK] = np.arange(n) // 8
    rows[:, o.SIDE] = rng.integers(0, 2, n)
    rows[:, o.PRICE] = 1000 + rng.integers(-60, 61, n)
    market = np.arange(n) % 8 == 7
    rows[market, o.TYPE], rows[market, o.PRICE], rows[market, o.QUANTITY] = OrderType.MARKET, 0, 10_000
    return only(rows)


def own_overlaps(n: int) -> Flow:
    """Few agents, each on both sides, so that calls are full of orders that may not meet."""
    rows, rng = base(n)
    rows[:, o.AGENT] = rng.integers(0, 3, n)
    rows[:, o.TICK] = np.arange(n) // 10
    rows[:, o.SIDE] = rng.integers(0, 2, n)
    rows[:, o.PRICE] = 1000 + rng.integers(-80, 81, n)
    return only(rows)


FLOWS: tuple[Callable[[int], Flow], ...] = (
    levels_everywhere,
    one_level,
    walking_price,
    far_better_price,
    staircase,
    fill_or_kill_storm,
    everything_expires,
    alike_ids,
    halts_without_end,
    own_overlaps,
)
