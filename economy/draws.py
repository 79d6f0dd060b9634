"""Streams of random numbers: one per purpose, so that a new purpose never shifts the luck of another."""

from __future__ import annotations

from enum import IntEnum


class Draw(IntEnum):
    """Second half of the Philox key, see economy/rng.py. Append, never renumber: recorded runs depend on it."""

    SKILL = 0
    START_ORDER = 1
    OWNERSHIP = 2
    OWNS = 3
    HOLDS = 4  # counter = issuer
    START_DEPOSITS = 5
    ACTING_TICK = 6  # counter = epoch
    PRODUCTIVITY = 7
    SPIRIT = 8
    TASTE = 9
    CONFIDENCE = 10
    PRICE_REVIEW = 11
    DISMISSAL = 12
    QUIT = 13
    SEARCH = 14
    LOTS = 15
    GROUP = 16
    INVESTMENT = 17
    TRADES_SHARES = 18
    VALUATION = 19
