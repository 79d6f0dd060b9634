"""Streams of random numbers: one per purpose, so that a new purpose never shifts the luck of another."""

from __future__ import annotations

from typing import Final


class Draw:
    """Second half of the Philox key, see economy/numbers/rng.py. Append, never renumber: recorded runs depend on it.

    Plain integers: numba looks through all members of an enum at every call that is given one.
    """

    SKILL: Final = 0
    START_ORDER: Final = 1
    OWNERSHIP: Final = 2
    OWNS: Final = 3
    HOLDS: Final = 4  # counter = issuer
    START_DEPOSITS: Final = 5
    ACTING_TICK: Final = 6  # counter = epoch
    PRODUCTIVITY: Final = 7
    SPIRIT: Final = 8
    TASTE: Final = 9
    CONFIDENCE: Final = 10
    PRICE_REVIEW: Final = 11
    DISMISSAL: Final = 12
    QUIT: Final = 13
    SEARCH: Final = 14
    LOTS: Final = 15
    GROUP: Final = 16
    INVESTMENT: Final = 17
    TRADES_SHARES: Final = 18
    VALUATION: Final = 19
