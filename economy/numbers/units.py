"""Units of account. Money is an int64 count of 1e-8 of its currency; prices and quantities are integer counts too."""

from __future__ import annotations

from typing import Final

MONEY_SCALE: Final = 8
UNIT: Final = 10**MONEY_SCALE  # one unit of the currency
RATE: Final = 10**9  # rates and other scalars travel as integers of 1e-9
SHARES: Final = 100_000  # per issuer
RECIPE_SCALE: Final = 1_000_000  # recipes are fixed-point numbers of 1e-6
INT64_MAX: Final = 2**63 - 1


def notional_multiplier(price_scale: int, quantity_scale: int) -> int:
    """Money (1e-8) per price step and lot: 10^(8 - price_scale - quantity_scale), exact when the scales add to <= 8."""
    spare = MONEY_SCALE - price_scale - quantity_scale
    if price_scale < 0 or quantity_scale < 0 or spare < 0:
        raise ValueError(f"price_scale {price_scale} + quantity_scale {quantity_scale} must lie in 0..{MONEY_SCALE}")
    return int(10**spare)
